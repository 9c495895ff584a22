"""What a user can get wrong: each kind is refused in a line or two that say what, where and what to do about it."""

from __future__ import annotations

import gzip
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.calling import Run
from tests.contracts.samples import beir, write_lines

ROW = {"query": "a", "key": "b"}
TRAIN = ["train", "static", "data.path=x.jsonl", "data.heldout=0"]
PAIRS = ["train", "static", "data.path=pairs.jsonl"]


@dataclass(frozen=True)
class Case:
    """One mistake: the words of the call, what the message must hold, and the files that must be there."""

    kind: str
    call: list[str]
    said: list[str]
    make: Callable[[Path], Any] = lambda here: None


def raw(name: str, content: bytes) -> Callable[[Path], Any]:
    return lambda here: (here / name).write_bytes(content)


def rows(*more: Any, name: str = "x.jsonl") -> Callable[[Path], Any]:
    return lambda here: write_lines(here / name, [ROW, *more])


def recipe(text: str | bytes) -> Callable[[Path], Any]:
    return raw("recipe.yaml", text if isinstance(text, bytes) else text.encode())


def beir_with(name: str, content: str) -> Callable[[Path], Any]:
    return lambda here: (beir(here / "beir") / name).write_text(content)


def graded(*scores: Any) -> Callable[[Path], Any]:
    lines = [{"sentence1": f"a {i}", "sentence2": f"b {i}", "score": score} for i, score in enumerate(scores)]
    return lambda here: write_lines(here / "sts.jsonl", lines)


TABLES = [
    Case("no such file", [*TRAIN], ["x.jsonl", "no such file", "check the path"]),
    Case("a name nearly right", ["train", "static", "data.path=pair.jsonl"], ["did you mean 'pairs.jsonl'"]),
    Case("an empty path", ["train", "static", "data.path="], ["the path is empty", "give a file"]),
    Case("an empty file", TRAIN, ["x.jsonl", "the file is empty", "at least one row"], raw("x.jsonl", b"")),
    Case("only blank lines", TRAIN, ["x.jsonl", "the file is empty"], raw("x.jsonl", b"\n \n")),
    Case("a binary file", TRAIN, ["x.jsonl", "binary file", "give .jsonl"], raw("x.jsonl", b"{\0\1\2}")),
    Case("UTF-16", TRAIN, ["x.jsonl", "UTF-16", "iconv"], raw("x.jsonl", '{"query": "a"}'.encode("utf-16"))),
    Case(
        "Latin-1", TRAIN, ["x.jsonl", "line 1", "not UTF-8", "iconv"], raw("x.jsonl", b'{"query": "\xe4", "key": "b"}')
    ),
    Case(
        "a broken JSON row", TRAIN, ["x.jsonl", "line 2"], raw("x.jsonl", b'{"query": "a", "key": "b"}\n{"query": \n')
    ),
    Case("a row that is no object", TRAIN, ["x.jsonl", "row 2"], rows([1, 2])),
    Case("a cell of another type", TRAIN, ["x.jsonl", "query", "row 2"], rows({"query": 5, "key": "b"})),
    Case(
        "a column of numbers",
        TRAIN,
        ["x.jsonl", "key"],
        lambda h: write_lines(h / "x.jsonl", [{"query": "a", "key": 1}]),
    ),
    Case("a null cell", TRAIN, ["x.jsonl", "row 2", "'key'", "null"], rows({"query": "a", "key": None})),
    Case("an empty text", TRAIN, ["x.jsonl", "row 2", "'key'", "empty"], rows({"query": "a", "key": ""})),
    Case("white space", TRAIN, ["x.jsonl", "row 2", "'query'", "white space"], rows({"query": " \t", "key": "b"})),
    Case(
        "a lone surrogate",
        TRAIN,
        ["x.jsonl", "surrogate"],
        raw("x.jsonl", b'{"query": "a", "key": "b"}\n{"query": "\\ud800", "key": "b"}\n'),
    ),
    Case(
        "a 10 MB cell",
        TRAIN,
        ["x.jsonl", "row 2", "'key'", "MB", "10 MB"],
        rows({"query": "a", "key": "b" * 10_000_001}),
    ),
    Case(
        "ragged CSV",
        ["train", "static", "data.path=x.csv"],
        ["x.csv", "line 3"],
        raw("x.csv", b"query,key\na,b\na,b,c\n"),
    ),
    Case(
        "a quote left open",
        ["train", "static", "data.path=x.csv"],
        ["x.csv", "line 2", "no quotation mark closes"],
        raw("x.csv", b'query,key\n"a,b\nc,d\n'),
    ),
    Case(
        "a cut-off gzip",
        ["train", "static", "data.path=x.jsonl.gz"],
        ["x.jsonl.gz", "damaged or cut off", "copy"],
        raw("x.jsonl.gz", gzip.compress(json.dumps(ROW).encode() * 999)[:-20]),
    ),
    Case(
        "a pickle for a table",
        ["train", "static", "data.path=x.pkl"],
        ["x.pkl", "can run code", "save the table as"],
        raw("x.pkl", pickle.dumps([ROW])),
    ),
    Case(
        "no Parquet", ["train", "static", "data.path=x.parquet"], ["x.parquet", "arquet"], raw("x.parquet", b"PAR1 no")
    ),
    Case("an unknown ending", ["train", "static", "data.path=x.dat"], ["x.dat", "rename it to"], raw("x.dat", b"a")),
    Case(
        "a folder without tables",
        ["train", "static", "data.path=."],
        ["holds no table"],
        lambda h: (h / "pairs.jsonl").unlink(),
    ),
    Case(
        "a wrong column",
        [*TRAIN, "positives.query=qeury", "positives.key=key"],
        ["'qeury'", "did you mean 'query'"],
        rows(),
    ),
    Case("half the columns", [*TRAIN, "positives.query=query"], ["both query and key", "columns: query, key"], rows()),
    Case(
        "columns that say nothing",
        TRAIN,
        ["which column holds the queries", "positives.query=", "columns: a, b"],
        lambda here: write_lines(here / "x.jsonl", [{"a": "1", "b": "2"}]),
    ),
    Case(
        "graded pairs to train on",
        ["train", "static", "data.path=sts.jsonl", "data.heldout=0"],
        ["graded"],
        graded(1, 2),
    ),
    Case("too few rows to hold out", [*TRAIN, "data.heldout=0.05"], ["x.jsonl", "heldout=0.05 of 1 rows"], rows()),
    Case("a negative share held out", [*TRAIN, "data.heldout=-0.1"], ["heldout=-0.1", "fraction"], rows()),
]

RECIPES = [
    Case("an unknown recipe", ["train", "statik"], ["statik", "no recipe of that name", "did you mean 'static'"]),
    Case(
        "a recipe that is not YAML", ["train", "recipe.yaml"], ["recipe.yaml", "not YAML", "line 1"], recipe("a: [1, {")
    ),
    Case("a recipe that is no mapping", ["train", "recipe.yaml"], ["recipe.yaml", "sections", "a list"], recipe("- a")),
    Case("an empty recipe", ["train", "recipe.yaml"], ["recipe.yaml", "sections", "empty"], recipe("")),
    Case(
        "a binary recipe", ["train", "recipe.yaml"], ["recipe.yaml", "not readable", "YAML file"], recipe(b"\xff\xfe\0")
    ),
    Case("a folder for a recipe", ["train", "model"], ["model", "no recipe of that name"]),
    Case("an unknown section", ["train", "recipe.yaml"], ["'datta'", "did you mean 'data'"], recipe("datta: {}")),
    Case("a section missing", ["train", "recipe.yaml"], ["data.name=...", "table"], recipe("loss: {name: infonce}")),
    Case("a section that is a word", ["train", "recipe.yaml"], ["section loss", "{name: ..., ...}"], recipe("loss: x")),
    Case("an unknown part", [*PAIRS, "loss.name=infonse"], ["'infonse'", "did you mean 'infonce'"]),
    Case("an unknown setting", [*PAIRS, "loss.temprature=1"], ["'temprature'", "did you mean 'temperature'"]),
    Case("an unknown training setting", [*PAIRS, "training.epoch=1"], ["'epoch'", "did you mean 'epochs'"]),
    Case("an override without a value", [*PAIRS, "training.epochs"], ["training.epochs", "path=value"]),
    Case("an override of no section", [*PAIRS, "trainin.epochs=1"], ["'trainin'", "did you mean 'training'"]),
    Case("an override of a whole section", [*PAIRS, "loss=infonce"], ["whole section", "loss.name=..."]),
    Case("an override that leads nowhere", [*PAIRS, "evaluate.5.split=x"], ["leads nowhere", "entries 0 to 0"]),
    Case("a setting of another type", [*PAIRS, "encoder.dim=wide"], ["encoder.dim", "'wide'", "int"]),
    Case("none of the choices", [*PAIRS, "training.schedule=cubic"], ["training.schedule", "'cubic'", "'linear'"]),
    Case("a negative number", [*PAIRS, "training.epochs=-1"], ["training.epochs", "above zero"]),
    Case("a learning rate of zero", [*PAIRS, "training.learning_rate=0"], ["training.learning_rate", "above zero"]),
    Case("a rate that is infinite", [*PAIRS, "training.learning_rate=.inf"], ["training.learning_rate"]),
    Case("a negative weight decay", [*PAIRS, "training.weight_decay=-1"], ["training.weight_decay"]),
    Case("a negative seed", [*PAIRS, "training.seed=-1"], ["training.seed"]),
    Case("a batch of one", [*PAIRS, "training.batch_size=1"], ["training.batch_size", "at least 2", "negatives"]),
    Case("a warm-up beyond the end", [*PAIRS, "training.warmup=2"], ["training.warmup", "share"]),
    Case("no steps", [*PAIRS, "training.steps=0"], ["training.steps", "at least 1"]),
    Case("a temperature of zero", [*PAIRS, "loss.temperature=0"], ["infonce.temperature", "above 0"]),
    Case("no dimensions", [*PAIRS, "encoder.dim=0"], ["dim (0)", "at least 1"]),
    Case("a tokenizer that is not there", [*PAIRS, "encoder.tokenizer=t.json"], ["t.json", "no such file"]),
    Case(
        "a device that is not there",
        ["train", "static", "data.path=pairs.jsonl", "training.device=tpu"],
        ["'tpu'", "cpu"],
    ),
    Case("an unknown metric", [*PAIRS, "evaluate.0.name=ndgc"], ["metrics", "'ndgc'", "known:"]),
    Case(
        "an unknown split", ["train", "static", "data.path=pairs.jsonl", "evaluate.0.split=dev"], ["'dev'", "heldout"]
    ),
    Case(
        "a part from nowhere",
        [*PAIRS, "loss.name=nowhere.at_all:Mine"],
        ["nowhere.at_all:Mine", "package.module:Class"],
    ),
]

COMMANDS = [
    Case("an unknown command", ["serch"], ["serch", "nearfar --help"]),
    Case("an unknown option", ["search", "model", "pairs.jsonl", "fox", "--deep"], ["--deep", "nearfar search --help"]),
    Case(
        "an option without its value",
        ["embed", "model", "pairs.jsonl", "--out"],
        ["--out", "requires an argument", "--help"],
    ),
    Case("an argument missing", ["search", "model"], ["corpus", "nearfar search --help"]),
    Case(
        "a word for a number",
        ["search", "model", "pairs.jsonl", "fox", "-k", "many"],
        ["-k", "integer", "nearfar search --help"],
    ),
    Case("no results asked for", ["search", "model", "pairs.jsonl", "fox", "-k", "0"], ["-k 0", "at least one"]),
    Case("an empty query", ["search", "model", "pairs.jsonl", " "], ["query is empty", "what to look for"]),
    Case("no corpus", ["search", "model", "x.jsonl", "fox"], ["x.jsonl", "no such file"]),
    Case("no text file", ["search", "model", "x.txt", "fox"], ["x.txt", "no such file", "check the path"]),
    Case(
        "an empty text file",
        ["search", "model", "x.txt", "fox"],
        ["x.txt", "empty", "at least one row"],
        raw("x.txt", b"\n"),
    ),
    Case("a binary text file", ["search", "model", "x.txt", "fox"], ["x.txt", "binary file"], raw("x.txt", b"\xff\0")),
    Case(
        "no column of texts",
        ["search", "model", "x.jsonl", "fox"],
        ["x.jsonl", "--column", "columns: a"],
        lambda here: write_lines(here / "x.jsonl", [{"a": "1"}]),
    ),
    Case(
        "a column that is not there",
        ["search", "model", "pairs.jsonl", "fox", "--column", "keys"],
        ["'keys'", "did you mean 'key'"],
    ),
    Case(
        "a kind of file that is unknown",
        ["embed", "model", "pairs.jsonl", "--out", "v.csv"],
        ["v.csv", ".npy", ".parquet"],
    ),
    Case(
        "an unknown role",
        ["embed", "model", "pairs.jsonl", "--out", "v.npy", "--role", "doc"],
        ["--role doc", "query, key"],
    ),
    Case(
        "more dimensions than there are",
        ["embed", "model", "pairs.jsonl", "--out", "v.npy", "--dim", "17"],
        ["dim 17", "which have 16"],
    ),
    Case(
        "an unknown precision",
        ["embed", "model", "pairs.jsonl", "--out", "v.npy", "--precision", "int4"],
        ["--precision int4", "did you mean 'int8'"],
    ),
    Case(
        "bytes without a calibration",
        ["embed", "model", "pairs.jsonl", "--out", "v.npy", "--precision", "int8"],
        ["--precision int8 needs --calibration FILE", ".ranges.npy"],
    ),
    Case(
        "a calibration for nothing",
        ["embed", "model", "pairs.jsonl", "--out", "v.npy", "--calibration", "pairs.jsonl"],
        ["--calibration is for int8 and uint8, not float32"],
    ),
    Case(
        "ranges that are none",
        ["embed", "model", "pairs.jsonl", "--out", "v.npy", "--precision", "int8", "--calibration", "x.npy"],
        ["x.npy", "not readable as ranges"],
        raw("x.npy", b"no array"),
    ),
    Case(
        "vectors into a file's place",
        ["embed", "model", "pairs.jsonl", "--out", "pairs.jsonl/v.npy"],
        ["pairs.jsonl", "file stands"],
    ),
    Case(
        "a run into a file's place",
        ["train", "static", "data.path=pairs.jsonl", "--out", "pairs.jsonl/a"],
        ["pairs.jsonl", "file stands"],
    ),
    Case(
        "a report into a file's place",
        ["evaluate", "model", "pairs.jsonl", "--out", "pairs.jsonl/r.json"],
        ["pairs.jsonl", "file stands"],
    ),
    Case("a report of no run", ["report", "model"], ["model", "this is no run", "nearfar train"]),
    Case("a report of nothing", ["report", "nowhere"], ["nowhere", "this is no run"]),
    Case("a package that is unknown", ["list", "loss"], ["'loss'", "did you mean 'losses'"]),
    Case("both resume and overwrite", [*TRAIN, "--resume", "--overwrite"], ["--resume", "--overwrite", "one of them"]),
    Case(
        "a baseline that is not there",
        ["evaluate", "model", "pairs.jsonl", "--baseline", "bm52"],
        ["bm52", "did you mean 'bm25'"],
    ),
    Case(
        "the same for train",
        ["train", "static", "data.path=pairs.jsonl", "--baseline", "bm52"],
        ["bm52", "did you mean 'bm25'"],
    ),
    Case("a baseline that is no model", ["evaluate", "model", "pairs.jsonl", "--baseline", "."], ["no nearfar.json"]),
    Case("no data to judge by", ["evaluate", "model", "x.jsonl"], ["x.jsonl", "no such file"]),
    Case(
        "a split that a table lacks", ["evaluate", "model", "pairs.jsonl", "--split", "dev"], ["'dev'", "known: train"]
    ),
    Case(
        "a BEIR folder without queries",
        ["evaluate", "model", "beir"],
        ["beir", "no queries.jsonl"],
        lambda h: (beir(h / "beir") / "queries.jsonl").unlink(),
    ),
    Case(
        "a BEIR folder without qrels",
        ["evaluate", "model", "beir"],
        ["beir", "qrels.tsv"],
        lambda h: (beir(h / "beir") / "qrels.tsv").unlink(),
    ),
    Case(
        "judgements of unknown queries",
        ["evaluate", "model", "beir"],
        ["qrels.tsv", "q99"],
        beir_with("qrels.tsv", "query-id\tcorpus-id\tscore\nq99\td1\t1\n"),
    ),
    Case(
        "judgements of unknown documents",
        ["evaluate", "model", "beir"],
        ["qrels.tsv", "d99"],
        beir_with("qrels.tsv", "query-id\tcorpus-id\tscore\nq1\td99\t1\n"),
    ),
    Case(
        "judgements that are words",
        ["evaluate", "model", "beir"],
        ["qrels.tsv", "row 1", "'good'"],
        beir_with("qrels.tsv", "query-id\tcorpus-id\tscore\nq1\td1\tgood\n"),
    ),
    Case(
        "nothing relevant",
        ["evaluate", "model", "beir"],
        ["beir", "no query has a relevant document"],
        beir_with("qrels.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t0\n"),
    ),
    Case(
        "an id that is there twice",
        ["search", "model", "beir", "fox"],
        ["corpus.jsonl", "row 2", "'d0'"],
        beir_with("corpus.jsonl", '{"_id": "d0", "text": "a"}\n' * 2),
    ),
    Case(
        "a BEIR split that is not there",
        ["evaluate", "model", "beir", "--split", "dev"],
        ["qrels", "'dev'"],
        lambda h: (beir(h / "beir") / "qrels").mkdir(),
    ),
    Case(
        "scores that are no numbers",
        ["evaluate", "model", "sts.jsonl"],
        ["sts.jsonl", "'score'", "row 2", "'high'"],
        graded("1", "high"),
    ),
    Case(
        "scores that are not finite",
        ["evaluate", "model", "sts.csv"],
        ["sts.csv", "row 2", "finite"],
        raw("sts.csv", b"sentence1,sentence2,score\na,b,1\nc,d,nan\n"),
    ),
    Case(
        "scores that are all the same", ["evaluate", "model", "sts.jsonl"], ["sts.jsonl", "no order"], graded(1, 1, 1)
    ),
]


@pytest.mark.parametrize("case", [*TABLES, *RECIPES, *COMMANDS], ids=lambda case: case.kind)
def test_is_refused(case: Case, here: Path, nearfar: Run) -> None:
    case.make(here)
    nearfar(*case.call).refused(*case.said)
    assert not [path for path in here.glob("runs/**/*") if path.is_file() and path.name != "recipe.yaml"]


def test_there_are_enough_kinds() -> None:
    kinds = [case.kind for case in (*TABLES, *RECIPES, *COMMANDS)]
    assert len(set(kinds)) == len(kinds) >= 40
