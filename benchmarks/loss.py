"""InfoNCE, both ways, forward and backward: ours on tiles, and the plain form that holds the whole matrix.

python benchmarks/loss.py --sizes 1024 4096 16384 --repeats 3 --rounds 3
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from _forms import FORMS, LEAN, NAIVE, SCALE, Compute
from _machine import RESULTS, Bound, PeakMemory, bound, bound_lines, facts, fresh, keep, tell
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import normalize

DIM = 384
PROMISED_AT = 16_384
TIME_LIMIT, MEMORY_LIMIT = 0.38, 0.08
PRECISIONS = ("fp32", "bf16")


def vectors(n: int) -> list[Tensor]:
    """Return queries and keys on the sphere, (n, d) each; a pair's cosine is about 0.26, as early in a training."""
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(n, DIM, generator=generator)
    return [normalize(0.6 * base + torch.randn(n, DIM, generator=generator), dim=1).requires_grad_() for _ in range(2)]


def call(compute: Compute, q: Tensor, k: Tensor, precision: str) -> tuple[float, float]:
    """Return the seconds that forward and backward took, and the loss."""
    q.grad = k.grad = None
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        loss = compute(q, k)
    loss.backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - start, loss.item()


def measure(form: str, n: int, precision: str, repeats: int) -> dict[str, Any]:
    """Return seconds and extra memory of forward and backward, in this process."""
    small = vectors(8)
    call(FORMS[form](8), small[0], small[1], precision)  # libraries load and threads start: no one's memory
    compute, (q, k) = FORMS[form](n), vectors(n)
    with PeakMemory() as memory:  # around the warm-up, too: what the heap keeps from it counts
        value = call(compute, q, k, precision)[1]
        seconds = [call(compute, q, k, precision)[0] for _ in range(repeats)]
    return {"seconds": seconds, "extra_mb": memory.extra_mb, "memory": memory.how, "value": value}


def compare(n: int, repeats: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each precision. Ours and the fastest naive form take turns, so that noise hits them alike."""
    tried: dict[str, dict[str, float]] = {}
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for precision in PRECISIONS:
        first = {form: _run(form, n, precision, 2) for form in [*NAIVE, *LEAN]}
        tried[precision] = {form: min(result["seconds"]) for form, result in first.items()}
        runs |= {(precision, form): [first[form]] for form in LEAN}
    best = {p: min(NAIVE, key=lambda form, p=p: tried[p][form]) for p in PRECISIONS}  # type: ignore[misc]
    for _ in range(rounds):
        for precision in PRECISIONS:
            for form in ("ours", best[precision]):
                runs.setdefault((precision, form), []).append(_run(form, n, precision, repeats))
    for precision in PRECISIONS:
        peer = best[precision]
        one, other = (_median(runs[precision, form]) for form in ("ours", peer))
        if abs(one["value"] - other["value"]) > 5e-3 * other["value"]:
            raise SystemExit(f"n = {n}, {precision}: the contestants disagree, {one['value']} and {other['value']}")
        yield {
            "n": n,
            "precision": precision,
            "ours": one,
            "naive": {**other, "form": peer, "tried": {form: round(s, 4) for form, s in tried[precision].items()}},
            "chunked": {form: _median(runs[precision, form]) for form in LEAN}.get("chunked"),
            "time_ratio": one["seconds"] / other["seconds"],
            "memory_ratio": one["extra_mb"] / max(other["extra_mb"], 0.1),  # a tiny n takes none
        }


def _run(form: str, n: int, precision: str, repeats: int) -> dict[str, Any]:
    result = fresh(__file__, {"form": form, "n": n, "precision": precision, "repeats": repeats})
    tell(f"n = {n:,}, {precision}, {form}: {min(result['seconds']):.3f} s, {result['extra_mb']:,.0f} MB")
    return result


def _median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    seconds = [s for run in runs for s in run["seconds"]]
    return {
        "seconds": statistics.median(seconds),
        "fastest": min(seconds),
        "slowest": max(seconds),
        "extra_mb": statistics.median(run["extra_mb"] for run in runs),
        "memory": runs[0]["memory"],
        "value": runs[0]["value"],
    }


def bounds(rows: list[dict[str, Any]]) -> list[Bound]:
    found = []
    for row in rows:
        if row["n"] == PROMISED_AT:
            where = f"n = {PROMISED_AT:,}, {row['precision']}"
            found.append(bound(f"{where}: time, ours / naive", row["time_ratio"], TIME_LIMIT, least=False))
            found.append(bound(f"{where}: extra memory, ours / naive", row["memory_ratio"], MEMORY_LIMIT, least=False))
    return found


def table(rows: list[dict[str, Any]]) -> Table:
    shown = Table(title=f"InfoNCE both ways, d = {DIM}, scale {SCALE:g}: forward and backward, medians")
    for name in ("n", "precision", "ours s", "naive s", "ratio", "ours MB", "naive MB", "ratio", "naive form"):
        shown.add_column(name, justify="left" if name in ("precision", "naive form") else "right")
    for row in rows:
        one, other = row["ours"], row["naive"]
        seconds = f"{one['seconds']:.3f}", f"{other['seconds']:.3f}", f"{row['time_ratio']:.2f}"
        memory = f"{one['extra_mb']:,.0f}", f"{other['extra_mb']:,.0f}", f"{row['memory_ratio']:.1%}"
        shown.add_row(f"{row['n']:,}", row["precision"], *seconds, *memory, other["form"])
        if row["chunked"]:
            lean = row["chunked"]
            shown.add_row(
                "", "", "", f"{lean['seconds']:.3f}", "", "", f"{lean['extra_mb']:,.0f}", "", "(torch's chunked)"
            )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 4096, 16_384], help="batch sizes n")
    parser.add_argument("--repeats", type=int, default=3, help="timed calls a process, after one to warm up")
    parser.add_argument("--rounds", type=int, default=3, help="processes for each contestant and size, taking turns")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measure(**json.loads(given.child))))
        return
    machine = facts()
    rows = [row for n in given.sizes for row in compare(n, given.repeats, given.rounds)]
    kept, console = bounds(rows), Console()
    console.print(table(rows), *bound_lines(kept), sep="\n", highlight=False)
    settings = {"dim": DIM, "scale": SCALE, "repeats": given.repeats, "rounds": given.rounds}
    path = keep(given.out, "loss", {"machine": machine, "settings": settings, "rows": rows, "bounds": kept})
    console.print(f"kept in {path.name}", highlight=False)


if __name__ == "__main__":
    main()
