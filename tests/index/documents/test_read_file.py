"""Each kind of file is read as what it is, or there is a line that says why not; nothing is guessed."""

from __future__ import annotations

import bz2
import gzip
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nearfar.errors import InputError
from nearfar.index.documents.document import BadDocumentError, FileDocument
from nearfar.index.documents.field_values import FieldKinds, checked_kinds
from nearfar.index.documents.find_files import find_files
from nearfar.index.documents.read_file import FileReader, ReadingSettings

MINE = os.geteuid() == 0  # root reads everything


def read(path: Path, settings: ReadingSettings | None = None) -> tuple[str, list[FileDocument], list[str]]:
    """Return the kind that was read, the documents and the notes."""
    reader, notes = FileReader(settings or ReadingSettings()), list[str]()
    try:
        found = list(reader.documents(path, reader.kind(path), notes.append))
        return reader.kind_read, found, notes
    finally:
        reader.close()


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_text_and_source_code_have_lines(tmp_path: Path) -> None:
    for name in ("a.txt", "a.md", "a.py", "Makefile", "a.unknown"):
        kind, [document], notes = read(write(tmp_path / name, "one\r\n\r\ntwo\n"))
        assert (kind, document.cell, notes) == ("text", "one\n\ntwo\n", [])
        assert [document.line(at) for at in (0, 3, 4, 5)] == [1, 1, 2, 3]
    for name, packed in (("a.txt.gz", gzip.compress(b"one")), ("b.log", bz2.compress(b"one"))):
        assert read(write(tmp_path / name, packed))[1][0].cell == "one"
    assert read(write(tmp_path / "mark.txt", b"\xef\xbb\xbfone"))[1][0].cell == "one"


def test_what_is_no_text_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    reader = FileReader(ReadingSettings())
    assert reader.kind(write(tmp_path / "a.txt", b"a\0b")) == "binary"
    assert reader.kind(write(tmp_path / "b.o", bytes(range(1, 32)) * 9 + b"text")) == "binary"
    assert reader.kind(write(tmp_path / "c.txt", "colours \x1b[31mred\x1b[0m\f")) == "text"
    assert reader.kind(write(tmp_path / "d.txt", b"")) == "empty"
    assert reader.kind(write(tmp_path / "e.png", b"x")) == "pictures, which the model does not read"


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.txt", "Stra\xdfe\n\n\xe4".encode("latin-1"), "line 1 is not UTF-8 text (byte 0xdf)"),
        ("b.txt", "UTF-16".encode("utf-16"), "is UTF-16 text; convert it"),
        ("c.txt", b"x" * 10_000_001, "holds more than 10 MB"),
        ("d.txt.gz", gzip.compress(b"x" * 50_000_000, mtime=0), "holds more than 10 MB"),
        ("e.txt.gz", gzip.compress(b"text" * 1000, mtime=0)[:20], "damaged or cut off"),
        ("f.html", b"x" * 10_000_001, "holds more than 10 MB"),
        ("g.csv", 'text\n"never closed', "no quotation mark closes"),
        ("h.parquet", b"PAR1 no parquet", "not a Parquet file, or damaged"),
        ("i.jsonl", '{"text": "a"}\n{"text": ', "row 2 (line 2)"),
        ("j.jsonl", "[" * 100_000, "nested"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str, content: str | bytes, line: str) -> None:
    with pytest.raises(BadDocumentError) as caught:
        read(write(tmp_path / name, content))
    assert line in str(caught.value)
    assert caught.value.lasting
    assert str(tmp_path) not in str(caught.value)


def test_rows_of_tables_have_lines_and_fields(tmp_path: Path) -> None:
    jsonl = '{"_id": 7, "title": "T", "text": "one", "year": 2020, "tags": ["a"]}\n'
    jsonl += '\n{"_id": 8, "text": "two\\n", "year": null}\n'
    kind, [first, second], notes = read(write(tmp_path / "a.jsonl", jsonl))
    assert kind == "table"
    assert (first.cell, first.line(), dict(first.fields)) == ("T one", 1, {"row_id": "7", "year": 2020})
    assert (second.cell, second.line(), dict(second.fields)) == ("two", 3, {"row_id": "8"})
    assert notes == ["columns that cannot be fields: 'tags' (lists, objects or bytes); left out"]
    _, [first, second], _ = read(write(tmp_path / "a.csv", 'lang,text,file\nde,"eins\nzwei",x\nen,two,\n'))
    assert (first.cell, first.line(), dict(first.fields)) == ("eins\nzwei", 2, {"lang": "de", "table_file": "x"})
    assert (second.line(), dict(second.fields)) == (4, {"lang": "en", "table_file": ""})
    _, [first, *_], _ = read(write(tmp_path / "a.tsv", "text\tscore\n\t1\none\t2\n"))
    assert (first.cell, first.line(), dict(first.fields)) == ("one", 3, {"score": "2"})
    pq.write_table(
        pa.table({"text": ["one"], "x": [0.5], "seen": [True], "day": [pa.scalar(0, pa.date32()).as_py()]}),
        tmp_path / "a.parquet",
    )
    _, [row], _ = read(tmp_path / "a.parquet")
    assert (row.cell, row.line(), dict(row.fields)) == ("one", None, {"x": 0.5, "seen": True, "day": "1970-01-01"})


def test_rows_without_text_are_counted(tmp_path: Path) -> None:
    _, found, notes = read(write(tmp_path / "a.jsonl", '{"text": "one"}\n{"text": " "}\n{"text": null}\n'))
    assert [document.cell for document in found] == ["one"]
    assert notes == ["2 of 3 rows have no text"]


def test_a_table_without_a_column_of_texts_is_a_text(tmp_path: Path) -> None:
    kind, [document], [note] = read(write(tmp_path / "numbers.csv", "x,y\n1,2\n"))
    assert (kind, document.cell) == ("text", "x,y\n1,2\n")
    assert note == "read as plain text: which column holds the texts? name it (--column); columns: x, y"
    settings = ReadingSettings(column="y")
    assert read(tmp_path / "numbers.csv", settings)[1][0].cell == "2"
    assert read(write(tmp_path / "package.json", '{\n "name": "x"\n}'))[:1] == ("text",)
    assert read(write(tmp_path / "rows.json", '[{"text": "one"}]'))[0] == "table"
    with pytest.raises(BadDocumentError, match="no column 'z'"):
        read(tmp_path / "numbers.csv", ReadingSettings(column="z"))
    pq.write_table(pa.table({"x": [0.5]}), tmp_path / "a.parquet")
    with pytest.raises(BadDocumentError, match="which column holds the texts"):
        read(tmp_path / "a.parquet")


def test_values_take_the_kind_of_their_field(tmp_path: Path) -> None:
    settings = ReadingSettings(kinds=checked_kinds({"year": "integer", "score": "number", "new": "boolean"}))
    table = "text,year,score,new,other\na,2020,1e3,yes,1\nb,unknown,2,,2\nc,,,no,\n"
    _, rows, notes = read(write(tmp_path / "a.csv", table), settings)
    assert [dict(row.fields) for row in rows] == [
        {"year": 2020, "score": 1000.0, "new": True, "other": "1"},
        {"score": 2.0, "other": "2"},
        {"new": False, "other": ""},
    ]
    assert notes == ["column 'year': 1 cells are no integer, as the field is (the first: 'unknown'); left out there"]


@pytest.mark.parametrize(
    ("first", "then", "fits"),
    [
        (1, 2.0, 2),
        (1, "3", 3),
        (1.5, 2, 2.0),
        ("a", 3, "3"),
        ("a", True, "true"),
        (True, "false", False),
        (1, 2**70, None),
    ],
)
def test_a_value_of_another_kind_is_turned_where_nothing_is_lost(first: Any, then: Any, fits: Any) -> None:
    kinds = FieldKinds({})
    assert kinds.fit("x", first) == first
    if fits is None:
        with pytest.raises(InputError):
            kinds.fit("x", then)
    else:
        found = kinds.fit("x", then)
        assert (found, type(found)) == (fits, type(fits))
    assert kinds.fit("x", float("nan")) is None is kinds.fit("x", None)


def test_kinds_of_fields_are_checked() -> None:
    with pytest.raises(InputError, match=r"of no kind that there is \('int'\); known: text, integer"):
        checked_kinds({"year": "int"})
    with pytest.raises(InputError, match="'line': is set for every document"):
        checked_kinds({"line": "text"})


def test_pictures_are_decoded_for_a_model_that_reads_them(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.full((8, 6, 3), 200, np.uint8)).save(tmp_path / "a.png")
    settings = ReadingSettings(reads=("image",))
    kind, [document], _ = read(tmp_path / "a.png", settings)
    assert (kind, document.cell.shape, document.line()) == ("picture", (8, 6, 3), None)
    assert FileReader(settings).kind(write(tmp_path / "a.txt", "text")) == "texts, which the model does not read"
    with pytest.raises(BadDocumentError, match=r"damaged|no picture"):
        read(write(tmp_path / "b.png", b"no picture at all"), settings)


def test_archives_of_pictures_are_read_by_members(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.full((8, 6, 3), 200, np.uint8)).save(tmp_path / "a.png")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "red/a.png")
        archive.writestr("b.png", "no picture")
        archive.writestr("c.txt", "no picture")
    kind, [document], [note] = read(tmp_path / "all.zip", ReadingSettings(reads=("image",)))
    assert (kind, document.cell.shape, document.fields) == ("archive of pictures", (8, 6, 3), {"member": "red/a.png"})
    assert note.startswith("b.png: is no picture")
    assert FileReader(ReadingSettings()).kind(tmp_path / "all.zip") == "binary"


def test_a_folder_is_walked_without_what_leads_elsewhere(tmp_path: Path) -> None:
    top, outside = tmp_path / "docs", write(tmp_path / "outside" / "secret.txt", "secret")
    for name in ("a.txt", "sub/b.md", ".hidden", ".git/config", "sub/.venv/x.py", "build/c.js", "sub/x.min.js"):
        write(top / name, "text")
    write(top / "model" / "nearfar.json", "{}")
    write(top / "old.index" / "index.json", "{}")
    (top / "old.index" / "generations").mkdir()
    write(top / "docs.index" / "index.json", "{}")
    (top / "link.txt").symlink_to(outside)
    (top / "linked").symlink_to(outside.parent, target_is_directory=True)
    os.mkfifo(top / "pipe")
    write(top / "beir" / "corpus.jsonl", "{}")
    write(top / "beir" / "queries.jsonl", "{}")
    write(top / "beir" / "qrels" / "test.tsv", "")
    found = find_files(top, ("build/*", "*.min.js"), but=top / "docs.index")
    assert [file.name for file in found.files] == ["a.txt", "beir/corpus.jsonl", "sub/b.md"]
    assert found.passed_over == {
        "hidden": 3,
        "links": 2,
        "no regular files": 1,
        "folders of models": 1,
        "folders of indexes": 1,
        "excluded": 2,
        "queries and judgements beside a corpus": 2,
    }
    assert found.problems == []
    [file] = find_files(top / "a.txt").files
    assert (file.name, file.size) == ("a.txt", 4)
    with pytest.raises(InputError, match="no such file or folder"):
        find_files(tmp_path / "missing")
    with pytest.raises(InputError, match="no regular file and no folder"):
        find_files(top / "pipe")


@pytest.mark.skipif(MINE, reason="root may read everything")
def test_what_may_not_be_read_is_not_gone(tmp_path: Path) -> None:
    file = write(tmp_path / "sub" / "a.txt", "text")
    file.parent.chmod(0)
    found = find_files(tmp_path)
    file.parent.chmod(0o700)
    assert found.files == []
    assert found.is_unread("sub/a.txt")
    file.chmod(0)
    with pytest.raises(BadDocumentError, match="permission denied") as caught:
        read(file)
    assert not caught.value.lasting


def test_a_name_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"a\xff.txt")).write_text("text")
    found = find_files(tmp_path)
    assert found.files == []
    assert "its name is not UTF-8" in found.problems[0]
