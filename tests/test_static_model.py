"""The static model without torch embeds as `Model` does, whatever the folder and the texts; else it is not there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from nearfar.abilities import NamedPrompts
from nearfar.column import ListColumn
from nearfar.encoders.dual import Dual
from nearfar.encoders.frozen_projection import FrozenProjection
from nearfar.encoders.pretrained.static_files import MODULE_FOLDER
from nearfar.encoders.projected import Projected
from nearfar.encoders.static import Static
from nearfar.errors import InputError
from nearfar.heads.mlp import Mlp
from nearfar.model import Model
from nearfar.static_model import StaticModel
from tests.encoders.tiny import TEXTS, tiny

COLUMN = ListColumn("text", TEXTS)
PROMPTS = {"query": "query near ", "key": "key "}
ODD = [
    "\u00e9",
    "e\u0301",
    "\U0001f98a fox",
    "\u0645\u0631\u062d\u0628\u0627",
    "near " * 600,
    "_",
    "\t far\n",
    "\x00",
    "<s>[UNK]",
]


def static(**more: Any) -> Static:
    encoder = Static(dim=12, vocabulary=300, **more)
    encoder.prepare([COLUMN])
    return encoder


def saved(folder: Path, encoder: Any, **more: Any) -> Path:
    return Model(encoder, **more).save(folder)


def tokenizer(**changed: Any) -> str:
    return json.dumps({**json.loads(static().tokenizer.to_str()), **changed})


def of_sentence_transformers(folder: Path, config: dict[str, Any] | None = None, **modules: Any) -> Path:
    """A folder that nearfar did not write: without a limit of length, and more rows than tokens."""
    place = folder / MODULE_FOLDER
    place.mkdir(parents=True)
    rows = [("StaticEmbedding", MODULE_FOLDER), ("Normalize", "1_Normalize")]
    listed = [
        {"idx": i, "name": str(i), "path": p, "type": f"sentence_transformers.models.{k}"}
        for i, (k, p) in enumerate(rows)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    if config is not None:
        (folder / "config_sentence_transformers.json").write_text(json.dumps(config))
    (place / "tokenizer.json").write_text(tokenizer(**modules))
    torch.manual_seed(0)
    save_file({"embedding.weight": torch.randn(400, 8).bfloat16()}, place / "model.safetensors")
    return folder


def of_model2vec(folder: Path, **tensors: Any) -> Path:
    """One row for several tokens, and a weight for each token, as that of an inverse document frequency."""
    folder.mkdir()
    (folder / "tokenizer.json").write_text(tokenizer())
    (folder / "config.json").write_text(json.dumps({"model_type": "model2vec", "normalize": True}))
    torch.manual_seed(0)
    rows = len(static().embedding.weight)
    table = {
        "embeddings": torch.randn(50, 8).half(),
        "mapping": torch.randint(0, 50, (rows,)),
        "weights": torch.rand(rows),
    }
    save_file({**table, **tensors}, folder / "model.safetensors")
    return folder


NAMED = NamedPrompts({"clustering": "far far "}, "clustering")
LEFT = {"max_length": 3, "stride": 0, "strategy": "LongestFirst", "direction": "Left"}
FOLDERS: dict[str, Callable[[Path], Path]] = {
    "plain": lambda folder: saved(folder, static()),
    "prompts": lambda folder: saved(folder, static(), prompts=PROMPTS),
    "a default prompt": lambda folder: saved(folder, static(), prompts=PROMPTS, named_prompts=NAMED),
    "a default prompt of a role": lambda folder: saved(
        folder, static(), prompts=PROMPTS, named_prompts=NamedPrompts({"query": "x "}, "query")
    ),
    "few tokens": lambda folder: saved(folder, static(max_length=2)),
    "a tokenizer that knows few letters": lambda folder: saved(folder, few_letters(folder.parent / "few.json")),
    "sentence-transformers, bfloat16": lambda folder: of_sentence_transformers(folder),
    "sentence-transformers, prompts": lambda folder: of_sentence_transformers(
        folder, {"prompts": {"query": "push ", "document": "near ", "s2s": "far "}, "default_prompt_name": "s2s"}
    ),
    "sentence-transformers, the end of texts": lambda folder: of_sentence_transformers(folder, truncation=LEFT),
    "saved again": lambda folder: Model.load(
        of_sentence_transformers(folder.parent / "s", truncation=LEFT)
    ).save(folder),
    "model2vec": lambda folder: of_model2vec(folder),
    "model2vec, saved again": lambda folder: Model.load(of_model2vec(folder.parent / "m")).save(folder),
}  # fmt: skip


def few_letters(path: Path) -> Static:
    from tokenizers import Tokenizer
    from tokenizers.models import BPE

    Tokenizer(BPE({letter: 3 * i for i, letter in enumerate("nearfox ")}, [])).save(str(path))
    return Static(dim=5, tokenizer=path)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Model, StaticModel]]:
    """Each folder, read in both ways."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEARFAR_CACHE", str(tmp_path_factory.mktemp("cache")))
        found = {}
        for name, write in FOLDERS.items():
            folder = write(tmp_path_factory.mktemp("model") / "model")
            light = StaticModel.load(folder)
            assert light is not None, name
            found[name] = Model.load(folder), light
        return found


def answer(model: Any, texts: list[str], **how: Any) -> Any:
    try:
        return model.embed(texts, **how)
    except InputError as error:
        return str(error)


TEXT = st.one_of(st.text(max_size=30), st.sampled_from([*TEXTS, *ODD]), st.text("near fox", max_size=12))
ROLES: list[Literal["query", "key"] | None] = [None, "query", "key"]


@pytest.mark.parametrize("name", FOLDERS)
@settings(max_examples=30, deadline=None)
@given(texts=st.lists(TEXT, max_size=4), role=st.sampled_from(ROLES), dim=st.integers(0, 13), first=st.integers(0, 5))
def test_it_embeds_as_the_model_does(name: str, models: Any, texts: list[str], role: Any, dim: int, first: int) -> None:
    full, light = models[name]
    how = {"role": role, "first": first, **({"dim": dim} if dim else {})}
    expected, found = answer(full, texts, **how), answer(light, texts, **how)
    if isinstance(expected, str):
        assert found == expected
    else:
        assert (found.shape, found.dtype) == (expected.shape, np.float32)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", FOLDERS)
def test_it_is_of_the_same_space(name: str, models: Any) -> None:
    full, light = models[name]
    assert (light.fingerprint, light.dim, light.folder) == (full.fingerprint, full.dim, full.folder)
    many = [f"{text} {number}" for number in range(900) for text in TEXTS[:6]]  # more than are embedded at once
    many.append("near fox far " * 30_000)  # more tokens than any encoder reads
    if name != "a tokenizer that knows few letters":
        np.testing.assert_allclose(light.embed(many, "key"), full.embed(many, "key"), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "cells", [["near", 1], ["near", np.zeros((2, 2, 3), np.uint8)], "near", [""], ["\ud800"], [None]]
)
def test_it_refuses_what_the_model_refuses(cells: Any, models: Any) -> None:
    full, light = models["prompts"]
    assert isinstance(said := answer(full, cells, role="key"), str)
    assert answer(light, cells, role="key") == said
    assert answer(light, ["near"], role="document") == answer(full, ["near"], role="document")


def described(folder: Path, **changed: Any) -> Path:
    """A model with other settings of its encoder."""
    path = saved(folder, static()) / "nearfar.json"
    content = json.loads(path.read_text())
    content["encoder"] |= changed
    path.write_text(json.dumps(content))
    return folder


def damaged(folder: Path, change: Callable[[Path], object]) -> Path:
    change(saved(folder, static()))
    return folder


def zeroed(folder: Path) -> None:
    path = folder / MODULE_FOLDER / "model.safetensors"
    save_file({"embedding.weight": torch.zeros(len(static().embedding.weight), 12)}, path)


OTHERS: dict[str, Callable[[Path], Path]] = {
    "a layer over the mean": lambda folder: saved(folder, FrozenProjection(static(), dim=4)),
    "that layer, of another library": lambda folder: undescribed(saved(folder, FrozenProjection(static(), dim=4))),
    "a head": lambda folder: saved(folder, Projected(static(), Mlp(dim=12, sizes=[4]))),
    "two towers": lambda folder: saved(folder, Dual(static(), static())),
    "a transformer": lambda folder: saved(folder, tiny("bert")),
    "a setting that is not known": lambda folder: described(folder, pooling="max"),
    "a length that is no number": lambda folder: described(folder, max_length="9"),
    "no length at all": lambda folder: described(folder, max_length=0),
    "another length than was saved": lambda folder: described(folder, max_length=9),
    "other weights": lambda folder: damaged(folder, zeroed),
    "no weights": lambda folder: damaged(folder, lambda f: (f / MODULE_FOLDER / "model.safetensors").unlink()),
    "no tokenizer": lambda folder: damaged(folder, lambda f: (f / MODULE_FOLDER / "tokenizer.json").unlink()),
    "weights that are not finite": lambda folder: of_model2vec(folder, weights=torch.full((300,), torch.nan)),
    "settings that run code": lambda folder: damaged(
        folder, lambda f: (f / "config.json").write_text('{"auto_map": {"A": "b"}}')
    ),
    "no folder": lambda folder: folder,
}  # fmt: skip


def undescribed(folder: Path) -> Path:
    (folder / "nearfar.json").unlink()
    return folder


@pytest.mark.parametrize("name", OTHERS)
def test_what_it_does_not_know_is_left_to_the_model(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    OTHERS[name](folder)
    assert StaticModel.load(folder) is None


def test_a_model_of_a_replacement_that_was_broken_off_is_left_to_the_model(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", static())
    shutil.move(folder, tmp_path / ".model.old")
    assert StaticModel.load(folder) is None
    with pytest.warns(UserWarning, match="broken off"):
        Model.load(folder)
