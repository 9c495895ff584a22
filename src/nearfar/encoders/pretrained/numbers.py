"""The numbers of a config.json, checked before a model is built from it: types, signs, and sizes that hang or fill."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nearfar.errors import InputError

Shapes = Mapping[str, tuple[int, ...]]

POSITIVE = (  # whole numbers of at least 1, or null, in the configs of all models that have them
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size"),
    *("dim", "n_layers", "n_heads", "hidden_dim", "n_embd", "n_layer", "n_head", "n_positions", "d_model", "d_kv"),
    *("num_layers", "num_heads", "max_position_embeddings", "embedding_size", "num_hidden_groups", "inner_group_num"),
)
OF_STAGES = {"num_heads"}  # those that picture models may have a list of, a number for each stage
LAYERS = re.compile(
    r"(^|_)(n_layer|layers?|blocks?|depths?)$"
)  # each is built by itself, so that many of them take for ever
COUNTED = re.compile(r"(^|_)(n_head|heads?|experts|groups?|group_num|labels|hash_functions)$")
SIZES = re.compile(r"(size|dim|width|positions?|embeddings|n_embd|d_model|d_ff|d_kv|n_inner|rank)$")
LEAST_LAYERS = 256  # that are tried whatever the header says: some models use one layer's weights many times
MOST_COUNTED, LARGEST_SIZE = 200_000, 10_000_000  # of those that no tensor need show: labels; rotary positions


def check_numbers(path: Path | str, config: Mapping[str, Any], shapes: Shapes | None) -> None:
    """Check the numbers of a config. path: of the config, for errors.

    shapes: of the folder's tensors, by name; None for a config that is given without weights.

    Errors: `InputError` naming the setting: of another type, below 1, not a number, or far beyond the tensors.
    """
    found = shapes or {}
    parts = {part for name in found for part in name.split(".") if part.isdigit()}
    largest = max((size for shape in found.values() for size in shape), default=0)
    limits = _Limits(max(LEAST_LAYERS, len(parts)), max(LARGEST_SIZE, largest), of_folder=shapes is not None)
    _check(path, "", config, limits)


@dataclass(frozen=True)
class _Limits:
    """The most layers, the largest size, and whether a folder's weights say so."""

    layers: int
    size: int
    of_folder: bool

    @property
    def fix(self) -> str:
        """What to do about a number that is none."""
        return "copy the model folder again" if self.of_folder else "give another"

    def beyond(self, most: int) -> str:
        """Return what is wrong with a number above `most`."""
        if not self.of_folder:
            return f"more than any model has; give at most {most}"
        return f"and the weights are of a model of at most {most}; the folder's files do not belong together"

    def most(self, key: str) -> int | None:
        """Return the most that a setting may be; None without limit."""
        kinds = [(LAYERS, self.layers), (COUNTED, MOST_COUNTED), (SIZES, self.size)]
        return next((most for kind, most in kinds if kind.search(key)), None)


def _check(path: Path | str, where: str, config: Mapping[str, Any], limits: _Limits) -> None:
    for key, value in config.items():
        name = f"{where}{key}"
        if isinstance(value, Mapping):
            _check(path, f"{name}.", value, limits)
            continue
        several = isinstance(value, list) and key not in set(POSITIVE) - OF_STAGES
        for one in value if several else [value]:
            _check_number(path, name, key, one, limits)


def _check_number(path: Path | str, name: str, key: str, value: Any, limits: _Limits) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{path}: {name} must be a finite number, it is {value}; {limits.fix}")
    if key in POSITIVE and value is not None and not (whole and value >= 1):
        raise InputError(f"{path}: {name} must be a whole number of at least 1, it is {value!r:.60}; {limits.fix}")
    most = limits.most(key)
    if whole and most is not None and value > most:
        raise InputError(f"{path}: {name} is {value:.6g}, {limits.beyond(most)}")
