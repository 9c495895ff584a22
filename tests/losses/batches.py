"""Batches for proofs: small, of every kind that `Pairs` allows, valid or not."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from nearfar.pairs import Known, Pairs

Drawn = tuple[Tensor, Tensor, Pairs]


@st.composite
def batches(draw: st.DrawFn) -> Drawn:
    """Return queries (n, d), keys (m, d) and pairs: copies, scopes and known weights among them; half are `whole`."""
    n, m, d = draw(st.integers(1, 12)), draw(st.integers(1, 14)), draw(st.integers(1, 5))
    groups, items = draw(st.integers(1, 6)), draw(st.integers(2, 40))
    scopes = draw(st.sampled_from([None, 1, 2]))
    pairs = _ids(draw, n, m, groups, items, scopes, whole=draw(st.booleans()))
    known = None
    if draw(st.booleans()):
        e = draw(st.integers(0, 8))
        weight = torch.tensor(draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=e, max_size=e)))
        known = Known(_numbers(draw, e, n - 1), _numbers(draw, e, pairs.shape[1] - 1), weight.double())
    return _with_vectors(draw, d, _with_known(pairs, known))


@st.composite
def simple(draw: st.DrawFn) -> Drawn:
    """Return a batch without copies in which each query has one positive; some keys are no positives, and some pairs
    are known to be ignored."""
    n, d = draw(st.integers(2, 12)), draw(st.integers(1, 5))
    m = n + draw(st.integers(0, 6))
    order = torch.tensor(draw(st.permutations(range(m))))
    known = None
    if draw(st.booleans()):
        rows, columns = _numbers(draw, 3, n - 1), _numbers(draw, 3, m - 1)
        other = order[columns] != rows
        known = Known(rows[other], columns[other], torch.zeros(int(other.sum()), dtype=torch.float64))
    pairs = Pairs(torch.arange(n), torch.arange(n), order, order + 100, known=known)
    return _with_vectors(draw, d, pairs)


@st.composite
def graded(draw: st.DrawFn) -> Drawn:
    """Return a batch whose known weights are grades or a teacher's scores: up to six keys for most of the queries."""
    n, extra, d = draw(st.integers(1, 8)), draw(st.integers(0, 4)), draw(st.integers(1, 5))
    scopes = draw(st.sampled_from([None, None, 1]))
    pairs = _ids(draw, n, n + extra, draw(st.integers(1, 9)), draw(st.integers(4, 40)), scopes, whole=True)
    rows, columns = [], []
    for i in range(n):
        if draw(st.integers(0, 7)):  # else this query has no list
            positive = [i] if draw(st.integers(0, 15)) else []  # key i is of the query's group
            keys = positive + draw(st.lists(st.integers(0, n + extra - 1), max_size=5))  # one may be listed twice
            rows += [i] * len(keys)
            columns += keys
    grade = st.sampled_from([0.0, 1.0, 2.5, 5.0]) if draw(st.booleans()) else st.floats(0, 9, width=32)
    weight = torch.tensor([draw(grade) for _ in rows], dtype=torch.float64)
    known = Known(torch.tensor(rows, dtype=torch.int64), torch.tensor(columns, dtype=torch.int64), weight)
    return _with_vectors(draw, d, _with_known(pairs, known))


def aligned(n: int, graded: bool = False) -> Pairs:
    """Return n aligned pairs; graded, key i has the highest of three grades for query i."""
    pairs = Pairs.aligned(n)
    if not graded:
        return pairs
    rows = torch.arange(n)
    columns = torch.cat([rows, (rows + 1) % n, (rows + 2) % n])
    weight = torch.cat([torch.full((n,), 4.0), torch.arange(n) % 3, torch.zeros(n)]).double()
    return _with_known(pairs, Known(rows.repeat(3), columns, weight))


def unit(rows: int, d: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return random vectors on the sphere, (rows, d)."""
    raw = torch.randn(rows, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return normalize(raw, dim=1).to(dtype)


def permuted(pairs: Pairs, queries: Tensor, keys: Tensor) -> Pairs:
    """Return the pairs of the rows in another order: its query i is query queries[i] of `pairs`, and so for keys."""
    known = pairs.known
    if known is not None:
        known = Known(torch.argsort(queries)[known.rows], torch.argsort(keys)[known.columns], known.weight)
    query_scope = None if pairs.query_scope is None else pairs.query_scope[queries]
    key_scope = None if pairs.key_scope is None else pairs.key_scope[keys]
    ids = pairs.query_group[queries], pairs.query_item[queries], pairs.key_group[keys], pairs.key_item[keys]
    return Pairs(*ids, query_scope, key_scope, known)


def copied(pairs: Pairs, keys: Tensor) -> Pairs:
    """Return the pairs with some keys once more, at the end."""
    more = torch.cat([torch.arange(pairs.shape[1]), keys])
    scope = None if pairs.key_scope is None else pairs.key_scope[more]
    ids = pairs.query_group, pairs.query_item, pairs.key_group[more], pairs.key_item[more]
    return Pairs(*ids, pairs.query_scope, scope, pairs.known)


def _ids(draw: st.DrawFn, n: int, m: int, groups: int, items: int, scopes: int | None, *, whole: bool) -> Pairs:
    """Draw ids at random, or `whole`: by them, every query has a positive in the key of its own row."""
    query_group, query_item = _numbers(draw, n, groups), _numbers(draw, n, items)
    m = max(n, m) if whole else m
    key_group, key_item = _numbers(draw, m, groups), _numbers(draw, m, items) + draw(st.sampled_from([0, 100]))
    query_scope, key_scope = (None, None) if scopes is None else (_numbers(draw, n, scopes), _numbers(draw, m, scopes))
    if whole:
        key_group = torch.cat([query_group, key_group[n:]])
        key_item = key_item % 100 + 100
        if query_scope is not None and key_scope is not None:
            key_scope = torch.cat([query_scope, key_scope[n:]])
    return Pairs(query_group, query_item, key_group, key_item, query_scope, key_scope)


def _numbers(draw: st.DrawFn, size: int, high: int) -> Tensor:
    drawn = draw(st.lists(st.integers(0, high), min_size=size, max_size=size))
    return torch.tensor(drawn, dtype=torch.int64)


def _with_known(pairs: Pairs, known: Known | None) -> Pairs:
    ids = pairs.query_group, pairs.query_item, pairs.key_group, pairs.key_item
    return Pairs(*ids, pairs.query_scope, pairs.key_scope, known)


def _with_vectors(draw: st.DrawFn, d: int, pairs: Pairs) -> Drawn:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    q, k = (torch.randn(rows, d, generator=generator, dtype=torch.float64) for rows in pairs.shape)
    return q, k, pairs
