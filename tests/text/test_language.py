"""The language of a collection, its independence of order and copies, and the stems and stop words of languages."""

# ruff: noqa: RUF001  letters of other scripts that look like Latin ones are meant

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import Stemmer
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.column import ListColumn
from nearfar.errors import InputError
from nearfar.text.bm25 import Bm25
from nearfar.text.function_words import FUNCTION_WORDS
from nearfar.text.language import detect, known_languages, related
from nearfar.text.stems import STEMMERS, describe, stop_words

TEXTS = {
    "english": ["The dog sleeps in the garden and the cat is on the roof.", "Where is the key that you gave to me?"],
    "german": ["Der Hund schläft im Garten und die Katze ist auf dem Dach.", "Wo ist der Schlüssel, den du mir gabst?"],
    "french": [
        "Le chien dort dans le jardin et le chat est sur le toit.",
        "Où est la clé que tu as mise sur la table?",
    ],
    "czech": [
        "Pes spí na zahradě a kočka je na střeše, ale já jsem doma.",
        "Kde je klíč, který jsi mi včera dal? Je už to tak.",
    ],
    "danish": ["Hunden sover i haven, og katten er på taget, men jeg er ikke hjemme.", "Hvad er det, du har i hånden?"],
    "russian": [
        "Собака спит в саду, а кошка на крыше, но я не дома.",
        "Где ключ, который ты мне дал? Он был на столе, и это так.",
    ],
    "hindi": ["कुत्ता बगीचे में सो रहा है और बिल्ली छत पर है।", "वह चाबी कहाँ है जो तुम ने मुझे दी थी? मैं घर पर नहीं हूँ।"],
    "arabic": [
        "كان الكلب في البيت، ولم أكن أنا هناك.",
        "أين هو المفتاح الذي كان على الطاولة؟ لا أعرف من أخذ ذلك، هل أنت؟ ما هذا؟",
    ],
    "greek": [
        "Ο σκύλος κοιμάται στον κήπο και η γάτα είναι στη στέγη.",
        "Πού είναι το κλειδί που μου έδωσες; Δεν ξέρω τι να πω.",
    ],
    "tamil": ["நாய் தோட்டத்தில் தூங்குகிறது, பூனை கூரை மேல் இருக்கிறது.", "நீ கொடுத்த சாவி எங்கே இருக்கிறது என்று எனக்கு தெரியாது."] * 2
    + ["இன்று மழை பெய்கிறது, நாளை வெயில் அடிக்கும் என்று அவர்கள் சொன்னார்கள்."],
    "thai": ["สุนัขนอนหลับอยู่ในสวนและแมวอยู่บนหลังคา"],
    "chinese": ["狗在花园里睡觉,猫在屋顶上。你给我的钥匙在哪里?我不知道你在说什么。"],
    "japanese": ["犬は庭で眠っていて、猫は屋根の上にいます。鍵はどこですか。"],
    "korean": [
        "개는 정원에서 자고 고양이는 지붕 위에 있다.",
        "네가 나에게 준 열쇠는 어디에 있니? 나는 집에 없다.",
        "오늘은 비가 오고 내일은 날씨가 맑을 것이다.",
    ],
}
CODE = [
    "grep -rn foo src | sort | uniq -c | head -20",
    "find . -name '*.py' -print0 | xargs -0 wc -l",
    "tar xzf a.tar.gz",
]


@pytest.mark.parametrize("language", TEXTS)
def test_a_language_is_recognised(language: str) -> None:
    assert detect(TEXTS[language]) == language
    assert detect(ListColumn("text", TEXTS[language])) == language
    assert language in known_languages()


def test_what_is_not_one_known_language_is_none() -> None:
    assert detect(CODE) is None
    assert detect([]) is None
    assert detect(["Der Hund ist im Garten."]) is None  # too few words
    assert detect(TEXTS["english"] + TEXTS["german"]) is None
    assert detect(TEXTS["english"] + TEXTS["russian"]) is None
    with pytest.raises(InputError, match="a cell must be text, it is int"):
        detect(["a", 3])  # type: ignore[list-item]


POOL = [text for language in ("english", "german", "russian", "thai") for text in TEXTS[language]] + CODE


@settings(deadline=None)
@given(st.lists(st.sampled_from(POOL), max_size=9), st.randoms(use_true_random=False))
def test_order_and_copies_do_not_count(texts: list[str], random: object) -> None:
    shuffled = [*texts, *texts[::2]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert detect(shuffled) == detect(texts)


def test_related_languages_share_their_function_words() -> None:
    assert related("danish", "norwegian")
    assert related("thai", "thai")
    assert not related("german", "english")
    assert not related("thai", "chinese")


@pytest.mark.parametrize("language", sorted(STEMMERS))
def test_every_stemmer_exists_and_is_of_a_language_that_is_detected(language: str) -> None:
    assert STEMMERS[language] in Stemmer.algorithms()
    assert language in known_languages()
    assert "" not in stop_words(language)


def test_stems_and_stop_words_in_words() -> None:
    assert describe("german") == "German stems, 231 stop words"
    assert describe("hindi") == f"Hindi stems, {len(set(FUNCTION_WORDS['Devanagari']['hindi'].split()))} stop words"
    assert describe("tamil") == "Tamil stems, no stop words"
    assert describe("thai") == "no stems: there are none for Thai"
    assert describe(None) == "no stems: the language is not recognised"
    assert stop_words("thai") == stop_words(None) == frozenset()


def test_bm25_finds_the_forms_of_a_word_in_its_language() -> None:
    for language, document, query in (
        ("german", "die Häuser am See", "ein Haus"),
        ("french", "les chevaux du roi", "des cheval"),
        ("russian", "новые книги", "новая книга"),
        ("hindi", "लड़कों का खेल", "लड़का"),
        ("arabic", "الكتاب الجديد", "كتاب"),
        ("finnish", "taloissa asutaan", "talo"),
    ):
        assert Bm25([document, "x y z"], language=language).rank([query], 1).rows.tolist() == [[0]], language
    assert Bm25(["die Häuser am See"], language="german").settings["words"] == "German stems, 231 stop words"
    assert Bm25(["die Häuser am See"]).rank(["ein Haus"], 1).rows.tolist() == [[-1]]
    assert Bm25(["重置密码"], language="chinese").settings["words"] == "no stems"


TATOEBA = {
    **{"ara": "arabic", "ces": "czech", "dan": "danish", "deu": "german", "ell": "greek", "eng": "english"},
    **{"fin": "finnish", "fra": "french", "hin": "hindi", "hun": "hungarian", "ind": "indonesian", "ita": "italian"},
    **{"nld": "dutch", "pes": "persian", "pol": "polish", "por": "portuguese", "ron": "romanian", "rus": "russian"},
    **{"spa": "spanish", "swe": "swedish", "tam": "tamil", "tur": "turkish", "yid": "yiddish", "cmn": "chinese"},
    **{"jpn": "japanese", "tha": "thai", "kor": "korean", "slk": "slovak", "ukr": "ukrainian", "uzb": None},
}


def test_languages_of_tatoeba(shared_data: Path) -> None:
    texts: dict[str, list[str]] = {}
    with gzip.open(shared_data / "D-tatoeba" / "tatoeba-v1.tsv.gz", "rt", encoding="utf-8") as file:
        for line in file:
            pair, _, foreign, english = line.rstrip("\n").split("\t")
            texts.setdefault(pair[:3], []).append(foreign)
            texts.setdefault("eng", []).append(english)
    assert {name: detect(texts[name][:200]) for name in TATOEBA} == TATOEBA
