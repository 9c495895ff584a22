"""Pictures with captions, and the recipes of both made small: two tiny towers that learn in a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 60, 220), "white": (240, 240, 240)}
BERT = {
    **{"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
    "intermediate_size": 24,
}
SMALL: dict[str, Any] = {
    "data.heldout": 0.25,
    "encoder.query.of.size": 32,
    "encoder.query.of.model_args": {"widths": [8, 8, 16]},
    "encoder.query.head.sizes": [12],
    "encoder.key": {
        "name": "projected",
        "of": {"name": "transformer", "config": BERT, "vocabulary": 300, "max_length": 48, "dropout": 0.1},
        "head": {"name": "mlp", "sizes": [12], "norm": "none"},
    },
}
SETTINGS: dict[str, Any] = {"batch_size": 16, "steps": 8, "checkpoint_every": 4, "precision": "fp32", "device": "cpu"}


def write_captions(folder: Path, n: int = 40) -> Path:
    """Write n pictures of a colour that lies left or right, and a table with two captions of each; return the table."""
    from PIL import Image

    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    draw, rows = np.random.default_rng(0), []
    for i in range(n):
        name, side = list(COLOURS)[i % 4], ("left", "right")[i // 4 % 2]
        cells = draw.integers(0, 60, (32, 32, 3), np.uint8)
        cells[8:24, 2 : 14 if side == "left" else None][:, -12:] = COLOURS[name]
        Image.fromarray(cells).save(folder / "pictures" / f"{i}.png")
        rows.append({"image": f"pictures/{i}.png", "captions": [f"{name} on the {side}, {i}", f"it is {name} {i}"]})
    table = folder / "captions.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return table


def small_settings(table: Path, **more: Any) -> dict[str, Any]:
    """Return the settings by path that make `clip` and `siglip` small. more: settings of `training`."""
    training = {f"training.{name}": value for name, value in {**SETTINGS, **more}.items()}
    return {**SMALL, "data.path": str(table), **training}
