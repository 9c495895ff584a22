"""Attention over packed texts, behind transformers' attention interface: each text attends to itself alone.

Groups of texts of similar length are computed as one padded matrix each (`packing`). On a CPU: S = scale q k',
P = softmax(S), o = drop(P) v (Vaswani et al. 2017, arXiv:1706.03762), as matrix products over blocks that fit the
cache. torch's fused kernel has a slow backward pass there and no dropout; with dropout it is five times slower. Only P
is stored for the backward pass, and the sign of each of its entries says whether that entry was dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad, scaled_dot_product_attention

from nearfar.encoders.packed.bf16_layers import INTEGERS, byte_dropout, draw_seed, effective_rate
from nearfar.encoders.packed.packing import Group, Packing

ATTENTION_NAME = "nearfar_packed"
ATTENTION_BLOCK = 2**20  # scores computed in one block: what a core's cache holds
LONG_TEXT = 2_048  # tokens: longer texts without dropout are left to the fused kernel, which does not store P
# Arguments of transformers' attention calls that are handled below, or make no difference to packed texts.
KNOWN_ARGUMENTS = {"position_ids", "cache_position", "is_causal", "output_attentions", "use_cache", "past_key_values"}


class Unpackable(Exception):
    """A model asks for a kind of attention that packed attention does not have."""


@dataclass(frozen=True)
class AttentionOptions:
    """The kind of attention: the scale of the scores, the dropout rate, and which tokens attend to which."""

    scale: float
    dropout: float = 0.0
    causal: bool = False
    window: int | None = None  # tokens further apart than window - 1 do not attend to each other

    def bias(self, group: Group, first: int, last: int, like: Tensor) -> Tensor | None:
        """Return the mask to add to the scores of some rows, 0 or -inf, (rows or 1, 1, length or 1, length)."""
        length, reach = group.length, self.window or group.length
        masked = None
        if self.causal or reach < length:
            position = torch.arange(length, device=like.device)
            distance = (position[:, None] - position)[None, None]  # (1, 1, length, length), query minus key
            masked = (distance >= reach) | (distance < 0 if self.causal else -distance >= reach)
        if group.padding is not None and not self.causal:  # padding comes last, so causal attention never reaches it
            padding = group.padding[first:last, None, None, :]
            # Every token attends at least to itself: a row of the softmax needs one key.
            masked = padding if masked is None else (masked | padding) & (distance != 0)
        if masked is None:
            return None
        return torch.zeros(masked.shape, dtype=like.dtype, device=like.device).masked_fill_(masked, -torch.inf)


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
    unknown = sorted(
        name for name, given in others.items() if name not in KNOWN_ARGUMENTS and given not in (None, False)
    )
    if packing is None or attention_mask is not None or unknown or others.get("past_key_values") is not None:
        raise Unpackable(f"attention was given {', '.join(unknown) or 'a mask, or no packing'}")
    causal = others.get("is_causal")
    causal = bool(getattr(module, "is_causal", False) if causal is None else causal)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))  # (t, heads, d)
    if k.shape[1] != q.shape[1]:  # grouped-query attention: each key serves several heads
        k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    options = AttentionOptions(scale, dropout, causal, sliding_window)
    return packed_attention(q, k, v, packing, options)[None], None


def packed_attention(q: Tensor, k: Tensor, v: Tensor, packing: Packing, options: AttentionOptions) -> Tensor:
    """Return each text's attention over itself, (t, heads, d), of packed q, k and v of that shape.

    The packing's filler attends to nothing, and gets zeros.
    """
    if packing.filler:
        q, k, v = (x[: -packing.filler] for x in (q, k, v))
        return pad(packed_attention(q, k, v, replace(packing, filler=0), options), (0, 0, 0, 0, 0, packing.filler))
    longest = packing.groups[0].length
    if q.device.type != "cpu" or (longest > LONG_TEXT and not options.dropout):
        return _fused(q, k, v, packing, options)
    if options.dropout:
        options = replace(options, dropout=effective_rate(options.dropout))
    if torch.is_autocast_enabled("cpu"):  # under autocast q, k and v may be of different types
        q, k, v = (x.to(torch.get_autocast_dtype("cpu")) for x in (q, k, v))
    with torch.autocast("cpu", enabled=False):
        out: Tensor = _BlockedAttention.apply(q, k, v, packing, options)
    return out


def _fused(q: Tensor, k: Tensor, v: Tensor, packing: Packing, options: AttentionOptions) -> Tensor:
    """Return the same by torch's own kernels, one call for each group."""
    outs = []
    for group in packing.groups:
        block = _Block(group, 0, group.rows)
        queries, keys, values = (_by_row(block.read(x), group.rows) for x in (q, k, v))  # (rows, heads, length, d)
        causal = options.causal and options.window is None  # the kernel's own causal form is faster than a mask
        bias = None if causal else options.bias(group, 0, group.rows, queries)
        out = scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=bias,
            dropout_p=options.dropout,
            is_causal=causal,
            scale=options.scale,
        )
        out = out.transpose(1, 2).flatten(0, 1)  # (rows * length, heads, d)
        outs.append(out if group.token_slot is None else out[group.token_slot])
    return torch.cat(outs)


class _BlockedAttention(torch.autograd.Function):
    """Attention in blocks of some texts, a few matrix products for each block."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, packing: Packing, options: AttentionOptions) -> Tensor:
        needs_grad = any(ctx.needs_input_grad[:3])
        generator = np.random.SFC64(draw_seed()) if options.dropout else None
        out = torch.empty(q.shape, dtype=q.dtype)
        saved: list[Tensor] = []  # P of each block, negative where dropped
        for block in _blocks(packing, q.shape[1]):
            scores = torch.bmm(block.read(q).mul(options.scale), block.read(k).transpose(1, 2))
            bias = options.bias(block.group, block.first, block.last, q)
            if bias is not None:
                _by_row(scores, block.last - block.first).add_(bias)
            p = scores.softmax(-1)  # (rows * heads, length, length)
            dropped = p
            if generator is not None:
                bits = p.view(INTEGERS[p.dtype])
                bits.bitwise_or_(byte_dropout(generator, p.shape, options.dropout, p.dtype))
                dropped = p.relu()
            block.write(out, torch.bmm(dropped, block.read(v)).mul_(1 / (1 - options.dropout)))
            if needs_grad:
                saved.append(p)
        ctx.packing, ctx.options = packing, options
        ctx.save_for_backward(q, k, v, out, *saved)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast("cpu", enabled=False):  # the backward pass may run inside autocast
            return _BlockedAttention._backward(ctx, grad)

    @staticmethod
    def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of q, k and v: with g = do / (1 - dropout) and * for products of entries,

        dv = drop(P)' g, dS = drop(P) * (g v') - P * rowsum(do * o), dq = scale dS k, dk = scale dS' q.
        """
        q, k, v, out, *saved = ctx.saved_tensors
        options: AttentionOptions = ctx.options
        exact = torch.promote_types(q.dtype, torch.float32)
        rowsum = (grad.to(exact) * out.to(exact)).sum(-1, keepdim=True).to(q.dtype)  # (t, heads, 1)
        dq, dk, dv = (torch.empty(q.shape, dtype=q.dtype) for _ in range(3))
        for p, block in zip(saved, _blocks(ctx.packing, q.shape[1]), strict=True):
            dropped, p = (p.relu(), p.abs()) if options.dropout else (p, p)
            g = block.read(grad, zero=True).mul(1 / (1 - options.dropout))
            block.write(dv, torch.bmm(dropped.transpose(1, 2), g))
            ds = torch.bmm(g, block.read(v).transpose(1, 2)).mul_(dropped)  # (rows * heads, length, length)
            ds.addcmul_(p, block.read(rowsum, zero=True), value=-1)
            block.write(dq, torch.bmm(ds, block.read(k)).mul_(options.scale))
            block.write(dk, torch.bmm(ds.transpose(1, 2), block.read(q)).mul_(options.scale))
        return dq, dk, dv, None, None


@dataclass(frozen=True)
class _Block:
    """Some texts of a group, rows `first` to `last`, that are computed together."""

    group: Group
    first: int
    last: int

    def read(self, x: Tensor, *, zero: bool = False) -> Tensor:
        """Return one matrix for each text and head, (rows * heads, length, d), of packed x (t, heads, d).

        zero: zeros at padding, as gradients need it; without it, padding holds the values of any token.
        """
        group, length = self.group, self.group.length
        if group.slot_token is None or group.padding is None:
            slots = x[group.start + self.first * length : group.start + self.last * length]
        else:
            slots = x.index_select(0, group.slot_token[self.first * length : self.last * length])
            if zero:
                slots.masked_fill_(group.padding[self.first : self.last].reshape(-1, 1, 1), 0)
        rows = _by_row(slots, self.last - self.first).transpose(1, 2)  # (rows, heads, length, d)
        return rows.reshape(-1, length, x.shape[2])

    def write(self, x: Tensor, matrices: Tensor) -> None:
        """Write matrices (rows * heads, length, d) to their tokens in packed x (t, heads, d)."""
        group, length = self.group, self.group.length
        slots = _by_row(matrices, self.last - self.first).transpose(1, 2).flatten(0, 1)  # (rows * length, heads, d)
        if group.token_slot is None:
            x[group.start + self.first * length : group.start + self.last * length] = slots
        else:
            first, last = group.tokens_before(self.first), group.tokens_before(self.last)
            tokens = x[group.start + first : group.start + last]
            torch.index_select(slots, 0, group.token_slot[first:last] - self.first * length, out=tokens)


def _by_row(x: Tensor, rows: int) -> Tensor:
    """Return x (rows * r, ...) as (rows, r, ...), the same memory."""
    return x.view(rows, -1, *x.shape[1:])


def _blocks(packing: Packing, heads: int) -> Iterator[_Block]:
    for group in packing.groups:
        step = max(1, ATTENTION_BLOCK // (heads * group.length**2))
        for first in range(0, group.rows, step):
            yield _Block(group, first, min(first + step, group.rows))
