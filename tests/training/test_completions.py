"""What a language model writes while it trains: as `complete` writes it, in the events, the same after resuming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import linear

import nearfar as nf
from nearfar.encoders.reading.tokens import Tokens
from nearfar.model import Model
from nearfar.objectives.masked_language import MaskedLanguage
from nearfar.training import completions
from nearfar.training.completions import Completions
from nearfar.uses.complete import complete
from tests.encoders.tiny import WORDS, tiny
from tests.objectives.test_causal_language import decoder, prepared
from tests.training.hidden_tokens import HiddenTokens

TEXTS = [" ".join(WORDS[(i * 7 + j * j) % len(WORDS)] for j in range(30)) for i in range(6)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))


def heldout(texts: list[str]) -> Any:
    return nf.positives.Unpaired(nf.data.Table([{"text": text} for text in texts]))


def test_a_beginning_goes_on_as_complete_writes_it() -> None:
    encoder = decoder("llama").train()
    objective = prepared(encoder).train()
    state = torch.random.get_rng_state()
    found = Completions.of(encoder, objective, ["text"], heldout([*TEXTS, "short"]))
    assert found is not None
    facts = found()
    assert facts["kind"] == "causal" and len(facts["texts"]) == completions.TEXTS
    assert encoder.training and objective.training
    assert torch.equal(torch.random.get_rng_state(), state)
    for text in facts["texts"]:
        (beginning, told), (written, by_model) = text["written"]
        assert (told, by_model) == (False, True)
        assert len(beginning) <= completions.BEGINNING and beginning in " ".join(TEXTS)
        again = complete(Model(encoder), beginning, tokens=completions.TOKENS)
        assert written == again.continuation
        assert (text["original"][0][0] + text["original"][1][0]) in " ".join(TEXTS)


def test_hidden_tokens_are_filled_in_with_the_likeliest_ones() -> None:
    encoder = tiny("bert")
    objective = MaskedLanguage(encoder)
    objective.prepare(encoder)
    torch.manual_seed(3)
    for parameter in objective.head.parameters():
        parameter.data += 0.5 * torch.randn_like(parameter)
    found = Completions.of(encoder, objective, ["text"], heldout(TEXTS))
    assert found is not None
    special = encoder.known_tokens().special
    for cell, text in zip(found.texts, found()["texts"], strict=True):
        ids = encoder.tokenise([cell])[0].tolist()
        places = [place for place, token in enumerate(ids) if not special[token]][3::7]
        masked = [encoder.known_tokens().mask if place in places else token for place, token in enumerate(ids)]
        with torch.no_grad():
            states = encoder.states(Tokens.of(torch.tensor(masked), np.array([len(ids)]))).values
            logits = linear(objective.head(states), objective.head.weight, objective.head.bias)
        logits[:, torch.from_numpy(special)] = -torch.inf
        answers = [int(logits[place].argmax()) if place in places else token for place, token in enumerate(ids)]
        assert len(places) > 2
        assert "".join(part for part, _ in text["written"]) == encoder.decode(answers)
        assert "".join(part for part, _ in text["original"]) == encoder.decode(ids)
        assert [hidden for _, hidden in text["original"]] == [hidden for _, hidden in text["written"]]
        shown = [part.strip() for part, hidden in text["original"] if hidden]
        assert shown == [encoder.decode([ids[place]]).strip() for place in places]


def test_there_are_none_without_texts_or_a_language_head() -> None:
    encoder = tiny("bert")
    other, objective = HiddenTokens(encoder), MaskedLanguage(encoder)
    other.prepare(encoder)
    assert Completions.of(encoder, objective, ["text"], heldout(TEXTS)) is None, "it has no head yet"
    objective.prepare(encoder)
    assert Completions.of(encoder, other, ["text"], heldout(TEXTS)) is None
    assert Completions.of(encoder, objective, ["text"], heldout(["short", "texts"])) is None
    assert Completions.of(encoder, None, ["text"], heldout(TEXTS)) is None
    assert Completions.of(encoder, objective, [], heldout(TEXTS)) is None


def written(folder: Path) -> dict[int, Any]:
    """Return what was written after each step; of a repeated step the later line counts."""
    lines = (json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines() if line.strip())
    return {line["step"]: line["texts"] for line in lines if line["event"] == "completions"}


def test_a_run_keeps_them_and_a_resumed_one_writes_the_same(tmp_path: Path) -> None:
    rows = [{"text": f"{text} {i}"} for i in range(12) for text in TEXTS]
    config = {"model_type": "bert", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    given: dict[str, Any] = {
        "data.path": rows,
        "data.heldout": 20,
        "encoder.config": {**config, "num_attention_heads": 2},
        "encoder.vocabulary": 330,
        "encoder.max_length": 48,
        "training.batch_size": 8,
        "training.steps": 12,
        "training.evaluate_every": 5,
        "training.schedule": "constant",
        "training.warmup": 0,
        "training.learning_rate": 1e-2,
        "training.device": "cpu",
    }
    nf.train("masked_language", given, out=tmp_path / "whole", quiet=True)
    whole = written(tmp_path / "whole")
    assert sorted(whole) == [0, 5, 10, 12]
    assert len({json.dumps(texts) for texts in whole.values()}) > 1, "the model learns"
    page = (tmp_path / "whole" / "report.html").read_text()
    assert "What it filled in as training went on" in page
    nf.train("masked_language", {**given, "training.steps": 7}, out=tmp_path / "run", quiet=True)
    assert sorted(written(tmp_path / "run")) == [0, 5, 7]
    nf.train("masked_language", given, out=tmp_path / "run", resume=True, quiet=True)
    resumed = written(tmp_path / "run")
    assert {step: resumed[step] for step in whole} == whole
