"""The last layer of a packed transformer at some tokens alone: after its attention, the others are not needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from nearfar.encoders.pretrained import backbone

# Layers that normalise after each part, by class: the part after which a token's state depends on no other token.
POST_NORM = {
    "BertLayer": "attention",
    "RobertaLayer": "attention",
    "XLMRobertaLayer": "attention",
    "TransformerBlock": "sa_layer_norm",  # DistilBERT
}
# Layers that normalise before each part, and add what they were given to its output: the first norm, and the attention.
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
    if last is None or kind not in POST_NORM | PRE_NORM:
        yield False
        return
    if kind in PRE_NORM:
        hooks = _select_around_attention(last, *PRE_NORM[kind], rows)
    else:
        hooks = [_select_after(last, POST_NORM[kind], rows)]
    try:
        yield True
    finally:
        for hook in hooks:
            hook.remove()


def _select_after(layer: nn.Module, part: str, rows: Tensor) -> RemovableHandle:
    """Let a part return the rows alone."""
    return layer.get_submodule(part).register_forward_hook(lambda _, __, out: _selected(out, rows))


def _select_around_attention(layer: nn.Module, norm: str, attention: str, rows: Tensor) -> list[RemovableHandle]:
    """Let the norm and the attention read all tokens; what the attention is added to is that of the rows alone."""
    whole: list[Tensor] = []

    def narrow(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        whole.append(given[0])
        return given[0].index_select(1, rows), *given[1:]

    def widen(_: nn.Module, __: tuple[Any, ...]) -> tuple[Any, ...]:
        return (whole.pop(),)

    return [
        layer.register_forward_pre_hook(narrow),
        layer.get_submodule(norm).register_forward_pre_hook(widen),
        _select_after(layer, attention, rows),
    ]


def _selected(out: Any, rows: Tensor) -> Any:
    if isinstance(out, tuple):
        return out[0].index_select(1, rows), *out[1:]
    return out.index_select(1, rows)  # (1, h, d)
