"""How long texts are, and what is empty, nearly empty or cut off."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nearfar.audit.findings import MOST, Drop, Finding, Found, Level, fine, share, times
from nearfar.audit.material import NOUNS, Material, TextPart, distinct
from nearfar.column import Ids

if TYPE_CHECKING:
    from nearfar.model import Model


SHARES = (1, 5, 25, 50, 75, 95, 99)  # percentiles
LEAST = 5  # texts at one length that make a cut
NEIGHBOURS = 20  # lengths on each side of it that say how many to expect there
_LETTERS = re.compile(r"[^\W\d_]+")
_END = re.compile(r"""[.!?;:>)\]}"'\u2026\u3002\u0964\u061f\u201d\u2019\xbb]\s*$""")  # of a sentence, a quotation, code
SAMPLE = 10_000  # texts of each role


def lengths(material: Material) -> Found:
    """Return characters and words of each role: least, percentiles, most; and a histogram."""
    profile: dict[str, Any] = {}
    for role, parts in material.roles.items():
        texts = [part.texts[i] for part in parts for i in part.written.tolist()]
        if texts:
            characters = np.array([len(text) for text in texts])
            words = np.array([len(text.split()) for text in texts])
            profile[role] = {
                "texts": len(texts),
                "characters": percentiles(characters),
                "words": percentiles(words),
                "histogram": histogram(words),
            }
    return Found(profile={"lengths": profile})


def percentiles(values: npt.NDArray[Any]) -> dict[str, float]:
    """Return the least, some percentiles, the most and the mean of n numbers."""
    shown = {f"{p}%": float(v) for p, v in zip(SHARES, np.percentile(values, SHARES))}
    return {"least": float(values.min()), **shown, "most": float(values.max()), "mean": float(values.mean())}


def histogram(values: npt.NDArray[Any], bins: int = 40) -> dict[str, list[float]]:
    """Return edges (b + 1,) and counts (b,) up to the 99th percentile: one long text must not press the others flat."""
    top = max(1, int(np.percentile(values, 99)))
    bins = min(bins, top)
    counts, edges = np.histogram(values[values <= top], bins, (0, top))
    return {"edges": edges.astype(float).tolist(), "counts": counts.astype(float).tolist()}


def empty(material: Material) -> Found:
    """Find texts without a letter, digit or sign, and texts that say next to nothing beside much longer ones."""
    found = Found()
    blank = [(p, i) for p in material.parts for i in np.setdiff1d(np.arange(len(p.texts)), p.written).tolist()]
    bare = [(p, r) for p in material.parts for r in np.flatnonzero(np.diff(p.offsets) == 0) if p.role != "negative"]
    of = sum(len(part.texts) for part in material.parts)
    found.profile = {"empty": {"texts": len(blank), "rows without a text": len(bare)}}
    if blank or bare:
        where = Counter(f"{p.split} {p.name!r}" for p, _ in [*blank, *bare])
        places = ", ".join(f"{count:,} in {place}" for place, count in where.items())
        examples = [part.example(place) for part, place in blank[:MOST]]
        examples += [{"split": p.split, "row": int(r) + 1, "column": p.name, "text": ""} for p, r in bare[:MOST]]
        fix = "Leave them out: --fix OUT does so in training. Training refuses an empty text."
        if material.kind == "BEIR folder":
            fix = "Keep them: a pool is judged as it is. An index should leave them out."
        count = len(blank) + len(bare)
        what = f"{times(count, 'text is', 'texts are')} empty: {places}."
        level: Level = "notice" if material.kind == "BEIR folder" else "problem"
        found.findings.append(Finding("empty", level, what, count, of, examples[:MOST], fix))
    else:
        found.findings.append(fine("empty", f"No text is empty ({of:,} texts)."))
    found.drops = [
        Drop(int(p.rows[i]), "empty", f"column {p.name!r} is empty")
        for p, i in blank
        if p.split == material.main and p.role != "negative"
    ]
    found.drops += [
        Drop(int(r), "empty", f"column {p.name!r} holds no text") for p, r in bare if p.split == material.main
    ]
    found.findings += _nearly_empty(material)
    return found


def _nearly_empty(material: Material) -> list[Finding]:
    """Say which texts have one word at most where half of the column has thirty and more."""
    poor: list[tuple[TextPart, int]] = []
    few = 0
    for parts in material.roles.values():
        places = [(part, i) for part in parts for i in part.written.tolist()]
        counts = np.array([len(part.texts[i].split()) for part, i in places])
        if not len(counts) or np.median(counts) < 30:
            continue
        for (part, i), count in zip(places, counts.tolist()):
            if count <= 20 and len(set(_LETTERS.findall(part.texts[i].casefold()))) <= 1:
                poor.append((part, i))
                few += count <= 2
    if not poor:
        return []
    of = sum(len(part.written) for part in material.parts)
    what = f"{times(len(poor), 'text is', 'texts are')} nearly empty: one distinct word or none"
    what += f" ({few:,} of them no more than two words in all)." if few else "."
    examples = [part.example(i) for part, i in poor[:MOST]]
    return [Finding("nearly empty", "problem", what, len(poor), of, examples, "Remove these rows at their source.")]


def truncated(material: Material) -> Found:
    """Find texts that end in mid-sentence at one length that far more texts have than its neighbours."""
    findings = []
    for role, parts in material.roles.items():
        places = [(part, i) for part in parts for i in part.written.tolist()]
        for unit, measure, shortest in (("characters", len, 50), ("words", lambda text: len(text.split()), 20)):
            sizes = np.array([measure(part.texts[i]) for part, i in places], np.int64)
            cut = _cut(sizes, [part.texts[i] for part, i in places], shortest) if len(places) else None
            if cut is not None:
                length, rows = cut
                examples = [_tail(*places[row]) for row in rows[:MOST].tolist()]
                what = f"{times(len(rows), *NOUNS[role])} of {len(places):,} stop in mid-sentence at exactly "
                what += f"{length:,} {unit}."
                fix = "They were cut off where they come from: fetch them whole, or cut at the end of a sentence."
                findings.append(Finding("truncated", "problem", what, len(rows), len(places), examples, fix))
                break  # the words of texts that are cut at a number of characters pile up a little, too
    return Found(findings or [fine("truncated", "No pile of texts at one length that stop in mid-sentence.")])


def _cut(sizes: Ids, texts: Sequence[str], shortest: int) -> tuple[int, Ids] | None:
    """Return the length at which texts are cut, and which are; there is none where nothing piles up.

    A length in the upper half counts as a cut where at least 5 texts and a thousandth of all stop there without an end,
    ten times as many as at the lengths around it, and few of the texts there have an end. Where the texts of other
    lengths have none either (titles, queries), only a pile of a tenth of all, longer than all others, is one.
    """
    counts = np.bincount(sizes)
    window = np.convolve(counts, np.ones(2 * NEIGHBOURS + 1))[NEIGHBOURS : NEIGHBOURS + len(counts)]
    around = window - counts  # of forty other lengths
    least = max(LEAST, 0.001 * len(sizes))
    piles = np.flatnonzero((counts >= least) & (counts > 10 * (around + 1) / (2 * NEIGHBOURS)))
    if not len(piles := piles[piles >= max(np.median(sizes), shortest)]):
        return None
    is_open = np.array([not _END.search(text) for text in texts])
    for length in piles[::-1].tolist():
        at = sizes == length
        rows = np.flatnonzero(at & is_open)
        others_end = not at.all() and float(is_open[~at].mean()) < 0.5
        capped = length == sizes.max() and len(rows) >= 0.1 * len(sizes)
        if len(rows) >= max(least, 0.6 * at.sum()) and (others_end or capped):
            return length, rows
    return None


def _tail(part: TextPart, place: int) -> dict[str, Any]:
    text = part.texts[place]
    return part.example(place) | {"text": ("\u2026 " if len(text) > 120 else "") + text[-120:]}


def tokens(material: Material, model: Model, seed: int = 0) -> Found:
    """Count what each text costs the encoder, in tokens, and find those that fill its maximum length, so are cut."""
    found, profile = Found(), {}
    encoder: Any = model.encoder
    most = getattr(encoder, "max_length", None)
    for role, parts in material.roles.items():
        places = distinct(parts)
        rows = np.sort(np.random.default_rng(seed).permutation(len(places))[:SAMPLE]).tolist()
        if not rows:
            continue
        prompt = model.prompts["query" if role == "query" else "key"] if role != "text" else ""
        texts = [prompt + part.texts[place] for part, place in (places[i] for i in rows)]
        costs = np.concatenate([_counts(encoder, texts[i : i + 512]) for i in range(0, len(texts), 512)])
        profile[role] = {"texts": len(texts), "tokens": percentiles(costs)}
        if most is None:
            continue
        cut = np.flatnonzero(costs >= most).tolist()
        if len(cut) > 0.001 * len(texts):
            examples = [places[rows[i]][0].example(places[rows[i]][1]) for i in cut[:MOST]]
            what = f"{times(len(cut), *NOUNS[role])} of {len(texts):,} ({share(len(cut), len(texts))}) fill the "
            what += f"model's {most:,} tokens: what comes after is not read."
            fix = "Cut them into passages, or train and use the model with a larger encoder.max_length."
            found.findings.append(Finding("too long", "notice", what, len(cut), len(texts), examples, fix))
        else:
            found.findings.append(fine("too long", f"{role}: nearly all within the model's {most:,} tokens."))
    found.profile = {"tokens": profile}
    return found


def _counts(encoder: Any, texts: list[str]) -> Ids:
    """Return the tokens of each text, (n,); the costs of a bag would count a repeated token once."""
    counts: Ids = encoder.tokenise(texts)[1] if hasattr(encoder, "tokenise") else encoder.inputs(texts).costs()
    return counts
