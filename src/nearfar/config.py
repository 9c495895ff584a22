"""From a recipe to its parts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from nearfar import registry
from nearfar.contracts import Data, Encoder, Loss, Positives
from nearfar.errors import InputError, nearest
from nearfar.mining.scheduled import ScheduledMiner
from nearfar.recipes import Recipe, load
from nearfar.training.mixture import mix
from nearfar.training.settings import Settings

__all__ = ["Recipe", "RecipeParts", "build", "dumped", "load", "plain", "resolved"]
PACKAGES = {"data": "data", "positives": "positives", "encoder": "encoders", "loss": "losses"}


@dataclass(frozen=True)
class RecipeParts:
    """A recipe's parts, built.

    data: the data set, the first where the recipe has several. positives: those of the data set; of several data sets
    their `Mixture`, whose splits are called "1/heldout". evaluate: what to judge by, {"name": metric, "split": split}
    and the metric's settings. refresh: the miner of negatives during training, where `training` asks for one. of_split:
    returns the positives of a split, made as those of the training rows are. seconds: the time that building took.
    """

    data: Data
    positives: Positives
    encoder: Encoder
    loss: Loss
    training: dict[str, Any]
    evaluate: list[dict[str, Any]]
    refresh: ScheduledMiner | None = None
    of_split: Callable[[str], Positives] | None = None
    seconds: float = 0.0


def build(recipe: Recipe) -> RecipeParts:
    """Build a recipe's parts. A user's own recipe may name parts from outside, as `package.module:Class`.

    `data` may be a list of data sets; `positives` then is for each, or is a list as long.

    Errors: `InputError` for an unknown part or setting, with the nearest known one; a value of another type.
    """
    began = time.perf_counter()
    checked = resolved(recipe)  # what is wrong stops here, before anything is read

    def part(section: str, where: str, spec: Any, **context: Any) -> Any:
        return registry.build(PACKAGES[section], spec, section=where, outside=True, **context)

    encoder = part("encoder", "encoder", checked["encoder"])
    loss = part("loss", "loss", checked["loss"], dim=encoder.dim)
    data = [part("data", where, spec) for where, spec in _entries("data", checked["data"])]
    specs = _entries("positives", checked["positives"])
    specs = specs if isinstance(checked["positives"], list) else specs * len(data)  # one for all, or one for each
    positives = [
        part("positives", where, spec, data=rows, encoder=encoder)
        for (where, spec), rows in zip(specs, data, strict=True)
    ]
    training = checked["training"]
    mixed = mix(positives, apart=training["apart"])
    refresh = ScheduledMiner(**checked["mining"]) if _mines(training) else None

    def of_split(split: str) -> Positives:
        number, sign, name = split.partition("/")
        d, name = (int(number), name) if len(data) > 1 and sign and number.isdecimal() else (0, split)
        where, spec = specs[d]
        built: Positives = part("positives", where, spec, data=data[d].split(name), encoder=encoder)
        return built

    seconds = time.perf_counter() - began
    return RecipeParts(data[0], mixed, encoder, loss, training, checked["evaluate"], refresh, of_split, seconds)


def resolved(recipe: Recipe) -> Recipe:
    """Return the recipe with every default written out, as a run keeps it: it re-runs to the same numbers.

    Errors: those of `build`, as far as they show without reading any data.
    """
    result: Recipe = {}
    for section, package in PACKAGES.items():
        specs = [_completed(package, where, spec) for where, spec in _entries(section, recipe.get(section) or {})]
        result[section] = specs if isinstance(recipe.get(section), list) else specs[0]
    _refuse_unequal(result["data"], result["positives"])
    training = Settings(**registry.coerce(Settings, recipe.get("training") or {}, "training"))
    result |= {"training": asdict(training)} | _mining(recipe, asdict(training))
    return {**result, "evaluate": _tasks(recipe.get("evaluate") or [])}


def _mining(recipe: Recipe, training: Mapping[str, Any]) -> Recipe:
    """Return {"mining": its settings, defaults included}, or {} where nothing is mined.

    Errors: `InputError` for a section without the steps at which to mine.
    """
    given = recipe.get("mining")
    if given is None and not _mines(training):
        return {}
    if given is not None and not {"refresh_every", "refresh_first"} & (recipe.get("training") or {}).keys():
        raise InputError("mining: when? give training.refresh_every=..., in steps; 0 for never")
    return {"mining": asdict(ScheduledMiner(**registry.coerce(ScheduledMiner, given or {}, "mining")))}


def _mines(training: Mapping[str, Any]) -> bool:
    return bool(training["refresh_every"] or training["refresh_first"])


def _entries(section: str, specs: Any) -> list[tuple[str, Any]]:
    """Return a section's parts, each with its place in the recipe."""
    if not isinstance(specs, list):
        return [(section, specs)]
    return [(f"{section}.{i}", spec) for i, spec in enumerate(specs)]


def _completed(package: str, where: str, spec: Any) -> dict[str, Any]:
    """Return one part's spec with every default written out."""
    part, given = registry.checked(package, spec, section=where, outside=True)
    known = registry.recipe_settings(package, part)
    for key, inner in registry.nested(part).items():
        if isinstance(given.get(key), Mapping):
            given[key] = _completed(inner, f"{where}.{key}", given[key])
    return {"name": str(spec["name"]), **{key: given.get(key, p.default) for key, p in known.items()}}


def _refuse_unequal(data: Any, positives: Any) -> None:
    n, m = (len(specs) if isinstance(specs, list) else 1 for specs in (data, positives))
    if isinstance(positives, list) and n != m:
        raise InputError(f"positives: a list of {m} for {n} of data; give one for each, or a single one for all")


def _tasks(entries: list[Any]) -> list[dict[str, Any]]:
    """Return what to judge by, with every default written out: each entry a metric, its settings and its split."""
    completed = []
    for i, entry in enumerate(entries):
        where = f"evaluate.{i}"
        if not isinstance(entry, Mapping) or "name" not in entry:
            known = ", ".join(registry.names("metrics"))
            raise InputError(f"{where}: write {{name: metric, split: split, setting: value}}; metrics: {known}")
        part = registry.find("metrics", str(entry["name"]), outside=True)
        settings = {"name", "split", *registry.recipe_settings("metrics", part)}
        for key in entry:
            if key not in settings:
                raise InputError(f"{where}: no setting {key!r}; {nearest(str(key), settings)}")
        spec = {key: value for key, value in entry.items() if key != "split"}
        completed.append({**_completed("metrics", where, spec), "split": str(entry.get("split", "heldout"))})
    return completed


def dumped(recipe: Recipe, versions: Mapping[str, str]) -> str:
    """Return a recipe as YAML, with the versions that ran it."""
    return str(yaml.safe_dump({**plain(recipe), "versions": dict(versions)}, sort_keys=False, allow_unicode=True))


def plain(value: Any) -> Any:
    """Return nested settings as plain values: paths and the like become text."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value if isinstance(value, int | float | str | bool | type(None)) else str(value)
