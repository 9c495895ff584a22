"""What the recipe finetune is worth on a few hundred pairs: each model against the one it began from, over seeds.

python benchmarks/finetune_small.py [--sets trecqa nl2bash docstrings faq] [--pairs 300 500 700] [--seeds 3]
                                    [--set path=value] [--data ../shared/data] [--table pairs.jsonl]

Each seed draws other training pairs: whole groups that share a text, and of the rest queries to judge by, ranked among
the documents of all. No judged row has a say in training or in the choice of weights. The differences of MRR@10 are
paired by query, and their 95 % intervals come from a bootstrap over groups. A set that is absent is left out, and said:
trecqa and nl2bash lie in `--data`, docstrings are those of installed packages, and faq (a question and each paragraph
of its answer) is Perl's own, where its documentation is installed (Debian: perl-doc). `--table` adds one's own.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from _machine import RESULTS, Bound, bound, conclude, facts, fresh, once, tell
from rich.table import Table

DATA = Path(__file__).parents[2] / "shared" / "data"
SETS = ("trecqa", "nl2bash", "docstrings", "faq")
RESAMPLES = 10_000


def difference(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Return the mean gap of all runs' queries with its interval; groups of queries are resampled together."""
    gaps = np.concatenate([np.array(run["after"]) - run["before"] for run in runs])
    names = [f"{run['set']} {group}" for run in runs for group in run["groups"]]  # seeds judge some queries again
    cluster = np.unique(names, return_inverse=True)[1]
    sums, counts = np.bincount(cluster, gaps), np.bincount(cluster)
    drawn = np.random.default_rng(0).integers(0, len(sums), (RESAMPLES, len(sums)))
    means: npt.NDArray[np.float64] = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {"value": float(gaps.mean()), "low": float(low), "high": float(high)}


def run(task: dict[str, Any], work: Path) -> dict[str, Any]:
    """Train and judge in a fresh process, or read what was found before."""
    name = f"{Path(task['name']).stem}-{task['pairs']}-{task['seed']}"
    found = once(work, name, task, partial(fresh, __file__, task))
    if "absent" not in found:
        before, after = np.mean(found["before"]), np.mean(found["after"])
        tell(f"{task['name']} {task['pairs']} seed {task['seed']}: {before:.4f} to {after:.4f}, {found['said']}")
    return found


def measure(given: argparse.Namespace) -> None:
    machine = facts()
    names = [*given.sets, *given.table]
    rows, bounds, absent = [], list[Bound](), dict[str, str]()
    shown = Table(title=f"finetune against its start, MRR@10, {given.seeds} seeds")
    for name in ("set", "pairs", "queries", "documents", "start", "difference", "kept the start"):
        shown.add_column(name)
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(given.jobs) as pool:
        work = given.work or Path(scratch)
        asked = {
            "data": str(given.data),
            "overrides": given.set,
            "queries": given.queries,
            "documents": given.documents,
        }
        waiting = {
            (name, pairs): [
                pool.submit(run, {"name": name, "pairs": pairs, "seed": seed, **asked}, work)
                for seed in range(given.seeds)
            ]
            for pairs in given.pairs
            for name in names
        }
        for (name, pairs), futures in waiting.items():
            runs = [future.result() for future in futures]
            if "absent" in runs[0]:
                absent[name] = runs[0]["absent"]
                continue
            gap = difference(runs)
            starts = sum(run["step"] == 0 for run in runs)
            told = {key: [run[key] for run in runs] for key in ("step", "steps", "said", "documents", "trained")}
            before, queries = (
                float(np.mean([np.mean(run["before"]) for run in runs])),
                sum(len(r["before"]) for r in runs),
            )
            called = Path(name).stem
            rows.append({"set": called, "pairs": pairs, "queries": queries, "start": before, "difference": gap, **told})
            bounds.append(bound(f"{called}, {pairs} pairs: high end of the difference", gap["high"], 0.0, least=True))
            interval = rf"{gap['value']:+.4f} \[{gap['low']:+.4f}, {gap['high']:+.4f}]"
            documents = str(told["documents"][0])
            shown.add_row(
                called, str(pairs), str(queries), documents, f"{before:.4f}", interval, f"{starts}/{len(runs)}"
            )
    settings = {"seeds": given.seeds, "set": given.set, "queries": given.queries, "documents": given.documents}
    measured = {"machine": machine, "settings": settings, "rows": rows, "absent": absent, "bounds": bounds}
    lines = [f"left out: {name}: {why}" for name, why in absent.items()]
    conclude(given.out, "finetune_small", measured, shown, *lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--table", action="append", default=[], help="a set of one's own: columns query and key")
    parser.add_argument("--pairs", type=int, nargs="+", default=[300, 500, 700])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=300, help="judged, at most")
    parser.add_argument("--documents", type=int, default=1500, help="that they are ranked among, at most")
    parser.add_argument("--set", action="append", default=[], help="a setting of the recipe, as path=value")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once; set OMP_NUM_THREADS so that they fit")
    parser.add_argument("--work", type=Path, help="folder that keeps what each process found, to go on from")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        from _small_sets import study

        print(json.dumps(study(**json.loads(given.child))))
    else:
        measure(given)


if __name__ == "__main__":
    main()
