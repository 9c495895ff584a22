"""How often 95 % intervals hold the truth: whole populations of real values, of which some clusters are drawn.

A population is what each query of a data set got from a system (`_populations.py`), so its mean is known. Of it c
clusters are drawn with replacement, as if they were all the data, 2,000 times; the coverage is the share of intervals
that hold the mean of the whole. Beside the project's own stands the plain percentile bootstrap. Half of the
populations lie near a ceiling, with MRR above 0.9; differences of two systems, and statistics that are no means, too.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from _machine import RESULTS, bound, conclude, facts, tell
from _populations import ONE_LARGE, Graded, Judged, Values, retrieval, similarity
from rich.table import Table

from nearfar.evaluation.intervals import mean_intervals, statistic_intervals
from nearfar.metrics.answers.scores import auroc
from nearfar.metrics.correlation import ranked_correlation
from nearfar.metrics.pair_classification import average_precision

DATA = Path(__file__).parents[2] / "shared" / "data"
LIMIT = 0.93  # of the worst population
GAP = -1  # beside the numbers of the systems
Row = dict[str, Any]
Statistic = Callable[[Values], Values]


@dataclass(frozen=True)
class Population:
    """Values (n,) of one system, or of two whose difference is judged, in clusters (n,)."""

    name: str
    systems: list[Values]
    clusters: npt.NDArray[np.int64]


def populations(judged: list[Judged]) -> Iterator[Population]:
    """Yield what each system got, and differences of two systems that stand next to each other."""
    for one in judged:
        yield Population(f"{one.data}: {one.system}", [one.values], one.clusters)
    for one, other in pairwise(judged):
        if one.data == other.data:
            name = f"{one.data}: {one.system} - {other.system}"
            yield Population(name, [one.values, other.values], one.clusters)


def drawn(population: Population, clusters: int, draws: int, resamples: int) -> Row:
    """Return how often intervals of so many clusters hold the mean of the population."""
    of_row = np.unique(population.clusters, return_inverse=True)[1]
    sizes = np.bincount(of_row).astype(np.float64)  # (p,)
    sums = np.stack([np.bincount(of_row, values) for values in population.systems])  # (s, p)
    order, starts = np.argsort(of_row, kind="stable"), np.append(0, np.cumsum(sizes).astype(int))
    gap = sums[0] - sums[1] if len(sums) > 1 else sums[0]
    truth = float(gap.sum() / sizes.sum())
    chosen = np.random.default_rng(clusters).integers(0, len(sizes), (draws, clusters))
    found = []
    if (sizes == 1).all():  # all draws in one call, as their clusters are alike
        names = {(s, i): sums[s, rows] for s in range(len(sums)) for i, rows in enumerate(chosen)}
        pairs = {(GAP, i): ((0, i), (1, i)) for i in range(draws)} if len(sums) > 1 else {}
        bounds = mean_intervals(names, pairs, np.arange(clusters), resamples=resamples, seed=0)
        found = [bounds[GAP if pairs else 0, i] for i in range(draws)]
    else:
        for rows in chosen:
            members = np.concatenate([order[starts[row] : starts[row + 1]] for row in rows])
            of_member = np.repeat(np.arange(clusters), sizes[rows].astype(int))
            names = {(s, 0): values[members] for s, values in enumerate(population.systems)}
            pairs = {(GAP, 0): ((0, 0), (1, 0))} if len(sums) > 1 else {}
            bounds = mean_intervals(names, pairs, of_member, resamples=resamples, seed=0)
            found.append(bounds[GAP if pairs else 0, 0])
    ours = np.array([[one["low"], one["high"]] for one in found])
    plain = _percentile(gap[chosen], sizes[chosen], resamples)
    return _row(population.name, "mean" if len(sums) < 2 else "difference", clusters, truth, ours, plain)


def graded(population: Graded, name: str, clusters: int, draws: int, resamples: int) -> Row:
    """Return the same of a statistic of pairs that are independent."""
    truth = float(_statistic(name, population.scores, population.grades)(np.ones((1, len(population.scores))))[0])
    random, ours, plain = np.random.default_rng(clusters), np.empty((draws, 2)), np.empty((draws, 2))
    counts = random.multinomial(clusters, np.full(clusters, 1 / clusters), resamples).astype(np.float64)
    for i in range(draws):
        rows = random.integers(0, len(population.scores), clusters)
        statistic = _statistic(name, population.scores[rows], population.grades[rows])
        found = statistic_intervals({name: statistic}, {}, np.arange(clusters), resamples=resamples, seed=0)[name]
        ours[i], plain[i] = (found["low"], found["high"]), np.quantile(statistic(counts), [0.025, 0.975])
    return _row(f"{population.data}: {population.system}, {name}", "statistic", clusters, truth, ours, plain)


def _statistic(name: str, scores: Values, grades: Values) -> Statistic:
    same = grades >= 3
    if name == "spearman":
        return ranked_correlation(scores, grades)
    if name == "auroc":
        return partial(auroc, same, scores)
    order = np.lexsort((same, -scores))
    return partial(average_precision, same[order], order)


def _percentile(sums: Values, sizes: Values, resamples: int) -> Values:
    """Return the bounds (draws, 2) of the plain percentile bootstrap of sums and sizes (draws, c)."""
    c = sums.shape[1]
    copies = np.random.default_rng(0).multinomial(c, np.full(c, 1 / c), resamples).astype(np.float64)  # (b, c)
    return np.quantile((copies @ sums.T) / (copies @ sizes.T), [0.025, 0.975], axis=0).T


def _row(name: str, kind: str, clusters: int, truth: float, ours: Values, plain: Values) -> Row:
    """Return coverage and mean width of both methods, of the draws of which something is said."""
    said = np.isfinite(ours).all(1) & np.isfinite(plain).all(1)
    row: Row = {"population": name, "kind": kind, "clusters": clusters, "truth": round(truth, 4)}
    row |= {"said": round(float(said.mean()), 4)}
    for method, bounds in (("ours", ours[said]), ("percentile", plain[said])):
        low, high = bounds[:, 0], bounds[:, 1]
        held = (low - 1e-9 <= truth) & (truth <= high + 1e-9)
        row[method] = [round(float(held.mean()), 4), round(float((high - low).mean()), 4)] if len(bounds) else None
    row["narrowest"] = round(float((ours[said, 1] - ours[said, 0]).min(initial=np.inf)), 6)
    return row


def summary(rows: list[Row]) -> Table:
    """Return the worst and the median coverage by kind and number of clusters, and the widths."""
    table = Table(title="coverage of 95 % intervals: worst (median)")
    for column in ("kind", "clusters", "populations", "percentile", "ours", "width, times the percentile's"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    for kind, clusters in dict.fromkeys((row["kind"], row["clusters"]) for row in rows):
        some = [row for row in rows if (row["kind"], row["clusters"]) == (kind, clusters)]
        cells = [kind, str(clusters), str(len(some))]
        for method in ("percentile", "ours"):
            found = [row[method][0] for row in some]
            cells.append(f"{min(found):.3f} ({statistics.median(found):.3f})")
        widths = [row["ours"][1] / row["percentile"][1] for row in some if row["percentile"][1]]
        table.add_row(*cells, f"{statistics.median(widths):.2f}, at most {max(widths):.2f}")
    return table


def measure(given: argparse.Namespace) -> None:
    machine, judged = facts(), list(retrieval(given.data))
    ceiling = [f"{one.data}: {one.system}" for one in judged if one.values.mean() > 0.9]
    pairs = [*similarity(given.data)]
    tell(f"{len(judged)} populations, {len(ceiling)} of them with a mean above 0.9")
    means = (given.draws, given.resamples)
    others = (given.statistic_draws, given.resamples)
    tasks: list[Callable[[], Row]] = [
        partial(drawn, one, c, *means) for one in populations(judged) for c in given.clusters
    ]
    names = ("spearman", "auroc", "average precision")
    tasks += [partial(graded, one, name, c, *others) for one in pairs for name in names for c in given.clusters[:5]]
    if given.jobs > 1:
        with ProcessPoolExecutor(given.jobs) as pool:
            rows = [future.result() for future in [pool.submit(task) for task in tasks]]
    else:
        rows = [task() for task in tasks]
    rows = [row for row in rows if row["ours"] is not None]
    usual = [row for row in rows if not row["population"].startswith(ONE_LARGE)]
    rare = [row for row in rows if row not in usual]
    worst = min(usual, key=lambda row: float(row["ours"][0]))
    where = f"{worst['population']}, {worst['clusters']} clusters"
    held = [
        bound(f"coverage at worst ({where})", worst["ours"][0], LIMIT, least=True),
        bound("width of the narrowest interval", min(row["narrowest"] for row in rows), 1e-4, least=True),
    ]
    shown: list[Any] = [summary(usual)]
    if rare:
        least = min(row["ours"][0] for row in rare)
        shown.append(f"with one cluster of a twelfth of all queries, drawn or not: {least:.3f}")
    settings = {"draws": given.draws, "draws of statistics": given.statistic_draws, "resamples": given.resamples}
    kept = {"machine": machine, "settings": settings, "near a ceiling": ceiling, "rows": rows, "bounds": held}
    conclude(given.out, "coverage", kept, *shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of data sets")
    parser.add_argument("--clusters", type=int, nargs="+", default=[15, 20, 30, 50, 100, 300], help="clusters drawn")
    parser.add_argument("--draws", type=int, default=2_000, help="draws of each population")
    parser.add_argument("--statistic-draws", type=int, default=500, help="draws of statistics, which take longer")
    parser.add_argument("--resamples", type=int, default=999, help="resamples of each draw")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
