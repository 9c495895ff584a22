"""The analyser: how texts are cut into words, and when two words are the same, in any script.

BM25, near-duplicates and an audit's word vectors all cut texts here. Texts of ASCII take a short path.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise

from nearfar.content import canonical

_LETTERS_DIGITS = re.compile(r"[^\W_]+")
_WORD = re.compile(r"\w+")
_SIGNS = r"{2,}|(?<=\s)-\w"  # runs of signs and short options
_WORD_OR_SIGNS = re.compile(r"\w+|[^\w\s]" + _SIGNS)
_BOUNDARY = (  # between the parts of an identifier: parse_HTTPHeader2 -> parse, HTTP, Header, 2
    r"_+|(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])"
)
_PART_BOUNDARY = re.compile(_BOUNDARY)
_FIRST_MARK, _LAST_MARK = 0x300, 0x1F000  # all marks but the variation selectors, which are dropped
_ASCII = bytes(range(128))
_HALF_WIDTH_MARKS = "\uff9e\uff9f"  # letters by their category, but they voice the Katakana before them
_UNSPACED = (  # the blocks of the scripts that put no space between words
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # the iteration mark, the closing mark and the zero of Chinese characters
    (0x3031, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # Chinese characters
    (0x4E00, 0x9FFF),
    (0xA9E0, 0xA9FF),  # Myanmar
    (0xAA60, 0xAA7F),
    (0xF900, 0xFAFF),  # Chinese characters
    (0xFF66, 0xFF9D),  # Katakana of half width, without its two voicing marks
    (0x1B000, 0x1B16F),
    (0x20000, 0x323AF),
)
# Characters that are not seen and part no words: the soft hyphen, joiners, variation selectors, the byte order mark.
_DROPPED = "\u00ad\u034f\u180b-\u180f\u200c\u200d\u2060\ufe00-\ufe0f\ufeff\U000e0100-\U000e01ef"


def words(text: str, identifiers: bool = True) -> list[str]:
    """Return a text's tokens for comparison: its words, in normal form KC with folded case.

    A word is a run of letters, digits and underscores with the combining marks (Mn, Mc) on them, as the vowel signs of
    Hindi. Chinese, Japanese, Thai, Lao, Khmer and Burmese, which put no space between words, give the pairs of
    neighbouring characters (each with its marks), and a single character itself. An identifier gives its parts, then
    itself if it has several; without `identifiers`, underscores part words and nothing else does.

    Sources: Unicode Standard Annexes 15 (normal forms) and 29 (words); for pairs of characters, Nie & Ren 1999,
    "Chinese information retrieval: using characters or words?".

    Example:
        >>> words("parseHTTPHeader of the cafe\u0301")
        ['parse', 'http', 'header', 'parsehttpheader', 'of', 'the', 'café']
        >>> words("मेला 重置密码")
        ['मेला', '重置', '置密', '密码']

    When not to use it: for a language's stems or compounds, and to match pointed with unpointed Arabic or Hebrew.
    """
    if text.isascii():
        if not identifiers:
            return _LETTERS_DIGITS.findall(text.lower())
        return [token for word in _WORD.findall(text) for token in _parts(word)]
    pieces, plain = _pieces(text)
    if plain and identifiers:
        return [token for word in pieces for token in _parts(word)]
    tokens: list[str] = []
    for piece in pieces:
        if _unspaced(piece):
            tokens += _bigrams(_fold(piece))
        elif identifiers:
            tokens += _parts(piece)
        else:
            tokens += [_fold(part) for part in _unicode().underscores.split(piece) if part]
    return tokens


def written_words(text: str) -> list[str]:
    """Return a text's words as they are written, in normal form C: identifiers are whole, and case counts."""
    if text.isascii():
        return _WORD.findall(text)
    pieces, plain = _pieces(text)
    if plain:
        return pieces
    return [token for piece in pieces for token in (_bigrams(piece) if _unspaced(piece) else (piece,))]


def whole_words(text: str) -> list[str]:
    """Return a text's words for comparison, in normal form KC with folded case; identifiers are whole."""
    return _WORD.findall(text.lower()) if text.isascii() else _folded(*_pieces(text))


def words_and_signs(text: str) -> list[str]:
    """Return `whole_words`, with runs of signs (`=>`) and short options (`-r`) as words, too, for code."""
    return _WORD_OR_SIGNS.findall(text.lower()) if text.isascii() else _folded(*_pieces(text, signs=True))


def word_places(text: str) -> Iterator[tuple[int, int]]:
    """Yield where the words of a text stand, (start, stop) in its characters; identifiers are whole.

    Of scripts without spaces these are the pairs of neighbouring characters, which overlap, or a single character.
    """
    for found in (_WORD if text.isascii() else _unicode().word).finditer(text):
        if not _unspaced(found.group()):
            yield found.span()
            continue
        characters = [one.span() for one in _unicode().unspaced.finditer(text, *found.span())]
        yield from [(a[0], b[1]) for a, b in pairwise(characters)] or characters


def has_word(text: str) -> bool:
    """Return whether a text has a word."""
    return _WORD.search(text) is not None


@dataclass(frozen=True)
class _Unicode:
    """The patterns of texts beyond ASCII.

    special: what `\\w+` would cut wrongly. unspaced: a character of a script without spaces, with its marks. word: a
    run of such characters, or another word. word_or_signs: those and signs. boundary: between the parts of an
    identifier. underscores: with the marks on them, if any.
    """

    special: re.Pattern[str]
    dropped: re.Pattern[str]
    unspaced: re.Pattern[str]
    word: re.Pattern[str]
    word_or_signs: re.Pattern[str]
    boundary: re.Pattern[str]
    underscores: re.Pattern[str]


@cache
def _unicode() -> _Unicode:
    """Return the patterns; made at the first text that needs them, which takes some hundredths of a second."""
    marks = _ranges(p for p in range(_FIRST_MARK, _LAST_MARK) if unicodedata.category(chr(p)) in ("Mn", "Mc"))
    marks += _HALF_WIDTH_MARKS
    bases = _ranges(
        point
        for first, last in _UNSPACED
        for point in range(first, last + 1)
        if unicodedata.category(chr(point)) in ("Lo", "Lm", "Nl")
    )
    word = rf"[{bases}][{bases}{marks}]*|[^\W{bases}]+(?:[{marks}]+[^\W{bases}]*)*"
    return _Unicode(
        special=re.compile(f"[{marks}{bases}{_DROPPED}]"),
        dropped=re.compile(f"[{_DROPPED}]+"),
        unspaced=re.compile(f"[{bases}][{marks}]*"),
        word=re.compile(word),
        word_or_signs=re.compile(rf"{word}|[^\w\s{marks}]{_SIGNS}[{marks}]*"),
        boundary=re.compile(rf"{_BOUNDARY}|(?<=[{marks}])(?=\d)"),
        underscores=re.compile(f"_[_{marks}]*"),
    )


def _ranges(points: Iterable[int]) -> str:
    """Return ascending code points as the inside of a pattern's character class."""
    found: list[list[int]] = []
    for point in points:
        if found and found[-1][1] == point - 1:
            found[-1][1] = point
        else:
            found.append([point, point])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in found)


def _pieces(text: str, signs: bool = False) -> tuple[list[str], bool]:
    """Return the words of a text beyond ASCII in normal form C, with whole runs of scripts without spaces.

    The second value is True where there are no such runs, nor combining marks, as in most European texts.
    """
    patterns = _unicode()
    beyond = text.encode("utf-8", "surrogatepass").translate(None, _ASCII)  # a search in all of the text is slow
    if not patterns.special.search(beyond.decode("utf-8", "surrogatepass")):
        return (_WORD_OR_SIGNS if signs else _WORD).findall(canonical(text)), True
    text = canonical(patterns.dropped.sub("", text))
    return (patterns.word_or_signs if signs else patterns.word).findall(text), False


def _folded(pieces: list[str], plain: bool) -> list[str]:
    if plain:
        return [piece.lower() if piece.isascii() else _fold(piece) for piece in pieces]
    return [t for piece in pieces for t in (_bigrams(_fold(piece)) if _unspaced(piece) else (_fold(piece),))]


def _unspaced(piece: str) -> bool:
    """Return whether a piece is a run of a script without spaces."""
    return not piece.isascii() and _unicode().unspaced.match(piece) is not None


def _bigrams(run: str) -> list[str]:
    """Return the pairs of neighbouring characters of a run, each with its marks, or its single character."""
    characters = _unicode().unspaced.findall(run)
    return [a + b for a, b in pairwise(characters)] if len(characters) > 1 else characters


def _fold(text: str) -> str:
    """Return a text in normal form KC with folded case."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


@lru_cache(maxsize=200_000)
def _parts(word: str) -> tuple[str, ...]:
    """Return a word's parts for comparison, then the word if it has several."""
    boundary = _PART_BOUNDARY
    if not word.isascii():
        boundary, word = _unicode().boundary, _unicode().underscores.sub("_", word)
    parts = tuple(_fold(part) for part in boundary.split(word) if part)
    return parts if len(parts) < 2 else (*parts, _fold(word).strip("_"))
