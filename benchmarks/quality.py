"""What adapting and fine-tuning MiniLM is worth: each against the model as it comes, on real data, three seeds.

python benchmarks/quality.py [--studies adapt nl2bash code] [--seeds 3] [--set path=value] [--data ../shared/data]

No label of a test set is used. Differences are paired by query, averaged over seeds, with 95 % intervals of a bootstrap
over queries, within each collection where several are averaged.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from _machine import RESULTS, conclude, facts, fresh, tell
from rich.console import Console
from rich.table import Table

DATA = Path(__file__).parents[2] / "shared" / "data"
STS = "sts-b"
Values = dict[str, npt.NDArray[np.float64]]  # of each task, one a query; of STS-B, (2, n): cosines and scores
# study -> variant -> recipe and overrides; every study also judges the model as it comes
STUDIES: dict[str, dict[str, tuple[str, list[str]]]] = {
    "adapt": {"taught by the model and BM25": ("adapt", ["positives.seed=SEED"])},  # SEED is the seed's number
    "nl2bash": {
        "in-batch": ("finetune", ["encoder.max_length=64"]),
        "in-batch and mined": (
            "finetune",
            [
                *("encoder.max_length=64", "mining.relative_margin=0.05"),
                *("training.refresh_every=60", "training.refresh_first=true"),
            ],
        ),
    },
    "code": {"in-batch": ("finetune", [])},
}


def intervals(gaps: list[npt.NDArray[np.float64]], resamples: int = 10_000) -> dict[str, float]:
    """Return the mean over collections of each one's mean gap, with its interval."""
    random = np.random.default_rng(0)
    draws = [gap[random.integers(0, len(gap), (resamples, len(gap)))].mean(1) for gap in gaps]
    low, high = np.percentile(np.mean(draws, 0), [2.5, 97.5])
    return {"value": float(np.mean([gap.mean() for gap in gaps])), "low": float(low), "high": float(high)}


def forgotten(base: npt.NDArray[np.float64], models: list[npt.NDArray[np.float64]]) -> dict[str, float]:
    """Return the change of Spearman's correlation on STS-B, averaged over seeds, with its interval."""
    from scipy.stats import spearmanr

    random, scores = np.random.default_rng(0), base[1]

    def change(rows: npt.NDArray[np.int64]) -> float:
        before = spearmanr(base[0][rows], scores[rows]).statistic
        return float(np.mean([spearmanr(m[0][rows], scores[rows]).statistic - before for m in models]))

    draws = [change(random.integers(0, len(scores), len(scores))) for _ in range(500)]
    low, high = np.percentile(draws, [2.5, 97.5])
    return {"value": change(np.arange(len(scores))), "low": float(low), "high": float(high)}


def differences(base: Values, models: list[Values]) -> dict[str, dict[str, float]]:
    """Return what models of several seeds have beyond another, by task and on average."""
    gaps = {name: np.mean([m[name] for m in models], 0) - base[name] for name in base if name != STS}
    found = {name: intervals([gap]) for name, gap in gaps.items()}
    if len(gaps) > 1:
        found["mean"] = intervals(list(gaps.values()))
    return {**found, STS: forgotten(base[STS], [m[STS] for m in models])}


def judged(study: str, variant: str, seed: int | None, given: argparse.Namespace, folder: Path) -> Values:
    """Train, where there is a seed, and judge in a fresh process; return what each query got."""
    recipe, overrides = STUDIES[study].get(variant, ("", []))
    task: dict[str, Any] = {"study": study, "recipe": recipe, "data": str(given.data)}
    task["overrides"] = [*overrides, *given.set, "training.seed=SEED"] if seed is not None else []
    task["overrides"] = [setting.replace("SEED", str(seed)) for setting in task["overrides"]]
    told = json.dumps(task, sort_keys=True).encode()  # with other settings it is another run
    out = folder / f"{study}-{variant}-{seed}-{hashlib.sha256(told).hexdigest()[:8]}"
    task["out"] = str(out)
    if not (out / "values.npz").is_file():
        fresh(__file__, task)
    with np.load(out / "values.npz", allow_pickle=False) as file:
        values = {name: file[name] for name in file.files}
    means = ", ".join(f"{name} {value:.4f}" for name, value in summary(values).items())
    tell(f"{study}: {variant}{'' if seed is None else f', seed {seed}'}: {means}")
    return values


def summary(values: Values) -> dict[str, float]:
    """Return each task's figure."""
    from scipy.stats import spearmanr

    means = {name: float(value.mean()) for name, value in values.items() if name != STS}
    return {**means, STS: float(spearmanr(*values[STS]).statistic)}


def measure(given: argparse.Namespace) -> None:
    console, machine, measured = Console(), facts(), {}
    for study in given.studies:
        with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(given.jobs) as pool:
            folder = given.work or Path(scratch)
            variants = given.variants or list(STUDIES[study])
            waiting = pool.submit(judged, study, "as it comes", None, given, folder)
            futures = {
                variant: [pool.submit(judged, study, variant, seed, given, folder) for seed in range(given.seeds)]
                for variant in variants
            }
            base = waiting.result()
            models = {variant: [future.result() for future in found] for variant, found in futures.items()}
        gaps = {variant: differences(base, found) for variant, found in models.items()}
        first, *others = models
        for other in others:
            against = {name: np.mean([m[name] for m in models[first]], 0) for name in base if name != STS}
            gaps[f"{other}, beyond {first}"] = {
                name: intervals([np.mean([m[name] for m in models[other]], 0) - value])
                for name, value in against.items()
            }
        measured[study] = {
            "as it comes": summary(base),
            **{variant: [summary(m) for m in found] for variant, found in models.items()},
            "differences": gaps,
        }
        shown = Table(title=f"{study}: beyond the model as it comes, {given.seeds} seeds")
        for name in ("", *next(iter(gaps.values()))):
            shown.add_column(name, justify="right" if name else "left")
        shown.add_row("as it comes", *(f"{summary(base).get(name, np.nan):.4f}" for name in next(iter(gaps.values()))))
        for variant, gap in gaps.items():
            cells = (f"{g['value']:+.4f} [{g['low']:+.4f}, {g['high']:+.4f}]".replace("[", r"\[") for g in gap.values())
            shown.add_row(variant, *cells)
        console.print(shown, highlight=False)
    settings = {"seeds": given.seeds, "studies": STUDIES, "set": given.set}
    conclude(given.out, "quality", {"machine": machine, "settings": settings, "studies": measured})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--studies", nargs="+", default=list(STUDIES), choices=list(STUDIES))
    parser.add_argument("--variants", nargs="+", help="of the studies; all")
    parser.add_argument("--seeds", type=int, default=3, help="training seeds of each variant")
    parser.add_argument("--set", action="append", default=[], help="a setting of the recipes, as path=value")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once; set OMP_NUM_THREADS so that they fit")
    parser.add_argument("--work", type=Path, help="folder that keeps what each process found, to go on from")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        from _quality import study

        print(json.dumps(study(**json.loads(given.child))))
    else:
        measure(given)


if __name__ == "__main__":
    main()
