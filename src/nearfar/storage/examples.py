"""How a model folder is used, in lines to copy: by nearfar, in the shell, and by other tools that read it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nearfar.contracts import ForeignForm
from nearfar.storage.foreign import SENTENCE_TRANSFORMERS


@dataclass(frozen=True)
class Example:
    """Lines of code, what they are for, and their language: "python" or "bash"."""

    label: str
    code: str
    language: str = "python"


def reads_texts(sides: Mapping[str, Sequence[str]]) -> bool:
    """Return whether each side reads texts. sides: the kinds of cells by role; () where an encoder does not say."""
    return all(not kinds or "text" in kinds for kinds in sides.values())


def reads_pictures(sides: Mapping[str, Sequence[str]]) -> bool:
    """Return whether each side reads pictures."""
    return all("image" in kinds for kinds in sides.values())


def searches_pictures(sides: Mapping[str, Sequence[str]]) -> bool:
    """Return whether one side reads pictures and another texts, so that words find pictures."""
    return any("image" in kinds for kinds in sides.values()) and any("text" in kinds for kinds in sides.values())


def examples(
    folder: str, sides: Mapping[str, Sequence[str]], forms: Sequence[ForeignForm], *, towers: bool
) -> list[Example]:
    """Return how a model is used; only what works is named, such as the search of texts for a model of texts.

    PICTURES stands for a folder or an archive of pictures.

    folder: the model's. sides: the kinds of cells that are read, by role. forms: those in which other tools read the
    folder. towers: whether queries and keys have an encoder each.
    """
    path = json.dumps(folder, ensure_ascii=False)  # a literal of Python, too
    lines = ["import nearfar as nf", "", f"model = nf.Model.load({path})"]
    if reads_texts(sides):
        lines.append('vectors = model.embed(["a question"], role="query")  # documents: role="key"')
    elif reads_pictures(sides):
        lines.append('pictures = nf.data.Images("PICTURES").column("image").read(0, 8)  # of a folder or an archive')
        lines.append("vectors = model.embed(pictures)")
    elif searches_pictures(sides):
        lines.append('pictures = nf.data.Images("PICTURES").column("image").read(0, 8)  # of a folder or an archive')
        of_kind = {role: "pictures" if "image" in kinds else '["a dog on a beach"]' for role, kinds in sides.items()}
        lines += [f'{role} = model.embed({cells}, role="{role}")' for role, cells in of_kind.items()]
    else:
        lines += [f'{role} = model.embed({_cells(kinds)}, role="{role}")' for role, kinds in sides.items()]
    found = [Example("In Python", "\n".join(lines))]
    if reads_texts(sides):
        search = f'nearfar search {shlex.quote(folder)} docs.txt "what to look for"'
        found.append(Example("In a shell; docs.txt holds a text a line", search, "bash"))
    elif searches_pictures(sides):
        model = shlex.quote(folder)
        shell = [
            f'nearfar search {model} PICTURES "a dog on a beach"',
            f"nearfar index build photos.index {model} PICTURES  # once, for many searches",
            'nearfar search photos.index "a dog on a beach"',
            f"nearfar label zero-shot {model} PICTURES --classes dog,cat --out labels.csv",
        ]
        label = "In a shell; PICTURES is a folder or an archive of pictures"
        found.append(Example(label, "\n".join(shell), "bash"))
    elif reads_pictures(sides):
        search = f"nearfar search {shlex.quote(folder)} PICTURES picture.jpg"
        found.append(Example("In a shell; PICTURES is a folder or an archive of pictures", search, "bash"))
    for form in forms:
        if not form.task and form.tool != SENTENCE_TRANSFORMERS:
            found.append(Example(f"With {form.tool}, equal vectors", form.example.strip()))
        elif not form.task and reads_texts(sides):
            found.append(_of_sentence_transformers(path, towers))
    return [example for form in forms if form.task for example in _of_language(folder, form)] + found


def _of_language(folder: str, form: ForeignForm) -> list[Example]:
    """Return how a language model is used, and how vectors are made of it, which it was not trained for."""
    model = shlex.quote(folder)
    text = "the film was [MASK]" if form.task == "fill-mask" else "The film was"
    code = form.example.replace('"path/to/this/folder"', json.dumps(folder, ensure_ascii=False))
    train = f"nearfar train finetune data.path=pairs.jsonl {shlex.quote(f'encoder.model={folder}')} --out runs/f"
    return [
        Example("In a shell, what it makes of a text", f'nearfar complete {model} "{text}"', "bash"),
        Example(f"With {form.tool}, equal logits", code),
        Example("In a shell; pairs.jsonl holds pairs, which teach vectors of texts", train, "bash"),
    ]


def _of_sentence_transformers(path: str, towers: bool) -> Example:
    call = 'encode(["a question"], prompt_name="query")  # documents: prompt_name="document"'
    if towers:
        call = 'encode_query(["a question"])  # documents: encode_document'
    lines = [
        "from sentence_transformers import SentenceTransformer",
        "",
        f"model = SentenceTransformer({path})",
        f"vectors = model.{call}",
    ]
    since = " from 5.0 on" if towers else ""
    return Example(f"With sentence-transformers{since}, equal vectors", "\n".join(lines))


def _cells(kinds: Sequence[str]) -> str:
    """Return an example of cells, as Python."""
    return '["a question"]' if not kinds or "text" in kinds else f"[{kinds[0]}]"
