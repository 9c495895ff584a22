"""Which systems cannot read the language of a task's texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nearfar.abilities import KnowsLanguages, matches_words, side
from nearfar.column import Column, column_kind
from nearfar.contracts import Floor
from nearfar.encoders.pretrained.languages import MULTILINGUAL
from nearfar.evaluation.predictions import role_of
from nearfar.model import Model
from nearfar.tasks import Task, columns_of
from nearfar.text.language import detect, related, sample
from nearfar.vectors.embed import Embedder

UNREAD = 0.2  # of the letters; of MiniLM: English 0.00, commands 0.06, Polish 0.13, Japanese 0.24, Russian 0.93
MORE_TOKENS = 1.45  # of a word, against English; of MiniLM: code 1.2, commands 1.35, French 1.5, German 1.9, Polish 2.6
# A tokenizer's English: sentences with the usual words.
ENGLISH = (
    "The first train of the morning leaves at six, and most people who take it work in the city.",
    "She asked whether there was a simple way to find the right answer without reading every page.",
    "In the last few years the cost of energy has risen faster than the price of food or housing.",
    "You can return the book to any of our shops, or send it back by post within thirty days.",
)


def language_facts(task: Task, systems: Mapping[str, Floor | Embedder]) -> dict[str, Any]:
    """Return facts for a protocol: "languages" of the task's texts, and why systems "cannot read" them, by name.

    A model that declares its languages (`abilities.KnowsLanguages`) is held against those of the texts. Of another one
    its tokenizer tells: it cannot read letters that it does not know or leaves single, and it may not read a language
    whose words it cuts into 1.45 times as many tokens as English ones. Floors that match words find little where
    queries and documents are in different languages. Where a language is not recognised, nothing is said of it.

    When not to trust it: a tokenizer made for many languages cuts the words of some of them into many tokens.
    """
    texts = {name: column for name, column in columns_of(task).items() if column_kind(column) == "text"}
    languages = {name: language for name, column in texts.items() if (language := detect(column)) is not None}
    found = {name: _why(system, texts, languages) for name, system in systems.items()}
    facts = {
        "languages": {name: language.title() for name, language in languages.items()},
        "cannot read": {name: why for name, why in found.items() if why},
    }
    return {name: fact for name, fact in facts.items() if fact}


def _why(system: Floor | Embedder, texts: Mapping[str, Column], languages: Mapping[str, str]) -> str | None:
    """Return why a system cannot read the texts, as a sentence; None where nothing speaks against it."""
    if isinstance(system, Floor):
        return _across(languages) if matches_words(system) else None
    if not isinstance(system, Model):
        return None
    for name, language in languages.items():
        encoder = side(system.encoder, role_of(system, name, texts[name]))
        if isinstance(encoder, KnowsLanguages) and (why := why_unread(encoder, sample(texts[name]), name, language)):
            return why
    return None


def why_unread(encoder: KnowsLanguages, texts: Sequence[str], name: str, language: str) -> str | None:
    """Return why an encoder cannot, or may not, read texts of a language, as a sentence; None where nothing says so.

    name: what the texts are called, "documents".
    """
    known = encoder.made_for
    if known:
        if MULTILINGUAL in known or any(related(language, one) for one in known):
            return None
        return (
            f"the pretrained model was made for {_listed(known)}, as its folder says; the {name} are {language.title()}"
        )
    (unread, tokens), (_, usual) = encoder.unread_and_fertility(texts), encoder.unread_and_fertility(ENGLISH)
    if unread >= UNREAD:
        return f"its tokenizer cannot read {unread:.0%} of the letters of the {name}, which are {language.title()}"
    if tokens >= MORE_TOKENS * usual:
        return (
            f"may not read {language.title()}: its tokenizer cuts a word of the {name} into {tokens:.1f} tokens, of "
            f"English into {usual:.1f}"
        )
    return None


def _across(languages: Mapping[str, str]) -> str | None:
    """Return why words cannot be matched between the two sides of a task; None where they can, or might."""
    if len(languages) < 2:
        return None
    (one, first), (other, second), *_ = languages.items()
    if related(first, second):
        return None
    return f"{one} are {first.title()}, {other} {second.title()}: words are not the same across languages"


def _listed(languages: Sequence[str]) -> str:
    names = [language.title() for language in languages]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
