"""What the contest of language models reads: passages of film reviews as token ids, and new models to begin from.

A folder for each kind of model has the model as transformers reads it, with its tokenizer, the recipe that both
contestants follow, and two files of token ids: the passages that the recipe cuts ("texts"), and all of them one after
the other, cut to the maximum length ("chunks").
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from nearfar.abilities import LanguageKind

REVIEWS = "H-imdb/imdb.jsonl.xz"
RECIPES: dict[LanguageKind, str] = {"masked": "masked_language", "causal": "causal_language"}
Ids = list[list[int]]  # token ids of some texts


def prepare(
    kind: LanguageKind, folder: str, data: str, reviews: int, vocabulary: int, changes: list[str]
) -> dict[str, Any]:
    """Write the folder of a kind of model; return how many texts and tokens it has. changes: of the recipe."""
    from nearfar import registry
    from nearfar.encoders.transformer import Transformer
    from nearfar.model import Model

    recipe, place = recipe_of(kind, changes), Path(folder)
    positives = registry.build("positives", recipe["positives"], data=_table(Path(data), reviews))
    encoder = Transformer(**{n: v for n, v in recipe["encoder"].items() if n != "name"} | {"vocabulary": vocabulary})
    encoder.prepare([positives.cells])
    tokenizer: Any = encoder.tokenizer
    if len(tokenizer.tokenizer) != vocabulary:
        raise SystemExit(
            f"{reviews} reviews make {len(tokenizer.tokenizer)} tokens, fewer than {vocabulary}; read more"
        )
    encoder.language_head(kind)
    Model(encoder).save(place / "model")
    (place / "recipe.json").write_text(json.dumps(recipe), encoding="utf-8")
    ids, lengths = tokenizer(positives.cells.read(0, len(positives)))
    texts = [part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])]
    longest = recipe["encoder"]["max_length"]
    chunks = ids[: len(ids) // longest * longest].reshape(-1, longest).tolist()
    (place / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    (place / "chunks.json").write_text(json.dumps(chunks), encoding="utf-8")
    return {"texts": len(texts), "tokens": len(ids), "longest": int(lengths.max()), "chunks": len(chunks)}


def recipe_of(kind: LanguageKind, changes: list[str]) -> dict[str, Any]:
    """Return the recipe of a kind of model, changed."""
    from nearfar import config

    return config.load(RECIPES[kind], ["data.path=reviews.jsonl", *changes])


def kept_recipe(folder: Path) -> dict[str, Any]:
    """Return the recipe that a folder was prepared with."""
    found: dict[str, Any] = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    return found


def read(folder: Path, form: str) -> Ids:
    """Return the token ids of "texts" or "chunks"."""
    found: Ids = json.loads((folder / f"{form}.json").read_text(encoding="utf-8"))
    return found


def cells_of(texts: Ids) -> list[str]:
    """Return token ids as cells, numbers with spaces between, which `ids_of_cells` reads."""
    return [" ".join(map(str, text)) for text in texts]


def ids_of_cells(encoder: Any, cells: Sequence[str]) -> tuple[Any, Any]:
    """Return cells of numbers as the encoder's `tokenise` returns texts: ids (t,) and lengths (n,)."""
    if not cells[0][:1].isdigit():  # the words on which a model is tried as it is saved
        return cast("tuple[Any, Any]", type(encoder).tokenise(encoder, cells))
    parts = [np.array(cell.split(), np.int32) for cell in cells]
    return np.concatenate(parts), np.array([len(part) for part in parts], np.int64)


def _table(data: Path, reviews: int) -> Any:
    """Return some reviews of the training split, drawn once, without marks of lines."""
    from nearfar.data.table import Table

    with lzma.open(data / REVIEWS, "rt", encoding="utf-8") as lines:
        texts = [row["text"].replace("<br />", " ") for row in map(json.loads, lines) if row["split"] == "train"]
    drawn = np.random.default_rng(0).permutation(len(texts))[:reviews]
    return Table([{"text": texts[i]} for i in np.sort(drawn)])
