"""Augmented views in training: drawn by seed, epoch, example and view, and by nothing else. They may be any cells."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from nearfar.abilities import for_reader
from nearfar.augmentations.image import ImageAugmentation
from nearfar.augmentations.text_cloze import TextCloze
from nearfar.augmentations.text_crop import TextCrop
from nearfar.augmentations.text_noise import TextNoise
from nearfar.compute.draws import Draws
from nearfar.compute.ranks import Ranks
from nearfar.contracts import Positives, StreamedAugmentation
from nearfar.encoders.image import Image
from nearfar.encoders.static import Static
from nearfar.errors import InputError
from nearfar.losses.infonce import InfoNCE
from nearfar.positives.columns import Columns
from nearfar.positives.relations.augmented import augmented_cells
from nearfar.positives.relations.view import ViewEntry
from nearfar.positives.views import Views
from nearfar.training.batches import BatchReader
from nearfar.training.dry_run import dry_run
from nearfar.training.fit import Run, fit
from nearfar.training.mixture import Mixture
from nearfar.training.order import MixedStream, MixingSchedule, Sampler
from nearfar.training.settings import Settings
from tests.training.runs import SETTINGS, Rows, in_ranks, rows, weights
from tests.training.test_fit import BrokenOffError, stop_at
from tests.training.test_validation import events

N = 20
TWO_CROPS = [ViewEntry(TextCrop(), side="query"), ViewEntry(TextCrop(), side="key")]


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
    return Views(notes(n, name), views=TWO_CROPS)


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
    query, key = read(Views(Rows(text=texts), views=[ViewEntry(TextCloze(keep=0.0))]), 1)
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
    return Mixture(
        [
            Views(notes(40), views=[ViewEntry(TextNoise(0.3, 0.3), 1, "query"), ViewEntry(side="key")]),
            Columns(rows(30)),
        ]
    )


def train(folder: Path, **more: Any) -> Run:
    given = {**SETTINGS, "steps": 12, **more}
    return fit(Static(dim=16, vocabulary=300), augmented(), InfoNCE(), out=folder, quiet=True, **given)


def test_a_resumed_run_sees_what_it_would_have_seen(tmp_path: Path, cache: Path) -> None:
    whole = weights(train(tmp_path / "whole"))
    with pytest.raises(BrokenOffError):
        train(tmp_path / "run", evaluate=stop_at(7), evaluate_every=1)
    assert np.array_equal(weights(train(tmp_path / "run", resume=True)), whole)
    other = Mixture(
        [
            Views(notes(40), views=[ViewEntry(TextNoise(0.3, 0.2), 1, "query"), ViewEntry(side="key")]),
            Columns(rows(30)),
        ]
    )
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
    def __call__(self, cells: list[str], draws: Draws) -> list[str]:
        return ["a word", *[" "] * (len(cells) - 1)]


class _Fewer:
    def __call__(self, cells: list[str], draws: Draws) -> list[str]:
        return cells[1:]


def test_a_view_that_leaves_nothing_is_named() -> None:
    positives = Views(notes(), views=[ViewEntry(_Blank(), 2)])
    second = int(Sampler(N, 8, 0).batch(0)[1])
    with pytest.raises(InputError, match=f"view 'view': nothing is left of row {second + 1};"):
        read(positives, 1)
    with pytest.raises(InputError, match="view 'view': its augmentation made 7 of 8 cells"):
        read(Views(notes(), views=[ViewEntry(_Fewer(), 2)]), 1)


def test_many_views_of_both_sides_are_drawn_by_stream_and_by_example_alone() -> None:
    """Three views of each document, all of them queries and keys: resumed, divided, or cut into other batches."""
    three = Views(notes(), views=[ViewEntry(TextCrop(fewest=2), 3)])
    found = read(three, 4)
    assert len(found) == 3 * 4
    sampler = Sampler(N, 8, 0)
    for step in range(4):
        epochs = sampler.epochs(step)
        for place, (example, epoch) in enumerate(zip(sampler.batch(step).tolist(), epochs.tolist(), strict=True)):
            for stream in range(3):
                draws = Draws.of(np.array([[0, epoch, example]]), stream)
                assert [found[3 * step + stream][place]] == TextCrop(fewest=2)([notes().cells["text"][example]], draws)
    parts = [read(three, 4, ranks=Ranks(index, 3)) for index in range(3)]
    assert [[text for part in parts for text in part[i]] for i in range(len(found))] == found


@pytest.mark.parametrize("more", [{}, {"queue": 32, "keys": "momentum", "momentum": 0.9}, {"micro_batch": 6}])
def test_all_views_are_trained_on_alone_and_in_a_mixture(more: dict[str, Any], tmp_path: Path, cache: Path) -> None:
    """Two large crops on both sides and two small ones as queries are told apart, whatever the step does with them.

    Then InfoNCE is at its least: log 2 for a small crop, which has two positives, 0 for a large one, which has the
    other; key-to-query log 3 for each large one. A query with one key lowers the mean.
    """
    least = (np.log(2) / 2 + np.log(3)) / 2
    views = [ViewEntry(TextCrop(0.5, 0.9), 2), ViewEntry(TextCrop(0.2, 0.4), 2, "query")]
    parts: dict[str, Positives] = {
        "alone": Views(notes(40), views=views),
        "mixed": Mixture([Views(notes(40), views=views), Columns(rows(40))]),
    }
    for name, positives in parts.items():
        given = {**SETTINGS, "steps": 40, "learning_rate": 0.05, **more}
        fit(Static(dim=16, vocabulary=300), positives, InfoNCE(), out=tmp_path / name, quiet=True, **given)
        losses = [event["loss"] for event in events(tmp_path / name, "step")]
        assert losses[-1] == pytest.approx(least, rel=0.01) if name == "alone" else losses[-1] < least


class _Scale:
    """Arrays times a number of their own; of arrays alike it gets one tensor, else a list."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __call__(self, cells: Any, draws: Draws) -> Any:
        self.seen.append(cells)
        factors = draws.uniform(1, 0.5, 2.0)
        if isinstance(cells, torch.Tensor):
            return cells * factors
        return [cell * factor for cell, factor in zip(cells, factors[:, 0].tolist(), strict=True)]


def test_arrays_alike_are_augmented_as_one_tensor_and_others_one_by_one() -> None:
    alike = [np.full(3, i + 1, np.float32) for i in range(N)]
    kept = [cell.copy() for cell in alike]
    unlike = [np.full(3 + i % 2, i + 1, np.float32) for i in range(N)]
    scale = _Scale()
    one, two = (read(Views(Rows(array=cells), views=[ViewEntry(scale, 2)]), 1) for cells in (alike, unlike))
    assert [type(cells) for cells in scale.seen] == [torch.Tensor, torch.Tensor, list, list]
    examples = Sampler(N, 8, 0).batch(0).tolist()
    for tensors, arrays in zip(one, two, strict=True):  # the same draws, however the cells come
        for example, tensor, array in zip(examples, tensors, arrays, strict=True):
            assert float(tensor[0]) == pytest.approx(float(array[0]), rel=1e-6)
            assert 0.5 * (example + 1) <= float(tensor[0]) < 2 * (example + 1)
    assert all(np.array_equal(cell, before) for cell, before in zip(alike, kept, strict=True))
    nothing = Views(Rows(array=alike), views=[ViewEntry(lambda cells, draws: cells[:, :0], 2)])
    with pytest.raises(InputError, match=f"nothing is left of row {examples[0] + 1};"):
        read(nothing, 1)


def test_prompts_stand_before_texts_only() -> None:
    settings = Settings(batch_size=8)
    for positives in (crops(), Views(Rows(array=[np.ones(3)] * N), views=[ViewEntry(_Scale(), 2)])):
        encoder: Any = ReadingEncoder()
        encoder.prompts = {"query": "ask: ", "key": "ask: "}
        BatchReader(positives, {}, Sampler.of(positives, settings), settings, Ranks(), encoder)(0)
        for cell in (cell for cells in encoder.cells for cell in cells):
            assert cell.startswith("ask: d") if isinstance(cell, str) else len(cell) == 3


def test_a_scale_of_views_is_refused_without_augmented_pictures(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"view_scale is of augmented pictures"):
        train(tmp_path / "run", view_scale=0.5)


@pytest.mark.parametrize(("size", "share", "expected"), [(28, 0.95, 28), (8, 0.5, 8), (64, 0.5, 32), (28, 0.6, 16)])
def test_scaled_views_are_no_larger_than_what_the_encoder_reads(size: int, share: float, expected: int) -> None:
    scaled = for_reader(StreamedAugmentation(ImageAugmentation("simclr"), 0), Image("small", size=size), share)
    picture = np.zeros((40, 50, 3), np.uint8)
    [view] = augmented_cells(scaled, [picture], np.zeros((1, 3), np.int64), "view", np.zeros(1, np.int64))
    assert view.shape == (expected, expected, 3)
