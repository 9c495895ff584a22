"""Hit rates within a batch, beside a count of one query at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nearfar.pairs import Known, Pairs
from nearfar.training.pair_ranks import DEPTHS, hit_rates, positives_and_negatives, reciprocal_ranks


def naive(cosines: list[list[float]], pairs: Pairs) -> dict[str, float]:
    """Return the hit rates query by query, key by key."""
    n, m = pairs.shape
    known = {} if pairs.known is None else dict(zip(zip(*_listed(pairs.known)), pairs.known.weight.tolist()))
    known = {} if len(known) == n * m else known
    seen, hits = set(), []
    for i in range(n):
        item = int(pairs.query_item[i])
        kinds = {}
        for j in range(m):
            same = int(pairs.key_item[j]) == item
            near = int(pairs.query_group[i]) == int(pairs.key_group[j])
            kinds[j] = "ignored" if same else "positive" if near else "negative"
            if (i, j) in known:
                kinds[j] = "positive" if known[i, j] > 0 else "ignored"
        own = [cosines[i][j] for j in range(m) if kinds[j] == "positive"]
        others = [cosines[i][j] for j in range(m) if kinds[j] == "negative"]
        if item in seen:
            continue
        seen.add(item)
        if own and others:
            place = 1 + sum(other >= max(own) for other in others)
            hits.append([place <= k for k in DEPTHS])
    return {f"hit_rate@{k}": sum(hit[at] for hit in hits) / len(hits) for at, k in enumerate(DEPTHS)} if hits else {}


def _listed(known: Known) -> tuple[list[int], list[int]]:
    return known.rows.tolist(), known.columns.tolist()


@st.composite
def batches(draw: st.DrawFn) -> tuple[torch.Tensor, Pairs]:
    n, m = draw(st.integers(1, 6)), draw(st.integers(1, 24))
    cosine = st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0])  # so few that many are equal
    cosines = draw(st.lists(st.lists(cosine, min_size=m, max_size=m), min_size=n, max_size=n))
    groups = draw(st.lists(st.integers(0, 4), min_size=n + m, max_size=n + m))
    items = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    keys = draw(st.lists(st.integers(3, 30), min_size=m, max_size=m))  # item 3 is a query's, too
    places = draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, m - 1)), max_size=3, unique=True))
    weights = draw(st.lists(st.sampled_from([0.0, 0.5]), min_size=len(places), max_size=len(places)))
    known = None
    if places:
        rows, columns = zip(*places)
        known = Known(torch.tensor(rows), torch.tensor(columns), torch.tensor(weights))
    group, item, key = torch.tensor(groups), torch.tensor(items), torch.tensor(keys)
    return torch.tensor(cosines), Pairs(group[:n], item, group[n:], key, known=known)


@given(batches())
def test_they_are_those_of_a_count(batch: tuple[torch.Tensor, Pairs]) -> None:
    cosines, pairs = batch
    assert hit_rates(cosines, pairs) == pytest.approx(naive(cosines.tolist(), pairs))


def test_scores_of_all_pairs_are_no_positives() -> None:
    rows, columns = (at.ravel() for at in torch.meshgrid(torch.arange(3), torch.arange(3), indexing="ij"))
    ids = torch.arange(3)
    scored = Pairs(ids, ids, ids, ids + 10, known=Known(rows, columns, torch.rand(9)))
    cosines = torch.eye(3).roll(1, 0)
    assert reciprocal_ranks(cosines, scored).max() < 1
    assert hit_rates(cosines, scored)["hit_rate@1"] == 0


def test_a_batch_without_negatives_has_none() -> None:
    ids = torch.arange(2)
    assert hit_rates(torch.eye(2), Pairs(ids * 0, ids, ids * 0, ids + 10)) == {}
    positive, negative = positives_and_negatives(Pairs.aligned(2))
    assert positive.tolist() == [[True, False], [False, True]] and negative.tolist() == [[False, True], [True, False]]
