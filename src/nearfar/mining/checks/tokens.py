"""How many tokens a model takes of each text, and which texts it cuts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nearfar.column import Ids
from nearfar.mining.checks.found import MOST, Finding, Found, fine, share, times
from nearfar.mining.checks.lengths import percentiles
from nearfar.mining.checks.material import NOUNS, Material, distinct

if TYPE_CHECKING:
    from nearfar.model import Model

SAMPLE = 10_000  # texts of each role


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
