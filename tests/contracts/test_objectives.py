"""Every objective: what it hides is a function of rows and draws, and any cut of a batch adds up to the same terms."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nearfar import registry
from nearfar.abilities import Prepared
from nearfar.compute.draws import Draws
from nearfar.contracts import Terms
from nearfar.errors import InputError
from tests.contracts import samples

NAMES = registry.names("objectives")
N = 8
Found = tuple[Any, Any, Any]  # an encoder, an objective, the inputs of N cells


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path_factory.mktemp("cache")))


def understood(name: str) -> Found:
    """Return an objective with the first encoder, and its inputs of the first cells, that it takes."""
    part = registry.find("objectives", name)
    for encoder_name, more in product(registry.names("encoders"), ({}, {"config": samples.DECODER, "keeps": "text"})):
        for column in samples.columns():
            torch.manual_seed(0)
            encoder_part = registry.find("encoders", encoder_name)
            spec = {"name": encoder_name, **samples.settings("encoders", encoder_part, **more)}
            encoder = registry.build("encoders", spec)
            try:
                encoder.prepare([column])
                own = {"name": name, **samples.settings("objectives", part)}
                objective = registry.build("objectives", own, encoder=encoder)
                if isinstance(objective, Prepared):
                    objective.prepare(encoder)
                inputs = encoder.inputs(column.read(0, N))
                objective(encoder, *objective.hide(inputs, draws()))
            except (InputError, TypeError, ValueError, AttributeError):
                continue
            return encoder.eval(), objective.eval(), inputs
    raise AssertionError(f"objectives.{name} takes none of the encoders with any of the samples")


def draws(seed: int = 0) -> Draws:
    return Draws.of(np.array([[seed, 0, row] for row in range(N)]))


def outcome(found: Found, cuts: list[slice], seed: int = 0) -> tuple[Tensor, int, list[Tensor]]:
    """Return the sum and the number of the terms of a batch that is cut, and the gradients of the sum."""
    encoder, objective, inputs = found
    encoder.zero_grad()
    objective.zero_grad()
    terms: list[Terms] = []
    for rows in cuts:
        terms.append(objective(encoder, *objective.hide(inputs[rows], draws(seed)[rows])))
        if terms[-1].count:
            terms[-1].total.backward()
    parameters = [*encoder.parameters(), *objective.parameters()]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]
    return torch.stack([one.total.detach() for one in terms]).sum(), sum(one.count for one in terms), gradients


@pytest.mark.parametrize("name", NAMES)
def test_an_objective_is_a_finite_sum_with_gradients(name: str) -> None:
    found = understood(name)
    total, count, gradients = outcome(found, [slice(0, N)])
    assert total.shape == ()
    assert total.isfinite()
    assert count > 0
    assert all(gradient.isfinite().all() for gradient in gradients)
    own = gradients[-len(list(found[1].parameters())) :]
    assert any(gradient.abs().sum() > 0 for gradient in own)
    assert any(gradient.abs().sum() > 0 for gradient in gradients[: -len(own)]), "nothing reaches the encoder"


@pytest.mark.parametrize("name", NAMES)
def test_the_same_draws_hide_the_same_and_others_hide_something_else(name: str) -> None:
    found = understood(name)
    whole = [slice(0, N)]
    first, again = outcome(found, whole), outcome(found, whole)
    torch.testing.assert_close(again, first, rtol=0, atol=0)
    hides = found[1].hide(found[2], draws())[0] is not found[2]  # else a decoder hides what comes next by itself
    assert (len({float(outcome(found, whole, seed)[0]) for seed in range(8)}) > 1) == hides


@pytest.mark.parametrize("name", NAMES)
def test_any_cut_of_a_batch_adds_up_to_the_same_update(name: str) -> None:
    found = understood(name)
    total, count, gradients = outcome(found, [slice(0, N)])
    cut_total, cut_count, cut_gradients = outcome(found, [slice(0, 1), slice(1, 5), slice(5, N)])
    assert cut_count == count
    torch.testing.assert_close(cut_total, total, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(cut_gradients, gradients, rtol=1e-4, atol=1e-5)
