"""Texts that are near each other by a text encoder: positives with a weight, where they would be negatives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from torch.nn.functional import normalize

from nearfar.abilities import StartsFromWeights, TwoSided, prompts_of, reads
from nearfar.column import Column, Ids, column_kind, take
from nearfar.contracts import Encoder, Role
from nearfar.errors import InputError
from nearfar.positives.relations.unit_vectors import Floats, UnitVectors, cosines, embedding
from nearfar.storage.fingerprint import fingerprint
from nearfar.text.prompts import Prompted, no_vector

ROWS = 1024  # queries of one product
Entries = tuple[Ids, Ids, npt.NDArray[np.float32]]  # (e,) query rows, key rows, weights


@dataclass
class SimilarTexts:
    """The texts of some views, and the encoder that says how near they are.

    encoder: of texts, not trained here. above: the cosine from which on two texts are near. columns: the texts by view.
    """

    encoder: Encoder
    above: float
    columns: Mapping[str, Column]
    _vectors: dict[str, UnitVectors] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        where, encoder = "positives.similar", self.encoder
        if not 0 <= self.above < 1:
            raise InputError(f"{where}_above is a cosine, 0 to below 1; it is {self.above}")
        if isinstance(encoder, TwoSided) or (reads(encoder) and "text" not in reads(encoder)):
            raise InputError(f"{where}: takes one encoder of texts, such as {{name: transformer, model: minilm}}")
        if isinstance(encoder, StartsFromWeights) and encoder.starts_from is None:
            raise InputError(
                f"{where}: this encoder has random weights, so its cosines say nothing; give {where}.model=minilm, or "
                "another that was trained"
            )
        encoder.prepare(list(self.columns.values()))
        self.prompt = prompts_of(encoder).get("query", "")  # of both texts: they are compared as equals
        self.space = fingerprint(*encoder.identity())
        self.identity = fingerprint("similar 1", self.above, self.prompt, self.space, list(self.columns))

    def prepare(self) -> None:
        """Embed all texts, each content once, or read their vectors from the cache; a second call has no effect."""
        for view, column in self.columns.items():
            if view not in self._vectors:
                self._vectors[view] = self._embedded(Prompted(column, self.prompt) if self.prompt else column)

    def _embedded(self, column: Column) -> UnitVectors:
        with embedding(self.encoder) as device:

            def embed(rows: Ids) -> Floats:
                cells = take(column, rows)
                raw = self.encoder(self.encoder.inputs(cells).to(device)).float()
                vectors: Floats = normalize(raw, dim=1).cpu().numpy()
                if not (found := vectors.any(1)).all():
                    row = int(np.argmin(found))
                    raise no_vector(row, cells[row])
                return vectors

            return UnitVectors.cached(column, self.encoder.dim, embed, "similar", self.space)

    def vectors(self, view: str, rows: Ids) -> Floats:
        """Return the unit vectors of some texts of a view, (r, d); of a view without texts, rows of zeros."""
        if view not in self.columns:
            return np.zeros((len(rows), self.encoder.dim), np.float32)
        self.prepare()
        return self._vectors[view][rows]

    def known(self, queries: Floats, keys: Floats, groups: Ids, stated: Entries | None) -> Entries | None:
        """Return what is stated of a batch, and which further keys are near which queries, with what weight.

            w_ij = p_ij / max(1, sum_j p_ij, sum_i p_ij),      p_ij = (c_ij - above) / (1 - above)

        of the cosine c_ij of their texts. At the threshold a weight is zero, which in InfoNCE is a negative's. A
        query's own positive has the weight 1, and all its others together at most as much; so it is for a key.

        queries (n, d), keys (m, d): the texts' vectors. groups: (m,) of the keys; query i has that of key i, so it is
        its positive already.
        """
        n, m = len(queries), len(keys)
        taken = np.empty(0, np.int64) if stated is None else stated[0] * m + stated[1]
        entries, cosine = [np.empty(0, np.int64)], [np.empty(0)]  # an entry is row * m + column
        for start in range(0, n, ROWS):
            block = cosines(queries[start : start + ROWS], keys)  # (r, m)
            near = (block > self.above) & (groups[start : start + len(block), None] != groups)
            entries.append(np.flatnonzero(near) + start * m)
            cosine.append(block[near])
        entry, c = np.concatenate(entries), np.concatenate(cosine)
        new = ~np.isin(entry, taken)
        (row, column), c = np.divmod(entry[new], m), c[new]
        p = np.minimum((c - self.above) / (1 - self.above), 1.0)
        of_query, of_key = np.bincount(row, p, n)[row], np.bincount(column, p, m)[column]
        weight = (p / np.maximum(1.0, np.maximum(of_query, of_key))).astype(np.float32)
        if stated is None:
            return (row, column, weight) if len(row) else None
        return np.append(stated[0], row), np.append(stated[1], column), np.append(stated[2], weight)


def compared_role(views: Mapping[str, Column], given: Role | None) -> Role:
    """Return the side whose texts are compared: the given one, else the keys', unless only the queries are texts.

    Errors: `InputError` for a side that holds no texts.
    """
    roles: tuple[Role, ...] = ("key", "query")
    kinds = {role: column_kind(views[role]) for role in roles}
    role = given or next((role for role in roles if kinds[role] == "text"), "key")
    if role not in roles:
        raise InputError(f"positives.similar_by must be query or key; it is {role!r}")
    if kinds[role] != "text":
        raise InputError(
            f"positives.similar compares texts, and the {role} column {views[role].name!r} holds {kinds[role]}; give "
            "positives.similar_by the side that holds texts, or leave similar out"
        )
    return role
