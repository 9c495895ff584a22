"""Zero-shot classification beside values worked out by hand; templates, names, ties, and models that read no text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

import nearfar as nf
from nearfar.column import ListColumn
from nearfar.contracts import Predictions, TextSide
from nearfar.encoders.dual import Dual
from nearfar.errors import InputError
from nearfar.evaluation.evaluate import evaluate, judged_start
from nearfar.metrics.answers.class_vectors import class_vectors
from nearfar.metrics.zero_shot import ZeroShot
from nearfar.tasks import Labels
from nearfar.text.class_prompts import TEMPLATES, checked_classes, checked_templates, class_names
from tests.encoders.known_vectors import BLUE, GREEN, RED, KnownTexts, MeanColours

COLOURS: dict[str, list[float]] = {"tomato": [1, 0, 0], "leaf": [0, 1, 0.5], "sea": [0, 0, 1]}
QUICK: dict[str, Any] = {"resamples": 100}


def model(picture_side: str = "query", texts: dict[str, list[float]] = COLOURS) -> nf.Model:
    known, pictures = KnownTexts(texts), MeanColours()
    return nf.Model(Dual(pictures, known) if picture_side == "query" else Dual(known, pictures))


def task(cells: list[Any], labels: list[int], classes: list[str] | None = None, **more: Any) -> Labels:
    column, train = ListColumn("image", cells), ListColumn("train", [RED, GREEN, BLUE])
    names = ["tomato", "fresh_leaf", "the/deep/sea"] if classes is None else classes
    at = np.arange(3) % len(names)
    return Labels("colours", column, np.array(labels), train, at, names, np.arange(len(cells)), **more)


@pytest.mark.parametrize("side", ["query", "key"])
def test_pictures_are_told_by_names_whichever_side_reads_them(side: str) -> None:
    """Of 20 red, 20 green and 20 blue pictures 10 blue ones are labelled as leaves."""
    judged = task([RED, GREEN, BLUE] * 20, [0, 1, 2] * 10 + [0, 1, 1] * 10)
    report = evaluate(model(side), judged, "zero_shot", **QUICK)
    assert report.metrics["zero_shot"] == pytest.approx(50 / 60)
    assert report.metrics["zero_shot_balanced"] == pytest.approx((1 + 20 / 30 + 1) / 3)
    assert report.intervals["zero_shot"]["low"] < 50 / 60 < report.intervals["zero_shot"]["high"]
    assert report.baseline["majority"]["zero_shot"] == pytest.approx(20 / 60)  # of equal classes the first
    assert "zero_shot" in report.protocol["left out"]["pixels"]
    text = "key" if side == "query" else "query"
    assert report.protocol["model"]["text side"] == f"the {text} side"
    assert report.protocol["model"]["sides"] == {"cells": f"the {side} side"}  # no training cell is embedded
    assert report.by_class["classes"] == ["tomato", "fresh_leaf", "the/deep/sea"]
    assert report.by_class["cells"] == [20, 30, 10]
    assert report.by_class["values"]["zero_shot"] == pytest.approx([1, 2 / 3, 1])
    assert report.to_json()["by_class"]["cells"] == [20, 30, 10]


class Counting:
    """A model that keeps what it embeds: colours and words."""

    def __init__(self) -> None:
        self.inner, self.seen = model(), list[Any]()

    def embed(self, cells: list[Any], /, role: str | None = None) -> Any:
        self.seen += cells
        return self.inner.embed(cells, role="key" if isinstance(cells[0], str) else "query")


def test_no_training_cell_is_embedded_where_no_metric_looks_at_one() -> None:
    """Not by the model, nor a baseline, nor what it was before; with a metric that looks at them, all are."""
    judged = task([RED, GREEN, BLUE] * 8, [0, 1, 2] * 8)
    hidden = ListColumn("train", [BLUE - 40, RED + 30, GREEN + 20])  # alike to none of the judged ones
    judged = replace(judged, train=hidden)
    cells, trained = {RED.tobytes(), GREEN.tobytes(), BLUE.tobytes()}, {one.tobytes() for one in hidden.cells}
    for metrics, embedded in (("zero_shot", cells), (["zero_shot", "knn"], cells | trained)):
        one, other = Counting(), Counting()
        before = judged_start(one, judged, metrics, name="colours")
        report = evaluate(one, judged, metrics, start=before, baselines=[other, "pixels"], **QUICK)
        for counting in (one, other):
            pictures = [cell for cell in counting.seen if not isinstance(cell, str)]
            assert {picture.tobytes() for picture in pictures} == embedded
        assert report.metrics["zero_shot"] == 1
        assert set(report.sheet) >= {"groups"} and ("among" in report.sheet) == (embedded == cells)
    assert "pixels" in report.baseline


def test_without_training_cells_the_space_is_that_of_the_judged_ones() -> None:
    """Three cells of a class are each paired with another: equal ones, so they are as near as can be."""
    judged = task([RED, RED, RED, GREEN], [0, 0, 0, 1])
    report = evaluate(Counting(), judged, "zero_shot", **QUICK)
    assert report.protocol["model"]["columns"] == ["cells"]
    assert report.protocol["model"]["space"] == {"vectors": 4, "pairs": 3}  # the leaf has no other of its class
    assert report.metrics["alignment"] == pytest.approx(0, abs=1e-6)
    assert sum(report.histogram["positive"]) == 3
    for group in report.sheet["groups"]:
        for query in group["queries"]:
            assert len(query["found"]) == 3  # all others, and not itself


def test_a_metric_that_names_no_column_of_the_task_is_refused() -> None:
    class Wrong(ZeroShot):
        looks_at: ClassVar[tuple[str, ...]] = ("queries",)

    with pytest.raises(InputError, match="Wrong: looks_at names no column of a task of labels, which has cells and tr"):
        evaluate(Counting(), task([RED, GREEN], [0, 1]), Wrong(), **QUICK)


def test_a_class_is_the_mean_of_its_prompts_normalised_before_and_after() -> None:
    """The second prompt's vector is longer, and counts as much as the first."""
    table = {"a photo": [1.0, 0.0, 0.0], "a drawing": [0.0, 30.0, 0.0]}
    known = nf.Model(Dual(MeanColours(), KnownTexts(table)))
    found = class_vectors(lambda texts: known.embed(list(texts), role="key"), ["x"], ["a photo {}", "a drawing {}"])
    assert found == pytest.approx(np.array([[2**-0.5, 2**-0.5, 0]]))
    one, other = np.eye(2, dtype=np.float32)
    with pytest.raises(InputError, match="class 'x': its prompts cancel"):
        class_vectors(lambda texts: np.stack([one, -one]), ["x"], ["{}", "a {}"])
    with pytest.raises(InputError, match=r"returned \(1, 2\) for 2 prompts"):
        class_vectors(lambda texts: other[None], ["x"], ["{}", "a {}"])


def test_the_templates_and_names_that_are_given_are_what_the_text_side_reads() -> None:
    seen: list[str] = []

    def embed(texts: Any) -> Any:
        seen.extend(texts)
        return np.eye(3, dtype=np.float32)[: len(texts)]

    judged = task([RED, GREEN, BLUE], [0, 1, 2])
    vectors = {"cells": np.eye(3, dtype=np.float32), "train": np.eye(3, dtype=np.float32)}
    made = Predictions(vectors, text_side=TextSide("the key side", embed))
    found = ZeroShot(["a {} here"], {"tomato": "red fruit"})(judged, made)
    assert seen == ["a red fruit here", "a fresh leaf here", "a sea here"]
    assert np.asarray(found["zero_shot"]).tolist() == [1, 1, 1]
    assert checked_templates(None, "image")[0] == "a photo of a {}." and len(TEMPLATES["image"]) == 5
    assert checked_templates(None, "recording") == ["{}"]


def test_a_tie_goes_against_the_model_and_a_collapsed_one_tells_nothing() -> None:
    judged = task([RED, GREEN, BLUE] * 10, [0, 1, 2] * 10)
    report = evaluate(model(texts={"": [1, 1, 1]}), judged, "zero_shot", **QUICK)
    assert report.metrics["zero_shot"] == 0
    two = evaluate(model(texts={"tomato": [1, 0, 0], "": [0, 1, 1]}), judged, "zero_shot", **QUICK)
    assert two.by_class["values"]["zero_shot"] == [1, 0, 0]


def test_an_unknown_class_is_no_answer_and_has_its_own_value() -> None:
    between = np.full_like(RED, 200)  # is of none of the classes, and lies further from each
    judged = task([RED, GREEN, BLUE, between], [0, 1, 2, 3], ["tomato", "leaf", "sea", "none"], unknown=3)
    report = evaluate(model(), judged, "zero_shot", baselines="none", **QUICK)
    assert report.metrics["zero_shot"] == 0.75
    assert report.metrics["zero_shot_unknown_auroc"] == 1


def test_a_model_without_a_text_side_is_refused_by_name_before_it_embeds() -> None:
    blind = nf.Model(MeanColours())
    judged = task([RED, GREEN, BLUE], [0, 1, 2])
    with pytest.raises(InputError, match=r"zero_shot compares .* this model reads array, no text; .*dual"):
        evaluate(blind, judged, "zero_shot")
    report = evaluate(model(), judged, "zero_shot", baselines=[blind], **QUICK)
    assert "zero_shot" in report.protocol["left out"]["model 2"]


def test_texts_are_told_by_names_with_a_model_of_texts() -> None:
    texts = ListColumn("text", ["a tomato soup", "one leaf", "by the sea"])
    judged = Labels("t", texts, np.arange(3), texts, np.arange(3), ["tomato", "leaf", "sea"], np.arange(3))
    report = evaluate(nf.Model(KnownTexts(COLOURS)), judged, "zero_shot", baselines="none", **QUICK)
    assert report.metrics["zero_shot"] == 1
    assert report.protocol["model"]["text side"] == "the model, as queries"


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: ZeroShot([]), r"^zero_shot\.templates: there is none"),
        (lambda: ZeroShot(["a photo"]), r"'a photo' has 0 places for the class; write \{\} once"),
        (lambda: ZeroShot(["{} and {}"]), "has 2 places"),
        (lambda: ZeroShot(["a {}", "a {}"]), "'a {}' is there twice"),
        (lambda: ZeroShot(["\ud800{}"]), "is no text"),
        (lambda: class_names(["cat"], {"dog": "x"}), "there is no class 'dog'; .*cat"),
        (lambda: class_names(["cat"], {"cat": " "}), "class 'cat' has an empty name"),
        (lambda: class_names(["cat"], {"cat": 3}), "the name of class 'cat' is 3; give a text"),  # type: ignore[dict-item]
        (lambda: class_names(["A/one", "B/one"]), "'A/one' and 'B/one' would both be called 'one'"),
        (lambda: checked_classes([]), "classes: there is none; name two or more"),
        (lambda: checked_classes(["cat"]), "there is one, 'cat'; name two or more"),
        (lambda: checked_classes(["cat", " "]), "one of the 2 classes is empty"),
        (lambda: checked_classes(["cat", "dog", "cat"]), "'cat' is there twice"),
        (lambda: checked_classes(["sea_lion", "sea lion"]), "would both be called 'sea lion'"),
    ],
)
def test_what_cannot_be_used_is_refused(made: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        made()


def test_names_are_read_from_labels() -> None:
    labels = ["automobile", "golden_retriever", "Greek/character01", "t-shirt", "_", "a__b /"]
    assert class_names(labels) == ["automobile", "golden retriever", "character01", "t shirt", "_", "a b"]
