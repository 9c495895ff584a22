"""A search of an index from a shell: without torch where the model is static, with the hits of an open index."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import nearfar as nf

HEAVY = (
    "torch",
    "transformers",
    "datasets",
    "pandas",
    "scipy",
    "pyarrow",
    "bm25s",
    "lark",
    "jinja2",
    "huggingface_hub",
)
CALL = (
    "import sys; from nearfar.cli import run; code = run(sys.argv[1:]); "
    f"print(*(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr); sys.exit(code)"
)
TEXTS = ["a red fox", "the grey goose", "where the fox lies", "a stone", "größer ☃ \U0001f98a"]


@pytest.fixture
def index(here: Path) -> Path:
    """An index of a static model, and of texts in a language with stems and stop words."""
    with nf.Index.create("docs.index", "model", language="english") as made:
        made.add([{"id": f"{n}", "text": text, "year": 2000 + n} for n, text in enumerate(TEXTS)])
    return here / "docs.index"


def in_a_process(*words: str, folder: Path) -> tuple[Any, set[str]]:
    """Call nearfar in a process of its own; return what it found, and the heavy modules that it imported."""
    call = [sys.executable, "-c", CALL, *words, "--json"]
    done = subprocess.run(call, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), set(done.stderr.split())


@pytest.mark.parametrize("mode", [None, "vectors", "words"])
def test_it_needs_no_torch_and_finds_what_an_open_index_finds(index: Path, here: Path, mode: Any) -> None:
    options = [] if mode is None else ["--mode", mode]
    found, heavy = in_a_process("search", "docs.index", "grey fox", "-k", "3", "--explain", *options, folder=here)
    assert heavy == set()
    with nf.Index.open(index, nf.Model.load("model")) as warm:
        expected = warm.search("grey fox", k=3, mode=mode, explain=True)
    assert [hit["id"] for hit in found] == [hit.id for hit in expected]
    assert [hit["score"] for hit in found] == pytest.approx([hit.score for hit in expected], rel=0, abs=1e-6)
    assert [set(hit["explain"]) for hit in found] == [set(hit.explain) for hit in expected]


def test_a_filter_brings_its_parser_and_rows_like_others_no_model(index: Path, here: Path) -> None:
    found, heavy = in_a_process("search", "docs.index", "fox", "--where", "year >= 2002", folder=here)
    assert heavy == {"lark"} and {hit["id"] for hit in found} == {"2", "3", "4"}
    found, heavy = in_a_process("search", "docs.index", "--like", "0", "-k", "1", folder=here)
    assert heavy == set() and [hit["id"] for hit in found] == ["2"]
