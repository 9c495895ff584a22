"""Files: the protocol of their readers, and opening them: the format by name, the compression by the first bytes."""

from __future__ import annotations

import bz2
import difflib
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import pyarrow as pa

from nearfar.errors import InputError, nearest

FORMATS = {
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
}
LINES = ".txt"  # a row a line
DOCUMENTS = (LINES, ".md", ".rst")  # in a folder without tables each is one row
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
# Reading these can run the code of whoever wrote them, or they are arrays and archives without named columns.
REFUSED = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".dill", ".npy", ".npz")
KNOWN_FORMATS = ".jsonl, .json, .csv, .tsv, .parquet or .txt, also with .gz, .bz2, .xz or .zst behind it"  # for errors
_DECOMPRESS: dict[bytes, Callable[[Path], Any]] = {  # by the first bytes of the file
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
    # The standard library reads zstd from Python 3.14 only; Arrow always does.
    b"\x28\xb5\x2f\xfd": lambda path: pa.input_stream(str(path), compression="zstd"),
}
SPLIT_WORDS = {"train": "train", "training": "train", "test": "test", "testing": "test", "heldout": "heldout"}
SPLIT_WORDS |= dict.fromkeys(("dev", "val", "valid", "validation", "development", "eval", "evaluation"), "validation")
SPLITS = ("train", "validation", "test", "heldout")  # those that the words name, in order
PACKED = tuple(_DECOMPRESS)  # the first bytes of what is compressed
LONGEST_ROW = 64 << 20  # bytes of a line or record, a cell of text has 10 MB at most; longer ones fill the memory
MOST_COLUMNS = 10_000  # each is checked and counted by itself, and a hundred thousand take minutes
CHANGED = "was changed or removed while it was read; try again when nothing writes it"  # for errors
_BLOCK = 8 << 20  # bytes that are read at a time
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Reader(Protocol):
    """Reads one file of one format."""

    path: Path
    cache_key: str  # the settings that change what is read: part of the name of the file's Arrow copy

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows as Arrow tables of one schema.

        Errors: RestartReadingError when what was yielded must be thrown away and read again; anything else goes to
        `diagnose`.
        """
        ...

    def diagnose(self, error: Exception) -> InputError:
        """Return an error of `tables` as one that names the row, found by reading the file again, slowly."""
        ...

    def lines(self) -> Iterator[int]:
        """Yield the line, from 1, at which each row starts; nothing where the format has no lines."""
        ...


class RestartReadingError(Exception):
    """A reader has found a wider type or a longer row, which its first tables do not fit: read again from the start."""


def line_of(reader: Reader, row: int) -> int | None:
    """Return the line, from 1, at which a row, from 0, starts; None where the format has no lines."""
    return next(islice(reader.lines(), row, None), None)


def first_line(error: BaseException) -> str:
    """Return the first line of a library's error message, at most 200 characters."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def format_suffix(path: Path) -> str:
    """Return the suffix that names the format, in lower case: `.csv` of `a.csv.gz`."""
    bare = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    return bare.suffix.lower()


def split_name(text: str) -> str | None:
    """Return the split that a file's name, or a cell of a column of splits, says: its first word that names one.

    split_name("squad-dev-v2.0")  # "validation"
    """
    words = re.split(r"[^a-z]+", re.sub(r"held[-_ ]out", "heldout", text.lower()))
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), None)


def known_split(name: str, splits: Collection[str], where: str, rows: str = "rows") -> str:
    """Return the split of a name: "dev", "val" and the like are "validation". where, rows: words for the error.

    Errors: `InputError` for an unknown name, with the known ones.
    """
    known = name if name in splits else SPLIT_WORDS.get(name.lower(), name)
    if known not in splits:
        fix = f"; heldout=0.1 keeps a tenth of the {rows} back" if name == "heldout" else ""
        raise InputError(f"{where}: no split {name!r}; {nearest(name, splits)}{fix}")
    return known


def check_file(path: Path) -> None:
    """Raise InputError unless `path` is a readable, non-empty file of a kind that is safe to read."""
    if format_suffix(path) in REFUSED:
        raise InputError(
            f"{path}: {format_suffix(path)} files are not read, because loading one can run code that is hidden in it; "
            f"save the table as {KNOWN_FORMATS}"
        )
    if not path.exists() and path.is_symlink():
        raise InputError(f"{path}: a link to {str(path.readlink())!r}, which leads to no file; give the file itself")
    if not path.exists():
        raise InputError(f"{path}: no such file; {_similar(path)}check the path")
    if not path.is_file():
        raise InputError(f"{path}: is not a regular file; give {KNOWN_FORMATS}, or a folder of them")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty; write at least one row")


def _similar(path: Path) -> str:
    folder = path.parent
    siblings = [other.name for other in folder.iterdir()] if folder.is_dir() else []
    close = difflib.get_close_matches(path.name, siblings, n=1, cutoff=0.6)
    return f"did you mean {str(folder / close[0])!r}? " if close else ""


@contextmanager
def explain_read_errors(path: Path) -> Iterator[None]:
    """Turn the system's error about an unreadable or damaged file into an InputError that names the path."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{path}: {CHANGED}") from error
    except PermissionError as error:
        raise InputError(f"{path}: permission denied; allow reading it, e.g. chmod u+r {path.name}") from error
    except (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError) as error:
        raise _damaged(path, error) from error
    except OSError as error:  # bz2 and zstd report damage as an OSError without a number
        if error.errno is None:
            raise _damaged(path, error) from error
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the file and its disk") from error


def _damaged(path: Path, error: BaseException) -> InputError:
    return InputError(
        f"{path}: the compressed file is damaged or cut off ({first_line(error)}); copy or download it again"
    )


def open_bytes(path: Path) -> BinaryIO:
    """Open a file for reading, decompressed by its first bytes, whatever its name, and without a byte-order mark."""
    with path.open("rb") as plain:
        head = plain.read(6)
    decompress = next((open_ for magic, open_ in _DECOMPRESS.items() if head.startswith(magic)), None)
    stream = io.BufferedReader(decompress(path) if decompress else path.open("rb", buffering=0), 1 << 20)
    if stream.peek(3)[:3] == _BYTE_ORDER_MARK:
        stream.read(3)
    return stream


class NotTextError(ValueError):
    """A line is not UTF-8; `line` is its number, from 1."""

    def __init__(self, line: int, cause: UnicodeDecodeError, path: Path) -> None:
        super().__init__(
            f"is not UTF-8 text (byte 0x{cause.object[cause.start]:02x}); "
            f"convert the file, e.g. iconv -f LATIN1 -t UTF-8 {path.name} > utf8-{path.name}"
        )
        self.line = line


def text_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file with their line ends, slowly.

    Errors: NotTextError for a line that is not UTF-8; InputError for one of more than `LONGEST_ROW` bytes.
    """
    with open_bytes(path) as stream:
        number = 0
        while line := stream.readline(LONGEST_ROW + 1):
            number += 1
            if len(line) > LONGEST_ROW:
                raise too_long(path, f"line {number}")
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise NotTextError(number, error, path) from error


def line_blocks(path: Path) -> Iterator[bytes]:
    """Yield a file decompressed, in blocks of whole lines of about 8 MB.

    Errors: InputError for a line of more than `LONGEST_ROW` bytes, of which no more than these are read.
    """
    lines = 0
    with open_bytes(path) as stream:
        while block := stream.read(_BLOCK):
            if not block.endswith(b"\n"):
                rest = stream.readline(LONGEST_ROW + 1)
                line, begun = lines + block.count(b"\n") + 1, len(block) - block.rfind(b"\n") - 1
                if begun + len(rest) > LONGEST_ROW:
                    raise too_long(path, f"line {line}")
                block += rest
            lines += block.count(b"\n")
            yield block


def too_long(path: Path, where: str) -> InputError:
    """Return the error of a row that is too long. where: its line or row."""
    return InputError(
        f"{path}: {where} holds more than {LONGEST_ROW // 10**6} MB, the most of a row; shorten it or split it up"
    )


def check_width(where: str | Path, columns: int) -> None:
    """Raise InputError for a table of more columns than are read. where: what the error calls the table."""
    if columns > MOST_COLUMNS:
        raise InputError(
            f"{where}: has {columns:,} columns, the most are {MOST_COLUMNS:,}; write the few that are needed, or the "
            "numbers of a vector as a list in one column"
        )
