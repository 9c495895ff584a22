"""Names that transformers 5 has changed, written in the older form, too: transformers 4 would take its defaults."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nearfar.encoders._pretrained import read_json

FULL = "full_attention"
KINDS = {"global": FULL, "local": "sliding_attention"}  # of ModernBERT's layers


def readable_by_older(folder: Path) -> None:
    """Mend a folder that transformers has written, so that its release 4 reads the same model; 5 reads both forms."""
    _add(folder / "config.json", _older_names)
    _add(folder / "tokenizer_config.json", _older_class)


def _add(path: Path, more: Any) -> None:
    known = read_json(path)
    path.write_text(json.dumps({**known, **more(known)}, indent=2, ensure_ascii=False), encoding="utf-8")


def _older_class(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the older name of a tokenizer that is of no model's own class, and what it may hand to the model."""
    if config.get("tokenizer_class") != "TokenizersBackend":
        return {}
    # Without names it would hand over token types, which some models refuse and none needs for a single text.
    names = config.get("model_input_names") or ["input_ids", "attention_mask"]
    return {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": names}


def _older_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the wavelengths of rotary positions by their older names, and where a layer sees the whole text."""
    rope = config.get("rope_parameters") or {}
    if FULL not in rope:
        scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
        found = {} if rope.get("rope_theta") is None else {"rope_theta": rope["rope_theta"]}
        return found if scaling.get("rope_type", "default") == "default" else {**found, "rope_scaling": scaling}
    known = {old: rope.get(kind, {}).get("rope_theta") for old, kind in KINDS.items()}
    found = {f"{old}_rope_theta": theta for old, theta in known.items() if theta is not None}
    whole = [i for i, kind in enumerate(config.get("layer_types") or []) if kind == FULL]
    return {**found, "global_attn_every_n_layers": whole[1] - whole[0]} if len(whole) > 1 else found
