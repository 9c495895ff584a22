"""How diverse a data set is: its texts (Vendi score, effective number of clusters), its classes and its languages."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from nearfar.audit.findings import MOST_EXAMPLES, CheckResult, Finding, counted, fine, share
from nearfar.audit.material import NOUNS, Material, Occurrence, TextPart, TextRole, distinct
from nearfar.audit.vectors import Space, Vectors
from nearfar.column import Ids

SAMPLE = 5000  # texts whose diversity is measured: the score grows with their number, so compare at one number
CLUSTERS = 50
LANGUAGE_SAMPLE = 1000  # texts of each role whose language is detected
LETTERS = 30  # a text of fewer could be of any language
CUT = 300  # characters of a text that the detector reads
SURE = 0.9  # the probability below which a text's language counts as unknown
SURE_AMONG_FEW = 0.95  # the same for the second detector, which decides
INSTALL = "pip install 'nearfar[audit]'"


def diversity(material: Material, space: Space, seed: int = 0) -> CheckResult:
    """Measure the Vendi score and the effective number of clusters of the main split's texts."""
    role: Any = next(role for role in ("text", "document", "query") if role in material.roles)
    parts = [part for part in material.roles[role] if part.split == material.main or role == "query"][:1]
    occurrences = distinct(parts)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(occurrences))[:SAMPLE])
    texts = [part.texts[position] for part, position in (occurrences[i] for i in chosen.tolist())]
    vectors = space.embed(texts, {"query": "query", "document": "key"}.get(role))
    nonzero = np.flatnonzero(np.abs(vectors).sum(1) > 0)
    if len(nonzero) < 10:
        return CheckResult()
    vectors = vectors[nonzero]
    score = vendi(vectors)
    k = int(min(CLUSTERS, len(nonzero) // 10)) or 1
    label, centres = _clusters(vectors, k, seed)
    sizes = np.bincount(label, minlength=k)
    shares = sizes[sizes > 0] / sizes.sum()
    effective = float(np.exp(-(shares * np.log(shares)).sum()))
    largest = int(sizes.argmax())
    middle = int(np.where(label == largest, vectors @ centres[largest], -np.inf).argmax())
    profile = {
        "of": role,
        "vectors": space.name,
        "sample": len(nonzero),
        "dim": space.dim,
        "vendi": score,
        "clusters": k,
        "effective clusters": effective,
        "largest cluster": float(shares.max()),
        "its middle": texts[int(nonzero[middle])][:300],
    }
    what = f"{len(nonzero):,} texts are as diverse as {score:.0f} that share nothing "
    what += f"(Vendi score; {space.dim:,} at most). "
    what += f"{k} clusters of them count as {effective:.0f} equal ones; the largest holds "
    what += f"{share(int(sizes.max()), len(nonzero))}."
    return CheckResult([fine("diversity", what)], {"diversity": profile})


def vendi(vectors: Vectors) -> float:
    """Return the Vendi score of unit vectors (n, d): exp(-sum_k l_k log l_k), l the eigenvalues of K / n.

    K is the (n, n) matrix of cosines. Its nonzero eigenvalues are those of the (d, d) matrix X'X, so memory is O(d^2).
    The score is 1 where all texts are alike; it cannot exceed n or d. Source: Friedman & Dieng 2022, arXiv:2210.02410.
    """
    values = np.linalg.eigvalsh(vectors.T.astype(np.float64) @ vectors.astype(np.float64) / len(vectors))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def _clusters(vectors: Vectors, k: int, seed: int) -> tuple[Ids, Vectors]:
    """Return each row's cluster (n,) and the centres (k, d), by k-means of unit vectors (scipy)."""
    from scipy.cluster.vq import kmeans2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a cluster without rows, which does not count
        centres, label = kmeans2(vectors, k, iter=20, minit="++", seed=np.random.default_rng(seed))
    return label.astype(np.int64), centres.astype(np.float32)


def classes(material: Material) -> CheckResult:
    """Count the labels of each split, if there are any."""
    if material.label is None:
        return CheckResult()
    return class_counts(material.label, material.labels, material.main)


def class_counts(column: str, labels: Mapping[str, list[Any]], main_split: str) -> CheckResult:
    """Count the labels of each split; the effective number of classes is exp(entropy) of their shares.

    Rows of the main split without any label are told of.
    """
    counts = {split: Counter(_labels(cells)) for split, cells in labels.items()}
    main = counts[main_split]
    total = sum(main.values())
    entropy = -sum(n / total * math.log(n / total) for n in main.values()) if total else 0.0
    effective = math.exp(entropy)
    profile: dict[str, Any] = {
        "column": column,
        "classes": len(main),
        "effective": effective,
        "counts": {split: dict(count.most_common()) for split, count in counts.items()},
    }
    result = CheckResult(profile={"classes": profile})
    rare = [(label, count) for label, count in main.most_common()[::-1] if count < 10]
    balance = f"{counted(len(main), 'class', 'classes')}, as balanced as {effective:.1f} equal ones"
    if bare := sum(not _labels([cell]) for cell in labels[main_split]):
        balance += f"; {counted(bare, 'row has', 'rows have')} none"
    unknown = sorted({label for split in counts for label in counts[split]} - set(main))
    if rare or effective < 0.5 * len(main):
        shown = ", ".join(f"{label} {count}" for label, count in rare[:8])
        what = f"{balance}; the commonest has {main.most_common(1)[0][1]:,} rows"
        what += f", {counted(len(rare), 'class', 'classes')} fewer than ten: {shown}." if rare else "."
        fix = "A class of a row or two has no positive in most batches: draw them by class, merge or drop the rarest."
        result.findings.append(Finding("classes", "notice", what, len(rare), len(main), fix=fix))
    else:
        result.findings.append(fine("classes", f"{balance} (column {column!r})."))
    if unknown:
        what = f"{counted(len(unknown), 'label is', 'labels are')} in other splits but never in training: "
        what += ", ".join(unknown[:8]) + ("." if len(unknown) <= 8 else ", \u2026")
        fix = "No model can learn them; check how the splits were made."
        of = len(unknown) + len(main)
        result.findings.append(Finding("unknown labels", "problem", what, len(unknown), of, fix=fix))
    return result


def _labels(cells: list[Any]) -> list[str]:
    """Return all labels of cells that hold one label or a list of them; a null is no label."""
    lists = (cell if isinstance(cell, list) else [cell] for cell in cells)
    return [str(label) for labels in lists for label in labels if label is not None]


def languages(material: Material, seed: int = 0) -> CheckResult:
    """Detect the languages of each role, and name texts in another language than nearly all others.

    Where the library (lingua) is not installed, a notice says so.

    When not to trust it: on code, and on very short texts; those of fewer than 30 letters are left out.
    """
    try:
        from lingua import LanguageDetectorBuilder
    except ImportError:
        what = f"Languages were not detected: {INSTALL} brings lingua, which detects them."
        return CheckResult([Finding("languages", "notice", what, fix=INSTALL)], {"languages": {"missing": "lingua"}})
    detector = LanguageDetectorBuilder.from_all_languages().with_low_accuracy_mode().build()
    result, profile = CheckResult(), {}
    for role, parts in material.roles.items():
        sample = _language_sample(parts, seed)
        texts = [part.texts[position][:CUT] for part, position in sample]
        confidences = detector.compute_language_confidence_values_in_parallel(texts) if texts else []
        guesses = [values[0].language if values and values[0].value >= SURE else None for values in confidences]
        names = [_language_name(guess) for guess in _confirmed(texts, guesses)]
        if names:
            shares = {name: count / len(names) for name, count in Counter(names).most_common()}
            profile[role] = {"texts": len(names), "shares": shares}
            result.findings.append(_language_finding(role, sample, names))
    result.profile = {"languages": profile}
    return result


def _language_sample(parts: list[TextPart], seed: int) -> list[Occurrence]:
    occurrences = distinct(parts)
    order = np.random.default_rng(seed).permutation(len(occurrences)).tolist()
    chosen = []
    for i in order:
        part, position = occurrences[i]
        if sum(map(str.isalpha, part.texts[position][:CUT])) >= LETTERS:
            chosen.append(i)
            if len(chosen) == LANGUAGE_SAMPLE:
                break
    return [occurrences[i] for i in sorted(chosen)]


def _confirmed(texts: list[str], guesses: list[Any]) -> list[Any]:
    """Return the languages after a second detector has read the texts that are not in the commonest one.

    The first, of low accuracy, finds a foreign language in every list of names and figures. The second knows only the
    languages that the first has guessed, so it is quick to load; a guess that it does not confirm becomes unknown.
    """
    from lingua import LanguageDetectorBuilder

    counts = Counter(guess for guess in guesses if guess is not None)
    if len(counts) < 2:
        return guesses
    main = counts.most_common(1)[0][0]
    detector = LanguageDetectorBuilder.from_languages(*counts).build()
    result = list(guesses)
    for i, guess in enumerate(guesses):
        if guess not in (None, main):
            first = detector.compute_language_confidence_values(texts[i])[0]
            result[i] = guess if first.language == guess and first.value >= SURE_AMONG_FEW else None
    return result


def _language_name(language: Any) -> str:
    return "unknown" if language is None else str(language.name).capitalize()


def _language_finding(role: TextRole, sample: list[Occurrence], names: list[str]) -> Finding:
    """Return the language of a role where nearly all texts share it; else the languages, with texts in rarer ones."""
    known = Counter(name for name in names if name != "unknown")
    main, count = known.most_common(1)[0] if known else ("unknown", 0)
    others = [(part, i, name) for (part, i), name in zip(sample, names) if name not in (main, "unknown")]
    if not known or len(names) - sum(known.values()) > 0.5 * len(names):
        return fine("languages", f"{role}: no natural language for sure in most texts (code, names, numbers).")
    if len(others) <= 0.01 * len(names):
        main_share = share(count, sum(known.values()))
        return fine("languages", f"{role}: {main} in {main_share} of a sample of {counted(len(names), 'text')}.")
    shown = ", ".join(f"{name} {many:,}" for name, many in known.most_common(4))
    what = f"In a sample of {counted(len(names), *NOUNS[role])}: {shown}."
    examples = [part.example(i, language=name) for part, i, name in others[:MOST_EXAMPLES]]
    fix = "Where one language is meant, leave the others out; where several are, look at each by itself."
    return Finding("languages", "notice", what, len(others), len(names), examples, fix)
