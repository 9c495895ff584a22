"""Evaluate a model on a task, beside baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nearfar.contracts import Floor, Metric, Predictions
from nearfar.errors import InputError
from nearfar.evaluation import space
from nearfar.evaluation.baseline_values import START, UNTRAINED
from nearfar.evaluation.baselines import (
    Baseline,
    Start,
    baselines_of,
    floors_serving,
    predictions_of_baseline,
    untrained_floor,
)
from nearfar.evaluation.by_class import by_class
from nearfar.evaluation.choose import Spec, columns_looked_at, metrics_of
from nearfar.evaluation.contact_sheet import contact_sheet
from nearfar.evaluation.languages import language_facts
from nearfar.evaluation.measure import MODEL, Measured, compare, measure
from nearfar.evaluation.predictions import as_judged, positive_pairs, predictions_of, refuse_no_text_side, sides_of
from nearfar.evaluation.projection_map import projection_map
from nearfar.evaluation.report import Report, about_task
from nearfar.evaluation.row_values import row_values
from nearfar.evaluation.samples import sample_searches
from nearfar.evaluation.searched import Searching, searched
from nearfar.evaluation.worst import worst_queries, wrong_queries
from nearfar.figures import WRONG_FIRST
from nearfar.tasks import Retrieval, Task
from nearfar.text.bm25 import reciprocal_rank_fusion
from nearfar.vectors.embed import Embedder
from nearfar.vectors.ranking import Ranking

CHANCE = "random-order"  # the floor of a task that its usual floors cannot read


def evaluate(
    model: Embedder,
    task: Task,
    metrics: Spec | Sequence[Spec] | None = None,
    *,
    baselines: Baseline | Sequence[Baseline] | None = None,
    start: Start | None = None,
    search: Searching | None = None,
    fusion: bool = True,
    resamples: int = 2000,
    seed: int = 0,
    look: bool = True,
) -> Report:
    """Return a model's metrics on a task with 95 % intervals, beside those of baselines.

    Retrieval: queries (embedded with role "query") rank all documents (role "key") by cosine, exactly and to a depth
    of 1,000; an empty document has a zero vector. Only queries with a relevant document count. Similarity, PairLabels:
    pairs are as similar as their cosine (no role). Labels: a classifier over the vectors of the training cells. Where
    a model's two sides read different kinds, such as pictures and texts, each column goes to the side that reads it.
    What no metric looks at is not embedded (`abilities.LooksAt`): the training cells, where classes are told by names.
    Language: the model's own tokens, some of them hidden (`evaluation.token_predictions`).

    Intervals come from a paired bootstrap that resamples whole clusters of rows that are not independent, and that
    counts what was not seen, too (`evaluation.intervals`): they are never of zero width, and with fewer than 15
    clusters there are none. They say how far the numbers might move with other rows of the same kind, not with another
    training run.

    alignment, uniformity, effective_rank, random_cosine and, between kinds of cells, modality_gap describe the
    embedding space and have no interval. They are computed on a sample (by `seed`) of at most 5,000 vectors, half of
    each side of the task where there are enough of both; alignment and modality_gap on at most 5,000 positive pairs: a
    query and its best-graded relevant documents, texts graded in the top fifth of the scale, pairs that are the same, a
    cell and a training cell of its class (another cell, where no metric looks at training cells).

    Args:
        model: anything with `embed(cells, role=...)` that returns unit vectors (n, d).
        task: one of `nf.tasks`; data sets and positives make them.
        metrics: metrics that take the task: parts (`nf.metrics.Knn(k=5)`), their names, or {"name": "knn", "k": 5}, one
            or a list; by default the usual ones of its type. Those of the embedding space go along.
        baselines: floors by name ("bm25", "bm25-stems", "majority", "pixels", "word-overlap", "random-order"), other
            models, or folders of models, one or a list; "none" or [] for none. A model is named by its folder, or
            "model 2" and so on. By default the usual floors of the task and, over classes and over cells that are no
            text, the same network with random weights, "untrained", where it can be made (`abilities.HasUntrained`).
        start: what the model was before it was trained (`judged_start`), the first of the baselines: "start" where it
            began from trained weights, else "untrained", in the place of random weights drawn anew.
        search: what searches with the model, such as `IndexSearch(index)`: judged on the task, too, beside the
            baselines and the model's vectors alone (`Report.search`), where it takes tasks of this type.
        fusion: also evaluate the reciprocal rank fusion of the model with each baseline (retrieval); of the usual
            floors, with the first alone. Not beside a search, which fuses in its own way.
        resamples: number of bootstrap resamples, at least 1; the time is proportional to it.
        seed: seed of the resamples and samples; the same seed gives the same report.
        look: also make what is to be looked at: the map, the values of each row and, of pictures, the contact sheet.

    Errors: `InputError`: a metric or baseline that is unknown or does not fit the task; an empty query; vectors that
    are not finite, by row; not a task.

    Example:
        >>> import nearfar as nf
        >>> rows = [{"query": f"where is item {i}", "key": f"item {i} is here"} for i in range(20)]
        >>> task = nf.positives.Columns(nf.data.Table(rows)).task("train")
        >>> encoder = nf.encoders.Static(dim=64, vocabulary=300)
        >>> encoder.prepare([task.queries, task.documents])
        >>> report = nf.evaluate(nf.Model(encoder), task)
        >>> sorted(report.difference["bm25"]["ndcg@10"])
        ['high', 'low', 'value']
    """
    if resamples < 1:
        raise InputError(f"evaluate: resamples must be at least 1, it is {resamples}; 2000 is usual")
    if not isinstance(task, Task):
        raise InputError(f"evaluate: a {type(task).__name__} is not a task; e.g. nf.data.Beir(folder).task() makes one")
    whole, chosen = task, metrics_of(task, metrics)
    columns = columns_looked_at(task, chosen)
    refuse_no_text_side(model, task, chosen)
    task = as_judged(model, task, seed)
    compared_with = baselines_of(task, baselines)
    if baselines is None and start is None:
        compared_with = {**untrained_floor(model, task), **compared_with}
    predictions = predictions_of(model, task, seed, columns)
    histogram = _histogram(predictions, task, seed)
    points, thumbnails = projection_map(task, predictions, seed) if look else ({}, {})
    sheet, tiles = contact_sheet(task, predictions, seed) if look else ({}, {})
    systems = {MODEL: measure(task, predictions, chosen)}
    del predictions  # its vectors may be large
    others, failed = _measured(task, compared_with, chosen, seed, columns, named=baselines is not None)
    if baselines is None and not others and (chance := floors_serving(task).get(CHANCE)) is not None:
        compared_with, others = {CHANCE: chance}, {CHANCE: measure(task, chance(task, seed), chosen)}
    systems |= ({start.name: start.measured} if start is not None else {}) | others
    names = [name for name in systems if name != MODEL]
    compared_with = {name: one for name, one in compared_with.items() if name in others}
    judge_search = search is not None and isinstance(task, search.takes)
    with_fusion = fusion and not judge_search
    fused = _fused(task, systems, compared_with, chosen, first_only=baselines is None) if with_fusion else {}
    pairs = {("difference", name): (MODEL, name) for name in names}
    for number, name in enumerate(fused):
        pairs["fusion_difference", name] = f"fusion {name}", name
        title = MODEL if number == 0 else f"model, of the fusion with {name}"
        pairs["fusion_difference", title] = f"fusion {name}", MODEL
    everyone = systems | {f"fusion {name}": measured for name, measured in fused.items()}
    compared = compare(everyone, pairs, task.clusters, resamples=resamples, seed=seed)
    drawn = {"resamples": resamples, "seed": seed}
    own, worst, worst_by = systems[MODEL], [], next(iter(systems[MODEL].rows), None)
    if isinstance(task, Retrieval) and own.ranking is not None and worst_by is not None:
        worst = worst_queries(task, own.ranking, own.rows[worst_by])
    report = Report(
        task=task.name,
        metrics=own.numbers,
        intervals=compared.intervals,
        baseline={name: systems[name].numbers for name in names},
        difference=compared.differences.get("difference", {}),
        fusion={name: measured.numbers for name, measured in fused.items()},
        fusion_difference=compared.differences.get("fusion_difference", {}),
        protocol=about_task(whole, task, resamples, seed)
        | _about(chosen, systems, fused, worst_by if worst else None, task.notes)
        | _looked_at(task, own)
        | ({"floors without a result": failed} if failed else {})
        | language_facts(task, {MODEL: model, **compared_with}),
        histogram=histogram,
        worst=worst,
        by_class=by_class(task, own.rows),
        projection_map=points,
        samples=_samples(task, systems, seed),
        sheet=sheet,
        pictures=thumbnails | tiles,
        rows=row_values(task, own.rows, compared.samples, own.ranking, system=MODEL, **drawn) if look else None,
    )
    if search is None or not judge_search:
        return report
    found = searched(search, task, systems, chosen, report, resamples=resamples, seed=seed)
    return replace(report, search=found)


def judged_start(
    model: Embedder, task: Task, metrics: Spec | Sequence[Spec] | None = None, *, name: str | None, seed: int = 0
) -> Start:
    """Return what a model makes of a task before it is trained, for `evaluate(..., start=...)` after that.

    Only its values are kept: training may then change the model in place. name: of what it began from ("minilm", a
    folder), None where its weights are random. Give metrics and seed as to `evaluate`; the errors are those of
    `evaluate`, too.
    """
    chosen = metrics_of(task, metrics)
    refuse_no_text_side(model, task, chosen)
    task = as_judged(model, task, seed)
    measured = measure(task, predictions_of(model, task, seed, columns_looked_at(task, chosen)), chosen)
    if name is None:
        about, key = {"what": "the network with the random weights that training began from"}, UNTRAINED
    else:
        about = {"name": name, "label": f"{name} before training", "what": "the model that training began from"}
        key = START
    return Start(replace(measured, ranking=None, about={**about, **measured.about}), key)


def _measured(
    task: Task,
    baselines: Mapping[str, Floor | Embedder],
    metrics: Sequence[Metric],
    seed: int,
    columns: Sequence[str],
    *,
    named: bool,
) -> tuple[dict[str, Measured], dict[str, str]]:
    """Return what the baselines come to, and why some of them come to nothing.

    columns: those whose vectors some metric looks at. named: by the user, so that what is wrong is an error. A usual
    floor that cannot read these cells is left out, and so is one that is the same as another here.
    """
    found: dict[str, Measured] = {}
    failed: dict[str, str] = {}
    for name, baseline in baselines.items():
        try:
            measured = measure(task, predictions_of_baseline(baseline, task, seed, columns), metrics)
        except InputError as error:
            if named:
                raise
            failed[name] = str(error)
            continue
        if not named and (twin := measured.about.get("same as")) in found:
            failed[name] = f"the same as {twin} ({measured.about['why']})"
        else:
            found[name] = measured
    return found, failed


def _histogram(predictions: Predictions, task: Task, seed: int) -> dict[str, list[Any]]:
    if not predictions.vectors:
        return {}
    left, right = sides_of(predictions.vectors)
    return space.histogram(left, right, positive_pairs(task, predictions.vectors, best=False, seed=seed), seed)


def _looked_at(task: Task, own: Measured) -> dict[str, int]:
    """Return how many queries have a first document that is not relevant: those that the worst ones are of."""
    if not isinstance(task, Retrieval) or own.ranking is None:
        return {}
    return {WRONG_FIRST: len(wrong_queries(task, own.ranking))}


def _samples(task: Task, systems: Mapping[str, Measured], seed: int) -> list[dict[str, Any]]:
    rankings = {name: one.ranking for name, one in systems.items() if one.ranking is not None}
    own = rankings.pop(MODEL, None)
    beside = {name: ranking for name, ranking in rankings.items() if name in ("bm25", "bm25-stems")}
    return sample_searches(task, own, beside, seed) if isinstance(task, Retrieval) and own is not None else []


def _fused(
    task: Task,
    systems: Mapping[str, Measured],
    baselines: Mapping[str, Floor | Embedder],
    metrics: Sequence[Metric],
    *,
    first_only: bool,
) -> dict[str, Measured]:
    """Return the fusions of the model's ranking with those of the baselines that have one, by baseline."""
    fused: dict[str, Measured] = {}
    for name, baseline in baselines.items():
        if fused and first_only:
            break
        rankings = [systems[system].ranking for system in (MODEL, name)]
        found = [one for one in rankings if isinstance(one, Ranking)]
        if len(found) == len(rankings) and (not isinstance(baseline, Floor) or baseline.fused):
            fused[name] = measure(task, Predictions(ranking=reciprocal_rank_fusion(found)), metrics)
    return fused


def _about(
    metrics: Sequence[Metric],
    systems: Mapping[str, Measured],
    fused: Mapping[str, Measured],
    worst_by: str | None,
    notes: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the part of the protocol that tells of systems and metrics. worst_by: whose lowest values were worst."""
    about: dict[str, Any] = {name: measured.about for name, measured in systems.items()}
    left_out = {name: measured.left_out for name, measured in systems.items() if measured.left_out}
    facts = {
        "model": about.pop(MODEL),
        "baselines": about,
        "difference": "model minus baseline, fusion minus baseline or model; in pairs, row by row",
        "fusion": "reciprocal rank fusion, constant 60, of the model's and the baseline's ranking" if fused else None,
        "metrics": {name: words for metric in metrics for name, words in metric.meaning.items()},
        "left out": left_out,  # what they have no part for, by system
        "worst": f"lowest {worst_by} first, then deepest first relevant document" if worst_by else None,
        "notes": notes,
    }
    return {name: fact for name, fact in facts.items() if name in ("baselines", "notes") or fact}
