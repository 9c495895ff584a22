"""A language task: a model's hidden tokens against transformers' own in float64, and beside frequencies."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import nearfar as nf
from nearfar.column import ListColumn
from nearfar.data.table import Table
from nearfar.errors import InputError
from nearfar.evaluation.evaluate import evaluate
from nearfar.evaluation.floors import token_frequency
from nearfar.evaluation.floors.token_frequency import TokenFrequencyFloor
from nearfar.evaluation.splits import judgements
from nearfar.evaluation.token_predictions import token_predictions, tokenised
from nearfar.metrics.hidden_tokens import HiddenTokens
from nearfar.model import Model
from nearfar.positives.unpaired import Unpaired
from nearfar.tasks import Language
from tests.encoders.tiny import TEXTS, tiny


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))


def task(n: int = 20) -> Language:
    return Language("held out", ListColumn("text", TEXTS[:n]), ListColumn("text", TEXTS * 2), np.arange(n))


def model() -> Model:
    encoder = tiny("bert").eval()
    torch.manual_seed(1)
    for parameter in encoder.language_head("masked").eval().parameters():
        parameter.data += 0.5 * torch.randn_like(parameter)
    return Model(encoder)


def test_the_scores_are_those_of_transformers(tmp_path: Path) -> None:
    judged, found = task(), model()
    whole = tokenised(found, judged, seed=3)
    scores = token_predictions(found, whole).hidden_tokens
    tokens: Any = whole.tokens
    assert scores is not None
    theirs: Any = transformers.AutoModelForMaskedLM.from_pretrained(found.save(tmp_path / "m")).double().eval()
    encoder: Any = found.encoder
    likelihoods, right, rows = [], [], []
    for i, text in enumerate(TEXTS[:20]):
        ids = torch.from_numpy(encoder.tokenise([text])[0]).long()
        first = int(tokens.offsets[i])
        places = [int(place) - first for place in tokens.hidden if first <= place < tokens.offsets[i + 1]]
        assert len(places) == max(1, round(0.15 * (len(ids) - 2)))
        masked = ids.clone()
        masked[places] = encoder.known_tokens().mask
        logits = theirs(input_ids=masked[None]).logits[0].detach()
        for place in places:
            likelihoods.append(float(logits[place].log_softmax(0)[ids[place]]))
            right.append(bool(logits[place].argmax() == ids[place]))
            rows.append(i)
    np.testing.assert_allclose(scores.log_likelihood, likelihoods, atol=1e-5)
    assert scores.right.tolist() == right
    assert scores.rows.tolist() == rows
    values = HiddenTokens()(whole, token_predictions(found, whole))
    assert values["hidden_perplexity"] == pytest.approx(math.exp(-np.mean(likelihoods)), rel=1e-5)
    accuracy: Any = values["hidden_accuracy"]
    assert accuracy.value == pytest.approx(np.mean(right))
    weight = np.zeros((1, 20))
    weight[0, [2, 7]] = 3, 1  # a resample: one text three times, another once
    counted = [r for r, i in zip(right, rows, strict=True) for _ in range(int(weight[0, i]))]
    assert accuracy.resampled(weight)[0] == pytest.approx(np.mean(counted))


def test_frequencies_are_counted_in_the_training_texts_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    found = model()
    whole = tokenised(found, task(), seed=0)
    tokens: Any = whole.tokens
    encoder: Any = found.encoder
    ids = encoder.tokenise(TEXTS * 2)[0].tolist()
    ordinary = [one for one in range(len(tokens.special)) if not tokens.special[one]]
    counts = {one: 1 + ids.count(one) for one in ordinary}
    total, best = sum(counts.values()), max(counts, key=lambda one: counts[one])
    monkeypatch.setattr(token_frequency, "BLOCK", 7)  # ids are counted block by block
    scores = TokenFrequencyFloor()(whole, 0).hidden_tokens
    assert scores is not None
    asked = [int(tokens.ids[place]) for place in tokens.hidden]
    np.testing.assert_allclose(scores.log_likelihood, [math.log(counts[one] / total) for one in asked])
    assert scores.right.tolist() == [one == best for one in asked]
    assert sum(math.exp(math.log(count / total)) for count in counts.values()) == pytest.approx(1)


def test_a_report_has_the_floor_and_no_vectors() -> None:
    report = evaluate(model(), task(), resamples=50)
    assert list(report.metrics) == ["hidden_accuracy", "hidden_log_likelihood", "hidden_perplexity"]
    assert list(report.baseline) == ["neighbour-counts", "token-frequency"]
    for name in report.baseline:
        assert set(report.difference[name]) == {"hidden_accuracy", "hidden_log_likelihood"}
    assert report.protocol["hidden tokens"] > 20
    assert report.to_json()["verdict"]["metric"] == "hidden_accuracy"
    assert report.rows is not None
    assert "hidden tokens" in report.rows.parts
    assert evaluate(model(), task(), resamples=50).to_json() == report.to_json(), "the same tokens are hidden"
    assert evaluate(model(), task(), resamples=50, seed=1).metrics != report.metrics


def test_a_model_of_other_tokens_is_no_baseline(tmp_path: Path) -> None:
    other = nf.encoders.Transformer(
        config={"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
        vocabulary=280,
    )
    other.prepare([ListColumn("text", TEXTS)])
    with pytest.raises(InputError, match="a model with another tokenizer has other tokens"):
        evaluate(model(), task(), baselines=[Model(other)])


def test_a_model_that_predicts_no_tokens_is_refused() -> None:
    static = nf.encoders.Static(dim=8, vocabulary=300)
    static.prepare([ListColumn("text", TEXTS)])
    with pytest.raises(InputError, match="its tokens are to be predicted, and Static predicts none"):
        evaluate(Model(static), task())
    with pytest.raises(InputError, match="metric retrieval takes a task of retrieval"):
        evaluate(model(), task(), "retrieval")


def test_empty_tasks_are_refused() -> None:
    with pytest.raises(InputError, match="is empty"):
        Language("none", ListColumn("text", []), ListColumn("text", TEXTS), np.arange(0))
    with pytest.raises(InputError, match="there are no training texts"):
        Language("none", ListColumn("text", TEXTS), ListColumn("text", []), np.arange(len(TEXTS)))


def test_many_passages_of_few_documents_are_told_before_training() -> None:
    rows = [{"text": " ".join(f"near{i} far{j}" for j in range(40))} for i in range(4)]
    positives = Unpaired(Table(rows, heldout=1), chunk=4)
    with pytest.warns(UserWarning, match="its 20 passages are of 1 document, and intervals need 15; hold more out"):
        judgements([{"name": "hidden_tokens", "split": "heldout"}], positives, None)
    judgements([{"name": "hidden_tokens", "split": "heldout"}], Unpaired(Table(rows, heldout=1)), None)  # one text


def test_a_floor_that_cannot_serve_is_refused_before_training(tmp_path: Path) -> None:
    rows = [{"text": f"{text} {i}"} for i in range(12) for text in TEXTS if len(text) > 20]
    given = {"data.path": rows, "data.heldout": 20, "encoder.vocabulary": 330, "training.steps": 1}
    with pytest.raises(InputError, match="kneser-ney cannot judge heldout"):
        nf.train("masked_language", given, out=tmp_path / "run", baselines="kneser-ney", quiet=True)
    assert not (tmp_path / "run" / "events.jsonl").exists()
