"""The optimiser of a run: AdamW, Adam and SGD of torch, LARS and Muon of timm, and which parameters each treats how."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from nearfar.compute.hardware import precision
from nearfar.compute.scheduled import bounds, value_at
from nearfar.errors import InputError
from nearfar.training.settings import Settings

OF_TIMM = ("lars", "muon")
ADAMW: dict[str, Any] = {"use_muon": False, "nesterov": False, "betas": (0.9, 0.999), "eps": 1e-8}


def refuse_missing_optimizer(settings: Settings) -> None:
    """Refuse an optimiser whose library is missing. Errors: `InputError` with the line to type."""
    if settings.optimizer in OF_TIMM:
        _timm(settings.optimizer)


def build_optimizer(
    parameters: Mapping[str, nn.Parameter],
    settings: Settings,
    rates: Mapping[str, float] | None = None,
    tables: Collection[str] = (),
) -> torch.optim.Optimizer:
    """Return the optimiser, with weight decay on matrices only.

    rates: factors on the learning rate by parameter name; 1 for those that are not named. tables: names of embedding
    tables. Each group of parameters says whether it is `decayed`.

    LARS (You et al. 2017, arXiv:1708.03888) scales each matrix's step by the ratio of its norm to its gradient's;
    biases and scales are neither scaled nor decayed, as in SimCLR and BYOL. Muon (Jordan et al. 2024) takes matrices
    and convolutions, flattened to (out, in h w), with steps as long as AdamW's (Liu et al. 2025, arXiv:2502.16982), so
    AdamW's learning rates fit, in bf16 where the hardware has it; its own AdamW takes the rest: tables, biases, scales,
    and depthwise kernels.
    """
    high = bounds(settings.weight_decay)[1]
    first = value_at(settings.weight_decay, 0, 1)
    members: dict[tuple[float, bool, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        matrix = parameter.ndim >= 2  # decay would shift, not shrink, biases and scales
        special = settings.optimizer in OF_TIMM and matrix
        if settings.optimizer == "muon":
            special = matrix and name not in tables and min(parameter.shape[:2]) > 1
        members.setdefault(((rates or {}).get(name, 1.0), high > 0 and matrix, special), []).append(parameter)
    groups: list[dict[str, Any]] = [
        {
            **{"params": group, "lr": settings.rate * rate, "weight_decay": first * decayed, "decayed": decayed},
            **_of_group(settings.optimizer, special),
        }
        for (rate, decayed, special), group in sorted(members.items(), key=lambda entry: entry[0], reverse=True)
    ]
    if settings.optimizer in OF_TIMM:
        kind = _timm(settings.optimizer)
        devices = {parameter.device for parameter in parameters.values()}
        if settings.optimizer == "muon" and any(precision("auto", device) == "fp32" for device in devices):
            kind = _in_float32(kind)
        found: torch.optim.Optimizer = kind(groups, lr=settings.rate)
        return found
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, settings.rate, momentum=0.9)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, settings.rate, fused=True)  # fused: eight times faster on CPU


def table_names(module: nn.Module) -> set[str]:
    """Return the names of the embedding tables in a module: their rows are no matrix's, and Muon must not mix them."""
    kinds = (nn.Embedding, nn.EmbeddingBag)
    layers = ((name, layer) for name, layer in module.named_modules() if isinstance(layer, kinds))
    return {f"{name}.weight".removeprefix(".") for name, layer in layers}


def _of_group(optimizer: str, special: bool) -> dict[str, Any]:
    """Return what timm's optimisers take beside rate and weight decay; special: of what LARS scales or Muon takes."""
    if optimizer == "lars":
        return {"momentum": 0.9, "always_adapt": special}
    if optimizer == "muon":
        return {"use_muon": True, "nesterov": True, "adjust_lr_fn": "match_rms_adamw"} if special else ADAMW
    return {}


def _in_float32(kind: Any) -> Any:
    """Return timm's Muon with its iteration in float32, which timm has in bf16 and no setting for.

    Without hardware for bf16, the products of a step of `simclr` took 13 s of a CPU in bf16, and 0.2 s in float32.
    """
    from timm.optim import muon

    in_bf16 = muon.zeropower_via_newtonschulz

    class Muon(kind):  # type: ignore[misc]
        def step(self, closure: Any = None) -> Any:
            muon.zeropower_via_newtonschulz = partial(in_bf16, dtype=torch.float32)
            try:
                return super().step(closure)
            finally:
                muon.zeropower_via_newtonschulz = in_bf16

    return Muon


def _timm(name: str) -> Any:
    """Return an optimiser of timm. Errors: `InputError` where timm is not installed, with the line to type."""
    try:
        from timm.optim.lars import Lars
        from timm.optim.muon import Muon
    except ImportError as error:
        raise InputError(f"training.optimizer={name} needs timm: pip install 'nearfar[images]'") from error
    return Lars if name == "lars" else Muon
