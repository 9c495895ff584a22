"""What can be refused in a moment: names and places that are wrong, before torch is imported, which takes seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def refuse_recipe(recipe: str, overrides: Sequence[str]) -> None:
    """Refuse an unknown recipe or override, a part that no package has, and data whose file is missing.

    Everything else that may be wrong with a recipe is for `config.build`, which says these in the same words.
    """
    from nearfar import recipes, registry

    chosen = recipes.load(recipe, overrides)
    parts = [(package, spec) for section, package in recipes.PACKAGES.items() for spec in _specs(chosen.get(section))]
    for package, spec in parts:
        name = spec.get("name")
        if isinstance(name, str) and not _is_outside(name) and name not in registry.names(package):
            registry.find(package, name)  # raises
    for package, spec in parts:
        path = spec.get("path")
        if package == "data" and isinstance(path, str) and not _is_outside(str(spec.get("name"))):
            refuse_data(path)


def refuse_data(path: str) -> None:
    """Refuse the path of a file that does not exist; what may be a data set on the hub passes."""
    from nearfar.data.tables.files import check_file
    from nearfar.data.tables.read import is_file_name

    place = Path(path).expanduser()
    if path and not place.exists() and is_file_name(path):
        check_file(place)  # raises


def refuse_model(model: str) -> None:
    """Refuse the path of a model's folder that does not exist; `minilm` is a model by its name."""
    from nearfar.storage.description import read_description
    from nearfar.storage.folders import complete_folder

    folder = complete_folder(Path(model))
    if model != "minilm" and not folder.is_dir():
        read_description(folder)  # raises


def _specs(section: Any) -> list[Mapping[str, Any]]:
    """Return the parts of a section: one, or several data sets."""
    several = section if isinstance(section, list) else [section]
    return [spec for spec in several if isinstance(spec, Mapping)]


def _is_outside(name: str) -> bool:
    return ":" in name or "." in name
