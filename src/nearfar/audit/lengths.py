"""How long texts are, in characters, words and a model's tokens, and which are empty, nearly empty or cut off."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nearfar.abilities import Tokenises, max_length_of, reads, tower_of
from nearfar.audit.findings import MOST_EXAMPLES, CheckResult, Drop, Finding, Level, counted, fine, share
from nearfar.audit.material import NOUNS, Material, Occurrence, TextPart, distinct
from nearfar.column import Ids
from nearfar.contracts import Encoder

if TYPE_CHECKING:
    from nearfar.model import Model


PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
LEAST = 5  # texts of one length that make a cut
NEIGHBOURS = 20  # lengths on each side that say how many texts to expect at one length
TOKEN_SAMPLE = 10_000  # texts of each role whose tokens are counted
_LETTERS = re.compile(r"[^\W\d_]+")
_END = re.compile(r"""[.!?;:>)\]}"'\u2026\u3002\u0964\u061f\u201d\u2019\xbb]\s*$""")  # of a sentence, a quotation, code


def lengths(material: Material) -> CheckResult:
    """Return the least, percentiles and most of each role's lengths in characters and words, and a histogram."""
    profile: dict[str, Any] = {}
    for role, parts in material.roles.items():
        texts = [part.texts[i] for part in parts for i in part.nonblank.tolist()]
        if texts:
            characters = np.array([len(text) for text in texts])
            words = np.array([len(text.split()) for text in texts])
            profile[role] = {
                "texts": len(texts),
                "characters": percentiles(characters),
                "words": percentiles(words),
                "histogram": histogram(words),
            }
    return CheckResult(profile={"lengths": profile})


def percentiles(values: npt.NDArray[Any]) -> dict[str, float]:
    """Return the least, some percentiles, the most and the mean of n numbers."""
    shown = {f"{p}%": float(v) for p, v in zip(PERCENTILES, np.percentile(values, PERCENTILES))}
    return {"least": float(values.min()), **shown, "most": float(values.max()), "mean": float(values.mean())}


def histogram(values: npt.NDArray[Any], bins: int = 40) -> dict[str, list[float]]:
    """Return edges (b + 1,) and counts (b,) up to the 99th percentile, so that one long text does not flatten it."""
    top = max(1, int(np.percentile(values, 99)))
    bins = min(bins, top)
    counts, edges = np.histogram(values[values <= top], bins, (0, top))
    return {"edges": edges.astype(float).tolist(), "counts": counts.astype(float).tolist()}


def empty(material: Material) -> CheckResult:
    """Find blank texts, rows without a text, and texts of next to no words in a column of long ones."""
    result = CheckResult()
    blank = [(p, i) for p in material.parts for i in np.setdiff1d(np.arange(len(p.texts)), p.nonblank).tolist()]
    textless = [(p, r) for p in material.parts for r in np.flatnonzero(np.diff(p.offsets) == 0) if p.role != "negative"]
    of = sum(len(part.texts) for part in material.parts)
    result.profile = {"empty": {"texts": len(blank), "rows without a text": len(textless)}}
    if blank or textless:
        where = Counter(f"{p.split} {p.name!r}" for p, _ in [*blank, *textless])
        places = ", ".join(f"{count:,} in {place}" for place, count in where.items())
        examples = [part.example(position) for part, position in blank[:MOST_EXAMPLES]]
        examples += [
            {"split": p.split, "row": int(r) + 1, "column": p.name, "text": ""} for p, r in textless[:MOST_EXAMPLES]
        ]
        fix = "Leave them out: --fix OUT does so in training. Training refuses an empty text."
        if material.kind == "BEIR folder":
            fix = "Keep them: metrics depend on the whole corpus. An index should leave them out."
        count = len(blank) + len(textless)
        what = f"{counted(count, 'text is', 'texts are')} empty: {places}."
        level: Level = "notice" if material.kind == "BEIR folder" else "problem"
        result.findings.append(Finding("empty", level, what, count, of, examples[:MOST_EXAMPLES], fix))
    else:
        result.findings.append(fine("empty", f"No text is empty ({of:,} texts)."))
    result.drops = [
        Drop(int(p.rows[i]), "empty", f"column {p.name!r} is empty")
        for p, i in blank
        if p.split == material.main and p.role != "negative"
    ]
    result.drops += [
        Drop(int(r), "empty", f"column {p.name!r} holds no text") for p, r in textless if p.split == material.main
    ]
    result.findings += _nearly_empty(material)
    return result


def _nearly_empty(material: Material) -> list[Finding]:
    """Find texts of at most one distinct word in columns where half of the texts have thirty words or more."""
    nearly_empty: list[Occurrence] = []
    of_two_words = 0
    for parts in material.roles.values():
        occurrences = [(part, i) for part in parts for i in part.nonblank.tolist()]
        counts = np.array([len(part.texts[i].split()) for part, i in occurrences])
        if not len(counts) or np.median(counts) < 30:
            continue
        for (part, i), count in zip(occurrences, counts.tolist()):
            if count <= 20 and len(set(_LETTERS.findall(part.texts[i].casefold()))) <= 1:
                nearly_empty.append((part, i))
                of_two_words += count <= 2
    if not nearly_empty:
        return []
    of = sum(len(part.nonblank) for part in material.parts)
    what = f"{counted(len(nearly_empty), 'text is', 'texts are')} nearly empty: one distinct word or none"
    what += f" ({of_two_words:,} of them no more than two words in all)." if of_two_words else "."
    examples = [part.example(i) for part, i in nearly_empty[:MOST_EXAMPLES]]
    fix = "Remove these rows at their source."
    return [Finding("nearly empty", "problem", what, len(nearly_empty), of, examples, fix)]


def truncated(material: Material) -> CheckResult:
    """Find texts that end in mid-sentence at one length that far more texts have than its neighbours."""
    findings = []
    for role, parts in material.roles.items():
        occurrences = [(part, i) for part in parts for i in part.nonblank.tolist()]
        for unit, measure, shortest in (("characters", len, 50), ("words", lambda text: len(text.split()), 20)):
            sizes = np.array([measure(part.texts[i]) for part, i in occurrences], np.int64)
            cut = _cut(sizes, [part.texts[i] for part, i in occurrences], shortest) if len(occurrences) else None
            if cut is not None:
                length, rows = cut
                examples = [_tail(*occurrences[row]) for row in rows[:MOST_EXAMPLES].tolist()]
                what = f"{counted(len(rows), *NOUNS[role])} of {len(occurrences):,} stop in mid-sentence at exactly "
                what += f"{length:,} {unit}."
                fix = "They were cut off where they come from: fetch them whole, or cut at the end of a sentence."
                findings.append(Finding("truncated", "problem", what, len(rows), len(occurrences), examples, fix))
                break  # texts that are cut at a number of characters also pile up, a little, at numbers of words
    return CheckResult(findings or [fine("truncated", "No pile of texts at one length that stop in mid-sentence.")])


def _cut(sizes: Ids, texts: Sequence[str], shortest: int) -> tuple[int, Ids] | None:
    """Return the length at which texts (n,) of sizes (n,) are cut, and which are cut; None where nothing piles up.

    A length in the upper half counts as a cut where at least 5 texts and a thousandth of all stop there without an end,
    ten times as many as at the lengths around it, and few of the texts there have an end. Where the texts of other
    lengths have none either (titles, queries), only the greatest length counts, with a tenth of all texts at least.
    """
    counts = np.bincount(sizes)
    window = np.convolve(counts, np.ones(2 * NEIGHBOURS + 1))[NEIGHBOURS : NEIGHBOURS + len(counts)]
    around = window - counts  # texts of the forty lengths around each
    least = max(LEAST, 0.001 * len(sizes))
    piles = np.flatnonzero((counts >= least) & (counts > 10 * (around + 1) / (2 * NEIGHBOURS)))
    if not len(piles := piles[piles >= max(np.median(sizes), shortest)]):
        return None
    is_open = np.array([not _END.search(text) for text in texts])
    for length in piles[::-1].tolist():
        at_length = sizes == length
        rows = np.flatnonzero(at_length & is_open)
        others_end = not at_length.all() and float(is_open[~at_length].mean()) < 0.5
        at_limit = length == sizes.max() and len(rows) >= 0.1 * len(sizes)
        if len(rows) >= max(least, 0.6 * at_length.sum()) and (others_end or at_limit):
            return length, rows
    return None


def _tail(part: TextPart, position: int) -> dict[str, Any]:
    """Return an example that shows the end of its text."""
    text = part.texts[position]
    return part.example(position) | {"text": ("\u2026 " if len(text) > 120 else "") + text[-120:]}


def tokens(material: Material, model: Model, seed: int = 0) -> CheckResult:
    """Count each text's tokens, and find texts that reach the encoder's maximum length, beyond which it cuts."""
    result, profile = CheckResult(), {}
    for role, parts in material.roles.items():
        encoder = tower_of(model.encoder, "query" if role == "query" else "key")
        most = max_length_of(encoder)
        occurrences = distinct(parts)
        rows = np.sort(np.random.default_rng(seed).permutation(len(occurrences))[:TOKEN_SAMPLE]).tolist()
        if not rows or (reads(encoder) and "text" not in reads(encoder)):
            continue
        sample = [occurrences[row] for row in rows]
        prompt = model.prompts["query" if role == "query" else "key"] if role != "text" else ""
        texts = [prompt + part.texts[position] for part, position in sample]
        counts = np.concatenate([_token_counts(encoder, texts[i : i + 512]) for i in range(0, len(texts), 512)])
        profile[role] = {"texts": len(texts), "tokens": percentiles(counts)}
        if most is None:
            continue
        cut = np.flatnonzero(counts >= most).tolist()
        if len(cut) > 0.001 * len(texts):
            examples = [part.example(position) for part, position in (sample[i] for i in cut[:MOST_EXAMPLES])]
            what = f"{counted(len(cut), *NOUNS[role])} of {len(texts):,} ({share(len(cut), len(texts))}) fill the "
            what += f"model's {most:,} tokens: what comes after is not read."
            fix = "Cut them into passages, or train and use the model with a larger encoder.max_length."
            result.findings.append(Finding("too long", "notice", what, len(cut), len(texts), examples, fix))
        else:
            result.findings.append(fine("too long", f"{role}: nearly all within the model's {most:,} tokens."))
    result.profile = {"tokens": profile}
    return result


def _token_counts(encoder: Encoder, texts: list[str]) -> Ids:
    """Return the number of tokens of each text, (n,); a bag's `costs` would count a repeated token once."""
    return encoder.tokenise(texts)[1] if isinstance(encoder, Tokenises) else encoder.inputs(texts).costs()
