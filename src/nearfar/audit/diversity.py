"""How diverse the texts are: the Vendi score and the effective number of clusters."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from typing import Any

import numpy as np

from nearfar.audit.findings import MOST, Finding, Found, fine, share, times
from nearfar.audit.material import NOUNS, Material, Role, TextPart, distinct
from nearfar.audit.vectors import Space, Vectors
from nearfar.column import Ids

SAMPLE = 5000  # rows: the score grows with them, so compare at one number
CLUSTERS = 50
LANGUAGE_SAMPLE = 1000  # texts of each role
LETTERS = 30  # of a text at least: a shorter one could be of any language
CUT = 300  # characters that are looked at
SURE = 0.9  # probability below which a text's language counts as unknown
CLOSE = 0.95  # the same at the second look, which decides
INSTALL = "pip install 'nearfar[audit]'"


def vendi(vectors: Vectors) -> float:
    """Return the Vendi score of unit vectors (n, d): exp(-sum_k l_k log l_k), l the eigenvalues of K / n.

    K is the (n, n) matrix of cosines. Its eigenvalues but zeros are those of the (d, d) matrix X'X, so that memory is
    O(d^2). 1: all texts alike; it cannot exceed n or d. Source: Friedman & Dieng 2022, arXiv:2210.02410.
    """
    values = np.linalg.eigvalsh(vectors.T.astype(np.float64) @ vectors.astype(np.float64) / len(vectors))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def diversity(material: Material, space: Space, seed: int = 0) -> Found:
    """Measure how many different texts, and clusters of them, the main split amounts to."""
    role: Any = next(role for role in ("text", "document", "query") if role in material.roles)
    parts = [part for part in material.roles[role] if part.split == material.main or role == "query"][:1]
    places = distinct(parts)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(places))[:SAMPLE])
    texts = [places[i][0].texts[places[i][1]] for i in chosen.tolist()]
    vectors = space.embed(texts, {"query": "query", "document": "key"}.get(role))
    kept = np.flatnonzero(np.abs(vectors).sum(1) > 0)
    if len(kept) < 10:
        return Found()
    vectors, score = vectors[kept], vendi(vectors[kept])
    k = int(min(CLUSTERS, len(kept) // 10)) or 1
    label, centres = _clusters(vectors, k, seed)
    sizes = np.bincount(label, minlength=k)
    shares = sizes[sizes > 0] / sizes.sum()
    effective = float(np.exp(-(shares * np.log(shares)).sum()))
    largest = int(sizes.argmax())
    middle = int(np.where(label == largest, vectors @ centres[largest], -np.inf).argmax())
    profile = {
        "of": role,
        "vectors": space.name,
        "sample": len(kept),
        "dim": space.dim,
        "vendi": score,
        "clusters": k,
        "effective clusters": effective,
        "largest cluster": float(shares.max()),
        "its middle": texts[int(kept[middle])][:300],
    }
    what = f"{len(kept):,} texts differ as {score:.0f} that share nothing would (Vendi score; {space.dim:,} at most). "
    what += f"{k} clusters of them count as {effective:.0f} equal ones; the largest holds "
    what += f"{share(int(sizes.max()), len(kept))}."
    return Found([fine("diversity", what)], {"diversity": profile})


def _clusters(vectors: Vectors, k: int, seed: int) -> tuple[Ids, Vectors]:
    """Return each row's cluster (n,) and the centres (k, d), by k-means of unit vectors (scipy)."""
    from scipy.cluster.vq import kmeans2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a cluster without rows: it counts as none
        centres, label = kmeans2(vectors, k, iter=20, minit="++", seed=np.random.default_rng(seed))
    return label.astype(np.int64), centres.astype(np.float32)


def classes(material: Material) -> Found:
    """Count the labels of each split: the effective number of classes is exp(entropy) of their shares."""
    if material.label is None:
        return Found()
    counts = {split: Counter(_flat(cells)) for split, cells in material.labels.items()}
    main = counts[material.main]
    total = sum(main.values())
    entropy = -sum(n / total * math.log(n / total) for n in main.values()) if total else 0.0
    effective = math.exp(entropy)
    profile: dict[str, Any] = {
        "column": material.label,
        "classes": len(main),
        "effective": effective,
        "counts": {split: dict(found.most_common()) for split, found in counts.items()},
    }
    found = Found(profile={"classes": profile})
    rare = [(label, count) for label, count in main.most_common()[::-1] if count < 10]
    told = f"{times(len(main), 'class', 'classes')}, as balanced as {effective:.1f} equal ones"
    missing = sorted({label for split in counts for label in counts[split]} - set(main))
    if rare or effective < 0.5 * len(main):
        shown = ", ".join(f"{label} {count}" for label, count in rare[:8])
        what = f"{told}; the commonest has {main.most_common(1)[0][1]:,} rows"
        what += f", {times(len(rare), 'class', 'classes')} fewer than ten: {shown}." if rare else "."
        fix = "A class of a row or two has no positive in most batches: draw them by class, merge or drop the rarest."
        found.findings.append(Finding("classes", "notice", what, len(rare), len(main), fix=fix))
    else:
        found.findings.append(fine("classes", f"{told} (column {material.label!r})."))
    if missing:
        what = f"{times(len(missing), 'label is', 'labels are')} in other splits but never in training: "
        what += ", ".join(missing[:8]) + ("." if len(missing) <= 8 else ", \u2026")
        fix = "No model can learn them; check how the splits were made."
        of = len(missing) + len(main)
        found.findings.append(Finding("unknown labels", "problem", what, len(missing), of, fix=fix))
    return found


def _flat(cells: list[Any]) -> list[str]:
    lists = (cell if isinstance(cell, list) else [cell] for cell in cells)
    return [str(label) for labels in lists for label in labels if label is not None]


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


def _sample(parts: list[TextPart], seed: int) -> list[tuple[TextPart, int]]:
    places = distinct(parts)
    order = np.random.default_rng(seed).permutation(len(places)).tolist()
    chosen = []
    for i in order:
        part, place = places[i]
        if sum(map(str.isalpha, part.texts[place][:CUT])) >= LETTERS:
            chosen.append(i)
            if len(chosen) == LANGUAGE_SAMPLE:
                break
    return [places[i] for i in sorted(chosen)]


def _shares(names: list[str]) -> dict[str, float]:
    return {name: count / len(names) for name, count in Counter(names).most_common()}


def _finding(role: Role, places: list[tuple[TextPart, int]], names: list[str]) -> Finding:
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
