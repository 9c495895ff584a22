"""What every pairwise loss asks of its batch; each error names the rows."""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.errors import InputError
from nearfar.losses._near import Near, class_sum
from nearfar.losses._relations import Relations, codes
from nearfar.pairs import Pairs


def check_vectors(queries: Tensor, keys: Tensor, pairs: Pairs) -> None:
    """Queries (n, d) and keys (m, d) of floats, as many as the pairs speak of, at least one each."""
    n, m = pairs.shape
    if queries.ndim != 2 or keys.ndim != 2 or queries.shape[1] != keys.shape[1]:
        raise InputError(
            f"queries and keys must be (n, d) and (m, d) with one d; they are {tuple(queries.shape)} and "
            f"{tuple(keys.shape)}"
        )
    if (len(queries), len(keys)) != (n, m) or n == 0 or m == 0:
        raise InputError(f"pairs are of {n} queries and {m} keys; the vectors are {len(queries)} and {len(keys)}")
    if not queries.is_floating_point() or not keys.is_floating_point():
        raise InputError(f"queries and keys must be floats, they are {queries.dtype} and {keys.dtype}")


def check_positives(near: Near) -> None:
    """Every query has a positive."""
    if not bool(near.found.all()):
        raise _about_rows((~near.found).nonzero()[:, 0], "queries without a positive in the batch")


def check_negatives(tiled: Tensor, near: Near, relations: Relations) -> None:
    """Some query has a negative; `tiled` (n,) is the log-sum-exp of all negatives where the positives are listed."""
    none = torch.isneginf(tiled) if near.mass is not None else _negatives(relations) == 0
    if bool(none.all()):
        rows = torch.arange(len(tiled))
        raise _about_rows(rows, "no query has a negative (all keys are near, the same, or of another scope)")


def _negatives(relations: Relations) -> Tensor:
    """Count each query's negatives by inclusion and exclusion over the ids, (n,)."""
    pairs, known = relations.pairs, relations.known
    one = torch.ones(pairs.shape[1], 1, dtype=torch.int64, device=pairs.key_group.device)
    kinds: list[tuple[int, tuple[str, ...]]] = [(1, ()), (-1, ("group",)), (-1, ("item",)), (1, ("group", "item"))]
    count = sum(sign * class_sum(one, *codes(pairs, "scope", *names))[:, 0] for sign, names in kinds)
    i, j = known.rows, known.columns
    far = (pairs.query_group[i] != pairs.key_group[j]) & (pairs.query_item[i] != pairs.key_item[j])
    if pairs.query_scope is not None and pairs.key_scope is not None:
        far &= pairs.query_scope[i] == pairs.key_scope[j]
    return torch.as_tensor(count).index_add(0, i, -far.to(torch.int64))


def _about_rows(rows: Tensor, what: str) -> InputError:
    shown = ", ".join(str(int(row)) for row in rows[:10]) + (", ..." if len(rows) > 10 else "")
    return InputError(f"{what}: {len(rows)} rows of the batch ({shown})")
