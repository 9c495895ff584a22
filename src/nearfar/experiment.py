"""Train by a recipe, judge on its splits, keep everything: what `train` and `demo` have in common."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearfar.errors import InputError
from nearfar.storage.folders import finite, made, write_text

if TYPE_CHECKING:
    from nearfar.config import Recipe, RecipeParts
    from nearfar.contracts import Positives
    from nearfar.evaluation.report import Report
    from nearfar.model import Model
    from nearfar.training.fit import Run


VERSIONS = ("nearfar", "torch", "numpy", "tokenizers", "datasets")
BRIEF = ("task", "metrics", "intervals", "baseline", "difference", "fusion", "fusion_difference", "protocol")


@dataclass(frozen=True)
class Experiment:
    """A run, its reports by split (the first is the recipe's main one), and what results.json says."""

    run: Run
    reports: dict[str, Report]
    facts: dict[str, Any]


def check_out(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse a folder that is used or cannot be written, before the time that reading the data takes is spent."""
    from nearfar.training.fit import refuse_used

    refuse_used(made(out), resume or overwrite)


def run(
    recipe: Recipe,
    parts: RecipeParts,
    out: Path,
    baselines: list[str | Model],
    *,
    resume: bool,
    overwrite: bool,
    quiet: bool,
) -> Experiment | None:
    """Train, judge on every split that the recipe names; write recipe.yaml, results.json, model/ and report.html.

    Of several ranks the first judges and writes; the others are done after training, and get None.
    """
    from nearfar.compute.ranks import Ranks
    from nearfar.config import plain, resolved
    from nearfar.evaluation.evaluate import evaluate
    from nearfar.training.fit import fit

    first = Ranks.here().first
    began = time.perf_counter() - parts.seconds
    splits = dict.fromkeys(entry.get("split", "heldout") for entry in parts.evaluate)
    tasks = {split: parts.positives.task(split) for split in splits}
    whole: Recipe = plain(resolved(recipe))
    if first and (not resume or not (out / "recipe.yaml").exists()):
        _write_recipe(out, whole)
        for stale in ("results.json", "report.html"):  # of the run that is replaced
            (out / stale).unlink(missing_ok=True)

    def metrics(model: Model) -> dict[str, float]:
        return evaluate(model, next(iter(tasks.values())), resamples=2).metrics

    run = fit(
        parts.encoder,
        parts.positives,
        parts.loss,
        out=out,
        evaluate=metrics if tasks else None,
        heldout=_heldout(parts, splits),
        refresh=parts.refresh,
        resume=resume,
        overwrite=overwrite,
        quiet=quiet,
        notes={"recipe": whole},
        **parts.training,
    )
    if not first:
        return None
    _write_recipe(out, whole)  # a resumed run may have other settings of those that change no number
    reports = {split: evaluate(run.model, task, baselines=baselines) for split, task in tasks.items()}
    facts = _facts(run, reports, len(parts.positives), time.perf_counter() - began)
    write_results(run, reports, facts)
    return Experiment(run, reports, facts)


def _heldout(parts: RecipeParts, splits: Iterable[str]) -> Positives | None:
    """Return the positives of the recipe's main split, whose loss is watched; None where it has none."""
    first = next(iter(splits), None)
    if first is None or parts.of_split is None or not parts.training["heldout_examples"]:
        return None
    try:
        return parts.of_split(first)
    except InputError as error:  # its rows are too few for such positives: training can do without
        warnings.warn(f"no held-out loss: {error}", stacklevel=2)
        return None


def write_results(run: Run, reports: dict[str, Report], facts: dict[str, Any]) -> None:
    """Write results.json, the model card and report.html into the run's folder."""
    from nearfar.reports.run import write_page

    brief = {split: {k: v for k, v in report.to_json().items() if k in BRIEF} for split, report in reports.items()}
    run.model.notes |= {"metrics": facts.get("metrics", {}), "reports": finite(brief)}
    run.model.describe(run.folder / "model")
    write_text(run.folder / "results.json", json.dumps(finite(facts), indent=1, ensure_ascii=False) + "\n")
    write_page(run.folder)


def show(judged: Experiment) -> None:
    """Print tables and places."""
    from nearfar.reports import console

    for report in judged.reports.values():
        console.show_report(report)
    facts = judged.facts
    print(
        f"{facts['pairs']:,} pairs, {facts['train_pairs_per_second']:,.0f} a second in training; "
        f"{facts['seconds']:.0f} s in all, {facts['peak_memory_mb']:,.0f} MB at most\n"
        f"model   {facts['model']}\nreport  {judged.run.folder}/report.html"
    )


def _write_recipe(folder: Path, whole: Recipe) -> None:
    from nearfar.config import dumped

    write_text(folder / "recipe.yaml", dumped(whole, {name: version(name) for name in VERSIONS}))


def _facts(run: Run, reports: dict[str, Report], pairs: int, seconds: float) -> dict[str, Any]:
    result: dict[str, Any] = {"metrics": {}}
    for i, (split, report) in enumerate(reports.items()):
        result |= report.to_json() if i == 0 else {split: report.to_json()}
    return result | {
        "run": str(run.folder),
        "model": str(run.folder / "model"),
        "pairs": pairs,
        "train_pairs_per_second": round(run.train_pairs_per_second, 1),
        "peak_memory_mb": round(run.peak_memory_mb, 1),
        "seconds": round(seconds, 2),
        "warnings": run.warnings,
    }
