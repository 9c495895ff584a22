"""Texts, settings and folders of language models that are wrong: the bad inputs of `bad_input.py` to hide tokens of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from _bad_models import edited, replaced, tensors
from _bad_sources import WORDS

Damage = Callable[[Path], object]
TEXTS = "texts.jsonl"
OBJECTIVES = ("masked_language", "causal_language", "retromae")
SIZES = "{model_type: %s, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 1, num_attention_heads: %s%s}"
BERT, LLAMA = SIZES % ("bert", 2, ""), SIZES % ("llama", 2, ", num_key_value_heads: 2, max_position_embeddings: 64")
SMALL = ("data.heldout=0.2", "training.batch_size=8", "training.steps=2", "--quiet", "--out", "out")
LANGUAGE_MODELS = {"masked": BERT, "causal": LLAMA}  # kinds of the good folders, and their configs


def texts(n: int = 40) -> list[dict[str, Any]]:
    """Return documents of some sentences."""
    sentence = "the {} {} lies by a {} and finds the {}"
    chosen = [[WORDS[(i * step + 1) % 12] for step in (1, 5, 7, 11)] for i in range(n)]
    return [{"text": ". ".join([sentence.format(*words), f"it is number {i}"])} for i, words in enumerate(chosen)]


def train(objective: str, *more: str, config: str = "") -> tuple[str, ...]:
    """Return the words of a small run."""
    config = config or (LLAMA if objective == "causal_language" else BERT)
    decoder = ("objective.decoder_heads=2",) if objective == "retromae" else ()
    small = (f"encoder.config={config}", "encoder.vocabulary=330", "encoder.max_length=32", "positives.chunk=12")
    return ("train", objective, f"data.path={TEXTS}", *small, *decoder, *SMALL, *more)


def build(folder: Path) -> None:
    """Write a good language model of each kind, which has not learnt anything."""
    import nearfar as nf
    from nearfar.column import ListColumn
    from nearfar.recipes.yaml_text import read_yaml

    for kind, config in LANGUAGE_MODELS.items():
        keeps: Any = "text" if kind == "causal" else "words"
        encoder = nf.encoders.Transformer(config=read_yaml(config), vocabulary=330, keeps=keeps, max_length=32)
        encoder.prepare([ListColumn("text", [row["text"] for row in texts()])])
        encoder.language_head(kind)
        nf.Model(encoder).save(folder / kind)


def lines(rows: list[Any]) -> Damage:
    return lambda folder: (folder / TEXTS).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def raw(content: bytes) -> Damage:
    return lambda folder: (folder / TEXTS).write_bytes(content)


def column(change: Callable[[str], Any]) -> Damage:
    return lines([{"text": change(row["text"])} for row in texts()])


def cell(value: Any, row: int = 4) -> Damage:
    return lines([{"text": value} if i == row else one for i, one in enumerate(texts())])


good: Damage = lines(texts())
OF_TEXTS: dict[str, Damage] = {
    "empty": raw(b""),
    "blank lines": raw(b"\n \n\n"),
    "no column of texts": lines([{"a": row["text"], "b": row["text"]} for row in texts()]),
    "blank texts": column(lambda _: " \t"),
    "a blank text": cell("  "),
    "one text": lines(texts()[:1]),
    "two texts": lines(texts()[:2]),
    "one letter each": lines([{"text": chr(97 + i)} for i in range(24)]),
    "equal texts": column(lambda _: "near and far"),
    "control characters": column(lambda text: "\x01\x1b[2J\x7f" * len(text)),
    "a megabyte without spaces": cell(texts()[4]["text"].replace(" ", "") * 9_000),
    "a megabyte of one letter": cell("x" * 1_000_000),
    "zeros in a text": cell("near \0 far"),
    "zeros": raw(b'{"text": "' + bytes(400) + b'"}\n'),
    "Latin-1": raw(b'{"text": "near"}\n{"text": "f\xe4r"}\n'),
    "a lone surrogate": raw(b'{"text": "near"}\n{"text": "\\ud800 far"}\n'),
    "numbers": column(len),
    "a number": cell(5),
    "null": cell(None),
    "all null": column(lambda _: None),
    "lists": column(lambda text: text.split()),
    "lists of numbers": column(lambda _: [1, 2]),
    "an empty list": column(lambda _: []),
    "objects": column(lambda text: {"of": text}),
    "the mask's own name": column(lambda text: f"[MASK] {text}"),
    "special tokens alone": lines([{"text": "[CLS] [SEP] [PAD] " * (1 + i)} for i in range(24)]),
    "emoji": lines([{"text": chr(0x1F600 + i) + "\u200d" + chr(0x1F680 + i)} for i in range(40)]),
    "pairs": lines([{"query": row["text"], "key": row["text"][:9]} for row in texts()]),
}
OF_ANY = (
    "encoder.vocabulary=0", "encoder.vocabulary=5", "encoder.vocabulary=-1", "encoder.vocabulary=1e6",
    "encoder.vocabulary=256", "encoder.vocabulary=259", "encoder.keeps=unknown", "encoder.max_length=0",
    "encoder.max_length=1", "encoder.max_length=2", "encoder.max_length=-3", "encoder.max_length=100000",
    "encoder.pooling=nothing", "encoder.dropout=1", "encoder.model=masked", "encoder.name=static",
    "positives.chunk=-1", "positives.chunk=1", "positives.chunk=1e9", "positives.column=nothing",
    "positives.name=columns", "positives.name=views", "positives.name=labels", "loss.name=infonce", "data.heldout=0",
    "data.heldout=0.99", "data.name=images", "objective.nothing=1", "objective.weight=0", "objective.weight=-1",
    "objective=null", "objective.name=nothing", "training.batch_size=1", "training.keys=momentum",
    "training.queue=100", "evaluate.0.name=knn", "evaluate.0.name=next_tokens", "evaluate.0.name=hidden_tokens",
    "evaluate.0.split=test", "heads.projection.name=mlp",
)  # fmt: skip
OF_HIDING = (
    "objective.share=0", "objective.share=1", "objective.share=1.5", "objective.share=nan", "objective.random=-0.1",
    "objective.random=0.6 & objective.kept=0.6", "objective.whole_words=true & encoder.keeps=letters",
    "objective.decoder_share=0", "objective.decoder_share=2", "objective.decoder_heads=0", "objective.decoder_heads=3",
    "encoder.pooling=[cls, mean]", "encoder.lora={rank: 2}", "encoder.frozen=9",
)  # fmt: skip
OF_CAUSAL = ("encoder.keeps=letters", "encoder.keeps=words", "objective.share=0.3")
CONFIGS = {
    "heads that do not divide": SIZES % ("bert", 3, ""),
    "no heads": SIZES % ("bert", 0, ""),
    "an unknown type": SIZES % ("brt", 2, ""),
    "no type": "{hidden_size: 16}",
    "a type of 5": "{model_type: 5}",
    "a list": "[1, 2]",
    "a text": "bert",
    "a size of 0": "{model_type: bert, hidden_size: 0, num_attention_heads: 2}",
    "a size of -16": "{model_type: bert, hidden_size: -16, num_attention_heads: 2}",
    "a size of words": "{model_type: bert, hidden_size: wide}",
    "no layers": SIZES.replace("num_hidden_layers: 1", "num_hidden_layers: 0") % ("bert", 2, ""),
    "a setting that it does not know": SIZES % ("bert", 2, ", hiden_size: 32"),
    "an activation that it does not know": SIZES % ("bert", 2, ", hidden_act: nothing"),
    "8 positions": SIZES % ("bert", 2, ", max_position_embeddings: 8"),
    "10 ** 9 numbers": "{model_type: bert, hidden_size: 1000000000, num_attention_heads: 2}",
    "pictures": "{model_type: vit}",
    "both a model and a config": BERT + " & encoder.model=masked",
}
OF_FOLDERS: dict[str, Damage] = {
    "no tokenizer": replaced("tokenizer.json", lambda _: None),
    "a tokenizer without a mask": edited("tokenizer_config.json", lambda known: known.update(mask_token=None)),
    "a head of another width": tensors(lambda known: _cut_head(known)),
    "a head of another vocabulary": tensors(lambda known: known.update({_bias(known): known[_bias(known)][:-9]})),
    "a table with fewer rows": edited("config.json", lambda known: known.update(vocab_size=99)),
    "no head": tensors(lambda known: [known.pop(name) for name in list(known) if name.startswith(("cls.", "lm_head"))]),
    "an architecture that it is not": edited("config.json", lambda known: known.update(architectures=["Nothing"])),
}
COMPLETE: dict[str, tuple[str, ...]] = {
    "no mask": ("masked", "near and far"),
    "an empty text": ("masked", ""),
    "blanks alone": ("causal", "  "),
    "a text too long": ("causal", "near " * 99),
    "masks too many": ("masked", "[MASK] " * 99),
    "a mask beyond the length": ("masked", "near " * 99 + "[MASK]"),
    "a temperature of -1": ("causal", "near", "--temperature", "-1"),
    "a temperature of nan": ("causal", "near", "--temperature", "nan"),
    "no tokens": ("causal", "near", "--tokens", "0"),
    "10 ** 9 tokens": ("causal", "near", "--tokens", str(10**9)),
    "10 ** 30 tokens": ("causal", "near", "--tokens", str(10**30)),
    "a top of 0": ("masked", "near [MASK]", "--top", "0"),
    "a seed of -1": ("causal", "near", "--temperature", "1", "--seed", "-1"),
    "a seed of 10 ** 30": ("causal", "near", "--temperature", "1", "--seed", str(10**30)),
    "control characters": ("causal", "\x1b[2J\u202e near"),
    "a zero": ("masked", "near \udcff [MASK]"),
    "a model of vectors": ("bert", "near [MASK]"),
    "a static model": ("model", "near [MASK]"),
}
HARMLESS = {  # what is right after all, or answered without a word
    *("one letter each", "equal texts", "control characters", "a megabyte without spaces", "zeros in a text", "lists"),
    *("a megabyte of one letter", "the mask's own name", "emoji"),
    *("10 ** 9 tokens", "10 ** 30 tokens", "an architecture that it is not"),
}  # fmt: skip


def _bias(known: dict[str, Any]) -> str:
    """Return the name of a head's vector of a number a token, else of its matrix."""
    names = [name for name in sorted(known) if name.startswith(("cls.", "lm_head"))]
    return next((name for name in names if known[name].ndim == 1 and len(known[name]) > 99), next(iter(known)))


def _cut_head(known: dict[str, Any]) -> None:
    name = next(name for name in sorted(known) if known[name].ndim == 2)
    name = next((one for one in sorted(known) if one.startswith("cls.") and known[one].ndim == 2), name)
    known[name] = known[name][:-1]


def damaged(kind: str, damage: Damage) -> Damage:
    def make(folder: Path) -> None:
        good(folder)
        shutil.copytree(folder / kind, folder / "damaged")
        damage(folder / "damaged")

    return make


def calls() -> Iterator[tuple[str, str, str, tuple[str, ...], Damage]]:
    """Yield the command, the kind, what is wrong, the words of the call, and what makes it."""
    for turn, (name, damage) in enumerate(OF_TEXTS.items()):
        objective = OBJECTIVES[turn % 3]
        yield f"train {objective}", "texts", name, train(objective), damage
    for turn, settings in enumerate((*OF_ANY, *OF_HIDING, *OF_CAUSAL)):
        objective = "causal_language" if settings in OF_CAUSAL else OBJECTIVES[turn % 3]
        if settings in OF_HIDING:
            objective = "retromae" if "decoder" in settings or "pooling" in settings else "masked_language"
        yield f"train {objective}", "objective", settings, train(objective, *settings.split(" & ")), good
    for name, config in CONFIGS.items():
        config, *more = config.split(" & ")
        yield "train masked_language", "config", name, train("masked_language", *more, config=config), good
    for objective, config in (("causal_language", BERT), ("masked_language", LLAMA), ("retromae", LLAMA)):
        yield f"train {objective}", "config", "of another kind", train(objective, config=config), good
    for turn, (kind, objective) in enumerate((("masked", "masked_language"), ("causal", "causal_language"))):
        for number, (name, damage) in enumerate(OF_FOLDERS.items()):
            words = train(objective, "encoder.config=null", "encoder.model=damaged")
            if (turn + number) % 2:
                words = ("complete", "damaged", "the red [MASK]")
            yield " ".join(words[: 1 + (words[0] == "train")]), f"folder: {kind}", name, words, damaged(kind, damage)
    for name, words in COMPLETE.items():
        yield "complete", "completion", name, ("complete", *words), good
