"""From a recipe to its parts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from nearfar import recipes, registry
from nearfar.abilities import LEARNT, learnt_of
from nearfar.coerce import fitted
from nearfar.compute.scheduled import Scheduled
from nearfar.contracts import Data, Encoder, Head, Loss, Objective, Positives
from nearfar.errors import InputError, nearest
from nearfar.mining.scheduled import ScheduledMiner
from nearfar.model import Model
from nearfar.recipes import BESIDE, PACKAGES, Recipe, load
from nearfar.recipes.yaml_text import as_yaml
from nearfar.training.mixture import mix
from nearfar.training.settings import Settings, refuse_lone_examples
from nearfar.training.ship import Ship, refuse_unknown_ship
from nearfar.training.train_module import HEADS, refuse_unknown_heads

__all__ = ["Recipe", "RecipeParts", "build", "dumped", "load", "plain", "resolved"]


@dataclass(frozen=True)
class RecipeParts:
    """A recipe's parts, built.

    data: the data set, the first where the recipe has several. positives: those of the data set; of several data sets
    their `Mixture`, whose splits are called "1/heldout". evaluate: what to judge by, {"name": metric, "split": split}
    and the metric's settings. refresh: the miner of negatives during training, where `training` asks for one. of_split:
    returns the positives of a split, made as those of the training rows are. heads, objective, objective_weight, ship:
    see `training.fit.fit`. seconds: the time that building took.
    """

    data: Data
    positives: Positives
    encoder: Encoder
    loss: Loss | None
    training: dict[str, Any]
    evaluate: list[dict[str, Any]]
    heads: dict[str, Head] = field(default_factory=dict)
    objective: Objective | None = None
    objective_weight: float = 1.0
    ship: Ship = "encoder"
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
    torch.manual_seed(checked["training"]["seed"])  # of weights that constructors draw

    def part(section: str, where: str, spec: Any, **context: Any) -> Any:
        return registry.build(PACKAGES[section], spec, section=where, outside=True, **context)

    encoder = part("encoder", "encoder", checked["encoder"])
    heads = _heads(checked.get("heads", {}), encoder.dim)
    dim = heads["projection"].dim if "projection" in heads else encoder.dim
    loss = part("loss", "loss", _with_learnt(checked["loss"], encoder), dim=dim) if "loss" in checked else None
    beside, own = _split_objective(checked.get("objective", {}))
    objective = part("objective", "objective", own, encoder=encoder) if own else None
    sources, specs = _entries("data", checked["data"]), _entries("positives", checked["positives"])
    specs = specs if isinstance(checked["positives"], list) else specs * len(sources)  # one for all, or one for each
    data = [
        part("data", where, spec, in_use=_columns_of(reader))
        for (where, spec), (_, reader) in zip(sources, specs, strict=True)
    ]
    positives = [
        part("positives", where, spec, data=rows, encoder=encoder, load_model=Model.load)
        for (where, spec), rows in zip(specs, data, strict=True)
    ]
    training = checked["training"]
    mixed = mix(positives, apart=training["apart"])
    refresh = ScheduledMiner(**checked["mining"]) if _mines(training) else None

    def of_split(split: str) -> Positives:
        number, sign, name = split.partition("/")
        d, name = (int(number), name) if len(data) > 1 and sign and number.isdecimal() else (0, split)
        where, spec = specs[d]
        rows = data[d].split(name)
        built: Positives = part("positives", where, spec, data=rows, encoder=encoder, load_model=Model.load)
        return built

    seconds = time.perf_counter() - began
    return RecipeParts(
        data=data[0],
        positives=mixed,
        encoder=encoder,
        loss=loss,
        training=training,
        evaluate=checked["evaluate"],
        heads=heads,
        objective=objective,
        objective_weight=beside.get("weight", 1.0),
        ship=checked.get("ship", "encoder"),
        refresh=refresh,
        of_split=of_split,
        seconds=seconds,
    )


def _with_learnt(spec: Mapping[str, Any], encoder: Encoder, where: str = "loss") -> dict[str, Any]:
    """Return a loss's spec with the numbers of the encoder's folder where it says "learnt".

    Errors: `InputError` for an encoder that brings no such number.
    """
    known, filled = learnt_of(encoder), dict(spec)
    for key, value in spec.items():
        if isinstance(value, Mapping):
            filled[key] = _with_learnt(value, encoder, f"{where}.{key}")
        elif value == LEARNT and key not in known:
            raise InputError(
                f"{where}.{key}={LEARNT}: the encoder brings no {key}; folders of CLIP have a temperature, those of "
                "SigLIP also a bias (encoder.name=dual encoder.model=FOLDER); give a number"
            )
        elif value == LEARNT:
            filled[key] = known[key]
    return filled


def _columns_of(spec: Mapping[str, Any]) -> list[str]:
    """Return the columns that positives are told to read; a split shares no text of these. Others are recognised."""
    given = [spec.get(role) or [] for role in ("query", "key", "negative", "column")]
    return [name for names in given for name in ([names] if isinstance(names, str) else names)]


def _heads(specs: Mapping[str, Any], dim: int) -> dict[str, Head]:
    """Return the heads; the prediction takes what the projection returns."""
    heads: dict[str, Head] = {}
    for name in HEADS:
        if name in specs:
            head: Head = registry.build("heads", specs[name], section=f"heads.{name}", outside=True, dim=dim)
            heads[name], dim = head, head.dim
    return heads


def resolved(recipe: Recipe) -> Recipe:
    """Return the recipe with every default written out, as a run keeps it: it re-runs to the same numbers.

    Errors: those of `build`, as far as they show without reading any data.
    """
    result: Recipe = {}
    given = {**recipe, **_positives_without_loss(recipe)}
    for section, package in PACKAGES.items():
        if section in ("loss", "objective") and not recipe.get(section) and recipe.get("objective"):
            continue  # an objective may be trained alone
        if section == "objective":
            result |= _objective(recipe)
            continue
        specs = [_completed(package, where, spec) for where, spec in _entries(section, given.get(section) or {})]
        result[section] = specs if isinstance(given.get(section), list) else specs[0]
    _refuse_unequal(result["data"], result["positives"])
    if heads := recipe.get("heads") or {}:
        refuse_unknown_heads(heads)
        result["heads"] = {name: _completed("heads", f"heads.{name}", spec) for name, spec in heads.items()}
    if "ship" in recipe:
        refuse_unknown_ship(recipe["ship"])
        result["ship"] = recipe["ship"]
    training = Settings(**registry.coerced_settings(Settings, recipe.get("training") or {}, "training"))
    if "loss" in result:
        refuse_lone_examples(training)
    result |= {"training": training.plain()} | _mining(recipe, training.plain())
    return {**result, "evaluate": _metrics(recipe.get("evaluate") or [])}


def _positives_without_loss(recipe: Recipe) -> Recipe:
    """Return what positives are by default, where an objective is trained alone: rows without pairs."""
    alone = recipe.get("objective") and not recipe.get("loss")
    return {"positives": {"name": "unpaired"}} if alone and not recipe.get("positives") else {}


def _objective(recipe: Recipe) -> Recipe:
    """Return the section objective with every default, {} without one. Errors: `InputError` for a weight."""
    if not recipe.get("objective"):
        return {}
    beside, own = _split_objective(recipe["objective"])
    weight = fitted(float, beside.get("weight", 1.0), "objective.weight")
    if not 0 < weight < math.inf:
        raise InputError(f"objective.weight must be a number above zero, it is {weight}")
    return {"objective": {**_completed("objectives", "objective", own), "weight": weight}}


def _split_objective(spec: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what stands beside the objective's own settings, and those."""
    beside = {key: value for key, value in spec.items() if key in recipes.BESIDE["objective"]}
    return beside, {key: value for key, value in spec.items() if key not in beside}


def _mining(recipe: Recipe, training: Mapping[str, Any]) -> Recipe:
    """Return {"mining": its settings, defaults included}, or {} where nothing is mined.

    Errors: `InputError` for a section without the steps at which to mine.
    """
    given = recipe.get("mining")
    if given is None and not _mines(training):
        return {}
    if given is not None and not {"refresh_every", "refresh_first"} & (recipe.get("training") or {}).keys():
        raise InputError("mining: when? give training.refresh_every=..., in steps; 0 for never")
    return {"mining": asdict(ScheduledMiner(**registry.coerced_settings(ScheduledMiner, given or {}, "mining")))}


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
    for key, mark in registry.lists(part).items():
        entries = enumerate(given.get(key, known[key].default))
        given[key] = [_completed_entry(mark, f"{where}.{key}.{i}", entry) for i, entry in entries]
    return {"name": str(spec["name"]), **{key: given.get(key, p.default) for key, p in known.items()}}


def _completed_entry(mark: registry.PartsOf, where: str, entry: Any) -> dict[str, Any]:
    """Return one entry of a list of parts with every default written out."""
    if isinstance(entry, mark.record):
        return registry.settings_of_record(mark, entry)
    known = registry.settings(mark.record)
    own = {key: entry.get(key, known[key].default) for key in mark.fields[1]}
    spec = {key: value for key, value in entry.items() if key not in own}
    return (_completed(mark.package, where, spec) if spec else {}) | own


def _refuse_unequal(data: Any, positives: Any) -> None:
    n, m = (len(specs) if isinstance(specs, list) else 1 for specs in (data, positives))
    if isinstance(positives, list) and n != m:
        raise InputError(f"positives: a list of {m} for {n} of data; give one for each, or a single one for all")


def _metrics(entries: list[Any]) -> list[dict[str, Any]]:
    """Return what to judge by, with every default written out: each entry a metric, its settings and its split."""
    completed = []
    for i, entry in enumerate(entries):
        where = f"evaluate.{i}"
        if not isinstance(entry, Mapping) or "name" not in entry:
            known = ", ".join(registry.names("metrics"))
            raise InputError(f"{where}: write {{name: metric, split: split, setting: value}}; metrics: {known}")
        part = registry.find("metrics", str(entry["name"]), outside=True)
        settings = {"name", *BESIDE["evaluate"], *registry.recipe_settings("metrics", part)}
        for key in entry:
            if key not in settings:
                raise InputError(f"{where}: no setting {key!r}; {nearest(str(key), settings)}")
        spec = {key: value for key, value in entry.items() if key not in BESIDE["evaluate"]}
        own = {"split": str(entry.get("split", "heldout"))}
        if "direction" in entry:
            own["direction"] = str(entry["direction"])
        completed.append({**_completed("metrics", where, spec), **own})
    return completed


def dumped(recipe: Recipe, versions: Mapping[str, str]) -> str:
    """Return a recipe as YAML, with the versions that ran it."""
    return as_yaml({**plain(recipe), "versions": dict(versions)})


def plain(value: Any) -> Any:
    """Return nested settings as plain values: paths and the like become text."""
    if isinstance(value, Scheduled):
        return value.plain()
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value if isinstance(value, int | float | str | bool | type(None)) else str(value)
