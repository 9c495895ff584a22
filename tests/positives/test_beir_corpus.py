"""The corpus of a BEIR folder as documents: title and text, either of which may be missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar.data.beir import Beir
from nearfar.data.table import Table
from nearfar.encoders.static import Static
from nearfar.errors import InputError
from nearfar.positives.relations.documents import Documents
from nearfar.positives.teacher_scores import TeacherScores
from tests.audit.test_audit import sentence
from tests.contracts.samples import write_lines

CORPUS: list[dict[str, Any]] = [
    {"_id": "a", "title": "Only a title", "text": ""},
    {"_id": "b", "title": "Both", "text": "a title and a text"},
    {"_id": "c", "title": "", "text": "only a text"},
    {"_id": "d", "title": "", "text": " "},
    {"_id": "e", "title": None, "text": None},
    {"_id": "f", "title": "Last", "text": None},
]
TEXTS = ["Only a title", "Both a title and a text", "only a text", "Last"]


def beir(folder: Path, corpus: list[dict[str, Any]]) -> Path:
    write_lines(folder / "corpus.jsonl", corpus)
    write_lines(folder / "queries.jsonl", [{"_id": "q", "text": "which"}])
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\ta\t1\n")
    return folder


def texts(documents: Documents) -> list[str]:
    return list(documents.cells.read(0, len(documents.cells)))


def test_a_document_is_its_title_and_text_as_when_judged(tmp_path: Path) -> None:
    folder = beir(tmp_path, CORPUS)
    documents = Documents.of(Table(folder), None, 0)
    assert (texts(documents), documents.row.tolist(), documents.empty) == (TEXTS, [0, 1, 2, 5], 2)
    judged = Beir(folder).task().documents
    assert [text for text in judged.read(0, len(judged)) if text] == TEXTS
    passages = Documents.of(Table(folder / "corpus.jsonl"), None, 3)
    assert texts(passages)[:3] == ["Only a title", "Both a title", "and a text"]
    assert (passages.row.tolist(), passages.empty) == ([0, 1, 1, 2, 5], 2)


def test_a_named_column_and_another_table_are_read_as_they_are() -> None:
    with pytest.raises(InputError, match="column 'text': is empty"):
        Documents.of(Table(CORPUS), "text", 0)
    rows = [{"title": "t", "text": "x"}, {"title": "u", "text": "y"}]
    assert texts(Documents.of(Table(rows), None, 0)) == ["x", "y"]
    with pytest.raises(InputError, match="column 'text': is empty"):
        Documents.of(Table([*rows, {"title": "v", "text": ""}]), None, 0)
    with pytest.raises(InputError, match="no document of the BEIR corpus"):
        Documents.of(Table([{"_id": "a", "title": "", "text": ""}]), None, 0)


def test_a_beir_folder_is_adapted_to_and_empty_documents_are_counted(tmp_path: Path) -> None:
    corpus = [{"_id": str(i), "title": sentence(i), "text": sentence(i + 100) if i % 2 else ""} for i in range(24)]
    folder = beir(tmp_path, [*corpus, {"_id": "none", "title": "", "text": ""}])
    table = Table(folder, heldout=8)
    positives = TeacherScores(table, Static(dim=8, vocabulary=300), per_document=1)
    expected = {f"{row['title']} {row['text']}".strip() for row in corpus}
    assert set(texts(positives.documents)) < expected
    assert any(positives.documents.row[positives.rows[positives.source]] % 2 == 0)
    task = positives.task("heldout")
    assert len(np.unique(task.clusters)) == table.notes["heldout"] == 8
    assert task.notes["empty documents, left out"] == 1
    assert np.isfinite(positives.lists[np.arange(2)].neighbour_scores).any()


def test_two_tables_of_other_columns_are_still_refused(tmp_path: Path) -> None:
    write_lines(tmp_path / "corpus.jsonl", [{"text": "a"}])
    write_lines(tmp_path / "more.jsonl", [{"body": "b"}])
    with pytest.raises(InputError, match="has the columns body"):
        Table(tmp_path)
