"""QueryModel: a transformer's vectors of a few queries without torch, where a trial has shown that they are equal.

Importing torch and transformers takes longer than a whole search. When an index has loaded a model of BERT's kind,
`QueryModel.keep` notes in the cache what transformers has read of it, if numpy gives the same vectors; the next process
that is asked a query reads that note and the model's weights. Files that have changed since are not used.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from nearfar.encoders.pretrained.bert_forward import Bert, pool
from nearfar.encoders.pretrained.folder import MINILM, folder_of
from nearfar.errors import InputError, NearfarError
from nearfar.storage.arrays import read_arrays
from nearfar.storage.folders import write_json, write_text
from nearfar.storage.model_files import read_settings
from nearfar.storage.places import cache_folder
from nearfar.text.prompts import checked_cells, no_vector
from nearfar.text.tokenizer import cleaned, library_errors, read_tokenizer

if TYPE_CHECKING:
    from nearfar.model import Model

MOST_QUERIES = 32  # that are embedded at once: more are faster with torch, its import included
FORMAT = 2  # of the note
_WEIGHTS, _NOTE, _TOKENIZER = "model.safetensors", "note.json", "tokenizer.json"
_LARGEST = 1 << 30  # bytes of weights
_READ = {".json", ".txt", ".model", ".safetensors"}  # the files on which vectors depend
_FINGERPRINT = re.compile(r"[0-9a-f]{32}")  # that of an index may be anybody's text, and is to name a folder here
_UNFIT = (NearfarError, OSError, LookupError, TypeError, ValueError, ArithmeticError)  # of files that do not fit
_TOLERANCE = 1e-5  # of a coordinate of a unit vector
_TRIAL = [
    "near",
    "Pull what belongs together, push away what does not.",
    "r\u00e9sum\u00e9 of 3 caf\u00e9s: \u4e2d\u6587, \u0440\u0443\u0441\u0441\u043a\u0438\u0439, \U0001f98a",
    "a text that is longer than what any model reads of it " * 60,
]


class QueryModel:
    """The queries' side of a `Model` of BERT's kind, for a search that begins cold; numpy and tokenizers suffice."""

    reads: tuple[str, ...] = ("text",)

    def __init__(self, bert: Bert, tokenizer: Any, note: Mapping[str, Any]) -> None:
        self._bert, self._tokenizer, self._note = bert, tokenizer, note

    @classmethod
    def load(cls, model: str | Path, fingerprint: str) -> Self | None:
        """Return the model of a folder, or of an extra's name; None where nothing is noted of it, or files changed."""
        with suppress(*_UNFIT):
            noted = _noted(fingerprint)
            if noted is None:
                return None
            (note, tokenizer), folder = noted, _folder(model)
            found = cls._of(folder, tokenizer, note)
            if note["files"] == _digest(folder):  # after they are read: another model may be written there meanwhile
                return found
        return None

    @classmethod
    def keep(cls, model: Any) -> None:
        """Note what the vectors of a `Model`'s queries depend on, if numpy gives the same ones; else nothing."""
        if getattr(model, "encoder", None) is None or getattr(model, "folder", None) is None:
            return
        with suppress(*_UNFIT):
            found = _read(model)
            if found is None:
                return
            folder, tokenizer_json, note = found
            with suppress(*_UNFIT):
                if (noted := _noted(model.fingerprint)) is not None and noted[0] == note:
                    return
            place = cache_folder("query_models") / model.fingerprint
            place.mkdir(exist_ok=True)
            write_text(place / _TOKENIZER, tokenizer_json)
            own = cls._of(folder, read_tokenizer(place / _TOKENIZER), note)
            if own is not None and np.abs(own.embed(_TRIAL) - model.embed(_TRIAL, "query")).max() <= _TOLERANCE:
                write_json(place / _NOTE, {"note": note, "sum": _sum(note, place / _TOKENIZER)})

    @classmethod
    def _of(cls, folder: Path, tokenizer: Any, note: Mapping[str, Any]) -> Self | None:
        bert = Bert.of(read_arrays(folder / _WEIGHTS), note["heads"], note["eps"], note["first_position"])
        return None if bert is None else cls(bert, tokenizer, note)

    def embed(self, cells: Sequence[Any]) -> npt.NDArray[np.float32]:
        """Return the unit vectors (n, dim) of queries. Errors: those of `Model.embed`."""
        texts = checked_cells(self, "this model's query side", cells, str(self._note["prompt"]), 0)
        with library_errors("the tokenizer cannot read these texts", "leave them out"):
            encodings = self._tokenizer.encode_batch_fast(cleaned(texts, lower_case=self._note["lower_case"]))
        vectors = [self._vector(row, cells[row], encoding.ids) for row, encoding in enumerate(encodings)]
        return np.stack(vectors).astype(np.float32, copy=False)

    def _vector(self, row: int, cell: Any, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        if not ids:
            raise no_vector(row, cell)
        raw = pool(self._bert.states(np.asarray(ids)), self._note["pooling"])  # (dim,)
        norm = float(np.linalg.norm(raw))
        if not 1e-12 < norm < np.inf:
            raise no_vector(row, cell)
        return raw / np.float32(norm)


def _read(model: Model) -> tuple[Path, str, dict[str, Any]] | None:
    """Return the folder of a model's weights, its tokenizer.json, and the note; None for a model of another kind."""
    from nearfar.encoders.transformer import Transformer  # it imports torch, which is there already

    encoder, folder = model.encoder, _folder(str(model.folder))
    weights = folder / _WEIGHTS
    if not isinstance(encoder, Transformer) or encoder.tokenizer is None or len(encoder.after) or not encoder.packed:
        return None
    config: Any = encoder.backbone.config
    activation, eps = getattr(config, "hidden_act", None), getattr(config, "layer_norm_eps", None)
    if activation != "gelu" or eps is None or not weights.is_file() or weights.stat().st_size > _LARGEST:
        return None
    note = {
        "format": FORMAT,
        "files": _digest(folder),
        "prompt": model.prompt("query"),
        "pooling": list(encoder.pooling),
        "heads": int(config.num_attention_heads),
        "eps": float(eps),
        "first_position": encoder.first_position,
        "lower_case": encoder.tokenizer.lower_case,
    }
    return folder, encoder.tokenizer.json(), note


def _folder(model: str | Path) -> Path:
    """Return the folder of a model. Errors: `InputError` for one that is not here; no hub is asked."""
    if str(model) != MINILM and not Path(model).is_dir():
        raise InputError(f"{model}: no such folder")
    return folder_of(str(model))


def _noted(fingerprint: str) -> tuple[dict[str, Any], Any] | None:
    """Return the note of a fingerprint, and its tokenizer; None where there is none that is whole. Errors: `_UNFIT`."""
    place = cache_folder("query_models") / fingerprint
    if not _FINGERPRINT.fullmatch(fingerprint) or not place.is_dir():
        return None
    held = read_settings(place / _NOTE)
    note: dict[str, Any] = held["note"]
    if note["format"] != FORMAT or held["sum"] != _sum(note, place / _TOKENIZER):
        return None
    return note, read_tokenizer(place / _TOKENIZER)


def _sum(note: Mapping[str, Any], tokenizer: Path) -> str:
    """Return the digest of a note and of the tokenizer beside it."""
    return hashlib.sha256(json.dumps(note, sort_keys=True).encode() + tokenizer.read_bytes()).hexdigest()


def _digest(folder: Path) -> str:
    """Return the digest of the files in a model's folder on which its vectors depend."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in _READ):
        with path.open("rb") as file:
            whole.update(os.fsencode(path.relative_to(folder)) + b"\0")
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()
