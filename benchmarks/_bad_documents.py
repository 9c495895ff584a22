"""Damaged documents: the bad inputs of `bad_input.py` that `nearfar index build` finds beside a sound one."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import _bad_sources

Make = Callable[[Path], object]
FOLDER = "docs"
TABLES = ("JSONL", "CSV", "Parquet", ".jsonl.gz", "text lines", "BEIR corpus", "BEIR qrels", "datasets folder")


def pdf(page: bytes, *, kids: bytes = b"[3 0 R]", count: int = 1, trailer: bytes = b"") -> bytes:
    """Return a PDF of one page with this content. kids, count: of its tree of pages; trailer: what else that says."""
    packed = zlib.compress(page)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids %s /Count %d >>" % (kids, count),
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    written, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(written))
        written += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"xref\n0 6\n0000000000 65535 f \n%strailer\n<< /Size 6 /Root 1 0 R %s >>\n" % (table, trailer)
    return written + end + b"startxref\n%d\n%%%%EOF\n" % len(written)


def drawn(text: bytes) -> bytes:
    return b"BT /F1 12 Tf 72 720 Td (" + text + b") Tj ET"


GOOD = pdf(drawn(b"a red fox runs by the river"))
PDF: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "a head alone": lambda: b"%PDF-1.7\n",
    "cut in half": lambda: GOOD[: len(GOOD) // 2],
    "zeros": lambda: b"%PDF-1.4\n" + bytes(4000),
    "a page of HTML": lambda: b"<html><body>not found</body></html>",
    "no text layer": lambda: pdf(b""),
    "pages in a circle": lambda: pdf(drawn(b"a"), kids=b"[2 0 R]"),
    "10 ** 9 pages": lambda: pdf(drawn(b"a"), count=10**9),
    "kids of 5": lambda: pdf(drawn(b"a"), kids=b"5"),
    "encrypted": lambda: pdf(drawn(b"a"), trailer=b"/Encrypt << /Filter /Standard /V 1 /R 2 /O (x) /U (y) /P -4 >>"),
    "a bomb": lambda: pdf(b" " * 400_000_000),
    "a million words of drawing": lambda: pdf(b"q Q " * 1_000_000 + drawn(b"a")),
    "nested 100,000 deep": lambda: pdf(b"[" * 100_000),
    "bytes that changed": lambda: bytes(byte ^ (i % 97 == 0) for i, byte in enumerate(GOOD)),
    "control characters": lambda: pdf(drawn(b"\\033[2J\\000 fox")),
}
HTML: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "no text": lambda: b"<html><script>let a = 'fox';</script></html>",
    "no end": lambda: b"<html><body><p>a fox <a href='",
    "nested 100,000 deep": lambda: b"<div>" * 100_000 + b"fox",
    "an attribute of 5 MB": lambda: b"<p title='" + b"x" * 5_000_000 + b"'>fox</p>",
    "characters that are none": lambda: b"<p>&#x110000; &#xD800; &#0; &#99999999999; fox</p>",
    "Latin-1": lambda: b"<p>caf\xe9</p>",
    "UTF-16 without a mark": lambda: "<p>fox</p>".encode("utf-16-le"),
    "zeros": lambda: bytes(4000),
    "control characters": lambda: b"<p>\x1b[2J fox \xe2\x80\xae</p>",
    "comments without end": lambda: b"<!--" * 100_000,
    "a script without end": lambda: b"<script>" + b"a < b; " * 100_000,
}


def _bitmap(width: int, height: int, data: bytes) -> bytes:
    """Return a PNG that says it is of this size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


PICTURES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "sound, for a model of texts": lambda: _bitmap(2, 2, bytes(14)),
    "cut in half": lambda: _bitmap(2, 2, bytes(14))[:40],
    "a text": lambda: b"this is no picture",
    "10 ** 9 pixels a side": lambda: _bitmap(10**9, 10**9, bytes(10)),
    "a bomb": lambda: _bitmap(20_000, 20_000, bytes(200_000_000)),
    "zeros": lambda: bytes(4000),
}
NAMES: dict[str, Make] = {
    "a name with control characters": lambda folder: (folder / "a\x1b[2J\u202e.txt").write_text("fox"),
    "a name that is not UTF-8": lambda folder: Path(os.fsdecode(os.fsencode(folder) + b"/\xff.txt")).write_text("fox"),
    "a pipe": lambda folder: os.mkfifo(folder / "x.txt"),
    "a link to nothing": lambda folder: (folder / "x.txt").symlink_to("nothing"),
    "a link to a device": lambda folder: (folder / "x.txt").symlink_to("/dev/zero"),
    "a link in a circle": lambda folder: (folder / "x").symlink_to("."),
    "100 folders deep": lambda folder: _deep(folder, 100),
}


def _deep(folder: Path, depth: int) -> None:
    place = folder.joinpath(*["d"] * depth)
    place.mkdir(parents=True)
    (place / "a.txt").write_text("fox")


def damages() -> Iterator[tuple[str, str, Make]]:
    """Yield the kind of each damaged document, its damage, and what makes it in a folder with a sound one."""
    files = {"a.pdf": ("PDF", PDF), "a.html": ("HTML", HTML), "a.png": ("picture", PICTURES)}
    for name, (kind, contents) in files.items():
        for damage, content in contents.items():
            yield kind, damage, _beside(lambda folder, n=name, c=content: (folder / n).write_bytes(c()))  # type: ignore[misc]
    for damage, make in NAMES.items():
        yield "file", damage, _beside(make)
    for form in _bad_sources.FORMATS:
        if form.name in TABLES:
            for damage, make_table in _bad_sources.damages(form).items():
                yield form.name, damage, _beside(lambda folder, d=make_table, f=form: d(f, folder))  # type: ignore[misc]


def _beside(make: Make) -> Make:
    def made(folder: Path) -> None:
        (folder / FOLDER).mkdir()
        (folder / FOLDER / "sound.txt").write_text("the grey goose flies over the bridge")
        make(folder / FOLDER)

    return made
