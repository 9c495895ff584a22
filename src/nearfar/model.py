"""Model: an encoder with its prompts and its sphere; load, save, embed."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from nearfar import registry
from nearfar.card import card
from nearfar.contracts import Encoder
from nearfar.errors import InputError
from nearfar.fingerprint import fingerprint
from nearfar.folders import made, sync_folder, write_text, writing

Role = Literal["query", "key"] | None
FORMAT = 1
ROLES = {"query": "query", "key": "document"}  # our role -> sentence-transformers' prompt name


class Model:
    """An embedding space that can be used: raw things to unit vectors.

    Args:
        encoder: a prepared encoder; the model uses it as it is, without a copy.
        prompts: text put in front, by role ("query", "key").
        notes: what `nearfar.json` and the model card tell: recipe, data, metrics.

    Example:
        >>> import nearfar as nf
        >>> encoder = nf.encoders.Static(dim=16, vocabulary=300)
        >>> encoder.prepare([nf.column.ListColumn("text", ["pull near", "push far"])])
        >>> nf.Model(encoder).embed(["near"]).shape
        (1, 16)
    """

    def __init__(
        self, encoder: Encoder, prompts: Mapping[str, str] | None = None, notes: Mapping[str, Any] | None = None
    ) -> None:
        self.encoder = encoder
        self.prompts = {role: (prompts or {}).get(role, "") for role in ROLES}
        self.notes = dict(notes or {})

    @property
    def dim(self) -> int:
        """The dimension of the vectors."""
        return self.encoder.dim

    @cached_property
    def fingerprint(self) -> str:
        """What makes two embedding spaces the same one: weights, tokenizer, prompts, normalisation, lengths, as hash.

        It is computed once: a model whose weights are trained further needs a new `Model`.
        """
        return fingerprint("space 1", sorted(self.prompts.items()), self.dim, "unit", *self.encoder.identity())

    def embed(
        self, cells: Sequence[Any], role: Role = None, *, batch_size: int = 4096
    ) -> npt.NDArray[np.float32]:
        """Return unit vectors of raw things, (n, dim) float32, in order.

        Errors: `InputError` naming the row of an empty text, or of something that is no text; an unknown role.
        """
        if isinstance(cells, str):
            raise InputError("embed takes a list of texts, not one text; write embed([text])")
        vectors = np.empty((len(cells), self.dim), np.float32)
        for start, part in self._parts(cells, role, batch_size):
            vectors[start : start + len(part)] = part
        return vectors

    def _parts(
        self, cells: Sequence[Any], role: Role, batch_size: int
    ) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        if role is not None and role not in ROLES:
            raise InputError(f"embed: no role {role!r}; known: query, key, or None for no prompt")
        prompt = "" if role is None else self.prompts[role]
        module = cast("torch.nn.Module", self.encoder)
        device, training = next(module.parameters()).device, module.training
        module.eval()
        with torch.inference_mode():
            for start in range(0, len(cells), batch_size):
                texts = [_checked(cell, start + i, prompt) for i, cell in enumerate(cells[start : start + batch_size])]
                raw = self.encoder(self.encoder.inputs(texts).to(device))  # (b, d)
                yield start, F.normalize(raw.float(), dim=1).cpu().numpy()  # (b, d)
        module.train(training)

    def save(self, folder: str | Path) -> Path:
        """Write the model folder: aside first, then in the place of an older one. It loads in sentence-transformers.

        Errors: `InputError` for a place that cannot be a folder, `RunError` for one that cannot be written (disk full).
        """
        folder = Path(folder)
        made(folder.parent)
        aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
        try:
            with writing(folder):
                self._write(aside)
                os.chmod(aside, 0o755)
                if folder.exists():
                    old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-old-"))
                    os.replace(folder, old / "model")
                    shutil.rmtree(old, ignore_errors=True)
                os.replace(aside, folder)
                sync_folder(folder.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return folder

    def _write(self, folder: Path) -> None:
        modules = self.encoder.save(folder)
        modules.append({"type": "sentence_transformers.models.Normalize", "path": "normalize"})
        (folder / "normalize").mkdir()
        rows = [{"idx": i, "name": str(i), "path": "", **module} for i, module in enumerate(modules)]
        prompts = {theirs: self.prompts[ours] for ours, theirs in ROLES.items()}
        sentence_transformers = {
            "model_type": "SentenceTransformer",
            "prompts": prompts,
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        }
        (folder / "modules.json").write_text(json.dumps(rows, indent=2), encoding="utf-8")
        (folder / "config_sentence_transformers.json").write_text(json.dumps(sentence_transformers, indent=2), encoding="utf-8")
        self.describe(folder)

    def describe(self, folder: Path) -> None:
        """Write what is told of the model beside its weights: nearfar.json and the model card, from `notes`."""
        known = {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "encoder": {"name": registry.name_of(type(self.encoder)), **self.encoder.settings()},
            "prompts": self.prompts,
            **self.notes,
        }
        write_text(folder / "nearfar.json", json.dumps(known, indent=2, ensure_ascii=False) + "\n")
        write_text(folder / "README.md", card(self.dim, self.fingerprint, self.notes))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a model folder. Only built-in parts are loaded, only safetensors are read: no code comes with it.

        Errors: `InputError` for a folder that is missing, not whole, or whose files do not match their fingerprint.
        """
        folder = Path(folder)
        known = _read_description(folder)
        settings = {key: value for key, value in known["encoder"].items() if key != "name"}
        part = registry.find("encoders", str(known["encoder"].get("name")))
        encoder = part.load(folder, registry.coerce(part, settings, f"{folder / 'nearfar.json'}: encoder"))
        notes = {key: known[key] for key in known if key not in ("format", "fingerprint", "encoder", "prompts")}
        model = cls(encoder, known["prompts"], notes)
        if model.fingerprint != known.get("fingerprint"):
            raise InputError(
                f"{folder}: the files give fingerprint {model.fingerprint}, nearfar.json says "
                f"{known.get('fingerprint')}; weights or tokenizer were changed after saving: copy or train it again"
            )
        return model


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / "nearfar.json"
    if not folder.is_dir():
        raise InputError(f"{folder}: no such model folder; nearfar train writes one to OUT/model")
    if not path.is_file():
        raise InputError(f"{folder}: no nearfar.json, so this is no model of nearfar; a run keeps its model in RUN/model")
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable ({error}); copy the model folder again") from error
    whole = isinstance(known, dict) and isinstance(known.get("encoder"), dict) and isinstance(known.get("prompts"), dict)
    if not whole or known.get("format") != FORMAT:
        raise InputError(f"{path}: not a description of format {FORMAT}; was it written by another release of nearfar?")
    return cast("dict[str, Any]", known)


def _checked(cell: Any, row: int, prompt: str) -> Any:
    if not isinstance(cell, str):
        return cell
    if not cell.strip():
        raise InputError(f"embed: text {row + 1} is empty; leave it out, an empty text has no place in the space")
    try:
        cell.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"embed: text {row + 1} holds a lone surrogate, which is no text; decode it again") from error
    return prompt + cell
