"""A transformer written as sentence-transformers reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from nearfar.encoders.pretrained.backbone import quiet
from nearfar.encoders.pretrained.folder import read_json
from nearfar.encoders.pretrained.tokenizer import PretrainedTokenizer
from nearfar.encoders.reading.pooling import MODES, OLD, Dense
from nearfar.storage.folders import writing

FULL = "full_attention"
KINDS = {"global": FULL, "local": "sliding_attention"}  # of ModernBERT's layers


def write_transformer(
    folder: Path, backbone: nn.Module, texts: PretrainedTokenizer, pooling: list[str], after: Iterable[nn.Module]
) -> list[dict[str, Any]]:
    """Write config, weights, tokenizer, poolings and dense layers, and modules.json, whose rows are returned.

    Names and settings are in the form that old and new releases of sentence-transformers read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model: Any = backbone
    with writing(folder), quiet():
        model.save_pretrained(folder, safe_serialization=True)
        texts.tokenizer.save_pretrained(folder)
        readable_by_older(folder)
    length = {"max_seq_length": texts.length, "do_lower_case": texts.lower_case}
    _json(folder / "sentence_bert_config.json", length)
    width = int(model.config.hidden_size)
    rows = [_row("Transformer", ""), _row("Pooling", "1_Pooling")]
    _json(folder / "1_Pooling" / "config.json", _pooling(width, pooling))
    for i, module in enumerate(after, 2):
        kind = "Dense" if isinstance(module, Dense) else "Normalize"
        rows.append(_row(kind, f"{i}_{kind}"))
        (folder / f"{i}_{kind}").mkdir(exist_ok=True)
        if isinstance(module, Dense):
            module.write(folder / f"{i}_{kind}")
    _json(folder / "modules.json", [{"idx": i, "name": str(i), **row} for i, row in enumerate(rows)])
    return rows


def _pooling(width: int, modes: list[str]) -> dict[str, Any]:
    """Return the older form, which all releases read, where it says the same: it joins in the order of MODES."""
    if sorted(modes, key=MODES.index) == modes:
        return {"word_embedding_dimension": width, **{old: mode in modes for old, mode in OLD.items()}}
    return {"embedding_dimension": width, "pooling_mode": modes, "include_prompt": True}


def _row(kind: str, path: str) -> dict[str, Any]:
    return {"type": f"sentence_transformers.models.{kind}", "path": path}


def _json(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


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
