"""The contact sheet: neighbours and marks as a slow search finds them, the same each time, of pictures alone."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from nearfar.evaluation.contact_sheet import BEST, DRAWN, NEIGHBOURS, TEXTS, WORST, contact_sheet
from nearfar.evaluation.evaluate import evaluate
from nearfar.evaluation.predictions import predictions_of
from nearfar.tasks import Labels
from tests.evaluation.models import Means, Words, labelled, retrieval

pillow = pytest.importorskip("PIL.Image", reason="the extra images is not installed")


def coloured(count: int, seed: int) -> tuple[list[np.ndarray], list[int]]:
    """Return pictures of two classes that overlap in colour."""
    draw = np.random.default_rng(seed)
    labels = [int(one) for one in draw.integers(0, 2, count)]
    centre = np.array([[150, 90, 90], [90, 90, 150]])
    means = [(centre[label] + draw.normal(0, 35, 3)).clip(0, 255) for label in labels]
    return [np.full((8, 8, 3), mean, np.uint8) for mean in means], labels


@pytest.fixture
def task() -> Labels:
    cells, labels = coloured(60, 0)
    train, train_labels = coloured(80, 1)
    return labelled(cells, labels, train, train_labels)


def tiles(sheet: dict[str, Any], files: dict[str, bytes]) -> list[np.ndarray]:
    image = np.asarray(pillow.open(io.BytesIO(files[sheet["file"]])).convert("RGB"))
    side, columns = sheet["tile"], sheet["columns"]
    places = [divmod(i, columns) for i in range(columns * sheet["rows"])]
    return [image[r * side : (r + 1) * side, c * side : (c + 1) * side] for r, c in places]


def test_neighbours_are_the_nearest_training_cells_and_marked_by_their_class(task: Labels) -> None:
    sheet, files = contact_sheet(task, predictions_of(Means(), task, 0), 0)
    vectors, train = Means().embed(task.cells.read(0, 60)), Means().embed(task.train.read(0, 80))
    drawn = tiles(sheet, files)
    queries = [query for group in sheet["groups"] for query in group["queries"]]
    assert [group["name"] for group in sheet["groups"]] == ["drawn", "best", "worst"]
    assert [len(group["queries"]) for group in sheet["groups"]] == [DRAWN, BEST, WORST]
    colours = np.array([cell.mean((0, 1)) for cell in task.cells.read(0, 60)])
    for query in queries:
        colour = drawn[query["tile"]].mean((0, 1))
        row = int(np.abs(colours - colour).sum(1).argmin())  # WebP changes a colour a little
        assert query["text"] == task.classes[task.labels[row]]
        order = sorted(range(80), key=lambda j: -float(vectors[row].astype(float) @ train[j]))[:NEIGHBOURS]
        assert [one["right"] for one in query["found"]] == [task.train_labels[j] == task.labels[row] for j in order]
        assert [one["score"] for one in query["found"]] == pytest.approx(
            [float(vectors[row] @ train[j]) for j in order], abs=1e-3
        )
        for one, j in zip(query["found"], order):
            assert np.abs(drawn[one["tile"]].mean((0, 1)) - task.train.read(j, j + 1)[0].mean((0, 1))).max() < 12
        assert query["right"] == sum(one["right"] for one in query["found"])
        assert ("expected" in query) == (query["right"] == 0)
    best, worst = ([query["right"] for query in sheet["groups"][i]["queries"]] for i in (1, 2))
    assert min(best) > max(worst)


def test_best_and_worst_are_of_different_classes_and_all_queries_differ(task: Labels) -> None:
    sheet = contact_sheet(task, predictions_of(Means(), task, 0), 0)[0]
    for group in sheet["groups"][1:]:
        assert {query["text"] for query in group["queries"][:2]} == {"even", "odd"}
    all_of_them = [query["tile"] for group in sheet["groups"] for query in group["queries"]]
    assert len(set(all_of_them)) == len(all_of_them)


def test_the_same_seed_gives_the_same_sheet_to_the_byte(task: Labels) -> None:
    predictions = predictions_of(Means(), task, 0)
    first, again, other = (contact_sheet(task, predictions, seed) for seed in (0, 0, 1))
    assert first == again
    assert first[0]["groups"][0] != other[0]["groups"][0]


def test_pictures_to_be_found_are_right_where_they_are_relevant_and_texts_may_ask() -> None:
    pictures = [np.full((5, 5, 3), (20 * i, 250 - 20 * i, 100), np.uint8) for i in range(12)]
    wrong = {i: {(i + 6) % 12: 1} for i in range(6)}  # the right answer is far
    task = retrieval([*pictures[:6], *pictures[6:]], pictures, {**wrong, **{i: {i: 1} for i in range(6, 12)}})
    sheet, files = contact_sheet(task, predictions_of(Means(), task, 0), 0)
    assert sheet["kind"] == "retrieval" and len(files) == 1
    by_name = {group["name"]: group["queries"] for group in sheet["groups"]}
    assert all(query["found"][0]["right"] and query["rank"] == 1 for query in by_name["best"])
    assert all(not query["found"][0]["right"] for query in by_name["worst"])
    missed = [query for group in by_name.values() for query in group if query["right"] == 0]
    assert missed and all("expected" in query for query in missed)

    class Both(Means):
        def embed(self, cells: list[Any], /, role: str | None = None) -> np.ndarray:
            return super().embed([pictures[int(cell)] if isinstance(cell, str) else cell for cell in cells])

    asked = retrieval([str(i) for i in range(12)], pictures, {i: {i: 1} for i in range(12)})
    sheet = contact_sheet(asked, predictions_of(Both(), asked, 0), 0)[0]
    assert {query["tile"] for group in sheet["groups"] for query in group["queries"]} == {None}
    assert sheet["groups"][0]["queries"][0]["text"].isdigit()


def test_pictures_that_ask_have_the_first_texts_and_one_of_their_own_where_none_is_right() -> None:
    pictures = [np.full((5, 5, 3), (20 * i, 250 - 20 * i, 100), np.uint8) for i in range(12)]

    class Both(Means):
        def embed(self, cells: list[Any], /, role: str | None = None) -> np.ndarray:
            return super().embed([pictures[int(cell[0], 12)] if isinstance(cell, str) else cell for cell in cells])

    texts = [f"{'0123456789ab'[i // 2]} {'x' * 300}" for i in range(24)]
    relevance = {i: {2 * ((i + 6 * (i < 6)) % 12): 1, 2 * ((i + 6 * (i < 6)) % 12) + 1: 1} for i in range(12)}
    task = retrieval(pictures, texts, relevance)
    sheet, files = contact_sheet(task, predictions_of(Both(), task, 0), 0)
    assert len(files) == 1
    for group in sheet["groups"]:
        for query in group["queries"]:
            assert query["tile"] is not None and len(query["found"]) == TEXTS
            assert all(one["tile"] is None and len(one["text"]) <= 160 for one in query["found"])
            assert query["right"] == sum(one["right"] for one in query["found"])
            assert ("expected" in query) == (query["right"] == 0)
            if query["right"] == 0:
                assert query["expected"]["tile"] is None and query["expected"]["text"]
    by_name = {group["name"]: group["queries"] for group in sheet["groups"]}
    assert all(query["found"][0]["right"] for query in by_name["best"])
    assert all(not query["found"][0]["right"] for query in by_name["worst"])


def test_texts_have_no_sheet_and_pictures_stay_out_of_the_json(task: Labels) -> None:
    texts = retrieval(["p a", "q b"], ["a p", "b q"], {0: {0: 1}, 1: {1: 1}})
    assert contact_sheet(texts, predictions_of(Words(), texts, 0), 0) == ({}, {})
    report = evaluate(Means(), task, resamples=5, baselines=[])
    assert set(report.pictures) == {report.sheet["file"], report.projection_map["file"]}
    assert "pictures" not in report.to_json()
    quick = evaluate(Means(), task, resamples=5, baselines=[], look=False)
    assert (quick.sheet, quick.projection_map, quick.pictures) == ({}, {}, {})
    assert quick.metrics == report.metrics
