"""Queries embedded without torch: the vectors of `Model`, or none at all where files changed or the kind is another."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import nearfar as nf
from nearfar.encoders.packed.packing import Packing
from nearfar.encoders.pretrained.bert_forward import pool
from nearfar.encoders.reading.pooling import MODES
from nearfar.encoders.reading.pooling import pool as pool_packed
from nearfar.errors import InputError
from nearfar.model import Model
from nearfar.query_model import QueryModel
from tests.encoders.tiny import TEXTS, tiny

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", {}),
    "roberta": ("roberta", {}),
    "xlm-roberta, the first token": ("xlm-roberta", {"pooling": "cls"}),
    "two poolings": ("bert", {"pooling": ["weightedmean", "max"]}),
    "few tokens": ("bert", {"max_length": 5}),
    "prompts": ("bert", {"prompts": {"query": "query: ", "key": "passage: "}}),
}
OTHERS = ["distilbert", "mpnet", "modernbert", "qwen3"]
QUERIES = [*TEXTS[:4], "near " * 90, "\u00e9t\u00e9", "\U0001f98a fox", "  far\n"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))


def saved(folder: Path, kind: str, **settings: Any) -> Model:
    """Return a model of random weights as it is read from its folder."""
    return Model.load(Model(tiny(kind, **settings)).save(folder))


@pytest.mark.parametrize("name", KINDS)
def test_has_the_vectors_of_the_model(tmp_path: Path, name: str) -> None:
    kind, settings = KINDS[name]
    model = saved(tmp_path / "model", kind, **settings)
    QueryModel.keep(model)
    found = QueryModel.load(tmp_path / "model", model.fingerprint)
    assert found is not None
    np.testing.assert_allclose(found.embed(QUERIES), model.embed(QUERIES, "query"), atol=2e-6)
    for bad in ("", " ", "\ud800", 3):
        with pytest.raises(InputError) as own:
            found.embed(["near", bad])
        with pytest.raises(InputError) as warm:
            model.embed(["near", bad], "query")
        assert str(own.value).replace("this model's query side", "this model") == str(warm.value)


@pytest.mark.filterwarnings("ignore:mpnet. texts are padded")
@pytest.mark.parametrize("kind", OTHERS)
def test_is_not_there_for_another_architecture(tmp_path: Path, kind: str) -> None:
    model = saved(tmp_path / "model", kind)
    QueryModel.keep(model)
    assert QueryModel.load(tmp_path / "model", model.fingerprint) is None


def test_is_not_there_where_numpy_gives_other_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = saved(tmp_path / "model", "bert")
    monkeypatch.setattr("nearfar.encoders.pretrained.bert_forward._gelu", lambda x: x)
    QueryModel.keep(model)
    assert QueryModel.load(tmp_path / "model", model.fingerprint) is None


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json", "1_Pooling/config.json"])
def test_is_not_there_once_a_file_has_changed(tmp_path: Path, file: str) -> None:
    folder = tmp_path / "model"
    model = saved(folder, "bert")
    QueryModel.keep(model)
    assert QueryModel.load(folder, model.fingerprint) is not None
    path = folder / file
    path.write_bytes(path.read_bytes() + b" ")
    assert QueryModel.load(folder, model.fingerprint) is None


def test_is_not_there_where_its_note_is_damaged(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    model = saved(folder, "bert")
    QueryModel.keep(model)
    for path in sorted((tmp_path / "cache" / "query_models").rglob("*.json")):
        whole = path.read_bytes()
        for wrong in (b"", b"[]", b"{}", whole[:-9], whole.replace(b'"heads"', b'"x"').replace(b'"model"', b'"x"')):
            path.write_bytes(wrong)
            assert QueryModel.load(folder, model.fingerprint) is None
        path.write_bytes(whole)
    assert QueryModel.load(folder, model.fingerprint) is not None
    shutil.rmtree(folder)
    assert QueryModel.load(folder, model.fingerprint) is None


@given(st.integers(1, 9), st.integers(1, 5), st.lists(st.sampled_from(MODES), min_size=1, max_size=3))
def test_pools_as_packed_texts_are_pooled(tokens: int, width: int, modes: list[str]) -> None:
    x = np.random.default_rng(tokens).standard_normal((tokens, width)).astype(np.float32)
    expected = pool_packed(torch.from_numpy(x), Packing.of(np.array([tokens])), modes)[0]
    np.testing.assert_allclose(pool(x, modes), expected.numpy(), rtol=1e-5, atol=1e-6)


def test_a_search_has_the_hits_of_an_open_index_and_imports_no_torch(tmp_path: Path) -> None:
    saved(tmp_path / "model", "bert")
    rows = [{"id": str(i), "text": text} for i, text in enumerate(TEXTS)]
    with nf.Index.create(tmp_path / "an.index", str(tmp_path / "model")) as index:
        index.add(rows)
        expected = [(hit.id, pytest.approx(hit.score, abs=1e-5)) for hit in index.search("pull near")]
    code = (
        "import sys, nearfar as nf\n"
        f"index = nf.Index.open({str(tmp_path / 'an.index')!r}, {str(tmp_path / 'model')!r})\n"
        "print([(hit.id, hit.score) for hit in index.search('pull near')])\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert eval(done.stdout, {}) == expected
