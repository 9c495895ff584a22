"""Causal language modelling: the loss is that of transformers, texts do not see each other, and a leak is found."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from torch.nn.functional import linear

from nearfar.column import ListColumn
from nearfar.compute.draws import Draws
from nearfar.encoders.reading.tokens import Tokens
from nearfar.encoders.transformer import Transformer
from nearfar.errors import InputError
from nearfar.evaluation.causality import refuse_leak
from nearfar.evaluation.evaluate import evaluate
from nearfar.evaluation.floors.token_frequency import TokenFrequencyFloor
from nearfar.evaluation.token_predictions import token_predictions, tokenised
from nearfar.model import Model
from nearfar.objectives.causal_language import CausalLanguage
from nearfar.tasks import Language
from tests.encoders.tiny import CONFIGS, TEXTS, tiny

N = 12
DECODERS = ["llama", "qwen2", "qwen3", "gpt2"]
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "attn_pdrop": 0, "embd_pdrop": 0, "resid_pdrop": 0}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))


def decoder(family: str, **settings: Any) -> Transformer:
    """Return a decoder with random weights, whose tokenizer keeps all of a text."""
    config = {"model_type": family, **(GPT2 if family == "gpt2" else CONFIGS[family])}
    encoder = Transformer(config=config, vocabulary=320, keeps="text", dropout=0.0, **settings)
    encoder.prepare([ListColumn("text", TEXTS)])
    encoder.train(False)
    return encoder


def prepared(encoder: Transformer) -> CausalLanguage:
    objective = CausalLanguage(encoder)
    objective.prepare(encoder)
    torch.manual_seed(1)
    for parameter in objective.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return objective.eval()


def draws(n: int) -> Draws:
    return Draws.of(np.stack([np.zeros(n, np.int64), np.arange(n)], 1))


def logits(encoder: Transformer, objective: CausalLanguage, inputs: Tokens) -> Any:
    head = objective.head
    with torch.inference_mode():
        return linear(head(encoder.states(inputs).values), head.weight, head.bias)


@pytest.mark.filterwarnings("ignore:.*texts are padded")
@pytest.mark.parametrize("family", DECODERS)
def test_the_loss_is_that_of_transformers_and_the_folder_generates(family: str, tmp_path: Path) -> None:
    encoder = decoder(family)
    objective, inputs = prepared(encoder), encoder.inputs(TEXTS[:N])
    changed, targets = objective.hide(inputs, draws(N))
    assert changed is inputs
    terms = objective(encoder, changed, targets)
    Model(encoder).save(tmp_path / "model")
    theirs: Any = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    theirs.eval()
    end, total, count = encoder.known_tokens().end, 0.0, 0
    for i in range(N):
        ids = inputs.ids[inputs.offsets[i] : inputs.offsets[i + 1]]
        found = theirs(input_ids=ids[None]).logits[0].detach().double().log_softmax(1)
        following = [*ids[1:].tolist(), end]  # no text is as long as what is read of one
        total -= sum(float(found[place, token]) for place, token in enumerate(following))
        count += len(following)
    assert terms.count == count
    assert float(terms.total.detach()) == pytest.approx(total, rel=1e-5)
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    asked = tokenizer("Near and", return_tensors="pt")
    assert asked["input_ids"][0].tolist() == encoder.tokenise(["Near and"])[0].tolist()
    written = theirs.generate(**asked, max_new_tokens=5, do_sample=False, pad_token_id=0)
    assert written.shape[1] > asked["input_ids"].shape[1]


@pytest.mark.filterwarnings("ignore:.*texts are padded")
@pytest.mark.parametrize("family", DECODERS)
def test_texts_of_a_pack_do_not_see_each_other_nor_what_comes_behind(family: str) -> None:
    encoder = decoder(family)
    objective, inputs = prepared(encoder), encoder.inputs([TEXTS[20], TEXTS[21], TEXTS[22]])
    first = int(inputs.offsets[1])
    whole = logits(encoder, objective, inputs)
    other = inputs.ids.clone()
    other[first:] = 10 + (other[first:] * 3) % 200
    assert torch.equal(logits(encoder, objective, replace(inputs, ids=other))[:first], whole[:first])
    suffix = inputs.ids.clone()
    suffix[first - 3 : first] = 10 + (suffix[first - 3 : first] * 3) % 200
    assert not torch.equal(suffix, inputs.ids)
    changed = logits(encoder, objective, replace(inputs, ids=suffix))
    assert torch.equal(changed[: first - 3], whole[: first - 3])
    assert not torch.equal(changed[first - 3 : first], whole[first - 3 : first])


def test_a_text_that_was_cut_has_no_end() -> None:
    encoder = decoder("llama", max_length=8)
    objective, inputs = prepared(encoder), encoder.inputs([TEXTS[20], "near"])
    assert inputs.costs().tolist()[0] == 8 > inputs.costs().tolist()[1]
    _, targets = objective.hide(inputs, draws(2))
    assert targets.tokens.tolist() == [*inputs.ids[1:8].tolist(), *inputs.ids[9:].tolist(), encoder.known_tokens().end]
    assert targets.places.tolist() == [*range(7), *range(8, len(inputs.ids))]


def test_a_model_that_looks_behind_is_found_out() -> None:
    encoder = decoder("llama")
    store = encoder.store(ListColumn("text", TEXTS))
    known, head = encoder.known_tokens(), encoder.language_head("causal").eval()
    refuse_leak(encoder, head, store, known, "here")
    for module in encoder.backbone.modules():
        if hasattr(module, "is_causal"):
            setattr(module, "is_causal", False)  # noqa: B010  as a mask that was forgotten
    with pytest.raises(InputError, match="here: the logits of a text's beginning depend on the tokens behind it"):
        refuse_leak(encoder, head, store, known, "here")


class Neighbour(nn.Module):
    """Adds to each state the mean over all texts of the batch, as a norm over the batch would."""

    def __init__(self, of: Transformer) -> None:
        super().__init__()
        self.of = of

    def states(self, inputs: Tokens) -> Any:
        found = self.of.states(inputs)
        last = found.values[-1:]  # of the last text: a text before it does not look at itself
        return replace(found, values=found.values + last * (len(inputs) > 1))


def test_texts_that_see_each_other_are_found_out() -> None:
    encoder = decoder("llama")
    store = encoder.store(ListColumn("text", TEXTS))
    head = encoder.language_head("causal").eval()
    leaking: Any = Neighbour(encoder)
    with pytest.raises(InputError, match="depend on"):
        refuse_leak(leaking, head, store, encoder.known_tokens(), "here")


def test_a_report_has_bits_per_byte_of_all_of_the_text() -> None:
    encoder = decoder("llama")
    objective = prepared(encoder)
    texts = [f"{text.title()}  it is {i}" for i, text in enumerate(TEXTS) if len(text) < 60]
    assert len(texts) > 5
    task = Language("held out", ListColumn("text", texts), ListColumn("text", TEXTS), np.arange(len(texts)))
    model = Model(encoder)
    report = evaluate(model, task, resamples=20)
    terms = objective(encoder, *objective.hide(encoder.inputs(texts), draws(len(texts))))
    total = float(terms.total.detach())
    assert report.metrics["perplexity"] == pytest.approx(math.exp(total / terms.count), rel=1e-4)
    size = sum(len(text.encode()) for text in texts)
    assert report.metrics["bits_per_byte"] == pytest.approx(total / math.log(2) / size, rel=1e-4)
    assert set(report.baseline["token-frequency"]) == set(report.metrics)
    cut = Language("cut", ListColumn("text", [" ".join(TEXTS)]), ListColumn("text", TEXTS), np.arange(1))
    read: Any = tokenised(model, cut, 0).tokens
    assert read.text_bytes == len(encoder.decode(read.ids.tolist()).encode()) < len(" ".join(TEXTS))
    whole = tokenised(model, task, 0)
    scores = TokenFrequencyFloor()(whole, 0).next_tokens
    assert scores is not None
    assert len(scores.rows) == terms.count
    assert np.isfinite(scores.log_likelihood).all()
    found = token_predictions(model, whole)
    assert found.hidden_tokens is None
    lossy = tiny("llama")  # in lower case, without spaces: its tokens are not all of the text
    assert "bits_per_byte" not in evaluate(Model(lossy), task, resamples=20).metrics


def test_an_encoder_that_sees_both_sides_is_refused() -> None:
    with pytest.raises(InputError, match="bert: each token sees those behind it"):
        CausalLanguage(encoder := tiny("bert")).prepare(encoder)
