"""PDF and HTML are read in a process of their own: what a file does to it ends that process, and is one line."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from nearfar.index.documents.confined import ConfinedReader
from nearfar.index.documents.document import BadDocumentError, FileDocument
from tests.index.documents.parts import pdf


def read_pdf(reader: ConfinedReader, path: Path, data: bytes) -> tuple[list[FileDocument], list[str]]:
    path.write_bytes(data)
    notes: list[str] = []
    return list(reader.read("pdf", os.fsencode(path), notes.append)), notes


def test_pages_are_read_and_the_process_is_used_again(tmp_path: Path) -> None:
    reader = ConfinedReader()
    try:
        found, notes = read_pdf(reader, tmp_path / "a b\udcff.pdf", pdf(["near", "far away"]))
        first = reader._process.pid
        assert [(page.cell.strip(), page.page, page.line()) for page in found] == [
            ("near", 1, None),
            ("far away", 2, None),
        ]
        assert notes == []
        [page] = reader.read("html", b"<p>one\n<p>two", notes.append)
        assert (page.cell, page.line(0), page.line(5)) == ("one\n\ntwo", 1, 2)
        assert reader._process.pid == first
    finally:
        reader.close()


def test_what_is_wrong_with_a_pdf_is_said(tmp_path: Path) -> None:
    reader, path = ConfinedReader(), tmp_path / "a.pdf"
    try:
        with pytest.raises(BadDocumentError, match=r"no text layer \(2 pages of pictures\)"):
            read_pdf(reader, path, pdf([None, None]))
        found, notes = read_pdf(reader, path, pdf(["near", None]))
        assert [page.page for page in found] == [1]
        assert notes == ["no text layer on 1 of 2 pages; run a text recognition (OCR) over it"]
        for data in (b"%PDF-1.4\n", b"no pdf at all", pdf(["near"])[:300], os.urandom(5000)):
            with pytest.raises(BadDocumentError, match=r"damaged|no text layer"):
                read_pdf(reader, path, data)
    finally:
        reader.close()


def test_a_stream_that_stands_for_too_much_is_one_line(tmp_path: Path) -> None:
    bomb = zlib.compress(b"BT " * 100_000_000, 9)
    reader = ConfinedReader()
    try:
        with pytest.raises(BadDocumentError, match="page 1 cannot be read"):
            read_pdf(reader, tmp_path / "a.pdf", pdf(["near"], stream=bomb))
        [page] = reader.read("html", b"goes on", lambda _: None)
        assert page.cell == "goes on"
    finally:
        reader.close()


def test_a_file_that_needs_too_much_memory_is_one_line() -> None:
    reader = ConfinedReader(memory=64 << 20)
    try:
        with pytest.raises(BadDocumentError, match=r"too much memory|the process that read it ended"):
            list(reader.read("html", b"<p>word " * 500_000, lambda _: None))
    finally:
        reader.close()


def test_a_file_that_takes_too_long_is_given_up() -> None:
    reader = ConfinedReader(silence=0.5)
    try:
        slow = b"<!--" * 2_500_000  # each is looked for an end of, in the rest of the file
        with pytest.raises(BadDocumentError, match="took too long"):
            list(reader.read("html", slow, lambda _: None))
        [page] = reader.read("html", b"goes on", lambda _: None)
        assert page.cell == "goes on"
    finally:
        reader.close()


def test_a_process_that_ends_is_one_line(tmp_path: Path) -> None:
    reader = ConfinedReader()
    try:
        list(reader.read("html", b"", lambda _: None))
        reader._process.kill()
        reader._process.join()
        with pytest.raises(BadDocumentError, match="the process that read it ended"):
            list(reader.read("html", b"a", lambda _: None))
        [page] = reader.read("html", b"goes on", lambda _: None)
        assert page.cell == "goes on"
    finally:
        reader.close()


def test_a_reader_that_is_left_begins_anew(tmp_path: Path) -> None:
    reader, path = ConfinedReader(), tmp_path / "a.pdf"
    path.write_bytes(pdf(["one", "two", "three"]))
    try:
        pages = reader.read("pdf", os.fsencode(path), lambda _: None)
        assert next(pages).cell.strip() == "one"
        pages.close()  # type: ignore[attr-defined]
        [page] = reader.read("html", b"goes on", lambda _: None)
        assert page.cell == "goes on"
    finally:
        reader.close()
