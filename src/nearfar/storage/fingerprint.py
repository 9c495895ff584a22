"""Fingerprints: equal for equal content, whether of an embedding space, a data set or a cache entry."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


def fingerprint(*parts: Any) -> str:
    """Return a hash (32 hexadecimal digits) of arrays and plain values, in order; tuples and lists may hold them."""
    digest = hashlib.blake2b(digest_size=16)
    _add(digest, parts)
    return digest.hexdigest()


def space_fingerprint(
    dim: int, prompts: Mapping[str, str], without_role: str, identity: Iterable[tuple[str, Any]]
) -> str:
    """Return the fingerprint of a model's space: a hash of all that its unit vectors depend on.

    prompts: by role. without_role: the prompt of a text without one. identity: of the encoder (`Encoder.identity`).
    """
    further = [("without role", without_role)] if without_role else []
    return fingerprint("space 1", sorted(prompts.items()), dim, "unit", *further, *identity)


def _add(digest: Any, part: Any) -> None:
    if isinstance(part, np.ndarray):
        digest.update(f"{part.dtype}{part.shape}".encode())
        digest.update(np.ascontiguousarray(part).data)
    elif isinstance(part, tuple | list):
        digest.update(f"[{len(part)}".encode())
        for inner in part:
            _add(digest, inner)
    else:
        if isinstance(part, np.generic):
            part = part.item()  # numpy's own repr changed between its releases
        digest.update(repr(part).encode("utf-8", "surrogatepass"))
    digest.update(b"\0")
