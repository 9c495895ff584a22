"""Modules out of training mode for a while, without dropout and batch statistics, and back as each layer was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def evaluating(*modules: Any) -> Iterator[None]:
    """Take modules out of training mode for a while; then each layer is in the mode in which it was.

    What is no `nn.Module` is left out. Layers that are not in training mode are not touched, so that several threads
    may compute with an encoder that none of them trains.
    """
    of_torch = [module for module in modules if isinstance(module, nn.Module)]
    trained = [layer for module in of_torch for layer in module.modules() if layer.training]
    for layer in trained:
        layer.training = False
    try:
        yield
    finally:
        for layer in trained:
            layer.training = True
