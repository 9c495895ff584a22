"""nearfar lab: what theory says, drawn on the user's own model and data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nearfar.cli import Json, Quiet, emit
from nearfar.cli._early import refuse_data, refuse_model, reserve_folder
from nearfar.cli._table_settings import Delimiter, Overrides, reading
from nearfar.storage.folders import json_safe

if TYPE_CHECKING:
    from nearfar.lab.measure import LabPairs, ShortTraining
    from nearfar.model import Model


USUAL = 0.05  # the temperature that is marked where the model's own is not recorded
app = typer.Typer(
    help="Draw what theory says on your own model and data.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _group() -> None:
    """Keep a group of one command a group."""


@app.command()
def temperature(
    model: Annotated[str, typer.Argument(help="A model's folder.")],
    data: Annotated[str, typer.Argument(help="A table of pairs, or a BEIR folder.")],
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder of temperature.html and temperature.json.")] = Path("runs/lab"),
    taus: Annotated[str, typer.Option(help="Temperatures of the short trainings.")] = "0.02,0.05,0.1,0.2,0.5,1",
    steps: Annotated[int, typer.Option(help="Steps of each short training; 0 for none.", min=0)] = 60,
    rows: Annotated[int, typer.Option(help="Pairs to measure on, at most.", min=1)] = 1024,
    query: Annotated[str | None, typer.Option(help="The table's column of queries.")] = None,
    key: Annotated[str | None, typer.Option(help="The table's column of keys.")] = None,
    delimiter: Delimiter = None,
    label: Annotated[str | None, typer.Option(help="Column of the table with the classes of keys.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of data that has several.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Default: that of the model's recipe, or 0.01.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the pairs drawn and of the trainings.", min=0)] = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Show what temperature does to the loss and to the space.

    Curves over the temperature: on which negatives the gradient falls. Then a short training at each of some
    temperatures, and what becomes of the space. Writes a page with figures.
    """
    refuse_model(model)
    read = reading(overrides, delimiter=delimiter, query=query, key=key)
    refuse_data(data, split or "test", delimited="delimiter" in read.data)
    reserve_folder(out)
    from nearfar.lab import measure
    from nearfar.lab.page import page, show_lab
    from nearfar.model import Model
    from nearfar.storage.folders import write_json, write_text

    chosen, loaded = _temperatures(taus), _one_encoder(model)
    settings = measure.ShortTraining(steps, _learning_rate(loaded, learning_rate), seed)
    material = measure.draw_pairs(
        loaded, data, read, split=split, label=label, rows=rows, train=steps * measure.BATCH, seed=seed
    )
    fixed = None if _recipe_number(loaded, "loss", "learnable") else _recipe_number(loaded, "loss", "temperature")
    facts = _about(model, material, settings, label) | {"temperature": fixed or USUAL, "from_recipe": fixed is not None}
    facts |= measure.curves(Model(loaded.encoder, {}), material, [*chosen, fixed or USUAL])
    if steps:
        facts |= measure.trainings(model, material, chosen, settings, quiet=quiet)
    facts = {**json_safe(facts), "page": str(out / "temperature.html")}
    write_json(out / "temperature.json", facts)
    write_text(out / "temperature.html", page(facts))
    emit(facts, as_json, lambda: show_lab(facts))


def _temperatures(taus: str) -> list[float]:
    """Return the temperatures of a list with commas, each once, ascending."""
    import math

    from nearfar.errors import InputError

    found = set()
    for word in taus.split(","):
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise InputError(
                f"--taus {taus}: {word.strip()!r} is no temperature; give numbers above 0, as 0.05,0.1,0.5"
            )
        found.add(value)
    return sorted(found)


def _one_encoder(name: str) -> Model:
    """Return a text model with one encoder for both sides."""
    from nearfar.abilities import TwoSided
    from nearfar.errors import InputError
    from nearfar.evaluation import sources

    loaded = sources.text_model(name, "the laboratory reads tables of text")
    if isinstance(loaded.encoder, TwoSided):
        raise InputError(f"{name}: a model of two towers; the laboratory measures one encoder: give a model with one")
    return loaded


def _recipe_number(loaded: Model, section: str, setting: str) -> float | None:
    """Return a setting of the recipe that trained the model; None where it is not recorded, or no number above 0."""
    value: Any = loaded.notes.get("recipe")
    for key in (section, setting):
        value = value.get(key) if isinstance(value, dict) else None
    return float(value) if isinstance(value, int | float) and value > 0 else None


def _learning_rate(loaded: Model, given: float | None) -> float:
    from nearfar.errors import InputError
    from nearfar.training.settings import Settings

    if given is not None and not 0 < given < float("inf"):
        raise InputError(f"--learning-rate must be a number above 0, it is {given:g}")
    return given or _recipe_number(loaded, "training", "learning_rate") or Settings().rate


def _about(model: str, material: LabPairs, settings: ShortTraining, label: str | None) -> dict[str, Any]:
    """Return what was measured, on what and how, in words and numbers."""
    from nearfar.lab.measure import batch_size

    protocol: dict[str, Any] = {
        "pairs of the data": material.pairs,
        "pairs measured on": len(material.measured),
        "seed": settings.seed,
        "similarity": "inner product of unit vectors, in float64; query-to-key",
        "negatives": "all other keys of the sample, without copies and without other answers of the same query",
    }
    if material.training is not None:
        protocol["short trainings"] = {
            "from": "the model's weights, for each temperature anew",
            "loss": "InfoNCE, symmetric",
            "steps": settings.steps,
            "pairs a step": batch_size(material),
            "pairs to train on": len(material.training),
            "shared with those measured on": "no text",
            "learning rate": settings.learning_rate,
            "mrr@10": "among the keys of the sample only; never compare it across samples of another size",
            "interval": "95 %, over queries, not over trainings",
        }
    kind = f"keys of one {label}" if label else "a query and its keys"
    return {"model": model, "data": material.name, "tolerance_of": kind, "protocol": protocol}
