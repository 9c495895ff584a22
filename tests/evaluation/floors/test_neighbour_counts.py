"""The floor of neighbours judges the tokens that are hidden from a masked model, by plain counting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar.column import ListColumn
from nearfar.evaluation.floors.neighbour_counts import NeighbourCountsFloor
from nearfar.evaluation.token_predictions import tokenised
from nearfar.model import Model
from nearfar.tasks import Language
from tests.encoders.tiny import TEXTS, tiny
from tests.evaluation.floors.language.test_neighbours import EDGE, Naive


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))


def test_its_scores_are_those_of_plain_counting() -> None:
    encoder = tiny("bert").eval()
    task = Language("held out", ListColumn("text", TEXTS[:9]), ListColumn("text", TEXTS[9:]), np.arange(9))
    judged = tokenised(Model(encoder), task, seed=4)
    tokens: Any = judged.tokens
    special = np.flatnonzero(tokens.special).tolist()
    plain = Naive([encoder.tokenise([text])[0].astype(np.int64) for text in TEXTS[9:]], len(tokens.special), special)
    hidden = set(tokens.hidden.tolist())
    values, right = [], []
    for row in range(9):
        first, last = tokens.offsets[row : row + 2].tolist()
        near: list[int | None] = [None if at in hidden else int(tokens.ids[at]) for at in range(first, last)]
        near = [EDGE, *near, EDGE]
        for at in sorted(hidden & set(range(first, last))):
            left, right_one = near[at - first], near[at - first + 2]
            values.append(np.log(plain.p(int(tokens.ids[at]), left, right_one)))
            right.append(plain.answer(left, right_one) == tokens.ids[at])
    scores = NeighbourCountsFloor()(judged, 0).hidden_tokens
    assert scores is not None and len(values) == len(hidden) > 9
    np.testing.assert_allclose(scores.log_likelihood, values, rtol=1e-12)
    assert scores.right.tolist() == right
    np.testing.assert_array_equal(scores.rows, tokens.text_of(tokens.hidden))
