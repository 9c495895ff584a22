"""What an index finds by words, by vectors and by both, on judged collections: MiniLM, the exact backend, `nf.Index`.

python benchmarks/hybrid.py [--sets cranfield cisi npl] [--fusions] [--work FOLDER] [--data ../shared/data]

Differences are paired by query; the interval of a mean over sets is a bootstrap over the queries within each set.
--fusions: other fusions beside the default one. The default is chosen on other sets than those it is judged by
(`_judged_sets.CHOSEN_ON`): --sets nl2bash trecqa climate-fever captions --fusions.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from _judged_sets import CHOSEN_ON, JUDGED
from _machine import RESULTS, bound, conclude, facts, fresh, tell
from quality import intervals
from rich.table import Table

DATA = Path(__file__).parents[2] / "shared" / "data"
METRICS = ("ndcg@10", "mrr@10", "recall@100")
LEGS: tuple[Literal["words"], Literal["vectors"]] = ("words", "vectors")
OTHERS = {f"{share:g} vectors": {"vectors": share, "words": 1 - share} for share in (0.3, 0.4, 0.5, 0.6, 0.7)}
Values = dict[str, dict[str, npt.NDArray[np.float64]]]  # by system and metric, a value of each query


def found_by(name: str, data: str, work: str | None, fusions: dict[str, Any]) -> dict[str, Any]:
    """Return what each query of a set gets, by system and metric; run in a process of its own."""
    from _judged_sets import task_of

    import nearfar as nf
    from nearfar.evaluation.index_search import IndexSearch
    from nearfar.metrics.retrieval import Retrieval

    task = task_of(name, Path(data))
    answerable = [query for query, grades in sorted(task.relevance.items()) if max(grades.values()) > 0]
    texts = task.documents.read(0, len(task.documents))
    rows = [{"id": f"{row:06}", "text": text} for row, text in enumerate(texts) if text.strip()]
    with tempfile.TemporaryDirectory() as scratch:
        model = _Kept(Path(work or scratch) / name, task.queries.read(0, len(task.queries)), [r["text"] for r in rows])
        with nf.Index.create(Path(scratch) / "index", model) as index:
            index.add(rows)
            systems: dict[str, Any] = {mode: IndexSearch(index, mode=mode) for mode in LEGS}
            systems["hybrid"] = IndexSearch(index)
            systems |= {label: IndexSearch(index, fusion=fusion) for label, fusion in fusions.items()}
            values = {system: Retrieval()(task, search(task, 0)) for system, search in systems.items()}
            about = {"documents": len(rows), "queries": len(answerable), "language": index.description.language}
    return {
        "set": name,
        **about,
        "values": {s: {m: of[m][answerable].tolist() for m in METRICS} for s, of in values.items()},
    }


class _Kept:
    """MiniLM, whose vectors of a set's queries and documents are made once, in float32, and kept in files."""

    def __init__(self, place: Path, queries: list[str], documents: list[str]) -> None:
        import nearfar as nf

        model = nf.Model.load("minilm")
        self.dim, self.fingerprint = model.dim, model.fingerprint
        place.parent.mkdir(parents=True, exist_ok=True)
        self._known: dict[tuple[Any, str], npt.NDArray[np.float32]] = {}
        for role, texts in (("query", queries), ("key", documents)):
            file = place.with_name(f"{place.name}-{'queries' if role == 'query' else 'documents'}.npy")
            if not file.exists():
                np.save(file, model.embed(texts, role))
            self._known |= {(role, text): vector for text, vector in zip(texts, np.load(file), strict=True)}

    def embed(self, cells: list[str], /, role: Any = None) -> npt.NDArray[np.float32]:
        """Return the vectors (n, 384) of texts of the set."""
        return np.stack([self._known[role, cell] for cell in cells])


def measure(given: argparse.Namespace) -> None:
    """Measure all sets, print the tables and keep the figures."""
    machine = facts()
    fusions = OTHERS if given.fusions else {}
    sets: dict[str, dict[str, Any]] = {}
    for name in given.sets:
        work = None if given.work is None else str(given.work)
        sets[name] = fresh(__file__, {"name": name, "data": str(given.data), "work": work, "fusions": fusions})
        tell(f"{name}: {sets[name]['queries']} queries, {sets[name]['documents']:,} documents")
    values = {name: _arrays(of["values"]) for name, of in sets.items()}
    systems = list(next(iter(values.values())))
    means = {s: {m: {n: float(of[s][m].mean()) for n, of in values.items()} for m in METRICS} for s in systems}
    gaps = {system: _gaps(values, system) for system in systems if system not in LEGS}
    bounds = [
        bound(f"{metric}: low end of the hybrid's mean less {leg}'s", gaps["hybrid"][metric][leg]["low"], 0, least=True)
        for metric in ("ndcg@10", "mrr@10")
        for leg in LEGS
    ]
    about = {name: {k: v for k, v in of.items() if k != "values"} for name, of in sets.items()}
    settings = {"model": "minilm", "precision": "fp32", "backend": "exact", "depth": 100, "fusions": fusions}
    kept = {
        "machine": machine,
        "settings": settings,
        "sets": about,
        "means": means,
        "differences": gaps,
        "bounds": bounds,
    }
    conclude(given.out, "hybrid", kept, *(_table(metric, means, gaps) for metric in METRICS))


def _gaps(values: dict[str, Values], system: str) -> dict[str, Any]:
    """Return by metric and leg the mean over sets of a system's differences to the leg, with its interval."""
    return {
        metric: {leg: intervals([of[system][metric] - of[leg][metric] for of in values.values()]) for leg in LEGS}
        for metric in METRICS
    }


def _arrays(values: dict[str, dict[str, list[float]]]) -> Values:
    return {system: {metric: np.array(one) for metric, one in of.items()} for system, of in values.items()}


def _table(metric: str, means: dict[str, Any], gaps: dict[str, Any]) -> Table:
    """Return a metric's table: the systems, their mean on each set and over the sets, the differences to both legs."""
    shown = Table(title=metric)
    sets = next(iter(means.values()))[metric]
    for column in ("", *sets, "mean", *(f"mean less {leg}'s" for leg in LEGS)):
        shown.add_column(column, justify="right" if column else "left")
    for system, of in means.items():
        cells = [f"{value:.3f}" for value in of[metric].values()]
        found = [gaps[system][metric][leg] for leg in LEGS] if system in gaps else []
        told = [f"{gap['value']:+.3f} \\[{gap['low']:+.3f}, {gap['high']:+.3f}]" for gap in found]
        shown.add_row(system, *cells, f"{np.mean(list(of[metric].values())):.3f}", *told)
    return shown


def main() -> None:
    """Read the command line; measure, or one set of it in a child process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=list(JUDGED), choices=[*JUDGED, *CHOSEN_ON])
    parser.add_argument("--fusions", action="store_true", help="other fusions beside the default one")
    parser.add_argument("--work", type=Path, help="folder that keeps the vectors of each set")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(found_by(**json.loads(given.child))))
    else:
        measure(given)


if __name__ == "__main__":
    main()
