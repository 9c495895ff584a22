"""The rows of a contrastive run with and without hiding before it, over seeds, and what they differ by."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from _hiding_data import FEW, code, few_pairs, review_sentences, reviews
from _machine import Bound, bound, fresh, once, tell
from rich.table import Table
from scipy.stats import spearmanr

Numbers = dict[str, Any]
Values = npt.NDArray[np.float64]
ALONE, LONGER = "contrast alone", "contrast alone, minutes of both"
MASKED, RETROMAE = "masked, then contrast", "retromae, then contrast"
ASKED = {"sts": 0.03, "code": 0.02, "few": 0.02}  # with hiding beyond without: Spearman, MRR@10
TITLES = {
    "sts": "STS-B test, Spearman",
    "code": "docstring to code, MRR@10",
    "few": f"docstring to code, {FEW:,} pairs, MRR@10",
}


class Rows:
    """The processes of a study, each done once and kept in the folder of work."""

    def __init__(self, script: str, study: str, given: Any, work: Path) -> None:
        self.script, self.study, self.given, self.work = script, study, given, work
        self.texts = "sts" if study == "sts" else "code"  # whose networks are trained by hiding: those of code, of few
        if study == "sts":
            self.pile, self.pairs = reviews(given.data, work / "imdb"), review_sentences(given.data, work)
        else:
            files = code(work / "code")
            self.pile, self.pairs = files["texts"], few_pairs(files["pairs"]) if study == "few" else files["pairs"]

    def values(self, row: str, seed: int) -> Any:
        """Return what each row of the test gets from a row of the table."""
        if row == "floor":
            return self._judged({"floor": True})
        start, contrasted = row.split(", then ")[0], "contrast" in row
        hides = start in ("masked", "retromae")
        model = self._hidden(start, seed)["model"] if hides else self._untaught(seed)
        if contrasted:
            done = self._contrasted(model, seed, longer=row == LONGER)
            tell(f"{self.study}, {row}, seed {seed}: dev {done['dev before']:.3f} to {max(done['dev']):.3f}")
            model = done["model"]
        return self._judged({"model": model})

    def _judged(self, what: Numbers) -> Any:
        task = {"part": "judge", "study": self.study, "data": str(self.given.data), "work": str(self.work), **what}
        return self._once(f"judged-{self.study}", task)["values"]

    def _once(self, name: str, task: Numbers) -> Numbers:
        return once(self.work, name, task, partial(fresh, self.script, task))

    def _hidden(self, recipe: str, seed: int) -> Numbers:
        """Return a run of hiding of the minutes asked for."""
        name, own = {"masked": ("masked_language", "start"), "retromae": ("retromae", "retromae")}[recipe]
        settings = [f"data.path={self.pile}", "data.heldout=0", *self.given.shared, *self.given.hide[own]]
        steps = self._steps(f"{recipe}-{self.texts}", name, settings, self.given.minutes)
        seeds = [f"training.seed={seed}", f"encoder.seed={seed}"]
        out = str(self.work / f"{self.texts}-{recipe}-{seed}")
        task = {"part": "train", "recipe": name, "settings": [*settings, *seeds, f"training.steps={steps}"], "out": out}
        return self._once(f"{recipe}-{self.texts}-{seed}", task)

    def _untaught(self, seed: int) -> str:
        settings = [f"data.path={self.pile}", "data.heldout=0", *self.given.shared, *self.given.hide["start"]]
        out = str(self.work / f"{self.texts}-untaught-{seed}")
        task = {"part": "untaught", "recipe": "masked_language", "settings": [*settings, f"encoder.seed={seed}"]}
        return str(self._once(f"untaught-{self.texts}-{seed}", {**task, "out": out})["model"])

    def _contrasted(self, model: str, seed: int, *, longer: bool) -> Numbers:
        recipe, *own = self.given.contrast[self.study]
        settings = [f"data.path={self.pairs}", "data.heldout=0", *own]
        minutes = self.given.contrast_minutes + (self.given.minutes if longer else 0)
        begin = [*settings, f"encoder.model={self._untaught(0)}"]
        steps = self._steps(f"contrast-{self.study}", recipe, begin, minutes)
        start = model.removeprefix(str(self.work)).strip("/").replace("/", "-")
        name = "contrast" if self.study == self.texts else f"{self.study}-contrast"
        out = str(self.work / f"{start}-{name}-{seed}-{steps}{'-longer' if longer else ''}")
        task = {
            **{"part": "contrast", "study": self.study, "recipe": recipe, "out": out, "data": str(self.given.data)},
            "settings": [*settings, f"encoder.model={model}", f"training.seed={seed}", f"training.steps={steps}"],
            **{"work": str(self.work), "looks": self.given.looks * (1 + 2 * longer)},
        }
        return self._once(f"contrast-{self.study}-{seed}", task)

    def _steps(self, name: str, recipe: str, settings: list[str], minutes: float) -> int:
        """Return the steps of so many minutes, by the rate of a short run, which wants an idle machine."""
        return steps_of(self.script, name, recipe, settings, minutes, self.work)


def steps_of(script: str, name: str, recipe: str, settings: list[str], minutes: float, work: Path) -> int:
    """Return the steps of so many minutes."""
    task = {"part": "rate", "recipe": recipe, "settings": settings, "out": str(work / f"rate-{name}")}
    rate = once(work, f"rate-{name}", task, partial(fresh, script, task))["steps a second"]
    return max(10, int(rate * 60 * minutes) // 10 * 10)


def study(script: str, name: str, given: Any, work: Path) -> tuple[Numbers, list[Bound], Table]:
    """Return what every row of a study gave, what was promised, and a table.

    What earlier results have of a row and seed is not measured again. A difference is that of the seeds of both rows.
    """
    rows = Rows(script, name, given, work)
    by_row: dict[str, dict[int, Values]] = {row: {} for row in ("floor", *given.rows)}
    for path in given.before:
        for row, seeds in json.loads(path.read_text(encoding="utf-8"))[name]["values"].items():
            by_row.setdefault(row, {}).update({int(seed): _values(text) for seed, text in seeds.items()})
    by_row["floor"][0] = np.asarray(rows.values("floor", 0))
    for seed in given.seeds:
        for row in given.rows:
            if seed not in by_row[row]:
                by_row[row][seed] = np.asarray(rows.values(row, seed))
    figure = spearman if name == "sts" else np.mean
    of_seeds = {row: [float(figure(v)) for v in each.values()] for row, each in by_row.items() if each}
    told = {
        row: {"value": float(np.mean(each)), "by seed": dict(zip(by_row[row], each, strict=True))}
        for row, each in of_seeds.items()
    }
    differences = {}
    for first, other in (
        *((MASKED, other) for other in (ALONE, LONGER, "masked")),
        *((RETROMAE, other) for other in (ALONE, LONGER, MASKED, "retromae")),
        (ALONE, "untaught"),
    ):
        one, two = by_row.get(first, {}), by_row.get(other, {})
        if both := sorted(one.keys() & two.keys()):
            gap = difference([one[seed] for seed in both], [two[seed] for seed in both], figure)
            differences[f"{first} minus {other}"] = {**gap, "seeds": both}
    bounds = []
    for other in (ALONE, LONGER):
        if (found := differences.get(f"{MASKED} minus {other}")) is not None:
            bounds.append(bound(f"{TITLES[name]}: {MASKED} minus {other}", found["value"], ASKED[name], least=True))
            bounds.append(bound("  lower end of the interval", found["low"], 0.0, least=True))
    values = {row: {seed: _line(v) for seed, v in each.items()} for row, each in by_row.items() if each}
    about = {"rows": told, "differences": differences, "values": values}
    return about, bounds, shown(name, told, differences)


def _line(values: Values) -> str:
    """Return what each row of the test gets as a line of a result, which `_values` reads."""
    return "; ".join(" ".join(f"{value:.4g}" for value in part) for part in np.atleast_2d(values))


def _values(line: str) -> Values:
    parts = np.array([part.split() for part in line.split(";")], np.float64)
    return parts[0] if len(parts) == 1 else parts


def spearman(values: Values) -> float:
    """Return Spearman's correlation of cosines and scores (2, n)."""
    return float(spearmanr(values[0], values[1]).statistic)


def difference(first: list[Values], other: list[Values], figure: Callable[..., Any], resamples: int = 1_000) -> Numbers:
    """Return the difference of means over seeds, with its paired interval of a bootstrap over the test's rows."""
    random, n = np.random.default_rng(0), first[0].shape[-1]

    def gap(rows: Any) -> float:
        one, two = (np.mean([figure(each[..., rows]) for each in side]) for side in (first, other))
        return float(one - two)

    draws = [gap(random.integers(0, n, n)) for _ in range(resamples)]
    low, high = np.percentile(draws, [2.5, 97.5])
    return {"value": gap(slice(None)), "low": float(low), "high": float(high)}


def shown(name: str, told: Numbers, differences: Numbers) -> Table:
    """Return a study's table."""
    table = Table(title=TITLES[name])
    for column in ("", "mean", "seeds"):
        table.add_column(column, justify="right" if column else "left")
    for row, each in told.items():
        table.add_row(row, f"{each['value']:.3f}", " ".join(f"{v:.3f}" for v in each["by seed"].values()))
    for row, gap in differences.items():
        table.add_row(row, f"{gap['value']:+.3f}", f"[{gap['low']:+.3f}, {gap['high']:+.3f}]")
    return table
