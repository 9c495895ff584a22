"""nearfar train: a recipe to a trained, judged model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearfar.cli._output import Json, Quiet, emit


def command(
    recipe: Annotated[str, typer.Argument(help="A recipe's name (nearfar list recipes) or a YAML file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings by path, e.g. data.path=pairs.jsonl.")] = None,
    out: Annotated[Path, typer.Option(help="The run's folder.")] = Path("runs/latest"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest whole checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that lies in --out.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show a batch, estimate time and memory, train nothing.")] = False,
    baseline: Annotated[list[str] | None, typer.Option(help="bm25 (the default), none, or another model's folder.")] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train an embedding model by a recipe, judge it on held-out data, write everything under --out."""
    from nearfar import config

    chosen = config.load(recipe, overrides or [])
    parts = config.build(chosen)
    if dry_run:
        from nearfar.training.dry_run import dry_run as estimate

        found = estimate(parts.encoder, parts.positives, parts.loss, **parts.training)
        emit(found.facts, as_json, found.show)
        return
    from nearfar.cli import _judge

    judged = _judge.train_and_judge(
        chosen, parts, out, baseline or ["bm25"], resume=resume, overwrite=overwrite, quiet=quiet or as_json
    )
    emit(judged.facts, as_json, lambda: _judge.show(judged))
