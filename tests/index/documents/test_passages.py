"""Passages: each is a part of the text, together they are all of it, and the model reads each whole."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nearfar as nf
from nearfar.errors import InputError
from nearfar.index.content_ids import ContentIds
from nearfar.index.documents import passages
from nearfar.index.documents.document import FileDocument
from nearfar.index.documents.passages import PassageCutter, passages_of
from tests.index.documents.parts import CountingModel

PIECES = st.sampled_from(
    [
        "near",
        "far",
        " ",
        "\n",
        "\n\n",
        "\n\n\n",
        "\t",
        "\r\n",
        "\u2003",
        "\x85",
        ".",
        ", ",
        "(",
        "-",
        "\u4e2d",
        "\u0e01\u0e33",
        "\U0001f98a",
        "e\u0301",
        "\u200b",
        "0123456789" * 40,
        "\x1c",
        "'",
    ]
)
TEXTS = st.lists(PIECES, max_size=120).map("".join) | st.text(max_size=200)
MODEL = CountingModel()


def check(text: str, cutter: PassageCutter) -> None:
    spans = cutter.spans(text)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    covered = np.zeros(len(text), bool)
    for start, end in spans:
        covered[start:end] = True
        assert text[start:end] == text[start:end].strip() != ""
    assert all(character.isspace() for character, inside in zip(text, covered) if not inside)


@given(TEXTS, st.integers(8, 40))
def test_passages_are_the_text_in_order(text: str, tokens: int) -> None:
    check(text, PassageCutter.of(MODEL, tokens))
    check(text, PassageCutter(lambda part: len(part.split()), tokens))


@pytest.mark.parametrize(
    "text",
    ["x" * 70_000, "a" + " " * 200_000 + "b", "".join("word" + "\n" * gap for gap in range(1, 800)), ".," * 5000],
    ids=["one word", "one gap", "a gap of each length", "marks"],  # the third one makes the library recurse
)
def test_odd_texts_are_cut_too(text: str) -> None:
    check(text, PassageCutter.of(MODEL, 32))


@given(TEXTS)
def test_no_passage_is_longer_than_the_model_reads(text: str) -> None:
    for prompt in ("", "to be found: "):
        model = CountingModel(prompts={"key": prompt}, max_length=48)
        encoder = model.encoder
        assert isinstance(encoder, nf.encoders.Static)
        whole = encoder.tokenizer.__class__.from_str(encoder.identifier)  # another one, that truncates nothing
        whole.no_truncation()
        for start, end in PassageCutter.of(model, 40).spans(text):
            part = text[start:end]
            tokens = len(whole.encode(prompt + part, add_special_tokens=False).ids)
            assert tokens <= 48
            assert len(part) <= 1 or len(part) <= passages.LONGEST_TOKEN * 49


def test_long_texts_are_cut_at_lines() -> None:
    text = "\n".join(f"line {i} of many" for i in range(20_000))
    cutter = PassageCutter(lambda part: len(part.split()), 256)
    check(text, cutter)
    assert all(text[start:end].startswith("line") for start, end in cutter.spans(text))


def test_a_prompt_as_long_as_the_model_reads_is_refused() -> None:
    with pytest.raises(InputError, match=r"prompt.*leaves none for a passage"):
        PassageCutter.of(CountingModel(prompts={"key": "0 1 2 3 4 5 6 7 8 9 " * 4}, max_length=16))
    with pytest.raises(InputError, match="at least 8"):
        PassageCutter.of(MODEL, 3)


def test_an_encoder_without_tokens_counts_words() -> None:
    cutter = PassageCutter(lambda part: len(part.split()), 256)
    assert cutter.spans("  one two  ") == [(2, 9)]


def test_ids_stay_where_other_passages_change() -> None:
    cutter = PassageCutter(lambda part: len(part.split()), 8)

    def ids(text: str, name: str = "a.txt") -> list[str]:
        found = passages_of(FileDocument(text), ContentIds(f"{name}#"), name, cutter)
        return [passage.id for passage in found]

    lines = [f"the line number {i} of the text here" for i in range(6)]
    before, after = ids("\n\n".join(lines)), ids("\n\n".join(["another beginning", *lines]))
    assert len(set(before)) == 6
    assert set(before) < set(after)
    assert not set(before) & set(ids("\n\n".join(lines), "b.txt"))
    twice = ids("\n\n".join([lines[0], lines[0], lines[1]]))
    assert twice[1] == f"{twice[0]}-2"
    assert len(set(twice)) == 3


def test_lines_and_pages_are_those_of_the_file() -> None:
    text = "\n\nfirst\nstill first\n\n\nsecond of them all is here"
    cutter = PassageCutter(lambda part: len(part.split()), 5)
    starts = [0] + [i + 1 for i, letter in enumerate(text) if letter == "\n"]
    document = FileDocument(text, starts, range(1, len(starts) + 1), fields={"lang": "en"})
    found = list(passages_of(document, ContentIds("a#"), "a", cutter))
    assert [passage.fields["line"] for passage in found] == [3, 7, 7]
    assert found[0].fields == {"file": "a", "line": 3, "lang": "en"}
    [page] = passages_of(FileDocument("text", page=4), ContentIds("a#"), "a", cutter)
    assert page.fields == {"file": "a", "page": 4}
