"""What the folder of a run recorded, read for a comparison with others: results, rows, settings, the course."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from nearfar.contracts import Values
from nearfar.errors import InputError
from nearfar.evaluation.intervals import StatisticSample
from nearfar.evaluation.measure import MODEL
from nearfar.evaluation.row_values import ROWS_FILE, RowValues
from nearfar.figures import SEARCH, mapping
from nearfar.reports.course import course_of
from nearfar.reports.results import further_splits, parsed_object, refuse_wrong_types, results_of, searches

TaskKey = tuple[str, str, str]  # the name of a task, its kind, and what was judged on it: "model" or "search"
_DEEPEST, _MOST_SETTINGS = 20, 10_000  # levels of a recipe, and its settings
_MOST_RESAMPLES = 100_000
FIX = "train the run again to write it anew"


class _Sample(TypedDict):
    whole: float | None
    resampled: list[float | None]
    without: list[float | None]


class _Row(TypedDict, total=False):
    text: str
    id: str
    label: str
    rank: int | None
    expected: list[int]
    found: list[int]
    relevant: list[bool]


class _Task(TypedDict):
    task: str
    kind: str
    system: str
    parts: dict[str, str]
    clusters: list[int]
    resamples: int
    seed: int
    values: dict[str, list[float | None]]
    samples: dict[str, _Sample]
    rows: list[_Row]
    documents: list[str]


class _Rows(TypedDict):
    tasks: list[_Task]


@dataclass(frozen=True)
class RunRecord:
    """A run to compare.

    name: what it is called; no other run of the comparison is called so. reports: by what was judged, its numbers in
    the shape of `evaluate`'s JSON. rows: likewise the values of each row; {} of a run that kept none. settings: of the
    recipe, by path. course: of training, as `course.course_of` gives it.
    """

    name: str
    folder: Path
    reports: Mapping[TaskKey, Mapping[str, Any]]
    rows: Mapping[TaskKey, RowValues]
    settings: Mapping[str, Any]
    course: Mapping[str, Any]


def run_records(folders: Sequence[Path]) -> list[RunRecord]:
    """Return what some runs recorded, under the names of their folders; the whole paths where two are called alike.

    Errors: `InputError`: a folder that is given twice; no folder of a run, or of one that was not judged; results, rows
    or a recipe that are damaged, by file and field.
    """
    places = [folder.resolve() for folder in folders]
    twice = next((folder for i, folder in enumerate(folders) if places[i] in places[:i]), None)
    if twice is not None:
        raise InputError(f"{twice}: given twice; a run compared with itself differs in nothing")
    short = [place.name for place in places]
    names = short if len(set(short)) == len(short) else list(map(str, folders))
    return [_record(name, folder) for name, folder in zip(names, folders, strict=True)]


def _record(name: str, folder: Path) -> RunRecord:
    if not (folder / "results.json").is_file():
        raise InputError(f"{folder}: no results.json, so no judged run; nearfar train and nearfar demo write one")
    results = results_of(folder)
    reports = dict(_reports(results))
    if not reports:
        raise InputError(f"{folder}: its results.json holds no metrics of a task; name a run that was judged")
    events: list[dict[str, Any]] = []
    if (folder / "events.jsonl").is_file():
        with (folder / "events.jsonl").open(encoding="utf-8", errors="replace") as file:
            events = [event for line in file if (event := parsed_object(line))]
    return RunRecord(name, folder, reports, _rows(folder), _settings(folder / "recipe.yaml"), course_of(events))


def _reports(results: dict[str, Any]) -> Iterator[tuple[TaskKey, Mapping[str, Any]]]:
    """Yield the numbers of each task, the search's before the model's, as the page of a run has them."""
    of_model = [results, *further_splits(results).values()]
    for system, reports in ((SEARCH, list(searches(results).values())), (MODEL, of_model)):
        for report in reports:
            if report.get("metrics") and report.get("task"):
                kind = mapping(report.get("protocol")).get("kind")
                yield (str(report["task"]), str(kind or ""), system), report


def _settings(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        recipe = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InputError(f"{file}: is no YAML that can be read; {FIX}") from error
    return dict(islice(flat(mapping(recipe)), _MOST_SETTINGS))  # aliases of YAML may name more than memory holds


def flat(value: Any, path: str = "", deep: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield the settings of a recipe by path: data.heldout, evaluate.0.name; what is empty by its own path."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not inner or deep > _DEEPEST:
        yield path, value
        return
    for key, one in inner:
        yield from flat(one, f"{path}.{key}" if path else str(key), deep + 1)


def _rows(folder: Path) -> dict[TaskKey, RowValues]:
    file = folder / ROWS_FILE
    if not file.is_file():
        return {}
    content = parsed_object(file.read_text(encoding="utf-8-sig", errors="replace"))
    if not content:
        raise InputError(f"{file}: not a JSON object; {FIX}")
    refuse_wrong_types(_Rows, content, str(file))
    found = [_row_values(given, f"{file}: tasks.{i}") for i, given in enumerate(content["tasks"])]
    return {(one.task, one.kind, one.system): one for one in found}


def _row_values(given: _Task, where: str) -> RowValues:
    """Return the rows of a task. Errors: those of `_refuse_damaged`."""
    _refuse_damaged(given, where)
    return RowValues(
        given["task"],
        given["kind"],
        given["system"],
        given["parts"],
        np.array(given["clusters"], np.int64),
        given["resamples"],
        given["seed"],
        {name: _array(values) for name, values in given["values"].items()},
        {
            name: StatisticSample(_number(one["whole"]), _array(one["resampled"]), _array(one["without"]))
            for name, one in given["samples"].items()
        },
        [dict(row) for row in given["rows"]],
        given["documents"],
    )


def _refuse_damaged(given: _Task, where: str) -> None:
    """Refuse rows of a task that cannot be. Errors: `InputError`: lists that are not of the task's n rows, by name."""
    n, most = len(given["clusters"]), len(given["documents"])
    lengths = {"rows": len(given["rows"])} | {f"values.{name}": len(of) for name, of in given["values"].items()}
    wrong = next((name for name, length in lengths.items() if length != n), None)
    if wrong is not None or not n:
        raise InputError(f"{where}.{wrong or 'clusters'}: holds {lengths.get(wrong or '', n)} rows of {n}; {FIX}")
    if not all(0 <= cluster < n for cluster in given["clusters"]):
        raise InputError(f"{where}.clusters: holds a number that is none of {n} rows' clusters; {FIX}")
    if not 1 <= given["resamples"] <= _MOST_RESAMPLES or given["seed"] < 0:
        raise InputError(f"{where}: resamples or seed out of range; {FIX}")
    for name, one in given["samples"].items():
        if len(one["resampled"]) not in (0, given["resamples"]):
            raise InputError(f"{where}.samples.{name}: of {len(one['resampled'])} resamples, not all; {FIX}")
    for i, row in enumerate(given["rows"]):
        places = [*row.get("expected", []), *row.get("found", [])]
        if not all(0 <= place < most for place in places) or len(row.get("found", [])) != len(row.get("relevant", [])):
            raise InputError(f"{where}.rows.{i}: names documents that are not there; {FIX}")


def _array(values: Sequence[float | None]) -> Values:
    return np.array([_number(value) for value in values], np.float64)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
