"""What the machine can do: devices, and whether bf16 products are fast here."""

from __future__ import annotations

import resource
import sys
from functools import cache
from pathlib import Path

import torch

from nearfar.compute.ranks import Ranks
from nearfar.errors import InputError


def device(asked: str, ranks: Ranks | None = None) -> torch.device:
    """Return the device to train on; "auto" is a GPU if there is one. Errors: `InputError` for one that is missing.

    Of several ranks each has a GPU of its own.
    """
    if asked == "auto":
        asked = "cuda" if torch.cuda.is_available() else "cpu"
    if ranks is not None and ranks.world_size > 1 and asked.startswith("cuda"):
        if asked != "cuda":
            raise InputError(
                f"training.device: {ranks.world_size} ranks cannot share {asked!r}; give cuda, for one each"
            )
        asked = f"cuda:{ranks.local}"
    try:
        found = torch.device(asked)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"training.device: {asked!r} is not there ({str(error).splitlines()[0]}); try cpu") from error
    return found


def precision(asked: str, where: torch.device) -> str:
    """Return "bf16" or "fp32": what was asked, or for "auto" bf16 where it is the faster."""
    if asked != "auto":
        return asked
    if where.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if where.type == "cpu" and cpu_bf16() else "fp32"


@cache
def cpu_bf16() -> bool:
    """Say whether this CPU multiplies bf16 matrices in hardware (AMX or AVX-512 BF16)."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:  # no Linux
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags


def peak_memory_mb() -> float:
    """Return the most memory this process has held, in MB: of the GPU where one is used, else resident."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
