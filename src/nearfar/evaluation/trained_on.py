"""Whether a model was trained on the very file that it is judged on, as its recipe says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nearfar.storage.places import expanded

if TYPE_CHECKING:
    from nearfar.model import Model  # it brings torch

SEEN_FILE = (
    "The model was trained on this data, but for the rows that its run held out: this says little of new data, and the "
    "run's own report says more."
)


def names_file(model: Model, path: str) -> bool:
    """Return whether the recipe that trained a model, where it is recorded, names a file as its data."""
    recipe = model.notes.get("recipe")
    sections = recipe.get("data") if isinstance(recipe, Mapping) else None
    parts = sections if isinstance(sections, list) else [sections]
    paths = [part["path"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("path"), str)]
    return any(expanded(one).resolve() == expanded(path).resolve() for one in paths)
