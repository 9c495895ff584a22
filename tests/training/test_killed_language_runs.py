"""Runs of the recipes of language models that are killed and resumed: weights, head, decoder and metrics bit-equal."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

import nearfar as nf
from tests.training.runs import kill_after, start_process
from tests.training.small_picture_recipes import differing, state
from tests.training.test_masked_recipe import ROWS

SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
SMALL: dict[str, Any] = {
    "data.path": ROWS,
    "data.heldout": 40,
    "encoder.vocabulary": 330,
    "encoder.max_length": 24,
    "encoder.dropout": 0.1,
    "training.batch_size": 8,
    "training.steps": 16,
    "training.checkpoint_every": 3,
    "training.device": "cpu",
}
# What each recipe's checkpoint must hold beside the encoder and its optimiser.
HELD = {
    "masked_language": "objective.head.model.cls.predictions.transform.dense.weight",
    "causal_language": "encoder.backbone.embed_tokens.weight",
    "retromae": "objective.decoder.",
}


def _train(recipe: str, out: Path, cache: Path | None = None, *, resume: bool = False) -> None:
    torch.set_num_threads(1)
    if cache is not None:
        os.environ["NEARFAR_CACHE"] = str(cache)
    kind = "llama" if recipe == "causal_language" else "bert"
    settings = {**SMALL, "encoder.config": {"model_type": kind, **SIZES}}
    settings |= {"objective.decoder_heads": 2} if recipe == "retromae" else {}
    nf.train(recipe, settings, out=out, resume=resume, quiet=True)


@pytest.mark.parametrize("recipe", HELD)
def test_killed_and_resumed_it_ends_bit_equal(recipe: str, tmp_path: Path, cache: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    _train(recipe, whole)
    process = start_process(_train, recipe, cut, cache)
    kill_after(process, cut, steps=4 + int.from_bytes(os.urandom(1)) % 8)
    _train(recipe, cut, resume=True)
    expected, found = state(whole), state(cut)
    assert any(name.startswith(f"module/{HELD[recipe]}") for name in expected), sorted(expected)
    assert differing(expected, found) == []
    shipped = "model/model.safetensors"
    assert (whole / shipped).read_bytes() == (cut / shipped).read_bytes()
    metrics = [json.loads((run / "results.json").read_text())["metrics"] for run in (whole, cut)]
    assert metrics[0] == metrics[1] and len(metrics[0]) > 2
