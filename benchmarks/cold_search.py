"""How soon `nearfar search INDEX "words"` answers from a shell: a whole process each time, on an idle machine.

Two indexes, of this project's pages and of 50,000 passages of its files, each for a static model and for MiniLM.
Searches are hybrid, so BM25 is part of them. The hits must be those of an index that is open already.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _machine import RESULTS, bound, conclude, facts, fresh, nearfar, tell

ROOT = Path(__file__).resolve().parents[1]
LIMITS = {"static": 1.5, "minilm": 5.0}  # s, the median
QUERY = "resume training after a crash"
_WINDOW = 3  # lines of a passage
_TOLERANCE = 1e-6


def texts(count: int) -> list[str]:
    """Return distinct passages of the project's own files: some lines of each, from every line on."""
    found: dict[str, None] = {}
    for path in sorted(path for kind in ("*.md", "*.py") for path in ROOT.rglob(kind) if ".venv" not in path.parts):
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if len(line) > 20]
        found |= dict.fromkeys(" ".join(lines[i : i + _WINDOW]) for i in range(len(lines)))
        if len(found) >= count:
            break
    return list(found)[:count]


def make(work: Path, kind: str, rows: int, dim: int) -> None:
    """Make the model, where it is a static one, and the two indexes, each once."""
    import nearfar as nf
    from nearfar.index.documents.build_index import build_index

    passages = texts(rows)
    place = work / "static" if kind == "static" else kind
    if kind == "static" and not (work / "static").is_dir():  # how long a search takes does not depend on its training
        encoder = nf.encoders.Static(dim=dim)
        encoder.prepare([nf.column.ListColumn("text", passages)])
        nf.Model(encoder).save(work / "static")
    model = nf.Model.load(place)
    if not (work / f"{kind}-pages.index").is_dir():
        build_index(work / f"{kind}-pages.index", model, ROOT / "docs")
    if not (work / f"{kind}-rows.index").is_dir():
        making = work / f"{kind}-rows.making"
        shutil.rmtree(making, ignore_errors=True)
        with nf.Index.create(making, model) as index:
            for start, vectors in _vectors(len(passages), model.dim):
                part = passages[start : start + len(vectors)]
                index.add([{"id": f"{start + i}", "text": text} for i, text in enumerate(part)], vectors=vectors)
        making.rename(work / f"{kind}-rows.index")


def _vectors(count: int, dim: int) -> Iterator[tuple[int, Any]]:
    """Yield random vectors: a search reads all of them, whatever they are, and embedding 50,000 texts takes long."""
    draws = np.random.default_rng(0)
    for start in range(0, count, 10_000):
        yield start, draws.standard_normal((min(10_000, count - start), dim), np.float32)


def warm(work: Path, kind: str) -> dict[str, Any]:
    """Return the hits of open indexes, and the seconds that the parts of the real model's start take."""
    begun = [time.perf_counter()]
    from nearfar.model import Model

    begun.append(time.perf_counter())
    model = Model.load(work / "static" if kind == "static" else kind)
    begun.append(time.perf_counter())
    model.embed([QUERY], "query")
    begun.append(time.perf_counter())
    parts = dict(zip(("import", "load", "embed"), np.diff(begun).round(3).tolist()))

    import nearfar as nf

    hits = {}
    for what in ("pages", "rows"):
        with nf.Index.open(work / f"{kind}-{what}.index", model) as index:
            hits[what] = [[hit.id, hit.score] for hit in index.search(QUERY)]
    return {"hits": hits, "parts of Model.load, in seconds": parts}


def child(what: str, work: str, kind: str, rows: int = 0, dim: int = 0) -> dict[str, Any]:
    """Do one thing in a process of its own."""
    if what == "make":
        make(Path(work), kind, rows, dim)
        return {}
    return warm(Path(work), kind)


def measure(given: argparse.Namespace, work: Path) -> None:
    """Time every contestant in turns, and compare its hits."""
    found: dict[str, Any] = {}
    for kind in given.models:
        tell(f"{kind}: making the indexes")
        fresh(__file__, {"what": "make", "work": str(work), "kind": kind, "rows": given.rows, "dim": given.dim})
        found[kind] = {**fresh(__file__, {"what": "warm", "work": str(work), "kind": kind}), "calls": {}}
    machine = facts()
    for _ in range(given.rounds):
        for kind, of_kind in found.items():
            for what, expected in of_kind["hits"].items():
                hits, took = nearfar("search", str(work / f"{kind}-{what}.index"), QUERY)
                of_kind["calls"].setdefault(what, []).append(took)
                _compare(f"{kind}, {what}", hits, expected)
    held = [
        bound(f"{kind}, {what}: median seconds", _median(calls, "seconds"), LIMITS[kind], least=False)
        for kind, of_kind in found.items()
        for what, calls in of_kind["calls"].items()
    ]
    for of_kind in found.values():
        del of_kind["hits"]  # they were equal
    lines = [
        f"{kind}, {what}: median of {_median(calls, 'processor'):.2f} s of the processor"
        for kind, of_kind in found.items()
        for what, calls in of_kind["calls"].items()
    ]
    settings = {"rounds": given.rounds, "rows": given.rows, "dim": given.dim}
    kept = {"machine": machine, "settings": settings, "found": found, "bounds": held}
    conclude(given.out, "cold_search", kept, *lines)


def _median(calls: list[dict[str, float]], name: str) -> float:
    return statistics.median(call[name] for call in calls)


def _compare(what: str, hits: list[dict[str, Any]], expected: list[list[Any]]) -> None:
    same = [hit["id"] for hit in hits] == [name for name, _ in expected]
    if not same or any(abs(hit["score"] - score) > _TOLERANCE for hit, (_, score) in zip(hits, expected)):
        raise SystemExit(f"{what}: {hits} are not the hits of an open index, {expected}")


def main() -> None:
    """Read the options, and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", default=[*LIMITS], choices=[*LIMITS])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=512, help="of the static model")
    parser.add_argument("--rounds", type=int, default=7, help="calls of each")
    parser.add_argument("--work", type=Path, help="a folder to keep models and indexes in, for another run")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(**json.loads(given.child))))
        return
    with tempfile.TemporaryDirectory() as folder:
        work = given.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        measure(given, work)


if __name__ == "__main__":
    main()
