"""Every loss: a scalar with gradients that ignores the order of rows and refuses invalid batches."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from nearfar import registry
from nearfar.errors import InputError
from nearfar.pairs import Pairs
from tests.losses import references
from tests.losses.batches import aligned, copied, permuted

COMPARING = [
    name
    for name in registry.names("losses")
    if list(inspect.signature(registry.find("losses", name).forward).parameters)[1:] == ["queries", "keys", "pairs"]
]
N, D = 12, 8


def build(name: str) -> Any:
    return registry.build("losses", {"name": name}, dim=D)


def pairs_for(name: str, n: int = N) -> Pairs:
    """Aligned pairs, graded for a loss that wants grades."""
    return aligned(n, references.declares(name, "GRADED"))


def vectors(rows: int, seed: int) -> Tensor:
    raw = torch.randn(rows, D, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return normalize(raw, dim=1).requires_grad_()


def value(loss: Any, queries: Tensor, keys: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss and its gradients by queries (n, d) and keys (m, d), zeros where none arrives."""
    queries, keys = queries.detach().requires_grad_(), keys.detach().requires_grad_()
    result = loss(queries, keys, pairs)
    result.backward()
    assert queries.grad is not None
    return result.detach(), queries.grad, torch.zeros_like(keys) if keys.grad is None else keys.grad


def test_what_does_not_compare_vectors_is_an_objective() -> None:
    for name in set(registry.names("losses")) - set(COMPARING):
        words = list(inspect.signature(registry.find("losses", name).forward).parameters)
        assert words[1:] == ["model", "batch"], f"losses.{name} is neither a Loss nor an Objective"


@pytest.mark.parametrize("name", COMPARING)
def test_declares_what_the_step_must_know(name: str) -> None:
    part = registry.find("losses", name)
    assert [type(getattr(part, word)) for word in ("unit", "cacheable", "needs_negatives")] == [bool] * 3
    assert issubclass(part, torch.nn.Module)


@pytest.mark.parametrize("name", COMPARING)
def test_is_a_finite_scalar_whose_gradient_reaches_every_row(name: str) -> None:
    result, by_query, by_key = value(build(name), vectors(N, 0), vectors(N, 1), pairs_for(name))
    assert result.shape == ()
    assert result.isfinite()
    for gradient in (by_query, by_key):
        assert gradient.isfinite().all()
    assert by_query.norm(dim=1).gt(0).any()
    assert bool(by_key.norm(dim=1).gt(0).any()) != references.declares(name, "KEYS_STOPPED")


@pytest.mark.parametrize("name", COMPARING)
def test_a_step_along_the_gradient_lowers_it(name: str) -> None:
    loss, queries, keys = build(name), vectors(N, 0), vectors(N, 1)
    before, by_query, by_key = value(loss, queries, keys, pairs_for(name))
    after, _, _ = value(loss, queries - 1e-4 * by_query, keys - 1e-4 * by_key, pairs_for(name))
    assert after < before


@pytest.mark.parametrize("name", COMPARING)
def test_the_order_of_rows_changes_nothing(name: str) -> None:
    loss, queries, keys, pairs = build(name), vectors(N, 0), vectors(N, 1), pairs_for(name)
    i = torch.randperm(N, generator=torch.Generator().manual_seed(2))
    j = torch.randperm(N, generator=torch.Generator().manual_seed(3))
    result, by_query, by_key = value(loss, queries, keys, pairs)
    other, by_permuted_query, by_permuted_key = value(loss, queries[i], keys[j], permuted(pairs, i, j))
    torch.testing.assert_close(other, result)
    torch.testing.assert_close(by_permuted_query, by_query[i])
    torch.testing.assert_close(by_permuted_key, by_key[j])


@pytest.mark.parametrize("name", COMPARING)
def test_a_copy_of_a_key_counts_once(name: str) -> None:
    loss, queries, keys, pairs = build(name), vectors(N, 0), vectors(N, 1), pairs_for(name)
    result, by_query, _ = value(loss, queries, keys, pairs)
    other, by_query_too, _ = value(loss, queries, torch.cat([keys, keys[:3]]), copied(pairs, torch.arange(3)))
    torch.testing.assert_close(other, result)
    torch.testing.assert_close(by_query_too, by_query)


@pytest.mark.parametrize("name", COMPARING)
def test_is_a_function_of_its_vectors_if_it_says_so(name: str) -> None:
    loss = build(name)
    if loss.cacheable:  # the gradient cache computes it twice and assumes equal values
        first, second = (value(loss, vectors(N, 0), vectors(N, 1), pairs_for(name)) for _ in range(2))
        for a, b in zip(first, second, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("name", COMPARING)
@pytest.mark.parametrize(
    ("queries", "keys", "n"),
    [
        (torch.randn(N, D), torch.randn(N, D + 1), N),
        (torch.randn(N, D), torch.randn(N - 1, D), N),
        (torch.randn(N - 1, D), torch.randn(N, D), N),
        (torch.randn(N), torch.randn(N), N),
        (torch.ones(N, D, dtype=torch.int64), torch.ones(N, D, dtype=torch.int64), N),
        (torch.randn(0, D), torch.randn(0, D), 0),
    ],
    ids=["dimensions", "keys", "queries", "vectors", "integers", "none"],
)
def test_refuses_shapes_that_do_not_fit(name: str, queries: Tensor, keys: Tensor, n: int) -> None:
    with pytest.raises(InputError):
        build(name)(queries, keys, pairs_for(name, n))


@pytest.mark.parametrize("name", [name for name in COMPARING if not references.declares(name, "GRADED")])
def test_names_the_row_without_a_positive(name: str) -> None:
    pairs = Pairs.aligned(N)
    group = pairs.query_group.clone()
    group[7] = 999
    with pytest.raises(InputError, match=r"\b7\b"):
        build(name)(vectors(N, 0), vectors(N, 1), replace(pairs, query_group=group))


@pytest.mark.parametrize("name", [name for name in COMPARING if references.declares(name, "GRADED")])
def test_asks_for_the_grades_that_are_missing(name: str) -> None:
    with pytest.raises(InputError, match=rf"{name} wants graded pairs"):
        build(name)(vectors(N, 0), vectors(N, 1), Pairs.aligned(N))


@pytest.mark.parametrize("name", COMPARING)
def test_a_batch_without_negatives_is_refused_where_they_are_needed(name: str) -> None:
    loss, same = build(name), torch.zeros(N, dtype=torch.int64)
    pairs = replace(pairs_for(name), query_group=same, key_group=same)
    if loss.needs_negatives:
        with pytest.raises(InputError, match="negative"):
            loss(vectors(N, 0), vectors(N, 1), pairs)
    else:
        assert loss(vectors(N, 0), vectors(N, 1), pairs).isfinite()
