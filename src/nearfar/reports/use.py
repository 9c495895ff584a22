"""How a run's model is used: a line for Python, one for the shell, and one for sentence-transformers, to be copied."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from nearfar.errors import InputError
from nearfar.storage import description
from nearfar.storage.foreign import SENTENCE_TRANSFORMERS, modules_of


def use_lines(folder: Path, reads: Mapping[str, Sequence[str]] | None) -> list[tuple[str, str]]:
    """Return what each line is for, and the line, for the model folder of a run; [] where there is no model.

    reads: the kinds of cells that each role reads, () where the encoder does not say; None where nobody recorded it.
    Only what works is named: the search of texts for a model of texts, sentence-transformers where the folder has its
    form.
    """
    if not (folder / "nearfar.json").is_file():
        return []
    try:
        forms = description.foreign_forms(folder)
    except (InputError, TypeError):  # a description that is broken, or of another release
        return []
    path = json.dumps(str(folder), ensure_ascii=False)  # a literal of Python, too
    foreign = any(form.tool == SENTENCE_TRANSFORMERS for form in forms)
    kinds = {"query": ["text"], "key": ["text"]} if reads is None and foreign else reads or {}
    texts = bool(kinds) and all(not of_role or "text" in of_role for of_role in kinds.values())
    of_query = kinds.get("query") or ["text"]
    cells = '["a text"]' if texts else f"[{of_query[0]}]"
    lines = [("In Python", f'import nearfar as nf; vectors = nf.Model.load({path}).embed({cells}, role="query")')]
    if texts:
        search = f'nearfar search {shlex.quote(str(folder))} docs.txt "what to look for"'
        lines.append(("In a shell; docs.txt holds a text a line", search))
    if texts and foreign:
        towers = any("Router" in row.get("type", "") for row in modules_of(forms))
        call = f"encode_query({cells})" if towers else f'encode({cells}, prompt_name="query")'
        line = f"from sentence_transformers import SentenceTransformer; vectors = SentenceTransformer({path}).{call}"
        lines.append(("With sentence-transformers, the same vectors", line))
    return lines
