"""Matryoshka: one loss on the first coordinates of the vectors, at several lengths together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, cast

from torch import Tensor, nn
from torch.nn.functional import normalize

from nearfar import registry
from nearfar.abilities import RankParts, learnt_of
from nearfar.contracts import Loss
from nearfar.errors import InputError
from nearfar.losses.infonce import InfoNCE
from nearfar.losses.tiled.checks import check_setting, exact_vectors
from nearfar.pairs import Pairs
from nearfar.registry import PartOf
from nearfar.requirements import refuse_incomplete

SMALLEST = 32  # where the default stops halving


class Matryoshka(nn.Module):
    """Train the first m coordinates for several m, so that a vector may be cut short and still be of use.

        L = sum_m w_m loss(q[:m] / |q[:m]|, k[:m] / |k[:m]|, pairs)

    Source: Kusupati et al. 2022, arXiv:2205.13147, equation 1 (w_m = 1). Vectors are put back on the sphere where the
    loss wants them there; cutting what was on the sphere and putting it back is the same as cutting the raw vectors.
    `Model.embed(dim=m)` gives the short vectors.

    Args:
        of: the loss, `{name: infonce, temperature: 0.05}`; None is InfoNCE with its defaults. Its parameters are shared
            by all lengths.
        dims: the lengths; None is the whole, a half, a quarter, ... down to 32 at least.
        weights: of each length's loss; None is one each.
        dim: of the encoder; a recipe hands it in.

    Call: queries (n, d), keys (m, d), pairs -> scalar. The loss is computed once for each length, the encoder once.

    Errors: `InputError` for lengths that are no lengths of the vectors, or weights that do not fit them; a loss with
    parameters of the whole dimension (cluster_swap), or one that compares no vectors; those of the loss.

    Example:
        >>> import torch, nearfar as nf
        >>> q = torch.nn.functional.normalize(torch.randn(8, 4), dim=1)
        >>> loss = nf.losses.Matryoshka(nf.losses.InfoNCE(temperature=0.05), dims=[4, 2])
        >>> loss(q, q, nf.Pairs.aligned(8)).shape
        torch.Size([])

    When not to use it: where the whole vectors are all that is ever stored; they lose a little by it.
    """

    unit: ClassVar[bool] = True  # defaults of the class; an object has those of its loss
    cacheable: ClassVar[bool] = True
    needs_negatives: ClassVar[bool] = True

    def __init__(
        self,
        of: Annotated[Loss | None, PartOf("losses")] = None,
        dims: list[int] | None = None,
        weights: list[float] | None = None,
        dim: int | None = None,
    ) -> None:
        super().__init__()
        inner = InfoNCE() if of is None else of
        _refuse_unfit(inner)
        _check_dims(dims, weights, dim)
        self.of = cast("nn.Module", inner)
        self.dims, self.weights, self.dim = dims, weights, dim
        vars(self).update(unit=inner.unit, cacheable=inner.cacheable, needs_negatives=inner.needs_negatives)

    @property
    def learnt(self) -> dict[str, float]:
        """What stands between cosines and logits in the loss inside (`abilities.HasLearnt`)."""
        return learnt_of(self.of)

    def forward(self, queries: Tensor, keys: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss, a scalar."""
        return self._sum(queries, keys, pairs, self.of)

    def part(self, queries: Tensor, keys: Tensor, pairs: Pairs, rank: int, world_size: int) -> Tensor:
        """Return one rank's part of the loss, a scalar. All ranks hold the whole batch; their parts add up to it."""
        if isinstance(self.of, RankParts):
            inner_part = self.of.part
            return self._sum(queries, keys, pairs, lambda q, k, p: inner_part(q, k, p, rank, world_size))
        return self._sum(queries, keys, pairs, self.of) / world_size

    def _sum(self, queries: Tensor, keys: Tensor, pairs: Pairs, loss: Callable[..., Tensor]) -> Tensor:
        q, k = exact_vectors(queries, keys, pairs)
        k = q if keys is queries else k  # one tensor still: a loss then computes half of its tiles
        dims = self.dims or halves(q.shape[1])
        _check_dims(dims, self.weights, q.shape[1])
        total = q.new_zeros(())
        for size, weight in zip(dims, self.weights or [1.0] * len(dims), strict=True):
            short = self._cut(q, size)
            total = total + weight * loss(short, short if k is q else self._cut(k, size), pairs)
        return total

    def _cut(self, vectors: Tensor, size: int) -> Tensor:
        short = vectors[:, :size]
        return normalize(short, dim=1) if self.unit and size < vectors.shape[1] else short


def halves(dim: int) -> list[int]:
    """Return dim, dim / 2, dim / 4, ... as long as they are at least `SMALLEST`."""
    found = [dim]
    while found[-1] // 2 >= SMALLEST:
        found.append(found[-1] // 2)
    return found


def _check_dims(dims: list[int] | None, weights: list[float] | None, dim: int | None) -> None:
    """Raise `InputError` unless dims are lengths of vectors (of `dim`, if given) and the weights fit them."""
    wrong = [size for size in dims or [] if size < 1 or size > (dim or size)]
    if wrong or dims == [] or len(set(dims or [])) != len(dims or []):
        whole = "" if dim is None else f", at most the encoder's {dim}"
        raise InputError(f"matryoshka.dims are distinct lengths of vectors, at least 1{whole}; they are {dims}")
    lengths = dims or (None if dim is None else halves(dim))
    if weights is not None and lengths is not None and len(weights) != len(lengths):
        raise InputError(f"matryoshka.weights: {len(weights)} for {len(lengths)} dims; give one for each, or none")
    for weight in weights or []:
        check_setting("matryoshka.weights", weight, above=0)


def _refuse_unfit(loss: Any) -> None:
    """Raise `InputError` for a loss that cannot take vectors of several lengths."""
    name = registry.name_of(type(loss))
    refuse_incomplete("losses", loss, where="matryoshka.of")
    if "dim" in registry.settings(type(loss)):
        raise InputError(f"matryoshka.of: {name} has parameters of the whole dimension, which no shorter vector fits")
