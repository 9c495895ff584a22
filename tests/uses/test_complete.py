"""Completing texts: blanks as transformers fills them, a continuation as transformers generates it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import nearfar as nf
from nearfar.column import ListColumn
from nearfar.errors import InputError
from nearfar.model import Model
from nearfar.uses.complete import complete
from tests.encoders.tiny import TEXTS, tiny
from tests.objectives.test_causal_language import decoder, prepared


def masked(keeps: str = "letters") -> Model:
    encoder = tiny("bert", keeps=keeps).eval()
    torch.manual_seed(2)
    for parameter in encoder.language_head("masked").parameters():
        parameter.data += 0.5 * torch.randn_like(parameter)
    return Model(encoder)


@pytest.fixture
def causal() -> Model:
    encoder = decoder("llama")
    prepared(encoder)
    return Model(encoder)


def test_blanks_are_filled_as_transformers_does(tmp_path: Path) -> None:
    model = masked()
    found = complete(model, "near [MASK] far [MASK]", top=4)
    folder = model.save(tmp_path / "model")
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
    theirs: Any = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    asked = tokenizer("near [MASK] far [MASK]", return_tensors="pt")
    with torch.no_grad():
        logits = theirs(**asked).logits[0]
    places = [i for i, one in enumerate(asked["input_ids"][0].tolist()) if one == tokenizer.mask_token_id]
    logits[:, tokenizer.all_special_ids] = -torch.inf
    assert len(found.blanks) == len(places) == 2
    for blank, place in zip(found.blanks, places, strict=True):
        best = logits[place].softmax(0).topk(4)
        assert [one.probability for one in blank] == pytest.approx(best.values.tolist(), rel=1e-4)
        assert [one.text for one in blank] == [tokenizer.decode([token]).strip() for token in best.indices.tolist()]
    again = complete(Model.load(folder), "near [MASK] far [MASK]", top=4)
    assert again.text == found.text
    assert found.text.startswith("near")


def test_a_causal_model_goes_on_as_transformers_generates(causal: Model, tmp_path: Path) -> None:
    folder = causal.save(tmp_path / "model")
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
    theirs: Any = transformers.AutoModelForCausalLM.from_pretrained(folder)
    theirs.eval()
    asked = tokenizer("Pull near", return_tensors="pt")
    never = [[one] for one in tokenizer.all_special_ids if one != tokenizer.eos_token_id]
    written = theirs.generate(**asked, max_new_tokens=8, do_sample=False, pad_token_id=0, bad_words_ids=never)
    found = complete(Model.load(folder), "Pull near", tokens=8)
    assert found.text == tokenizer.decode(written[0], skip_special_tokens=True)
    assert found.text == "Pull near" + found.continuation
    assert found.continuation


def test_draws_are_those_of_the_seed(causal: Model) -> None:
    one, same = (complete(causal, "Pull near", tokens=8, temperature=1.0, seed=3) for _ in range(2))
    assert one == same
    assert len({complete(causal, "Pull near", tokens=8, temperature=1.0, seed=seed).text for seed in range(6)}) > 1


def test_what_cannot_be_completed_is_refused(causal: Model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is none; write \[MASK\]"):
        complete(masked(), "near far")
    with pytest.raises(InputError, match="the text is empty"):
        complete(causal, "  ")
    with pytest.raises(InputError, match="as many tokens as the model reads"):
        complete(causal, " ".join(TEXTS))
    with pytest.raises(InputError, match="at least 1"):
        complete(causal, "near", tokens=0)
    static = nf.encoders.Static(dim=8, vocabulary=300)
    static.prepare([ListColumn("text", TEXTS)])
    with pytest.raises(InputError, match="Static predicts no tokens; give a language model"):
        complete(Model(static), "near")
    plain = Model(tiny("bert")).save(tmp_path / "plain")
    with pytest.raises(InputError, match="a model of vectors, whose folder has no head"):
        complete(Model.load(plain), "near [MASK]")
