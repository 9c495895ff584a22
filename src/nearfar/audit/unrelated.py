"""Positive pairs that are no more similar than a query and a random key, so are probably wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.audit.findings import MOST_EXAMPLES, CheckResult, Drop, Finding, counted, fine, share
from nearfar.audit.material import Material, TextPart
from nearfar.audit.vectors import CHARACTERS, DOCUMENTS, Space, Vectors, WordVectors
from nearfar.column import Ids

Floats = npt.NDArray[np.float64]
Pair = tuple[TextPart, int, TextPart, int]  # the query's part and position, and the key's
PAIRS = 50_000  # that are ranked, drawn at random where there are more
RANDOM = 512  # random keys that each query is compared with
TOP = 0.95  # right pairs should rank above this
SHARP = 0.5  # share of the right pairs that must rank above TOP, else no pair is called wrong
LOW = 0.5  # ranks below this are taken for those of wrong pairs
PRECISION = 0.8  # share of the reported pairs that must be wrong by the estimate
LIMITS = (0.99, 0.98, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)  # ranks that are tried, see `threshold`
PAIR_BLOCK = 4096
TIE = 1e-6  # differences below this are rounding of a float32 cosine
OUTLIER = -3.5  # modified z-score


@dataclass(frozen=True)
class Ranked:
    """Pairs compared with random ones.

    similarity: (n,) cosines of the pairs. random: (r,) cosines of some random pairs. rank: (n,) the share, 0 to 1, of
    random keys that are less similar to the pair's query than its key.
    """

    similarity: Floats
    random: Floats
    rank: Floats


def unrelated(material: Material, space: Space | None = None, seed: int = 0) -> CheckResult:
    """Find pairs that look unrelated: their key is no more similar to the query than keys of other rows.

    Each pair's similarity, less its key's mean similarity (some keys are similar to every query), is ranked among those
    of 512 random keys for the same query. Ranks of wrong pairs are uniform from 0 to 1, those of right ones lie near 1,
    so twice the share of ranks below a half estimates the share of wrong pairs. Reported are the pairs below the
    largest rank at which four of five reported ones are wrong by that estimate, and those far below the rest (modified
    z-score under -3.5).
    Sources: Storey 2002, "A direct approach to false discovery rates"; Iglewicz & Hoaglin 1993, "How to detect and
    handle outliers"; Conneau et al. 2018, arXiv:1710.04087, section 2.3, for the correction of hubs.

    Without a space, word vectors are fitted on each half of the pairs and rank the pairs of the other half. Fitted on
    the pairs that they rank, they would have learned to find each pair similar.

    When not to use it: without a model, on pairs that have few words in common. Where the vectors do not tell pairs
    from random ones, a notice says so and no pair is reported.
    """
    pairs = _sample(material, seed)
    if len(pairs) < 50:
        return CheckResult()
    ranked, kept = _ranked(pairs, space, seed)
    pairs = [pairs[i] for i in kept.tolist()]
    if len(pairs) < 50:
        return CheckResult()
    name = space.name if space is not None else WordVectors.name
    separation = float(ranked.rank.mean())
    profile: dict[str, Any] = {"vectors": name, "pairs": len(pairs), "separation": separation}
    profile["histogram"] = _histogram(ranked)
    result = CheckResult(profile={"pairs": profile})
    profile["sharpness"] = sharp = sharpness(ranked.rank)
    if sharp < SHARP:
        what = "These vectors hardly tell pairs from random ones, so no pair is called wrong: "
        what += f"{share(round(1000 * sharp), 1000)} of those that seem right are nearer than 95 % of random keys."
        fix = "Give a model that knows the task: --model FOLDER."
        result.findings.append(Finding("unrelated pairs", "notice", what, fix=fix))
        return result
    limit, wrong = threshold(ranked.rank)
    outliers = _outliers(ranked)
    reported = np.flatnonzero((ranked.rank < limit) | outliers)
    reported = reported[np.argsort(ranked.rank[reported], kind="stable")]
    profile |= {
        "estimated wrong": wrong,
        "rank below": limit,
        "named": len(reported),
        "outliers": int(outliers.sum()),
    }
    if not len(reported):
        result.findings.append(fine("unrelated pairs", f"No pair of {len(pairs):,} looks unrelated."))
        return result
    result.findings.append(_finding(pairs, ranked, reported, wrong))
    rows = dict.fromkeys((int(pairs[i][0].rows[pairs[i][1]]), i) for i in reported.tolist())
    result.drops = [
        Drop(row, "probably wrong", f"cosine {ranked.similarity[i]:.3f}, above {ranked.rank[i]:.0%} of random keys")
        for row, i in rows
    ]
    return result


def threshold(rank: Floats) -> tuple[float, float]:
    """Return the rank below which pairs are reported (0: none), and the estimated share of wrong pairs."""
    n = len(rank)
    low = int((rank < LOW).sum())
    wrong = min(1.0, low / (LOW * n))
    for limit in LIMITS:
        count = int((rank < limit).sum())
        if count and wrong * n * limit >= PRECISION * count:
            return limit, wrong
    return 0.0, wrong


def sharpness(rank: Floats) -> float:
    """Return the estimated share of right pairs that rank above 0.95, with the ranks of wrong ones taken as uniform."""
    wrong = min(1.0, float((rank < LOW).mean()) / LOW)
    if wrong > 0.9:
        return 0.0
    return max(0.0, (float((rank > TOP).mean()) - (1 - TOP) * wrong) / (1 - wrong))


def _sample(material: Material, seed: int) -> list[Pair]:
    pairs = [p for p in material.pairs if p[0].texts[p[1]].strip() and p[2].texts[p[3]].strip()]
    keep = np.sort(np.random.default_rng(seed).permutation(len(pairs))[:PAIRS])
    return [pairs[i] for i in keep.tolist()]


def _ranked(pairs: list[Pair], space: Space | None, seed: int) -> tuple[Ranked, Ids]:
    """Return the ranked pairs, and the positions of those pairs whose two texts have a vector."""
    if space is not None:
        return _in_space(pairs, space, seed)
    half = _halves(pairs, seed)
    parts: list[Ranked] = []
    kept: list[Ids] = []
    for side in (False, True):
        fitted = [f"{_query(pairs[i])}\n{_key(pairs[i])}" for i in np.flatnonzero(half != side)[:DOCUMENTS].tolist()]
        rows = np.flatnonzero(half == side)
        if len(fitted) < 10 or not len(rows):
            continue
        ranked, positions = _in_space([pairs[i] for i in rows.tolist()], WordVectors(fitted, seed=seed), seed)
        parts.append(ranked)
        kept.append(rows[positions])
    if not parts:
        return _rank(np.zeros((0, 1), np.float32), np.zeros((0, 1), np.float32), seed), np.zeros(0, np.int64)
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in ("similarity", "random", "rank")]
    return Ranked(*columns), np.concatenate(kept)


def _halves(pairs: list[Pair], seed: int) -> npt.NDArray[np.bool_]:
    """Return the half of each pair (n,); copies are in one half, so that no pair is ranked by vectors fitted on it."""
    ids = np.array([int(part.ids[i]) ^ int(other.ids[j]) for part, i, other, j in pairs], np.int64)
    distinct, inverse = np.unique(ids, return_inverse=True)
    half: npt.NDArray[np.bool_] = (np.random.default_rng(seed).random(len(distinct)) < 0.5)[inverse]
    return half


def _query(pair: Pair) -> str:
    return pair[0].texts[pair[1]][:CHARACTERS]


def _key(pair: Pair) -> str:
    return pair[2].texts[pair[3]][:CHARACTERS]


def _in_space(pairs: list[Pair], space: Space, seed: int) -> tuple[Ranked, Ids]:
    """Return the pairs ranked by one space, and the positions of those whose two texts have a vector in it."""
    queries = space.embed([part.texts[i] for part, i, _, _ in pairs], "query")  # (n, d)
    keys = space.embed([part.texts[j] for _, _, part, j in pairs], "key")  # (n, d)
    kept = np.flatnonzero((np.abs(queries).sum(1) > 0) & (np.abs(keys).sum(1) > 0))
    return _rank(queries[kept], keys[kept], seed), kept


def _rank(queries: Vectors, keys: Vectors, seed: int) -> Ranked:
    """Rank each of n pairs (n, d), (n, d) among its query with 512 random keys."""
    draw = np.random.default_rng(seed)
    n = len(queries)
    if not n:
        return Ranked(np.zeros(0), np.zeros(0), np.zeros(0))
    random_keys, random_queries = draw.integers(0, n, RANDOM), draw.integers(0, n, RANDOM)
    similarity = np.einsum("nd,nd->n", queries, keys).astype(np.float64)  # (n,)
    key_mean = (keys @ queries[random_queries].T).mean(1)  # (n,) a key's similarity to any query
    corrected, rank, random = similarity - key_mean, np.empty(n), []
    for start in range(0, n, PAIR_BLOCK):
        rows = slice(start, start + PAIR_BLOCK)
        cosines = queries[rows] @ keys[random_keys].T  # (b, 512)
        gap = corrected[rows, None] - (cosines - key_mean[random_keys])
        rank[rows] = (gap > TIE).mean(1) + (np.abs(gap) <= TIE).mean(1) / 2
        random.append(cosines[:: max(1, n // 512)].ravel())
    return Ranked(similarity, np.concatenate(random).astype(np.float64), rank)


def _outliers(ranked: Ranked) -> npt.NDArray[np.bool_]:
    """Return which pairs (n,) are far less similar than the others: 0.6745 (s - median) / MAD < -3.5."""
    median = np.median(ranked.similarity)
    mad = np.median(np.abs(ranked.similarity - median))
    if mad == 0:
        return np.zeros(len(ranked.similarity), bool)
    outliers: npt.NDArray[np.bool_] = 0.6745 * (ranked.similarity - median) / mad < OUTLIER
    return outliers


def _histogram(ranked: Ranked) -> dict[str, list[float]]:
    low = float(min(ranked.random.min(), ranked.similarity.min()))
    edges = np.linspace(min(low, 0.0), 1.0, 41)  # of 40 bins
    counts = {"pairs": np.histogram(ranked.similarity, edges)[0], "random": np.histogram(ranked.random, edges)[0]}
    return {"edges": edges.tolist(), **{name: count.astype(float).tolist() for name, count in counts.items()}}


def _finding(pairs: list[Pair], ranked: Ranked, reported: Ids, wrong: float) -> Finding:
    count = len(reported)
    what = f"{counted(count, 'pair')} of {len(pairs):,} ({share(count, len(pairs))}) look unrelated: the key "
    what += "is hardly nearer to the query than random keys are. By the ranks of all, about "
    what += f"{share(round(wrong * len(pairs)), len(pairs))} of the pairs may be wrong."
    examples = [_example(pairs[i], ranked, i) for i in reported[:MOST_EXAMPLES].tolist()]
    fix = "Read them; --fix OUT --fix-outliers leaves them out. Without a model, right pairs that share no word are "
    fix += "among them: --model FOLDER sees more."
    return Finding("unrelated pairs", "notice", what, count, len(pairs), examples, fix)


def _example(pair: Pair, ranked: Ranked, i: int) -> dict[str, Any]:
    part, position, other, key = pair
    numbers = {"similarity": round(float(ranked.similarity[i]), 3), "rank": round(float(ranked.rank[i]), 3)}
    like = other.row_name(int(other.rows[key]))
    return part.example(position, other=other.example(key)["text"], like=like, **numbers)
