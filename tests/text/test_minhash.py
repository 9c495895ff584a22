"""Near copies: nothing is called near that is not, next to nothing that is near is missed."""

from __future__ import annotations

import random
import re
import unicodedata

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.text.minhash import LEAST_JACCARD, leaders, near_pairs, signatures

TEXTS = st.lists(st.lists(st.sampled_from(["a", "b", "c", "d", "A,", "e.", "!"]), max_size=9).map(" ".join), max_size=9)


def naive(texts: list[str]) -> dict[tuple[int, int], float]:
    """Return the Jaccard similarity of all pairs at 0.8 and above."""

    def runs(text: str) -> set[tuple[str, ...]]:
        words = re.findall(r"\w+", text.lower())
        return {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))}

    found = {}
    for j, text in enumerate(texts):
        for i in range(j):
            a, b = runs(texts[i]), runs(text)
            if () not in a | b and len(a & b) / len(a | b) >= LEAST_JACCARD:
                found[i, j] = len(a & b) / len(a | b)
    return found


@given(TEXTS)
@settings(max_examples=60, deadline=None)
def test_pairs_are_truly_near_and_equal_ones_are_found(texts: list[str]) -> None:
    pairs, alike = near_pairs(texts)
    found = dict(zip(map(tuple, pairs.tolist()), alike.tolist()))
    wanted = naive(texts)
    assert set(found) <= set(wanted)
    assert all(abs(found[pair] - wanted[pair]) < 1e-12 for pair in found)
    assert {pair for pair, value in wanted.items() if value == 1} <= set(found)


def test_edited_texts_are_found() -> None:
    draw = random.Random(0)
    words = [f"w{i}" for i in range(500)]
    texts = []
    for _ in range(110):
        text = [draw.choice(words) for _ in range(60)]
        texts.append(" ".join(text))
        for i in draw.sample(range(60), draw.choice([1, 2])):
            text[i] = "changed"
        texts.append(" ".join(text))
    wanted = naive(texts)
    found = {tuple(pair) for pair in near_pairs(texts)[0].tolist()}
    assert len(wanted) > 100
    assert found <= set(wanted)
    assert len(found) >= 0.97 * len(wanted)


def test_texts_without_words_are_like_no_other() -> None:
    assert len(near_pairs(["!!!", "!!!", "", "?"])[0]) == 0
    assert len(near_pairs([])[0]) == 0


@given(st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda pair: pair[0] < pair[1])))
def test_every_text_that_goes_is_near_one_that_stays(pairs: set[tuple[int, int]]) -> None:
    array = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    led = leaders(10, array, np.linspace(0.8, 1, len(array)))
    assert all((leader, text) in pairs and leader not in led for text, (leader, _) in led.items())
    assert not any(i not in led and j not in led for i, j in pairs)


def test_copies_in_another_normal_form_or_script_without_spaces_are_found() -> None:
    german = "Die Straße führt über Köln und Düsseldorf bis nach Münster"
    chinese = "忘记密码时可以在登录页面重置密码或者请联系我们的客服人员"
    texts = [
        german,
        unicodedata.normalize("NFD", german.upper()),
        chinese,
        f"{chinese}吧",
        "银行卡丢失后请立即冻结账户",
    ]
    pairs, alike = near_pairs(texts)
    assert pairs.tolist() == [[0, 1], [2, 3]]
    assert alike.tolist() == [1, (len(chinese) - 3) / (len(chinese) - 2)]  # runs of four characters, one more


def test_signatures_are_pinned() -> None:
    """Data sets that are stored with their signatures depend on them."""
    found = signatures(["def readJsonLines(path): return path", "x", ""])
    assert found[:, :3].tolist() == [
        [1225090788, 1206483826, 517506396],
        [3346924844, 2840033218, 245031461],
        [0, 0, 0],
    ]
    assert (signatures(["Cafe\u0301 zu Hause"]) == signatures(["Café zu Hause"])).all()
