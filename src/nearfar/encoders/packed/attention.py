"""Attention over packed texts, as transformers' own interface calls it: group by group, and nothing kept but P.

On a CPU: S = scale q k', P = softmax(S), o = drop(P) v as matrix products over blocks that fit the cache (Vaswani et
al. 2017, arXiv:1706.03762). The fused kernel there is slow on the way back, and knows no dropout: with it, it is five
times slower. What is kept for the way back is P alone, with the sign of each entry saying whether it was dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention

from nearfar.encoders.packed.bf16_layers import INTEGERS, byte_dropout, draw_seed, effective_rate
from nearfar.encoders.packed.packing import Group, Packing

ATTENTION_NAME = "nearfar_packed"
ATTENTION_BLOCK = 2**20  # scores computed at once: what a core's cache holds
LONG_TEXT = 2_048  # tokens of a text from which attention without dropout is left to the fused kernel, which keeps no P
KNOWN = {"position_ids", "cache_position", "is_causal", "output_attentions", "use_cache", "past_key_values"}


class Unpackable(Exception):
    """A model asks attention for something that the packed one does not know."""


@dataclass(frozen=True)
class AttentionOptions:
    """What kind of attention: the scale of scores, the share of entries dropped, who may look at whom."""

    scale: float
    dropout: float = 0.0
    causal: bool = False
    window: int | None = None  # tokens further apart than window - 1 do not see each other

    def bias(self, group: Group, first: int, last: int, like: Tensor) -> Tensor | None:
        """Return what is added to some texts' scores, 0 or minus infinity, (rows or 1, 1, length or 1, length)."""
        length, reach = group.length, self.window or group.length
        hidden = None
        if self.causal or reach < length:
            place = torch.arange(length, device=like.device)
            apart = (place[:, None] - place)[None, None]  # (1, 1, length, length)
            hidden = (apart >= reach) | (apart < 0 if self.causal else -apart >= reach)
        if group.padding is not None and not self.causal:  # padding comes last: causal attention never sees it
            padded = group.padding[first:last, None, None, :]
            hidden = padded if hidden is None else (hidden | padded) & (apart != 0)  # each sees one, if only itself
        if hidden is None:
            return None
        return torch.zeros(hidden.shape, dtype=like.dtype, device=like.device).masked_fill_(hidden, -torch.inf)


def attention_function(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    packing: Packing | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Return attention (1, t, heads, d) of query (1, heads, t, d), key and value (1, fewer or as many heads, t, d).

    Errors: `Unpackable` for a mask, or an argument that is not known here.
    """
    strange = sorted(name for name, given in others.items() if name not in KNOWN and given not in (None, False))
    if packing is None or attention_mask is not None or strange or others.get("past_key_values") is not None:
        raise Unpackable(f"attention was given {', '.join(strange) or 'a mask, or no packing'}")
    causal = others.get("is_causal")
    causal = bool(getattr(module, "is_causal", False) if causal is None else causal)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))  # (t, heads, d)
    if k.shape[1] != q.shape[1]:  # grouped queries: each key serves several heads
        k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    form = AttentionOptions(scale, dropout, causal, sliding_window)
    return packed_attention(q, k, v, packing, form)[None], None


def packed_attention(q: Tensor, k: Tensor, v: Tensor, packing: Packing, form: AttentionOptions) -> Tensor:
    """Return each text's attention over itself, (t, heads, d), of packed q, k and v of that shape."""
    longest = packing.groups[0].length
    if q.device.type != "cpu" or (longest > LONG_TEXT and not form.dropout):
        return _fused(q, k, v, packing, form)
    if form.dropout:
        form = replace(form, dropout=effective_rate(form.dropout))
    if torch.is_autocast_enabled("cpu"):  # what is not lean may hand on several types
        q, k, v = (x.to(torch.get_autocast_dtype("cpu")) for x in (q, k, v))
    with torch.autocast("cpu", enabled=False):
        out: Tensor = _Blocks.apply(q, k, v, packing, form)
    return out


def _fused(q: Tensor, k: Tensor, v: Tensor, packing: Packing, form: AttentionOptions) -> Tensor:
    """Leave each group to torch's kernels."""
    outs = []
    for group in packing.groups:
        whole = _Block(group, 0, group.rows)
        queries, keys, values = (_folded(whole.read(x), group.rows) for x in (q, k, v))  # (rows, heads, length, d)
        plain = form.causal and form.window is None  # the kernel's own causal form is the faster, and needs no mask
        bias = None if plain else form.bias(group, 0, group.rows, queries)
        out = scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=bias,
            dropout_p=form.dropout,
            is_causal=plain,
            scale=form.scale,
        )
        out = out.transpose(1, 2).flatten(0, 1)  # (rows * length, heads, d)
        outs.append(out if group.real is None else out[group.real])
    return torch.cat(outs)


class _Blocks(torch.autograd.Function):
    """Attention in blocks of some texts, each a few matrix products."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, packing: Packing, form: AttentionOptions) -> Tensor:
        learns = any(ctx.needs_input_grad[:3])
        random = np.random.SFC64(draw_seed()) if form.dropout else None
        out = torch.empty(q.shape, dtype=q.dtype)
        shares: list[Tensor] = []  # P of each block, negative where dropped
        for block in _blocks(packing, q.shape[1]):
            scores = torch.bmm(block.read(q).mul(form.scale), block.read(k).transpose(1, 2))
            bias = form.bias(block.group, block.first, block.last, q)
            if bias is not None:
                _folded(scores, block.last - block.first).add_(bias)
            share = scores.softmax(-1)  # (rows * heads, length, length)
            kept = share
            if random is not None:
                view = share.view(INTEGERS[share.dtype])
                view.bitwise_or_(byte_dropout(random, share.shape, form.dropout, share.dtype))
                kept = share.relu()
            block.write(out, torch.bmm(kept, block.read(v)).mul_(1 / (1 - form.dropout)))
            if learns:
                shares.append(share)
        ctx.packing, ctx.form = packing, form
        ctx.save_for_backward(q, k, v, out, *shares)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast("cpu", enabled=False):  # whoever goes back inside autocast
            return _Blocks._back(ctx, grad)

    @staticmethod
    def _back(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, *shares = ctx.saved_tensors
        form: AttentionOptions = ctx.form
        exact = torch.promote_types(q.dtype, torch.float32)
        dots = (grad.to(exact) * out.to(exact)).sum(-1, keepdim=True).to(q.dtype)  # (t, heads, 1)
        grads = [torch.empty(q.shape, dtype=q.dtype) for _ in range(3)]
        for share, block in zip(shares, _blocks(ctx.packing, q.shape[1]), strict=True):
            kept, whole = (share.relu(), share.abs()) if form.dropout else (share, share)
            above = block.read(grad, zero=True).mul(1 / (1 - form.dropout))
            block.write(grads[2], torch.bmm(kept.transpose(1, 2), above))
            slope = torch.bmm(above, block.read(v).transpose(1, 2)).mul_(kept)  # (rows * heads, length, length)
            slope.addcmul_(whole, block.read(dots, zero=True), value=-1)
            block.write(grads[0], torch.bmm(slope, block.read(k)).mul_(form.scale))
            block.write(grads[1], torch.bmm(slope.transpose(1, 2), block.read(q)).mul_(form.scale))
        return (*grads, None, None)


@dataclass(frozen=True)
class _Block:
    """Some texts of a group, rows `first` to `last`, that are computed at once."""

    group: Group
    first: int
    last: int

    def read(self, x: Tensor, *, zero: bool = False) -> Tensor:
        """Return one matrix for each text and head, (rows * heads, length, d), of packed x (t, heads, d).

        zero: zeros in the place of padding, as gradients need it; else it holds any token's.
        """
        group, length = self.group, self.group.length
        if group.place is None or group.padding is None:
            some = x[group.start + self.first * length : group.start + self.last * length]
        else:
            some = x.index_select(0, group.place[self.first * length : self.last * length])
            if zero:
                some[group.padding[self.first : self.last].flatten()] = 0
        rows = _folded(some, self.last - self.first).transpose(1, 2)  # (rows, heads, length, d)
        return rows.reshape(-1, length, x.shape[2])

    def write(self, x: Tensor, some: Tensor) -> None:
        """Put matrices (rows * heads, length, d) where their tokens lie in packed x (t, heads, d)."""
        group, length = self.group, self.group.length
        rows = _folded(some, self.last - self.first).transpose(1, 2).flatten(0, 1)  # (rows * length, heads, d)
        if group.place is None or group.padding is None:
            x[group.start + self.first * length : group.start + self.last * length] = rows
        else:
            here = ~group.padding[self.first : self.last].flatten()
            x[group.place[self.first * length : self.last * length][here]] = rows[here]


def _folded(x: Tensor, rows: int) -> Tensor:
    """Return x (rows * r, ...) as (rows, r, ...), the same memory."""
    return x.view(rows, -1, *x.shape[1:])


def _blocks(packing: Packing, heads: int) -> Iterator[_Block]:
    for group in packing.groups:
        step = max(1, ATTENTION_BLOCK // (heads * group.length**2))
        for first in range(0, group.rows, step):
            yield _Block(group, first, min(first + step, group.rows))
