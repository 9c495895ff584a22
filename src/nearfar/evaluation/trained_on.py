"""Whether a model was trained on the very file that it is judged on, as its recipe says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nearfar.storage.places import expanded

if TYPE_CHECKING:
    from nearfar.model import Model  # it brings torch

SEEN_FILE = (
    "The model was trained on this data, but for the rows that its run held out: this says little of new data, and the "
    "run's own report says more."
)


HOLDING_OUT = ("heldout", "heldout_by", "seed")  # settings of a table that say which rows it holds out


def trained_on(model: Model, path: str, split: str | None, settings: Mapping[str, Any]) -> bool:
    """Return whether a model was trained on rows of a split of a file, as its recipe says where it is recorded.

    So it was on the only split (None), on that of training, and on rows that are held out otherwise than its run did.
    settings: of the table that is judged.
    """
    recipe = model.notes.get("recipe")
    sections = recipe.get("data") if isinstance(recipe, Mapping) else None
    for part in sections if isinstance(sections, list) else [sections]:
        if not isinstance(part, Mapping):
            continue
        if isinstance(named := part.get("path"), str) and expanded(named).resolve() == expanded(path).resolve():
            alike = all(settings[name] == part.get(name) for name in HOLDING_OUT if name in settings)
            if split in (None, "train") or ("heldout" in settings and not alike):
                return True
    return False
