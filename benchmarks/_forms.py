"""The losses of the contest, ours and the peers', as functions of embeddings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

DIM = 384
SCALE = 20.0
CLASSES = 100
Compute = Callable[[Tensor, Tensor], Tensor]  # of two views (n, d) each; both together where a view asks all views


@dataclass(frozen=True)
class Contest:
    """One loss in several hands. `make` builds a contestant for n rows; `views`: of how many n counts the rows.

    own: forms written for this benchmark, not anyone's; the others are peers.
    """

    title: str
    views: int
    make: dict[str, Callable[[int], Compute]]
    own: tuple[str, ...] = ()


def vectors(n: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Return two views on the sphere, (n, d) each; a pair's cosine is about 0.26, as early in a training."""
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(n, DIM, generator=generator)
    views = [normalize(0.6 * base + torch.randn(n, DIM, generator=generator), dim=1) for _ in range(2)]
    return [view.to(dtype).requires_grad_() for view in views]


def labels(n: int) -> Tensor:
    """Return a class for each row, (n,), each as often as the others."""
    return torch.arange(n) % CLASSES


# both ways: queries against keys and back ----------------------------------------------------------------------------


def _ours(n: int) -> Compute:
    from nearfar.losses.infonce import InfoNCE
    from nearfar.pairs import Pairs

    loss, pairs = InfoNCE(1.0 / SCALE), Pairs.aligned(n)
    return lambda q, k: loss(q, k, pairs)


def _cross_entropy(n: int) -> Compute:
    """Return the form that everyone writes."""
    t = torch.arange(n)

    def compute(q: Tensor, k: Tensor) -> Tensor:
        s = (q * SCALE) @ k.T  # (n, n)
        return (cross_entropy(s, t) + cross_entropy(s.T, t)) / 2

    return compute


def _contiguous(n: int) -> Compute:
    """Return the same with the transposed matrix copied, so that the backward pass reads along memory."""
    t = torch.arange(n)

    def compute(q: Tensor, k: Tensor) -> Tensor:
        s = (q * SCALE) @ k.T  # (n, n)
        return (cross_entropy(s, t) + cross_entropy(s.T.contiguous(), t)) / 2

    return compute


def _log_sum_exp(n: int) -> Compute:  # noqa: ARG001  the forms are called alike
    """Return the fastest plain form found: log-sum-exp over both sides, positives apart.

    In fp32 after the product: under autocast log-sum-exp stays in bf16, and its gradient is off by a seventh.
    """

    def compute(q: Tensor, k: Tensor) -> Tensor:
        z = q * SCALE
        s = (z @ k.T).float()  # (n, n)
        positive = (z * k).sum(1)  # (n,)
        return (s.logsumexp(1) + s.logsumexp(0)).mean() / 2 - positive.mean()

    return compute


def _open_clip(n: int) -> Compute:  # noqa: ARG001
    from open_clip.loss import ClipLoss

    loss = ClipLoss(cache_labels=True)
    return lambda q, k: loss(q, k, torch.tensor(SCALE))


def _sentence_transformers(n: int, *, dot: bool = False) -> Compute:
    """Return it with its own cosine, or with the dot product, which spares it normalising unit vectors again."""
    from sentence_transformers.losses import MultipleNegativesRankingLoss
    from sentence_transformers.util import cos_sim, dot_score

    settings: dict[str, Any] = {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}
    model: Any = nn.Identity()
    similarity = dot_score if dot else cos_sim
    loss = MultipleNegativesRankingLoss(model, scale=SCALE, similarity_fct=similarity, **settings)
    t = torch.arange(n)

    def compute(q: Tensor, k: Tensor) -> Tensor:
        value: Tensor = loss.compute_loss_from_embeddings([q, k], t)
        return value

    return compute


def _chunked(n: int) -> Compute:
    """Return torch's own form that never holds the matrix, in new releases: no rival in speed, but one in memory."""
    t, options = torch.arange(n), nn.LinearCrossEntropyOptions()

    def compute(q: Tensor, k: Tensor) -> Tensor:
        z, entropy = q * SCALE, nn.functional.linear_cross_entropy
        return (entropy(z, k, t, options=options) + entropy(k, z, t, options=options)) / 2

    return compute


# NT-Xent: each of 2n views against all others ------------------------------------------------------------------------


def _our_views(n: int) -> Compute:
    from nearfar.losses.infonce import InfoNCE
    from nearfar.pairs import Pairs

    loss, group, item = InfoNCE(1.0 / SCALE), torch.arange(n).repeat(2), torch.arange(2 * n)
    pairs = Pairs(group, item, group, item)

    def compute(one: Tensor, other: Tensor) -> Tensor:
        x = torch.cat([one, other])  # (2n, d)
        value: Tensor = loss(x, x, pairs)
        return value

    return compute


def _view_cross_entropy(n: int) -> Compute:
    t, diagonal = torch.arange(2 * n).roll(n), torch.arange(2 * n)

    def compute(one: Tensor, other: Tensor) -> Tensor:
        x = torch.cat([one, other])  # (2n, d)
        s = (x * SCALE) @ x.T  # (2n, 2n)
        s[diagonal, diagonal] = -torch.inf
        return cross_entropy(s, t)

    return compute


def _lightly(n: int) -> Compute:  # noqa: ARG001
    from lightly.loss import NTXentLoss

    loss = NTXentLoss(temperature=1.0 / SCALE)
    return lambda one, other: loss(one, other)


def _metric_learning(n: int) -> Compute:
    from pytorch_metric_learning.losses import NTXentLoss

    loss, group = NTXentLoss(temperature=1.0 / SCALE), torch.arange(n).repeat(2)
    return lambda one, other: loss(torch.cat([one, other]), group)


def _metric_learning_pairs(n: int) -> Compute:
    from pytorch_metric_learning.losses import SupConLoss

    loss, group = SupConLoss(temperature=1.0 / SCALE), torch.arange(n).repeat(2)
    return lambda one, other: loss(torch.cat([one, other]), group)


# SupCon: rows of a class are near each other -------------------------------------------------------------------------


def _our_classes(n: int) -> Compute:
    from nearfar.losses.infonce import InfoNCE
    from nearfar.pairs import Pairs

    loss, group, item = InfoNCE(1.0 / SCALE), labels(n).repeat(2), torch.arange(2 * n)
    pairs = Pairs(group, item, group, item)

    def compute(one: Tensor, other: Tensor) -> Tensor:
        x = torch.cat([one, other])  # (2n, d)
        value: Tensor = loss(x, x, pairs)
        return value

    return compute


def _class_softmax(n: int) -> Compute:
    near = labels(n).repeat(2)[:, None] == labels(n).repeat(2)
    near.fill_diagonal_(False)
    number = near.sum(1)

    def compute(one: Tensor, other: Tensor) -> Tensor:
        x = torch.cat([one, other])  # (2n, d)
        s = ((x * SCALE) @ x.T).float().fill_diagonal_(-torch.inf)  # (2n, 2n)
        value: Tensor = (s.logsumexp(1) - s.masked_fill(~near, 0.0).sum(1) / number).mean()
        return value

    return compute


def _metric_learning_classes(n: int) -> Compute:
    from pytorch_metric_learning.losses import SupConLoss

    loss, group = SupConLoss(temperature=1.0 / SCALE), labels(n).repeat(2)
    return lambda one, other: loss(torch.cat([one, other]), group)


CONTESTS = {
    "both ways": Contest(
        "InfoNCE both ways",
        1,
        {
            "ours": _ours,
            "cross_entropy": _cross_entropy,
            "contiguous": _contiguous,
            "open_clip": _open_clip,
            "sentence-transformers": _sentence_transformers,
            "sentence-transformers, dot": partial(_sentence_transformers, dot=True),
            "log-sum-exp": _log_sum_exp,
            **({"chunked": _chunked} if hasattr(nn.functional, "linear_cross_entropy") else {}),
        },
        own=("log-sum-exp", "chunked"),
    ),
    "nt-xent": Contest(
        "NT-Xent of n views",
        2,
        {
            "ours": _our_views,
            "cross_entropy": _view_cross_entropy,
            "lightly": _lightly,
            "metric-learning NTXent": _metric_learning,
            "metric-learning SupCon": _metric_learning_pairs,
        },
    ),
    "supcon": Contest(
        f"SupCon of n rows in {CLASSES} classes",
        2,
        {"ours": _our_classes, "softmax": _class_softmax, "metric-learning": _metric_learning_classes},
    ),
}
