"""A docstring to its summary: the words somebody would use to ask for the code."""

from __future__ import annotations

import re

_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_MARK = r"""(?:
      (?:arg(?:ument)?|param(?:eter)?|return|yield|raise|example|note|input|output|attribute|usage)s?[ ]*:
    | key(?:word)?[ ]arg\w*[ ]*: | >>> | [-=~^*+\#]{3,} | [-*•+][ ] | \d+[.)][ ] | \.\.[ ]
)"""  # a heading, an interactive session, an underline, a list, a directive
_SECTION = re.compile(
    rf"\n[ \t]*(?:{_MARK} | [:@]\w)", re.VERBOSE | re.IGNORECASE
)  # the line after a paragraph's prose
_NO_PROSE = re.compile(  # nor is a field such as ":param x:" prose, or an argument: "mask (`Tensor`, *optional*): ..."
    rf"{_MARK} | :\w+[^`:]*:(?!`) | @\w | [*`]*\w+[*`]*[ ]\(.*\)[ ]*:", re.VERBOSE | re.IGNORECASE
)
_SIGNATURE = re.compile(r"[\w.]+\(.*\)(?: ?(?:->|=>|:) ?.*)?$")
_SENTENCE_END = re.compile(r"[.!?][)\"'`*]*(?= +[^a-z ])")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.?g|i\.?e|etc|vs|cf|al|resp|approx|fig|eq|sec|no|ca|dr|mr|st|[A-Z])|\.)\.$", re.IGNORECASE
)


def summary(docstring: str, max_characters: int, min_words: int) -> str:
    """Return the first sentence of a docstring's first paragraph of prose on one line, "" where there is none.

    A summary of fewer than `min_words` words, without a letter, or with a lone surrogate (which no file can hold) is
    none. One longer than `max_characters` ends at a word.
    """
    text = ""
    for paragraph in _PARAGRAPH.split(docstring.strip(), maxsplit=2)[:2]:
        text = " ".join(_SECTION.split(paragraph, maxsplit=1)[0].split())
        if not _SIGNATURE.match(text):  # written by hand for C functions; the prose follows it
            break
    if _NO_PROSE.match(text):
        return ""
    text = _shorten(_first_sentence(text, min_words), max_characters)
    if text.count(" ") + 1 < min_words or not any(map(str.isalpha, text)) or not _is_encodable(text):
        return ""
    return text


def _first_sentence(text: str, min_words: int) -> str:
    for end in _SENTENCE_END.finditer(text):
        sentence = text[: end.end()]
        if sentence.count(" ") + 1 >= min_words and not _ABBREVIATION.search(sentence):
            return sentence
    return text


def _shorten(text: str, max_characters: int) -> str:
    if len(text) <= max_characters:
        return text
    return text[: max_characters + 1].rpartition(" ")[0]


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
