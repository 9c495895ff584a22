"""Model folders that are damaged, changed, or meant to run code: each is refused by every command that loads one."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from nearfar.column import ListColumn
from nearfar.encoders.pretrained.static_files import MODULE_FOLDER
from nearfar.encoders.static import Static
from nearfar.model import Model
from tests.cli.calling import Run


class Bomb:
    """What a pickle can do when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("exploded"),))


@dataclass(frozen=True)
class Damage:
    """What was done to the folder, and what the message must hold."""

    kind: str
    do: Callable[[Path], Any]
    said: list[str]


def described(**changes: Any) -> Callable[[Path], None]:
    """Change nearfar.json; None removes an entry, {} merges into one."""

    def change(model: Path) -> None:
        known = json.loads((model / "nearfar.json").read_text())
        for key, value in changes.items():
            known[key] = {**known[key], **value} if isinstance(value, dict) else value
        (model / "nearfar.json").write_text(json.dumps(known))

    return change


def weights(change: Callable[[torch.Tensor], torch.Tensor], name: str = "embedding.weight") -> Callable[[Path], None]:
    def rewrite(model: Path) -> None:
        tensor = load_file(model / MODULE_FOLDER / "model.safetensors")["embedding.weight"]
        save_file({name: change(tensor).contiguous()}, model / MODULE_FOLDER / "model.safetensors")

    return rewrite


def at(model: Path, name: str) -> Path:
    """Return where a file of a model lies: the encoder's are in its own folder."""
    return model / name if (model / name).is_file() else model / MODULE_FOLDER / name


def file(name: str, content: bytes | None) -> Callable[[Path], Any]:
    return lambda model: at(model, name).unlink() if content is None else at(model, name).write_bytes(content)


def cut(name: str) -> Callable[[Path], Any]:
    return lambda model: at(model, name).write_bytes(at(model, name).read_bytes()[:-100])


def only_a_pickle(model: Path) -> None:
    (model / MODULE_FOLDER / "model.safetensors").unlink()
    (model / MODULE_FOLDER / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))


def zipped_pickle(model: Path) -> None:
    torch.save({"embedding.weight": torch.zeros(2, 2)}, model / MODULE_FOLDER / "model.safetensors")


def not_a_number(model: Path) -> None:
    """Write a whole model, fingerprint and all, with one weight that is NaN."""
    encoder = Static(dim=16, vocabulary=300)
    encoder.prepare([ListColumn("text", ["where is the red fox", "by the river"])])
    with torch.no_grad():
        encoder.embedding.weight[5, 3] = torch.nan
    Model(encoder).save(model)


DAMAGES = [
    Damage("a broken nearfar.json", file("nearfar.json", b'{"format": 1, '), ["nearfar.json", "not readable"]),
    Damage("a binary nearfar.json", file("nearfar.json", b"\xff\0"), ["nearfar.json", "not readable"]),
    Damage("a list for a nearfar.json", file("nearfar.json", b"[1]"), ["nearfar.json", "not a description"]),
    Damage("another format", described(format=99), ["nearfar.json", "format", "release"]),
    Damage(
        "a dotted encoder", described(encoder={"name": "os.path:join"}), ["'os.path:join'", "outside nearfar", "static"]
    ),
    Damage("an encoder by module", described(encoder={"name": "evil"}), ["'evil'", "static"]),
    Damage("an unknown encoder setting", described(encoder={"depth": 3}), ["nearfar.json", "'depth'", "dim"]),
    Damage("an encoder setting of another type", described(encoder={"dim": "x"}), ["nearfar.json", "dim", "'x'"]),
    Damage("another dimension", described(encoder={"dim": 32}), ["model.safetensors", "16", "32"]),
    Damage("another maximum length", described(encoder={"max_length": 3}), ["fingerprint", "train it again"]),
    Damage("another prompt", described(prompts={"query": "find: "}), ["fingerprint", "train it again"]),
    Damage("another fingerprint", described(fingerprint="0" * 32), ["fingerprint", "0" * 32]),
    Damage("changed weights", weights(lambda w: w + 1e-3), ["fingerprint", "changed after saving"]),
    Damage("weights of another shape", weights(lambda w: w[:, :8]), ["model.safetensors", "8", "16"]),
    Damage(
        "weights of another name", weights(lambda w: w, "emb"), ["model.safetensors", "lacks embedding.weight", "emb"]
    ),
    Damage("a weight that is NaN", not_a_number, ["not finite"]),
    Damage("no weights", file("model.safetensors", None), ["model.safetensors", "no such file"]),
    Damage("empty weights", file("model.safetensors", b""), ["model.safetensors", "not whole"]),
    Damage("truncated weights", cut("model.safetensors"), ["model.safetensors", "not whole", "copy"]),
    Damage(
        "a pickle for weights", file("model.safetensors", pickle.dumps(Bomb())), ["pickle", "run code", "never read"]
    ),
    Damage("a zipped pickle for weights", zipped_pickle, ["pickle", "run code", "safetensors"]),
    Damage("only a pickle of weights", only_a_pickle, ["pytorch_model.bin", "pickle", "never read"]),
    Damage("no tokenizer", file("tokenizer.json", None), ["tokenizer.json", "no such file"]),
    Damage("a broken tokenizer", cut("tokenizer.json"), ["tokenizer.json", "not a tokenizer"]),
    Damage("a tokenizer of another vocabulary", lambda model: swap_tokenizer(model), ["do not belong together"]),
]


def swap_tokenizer(model: Path) -> None:
    text = (model / MODULE_FOLDER / "tokenizer.json").read_text(encoding="utf-8")
    known = json.loads(text)
    last = max(known["model"]["vocab"], key=known["model"]["vocab"].get)
    known["model"]["vocab"].pop(last)
    known["model"]["merges"] = [pair for pair in known["model"]["merges"] if "".join(pair) != last]
    (model / MODULE_FOLDER / "tokenizer.json").write_text(json.dumps(known), encoding="utf-8")


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.kind)
def test_a_damaged_model_is_refused(damage: Damage, here: Path, nearfar: Run) -> None:
    damage.do(here / "model")
    nearfar("search", "model", "pairs.jsonl", "red fox").refused(*damage.said)
    assert not (here / "exploded").exists()


@pytest.mark.parametrize(
    "call",
    [
        ["search", "MODEL", "pairs.jsonl", "fox"],
        ["embed", "MODEL", "pairs.jsonl", "--out", "v.npy"],
        ["evaluate", "MODEL", "pairs.jsonl"],
        ["evaluate", "model", "pairs.jsonl", "--baseline", "MODEL"],
        ["train", "static", "data.path=pairs.jsonl", "--baseline", "MODEL"],
    ],
    ids=["search", "embed", "evaluate", "baseline", "train"],
)
def test_every_command_that_loads_a_model_refuses(call: list[str], here: Path, nearfar: Run) -> None:
    (here / "copy").mkdir()
    for source in ("nearfar.json", "tokenizer.json"):
        (here / "copy" / source).write_bytes(at(here / "model", source).read_bytes())
    (here / "copy" / "model.safetensors").write_bytes(pickle.dumps(Bomb()))
    nearfar(*(word.replace("MODEL", "copy") for word in call)).refused("pickle", "never read")
    assert not (here / "exploded").exists()
    assert not (here / "v.npy").exists()


def test_a_folder_that_is_no_model_says_where_models_are(here: Path, nearfar: Run) -> None:
    nearfar("search", "nowhere", "pairs.jsonl", "fox").refused("nowhere", "no such model folder", "OUT/model")
    nearfar("search", "pairs.jsonl", "pairs.jsonl", "fox").refused("pairs.jsonl", "no such model folder")
    nearfar("search", ".", "pairs.jsonl", "fox").refused("RUN/model")


def test_what_a_stored_recipe_says_is_never_run(here: Path, nearfar: Run) -> None:
    """The recipe in nearfar.json tells how a model was made; loading the model builds nothing from it."""
    described(recipe={"loss": {"name": "bomb:Bomb"}, "data": {"name": "bomb:Data"}})(here / "model")
    (here / "bomb.py").write_text("from pathlib import Path\nPath('exploded').touch()\n")
    assert nearfar("search", "model", "pairs.jsonl", "fox").code == 0
    assert not (here / "exploded").exists()


def test_nothing_of_a_model_is_told_as_a_path(here: Path) -> None:
    assert not re.search(r'"[^"]*' + re.escape(str(here)), (here / "model" / "nearfar.json").read_text())
