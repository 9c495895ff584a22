"""Probes: texts with the beginnings of their vectors, kept with a model, by which a server tells it is the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from nearfar.errors import InputError
from nearfar.figures import finite, mapping

PROBES = "probes"  # where nearfar.json has them
Probe = tuple[str, Sequence[float]]
_TEXTS = ("pull what belongs together near", "push far", "a red fox sleeps under the old bridge, 2 km away")
_DIMS = 16  # coordinates that are kept: enough to tell another vector


def made_probes(embed: Callable[[list[str]], Any]) -> list[Probe]:
    """Return the probes of a model, but for texts of which it knows no token. embed: texts to vectors (n, d)."""
    found: list[Probe] = []
    for text in _TEXTS:
        with suppress(InputError):
            found.append((text, embed([text])[0, :_DIMS].round(4).tolist()))
    return found


def probes_of(description: Mapping[str, Any]) -> list[Probe]:
    """Return the probes of a description; none where it has none, or they are no texts with finite numbers."""
    found: list[Probe] = []
    given = description.get(PROBES)
    for each in given if isinstance(given, list) else []:
        text, vector = mapping(each).get("text"), mapping(each).get("vector")
        if isinstance(text, str) and isinstance(vector, list) and all(finite(value) is not None for value in vector):
            found.append((text, vector))
    return found
