"""What is damaged: good files of each format, and what reads each as the command line does."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import lzma
import shutil
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import nearfar as nf
from nearfar import cli, config, data, recipes
from nearfar.data.table import Table
from nearfar.encoders.dual import Dual
from nearfar.encoders.frozen_projection import FrozenProjection
from nearfar.encoders.projected import Projected
from nearfar.encoders.static import Static
from nearfar.errors import InputError
from nearfar.heads.mlp import Mlp
from nearfar.index.documents.document import BadDocumentError
from nearfar.index.documents.html_text import html_document
from nearfar.index.documents.pdf_text import pdf_pages
from nearfar.losses.infonce import InfoNCE
from nearfar.positives.columns import Columns
from nearfar.positives.relations.decisions import Decisions
from nearfar.training.checkpoint_files import checkpoint_folders
from nearfar.training.fit import fit
from tests.encoders.tiny import TEXTS, column, tiny
from tests.index.documents.parts import pdf

ROWS = [
    {"query": f"what is {text[:30]} \u00fc{i}", "key": f"it is {text}", "negative": [text[:9], "far"], "score": i % 5}
    for i, text in enumerate(TEXTS)
]


def command(*words: object) -> None:
    """Run a command; errors are those of the command line. Errors: `InputError` for exit code 2."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.run([str(word) for word in words])
    if code == 2:
        raise InputError(err.getvalue())
    assert code == 0, f"exit code {code}: {err.getvalue()}"


def read_table(path: Path) -> None:
    """Read all that a table has, in every way that it can be asked for; audit every twentieth."""
    table = Table(path)
    for name in table.columns:
        table.column(name).read(0, len(table))
        for ask in (table.text, table.lists, table.numbers):
            with contextlib.suppress(InputError):
                ask(name)
    assert table.fingerprint
    if zlib.crc32(path.read_bytes()) % 20 == 0:
        command("audit", path, "--out", path.parent / "page.html", "--json")


def read_beir(path: Path) -> None:
    """Read a BEIR folder's task."""
    data.Beir(path.parent if path.parent.name != "qrels" else path.parent.parent).task()


def read_similarity(path: Path) -> None:
    """Read a task of graded pairs."""
    data.Similarity(path).task()


def read_note(path: Path) -> None:
    """Read decisions, or a recipe with its parts and all settings; nothing is built of it."""
    if path.suffix == ".yaml":
        config.resolved(recipes.load(path))
    else:
        Decisions.read(path)


def report(path: Path) -> None:
    """Write the page of a run."""
    command("report", path.parent, "--json")


def read_model(path: Path) -> None:
    """Load the model folder and embed two texts."""
    folder = next(parent for parent in path.parents if parent.name.startswith("model-"))
    vectors = nf.Model.load(folder).embed(TEXTS[:2])
    assert vectors.shape[0] == 2


def read_checkpoint(path: Path) -> None:
    """Go on with a run from its checkpoint."""
    train(path.parent.parent.parent, resume=True)


def read_document(path: Path) -> None:
    """Read a document as the process does that reads those of strangers."""
    try:
        if path.suffix == ".pdf":
            list(pdf_pages(path, print))
        else:
            html_document(path.read_bytes())
    except BadDocumentError as error:
        raise InputError(str(error)) from error


def reader(name: str) -> Callable[[Path], None]:
    """Return what reads a target: a file of a folder of good files, "folder/file"."""
    folder = name.split("/")[0]
    return read_model if folder.startswith("model-") else READERS[folder]


READERS = {
    "tables": read_table,
    "documents": read_document,
    "similarity": read_similarity,
    "beir": read_beir,
    "notes": read_note,
    "run": report,
    "resumed": read_checkpoint,
}


def train(out: Path, *, resume: bool) -> None:
    """Train a small encoder for three steps."""
    rows = Table([{"query": row["query"], "key": row["key"]} for row in ROWS])
    settings: dict[str, Any] = {
        "batch_size": 8,
        "steps": 3,
        "device": "cpu",
        "precision": "fp32",
        "checkpoint_every": 2,
    }
    fit(Static(dim=8, vocabulary=300), Columns(rows), InfoNCE(), out=out, quiet=True, resume=resume, **settings)


def write_tables(root: Path) -> None:
    """Write tables of every format."""
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    texts = [[str(row["query"]), str(row["key"])] for row in ROWS]
    comma = "\n".join(["query,key", *(f'"{q}","{k}, ""so"" they say"' for q, k in texts)]).encode()
    tab = "\n".join(["query\tkey", *("\t".join(row) for row in texts)]).encode()
    stsb = [f"main\tfile\t2012test\t{i}\t{i % 6}.0\t{q}\t{k}" for i, (q, k) in enumerate(texts)]
    parquet, zstd = io.BytesIO(), pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([{**row, "about": {"n": 1, "t": row["key"]}} for row in ROWS]), parquet)
    with pa.CompressedOutputStream(zstd, "zstd") as stream:
        stream.write(lines)
    contents: dict[str, bytes] = {
        "a.jsonl": lines,
        "pairs.jsonl": "".join(json.dumps(row) + "\n" for row in texts).encode(),
        "a.json": json.dumps(ROWS, indent=1).encode(),
        "a.csv": comma,
        "a.tsv": tab,
        "a.parquet": parquet.getvalue(),
        "a.txt": "\n".join(TEXTS).encode(),
        "a.jsonl.gz": gzip.compress(lines),
        "a.csv.bz2": bz2.compress(comma),
        "a.tsv.xz": lzma.compress(tab),
        "a.jsonl.zst": zstd.getvalue().to_pybytes(),
        "a.parquet.gz": gzip.compress(parquet.getvalue()),
    }
    (root / "tables").mkdir()
    for name, content in contents.items():
        (root / "tables" / name).write_bytes(content)
    (root / "similarity").mkdir()
    (root / "similarity" / "sts-test.tsv").write_text("\n".join(stsb))


def write_beir(folder: Path) -> None:
    """Write a BEIR folder."""
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": f"d{i}", "title": "t", "text": row["key"]} for i, row in enumerate(ROWS)]
    queries = [{"_id": f"q{i}", "text": row["query"]} for i, row in enumerate(ROWS)]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = [f"q{i}\td{i}\t1" for i in range(len(ROWS))]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]))


def write_documents(root: Path) -> None:
    """Write a PDF and a page."""
    (root / "documents").mkdir()
    (root / "documents" / "a.pdf").write_bytes(pdf([TEXTS[0], None, TEXTS[1]]))
    tags = "".join(f"<p class='x'>{text} &amp; <b>more</b><pre>\n as  it is</pre>" for text in TEXTS)
    (root / "documents" / "a.html").write_text(f"<!DOCTYPE html><meta charset=utf-8><script>1 < 2</script>{tags}")


def write_runs(root: Path) -> None:
    """Write what people and runs leave: a recipe, decisions, a run with its results, one with a checkpoint."""
    (root / "notes").mkdir()
    decided = [{"query": row["query"], "negative": "far", "action": "drop", "scores": {"m": [1, 2]}} for row in ROWS]
    (root / "notes" / "decisions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in decided))
    recipe = config.resolved(recipes.load("static", {"data.path": "a.jsonl", "data.heldout": 0.1}))
    (root / "notes" / "recipe.yaml").write_text(config.dumped(recipe, {"torch": "2"}))
    small = ["encoder.dim=8", "encoder.vocabulary=300", "training.batch_size=8", "training.steps=3", "data.heldout=0.3"]
    pairs = f"data.path={root / 'tables' / 'pairs.jsonl'}"
    command("train", "static", pairs, *small, "--out", root / "run", "--quiet")
    train(root / "resumed", resume=False)
    for older in checkpoint_folders(root / "resumed" / "checkpoints")[:-1]:
        shutil.rmtree(older)


def write_models(root: Path) -> None:
    """Write model folders of nearfar, and of sentence-transformers, which lack nearfar.json."""
    static, projected = Static(dim=8, vocabulary=300), Projected(Static(dim=8, vocabulary=300), Mlp(dim=8, sizes=[4]))
    dual = Dual(Static(dim=8, vocabulary=300), Static(dim=8, vocabulary=300))
    new: list[Any] = [static, projected, dual]
    for one in new:
        one.prepare([column()])
    encoders: dict[str, Any] = {
        "dense": FrozenProjection(tiny("bert", max_length=20), dim=8),
        "static": static,
        "dual": dual,
    }
    encoders |= {"projected": projected, "described": dual}
    for name, encoder in encoders.items():
        nf.Model(encoder, {"query": "near ", "key": "far "}).save(root / f"model-{name}")
        if name not in ("projected", "described"):
            (root / f"model-{name}" / "nearfar.json").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        for name in ("static", "dual"):  # in their own newest form
            theirs = SentenceTransformer(str(root / f"model-{name}"), device="cpu")
            theirs.save(str(root / f"model-{name}-theirs"))


def write_all(root: Path) -> None:
    """Write all good files."""
    write_tables(root)
    write_beir(root / "beir")
    write_documents(root)
    write_runs(root)
    write_models(root)


TARGETS = [
    *(f"tables/a.{kind}" for kind in ("jsonl", "json", "csv", "tsv", "parquet", "txt")),
    *(f"tables/a.{kind}" for kind in ("jsonl.gz", "csv.bz2", "tsv.xz", "jsonl.zst", "parquet.gz")),
    *("documents/a.pdf", "documents/a.html"),
    *("tables/pairs.jsonl", "similarity/sts-test.tsv"),
    *(f"beir/{file}" for file in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv")),
    *("notes/decisions.jsonl", "notes/recipe.yaml", "run/results.json", "run/events.jsonl", "run/recipe.yaml"),
    *(f"resumed/checkpoints/step-000003/{file}" for file in ("state.safetensors", "state.json", "manifest.json")),
    *(f"model-dense/{file}" for file in ("modules.json", "config_sentence_transformers.json")),
    *(f"model-dense/of/{file}" for file in ("config.json", "tokenizer.json", "tokenizer_config.json")),
    *(f"model-dense/of/{file}" for file in ("sentence_bert_config.json", "1_Pooling/config.json", "modules.json")),
    *("model-dense/of/model.safetensors", "model-dense/projection/config.json"),
    *(f"model-static/0_StaticEmbedding/{file}" for file in ("tokenizer.json", "model.safetensors")),
    *(f"model-static-theirs/{file}" for file in ("modules.json", "config_sentence_transformers.json")),
    *("model-dual/router_config.json", "model-dual-theirs/router_config.json", "model-dual-theirs/modules.json"),
    *("model-projected/nearfar.json", "model-described/nearfar.json"),
]
