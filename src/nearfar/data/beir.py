"""Retrieval tasks from BEIR folders: documents, queries, and relevance judgements."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.column import Column, Ids, ListColumn, cell_ids, chunks, content_ids, is_empty, take
from nearfar.content import canonical
from nearfar.data.table import Table
from nearfar.data.tables.encodings import first_bytes
from nearfar.data.tables.files import COMPRESSED, check_file, explain_read_errors
from nearfar.errors import InputError, nearest
from nearfar.storage.places import expanded
from nearfar.tasks import Retrieval
from nearfar.text.same_text import NOT_RANKED, folded

_TREC = ["query-id", "iteration", "corpus-id", "score"]  # the columns of TREC's judgements, which have no header
_LARGEST_GRADE = 1_000_000  # metrics add grades up
Relevance = dict[int, dict[int, int]]  # by position of the query: grade by position of the document


class Beir:
    """Retrieval from a folder with `corpus.jsonl`, `queries.jsonl` and `qrels/<split>.tsv` or `qrels.tsv`.

    Each file may be compressed (.gz and so on). Rows of the first two have `_id`, `text` and, for documents, maybe a
    `title`; the judgements are TAB-separated with the header `query-id corpus-id score`, further columns are ignored,
    or have TREC's four columns and no header: query, iteration, document, grade, parted by TABs or single spaces.
    Ids are compared in Unicode's normal form C, as texts are. A document's text is its title, a space and its text;
    empty documents are kept, as all documents are searched.
    Only queries with a relevant document are scored: `task().notes` counts the others. A document that is the query
    itself (it has the query's id, and the one text holds the other, as in ArguAna) is never ranked, unless it is
    judged relevant; `notes` counts these, and those that share an id with a query by chance and are ranked.

    Errors: InputError: a missing file or column, an id that occurs twice, judgements of unknown queries or documents
    (with their number and the first), a score that is no whole number, a judged query without text.

        task = Beir("scifact", split="test").task()
        task.relevance[0]  # {position of a document: grade}
    """

    def __init__(self, path: str | Path, split: str = "test") -> None:
        self.path = expanded(path)
        self.split = split
        check_folder(self.path, split)
        self._corpus = Table(_file(self.path, "corpus.jsonl"), split_column=None)
        self._queries = Table(_file(self.path, "queries.jsonl"), split_column=None)
        self._qrels = _read_qrels(_qrels_file(self.path, split))

    @staticmethod
    def corpus(path: str | Path) -> tuple[list[str], Column]:
        """Return ids and texts of a folder's documents, (m,) each; queries and judgements may be missing."""
        table = Table(_file(expanded(path), "corpus.jsonl"), split_column=None)
        return _ids(table), _Documents(table)

    def task(self) -> Retrieval:
        """Return the judged queries (q,), all documents (m,) and the grades; `clusters` (q,) join equal queries."""
        documents = _Documents(self._corpus)
        document_ids, query_ids = _ids(self._corpus), _ids(self._queries)
        relevance, notes = _judgements(self._qrels, query_ids, document_ids)
        positions = np.array(sorted(relevance), np.int64)  # (q,)
        texts = take(self._queries.text("text", empty=True), positions)
        for position, text in zip(positions, texts):
            if is_empty(text):
                raise InputError(
                    f"{self._queries.where(int(position))}: query {query_ids[position]!r} is empty but has judgements "
                    f"in {self._qrels.where()}; write its text or remove them"
                )
        queries = ListColumn("query", texts)
        ids = [query_ids[position] for position in positions]
        judged = {row: relevance[int(position)] for row, position in enumerate(positions)}
        excluded, same = _themselves(ids, texts, document_ids, documents, judged)
        empty = sum(is_empty(text) for cells in chunks(documents) for text in cells)
        counts = {"queries": len(texts), "documents": len(documents), "empty documents": empty}
        return Retrieval(
            name=self.path.resolve().name,
            queries=queries,
            documents=documents,
            query_ids=ids,
            document_ids=document_ids,
            relevance=judged,
            clusters=np.unique(content_ids(queries), return_inverse=True)[1].astype(np.int64),
            notes={"split": self.split, **counts, **notes, **same},
            excluded=excluded,
        )


def is_beir(path: Path) -> bool:
    """Say whether a path is a BEIR folder: one with a corpus, or with queries and judgements that lack it."""
    if not path.is_dir():
        return False
    judged = (path / "qrels").is_dir() or any(path.glob("qrels.tsv*"))
    return any(path.glob("corpus.jsonl*")) or (judged and any(path.glob("queries.jsonl*")))


def check_folder(path: Path, split: str | None) -> None:
    """Check that a folder has its files, those of one split's judgements, too; None: of the documents alone.

    Errors: `InputError`, which names what is missing.
    """
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; give one with corpus.jsonl, queries.jsonl and qrels.tsv")
    _file(path, "corpus.jsonl")
    if split is not None:
        _file(path, "queries.jsonl")
        _qrels_file(path, split)


class _Documents:
    """The texts of documents (m,): title and text, joined when they are read."""

    def __init__(self, corpus: Table) -> None:
        self.name = "document"
        self._text = corpus.text("text", empty=True)
        self._title: Column | None = corpus.text("title", empty=True) if "title" in corpus.columns else None

    def __len__(self) -> int:
        return len(self._text)

    def read(self, start: int, stop: int) -> list[Any]:
        """Return the texts of documents `start` to `stop`."""
        texts = self._text.read(start, stop)
        titles = self._title.read(start, stop) if self._title is not None else [""] * len(texts)
        return [f"{title} {text}".strip() for title, text in zip(titles, texts)]

    def ids(self) -> Ids:
        """Return the content ids of the texts."""
        return cell_ids(self)


def _ids(table: Table) -> list[str]:
    """Return the ids as they are written; they are compared in normal form C, as texts are."""
    seen: dict[str, int] = {}
    ids: list[str] = []
    for cells in chunks(table.column("_id")):
        for cell in cells:
            row = len(seen)
            if cell is None or str(cell) == "":
                raise InputError(f"{table.where(row)}, column '_id': is empty; give each row an id")
            if type(cell) not in (str, int, float) or (type(cell) is float and abs(cell) >= 2**53):
                raise InputError(
                    f"{table.where(row)}, column '_id': {str(cell)[:60]} is no text and no whole number of 64 bits; "
                    "write the id in quotation marks"
                )
            first = seen.setdefault(canonical(str(cell)), row)
            if first != row:
                written = "" if ids[first] == str(cell) else ", written in another Unicode form,"
                raise InputError(
                    f"{table.where(row)}, column '_id': {cell!r} is the id of row {first + 1}{written} too; "
                    "give each row its own"
                )
            ids.append(str(cell))
    return ids


def _file(folder: Path, name: str) -> Path:
    candidates = [folder / f"{name}{compression}" for compression in ("", *COMPRESSED)]
    found = next((path for path in candidates if path.exists()), None)
    if found is None:
        raise InputError(f"{folder}: has no {name} or {name}.gz; a BEIR folder has corpus.jsonl, queries.jsonl, qrels")
    return found


def _qrels_file(folder: Path, split: str) -> Path:
    if not (folder / "qrels").is_dir():
        return _file(folder, "qrels.tsv")
    known = {path.name.partition(".tsv")[0] for path in (folder / "qrels").iterdir() if ".tsv" in path.name}
    if split not in known:
        raise InputError(f"{folder / 'qrels'}: no split {split!r}; {nearest(split, known)}")
    return _file(folder / "qrels", f"{split}.tsv")


def _read_qrels(path: Path) -> Table:
    """Return judgements as a table. Errors: `InputError` for a header that is missing."""
    with explain_read_errors(path):
        check_file(path)
    first = first_bytes(path).lstrip().split(b"\n", 1)[0].decode("utf-8", "replace").rstrip()
    fields = first.split()
    graded = len(fields) > 2 and re.fullmatch(r"-?\d+(\.0*)?", fields[-1]) is not None
    if not graded:
        return Table(path, split_column=None, quoting=False)
    if len(fields) == len(_TREC):
        return Table(path, split_column=None, delimiter="\t" if "\t" in first else " ", header=_TREC, quoting=False)
    raise InputError(
        f"{path}: line 1 ({first[:60]!r}) is a judgement, and the header is missing; write the line "
        "query-id<TAB>corpus-id<TAB>score above it"
    )


def _judgements(qrels: Table, query_ids: list[str], document_ids: list[str]) -> tuple[Relevance, dict[str, Any]]:
    """Return the judgements of the queries that have a relevant document, and counts of queries and judgements.

    Errors: InputError for unknown queries or documents, a grade that is no whole number, and two grades for one pair.
    """
    grades = qrels.numbers("score")
    queries = _positions(qrels, "query-id", query_ids, "queries")
    documents = _positions(qrels, "corpus-id", document_ids, "documents")
    relevance: Relevance = {}
    for row, (query, document, grade) in enumerate(zip(queries, documents, grades)):
        if not float(grade).is_integer() or abs(grade) > _LARGEST_GRADE:
            what = "too large" if float(grade).is_integer() else "no whole number"
            raise InputError(f"{qrels.where(row)}, column 'score': {grade:g} is {what}; grades are 0, 1, 2 ...")
        if relevance.setdefault(query, {}).setdefault(document, int(grade)) != grade:
            raise InputError(
                f"{qrels.where(row)}: judges query {query_ids[query]!r} and document {document_ids[document]!r} again, "
                f"as {grade:g} after {relevance[query][document]}; keep one of the two rows"
            )
    scored = {query: judged for query, judged in relevance.items() if any(grade > 0 for grade in judged.values())}
    return scored, {
        "judgements": sum(map(len, scored.values())),
        "queries without judgements": len(query_ids) - len(relevance),
        "queries without a relevant document": len(relevance) - len(scored),
    }


def _themselves(
    query_ids: list[str], texts: list[str], document_ids: list[str], documents: Column, relevance: Relevance
) -> tuple[dict[int, list[int]], dict[str, int]]:
    """Return for each query the document that is the query itself, and notes that count them.

    In many collections queries and documents are both numbered from 1, so an equal id alone says nothing.
    """
    position = {canonical(identity): row for row, identity in enumerate(document_ids)}
    found = ((q, position.get(canonical(identity), -1)) for q, identity in enumerate(query_ids))
    equal = [(q, row) for q, row in found if row >= 0]
    cells = take(documents, np.array([row for _, row in equal], np.int64))
    excluded, ranked = {}, 0
    for (query, row), cell in zip(equal, cells):
        one, other = folded(texts[query]), folded(cell)
        if other and (one in other or other in one) and relevance[query].get(row, 0) <= 0:
            excluded[query] = [row]
        else:
            ranked += 1
    counts = {
        NOT_RANKED: len(excluded),
        "documents with a query's id, ranked all the same": ranked,
    }
    return excluded, {what: count for what, count in counts.items() if count}


def _positions(qrels: Table, name: str, ids: list[str], what: str) -> list[int]:
    """Return the position of each judgement's query or document among `ids`. what: what errors call these."""
    known = {canonical(identity): position for position, identity in enumerate(ids)}
    found = [known.get(canonical(str(cell)), -1) for cells in chunks(qrels.column(name)) for cell in cells]
    if -1 in found:
        row = found.index(-1)
        first = qrels.column(name).read(row, row + 1)[0]
        unknown = len(
            {cell for cells in chunks(qrels.column(name)) for cell in cells if canonical(str(cell)) not in known}
        )
        raise InputError(
            f"{qrels.where(row)}, column {name!r}: {first!r} is unknown; {unknown} of the judged {what} are not among "
            f"the {len(ids)} of the folder. Use the same ids in both files"
        )
    return found
