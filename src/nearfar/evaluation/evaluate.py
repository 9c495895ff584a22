"""Evaluate a model on a task, beside baselines."""

from __future__ import annotations

from collections.abc import Sequence

from nearfar.errors import InputError
from nearfar.evaluation.report import Report
from nearfar.evaluation.retrieval import evaluate_retrieval
from nearfar.evaluation.similarity import evaluate_similarity
from nearfar.tasks import Retrieval, Task
from nearfar.text.bm25 import BASELINES
from nearfar.vectors.embed import Embedder


def evaluate(
    model: Embedder,
    task: Task,
    *,
    baselines: Sequence[str | Embedder] = (),
    fusion: bool = True,
    resamples: int = 2000,
    seed: int = 0,
) -> Report:
    """Return a model's metrics on a task with 95 % intervals, beside those of baselines.

    Retrieval: queries (embedded with role "query") rank all documents (role "key") by cosine, exactly and to a depth
    of 1,000; an empty document has a zero vector. Metrics are those of `metrics.Retrieval`, over the queries with a
    relevant document. Similarity: Spearman's and Pearson's correlation of the cosine (no role) with the grade.

    Intervals come from a paired bootstrap that resamples whole clusters of queries or pairs that are not independent.
    They say how far the numbers might move with other queries of the same kind, not with another training run.

    alignment, uniformity, effective_rank and random_cosine describe the embedding space and have no interval. They are
    computed on a sample (by `seed`) of at most 5,000 vectors, half queries and half documents where there are enough
    of both; alignment on at most 5,000 pairs of a query and its best-graded relevant documents, or of pairs of texts
    graded in the top fifth of the scale.

    Args:
        model: anything with `embed(cells, role=...)` that returns unit vectors (n, d).
        task: `tasks.Retrieval` or `tasks.Similarity`; data sets make them.
        baselines: "bm25" or "bm25-english" (for retrieval; see `text.bm25.Bm25`), or other models, which are named by
            their folder, or "model 2" and so on.
        fusion: also evaluate the reciprocal rank fusion of the model with each baseline (retrieval).
        resamples: number of bootstrap resamples, at least 1; the time is proportional to it.
        seed: seed of the resamples and samples; the same seed gives the same report.

    Errors: `InputError`: an unknown baseline; an empty query; vectors that are not finite, by row; not a task.

    Example:
        >>> import nearfar as nf
        >>> rows = [{"query": f"where is item {i}", "key": f"item {i} is here"} for i in range(20)]
        >>> task = nf.positives.Columns(nf.data.Table(rows)).task("train")
        >>> encoder = nf.encoders.Static(dim=64, vocabulary=300)
        >>> encoder.prepare([task.queries, task.documents])
        >>> report = nf.evaluate(nf.Model(encoder), task, baselines=["bm25"])
        >>> sorted(report.difference["bm25"]["ndcg@10"])
        ['high', 'low', 'value']
    """
    if resamples < 1:
        raise InputError(f"evaluate: resamples must be at least 1, it is {resamples}; 2000 is usual")
    by_name = _by_name([baselines] if isinstance(baselines, str) else baselines)
    if isinstance(task, Retrieval):
        return evaluate_retrieval(model, task, by_name, fusion=fusion, resamples=resamples, seed=seed)
    if hasattr(task, "scores"):
        return evaluate_similarity(model, task, by_name, resamples=resamples, seed=seed)
    raise InputError(f"evaluate: a {type(task).__name__} is not a task; e.g. nf.data.Beir(folder).task() makes one")


def _by_name(baselines: Sequence[str | Embedder]) -> dict[str, Embedder | None]:
    """Return the baselines under distinct names; None stands for the variant of BM25 with that name."""
    by_name: dict[str, Embedder | None] = {}
    for baseline in baselines:
        if isinstance(baseline, str) and baseline not in BASELINES:
            raise InputError(
                f"evaluate: no baseline is called {baseline!r}; give {' or '.join(map(repr, BASELINES))}, or a model: "
                "Model.load(folder)"
            )
        if isinstance(baseline, str) and baseline in by_name:
            continue  # given twice
        name = baseline if isinstance(baseline, str) else str(getattr(baseline, "folder", None) or "model")
        taken, number, stem = {"model", *by_name}, 2, name  # "model" is the one under evaluation
        while name in taken:
            name, number = f"{stem} {number}", number + 1
        by_name[name] = None if isinstance(baseline, str) else baseline
    return by_name
