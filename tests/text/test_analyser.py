"""The analyser against a readable reference, pinned tokens, and the normal forms of any text."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearfar.content import canonical
from nearfar.text.analyser import has_word, whole_words, words, words_and_signs, written_words
from nearfar.text.bm25 import Bm25

SCRIPTS = (
    "CJK ",
    "IDEOGRAPHIC ",
    "HIRAGANA ",
    "KATAKANA",
    "HALFWIDTH KATAKANA",
    "THAI ",
    "LAO ",
    "KHMER ",
    "MYANMAR ",
)  # as Unicode names their letters
SENTENCES = {
    "Hindi": "मेला कल से शुरू होगा, क्या आप आएँगे?",
    "Tamil": "நான் தமிழ் படிக்கிறேன்.",
    "Bengali": "আমি বাংলায় গান গাই।",
    "Burmese": "ကျွန်တော် မြန်မာစာ ဖတ်တယ်။",
    "Khmer": "ខ្ញុំរៀនភាសាខ្មែរ។",
    "Lao": "ຂ້ອຍຮຽນພາສາລາວ 2 ປີ",
    "Thai": "ฉันอ่านหนังสือภาษาไทย, น้ำ 3 แก้ว",
    "Chinese": "如何重置密码?请在2024年登录iPhone手机。猫",
    "Japanese": "カタカナとひらがな、漢字のテスト。日々ラーメン",
    "Korean": "한국어 문장을 읽고 씁니다. 3번",
    "Arabic": "كَتَبَ الوَلَدُ الدَّرْسَ، ثُمَّ نامَ",
    "Hebrew": "בְּרֵאשִׁית בָּרָא אֱלֹהִים",
    "German": "Die Straße führt über Köln nach Düsseldorf",
    "Vietnamese": "Tiếng Việt có nhiều dấu",
    "English": "It's a naïve façade — of 20 people…",
}


def reference(text: str) -> list[str]:
    """Return the words of a text character by character, as the docstring of `words` tells it; no identifiers."""
    tokens: list[str] = []
    run: list[str] = []  # the characters, with their marks, of the word or run that is being read
    kind = ""
    for character in [*unicodedata.normalize("NFC", text), " "]:
        if character in "\u00ad\u200c\u200d\u2060\ufeff":  # characters that are not seen
            continue
        if unicodedata.category(character) in ("Mn", "Mc"):
            if run:
                run[-1] += character
            continue
        unspaced = unicodedata.category(character).startswith("L") and unicodedata.name(character).startswith(SCRIPTS)
        found = "unspaced" if unspaced else "word" if character.isalnum() else ""
        if found != kind and run:
            if kind == "unspaced":  # in normal form KC the Thai vowel am is two characters
                run = clusters(unicodedata.normalize("NFKC", "".join(run)))
                tokens += [a + b for a, b in pairwise(run)] or run
            else:
                tokens.append(unicodedata.normalize("NFKC", "".join(run)).casefold())
            run = []
        kind = found
        if kind:
            run.append(character)
    return tokens


def clusters(text: str) -> list[str]:
    found: list[str] = []
    for character in text:
        if unicodedata.category(character) in ("Mn", "Mc"):
            if found:
                found[-1] += character
        else:
            found.append(character)
    return found


@pytest.mark.parametrize("language", SENTENCES)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_words_are_those_of_the_reference(language: str, form: str) -> None:
    text = unicodedata.normalize(form, SENTENCES[language])  # type: ignore[arg-type]
    assert words(text, identifiers=False) == reference(SENTENCES[language])
    assert whole_words(text) == reference(SENTENCES[language])


def test_pinned_tokens() -> None:
    assert words("मेला") == ["मेला"]
    assert words("如何重置密码") == ["如何", "何重", "重置", "置密", "密码"]
    assert words("猫 und 犬") == ["猫", "und", "犬"]
    assert words("iPhone手机2号") == ["i", "phone", "iphone", "手机", "2", "号"]
    assert words("ภาษาไทย") == ["ภา", "าษ", "ษา", "าไ", "ไท", "ทย"]
    assert words("กี่ครั้ง") == ["กี่ค", "ครั้", "รั้ง"]  # a character with all its marks
    assert words("한국어") == words(unicodedata.normalize("NFD", "한국어")) == ["한국어"]
    assert words("Stra\u00dfe STRASSE \ufb01n") == ["strasse", "strasse", "fin"]
    assert words("ガラス") == words("\uff76\uff9e\uff97\uff7d") == ["ガラ", "ラス"]  # of full and of half width
    assert words("\uff21\uff22\uff23") == ["abc"]
    assert words("co\u00adopera\u200dtion \ufeffa") == ["cooperation", "a"]
    assert words("कक्षा2_भाग") == ["कक्षा", "2", "भाग", "कक्षा2_भाग"]
    assert words("_\u0301x_y") == ["x", "y", "x_y"]


def test_pinned_english() -> None:
    text = "The parseHTTPHeader_v2(x) isn't 10.5% off, e.g. __init__"
    parts = ["the", "parse", "http", "header", "v", "2", "parsehttpheader_v2", "x", "isn", "t", "10", "5", "off"]
    assert words(text) == [*parts, "e", "g", "init"]
    whole = ["the", "parsehttpheader_v2", "x", "isn", "t", "10", "5", "off", "e", "g", "__init__"]
    assert whole_words(text) == whole
    assert whole_words(f"{text} é") == [*whole, "é"]  # the long path gives what the short one gives
    assert words(f"{text} é") == [*words(text), "é"]
    assert written_words("The parseHTTP of the cafe\u0301 मेला 密码箱") == [
        *("The", "parseHTTP", "of", "the", "café", "मेला", "密码", "码箱")
    ]
    assert words_and_signs("ls -r => x!") == ["ls", "-r", "=>", "x"]
    assert words_and_signs("ls -r => é 密码 मेला -क्") == ["ls", "-r", "=>", "é", "密码", "मेला", "-क्"]


@given(st.text(st.characters(exclude_categories=[])))  # lone surrogates, too
def test_any_text_has_the_words_of_its_normal_forms(text: str) -> None:
    for cut in (words, written_words, whole_words, words_and_signs, lambda t: words(t, identifiers=False)):
        found = cut(text)
        assert all(found)
        assert cut(unicodedata.normalize("NFC", text)) == found
        assert cut(unicodedata.normalize("NFD", text)) == found
    assert canonical(unicodedata.normalize("NFD", text)) == canonical(text)
    assert has_word(text) == bool(whole_words(text)) == bool(written_words(text))


@given(st.text(st.sampled_from("aB1_ éA\u0301मे\u093e密ガ\uff76\uff9eกำี่-=>\u200d\u0651٣"), max_size=12))
def test_mixed_scripts_do_so_too(text: str) -> None:
    for cut in (words, written_words, whole_words, words_and_signs, lambda t: words(t, identifiers=False)):
        assert cut(unicodedata.normalize("NFC", text)) == cut(text) == cut(unicodedata.normalize("NFD", text))


@given(st.text(st.characters(categories=["P", "S", "Z", "M", "Cc"], exclude_characters="_")))
def test_signs_and_marks_alone_are_no_words(text: str) -> None:
    assert words(text) == words(text, identifiers=False) == whole_words(text) == written_words(text) == []
    assert not has_word(text)


@given(st.text(st.characters(codec="ascii")))
def test_ascii_is_cut_as_with_a_letter_beyond(text: str) -> None:
    assert words(f"{text} é") == [*words(text), "é"]
    assert words_and_signs(f"{text} é") == [*words_and_signs(text), "é"]


HINDI = ["काम", "कमी", "कम", "कला", "काला", "माल", "मेला", "मिला", "मूल", "मोल", "बाल", "बोली", "बिल", "बेल", "बल"]


def test_words_that_differ_in_their_marks_are_told_apart_by_bm25() -> None:
    """The vowel signs were no part of a word: काम and कम were one."""
    documents = [f"{word} की बात" for word in HINDI]
    for form in ("NFC", "NFD"):
        queries = [unicodedata.normalize(form, word) for word in HINDI]
        assert Bm25(documents).rank(queries, 5).rows.tolist() == [[i, -1, -1, -1, -1] for i in range(len(HINDI))]


def test_bm25_finds_in_chinese() -> None:
    documents = [
        "忘记密码时可以在登录页面重置密码",
        "银行卡丢失后请立即冻结账户",
        "汇率每天早上九点更新一次",
        "充值失败请检查网络",
    ]
    queries = ["如何重置密码", "银行卡丢失怎么办", "汇率什么时候更新", "充值失败"]
    assert Bm25(documents).rank(queries, 1).rows.tolist() == [[0], [1], [2], [3]]
