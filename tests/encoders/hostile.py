"""Damages to model folders, and what is to be said of each."""

# This file is long because it is one table, of some ninety ways to be wrong.

from __future__ import annotations

import base64
import io
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from nearfar.encoders.pretrained.static_files import MODULE_FOLDER

Damage = Callable[[Path], object]
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def edited(name: str, change: Callable[[Any], object]) -> Damage:
    def damage(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return damage


def config(**changes: Any) -> Damage:
    return edited("config.json", lambda known: known.update(changes))


def tokens(**changes: Any) -> Damage:
    return edited("tokenizer.json", lambda known: known.update(changes))


def tensors(change: Callable[[dict[str, torch.Tensor]], object], name: str = WEIGHTS) -> Damage:
    def damage(folder: Path) -> None:
        known = load_file(folder / name)
        change(known)
        save_file(known, folder / name)

    return damage


def index(places: Any, **files: bytes) -> Damage:
    """Put the weights into a shard and an index over them; `places` is where one tensor is said to lie."""

    def damage(folder: Path) -> None:
        known = load_file(folder / WEIGHTS)
        (folder / WEIGHTS).rename(folder / "shard-1.safetensors")
        listed: dict[str, Any] = dict.fromkeys(known, "shard-1.safetensors")
        listed[next(iter(known))] = places
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": listed}))
        (folder / "weights.bin").write_bytes(zipped({"x": torch.zeros(2)}))
        (folder.parent / "outside.safetensors").write_bytes((folder / "shard-1.safetensors").read_bytes())

    return damage


def zipped(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def pipe(name: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return damage


def listening(name: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        place = Path.cwd()
        os.chdir(folder)  # a socket's path is short
        try:
            with socket.socket(socket.AF_UNIX) as one:
                one.bind(name)
        finally:
            os.chdir(place)

    return damage


def linked(name: str, target: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return damage


def sparse(name: str, size: int) -> Damage:
    return lambda folder: os.truncate(folder / name, size)


def dropped(name: str) -> Damage:
    return tensors(lambda known: known.pop(name))


def header(**content: Any) -> Damage:
    """Write a safetensors file with this header and no data."""

    def damage(folder: Path) -> None:
        text = json.dumps(content).encode()
        (folder / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text)

    return damage


LAYER = "encoder.layer.1.output.dense.weight"
BOMB = base64.b64encode(b"\xff" * 8).decode()
PANIC = {"type": "Precompiled", "precompiled_charsmap": BOMB}
ABSENT = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "x", "type_id": 0}}],
    "pair": [],
    "special_tokens": {},
}
MODULE = "sentence_transformers.models.StaticEmbedding"
STATIC = f"{MODULE_FOLDER}/tokenizer.json"

# The folder, what is wrong with it, the damage, and what the message must hold.
HOSTILE: list[tuple[str, str, Damage, str]] = [
    ("bert", "a pickle in the index", index("weights.bin"), "'weights.bin'; a plain name inside the folder"),
    ("bert", "the index leads out", index("../outside.safetensors"), "'../outside.safetensors'; a plain name"),
    ("bert", "the index leads to the root", index("/etc/x.safetensors"), "'/etc/x.safetensors'; a plain name"),
    ("bert", "a folder in the index", index("a/b.safetensors"), "a plain name inside the folder"),
    ("bert", "a backslash in the index", index("..\\b.safetensors"), "a plain name inside the folder"),
    ("bert", "a hidden file in the index", index(".safetensors"), "a plain name inside the folder"),
    ("bert", "a number in the index", index(5), "lies in 5; a plain name"),
    ("bert", "a list in the index", index(["shard-1.safetensors"]), "a plain name inside the folder"),
    ("bert", "null in the index", index(None), "a plain name inside the folder"),
    ("bert", "a shard that is not there", index("other.safetensors"), "other.safetensors: no such file"),
    ("bert", "no map in the index", lambda f: (f / INDEX).write_text("{}"), "no weight_map"),
    ("bert", "an index that is a list", lambda f: (f / INDEX).write_text("[]"), "not an object of settings"),
    ("bert", "a pickle for weights", lambda f: (f / WEIGHTS).write_bytes(zipped({})), "this is a pickle"),
    ("bert", "only a pickle", lambda f: (f / WEIGHTS).rename(f / "pytorch_model.bin"), "pytorch_model.bin is a pickle"),
    ("bert", "other weights by the config", config(transformers_weights="weights.bin"), "transformers_weights"),
    ("bert", "quantised weights", config(quantization_config={"quant_method": "torchao"}), "quantization_config"),
    ("bert", "a pipe for a config", pipe("config.json"), "a pipe, device or socket"),
    ("bert", "a pipe for weights", pipe(WEIGHTS), "a pipe, device or socket"),
    ("bert", "a pipe for a tokenizer", pipe("tokenizer.json"), "a pipe, device or socket"),
    ("bert", "a pipe for a card", pipe("README.md"), "a pipe, device or socket"),
    ("bert", "a pipe for modules", pipe("modules.json"), "a pipe, device or socket"),
    ("projected", "a pipe for a head", pipe("head.safetensors"), "a pipe, device or socket"),
    ("bert", "a socket", listening("vocab.txt"), "a pipe, device or socket"),
    ("bert", "a device", linked("vocab.txt", "/dev/zero"), "a pipe, device or socket"),
    ("bert", "weights of somebody else", linked(WEIGHTS, str(Path(__file__))), "a link that leaves the folder"),
    ("bert", "a link to nothing", linked("vocab.txt", "nothing"), "vocab.txt: not readable"),
    ("bert", "a link to itself", linked("vocab.txt", "vocab.txt"), "vocab.txt"),
    ("bert", "a config of gigabytes", sparse("config.json", 1 << 40), "are too many for JSON"),
    (
        "bert",
        "a config nested deeply",
        lambda f: (f / "config.json").write_text("[" * 10**5),
        "config.json: not readable",
    ),
    (
        "bert",
        "fewer layers",
        config(num_hidden_layers=1),
        f"the weights hold {LAYER.replace('output.dense.weight', '')}",
    ),
    ("bert", "more layers", config(num_hidden_layers=3), "lack encoder.layer.2"),
    ("bert", "layers without end", config(num_hidden_layers=10**8), "num_hidden_layers is 1e.08"),
    ("modernbert", "layers without end", config(num_hidden_layers=10**8), "num_hidden_layers is 1e.08"),
    ("modernbert", "fewer layers", config(num_hidden_layers=3, layer_types=None), "the weights hold layers.3"),
    ("bert", "labels without end", config(num_labels=10**9), "num_labels is 1e.09"),
    ("bert", "a vocabulary without end", config(vocab_size=10**9), "vocab_size is 1e.09"),
    ("bert", "a larger vocabulary", config(vocab_size=10**7), "word_embeddings.weight is .*asks for .10000000, 32"),
    ("bert", "positions without end", config(max_position_embeddings=10**12), "max_position_embeddings is 1e.12"),
    ("bert", "more positions", config(max_position_embeddings=65), "position_embeddings.weight is .64, 32"),
    ("bert", "a wider model", config(hidden_size=36), "asks for"),
    ("bert", "wider inside", config(intermediate_size=10**6), "intermediate.dense.* is .*asks for"),
    ("bert", "no heads", config(num_attention_heads=0), "num_attention_heads must be a whole number of at least 1"),
    ("bert", "heads that do not fit", config(num_attention_heads=5), "transformers cannot read it"),
    ("bert", "layers as a word", config(num_hidden_layers="2"), "num_hidden_layers must be a whole number"),
    ("bert", "half a layer", config(num_hidden_layers=2.5), "num_hidden_layers must be a whole number"),
    ("bert", "layers as yes", config(num_hidden_layers=True), "num_hidden_layers must be a whole number"),
    ("bert", "a negative width", config(hidden_size=-32), "hidden_size must be a whole number of at least 1"),
    ("bert", "a list of widths", config(hidden_size=[32]), "hidden_size must be a whole number of at least 1"),
    ("bert", "not a number", config(layer_norm_eps=float("nan")), "layer_norm_eps must be a finite number"),
    ("bert", "infinite", config(layer_norm_eps=float("inf")), "layer_norm_eps must be a finite number"),
    ("bert", "a word for a number", config(layer_norm_eps="small"), "layer_norm_eps"),
    ("bert", "an unknown activation", config(hidden_act="nosuch"), "transformers cannot read it"),
    ("bert", "a padding token beyond the table", config(pad_token_id=10**6), "transformers cannot read it"),
    ("bert", "another architecture", config(model_type="distilbert"), "n_layers|lack|hold|asks for"),
    ("bert", "a missing tensor", dropped(LAYER), f"the weights lack {LAYER}"),
    (
        "bert",
        "a further tensor",
        tensors(lambda t: t.update(extra=torch.zeros(2))),
        "the weights hold extra, for which",
    ),
    ("bert", "a turned tensor", tensors(lambda t: t.update({LAYER: t[LAYER].T.contiguous()})), f"{LAYER} is .48, 32."),
    ("bert", "a tensor that is infinite", tensors(lambda t: t[LAYER].fill_(torch.inf)), "numbers that are not finite"),
    ("bert", "no tensors", header(), "hold no tensor"),
    (
        "bert",
        "a header that lies",
        header(x={"dtype": "F32", "shape": [10**9, 10**3], "data_offsets": [0, 8]}),
        "not whole",
    ),
    ("bert", "a header without end", lambda f: (f / WEIGHTS).write_bytes(b"\xff" * 8), "not whole safetensors"),
    ("bert", "a panic of the tokenizer", tokens(normalizer=PANIC), "its tokenizer cannot be read as a fast one"),
    ("bert", "a panic when it tokenises", tokens(post_processor=ABSENT), "its tokenizer cannot be read as a fast one"),
    (
        "bert",
        "a regex that is none",
        tokens(pre_tokenizer={"type": "Split", "pattern": {"Regex": "("}, "behavior": "Removed", "invert": False}),
        "its tokenizer cannot be read",
    ),
    (
        "bert",
        "ids beyond the table",
        edited("tokenizer.json", lambda t: t["model"]["vocab"].update(zzz=10**6)),
        "has ids up to 1000000",
    ),
    (
        "bert",
        "an added token beyond the table",
        edited(
            "tokenizer.json", lambda t: t["added_tokens"].append({**t["added_tokens"][0], "id": 5000, "content": "[X]"})
        ),
        "ids up to|cannot be read",
    ),
    (
        "bert",
        "a negative length",
        edited("tokenizer_config.json", lambda t: t.update(model_max_length=-5)),
        "the model reads",
    ),
    (
        "bert",
        "a word for a length",
        edited("tokenizer_config.json", lambda t: t.update(model_max_length="x")),
        "its tokenizer cannot be read",
    ),
    (
        "bert",
        "lower-casing by a word",
        edited("sentence_bert_config.json", lambda t: t.update(do_lower_case="no")),
        "do_lower_case must be true or false",
    ),
    (
        "bert",
        "a length that is yes",
        edited("sentence_bert_config.json", lambda t: t.update(max_seq_length=True)),
        "max_seq_length must be a whole",
    ),
    (
        "bert",
        "a default that is no prompt",
        edited("config_sentence_transformers.json", lambda t: t.update(default_prompt_name="x")),
        "default_prompt_name 'x' is not among",
    ),
    (
        "bert",
        "a default that is no name",
        edited("config_sentence_transformers.json", lambda t: t.update(default_prompt_name=["x"])),
        "is not among its prompts",
    ),
    (
        "bert",
        "a prompt that is no text",
        edited("config_sentence_transformers.json", lambda t: t["prompts"].update(x="\ud800")),
        "prompts must be texts",
    ),
    (
        "bert",
        "ids without end",
        edited("tokenizer.json", lambda t: t["model"]["vocab"].update(zzz=2**31)),
        "an id is 2147483648, far beyond any vocabulary",
    ),
    ("bert", "no modules", lambda f: (f / "modules.json").write_text("[]"), "its first module must be"),
    (
        "dense",
        "a dense layer of gigabytes",
        edited("projection/config.json", lambda t: t.update(out_features=10**12)),
        "do not belong together",
    ),
    ("static", "a panic of the tokenizer", edited(STATIC, lambda t: t.update(normalizer=PANIC)), "not a tokenizer"),
    (
        "static",
        "a cut that panics",
        edited(
            STATIC,
            lambda t: t.update(
                truncation={"max_length": 2, "stride": 9, "strategy": "LongestFirst", "direction": "Right"}
            ),
        ),
        "not a tokenizer",
    ),
    (
        "static",
        "ids beyond the table",
        edited(STATIC, lambda t: t["model"]["vocab"].update(zzz=10**6)),
        "has ids up to 1000000",
    ),
    (
        "static",
        "a table of one dimension",
        tensors(lambda t: t.update({"embedding.weight": torch.zeros(5)}), f"{MODULE_FOLDER}/{WEIGHTS}"),
        "of two dimensions",
    ),
    ("static", "a pickle", lambda f: (f / MODULE_FOLDER / WEIGHTS).write_bytes(zipped({})), "this is a pickle"),
    (
        "dual",
        "a route that leaves the folder",
        edited(
            "router_config.json", lambda t: (t["types"].update({"../x": MODULE}), t["structure"].update(query=["../x"]))
        ),
        "leaves the folder",
    ),
    (
        "dual",
        "code for a route",
        edited("router_config.json", lambda t: t["types"].update(dict.fromkeys(t["types"], "os.system"))),
        "module 'os.system' is not known",
    ),
    (
        "dual",
        "another default route",
        edited("router_config.json", lambda t: t["parameters"].update(default_route="query")),
        "default_route document",
    ),
    (
        "dual",
        "a third route",
        edited("router_config.json", lambda t: t["structure"].update(image=[])),
        "its routes are",
    ),
    (
        "dual",
        "an empty route",
        edited("router_config.json", lambda t: t["structure"].update(query=[])),
        "must begin with",
    ),
    ("dual", "no Router's settings", lambda f: (f / "router_config.json").unlink(), "router_config.json: not readable"),
    (
        "projected",
        "a head of gigabytes",
        edited("nearfar.json", lambda t: t["encoder"]["head"].update(sizes=[10**10])),
        "nearfar.json asks for",
    ),
    (
        "projected",
        "a default that is no prompt",
        edited("nearfar.json", lambda t: t.update(named_prompts={"default": "x"})),
        "is not among its prompts",
    ),
]
