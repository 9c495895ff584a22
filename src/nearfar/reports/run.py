"""The page of a run: its metrics with their intervals, and the course of training, in one file that loads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from nearfar.errors import InputError
from nearfar.figures import finite, mapping
from nearfar.reports.course import course_of
from nearfar.reports.page import template
from nearfar.reports.results import further_splits, parsed_object, results_of, searches
from nearfar.reports.searched import searched
from nearfar.reports.section import entries, section_of
from nearfar.reports.sheets import Sprites, pictures_of, view_sheet
from nearfar.reports.use import use_lines
from nearfar.storage import folders


def page(
    results: dict[str, Any],
    events: list[dict[str, Any]],
    use: Sequence[tuple[str, str]] = (),
    pictures: Mapping[str, bytes] | None = None,
) -> str:
    """Return the HTML page of a run.

    Every text is untrusted: it is escaped, and cut where it is very long.

    Args:
        results: the content of `results.json` (the shape of `evaluate`; further splits have that shape again, under
            their names), all of it optional; "recipe" (its text or the mapping) and "run" (a name or a folder) are
            shown too. A number that is null or not finite shows as a dash.
        events: the lines of `events.jsonl`, in the order written; of a repeated step the later line counts.
        use: lines to copy, each with what it is for (`use_lines`).
        pictures: the files that contact sheets, maps and views name; what is not there is not shown.
    """
    recipe = results.get("recipe") or ""
    text = recipe if isinstance(recipe, str) else yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
    # Only the rows of installed packages are modules and functions; anything else is data and answers.
    packages = "unseen" in results or "name: python_packages" in text
    sprites = Sprites(pictures or {})
    views = view_sheet(mapping(results.get("views")), sprites)
    sections = [section_of(results, str(results.get("task") or ""), sprites)]
    sections += [section_of(of_split, split, sprites) for split, of_split in further_splits(results).items()]
    of_search = searches(results)
    search = [section_of(numbers, split, sprites) for split, numbers in of_search.items()]
    log = course_of(events)
    log["warnings"] = log["warnings"] or [(None, message) for message in entries(results.get("warnings"))]
    run = {"name": Path(str(results.get("run") or "")).name, "recipe": text, "packages": packages}
    run["unit"] = unit if (unit := results.get("unit")) in ("texts", "rows") else "pairs"
    run |= {key: finite(results.get(key)) for key in ("pairs", "train_pairs_per_second", "seconds")}
    shown = {"sections": sections, "search": search, "searched": searched(of_search)}
    return template("page.html.j2").render(run=run, log=log, use=use, views=views, sprites=sprites, **shown)


def write_page(folder: Path) -> Path:
    """Write `report.html` into a run's folder from its results, recipe and events, and return its path.

    Errors: `InputError`: a folder with none of the three, or whose `results.json` is damaged (`results_of`).
    """
    recipe_file, events_file = folder / "recipe.yaml", folder / "events.jsonl"
    if not any(file.is_file() for file in (folder / "results.json", recipe_file, events_file)):
        raise InputError(f"{folder}: no results.json, recipe.yaml or events.jsonl; name the folder of a run")
    results = results_of(folder)
    results["run"] = folder.resolve().name
    if recipe_file.is_file():
        results["recipe"] = recipe_file.read_text(encoding="utf-8", errors="replace")
    events: list[dict[str, Any]] = []
    if events_file.is_file():
        with events_file.open(encoding="utf-8", errors="replace") as file:  # a crash leaves half a line: skipped
            events = [event for line in file if (event := parsed_object(line))]
    try:
        text = page(results, events, use_lines(folder / "model"), pictures_of(folder))
    except RecursionError as error:
        raise InputError(f"{folder}: what results.json holds is nested too deeply; evaluate the run again") from error
    folders.write_text(target := folder / "report.html", text)
    return target
