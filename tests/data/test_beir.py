"""BEIR folders: real ones keep their counts, broken ones say where."""

import gzip
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from nearfar.column import chunks
from nearfar.data.beir import Beir
from nearfar.errors import InputError
from nearfar.evaluation.evaluate import evaluate
from tests.contracts.samples import write_lines
from tests.evaluation.models import Words

CORPUS = [
    {"_id": "d1", "title": "A title", "text": "and a text"},
    {"_id": "d2", "title": "", "text": "only a text"},
    {"_id": "d3", "title": "only a title", "text": ""},
    {"_id": "d4", "title": "", "text": ""},
]
QUERIES = [
    {"_id": "q1", "text": "one"},
    {"_id": "q2", "text": ""},
    {"_id": "q3", "text": "one"},
    {"_id": "q4", "text": "x"},
]
QRELS = [("q3", "d2", "2"), ("q1", "d1", "1"), ("q1", "d4", "0"), ("q4", "d1", "0")]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def tsv(rows: Sequence[tuple[str, ...]], header: str = "query-id\tcorpus-id\tscore") -> bytes:
    return "\n".join([header, *("\t".join(row) for row in rows)]).encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "corpus.jsonl").write_bytes(lines(CORPUS))
    (tmp_path / "queries.jsonl").write_bytes(lines(QUERIES))
    (tmp_path / "qrels.tsv").write_bytes(tsv(QRELS))
    return tmp_path


def test_a_folder_becomes_a_task(folder: Path) -> None:
    task = Beir(folder).task()
    assert task.name == folder.name
    assert task.documents.read(0, 4) == ["A title and a text", "only a text", "only a title", ""]
    assert [text for part in chunks(task.documents, 3) for text in part] == task.documents.read(0, 4)
    assert task.document_ids == ["d1", "d2", "d3", "d4"]
    assert (task.query_ids, task.queries.read(0, 2)) == (["q1", "q3"], ["one", "one"])
    assert task.relevance == {0: {0: 1, 3: 0}, 1: {1: 2}}
    assert task.clusters.tolist() == [0, 0]
    assert task.notes == {
        "split": "test",
        "queries": 2,
        "documents": 4,
        "empty documents": 1,
        "judgements": 3,
        "queries without judgements": 1,
        "queries without a relevant document": 1,
    }


def test_files_may_be_compressed_split_and_without_titles(folder: Path) -> None:
    (folder / "corpus.jsonl").unlink()
    rows = [{"_id": i, "text": f"text {i}"} for i in range(3)]
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(lines(rows)))
    (folder / "qrels").mkdir()
    (folder / "qrels" / "dev.tsv.gz").write_bytes(gzip.compress(tsv([("q1", "2", "1")])))
    (folder / "qrels" / "test.tsv").write_bytes(tsv([("q4", "0", "1", "4")], "query-id\tcorpus-id\tscore\tcode"))
    dev, test = Beir(folder, "dev").task(), Beir(str(folder)).task()
    assert dev.document_ids == ["0", "1", "2"]
    assert dev.documents.read(1, 3) == ["text 1", "text 2"]
    assert (dev.query_ids, dev.relevance) == (["q1"], {0: {2: 1}})
    assert (test.query_ids, test.relevance) == (["q4"], {0: {0: 1}})
    with pytest.raises(InputError, match=r"qrels: no split 'tset'; did you mean 'test'\? known: dev, test"):
        Beir(folder, "tset")


# The file that is replaced, what it holds then, and what the error says.
BROKEN: dict[str, tuple[str, bytes, list[str]]] = {
    "an empty judged query": (
        "qrels.tsv",
        tsv([("q2", "d1", "1")]),
        ["queries.jsonl: row 2 (line 2)", "'q2' is empty", "qrels.tsv"],
    ),
    "unknown documents": (
        "qrels.tsv",
        tsv([("q1", "d1", "1"), ("q1", "x", "1"), ("q1", "y", "1")]),
        ["qrels.tsv: row 2 (line 3), column 'corpus-id': 'x' is unknown", "2 of the judged documents", "the same ids"],
    ),
    "unknown queries": (
        "qrels.tsv",
        tsv([("q9", "d1", "1")]),
        ["row 1 (line 2), column 'query-id': 'q9'", "1 of the judged queries"],
    ),
    "no header": (
        "qrels.tsv",
        tsv([("q1", "d1", "1")], "q4\td1\t1"),
        ["qrels.tsv: line 1", "'q4\\td1\\t1'", "header is missing", "query-id<TAB>corpus-id"],
    ),
    "a grade that is no number": ("qrels.tsv", tsv([("q1", "d1", "high")]), ["row 1 (line 2), column 'score': 'high'"]),
    "a grade between": (
        "qrels.tsv",
        tsv([("q1", "d1", "0.5")]),
        ["row 1 (line 2), column 'score': 0.5", "grades are 0, 1"],
    ),
    "two grades": (
        "qrels.tsv",
        tsv([("q1", "d1", "1"), ("q1", "d1", "2")]),
        ["row 2 (line 3)", "again, as 2 after 1", "keep one"],
    ),
    "nothing relevant": ("qrels.tsv", tsv([("q1", "d1", "0")]), ["no query has a relevant document"]),
    "an id twice": (
        "corpus.jsonl",
        lines([*CORPUS, CORPUS[0]]),
        ["corpus.jsonl: row 5 (line 5), column '_id': 'd1'", "row 1 too"],
    ),
    "no id": (
        "queries.jsonl",
        lines([*QUERIES, {"text": "x"}]),
        ["queries.jsonl: row 5 (line 5), column '_id': is empty"],
    ),
    "no text": (
        "corpus.jsonl",
        lines([{"_id": "d1", "body": "x"}]),
        ["corpus.jsonl: no column 'text'", "known: _id, body"],
    ),
    "text that is none": (
        "corpus.jsonl",
        lines([{"_id": "d1", "text": 5}]),
        ["corpus.jsonl: row 1 (line 1), column 'text'", "not text"],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_folder(folder: Path, name: str) -> None:
    file, content, parts = BROKEN[name]
    (folder / file).write_bytes(content)
    with pytest.raises(InputError) as error:
        Beir(folder).task()
    assert [part for part in parts if part not in str(error.value)] == [], str(error.value)


def test_missing_files(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such folder; give one with corpus\.jsonl"):
        Beir(tmp_path / "nowhere")
    (folder / "corpus.jsonl").unlink()
    with pytest.raises(InputError, match=r"has no corpus\.jsonl or corpus\.jsonl\.gz; a BEIR folder has"):
        Beir(folder)


@pytest.mark.parametrize(
    ("name", "queries", "documents", "judgements"),
    [("C-cranfield", 225, 1400, 1837), ("C-cisi", 76, 1460, 3114), ("C-npl", 93, 11429, 2083)],
)
def test_real_folders(shared_data: Path, name: str, queries: int, documents: int, judgements: int) -> None:
    task = Beir(shared_data / name).task()
    assert (len(task.queries), len(task.documents)) == (queries, documents)
    assert sum(len(judged) for judged in task.relevance.values()) == judgements
    assert len(task.clusters) == queries


def test_cranfield_keeps_its_empty_documents(shared_data: Path) -> None:
    task = Beir(shared_data / "C-cranfield").task()
    assert task.notes["empty documents"] == 2
    for identity in ("471", "995"):
        row = task.document_ids.index(identity)
        assert task.documents.read(row, row + 1) == [""]


def test_a_document_that_is_the_query_itself_is_never_ranked(tmp_path: Path) -> None:
    write_lines(
        tmp_path / "corpus.jsonl",
        [
            {"_id": "a", "title": "On cats", "text": "cats are good"},
            {"_id": "b", "title": "", "text": "cats are bad"},
            {"_id": "c", "title": "", "text": "something else"},
            {"_id": "d", "title": "", "text": "dogs are good"},
        ],
    )
    texts = {"a": "Cats are  good", "c": "dogs are bad", "d": "dogs are good", "x": "birds"}
    write_lines(tmp_path / "queries.jsonl", [{"_id": key, "text": text} for key, text in texts.items()])
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\na\tb\t1\nc\td\t1\nd\td\t1\nx\ta\t1\n")
    task = Beir(tmp_path).task()
    assert task.query_ids == ["a", "c", "d", "x"]
    assert task.excluded == {0: [0]}  # c is another text; d is judged relevant; x shares no id
    assert task.notes["documents that are their query, not ranked for it"] == 1
    assert task.notes["documents with a query's id, ranked all the same"] == 2
    report = evaluate(Words(64), task, baselines=["bm25", Words(32)], resamples=20)
    assert report.worst
    for row in report.worst:
        if row["query"] == texts["a"]:
            assert "On cats cats are good" not in [found["text"] for found in row["found"]]
            assert len(row["found"]) == 3


def test_ids_are_compared_in_normal_form_c(tmp_path: Path) -> None:
    """A folder whose judgements were written on another machine (NFD) is the same folder."""
    nfd = [unicodedata.normalize("NFD", name) for name in ("é1", "ü1")]
    (tmp_path / "corpus.jsonl").write_bytes(lines([{"_id": "é1", "text": "here"}, {"_id": "d2", "text": "there"}]))
    (tmp_path / "queries.jsonl").write_bytes(lines([{"_id": "ü1", "text": "where"}]))
    (tmp_path / "qrels.tsv").write_bytes(tsv([(nfd[1], nfd[0], "1")]))
    task = Beir(tmp_path).task()
    assert (task.relevance, task.document_ids, task.query_ids) == ({0: {0: 1}}, ["é1", "d2"], ["ü1"])
    (tmp_path / "corpus.jsonl").write_bytes(lines([{"_id": "é1", "text": "here"}, {"_id": nfd[0], "text": "there"}]))
    with pytest.raises(InputError, match=r"row 2.*is the id of row 1, written in another Unicode form, too"):
        Beir(tmp_path).task()


def test_a_document_that_is_its_query_is_found_in_another_form(tmp_path: Path) -> None:
    argument = {"_id": unicodedata.normalize("NFD", "é"), "text": unicodedata.normalize("NFD", "À l'été")}
    (tmp_path / "corpus.jsonl").write_bytes(lines([argument, {"_id": "d2", "text": "not so"}]))
    (tmp_path / "queries.jsonl").write_bytes(lines([{"_id": "é", "text": "À l'été"}]))
    (tmp_path / "qrels.tsv").write_bytes(tsv([("é", "d2", "1")]))
    assert Beir(tmp_path).task().excluded == {0: [0]}


@pytest.mark.parametrize("mark", [" ", "\t"])
def test_judgements_of_trec_have_four_columns_and_no_header(folder: Path, mark: str) -> None:
    rows = [(query, "0", document, grade) for query, document, grade in QRELS]
    (folder / "qrels.tsv").write_text("".join(mark.join(row) + "\n" for row in rows))
    assert Beir(folder).task().relevance == {0: {0: 1, 3: 0}, 1: {1: 2}}
    (folder / "qrels.tsv").write_text(mark.join(["q1", "0", "d1", "1"]) + "\n" + mark.join(["q1", "0", "d9", "1"]))
    with pytest.raises(InputError, match=r"row 2 \(line 2\), column 'corpus-id': 'd9' is unknown"):
        Beir(folder).task()


def test_a_quotation_mark_in_an_id_is_part_of_it(folder: Path) -> None:
    (folder / "corpus.jsonl").write_bytes(lines([{"_id": '"d1"', "text": "x"}, {"_id": "d2", "text": "y"}]))
    (folder / "qrels.tsv").write_bytes(tsv([("q1", '"d1"', "1")]))
    assert Beir(folder).task().relevance == {0: {0: 1}}
