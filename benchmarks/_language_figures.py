"""What is held against transformers' Trainer, and the table of its settings."""

from __future__ import annotations

import statistics
from typing import Any

from _machine import Bound, bound
from rich.table import Table

TIMES = {"texts": 2.5, "chunks": 1.3}  # of its tokens a second, by the form of what is read
SHARE = 0.5  # of its peak memory
ALIKE = 1e-4  # the two losses of the same weights
OURS, PEER = "nearfar", "Trainer"
FORMS = {"texts": "texts as they are", "chunks": "full chunks"}
Runs = dict[str, list[dict[str, Any]]]  # by contestant, as `called` names it


def called(contestant: str, precision: str, setting: str = "") -> str:
    """Return the name of a contestant in a precision and, of the peer, a setting."""
    return ", ".join(part for part in (contestant, precision, setting) if part)


def middle(runs: list[dict[str, Any]], what: str) -> float:
    """Return the median over rounds."""
    return statistics.median(float(run[what]) for run in runs)


def fastest(runs: Runs, contestant: str, precision: str | None = None) -> str | None:
    """Return the contestant's fastest setting so far, in one precision or any; None before the first."""
    names = [name for name in runs if name.startswith(contestant) and (precision is None or precision in name)]
    return max(names, key=lambda name: middle(runs[name], "tokens_per_second"), default=None)


def bounds(found: dict[str, dict[str, Runs]], losses: dict[str, dict[str, dict[str, float]]]) -> list[Bound]:
    """Hold each precision against the peer's fastest setting in it, and our fastest against its fastest of all."""
    held = []
    for kind, forms in found.items():
        for form, runs in forms.items():
            for precision in (None, "fp32", "bf16"):
                ours, peer = fastest(runs, OURS, precision), fastest(runs, PEER, precision)
                if ours is None or peer is None:
                    continue
                where = f"{kind}, {FORMS[form]}, {precision or 'the fastest of each'}"
                times = middle(runs[ours], "tokens_per_second") / middle(runs[peer], "tokens_per_second")
                held.append(bound(f"{where}: tokens a second, times Trainer's", times, TIMES[form], least=True))
                share = middle(runs[ours], "peak_mb") / middle(runs[peer], "peak_mb")
                held.append(bound(f"{where}: peak memory, share of Trainer's", share, SHARE, least=False))
    for kind, forms_losses in losses.items():
        for form, both in forms_losses.items():
            gap = abs(both["nearfar"] - both["Trainer's model"])
            what = f"{kind}, {FORMS[form]}: losses of equal weights, the same tokens hidden, apart"
            # Seven digits, for the gap of fp32 is in the sixth.
            held.append(bound(what, gap, ALIKE, least=False) | {"value": round(gap, 7)})
    return held


def table(found: dict[str, dict[str, Runs]], vocabulary: int) -> Table:
    """Return medians over rounds, their spread, and memory."""
    shown = Table(title=f"Language models of 4 layers of 256, vocabulary {vocabulary:,}: whole training steps")
    for name in ("", "", "contestant", "tokens/s", "lowest to highest", "a CPU second", "peak MB"):
        shown.add_column(name, justify="left" if name in ("", "contestant") else "right")
    for kind, forms in found.items():
        for form, runs in forms.items():
            for name, several in runs.items():
                speeds = [run["tokens_per_second"] for run in several]
                spread = f"{min(speeds):,.0f} to {max(speeds):,.0f}" if len(speeds) > 1 else "once"
                cpu = f"{middle(several, 'tokens_per_cpu_second'):,.0f}"
                speed, peak = f"{statistics.median(speeds):,.0f}", f"{middle(several, 'peak_mb'):,.0f}"
                shown.add_row(kind, FORMS[form], name, speed, spread, cpu, peak)
            shown.add_section()
    return shown
