"""Static embeddings learnt from nothing: our `fit` and sentence-transformers' own trainer, side by side.

python benchmarks/static_training.py --epochs 1 --rounds 3 [--tune] [--pairs 10000]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _machine import RESULTS, Bound, bound, conclude, facts, fresh, tell
from rich.table import Table

SPEED_LIMIT, QUALITY_LIMIT = 3.0, -0.01
METRIC = "mrr@10"
# What the peer's makers advise for static models, and the same in other settings that may be faster or better.
ADVISED = {"sampler": "no_duplicates", "learning_rate": 0.2, "loss": "one way", "start": "its own", "workers": 0}
VARIANTS: dict[str, dict[str, Any]] = {
    "advised": {},
    "any batches": {"sampler": "batch_sampler"},
    "any batches, worker": {"sampler": "batch_sampler", "workers": 1},
}
TUNED: dict[str, dict[str, Any]] = {
    "hashed sampler": {"sampler": "no_duplicates_hashed"},
    "rate 0.05": {"learning_rate": 0.05},
    "rate 0.5": {"learning_rate": 0.5},
    "both ways": {"loss": "both ways"},
    "both ways, rate 0.05": {"loss": "both ways", "learning_rate": 0.05},
    "our start, rate 0.05": {"learning_rate": 0.05, "start": "ours"},
    "our start, rate 0.02": {"learning_rate": 0.02, "start": "ours"},
}


@dataclass
class Contestant:
    """What was measured of one contestant, a run a round, and its value of each held-out query, (q,) a round."""

    name: str
    settings: dict[str, Any]
    runs: list[dict[str, Any]] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def median(self, what: str) -> float:
        return statistics.median(float(run[what]) for run in self.runs)

    @property
    def quality(self) -> Any:
        """Each query's mean over rounds, (q,): a round has a seed of its own."""
        return np.mean(self.values, 0)


def learn_tokenizer(overrides: list[str], pairs: int, path: Path) -> Any:
    """Learn the tokenizer that all share, which also fills the cache of the harvest; return the held-out task."""
    from _training import Setting

    setting = Setting.of(overrides, pairs)
    positives, encoder = setting.positives(), setting.parts.encoder
    encoder.prepare(list(positives.views.values()))
    path.write_text(encoder.tokenizer.to_str(), encoding="utf-8")  # type: ignore[attr-defined]
    return len(positives), positives.task("heldout")


def judge(task: Any, scratch: Path) -> Any:
    """Return a metric's value of each query, (q,), from the vectors that a contestant left."""
    from nearfar.contracts import Predictions
    from nearfar.metrics.retrieval import Retrieval
    from nearfar.vectors.topk import topk

    ranking = topk(np.load(scratch / "queries.npy"), np.load(scratch / "documents.npy"), 100)
    return Retrieval()(task, Predictions(ranking=ranking))[METRIC]


def run(contestants: list[Contestant], overrides: list[str], pairs: int, rounds: int, folder: Path) -> tuple[Any, int]:
    """Let the contestants take turns, each in a fresh process; return the task and the number of pairs."""
    tokenizer = folder / "tokenizer.json"
    used, task = learn_tokenizer(overrides, pairs, tokenizer)
    for seed in range(rounds):
        for contestant in contestants:
            seeds = [f"training.seed={seed}", f"encoder.seed={seed}", f"encoder.tokenizer={tokenizer}"]
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                given = {"contestant": contestant.name, "variant": contestant.settings, "scratch": scratch}
                contestant.runs.append(fresh(__file__, {**given, "overrides": overrides + seeds, "pairs": pairs}))
                contestant.values.append(judge(task, Path(scratch)))
            speed, quality = contestant.runs[-1]["pairs_per_second"], float(contestant.values[-1].mean())
            tell(f"round {seed + 1} of {rounds}: {contestant.name}, {speed:,.0f} pairs/s, {METRIC} {quality:.4f}")
    return task, used


def differences(ours: Contestant, peers: list[Contestant], clusters: Any) -> dict[str, dict[str, float]]:
    """Return ours minus each peer's, query by query, with the 95 % interval of a bootstrap over whole clusters."""
    from nearfar.evaluation.intervals import mean_intervals

    values = {contestant.name: contestant.quality for contestant in (ours, *peers)}
    pairs = {f"minus {peer.name}": (ours.name, peer.name) for peer in peers}
    spread = mean_intervals(values, pairs, clusters, resamples=2000, seed=0)
    gaps = {peer.name: float((ours.quality - peer.quality).mean()) for peer in peers}
    return {name: {"value": gap, **spread[f"minus {name}"]} for name, gap in gaps.items()}


def bounds(ours: Contestant, peers: list[Contestant], gaps: dict[str, dict[str, float]]) -> list[Bound]:
    """Hold us against the peer's fastest variant in speed, and against its best in quality."""
    fastest = max(peers, key=lambda peer: peer.median("pairs_per_second"))
    best = max(peers, key=lambda peer: float(peer.quality.mean()))
    speed = ours.median("pairs_per_second") / fastest.median("pairs_per_second")
    return [
        bound(f"pairs a second, times the peer's fastest ({fastest.name})", speed, SPEED_LIMIT, least=True),
        bound(
            f"{METRIC} minus the peer's best ({best.name}), low end", gaps[best.name]["low"], QUALITY_LIMIT, least=True
        ),
    ]


def table(contestants: list[Contestant], gaps: dict[str, dict[str, float]], title: str) -> Table:
    shown = Table(title=title)
    for name in ("", "pairs/s", "ours / it", "cold s", "peak MB", METRIC, "ours minus it [95 %]"):
        shown.add_column(name, justify="right" if name else "left")
    for contestant in contestants:
        speed, gap = contestant.median("pairs_per_second"), gaps.get(contestant.name)
        shown.add_row(
            contestant.name,
            f"{speed:,.0f}",
            f"{contestants[0].median('pairs_per_second') / speed:.2f}",
            f"{contestant.median('seconds'):.1f}",
            f"{contestant.median('peak_mb'):,.0f}",
            f"{contestant.quality.mean():.4f}",
            f"{gap['value']:+.4f} [{gap['low']:+.4f}, {gap['high']:+.4f}]".replace("[", r"\[") if gap else "",
        )
    return shown


def report(contestant: Contestant, gaps: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Return one contestant's part of the JSON."""
    return {
        "settings": contestant.settings,
        **{what: contestant.median(what) for what in ("pairs_per_second", "seconds", "peak_mb", "extra_mb")},
        METRIC: float(contestant.quality.mean()),
        f"{METRIC} of rounds": [float(values.mean()) for values in contestant.values],
        "ours minus it": gaps.get(contestant.name),
        "runs": contestant.runs,
    }


def measure(given: argparse.Namespace) -> None:
    machine, overrides = facts(), [f"training.epochs={given.epochs:g}", *given.set]
    variants = VARIANTS | (TUNED if given.tune else {})
    contestants = [Contestant("ours", {}), *(Contestant(name, ADVISED | other) for name, other in variants.items())]
    with tempfile.TemporaryDirectory() as folder:
        task, used = run(contestants, overrides, given.pairs, given.rounds, Path(folder))
    gaps = differences(contestants[0], contestants[1:], task.clusters)
    kept = bounds(contestants[0], contestants[1:], gaps)
    judged = f"{METRIC} on {len(task.queries):,} held-out queries"
    title = f"{used:,} pairs, epochs: {given.epochs:g}, rounds: {given.rounds}; {judged}"
    measured = {
        "machine": machine,
        "settings": {"pairs": used, "epochs": given.epochs, "rounds": given.rounds, "queries": len(task.queries)},
        "contestants": {contestant.name: report(contestant, gaps) for contestant in contestants},
        "bounds": kept,
    }
    conclude(given.out, "static_training", measured, table(contestants, gaps, title))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=float, default=1.0, help="passes over the pairs, for all")
    parser.add_argument(
        "--rounds", type=int, default=3, help="runs of each contestant, taking turns; a round is a seed"
    )
    parser.add_argument("--pairs", type=int, default=0, help="train on so many pairs only, 0 for all")
    parser.add_argument("--tune", action="store_true", help="try more settings of the peer")
    parser.add_argument("--set", action="append", default=[], help="a setting of the recipe, as path=value")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        from _training import train

        print(json.dumps(train(**json.loads(given.child))))
    else:
        measure(given)


if __name__ == "__main__":
    main()
