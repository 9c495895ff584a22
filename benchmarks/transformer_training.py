"""Fine-tuning MiniLM on docstrings and code: our `fit` and sentence-transformers' trainer, side by side.

python benchmarks/transformer_training.py [--rounds 3] [--pairs 512] [--precisions bf16 fp32]

Batch 64, at most 256 tokens, dropout as the model's config says. Then, without dropout in fp32 and on the same batches:
the two losses, step by step.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from _machine import RESULTS, Bound, bound, conclude, facts, fresh, tell
from rich.table import Table

ASKED = {"bf16": (3.5, 0.5), "fp32": (3.0, None)}  # times the peer's pairs a second, share of its peak memory
AIMED = {"bf16": (5.0, 0.45)}
PEERS: dict[str, dict[str, Any]] = {
    "sdpa": {"attention": "sdpa"},
    "eager": {"attention": "eager"},
}
GAP = 1e-3


def contest(precision: str, given: argparse.Namespace, rows: Path) -> dict[str, Any]:
    """Let all take turns, each in a fresh process; return every contestant's runs."""
    contestants: dict[str, dict[str, Any]] = {"ours": {}, **PEERS}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in contestants}
    for i in range(given.rounds):
        for name, variant in contestants.items():
            if i and name not in ("ours", _best(runs)):
                continue  # the peer's slower settings are measured once
            task = {"contestant": name, "rows": str(rows), "precision": precision, "dropout": True, **variant}
            runs[name].append(fresh(__file__, task))
            last = runs[name][-1]
            speed, peak = last["pairs_per_second"], last["peak_mb"]
            tell(f"{precision}, round {i + 1}: {name}, {speed:.2f} pairs/s, {peak:,.0f} MB")
    return runs


def _best(runs: dict[str, list[dict[str, Any]]]) -> str:
    """Return the fastest of the peer's settings so far."""
    return max(PEERS, key=lambda name: _median(runs[name], "pairs_per_second"))


def _median(runs: list[dict[str, Any]], what: str) -> float:
    return statistics.median(float(run[what]) for run in runs)


def bounds(precision: str, runs: dict[str, list[dict[str, Any]]]) -> list[Bound]:
    """Hold us against the peer's fastest settings."""
    best, (times, share) = _best(runs), ASKED[precision]
    ratio = _median(runs["ours"], "pairs_per_second") / _median(runs[best], "pairs_per_second")
    held = [bound(f"{precision}: pairs a second, times the peer's ({best})", ratio, times, least=True)]
    memory = _median(runs["ours"], "peak_mb") / _median(runs[best], "peak_mb")
    if share is not None:
        held.append(bound(f"{precision}: peak memory, share of the peer's", memory, share, least=False))
    if precision in AIMED:
        held.append(bound(f"{precision}: the aim in pairs a second", ratio, AIMED[precision][0], least=True))
        held.append(bound(f"{precision}: the aim in memory", memory, AIMED[precision][1], least=False))
    return held


def losses(rows: Path) -> tuple[list[float], list[float]]:
    """Return the loss of every step of both, on the same batches without dropout."""
    task = {"rows": str(rows), "precision": "fp32", "dropout": False}
    ours = fresh(__file__, {"contestant": "ours", **task})
    order = {"order": ours["order"], "attention": "sdpa"}
    return ours["losses"], fresh(__file__, {"contestant": "peer", **task, **order})["losses"]


def measure(given: argparse.Namespace) -> None:
    from _pairs import distinct, pairs

    machine = facts()
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.json"
        rows.write_text(json.dumps(distinct(pairs(2 * given.pairs))[: given.pairs]), encoding="utf-8")
        runs = {precision: contest(precision, given, rows) for precision in given.precisions}
        ours, theirs = losses(rows) if given.losses else ([], [])
    held = [b for precision in given.precisions for b in bounds(precision, runs[precision])]
    if ours:
        gap = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
        held.append(bound("largest difference of the two losses, no dropout, fp32", gap, GAP, least=False))
    shown = Table(title=f"MiniLM, {given.pairs} docstrings and code, batch 64, at most 256 tokens")
    for name in ("precision", "", "pairs/s", "peak MB", "pairs/s of each run"):
        shown.add_column(name, justify="right" if name.startswith(("pairs/s", "peak")) else "left")
    for precision, found in runs.items():
        for name, each in found.items():
            speeds = ", ".join(f"{run['pairs_per_second']:.2f}" for run in each)
            row = f"{_median(each, 'pairs_per_second'):.2f}", f"{_median(each, 'peak_mb'):,.0f}"
            shown.add_row(precision, name if name == "ours" else f"sentence-transformers, {name}", *row, speeds)
    measured = {
        "machine": machine,
        "settings": {"pairs": given.pairs, "rounds": given.rounds, "batch": 64, "max_length": 256},
        "runs": runs,
        "losses": {"ours": ours, "sentence-transformers": theirs},
        "bounds": held,
    }
    conclude(given.out, "transformer_training", measured, shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="runs of each contestant, taking turns")
    parser.add_argument("--pairs", type=int, default=512, help="train on so many pairs, once")
    parser.add_argument("--precisions", nargs="+", default=["bf16", "fp32"], choices=["bf16", "fp32"])
    parser.add_argument("--losses", action=argparse.BooleanOptionalAction, default=True, help="compare the losses, too")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        from _finetuning import train

        print(json.dumps(train(**json.loads(given.child))))
    else:
        measure(given)


if __name__ == "__main__":
    main()
