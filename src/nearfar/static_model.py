"""StaticModel: the model of a static encoder's folder, for searches that begin cold; numpy and tokenizers suffice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from nearfar.abilities import NamedPrompts
from nearfar.contracts import Role
from nearfar.encoders.pretrained.folder import is_pretrained, refuse_code
from nearfar.encoders.pretrained.module_rows import Row, encoder_spec, module_rows
from nearfar.encoders.pretrained.named_prompts import checked_named_prompts, read_prompts
from nearfar.encoders.pretrained.static_files import (
    StaticFiles,
    read_saved_static,
    read_static,
    static_identity,
    token_ids,
    truncate_to,
)
from nearfar.encoders.reading.token_counts import MAX_TOKENS, count_tokens, term_frequencies
from nearfar.errors import InputError
from nearfar.sides import ROLES, refuse_role
from nearfar.storage.description import NAMED, NEEDED, read_description
from nearfar.storage.fingerprint import space_fingerprint
from nearfar.storage.foreign import prompt_without_role
from nearfar.text.prompts import checked_cells, checked_prompts, no_vector
from nearfar.vectors.quantize import refuse_dim, shorten

Vectors = npt.NDArray[np.float32]
_AT_ONCE = 4096  # texts
_SETTINGS = {"name", "dim", "max_length"}  # of the encoder, in nearfar.json


class StaticModel:
    """What `Model` is for a static encoder, to embed with: torch, whose import takes seconds, is not needed.

    x = sum_t c_t E_t / |sum_t c_t E_t| over the distinct tokens t of a text, c_t of them, as `encoders.Static` and
    `Model` compute it: the fingerprint is the same, and the vectors are but for the rounding of float32.

    When not to use it: to train or save a model, or for one with dense layers over the mean. `load` gives None for it.
    """

    reads: tuple[str, ...] = ("text",)

    def __init__(
        self,
        files: StaticFiles,
        prompts: dict[str, str],
        named: NamedPrompts,
        folder: Path,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        truncate_to(files.tokenizer, files.max_length)
        self._files, self._named, self.folder, self.notes = files, named, folder, dict(notes or {})
        self._prompts = dict.fromkeys(ROLES, "") | checked_prompts(prompts)

    @classmethod
    def load(cls, folder: str | Path) -> Self | None:
        """Return the model of a folder of nearfar, sentence-transformers or model2vec.

        None for another encoder, for layers over the mean, and where anything is wrong, which `Model.load` says.
        """
        place = Path(folder)
        try:
            if (place / "nearfar.json").is_file():
                return cls._of_nearfar(place)
            return cls._of_others(place) if place.is_dir() and is_pretrained(str(place)) else None
        except InputError:
            return None

    @classmethod
    def _of_nearfar(cls, folder: Path) -> Self | None:
        refuse_code(folder)
        description = read_description(folder)
        encoder = description["encoder"]
        dim, max_length = encoder.get("dim"), encoder.get("max_length")
        known = set(encoder) == _SETTINGS and encoder["name"] == "static" and type(dim) is type(max_length) is int
        if not known or dim < 1 or not 1 <= max_length <= MAX_TOKENS:
            return None
        if (folder / "modules.json").is_file() and not _is_mean(module_rows(folder)):
            return None
        named = checked_named_prompts(NAMED, description.get(NAMED) or {})
        notes = {key: value for key, value in description.items() if key not in {*NEEDED, NAMED}}
        model = cls(read_saved_static(folder, dim, max_length), description["prompts"], named, folder, notes)
        return model if model.fingerprint == description.get("fingerprint") else None

    @classmethod
    def _of_others(cls, folder: Path) -> Self | None:
        if encoder_spec(str(folder)) != {"name": "static", "model": str(folder)}:
            return None
        rows = module_rows(folder)
        if not _is_mean(rows):
            return None
        prompts, named = dict[str, str](), NamedPrompts()
        if (folder / "modules.json").is_file():
            prompts, named = read_prompts(folder / "config_sentence_transformers.json")
        return cls(read_static(rows[0][1]), prompts, named, folder)

    @property
    def dim(self) -> int:
        """The dimension of the vectors."""
        return int(self._files.weight.shape[1])

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the space, that of `Model`."""
        files = self._files
        identity = static_identity(files.tokenizer.to_str(), files.max_length, files.weight)
        return space_fingerprint(self.dim, self._prompts, self._prompt(None), identity)

    def embed(
        self,
        cells: Sequence[Any],
        role: Role | None = None,
        *,
        first: int = 0,
        dim: int | None = None,
    ) -> Vectors:
        """Return the unit vectors of texts, (n, dim) float32, in order; arguments and errors as of `Model.embed`."""
        if isinstance(cells, str):
            raise InputError("embed takes a list of texts, not one text; write embed([text])")
        refuse_role(role)
        dim = self.dim if dim is None else dim
        refuse_dim(dim, self.dim)
        vectors = np.empty((len(cells), dim), np.float32)
        for start in range(0, len(cells), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            vectors[part] = shorten(self._unit(cells[part], role, first + start), dim, first + start)
        return vectors

    def _unit(self, cells: Sequence[Any], role: str | None, first: int) -> Vectors:
        raw = self._means(checked_cells(self, "this model", cells, self._prompt(role), first))  # (n, dim)
        norm = np.linalg.norm(raw, axis=1, keepdims=True)
        broken = ~((norm > 1e-12) & np.isfinite(norm))
        if broken.any():
            row = int(np.flatnonzero(broken)[0])
            raise no_vector(first + row, cells[row])
        unit: Vectors = raw / norm
        return unit

    def _means(self, texts: Sequence[str]) -> Vectors:
        """Return the mean of each text's token vectors, (n, dim)."""
        table = self._files.weight
        ids, lengths = token_ids(self._files.tokenizer, texts)
        tokens, counts, offsets = count_tokens(ids, lengths, len(table))
        weights = term_frequencies(counts, lengths, np.diff(offsets))  # (t,)
        means = np.zeros((len(texts), self.dim), np.float32)
        for i, (start, stop) in enumerate(pairwise(offsets)):
            means[i] = weights[start:stop] @ table[tokens[start:stop]]
        return means

    def _prompt(self, role: str | None) -> str:
        return prompt_without_role(self._named, self._prompts) if role is None else self._prompts[role]


def _is_mean(rows: Sequence[Row]) -> bool:
    """Return whether modules are a table of token vectors and nothing but the normalisation, which comes anyway."""
    return rows[0][0] == "StaticEmbedding" and all(kind == "Normalize" for kind, _ in rows[1:])
