"""A transformer written so that old and new releases of transformers and sentence-transformers read it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from nearfar.contracts import ForeignForm
from nearfar.encoders.pretrained.backbone import quiet
from nearfar.encoders.pretrained.tokenizer import PretrainedTokenizer
from nearfar.encoders.pretrained.two_towers import family_of
from nearfar.encoders.pretrained.write_two_towers import write_text_tower
from nearfar.encoders.reading.pooling import MODES, OLD_MODES, Dense
from nearfar.storage.foreign import modules_of, sentence_transformers
from nearfar.storage.model_files import read_json
from nearfar.storage.weights import system_errors

FULL_ATTENTION = "full_attention"
MODERNBERT_LAYERS = {"global": FULL_ATTENTION, "local": "sliding_attention"}  # transformers 4's names: 5's


def write_transformer(
    folder: Path, backbone: nn.Module, tokenizer: PretrainedTokenizer, pooling: list[str], after: Iterable[nn.Module]
) -> list[ForeignForm]:
    """Write config, weights, tokenizer, pooling and the modules after it, as sentence-transformers reads them.

    A text tower with its projection is written as transformers reads it; sentence-transformers has no form for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model: Any = backbone
    modules = list(after)
    if modules and family_of({"model_type": model.config.model_type}, "text"):
        write_text_tower(folder, model, tokenizer, modules[0])
        if further := write_after(folder, modules[1:], first=1):
            write_modules(folder, sentence_transformers(("Transformer", ""), *further))
        return []
    with system_errors(), quiet():
        model.save_pretrained(folder, safe_serialization=True)
        tokenizer.tokenizer.save_pretrained(folder)
        _add_older_settings(folder)
    lengths = {"max_seq_length": tokenizer.max_length, "do_lower_case": tokenizer.lower_case}
    _write_json(folder / "sentence_bert_config.json", lengths)
    width = int(model.config.hidden_size)
    _write_json(folder / "1_Pooling" / "config.json", _pooling(width, pooling))
    forms = sentence_transformers(("Transformer", ""), ("Pooling", "1_Pooling"), *write_after(folder, modules, first=2))
    write_modules(folder, forms)
    return forms


def write_after(folder: Path, after: Iterable[nn.Module], first: int) -> list[tuple[str, str]]:
    """Write dense layers and `Normalize`, numbered from `first`; return their kinds and folders."""
    modules = []
    for i, module in enumerate(after, first):
        kind = "Dense" if isinstance(module, Dense) else "Normalize"
        modules.append((kind, f"{i}_{kind}"))
        (folder / f"{i}_{kind}").mkdir(exist_ok=True)
        if isinstance(module, Dense):
            module.write(folder / f"{i}_{kind}")
    return modules


def write_modules(folder: Path, forms: Sequence[ForeignForm]) -> None:
    """Write modules.json."""
    rows = [{"idx": i, "name": str(i), **row} for i, row in enumerate(modules_of(forms))]
    _write_json(folder / "modules.json", rows)


def _pooling(width: int, modes: list[str]) -> dict[str, Any]:
    """Return the older form, which all releases read, where it can express the modes: it has them in MODES' order."""
    if sorted(modes, key=MODES.index) == modes:
        return {"word_embedding_dimension": width, **{old: mode in modes for old, mode in OLD_MODES.items()}}
    return {"embedding_dimension": width, "pooling_mode": modes, "include_prompt": True}


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def _add_older_settings(folder: Path) -> None:
    """Add the settings by which transformers 4 reads the same model from a folder that transformers 5 has written."""
    for name, older in (("config.json", _older_names), ("tokenizer_config.json", _older_class)):
        settings = read_json(folder / name)
        text = json.dumps({**settings, **older(settings)}, indent=2, ensure_ascii=False)
        (folder / name).write_text(text, encoding="utf-8")


def _older_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of rotary positions by their older names, and how often a layer has full attention."""
    rope = config.get("rope_parameters") or {}
    if FULL_ATTENTION not in rope:
        scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
        found = {} if rope.get("rope_theta") is None else {"rope_theta": rope["rope_theta"]}
        return found if scaling.get("rope_type", "default") == "default" else {**found, "rope_scaling": scaling}
    thetas = {old: rope.get(kind, {}).get("rope_theta") for old, kind in MODERNBERT_LAYERS.items()}
    found = {f"{old}_rope_theta": theta for old, theta in thetas.items() if theta is not None}
    full = [i for i, kind in enumerate(config.get("layer_types") or []) if kind == FULL_ATTENTION]
    return {**found, "global_attn_every_n_layers": full[1] - full[0]} if len(full) > 1 else found


def _older_class(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the older name of the generic tokenizer class, and which inputs it gives to the model."""
    if config.get("tokenizer_class") != "TokenizersBackend":
        return {}
    # By default it would give token types, too, which some models refuse and none needs for a single text.
    names = config.get("model_input_names") or ["input_ids", "attention_mask"]
    return {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": names}
