"""Masked language modelling: what is hidden is counted, the loss is that of transformers' model in float64."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from nearfar.column import ListColumn
from nearfar.compute.draws import Draws
from nearfar.encoders.reading.tokens import Tokens
from nearfar.encoders.static import Static
from nearfar.encoders.transformer import Transformer
from nearfar.errors import InputError
from nearfar.model import Model
from nearfar.objectives.masked_language import MaskedLanguage
from tests.encoders.tiny import CONFIGS, TEXTS, tiny

N = 400


def prepared(encoder: Transformer, **settings: Any) -> MaskedLanguage:
    objective = MaskedLanguage(encoder, **settings)
    objective.prepare(encoder)
    return objective.eval()


def draws(n: int, seed: int = 0) -> Draws:
    return Draws.of(np.array([[seed, 0, row] for row in range(n)]).astype(np.int64).reshape(n, 3))


def many(encoder: Transformer) -> Tokens:
    return encoder.inputs([" ".join(TEXTS[(7 * i + j) % len(TEXTS)] for j in range(1 + i % 4)) for i in range(N)])


def test_the_share_of_each_text_is_exact_and_special_tokens_are_never_hidden() -> None:
    encoder = tiny("bert")
    objective, inputs = prepared(encoder, share=0.3), many(encoder)
    changed, targets = objective.hide(inputs, draws(N))
    special = torch.from_numpy(encoder.known_tokens().special)
    assert not special[targets.tokens].any()
    for i in range(N):
        first, last = inputs.offsets[i], inputs.offsets[i + 1]
        hidden = int(((targets.places >= first) & (targets.places < last)).sum())
        real = int((~special[inputs.ids[first:last]]).sum())
        assert hidden == max(1, round(0.3 * real)), (i, real)
    untouched = torch.ones(len(inputs.ids), dtype=torch.bool)
    untouched[targets.places] = False
    assert torch.equal(changed.ids[untouched], inputs.ids[untouched])
    assert torch.equal(inputs.ids[targets.places], targets.tokens)
    assert np.array_equal(changed.offsets, inputs.offsets)


def test_of_the_hidden_tokens_eight_of_ten_are_masks_and_one_is_another() -> None:
    encoder = tiny("bert")
    inputs, mask = many(encoder), encoder.known_tokens().mask
    objective = prepared(encoder, share=0.3)
    changed, targets = objective.hide(inputs, draws(N))
    new, n = changed.ids[targets.places], len(targets.places)
    assert n > 2_000
    masked, kept = new == mask, new == targets.tokens
    other = ~masked & ~kept
    assert not torch.from_numpy(encoder.known_tokens().special)[new[other]].any()
    assert len(new[other].unique()) > 100, "any token that is not special may come"
    for found, asked in ((masked, 0.8), (other, 0.1), (kept, 0.1)):
        spread = 4 * math.sqrt(asked * (1 - asked) / n)
        assert abs(float(found.double().mean()) - asked) < spread + 0.001  # another token may be the same one
    everything = prepared(encoder, share=0.15, random=0.0, kept=0.0).hide(inputs, draws(N))
    assert (everything[0].ids[everything[1].places] == mask).all()


def test_every_place_is_as_likely() -> None:
    encoder = tiny("bert")
    inputs = encoder.inputs([TEXTS[20]] * N)
    length = int(inputs.costs()[0])
    _, targets = prepared(encoder, share=0.2).hide(inputs, draws(N))
    counts = torch.bincount(targets.places % length, minlength=length)[1:-1].double()
    share = float(counts.sum()) / (N * (length - 2))
    assert (counts / N - share).abs().max() < 4.5 * math.sqrt(share * (1 - share) / N)


def test_what_is_hidden_of_a_text_depends_on_it_and_its_draws_alone() -> None:
    encoder = tiny("bert")
    objective, inputs = prepared(encoder), many(encoder)[:20]
    whole = objective.hide(inputs, draws(20))[0]
    parts = [objective.hide(inputs[i : i + 1], draws(20)[i : i + 1])[0].ids for i in range(20)]
    assert torch.equal(whole.ids, torch.cat(parts))
    assert not torch.equal(whole.ids, objective.hide(inputs, draws(20, seed=1))[0].ids)


def with_words() -> Transformer:
    config = {"model_type": "bert", **CONFIGS["bert"]}
    encoder = Transformer(config=config, vocabulary=290, keeps="words", dropout=0.0)
    encoder.prepare([ListColumn("text", TEXTS)])
    return encoder


def test_whole_words_are_hidden_as_one() -> None:
    encoder = with_words()
    inputs = encoder.inputs(["".join(f"{TEXTS[(i + j) % 23]} , " for j in range(3)) for i in range(60)])
    known = encoder.known_tokens()
    assert known.continues is not None
    assert known.continues[inputs.ids.numpy()].mean() > 0.3, "words of several tokens are what this is about"
    objective = prepared(encoder, share=0.2, whole_words=True)
    _, targets = objective.hide(inputs, draws(60))
    hidden = np.zeros(len(inputs.ids), bool)
    hidden[targets.places.numpy()] = True
    for i in range(60):
        rows = slice(int(inputs.offsets[i]) + 1, int(inputs.offsets[i + 1]) - 1)
        words = np.cumsum(~known.continues[inputs.ids.numpy()[rows]])
        by_word = [set(hidden[rows][words == word].tolist()) for word in np.unique(words)]
        assert all(len(one) == 1 for one in by_word), "a word is hidden whole or not at all"
        real = rows.stop - rows.start
        count = hidden[rows].sum()
        one_word = sum(one == {True} for one in by_word) == 1
        assert 0 < count <= max(1, round(0.2 * real)) or one_word


def test_a_text_of_special_tokens_alone_hides_nothing() -> None:
    encoder = tiny("bert")
    empty = Tokens.of(torch.tensor([1, 2]), np.array([2]))
    objective = prepared(encoder)
    terms = objective(encoder, *objective.hide(empty, draws(1)))
    assert terms.count == 0
    none = empty[0:0]
    assert objective(encoder, *objective.hide(none, draws(0))).count == 0


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "modernbert"])
def test_the_loss_is_that_of_transformers_under_the_same_masks(family: str, tmp_path: Path) -> None:
    encoder = tiny(family).eval()
    objective, inputs = prepared(encoder, share=0.3), many(encoder)[:12]
    for parameter in objective.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    changed, targets = objective.hide(inputs, draws(12))
    terms = objective(encoder, changed, targets)
    Model(encoder).save(tmp_path / "model")
    theirs: Any = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "model").double().eval()
    total, count, hidden = 0.0, 0, set(targets.places.tolist())
    for i in range(12):
        rows = slice(int(inputs.offsets[i]), int(inputs.offsets[i + 1]))
        logits = theirs(input_ids=changed.ids[rows][None]).logits[0].detach()
        for place, row in enumerate(range(rows.start, rows.stop)):
            if row in hidden:
                total -= float(logits[place].log_softmax(0)[inputs.ids[row]])
                count += 1
    assert terms.count == count
    assert float(terms.total.detach()) == pytest.approx(total, rel=1e-5)


def test_bad_settings_and_encoders_are_refused_by_name() -> None:
    encoder = tiny("bert")
    for share in (0.0, 1.0, -0.1, math.nan):
        with pytest.raises(InputError, match=r"objective\.share must be above 0"):
            MaskedLanguage(encoder, share=share)
    with pytest.raises(InputError, match="together at most 1"):
        MaskedLanguage(encoder, random=0.6, kept=0.5)
    with pytest.raises(InputError, match=r"Static predicts no tokens; take encoder\.name=transformer"):
        MaskedLanguage(Static(dim=8, vocabulary=300))
    with pytest.raises(InputError, match=r"does not say where words begin.*encoder\.keeps=words"):
        prepared(encoder, whole_words=True)
    encoder.tokenizer.tokenizer.mask_token = None  # type: ignore[union-attr]
    with pytest.raises(InputError, match="the tokenizer has no mask token"):
        prepared(encoder)
