"""Training a transformer: resumed to the same bits, with micro-batches, with prompts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nearfar.encoders.packed import packing
from nearfar.errors import InputError
from nearfar.model import Model
from nearfar.storage.probes import probes_of
from nearfar.training.fit import Run
from tests.encoders.tiny import TEXTS, tiny
from tests.training.runs import rows, train

SMALL: dict[str, Any] = {"steps": 6, "checkpoint_every": 2, "learning_rate": 1e-3, "batch_size": 8}


class BrokenOffError(Exception):
    pass


def broken_off(at: int) -> Any:
    """Return an evaluation that raises an error when it is called the `at`-th time."""
    seen: list[int] = []

    def evaluate(_: Model) -> Mapping[str, float]:
        seen.append(1)
        if len(seen) == at:
            raise BrokenOffError
        return {"mrr@10": 0.0}

    return evaluate


def tensors(run: Run) -> list[torch.Tensor]:
    module: Any = run.model.encoder
    return [p.detach() for p in module.parameters()]


@pytest.mark.parametrize("settings", [{}, {"lora": {"rank": 2, "dropout": 0.1}}], ids=["whole", "lora"])
def test_a_resumed_run_ends_at_the_same_bits(settings: dict[str, Any], tmp_path: Path) -> None:
    if "lora" in settings:
        pytest.importorskip("peft", reason="the extra lora is not installed")
    settings = {"dropout": 0.1, **settings}
    whole = train(tmp_path / "whole", encoder=tiny("bert", **settings), **SMALL)
    more = {"evaluate_every": 1, "best": "mrr@10", **SMALL}
    with pytest.raises(BrokenOffError):
        train(tmp_path / "run", encoder=tiny("bert", **settings), evaluate=broken_off(5), **more)
    again = tiny("bert", **settings)
    run = train(tmp_path / "run", encoder=again, resume=True, evaluate=broken_off(99), **more)
    assert all(torch.equal(a, b) for a, b in zip(tensors(run), tensors(whole), strict=True))
    assert run.model.fingerprint == whole.model.fingerprint


@pytest.mark.parametrize("cut", [{"micro_batch": 3}, {"micro_cost": 40}])
def test_micro_batches_learn_the_same(cut: dict[str, Any], tmp_path: Path) -> None:
    more: dict[str, Any] = {"optimizer": "sgd", "clip": 0, "warmup": 0.0, **SMALL}
    runs = [train(tmp_path / str(i), encoder=tiny("bert"), **more, **extra) for i, extra in enumerate(({}, cut))]
    for plain, cached in zip(tensors(runs[0]), tensors(runs[1]), strict=True):
        torch.testing.assert_close(plain, cached, rtol=1e-4, atol=1e-6)


def test_the_gradient_cache_draws_the_same_dropout_in_both_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "CHUNK", 20)
    encoder = tiny("bert", dropout=0.2).train()
    inputs = encoder.inputs(TEXTS)
    torch.manual_seed(1)
    with torch.no_grad():
        first = encoder(inputs)
    torch.manual_seed(1)
    assert torch.equal(first, encoder(inputs))


def test_prompts_are_the_same_in_training_and_after_it(tmp_path: Path) -> None:
    prompts = {"query": "find near ", "key": "tell far "}
    seen: list[str] = []
    encoder = tiny("bert", prompts=prompts)
    whole = encoder.tokenise
    encoder.tokenise = lambda texts: seen.extend(texts) or whole(texts)  # type: ignore[method-assign,func-returns-value]
    run = train(tmp_path / "run", encoder=encoder, **SMALL)
    data = rows()
    trained_on = [prompts[r] + cell for r in ("query", "key") for cell in data.cells[r]]
    probes = probes_of(json.loads((tmp_path / "run" / "model" / "nearfar.json").read_text()))
    assert len(seen) == len(trained_on) + len(probes)  # the texts that a saved model keeps are read once, too
    assert sorted(seen[: len(trained_on)]) == sorted(trained_on)
    assert run.model.prompts == prompts
    again = Model.load(tmp_path / "run" / "model")
    np.testing.assert_array_equal(again.embed(["near"], "query"), again.embed(["find near near"]))


def test_unequal_prompts_for_one_view_are_refused() -> None:
    from nearfar.text.prompts import prompt

    class Same:
        query_views = key_views = ("text",)

    with pytest.raises(InputError, match="both query and key"):
        prompt(tiny("bert", prompts={"query": "a "}), Same(), "text")  # type: ignore[arg-type]
