"""Whether a column of labels is balanced."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from nearfar.mining.checks.found import Finding, Found, fine, times
from nearfar.mining.checks.material import Material


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
