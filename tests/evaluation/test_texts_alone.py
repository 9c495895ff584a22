"""Texts without pairs are judged by their tokens, where the model predicts tokens; floors count in other texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nearfar as nf
from nearfar.column import take
from nearfar.errors import InputError
from nearfar.evaluation import sources
from nearfar.evaluation.texts_alone import COUNTED_IN, MOST_JUDGED
from nearfar.model import Model
from nearfar.tasks import Language, Retrieval
from tests.contracts.samples import write_lines
from tests.encoders.tiny import WORDS, tiny
from tests.uses.test_complete import masked

ROWS = [{"text": " ".join(WORDS[(i * 5 + j * j) % 12] for j in range(4 + i % 9)) + f" {i}"} for i in range(40)]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def texts_of(task: Language) -> tuple[set[str], set[str]]:
    judged, counted = (set(take(column, np.arange(len(column)))) for column in (task.cells, task.train))
    return judged, counted


def language(path: str, split: str | None = None, reading: sources.Reading = sources.AS_IT_IS) -> Language:
    found = sources.task(path, split, reading, masked())
    assert isinstance(found, Language)
    return found


def test_half_of_the_documents_are_counted_and_the_others_judged(here: Path) -> None:
    write_lines(here / "texts.jsonl", [*ROWS, *ROWS[:7]])
    task = language("texts.jsonl")
    judged, counted = texts_of(task)
    assert judged and counted and not judged & counted
    assert judged | counted == {row["text"] for row in ROWS}
    assert abs(len(judged) - len(counted)) <= 8
    assert task.name == "texts.jsonl"
    assert "the other" in task.notes[COUNTED_IN]
    assert MOST_JUDGED == 1_000
    fewer = language("texts.jsonl", None, sources.Reading({"heldout": 5}))
    assert len(fewer.cells) == 5 and fewer.name == "texts.jsonl, split heldout"


def test_floors_count_in_the_split_train(here: Path) -> None:
    (here / "texts").mkdir()
    write_lines(here / "texts" / "train.jsonl", ROWS[:30])
    write_lines(here / "texts" / "test.jsonl", ROWS[30:])
    for task in (language("texts"), language("texts", "test")):
        judged, counted = texts_of(task)
        assert judged == {row["text"] for row in ROWS[30:]}
        assert counted == {row["text"] for row in ROWS[:30]}
        assert task.name == "texts, split test"
    with pytest.raises(InputError, match=r"floors count in split 'train', .* judge by test"):
        language("texts", "train")


def test_a_split_that_is_not_there_or_is_counted_in_is_refused(here: Path) -> None:
    write_lines(here / "texts.jsonl", ROWS)
    with pytest.raises(InputError, match=r"floors count in split 'train', .* leave --split out, or hold texts out"):
        language("texts.jsonl", "train")
    with pytest.raises(InputError, match="typo"):
        language("texts.jsonl", "typo")


def test_a_folder_of_texts_and_passages(here: Path) -> None:
    (here / "books").mkdir()
    for i in range(4):
        (here / "books" / f"{i}.txt").write_text(" ".join(row["text"] for row in ROWS[10 * i : 10 * i + 10]))
    whole = language("books", None, sources.Reading({}, {"chunk": 0}))
    assert len(whole.cells) == len(whole.train) == 2
    cut = language("books", None, sources.Reading({}, {"chunk": 10}))
    assert len(cut.cells) > 4 and len(set(cut.clusters.tolist())) == 2
    assert cut.notes["passages"] == "of 10 words"
    assert language("books").notes["passages"].startswith("of ")
    report = nf.evaluate(masked(), cut, resamples=10)
    assert set(report.baseline) == {"neighbour-counts", "token-frequency"}


def test_pairs_stay_pairs_and_a_model_of_vectors_is_asked_for_none(here: Path) -> None:
    write_lines(here / "pairs.jsonl", [{"query": f"where is {i}", "key": f"{i} is here"} for i in range(20)])
    write_lines(here / "texts.jsonl", ROWS)
    assert isinstance(sources.task("pairs.jsonl", None, model=masked()), Retrieval)
    plain = Model(tiny("bert")).save(here / "plain")
    static = nf.encoders.Static(dim=8, vocabulary=300)
    for model in (Model.load(plain), Model(static)):
        with pytest.raises(InputError, match="which column holds the queries"):
            sources.task("texts.jsonl", None, model=model)
