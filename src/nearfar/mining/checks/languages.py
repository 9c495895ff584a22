"""Which languages the texts are in, by the lingua library on a sample."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from nearfar.mining.checks.found import MOST, Finding, Found, fine, share, times
from nearfar.mining.checks.material import NOUNS, Material, Part, Role, distinct

SAMPLE = 1000  # texts of each role
LETTERS = 30  # of a text at least: a shorter one could be of any language
CUT = 300  # characters that are looked at
SURE = 0.9  # probability below which a text's language counts as unknown
CLOSE = 0.95  # the same at the second look, which decides
INSTALL = "pip install 'nearfar[audit]'"


def languages(material: Material, seed: int = 0) -> Found:
    """Tell the languages of each role, and texts in another one than nearly all.

    Where the library is not installed, that is said. When not to trust it: on code and on very short texts, which are
    passed over where they have fewer than 30 letters.
    """
    try:
        from lingua import LanguageDetectorBuilder
    except ImportError:
        what = f"Languages were not looked at: {INSTALL} brings lingua, which tells them."
        return Found([Finding("languages", "notice", what, fix=INSTALL)], {"languages": {"missing": "lingua"}})
    detector = LanguageDetectorBuilder.from_all_languages().with_low_accuracy_mode().build()
    found, profile = Found(), {}
    for role, parts in material.roles.items():
        places = _sample(parts, seed)
        texts = [part.texts[place][:CUT] for part, place in places]
        told = detector.compute_language_confidence_values_in_parallel(texts) if texts else []
        guesses = [v[0].language if v and v[0].value >= SURE else None for v in told]
        names = [_name(guess) for guess in _second_look(texts, guesses)]
        if names:
            profile[role] = {"texts": len(names), "shares": _shares(names)}
            found.findings.append(_finding(role, places, names))
    found.profile = {"languages": profile}
    return found


def _second_look(texts: list[str], guesses: list[Any]) -> list[Any]:
    """Return the languages after a closer look at texts that are not in the commonest one.

    The quick look sees a foreign tongue in every list of names and figures. The close one knows the commonest language
    and those guessed alone, so it is quick to load; what it does not confirm is unknown.
    """
    from lingua import LanguageDetectorBuilder

    counts = Counter(guess for guess in guesses if guess is not None)
    if len(counts) < 2:
        return guesses
    main = counts.most_common(1)[0][0]
    close = LanguageDetectorBuilder.from_languages(*counts).build()
    result = list(guesses)
    for i, guess in enumerate(guesses):
        if guess not in (None, main):
            first = close.compute_language_confidence_values(texts[i])[0]
            result[i] = guess if first.language == guess and first.value >= CLOSE else None
    return result


def _name(language: Any) -> str:
    return "unknown" if language is None else str(language.name).capitalize()


def _sample(parts: list[Part], seed: int) -> list[tuple[Part, int]]:
    places = distinct(parts)
    order = np.random.default_rng(seed).permutation(len(places)).tolist()
    chosen = []
    for i in order:
        part, place = places[i]
        if sum(map(str.isalpha, part.texts[place][:CUT])) >= LETTERS:
            chosen.append(i)
            if len(chosen) == SAMPLE:
                break
    return [places[i] for i in sorted(chosen)]


def _shares(names: list[str]) -> dict[str, float]:
    return {name: count / len(names) for name, count in Counter(names).most_common()}


def _finding(role: Role, places: list[tuple[Part, int]], names: list[str]) -> Finding:
    """Say the language of a role where it is one; else how many there are, and which texts stand apart."""
    known = Counter(name for name in names if name != "unknown")
    main, count = known.most_common(1)[0] if known else ("unknown", 0)
    others: list[Any] = [one for one, name in zip(places, names) if name not in (main, "unknown")]
    if not known or len(names) - sum(known.values()) > 0.5 * len(names):
        return fine("languages", f"{role}: no natural language for sure in most texts (code, names, numbers).")
    if len(others) <= 0.01 * len(names):
        told = share(count, sum(known.values()))
        return fine("languages", f"{role}: {main} in {told} of {times(len(names), 'text')} looked at.")
    told = ", ".join(f"{name} {many:,}" for name, many in known.most_common(4))
    what = f"Of {times(len(names), *NOUNS[role])} looked at: {told}."
    examples = [p.example(i, language=n) for (p, i), n in zip(places, names) if n not in (main, "unknown")][:MOST]
    fix = "Where one language is meant, leave the others out; where several are, look at each by itself."
    return Finding("languages", "notice", what, len(others), len(names), examples, fix)
