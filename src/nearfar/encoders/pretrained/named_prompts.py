"""The prompts of a sentence-transformers folder: those of the two roles, and those of any other name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nearfar.abilities import NamedPrompts
from nearfar.errors import InputError
from nearfar.printable import is_encodable
from nearfar.storage.model_files import read_settings

NAMES = {"query": ("query",), "key": ("document", "passage", "corpus")}  # nearfar's role: names in such folders


def read_prompts(path: Path) -> tuple[dict[str, str], NamedPrompts]:
    """Return the prompts by role, and all prompts by name with the name of the one that holds without a role.

    As in sentence-transformers, a role whose name the folder does not know has no prompt.

    Errors: `InputError` for prompts that are no texts, and a default that is not among them.
    """
    given = read_settings(path) if path.is_file() else {}
    named = checked_named_prompts(
        str(path), {"texts": given.get("prompts"), "default": given.get("default_prompt_name")}
    )
    prompts = named.texts
    by_role = {role: next((prompts[name] for name in names if name in prompts), "") for role, names in NAMES.items()}
    return by_role, named


def checked_named_prompts(where: str, given: Any) -> NamedPrompts:
    """Return prompts by name, from plain values. where: their place, for errors. Errors: those of `read_prompts`."""
    texts = (given.get("texts") or {}) if isinstance(given, dict) else given
    if isinstance(texts, dict):  # sentence-transformers writes null for a prompt that nobody gave
        texts = {name: text for name, text in texts.items() if text is not None}
    plain = isinstance(texts, dict) and all(isinstance(one, str) and is_encodable(one) for one in texts.values())
    if not plain or not all(map(is_encodable, texts)):
        raise InputError(f"{where}: prompts must be texts by name, they are {texts!r:.60}")
    default = given.get("default")
    if default is not None and (not isinstance(default, str) or default not in texts):
        known = ", ".join(texts) or "none"
        raise InputError(f"{where}: default_prompt_name {default!r:.60} is not among its prompts ({known}); name one")
    return NamedPrompts(dict(texts), default)
