"""Folders of runs, written by hand, to compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.evaluation.row_values import RowValues
from nearfar.storage.folders import json_safe

N = 20  # queries


def values(better: dict[int, float] | None = None) -> list[float]:
    """Values of the queries, some of them changed."""
    found = [(i % 4) / 4 for i in range(N)]
    for row, value in (better or {}).items():
        found[row] = value
    return found


def rows(mrr: list[float], text: str = "query", **changes: Any) -> RowValues:
    """What a run keeps of its queries."""
    shown = [
        {
            "text": f"{text} {i}",
            "id": f"q{i}",
            "rank": None if value == 0 else round(1 / value),
            "expected": [i],
            "found": [i, N] if value == 1 else [N, i],
            "relevant": [value == 1, value != 1],
        }
        for i, value in enumerate(mrr)
    ]
    given: dict[str, Any] = {
        "task": "heldout",
        "kind": "retrieval",
        "system": "model",
        "parts": {"queries": "a", "documents": "b"},
        "clusters": np.arange(len(mrr)),
        "resamples": 300,
        "seed": 0,
        "values": {"mrr@10": np.array(mrr), "recall@1": (np.array(mrr) == 1).astype(np.float64)},
        "rows": shown,
        "documents": [f"{text} document {i}" for i in range(N + 1)],
    }
    return RowValues(**(given | changes))


def results(kept: RowValues, **changes: Any) -> dict[str, Any]:
    """The results.json of a run with these rows."""
    metrics = {name: float(of.mean()) for name, of in kept.values.items()} | {"alignment": 0.5}
    return {
        "task": kept.task,
        "metrics": metrics,
        "intervals": {
            name: {"low": value - 0.1, "high": value + 0.1} for name, value in metrics.items() if "@" in name
        },
        "baseline": {"bm25": {"mrr@10": 0.4, "recall@1": 0.3}},
        "protocol": {"kind": kept.kind, "queries": len(kept.clusters), "documents": 40, "clusters": len(kept.clusters)},
        **changes,
    }


def events(seed: int = 0) -> list[dict[str, Any]]:
    """The events of a run of 40 steps."""
    steps = [{"event": "step", "step": step, "loss": 3 / (step + seed)} for step in range(1, 41)]
    held = [{"event": "heldout", "step": step, "heldout_loss": 3 / (step + seed) + 0.1} for step in (0, 20, 40)]
    return [{"event": "start", "steps": 40, "pairs": 320, "batch_size": 16}, *steps, *held, {"event": "end"}]


def write_run(
    folder: Path, kept: RowValues, recipe: str = "loss: {name: infonce}\n", with_rows: bool = True, **changes: Any
) -> Path:
    """Write the folder of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(json_safe(results(kept, **changes))))
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events(len(folder.name))))
    if with_rows:
        (folder / "rows.json").write_text(json.dumps(json_safe({"tasks": [kept.to_json()]})))
    return folder
