"""What a run's folder says of it: recipe.yaml, results.json, rows.json, the model card, pictures and report.html."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearfar.abilities import DECIDED, notes_of
from nearfar.storage.folders import json_safe, write_json, write_text

if TYPE_CHECKING:
    from nearfar.config import Recipe
    from nearfar.contracts import Positives
    from nearfar.evaluation.report import Report
    from nearfar.training.fit import Run

VERSIONS = ("nearfar", "torch", "numpy", "tokenizers", "datasets")
BRIEF = (  # of a report, in the model card
    *("task", "verdict", "metrics", "intervals", "baseline", "difference", "fusion", "fusion_difference", "protocol"),
)


def write_recipe(folder: Path, whole: Recipe) -> None:
    """Write recipe.yaml into the run's folder."""
    from nearfar.config import dumped

    write_text(folder / "recipe.yaml", dumped(whole, {name: version(name) for name in VERSIONS}))


def run_facts(run: Run, reports: dict[str, Report], positives: Positives, seconds: float) -> dict[str, Any]:
    """Return the content of results.json; seconds: of the whole run."""
    from nearfar.training.by_pairs import unit_of

    result: dict[str, Any] = {"metrics": dict(run.metrics)}  # where nothing is judged, the held-out loss
    of_run = {
        "run": str(run.folder),
        "model": str(run.folder / "model"),
        "pairs": len(positives),
        "train_pairs_per_second": round(run.train_pairs_per_second, 1),
        "peak_memory_mb": round(run.peak_memory_mb, 1),
        "seconds": round(seconds, 2),
        "warnings": run.warnings,
        "unit": unit_of(positives),
        **({"online": run.online} if run.online else {}),
        **({DECIDED: said} if (said := notes_of(positives).get(DECIDED)) else {}),
    }
    for i, (name, report) in enumerate(reports.items()):
        content = report.to_json()
        taken = name in content or name in of_run  # a split may be called "metrics"
        result |= content if i == 0 else {f"split {name}" if taken else name: content}
    return result | of_run


def write_results(
    run: Run, reports: dict[str, Report], facts: dict[str, Any], pictures: Mapping[str, bytes] | None = None
) -> None:
    """Write results.json, rows.json, the model card, the pictures and report.html into the run's folder.

    pictures: by file, besides those of the reports.
    """
    from nearfar.evaluation.row_values import ROWS_FILE
    from nearfar.reports.run import write_page
    from nearfar.reports.sheets import write_pictures

    brief = {split: {k: v for k, v in report.to_json().items() if k in BRIEF} for split, report in reports.items()}
    run.model.notes |= {"metrics": facts.get("metrics", {}), "reports": json_safe(brief)}
    run.model.describe(run.folder / "model")
    write_json(run.folder / "results.json", facts)
    kept = [one.rows.to_json() for of in reports.values() for one in (of, of.search) if one and one.rows]
    write_text(run.folder / ROWS_FILE, json.dumps(json_safe({"tasks": kept}), ensure_ascii=False) + "\n")
    write_pictures(
        run.folder, {**(pictures or {}), **{k: v for one in reports.values() for k, v in one.pictures.items()}}
    )
    write_page(run.folder)
