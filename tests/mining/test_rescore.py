"""A cross-encoder as the scorer of pairs: a tiny one with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nearfar.encoders.pretrained.cross_encoder import CrossEncoder
from nearfar.mining.controls import Controls
from nearfar.mining.mine import mine
from tests.encoders.cross_encoder import tiny
from tests.mining.test_mine import Axis, table

pytest.importorskip("sentence_transformers", reason="sentence-transformers is missing: pip install 'nearfar[rescore]'")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_scores_order_and_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    cross_encoder = CrossEncoder(tiny(tmp_path / "tiny"), batch_size=4)
    rows = table(*((f"q {3 * i}", f"k {3 * i + 1}") for i in range(8)))
    hard = mine(Axis(), rows, Controls(negatives=7, relative_margin=0.0), rescore=cross_encoder)
    keys = hard.keys.texts(np.arange(8))
    assert (hard.mined.rows >= 0).any() and (hard.mined.rows < 0).any()
    for i, query in enumerate(hard.queries.texts(np.arange(8))):
        scores = cross_encoder([query] * 8, keys)
        expected = [j for j in np.argsort(-scores, kind="stable").tolist() if j != i and scores[j] <= scores[i]]
        found = [row for row in hard.mined.rows[i].tolist() if row >= 0]
        np.testing.assert_allclose(scores[found], scores[expected], rtol=1e-5)
    assert cross_encoder([], []).shape == (0,)
