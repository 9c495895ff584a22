"""An audit's findings as a queue: which pairs are in it, why, and what stands beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nearfar.audit.audit import audit
from nearfar.audit.review import listed_suspects
from nearfar.data.table import Table
from nearfar.errors import InputError
from nearfar.mining.review_file import read_suspects, write_suspects
from nearfar.mining.suspects import Suspect
from tests.audit.test_audit import folder, sentence
from tests.audit.test_vectors import pairs


def test_pairs_that_look_unrelated_are_to_be_decided_on(tmp_path: Path) -> None:
    rows, wrong = pairs(1500, 60)
    table = Table(rows)
    found = audit(table)
    suspects = listed_suspects(table, found)
    named = [rows[drop.row] for drop in found.drops if drop.what == "probably wrong"]
    assert [(one.query, one.negative) for one in suspects] == [(row["query"], row["key"]) for row in named]
    assert len({rows.index({"query": one.query, "key": one.negative}) for one in suspects} & wrong) >= 0.8 * len(wrong)
    assert all(one.listed and one.positive == "" and one.reason.startswith("It looks unrelated: ") for one in suspects)
    write_suspects(suspects, tmp_path / "q.jsonl")
    assert read_suspects(tmp_path / "q.jsonl") == suspects
    with pytest.raises(InputError, match="ends in"):
        write_suspects(suspects, tmp_path / "q.html")


def test_copies_and_leaks_stand_beside_what_they_are_like(tmp_path: Path) -> None:
    train = [{"query": sentence(i), "key": sentence(100 + i)} for i in range(20)]
    train[4] = {"query": train[1]["query"], "key": f"{train[1]['key']} so"}  # a near copy
    train[6] = dict(train[2])  # an exact one: nobody can drop it and keep the other
    test = [{"query": sentence(200 + i), "key": sentence(300 + i)} for i in range(5)]
    test[3]["query"] = train[11]["query"]
    data = folder(tmp_path, train=train, test=test)
    suspects = listed_suspects(data, audit(data))
    assert [(one.query, one.negative) for one in suspects] == [
        (train[i]["query"], train[i]["key"]) for i in (11, 4)
    ]  # fmt: skip
    assert suspects[0].reason == "A leak: training has what is judged: a text of test row 4."
    assert suspects[1].reason.startswith("Nearly a copy of an earlier pair: ")
    assert suspects[1].positive == f"{train[1]['query']}\n{train[1]['key']}"


def test_each_pair_of_a_row_of_lists_is_decided_on(tmp_path: Path) -> None:
    train: list[dict[str, Any]] = [
        {"query": sentence(i), "key": [sentence(100 + i), sentence(200 + i)]} for i in range(8)
    ]
    data = folder(tmp_path, train=train, test=[{"query": train[3]["query"], "key": [sentence(900)]}])
    suspects = listed_suspects(data, audit(data))
    assert suspects == [
        Suspect(
            train[3]["query"], "", key, {}, "A leak: training has what is judged: a text of test row 1.", listed=True
        )
        for key in train[3]["key"]
    ]


def test_texts_are_no_pairs() -> None:
    table = Table([{"text": sentence(i)} for i in range(4)])
    with pytest.raises(InputError, match="read as texts"):
        listed_suspects(table, audit(table))
