"""Every loss that compares vectors equals its naive form: value and all gradients, on batches of every kind."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from torch import Tensor

from nearfar import registry
from nearfar.compute import fp32_products
from nearfar.errors import InputError
from nearfar.losses.tiled import relations
from nearfar.losses.tiled.small_batch import SMALL
from nearfar.pairs import Pairs
from tests.contracts.test_losses import COMPARING
from tests.losses import references
from tests.losses.batches import Drawn, aligned, batches, copied, permuted, simple, unit

CASES = [(name, variant) for name in COMPARING for variant in getattr(references.of(name), "VARIANTS", [{}])]
NAMES = [f"{name}-{', '.join(f'{k}={v}' for k, v in variant.items())}" for name, variant in CASES]
every_case = pytest.mark.parametrize(("name", "variant"), CASES, ids=NAMES)
ANY = batches() | simple()
ONEDNN = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.backends.mkldnn.is_available()
Outcome = tuple[Tensor, list[Tensor]]  # a value, and its gradients by queries, keys and the loss's parameters


def proof(name: str) -> Any:
    module = references.of(name)
    if module is None:
        pytest.fail(f"losses.{name} has no proof: write tests/losses/references/{name}.py (its package says how)")
    return module


def batches_of(module: Any) -> st.SearchStrategy[Drawn]:
    found: st.SearchStrategy[Drawn] = getattr(module, "BATCHES", ANY)
    return found


def build(name: str, variant: dict[str, Any], dim: int) -> Any:
    return registry.build("losses", {"name": name, **variant}, dim=dim)


def outcome(function: Any, loss: Any, queries: Tensor, keys: Tensor) -> Outcome:
    queries, keys = queries.detach().requires_grad_(), keys.detach().requires_grad_()
    value = function(queries, keys)
    leaves = [queries, keys, *(p for p in loss.parameters() if p.requires_grad)]
    found = torch.autograd.grad(value, leaves, allow_unused=True)
    gradients = [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, found, strict=True)]
    return value.detach(), gradients


def outcome_or_none(loss: Any, queries: Tensor, keys: Tensor, pairs: Pairs) -> Outcome | None:
    """Return the outcome of the loss, None where it refuses the batch."""
    try:
        return outcome(lambda q, k: loss(q, k, pairs), loss, queries, keys)
    except InputError:
        return None


def assert_equal(ours: Outcome, theirs: Outcome) -> None:
    for got, want in zip([ours[0], *ours[1]], [theirs[0], *theirs[1]], strict=True):
        assert got.dtype == want.dtype
        assert float((got - want).abs().max()) <= 1e-10 * max(1.0, float(want.abs().max()))


@every_case
@effort(max_examples=60, deadline=None)
@given(data=st.data())
def test_equals_its_reference(name: str, variant: dict[str, Any], data: st.DataObject) -> None:
    module = proof(name)
    q, k, pairs = data.draw(batches_of(module))
    loss = build(name, variant, q.shape[1]).double()
    with pytest.MonkeyPatch.context() as patch:
        if data.draw(st.booleans(), label="classes too large to list"):
            patch.setattr(relations, "LIST_LIMIT", 0)
        if data.draw(st.booleans(), label="never held whole"):
            patch.setattr(relations.Relations, "simple", False)
        ours = outcome_or_none(loss, q, k, pairs)
        parts = data.draw(st.integers(1, 3), label="ranks")
        if ours is not None and hasattr(loss, "part"):
            added = outcome(lambda q, k: sum(loss.part(q, k, pairs, r, parts) for r in range(parts)), loss, q, k)
            assert_equal(added, ours)
    try:
        references.check(name, loss, pairs)
        theirs = outcome(lambda q, k: module.reference(loss, q, k, pairs), loss, q, k)
    except InputError:
        assert ours is None, "the loss took a batch that it must refuse"
        return
    assert ours is not None, "the loss refused a batch that it must take"
    assert_equal(ours, theirs)


@every_case
@effort(max_examples=20, deadline=None)
@given(data=st.data())
def test_permuting_rows_permutes_gradients(name: str, variant: dict[str, Any], data: st.DataObject) -> None:
    q, k, pairs = data.draw(batches_of(proof(name)))
    i, j = (torch.tensor(data.draw(st.permutations(range(rows)))) for rows in pairs.shape)
    loss = build(name, variant, q.shape[1]).double()
    before, after = outcome_or_none(loss, q, k, pairs), outcome_or_none(loss, q[i], k[j], permuted(pairs, i, j))
    assert (before is None) == (after is None)
    if before is not None and after is not None:
        value, (by_query, by_key, *others) = before
        assert_equal(after, (value, [by_query[i], by_key[j], *others]))


@every_case
@effort(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_copy_changes_nothing(name: str, variant: dict[str, Any], data: st.DataObject) -> None:
    """A copy of a key; and of a query, where copies of queries count once."""
    q, k, pairs = data.draw(batches_of(proof(name)))
    loss = build(name, variant, q.shape[1]).double()
    before = outcome_or_none(loss, q, k, pairs)
    n, m = pairs.shape
    keys = torch.tensor(data.draw(st.lists(st.integers(0, m - 1), min_size=1, max_size=3)))
    keys = whole_classes(keys, pairs)
    assert_unchanged(before, outcome_or_none(loss, q, torch.cat([k, k[keys]]), copied(pairs, keys)), key=keys)
    if references.declares(name, "QUERIES_COUNT_ONCE"):
        queries = torch.tensor(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=3)))
        queries = whole_classes(queries, pairs.transposed)
        again = copied(pairs.transposed, queries).transposed
        assert_unchanged(before, outcome_or_none(loss, torch.cat([q, q[queries]]), k, again), query=queries)


def whole_classes(rows: Tensor, pairs: Pairs) -> Tensor:
    """Return the keys `rows` with all that are copies of them already: copying some would shift their shares."""
    scope = torch.zeros_like(pairs.key_item) if pairs.key_scope is None else pairs.key_scope
    same = (pairs.key_item[rows][:, None] == pairs.key_item) & (scope[rows][:, None] == scope)  # (r, m)
    return same.any(0).nonzero()[:, 0]


def assert_unchanged(
    before: Outcome | None, after: Outcome | None, query: Tensor | None = None, key: Tensor | None = None
) -> None:
    """Check that values are equal, and gradients where those of a row and of its copies are summed."""
    assert (before is None) == (after is None)
    if before is None or after is None:
        return
    joined = []
    for gradient, was, rows in zip(after[1], before[1], [query, key, *[None] * len(after[1])], strict=False):
        joined.append(gradient if rows is None else gradient[: len(was)].index_add(0, rows, gradient[len(was) :]))
    assert_equal((after[0], joined), before)


@every_case
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_vectors_are_finite(name: str, variant: dict[str, Any], dtype: torch.dtype) -> None:
    q, k = unit(24, 8, 0, dtype), unit(24, 8, 1, dtype)
    loss, pairs = build(name, variant, 8), aligned(24, references.declares(name, "GRADED"))
    for autocast in (False, True):
        with torch.autocast("cpu", dtype, enabled=autocast):
            value, gradients = outcome(lambda q, k: loss(q, k, pairs), loss, q, k)
        assert value.dtype == torch.float32
        assert value.isfinite()
        assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize(("name", "variant"), [case for case in CASES if not references.declares(case[0], "GRADED")])
@effort(max_examples=10, deadline=None)
@given(rows=st.integers(4, 40), seed=st.integers(0, 99))
def test_one_tensor_for_both_sides_equals_two(name: str, variant: dict[str, Any], rows: int, seed: int) -> None:
    """With one tensor for both sides a loss may compute half of its tiles (NT-Xent); with two it computes all."""
    group, item = torch.arange(rows) // 2 % (rows // 2), torch.arange(rows)
    pairs, x = Pairs(group, item, group, item), unit(rows, 6, seed, torch.float64)
    loss = build(name, variant, 6).double()
    one = outcome(lambda q, _: loss(q, q, pairs), loss, x, x)
    two = outcome(lambda q, _: loss(q, q.clone(), pairs), loss, x, x)
    assert_equal(one, two)
    if hasattr(loss, "part"):
        assert_equal(outcome(lambda q, _: sum(loss.part(q, q, pairs, r, 3) for r in range(3)), loss, x, x), two)


def takes(name: str, setting: str) -> bool:
    return setting in registry.recipe_settings("losses", registry.find("losses", name))


@pytest.mark.parametrize(("name", "variant"), [case for case in CASES if takes(case[0], "precision")])
@pytest.mark.parametrize("scale", [5.0, 20.0, 45.0, 100.0])
def test_bf16_stays_close_to_float64(name: str, variant: dict[str, Any], scale: float) -> None:
    """Under autocast the tiles may be in bf16; the choice of precision keeps the gradient within 3 % at any scale."""
    settings = {**variant, "tile": 128, "temperature": 1 / scale}
    loss = build(name, {key: value for key, value in settings.items() if takes(name, key)}, 64)
    n = SMALL + 88  # beyond what is held whole
    q, k, pairs = unit(n, 64, 0, torch.float64), unit(n, 64, 1, torch.float64), Pairs.aligned(n)
    k = torch.nn.functional.normalize(k + q, dim=1)
    exact = outcome(lambda q, k: loss(q, k, pairs), loss.double(), q, k)[1]
    with torch.autocast("cpu", torch.bfloat16):
        half = outcome(lambda q, k: loss(q, k, pairs), loss.float(), q.float(), k.float())[1]
    for got, want in zip(half[:2], exact[:2], strict=True):
        assert float((got - want).norm()) < 0.03 * max(float(want.norm()), 1e-12)


LIBRARIES = [False, pytest.param(True, marks=pytest.mark.skipif(not ONEDNN, reason="this torch has no oneDNN"))]


@every_case
@pytest.mark.parametrize("tile", [16, 1024])
@pytest.mark.parametrize("by_onednn", LIBRARIES)
def test_float32_is_close_to_float64_by_either_library(
    name: str, variant: dict[str, Any], tile: int, by_onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fp32_products, "onednn_fp32", lambda: by_onednn)
    monkeypatch.setattr(fp32_products, "_LEAST_WORK", 0)
    settings = {key: value for key, value in {**variant, "tile": tile}.items() if key != "tile" or takes(name, "tile")}
    loss, pairs = build(name, settings, 24), aligned(50, references.declares(name, "GRADED"))
    q, k = unit(50, 24, 0, torch.float64), unit(50, 24, 1, torch.float64)
    single = outcome(lambda q, k: loss(q, k, pairs), loss, q.float(), k.float())
    exact = outcome(lambda q, k: loss(q, k, pairs), loss.double(), q, k)
    for got, want in zip([single[0], *single[1]], [exact[0], *exact[1]], strict=True):
        assert float((got - want).norm()) <= 1e-5 * float(want.norm())


NUMBERS = [
    (name, setting)
    for name in COMPARING
    for setting, parameter in registry.recipe_settings("losses", registry.find("losses", name)).items()
    if isinstance(parameter.default, float)
]


@pytest.mark.parametrize(("name", "setting"), NUMBERS)
@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_settings_are_finite(name: str, setting: str, bad: float) -> None:
    part = registry.find("losses", name)
    handed = {"dim": 8} if "dim" in registry.settings(part) else {}
    with pytest.raises(InputError, match=rf"{name}\.{setting}\b"):
        part(**{setting: bad}, **handed)
    with pytest.raises(InputError, match=rf"losses\.{setting}: {bad} does not fit"):
        build(name, {setting: bad}, 8)
