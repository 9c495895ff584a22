"""The verdict on a model: what its numbers allow to say beside the strongest baseline, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nearfar.evaluation.advice import advice_of
from nearfar.evaluation.baseline_values import BEFORE, BaselineValue, ModelValue, baseline_values
from nearfar.figures import difference, distance, finite, mapping, number, pair_of, sizes, title

# The order of metrics. The first one that was measured carries the verdict, so that none is picked for its result;
# metrics that are not named here follow in the order of the results. Of all of them a higher value is better.
QUALITY = ("mrr@10", "ndcg@10", "map", "recall@1", "recall@10", "recall@100", "spearman", "pearson")
GEOMETRY = (
    "alignment",
    "uniformity",
    "effective_rank",
    "random_cosine",
    "modality_gap",
)  # they describe the space, and judge nothing
HELDOUT_LOSS = "heldout_loss"  # nor does a loss, which is compared with that of the same run only
COLLAPSED = "Look whether the space has collapsed: the tiles or rows uniformity, effective_rank and random_cosine tell."
TRAINED_ON = "trained on"  # the note of a task that says which of its rows the model was trained on
_ORDER = ("worse", "undecided", "unknown", "better")  # of several comparisons the first of these is the outcome


def in_order(metrics: Iterable[str]) -> list[str]:
    """Return the names of the metrics that judge a model, the usual ones first; not the geometry's, nor a loss."""
    names = list(metrics)
    return [
        name for name in dict.fromkeys((*QUALITY, *names)) if name in names and name not in (*GEOMETRY, HELDOUT_LOSS)
    ]


def verdict(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the verdict on a model, a function of a report's numbers alone.

    It is about one metric, the first of `in_order` that was measured, beside the baseline that is strongest by it.
    Where training began from a model that was judged, too, and did not make it better, the first sentence says so.

    Args:
        report: the JSON of a `Report`: metrics, intervals, baseline, difference, fusion_difference, protocol.

    Returns a mapping: sentence; metric and against, the names of the two; outcome: better, worse, undecided (the
    interval of the difference holds zero) or unknown (there is none, or nothing to compare with); value, low and high:
    of the difference to `against`; advice: what to try, maybe empty; sizes: of the task, in words.

    Example:
        >>> gap = {"mrr@10": {"value": 0.1, "low": 0.05, "high": 0.15}}
        >>> numbers = {"metrics": {"mrr@10": 0.6}, "baseline": {"bm25": {"mrr@10": 0.5}}, "difference": {"bm25": gap}}
        >>> verdict(numbers)["sentence"]
        'Better than BM25: MRR@10 0.600, 0.100 [0.050, 0.150] above it.'

    When not to use it: to choose among many models on one task, whose best one is the best partly by chance.
    """
    metrics, protocol = mapping(report.get("metrics")), mapping(report.get("protocol"))
    metric = next(iter(in_order(metrics)), None)
    found: dict[str, Any] = dict.fromkeys(("sentence", "metric", "against"))
    found |= {"outcome": "unknown", "value": None, "low": None, "high": None, "advice": ""}
    if metric is None:
        return found | {"sentence": "Nothing was measured that judges a model.", "sizes": sizes(protocol)}
    if finite(metrics[metric]) is None:
        sentence = f"Nothing can be said: {title(metric)} cannot be computed, as where all vectors are alike."
        return found | {"sentence": sentence, "metric": metric, "advice": COLLAPSED, "sizes": sizes(protocol)}
    baselines = baseline_values(report, metric)
    start = next((baseline for baseline in baselines if baseline.name in BEFORE), None)
    strongest = max(baselines, key=lambda baseline: baseline.value, default=None)  # of equal ones the first
    own = ModelValue(metric, float(metrics[metric]), mapping(mapping(report.get("intervals")).get(metric)), protocol)
    if strongest is None:
        sentence = f"{own.figure}{own.among}; there is nothing to compare it with."
        found["advice"] = (
            "Judge it beside a baseline; without --baseline the usual ones of the task stand in the table."
        )
    else:
        sentence = _sentence(own, baselines, strongest, start)
        decisive = min(
            (one for one in (start, strongest) if one is not None), key=lambda one: _ORDER.index(one.outcome)
        )
        low, high = pair_of(decisive.gap) or (None, None)
        found |= {"against": decisive.name, "outcome": decisive.outcome, "low": low, "high": high}
        found |= {"value": finite(decisive.gap.get("value")), "advice": advice_of(own, decisive, report)}
    if caution := mapping(protocol.get("notes")).get(TRAINED_ON):
        sentence = f"{caution} {sentence}"
    return found | {"sentence": sentence, "metric": metric, "sizes": sizes(protocol)}


def _sentence(
    own: ModelValue, baselines: Sequence[BaselineValue], strongest: BaselineValue, start: BaselineValue | None
) -> str:
    if strongest.outcome == "unknown" and (start is None or start.outcome == "unknown"):
        return _nothing_to_say(own, strongest, start)
    if start is not None and start.outcome == "better" and strongest.outcome == "unknown":
        better = f"Training made it better: {own.figure}, {distance(start.gap)} above {start.label}{own.among}."
        return f"{better} Nothing can be said beside {strongest.label}, {number(strongest.value)}."
    if start is None or start is strongest or start.outcome in ("better", "unknown"):
        first = _beside(own, baselines, strongest)
        trained = start is not None and start is not strongest and start.outcome == "better"
        if trained and strongest.outcome != "better":
            assert start is not None
            first += f" Training made it better: {distance(start.gap)} above {start.label}."
        return first
    too = ", too" if start.outcome == "worse" else ""
    second = {
        "worse": f" It is worse than {strongest.label}{too}: {distance(strongest.gap)} below it.",
        "better": f" It is better than {strongest.label}: {distance(strongest.gap)} above it.",
        "undecided": f" Nor can it be told from {strongest.label}, the strongest baseline: "
        f"{difference(strongest.gap)}.",
        "unknown": f" Nothing can be said beside {strongest.label}, {number(strongest.value)}.",
    }
    return _beside_start(own, start) + second[strongest.outcome]


def _nothing_to_say(own: ModelValue, strongest: BaselineValue, start: BaselineValue | None) -> str:
    two = [strongest] if start is None or start is strongest else [start, strongest]
    others = [f"{one.label} {number(one.value)}" for one in two]
    return f"Nothing can be said: {own.too_few}. On these: {own.figure}, {', '.join(others)}{own.among}."


def _beside_start(own: ModelValue, start: BaselineValue) -> str:
    """Return the sentence of a model that training did not make better."""
    if own.kept_start:
        return f"No step of training beat {start.label}, so it was kept: {own.figure}{own.among}."
    if start.outcome == "worse":
        return f"Training made it worse: {own.figure}, {distance(start.gap)} below {start.label}{own.among}."
    return (
        f"Training did not make it better, as far as can be told: {own.figure}, a difference of "
        f"{difference(start.gap)} to {start.label}{own.among}."
    )


def _beside(own: ModelValue, baselines: Sequence[BaselineValue], strongest: BaselineValue) -> str:
    """Return the sentence of a model beside the strongest baseline."""
    if strongest.name in BEFORE and (strongest.outcome != "better" or len(baselines) == 1):
        if strongest.outcome != "better":
            return _beside_start(own, strongest)
        return f"Training made it better: {own.figure}, {distance(strongest.gap)} above {strongest.label}{own.among}."
    n, end = len(baselines), f"{own.among}."
    which = strongest.label if n == 1 else f"{strongest.label}, the strongest of {n} baselines"
    if strongest.outcome == "worse":
        return f"Worse than {which}: {own.figure}, {distance(strongest.gap)} below it{end}"
    if strongest.outcome == "undecided":
        return f"Cannot be told from {which}: {own.figure}, a difference of {difference(strongest.gap)}{end}"
    if n == 1 or any(baseline.outcome != "better" for baseline in baselines):
        return f"Better than {which}: {own.figure}, {distance(strongest.gap)} above it{end}"
    all_of_them = "both" if n == 2 else f"all {n}"
    gap = f"{distance(strongest.gap)} above the strongest, {strongest.label}"
    return f"Better than {all_of_them} baselines: {own.figure}, {gap}{end}"
