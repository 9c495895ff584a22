"""nearfar views: what a recipe's augmentations make of the data, before anyone trains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nearfar.cli import Json, emit
from nearfar.cli._early import refuse_recipe, reserve
from nearfar.errors import InputError
from nearfar.printable import show


def command(
    recipe: Annotated[str, typer.Argument(help="A recipe's name (nearfar list recipes) or a YAML file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings by path: data.path=PICTURES.")] = None,
    out: Annotated[Path, typer.Option(help="The sheet of pictures: a page, or a .png.")] = Path("runs/views.html"),
    n: Annotated[int, typer.Option("-n", help="Examples, at most those of a batch.", min=1, max=64)] = 12,
    epochs: Annotated[int, typer.Option(help="Show their views in so many epochs.", min=1, max=16)] = 3,
    as_json: Json = False,
) -> None:
    """Show the views that a recipe would train on.

    They are those of the run to the last bit: the first examples of its first batch, changed as its seed will change
    them. Pictures are a sheet in --out, texts are printed. Nothing is trained.
    """
    if out.suffix.lower() not in (".html", ".png"):
        raise InputError(f"--out {out}: a sheet is a page or a picture; give a name that ends in .html or .png")
    refuse_recipe(recipe, overrides or [])
    reserve(out)
    from nearfar import config
    from nearfar.abilities import augmented_views
    from nearfar.pictures.sprite import MOST_TILES
    from nearfar.reports import views
    from nearfar.training.seen_views import seen_views

    chosen = config.load(recipe, overrides or [])
    parts = config.build(chosen)
    if not augmented_views(parts.positives):
        raise InputError(
            f"{recipe}: no view is changed by an augmentation, so there is nothing to see before training; nearfar "
            "train RECIPE --dry-run shows a batch"
        )
    seen = seen_views(parts.encoder, parts.positives, most=n, in_epochs=range(epochs), **parts.training)
    tiles = sum(1 + len(one.views) for one in seen)
    if tiles > MOST_TILES:
        raise InputError(
            f"-n {n} --epochs {epochs}: {tiles:,} cells with their views, a sheet has at most {MOST_TILES:,}; show "
            "fewer examples or epochs"
        )
    names = views.names_of(parts.data, seen)
    sheet, pictures = views.sheet_facts(seen, names)
    where: Any = chosen["data"].get("path") if isinstance(chosen["data"], dict) else None
    facts = {"recipe": recipe, "data": str(where or ""), "pairs": len(parts.positives), "epochs": epochs, **sheet}
    facts["out"] = str(out) if pictures else None
    if pictures:
        text = config.dumped(config.resolved(chosen), {})
        views.write(out, facts, pictures, seen, text)
    emit(facts, as_json, lambda: show(f"views  {out}") if pictures else views.show_texts(facts))
