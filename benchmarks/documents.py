"""A folder of documents into an index: what the second build costs after a few files changed, and what a search finds.

1. 10,000 files, of which 10 change: the second build embeds those 10 and takes under a tenth of the first.
2. This project, indexed with a static model that is trained on it in seconds (or `--model`, such as the demo's): a
   question about resuming has a file that answers it among the first three.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _machine import RESULTS, bound, conclude, facts, nearfar, tell

ROOT = Path(__file__).resolve().parents[1]
RATIO = 0.1  # of the first build's seconds, at most
CHANGED = 10  # files
FIRST = 3  # hits, among which a right file must be
QUERY = "resume training after a crash"
RIGHT = {  # what answers it, chosen before any search: what promises it, does it, and shows it; not LOG.md
    *("README.md", "docs/architecture.md", "src/nearfar/cli/train.py", "src/nearfar/experiment.py"),
    *(f"src/nearfar/training/{name}.py" for name in ("checkpoint", "checkpoint_files", "fit", "identity")),
    *("benchmarks/kill_resume.py", "tests/training/test_resumed.py", "tests/training/test_killed_picture_runs.py"),
}
QUOTING = ("benchmarks/documents.py", "benchmarks/cold_search.py")  # they ask the question, and answer nothing


def lines() -> list[str]:
    """Return the project's own lines of prose and code."""
    paths = sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "src").rglob("*.py")])
    return [line for path in paths for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def train(folder: Path) -> Path:
    """Train a static model on the project's docstrings and what follows them; return the model's folder."""
    pairs = folder / "pairs.jsonl"
    rows = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        parts = path.read_text(encoding="utf-8").split('"""')
        rows += [{"query": text.strip(), "key": code.strip()[:2000]} for text, code in zip(parts[1::2], parts[2::2])]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows if row["query"] and row["key"]), encoding="utf-8")
    settings = ["encoder.dim=128", "encoder.vocabulary=8000", "training.epochs=3", "data.heldout=0.05"]
    nearfar("train", "static", f"data.path={pairs}", *settings, "--out", str(folder / "run"), "--quiet")
    return folder / "run" / "model"


def write(folder: Path, count: int) -> None:
    """Write files of a few lines each, in folders of a hundred."""
    draws, known = np.random.default_rng(0), lines()
    for number in range(count):
        path = folder / f"{number // 100:03}" / f"{number:05}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(known[i] for i in draws.integers(0, len(known), 8)), encoding="utf-8")


def builds(work: Path, model: Path, count: int) -> dict[str, Any]:
    """Build an index of many files twice, the second time after some of them changed."""
    folder, index = work / "files", work / "files.index"
    write(folder, count)
    kept = ("read", "unchanged", "embedded", "deleted", "passages", "seconds")
    found = []
    for changed in (0, CHANGED):
        for number in range(changed):
            path = folder / f"{number * (count // CHANGED) // 100:03}" / f"{number * (count // CHANGED):05}.txt"
            path.write_text(f"the file of number {number} was changed, and says something else now", encoding="utf-8")
        built, took = nearfar("index", "build", str(index), str(model), str(folder), "--quiet")
        found.append({**{name: built[name] for name in kept}, "process_seconds": took["seconds"]})
    return {"first": found[0], "second": found[1]}


def search(work: Path, model: Path) -> dict[str, Any]:
    """Index this project, and say where the first right file is."""
    index = work / "project.index"
    quoting = [option for path in QUOTING for option in ("--exclude", path)]
    built, _ = nearfar("index", "build", str(index), str(model), str(ROOT), "--quiet", *quoting)
    hits, _ = nearfar("search", str(index), QUERY, "-k", "10")
    files = [str(hit["fields"]["file"]) for hit in hits]
    places = [place for place, name in enumerate(files, 1) if name in RIGHT]
    facts_kept = ("passages", "files", "passed_over", "seconds")
    return {"first_right": min(places, default=0), "found": files, **{n: built[n] for n in facts_kept}}


def measure(given: argparse.Namespace, work: Path) -> None:
    """Do both, and keep what was found."""
    machine = facts()
    tell("training a model" if given.model is None else "with the model given")
    model = train(work) if given.model is None else given.model
    tell("this project")
    asked = search(work, model)
    tell(f"{given.files:,} files")
    built = builds(work, model, given.files)
    second, ratio = built["second"], built["second"]["seconds"] / built["first"]["seconds"]
    held = [
        bound(f"place of the first right file, of {FIRST}", asked["first_right"] or 99, FIRST, least=False),
        bound(f"embedded after {CHANGED} of {given.files:,} files changed", second["embedded"], CHANGED, least=False),
        bound("seconds of the second build over the first", ratio, RATIO, least=False),
    ]
    settings = {"files": given.files, "model": "trained on this project" if given.model is None else "given"}
    kept = {
        "machine": machine,
        "settings": settings,
        "builds": built,
        "search": {"query": QUERY, **asked},
        "bounds": held,
    }
    conclude(given.out, "documents", kept)


def main() -> None:
    """Read the options, and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--model", type=Path, help="the folder of a model; by default one is trained on this project")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(given, Path(folder))


if __name__ == "__main__":
    main()
