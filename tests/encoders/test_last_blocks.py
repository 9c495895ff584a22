"""Last blocks over stored states: equal to the whole encoder, trained from a share of the steps on, the rest locked."""

from __future__ import annotations

import copy
import os
import shutil
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from nearfar.abilities import store_at, untrained_of
from nearfar.augmentations.image import ImageAugmentation
from nearfar.column import ListColumn
from nearfar.encoders.dual import Dual
from nearfar.encoders.frozen_projection import FrozenProjection
from nearfar.encoders.image import Image
from nearfar.encoders.static import Static
from nearfar.errors import InputError, Interrupted
from nearfar.losses.infonce import InfoNCE
from nearfar.model import Model
from nearfar.positives.columns import Columns
from nearfar.training.fit import fit
from tests.encoders.tiny import TEXTS, tiny
from tests.training.runs import SETTINGS, Rows, exit_code, rows, start_process

PICTURES = [np.random.default_rng(i).integers(0, 256, (40, 50, 3), np.uint8) for i in range(6)]
ROWS = np.array([4, 0, 0, 2])
PROCESSES = 3  # that make one store at once


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("nearfar.encoders.frozen_projection.precision", lambda *_: "fp32")


def unlocked(of: Any, **more: Any) -> FrozenProjection:
    encoder = FrozenProjection(of, initial="random", dim=16, **{"unlock": 1, **more})
    encoder.prepare([])
    return encoder


def copies(encoder: FrozenProjection) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in encoder.of.named_parameters()}


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "modernbert", "qwen3"])
def test_states_of_texts_give_the_vectors_of_the_whole_encoder(kind: str) -> None:
    encoder = unlocked(tiny(kind))
    store = encoder.store(ListColumn("text", TEXTS[:6]))
    expected = Model(encoder.of).embed([TEXTS[row] for row in ROWS])
    stored = torch.nn.functional.normalize(encoder.of.last_blocks(1)(store_at(store, 1.0)[ROWS]), dim=1)
    np.testing.assert_allclose(stored.detach().numpy(), expected, atol=2e-5)
    np.testing.assert_allclose(store[ROWS].vectors.numpy(), expected, atol=2e-5)


@pytest.mark.parametrize("model", ["small", "resnet10t", "convnext_atto", "mobilenetv3_small_050"])
def test_states_of_pictures_give_the_vectors_of_the_whole_encoder(model: str) -> None:
    encoder = unlocked(Image(model, size=32))
    store = encoder.store(ListColumn("image", PICTURES))
    below: Any = store_at(store, 0.5)[ROWS]
    early, late = encoder(store[ROWS]), encoder(below)
    np.testing.assert_allclose(late.detach().numpy(), early.detach().numpy(), atol=2e-5)
    assert late.requires_grad
    assert len(below) == len(ROWS)
    assert torch.equal(below[1:3].ids[0], below.ids[1])
    assert torch.equal(below[:1].join([below[1:]]).ids, below.ids)


@pytest.mark.parametrize("of", [lambda: tiny("bert"), lambda: Image("small", size=32)])
def test_states_in_bf16_are_within_a_hundredth(of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = unlocked(of())
    column = ListColumn("cells", PICTURES if isinstance(encoder.of, Image) else TEXTS[:6])
    exact = encoder.store(column)
    monkeypatch.setattr("nearfar.encoders.frozen_projection.precision", lambda *_: "bf16")
    half = encoder.store(column)
    states: Any = store_at(half, 1.0)[ROWS]
    assert states.ids.dtype == torch.bfloat16
    expected = torch.nn.functional.normalize(encoder(exact[ROWS]), dim=1)
    for share in (0.0, 1.0):
        found = torch.nn.functional.normalize(encoder(store_at(half, share)[ROWS]), dim=1)
        assert (found - expected).abs().max() < 1e-2


def test_equal_cells_share_their_states() -> None:
    store = unlocked(tiny("bert")).store(ListColumn("text", ["near far", "push", "near far", "push", "key"]))
    states: Any = store_at(store, 1.0)
    assert len(states.offsets) == 4
    assert torch.equal(states[np.array([1])].ids, states[np.array([3])].ids)


def train(folder: Path, steps: int = 8, **more: Any) -> tuple[FrozenProjection, dict[str, Tensor]]:
    encoder = unlocked(tiny("bert"), unlock_at=0.5, unlock_rate=0.5)
    before = copies(encoder)
    fit(encoder, Columns(rows()), InfoNCE(), out=folder, quiet=True, **{**SETTINGS, "steps": steps, **more})
    return encoder, before


def test_only_the_last_blocks_move_and_only_after_their_share_of_the_steps(tmp_path: Path) -> None:
    moved: dict[int, set[str]] = {}
    encoder = unlocked(tiny("bert"), unlock_at=0.5)
    before = copies(encoder)
    last = {
        name for name, p in encoder.of.named_parameters() if any(p is q for q in encoder.of.last_blocks(1).parameters)
    }

    def look(model: Model) -> dict[str, float]:
        now = copies(encoder)
        moved[len(moved) + 1] = {name for name in before if not torch.equal(before[name], now[name])}
        return {"mrr@10": 0.0}

    settings = {**SETTINGS, "steps": 8, "evaluate_every": 1}
    fit(encoder, Columns(rows()), InfoNCE(), out=tmp_path / "run", evaluate=look, quiet=True, **settings)
    assert all(not moved[step] for step in range(1, 5)), moved  # share (step - 1) / 8 is below a half
    assert moved[5] == moved[8] == last
    assert last < set(before)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_that_is_interrupted_before_and_after_goes_on_to_the_same_bits(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where another process must make the store anew, as the cache was lost meanwhile."""
    monkeypatch.setattr("nearfar.encoders.frozen_projection.precision", lambda *_: precision)
    whole, _ = train(tmp_path / "whole", checkpoint_every=1)
    for stop in (3, 6):
        folder = tmp_path / f"run{stop}"

        def halt(model: Model, stop: int = stop, calls: list[int] = []) -> dict[str, float]:  # noqa: B006
            calls.append(1)
            if len(calls) == stop:
                raise Interrupted("here")
            return {"mrr@10": 0.0}

        with pytest.raises(Interrupted):
            train(folder, checkpoint_every=1, evaluate=halt, evaluate_every=1)
        shutil.rmtree(tmp_path / "cache" / "vectors")
        again, _ = train(folder, checkpoint_every=1, evaluate=lambda _: {"mrr@10": 0.0}, evaluate_every=1, resume=True)
        for (name, a), (_, b) in zip(whole.state_dict().items(), again.state_dict().items(), strict=True):
            assert torch.equal(a, b), (stop, name)


def _store(cache: Path, number: int) -> None:
    """Store a column's states when all are there, and write what was read back."""
    os.environ["NEARFAR_CACHE"] = str(cache)
    encoder = unlocked(Image("small", size=32))
    (cache / f"{number}.ready").touch()
    while len(list(cache.glob("*.ready"))) < PROCESSES:
        time.sleep(0.001)
    store = encoder.store(ListColumn("image", PICTURES * 50))
    states: Any = store_at(store, 1.0)[ROWS]
    np.save(cache / f"{number}.npy", states.ids.float().numpy())


def test_processes_that_make_one_store_at_once_all_read_it_whole(tmp_path: Path) -> None:
    cache = tmp_path / "shared"
    cache.mkdir()
    processes = [start_process(_store, cache, number) for number in range(PROCESSES)]
    assert [exit_code(process) for process in processes] == [0] * PROCESSES
    first, *others = (np.load(cache / f"{number}.npy") for number in range(PROCESSES))
    assert first.shape[0] == len(ROWS) and all(np.array_equal(first, other) for other in others)
    entries = [path.name for path in (cache / "vectors").iterdir()]
    assert len(entries) == 1 and not entries[0].startswith(".")  # nothing of the others is left behind


def test_a_dual_of_pictures_and_texts_saves_what_it_learnt(tmp_path: Path) -> None:
    texts = TEXTS[:6]
    dual = Dual(unlocked(Image("small", size=32), unlock_at=0.0), unlocked(tiny("bert"), unlock_at=0.5))
    positives = Columns(Rows(image=PICTURES, caption=texts), query="image", key="caption")
    run = fit(dual, positives, InfoNCE(), out=tmp_path / "run", quiet=True, **{**SETTINGS, "batch_size": 6})
    opened = Model.load(tmp_path / "run" / "model")
    for cells, role in ((PICTURES, "query"), (texts, "key")):
        found, expected = (model.embed(cells, role=cast("Any", role)) for model in (opened, run.model))
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_copy_has_last_blocks_of_its_own() -> None:
    encoder = unlocked(tiny("bert"))
    other = copy.deepcopy(encoder)
    inputs = other.inputs(TEXTS[:2])
    with torch.no_grad():
        for weight in other.of.parameters():
            weight.mul_(0)
    assert not torch.equal(other(inputs), encoder(encoder.inputs(TEXTS[:2])))
    assert {id(p) for p in other.parameters()}.isdisjoint({id(p) for p in encoder.parameters()})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: unlocked(tiny("bert"), unlock=2), "has 2 blocks or layers; 1 to 1"),
        (lambda: unlocked(Static(dim=16, vocabulary=300)), r"unlock: Static has no blocks"),
        (lambda: unlocked(tiny("mpnet")), "its texts are padded"),
        (lambda: unlocked(Image("vit_tiny_patch16_224", size=224)), "cannot be divided"),
        (lambda: unlocked(tiny("bert"), unlock_at=1.0), "unlock_at is a share"),
        (lambda: unlocked(tiny("bert"), unlock_rate=0.0), "unlock_rate a factor"),
        (lambda: FrozenProjection(tiny("bert"), dim=64), "with encoder.initial=random it may be up to"),
    ],
)
@pytest.mark.filterwarnings("ignore:mpnet. texts are padded")
def test_what_cannot_be_unlocked_is_refused(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_a_run_says_what_is_unlocked() -> None:
    assert "the last block is trained after 25% of the steps" in unlocked(tiny("bert"), unlock_at=0.25).says()[0]
    assert FrozenProjection(tiny("bert")).says() == []


def test_a_column_without_rows_has_no_states() -> None:
    states: Any = store_at(unlocked(tiny("bert")).store(ListColumn("text", [])), 1.0)
    assert len(states[np.empty(0, np.int64)]) == 0


def test_augmented_cells_are_read_as_vectors_until_the_blocks_are_trained(tmp_path: Path) -> None:
    dual = Dual(unlocked(Image("small", size=32), unlock_at=0.75), FrozenProjection(tiny("bert"), dim=16))
    picture: Any = dual.towers["query"]
    before, moved = copies(picture), []

    def look(model: Model) -> dict[str, float]:
        now = copies(picture)
        moved.append(any(not torch.equal(before[name], now[name]) for name in before))
        return {"mrr@10": 0.0}

    data = Rows(image=PICTURES, caption=TEXTS[:6])
    positives = Columns(data, query="image", key="caption", augment_query=ImageAugmentation("simclr"))
    settings = {**SETTINGS, "batch_size": 6, "steps": 8, "evaluate_every": 1}
    fit(dual, positives, InfoNCE(), out=tmp_path / "run", evaluate=look, quiet=True, **settings)
    assert moved == [False] * 6 + [True] * 2


@pytest.mark.parametrize("of", [lambda: tiny("bert"), lambda: Image("small", size=32)])
def test_states_are_made_while_another_thread_runs_the_last_blocks(of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = unlocked(of())
    last: Any = encoder.of.last_blocks(1)
    cells: Any = PICTURES if isinstance(encoder.of, Image) else TEXTS[:6]
    inputs = encoder.of.inputs(cells)
    expected, found = last(last.below(inputs)), []

    class Asks(torch.nn.Module):
        """A block below, in whose place another thread would be running."""

        def forward(self, *args: Any, **named: Any) -> Any:
            found.append(last(states))
            return below(*args, **named)

    states = last.below(inputs)
    blocks = encoder.of.network if isinstance(encoder.of, Image) else encoder.of.backbone
    first = next(module for module in blocks.modules() if not list(module.children()))
    below = first.forward
    monkeypatch.setattr(first, "forward", Asks().forward)
    last.below(inputs)
    assert found and torch.equal(found[0], expected)


def test_an_encoder_whose_blocks_were_trained_has_no_untrained_form_saved_or_not(tmp_path: Path) -> None:
    """A floor of layers that began anew over blocks that training has moved would be no floor."""
    encoder, locked = unlocked(tiny("bert")), unlocked(tiny("bert"), unlock=0)
    texts = ["near far", "push"]
    for made, expected in ((encoder, False), (locked, True)):
        folder = Model(made).save(tmp_path / str(expected))
        loaded = Model.load(folder)
        for each in (made, loaded.encoder):
            assert (untrained_of(each) is not None) == expected
        np.testing.assert_allclose(loaded.embed(texts), Model(made).embed(texts), atol=1e-6)
