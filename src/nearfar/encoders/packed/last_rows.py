"""The last layer of a packed transformer at some tokens alone: above its attention, the others are not needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from nearfar.encoders.pretrained import backbone

# By the class of a layer, the part after which a token's state depends on no other token. Where a layer adds the
# attention to what it was given itself, as those of decoders and ModernBERT do, no part is the place.
LAST_MIXING = {
    "BertLayer": "attention",
    "RobertaLayer": "attention",
    "XLMRobertaLayer": "attention",
    "TransformerBlock": "sa_layer_norm",  # DistilBERT
}


@contextmanager
def last_layer_at(model: nn.Module, rows: Tensor) -> Iterator[bool]:
    """Inside, a packed forward pass gives the states (h, d) of some rows (h,) of its tokens; yield whether it does.

    It does not for models whose layers are not known. The feed-forward network of the last layer, which is two thirds
    of it, then has h rows to compute instead of all.
    """
    layers = backbone.layers(model)
    name = LAST_MIXING.get(type(layers[-1]).__name__) if len(layers) else None
    if name is None:
        yield False
        return

    def select(_: nn.Module, __: tuple[Any, ...], out: Any) -> Any:
        if isinstance(out, tuple):
            return out[0].index_select(1, rows), *out[1:]
        return out.index_select(1, rows)  # (1, h, d)

    hook = layers[-1].get_submodule(name).register_forward_hook(select)
    try:
        yield True
    finally:
        hook.remove()
