"""Mlp: linear layers with a norm and a ReLU between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from nearfar.compute.fp32_products import replace_linear_layers
from nearfar.errors import InputError

Norm = Literal["batch", "layer", "none"]


class Mlp(nn.Module):
    """Linear layers; after each but the last a norm and a ReLU: SimCLR's projection, BYOL's and SimSiam's prediction.

    Chen et al. 2020 (arXiv:2002.05709, section 4.2) found that what the projection returns serves the loss, and what
    it takes serves everything else. Grill et al. 2020 (arXiv:2006.07733, section 3.3) use batch norm in both heads;
    Chen and He 2020 (arXiv:2011.10566, section 4.4) need it in the projection's last layer, too (`last_norm`).

    Args:
        dim: dimension of the vectors that it takes; nearfar hands it in.
        sizes: dimensions of the layers, the last is that of the result.
        norm: after each layer but the last: batch, layer or none. A layer that a norm follows has no bias.
        last_norm: a batch norm without scale and shift after the last layer, too.

    Call: vectors (n, dim) -> (n, sizes[-1]). Statistics are those of the whole batch, also with micro-batches and
    several ranks. Errors: `InputError` for no layer, or one without a dimension.

    Example:
        >>> import torch, nearfar as nf
        >>> nf.heads.Mlp(dim=512, sizes=[512, 128])(torch.randn(8, 512)).shape
        torch.Size([8, 128])

    When not to use it: with a pretrained encoder and pairs that say what is near; the encoder learns them itself.
    """

    def __init__(
        self, dim: int, sizes: Sequence[int] = (512, 128), norm: Norm = "batch", last_norm: bool = False
    ) -> None:
        super().__init__()
        if not sizes or min(sizes) < 1:
            raise InputError(f"heads.mlp.sizes: one dimension for each layer, each at least 1; it is {list(sizes)}")
        if norm not in ("batch", "layer", "none"):
            raise InputError(f"heads.mlp.norm must be batch, layer or none; it is {norm!r}")
        self.sizes, self.norm, self.last_norm = list(sizes), norm, last_norm
        self.dim = self.sizes[-1]
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(zip([dim, *self.sizes], self.sizes)):
            last = i == len(self.sizes) - 1
            normed = last_norm if last else norm != "none"
            layers.append(nn.Linear(before, after, bias=not normed))
            if last and last_norm:
                layers.append(nn.BatchNorm1d(after, affine=False))
            elif not last:
                layers += [nn.BatchNorm1d(after)] * (norm == "batch") + [nn.LayerNorm(after)] * (norm == "layer")
                layers.append(nn.ReLU())
        self.layers = nn.Sequential(*layers)
        replace_linear_layers(self.layers)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the head's vectors (n, dim)."""
        result: Tensor = self.layers(vectors)  # (n, dim)
        return result
