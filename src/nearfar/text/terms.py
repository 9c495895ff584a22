"""The terms by which texts are searched: the analyser's words, as stems and without stop words in a known language."""

from __future__ import annotations

from nearfar.text.analyser import words
from nearfar.text.stems import describe, stemmer_of, stop_words


class TermAnalyser:
    """Cuts texts into terms.

    language: of the texts, "german": its stems and stop words; None, and those without, change nothing. identifiers:
    split identifiers into their parts. Errors: `InputError` for a language that is not known.
    """

    def __init__(self, language: str | None, identifiers: bool = True) -> None:
        self._identifiers = identifiers
        self._stems, self._stop = stemmer_of(language), stop_words(language)
        self.described = describe(language) if self._stems is not None else "no stems"

    def __call__(self, text: str) -> list[str]:
        """Return a text's terms in their order."""
        tokens = [token for token in words(text, self._identifiers) if token not in self._stop]
        return tokens if self._stems is None else list(self._stems.stemWords(tokens))
