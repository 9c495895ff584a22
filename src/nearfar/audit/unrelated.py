"""Positives that look no nearer than a key taken at random: probably wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.audit.findings import MOST, Drop, Finding, Found, fine, share, times
from nearfar.audit.material import Material, TextPart
from nearfar.audit.vectors import CHARACTERS, DOCUMENTS, Space, Vectors, WordVectors
from nearfar.column import Ids

Floats = npt.NDArray[np.float64]
Pair = tuple[TextPart, int, TextPart, int]  # the place of a query in its part, and of a key in its own
PAIRS = 50_000  # that are looked at, drawn at random of more
RANDOM = 512  # keys that each query is compared with
TOP = 0.95  # ranks above this are where right pairs ought to be
SHARP = 0.5  # share of the right pairs that must be there, else no pair is accused
LOW = 0.5  # ranks below this are taken for those of wrong pairs
TRUE = 0.8  # of the rows that are named, this share must be wrong by the estimate
LIMITS = (0.99, 0.98, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)
PAIR_BLOCK = 4096
CLOSE = 1e-6  # below the rounding of a cosine in float32
FAR = -3.5  # modified z-score of an outlier


@dataclass(frozen=True)
class Ranked:
    """Pairs beside random ones: `similarity` (n,), `random` (r,) of some random pairs, `rank` (n,) in 0 to 1."""

    similarity: Floats
    random: Floats
    rank: Floats


def unrelated(material: Material, space: Space | None = None, seed: int = 0) -> Found:
    """Find pairs that look unrelated: their key is no nearer to the query than keys of other rows.

    Each pair's similarity, less its key's mean similarity (some keys are near everything), is ranked among 512 random
    keys of the same query. Ranks of wrong pairs spread evenly from 0 to 1, those of right ones lie near 1; so twice the
    share of ranks below a half estimates the share of wrong pairs. Named are the pairs below the largest rank at which
    four of five named ones are wrong by that estimate, and those far below the rest (modified z-score under -3.5).
    Sources: Storey 2002, "A direct approach to false discovery rates"; Iglewicz & Hoaglin 1993, "How to detect and
    handle outliers"; Conneau et al. 2018, arXiv:1710.04087, section 2.3, for correcting keys near everything.

    Without a space, the words say what is near, by two spaces: each half of the pairs is looked at by the one that was
    fitted on the other half. One that had seen the pairs would find each as near as it had learnt it to be.

    When not to use it: on pairs that have few words in common, without a model. Where the vectors do not tell pairs
    from random ones, that is said and no pair is accused.
    """
    pairs = _chosen(material, seed)
    if len(pairs) < 50:
        return Found()
    similar, kept = _ranked(pairs, space, seed)
    pairs = [pairs[i] for i in kept.tolist()]
    if len(pairs) < 50:
        return Found()
    name = space.name if space is not None else WordVectors.name
    separation = float(similar.rank.mean())
    profile: dict[str, Any] = {"vectors": name, "pairs": len(pairs), "separation": separation}
    profile["histogram"] = _histogram(similar)
    found = Found(profile={"pairs": profile})
    profile["sharpness"] = sharp = sharpness(similar.rank)
    if sharp < SHARP:
        what = "These vectors hardly tell pairs from random ones, so no pair is called wrong: "
        what += f"{share(round(1000 * sharp), 1000)} of those that seem right are nearer than 95 % of random keys."
        fix = "Give a model that knows the task: --model FOLDER."
        found.findings.append(Finding("unrelated pairs", "notice", what, fix=fix))
        return found
    limit, wrong = threshold(similar.rank)
    far = _outliers(similar)
    named = np.flatnonzero((similar.rank < limit) | far)
    named = named[np.argsort(similar.rank[named], kind="stable")]
    profile |= {"estimated wrong": wrong, "rank below": limit, "named": len(named), "outliers": int(far.sum())}
    if not len(named):
        found.findings.append(fine("unrelated pairs", f"No pair of {len(pairs):,} looks unrelated."))
        return found
    found.findings.append(_finding(pairs, similar, named, wrong))
    rows = dict.fromkeys((int(pairs[i][0].rows[pairs[i][1]]), i) for i in named.tolist())
    found.drops = [
        Drop(row, "probably wrong", f"cosine {similar.similarity[i]:.3f}, above {similar.rank[i]:.0%} of random keys")
        for row, i in rows
    ]
    return found


def _finding(pairs: list[Pair], similar: Ranked, named: Ids, wrong: float) -> Finding:
    what = f"{times(len(named), 'pair')} of {len(pairs):,} ({share(len(named), len(pairs))}) look unrelated: the key "
    what += "is hardly nearer to the query than random keys are. By the ranks of all, about "
    what += f"{share(round(wrong * len(pairs)), len(pairs))} of the pairs may be wrong."
    examples = [_example(pairs[i], similar, i) for i in named[:MOST].tolist()]
    fix = "Read them; --fix OUT --fix-outliers leaves them out. Without a model, right pairs that share no word are "
    fix += "among them: --model FOLDER sees more."
    return Finding("unrelated pairs", "notice", what, len(named), len(pairs), examples, fix)


def threshold(rank: Floats) -> tuple[float, float]:
    """Return the rank below which pairs are named (0: none), and the share of pairs that are wrong by the estimate."""
    n = len(rank)
    low = int((rank < LOW).sum())
    wrong = min(1.0, low / (LOW * n))
    for limit in LIMITS:
        count = int((rank < limit).sum())
        if count and wrong * n * limit >= TRUE * count:
            return limit, wrong
    return 0.0, wrong


def sharpness(rank: Floats) -> float:
    """Return the share of right pairs that rank in the top twentieth, with wrong ones taken for spread evenly."""
    wrong = min(1.0, float((rank < LOW).mean()) / LOW)
    if wrong > 0.9:
        return 0.0
    return max(0.0, (float((rank > TOP).mean()) - (1 - TOP) * wrong) / (1 - wrong))


def _chosen(material: Material, seed: int) -> list[Pair]:
    pairs = [p for p in material.pairs if p[0].texts[p[1]].strip() and p[2].texts[p[3]].strip()]
    keep = np.sort(np.random.default_rng(seed).permutation(len(pairs))[:PAIRS])
    return [pairs[i] for i in keep.tolist()]


def _ranked(pairs: list[Pair], space: Space | None, seed: int) -> tuple[Ranked, Ids]:
    """Return pairs beside random ones, and which pairs they are: those both of whose texts have a place."""
    if space is not None:
        return _in_space(pairs, space, seed)
    half = _halves(pairs, seed)
    found: list[Ranked] = []
    kept: list[Ids] = []
    for side in (False, True):
        fitted = [f"{_query(pairs[i])}\n{_key(pairs[i])}" for i in np.flatnonzero(half != side)[:DOCUMENTS].tolist()]
        rows = np.flatnonzero(half == side)
        if len(fitted) < 10 or not len(rows):
            continue
        similar, places = _in_space([pairs[i] for i in rows.tolist()], WordVectors(fitted, seed=seed), seed)
        found.append(similar)
        kept.append(rows[places])
    if not found:
        return _beside(np.zeros((0, 1), np.float32), np.zeros((0, 1), np.float32), seed), np.zeros(0, np.int64)
    joined = [np.concatenate([getattr(one, name) for one in found]) for name in ("similarity", "random", "rank")]
    return Ranked(*joined), np.concatenate(kept)


def _halves(pairs: list[Pair], seed: int) -> npt.NDArray[np.bool_]:
    """Return the half of each pair (n,), the same for copies, none of which may have seen another."""
    ids = np.array([int(part.ids[i]) ^ int(other.ids[j]) for part, i, other, j in pairs], np.int64)
    distinct, place = np.unique(ids, return_inverse=True)
    half: npt.NDArray[np.bool_] = (np.random.default_rng(seed).random(len(distinct)) < 0.5)[place]
    return half


def _query(pair: Pair) -> str:
    return pair[0].texts[pair[1]][:CHARACTERS]


def _key(pair: Pair) -> str:
    return pair[2].texts[pair[3]][:CHARACTERS]


def _in_space(pairs: list[Pair], space: Space, seed: int) -> tuple[Ranked, Ids]:
    queries = space.embed([part.texts[i] for part, i, _, _ in pairs], "query")
    keys = space.embed([part.texts[j] for _, _, part, j in pairs], "key")
    kept = np.flatnonzero((np.abs(queries).sum(1) > 0) & (np.abs(keys).sum(1) > 0))
    return _beside(queries[kept], keys[kept], seed), kept


def _beside(queries: Vectors, keys: Vectors, seed: int) -> Ranked:
    draw = np.random.default_rng(seed)
    n = len(queries)
    if not n:
        return Ranked(np.zeros(0), np.zeros(0), np.zeros(0))
    others, askers = draw.integers(0, n, RANDOM), draw.integers(0, n, RANDOM)
    own = np.einsum("nd,nd->n", queries, keys).astype(np.float64)  # (n,)
    near_all = (keys @ queries[askers].T).mean(1)  # (n,) how near a key is to any query
    mine, rank, random = own - near_all, np.empty(n), []
    for start in range(0, n, PAIR_BLOCK):
        rows = slice(start, start + PAIR_BLOCK)
        found = queries[rows] @ keys[others].T  # (b, 512)
        gap = mine[rows, None] - (found - near_all[others])
        rank[rows] = (gap > CLOSE).mean(1) + (np.abs(gap) <= CLOSE).mean(1) / 2
        random.append(found[:: max(1, n // 512)].ravel())
    return Ranked(own, np.concatenate(random).astype(np.float64), rank)


def _outliers(similar: Ranked) -> npt.NDArray[np.bool_]:
    """Return which pairs lie far below the others: 0.6745 (s - median) / MAD < -3.5."""
    middle = np.median(similar.similarity)
    spread = np.median(np.abs(similar.similarity - middle))
    if spread == 0:
        return np.zeros(len(similar.similarity), bool)
    far: npt.NDArray[np.bool_] = 0.6745 * (similar.similarity - middle) / spread < FAR
    return far


def _histogram(similar: Ranked, bins: int = 40) -> dict[str, list[float]]:
    random = similar.random
    low = float(min(random.min(), similar.similarity.min()))
    edges = np.linspace(min(low, 0.0), 1.0, bins + 1)
    counts = {"pairs": np.histogram(similar.similarity, edges)[0], "random": np.histogram(random, edges)[0]}
    return {"edges": edges.tolist(), **{name: count.astype(float).tolist() for name, count in counts.items()}}


def _example(pair: Pair, similar: Ranked, i: int) -> dict[str, Any]:
    part, place, other, key = pair
    told = {"similarity": round(float(similar.similarity[i]), 3), "rank": round(float(similar.rank[i]), 3)}
    like = f"{other.split} row {other.rows[key] + 1}"
    return part.example(place, other=other.example(key)["text"], like=like, **told)
