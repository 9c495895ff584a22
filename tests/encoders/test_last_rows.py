"""States at some tokens alone are those of all tokens there, with their gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nearfar.encoders.packed.last_rows import POST_NORM, PRE_NORM
from nearfar.encoders.pretrained import backbone
from nearfar.encoders.transformer import Transformer
from tests.encoders.tiny import CONFIGS, TEXTS, tiny

OF_ROWS = ("bert", "roberta", "xlm-roberta", "distilbert", "modernbert")


def gradients(encoder: Transformer, states: Tensor) -> dict[str, Tensor]:
    encoder.zero_grad()
    weights = torch.linspace(-1, 1, states.numel()).view(states.shape)
    (states * weights).sum().backward()
    return {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}


@pytest.mark.filterwarnings("ignore:.*texts are padded")
@pytest.mark.parametrize(
    ("kind", "checkpointing"), [*((kind, False) for kind in sorted(CONFIGS)), ("bert", True), ("llama", True)]
)
def test_states_at_places_are_those_of_all_with_their_gradients(kind: str, checkpointing: bool) -> None:
    encoder = tiny(kind, checkpointing=checkpointing).train()
    inputs = encoder.inputs(TEXTS)
    places = torch.randperm(len(inputs.ids), generator=torch.Generator().manual_seed(0))[: len(inputs.ids) // 3]
    right = encoder.states(inputs).values[places]
    found = encoder.states_at(inputs, places)
    torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-5)
    expected, given = gradients(encoder, right), gradients(encoder, found)
    assert expected.keys() == given.keys()
    for name, grad in expected.items():
        torch.testing.assert_close(given[name], grad, rtol=1e-3, atol=1e-4, msg=name)
    with torch.no_grad():
        torch.testing.assert_close(encoder.states_at(inputs, places), right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", OF_ROWS)
def test_the_last_feed_forward_network_computes_the_places_alone(kind: str) -> None:
    encoder = tiny(kind).train()
    layers = backbone.layers(encoder.backbone)
    assert type(layers[-1]).__name__ in POST_NORM | PRE_NORM
    rows: list[int] = []
    for layer in layers:
        for name, module in layer.named_modules():
            wide = isinstance(module, nn.Linear) and module.in_features == 32 and module.out_features in (48, 96)
            if wide and "attn" not in name:
                module.register_forward_hook(lambda _, given, __, n=name: rows.append(given[0].shape[1]))
    inputs = encoder.inputs(TEXTS)
    encoder.states_at(inputs, torch.tensor([5, 0, 9]))
    before = [len(inputs.ids)] * (len(layers) - 1)
    assert rows == [*before, 3]
    encoder.states(inputs)
    assert rows[len(layers) :] == [*before, len(inputs.ids)], "nothing of it stays behind"


@pytest.mark.parametrize("kind", ["bert", "modernbert", "llama"])
def test_a_place_may_be_asked_for_again_and_again(kind: str) -> None:
    encoder = tiny(kind).train()
    inputs = encoder.inputs(TEXTS[:1])
    places = torch.arange(len(inputs.ids)).repeat(3)
    right, found = encoder.states(inputs).values[places], encoder.states_at(inputs, places)
    torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-5)
    expected, given = gradients(encoder, right), gradients(encoder, found)
    for name, grad in expected.items():
        torch.testing.assert_close(given[name], grad, rtol=1e-3, atol=1e-4, msg=name)


def test_no_place_and_no_text_give_no_state() -> None:
    encoder = tiny("bert").train()
    none = torch.empty(0, dtype=torch.int64)
    assert encoder.states_at(encoder.inputs(TEXTS[:2]), none).shape == (0, 32)
    assert encoder.states_at(encoder.inputs([]), none).shape == (0, 32)
