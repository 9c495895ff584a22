"""How diverse the texts are: the Vendi score and the effective number of clusters."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from nearfar.column import Ids
from nearfar.mining.checks.found import Found, fine, share
from nearfar.mining.checks.material import Material, distinct
from nearfar.mining.checks.vectors import Space, Vectors

SAMPLE = 5000  # rows: the score grows with them, so compare at one number
CLUSTERS = 50


def vendi(vectors: Vectors) -> float:
    """Return the Vendi score of unit vectors (n, d): exp(-sum_k l_k log l_k), l the eigenvalues of K / n.

    K is the (n, n) matrix of cosines. Its eigenvalues but zeros are those of the (d, d) matrix X'X, so that memory is
    O(d^2). 1: all texts alike; it cannot exceed n or d. Source: Friedman & Dieng 2022, arXiv:2210.02410.
    """
    values = np.linalg.eigvalsh(vectors.T.astype(np.float64) @ vectors.astype(np.float64) / len(vectors))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def diversity(material: Material, space: Space, seed: int = 0) -> Found:
    """Measure how many different texts, and clusters of them, the main split amounts to."""
    role: Any = next(role for role in ("text", "document", "query") if role in material.roles)
    parts = [part for part in material.roles[role] if part.split == material.main or role == "query"][:1]
    places = distinct(parts)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(places))[:SAMPLE])
    texts = [places[i][0].texts[places[i][1]] for i in chosen.tolist()]
    vectors = space.embed(texts, {"query": "query", "document": "key"}.get(role))
    kept = np.flatnonzero(np.abs(vectors).sum(1) > 0)
    if len(kept) < 10:
        return Found()
    vectors, score = vectors[kept], vendi(vectors[kept])
    k = int(min(CLUSTERS, len(kept) // 10)) or 1
    label, centres = _clusters(vectors, k, seed)
    sizes = np.bincount(label, minlength=k)
    shares = sizes[sizes > 0] / sizes.sum()
    effective = float(np.exp(-(shares * np.log(shares)).sum()))
    largest = int(sizes.argmax())
    middle = int(np.where(label == largest, vectors @ centres[largest], -np.inf).argmax())
    profile = {
        "of": role,
        "vectors": space.name,
        "sample": len(kept),
        "dim": space.dim,
        "vendi": score,
        "clusters": k,
        "effective clusters": effective,
        "largest cluster": float(shares.max()),
        "its middle": texts[int(kept[middle])][:300],
    }
    what = f"{len(kept):,} texts differ as {score:.0f} that share nothing would (Vendi score; {space.dim:,} at most). "
    what += f"{k} clusters of them count as {effective:.0f} equal ones; the largest holds "
    what += f"{share(int(sizes.max()), len(kept))}."
    return Found([fine("diversity", what)], {"diversity": profile})


def _clusters(vectors: Vectors, k: int, seed: int) -> tuple[Ids, Vectors]:
    """Return each row's cluster (n,) and the centres (k, d), by k-means of unit vectors (scipy)."""
    from scipy.cluster.vq import kmeans2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a cluster without rows: it counts as none
        centres, label = kmeans2(vectors, k, iter=20, minit="++", seed=np.random.default_rng(seed))
    return label.astype(np.int64), centres.astype(np.float32)
