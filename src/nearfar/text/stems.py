"""Stems and stop words of languages, for search by words."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nearfar.errors import InputError, nearest
from nearfar.text.analyser import whole_words
from nearfar.text.function_words import FUNCTION_WORDS
from nearfar.text.language import known_languages

_SNOWBALL = (
    "arabic armenian basque catalan czech danish dutch english esperanto estonian finnish french german greek hindi "
    "hungarian indonesian irish italian lithuanian norwegian persian polish portuguese romanian russian serbian "
    "spanish swedish tamil turkish yiddish"
)
# Languages whose stems help to find, each measured (see `stemmer_of`): the algorithm of Snowball that makes them.
STEMMERS = {language: language for language in _SNOWBALL.split()} | {"croatian": "serbian"}
_BM25S = "danish dutch french german italian norwegian portuguese russian spanish swedish turkish"
_LISTS = {language: language.upper() for language in _BM25S.split()} | {"english": "EN_PLUS"}  # of stop words in bm25s


def stemmer_of(language: str | None) -> Any:
    """Return what makes a language's stems, `stemWords(words)`, by PyStemmer; None where there is nothing.

    Stems of Nepali and Sesotho, for which there was no text to measure them on, are not used. For the others, Tatoeba's
    sentences in the language (about 1,000) were searched by a sentence; those with a similar translation were relevant.
    With stems and stop words nDCG@10 rose in each, by 0.03 (Persian) to 0.18.

    Source: Porter 2001, "Snowball: a language for stemming algorithms".

    Errors: `InputError` for a language that `text.language` does not know.
    """
    import Stemmer  # here, for few callers need it

    if language is not None and language not in known_languages():
        raise InputError(f"no language is called {language!r}; {nearest(language, known_languages())}")
    return Stemmer.Stemmer(STEMMERS[language]) if language in STEMMERS else None


@cache
def stop_words(language: str | None) -> frozenset[str]:
    """Return the stop words of a language with stems, as `text.analyser` cuts words; none of any other.

    They are bm25s' list, where it has one; else the function words by which `text.language` tells the language.
    """
    if language not in STEMMERS:
        return frozenset()
    if language in _LISTS:
        found = (whole_words(entry) for entry in _of_bm25s(_LISTS[language]))
        return frozenset(words[0] for words in found if len(words) == 1)
    lists = (words[language] for words in FUNCTION_WORDS.values() if language in words)
    return frozenset(word for words in lists for word in whole_words(words))


def _of_bm25s(name: str) -> tuple[str, ...]:
    """Return a list of stop words from the file in which bm25s has them.

    It is read and not imported: the package imports scipy, which takes half a second, and a cold search needs neither.
    """
    package = find_spec("bm25s")
    assert package is not None and package.origin is not None, "bm25s is installed with nearfar"
    tree = ast.parse((Path(package.origin).parent / "stopwords.py").read_text(encoding="utf-8"))
    lists = {
        each.targets[0].id: each.value
        for each in tree.body
        if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name)
    }
    words: tuple[str, ...] = ast.literal_eval(lists[f"STOPWORDS_{name}"])
    return words


def describe(language: str | None) -> str:
    """Return what a search by words knows of a language, for people: "German stems, 231 stop words"."""
    if language is None:
        return "no stems: the language is not recognised"
    if language not in STEMMERS:
        return f"no stems: there are none for {language.title()}"
    count = len(stop_words(language))
    return f"{STEMMERS[language].title()} stems, {f'{count} stop words' if count else 'no stop words'}"
