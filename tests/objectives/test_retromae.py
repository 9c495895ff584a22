"""RetroMAE: the decoder gets the vector and few tokens, and nothing else of the text; the loss is the sum of two."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, linear

from nearfar.compute.draws import Draws
from nearfar.encoders.static import Static
from nearfar.encoders.transformer import Transformer
from nearfar.errors import InputError
from nearfar.objectives.masked_language import MaskedLanguage
from nearfar.objectives.retromae import RetroMae
from tests.encoders.tiny import TEXTS, tiny

N = 14


def prepared(encoder: Transformer, **settings: Any) -> RetroMae:
    torch.manual_seed(0)
    objective = RetroMae(encoder, **settings)
    objective.prepare(encoder)
    return objective.eval()


def draws(n: int = N) -> Draws:
    return Draws.of(np.stack([np.zeros(n, np.int64), np.arange(n)], 1))


def test_vectors_of_states_are_those_of_the_texts() -> None:
    for pooling in ("mean", "cls", "weightedmean"):
        encoder = tiny("bert", pooling=pooling).eval()
        inputs = encoder.inputs(TEXTS)
        torch.testing.assert_close(encoder.pooled(encoder.states(inputs)), encoder(inputs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_loss_is_that_of_each_text_by_itself(pooling: str) -> None:
    encoder = tiny("bert", pooling=pooling).eval()
    objective, inputs = prepared(encoder), encoder.inputs(TEXTS[:N])
    changed, targets = objective.hide(inputs, draws())
    terms = objective(encoder, changed, targets)
    masked = MaskedLanguage(encoder, share=0.3)
    masked.prepare(encoder)
    of_encoder = masked(encoder, *masked.hide(inputs, draws()))
    vectors = encoder(changed)
    total, count, head = 0.0, 0, objective.head
    decoder: Any = objective.decoder
    table = encoder.backbone.get_input_embeddings().weight  # type: ignore[operator]
    for i in range(N):
        first, last = int(inputs.offsets[i]), int(inputs.offsets[i + 1])
        embedded = table[targets.decoder_ids[first:last]]
        x = torch.cat([vectors[i : i + 1], embedded]) + decoder.places.weight[: last - first + 1]
        out = decoder.layer(decoder.norm(x)[None])[0, 1:]
        for place, token in zip(targets.decoder.places.tolist(), targets.decoder.tokens, strict=True):
            if first <= place < last:
                logits = linear(head(out[place - first][None]), head.weight, head.bias).double()
                total += float(cross_entropy(logits, token[None]).detach())
                count += 1
    assert terms.count == of_encoder.count + count
    assert float(terms.total.detach()) == pytest.approx(float(of_encoder.total.detach()) + total, rel=1e-5)


def test_shares_are_exact_and_drawn_apart() -> None:
    encoder = tiny("bert")
    objective, inputs = prepared(encoder, share=0.2, decoder_share=0.7), encoder.inputs(TEXTS[:N])
    changed, targets = objective.hide(inputs, draws())
    lengths = inputs.costs()
    for found, share in ((targets.encoder, 0.2), (targets.decoder, 0.7)):
        counts = np.bincount(np.searchsorted(inputs.offsets, found.places.numpy(), side="right") - 1, minlength=N)
        assert counts.tolist() == [max(1, round(share * (length - 2))) for length in lengths.tolist()]
    assert set(targets.decoder_ids[targets.decoder.places].tolist()) == {encoder.known_tokens().mask}
    of_encoder, of_decoder = set(targets.encoder.places.tolist()), set(targets.decoder.places.tolist())
    both = len(of_encoder & of_decoder)
    assert 0.5 < both / len(of_encoder) < 0.95, "independent: about 0.7 of the encoder's are the decoder's, too"
    assert not torch.equal(changed.ids, targets.decoder_ids)


def test_a_gradient_reaches_the_encoder_through_the_vector_alone() -> None:
    encoder = tiny("bert").eval()
    objective, inputs = prepared(encoder), encoder.inputs(TEXTS[:N])
    _, targets = objective.hide(inputs, draws())
    decoder: Any = objective.decoder
    lengths = torch.from_numpy(inputs.costs())
    embedded = objective.head.weight[targets.decoder_ids].detach()
    vectors = torch.randn(N, encoder.dim, requires_grad=True)
    out = decoder(vectors, embedded, lengths)
    out[: int(inputs.offsets[1])].sum().backward()  # the first text
    assert vectors.grad is not None
    assert vectors.grad[0].abs().sum() > 0
    assert vectors.grad[1:].abs().sum() == 0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="Static predicts no tokens"):
        RetroMae(Static(dim=8, vocabulary=300))
    with pytest.raises(InputError, match="5 do not divide the width 32"):
        prepared(tiny("bert"), decoder_heads=5)
    with pytest.raises(InputError, match="vectors have 64 numbers and tokens 32; take one pooling"):
        prepared(tiny("bert", pooling=["cls", "mean"]))
    with pytest.raises(InputError, match=r"objective\.decoder_share must be above 0"):
        RetroMae(tiny("bert"), decoder_share=1.0)
