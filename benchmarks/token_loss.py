"""Cross-entropy of tokens over a vocabulary, forward and backward: ours, torch's, and transformers' own, in one run.

python benchmarks/token_loss.py --tokens 8192 --vocabulary 30000 --rounds 3
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from _machine import RESULTS, Bound, PeakMemory, bound, conclude, facts, fresh, tell
from rich.table import Table
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from nearfar.losses.tiled.token_cross_entropy import token_cross_entropy, token_cross_entropy_and_hits

DIM = 384
EXACT = 512, 4000  # tokens and vocabulary at which gradients are compared with float64
TIME, MEMORY = 1.0, 0.5  # the most of the best peer's
PRECISIONS = ("fp32", "bf16")
OURS = ("ours", "ours with hits")
Row = dict[str, Any]
Compute = Callable[[Tensor, Tensor, Tensor], Tensor]  # states (n, d), embeddings (v, d), targets (n,) -> summed loss


def peers_and_ours() -> dict[str, Compute]:
    """Return the contestants by name; each makes of states what it needs, logits too."""
    found: dict[str, Compute] = {
        "ours": token_cross_entropy,
        "ours with hits": lambda h, e, t: token_cross_entropy_and_hits(h, e, t)[0],
        "F.cross_entropy": lambda h, e, t: cross_entropy(linear(h, e), t, reduction="sum"),
    }
    if find_spec("transformers"):
        found["ForCausalLMLoss"] = _causal_loss
    else:
        tell("ForCausalLMLoss is left out, transformers is not installed (make bench installs the peers)")
    return found


def _causal_loss(h: Tensor, e: Tensor, t: Tensor) -> Tensor:
    from transformers.loss.loss_utils import ForCausalLMLoss

    logits = linear(h, e)
    one = torch.ones(())  # what the sum is divided by
    loss: Tensor = ForCausalLMLoss(logits, t, len(e), num_items_in_batch=one, shift_labels=t)
    return loss


def inputs(n: int, v: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Return states as a layer norm makes them, embeddings, whose logits have a deviation of 2, and targets."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(n, DIM, generator=generator).to(dtype)
    embeddings = (torch.randn(v, DIM, generator=generator) * 2 / DIM**0.5).to(dtype)
    return states.requires_grad_(), embeddings.requires_grad_(), torch.randint(v, (n,), generator=generator)


def call(compute: Compute, given: tuple[Tensor, Tensor, Tensor], precision: str) -> tuple[float, float]:
    """Return the seconds that forward and backward took, and the loss of a token."""
    given[0].grad = given[1].grad = None
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        loss = compute(*given)
    loss.backward()
    return time.perf_counter() - start, loss.item() / len(given[0])


def measure(form: str, n: int, v: int, precision: str, repeats: int) -> Row:
    """Return seconds and extra memory of forward and backward, in this process."""
    compute = peers_and_ours()[form]
    call(compute, inputs(8, 100), precision)  # libraries load and threads start: no one's memory
    given = inputs(n, v)
    with PeakMemory() as memory:
        call(compute, given, precision)
        seconds, value = zip(*(call(compute, given, precision) for _ in range(repeats)), strict=True)
    return {"seconds": list(seconds), "extra_mb": memory.extra_mb, "memory": memory.how, "value": value[0]}


def gradient_errors() -> dict[str, dict[str, float]]:
    """Return how far each contestant's gradients are from those of all logits in float64, relative."""
    exact = inputs(*EXACT, torch.float64)
    call(peers_and_ours()["F.cross_entropy"], exact, "fp32")
    found: dict[str, dict[str, float]] = {}
    for form, compute in peers_and_ours().items():
        for precision in PRECISIONS:
            tried = inputs(*EXACT)
            call(compute, tried, precision)
            pairs = [(a.grad, b.grad) for a, b in zip(tried[:2], exact[:2], strict=True)]
            errors = [float((a - b).norm() / b.norm()) for a, b in pairs if a is not None and b is not None]
            found.setdefault(form, {})[precision] = max(errors)
    return found


def child(**task: Any) -> Row:
    """Do what a fresh process is asked for."""
    return measure(**task) if task else gradient_errors()


def compare(n: int, v: int, precision: str, repeats: int, rounds: int) -> Row:
    """Return the medians of every contestant. They take turns, so that noise hits all alike."""
    runs: dict[str, list[Row]] = {form: [] for form in peers_and_ours()}
    for _ in range(rounds):
        for form, kept in runs.items():
            task = {"form": form, "n": n, "v": v, "precision": precision, "repeats": repeats}
            kept.append(fresh(__file__, task))
            tell(f"{precision}, {form}: {min(kept[-1]['seconds']):.3f} s, {kept[-1]['extra_mb']:,.0f} MB")
    found = {form: _median(several) for form, several in runs.items()}
    for form, other in found.items():
        if abs(found["ours"]["value"] - other["value"]) > 1e-2 * abs(other["value"]):
            raise SystemExit(f"{precision}: {form} says {other['value']}, ours {found['ours']['value']}")
    return {"precision": precision, "found": found}


def _median(runs: list[Row]) -> Row:
    seconds = [s for run in runs for s in run["seconds"]]
    return {
        "seconds": statistics.median(statistics.median(run["seconds"]) for run in runs),
        "fastest": min(seconds),
        "slowest": max(seconds),
        "extra_mb": statistics.median(run["extra_mb"] for run in runs),
        "memory": runs[0]["memory"],
        "value": runs[0]["value"],
    }


def bounds(rows: list[Row]) -> list[Bound]:
    """Return what was promised: no slower than the best peer, at half of its memory."""
    found = []
    for row in rows:
        peers = [one for form, one in row["found"].items() if form not in OURS]
        for what, field, limit in (("time", "seconds", TIME), ("memory", "extra_mb", MEMORY)):
            least = min(peer[field] for peer in peers) or 0.1  # at toy size nothing is left to measure
            ratio = row["found"]["ours"][field] / least
            found.append(bound(f"{row['precision']}: {what}, ours / the best peer's", ratio, limit, least=False))
    return found


def table(n: int, v: int, rows: list[Row], wrong: dict[str, dict[str, float]]) -> Table:
    shown = Table(title=f"{n:,} tokens x {v:,}, d = {DIM}: forward and backward, medians")
    for name in ("precision", "contestant", "s", "ours / it", "extra MB", "gradient error"):
        shown.add_column(name, justify="left" if name in ("precision", "contestant") else "right")
    for row in rows:
        ours = row["found"]["ours"]["seconds"]
        for form, one in row["found"].items():
            ratio = "" if form == "ours" else f"{ours / one['seconds']:.2f}"
            error = f"{wrong[form][row['precision']]:.1e}"
            shown.add_row(row["precision"], form, f"{one['seconds']:.3f}", ratio, f"{one['extra_mb']:,.0f}", error)
        shown.add_section()
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--vocabulary", type=int, default=30_000)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--repeats", type=int, default=3, help="timed calls a process, after one to warm up")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each contestant, in turns")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(**json.loads(given.child))))
        return
    machine, wrong = facts(), fresh(__file__, {})
    settings = {"tokens": given.tokens, "vocabulary": given.vocabulary, "dim": DIM, "repeats": given.repeats}
    n, v = given.tokens, given.vocabulary
    rows = [compare(n, v, precision, given.repeats, given.rounds) for precision in given.precisions]
    measured = {"machine": machine, "settings": settings | {"rounds": given.rounds}, "rows": rows}
    measured |= {"gradient_errors": wrong, "bounds": bounds(rows)}
    conclude(given.out, "token-loss", measured, table(n, v, rows, wrong), width=100)


if __name__ == "__main__":
    main()
