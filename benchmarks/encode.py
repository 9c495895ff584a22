"""Embedding texts of all lengths with MiniLM: our `embed` and sentence-transformers' `encode`, side by side.

python benchmarks/encode.py [--rounds 3] [--texts 2000]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _machine import RESULTS, PeakMemory, bound, conclude, facts, fresh, tell
from rich.table import Table

ASKED = {"fp32": 1.2, "bf16": 1.0}  # times the peer's texts a second
PEERS = {"batches of 32": 32, "batches of 64": 64, "batches of 16": 16}
EQUAL = 1e-5


def embed(contestant: str, precision: str, texts: str, out: str) -> dict[str, Any]:
    """Embed all texts once in this process, after a few to warm up; leave the vectors in `out`."""
    cells = json.loads(Path(texts).read_text(encoding="utf-8"))
    encode = _ours(precision) if contestant == "ours" else _peer(precision, PEERS[contestant])
    encode(cells[:64])
    with PeakMemory() as memory:
        start = time.perf_counter()
        vectors = encode(cells)
        seconds = time.perf_counter() - start
    np.save(out, np.asarray(vectors, np.float32), allow_pickle=False)
    return {"texts_per_second": len(cells) / seconds, "peak_mb": memory.peak_mb}


def _ours(precision: str) -> Any:
    import nearfar as nf

    return nf.Model.load("minilm", bf16=precision == "bf16").embed


def _peer(precision: str, batch: int) -> Any:
    import torch
    from sentence_transformers import SentenceTransformer

    from nearfar.encoders.pretrained.folder import folder_of

    model = SentenceTransformer(str(folder_of("minilm")), device="cpu")
    if precision == "bf16":
        model.to(torch.bfloat16)
    return lambda texts: model.encode(texts, batch_size=batch, normalize_embeddings=True)


def measure(given: argparse.Namespace) -> None:
    from _pairs import mixed

    machine = facts()
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {precision: {} for precision in ASKED}
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        texts, out = Path(folder) / "texts.json", Path(folder) / "vectors.npy"
        texts.write_text(json.dumps(mixed(given.texts)), encoding="utf-8")
        for i in range(given.rounds):
            for precision in ASKED:
                for name in ("ours", *PEERS):
                    task = {"contestant": name, "precision": precision, "texts": str(texts), "out": str(out)}
                    runs[precision].setdefault(name, []).append(fresh(__file__, task))
                    found[f"{precision} {name}"] = np.load(out, allow_pickle=False)
                    speed = runs[precision][name][-1]["texts_per_second"]
                    tell(f"round {i + 1}: {precision}, {name}: {speed:.0f} texts/s")
    gap = float(np.abs(found["fp32 ours"] - found["fp32 batches of 32"]).max())
    held = [bound("largest difference of a coordinate in fp32", gap, EQUAL, least=False)]
    shown = Table(title=f"MiniLM, {given.texts:,} texts")
    for name in ("precision", "", "texts/s", "ours / it", "peak MB", "least cosine with fp32"):
        shown.add_column(name, justify="left" if name in ("precision", "") else "right")
    for precision, each in runs.items():
        speeds = {name: statistics.median(float(r["texts_per_second"]) for r in some) for name, some in each.items()}
        best = max(PEERS, key=lambda name: speeds[name])
        ratio = speeds["ours"] / speeds[best]
        held.append(
            bound(f"{precision}: texts a second, times the peer's ({best})", ratio, ASKED[precision], least=True)
        )
        for name, speed in speeds.items():
            cosine = (found[f"{precision} {name}"] * found["fp32 batches of 32"]).sum(1).min()
            peak = statistics.median(float(r["peak_mb"]) for r in each[name])
            row = f"{speed:.0f}", f"{speeds['ours'] / speed:.2f}", f"{peak:,.0f}", f"{cosine:.6f}"
            shown.add_row(precision, name if name == "ours" else f"sentence-transformers, {name}", *row)
    settings = {"texts": given.texts, "rounds": given.rounds}
    measured = {"machine": machine, "settings": settings, "runs": runs, "bounds": held}
    conclude(given.out, "encode", measured, shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="runs of each contestant, taking turns")
    parser.add_argument("--texts", type=int, default=2_000, help="how many texts")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(embed(**json.loads(given.child))))
    else:
        measure(given)


if __name__ == "__main__":
    main()
