"""The shapes of products come again whatever texts are asked for: for each new one libraries keep memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import nearfar as nf
from nearfar.encoders.packed.packing import ROUNDED_LENGTH, round_tokens
from nearfar.encoders.reading.tokens import Tokens
from nearfar.serving.batching import ModelThreads

BERT = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
BERT |= {"intermediate_size": 24, "max_position_embeddings": 256}
BATCHES, TEXTS, LONGEST, MOST = 150, 6, 200, 1_000  # MOST: tokens of a batch


@pytest.fixture(scope="module")
def encoder() -> nf.encoders.Transformer:
    made = nf.encoders.Transformer(config=BERT, vocabulary=300, dropout=0.0)
    made.prepare([nf.column.ListColumn("text", ["a red fox runs"])])
    return made.eval()


def texts(draws: np.random.Generator) -> Tokens:
    lengths = draws.integers(3, LONGEST, TEXTS)
    return Tokens.of(torch.from_numpy(draws.integers(1, 60, int(lengths.sum()))), lengths)


def test_served_batches_of_any_sizes_have_few_shapes(
    encoder: nf.encoders.Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: set[int] = set()
    lengths: set[int] = set()
    product = torch.bmm

    def followed(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        lengths.add(a.shape[1])
        return product(a, b)

    def count(_: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        rows.add(given[0].shape[-2])

    model = nf.Model(encoder)
    monkeypatch.setattr(torch, "bmm", followed)
    layer = next(part for name, part in encoder.backbone.named_modules() if name.endswith("attention.self.query"))
    hook = layer.register_forward_pre_hook(count)
    sizes: set[int] = set()
    threads = ModelThreads(model.encoded, model.dim, batch_tokens=MOST, observe=lambda _, tokens: sizes.add(tokens))
    draws = np.random.default_rng(0)
    try:
        for _ in range(BATCHES):
            given = texts(draws)
            assert not threads.submit(given, given.costs()).result(60).failed
    finally:
        threads.close(60)
        hook.remove()
    assert len(sizes) > 100  # or the batches would prove nothing
    assert rows == {round_tokens(size) for size in sizes}
    assert len(rows) <= 48
    assert {length % ROUNDED_LENGTH for length in lengths} == {0}


def test_vectors_and_states_are_those_of_texts_whose_numbers_are_not_rounded(encoder: nf.encoders.Transformer) -> None:
    draws = np.random.default_rng(1)
    for _ in range(5):
        given = texts(draws)
        with torch.no_grad():
            vectors, states = encoder(given), encoder.states(given).values
        with torch.enable_grad():  # texts are not rounded here
            expected, expected_states = encoder(given), encoder.states(given).values
        torch.testing.assert_close(vectors, expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(states, expected_states, rtol=0, atol=1e-5)


def test_rounding_adds_less_than_a_thirty_second_or_eight() -> None:
    found = {tokens: round_tokens(tokens) for tokens in range(1, 5_000)}
    for tokens, rounded in found.items():
        assert 0 <= rounded - tokens < max(8, tokens / 32 + 1)
        assert found.get(rounded, rounded) == rounded
    assert len(set(found.values())) < 170
