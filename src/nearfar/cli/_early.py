"""What can be refused in a moment: names and places that are wrong, before torch is imported, which takes seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nearfar.cli import held
from nearfar.storage.folders import complete_folder
from nearfar.storage.locks import alone, beside, inside, run_folder
from nearfar.storage.places import expanded, refuse_file_place, refuse_place


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
            refuse_data(path, delimited=spec.get("delimiter") is not None)


def refuse_data(path: str, beir_split: str | None = None, *, delimited: bool = False) -> None:
    """Refuse the path of a file that does not exist or whose name does not say what it holds; an archive's does.

    What may be a data set on the hub passes.

    beir_split: of a BEIR folder whose queries and judgements are read, too; None where only its documents are.
    delimited: a delimiter is given, so that the name of a file need not say what it holds.
    """
    from nearfar.data.archives.open_archive import is_archive_name
    from nearfar.data.beir import check_folder, is_beir
    from nearfar.data.captions.shards import shard_paths
    from nearfar.data.tables.files import check_file
    from nearfar.data.tables.read import file_kind, is_file_name

    place = expanded(path)
    if path and is_beir(place):
        check_folder(place, beir_split)
    if is_archive_name(place):
        for tar in shard_paths(place) or [place]:
            check_file(tar)
    elif path and (place.is_file() or (not place.exists() and is_file_name(path))):
        check_file(place)
        file_kind(place, delimited=delimited)


def refuse_model(model: str) -> None:
    """Refuse a path that is no folder of a model, of nearfar or other libraries; those of extras are known by name."""
    from nearfar.storage.description import INSTALLED, PRETRAINED_FILES, read_description

    folder = complete_folder(Path(model))
    of_others = any((folder / name).is_file() for name in PRETRAINED_FILES)
    if not of_others and (folder.exists() or model not in INSTALLED):
        read_description(folder)  # raises


def reserve(*places: Path | None) -> None:
    """Hold files, or folders written as a whole, until the command ends; refuse those that another process writes."""
    for place in places:
        if place is not None:
            if place.suffix:
                refuse_file_place(place)
            else:
                refuse_place(place.parent)
            held.enter_context(alone(place, beside(place)))


def reserve_folder(folder: Path) -> None:
    """Hold a folder into which files are written one by one until the command ends; refuse it as `reserve` does."""
    refuse_place(folder)
    held.enter_context(alone(folder, inside(folder)))


def reserve_run(out: Path, *, allowed: bool) -> None:
    """Hold the folder of a run; refuse one that holds a run, unless that is allowed."""
    refuse_place(out)
    held.enter_context(run_folder(out, allowed=allowed))


def _specs(section: Any) -> list[Mapping[str, Any]]:
    """Return the parts of a section: one, or several data sets."""
    several = section if isinstance(section, list) else [section]
    return [spec for spec in several if isinstance(spec, Mapping)]


def _is_outside(name: str) -> bool:
    return ":" in name or "." in name
