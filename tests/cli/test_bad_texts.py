"""What a user can get wrong about language models: texts, settings and folders are refused by name, in two lines."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tests.cli.calling import Run
from tests.cli.test_bad_input import Case
from tests.contracts.samples import write_lines
from tests.objectives.test_causal_language import decoder
from tests.uses.test_complete import masked

SIZES = "hidden_size: 16, intermediate_size: 24, num_hidden_layers: 1, num_attention_heads: 2"
SMALL = ["data.heldout=0.2", "training.batch_size=8", "training.steps=2", "--out", "run", "--quiet"]


def row(number: int) -> dict[str, Any]:
    return {"text": f"the fox {number} lies by a river, and a goose of {number * 7 % 11} finds the stone"}


ROWS = [row(i) for i in range(30)]


def train(*settings: str, objective: str = "masked_language", config: str = "") -> list[str]:
    """Return the words of a small run on texts.jsonl."""
    kind = "llama" if objective == "causal_language" else "bert"
    config = config or f"{{model_type: {kind}, {SIZES}}}"
    words = ["train", objective, "data.path=texts.jsonl", f"encoder.config={config}", "encoder.vocabulary=330"]
    return [*words, "encoder.max_length=32", *SMALL, *settings]


def texts(*cells: Any) -> Callable[[Path], Any]:
    return lambda here: write_lines(here / "texts.jsonl", [{"text": cell} for cell in cells])


def one(cell: Any) -> Callable[[Path], Any]:
    return lambda here: write_lines(here / "texts.jsonl", [*ROWS[:4], {"text": cell}, *ROWS[4:]])


def raw(content: bytes) -> Callable[[Path], Any]:
    return lambda here: (here / "texts.jsonl").write_bytes(content)


def good(here: Path) -> None:
    write_lines(here / "texts.jsonl", ROWS)


def config(**changes: str) -> str:
    known = {"model_type": "bert", **dict(part.split(": ") for part in SIZES.split(", "))}
    return "{" + ", ".join(f"{key}: {value}" for key, value in {**known, **changes}.items()) + "}"


CAUSAL, RETROMAE = "causal_language", "retromae"
TEXTS = [
    Case("an empty file", train(), ["texts.jsonl", "the file is empty"], raw(b"")),
    Case(
        "no column of texts",
        train(),
        ["which column holds the documents", "positives.column=", "columns: a, b"],
        lambda here: write_lines(here / "texts.jsonl", [{"a": f"near {i}", "b": f"far {i}"} for i in range(9)]),
    ),
    Case("blank texts", train(), ["texts.jsonl", "no row has a text", "'text'", "white space"], texts(*[" "] * 9)),
    Case("a blank text", train(objective=CAUSAL), ["row 5", "'text'", "white space"], one(" \t")),
    Case("one text", train(objective=RETROMAE), ["heldout=0.2 of 1 rows", "none can be held out"], texts("near")),
    Case("zero bytes", train(), ["texts.jsonl", "binary file", "zero byte"], raw(b'{"text": "' + bytes(99) + b'"}')),
    Case(
        "not UTF-8", train(objective=CAUSAL), ["row 2", "not UTF-8", "iconv"], raw(b'{"text": "a"}\n{"text": "\xe4"}')
    ),
    Case("a lone surrogate", train(), ["row 2", "surrogate"], raw(b'{"text": "a"}\n{"text": "\\ud800"}\n')),
    Case("numbers", train(), ["columns of text", "'text' int64", "quotation marks"], texts(*range(9))),
    Case("null", train(objective=RETROMAE), ["row 5", "'text'", "null"], one(None)),
    Case("lists of numbers", train(), ["columns of text", "list<item: int64>"], texts(*[[i, 2] for i in range(9)])),
]
SETTINGS = [
    Case("a vocabulary of 5", train("encoder.vocabulary=5"), ["encoder.vocabulary must be 256", "it is 5"], good),
    Case("a vocabulary of -1", train("encoder.vocabulary=-1"), ["encoder.vocabulary", "it is -1"], good),
    Case("keeps=unknown", train("encoder.keeps=unknown"), ["encoder.keeps", "'letters', 'words' or 'text'"], good),
    Case("a length of 0", train("encoder.max_length=0"), ["encoder.max_length: 0", "3 to 512 tokens"], good),
    Case("a length of 2", train("encoder.max_length=2"), ["encoder.max_length: 2", "3 to 512 tokens"], good),
    Case("beyond the positions", train("encoder.max_length=9999"), ["encoder.max_length: 9999", "3 to 512"], good),
    Case("a negative chunk", train("positives.chunk=-1"), ["positives.chunk", "number of words", "-1"], good),
    Case("a share of 0", train("objective.share=0"), ["objective.share", "above 0 and below 1"], good),
    Case("a share of 1.5", train("objective.share=1.5"), ["objective.share", "1.5"], good),
    Case(
        "the decoder's share",
        train("objective.decoder_share=2", "objective.decoder_heads=2", objective=RETROMAE),
        ["objective.decoder_share", "below 1", "it is 2"],
        good,
    ),
    Case(
        "shares above 1",
        train("objective.random=0.6", "objective.kept=0.6"),
        ["random (0.6) and kept (0.6)", "together at most 1"],
        good,
    ),
    Case(
        "whole words of letters",
        train("objective.whole_words=true", "encoder.keeps=letters"),
        ["objective.whole_words", "encoder.keeps=words"],
        good,
    ),
    Case("an unknown setting", train("objective.shares=0.2"), ["'shares'", "did you mean 'share'"], good),
    Case(
        "a decoder whose texts are closed",
        train("encoder.keeps=words", objective=CAUSAL),
        ["causal_language", "ends every text with [SEP]", "encoder.keeps=text"],
        good,
    ),
    Case(
        "an encoder that sees both sides",
        train(objective=CAUSAL, config=config()),
        ["next_tokens", "sees both sides", "or a decoder, e.g. llama"],
        good,
    ),
    Case(
        "a decoder to fill in",
        train(config=config(model_type="llama")),
        ["hidden_tokens", "this is a decoder", "or a model that sees both sides, e.g. bert"],
        good,
    ),
    Case(
        "pairs without a loss",
        ["train", "recipe.yaml", "data.path=pairs.jsonl", "--out", "run"],
        ["hidden_tokens", "retrieval", "positives.name=unpaired"],
        lambda here: (here / "recipe.yaml").write_text(
            f"data: {{name: table, heldout: 0.2}}\npositives: {{name: columns}}\nencoder: {{name: transformer, config: "
            f"{{model_type: bert, {SIZES}}}, vocabulary: 300}}\nobjective: {{name: masked_language}}\n"
            "evaluate: [{name: hidden_tokens, split: heldout}]\n"
        ),
    ),
    Case(
        "a loss without pairs",
        train("loss.name=infonce"),
        ["loss.infonce compares pairs", "positives.unpaired makes none", "leave the loss out"],
        good,
    ),
    Case(
        "a metric of decoders",
        train("evaluate.0.name=next_tokens"),
        ["heldout", "needs next_tokens", "judged by hidden_tokens; take that metric"],
        good,
    ),
    Case("both a model and a config", train("encoder.model=bert"), ["both are given", "null for none"], good),
]
CONFIGS = [
    Case("heads that do not divide", train(config=config(num_attention_heads="3")), ["encoder.config", "3"], good),
    Case("no heads", train(config=config(num_attention_heads="0")), ["num_attention_heads", "at least 1", "0"], good),
    Case("a size of 0", train(config=config(hidden_size="0")), ["encoder.config: hidden_size", "at least 1"], good),
    Case("a size of -16", train(config=config(hidden_size="-16")), ["encoder.config: hidden_size", "-16"], good),
    Case("a size of words", train(config=config(hidden_size="wide")), ["encoder.config", "hidden_size", "int"], good),
    Case("no layers", train(config=config(num_hidden_layers="0")), ["encoder.config: num_hidden_layers"], good),
    Case("a billion numbers", train(config=config(hidden_size="1000000000")), ["hidden_size", "at most"], good),
    Case(
        "too many parameters",
        train(config=config(hidden_size="400000", intermediate_size="400000")),
        ["encoder.config", "parameters", "smaller sizes"],
        good,
    ),
    Case("an unknown type", train(config=config(model_type="brt")), ["model_type 'brt'", "did you mean 'bert'"], good),
    Case("no type", train(config="{hidden_size: 16}"), ["encoder.config", "model_type", "bert"], good),
    Case("pictures", train(config="{model_type: vit}"), ["encoder.config", "vit reads no texts", "bert"], good),
    Case(
        "a setting that the type does not know",
        train(config=config(hiden_size="32")),
        ["encoder.config: bert has no setting 'hiden_size'", "did you mean 'hidden_size'"],
        good,
    ),
    Case("an unknown activation", train(config=config(hidden_act="nothing")), ["encoder.config", "nothing"], good),
    Case("8 positions", train(config=config(max_position_embeddings="8")), ["encoder.max_length: 32", "3 to 8"], good),
]


@pytest.mark.parametrize("case", [*TEXTS, *SETTINGS, *CONFIGS], ids=lambda case: case.kind)
def test_is_refused(case: Case, here: Path, nearfar: Run) -> None:
    case.make(here)
    nearfar(*case.call).refused(*case.said)
    assert not [path for path in here.glob("run/**/*") if path.is_file() and path.name != "recipe.yaml"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked language model and a causal one, with heads that were not trained."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEARFAR_CACHE", str(folder / "cache"))
        masked().save(folder / "masked")
        encoder = decoder("llama", max_length=32)
        encoder.language_head("causal")
        from nearfar.model import Model

        Model(encoder).save(folder / "causal")
    return folder


@pytest.mark.parametrize(
    ("kind", "words", "said"),
    [
        ("masked", ["near far"], ["there is none", "write [MASK]"]),
        ("masked", [""], ["the text is empty"]),
        ("masked", ["near " * 99 + "[MASK]"], ["longer than", "tokens that the model reads", "shorter"]),
        ("masked", ["near [MASK]", "--top", "0"], ["top must be at least 1", "0"]),
        ("causal", ["  "], ["the text is empty"]),
        ("causal", ["near " * 99], ["as many tokens as the model reads (32)"]),
        ("causal", ["near", "--temperature", "-1"], ["temperature must be at least 0", "-1"]),
        ("causal", ["near", "--temperature", "nan"], ["temperature must be at least 0", "nan"]),
        ("causal", ["near", "--tokens", "0"], ["tokens must be at least 1", "0"]),
        ("causal", ["near", "--temperature", "1", "--seed", "-1"], ["seed", "-1"]),
        ("causal", ["near", "--temperature", "1", "--seed", str(10**30)], ["seed", "2 ** 63"]),
    ],
)
def test_what_cannot_be_completed(kind: str, words: list[str], said: list[str], models: Path, nearfar: Run) -> None:
    nearfar("complete", models / kind, *words).refused(*said)


def test_what_is_odd_but_can_be_completed(models: Path, nearfar: Run) -> None:
    short = nearfar("complete", models / "causal", "near", "--tokens", 10**9, "--json")
    assert short.code == 0, short.err
    lines = nearfar("complete", models / "causal", "near\nfar", "--tokens", 1)
    assert lines.out.startswith("near\nfar"), lines.out
    cold = nearfar("complete", models / "causal", "near", "--temperature", 1e-300, "--json")
    assert cold.code == 0, cold.err
    likeliest = nearfar("complete", models / "causal", "near", "--json")
    assert json.loads(cold.out)["text"] == json.loads(likeliest.out)["text"]


def test_a_head_that_does_not_fit_is_named(models: Path, tmp_path: Path, nearfar: Run) -> None:
    folder = tmp_path / "model"
    shutil.copytree(models / "masked", folder)
    tensors = load_file(folder / "model.safetensors")
    name = "cls.predictions.transform.dense.weight"
    tensors[name] = tensors[name][:-1].contiguous()
    save_file(tensors, folder / "model.safetensors")
    nearfar("complete", folder, "near [MASK]").refused(name, "config.json asks for", "do not belong together")


def test_a_word_of_a_megabyte_and_a_tokenizer_of_few_texts(here: Path, nearfar: Run) -> None:
    write_lines(here / "texts.jsonl", [*ROWS, {"text": "x" * 1_000_000}])
    done = nearfar(*train("encoder.vocabulary=5000"), "--json")
    assert done.code == 0, done.err
    assert "fewer than encoder.vocabulary=5000 asks for" in done.err + (here / "run" / "events.jsonl").read_text()


def test_there_are_enough_kinds() -> None:
    kinds = [case.kind for case in (*TEXTS, *SETTINGS, *CONFIGS)]
    assert len(set(kinds)) == len(kinds) >= 30
