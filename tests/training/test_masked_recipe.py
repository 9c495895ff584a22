"""The recipe masked_language: judged, kept, opened by transformers, and the start of other runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import nearfar as nf
from nearfar.errors import InputError

WHO, WHAT = ["the cat", "a dog", "one bird", "my friend", "the old man"], ["a ball", "the tree", "food", "its home"]


def _row(number: int) -> str:
    """Return one to four sentences, drawn by the row's number."""
    drawn = np.random.default_rng(number).integers(0, 20, (1 + number % 4, 3)).tolist()
    return ". ".join(f"{WHO[a % 5]} sees {WHAT[b % 4]} and finds {WHAT[c % 4]}" for a, b, c in drawn)


ROWS = [{"text": text} for text in dict.fromkeys(map(_row, range(260)))]
CONFIG = {"model_type": "bert", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
SMALL: dict[str, Any] = {
    "data.path": ROWS,
    "data.heldout": 40,
    "encoder.config": {**CONFIG, "num_attention_heads": 2},
    "encoder.vocabulary": 330,
    "encoder.max_length": 32,
    "training.batch_size": 20,
    "training.device": "cpu",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model that was trained by the recipe."""
    folder = tmp_path_factory.mktemp("masked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEARFAR_CACHE", str(folder / "cache"))
        given = {**SMALL, "training.epochs": 12, "training.learning_rate": 3e-3}
        return nf.train("masked-language", given, out=folder / "run", quiet=True)


def test_it_is_judged_beside_its_floor_and_written_down(run: Any) -> None:
    folder = run.run.folder
    results = json.loads((folder / "results.json").read_text())
    metrics, floor = results["metrics"], results["baseline"]["token-frequency"]
    assert metrics["hidden_accuracy"] > floor["hidden_accuracy"] + 0.1
    assert metrics["hidden_perplexity"] < floor["hidden_perplexity"] / 2
    assert metrics["hidden_perplexity"] == pytest.approx(np.exp(-metrics["hidden_log_likelihood"]))
    assert results["difference"]["token-frequency"]["hidden_accuracy"]["low"] > 0
    assert results["verdict"]["against"] == "neighbour-counts", "two neighbours tell most of so small a grammar"
    assert 0 < run.run.metrics["heldout_loss"] < 5.8
    page, card = (folder / "report.html").read_text(), (folder / "model" / "README.md").read_text()
    for text in (page, card):
        assert "hidden_accuracy" in text
        assert "frequencies of tokens" in text or "token-frequency" in text


def test_transformers_opens_it_and_fills_in(run: Any) -> None:
    folder = run.run.folder / "model"
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
    theirs: Any = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    asked = tokenizer("the cat [MASK] a ball and finds food", return_tensors="pt")
    place = asked["input_ids"][0].tolist().index(tokenizer.mask_token_id)
    with torch.no_grad():
        logits = theirs(**asked).logits[0]
    assert tokenizer.decode([int(logits[place].argmax())]).strip() == "sees"


def test_it_is_continued_from_its_folder(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    given = {**SMALL, "encoder.config": None, "encoder.model": str(run.run.folder / "model"), "training.steps": 2}
    again = nf.train("masked_language", {**given, "training.learning_rate": 1e-6}, out=tmp_path / "run", quiet=True)
    assert again is not None
    before = again.reports["heldout"].baseline["start"]
    assert before["hidden_accuracy"] == pytest.approx(run.metrics["hidden_accuracy"])
    assert again.metrics["hidden_perplexity"] == pytest.approx(run.metrics["hidden_perplexity"], rel=0.02)


def test_a_contrastive_run_starts_from_it(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    pairs = [{"query": row["text"][:30], "key": row["text"]} for row in ROWS]
    given = {"data.path": pairs, "encoder.model": str(run.run.folder / "model"), "training.steps": 3}
    given |= {"training.batch_size": 16, "training.learning_rate": 1e-4, "encoder.max_length": 32}
    done = nf.train("finetune", given, out=tmp_path / "run", quiet=True)
    assert done is not None
    assert "start" in done.reports["heldout"].baseline
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert config["architectures"] == ["BertModel"], "a head that was not trained along is not saved"


def test_bad_settings_are_refused_before_anything_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))

    def refused(says: str, **given: Any) -> None:
        settings = {**SMALL, **{key.replace("__", "."): value for key, value in given.items()}}
        with pytest.raises(InputError, match=says):
            nf.train("masked_language", settings, out=tmp_path / "run", quiet=True)

    refused(r"objective\.share must be above 0", objective__share=1.5)
    refused("together at most 1", objective__random=0.7, objective__kept=0.7)
    refused(r"no setting is called 'shares'.*share", objective__shares=0.2)
    refused(r"encoder\.keeps", encoder__keeps="vowels")
    refused("does not say where words begin", encoder__keeps="letters", objective__whole_words=True)
    causal = {"model_type": "llama", **CONFIG, "num_attention_heads": 2} | {"model_type": "llama"}
    refused("needs hidden_tokens, and this is a decoder", encoder__config=causal)
