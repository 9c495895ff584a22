"""The tokenizer and table of a static model, as sentence-transformers and model2vec save them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from nearfar.encoders.reading.bags import MAX_TOKENS
from nearfar.errors import InputError
from nearfar.storage.weights import read_tensors
from nearfar.text.tokenizer import read_tokenizer, table_size

PLAIN, FOLDED = "embedding.weight", "embeddings"  # sentence-transformers' name; model2vec's


@dataclass(frozen=True)
class StaticFiles:
    """A tokenizer, its table of token vectors (v, d), and how many tokens of a text it reads."""

    tokenizer: Any
    weight: Tensor
    max_length: int


def read_static(folder: Path) -> StaticFiles:
    """Read tokenizer.json and model.safetensors.

    model2vec may keep one row for several tokens (`mapping`) and a weight for each token (`weights`): both are folded
    into one row for each token. Rows that no token has are left out.

    Errors: `InputError` for a file that is missing, broken or of another form, and tokens without a row.
    """
    path = folder / "model.safetensors"
    tensors = read_tensors(path)
    weight = tensors.get(PLAIN, tensors.get(FOLDED))
    if weight is None or weight.ndim != 2 or 0 in weight.shape:
        raise InputError(f"{path}: no table {PLAIN} or {FOLDED} of two dimensions; it holds {', '.join(tensors)}")
    weight = weight.float()
    if PLAIN not in tensors:
        weight = _folded(path, weight, tensors)
    tokenizer = read_tokenizer(folder / "tokenizer.json")
    rows = table_size(tokenizer)
    if rows > len(weight):
        raise InputError(
            f"{path}: the tokenizer has ids up to {rows - 1}, and the table of token vectors has {len(weight)} rows; "
            "the folder's files do not belong together"
        )
    length = (tokenizer.truncation or {}).get("max_length", MAX_TOKENS)
    return StaticFiles(tokenizer, weight[:rows].clone(), min(int(length), MAX_TOKENS))


def _folded(path: Path, weight: Tensor, tensors: dict[str, Tensor]) -> Tensor:
    mapping, weights = tensors.get("mapping"), tensors.get("weights")
    if mapping is not None:
        if mapping.ndim != 1 or mapping.is_floating_point() or not len(mapping):
            raise InputError(f"{path}: mapping must be a row of whole numbers; save the model again")
        if not 0 <= int(mapping.min()) <= int(mapping.max()) < len(weight):
            raise InputError(f"{path}: mapping leads beyond the {len(weight)} rows of embeddings; save the model again")
        weight = weight[mapping.long()]  # (v, d)
    if weights is not None:
        if tuple(weights.shape) != (len(weight),):
            raise InputError(f"{path}: weights must be {len(weight)} numbers, one for each token; save the model again")
        weight = weight * weights.float()[:, None]  # (v, d)
    return weight
