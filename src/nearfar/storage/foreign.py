"""Model folders in the form of sentence-transformers, beside nearfar's own, where the encoder has that form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from nearfar.abilities import NamedPrompts
from nearfar.contracts import ForeignForm
from nearfar.storage.folders import write_text

SENTENCE_TRANSFORMERS = "sentence-transformers"
PROMPT_NAMES = {"query": "query", "key": "document"}  # nearfar's role: sentence-transformers' prompt name


def prompt_without_role(named: NamedPrompts, by_role: Mapping[str, str]) -> str:
    """Return the prompt of a text without a role. by_role: the model's prompts, of which the default may be one."""
    if named.default is None:
        return ""
    roles = {name: role for role, name in PROMPT_NAMES.items()}
    return by_role[roles[named.default]] if named.default in roles else named.texts[named.default]


def sentence_transformers(*modules: tuple[str, str]) -> list[ForeignForm]:
    """Return the form of an encoder whose modules (class, folder) sentence-transformers applies one after the other."""
    rows = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in modules]
    return [ForeignForm(SENTENCE_TRANSFORMERS, rows)]


def modules_of(forms: Sequence[ForeignForm]) -> list[dict[str, str]]:
    """Return an encoder's rows of modules.json; [] where sentence-transformers has no form for it."""
    return [row for form in forms if form.tool == SENTENCE_TRANSFORMERS for row in form.modules]


def write_sentence_transformers(
    folder: Path, forms: Sequence[ForeignForm], prompts: Mapping[str, str], named: NamedPrompts
) -> None:
    """Write modules.json, the normalisation and the prompts where the encoder has that form; else nothing.

    prompts: by role. named: those of other names, which stay as they were read.
    """
    modules = modules_of(forms)
    if not modules:
        return
    modules.append({"type": "sentence_transformers.models.Normalize", "path": "normalize"})
    (folder / "normalize").mkdir()
    settings = {
        "model_type": "SentenceTransformer",
        "prompts": {**named.texts, **{name: prompts[role] for role, name in PROMPT_NAMES.items()}},
        "default_prompt_name": named.default,
        "similarity_fn_name": "cosine",
    }
    rows = [{"idx": i, "name": str(i), **module} for i, module in enumerate(modules)]
    for name, content in (("modules", rows), ("config_sentence_transformers", settings)):
        write_text(folder / f"{name}.json", json.dumps(content, indent=2))
