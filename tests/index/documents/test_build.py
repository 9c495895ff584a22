"""An incremental build: what changed is embedded, what vanished is removed, and wherever it ends it goes on."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.errors import InputError, RunError
from nearfar.index.documents import build as builder
from nearfar.index.documents import embed_files, manifest
from nearfar.index.documents.build import MANIFEST, BuildReport, BuildSettings, build
from nearfar.index.documents.embed_files import shard
from nearfar.index.documents.find_files import FoundFile, find_files
from nearfar.index.documents.passages import PassageCutter
from nearfar.index.documents.read_file import ReadingSettings
from nearfar.index.sqlite_file import SqliteFile
from tests.index.documents.parts import CountingModel, MemoryStore, pdf

MODEL = CountingModel()


@pytest.fixture(autouse=True)
def trusted_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a file's time for what it is, however new: the tests set them."""
    monkeypatch.setattr(manifest, "_SETTLED", -(10**18))


class Built:
    """A folder of documents and its index."""

    def __init__(self, place: Path) -> None:
        self.docs, self.store, self._now = place / "docs", MemoryStore(place / "docs.index"), 1_000_000_000
        self.docs.mkdir()

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.docs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        self._now += 10
        os.utime(path, (self._now, self._now))
        return path

    def build(self, **how: object) -> BuildReport:
        MODEL.embedded.clear()
        report = build(self.store, MODEL, self.docs, BuildSettings(**how))  # type: ignore[arg-type]
        self.check()
        return report

    def check(self) -> None:
        """The rows are those of a build of everything into a new index."""
        found = find_files(self.docs)
        fresh = rows_of(found.top, found.files)
        assert self.store.rows.keys() == fresh.keys()
        for identity, (row, vector) in fresh.items():
            assert self.store.rows[identity] == row
            assert np.allclose(self.store.of_id[identity], vector, atol=1e-6)


def rows_of(top: Path, files: list[FoundFile]) -> dict[str, tuple[dict[str, object], Any]]:
    """Return the rows of files by the pure function."""
    found = find_files(top)
    parts = embed_files.embed_files(found, files, CountingModel(), PassageCutter.of(MODEL), ReadingSettings())
    return {
        passage.id: ({"id": passage.id, "text": passage.text, **passage.fields}, vector)
        for part in parts
        for passage, vector in zip(part.rows, part.vectors)
    }


@pytest.fixture
def built(tmp_path: Path) -> Built:
    return Built(tmp_path)


def test_only_what_changed_is_embedded_again(built: Built) -> None:
    for i in range(1000):
        built.write(f"{i % 7}/{i}.md", f"document {i} near and far\n")
    report = built.build()
    assert (report.read, report.embedded, report.passages, report.files) == (1000, 1000, 1000, {"text": 1000})
    for i in range(10):
        built.write(f"{i % 7}/{i}.md", f"document {i} has changed\n")
    report = built.build()
    assert (report.read, report.unchanged, report.embedded, report.deleted) == (10, 990, 10, 10)
    assert MODEL.embedded == [f"document {i} has changed" for i in (0, 7, 1, 8, 2, 9, 3, 4, 5, 6)]
    report = built.build()
    assert (report.read, report.embedded, MODEL.embedded) == (0, 0, [])


def test_a_passage_that_moved_keeps_its_vector(built: Built) -> None:
    long = "\n\n".join(f"paragraph {i}: " + "near and far " * 20 for i in range(4))
    built.write("a.txt", long)
    count = built.build().embedded
    assert count >= 4
    built.write("a.txt", "a new line\n\n" + long)
    report = built.build()
    assert (report.embedded, report.updated, report.deleted) == (1, count, 0)


def test_a_file_with_another_time_and_the_same_content_is_not_read(built: Built) -> None:
    path = built.write("a.txt", "near")
    built.build()
    os.utime(path, (5, 5))
    report = built.build()
    assert (report.read, report.unchanged) == (0, 1)
    with sqlite3.connect(built.store.folder / MANIFEST) as connection:
        assert connection.execute("SELECT changed FROM files").fetchall() == [(5_000_000_000,)]


def test_a_file_that_changes_in_the_tick_it_was_read_in_is_seen(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "_SETTLED", 2_000_000_000)
    path = built.docs / "a.txt"
    path.write_text("near")
    built.build()
    before = path.stat()
    path.write_text("fare")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert built.build().embedded == 1


def test_equal_texts_of_two_files_are_two_rows(built: Built) -> None:
    path = built.write("a.txt", "the same text")
    built.write("b.txt", "the same text")
    report = built.build()
    assert (report.embedded, len(MODEL.embedded)) == (2, 1)  # embedded once, for both
    path.unlink()
    report = built.build()
    assert (report.removed, report.deleted) == (1, 1)
    assert built.store.texts_of("b.txt") == ["the same text"]


def test_the_report_counts_and_says_what_is_wrong(built: Built) -> None:
    files: dict[str, str | bytes] = {
        "a.txt": "ten letters",
        "white.txt": " \n\n",
        "empty.txt": "",
        "b.pdf": pdf([None]),
        "c.o": b"a\0b",
        "d.png": b"x",
        "e.txt": b"\xff\xff",
        "f.jsonl": '{"text": "row one"}\n{"text": ""}\n',
        "g.html": "<p>two words",
        "h.txt": "\u200b",
    }
    for name, content in files.items():
        built.write(name, content)
    (built.docs / ".hidden").write_text("x")
    expected = [
        "b.pdf: no text layer (1 pages of pictures); run a text recognition (OCR) over it",
        "e.txt: line 1 is not UTF-8 text (byte 0xff); convert the file, e.g. "
        "iconv -f LATIN1 -t UTF-8 e.txt > utf8-e.txt",
        "f.jsonl: 1 of 2 rows have no text",
        "h.txt: line 1: a passage has no visible character",
        "white.txt: holds no text: white space alone",
    ]
    for read in (10, 0):  # the second build says it again, without reading
        report = build(built.store, MODEL, built.docs)
        assert (report.read, report.problems) == (read, expected)
        assert report.files == {"html": 1, "pdf": 1, "table": 1, "text": 4}
        assert report.passed_over == {
            "binary": 1,
            "empty": 1,
            "hidden": 1,
            "pictures, which the model does not read": 1,
        }
        assert (report.passages, report.characters_in, report.characters_out) == (3, 10 + 6 + 8 + 1, 10 + 6 + 8)


def test_a_file_that_turns_bad_loses_its_rows(built: Built) -> None:
    built.write("a.txt", "near")
    built.write("b.txt", "far")
    built.build()
    built.write("a.txt", b"\xff")
    assert built.build().deleted == 1
    built.write("a.txt", "near")
    assert built.build().embedded == 1


def test_a_text_of_which_the_model_knows_no_token_is_one_line(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    built.write("a.txt", "near")
    built.write("b.txt", "far")
    embed = CountingModel.embed

    def picky(self: CountingModel, cells: list[str], *args: object, **settings: object) -> object:
        if "far" in cells:
            raise InputError("embed: row 1 has no vector")
        return embed(self, cells, *args, **settings)

    monkeypatch.setattr(CountingModel, "embed", picky)
    report = build(built.store, MODEL, built.docs)
    assert report.problems == ["b.txt: line 1: the model has no vector for a passage ('far')"]
    assert [row["file"] for row in built.store.rows.values()] == ["a.txt"]
    assert (report.characters_in, report.characters_out) == (7, 4)


def test_documents_of_another_place_and_none_are_refused(built: Built, tmp_path: Path) -> None:
    path = built.write("a.txt", "near")
    built.build()
    other = tmp_path / "other"
    built.docs.rename(other)
    with pytest.raises(InputError, match=r"was built from .*docs; give that path"):
        build(built.store, MODEL, other)
    report = build(built.store, MODEL, other, BuildSettings(moved=True))
    assert (report.read, report.unchanged) == (0, 1)
    (other / path.name).unlink()
    with pytest.raises(InputError, match="holds no file to index; if the documents are gone, delete the index"):
        build(built.store, MODEL, other)
    assert len(built.store.rows) == 1


def test_other_settings_read_every_file_again(built: Built) -> None:
    built.write("a.txt", "near and far " * 40)
    assert built.build().embedded > 1
    report = build(built.store, MODEL, built.docs, BuildSettings(tokens=20))
    assert report.read == 1
    assert report.embedded == report.passages == len(built.store.rows) > 5
    report = build(built.store, MODEL, built.docs, BuildSettings(tokens=20, again=True))
    assert (report.read, report.embedded) == (1, 0)
    with pytest.raises(InputError, match="field 'line'"):
        built.build(kinds={"line": "text"})


def test_rows_that_someone_deleted_come_back_when_all_is_read_again(built: Built) -> None:
    built.write("a.txt", "near")
    built.write("b.txt", "\n\nfar")
    built.build()
    built.store.delete(list(built.store.rows))
    built.write("b.txt", "far")  # on another line: its vector is gone, too
    report = build(built.store, MODEL, built.docs)
    assert (report.updated, [row["file"] for row in built.store.rows.values()]) == (1, ["b.txt"])
    assert built.build(again=True).embedded == 1


def test_a_second_build_at_the_same_time_is_refused(built: Built) -> None:
    built.write("a.txt", "near")

    refused: list[BaseException | None] = []

    def nested(_: object) -> None:
        with ThreadPoolExecutor(1) as other:
            refused.append(other.submit(build, built.store, MODEL, built.docs).exception())

    build(built.store, MODEL, built.docs, progress=nested)
    [error] = refused
    assert isinstance(error, InputError)
    assert "has been writing here since" in str(error)


NAMES = st.sampled_from(["a.txt", "b/c.md", "t.jsonl"])
BODIES = st.sampled_from(["near", "far", "near\n\nfar", "near " * 200, "\n\nfar", "", " ", "\xe4"])


@given(st.lists(st.tuples(NAMES, BODIES | st.none(), st.integers(0, 9)), min_size=1, max_size=8))
@settings(max_examples=10, deadline=None)
def test_any_changes_broken_off_anywhere_end_alike(changes: list[tuple[str, str | None, int]]) -> None:
    """Files are written or deleted, builds end at any call of the index; in the end all is as built from nothing."""
    with tempfile.TemporaryDirectory() as folder:
        built = Built(Path(folder))
        built.write("stays.txt", "this one stays")
        for name, body, ends in changes:
            if body is None:
                (built.docs / name).unlink(missing_ok=True)
            elif name.endswith("jsonl"):
                built.write(
                    name, "".join(f'{{"text": {line!r}}}\n'.replace("'", '"') for line in body.split("\n")) or "{}"
                )
            else:
                built.write(name, body)
            with Breaking(built.store, ends):
                build(built.store, MODEL, built.docs)
        built.build()


class Breaking:
    """Ends a build at a call of the index: after it, or before."""

    def __init__(self, store: MemoryStore, calls: int) -> None:
        self.store, self.left = store, calls

    def __enter__(self) -> None:
        for name in ("add", "delete"):
            setattr(self.store, name, self._ending(name))

    def _ending(self, name: str):  # type: ignore[no-untyped-def]
        def call(*args: object, **settings: object) -> None:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            getattr(type(self.store), name)(self.store, *args, **settings)
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

        return call

    def __exit__(self, kind: object, *_: object) -> bool:
        del self.store.add, self.store.delete
        return kind is KeyboardInterrupt


def test_shards_are_all_files_and_give_the_rows_of_one_machine(tmp_path: Path) -> None:
    for i in range(30):
        (tmp_path / f"{i}.txt").write_text(f"document {i} near and far\n")
    found = find_files(tmp_path)
    shards = [shard(found.files, number, 3) for number in range(3)]
    assert sorted((file for one in shards for file in one), key=lambda file: file.name) == found.files
    assert all(shards)
    assert shard(found.files[5:], 1, 3) == [file for file in shards[1] if file in found.files[5:]]
    whole = rows_of(tmp_path, found.files)
    parts: Iterator[dict[str, tuple[dict[str, object], Any]]] = (rows_of(tmp_path, one) for one in shards)
    merged = {identity: row for part in parts for identity, row in part.items()}
    assert {identity: row for identity, (row, _) in merged.items()} == {i: row for i, (row, _) in whole.items()}


def test_a_damaged_manifest_is_named(built: Built) -> None:
    built.write("a.txt", "near")
    built.build()
    (built.store.folder / MANIFEST).write_bytes(b"no database" * 500)
    with pytest.raises(InputError, match=r"documents\.db: is damaged"):
        build(built.store, MODEL, built.docs)
    assert builder.MANIFEST == "documents.db"


def test_a_disk_that_fills_up_is_told_and_the_build_goes_on(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    write = SqliteFile.do_many

    def full(file: SqliteFile, statement: str, rows: Iterable[Any]) -> None:
        if "passages" in statement:
            raise sqlite3.OperationalError("database or disk is full")
        write(file, statement, rows)

    built.write("a.txt", "near")
    with monkeypatch.context() as patched:
        patched.setattr(SqliteFile, "do_many", full)
        with pytest.raises(RunError, match=r"documents\.db: .*disk is full.*free space"):
            build(built.store, MODEL, built.docs)
    assert built.build().embedded == 1
