"""Validation rows: what is kept back, what they measure, and that exactly the best weights ship, resumed or not."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from nearfar.abilities import Minable
from nearfar.compute.ranks import Ranks
from nearfar.contracts import MinedNegatives
from nearfar.data.table import Table
from nearfar.encoders.static import Static
from nearfar.errors import InputError, Interrupted
from nearfar.heads.mlp import Mlp
from nearfar.losses.infonce import InfoNCE
from nearfar.model import Model
from nearfar.pairs import Known, Pairs
from nearfar.positives.columns import Columns
from nearfar.text.alike import aliases_of
from nearfar.training import selection
from nearfar.training.fit import Run, fit
from nearfar.training.mixture import Mixture
from nearfar.training.order import Sampler
from nearfar.training.pair_ranks import reciprocal_ranks
from nearfar.training.selection import KEPT_START, ValidationRanks
from nearfar.training.settings import Settings
from nearfar.training.validation_rows import NO_VALIDATION, validation_rows, without_validation
from tests.training.runs import SETTINGS, Rows, in_ranks, rows, train, weights
from tests.training.test_log import lines

STEPS: dict[str, Any] = {"steps": 12, "validation": 0.2, "validate_every": 3}
ABSURD: dict[str, Any] = {"learning_rate": 1e4, "clip": 0.0}


def metrics(folder: Path, event: str) -> list[tuple[int, float]]:
    return [(line["step"], line["metrics"]["validation_mrr"]) for line in lines(folder) if line["event"] == event]


def checkpointed(folder: Path, step: int) -> np.ndarray[Any, Any]:
    found = load_file(folder / "checkpoints" / f"step-{step:06d}" / "state.safetensors")
    table: np.ndarray[Any, Any] = found["module/encoder.embedding.weight"]
    return table


def chain(n: int) -> Rows:
    """Rows of which two neighbours share a query, or a key: groups of four, and one of eight."""
    query = [f"q{i // 2} here" for i in range(n)]
    key = [f"k{(i + 1) // 2 if i % 4 else f'own{i}'} there" for i in range(n)]
    return Rows(query=query, key=[*key[:3], key[4], *key[4:]])


# --- what is kept back ---


@pytest.mark.parametrize("seed", range(4))
def test_no_text_is_on_both_sides(seed: int) -> None:
    data = chain(240)
    positives = Columns(data)
    kept, validation = validation_rows(positives, 0.15, seed)
    assert sorted([*kept, *validation]) == list(range(240))
    assert 20 <= len(validation) <= 60
    texts = [{data.cells[name][i] for name in data.cells for i in part.tolist()} for part in (kept, validation)]
    assert not texts[0] & texts[1]


def test_negatives_of_a_row_are_kept_back_with_it() -> None:
    n = 120
    data = Rows(
        query=[f"q{i}" for i in range(n)],
        key=[f"k{i}" for i in range(n)],
        negative=[f"k{(i // 2) * 2 + 1 - i % 2}" for i in range(n)],  # the other's key
    )
    kept, validation = validation_rows(Columns(data), 0.2, 0)
    assert len(validation) >= 20
    assert not {i // 2 for i in kept.tolist()} & {i // 2 for i in validation.tolist()}


def test_the_draw_follows_content_and_seed() -> None:
    data = rows(200)
    order = np.random.default_rng(1).permutation(200)
    moved = Rows(**{name: [cells[i] for i in order.tolist()] for name, cells in data.cells.items()})
    _, drawn = validation_rows(Columns(data), 0.2, 0)
    _, again = validation_rows(Columns(moved), 0.2, 0)
    assert len(drawn) == 40
    assert {data.cells["query"][i] for i in drawn} == {moved.cells["query"][i] for i in again}
    assert set(drawn) != set(validation_rows(Columns(data), 0.2, 1)[1])


@pytest.mark.parametrize(("n", "size"), [(79, 0), (80, 20), (160, 40), (300, 45), (6000, 200)])
def test_how_many_are_kept_back(n: int, size: int) -> None:
    assert len(validation_rows(Columns(rows(n)), 0.15, 0)[1]) == size


def test_large_groups_are_for_training() -> None:
    sizes = [60, *[8] * 15, *[2] * 30]  # of groups; a share of 0.2 wants 48 rows, of groups of at most 4
    group = np.repeat(np.arange(len(sizes)), sizes).tolist()
    data = Rows(query=[f"q{g}" for g in group], key=[f"k{i}" for i in range(len(group))])
    _, drawn = validation_rows(Columns(data), 0.2, 0)
    assert len(drawn) == 48
    assert len({group[i] for i in drawn.tolist()}) == 24


def test_rows_of_few_groups_are_not_kept_back() -> None:
    data = Rows(query=[f"q{i // 30}" for i in range(240)], key=[f"k{i}" for i in range(240)])
    assert len(validation_rows(Columns(data), 0.2, 0)[1]) == 0


def test_the_sampler_draws_the_others_equally_often() -> None:
    parts = [Columns(rows(60)), Columns(rows(40, seed=1))]
    for positives in (parts[0], Mixture(parts)):
        mixings: list[dict[str, Any]] = [{}, {"mixing": "round_robin"}]
        for more in mixings:
            kept = np.setdiff1d(np.arange(len(positives)), np.arange(0, len(positives), 4))
            sampler = Sampler.of(positives, Settings(batch_size=15, **more), kept)
            steps = sampler.steps(1.0)
            assert steps == len(kept) // 15
            drawn = np.concatenate([sampler.batch(step) for step in range(4 * steps)])
            assert np.isin(drawn, kept).all()
            if not more or positives is parts[0]:
                assert np.bincount(drawn, minlength=len(positives))[kept].tolist() == [4] * len(kept)


def test_mined_negatives_lack_the_keys_that_are_kept_back() -> None:
    positives = Columns(Rows(query=[f"q{i}" for i in range(6)], key=["a", "b", "c", "b", "d", "e"]))
    mined = np.array([[1, 3], [2, -1], [1, 4], [0, 5], [5, 1], [-1, -1]])
    found = without_validation(mined, positives, np.array([1, 3]))
    assert found.tolist() == [[-1, -1], [2, -1], [-1, 4], [0, 5], [5, -1], [-1, -1]]
    assert mined[0, 0] == 1  # not changed in place
    mixed = Mixture([Columns(rows(3)), positives])
    both = np.concatenate([np.zeros((3, 2), np.int64), mined])
    assert without_validation(both, mixed, np.array([4, 6])).tolist() == [[0, 0]] * 3 + found.tolist()


def test_a_run_neither_trains_on_what_is_kept_back_nor_mines_it(tmp_path: Path) -> None:
    class Everything:
        """Mines every key of the data."""

        identity: ClassVar[dict[str, Any]] = {}

        def __call__(self, model: Model, positives: Minable, step: int, steps: int) -> MinedNegatives:
            return MinedNegatives(self.random_negatives(positives), {"found": 1})

        def random_negatives(self, positives: Minable) -> np.ndarray[Any, Any]:
            return np.tile(np.arange(100), (100, 1))

    seen: list[np.ndarray[Any, Any]] = []

    class Watched(Columns):
        def batch(self, examples: Any, queued: Any = None) -> Any:
            found = super().batch(examples, queued)
            if len(examples) == 16:
                seen.extend([found.rows["query"], found.rows["key"]])
            return found

    positives = Watched(rows(100))
    _, validation = validation_rows(Columns(rows(100)), 0.2, 0)
    given = {**SETTINGS, **STEPS, "refresh_every": 4}
    fit(Static(dim=16, vocabulary=300), positives, InfoNCE(), out=tmp_path, refresh=Everything(), quiet=True, **given)
    used = set(np.concatenate(seen).tolist())
    assert len(used) == 75 and not used & set(validation.tolist())


# --- what is measured ---


def test_the_reciprocal_rank_of_the_best_positive() -> None:
    cosines = torch.tensor([[0.9, 0.5, 0.7, 0.1], [0.2, 0.3, 0.3, 0.0], [0.9, 0.8, 0.7, 0.6]])
    ids = torch.arange(3)
    keys = torch.tensor([0, 1, 2, 3])
    pairs = Pairs(ids, ids, keys, keys + 10)
    assert reciprocal_ranks(cosines, pairs).tolist() == [1.0, 0.5, 1 / 3]  # of a tie the negative comes first
    known = Known(torch.tensor([2, 0, 2]), torch.tensor([1, 0, 0]), torch.tensor([1.0, 0.0, 0.0]))
    other = Pairs(torch.tensor([2, 1, 2]), ids, keys, keys + 10, known=known)
    assert reciprocal_ranks(cosines, other).tolist() == [1.0, 0.5, 1.0]  # what is ignored comes before nothing


def test_it_is_what_the_shipped_model_gives(tmp_path: Path) -> None:
    run = train(tmp_path, rows(100), heads={"projection": Mlp(sizes=[8], dim=16)}, micro_batch=5, **STEPS)
    data = rows(100)
    kept, validation = validation_rows(Columns(data), 0.2, 0)
    cells = [*validation.tolist(), *kept.tolist()]
    keys = run.model.embed([data.cells["key"][i] for i in cells], "key")
    queries = run.model.embed([data.cells["query"][i] for i in validation], "query")
    cosines = queries @ keys.T
    own = cosines[np.arange(len(validation)), np.arange(len(validation))]
    expected = (1.0 / (cosines >= own[:, None] - 1e-6).sum(1)).mean()
    ((_, value),) = metrics(tmp_path, "select")
    assert value == pytest.approx(expected, abs=1e-3)


# --- what ships ---


def told(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> None:
    """Let the validations give these values, one after the other."""
    left = iter(values)
    monkeypatch.setattr(ValidationRanks, "__call__", lambda _: np.array([next(left)]))


@pytest.mark.parametrize(
    ("values", "best"),
    [([0.1, 0.5, 0.4, 0.3, 0.2], 3), ([0.1, 0.2, 0.5, 0.5, 0.4], 9), ([0.5, 0.4, 0.3, 0.2, 0.5], 12)],
)
def test_exactly_the_best_weights_ship(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: list[float], best: int
) -> None:
    told(monkeypatch, values)
    judged: list[bytes] = []

    def evaluate(model: Model) -> dict[str, float]:
        assert isinstance(model.encoder, Static)
        judged.append(model.encoder.embedding.weight.detach().numpy().tobytes())
        return {"mrr@10": float(len(judged))}

    run = train(tmp_path, rows(100), keep=1, evaluate=evaluate, **STEPS)
    assert metrics(tmp_path, "validate") == list(zip((0, 3, 6, 9, 12), values, strict=True))
    assert metrics(tmp_path, "select") == [(best, max(values))]
    assert np.array_equal(weights(run), checkpointed(tmp_path, best))
    assert judged == [weights(run).tobytes()]  # once, and what ships, not the last weights
    assert run.metrics == {"mrr@10": 1.0}
    assert not any("starting weights" in warning for warning in run.warnings)
    places = sorted(int(place.name[5:]) for place in (tmp_path / "checkpoints").iterdir())
    assert places == sorted({best, 12})


def test_the_start_ships_bit_by_bit_where_training_hurts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(tmp_path, rows(100), encoder=(encoder := Static(dim=16, vocabulary=300)), **STEPS, **ABSURD)
    assert encoder is run.model.encoder
    assert metrics(tmp_path, "select")[0][0] == 0
    assert np.array_equal(weights(run), checkpointed(tmp_path, 0))
    assert not np.array_equal(weights(run), checkpointed(tmp_path, 12))
    assert KEPT_START in run.warnings and KEPT_START in capsys.readouterr().err
    untrained = train(tmp_path / "still", rows(100), **STEPS, learning_rate=1e-30)
    assert np.allclose(weights(untrained), weights(run), atol=1e-12)
    assert run.model.fingerprint == Model.load(tmp_path / "model").fingerprint


def test_nothing_is_claimed_of_weights_that_cannot_be_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told(monkeypatch, [0.5, 0.1, 0.2, 0.3, 0.4])
    finish = selection.WeightSelection.finish

    def damaged(self: selection.WeightSelection) -> int:
        (self.checkpointer.folder / "step-000000" / "manifest.json").unlink()
        return finish(self)

    monkeypatch.setattr(selection.WeightSelection, "finish", damaged)
    with pytest.warns(UserWarning, match=r"step-000000, the best, is not whole .* the last weights are kept"):
        run = train(tmp_path, rows(100), evaluate=lambda _: {"mrr@10": 1.0}, **STEPS)
    assert KEPT_START not in run.warnings
    assert not metrics(tmp_path, "select")
    assert np.array_equal(weights(run), checkpointed(tmp_path, 12))
    assert [line["step"] for line in lines(tmp_path) if line["event"] == "evaluate"] == [12]


def test_patience_counts_validations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told(monkeypatch, [0.1, 0.5, 0.4, 0.3, 0.9])
    run = train(tmp_path, rows(100), patience=2, evaluate=lambda _: {"mrr@10": 1.0}, **STEPS)
    assert [step for step, _ in metrics(tmp_path, "validate")] == [0, 3, 6, 9]
    assert np.array_equal(weights(run), checkpointed(tmp_path, 3))


def test_it_validates_half_way_and_at_the_end_where_nothing_is_asked_for(tmp_path: Path) -> None:
    train(tmp_path, rows(100), steps=18, validation=0.2)
    assert [step for step, _ in metrics(tmp_path, "validate")] == [0, 9, 18]


@pytest.mark.parametrize("stop", [1, 3, 7])
def test_a_resumed_run_selects_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int) -> None:
    whole = train(tmp_path / "whole", rows(100), **STEPS)
    real = selection.WeightSelection.__call__

    def interrupted(self: selection.WeightSelection, step: int) -> bool:
        if step == stop:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, step)

    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(selection.WeightSelection, "__call__", interrupted)
        train(tmp_path / "cut", rows(100), **STEPS)
    resumed = train(tmp_path / "cut", rows(100), resume=True, **STEPS)
    assert np.array_equal(weights(whole), weights(resumed))
    assert metrics(tmp_path / "cut", "validate") == metrics(tmp_path / "whole", "validate")
    assert metrics(tmp_path / "cut", "select") == metrics(tmp_path / "whole", "select")
    again = train(tmp_path / "cut", rows(100), resume=True, **STEPS)  # of a run that has ended
    assert np.array_equal(weights(again), weights(whole))


def _rank(ranks: Ranks, folder: Path) -> None:
    run = train(folder, rows(100), **STEPS, **ABSURD)
    assert KEPT_START in run.warnings
    np.save(folder / f"rank{ranks.rank}.npy", weights(run))


def test_all_ranks_have_the_selected_weights(tmp_path: Path, cache: Path) -> None:
    in_ranks(2, _rank, tmp_path)
    first, second = (np.load(tmp_path / f"rank{rank}.npy") for rank in range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(first, checkpointed(tmp_path, 0))


# --- where it cannot be done ---


def test_too_few_pairs_are_said_and_the_last_weights_ship(tmp_path: Path) -> None:
    run = train(tmp_path, rows(64), evaluate=lambda _: {"mrr@10": 1.0}, **STEPS)
    assert NO_VALIDATION in run.warnings
    assert not metrics(tmp_path, "validate")
    assert np.array_equal(weights(run), checkpointed(tmp_path, 12))
    assert run.metrics == {"mrr@10": 1.0}


def test_patience_needs_something_to_count() -> None:
    with pytest.raises(InputError, match=r"give training\.evaluate_every or training\.validation, too"):
        Settings(patience=2)
    assert Settings(patience=2, validation=0.2).patience == 2


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_a_share_is_below_one(value: float) -> None:
    with pytest.raises(InputError, match=r"training\.validation is a share"):
        Settings(validation=value)


def test_without_it_nothing_is_validated(tmp_path: Path) -> None:
    run: Run = train(tmp_path, rows(100), steps=12)
    assert not metrics(tmp_path, "validate")
    assert np.array_equal(weights(run), checkpointed(tmp_path, 12))


def test_texts_that_the_encoder_reads_alike_are_not_parted() -> None:
    rows = [{"query": f"Word{i} here", "key": f"answer {i}"} for i in range(100)]
    rows += [{"query": f"WORD{i} HERE", "key": f"another {i}"} for i in range(100)]
    positives, encoder = Columns(Table(rows)), Static(dim=8, vocabulary=400)
    encoder.prepare(list(positives.views.values()))
    aliases = aliases_of(encoder, positives)
    assert len(aliases) == 100
    train, validation = validation_rows(positives, 0.2, 0, aliases)
    assert len(validation) == 40 and not set(train % 100) & set(validation % 100)
