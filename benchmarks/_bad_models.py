"""Good model folders of every kind, and damages to them: the bad inputs of `bad_input.py` that are models."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _bad_sources import pairs

Damage = Callable[[Path], object]
PROMPTS = "config_sentence_transformers.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
OWN = ("static", "transformer", "dual", "projected")
FOREIGN = (
    "sentence-transformers",
    "static, sentence-transformers",
    "Router",
)  # nearfar's own description is left out: the folder is read as that library's
KINDS = (*OWN, *FOREIGN)


def build(folder: Path) -> None:
    """Write a good folder of each kind, by its name, under a folder."""
    import torch

    import nearfar as nf
    from nearfar.column import ListColumn

    torch.manual_seed(0)
    texts = [str(row[name]) for row in pairs() for name in ("query", "key")]
    small: dict[str, Any] = {"model_type": "bert", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    small |= {"num_attention_heads": 2, "max_position_embeddings": 300}
    made: dict[str, Any] = {
        "static": nf.encoders.Static(dim=16, vocabulary=300),
        "transformer": nf.encoders.Transformer(config=small, vocabulary=300, dropout=0.0),
        "dual": nf.encoders.Dual(
            nf.encoders.Static(dim=16, vocabulary=300, seed=1), nf.encoders.Transformer(config=small, vocabulary=300)
        ),
        "projected": nf.encoders.FrozenProjection(nf.encoders.Transformer(config=small, vocabulary=300), dim=16),
    }
    for name, encoder in made.items():
        encoder.prepare([ListColumn("text", texts)])
        nf.Model(encoder).save(folder / name)
    for name, source in zip(FOREIGN, ("transformer", "static", "dual"), strict=True):
        shutil.copytree(folder / source, folder / name)
        (folder / name / "nearfar.json").unlink()


def find(folder: Path, name: str) -> Path:
    """Return a file of a folder: in the folder itself, or in that of a module."""
    return min(folder.rglob(name), key=lambda path: (len(path.parts), str(path)), default=folder / name)


def edited(name: str, change: Callable[[Any], object]) -> Damage:
    def damage(folder: Path) -> None:
        path = find(folder, name)
        content = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(change(content) or content), encoding="utf-8")

    return damage


def written(name: str, change: Callable[[bytes], bytes]) -> Damage:
    def damage(folder: Path) -> None:
        path = find(folder, name)
        path.write_bytes(change(path.read_bytes()))

    return damage


def replaced(name: str, change: Callable[[Path], object]) -> Damage:
    def damage(folder: Path) -> None:
        path = find(folder, name)
        path.unlink()
        change(path)

    return damage


def tensors(change: Callable[[dict[str, Any]], object]) -> Damage:
    def damage(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        path = find(folder, WEIGHTS)
        known = load_file(path)
        change(known)
        save_file({name: tensor.contiguous() for name, tensor in known.items()}, path)

    return damage


def pickled(path: Path) -> None:
    import torch

    file = io.BytesIO()
    torch.save({"x": torch.zeros(2)}, file)
    path.write_bytes(file.getvalue())


def shards(lies_in: Any) -> Damage:
    """Put an index over the weights, in which one tensor is said to lie elsewhere."""

    def damage(folder: Path) -> None:
        from safetensors import safe_open

        path = find(folder, WEIGHTS)
        with safe_open(path, "pt") as file:
            listed: dict[str, Any] = dict.fromkeys(file.keys(), "shard-1.safetensors")
        listed[next(iter(listed))] = lies_in
        path.rename(path.with_name("shard-1.safetensors"))
        shutil.copy(path.with_name("shard-1.safetensors"), folder.parent / "outside.safetensors")
        pickled(path.with_name("weights.bin"))
        path.with_name(INDEX).write_text(json.dumps({"weight_map": listed}), encoding="utf-8")

    return damage


def header(size: int, **content: Any) -> Damage:
    """Write a safetensors file of a header without data."""
    text = json.dumps(content).encode()
    return replaced(WEIGHTS, lambda path: path.write_bytes((size or len(text)).to_bytes(8, "little") + text))


def first(known: dict[str, Any]) -> str:
    """Return the name of a matrix among tensors."""
    return next(name for name in sorted(known) if known[name].ndim == 2)


def numbers(value: Any) -> Callable[[Any], object]:
    """Return a change of every whole number of a JSON object."""

    def change(known: dict[str, Any]) -> None:
        for name, old in known.items():
            if isinstance(old, int) and not isinstance(old, bool):
                known[name] = value

    return change


def broken(content: bytes, seed: int) -> bytes:
    """Return bytes of which some are others."""
    draw, changed = random.Random(seed), bytearray(content)
    for _ in range(20):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def other_id(tokenizer: Any, value: int) -> None:
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary[next(iter(vocabulary))] = value


HUGE = {"x": {"dtype": "F32", "shape": [10**9, 10**3], "data_offsets": [0, 4 * 10**12]}}
REGEX = {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Removed", "invert": False}
PANIC = {"type": "Precompiled", "precompiled_charsmap": "//////////8="}
OF_ANY: dict[str, Damage] = {
    "no weights": replaced(WEIGHTS, lambda _: None),
    "empty weights": written(WEIGHTS, lambda _: b""),
    "cut weights": written(WEIGHTS, lambda known: known[:-100]),
    "a pickle for weights": replaced(WEIGHTS, pickled),
    "only a pickle": replaced(WEIGHTS, lambda path: pickled(path.with_name("pytorch_model.bin"))),
    "a pipe for weights": replaced(WEIGHTS, os.mkfifo),
    "a device for weights": replaced(WEIGHTS, lambda path: path.symlink_to("/dev/zero")),
    "a header of 4 TB": header(0, **HUGE),
    "a header without end": header(2**63),
    "a matrix turned": tensors(lambda known: known.update({first(known): known[first(known)][:, :-1].T})),
    "a matrix missing": tensors(lambda known: known.pop(first(known))),
    "not a number": tensors(lambda known: known[first(known)].fill_(float("nan"))),
    "no tokenizer": replaced("tokenizer.json", lambda _: None),
    "a tokenizer cut": written("tokenizer.json", lambda known: known[: len(known) // 2]),
    "a tokenizer broken": written("tokenizer.json", lambda known: broken(known, 1)),
    "a tokenizer that is a list": written("tokenizer.json", lambda _: b"[]"),
    "a pipe for a tokenizer": replaced("tokenizer.json", os.mkfifo),
    "a regex that is none": edited("tokenizer.json", lambda known: known.update(pre_tokenizer=REGEX)),
    "a tokenizer that panics": edited("tokenizer.json", lambda known: known.update(normalizer=PANIC)),
    "an id of a million": edited("tokenizer.json", lambda known: other_id(known, 10**6)),
    "an id of 2 ** 40": edited("tokenizer.json", lambda known: other_id(known, 2**40)),
    "a tokenizer nested": written("tokenizer.json", lambda _: b"[" * 100_000),
}
OF_NEARFAR: dict[str, Damage] = {
    "no JSON": written("nearfar.json", lambda known: known[:-30]),
    "nested JSON": written("nearfar.json", lambda _: b'{"a":' * 50_000),
    "a list": written("nearfar.json", lambda _: b"[1]"),
    "another format": edited("nearfar.json", lambda known: known.update(format=99)),
    "a format of words": edited("nearfar.json", lambda known: known.update(format="one")),
    "another fingerprint": edited("nearfar.json", lambda known: known.update(fingerprint="0" * 32)),
    "a fingerprint of 5": edited("nearfar.json", lambda known: known.update(fingerprint=5)),
    "a dotted encoder": edited("nearfar.json", lambda known: known.update(encoder={"name": "os.path:join"})),
    "an encoder of 5": edited("nearfar.json", lambda known: known.update(encoder=5)),
    "a setting of 10 ** 12": edited("nearfar.json", lambda known: numbers(10**12)(known["encoder"])),
    "prompts of 5": edited("nearfar.json", lambda known: known.update(prompts=5)),
}
OF_CONFIG: dict[str, Damage] = {
    "no config": replaced("config.json", lambda _: None),
    "a config cut": written("config.json", lambda known: known[:-30]),
    "a config of 5": written("config.json", lambda _: b"5"),
    "numbers of 10 ** 9": edited("config.json", numbers(10**9)),
    "numbers of 0": edited("config.json", numbers(0)),
    "numbers of -1": edited("config.json", numbers(-1)),
    "numbers that are words": edited("config.json", numbers("2")),
    "numbers that are lists": edited("config.json", numbers([2])),
    "numbers of 1e999": edited("config.json", numbers(float("inf"))),
    "a vocabulary of 10 ** 9": edited("config.json", lambda known: known.update(vocab_size=10**9)),
    "10 ** 8 layers": edited("config.json", lambda known: known.update(num_hidden_layers=10**8)),
    "a layer less": edited("config.json", lambda known: known.update(num_hidden_layers=1)),
    "no heads": edited("config.json", lambda known: known.update(num_attention_heads=0)),
    "an unknown architecture": edited("config.json", lambda known: known.update(model_type="nothing")),
    "code to run": edited("config.json", lambda known: known.update(auto_map={"AutoModel": "evil.Model"})),
    "a pickle in the index": shards("weights.bin"),
    "weights outside": shards("../outside.safetensors"),
    "an index of null": shards(None),
    "a shard that is missing": shards("shard-2.safetensors"),
}
OF_MODULES: dict[str, Damage] = {
    "modules cut": written("modules.json", lambda known: known[:-5]),
    "modules of 5": written("modules.json", lambda _: b"5"),
    "no modules": written("modules.json", lambda _: b"[]"),
    "a module of os": edited("modules.json", lambda known: known[0].update(type="os.system")),
    "a module outside": edited("modules.json", lambda known: known[0].update(path="../..")),
    "a module at 5": edited("modules.json", lambda known: known[0].update(path=5)),
    "modules in another order": edited("modules.json", lambda known: known[::-1] + known),
    "prompts of 5": edited(PROMPTS, lambda known: known.update(prompts=5)),
    "an unknown prompt": edited(
        "config_sentence_transformers.json", lambda known: known.update(default_prompt_name="x")
    ),
    "a pipe for prompts": replaced(PROMPTS, os.mkfifo),
}
OF_ROUTER: dict[str, Damage] = {
    "routes cut": written("router_config.json", lambda known: known[:-5]),
    "routes of 5": edited("router_config.json", lambda known: known.update(structure=5)),
    "a route outside": edited("router_config.json", lambda known: known["structure"].update(query=["../x"])),
    "a route of 5": edited("router_config.json", lambda known: known["structure"].update(query=5)),
    "a route missing": edited("router_config.json", lambda known: known["structure"].pop("query")),
    "an unknown default": edited("router_config.json", lambda known: known["parameters"].update(default_route="x")),
}


def damages(kind: str) -> dict[str, Damage]:
    """Return the damages that a kind of folder can have."""
    found = dict(OF_ANY)
    if kind in FOREIGN:
        found |= OF_MODULES
    else:
        found |= {f"nearfar.json: {name}": damage for name, damage in OF_NEARFAR.items()}
    if kind in ("transformer", "projected", "sentence-transformers"):
        found |= OF_CONFIG
    if kind == "Router":
        found |= OF_ROUTER
    return found
