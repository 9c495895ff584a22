"""The measurements of the laboratory: curves over the temperature, and what short trainings come to."""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearfar.cli._material import Material
from nearfar.errors import InputError

if TYPE_CHECKING:
    from nearfar.model import Model

HARDEST = (1, 10, 100)
BATCH = 512  # pairs of a step
SPACE = ("alignment", "uniformity", "random_cosine", "effective_rank")


@dataclass(frozen=True)
class Training:
    """How the short trainings are made: `learning_rate` is the highest, it falls to zero over the steps."""

    steps: int
    learning_rate: float
    seed: int


def curves(model: Model, material: Material, temperatures: Sequence[float]) -> dict[str, Any]:
    """Return the curves over the grid and some other temperatures, the limits, and how many negatives there were."""
    import numpy as np
    import torch

    from nearfar.column import take
    from nearfar.evaluation.temperature import GRID, LANDMARKS, penalties

    grid = sorted({*GRID, *LANDMARKS, *temperatures})
    batch = material.measured.batch(np.arange(len(material.measured)))
    queries, keys = (
        torch.from_numpy(model.embed(take(material.measured.views[side], batch.rows[side])))
        for side in ("query", "key")
    )
    try:
        found = penalties(queries, keys, batch.pairs, [0.0, *grid, math.inf], hardest=HARDEST)
    except InputError as error:
        raise InputError(f"{material.name}: {error}; give pairs of more different texts") from error
    values = {
        "hardest": {str(k): found.hardest[k].tolist() for k in HARDEST if k < int(found.negatives.min())},
        "entropy": found.entropy.tolist(),
        "entropy_share": found.entropy_share.tolist(),
        "positive": found.positive.tolist(),
    }
    counts = found.negatives.double()
    negatives = {"mean": counts.mean().item(), "least": int(counts.min()), "most": int(counts.max())}
    return {
        "sample": {"queries": len(queries), "negatives": negatives},
        "curves": {"temperature": grid, **_part(values, slice(1, -1))},
        "limits": {"zero": _part(values, 0), "infinity": _part(values, -1)},
    }


def _part(values: dict[str, Any], place: int | slice) -> dict[str, Any]:
    return {key: _part(told, place) if isinstance(told, dict) else told[place] for key, told in values.items()}


def trainings(
    folder: str, material: Material, temperatures: Sequence[float], settings: Training, *, quiet: bool
) -> dict[str, Any]:
    """Return what the model in a folder measures as it is, and after a short training at each temperature."""
    from nearfar.model import Model

    start = _measured(Model(Model.load(folder).encoder, {}), material, settings.seed)
    found = []
    for number, tau in enumerate(temperatures, 1):
        if not quiet:
            print(f"training {number} of {len(temperatures)}: temperature {tau:g}", file=sys.stderr, flush=True)
        model = _trained(Model.load(folder), material, tau, settings)
        found.append({"temperature": tau, **_measured(model, material, settings.seed)})
    return {"start": start, "trainings": found}


def _trained(model: Model, material: Material, tau: float, settings: Training) -> Model:
    from nearfar.losses.infonce import InfoNCE
    from nearfar.training.fit import fit

    assert material.training is not None
    with tempfile.TemporaryDirectory(prefix="nearfar-lab-") as aside:
        run = fit(
            model.encoder,
            material.training,
            InfoNCE(temperature=tau),
            out=Path(aside) / "run",
            quiet=True,
            steps=settings.steps,
            batch_size=batch_size(material),
            learning_rate=settings.learning_rate,
            seed=settings.seed,
            checkpoint_every=settings.steps,
            keep=1,
        )
    return run.model


def batch_size(material: Material) -> int:
    """Return the number of pairs of a step."""
    return 0 if material.training is None else min(BATCH, len(material.training))


def _measured(model: Model, material: Material, seed: int) -> dict[str, Any]:
    """Return geometry, tolerance, and mrr@10 among the measured keys with its interval."""
    import torch

    from nearfar.evaluation.evaluate import evaluate
    from nearfar.evaluation.temperature import tolerance

    task = material.measured.task("train")
    report = evaluate(model, task, seed=seed)
    facts: dict[str, Any] = {name: report.metrics[name] for name in SPACE}
    if material.labels is None:
        facts["tolerance"] = 1 - facts["alignment"] / 2  # on the sphere that is the mean cosine of positive pairs
    else:
        texts = [text for text in task.documents.read(0, len(task.documents)) if text in material.labels]
        names = [material.labels[text] for text in texts]
        number = {name: i for i, name in enumerate(dict.fromkeys(names))}
        x = torch.from_numpy(model.embed(texts))  # (v, d)
        facts["tolerance"] = float(tolerance(x, torch.tensor([number[name] for name in names])))
    facts["mrr@10"] = report.metrics["mrr@10"]
    facts["mrr@10 interval"] = {bound: report.intervals["mrr@10"][bound] for bound in ("low", "high")}
    return facts
