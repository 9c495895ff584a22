"""The vectors of classes that are known by their names alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from nearfar.errors import InputError, NoVectorError
from nearfar.text.class_prompts import filled

Vectors = npt.NDArray[np.float32]


def class_vectors(embed: Callable[[Sequence[str]], Vectors], names: Sequence[str], templates: Sequence[str]) -> Vectors:
    """Return a unit vector for each of c classes, (c, d): the mean over its prompts' unit vectors, normalised again.

    embed: n texts to unit vectors (n, d). Source: Radford et al. 2021, arXiv:2103.00020, section 3.1.4.

    Errors: `InputError`: a prompt that the model has no vector for, or prompts that cancel, by class.
    """
    prompts = [filled(template, name) for name in names for template in templates]
    try:
        each = np.asarray(embed(prompts), np.float32)
    except NoVectorError as error:
        name = names[error.row // len(templates)]
        raise InputError(f"class {name!r:.60}: its prompt {prompts[error.row]!r:.60} {error.why}") from error
    if each.ndim != 2 or len(each) != len(prompts):
        raise InputError(f"the text side returned {each.shape} for {len(prompts)} prompts; give ({len(prompts)}, d)")
    means = each.reshape(len(names), len(templates), -1).astype(np.float64).mean(1)  # (c, d)
    lengths = np.linalg.norm(means, axis=1)
    broken = np.flatnonzero(~(lengths > 1e-6))
    if len(broken):
        raise InputError(f"class {names[broken[0]]!r:.60}: its prompts cancel or have no vector; take other templates")
    found: Vectors = (means / lengths[:, None]).astype(np.float32)
    return found
