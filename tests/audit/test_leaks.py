"""Leaks between named splits: files in a folder or a column, each pair of splits, and what --fix leaves."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from nearfar.audit.audit import audit
from nearfar.audit.clean import clean
from nearfar.audit.findings import Finding
from nearfar.audit.leaks import leaks
from nearfar.audit.material import read_material
from nearfar.data.table import Table
from nearfar.text.same_text import folded
from tests.audit.test_audit import folder, one, sentence
from tests.contracts.samples import write_lines

Rows = list[dict[str, Any]]


def split_pairs(**splits: list[tuple[str, str]]) -> Rows:
    """Return rows of pairs with a column of splits, the splits in turn, so that a row's number is not its place."""
    longest = max(map(len, splits.values()))
    return [
        {"query": pairs[i][0], "key": pairs[i][1], "split": split}
        for i in range(longest)
        for split, pairs in splits.items()
        if i < len(pairs)
    ]


def found(rows: Rows) -> dict[str, Finding]:
    return {finding.check: finding for finding in leaks(read_material(Table(rows))).findings}


TRAIN = [(sentence(i), sentence(100 + i)) for i in range(8)]
DEV = [(sentence(2).upper(), sentence(200)), (sentence(300), sentence(201)), (sentence(301), sentence(103))]
TEST = [(sentence(5) + " ", sentence(105)), (sentence(300), sentence(401)), (sentence(501), sentence(402))]


def test_a_column_of_splits_shows_its_leaks() -> None:
    rows = split_pairs(test=TEST, train=TRAIN, dev=DEV)
    by_check = found(rows)
    leak = by_check["leaks"]
    assert (leak.level, leak.count, leak.of) == ("problem", 2, 6)
    assert "1 of 3 in validation (33.3 %), 1 of 3 in test (33.3 %)" in leak.what
    assert "1 row has the same key there, too, so the very answer is known." in leak.what
    # The rows of the file: test, train and dev take turns while there are three.
    assert [(e["split"], e["row"], e["like"]) for e in leak.examples] == [
        ("validation", 3, "train row 8"),
        ("test", 1, "train row 12"),
    ]
    assert rows[7]["query"] == sentence(2) and rows[11]["query"] == sentence(5)
    between = by_check["leaks outside training"]
    assert (between.level, between.count, between.of) == ("problem", 1, 3)
    assert "1 in test that are in validation (33.3 %)" in between.what
    assert (between.examples[0]["row"], between.examples[0]["like"]) == (4, "validation row 6")
    assert (by_check["shared keys"].level, by_check["shared keys"].count) == ("notice", 2)


def test_the_profile_has_each_pair_of_splits() -> None:
    result = leaks(read_material(Table(split_pairs(train=TRAIN, dev=DEV, test=TEST))))
    assert result.profile["leaks"]["splits"] == [
        {"split": "validation", "of": "train", "rows": 1, "share": 1 / 3},
        {"split": "test", "of": "train", "rows": 1, "share": 1 / 3, "with the same key": 1},
        {"split": "test", "of": "validation", "rows": 1, "share": 1 / 3},
    ]


def test_shared_documents_are_no_problem_and_other_splits_are_fine() -> None:
    test = [(sentence(900 + i), sentence(100 + i)) for i in range(3)]
    by_check = found(split_pairs(train=TRAIN, test=test))
    assert by_check["leaks"].level == by_check["near leaks"].level == "fine"
    assert (by_check["shared keys"].level, by_check["shared keys"].count) == ("notice", 3)
    assert "leaks outside training" not in by_check


def test_a_near_copy_is_a_notice() -> None:
    near = sentence(3, 40)
    by_check = found(split_pairs(train=[*TRAIN, (near, "a")], test=[(near[:-1] + " at last", "b")]))
    assert (by_check["near leaks"].level, by_check["near leaks"].count) == ("notice", 1)
    assert by_check["leaks"].level == "fine"


def test_leaks_come_first(tmp_path: Path) -> None:
    rows = split_pairs(train=[*TRAIN, *TRAIN[:2]], dev=DEV, test=TEST)  # copies are a problem, too
    result = audit(write_lines(tmp_path / "rows.jsonl", rows))
    problems = [finding.check for finding in result.findings if finding.level == "problem"]
    assert problems == ["leaks", "leaks outside training", "duplicates"]
    assert result.splits == {"train": 10, "validation": 3, "test": 3}


@pytest.mark.parametrize("name", ["out.jsonl", "out"])
def test_fix_leaves_leaked_rows_out_of_training(tmp_path: Path, name: str) -> None:
    rows = split_pairs(test=TEST, train=TRAIN, dev=DEV)
    path = write_lines(tmp_path / "rows.jsonl", rows)
    done = clean(path, audit(path), tmp_path / name)
    assert (done["rows"], done["kept"], done["dropped"]) == (8, 6, {"leak": 2})
    log = [json.loads(line) for line in (tmp_path / f"{name}.dropped.jsonl").read_text().splitlines()]
    assert [(line["row"], line["why"]) for line in log] == [
        (8, "a text of validation row 3"),
        (12, "a text of test row 1"),
    ]
    again = Table(tmp_path / name)
    assert {split: len(again.split(split)) for split in ("train", "validation", "test")} == {
        "train": 6,
        "validation": 3,
        "test": 3,
    }
    assert one(audit(tmp_path / name), "leaks").level == "fine"
    if name == "out.jsonl":
        kept = [row for i, row in enumerate(rows) if i not in (7, 11)]
        assert [json.loads(line) for line in (tmp_path / name).read_text().splitlines()] == kept


def test_nl2bash_leaks_248_descriptions(shared_data: Path, tmp_path: Path) -> None:
    """Counted here without the audit: descriptions of dev and test that are in train, case aside."""
    path = shared_data / "C-nl2bash" / "pairs.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    trained = {row["nl"].strip().lower() for row in rows if row["split"] == "train"}
    leaking = [row["split"] for row in rows if row["split"] != "train" and row["nl"].strip().lower() in trained]
    assert (len(leaking), leaking.count("dev"), leaking.count("test")) == (248, 70, 178)
    parts = {name: [row for row in rows if row["split"] == name] for name in ("train", "dev", "test")}
    plain = {name: [{"query": row["nl"], "key": row["cmd"]} for row in part] for name, part in parts.items()}
    for source in (path, folder(tmp_path, **plain)):
        columns = {"query": "nl", "key": "cmd"} if source == path else {}
        finding = leaks(read_material(source, **columns)).findings[0]
        assert (finding.check, finding.level, finding.count, finding.of) == ("leaks", "problem", 248, 1486)
        assert "70 of 489 in validation (14.3 %), 178 of 997 in test (17.9 %)" in finding.what
    spaced = {folded(row["nl"]) for row in parts["train"]}
    assert sum(folded(row["nl"]) in spaced for row in parts["dev"] + parts["test"]) == 250  # with two near leaks
