"""The head of a language model: the family's own, saved so that transformers reads the folder with equal logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import linear

from nearfar.abilities import LanguageKind, PredictsTokens
from nearfar.encoders.transformer import Transformer
from nearfar.errors import InputError
from nearfar.model import Model
from tests.encoders.tiny import CONFIGS, TEXTS, column, tiny

KINDS: dict[str, LanguageKind] = {
    **dict.fromkeys(("bert", "roberta", "distilbert", "modernbert", "mpnet"), "masked"),
    **dict.fromkeys(("qwen2", "llama"), "causal"),
}
CLASSES: dict[LanguageKind, Any] = {
    "masked": transformers.AutoModelForMaskedLM,
    "causal": transformers.AutoModelForCausalLM,
}


def moved(encoder: Transformer, kind: LanguageKind) -> Any:
    """Return the encoder's head with weights unlike those that it began with, so that none can be mistaken."""
    head = encoder.language_head(kind).eval()
    torch.manual_seed(1)
    for parameter in head.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return head


@torch.no_grad()
def logits(encoder: Transformer, head: Any, text: str) -> Tensor:
    return linear(head(encoder.eval().states(encoder.inputs([text])).values), head.weight, head.bias)


@torch.no_grad()
def their_logits(folder: Path, kind: LanguageKind, encoder: Transformer, text: str) -> Tensor:
    model, info = CLASSES[kind].from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    ids = torch.from_numpy(encoder.tokenise([text])[0]).long()
    found: Tensor = model.eval()(input_ids=ids[None]).logits[0]
    return found


@pytest.mark.filterwarnings("ignore:.*texts are padded")
@pytest.mark.parametrize("family", KINDS)
def test_the_folder_opens_in_transformers_with_equal_logits(family: str, tmp_path: Path) -> None:
    kind, encoder = KINDS[family], tiny(family)
    assert isinstance(encoder, PredictsTokens)
    head = moved(encoder, kind)
    Model(encoder).save(tmp_path / "model")
    ours = logits(encoder, head, TEXTS[5])
    assert ours.std() > 0.05
    torch.testing.assert_close(their_logits(tmp_path / "model", kind, encoder, TEXTS[5]), ours, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*texts are padded")
@pytest.mark.parametrize("family", KINDS)
def test_it_is_read_again_and_the_vectors_are_those_of_the_same_model(family: str, tmp_path: Path) -> None:
    kind, encoder = KINDS[family], tiny(family)
    without = Model(encoder).fingerprint
    head = moved(encoder, kind)
    model = Model(encoder)
    assert model.fingerprint == without, "the head is no part of the space"
    again = Model.load(model.save(tmp_path / "model"))
    read: Any = again.encoder
    assert read.language_head(kind).trained
    assert not head.trained
    for name, value in read.language_head(kind).state_dict().items():
        assert torch.equal(value, head.state_dict()[name]), name
    assert (again.embed(TEXTS[:4]) == model.embed(TEXTS[:4])).all()


def test_a_model_of_its_own_begins_from_a_folder_of_transformers(tmp_path: Path) -> None:
    encoder = tiny("bert")
    Model(encoder).save(tmp_path / "plain")  # without a head, but with a tokenizer
    config = transformers.AutoConfig.from_pretrained(tmp_path / "plain")
    torch.manual_seed(3)
    make: Any = transformers.AutoModelForMaskedLM.from_config
    theirs = make(config)
    torch.nn.init.normal_(theirs.cls.predictions.bias)
    theirs.save_pretrained(tmp_path / "theirs")
    encoder.tokenizer.tokenizer.save_pretrained(tmp_path / "theirs")  # type: ignore[union-attr]
    ours = Transformer(str(tmp_path / "theirs"))
    found = logits(ours, ours.language_head("masked"), TEXTS[3])
    torch.testing.assert_close(found, their_logits(tmp_path / "theirs", "masked", ours, TEXTS[3]), rtol=1e-5, atol=1e-5)
    plain = Transformer(str(tmp_path / "plain")).language_head("masked")
    assert not plain.trained, "the folder has no head, so it is a new one"
    same = Transformer(str(tmp_path / "plain")).language_head("masked")
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), same.parameters(), strict=True))


def test_the_table_of_tokens_stays_the_encoder_s() -> None:
    encoder = tiny("bert")
    head, model = encoder.language_head("masked"), encoder.backbone
    assert head is encoder.language_head("masked")
    assert head.weight is model.get_input_embeddings().weight  # type: ignore[operator]
    assert not {id(p) for p in head.parameters()} & {id(p) for p in encoder.parameters()}


def test_lora_is_merged_below_the_head(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    encoder = tiny("bert", lora={"rank": 2, "targets": ["query"]})
    for name, parameter in encoder.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    head = moved(encoder, "masked")
    Model(encoder).save(tmp_path / "model")
    ours = logits(encoder, head, TEXTS[5])
    theirs = their_logits(tmp_path / "model", "masked", encoder, TEXTS[5])
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)


def test_what_cannot_be_trained_so_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"bert: each token sees those behind it.*gpt2"):
        tiny("bert").language_head("causal")
    with pytest.raises(InputError, match=r"llama: transformers has no masked language model of it.*bert"):
        tiny("llama").language_head("masked")


def test_a_head_of_another_shape_is_refused_by_name(tmp_path: Path) -> None:
    encoder = tiny("bert")
    encoder.language_head("masked")
    folder = Model(encoder).save(tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    tensors["cls.predictions.bias"] = torch.zeros(7)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    read: Any = Model.load(folder).encoder  # the space is the same
    with pytest.raises(InputError, match=r"cls.predictions.bias is \(7,\), its config.json asks for"):
        read.language_head("masked")


@pytest.mark.parametrize("keeps", ["letters", "words", "text"])
def test_what_a_new_tokenizer_keeps(keeps: Any) -> None:
    encoder = Transformer(config={"model_type": "bert", **CONFIGS["bert"]}, vocabulary=320, keeps=keeps)
    encoder.prepare([column()])
    text = "Pull NEAR,  then push far"
    tokenizer: Any = encoder.tokenizer
    ids = encoder.tokenise([text])[0].tolist()
    known = encoder.known_tokens()
    behind = keeps != "text"  # nothing stands behind a text that a model goes on with
    assert [bool(known.special[one]) for one in ids] == [True, *[False] * (len(ids) - 1 - behind), *[True] * behind]
    assert known.end == (None if behind else tokenizer.tokenizer.eos_token_id)
    assert known.mask == tokenizer.tokenizer.mask_token_id
    assert known.special.sum() == 4
    written = encoder.decode(ids)
    if keeps == "letters":
        assert known.continues is None
        return
    assert written == (text if keeps == "text" else " pull near , then push far")
    assert known.continues is not None
    begun = [one for one in ids[1:] if not known.continues[one] and not known.special[one]]
    assert len(begun) >= 5
