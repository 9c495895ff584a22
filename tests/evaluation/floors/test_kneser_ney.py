"""The floor Kneser-Ney judges what a decoder is asked for: the same tokens, cuts and ends, by plain counting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar.column import ListColumn
from nearfar.errors import InputError
from nearfar.evaluation.baselines import usual_floors
from nearfar.evaluation.evaluate import evaluate
from nearfar.evaluation.floors.kneser_ney import KneserNeyFloor
from nearfar.evaluation.token_predictions import tokenised
from nearfar.model import Model
from nearfar.tasks import Language
from tests.encoders.tiny import TEXTS
from tests.evaluation.floors.language.test_kneser_ney import BEGIN, Naive
from tests.objectives.test_causal_language import decoder, prepared

CUT = 20  # tokens that are read of a text


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("order", [2, 5])
def test_its_scores_are_those_of_plain_counting(order: int) -> None:
    encoder = decoder("llama", max_length=CUT)
    task = Language("held out", ListColumn("text", TEXTS[:9]), ListColumn("text", TEXTS[9:]), np.arange(9))
    judged = tokenised(Model(encoder), task, 0)
    tokens: Any = judged.tokens
    end = encoder.known_tokens().end
    assert end is not None

    def documents(texts: list[str]) -> list[np.ndarray]:
        read = [encoder.tokenise([text])[0].tolist() for text in texts]
        assert {len(ids) < CUT for ids in read} == {True, False}, "some are cut, and some end"
        return [np.array(ids if len(ids) == CUT or ids[-1] == end else [*ids, end]) for ids in read]

    plain = Naive(documents(TEXTS[9:]), len(tokens.special), order)
    expected, most = [], []
    for document in documents(TEXTS[:9]):
        for i in range(1, len(document)):
            history = (BEGIN, *document[:i].tolist())
            chances = [plain.p(history, token) for token in range(len(tokens.special))]
            expected.append(np.log(chances[document[i]]))
            most.append(chances[document[i]] >= max(chances) - 1e-12)
    scores = KneserNeyFloor(order)(judged, 0).next_tokens
    assert scores is not None
    np.testing.assert_allclose(scores.log_likelihood, expected, atol=1e-10)
    assert not (scores.right & ~np.array(most)).any(), "what is right was nowhere less probable than another"
    assert scores.right.any()
    np.testing.assert_array_equal(scores.rows, tokens.text_of(tokens.next_places))


def test_it_stands_in_the_report_with_bits_per_byte() -> None:
    encoder = decoder("llama")
    prepared(encoder)
    task = Language("held out", ListColumn("text", TEXTS[:9]), ListColumn("text", TEXTS), np.arange(9))
    report = evaluate(Model(encoder), task, resamples=20)
    assert list(report.baseline) == ["kneser-ney", "token-frequency"]
    assert set(report.baseline["kneser-ney"]) == set(report.metrics) >= {"bits_per_byte", "perplexity"}
    about = report.protocol["baselines"]["kneser-ney"]
    assert about["label"] == "Kneser-Ney 5-grams" and about["training texts"] == len(TEXTS)
    named = evaluate(Model(encoder), task, baselines="kneser-ney", resamples=20)
    assert named.baseline["kneser-ney"] == report.baseline["kneser-ney"]
    with pytest.raises(InputError, match="neighbour-counts cannot judge held out"):
        evaluate(Model(encoder), task, baselines="neighbour-counts", resamples=20)
    assert set(usual_floors(task)) == {"kneser-ney", "neighbour-counts", "token-frequency"}, (
        "nobody knows the model yet"
    )
