"""Text files: a row a line, split at line feeds alone; and folders of documents."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nearfar.column import chunks
from nearfar.data.table import Table
from nearfar.data.tables import files, text_files
from nearfar.errors import InputError
from nearfar.positives.teacher_scores import TeacherScores
from nearfar.positives.views import Views
from tests.contracts.samples import write_lines

LINE_ENDS = st.sampled_from(
    ["\n", "\r\n", "\r", "\f", "\v", "\x1c", "\x85", "\u2028", "\u2029", "\ufeff", "a", "\u00e9"]
)


def rows(table: Table, name: str = "text") -> list[str]:
    return [cell for block in chunks(table.text(name, empty=True)) for cell in block]


def expected(data: bytes) -> list[str]:
    """Return the lines of a file, said once more: the naive reference."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    lines = data.split(b"\n")
    last = lines.pop()
    lines = [line.removesuffix(b"\r") for line in lines] + ([last] if last else [])
    return [line.decode() for line in lines]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.lists(LINE_ENDS | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))).map("".join)
)
@pytest.mark.parametrize("block", [3, files._BLOCK])
def test_row_i_is_line_i(text: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_BLOCK", block)
    data = text.encode()
    path = tmp_path / f"a{hash(text)}{block}.txt"
    path.write_bytes(data)
    if not data.removeprefix(b"\xef\xbb\xbf").strip():
        with pytest.raises(InputError, match="the file is empty"):
            Table(path)
        return
    if b"\r" in data and b"\n" not in data:
        with pytest.raises(InputError, match="its lines end with carriage returns alone"):
            Table(path)
        return
    assert rows(Table(path)) == expected(data)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.lists(st.sampled_from([b"\n", b"\r\n", b"a", b"\xc3\xa9"]) | st.binary(max_size=3)).map(b"".join))
def test_any_bytes_are_lines_or_refused_by_line(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "any.txt"
    path.write_bytes(b"words " + data)
    try:
        wanted = expected(b"words " + data)
    except UnicodeDecodeError:
        wanted = None
    if b"\0" in data or wanted is None:
        with pytest.raises(
            InputError, match=r"any.txt: (line \d+ is not UTF-8|is a binary file|its lines end|is UTF-16)"
        ):
            Table(path)
    else:
        assert rows(Table(path)) == wanted


def test_lines_with_every_other_line_end_inside(tmp_path: Path) -> None:
    lines = ["where is my card", "top\fup failed", "", "exchange rate\u2028today", "lost\x85phone", "a\rb"]
    path = tmp_path / "docs.txt.gz"
    path.write_bytes(gzip.compress(("\ufeff" + "\r\n".join(lines)).encode()))
    table = Table(path)
    assert (table.columns, rows(table)) == (["text"], lines)
    with pytest.raises(
        InputError, match=r"docs.txt.gz: row 3 \(line 3\), column 'text': is empty; write some text or rem"
    ):
        table.text("text")


def test_a_line_over_the_limit_is_refused_by_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LONGEST_ROW", 2_000_000)
    monkeypatch.setattr(files, "_BLOCK", 4)
    (tmp_path / "a.txt").write_bytes(b"x\ny\n" + b"z" * 2_000_100)
    with pytest.raises(InputError, match=r"a.txt: line 3 holds more than 2 MB, the most of a row; shorten it"):
        Table(tmp_path / "a.txt")


def test_text_files_are_trained_on(tmp_path: Path) -> None:
    (tmp_path / "docs.txt").write_text("".join(f"note {i} says how to pull near\n" for i in range(9)))
    assert len(Views(Table(tmp_path / "docs.txt"))) == 9
    (tmp_path / "train.txt").write_text("one\ntwo\n")
    (tmp_path / "other").mkdir()
    assert Table(tmp_path / "docs.txt", heldout=3).notes["heldout"] == 3


def folder(path: Path, texts: dict[str, str | bytes]) -> Path:
    for name, text in texts.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_folder_of_text_files_is_a_document_a_file(tmp_path: Path) -> None:
    texts: dict[str, str | bytes] = {
        "z.txt": "one\r\ntwo\n",
        "deep/er/a.md": "\ufeff# Title",
        "b.RST": "text",
        "c.txt.gz": gzip.compress(b"packed"),
        "empty.txt": " \n",
        "blank.md": "",
        ".hidden.txt": "x",
        ".git/y.txt": "x",
    }
    with pytest.warns(UserWarning, match=r"docs: 2 of 6 text files are empty and left out"):
        table = Table(folder(tmp_path / "docs", texts))
    assert table.columns == ["_id", "text"]
    assert rows(table, "_id") == ["b.RST", "c.txt.gz", "deep/er/a.md", "z.txt"]
    assert rows(table) == ["text", "packed", "# Title", "one\ntwo\n"]
    assert table.where() == str(tmp_path / "docs")
    assert table.where(2) == f"{tmp_path / 'docs/deep/er/a.md'}: row 1"
    (tmp_path / "docs/z.txt").write_text("another")
    with pytest.warns(UserWarning, match="2 of 6"):
        assert rows(Table(tmp_path / "docs"))[-1] == "another"


def test_a_folder_of_documents_is_adapted_to(tmp_path: Path) -> None:
    import nearfar as nf

    docs = folder(tmp_path, {f"{i}.txt": f"note {i} says how\nto pull near and push far" for i in range(9)})
    positives = TeacherScores(Table(docs), nf.encoders.Static(dim=8, vocabulary=300), per_document=2)
    assert len(positives.rows) == 9


def test_other_files_beside_documents_are_told(tmp_path: Path) -> None:
    folder(tmp_path, {"a.md": "x", "b.pdf": "x", "c.pdf": "x", "d.html": "x"})
    with pytest.warns(
        UserWarning, match=r"read are its 1 files \.txt, \.md, \.rst, not the 3 others \(2 \.pdf, 1 \.html\)"
    ):
        assert len(Table(tmp_path)) == 1


def test_files_called_train_and_test_hold_lines(tmp_path: Path) -> None:
    folder(
        tmp_path, {"train.txt": "a\nb\n", "train-2.txt": "c\n", "dev.txt.gz": gzip.compress(b"d\ne"), "README.md": "x"}
    )
    table = Table(tmp_path)
    assert (rows(table), rows(table.split("validation"))) == (["c", "a", "b"], ["d", "e"])
    assert table.where(1) == f"{tmp_path / 'train.txt'}: row 1 (line 1)"
    (tmp_path / "notes.txt").write_text("f")
    assert rows(Table(tmp_path), "_id") == ["README.md", "dev.txt.gz", "notes.txt", "train-2.txt", "train.txt"]


def test_folders_called_train_and_test_are_splits_of_documents(tmp_path: Path) -> None:
    table = Table(folder(tmp_path, {"train/a.txt": "one", "test/x/b.txt": "two", "train/c.md": "three"}))
    assert (rows(table), rows(table.split("test"), "_id")) == (["one", "three"], ["test/x/b.txt"])


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({"deep/a.txt": b"x\n\xe9"}, r"deep/a.txt: line 2 is not UTF-8 text \(byte 0xe9\)"),
        ({"a.txt": b"x\0"}, r"a.txt: is a binary file, not text \(a zero byte at 1\)"),
        ({"a.txt": b"x" * 101}, "a.txt: holds more than 0 MB, the most of a document; split it up"),
        ({"a.txt": b"x" * 90, "b.txt": gzip.compress(b"x" * 101)}, "b.txt: holds more than 0 MB"),
        ({"a.txt": b"x", "b.txt": b"y", "c.txt": b"z"}, "holds more than 2 text files, the most that are read"),
        ({"a.txt": b"x", "deep/b.csv": b"q,k"}, r"1 text files and tables in sub-folders, such as .*deep/b\.csv"),
        ({"a.txt": b" "}, "the 1 text files in it are all empty"),
    ],
)
def test_a_folder_that_is_refused(
    texts: dict[str, str | bytes], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_files, "LONGEST_CELL", 100)
    monkeypatch.setattr(text_files, "MOST_DOCUMENTS", 2)
    with pytest.raises(InputError, match=said):
        Table(folder(tmp_path, texts))


def test_a_table_beside_text_files_is_the_table(tmp_path: Path) -> None:
    write_lines(tmp_path / "train.jsonl", [{"text": "row"}])
    (tmp_path / "README.txt").write_text("words")
    assert rows(Table(tmp_path)) == ["row"]
