"""The last layer of a packed transformer at some tokens alone: above its attention, the others are not needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from nearfar.encoders.pretrained import backbone

# By the class of a layer, the part after which a token's state depends on no other token.
LAST_MIXING = {
    "BertLayer": "attention",
    "RobertaLayer": "attention",
    "XLMRobertaLayer": "attention",
    "TransformerBlock": "sa_layer_norm",  # DistilBERT
}
# Layers that add the attention to what they were given themselves: its norm, and the attention.
PRE_NORM = {"ModernBertEncoderLayer": ("attn_norm", "attn")}


@contextmanager
def last_layer_at(model: nn.Module, rows: Tensor) -> Iterator[bool]:
    """Inside, a packed forward pass gives the states (h, d) of some rows (h,) of its tokens; yield whether it does.

    It does not for models whose layers are not known. The feed-forward network of the last layer, which is two thirds
    of it, then has h rows to compute instead of all.
    """
    layers = backbone.layers(model)
    last = layers[-1] if len(layers) else None
    kind = type(last).__name__
    if last is None or kind not in LAST_MIXING | PRE_NORM:
        yield False
        return
    hooks = _of_pre_norm(last, *PRE_NORM[kind], rows) if kind in PRE_NORM else _of_mixing(last, LAST_MIXING[kind], rows)
    try:
        yield True
    finally:
        for hook in hooks:
            hook.remove()


def _of_mixing(layer: nn.Module, part: str, rows: Tensor) -> list[RemovableHandle]:
    """Let what a part gives be that of the rows alone."""
    return [layer.get_submodule(part).register_forward_hook(lambda _, __, out: _selected(out, rows))]


def _of_pre_norm(layer: nn.Module, norm: str, attention: str, rows: Tensor) -> list[RemovableHandle]:
    """Give a layer the states of the rows alone to add to, its attention those of all, and let it give the rows'."""
    whole: list[Tensor] = []

    def narrow(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        whole.append(given[0])
        return given[0].index_select(1, rows), *given[1:]

    def widen(_: nn.Module, __: tuple[Any, ...]) -> tuple[Any, ...]:
        return (whole.pop(),)

    return [
        layer.register_forward_pre_hook(narrow),
        layer.get_submodule(norm).register_forward_pre_hook(widen),
        *_of_mixing(layer, attention, rows),
    ]


def _selected(out: Any, rows: Tensor) -> Any:
    if isinstance(out, tuple):
        return out[0].index_select(1, rows), *out[1:]
    return out.index_select(1, rows)  # (1, h, d)
