"""Folders of cross-encoders: what is damaged, or would run code, is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nearfar.encoders.pretrained.cross_encoder import CrossEncoder
from nearfar.errors import InputError
from tests.encoders.cross_encoder import tiny

pytest.importorskip("sentence_transformers", reason="sentence-transformers is missing: pip install 'nearfar[rescore]'")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json is missing"):
        CrossEncoder("somebody/cross-encoder")
    good = tiny(tmp_path / "good")
    with pytest.raises(InputError, match="gives 3 scores"):
        CrossEncoder(tiny(tmp_path / "three", labels=3))
    code = shutil.copytree(good, tmp_path / "code")
    config = json.loads((code / "config.json").read_text())
    (code / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.Evil"}}))
    with pytest.raises(InputError, match="asks to run code"):
        CrossEncoder(code)
    modules = shutil.copytree(good, tmp_path / "modules")
    (modules / "modules.json").write_text(json.dumps([{"type": "evil.Evil"}]))
    with pytest.raises(InputError, match="would be code"):
        CrossEncoder(modules)
    pickled = shutil.copytree(good, tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"model\.safetensors"):
        CrossEncoder(pickled)
    (good / "config.json").write_text("{")
    with pytest.raises(InputError, match="copy the model folder again"):
        CrossEncoder(good)


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("config.json", {"hidden_size": "a"}, "hidden_size"),
        ("config.json", {"num_attention_heads": 0}, "num_attention_heads"),
        ("config.json", {"num_hidden_layers": 100_000_000}, "num_hidden_layers"),
        ("config.json", None, "config.json"),
        ("config.json", [1], "config.json"),
        ("model.safetensors", "x", "model.safetensors"),
        ("tokenizer.json", {"model": 5}, "not readable as a cross-encoder"),
        ("model.safetensors.index.json", {"weight_map": {"a": "weights.bin"}}, "'weights.bin'"),
    ],
)
def test_a_damaged_folder_is_refused_in_one_line(file: str, change: object, said: str, tmp_path: Path) -> None:
    path = tiny(tmp_path / "ce") / file
    old = json.loads(path.read_text()) if isinstance(change, dict) and path.is_file() else {}
    path.write_text(json.dumps({**old, **change} if isinstance(change, dict) else change))
    with pytest.raises(InputError) as error:
        CrossEncoder(path.parent)
    assert said in str(error.value) and str(path.parent) in str(error.value) and "\n" not in str(error.value)


def test_lengths_are_those_of_its_tokenizer(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    folder, texts = tiny(tmp_path / "ce"), ["", "a", "pull near, push far " * 300]
    peer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    peer.no_truncation()
    expected = [len(peer.encode(text).ids) for text in texts]
    assert CrossEncoder(folder).lengths(texts).tolist() == expected
