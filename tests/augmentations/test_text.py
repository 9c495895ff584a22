"""Text views: parts of the text as it is written, never nothing, and as long as the settings say."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearfar.augmentations.text_cloze import TextCloze
from nearfar.augmentations.text_crop import TextCrop
from nearfar.augmentations.text_noise import TextNoise
from nearfar.augmentations.text_span import TextSpan
from nearfar.compute.draws import Draws
from nearfar.errors import InputError
from nearfar.text.spans import sentences, uniform_lists, words

SIGNS = st.sampled_from("ab .!?\n\t\u201d\u4e2d\u6587\u3002\u00e9")
TEXTS = st.text(alphabet=SIGNS, min_size=1, max_size=60).filter(str.strip)
SEEDS = st.integers(0, 2**32)
LONG = " ".join(f"w{i}" for i in range(200))


def draws(*seeds: int) -> Draws:
    return Draws.of(np.array(seeds, np.int64)[:, None])


def one(view: Any, text: str, seed: int) -> str:
    """Return what becomes of one text."""
    (changed,) = view([text], draws(seed))
    assert isinstance(changed, str)
    return changed


def many(view: Any, text: str, count: int) -> list[str]:
    """Return so many views of one text."""
    found: list[str] = view([text] * count, draws(*range(count)))
    return found


@given(TEXTS)
def test_words_and_sentences_hold_all_but_white_space(text: str) -> None:
    for found in (words(text), sentences(text)):
        assert found == sorted(found)
        assert all(a < b for a, b in found)
        assert "".join("".join(text[a:b].split()) for a, b in found) == "".join(text.split())


def test_words_are_those_of_white_space_and_of_chinese_characters() -> None:
    found = [text[a:b] for text in ["pull  near,\tpush!", "\u4e2d\u6587ab \u6587"] for a, b in words(text)]
    assert found == ["pull", "near,", "push!", "\u4e2d", "\u6587", "ab", "\u6587"]


def test_sentences_end_where_they_are_ended() -> None:
    text = 'One. "Two?" Three 3.5 items!\u201d Four\n\nFive \u4e00\u3002\u4e8c'
    assert [text[a:b] for a, b in sentences(text)] == [
        *("One.", '"Two?"', "Three 3.5 items!\u201d", "Four", "Five \u4e00\u3002", "\u4e8c")
    ]


@given(TEXTS, SEEDS, st.sampled_from(["words", "sentences"]), st.integers(1, 4), st.integers(0, 4))
def test_a_crop_is_a_stretch_of_the_text(text: str, seed: int, unit: Any, fewest: int, more: int) -> None:
    crop = TextCrop(shortest=0.2, longest=0.6, fewest=fewest, most=fewest + more, unit=unit)
    seen, count = one(crop, text, seed), {"words": words, "sentences": sentences}[unit]
    assert seen in text
    assert seen.strip() == seen != ""
    assert min(fewest, len(count(text))) <= len(words(seen) if unit == "words" else count(text))
    if unit == "words":
        assert len(words(seen)) <= fewest + more
        assert any(text.startswith(seen, a) for a, _ in words(text))


def test_crops_have_every_length_and_every_place_that_the_settings_allow() -> None:
    crop = TextCrop(shortest=0.05, longest=0.5, fewest=1)
    seen = [found.split() for found in many(crop, LONG, 600)]
    lengths = np.array([len(found) for found in seen])
    starts = np.array([int(found[0][1:]) for found in seen])
    assert (lengths.min(), lengths.max()) == (10, 100)
    assert abs(lengths.mean() - 55) < 3  # uniform on 10 to 100: the mean of 600 is within 3 of its own
    assert starts.min() < 5
    assert (starts + lengths).max() > 195
    assert {len(found.split()) for found in many(TextCrop(most=20, fewest=20), LONG, 9)} == {20}
    assert len(one(TextCrop(), "one two three", 0).split()) == 3  # never cut below eight words


@given(TEXTS, SEEDS, st.integers(1, 4), st.integers(0, 4))
def test_a_span_is_so_many_words_of_the_text(text: str, seed: int, fewest: int, more: int) -> None:
    seen = one(TextSpan(fewest, fewest + more), text, seed)
    assert seen in text
    assert min(fewest, len(words(text))) <= len(words(seen)) <= fewest + more


def test_spans_have_every_length_whatever_the_text() -> None:
    lengths = np.array([len(found.split()) for found in many(TextSpan(), LONG, 600)])
    assert set(lengths.tolist()) == set(range(4, 17))
    assert abs(lengths.mean() - 10) < 0.6  # uniform on 4 to 16: the mean of 600 is within 0.6 of its own


@given(TEXTS, SEEDS, st.floats(0, 0.99), st.floats(0.01, 1))
def test_noise_leaves_words_of_the_text(text: str, seed: int, delete: float, swap: float) -> None:
    seen = one(TextNoise(delete, swap), text, seed)
    assert seen.strip()
    kept = Counter(seen[a:b] for a, b in words(seen))
    if not re.search("[\u4e00-\u9fff]", text):  # a deleted Chinese word may leave its neighbours as one
        assert kept <= Counter(text[a:b] for a, b in words(text))


def test_noise_deletes_and_swaps_as_much_as_it_is_told() -> None:
    left = [len(found.split()) for found in many(TextNoise(delete=0.6, swap=0), LONG, 40)]
    assert abs(np.mean(left) - 80) < 4
    swapped = one(TextNoise(delete=0, swap=0.2), LONG, 0).split()
    moved = [i for i, word in enumerate(swapped) if word != f"w{i}"]
    assert sorted(swapped) == sorted(LONG.split())
    assert 30 < len(moved) < 110
    assert all(abs(int(word[1:]) - i) <= 1 for i, word in enumerate(swapped))
    assert one(TextNoise(delete=0, swap=1), "a\tb  c", 0) == "b\ta  c"  # what stands between words stays there


@given(TEXTS, SEEDS, st.sampled_from(["words", "sentences"]), st.integers(1, 3))
def test_span_and_rest_make_the_text(text: str, seed: int, unit: Any, size: int) -> None:
    cloze = TextCloze(keep=0, unit=unit, size=size)
    span, rest = one(cloze, text, seed), one(cloze.rest, text, seed)
    assert span in text
    assert span.strip()
    assert rest.strip()
    if rest != text:
        halves = Counter("".join(span.split())) + Counter("".join(rest.split()))
        assert halves == Counter("".join(text.split()))


def test_the_rest_keeps_the_span_as_often_as_it_is_told() -> None:
    text = " ".join(f"Sentence {i}." for i in range(10))
    kept = [rest == text for rest in many(TextCloze(keep=0.1).rest, text, 1000)]
    assert abs(np.mean(kept) - 0.1) < 0.03
    assert one(TextCloze().rest, "Only one.", 0) == "Only one."
    spans = set(many(TextCloze(), text, 200))
    assert spans == {f"Sentence {i}." for i in range(10)}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TextCrop(shortest=0), "shortest must be above zero"),
        (lambda: TextCrop(shortest=0.6, longest=0.5), "at most longest"),
        (lambda: TextSpan(fewest=0), "fewest must be at least 1"),
        (lambda: TextSpan(fewest=3, most=2), "at most most"),
        (lambda: TextCrop(longest=1.5), "text_crop.longest is a share, 0 to 1"),
        (lambda: TextCrop(longest=float("nan")), "text_crop.longest is a share"),
        (lambda: TextCrop(fewest=0), "fewest must be at least 1"),
        (lambda: TextCrop(fewest=9, most=5), "most at least fewest"),
        (lambda: TextCrop(unit="letters"), "unit must be words or sentences"),  # type: ignore[arg-type]
        (lambda: TextNoise(delete=1.0), "text_noise.delete is a share, 0 to below 1"),
        (lambda: TextNoise(swap=-0.1), "text_noise.swap is a share"),
        (lambda: TextNoise(0, 0), "leave it out"),
        (lambda: TextCloze(keep=2), "text_cloze.keep is a share"),
        (lambda: TextCloze(size=0), "text_cloze.size is a number of sentences, at least 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(make: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()


@pytest.mark.parametrize("view", [TextCrop(), TextNoise(), TextCloze(), TextCloze().rest, TextSpan()])
def test_what_is_no_text_is_refused(view: Any) -> None:
    with pytest.raises(InputError, match="takes texts, this cell is ndarray"):
        view(["a text", np.zeros(3)], draws(0, 1))
    assert one(view, " \n", 0) == " \n"  # nothing comes of nothing
    assert view([], draws()) == []


def test_noise_of_a_text_that_keeps_no_word_is_one_word_of_it_any() -> None:
    found = many(TextNoise(delete=0.999, swap=0), "one two three four", 400)
    assert set(found) == {"one", "two", "three", "four"}


@given(st.lists(st.integers(0, 200), max_size=150), st.integers(0, 3))
def test_numbers_drawn_together_are_those_drawn_alone(counts: list[int], lane: int) -> None:
    whole = draws(*range(len(counts)))
    found = uniform_lists(whole, counts, lane)
    assert found == [whole[i : i + 1].uniform(count, lane=lane)[0].tolist() for i, count in enumerate(counts)]
