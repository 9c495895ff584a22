"""Sample inputs for the contract tests: a part is tested with the first one that it accepts.

So a new part is tested by its package's contract without being named anywhere. A part that accepts none of these inputs
needs a new one in this file.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nearfar import registry
from nearfar.column import ListColumn
from nearfar.data.table import Table
from nearfar.encoders.static import Static
from nearfar.errors import InputError
from nearfar.model import Model
from tests.pictures.samples import encoded, noise

SMALL: dict[str, Any] = {
    "dim": 8,
    "vocabulary": 300,
    "max_length": 16,
    "workers": 1,
    "progress": False,
    "heldout": 1,
    "unseen": 1,
}
TINY = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
DECODER = {"model_type": "llama", **TINY, "max_position_embeddings": 64}
SMALL_BY_PACKAGE = {"encoders": {"config": {"model_type": "bert", **TINY}}}  # elsewhere `config` is another setting
GRADED = {"teacher_scores", "teacher_vectors"}  # positives whose known weights are scores, not 1 or 0
INNER_PART = {"encoders": "static", "heads": "mlp"}  # for a part that needs another part of a package
TEXTS = [
    "pull near",
    "push far away",
    "near is not far",
    "a red fox",
    "the grey goose",
    "foxes eat geese",
    "über ☃",
    "x",
]


def settings(package: str, part: type[Any], **more: Any) -> dict[str, Any]:
    """Return those settings of a part that keep it small."""
    known = registry.recipe_settings(package, part)
    inner: dict[str, Any] = {}
    for name, inner_package in registry.nested(part).items():
        # An encoder of others may be given a folder in their place; here it is given them.
        if known[name].default is inspect.Parameter.empty or inner_package == package == "encoders":
            inner_name = INNER_PART[inner_package]
            inner_settings = settings(inner_package, registry.find(inner_package, inner_name))
            inner[name] = {"name": inner_name, **inner_settings}
    small = {**SMALL, **SMALL_BY_PACKAGE.get(package, {}), **inner, **more}
    return {name: value for name, value in small.items() if name in known}


def columns() -> Iterator[ListColumn]:
    """Yield a column of each kind of cell: texts, pictures (h, w, 3) of bytes, series (t, c) of floats."""
    random = np.random.default_rng(0)
    yield ListColumn("text", TEXTS)
    yield ListColumn("picture", list(random.integers(0, 256, (8, 16, 16, 3), np.uint8)))
    yield ListColumn("series", list(random.normal(size=(8, 32, 3)).astype(np.float32)))


def rows(n: int = 40) -> list[dict[str, Any]]:
    """Return rows with every column that a definition of positives may use."""
    return [
        {
            "query": f"question {i} about {TEXTS[i % 6]}",
            "key": f"answer {i} tells of {TEXTS[i % 6]}",
            "negative": f"nothing {i} to do with it",
            "label": i % 5,
            "group": f"group {i // 2}",
            "text": f"text {i} says {TEXTS[i % 6]}",
        }
        for i in range(n)
    ]


def teacher() -> Model:
    """Return a model of texts, for positives that have a teacher."""
    encoder = Static(dim=12, vocabulary=300)
    encoder.prepare([ListColumn("text", [*TEXTS, *(str(cell) for row in rows() for cell in row.values())])])
    return Model(encoder)


def table() -> Table:
    """Return the rows as a table, some of them held out."""
    return Table(rows(), heldout=8, heldout_by=["query"])


def write_lines(path: Path, lines: list[dict[str, Any]]) -> Path:
    """Write a JSON Lines file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def packages(folder: Path, count: int = 12) -> list[Path]:
    """Write small Python packages whose functions say what they do; return their folders."""
    nouns = [
        "river",
        "engine",
        "window",
        "letter",
        "bridge",
        "forest",
        "lamp",
        "stone",
        "cloud",
        "goose",
        "fox",
        "garden",
    ]
    verbs = ["count", "open", "paint", "measure", "repair", "carry"]
    for p in range(count):
        for m, verb in enumerate(verbs):
            lines = [f'"""The {verb} module."""\n']
            for f, noun in enumerate(nouns):
                name, how = f"{verb}_{noun}_{p}", f"{nouns[(p + f) % 12]}_{m}"
                lines.append(
                    f'def {name}(items, {how}):\n    """{verb.title()} every {noun} of package {p} by its {how}."""\n'
                    f"    total = {p * m + f}\n    for {noun} in items:\n"
                    f"        total += {noun}.{verb}({how}) * {f + 1}\n"
                    f"    return {how}.finish_{p}_{m}_{f}(total)\n"
                )
            file = folder / f"package{p}" / f"{verb}s.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n\n".join(lines), encoding="utf-8")
    return [folder / f"package{p}" for p in range(count)]


def sources(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield settings that name real data of each form: tables, graded and labelled pairs, a BEIR folder, ...

    Packages of Python code, a folder of pictures in classes, pictures with captions.
    """
    yield {"path": str(write_lines(folder / "pairs.jsonl", rows()))}
    graded = [{"sentence1": f"a {i}", "sentence2": f"b {i}", "score": i % 6} for i in range(12)]
    yield {"path": str(write_lines(folder / "graded.jsonl", graded))}
    labelled = [{"sentence1": f"a {i}", "sentence2": f"b {i}", "label": i % 2} for i in range(12)]
    yield {"path": str(write_lines(folder / "labelled.jsonl", labelled))}
    yield {"path": str(beir(folder / "beir"))}
    yield {"path": str(pictures(folder / "pictures"))}
    yield {"paths": packages(folder / "packages")}
    pictures(folder / "captioned")
    captions = [{"image": f"class {i % 2}/{i}.png", "captions": [f"one of {i}", f"two of {i}"]} for i in range(16)]
    yield {"path": str(write_lines(folder / "captioned" / "captions.jsonl", captions))}


def pictures(folder: Path) -> Path:
    """Write a folder of pictures in two classes."""
    for i in range(16):
        file = folder / f"class {i % 2}" / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(noise(i, 16, 16)))
    return folder


def beir(folder: Path) -> Path:
    """Write a BEIR folder: document i answers question i."""
    write_lines(
        folder / "corpus.jsonl", [{"_id": f"d{i}", "title": "", "text": row["key"]} for i, row in enumerate(rows(9))]
    )
    write_lines(folder / "queries.jsonl", [{"_id": f"q{i}", "text": row["query"]} for i, row in enumerate(rows(9))])
    judged = "".join(f"q{i}\td{i}\t1\n" for i in range(9))
    (folder / "qrels.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}", encoding="utf-8")
    return folder


def data(name: str, folder: Path) -> Any:
    """Build a data set from the first source that it reads."""
    part = registry.find("data", name)
    refused = []
    for source in sources(folder):
        if not set(source) <= set(inspect.signature(part).parameters):
            continue
        try:
            return registry.build("data", {"name": name, **settings("data", part), **source})
        except InputError as error:
            refused.append(str(error))
    raise AssertionError(f"data.{name} reads none of the samples: {refused}")
