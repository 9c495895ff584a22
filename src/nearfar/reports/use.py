"""How a run's model is used, for its page: what its description says of it, as lines to copy."""

from __future__ import annotations

from pathlib import Path

from nearfar.errors import InputError
from nearfar.figures import mapping
from nearfar.storage import description
from nearfar.storage.examples import examples


def use_lines(folder: Path) -> list[tuple[str, str]]:
    """Return what each example is for, and its lines, for the model folder of a run.

    [] where there is no model, or a description that is broken or does not say what the model reads.
    """
    try:
        content = description.read_description(folder)
        forms = description.foreign_forms(folder)
    except (InputError, TypeError):
        return []
    sides = {role: kinds for role, kinds in mapping(content.get("sides")).items() if isinstance(kinds, list)}
    found = examples(str(folder), sides, forms, towers=content.get("towers") is True) if sides else []
    return [(example.label, example.code) for example in found]
