"""The language of a collection of texts, told by its script and its function words."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache

import numpy as np

from nearfar.column import Column, ListColumn, content_ids, take
from nearfar.errors import InputError
from nearfar.text.analyser import whole_words
from nearfar.text.function_words import FUNCTION_WORDS, LANGUAGE_OF_SCRIPT

SAMPLE = 2_000  # distinct texts that are read
CUT = 2_000  # characters of a text that are read
LEAST_WORDS = 20  # of a collection whose language is told
SURE_SHARE = 0.2  # of function words among a collection's words
LEAST_SHARE = 0.1  # the same, where no other language is near; code with English words has 0.12 to 0.16
LEAST_LEAD = 1.8  # of the share over that of the second language, below the sure share
MOST_FOREIGN = 0.2  # of a collection's words in texts of another language or script
MARGIN = 2  # function words by which a text is in another language


def detect(texts: Column | Sequence[str]) -> str | None:
    """Return the language of a collection of texts, "german"; None where it is not known, or where there are several.

    The script of most words tells it, and within a script the share of each language's function words. Nothing else is
    read or installed, so the answer is the same on every machine. It depends on the set of the distinct texts, not on
    their order or number; of many texts a sample of 2,000 is read, drawn by their contents. Commands, languages without
    a list (`text.function_words`), and collections with more than a fifth of foreign words are None; code whose names
    and comments are English is "english".

    Function words that tell a language: Ingle 1976, "A language identification table". The lists and the limits, which
    were chosen on Tatoeba's sentences, are ours. There, of every language with stems (`text.stems`) 100 sentences were
    recognised in all of 20 draws, and 20 sentences in all but some of Turkish; Serbian is in two scripts there: None.

    Errors: `InputError` for a cell that is no text.

    Example:
        >>> detect(["Der Hund schläft nicht im Garten, und die Katze sieht ihn.", "Wir haben das Buch auf den Tisch "
        ...         "gelegt, aber es ist nicht mehr da."])
        'german'
        >>> detect(["grep -rn foo src | sort | uniq -c | head -20 | awk '{print $2}' | xargs wc -l | tail -1"]) is None
        True

    When not to use it: for single sentences, or to sort texts by language, which a library such as lingua does better.
    A language without a list may be taken for a close relative: Cebuano for Tagalog, Asturian for Spanish.
    """
    found = [words for text in sample(texts) if (words := whole_words(text))]
    scripts = [_script_of(words) for words in found]
    sizes = Counter[str]()
    for its, words in zip(scripts, found):
        sizes[its] += len(words)
    if sizes.total() < LEAST_WORDS:
        return None
    main = max(sizes, key=lambda name: (sizes[name], name))
    if sizes[main] < (1 - MOST_FOREIGN) * sizes.total():
        return None
    if main in FUNCTION_WORDS:
        return _by_function_words([words for words, its in zip(found, scripts) if its == main], main)
    return LANGUAGE_OF_SCRIPT.get(main)


def sample(texts: Column | Sequence[str]) -> list[str]:
    """Return the beginnings of 2,000 distinct texts, or of all where there are fewer: by content, not by place.

    Errors: `InputError` for a cell that is no text.
    """
    column = texts if not isinstance(texts, Sequence) else ListColumn("text", texts)
    rows = np.unique(content_ids(column), return_index=True)[1][:SAMPLE]  # in the order of the contents' ids
    cells = take(column, rows)
    wrong = next((cell for cell in cells if not isinstance(cell, str)), None)
    if wrong is not None:
        raise InputError(f"language: a cell must be text, it is {type(wrong).__name__} ({wrong!r:.60})")
    return [cell[:CUT] for cell in cells]


def related(first: str, second: str) -> bool:
    """Return whether two languages share many of their function words, as Danish and Norwegian do."""
    one, other = (
        {word for words in FUNCTION_WORDS.values() if language in words for word in whole_words(words[language])}
        for language in (first, second)
    )
    return first == second or len(one & other) > 0.4 * min(len(one), len(other))


def known_languages() -> list[str]:
    """Return the languages that `detect` may find, sorted."""
    return sorted({*LANGUAGE_OF_SCRIPT.values(), *(name for words in FUNCTION_WORDS.values() for name in words)})


def _by_function_words(texts: list[list[str]], main: str) -> str | None:
    """Return the language of texts, as their words, in one script, `main`."""
    languages, names = _languages_by_word(main), list(FUNCTION_WORDS[main])
    counts = np.zeros((len(texts), len(names)), np.int64)
    for i, words in enumerate(texts):
        for word in words:
            for language in languages.get(word, ()):
                counts[i, language] += 1
    sizes = np.array([len(words) for words in texts])
    shares = counts.sum(0) / sizes.sum()  # (languages,)
    best = int(shares.argmax())
    second = np.delete(shares, best).max(initial=0)
    foreign = counts.max(1) >= counts[:, best] + MARGIN  # (n,)
    known = shares[best] >= SURE_SHARE or shares[best] >= max(LEAST_SHARE, LEAST_LEAD * second)
    return names[best] if known and sizes[foreign].sum() <= MOST_FOREIGN * sizes.sum() else None


@cache
def _languages_by_word(main: str) -> dict[str, list[int]]:
    """Return the languages, by their place in a script's lists, that have a word there, by word."""
    found: dict[str, list[int]] = {}
    for place, words in enumerate(FUNCTION_WORDS[main].values()):
        for word in dict.fromkeys(whole_words(words)):
            found.setdefault(word, []).append(place)
    return found


def _script_of(words: Iterable[str]) -> str:
    """Return the script of most letters of some words; Chinese characters beside Kana are "Kana"."""
    counts = Counter[str]()
    for word in words:
        counts[script(word)] += len(word)
    if counts["Kana"]:
        counts["Kana"] += counts.pop("Cjk", 0)
    return max(counts, key=lambda name: (counts[name], name))


def script(text: str) -> str:
    """Return the script of a text's first character, by its name in Unicode ("Latin"); "" for a digit or a sign."""
    return _script(text[:1])


@lru_cache(maxsize=4_096)
def _script(letter: str) -> str:
    if not letter.isalpha():
        return ""
    name = "Latin" if letter.isascii() else unicodedata.name(letter, "").split(" ")[0].split("-")[0].title()
    return "Kana" if name in ("Hiragana", "Katakana") else name
