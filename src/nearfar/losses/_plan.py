"""What a sweep over tiles needs beside the vectors, and in which arithmetic it goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nearfar.losses._relations import Relations

# exp(|S|) and its sums over millions of terms stay far inside a type's range up to here: no shift by the maximum
DIRECT = {torch.float32: 60.0, torch.bfloat16: 60.0, torch.float64: 300.0}
BF16_LIMIT = 50.0  # beyond, the rounding of a bf16 logit (2^-9 of it) bends the gradient too far

Side = Literal["far", "near", "both"]  # which candidates; the listed positives are never in the tiles


@dataclass(frozen=True)
class Plan:
    """What a sweep needs beside the vectors.

    side: "far" negatives; "near" what is positive by class; "both". columns: the way back, too. itself: z is k, and S
    symmetric. pick: read the listed positives from the tiles, which are exact enough. row_limit (n,), column_limit
    (m,): an entry of S above is no candidate of its row, of its column.
    """

    relations: Relations
    side: Side
    columns: bool
    tile: int
    dtype: torch.dtype
    direct: bool
    itself: bool = False
    row_limit: Tensor | None = None
    column_limit: Tensor | None = None
    pick: bool = False


PRECISIONS = ("auto", "bf16", "fp32")


def arithmetic(z: Tensor, k: Tensor, precision: str) -> tuple[torch.dtype, bool]:
    """Return the type of the tiles' products, and whether exponentials may be summed without a shift.

    precision: "fp32", "bf16", or "auto": bf16 if it is exact enough for these vectors. float64 stays float64.
    """
    bound = float(z.detach().norm(dim=1).amax() * k.detach().norm(dim=1).amax())  # of every |S|, Cauchy-Schwarz
    dtype = z.dtype
    if dtype != torch.float64 and (precision == "bf16" or (precision == "auto" and bound <= BF16_LIMIT)):
        dtype = torch.bfloat16
    return dtype, bound <= DIRECT[dtype]


def tile_precision(asked: str, vectors: Tensor) -> str:
    """Return `asked`, or for "auto" whether bf16 may be considered: under its autocast, or with bf16 vectors."""
    device = vectors.device.type
    autocast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16
    return asked if asked != "auto" or autocast or vectors.dtype == torch.bfloat16 else "fp32"
