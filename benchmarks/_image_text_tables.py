"""The tables of recipes over pictures and captions, each beside its floors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from _image_text_judge import FIGURES, chance, classes, of_classes, over_seeds
from rich.table import Table

PICTURES, OF_EACH = 1_000, 5


def recall_table(rows: Mapping[str, Any], limit: int | None) -> Table:
    """Return R@k both ways, in percent, with the interval over pictures and the seconds of training."""
    pictures = PICTURES if limit is None else min(limit, PICTURES)
    shown = Table(title=f"Flickr8k test, {pictures:,} pictures with {OF_EACH * pictures:,} captions, R@k in percent")
    for name in ("", *FIGURES, "s of fit", "s of the process"):
        shown.add_column(name, justify="right" if name else "left")
    floor = chance(pictures, OF_EACH)
    shown.add_row("chance", *(f"{100 * floor[name]:.1f}" for name in FIGURES), "", "")
    for name, row in rows.items():
        shown.add_row(name, *(_cell(row["figures"][figure]) for figure in FIGURES), *_seconds(row))
    return shown


def figures(named: Mapping[str, Any], given: Any) -> dict[str, Any]:
    """Return for each row the accuracy with its interval over pictures, that of each class, and facts of training."""
    task = classes(Path(given.data), given.pictures)
    found: dict[str, Any] = {"chance": {"value": 1 / len(task.classes)}}
    for name, row in named.items():
        by_class = of_classes(task, np.mean(row["hits"], axis=0).tolist())
        found[name] = {**over_seeds(row["hits"], np.arange(len(task.labels))), "by class": by_class}
        found[name] |= {"facts": row["facts"]} if "facts" in row else {}
    return found


def zero_shot_table(found: Mapping[str, Any]) -> Table:
    """Return the accuracy of each row, in percent, over seeds."""
    shown = Table(title="CIFAR-10 test by the names of its classes, accuracy in percent")
    for name in ("", "accuracy", "seeds, lowest to highest"):
        shown.add_column(name, justify="right" if name else "left")
    for name, row in found.items():
        spread = f"{100 * row['least']:.1f} to {100 * row['most']:.1f}" if "least" in row else ""
        shown.add_row(name, _cell(row), spread)
    return shown


def class_table(found: Mapping[str, Any]) -> Table:
    """Return the share of each class's pictures that are told, in percent."""
    rows = {name: row["by class"] for name, row in found.items() if "by class" in row}
    shown = Table(title="CIFAR-10 test by the names of its classes, percent of each class that is told")
    shown.add_column("")
    for name in next(iter(rows.values())):
        shown.add_column(name, justify="right")
    for name, values in rows.items():
        shown.add_row(name, *(f"{100 * value:.0f}" for value in values.values()))
    return shown


def _cell(figure: Mapping[str, float]) -> str:
    value = f"{100 * figure['value']:.1f}"
    return rf"{value} \[{100 * figure['low']:.1f}, {100 * figure['high']:.1f}]" if "low" in figure else value


def _seconds(row: Mapping[str, Any]) -> tuple[str, str]:
    told = row.get("facts")
    if not told:
        return "", ""
    names = ("seconds of fit", "seconds of the process")
    one, other = (f"{np.mean([fact[name] for fact in told]):.0f}" for name in names)
    return one, other
