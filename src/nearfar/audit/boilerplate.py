"""What many texts have in common and says nothing about any: repeated sentences, openings, endings, markup."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable

from nearfar.audit.findings import MOST, Finding, Found, fine, share, times
from nearfar.audit.material import NOUNS, Material, Role, TextPart, distinct
from nearfar.column import content_id

LEAST, SHARE = 10, 0.005  # texts that a sentence must be in: ten, and one of two hundred
WORDS, CHARACTERS = 5, 25  # of a sentence that is counted: "Thank you." is no boilerplate
ENDS, END_SHARE = 6, 0.02  # words of an opening or ending, and the share of texts that must have it
_TAGS = "a abbr b blockquote body br center code dd div dl dt em font form h[1-6] head hr html i img input li link "
_TAGS += "meta ol option p pre script section select small span strong style sub sup table tbody td th thead tr tt u ul"
_MARKUP = re.compile(rf"</?(?:{'|'.join(_TAGS.split())})(?:\s[^<>]{{0,300}})?/?>|&(?:[a-z]{{2,8}}|#\d{{2,5}});", re.I)
_NAME = re.compile(r"&?[a-z#]+\d*;?", re.I)
_BREAK = re.compile(r"(?:<br\s*/?>|[\r\n]|(?<=[.!?。!?])\s)\s*", re.I)


def boilerplate(material: Material) -> Found:
    """Find what at least one text of two hundred (and ten) shares with others; copies of a text count once."""
    findings = []
    for role, parts in material.roles.items():
        places = distinct(parts)
        if len(places) >= LEAST:
            findings += [*_markup(role, places), *_sentences(role, places), *_ends(role, places)]
    return Found(findings or [fine("boilerplate", "No sentence, opening, ending or markup is shared by many texts.")])


def _markup(role: Role, places: list[tuple[TextPart, int]]) -> list[Finding]:
    with_it, names = [], Counter[str]()
    for part, place in places:
        if "<" in (text := part.texts[place]) or "&" in text:
            found = {m.group().lower() for m in _MARKUP.finditer(text)}
            if found:
                with_it.append((part, place))
                names.update(_tag(mark) for mark in found)
    if len(with_it) < max(LEAST, SHARE * len(places)):
        return []
    common = ", ".join(f"{name} in {count:,}" for name, count in names.most_common(3))
    what = f"{_of(len(with_it), len(places), role)} hold markup: {common}."
    fix = "Take it out where the text is made (an HTML parser, not a pattern), in queries and keys alike."
    examples = [_around(part, place, _MARKUP) for part, place in with_it[:MOST]]
    return [Finding("markup", "notice", what, len(with_it), len(places), examples, fix)]


def _tag(mark: str) -> str:
    name = _NAME.search(mark)
    return f"<{name.group()}>" if name and mark.startswith("<") else mark


def _sentences(role: Role, places: list[tuple[TextPart, int]]) -> list[Finding]:
    """Say which sentences or lines many texts share, beside their other words."""
    counts: Counter[int] = Counter()
    for part, place in places:
        counts.update({content_id(sentence) for sentence in _cut(part.texts[place])})
    often = {ident for ident, count in counts.items() if count >= max(LEAST, SHARE * len(places))}
    if not often:
        return []
    holding: dict[str, list[tuple[TextPart, int]]] = {}
    for part, place in places:
        for sentence in dict.fromkeys(_cut(part.texts[place])):
            if content_id(sentence) in often:
                holding.setdefault(sentence, []).append((part, place))
    texts = {(id(part), place) for held in holding.values() for part, place in held}
    ordered = sorted(holding.items(), key=lambda item: -len(item[1]))
    what = (
        f"{_of(len(texts), len(places), role)} hold a sentence that many share: "
        f"{len(holding):,} such, the commonest in {len(ordered[0][1]):,}."
    )
    examples = [held[0][0].example(held[0][1], texts=len(held)) | {"text": s[:300]} for s, held in ordered[:MOST]]
    fix = "Where it says nothing (licence, cookie notice, navigation), take it out before training: all texts move "
    return [Finding("boilerplate", "notice", what, len(texts), len(places), examples, fix + "together because of it.")]


def _cut(text: str) -> Iterable[str]:
    for sentence in _BREAK.split(text):
        if len(sentence) >= CHARACTERS and len(sentence.split()) >= WORDS:
            yield sentence.strip()


def _ends(role: Role, places: list[tuple[TextPart, int]]) -> list[Finding]:
    """Say which opening or ending many texts share, as long as it is for most of them."""
    first: Callable[[list[str]], tuple[str, ...]] = lambda words: tuple(words[:ENDS])  # noqa: E731
    last: Callable[[list[str]], tuple[str, ...]] = lambda words: tuple(words[-ENDS:])  # noqa: E731
    findings = []
    for name, end in (("opening", first), ("ending", last)):
        groups: dict[tuple[str, ...], list[tuple[TextPart, int]]] = {}
        for part, place in places:
            text = part.texts[place]
            words = (text[:400] if name == "opening" else text[-400:]).split()
            if len(words) >= 2 * ENDS:
                groups.setdefault(end(words), []).append((part, place))
        large = {key: held for key, held in groups.items() if len(held) >= max(LEAST, END_SHARE * len(places))}
        if large:
            ordered = sorted(large.items(), key=lambda item: -len(item[1]))
            count = sum(map(len, large.values()))
            what = f"{_of(count, len(places), role)} share an {name} of "
            what += f"{ENDS} words: {' '.join(ordered[0][0])!r} is that of {len(ordered[0][1]):,}."
            examples = [held[0][0].example(held[0][1], texts=len(held)) for _, held in ordered[:MOST]]
            fix = "Where it is an instruction, give it to the model as its prompt; else take it out."
            findings.append(Finding(f"shared {name}", "notice", what, count, len(places), examples, fix))
    return findings


def _around(part: TextPart, place: int, pattern: re.Pattern[str]) -> dict[str, object]:
    text = part.texts[place]
    hit = pattern.search(text)
    at = max(0, (hit.start() if hit else 0) - 60)
    return part.example(place) | {"text": ("\u2026 " if at else "") + text[at : at + 160]}


def _of(count: int, of: int, role: Role) -> str:
    return f"{count:,} of {times(of, *NOUNS[role])} ({share(count, of)})"
