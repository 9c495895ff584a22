"""Boilerplate: sentences, openings, endings and markup that many texts share and that tell nothing about any text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable

from nearfar.audit.findings import MOST_EXAMPLES, CheckResult, Finding, counted, fine, share
from nearfar.audit.material import NOUNS, Material, Occurrence, TextPart, TextRole, distinct
from nearfar.column import content_id

LEAST, SHARE = 10, 0.005  # texts that must share a sentence: ten, and one of two hundred
WORDS, CHARACTERS = 5, 25  # least length of a sentence that counts: "Thank you." is no boilerplate
END_WORDS, END_SHARE = 6, 0.02  # words of an opening or ending, and the share of texts that must have it
_TAGS = "a abbr b blockquote body br center code dd div dl dt em font form h[1-6] head hr html i img input li link "
_TAGS += "meta ol option p pre script section select small span strong style sub sup table tbody td th thead tr tt u ul"
_MARKUP = re.compile(rf"</?(?:{'|'.join(_TAGS.split())})(?:\s[^<>]{{0,300}})?/?>|&(?:[a-z]{{2,8}}|#\d{{2,5}});", re.I)
_NAME = re.compile(r"&?[a-z#]+\d*;?", re.I)
_BREAK = re.compile(r"(?:<br\s*/?>|[\r\n]|(?<=[.!?。!?])\s)\s*", re.I)


def boilerplate(material: Material) -> CheckResult:
    """Find what at least ten texts, and one of two hundred, share with others; copies of a text count once."""
    findings = []
    for role, parts in material.roles.items():
        texts = distinct(parts)
        if len(texts) >= LEAST:
            findings += [*_markup(role, texts), *_sentences(role, texts), *_ends(role, texts)]
    text = "No sentence, opening, ending or markup is shared by many texts."
    return CheckResult(findings or [fine("boilerplate", text)])


def _markup(role: TextRole, texts: list[Occurrence]) -> list[Finding]:
    """Find HTML tags and entities, counted by the texts that hold them."""
    with_markup, names = [], Counter[str]()
    for part, position in texts:
        if "<" in (text := part.texts[position]) or "&" in text:
            marks = {match.group().lower() for match in _MARKUP.finditer(text)}
            if marks:
                with_markup.append((part, position))
                names.update(_mark_name(mark) for mark in marks)
    if len(with_markup) < max(LEAST, SHARE * len(texts)):
        return []
    common = ", ".join(f"{name} in {count:,}" for name, count in names.most_common(3))
    what = f"{_of(len(with_markup), len(texts), role)} hold markup: {common}."
    fix = "Take it out where the text is made (an HTML parser, not a pattern), in queries and keys alike."
    examples = [_markup_example(part, position) for part, position in with_markup[:MOST_EXAMPLES]]
    return [Finding("markup", "notice", what, len(with_markup), len(texts), examples, fix)]


def _mark_name(mark: str) -> str:
    name = _NAME.search(mark)
    return f"<{name.group()}>" if name and mark.startswith("<") else mark


def _markup_example(part: TextPart, position: int) -> dict[str, object]:
    """Return an example that shows the text around its first markup."""
    text = part.texts[position]
    match = _MARKUP.search(text)
    start = max(0, (match.start() if match else 0) - 60)
    return part.example(position) | {"text": ("\u2026 " if start else "") + text[start : start + 160]}


def _sentences(role: TextRole, texts: list[Occurrence]) -> list[Finding]:
    """Find sentences or lines that many texts share while their other words differ."""
    counts: Counter[int] = Counter()
    for part, position in texts:
        counts.update({content_id(sentence) for sentence in _split(part.texts[position])})
    frequent = {ident for ident, count in counts.items() if count >= max(LEAST, SHARE * len(texts))}
    if not frequent:
        return []
    holders: dict[str, list[Occurrence]] = {}  # the texts that hold each frequent sentence
    for part, position in texts:
        for sentence in dict.fromkeys(_split(part.texts[position])):
            if content_id(sentence) in frequent:
                holders.setdefault(sentence, []).append((part, position))
    count = len({(id(part), position) for occurrences in holders.values() for part, position in occurrences})
    ordered = sorted(holders.items(), key=lambda item: -len(item[1]))
    what = (
        f"{_of(count, len(texts), role)} hold a sentence that many share: "
        f"{len(holders):,} such, the commonest in {len(ordered[0][1]):,}."
    )
    examples = [_first_example(occurrences) | {"text": s[:300]} for s, occurrences in ordered[:MOST_EXAMPLES]]
    fix = "Where it says nothing (licence, cookie notice, navigation), take it out before training: it makes all texts "
    return [Finding("boilerplate", "notice", what, count, len(texts), examples, fix + "more similar.")]


def _split(text: str) -> Iterable[str]:
    """Yield the sentences and lines of a text that are long enough to count."""
    for sentence in _BREAK.split(text):
        if len(sentence) >= CHARACTERS and len(sentence.split()) >= WORDS:
            yield sentence.strip()


def _ends(role: TextRole, texts: list[Occurrence]) -> list[Finding]:
    """Find openings and endings of six words that many texts share; texts of fewer than twelve words do not count."""
    first: Callable[[list[str]], tuple[str, ...]] = lambda words: tuple(words[:END_WORDS])  # noqa: E731
    last: Callable[[list[str]], tuple[str, ...]] = lambda words: tuple(words[-END_WORDS:])  # noqa: E731
    findings = []
    for name, end in (("opening", first), ("ending", last)):
        groups: dict[tuple[str, ...], list[Occurrence]] = {}
        for part, position in texts:
            text = part.texts[position]
            words = (text[:400] if name == "opening" else text[-400:]).split()
            if len(words) >= 2 * END_WORDS:
                groups.setdefault(end(words), []).append((part, position))
        large = {key: group for key, group in groups.items() if len(group) >= max(LEAST, END_SHARE * len(texts))}
        if large:
            ordered = sorted(large.items(), key=lambda item: -len(item[1]))
            count = sum(map(len, large.values()))
            what = f"{_of(count, len(texts), role)} share an {name} of "
            what += f"{END_WORDS} words: {' '.join(ordered[0][0])!r} is that of {len(ordered[0][1]):,}."
            examples = [_first_example(group) for _, group in ordered[:MOST_EXAMPLES]]
            fix = "Where it is an instruction, give it to the model as its prompt; else take it out."
            findings.append(Finding(f"shared {name}", "notice", what, count, len(texts), examples, fix))
    return findings


def _first_example(occurrences: list[Occurrence]) -> dict[str, object]:
    """Return the first of some texts as an example, with their number."""
    part, position = occurrences[0]
    return part.example(position, texts=len(occurrences))


def _of(count: int, of: int, role: TextRole) -> str:
    return f"{count:,} of {counted(of, *NOUNS[role])} ({share(count, of)})"
