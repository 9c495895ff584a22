"""What a run's results.json holds, checked field by field: what has the wrong type would be missing on the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from nearfar.errors import InputError
from nearfar.figures import SEARCH, mapping

Figures = dict[str, float | None]  # null is a number that could not be computed


class _Interval(TypedDict, total=False):
    low: float | None
    high: float | None


class _Difference(_Interval, total=False):
    value: float | None


class _Histogram(TypedDict, total=False):
    edges: list[float | None]
    positive: list[float | None]
    random: list[float | None]


class _Judged(TypedDict, total=False):
    """The numbers of one split; what is not named here is shown as it is, or not at all."""

    task: str
    metrics: Figures
    intervals: dict[str, _Interval]
    baseline: dict[str, Figures]
    difference: dict[str, dict[str, _Difference]]
    fusion: dict[str, Figures]
    fusion_difference: dict[str, dict[str, _Difference]]
    protocol: dict[str, Any]
    histogram: _Histogram
    worst: list[dict[str, Any]]
    samples: list[dict[str, Any]]
    projection_map: dict[str, Any]
    sheet: dict[str, Any]
    search: dict[str, Any]


class _Results(_Judged, total=False):
    """The numbers of a run, and those of its first split."""

    pairs: float | None
    train_pairs_per_second: float | None
    peak_memory_mb: float | None
    seconds: float | None
    warnings: list[str]
    views: dict[str, Any]


def results_of(folder: Path) -> dict[str, Any]:
    """Return what `results.json` of a run's folder holds; nothing where there is no such file.

    Errors: `InputError`: it is not a JSON object, or a field of it, which is named, has the wrong type.
    """
    file = folder / "results.json"
    if not file.is_file():
        return {}
    results = parsed_object(file.read_text(encoding="utf-8-sig", errors="replace"))
    if not results:
        raise InputError(f"{file}: not a JSON object with results; evaluate the run again to write it anew")
    refuse_wrong_types(_Results, results, str(file))
    for split, numbers in further_splits(results).items():
        refuse_wrong_types(_Judged, numbers, str(file), split)
    for split, numbers in searches(results).items():
        refuse_wrong_types(_Judged, numbers, str(file), split, SEARCH)
    return results


def further_splits(results: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of all splits but the first, by name: they stand under it, in the shape of the whole."""
    others = ("protocol", SEARCH)  # of the first split
    return {key: value for key, value in results.items() if key not in others and "metrics" in mapping(value)}


def searches(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the numbers of the search on each split where it was judged, in the shape of a split, by its name."""
    splits = {str(results.get("task") or ""): results, **further_splits(results)}
    found = {split: mapping(mapping(numbers).get(SEARCH)) for split, numbers in splits.items()}
    return {split: numbers for split, numbers in found.items() if "metrics" in numbers}


def parsed_object(text: str) -> dict[str, Any]:
    """Return a JSON object; an empty one for anything else."""
    try:
        return mapping(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def refuse_wrong_types(kind: Any, value: dict[str, Any], where: str, *split: str) -> None:
    """Raise an `InputError` that names the first field of `value` which has not the type that `kind` gives it.

    where: the file. split: the names of the fields above.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, (*split, *first["loc"])))[:120]
        given = first["input"]
        shown = "a list" if isinstance(given, list) else "an object" if isinstance(given, dict) else repr(given)[:60]
        raise InputError(
            f"{where}: {field} holds {shown}: {first['msg']}; evaluate the run again to write it anew"
        ) from error
