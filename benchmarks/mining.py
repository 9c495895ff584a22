"""Hard negatives from the same vectors: ours and sentence-transformers' `mine_hard_negatives`, each in its own process.

python benchmarks/mining.py --pairs 20000 78000 --rounds 3
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from _machine import RESULTS, Bound, PeakMemory, bound, conclude, facts, fresh, tell
from rich.table import Table

FASTER, SMALLER = 5.0, 1 / 3  # at least, at most: against the fastest form of the peer
DIM, NEGATIVES, RANGE, MARGIN = 384, 5, 100, 0.05
PEERS: dict[str, dict[str, Any]] = {
    "peer": {},  # its defaults: 16,384 queries at once
    "peer, 4,096 at once": {"faiss_batch_size": 4096},
    "peer, faiss": {"use_faiss": True},
}
SAMPLE = 256  # queries whose negatives are compared with float64
SAME = 1e-5  # scores as near as this may change places
Vectors = npt.NDArray[np.float32]
Row = dict[str, Any]


def vectors(n: int) -> tuple[Vectors, Vectors]:
    """Return n queries and their keys: clusters in a cone, and queries at all distances from their keys."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((max(1, n // 50), DIM), np.float32)
    keys = centres[random.integers(0, len(centres), n)] + 0.5
    keys += 1.2 * random.standard_normal((n, DIM), np.float32)
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    spread = random.uniform(0.02, 0.12, (n, 1)).astype(np.float32)
    queries = keys + spread * random.standard_normal((n, DIM), np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    return queries, keys


class Known:
    """A model that knows its answers: only the mining is timed. It serves both contestants."""

    device = torch.device("cpu")

    def __init__(self, queries: Vectors, keys: Vectors) -> None:
        self.vectors = {"query": queries, "key": keys}

    def embed(self, cells: list[str], role: str) -> Vectors:
        first = int(cells[0][1:])
        return self.vectors[role][first : first + len(cells)]

    def encode_query(self, *_: Any, **__: Any) -> Vectors:
        return self.vectors["query"]

    def encode_document(self, *_: Any, **__: Any) -> Vectors:
        return self.vectors["key"]

    def similarity(self, a: Any, b: Any) -> torch.Tensor:
        return torch.as_tensor(a) @ torch.as_tensor(b).T

    def similarity_pairwise(self, a: Any, b: Any) -> torch.Tensor:
        return (torch.as_tensor(a) * torch.as_tensor(b)).sum(1)

    def get_embedding_dimension(self) -> int:
        return DIM


def measure(contestant: str, pairs: int) -> Row:
    """Return seconds and memory from vectors to texts of negatives, and how many of a sample are not the exact ones."""
    known = Known(*vectors(pairs))
    columns = {name: [f"{name[0]}{i}" for i in range(pairs)] for name in ("query", "key")}
    run = ours if contestant == "ours" else peer
    busy = time.process_time()
    with PeakMemory() as memory:
        seconds, found = run(known, columns, **PEERS.get(contestant, {}))
    busy = time.process_time() - busy  # of all cores; says more than the clock where others compute, too
    wrong = mistakes(known, found)
    return {
        "seconds": seconds,
        "cpu_seconds": busy,
        "peak_mb": memory.peak_mb,
        "extra_mb": memory.extra_mb,
        "wrong": wrong,
    }


def ours(known: Known, columns: dict[str, list[str]]) -> tuple[float, dict[str, list[str]]]:
    from nearfar.column import ListColumn
    from nearfar.contracts import Data
    from nearfar.mining.controls import Controls
    from nearfar.mining.mine import mine, rows
    from nearfar.positives.columns import Columns

    class Pairs:
        fingerprint = ""

        def __init__(self) -> None:
            self.columns = list(columns)

        def __len__(self) -> int:
            return len(columns["query"])

        def column(self, name: str) -> ListColumn:
            return ListColumn(name, columns[name])

        def split(self, _: str) -> Data:
            return self

    positives, controls = Columns(Pairs()), Controls(negatives=NEGATIVES, range_max=RANGE, relative_margin=MARGIN)
    start = time.perf_counter()
    table = [row for part in rows(mine(known, positives, controls), "lists") for row in part]
    seconds = time.perf_counter() - start
    return seconds, {row["query"]: row["negative"] for row in table}


def peer(known: Known, columns: dict[str, list[str]], **settings: Any) -> tuple[float, dict[str, list[str]]]:
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    data = Dataset.from_dict(columns)
    model: Any = known  # as much of a model as it asks for
    start = time.perf_counter()
    mined = mine_hard_negatives(
        data,
        model,
        num_negatives=NEGATIVES,
        range_max=RANGE,
        relative_margin=MARGIN,
        output_format="n-tuple",
        verbose=False,
        **settings,
    )
    seconds = time.perf_counter() - start
    negatives = zip(*(mined[f"negative_{i + 1}"] for i in range(NEGATIVES)))
    return seconds, {query: list(texts) for query, texts in zip(mined["query"], negatives)}


def mistakes(known: Known, found: dict[str, list[str]]) -> int:
    """Return how many negatives of a sample of queries are not those of float64, ties aside."""
    queries, keys = known.vectors["query"], known.vectors["key"].astype(np.float64)
    wrong = 0
    sample = np.random.default_rng(1).permutation(len(queries))[:SAMPLE]
    for query in sample.tolist():
        rows = [int(text[1:]) for text in found.get(f"q{query}", [])]
        scores = keys @ queries[query].astype(np.float64)
        limit = scores[query] - MARGIN * abs(scores[query])
        scores[query] = -np.inf
        best = -np.sort(-scores)[:RANGE]
        due = best[best <= limit][:NEGATIVES]
        if rows or len(due) == NEGATIVES:  # the peer leaves out queries that have fewer
            wrong += abs(len(due) - len(rows)) + int((np.abs(due[: len(rows)] - scores[rows][: len(due)]) > SAME).sum())
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, nargs="+", default=[20_000, 78_000])
    parser.add_argument("--rounds", type=int, default=3, help="processes for each contestant, taking turns")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measure(**json.loads(given.child))))
        return
    machine = facts()
    rows: list[Row] = []
    kept: list[Bound] = []
    names = ["ours", *(name for name, form in PEERS.items() if "use_faiss" not in form or find_spec("faiss"))]
    for pairs in given.pairs:
        turns: dict[str, list[Row]] = {name: [] for name in names}
        for _ in range(given.rounds):
            for name in names:
                turns[name].append(fresh(__file__, {"contestant": name, "pairs": pairs}))
                tell(f"{name}, {pairs:,} pairs: {turns[name][-1]['seconds']:.1f} s")
        found = {name: summary(name, pairs, runs) for name, runs in turns.items()}
        rows += found.values()
        best = min((found[name] for name in names[1:]), key=lambda row: float(row["seconds"]))
        mine = found["ours"]
        what = f"{pairs:,} pairs, against {best['contestant']}"
        kept.append(bound(f"{what}: times as fast", best["seconds"] / mine["seconds"], FASTER, least=True))
        ratio = mine["peak_mb"] / best["peak_mb"]
        kept.append(bound(f"{what}: peak memory, ours / theirs", ratio, SMALLER, least=False))
        kept.append(bound(f"{pairs:,} pairs: negatives that are not the exact ones", mine["wrong"], 0, least=False))
    conclude(given.out, "mining", {"machine": machine, "rows": rows, "bounds": kept}, table(rows))


def summary(contestant: str, pairs: int, runs: list[Row]) -> Row:
    """Return the median seconds, the most memory and the most mistakes of some runs."""
    seconds = [run["seconds"] for run in runs]
    most = {name: max(run[name] for run in runs) for name in ("peak_mb", "extra_mb", "wrong")}
    middle = {name: statistics.median(run[name] for run in runs) for name in ("seconds", "cpu_seconds")}
    return {"contestant": contestant, "pairs": pairs, **middle, "runs": seconds, **most}


def table(rows: list[Row]) -> Table:
    shown = Table(title=f"{NEGATIVES} negatives of the {RANGE} nearest, relative margin {MARGIN}, {DIM} dimensions")
    for name in ("contestant", "pairs", "s", "CPU s", "peak MB", "beyond the start MB", "wrong"):
        shown.add_column(name, justify="left" if name == "contestant" else "right")
    for row in rows:
        memory = f"{row['peak_mb']:,.0f}", f"{row['extra_mb']:,.0f}"
        numbers = f"{row['pairs']:,}", f"{row['seconds']:.2f}", f"{row['cpu_seconds']:.2f}", *memory, str(row["wrong"])
        shown.add_row(row["contestant"], *numbers)
    return shown


if __name__ == "__main__":
    main()
