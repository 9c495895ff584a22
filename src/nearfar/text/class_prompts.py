"""Classes in words: a class's name, read from its label, and the templates that make prompts of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from nearfar.errors import InputError, nearest
from nearfar.printable import is_encodable

HERE = "{}"  # where a template takes the name
# By the kind of the cells. Those of pictures are among the prompts for CIFAR-10 of Radford et al. 2021.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "image": (
        "a photo of a {}.",
        "a blurry photo of a {}.",
        "a good photo of a {}.",
        "a close-up photo of a {}.",
        "a photo of the {}.",
    ),
    "text": ("a text about {}.",),
}
OTHERS = (HERE,)  # for cells of other kinds


def checked_templates(templates: Sequence[str] | None, kind: str | None, where: str = "templates") -> list[str]:
    """Return the templates that are given, or else the usual ones for cells of a kind. where: their place, for errors.

    Errors: `InputError`: none at all; one that is no text, or that does not have exactly one {}; one that is twice.
    """
    if templates is None:
        return list(TEMPLATES.get(kind or "", OTHERS))
    given = [templates] if isinstance(templates, str) else list(templates)
    if not given:
        raise InputError(f"{where}: there is none; give one such as 'a photo of a {{}}.', or leave it out")
    for template in given:
        if not isinstance(template, str) or not is_encodable(template):
            raise InputError(f"{where}: {template!r:.60} is no text; give one such as 'a photo of a {{}}.'")
        if template.count(HERE) != 1:
            raise InputError(
                f"{where}: {template!r:.60} has {template.count(HERE)} places for the class; write {{}} once, as in "
                "'a photo of a {}.'"
            )
        if given.count(template) > 1:
            raise InputError(f"{where}: {template!r:.60} is there twice; leave one out")
    return given


def filled(template: str, name: str) -> str:
    """Return the prompt of a class: a template with its name."""
    return template.replace(HERE, name)


def name_of_label(label: str) -> str:
    """Return a class's name as a text has it: of a path the last part, and spaces for underscores and hyphens.

    Example:
        >>> [name_of_label(label) for label in ("automobile", "golden_retriever", "Greek/character01")]
        ['automobile', 'golden retriever', 'character01']
    """
    last = label.rstrip("/").rpartition("/")[2]
    return re.sub(r"[\s_-]+", " ", last).strip() or label


def class_names(labels: Sequence[str], given: Mapping[str, str] | None = None, where: str = "names") -> list[str]:
    """Return the name of each class: the given one, or else `name_of_label`. given: names by label.

    Errors: `InputError`: a name for a label that there is not; a name that is empty; two classes of one name.
    """
    given = dict(given or {})
    for label, name in given.items():
        if label not in labels:
            raise InputError(f"{where}: there is no class {label!r:.60}; {nearest(str(label), labels)}")
        if not isinstance(name, str) or not is_encodable(name):
            raise InputError(f"{where}: the name of class {label!r:.60} is {name!r:.60}; give a text")
    names = [given.get(label, name_of_label(label)) for label in labels]
    seen: dict[str, str] = {}
    for label, name in zip(labels, names):
        if not name.strip():
            raise InputError(f"{where}: class {label!r:.60} has an empty name; give it one")
        if name in seen:
            raise InputError(
                f"{where}: classes {seen[name]!r:.60} and {label!r:.60} would both be called {name!r:.60}, and no text "
                f"could tell them apart; give them names of their own"
            )
        seen[name] = label
    return names


def checked_classes(classes: Sequence[str], where: str = "classes") -> list[str]:
    """Return the names of classes. Errors: `InputError`: fewer than two; an empty one, or one that is there twice."""
    for label in classes:
        if not label.strip():
            raise InputError(f"{where}: one of the {len(classes)} classes is empty; give each a name")
        if list(classes).count(label) > 1:
            raise InputError(f"{where}: {label!r:.60} is there twice; leave one out")
    if len(classes) < 2:
        given = f"there is one, {classes[0]!r:.60}" if classes else "there is none"
        raise InputError(f"{where}: {given}; name two or more to choose from, such as cat,dog")
    return class_names(classes, where=where)
