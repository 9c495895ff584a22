"""The tokenizer and table of a static model, as nearfar and other libraries save them; without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.column import Ids
from nearfar.encoders.reading.token_counts import MAX_TOKENS
from nearfar.errors import InputError
from nearfar.storage.arrays import read_arrays
from nearfar.text.tokenizer import library_errors, read_tokenizer, table_size

MODULE_FOLDER = "0_StaticEmbedding"  # sentence-transformers before 5.0 reads only a Transformer from the folder itself
PLAIN, FOLDED = "embedding.weight", "embeddings"  # sentence-transformers' name; model2vec's
Table = npt.NDArray[np.float32]


@dataclass(frozen=True)
class StaticFiles:
    """A tokenizer, its table of token vectors (v, d), and how many tokens of a text it reads."""

    tokenizer: Any
    weight: Table
    max_length: int


def read_static(folder: Path) -> StaticFiles:
    """Read tokenizer.json and model.safetensors of another library.

    model2vec may keep one row for several tokens (`mapping`) and a weight for each token (`weights`): both are folded
    into one row for each token. Rows that no token has are left out.

    Errors: `InputError` for a file that is missing, broken or of another form, and tokens without a row.
    """
    path = folder / "model.safetensors"
    arrays = read_arrays(path)
    table = arrays.get(PLAIN, arrays.get(FOLDED))
    if table is None or table.ndim != 2 or 0 in table.shape:
        raise InputError(f"{path}: no table {PLAIN} or {FOLDED} of two dimensions; it holds {', '.join(arrays)}")
    weight = table.astype(np.float32, copy=False)
    if PLAIN not in arrays:
        weight = _folded(path, weight, arrays)
    tokenizer = read_tokenizer(folder / "tokenizer.json")
    rows = table_size(tokenizer)
    if rows > len(weight):
        raise InputError(
            f"{path}: the tokenizer has ids up to {rows - 1}, and the table of token vectors has {len(weight)} rows; "
            "the folder's files do not belong together"
        )
    length = (tokenizer.truncation or {}).get("max_length", MAX_TOKENS)
    return StaticFiles(tokenizer, weight[:rows].copy(), min(int(length), MAX_TOKENS))


def _folded(path: Path, weight: Table, arrays: dict[str, npt.NDArray[Any]]) -> Table:
    mapping, weights = arrays.get("mapping"), arrays.get("weights")
    if mapping is not None:
        if mapping.ndim != 1 or mapping.dtype.kind not in "iu" or not len(mapping):
            raise InputError(f"{path}: mapping must be a row of whole numbers; save the model again")
        if not 0 <= int(mapping.min()) <= int(mapping.max()) < len(weight):
            raise InputError(f"{path}: mapping leads beyond the {len(weight)} rows of embeddings; save the model again")
        weight = weight[mapping]  # (v, d)
    if weights is not None:
        if weights.shape != (len(weight),):
            raise InputError(f"{path}: weights must be {len(weight)} numbers, one for each token; save the model again")
        weight = weight * weights.astype(np.float32)[:, None]  # (v, d)
    return weight


def read_saved_static(folder: Path, width: int, max_length: int) -> StaticFiles:
    """Read what `encoders.Static.save` wrote. width: of the table.

    Errors: `InputError` naming a file that is missing, broken or of another shape.
    """
    if (folder / MODULE_FOLDER).is_dir():
        folder = folder / MODULE_FOLDER
    path = folder / "model.safetensors"
    arrays = read_arrays(path)
    if PLAIN not in arrays:
        raise InputError(f"{path}: lacks {PLAIN}; it holds {', '.join(sorted(arrays)) or 'nothing'}")
    tokenizer = read_tokenizer(folder / "tokenizer.json")
    expected = (table_size(tokenizer), width)
    if arrays[PLAIN].shape != expected:
        raise InputError(
            f"{path}: {PLAIN} is {arrays[PLAIN].shape}, tokenizer and dim ask for {expected}; the folder's files do "
            "not belong together"
        )
    return StaticFiles(tokenizer, arrays[PLAIN].astype(np.float32, copy=False), max_length)


def truncate_to(tokenizer: Any, max_length: int) -> None:
    """Let a tokenizer read so many tokens of a text, from the side that it reads already, and pad nothing."""
    tokenizer.no_padding()
    given = tokenizer.truncation or {}  # a folder's may cut a text's beginning
    tokenizer.enable_truncation(max_length, direction=str(given.get("direction", "right")).lower())


def token_ids(tokenizer: Any, texts: Sequence[str]) -> tuple[npt.NDArray[np.int32], Ids]:
    """Return the token ids of texts, one text after the other (t,), and the texts' lengths (n,).

    Errors: `InputError` where the tokenizer fails.
    """
    with library_errors("encoders.static: the tokenizer cannot read these texts", "leave them out"):
        encodings = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    lengths = np.fromiter((len(e) for e in encodings), np.int64, len(encodings))
    ids = [np.asarray(e.ids, np.int32) for e in encodings]
    return np.concatenate([np.empty(0, np.int32), *ids]), lengths


def static_identity(tokenizer_json: str, max_length: int, weight: Table) -> Iterator[tuple[str, Any]]:
    """Yield what the space of a tokenizer and its table (v, d) depends on."""
    yield "tokenizer", tokenizer_json
    yield "max_length", max_length
    yield PLAIN, weight
