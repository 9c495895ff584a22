"""Good tables in every format that is read, and damages to them: the bad inputs of `bad_input.py` that are data."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

Row = dict[str, Any]
Rows = list[Row]
COMPRESS: dict[str, Callable[[bytes], Any]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda content: pa.Codec("zstd").compress(content, asbytes=True),
}
WORDS = ("red", "blue", "fox", "goose", "river", "stone", "cloud", "engine", "garden", "letter", "window", "bridge")


def pairs(n: int = 60) -> Rows:
    """Return pairs of a question and an answer that share their rare words."""
    chosen = [(WORDS[i % 12], WORDS[(i * 5 + 1) % 12], WORDS[(i * 7 + 3) % 12]) for i in range(n)]
    return [
        {"id": f"d{i}", "query": f"where is the {a} {b} number {i}", "key": f"the {b} that is {a}, {i}, lies by a {c}"}
        for i, (a, b, c) in enumerate(chosen)
    ]


@dataclass(frozen=True)
class Format:
    """A kind of source: the name of its file or folder, how rows become its bytes, and which damages it can have.

    member: of a folder, the file that is damaged; the file itself otherwise.
    """

    name: str
    path: str
    write: Callable[[Rows], bytes]
    typed: bool = True  # a cell can be null, a number or a list
    member: str = ""
    beside: Callable[[Path, Rows], None] | None = None

    def save(self, folder: Path, rows: Rows) -> Path:
        """Write rows under a folder, and return the file that holds them."""
        place = folder / self.path / self.member if self.member else folder / self.path
        place.parent.mkdir(parents=True, exist_ok=True)
        if self.beside is not None:
            self.beside(folder / self.path, rows)
        place.write_bytes(self.write(rows))
        return place


def json_lines(rows: Rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def json_array(rows: Rows) -> bytes:
    return json.dumps(rows).encode()


def delimited(mark: str) -> Callable[[Rows], bytes]:
    def write(rows: Rows) -> bytes:
        lines = [
            mark.join(rows[0]),
            *(mark.join(str(cell).replace(mark, " ") for cell in row.values()) for row in rows),
        ]
        return "".join(line + "\n" for line in lines).encode("utf-8", "surrogatepass")

    return write


def lines(rows: Rows) -> bytes:
    return "".join(f"{row['query']}\n" for row in rows).encode("utf-8", "surrogatepass")


def arrow_parquet(rows: Rows) -> bytes:
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


def arrow_stream(rows: Rows) -> bytes:
    table, sink = pa.Table.from_pylist(rows), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def documents(rows: Rows) -> bytes:
    return json_lines([{"_id": row["id"], "text": row["key"]} for row in rows if "id" in row and "key" in row])


def sts(rows: Rows) -> bytes:
    made = [
        "\t".join(("main", "x", "2012", str(i), str(i % 6), row["query"], row["key"])) for i, row in enumerate(rows)
    ]
    return "".join(line + "\n" for line in made).encode("utf-8", "surrogatepass")


def qrels(rows: Rows) -> bytes:
    return b"query-id\tcorpus-id\tscore\n" + b"".join(f"q{i}\td{i}\t1\n".encode() for i in range(len(rows)))


def _beir(folder: Path, _: Rows) -> None:
    """Write the three files of a BEIR folder; the one that is damaged is written over."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    good = pairs()
    (folder / "corpus.jsonl").write_bytes(documents(good))
    queries = [{"_id": f"q{i}", "text": row["query"]} for i, row in enumerate(good)]
    (folder / "queries.jsonl").write_bytes(json_lines(queries))
    (folder / "qrels" / "test.tsv").write_bytes(qrels(good))
    (folder / "qrels" / "train.tsv").write_bytes(qrels(good))


def _saved(folder: Path, rows: Rows) -> None:
    """Write what `datasets` saves beside its Arrow file."""
    folder.mkdir(parents=True, exist_ok=True)
    types = {name: {"dtype": "string", "_type": "Value"} for name in rows[0]}
    (folder / "dataset_info.json").write_text(json.dumps({"features": types}), encoding="utf-8")
    state: dict[str, Any] = {
        "_data_files": [{"filename": "data-00000-of-00001.arrow"}],
        "_fingerprint": "0",
        "_format_type": None,
    }
    state |= {"_format_columns": None, "_format_kwargs": {}, "_output_all_columns": False, "_split": None}
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")


def _test_split(folder: Path, _: Rows) -> None:
    (folder / "test.jsonl").write_bytes(json_lines(pairs()[:20]))


def compressed(name: str, ending: str, write: Callable[[Rows], bytes], *, typed: bool = True) -> Format:
    return Format(f"{name}{ending}", f"x{name}{ending}", lambda rows: COMPRESS[ending](write(rows)), typed)


FORMATS = (
    Format("JSONL", "x.jsonl", json_lines),
    Format("JSON array", "x.json", json_array),
    Format("CSV", "x.csv", delimited(","), typed=False),
    Format("TSV", "x.tsv", delimited("\t"), typed=False),
    Format("Parquet", "x.parquet", arrow_parquet),
    compressed(".jsonl", ".gz", json_lines),
    compressed(".csv", ".bz2", delimited(","), typed=False),
    compressed(".tsv", ".xz", delimited("\t"), typed=False),
    compressed(".json", ".zst", json_array),
    Format("text lines", "x.txt", lines, typed=False),
    Format("text folder", "texts", lines, typed=False, member="a.txt"),
    Format("folder of splits", "splits", json_lines, member="train.jsonl", beside=_test_split),
    Format("BEIR corpus", "beir", documents, member="corpus.jsonl", beside=_beir),
    Format("BEIR qrels", "beir", qrels, typed=False, member="qrels/test.tsv", beside=_beir),
    Format("STS benchmark", "sts.tsv", sts, typed=False),
    Format("datasets folder", "saved", arrow_stream, member="data-00000-of-00001.arrow", beside=_saved),
)
Damage = Callable[[Format, Path], object]


def rows_with(change: Callable[[Rows], object]) -> Damage:
    """Damage the rows before they are written."""

    def damage(form: Format, folder: Path) -> None:
        rows = pairs()
        change(rows)
        form.save(folder, rows)

    return damage


def cell(value: Any) -> Damage:
    """Put a value into both texts of the third row."""
    return rows_with(lambda rows: rows[2].update(query=value, key=value))


def content(change: Callable[[bytes], bytes]) -> Damage:
    """Damage the bytes of the file."""

    def damage(form: Format, folder: Path) -> None:
        place = form.save(folder, pairs())
        place.write_bytes(change(place.read_bytes()))

    return damage


def place_of(change: Callable[[Path], object]) -> Damage:
    """Put something else where the file is meant to be."""

    def damage(form: Format, folder: Path) -> None:
        place = form.save(folder, pairs())
        place.unlink()
        change(place)

    return damage


def in_text(change: Callable[[str], str]) -> Damage:
    """Damage the text before it is compressed."""

    def damage(form: Format, folder: Path) -> None:
        place = form.save(folder, pairs())
        ending = place.suffix if place.suffix in COMPRESS else ""
        text = _expand(ending, place.read_bytes()).decode()
        changed = change(text).encode("utf-8", "surrogatepass")
        place.write_bytes(COMPRESS[ending](changed) if ending else changed)

    return damage


def _expand(ending: str, content: bytes) -> bytes:
    undo: dict[str, Callable[[bytes], Any]] = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}
    if ending == ".zst":
        with pa.CompressedInputStream(pa.BufferReader(content), "zstd") as stream:
            return bytes(stream.read())
    return bytes(undo[ending](content)) if ending else content


# What is done to any file; then to the cells of typed rows; then to texts by their syntax.
OF_FILES: dict[str, Damage] = {
    "missing": place_of(lambda _: None),
    "empty": content(lambda _: b""),
    "blank": content(lambda _: b"\n \n"),
    "cut in half": content(lambda known: known[: len(known) // 2 + 1]),
    "zeros": content(lambda known: known[:40] + bytes(4000)),
    "Latin-1": content(lambda known: known[: len(known) // 2] + b"\xe4\xe9\n" + known[len(known) // 2 :]),
    "UTF-16": content(lambda known: known.decode("latin-1").encode("utf-16")),
    "a folder": place_of(lambda path: path.mkdir()),
    "a pipe": place_of(os.mkfifo),
    "a link to itself": place_of(lambda path: path.symlink_to(path.name)),
    "a device": place_of(lambda path: path.symlink_to("/dev/zero")),
    "another format": content(lambda _: b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9),
}
OF_CELLS: dict[str, Damage] = {
    "null": cell(None),
    "an empty text": cell(""),
    "white space": cell(" \u00a0 "),
    "invisible": cell("\u200b\ufeff"),
    "a text of 11 MB": cell("word " * 2_200_000),
    "other columns": rows_with(lambda rows: [row.update(a=row.pop("query"), b=row.pop("key")) for row in rows]),
    "one row": rows_with(lambda rows: rows.__delitem__(slice(1, None))),
}
OF_TYPES: dict[str, Damage] = {
    "numbers": rows_with(lambda rows: [row.update(query=i, key=i) for i, row in enumerate(rows)]),
    "lists of numbers": rows_with(lambda rows: [row.update(query=[i], key=[i]) for i, row in enumerate(rows)]),
    "objects": rows_with(lambda rows: [row.update(query={"a": i}, key={"a": i}) for i, row in enumerate(rows)]),
    "all null": rows_with(lambda rows: [row.update(query=None, key=None) for row in rows]),
}
OF_JSON: dict[str, Damage] = {
    "nested 20,000 deep": in_text(lambda text: text.replace('"d2"', "[" * 20_000 + "]" * 20_000)),
    "nested 500 deep": in_text(lambda text: text.replace('"d2"', "[" * 500 + "]" * 500)),
    "no value": in_text(lambda text: text.replace('"d2"', "")),
    "a type that changes": in_text(lambda text: re.sub(r'"[^"]* (number 2|2, lies)[^"]*"', "5", text)),
    "a lone surrogate": in_text(lambda text: text.replace(" lies", " \\ud800 lies", 1)),
    "a number for a row": in_text(lambda text: text.replace("{", "5, {", 1) if text[0] == "[" else "5\n" + text),
    "a row of 70 MB": in_text(lambda text: text.replace('"d2"', '"' + "d" * 70_000_000 + '"')),
    "columns, not rows": in_text(lambda _: json.dumps({"query": ["a", "b"], "key": ["c", "d"]})),
    "a key twice": in_text(lambda text: text.replace('"id": "d2"', '"query": "x", "id": "d2"')),
}
OF_FIELDS: dict[str, Damage] = {
    "a field more": in_text(lambda text: text.replace("number 4", "number,\t 4")),
    "a field less": in_text(lambda text: text.replace("d4,", "d4 ").replace("d4\t", "d4 ")),
    "an open quotation mark": in_text(lambda text: text.replace("where is the fox", '"where is the fox', 1)),
    "semicolons": in_text(lambda text: text.replace(",", ";").replace("\t", ";")),
    "a header alone": in_text(lambda text: text.split("\n")[0] + "\n"),
    "no header": in_text(lambda text: text.split("\n", 1)[1]),
    "100,000 fields": in_text(lambda text: text.split("\n")[0] + ",\t" * 100_000 + "\n" + text.split("\n", 1)[1]),
    "a line of 70 MB": in_text(lambda text: text.replace("number 4", "x" * 70_000_000)),
}


def damages(form: Format) -> dict[str, Damage]:
    """Return the damages that a format can have."""
    found = dict(OF_FILES)
    if form.name not in ("BEIR qrels", "text lines", "text folder"):
        found |= {name: damage for name, damage in OF_CELLS.items() if form.typed or name != "null"}
    if form.typed:
        found |= OF_TYPES
    if ".json" in form.path + form.member:
        found |= OF_JSON
    if ".csv" in form.path or ".tsv" in form.path:
        found |= OF_FIELDS
    return found
