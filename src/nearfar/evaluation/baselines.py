"""What a model is compared with: floors and other models; those that are named, checked, or else the usual floors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nearfar import registry
from nearfar.abilities import EmbedsColumns, ServesSome, folder_of, untrained_of
from nearfar.column import column_kind
from nearfar.contracts import Floor, Predictions
from nearfar.errors import InputError, nearest
from nearfar.evaluation.baseline_values import BEFORE, START, UNTRAINED
from nearfar.evaluation.measure import MODEL, Measured
from nearfar.evaluation.predictions import predictions_of
from nearfar.tasks import Labels, Task, between_kinds, columns_of, kind_of_task
from nearfar.vectors.embed import Embedder

FLOORS = "evaluation.floors"
Baseline = str | Path | Embedder


@dataclass(frozen=True)
class Start:
    """What a model was before training, judged on a task then; see `evaluate.judged_start`.

    name: of the baseline, "start" where it began from trained weights, "untrained" where they were random.
    """

    measured: Measured
    name: str = START


def chosen_baselines(given: Baseline | Sequence[Baseline] | None) -> list[str | Embedder] | None:
    """Return the baselines that are named: floors by their names, with dashes, and models; [] for none.

    given: the name of a floor, with dashes or underscores; a model's folder; a model; "none", which adds nothing; or a
    list of these. None, which stays None, is the usual floors of each task.

    Errors: `InputError`: a name that is neither a floor's nor a folder, with the nearest floor; what is no model; those
    of `Model.load`.
    """
    if given is None:
        return None
    several = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    chosen = [_chosen(one) for one in several]
    return [one for one in chosen if not isinstance(one, str) or one != "none"]


def _chosen(one: Baseline) -> str | Embedder:
    if isinstance(one, str) and (one == "none" or _dashed(one) in floor_names()):
        return _dashed(one)
    if isinstance(one, str | Path):
        from nearfar.encoders.pretrained.folder import is_pretrained  # slow to import
        from nearfar.model import Model

        if not Path(one).exists() and not is_pretrained(str(one)):
            fix = nearest(_dashed(str(one)), [*floor_names(), "none"])
            raise InputError(f"evaluate: no baseline is called {str(one)!r}; {fix}; or a model, or its folder")
        return Model.load(one)
    if not isinstance(one, Embedder):
        raise InputError(
            f"evaluate: a {type(one).__name__} is no baseline; give the name of a floor, a model, or its folder"
        )
    return one


def floor_names() -> list[str]:
    """Return the names of the floors, as reports have them: with dashes."""
    return [_dashed(name) for name in registry.names(FLOORS)]


def floor(name: str) -> Floor:
    """Return a floor by its name, with dashes or underscores. Errors: `InputError`: it lacks what a floor must have."""
    built: Floor = registry.build(FLOORS, {"name": name.replace("-", "_")})
    return built


def floors_serving(task: Task) -> dict[str, Floor]:
    """Return the floors that serve a task, by name: those that take its type, read its cells and do not decline it."""
    kinds = _kinds(task)  # read once for all floors
    floors = {name: floor(name) for name in floor_names()}
    return {
        name: one
        for name, one in floors.items()
        if isinstance(task, one.takes)
        and (not one.reads or kinds <= set(one.reads))
        and (not isinstance(one, ServesSome) or one.serves(task))
    }


def usual_floors(task: Task) -> dict[str, Floor]:
    """Return the usual floors of a task; where none of them reads its cells, the first that serves it."""
    able = floors_serving(task)
    usual = {name: one for name, one in able.items() if isinstance(task, one.usual)}
    return usual or dict(list(able.items())[:1])


def has_untrained_floor(task: Task) -> bool:
    """Return whether the untrained network is a floor of a task: of classes, of cells that are no text, between kinds.

    Random convolutions tell pictures apart to a degree, so what is not above that was not learnt. The same is true of
    two towers: pretrained ones under layers that are not trained say what chance is in the table.
    """
    return isinstance(task, Labels) or between_kinds(task) or "text" not in _kinds(task)


def untrained_floor(model: Embedder, task: Task) -> dict[str, Embedder]:
    """Return a model's network with random weights, by its name; {} where there is none or it is no floor here."""
    from nearfar.model import Model  # slow to import

    if not has_untrained_floor(task) or not isinstance(model, Model):
        return {}
    encoder = untrained_of(model.encoder)
    return {} if encoder is None else {UNTRAINED: Model(encoder)}


def baselines_of(task: Task, given: Baseline | Sequence[Baseline] | None) -> dict[str, Floor | Embedder]:
    """Return what a model is compared with, under distinct names: the given floors and models, or the usual floors.

    Errors: `InputError`: those of `chosen_baselines`; a floor that cannot serve the task, with those that can.
    """
    chosen = chosen_baselines(given)
    if chosen is None:
        return dict(usual_floors(task))
    able = floors_serving(task) if any(isinstance(one, str) for one in chosen) else {}
    by_name: dict[str, Floor | Embedder] = {}
    for one in chosen:
        if isinstance(one, str):
            if one not in able:
                raise InputError(cannot_serve(one, task, able))
            by_name[one] = able[one]  # given twice, it counts once
            continue
        stem = name = str(folder_of(one) or "model")
        taken, number = {MODEL, *BEFORE, *by_name}, 2  # "model" is the one under evaluation
        while name in taken:
            name, number = f"{stem} {number}", number + 1
        by_name[name] = one
    return by_name


def predictions_of_baseline(baseline: Floor | Embedder, task: Task, seed: int, columns: Sequence[str]) -> Predictions:
    """Return what a floor or another model makes of a task; columns: whose vectors some metric looks at."""
    if not isinstance(baseline, Floor):
        return predictions_of(baseline, task, seed, columns)
    return baseline.of_columns(task, seed, columns) if isinstance(baseline, EmbedsColumns) else baseline(task, seed)


def cannot_serve(name: str, task: Task, able: Iterable[str]) -> str:
    """Return what is wrong with a floor for a task that only those in `able` serve."""
    one = floor(name)
    if isinstance(one, ServesSome) and isinstance(task, one.takes) and not one.serves(task):
        return f"evaluate: {name} cannot judge {task.name}: this model is asked for other tokens; {_listed(able)} can"
    reads = " or ".join(one.reads) or "any cells"
    return (
        f"evaluate: {name} cannot judge {task.name}, a task of {kind_of_task(task)} over "
        f"{' and '.join(sorted(_kinds(task)))}: it serves {' and '.join(map(kind_of_task, one.takes))} over {reads}; "
        f"{_listed(able)} can"
    )


def _listed(able: Iterable[str]) -> str:
    return ", ".join(able) or "no floor"


def _kinds(task: Task) -> set[str]:
    """Return the kinds of a task's cells, as its columns declare them, or else of their first cells."""
    return {kind for column in columns_of(task).values() if (kind := column_kind(column)) is not None}


def _dashed(name: str) -> str:
    return name.replace("_", "-")
