"""What the tests of documents share: an index in memory, a tiny model that counts, and PDFs made by hand."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import nearfar as nf
from nearfar.column import ListColumn
from nearfar.errors import InputError
from nearfar.index.rows import KINDS, Kinds, Row, Vectors
from nearfar.model import Model

TEXTS = ["pull near what is alike, push far what is not", "a red fox and a grey goose", "0 1 2 3 4 5 6 7 8 9"]


class MemoryStore:
    """What a build needs of an index, held in memory; it refuses what an index refuses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.rows: dict[str, dict[str, Any]] = {}
        self.of_id: dict[str, Any] = {}
        self._fields: Kinds = {}
        self.keeps_thumbnails = True

    @property
    def place(self) -> Path:
        return self.folder

    @property
    def fields(self) -> Kinds:
        return dict(self._fields)

    def add(self, rows: Iterable[Any], vectors: Any = None) -> int:
        rows = list(rows)
        ids = [row["id"] for row in rows]
        assert len(set(ids)) == len(ids) == len(vectors)
        assert np.isfinite(vectors).all()
        for row, vector in zip(rows, vectors):
            for name, value in row.items():
                if name not in ("id", "text", "image") and value is not None:
                    kind = next(kind for kind, of in KINDS.items() if of is type(value))
                    assert self._fields.setdefault(name, kind) == kind, (name, value)
            self.rows[row["id"]] = dict(row)
            self.of_id[row["id"]] = vector
        return len(rows)

    def delete(self, ids: Sequence[str] | None = None) -> int:
        there = [one for one in ids or () if self.rows.pop(one, None) is not None]
        for one in there:
            del self.of_id[one]
        return len(there)

    def get(self, ids: Sequence[str]) -> list[Row | None]:
        return [Row(one, self.rows[one].get("text"), {}) if one in self.rows else None for one in ids]

    def vectors(self, ids: Sequence[str]) -> Vectors:
        if not self.rows.keys() >= set(ids):
            raise InputError("vectors: an id is not there")
        return np.stack([self.of_id[one] for one in ids])

    def with_thumbnail(self, ids: Sequence[str]) -> set[str]:
        return {one for one in ids if "image" in self.rows.get(one, {})}

    def texts_of(self, name: str) -> list[str]:
        return [row["text"] for row in self.rows.values() if row["file"] == name]


class CountingModel(Model):
    """A tiny static model that remembers what it embedded."""

    def __init__(self, *, prompts: Mapping[str, str] | None = None, max_length: int = 64) -> None:
        encoder = nf.encoders.Static(dim=8, vocabulary=300, max_length=max_length)
        encoder.prepare([ListColumn("text", TEXTS)])
        super().__init__(encoder, prompts)
        self.embedded: list[str] = []

    def embed(self, cells: Sequence[Any], role: Any = None, **settings: Any) -> Any:
        found = super().embed(cells, role, **settings)
        self.embedded += cells
        return found


def pdf(pages: Sequence[str | None], *, stream: bytes | None = None) -> bytes:
    """Return a PDF; None is a page without text. stream: the compressed content of every page, in place of its own."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    kids = []
    for text in pages:
        drawn = b"" if text is None else b"BT /F1 12 Tf 72 720 Td (" + text.encode("latin-1") + b") Tj ET"
        packed = zlib.compress(drawn) if stream is None else stream
        kids.append(len(objects) + 1)
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R /Resources << /Font << /F1 << "
            b"/Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>" % (len(objects) + 2)
        )
        head = b"<< /Length %d /Filter /FlateDecode >>\nstream\n" % len(packed)
        objects.append(head + packed + b"\nendstream")
    listed = b" ".join(b"%d 0 R" % kid for kid in kids)
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (listed, len(kids))
    written, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(written))
        written += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    end = b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\n" % (size, table, size)
    return written + end + b"startxref\n%d\n%%%%EOF\n" % len(written)
