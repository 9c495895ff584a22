"""Hidden tokens of a tiny transformer: from a recipe, resumed bit-equal, the same by any cut and on two ranks."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import nearfar as nf
from nearfar.compute.ranks import Ranks
from nearfar.errors import Interrupted
from nearfar.training.interrupts import Interrupts
from tests.training.runs import in_ranks
from tests.training.test_heads import _stop_at
from tests.training.test_log import lines

TINY = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
ROWS = [{"text": " ".join(f"w{(i * j) % 7} near{j % 3}" for j in range(1 + i % 6))} for i in range(48)]
RECIPE = """
data: {name: table, heldout: 8}
encoder: {name: transformer, config: CONFIG, vocabulary: 300, max_length: 16, dropout: 0.0}
objective: {name: OBJECTIVE, share: 0.4}
training: {steps: 6, batch_size: 16, learning_rate: 0.01, clip: 0.0, precision: fp32, device: cpu, checkpoint_every: 2}
"""
# An objective from outside, and those that ship.
OBJECTIVES = ["tests.training.hidden_tokens:HiddenTokens", "masked_language", "causal_language", "retromae"]
BESIDE = """
positives: {name: views}
loss: {name: infonce, temperature: 0.1}
"""


def train(folder: Path, objective: str = OBJECTIVES[0], *, beside: bool = False, **more: Any) -> Any:
    """Train by the recipe, alone or beside a loss."""
    kind = "llama" if objective == "causal_language" else "bert"
    text = RECIPE.replace("CONFIG", str({"model_type": kind, **TINY}).replace("'", ""))
    text = text.replace("OBJECTIVE", f'"{objective}"')
    if kind == "llama":
        text = text.replace(", share: 0.4", "").replace("vocabulary: 300,", "vocabulary: 300, keeps: text,")
    if beside:
        text = text.replace("objective: {", "objective: {weight: 0.5, ") + BESIDE
    recipe = folder.parent / f"{folder.name}.yaml"
    recipe.write_text(text)
    resume = more.pop("resume", False)
    more |= {"training.steps": more.pop("steps", 6)}
    return nf.train(recipe, {"data.path": ROWS, **more}, out=folder, quiet=True, resume=resume, baselines=())


def weights(folder: Path) -> dict[str, Tensor]:
    """Return all tensors of a run's last checkpoint."""
    newest = max((folder / "checkpoints").iterdir(), key=lambda path: path.name)
    return load_file(newest / "state.safetensors")


def trained(folder: Path) -> dict[str, Tensor]:
    return {name: value for name, value in weights(folder).items() if name.startswith("module/")}


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside a loss"])
def test_it_learns_and_any_cut_gives_the_same(tmp_path: Path, cache: Path, objective: str, beside: bool) -> None:
    train(tmp_path / "whole", objective, beside=beside)
    steps = [event for event in lines(tmp_path / "whole") if event["event"] == "step"]
    assert steps[-1]["loss"] < steps[0]["loss"]
    whole = trained(tmp_path / "whole")
    assert any(name.startswith("module/objective.head") for name in whole)
    four, sixteen = {"training.micro_batch": 4}, {"training.micro_batch": 1}
    for name, cut in {"four": four, "sixteen": sixteen, "costs": {"training.micro_cost": 20}}.items():
        train(tmp_path / name, objective, beside=beside, **cut)
        for key, value in trained(tmp_path / name).items():
            torch.testing.assert_close(value, whole[key], rtol=2e-4, atol=2e-5, msg=f"{name} {key}: {{}}".format)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_it_resumes_bit_equal(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, objective: str) -> None:
    train(tmp_path / "whole", objective, beside=True)
    with monkeypatch.context() as stopped, pytest.raises(Interrupted):
        stopped.setattr(Interrupts, "on_any_rank", _stop_at(3))
        train(tmp_path / "cut", objective, beside=True)
    train(tmp_path / "cut", objective, beside=True, resume=True)
    found = weights(tmp_path / "cut")
    assert all(torch.equal(value, found[name]) for name, value in weights(tmp_path / "whole").items())


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_its_loss_on_held_out_rows_is_measured(tmp_path: Path, cache: Path, objective: str) -> None:
    done = train(tmp_path / "run", objective, steps=40)
    assert 0 < done.run.metrics["heldout_loss"] < 5.7  # the logarithm of 300 tokens
    assert done.reports == {}
    assert done.facts["metrics"] == done.metrics == done.run.metrics


def _in_ranks(ranks: Ranks, folder: Path, cache: Path) -> None:
    os.environ["NEARFAR_CACHE"] = str(cache)
    for i, objective in enumerate(OBJECTIVES):
        for beside in (False, True):
            train(folder / f"{i} {beside} {ranks.world_size}" / "run", objective, beside=beside)
            if ranks.is_first:
                run = folder / f"{i} {beside} {ranks.world_size}" / "run"
                save_file(trained(run), folder / f"{i}-{beside}-{ranks.world_size}")


def test_one_rank_and_two_learn_the_same(tmp_path: Path, cache: Path) -> None:
    for size in (1, 2):
        for i, beside in product(range(len(OBJECTIVES)), (False, True)):
            (tmp_path / f"{i} {beside} {size}").mkdir()
    _in_ranks(Ranks(), tmp_path, cache)
    in_ranks(2, _in_ranks, tmp_path, cache)
    for i, beside in product(range(len(OBJECTIVES)), (False, True)):
        one, two = (load_file(tmp_path / f"{i}-{beside}-{size}") for size in (1, 2))
        for name, value in one.items():
            torch.testing.assert_close(two[name], value, rtol=2e-4, atol=2e-5, msg=f"{i} {beside} {name}: {{}}".format)
