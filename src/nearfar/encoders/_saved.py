"""A transformer written as sentence-transformers reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import nn

from nearfar.encoders._backbone import quiet
from nearfar.encoders._older import readable_by_older
from nearfar.encoders._pooling import MODES, OLD, Dense
from nearfar.encoders._texts import Texts
from nearfar.folders import writing


def write_transformer(
    folder: Path, backbone: nn.Module, texts: Texts, pooling: list[str], after: Iterable[nn.Module]
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
