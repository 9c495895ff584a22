"""Queries embedded without torch: the vectors of `Model`, or none at all where files changed or the kind is another."""

from __future__ import annotations

import json
import math
import os
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
from nearfar.encoders.pretrained.bert_forward import _gelu, pool
from nearfar.encoders.reading.pooling import MODES
from nearfar.encoders.reading.pooling import pool as pool_packed
from nearfar.errors import InputError
from nearfar.model import Model
from nearfar.query_model import QueryModel
from nearfar.storage.arrays import read_arrays
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


ODD = [
    *("\x1c near far", "near far \x1f", "near\x85", "near [SEP] far", "near [MASK]  far", "[CLS]", "a\0b"),
    "\u039f\u0394\u039f\u03a3 near",
]


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("lower_case", [False, True])
def test_cuts_odd_texts_as_the_model_does(tmp_path: Path, kind: str, *, lower_case: bool) -> None:
    """White space that Python knows, special tokens within a text, and a final sigma are read in one way."""
    folder = tmp_path / "model"
    saved(folder, kind)
    settings = folder / "sentence_bert_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"do_lower_case": lower_case}))
    (folder / "nearfar.json").unlink()  # a folder of another library has that setting
    model = Model.load(folder)
    QueryModel.keep(model)
    found = QueryModel.load(folder, model.fingerprint)
    assert found is not None
    np.testing.assert_allclose(found.embed(ODD), model.embed(ODD, "query"), atol=2e-6)


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


@pytest.mark.parametrize("number", [7, "x", [], None])
def test_is_not_there_where_a_number_of_its_note_is_another(tmp_path: Path, number: Any) -> None:
    folder = tmp_path / "model"
    model = saved(folder, "bert")
    QueryModel.keep(model)
    path = tmp_path / "cache" / "query_models" / model.fingerprint / "note.json"
    whole = path.read_text()
    for name in ("heads", "eps", "first_position", "prompt", "pooling", "lower_case"):
        held = json.loads(whole)
        held["note"][name] = number
        path.write_text(json.dumps(held))
        assert QueryModel.load(folder, model.fingerprint) is None
    QueryModel.keep(model)  # which writes it anew
    assert path.read_text() == whole


def test_what_is_noted_is_not_tried_again(tmp_path: Path) -> None:
    model = saved(tmp_path / "model", "bert")
    QueryModel.keep(model)
    files = sorted((tmp_path / "cache" / "query_models").rglob("*.json"))
    before = [path.stat().st_ino for path in files]
    QueryModel.keep(model)
    assert [path.stat().st_ino for path in files] == before


def test_a_model_that_takes_the_place_of_another_while_it_is_read_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    model = saved(folder, "bert")
    QueryModel.keep(model)
    other = Model(tiny("bert", seed=1))

    def replaced(path: Path) -> Any:
        other.save(folder)
        return read_arrays(path)

    monkeypatch.setattr("nearfar.query_model.read_arrays", replaced)
    assert QueryModel.load(folder, model.fingerprint) is None
    QueryModel.keep(model)  # of weights that are not there any more
    assert QueryModel.load(folder, model.fingerprint) is None


def test_only_a_fingerprint_names_a_note(tmp_path: Path) -> None:
    """An index that comes from elsewhere cannot lead to a note that lies elsewhere."""
    folder = tmp_path / "model"
    model = saved(folder, "bert")
    QueryModel.keep(model)
    place = tmp_path / "cache" / "query_models" / model.fingerprint
    shutil.copytree(place, tmp_path / "elsewhere")
    for name in (str(tmp_path / "elsewhere"), "../../elsewhere", f"../query_models/{model.fingerprint}", "", "a\0b"):
        assert QueryModel.load(folder, name) is None
    assert QueryModel.load(folder, model.fingerprint) is not None


def test_no_hub_is_asked_for_a_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = saved(tmp_path / "runs" / "model", "bert")
    model.folder = Path("runs/model")
    QueryModel.keep(model)
    assert QueryModel.load("runs/model", model.fingerprint) is not None
    asked: list[Any] = []
    monkeypatch.setattr("nearfar.encoders.pretrained.folder._from_hub", asked.append)
    shutil.rmtree(tmp_path / "runs")
    assert QueryModel.load("runs/model", model.fingerprint) is None
    QueryModel.keep(model)
    assert asked == []


def test_a_file_of_any_name_may_lie_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    saved(folder, "bert")
    for name in (b"\xff.json", b"a\nb.json", b"\x1b[31m.txt"):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_text("{}")
    model = Model.load(folder)
    QueryModel.keep(model)
    found = QueryModel.load(folder, model.fingerprint)
    assert found is not None
    np.testing.assert_allclose(found.embed(QUERIES), model.embed(QUERIES, "query"), atol=2e-6)


@given(st.integers(1, 9), st.integers(1, 5), st.lists(st.sampled_from(MODES), min_size=1, max_size=3))
def test_pools_as_packed_texts_are_pooled(tokens: int, width: int, modes: list[str]) -> None:
    x = np.random.default_rng(tokens).standard_normal((tokens, width)).astype(np.float32)
    expected = pool_packed(torch.from_numpy(x), Packing.of(np.array([tokens])), modes)[0]
    np.testing.assert_allclose(pool(x, modes), expected.numpy(), rtol=1e-5, atol=1e-6)


def test_gelu_is_that_of_the_error_function() -> None:
    x = np.concatenate([np.linspace(-9, 9, 20_001), [-1e30, 1e30, -1e-30, 0]]).astype(np.float32)
    expected = [each / 2 * (1 + math.erf(each / math.sqrt(2))) for each in x.tolist()]
    np.testing.assert_allclose(_gelu(x), expected, rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("as_folder", [True, False])
def test_a_search_has_the_hits_of_an_open_index_and_imports_no_torch(tmp_path: Path, as_folder: bool) -> None:
    model = saved(tmp_path / "model", "bert")
    rows = [{"id": str(i), "text": text} for i, text in enumerate(TEXTS)]
    with nf.Index.create(tmp_path / "an.index", str(tmp_path / "model") if as_folder else model) as index:
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
