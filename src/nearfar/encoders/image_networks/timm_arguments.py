"""The arguments of a timm network, from a recipe or a folder: plain values that open no file and hang nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from nearfar.encoders.pretrained.numbers import LARGEST_SIZE, LEAST_LAYERS
from nearfar.errors import InputError

HANDED_IN = (  # arguments that timm's functions take beside those of a network; some of them read files or download
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict", "pretrained_filter_fn"),
    *("pretrained_model_args", "checkpoint_path", "cache_dir", "scriptable", "exportable", "no_jit", "num_classes"),
    *("in_chans", "features_only", "out_indices", "feature_cfg", "feature_cls", "kwargs_filter", "model_cfg"),
    *("pretrained_custom_load", "device", "dtype"),
)


def checked_args(where: str, args: Mapping[str, Any], tensors: int = 0) -> dict[str, Any]:
    """Return arguments of a network: plain values, none of which reads a file, hangs or fills the memory.

    tensors: in the folder's weights; no list of layers is longer. Errors: `InputError` naming the argument.
    """
    for name, value in args.items():
        if name in HANDED_IN:
            raise InputError(f"{where}: {name} is not of the network itself; nearfar sets it. Leave it out")
        for number in _plain(f"{where}: {name}", value):
            largest = max(LEAST_LAYERS, tensors) if "depth" in name or "layers" in name else LARGEST_SIZE
            if not abs(number) <= largest:
                raise InputError(f"{where}: {name} holds {number:.6g}, which no network has; give at most {largest}")
    return dict(args)


def _plain(where: str, value: Any) -> Iterator[float]:
    """Yield the numbers of a plain value. Errors: `InputError` for what is not plain or not finite."""
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _plain(where, inner)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _plain(where, inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise InputError(f"{where} must be a finite number, it is {value}")
        yield value
    elif value is not None and not isinstance(value, str | bool):
        raise InputError(f"{where} must be a number, a word, true or false, or a list of them; it is {value!r:.60}")
