"""Augmented views in training: drawn by seed, pass, example and view, and by nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from nearfar.augmentations.text_cloze import TextCloze
from nearfar.augmentations.text_crop import TextCrop
from nearfar.augmentations.text_noise import TextNoise
from nearfar.compute.ranks import Ranks
from nearfar.contracts import Positives
from nearfar.encoders.static import Static
from nearfar.errors import InputError
from nearfar.losses.infonce import InfoNCE
from nearfar.positives.columns import Columns
from nearfar.positives.views import Views
from nearfar.training.batches import BatchReader
from nearfar.training.dry_run import dry_run
from nearfar.training.fit import Run, fit
from nearfar.training.mixture import Mixture
from nearfar.training.order import MixedSampler, MixingSchedule, Sampler
from nearfar.training.settings import Settings
from tests.training.runs import SETTINGS, Rows, in_ranks, rows, weights
from tests.training.test_fit import BrokenOffError, stop_at

N = 20


class Told:
    """An encoder that keeps what it is given to read."""

    def __init__(self) -> None:
        self.cells: list[list[str]] = []

    def inputs(self, cells: list[str]) -> Any:
        self.cells.append(list(cells))
        return _Cells(cells)


class _Cells(list[str]):
    def join(self, others: Any) -> Any:
        return self


def notes(n: int = N, name: str = "d") -> Rows:
    return Rows(text=[" ".join(f"{name}{i}w{j}" for j in range(30)) for i in range(n)])


def crops(n: int = N, name: str = "d") -> Views:
    return Views(notes(n, name), query=TextCrop(), key=TextCrop())


def read(positives: Positives, steps: int, batch: int = 8, ranks: Ranks | None = None, **more: Any) -> list[list[str]]:
    """Return what an encoder is given to read, view by view, of the first steps."""
    chosen, told = Settings(batch_size=batch, **more), Told()
    reader = BatchReader(positives, {}, Sampler.of(positives, chosen), chosen, ranks or Ranks(), told)  # type: ignore[arg-type]
    for step in range(steps):
        reader(step)
    return told.cells


def test_a_look_is_drawn_by_seed_pass_example_and_view() -> None:
    found = read(crops(), 10)
    assert found == read(crops(), 10)
    assert found != read(crops(), 10, seed=1)
    sampler = Sampler(N, 8, 0)
    seen: dict[tuple[int, int, int], str] = {}
    for step in range(10):
        for place, (example, number) in enumerate(zip(sampler.batch(step), sampler.passes(step), strict=True)):
            for side in (0, 1):
                text = found[2 * step + side][place]
                assert text.split()[0].startswith(f"d{example}w")
                assert text == seen.setdefault((int(number), int(example), side), text)
    assert len(seen) == 10 * 8 * 2  # nothing comes twice, and next to nothing looks the same twice
    assert len({(example, text) for (_, example, _), text in seen.items()}) > 0.9 * len(seen)
    halves = read(crops(), 40, batch=2)  # however the passes are cut into batches
    assert {text for texts in halves for text in texts} == {text for texts in found for text in texts}


def test_ranks_read_the_looks_of_one_process() -> None:
    alone = read(crops(), 3)
    parts = [read(crops(), 3, ranks=Ranks(index, 3)) for index in range(3)]
    assert [[text for part in parts for text in part[i]] for i in range(len(alone))] == alone


def test_halves_of_one_draw_belong_together() -> None:
    texts = [" ".join(f"D{i} sentence {j}." for j in range(5)) for i in range(N)]
    query, key = read(Views(Rows(text=texts), query=TextCloze(keep=0.0)), 1)
    for span, rest in zip(query, key, strict=True):
        assert any(sorted(f"{span} {rest}".split()) == sorted(text.split()) for text in texts)


@pytest.mark.parametrize("mixing", ["proportional", "round_robin", "temperature"])
def test_several_data_sets_keep_their_looks(mixing: str) -> None:
    """A data set's looks are its own: of the right text, and seen once a pass."""
    both = Mixture([crops(6, "a"), crops(13, "b")])
    assert sorted(both.augmentations) == ["0/key", "0/query", "1/key", "1/query"]
    found = read(both, 12, mixing=mixing)
    chosen = Settings(batch_size=8, mixing=mixing)  # type: ignore[arg-type]
    sampler, seen = Sampler.of(both, chosen), []
    for step in range(12):
        for example, number in zip(sampler.batch(step).tolist(), sampler.passes(step).tolist(), strict=True):
            seen.append((example, number))
    assert len(set(seen)) == len(seen)
    assert sum(map(len, found)) == 2 * 8 * 12
    names = [text.split()[0].split("w")[0] for texts in found for text in texts]
    expected = [f"a{e}" if e < 6 else f"b{e - 6}" for e, _ in seen]
    assert sorted(names) == sorted(2 * expected)


@pytest.mark.parametrize("turn", [1, 8])
def test_the_number_of_a_pass_counts_a_data_sets_own_examples(turn: int) -> None:
    sizes = [3, 10]
    row = MixedSampler(sizes, MixingSchedule([1, 1], 0), 8, turn=turn)
    examples, passes = row(0, 160), row.passes(0, 160)
    for d, first in enumerate([0, 3]):
        mine = (examples >= first) & (examples < first + sizes[d])
        assert passes[mine].tolist() == [i // sizes[d] for i in range(int(mine.sum()))]
    assert row.passes(37, 61).tolist() == passes[37:61].tolist()


def augmented() -> Mixture:
    """Views beside columns: an augmented data set and one that is read once."""
    return Mixture([Views(notes(40), query=TextNoise(0.3, 0.3)), Columns(rows(30))])


def train(folder: Path, **more: Any) -> Run:
    given = {**SETTINGS, "steps": 12, **more}
    return fit(Static(dim=16, vocabulary=300), augmented(), InfoNCE(), out=folder, quiet=True, **given)


def test_a_resumed_run_sees_what_it_would_have_seen(tmp_path: Path, cache: Path) -> None:
    whole = weights(train(tmp_path / "whole"))
    with pytest.raises(BrokenOffError):
        train(tmp_path / "run", evaluate=stop_at(7), evaluate_every=1)
    assert np.array_equal(weights(train(tmp_path / "run", resume=True)), whole)
    other = Mixture([Views(notes(40), query=TextNoise(0.3, 0.2)), Columns(rows(30))])
    with pytest.raises(InputError, match=r"cannot resume, positives\.data"):
        fit(Static(dim=16, vocabulary=300), other, InfoNCE(), out=tmp_path / "run", resume=True, **SETTINGS)


def _trained(ranks: Ranks, folder: Path, cache: Path) -> None:
    os.environ["NEARFAR_CACHE"] = str(cache)
    found = weights(train(folder / f"ranks {ranks.world_size}", optimizer="sgd", learning_rate=0.5, steps=4))
    if ranks.first:
        save_file({"weights": found}, folder / f"{ranks.world_size}.safetensors")


def test_one_process_or_two_see_and_learn_the_same(tmp_path: Path, cache: Path) -> None:
    _trained(Ranks(), tmp_path, cache)
    in_ranks(2, _trained, tmp_path, cache)
    one, two = (load_file(tmp_path / f"{of}.safetensors")["weights"] for of in (1, 2))
    np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-6)


def test_a_dry_run_sees_looks(cache: Path) -> None:
    told = dry_run(Static(dim=16, vocabulary=300), crops(), InfoNCE(), batch_size=8, device="cpu").facts["batch"]
    assert all(example["query"] != example["key"] for example in told)


class _Nothing:
    def __call__(self, cell: str, generator: np.random.Generator) -> str:
        return " "


def test_a_view_that_leaves_nothing_is_named() -> None:
    with pytest.raises(InputError, match="view 'query': nothing is left of row "):
        read(Views(notes(), query=_Nothing(), key=_Nothing()), 1)
