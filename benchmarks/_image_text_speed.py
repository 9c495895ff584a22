"""The contests of whole steps: nearfar beside open_clip's loop in turns, and a large batch by the cached step."""

from __future__ import annotations

import statistics
from functools import partial
from pathlib import Path
from typing import Any

from _image_text_towers import OUT, TOWERS
from _machine import Bound, bound, fresh, once, tell
from rich.table import Table

from nearfar.compute.hardware import cpu_bf16

TIMES, SHARE = 1.3, 1.0  # of open_clip's pairs a second, and of its peak memory
ALIKE = 1e-3  # between the two losses of the same weights
Runs = dict[str, list[dict[str, Any]]]
BEST = {"reads": "prepared", "workers": 0, "layout": "channels last"}
PEERS: dict[str, dict[str, Any]] = {
    "the same text tower, 77 tokens": {**BEST, "text": "the same", "context": 77},
    "the same text tower, the longest caption": {**BEST, "text": "the same", "context": None},
    "its own text tower, 77 tokens": {**BEST, "text": "its own", "context": 77},
    "its own text tower, the longest caption": {**BEST, "text": "its own", "context": None},
    "the same, the longest, memory kept": {**BEST, "text": "the same", "context": None, "keeps": True},
    "its own, the longest, memory kept": {**BEST, "text": "its own", "context": None, "keeps": True},
    "its own, the longest, contiguous": {**BEST, "text": "its own", "context": None, "layout": "contiguous"},
    "its own, the longest, 2 workers": {**BEST, "text": "its own", "context": None, "workers": 2},
    "its own, 77 tokens, from files, 2 workers": {
        "text": "its own",
        "context": 77,
        "reads": "files",
        "workers": 2,
        "layout": "contiguous",
    },
}
OURS = "nearfar"


def take_turns(script: str, given: Any, work: Path) -> Runs:
    """Return the runs of all contestants; after the first round the peer's slower settings have no more turns."""
    runs: Runs = {}
    precisions = [p for p in ("bf16", "fp32") if p in given.precisions and (cpu_bf16() or p != "bf16")]
    for round_ in range(given.rounds):
        for precision in precisions:
            for name, variant in {OURS: {}, **PEERS}.items():
                called = f"{name}, {precision}"
                if round_ and name not in (OURS, _best(runs, precision)):
                    continue
                task = {**_step(given, precision), **variant}
                task["contestant"] = OURS if name == OURS else "open_clip"
                kept = f"speed-{round_}-{''.join(c if c.isalnum() else '_' for c in called)}"
                found = once(work, kept, task, partial(fresh, script, task))
                runs.setdefault(called, []).append(found)
                told = f"{found['pairs_per_second']:.1f} pairs/s, {found['peak_mb']:,.0f} MB"
                tell(f"speed, round {round_ + 1}: {called}: {told}")
    return runs


def _step(given: Any, precision: str) -> dict[str, Any]:
    step: dict[str, Any] = {"part": "step", "towers": given.towers, "batch": given.batch, "steps": given.steps}
    return step | {"data": str(given.data), "limit": given.limit or 2_000, "precision": precision}


def _best(runs: Runs, precision: str) -> str:
    """Return the fastest of the peer's settings."""
    return max(PEERS, key=lambda name: middle(runs[f"{name}, {precision}"], "pairs_per_second"))


def middle(runs: list[dict[str, Any]], what: str) -> float:
    """Return the median over rounds."""
    return statistics.median(float(run[what]) for run in runs)


def speed_bounds(runs: Runs) -> list[Bound]:
    """Hold nearfar against the fastest setting of open_clip, and its memory against that setting's."""
    held = []
    for precision in ("bf16", "fp32"):
        if f"{OURS}, {precision}" not in runs:
            continue
        best = _best(runs, precision)
        ours, peer = runs[f"{OURS}, {precision}"], runs[f"{best}, {precision}"]
        ratio = middle(ours, "pairs_per_second") / middle(peer, "pairs_per_second")
        held.append(bound(f"{precision}: pairs a second, times open_clip's ({best})", ratio, TIMES, least=True))
        share = middle(ours, "peak_mb") / middle(peer, "peak_mb")
        held.append(bound(f"{precision}: peak memory, share of open_clip's ({best})", share, SHARE, least=False))
    return held


def speed_table(runs: Runs, towers: str, batch: int) -> Table:
    """Return medians, their spread, and memory."""
    shown = Table(title=f"{towers}, batch {batch}: whole steps, open_clip's loop in its settings")
    for name in ("", "pairs/s", "lowest to highest", "pairs a CPU second", "peak MB", "parameters, M", "text tokens"):
        shown.add_column(name, justify="right" if name else "left")
    for name, found in runs.items():
        speeds = [run["pairs_per_second"] for run in found]
        last = found[-1]
        sizes = f"{last['parameters']['picture'] / 1e6:.2f} + {last['parameters']['text'] / 1e6:.2f}"
        spread, cpu = f"{min(speeds):.1f} to {max(speeds):.1f}", f"{middle(found, 'pairs_per_cpu_second'):.1f}"
        peak, context = f"{middle(found, 'peak_mb'):,.0f}", str(last.get("context", "as they are"))
        shown.add_row(name, f"{middle(found, 'pairs_per_second'):.1f}", spread, cpu, peak, sizes, context)
    return shown


def equal_losses(script: str, given: Any, work: Path) -> dict[str, float]:
    """Return both losses of the same weights on the same rows, in fp32."""
    task = {"part": "losses", "towers": given.towers, "data": str(given.data), "limit": 64}
    return once(work, "losses", task, partial(fresh, script, task))


def loss_bound(found: dict[str, float]) -> Bound:
    """Hold the two losses against each other."""
    gap = abs(found["nearfar"] - found["open_clip"])
    return bound("losses of equal weights on the same rows, apart", gap, ALIKE, least=False)


def losses(towers: str, data: str, limit: int) -> dict[str, float]:
    """Compute both losses in this process; each row is of another picture."""
    import numpy as np
    import torch
    from _flickr8k import captions
    from _image_text_towers import TEMPERATURE, OpenClip, ours, padded, text_tokens
    from open_clip import ClipLoss

    import nearfar as nf
    from nearfar.column import take
    from nearfar.pairs import Pairs

    rows, sizes = captions(Path(data), limit=limit), TOWERS[towers]
    names = rows.column("path").read(0, len(rows))
    chosen = sorted({name: i for i, name in reversed(list(enumerate(names)))}.values())
    encoder = ours(sizes)
    encoder.prepare([rows.column("image"), rows.column("caption")])
    encoder.eval()
    tokenizer = encoder.key.of.tokenizer
    image, caption = (take(rows.column(name), np.array(chosen)) for name in ("image", "caption"))
    ids, longest = text_tokens(tokenizer, caption)
    peer = OpenClip(sizes, "the same", longest, tokenizer).eval()
    peer.model.visual.trunk.load_state_dict(encoder.query.of.network.network.state_dict())
    peer.model.text.transformer.load_state_dict(encoder.key.of.backbone.state_dict(), strict=False)
    peer.model.text.proj = peer.model.visual.head.proj.__class__(sizes.width, OUT)
    for head, layer in ((encoder.query.head, peer.model.visual.head.proj), (encoder.key.head, peer.model.text.proj)):
        layer.load_state_dict(head.layers[0].state_dict())
    with torch.no_grad():
        inputs = encoder.query.inputs(image), encoder.key.inputs(caption)
        one, other = (
            torch.nn.functional.normalize(tower(x), dim=1) for tower, x in zip(encoder.towers.values(), inputs)
        )
        found = nf.losses.InfoNCE(temperature=TEMPERATURE)(one, other, Pairs.aligned(len(chosen)))
        pixels = encoder.query.of.normalised(inputs[0].parts[0])
        theirs = ClipLoss()(**peer(pixels, padded(ids, longest, tokenizer.tokenizer.pad_token_id)))
    return {"nearfar": float(found), "open_clip": float(theirs), "rows": len(chosen)}


def large_batch(script: str, given: Any, work: Path) -> dict[str, dict[str, Any]]:
    """Return the memory of a large batch in micro-batches, and of a batch of a micro-batch's size, each by itself.

    Both encode as many micro-batches, since memory grows over the first of them.
    """
    found: dict[str, dict[str, Any]] = {}
    large = max(2, given.large // given.micro)
    for batch, micro, steps in ((given.large, given.micro, 2), (given.micro, 0, 2 * large)):
        precision = "bf16" if cpu_bf16() else "fp32"
        task = {**_step(given, precision), "contestant": OURS, "batch": batch, "steps": steps, "micro_batch": micro}
        called = f"{batch:,} by {micro:,}" if micro else f"{batch:,}"
        run = once(work, f"memory-{batch}-{micro}", task, partial(fresh, script, task))
        side = TOWERS[given.towers].side
        run["inputs_mb"] = 2 * batch * side * side * 3 / 2**20  # of a batch and of the next, which is read ahead
        run["vectors_mb"] = 2 * 2 * batch * OUT * 4 / 2**20  # queries and keys, with their gradients
        run["beyond_mb"] = run["peak_mb"] - run["inputs_mb"] - run["vectors_mb"] - run["mapped_mb"]
        found[called] = run
        tell(f"memory, batch {called}: {run['peak_mb']:,.0f} MB")
    return found


def memory_bounds(found: dict[str, dict[str, Any]]) -> list[Bound]:
    """Hold the large batch against the small one: as it is, and without what the rows themselves take."""
    large, small = found.values()
    sizes = " / ".join(found)
    whole = bound(f"peak memory, batch {sizes}", large["peak_mb"] / small["peak_mb"], 1.1, least=False)
    rest = large["beyond_mb"] / small["beyond_mb"]
    return [whole, bound(f"the same without inputs, vectors and mapped files, batch {sizes}", rest, 1.1, least=False)]


def memory_table(found: dict[str, dict[str, Any]]) -> Table:
    """Return what the peak is made of."""
    shown = Table(title="memory in MB of a step: a large batch in micro-batches, and a batch of that size")
    parts = ("peak_mb", "inputs_mb", "vectors_mb", "mapped_mb", "beyond_mb")
    for name in ("batch", "peak", "pictures, 2 batches", "vectors", "mapped files", "the rest"):
        shown.add_column(name, justify="right")
    for name, run in found.items():
        shown.add_row(name, *(f"{run[part]:,.0f}" for part in parts))
    return shown
