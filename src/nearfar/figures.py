"""Names, numbers and sizes of a report as people read them: in sentences, on the terminal, on pages and in cards.

Its readers (`finite`, `mapping`, `pair_of`) take JSON that may lack any part or come from elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

MOST_DECIMALS = 6
ALL_BUT_ONE = 0.9995  # from here on three decimals show 1.000
_LEAST, _MOST = 1e-5, 1e15  # beyond these a number is only compared with them
METRICS = {  # where "@" stands comes the depth, else behind the name
    "mrr": "MRR", "ndcg": "nDCG", "map": "MAP", "recall": "Recall", "knn": "kNN", "spearman": "Spearman",
    "pearson": "Pearson", "knn_macro_f1": "kNN@ macro-F1", "knn_balanced": "kNN@ balanced", "fewshot": "Few-shot",
    "probe": "Linear probe", "probe_macro_f1": "Linear probe macro-F1", "probe_balanced": "Linear probe balanced",
    "knn_unknown_auroc": "kNN@ AUROC of unknown", "probe_unknown_auroc": "Linear probe AUROC of unknown",
    "zero_shot": "Zero-shot", "zero_shot_balanced": "Zero-shot balanced", "zero_shot_macro_f1": "Zero-shot macro-F1",
    "zero_shot_unknown_auroc": "Zero-shot AUROC of unknown", "hit_rate": "Hit rate", "modality_gap": "Modality gap",
    "pair_ap": "Average precision", "hidden_accuracy": "Accuracy of hidden tokens",
    "hidden_log_likelihood": "Log-likelihood of a hidden token", "hidden_perplexity": "Perplexity of hidden tokens",
    "next_log_likelihood": "Log-likelihood of the next token", "next_accuracy": "Accuracy of the next token",
    "perplexity": "Perplexity", "bits_per_byte": "Bits per byte",
    "pair_f1": "F1", "pair_accuracy": "Accuracy", "heldout_loss": "Held-out loss", "alignment": "Alignment",
    "uniformity": "Uniformity", "effective_rank": "Effective rank", "random_cosine": "Random cosine",
}  # fmt: skip
BASELINES = {
    "bm25": "BM25", "bm25-stems": "BM25 with stems", "word-overlap": "word overlap", "random-order": "chance",
    "token-frequency": "the frequencies of tokens", "neighbour-counts": "counts of both neighbours",
    "kneser-ney": "Kneser-Ney n-grams", "majority": "the most frequent class",
    "pixels": "raw pixels", "untrained": "the untrained network",
    "model": "the model alone", "vectors": "the vectors alone",
}  # fmt: skip
SIZES = {
    "queries": "query",
    "documents": "document",
    "cells": "cell",
    "training cells": "training cell",
    "texts": "text",
    "training texts": "training text",
    "hidden tokens": "hidden token",
    "next tokens": "next token",
    "classes": "class",
    "pairs": "pair",
    "dev pairs": "dev pair",
}  # with their singular: the sizes of a task in its protocol, in the order in which they are said
ROWS = ("queries", "cells", "pairs", "texts")  # what is judged, one of these in each kind of task
NO_CLASSES = "no classes"  # the name in a protocol of what could not be judged by, in a line
VECTORS = "vectors"  # the name of the model's vectors alone, beside a search
SEARCH = "search"  # what a report is of, if not of a model; the name of what it says of the search in its protocol
SYSTEM = "system"  # the name in a protocol of what a report is of
WRONG_FIRST = "queries with a wrong first document"  # the name in a protocol of how many of them there are
SEEN_DOCUMENTS = "documents seen in training"  # the name in a protocol of how many of them there are


def finite(value: Any) -> float | None:
    """Return a value as a float; None where it is no number, not finite, or too large to be meant."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e100 else None  # NaN is not below either


def mapping(value: Any) -> dict[str, Any]:
    """Return a mapping as it is; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def pair_of(interval: Any) -> tuple[float, float] | None:
    """Return the two bounds of an interval; None where one is missing or not finite."""
    low, high = (finite(mapping(interval).get(key)) for key in ("low", "high"))
    return None if low is None or high is None else (low, high)


def title(metric: str) -> str:
    """Return a metric's name as papers write it: MRR@10."""
    name, at, depth = metric.partition("@")
    written = METRICS.get(name, name)
    return written.replace("@", at + depth) if "@" in written else written + at + depth


def label_of(name: str, protocol: Mapping[str, Any]) -> str:
    """Return what people read for a baseline: "BM25"; "minilm before training" for "start"; else its name.

    protocol: the report's, whose "baselines" may give a label.
    """
    about = mapping(mapping(protocol.get("baselines")).get(name))
    return str(about.get("label") or BASELINES.get(name, name))


def counted(count: int, what: str) -> str:
    """Return a count with its noun: "1 query", "1,204 documents"; `what`: the plural, as the protocol has it."""
    return f"{count:,} {SIZES.get(what, what.removesuffix('s')) if count == 1 else what}"


def sizes(protocol: Mapping[str, Any]) -> str:
    """Return the sizes of a task from its protocol: "312 queries, 1,204 documents (963 seen in training)".

    What the protocol does not know is not mentioned. An empty text for a protocol without sizes.
    """
    found = []
    for what in SIZES:
        count = protocol.get(what)
        if isinstance(count, int):
            found.append(counted(count, what) + (_seen(protocol, count) if what == "documents" else ""))
    return ", ".join(found)


def _seen(protocol: Mapping[str, Any], documents: int) -> str:
    seen = protocol.get(SEEN_DOCUMENTS)
    if not isinstance(seen, int):
        return ""
    how_many = "none" if seen == 0 else "all" if seen == documents else f"{seen:,}"
    return f" ({how_many} seen in training)"


def number(value: float | None, *, sign: bool = False) -> str:
    """Return a number without an exponent: three decimals below 10, and fewer above.

    A small number is never shown as zero, nor one below 1 as 1: it gets more decimals, up to five; what is below
    0.00001 is compared with that. None is "-".

    Example:
        >>> [number(value) for value in (0.5864, 0.00009, 1e-7, 0.99996, 98.44, 51234.8)]
        ['0.586', '0.00009', '< 0.00001', '0.99996', '98.4', '51,235']
    """
    if value is None:
        return "-"
    size = abs(value)
    if 0 < size < _LEAST or size >= _MOST:
        return _beyond(value, sign)
    text = f"{size:,.{_decimals(size)}f}"
    if size and not float(text.replace(",", "")):
        text = short(size, 1)
    if size < 1 and text == "1.000":
        text = next((text for d in (4, 5) if (text := f"{size:.{d}f}")[0] == "0"), "0.99999")
    return _signed(text, value, sign)


def short(value: float, digits: int = 3) -> str:
    """Return a number in so many significant digits and at least its whole part, without zeros at the end."""
    size = abs(value)
    if not size:
        return "0"
    if size < _LEAST or size >= _MOST:
        return _beyond(value)
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    text = f"{size:,.{decimals}f}"
    return _signed(text.rstrip("0").rstrip(".") if "." in text else text, value)


def bounds(interval: Any, *, sign: bool = False) -> str:
    """Return an interval as "[0.690, 0.735]", with the decimals that tell its bounds apart; "" where there is none."""
    found = pair_of(interval)
    return "" if found is None else "[{}, {}]".format(*_alike(found, found, sign))


def outcome(interval: Any) -> str:
    """Return what the interval of a difference allows to say: better, worse, undecided; unknown without one."""
    found = pair_of(interval)
    if found is None:
        return "unknown"
    return "better" if found[0] > 0 else "worse" if found[1] < 0 else "undecided"


def difference(gap: Mapping[str, Any]) -> str:
    """Return a difference with its sign and interval, "+0.021 [+0.008, +0.034]"."""
    return f"{number(finite(gap.get('value')), sign=True)} {bounds(gap, sign=True)}".rstrip()


def distance(gap: Mapping[str, Any]) -> str:
    """Return a difference that excludes zero without its sign, "0.021 [0.008, 0.034]"; no number of it shows as 0."""
    found = pair_of(gap)
    value = abs(finite(gap.get("value")) or 0.0)
    if 0 < value < 10.0**-MOST_DECIMALS:
        return f"less than {10.0**-MOST_DECIMALS:.{MOST_DECIMALS}f}"
    if found is None:
        return number(value)
    ends = sorted(map(abs, found))
    return "{} [{}, {}]".format(*_alike([value, *ends], ends, sign=False))


def _alike(values: Sequence[float], apart: Sequence[float], sign: bool) -> list[str]:
    """Return numbers with equally many decimals: as many as tell `apart` apart and show none as zero that is not."""
    largest = max(map(abs, values))
    if largest >= _MOST:
        return [number(value, sign=sign) for value in values]
    fewest = _decimals(largest)

    def distinct(d: int) -> bool:
        return len({f"{value:.{d}f}" for value in apart}) == len(set(apart))

    enough = [d for d in range(fewest, MOST_DECIMALS + 1) if distinct(d)]
    d = next((d for d in enough if all(round(one, d) for one in values if one)), enough[0] if enough else fewest)
    texts = [f"{abs(value):,.{d}f}" for value in values]
    return [_signed(text, value if round(value, d) else 0.0, sign) for text, value in zip(texts, values)]


def _decimals(size: float) -> int:
    return 3 if size < 10 else 1 if size < 1000 else 0


def _beyond(value: float, sign: bool = False) -> str:
    """Return a comparison with the smallest or the largest number that is written out."""
    text = "0.00001" if abs(value) < 1 else f"{_MOST:,.0f}"
    inward = (abs(value) < 1) == (value > 0)
    return ("< " if inward else "> ") + _signed(text, value, sign)


def _signed(text: str, value: float, sign: bool = False) -> str:
    return ("-" if value < 0 else "+" if sign and value > 0 else "") + text
