"""Augmented views in training: drawn by seed, epoch, example and view, and by nothing else."""

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
from nearfar.training.order import MixedStream, MixingSchedule, Sampler
from nearfar.training.settings import Settings
from tests.training.runs import SETTINGS, Rows, in_ranks, rows, weights
from tests.training.test_fit import BrokenOffError, stop_at

N = 20


class ReadingEncoder:
    """An encoder that keeps the cells that it makes inputs of."""

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
    """Return the cells that an encoder gets in the first steps, a list for each view of each step."""
    settings, encoder = Settings(batch_size=batch, **more), ReadingEncoder()
    reader = BatchReader(positives, {}, Sampler.of(positives, settings), settings, ranks or Ranks(), encoder)  # type: ignore[arg-type]
    for step in range(steps):
        reader(step)
    return encoder.cells


def test_an_augmentation_is_drawn_by_seed_epoch_example_and_view() -> None:
    found = read(crops(), 10)
    assert found == read(crops(), 10)
    assert found != read(crops(), 10, seed=1)
    sampler = Sampler(N, 8, 0)
    seen: dict[tuple[int, int, int], str] = {}
    for step in range(10):
        for place, (example, epoch) in enumerate(zip(sampler.batch(step), sampler.epochs(step), strict=True)):
            for side in (0, 1):
                text = found[2 * step + side][place]
                assert text.split()[0].startswith(f"d{example}w")
                assert text == seen.setdefault((int(epoch), int(example), side), text)
    assert len(seen) == 10 * 8 * 2  # no example comes twice in an epoch, and hardly any text twice at all
    assert len({(example, text) for (_, example, _), text in seen.items()}) > 0.9 * len(seen)
    smaller = read(crops(), 40, batch=2)  # however the epochs are cut into batches
    assert {text for texts in smaller for text in texts} == {text for texts in found for text in texts}


def test_ranks_read_the_augmentations_of_one_process() -> None:
    alone = read(crops(), 3)
    parts = [read(crops(), 3, ranks=Ranks(index, 3)) for index in range(3)]
    assert [[text for part in parts for text in part[i]] for i in range(len(alone))] == alone


def test_halves_of_one_draw_belong_together() -> None:
    texts = [" ".join(f"D{i} sentence {j}." for j in range(5)) for i in range(N)]
    query, key = read(Views(Rows(text=texts), query=TextCloze(keep=0.0)), 1)
    for span, rest in zip(query, key, strict=True):
        assert any(sorted(f"{span} {rest}".split()) == sorted(text.split()) for text in texts)


@pytest.mark.parametrize("mixing", ["proportional", "round_robin", "temperature"])
def test_several_data_sets_keep_their_augmentations(mixing: str) -> None:
    """An augmented text is of its own data set, and comes once an epoch."""
    both = Mixture([crops(6, "a"), crops(13, "b")])
    assert sorted(both.augmentations) == ["0/key", "0/query", "1/key", "1/query"]
    found = read(both, 12, mixing=mixing)
    settings = Settings(batch_size=8, mixing=mixing)  # type: ignore[arg-type]
    sampler, seen = Sampler.of(both, settings), []
    for step in range(12):
        for example, epoch in zip(sampler.batch(step).tolist(), sampler.epochs(step).tolist(), strict=True):
            seen.append((example, epoch))
    assert len(set(seen)) == len(seen)
    assert sum(map(len, found)) == 2 * 8 * 12
    names = [text.split()[0].split("w")[0] for texts in found for text in texts]
    expected = [f"a{e}" if e < 6 else f"b{e - 6}" for e, _ in seen]
    assert sorted(names) == sorted(2 * expected)


@pytest.mark.parametrize("slot_size", [1, 8])
def test_an_epoch_of_a_mixture_is_that_of_the_examples_data_set(slot_size: int) -> None:
    sizes = [3, 10]
    stream = MixedStream(sizes, MixingSchedule([1, 1], 0), 8, slot_size=slot_size)
    examples, epochs = stream(0, 160), stream.epochs(0, 160)
    for d, first in enumerate([0, 3]):
        of_dataset = (examples >= first) & (examples < first + sizes[d])
        assert epochs[of_dataset].tolist() == [i // sizes[d] for i in range(int(of_dataset.sum()))]
    assert stream.epochs(37, 61).tolist() == epochs[37:61].tolist()


def augmented() -> Mixture:
    """Return a mixture of an augmented data set and one that is read unchanged."""
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
    if ranks.is_first:
        save_file({"weights": found}, folder / f"{ranks.world_size}.safetensors")


def test_one_process_or_two_see_and_learn_the_same(tmp_path: Path, cache: Path) -> None:
    _trained(Ranks(), tmp_path, cache)
    in_ranks(2, _trained, tmp_path, cache)
    one, two = (load_file(tmp_path / f"{of}.safetensors")["weights"] for of in (1, 2))
    np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-6)


def test_a_dry_run_sees_augmented_texts(cache: Path) -> None:
    encoder = dry_run(Static(dim=16, vocabulary=300), crops(), InfoNCE(), batch_size=8, device="cpu").facts["batch"]
    assert all(example["query"] != example["key"] for example in encoder)


class _Blank:
    def __call__(self, cell: str, generator: np.random.Generator) -> str:
        return " "


def test_a_view_that_leaves_nothing_is_named() -> None:
    with pytest.raises(InputError, match="view 'query': nothing is left of row "):
        read(Views(notes(), query=_Blank(), key=_Blank()), 1)
