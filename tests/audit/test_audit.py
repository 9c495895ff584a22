"""The audit as a whole: planted faults are result, sound data is called fine, known sets give their known counts."""

from __future__ import annotations

import gzip
import json
import lzma
import random
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nearfar.audit import duplicates, leaks, lengths
from nearfar.audit.audit import Audit, audit
from nearfar.audit.findings import Finding
from nearfar.audit.material import Material, read_material
from nearfar.data.table import Table
from nearfar.errors import InputError
from tests.contracts.samples import write_lines

WORDS = ["river", "stone", "cloud", "engine", "garden", "letter", "window", "bridge", "lamp", "fox", "goose", "field"]


def sentence(i: int, length: int = 12) -> str:
    """Return a text that differs from all others: its number, and words in a random order."""
    draw = random.Random(i)
    return f"number {i} tells of {' '.join(draw.choice(WORDS) for _ in range(length))}."


def one(result: Audit, check: str) -> Finding:
    """Return the one finding of a check."""
    findings = [finding for finding in result.findings if finding.check == check]
    assert len(findings) == 1, [finding.check for finding in result.findings]
    return findings[0]


def folder(path: Path, **splits: list[dict[str, Any]]) -> Path:
    for split, rows in splits.items():
        write_lines(path / f"{split}.jsonl", rows)
    return path


def test_planted_faults_are_found(tmp_path: Path) -> None:
    train = [{"text": sentence(i)} for i in range(60)]
    train[7] = train[3]  # a copy
    train[9] = {"text": "  \n"}  # empty
    train[11] = {"text": sentence(4).upper().replace(".", "!")}  # nearly row 5
    test = [{"text": sentence(1000 + i)} for i in range(10)]
    test[2] = {"text": sentence(20)}  # a leak
    test[4] = {"text": sentence(30, 40)[:-1] + " and more"}
    train[33] = {"text": sentence(30, 40)}  # nearly test row 5
    result = audit(folder(tmp_path, train=train, test=test))
    assert (one(result, "duplicates").count, one(result, "duplicates").examples[0]["row"]) == (2, 8)  # with the leak
    assert one(result, "empty").examples[0]["row"] == 10
    assert one(result, "near duplicates").examples[0]["like"] == "train row 5"
    leak = one(result, "leaks")
    assert (leak.count, leak.of, leak.examples[0]["row"], leak.examples[0]["like"]) == (1, 10, 3, "train row 21")
    assert one(result, "near leaks").examples[0]["like"] == "train row 34"
    assert {(drop.row, drop.what) for drop in result.drops} == {
        (7, "exact duplicate"),
        (9, "empty"),
        (11, "near duplicate"),
        (20, "leak"),
        (33, "near leak"),
    }
    assert all(finding.fix for finding in result.findings if finding.level != "fine")


def test_copies_in_another_normal_form_are_found(tmp_path: Path) -> None:
    texts = ["¿Dónde está el café más próximo?", "La reunión empezará mañana", "El niño comió una piña", "한국어 문장"]
    train = [{"text": unicodedata.normalize("NFD", text)} for text in texts]
    test = [{"text": unicodedata.normalize("NFC", text)} for text in texts]
    result = audit(folder(tmp_path, train=train, test=[*test, {"text": "Otra cosa"}]))
    assert (one(result, "leaks").level, one(result, "leaks").count, one(result, "leaks").of) == ("problem", 4, 5)
    assert [example["like"] for example in one(result, "leaks").examples][:2] == ["train row 1", "train row 2"]
    assert one(result, "duplicates").count == 4
    assert {(drop.row, drop.what) for drop in result.drops} == {(row, "leak") for row in range(4)}


def test_clean_data_is_said_to_be_fine() -> None:
    result = audit(Table([{"text": sentence(i), "label": "ab"[i % 2]} for i in range(80)]))
    assert {finding.check for finding in result.findings if finding.level != "fine"} <= {"languages"}
    fine = {finding.check for finding in result.findings if finding.level == "fine"}
    assert fine >= {"duplicates", "near duplicates", "empty", "truncated", "boilerplate", "classes", "diversity"}
    json.dumps(result.to_json(), allow_nan=False)


def test_a_key_of_both_splits_is_no_leak(tmp_path: Path) -> None:
    train = [{"query": sentence(i), "key": sentence(100 + i)} for i in range(20)]
    test = [{"query": sentence(500 + i), "key": sentence(100 + i)} for i in range(5)]
    result = audit(folder(tmp_path, train=train, test=test))
    assert one(result, "leaks").level == "fine"
    assert (one(result, "shared keys").count, one(result, "shared keys").level) == (5, "notice")
    assert result.drops == []


def test_of_two_sentences_either_leaks(tmp_path: Path) -> None:
    train = [{"sentence1": sentence(i), "sentence2": sentence(100 + i), "score": 1.0} for i in range(20)]
    test = [{"sentence1": sentence(500), "sentence2": sentence(3), "score": 2.0}]
    result = audit(folder(tmp_path, train=train, test=test))
    assert (result.kind, one(result, "leaks").count) == ("graded pairs", 1)
    assert [drop.row for drop in result.drops] == [3]


def test_lists_and_nulls_are_read() -> None:
    rows = [{"query": sentence(i), "pos": [sentence(i + 50), ""], "neg": [sentence(i + 90)]} for i in range(9)]
    result = audit(Table([*rows, {"query": "one more", "pos": None, "neg": None}]))
    assert result.kind == "pairs"
    assert result.columns == {"query": "query", "pos": "key", "neg": "negative"}
    assert one(result, "empty").count == 10
    assert one(result, "empty").examples[0] == {"split": "train", "row": 1, "column": "pos", "text": ""}


def test_the_column_of_texts_is_the_one_named_or_the_longest() -> None:
    rows = [{"id": str(i), "body": sentence(i), "note": "x"} for i in range(12)]
    assert audit(Table(rows)).columns == {"body": "text"}
    assert audit(Table(rows), column="note").columns == {"note": "text"}
    assert one(audit(Table(rows), column="note"), "duplicates").count == 11


@pytest.mark.parametrize(
    ("rows", "columns", "words"),
    [
        ([{"text": "a"}], {"column": "txt"}, "did you mean 'text'"),
        ([{"text": "a"}], {"label": "kind"}, "no column 'kind'"),
        ([{"a": "x", "b": "y"}], {"query": "a"}, "give both query and key"),
        ([{"number": 1}], {}, "no column of text"),
        ([{"number": 1}], {"column": "number"}, "not text"),
    ],
)
def test_wrong_input_is_refused(rows: list[dict[str, Any]], columns: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        audit(Table(rows), **columns)


def test_samples_do_not_change_what_is_found() -> None:
    rows = [{"query": sentence(i), "key": sentence(i + 500)} for i in range(120)]
    first, second = audit(Table(rows)), audit(Table(rows))
    assert first.findings == second.findings
    assert first.profile == second.profile


def of_imdb(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with lzma.open(path / "H-imdb" / "imdb.jsonl.xz", "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            yield row["split"], {"text": row["text"], "label": row["label"]}


def of_reuters(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with gzip.open(path / "G-reuters" / "reuters-aptemod.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            yield {"training": "train"}.get(row["split"], row["split"]), {"text": row["text"], "topics": row["topics"]}


def of_nl2bash(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with gzip.open(path / "C-nl2bash" / "pairs.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            yield row["split"], {"query": row["nl"], "key": row["cmd"]}


def material(rows: Iterator[tuple[str, dict[str, Any]]], path: Path) -> Material:
    splits: dict[str, list[dict[str, Any]]] = {}
    for split, row in rows:
        splits.setdefault(split, []).append(row)
    return read_material(folder(path, **splits))


@pytest.mark.slow
def test_imdb_has_418_copies_and_123_leaks(shared_data: Path, tmp_path: Path) -> None:
    films = material(of_imdb(shared_data), tmp_path)
    copies = duplicates.exact(films)
    assert copies.findings[0].count == 418
    assert copies.profile["duplicates"]["where"] == {"train": 96, "test that are in train": 123, "test": 199}
    result = leaks.leaks(films)
    assert (result.findings[0].count, result.findings[0].of) == (123, 25_000)
    assert len({drop.row for drop in result.drops if drop.what == "leak"}) == 123


def test_reuters_has_37_texts_of_two_words(shared_data: Path, tmp_path: Path) -> None:
    news = material(of_reuters(shared_data), tmp_path)
    nearly = next(f for f in lengths.empty(news).findings if f.check == "nearly empty")
    assert "37 of them no more than two words" in nearly.what
    assert nearly.count == 61  # with the 24 that hold a date and a time


def test_nl2bash_repeats_its_descriptions(shared_data: Path, tmp_path: Path) -> None:
    shell = material(of_nl2bash(shared_data), tmp_path)
    assert duplicates.repeats(shell).profile["distinct"] == {"query": 11_348, "key": 10_624}
    assert duplicates.exact(shell).findings[0].level == "fine"
    assert not any(f.check == "shared keys" for f in leaks.leaks(shell).findings)  # equal commands are kept together


def test_npl_and_cranfield(shared_data: Path) -> None:
    assert duplicates.exact(read_material(shared_data / "C-npl")).findings[0].count == 16
    wings = read_material(shared_data / "C-cranfield")
    empty = lengths.empty(wings).findings[0]
    assert (empty.count, [example["row"] for example in empty.examples]) == (2, [471, 995])
    assert len(wings.pairs) == 1837
