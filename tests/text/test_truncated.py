"""Texts that are longer than an encoder reads are counted, and a run and nearfar embed tell how many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nearfar as nf
from nearfar import abilities
from nearfar.column import ListColumn
from nearfar.encoders.dual import Dual
from nearfar.encoders.frozen_projection import FrozenProjection
from nearfar.encoders.projected import Projected
from nearfar.encoders.static import Static
from nearfar.text import truncated
from nearfar.text.truncated import truncated_texts
from nearfar.training.start_lines import start_lines
from tests.encoders.tiny import TEXTS, tiny

LONGEST = 6
CELLS = [
    "pull near",
    "push far and far and far and far",
    "",
    "h\u00e9, d'un caf\u00e9 \u00e0 l'autre, \u00fcber alles hinaus",
]


def encoders() -> dict[str, Any]:
    transformer = tiny("bert", max_length=LONGEST)
    static = Static(dim=16, vocabulary=300, max_length=LONGEST)
    static.prepare([ListColumn("text", TEXTS)])
    projected = Projected(static, nf.heads.Mlp(dim=16, sizes=[4]))
    return {"transformer": transformer, "static": static, "of": FrozenProjection(transformer), "head": projected}


def whole(encoder: Any, text: str) -> int:
    """Return the number of a text's tokens where nothing is truncated."""
    inner = getattr(encoder, "of", encoder)
    if isinstance(inner, Static):
        copy = type(inner.tokenizer).from_str(inner.tokenizer.to_str())
        copy.no_truncation()
        return len(copy.encode(text, add_special_tokens=False).ids)
    return len(inner.tokenizer.tokenizer(text)["input_ids"])


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return encoders()


@settings(max_examples=25)
@given(texts=st.lists(st.text("near far\u00e9\u4e2d,", max_size=40), max_size=6))
@pytest.mark.parametrize("name", ["transformer", "static", "of", "head"])
def test_the_count_is_that_of_all_tokens(name: str, made: dict[str, Any], texts: list[str]) -> None:
    encoder = made[name]
    assert isinstance(encoder, abilities.Truncates)
    cells = [*CELLS, *texts]
    expected = sum(whole(encoder, text) > LONGEST for text in cells)
    found = truncated_texts(encoder, ListColumn("text", cells))
    assert found is not None and (found.count, found.of, found.longest) == (expected, len(cells), LONGEST)
    assert expected >= 2


def test_of_many_texts_an_even_sample_is_counted(made: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truncated, "MOST", 50)
    column = ListColumn("text", [CELLS[i % 2] for i in range(0, 999, 1)])
    found = truncated_texts(made["static"], column)
    assert found is not None and found.sampled and abs(found.count - 499) < 120
    assert str(found.line("x")).startswith("x: about ")


def test_a_run_tells_it_of_the_side_that_reads_the_texts(made: dict[str, Any]) -> None:
    short = Static(dim=16, vocabulary=300, seed=1)
    short.prepare([ListColumn("text", TEXTS)])
    rows = [{"query": "near", "key": CELLS[1]}, {"query": CELLS[1], "key": "far away"}, {"query": "a", "key": "b"}]
    positives = nf.positives.Columns(nf.data.Table(rows), query="query", key="key")
    [line] = start_lines(Dual(short, made["static"]), positives)
    assert line == ("column 'key': 1 of 3 texts are longer than the 6 tokens that the encoder reads, and are cut there")
    assert len(start_lines(made["static"], positives)) == 2
    assert start_lines(short, positives) == []


@pytest.mark.parametrize(("chunk", "fitting"), [(0, 3), (4, 2), (2, 1), (50, 3)])
def test_a_run_over_passages_names_shorter_ones(made: dict[str, Any], chunk: int, fitting: int) -> None:
    rows = [{"text": "xqzjk wvxqz " * 9}, {"text": "near"}]
    [line] = start_lines(made["static"], nf.positives.Unpaired(nf.data.Table(rows), chunk=chunk))
    assert line.endswith(f", and are cut there; shorter passages lose less, e.g. positives.chunk={fitting}")


def test_clips_texts_keep_their_end_token(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from tests.encoders.tiny_towers import LENGTH, save_clip

    save_clip(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    encoder = Dual(model=str(tmp_path)).query
    texts = ["a dog " * 60, "near", "two cats sit on a mat of red silk in the sun and sleep all day"]
    ids, lengths = encoder.tokenise(texts)  # type: ignore[operator]
    own = np.split(ids, np.cumsum(lengths)[:-1])
    theirs = [tokenizer(text, truncation=True)["input_ids"] for text in texts]
    assert [one.tolist() for one in own] == theirs
    assert all(one[-1] == tokenizer.eos_token_id for one in own) and len(own[0]) == LENGTH
    found = truncated_texts(encoder, ListColumn("caption", texts))
    assert found is not None and found.count == sum(len(tokenizer(text)["input_ids"]) > LENGTH for text in texts) >= 1


def test_cells_that_are_no_texts_are_left_to_whoever_reads_them(made: dict[str, Any]) -> None:
    found = truncated_texts(made["transformer"], ListColumn("text", ["near", None, "far " * 50]))
    assert found is not None and found.count == 1
