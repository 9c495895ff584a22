"""What the machine can do: devices, fast bf16 or not, memory."""

from __future__ import annotations

import ctypes
import resource
import sys
from functools import cache
from pathlib import Path

import torch

from nearfar.compute.ranks import Ranks
from nearfar.errors import InputError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def device(name: str, ranks: Ranks | None = None) -> torch.device:
    """Return the device of this name; "auto" is a GPU if there is one. Errors: `InputError` for one that is missing.

    With several ranks, "cuda" is the GPU of this rank's own number.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if ranks is not None and ranks.world_size > 1 and name.startswith("cuda"):
        if name != "cuda":
            raise InputError(
                f"training.device: {ranks.world_size} ranks cannot share {name!r}; give cuda, for one each"
            )
        name = f"cuda:{ranks.local}"
    try:
        chosen = torch.device(name)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"training.device: {name!r} is not there ({str(error).splitlines()[0]}); try cpu") from error
    return chosen


def precision(name: str, device: torch.device) -> str:
    """Return "bf16" or "fp32" as named; for "auto", bf16 where the device is faster with it."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device.type == "cpu" and cpu_bf16() else "fp32"


@cache
def cpu_bf16() -> bool:
    """Return whether this CPU multiplies bf16 matrices in hardware (AMX or AVX-512 BF16)."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:  # not Linux
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags


@cache
def onednn_fp32() -> bool:
    """Return whether fp32 matrices are multiplied faster by oneDNN than by MKL, which torch asks.

    MKL keeps its AVX-512 kernels for Intel's CPUs: a linear layer on AMD's takes it 2.2 times as long. Both compute in
    fp32, and differ by its rounding.
    """
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:  # not Linux
        return False
    return "AuthenticAMD" in flags and "avx512f" in flags and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def keep_freed_memory() -> None:
    """Let this process keep large blocks that it frees, for the next step, which needs as large ones.

    By default glibc gives blocks of 32 MB and more back to the system at once, and each new one must be filled with
    zeros again: a tenth of a step of ResNet-18 at 256 pictures. The peak of the memory rises by 5 to 16 % there.
    Elsewhere than on glibc it does nothing.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def peak_memory_mb() -> float:
    """Return this process's peak memory in MB: GPU memory where a GPU is used, else resident memory."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
