"""Cluster swap: each side predicts the cluster of the other (SwAV)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from nearfar.compute.fp32_products import product
from nearfar.compute.scheduled import Scheduled
from nearfar.errors import InputError
from nearfar.losses.tiled.checks import check_setting, exact_vectors
from nearfar.losses.tiled.gathered_products import listed_products
from nearfar.losses.tiled.lists import ListedPairs
from nearfar.losses.tiled.scale import ScheduledNumber
from nearfar.pairs import Pairs


class ClusterSwap(nn.Module):
    """Assign queries and keys to learnt prototypes, evenly, and predict each side's assignment from the other.

        L = mean over positive pairs of - sum_c [ y(k_j)_c log p(q_i)_c + y(q_i)_c log p(k_j)_c ]
        p(z) = softmax_c( z . prototype_c / temperature )

    The codes y, without a gradient, are the entropic optimal transport of rows to prototypes, each prototype taking an
    equal share: Sinkhorn's iterations on exp(z . prototype / epsilon), for queries and for keys by themselves. Source:
    Caron et al. 2020 (SwAV), arXiv:2006.09882, equations 1 to 5. A positive pair counts by its weight, and a row by
    one over the number of its copies, in the transport too.

    Args:
        dim: of the vectors.
        clusters: how many prototypes, >= 2; several times the classes that one hopes to see.
        temperature: of the predictions, > 0.
        epsilon: entropy of the codes, > 0; smaller is harder.
        iterations: of Sinkhorn, >= 1.
        seed: of the first prototypes.

    Call: queries (n, dim), keys (m, dim), pairs -> scalar. Vectors are used as they are; `fit` puts them on the sphere.
    Prototypes are put there by the loss. Memory beyond the inputs is a few times (n + m) x prototypes.

    Errors: `InputError` that names the rows: a query without a positive; vectors of another dimension than `dim`.

    Example:
        >>> import torch, nearfar as nf
        >>> q, k = torch.nn.functional.normalize(torch.randn(2, 8, 4), dim=2)
        >>> loss = nf.losses.ClusterSwap(dim=4, clusters=3)(q, k, nf.Pairs.aligned(8))

    When not to use it: for fine retrieval, where each thing is its own cluster; with batches that see one class, which
    the even shares split at random.
    """

    unit: ClassVar[bool] = True
    cacheable: ClassVar[bool] = True
    needs_negatives: ClassVar[bool] = False

    def __init__(
        self,
        dim: int,
        clusters: int = 512,
        temperature: float | Scheduled = 0.1,
        epsilon: float = 0.05,
        iterations: int = 3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self._temperature = ScheduledNumber("cluster_swap.temperature", temperature)
        check_setting("cluster_swap.dim", dim, least=1)
        check_setting("cluster_swap.clusters", clusters, least=2)
        check_setting("cluster_swap.epsilon", epsilon, above=0)
        check_setting("cluster_swap.iterations", iterations, least=1)
        first = torch.randn(clusters, dim, generator=torch.Generator().manual_seed(seed))
        self.prototypes = nn.Parameter(normalize(first, dim=1))
        self.dim, self.clusters, self.seed = dim, clusters, seed
        self.epsilon, self.iterations = epsilon, iterations

    @property
    def temperature(self) -> float | Scheduled:
        """The temperature of the predictions, as it was given."""
        return self._temperature.setting

    def forward(self, queries: Tensor, keys: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss, a scalar."""
        q, k = exact_vectors(queries, keys, pairs)
        if q.shape[1] != self.prototypes.shape[1]:
            raise InputError(f"cluster_swap.dim is {self.prototypes.shape[1]}, the vectors are {tuple(q.shape)}")
        with torch.autocast(q.device.type, enabled=False):
            listed = ListedPairs.positives(q, k, pairs)
            centres = normalize(self.prototypes.to(q.dtype), dim=1)  # (p, d)
            scores_q, scores_k = product(q, centres), product(k, centres)  # (n, p), (m, p)
            log_q = torch.log_softmax(scores_q / self._temperature.value, 1)
            log_k = torch.log_softmax(scores_k / self._temperature.value, 1)
            code_q = self._codes(scores_q.detach(), listed.query_share)
            code_k = self._codes(scores_k.detach(), listed.key_share)
            by_query = listed_products(log_q, code_k, listed.i, listed.j)  # (e,)
            by_key = listed_products(code_q, log_k, listed.i, listed.j)  # (e,)
            return -(listed.weight @ (by_query + by_key))

    def _codes(self, scores: Tensor, share: Tensor) -> Tensor:
        """Return the code of each row, (n, p), by Sinkhorn's iterations: rows sum to one, prototypes get equal shares.

        scores: (n, p), rows times prototypes; share: (n,), the mass of each row.
        """
        log_code, log_share = scores / self.epsilon, share.log()[:, None]
        for _ in range(self.iterations):
            log_code = log_code - torch.logsumexp(log_code + log_share, 0)  # (n, p), columns have equal mass
            log_code = torch.log_softmax(log_code, 1)  # (n, p), rows sum to one
        return log_code.exp()
