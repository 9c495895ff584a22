"""The benchmark of servers runs, at toy size: real servers, clients in this process; what it holds against what."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("httpx", reason="the clients' library is not installed")

import nearfar as nf
from tests.test_benchmarks import BENCHMARKS, Run, run  # noqa: F401  the fixture is used by its name

BERT = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
BERT |= {"intermediate_size": 16, "max_position_embeddings": 300}


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_serving(run: Run, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    pytest.importorskip("sentence_transformers", reason="the peer is missing: pip install 'nearfar[bench]'")
    monkeypatch.setattr(importlib.import_module("serving"), "two_cores", lambda: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    encoder = nf.encoders.Transformer(config=BERT, vocabulary=300)
    encoder.prepare([nf.column.ListColumn("text", ["shares of the company rose", "the price of oil fell"])])
    nf.Model(encoder).save(tmp_path / "model")
    names = ["ours, fp32", "plain, fp32, lock", "plain in batches, fp32"]
    options = ["--model", str(tmp_path / "model"), "--texts", "30", "--clients", "4", "--rounds", "1", "--seconds", "1"]
    options += ["--warmup", "0.3", "--soak", "0.05", "--data", str(shared_data), "--only", *names]
    kept = run("serving", "serving:child", options)
    assert list(kept["runs"]) == names
    assert 16 <= kept["tokens"]["least"] < kept["tokens"]["most"] <= 256
    for [found] in kept["runs"].values():
        assert found["errors"] == {}
        assert found["least_cosine"] > 0.9999
        assert 0 < found["p50_ms"] <= found["p99_ms"]
        assert found["compared"] > 1
        assert found["resident_mb"] > 100
    answers = kept["soaks"]["ours, fp32"]["answers"]
    assert kept["soaks"]["ours, fp32"]["failed"] == 0
    assert set(answers["bad request"]) == {"400"}
    assert set(answers["one text"]) == {"200"}
    assert kept["absent"]["infinity"].startswith("not measured")
    words = [bound["what"] for bound in kept["bounds"]]
    assert "fp32 (ours, fp32): texts per second, times that of plain, fp32, lock" in words
    assert len(words) == 4 + 1 + 2


def test_texts_have_the_tokens_that_were_asked_for() -> None:
    script = importlib.import_module("serving")
    articles = [" ".join(f"word{i}" for i in range(size)) for size in (0, 1, 5, 300, 400, 500)]

    def tokens(texts: list[str]) -> Any:  # two special ones, and two of each word
        import numpy as np

        return np.array([2 + 2 * len(text.split()) for text in texts])

    texts = script.cut_texts(articles, tokens, 3)
    assert len(set(texts)) == 3
    assert all(16 <= count <= 256 for count in tokens(texts))
    with pytest.raises(SystemExit, match="only 3 articles"):
        script.cut_texts(articles, tokens, 4)


def test_settings_with_other_vectors_are_not_the_fastest_and_rounds_are_compared_in_turn() -> None:
    script = importlib.import_module("serving")

    def of(*rates: float, cosine: float = 1.0, p99: float = 100.0, **errors: int) -> list[dict[str, Any]]:
        return [
            {"texts_per_second": rate, "p99_ms": p99, "least_cosine": cosine, "errors": dict(errors)} for rate in rates
        ]

    runs = {
        "ours, fp32": of(30.0, 10.0, 20.0),
        "ours, bf16": of(60.0, 60.0, 60.0, p99=50.0, **{"429": 7}),
        "plain, fp32, threads": of(5.0, 5.0, 5.0),
        "plain, fp32, lock": of(10.0, 4.0, 10.0),
        "plain, bf16, lock": of(100.0, 100.0, 100.0, cosine=0.99),
        "plain in batches, fp32": of(50.0, 50.0, 50.0),
    }
    soaks = {"ours, fp32": {"settled_mb": 100.0, "end_mb": 106.0, "failed": 0}}
    bounds = {bound["what"]: (bound["value"], bound["met"]) for bound in script.bounds_of(runs, soaks)}
    assert bounds == {
        "fp32 (ours, fp32): texts per second, times that of plain, fp32, lock": (2.5, True),
        "fp32 (ours, fp32): p99 ms, times that of plain, fp32, lock": (1.0, True),
        "fastest (ours, bf16): texts per second, times that of plain, fp32, lock": (6.0, True),
        "fastest (ours, bf16): p99 ms, times that of plain, fp32, lock": (0.5, True),
        "ours: errors but 429": (0, True),
        "ours, fp32: memory at the end of a mixed load, times that after a minute of it": (1.06, False),
        "ours, fp32: failures of the server in it": (0, True),
    }
