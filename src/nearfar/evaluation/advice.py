"""What to try after a verdict, by the facts that a report holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from nearfar.evaluation.baseline_values import BEFORE, START, UNTRAINED, BaselineValue, ModelValue
from nearfar.figures import ALL_BUT_ONE, SEARCH, SEEN_DOCUMENTS, finite, mapping, number, outcome, pair_of, title

ENOUGH_PAIRS = 10_000  # with fewer, more training pairs are worth a try


def advice_of(own: ModelValue, baseline: BaselineValue, report: Mapping[str, Any]) -> str:
    """Return what to try, by the facts that there are."""
    if own.value >= ALL_BUT_ONE:
        return "The task is too easy to tell models apart: judge among more documents, or on harder rows."
    if baseline.outcome == "unknown":
        return f"Hold out more {own.rows} (data.heldout=..., or more data): a few hundred tell small differences."
    if baseline.name == UNTRAINED and (own.kept_start or baseline.outcome == "worse"):
        return "Look whether the space has collapsed; then try another training.learning_rate, or longer training."
    if own.kept_start and baseline.name == START:
        return _after_training(own.protocol)
    if baseline.outcome == "undecided":
        return _more_rows(own, baseline) + (" More pairs or steps may help." if baseline.name in BEFORE else "")
    if baseline.outcome == "worse":
        return _after_training(own.protocol) if baseline.name == START else _beside_floor(own, baseline, report)
    documents, seen = own.protocol.get("documents"), own.protocol.get(SEEN_DOCUMENTS)
    if isinstance(documents, int) and documents == seen:
        return "It has seen every document in training: judge it on new ones, too, before you rely on it there."
    return ""


def _more_rows(own: ModelValue, baseline: BaselineValue) -> str:
    """Return how many rows would decide: an interval's width falls with the square root of their number."""
    found, value, n = pair_of(baseline.gap), finite(baseline.gap.get("value")), own.independent
    if found is None or not value or n is None:
        return f"More held-out {own.rows} would decide."
    needed = max(n * ((found[1] - found[0]) / 2 / value) ** 2, 1.1 * n)
    if needed > 1_000 * n:
        return f"So small a difference no realistic number of {own.rows} would decide."
    two_digits = 10 ** (math.floor(math.log10(needed)) - 1)
    about = max(math.ceil(needed / two_digits) * two_digits, n + 1)
    return f"More held-out {own.rows} would decide: about {about:,.0f} for a difference of this size, there are {n:,}."


def _after_training(protocol: Mapping[str, Any]) -> str:
    """Return what to try where training made a model worse."""
    training = mapping(protocol.get("training"))
    rate, epochs, steps, pairs = (finite(training.get(key)) for key in ("learning_rate", "epochs", "steps", "pairs"))
    tries = [f"a smaller training.learning_rate{'' if rate is None else f' (it was {rate:g})'}"]
    if steps is not None:
        tries.append(f"fewer training.steps (there were {steps:,.0f})")
    else:
        many = epochs is not None and epochs > 1
        tries.append(f"fewer training.epochs (there were {epochs:g})" if many else "fewer steps (training.steps)")
    if pairs is None or pairs < ENOUGH_PAIRS:
        tries.append(f"more pairs{'' if pairs is None else f' (there were {pairs:,.0f})'}")
    if not training.get("mined negatives"):
        tries.append("mined negatives (training.refresh_every)")
    return f"Try {', '.join(tries)}; and look for faults in the data with nearfar audit."


def _beside_floor(own: ModelValue, baseline: BaselineValue, report: Mapping[str, Any]) -> str:
    """Return what to try where a baseline is better."""
    search = mapping(report.get(SEARCH))
    searched = finite(mapping(search.get("metrics")).get(own.metric))
    if searched is not None and mapping(search.get("verdict")).get("outcome") == "better":
        return f"Searched by words and these vectors together it is {title(own.metric)} {number(searched)}."
    fused = finite(mapping(mapping(report.get("fusion")).get(baseline.name)).get(own.metric))
    gain = mapping(mapping(mapping(report.get("fusion_difference")).get(baseline.name)).get(own.metric))
    if fused is not None and outcome(gain) == "better":
        figure = f"{title(own.metric)} {number(fused)}"
        return f"The fusion of the two rankings is better than {baseline.label} alone: {figure}."
    began = START in mapping(report.get("baseline"))
    other = "another model to start from" if began else "a pretrained model to start from (the recipe finetune)"
    tries = f"More training pairs, mined negatives or {other}"
    if baseline.name in (
        "pixels",
        "token-frequency",
        "neighbour-counts",
        "kneser-ney",
    ):  # where there are no pairs of texts
        tries = "Longer training, more data or a pretrained model to start from"
    return f"As it stands, {baseline.label} is the better choice here. {tries} may change that."
