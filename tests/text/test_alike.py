"""Texts that an encoder reads alike are one content: in the batch, over ranks, in mixtures and for the teacher."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nearfar.abilities import with_aliases
from nearfar.column import Aliases, ListColumn, content_id, content_ids
from nearfar.compute.ranks import Ranks
from nearfar.contracts import Positives
from nearfar.encoders.static import Static
from nearfar.losses.infonce import InfoNCE
from nearfar.positives.columns import Columns
from nearfar.positives.teacher_scores import TeacherScores
from nearfar.positives.views import Views
from nearfar.text.alike import as_read, read_alike
from nearfar.training.dry_run import dry_run
from nearfar.training.mixture import Mixture
from tests.training.runs import Rows, in_ranks, train, weights

PAIRS = [
    ("lost my pin", "Reset the password"),
    ("forgot the code", "RESET THE PASSWORD"),
    ("opening hours", "We open at nine"),
    ("when do you open", "we  open at nine"),
    ("exchange rate", "See the rate page"),
]


def columns(pairs: list[tuple[str, str]], **more: list[Any]) -> Columns:
    return Columns(Rows(query=[q for q, _ in pairs], key=[k for _, k in pairs], **more))


def prepared(positives: Positives) -> Static:
    encoder = Static(dim=8, vocabulary=300)
    encoder.prepare(list(positives.views.values()))
    return encoder


def loss_and_gradient(encoder: Static, positives: Positives, naive: bool = False) -> tuple[float, torch.Tensor]:
    """Return the loss of a batch of all examples, and its gradient, in float64.

    naive: the loss of each query over the distinct keys, as a reader of the paper would write it.
    """
    batch = positives.batch(np.arange(len(positives)))
    table = encoder.embedding.weight.detach().double().requires_grad_()

    def vectors(view: str) -> torch.Tensor:
        texts = [positives.views[view].read(row, row + 1)[0] for row in batch.rows[view].tolist()]
        ids, lengths = encoder.tokenise(texts)
        parts = torch.split(table[torch.from_numpy(ids.astype(np.int64))], lengths.tolist())
        return torch.nn.functional.normalize(torch.stack([part.mean(0) for part in parts]), dim=1)

    queries, keys = vectors("query"), vectors("key")
    if naive:
        distinct, first, place = np.unique(batch.pairs.key_item.numpy(), return_index=True, return_inverse=True)
        assert len(distinct) == 3
        scores = queries @ keys[torch.from_numpy(first)].T / 0.1
        loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(place))
    else:
        loss = InfoNCE(temperature=0.1, symmetric=False)(queries, keys, batch.pairs)
    loss.backward()
    assert table.grad is not None
    return loss.item(), table.grad


def test_keys_that_read_alike_count_once() -> None:
    """The loss and the gradient are those of the batch in which each such key is written in one form."""
    written = columns([(q, " ".join(k.lower().split())) for q, k in PAIRS])
    alike = columns(PAIRS)
    encoder = prepared(written)
    expected, gradient = loss_and_gradient(encoder, written, naive=True)
    found, found_gradient = loss_and_gradient(encoder, as_read(encoder, alike))
    before, _ = loss_and_gradient(encoder, alike)  # with the copies as negatives
    assert found == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(found_gradient, gradient, rtol=1e-10, atol=1e-12)
    assert before > expected + 0.1


def test_queries_that_read_alike_have_all_positives_of_both() -> None:
    pairs = [("Reset", "use the app"), ("RESET", "call us"), ("rate", "see the page")]
    positives = columns(pairs)
    batch = as_read(prepared(positives), positives).batch(np.arange(3)).pairs
    positive, _ = batch.by_ids(torch.arange(3)[:, None], torch.arange(3)[None])
    assert positive.tolist() == [[True, False, False], [False, True, False], [False, False, True]]
    assert batch.known is not None
    assert set(zip(batch.known.rows.tolist(), batch.known.columns.tolist(), batch.known.weight.tolist())) == {
        (0, 1, 1.0),
        (1, 0, 1.0),
    }


def test_a_key_that_reads_as_its_query_is_ignored_and_a_listed_copy_is_no_negative() -> None:
    pairs = [("Reset", "use the app"), ("rate", "RESET")]
    positives = columns(pairs, negative=["USE the app", "call us"])
    batch = as_read(prepared(positives), positives).batch(np.arange(2)).pairs
    assert batch.known is not None
    assert (batch.known.rows.tolist(), batch.known.columns.tolist(), batch.known.weight.tolist()) == ([0], [1], [0.0])
    assert batch.key_item[0] == batch.key_item[2]  # the copy in the column of negatives is the positive itself
    assert batch.key_group[0] == batch.key_group[2]


def test_what_reads_differently_and_data_without_copies_stay() -> None:
    plain = columns([("how", "a file is opened"), ("why", "a file is closed")])
    assert as_read(prepared(plain), plain) is plain
    cased = columns([("how", "re set"), ("why", "re-set")])
    assert as_read(prepared(cased), cased) is cased

    def by_character(texts: Any) -> Any:  # tells case apart
        ids = [np.frombuffer(text.encode("utf-32-le"), np.int32) for text in texts]
        return np.concatenate(ids), np.array(list(map(len, ids)), np.int64)

    column = ListColumn("key", [key for _, key in PAIRS])
    assert len(read_alike([column], [(by_character, "")])) == 0


def test_aliases_do_not_depend_on_order_and_change_the_fingerprint() -> None:
    positives, turned = columns(PAIRS), columns(PAIRS[::-1])
    encoder = prepared(positives)
    reader = [(encoder.tokenise, "query: ")]
    one, other = (read_alike(list(p.views.values()), reader) for p in (positives, turned))
    assert one.ids.tolist() == other.ids.tolist()
    assert one.representatives.tolist() == other.representatives.tolist()
    ids = sorted(content_id(text) for text in ("Reset the password", "RESET THE PASSWORD"))
    assert one(np.array(ids)).tolist() == [ids[0], ids[0]]
    assert as_read(encoder, positives).fingerprint != positives.fingerprint
    assert Aliases.none()(np.arange(3)).tolist() == [0, 1, 2]


def test_documents_that_read_alike_are_one_in_views() -> None:
    views = Views(Rows(text=["pull near", "PULL NEAR", "push far"]), "text")
    pairs = as_read(prepared(views), views).batch(np.arange(3)).pairs
    assert pairs.query_group[0] == pairs.key_group[1]
    assert pairs.key_item[0] == pairs.key_item[1]
    assert pairs.query_group[0] != pairs.key_group[2]


def test_data_sets_of_a_mixture_share_what_reads_alike() -> None:
    mixture = Mixture([columns([("lost", "Reset it"), ("rate", "see")]), columns([("gone", "RESET IT"), ("x", "y")])])
    pairs = as_read(prepared(mixture), mixture).batch(np.arange(4)).pairs
    assert pairs.key_item[0] == pairs.key_item[2]
    assert pairs.query_group[0] == pairs.query_group[2]


def test_the_teacher_does_not_list_a_copy_of_the_source() -> None:
    texts = [f"note {i} says how to pull near and push far" for i in range(5)]
    rows = Rows(text=[*texts, texts[0].upper()])
    encoder = Static(dim=8, vocabulary=300)
    positives = TeacherScores(rows, encoder, per_document=1, neighbours=5, others=0)
    read = as_read(encoder, positives)
    for example in range(len(positives)):
        source = positives.source[example]
        if source in (0, 5):
            copy = positives.rows.tolist().index(5 - source)
            before, after = (p.batch(np.array([example])).pairs.known for p in (positives, read))
            assert before is not None and after is not None
            assert len(before.weight) == 5 and len(after.weight) == 4
            assert copy in (0, 5)


def test_mined_negatives_and_queues_follow() -> None:
    positives = columns(PAIRS)
    read = as_read(prepared(positives), positives)
    assert isinstance(read, Columns)
    mined = read.with_negatives(np.array([[1], [4], [3], [2], [0]]))
    assert mined.batch(np.array([0, 2])).rows["key"].tolist() == [0, 2]  # both copies are in the batch already
    pairs = read.batch(np.array([0]), queued=np.array([1, 4])).pairs
    assert pairs.key_item[0] == pairs.key_item[1] != pairs.key_item[2]
    assert set(read.mining_pairs()[0].positives[:, 1].tolist()) == set(content_ids(positives.views["key"]).tolist())


def _train(ranks: Ranks, folder: Path) -> None:
    del ranks
    run = train(folder / "run", Rows(query=[q for q, _ in PAIRS], key=[k for _, k in PAIRS]), batch_size=5, steps=3)
    np.save(folder / "weights.npy", weights(run))


def test_a_run_counts_them_once_on_any_number_of_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    alone, both = tmp_path / "alone", tmp_path / "both"
    alone.mkdir()
    both.mkdir()
    _train(Ranks(), alone)
    in_ranks(2, _train, both)
    np.testing.assert_allclose(np.load(alone / "weights.npy"), np.load(both / "weights.npy"), rtol=1e-5, atol=1e-6)


def test_a_dry_run_reads_them_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Positives] = []

    def noted(positives: Positives, aliases: Aliases) -> Positives:
        seen.append(with_aliases(positives, aliases))
        return seen[-1]

    monkeypatch.setattr("nearfar.training.dry_run.with_aliases", noted)
    dry_run(Static(dim=8, vocabulary=300), columns(PAIRS), InfoNCE(), batch_size=5, steps=2, device="cpu")
    assert len(set(seen[0].batch(np.arange(5)).pairs.key_item.tolist())) == 3


@pytest.mark.parametrize("text", ["Café Zürich", "한국어", "São  João_x"])
def test_texts_in_any_script_are_compared(text: str) -> None:
    forms = [text, text.upper(), unicodedata.normalize("NFKD", text), text.lower()]
    column = ListColumn("text", [*dict.fromkeys(forms), "another"])

    def one_token(texts: Any) -> Any:
        return np.ones(len(texts), np.int32), np.ones(len(texts), np.int64)

    found = read_alike([column], [(one_token, "")])
    contents = {content_id(form) for form in forms}
    assert len(found) == len(contents) - 1
    assert set(found(np.array(sorted(contents))).tolist()) == {min(contents)}
