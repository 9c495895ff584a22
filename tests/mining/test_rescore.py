"""A cross-encoder as the scorer of pairs: a tiny one with random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from nearfar.errors import InputError
from nearfar.mining.controls import Controls
from nearfar.mining.mine import mine
from nearfar.mining.rescore import CrossEncoder
from tests.mining.test_mine import Axis, table

pytest.importorskip("sentence_transformers", reason="sentence-transformers is missing: pip install 'nearfar[rescore]'")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def tiny(folder: Path, labels: int = 1) -> Path:
    """Write a BERT of one layer, with letters and digits for tokens."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    torch.manual_seed(0)
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"kq0123456789", *(f"##{d}" for d in "0123456789")]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=32,
        initializer_range=1.0,
    )
    config.num_labels = labels
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_scores_order_and_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    cross_encoder = CrossEncoder(tiny(tmp_path / "tiny"), batch_size=4)
    rows = table(*((f"q {3 * i}", f"k {3 * i + 1}") for i in range(8)))
    hard = mine(Axis(), rows, Controls(negatives=7, relative_margin=0.0), rescore=cross_encoder)
    keys = hard.keys.texts(np.arange(8))
    assert (hard.mined.rows >= 0).any() and (hard.mined.rows < 0).any()
    for i, query in enumerate(hard.queries.texts(np.arange(8))):
        scores = cross_encoder([query] * 8, keys)
        expected = [j for j in np.argsort(-scores, kind="stable").tolist() if j != i and scores[j] <= scores[i]]
        found = [row for row in hard.mined.rows[i].tolist() if row >= 0]
        np.testing.assert_allclose(scores[found], scores[expected], rtol=1e-5)
    assert cross_encoder([], []).shape == (0,)


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
