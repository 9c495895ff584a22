"""The bad inputs of `bad_input.py`: what is damaged, and the words of the command line that meets it."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _bad_captions
import _bad_documents
import _bad_models
import _bad_sources
import _bad_texts
from _bad_sources import json_lines, pairs
from _bad_words import RECIPES, SETTINGS, SMALL, STATIC, options

BERT = ("encoder.model=bert",)
STUDENT = ("encoder.of.model=bert", "positives.examples=64", "positives.per_document=2")
Make = Callable[[Path], object]


@dataclass(frozen=True)
class Call:
    """One bad input, and the words that meet it.

    make: makes it in an empty folder, in which the good things lie beside it. stdin: what is read there.
    harmless: whether it may pass without a word, as half a line of a run's log, which a crash leaves.
    """

    command: str
    kind: str
    damage: str
    words: tuple[str, ...]
    make: Make
    stdin: str = ""
    harmless: bool = False

    @property
    def name(self) -> str:
        """Return what tells this call from the others."""
        return f"{self.command} / {self.kind} / {self.damage}"


def good(folder: Path) -> None:
    """Write what is right: models of every kind, pairs, and a run."""
    import nearfar as nf

    _bad_models.build(folder / "models")
    _bad_texts.build(folder / "models")
    (folder / "pairs.jsonl").write_bytes(json_lines(pairs()))
    settings = {"data.path": str(folder / "pairs.jsonl"), "encoder.dim": 16, "encoder.vocabulary": 300}
    settings |= {"data.heldout": 0.2, "training.batch_size": 16, "training.steps": 4}
    nf.train("static", settings, out=folder / "run")


def of_data(source: str) -> dict[str, tuple[str, ...]]:
    """Return the calls that read a source, by command."""
    path = f"data.path={source}"
    one = ("positives.column=query",)
    return {
        "train static": ("train", "static", path, *STATIC, *SMALL),
        "train finetune": ("train", "finetune", path, *BERT, *SMALL),
        "train simcse": ("train", "simcse", path, *BERT, *one, *SMALL),
        "train simcse_supervised": ("train", "simcse_supervised", path, *BERT, *SMALL),
        "train adapt": ("train", "adapt", path, *STUDENT, *one, *SMALL),
        "train paraphrases": ("train", "paraphrases", path, "positives.query=query", "positives.key=key", *SMALL),
        "train --dry-run": ("train", "static", path, *STATIC, *SMALL, "--dry-run"),
        "evaluate": ("evaluate", "model", source),
        "embed": ("embed", "model", source, "--out", "vectors.npy"),
        "search": ("search", "model", source, "a red fox"),
        "map": ("map", "model", source, "--out", "map.html"),
        "audit": ("audit", source, "--out", "audit.html"),
        "views": ("views", "finetune", path, "--out", "views.html"),
        "mine": ("mine", "model", source, "--out", "mined.jsonl", "--quiet"),
        "lab": ("lab", "temperature", "model", source, "--steps", "2", "--taus", "0.1", "--out", "lab", "--quiet"),
    }


def of_models(model: str) -> dict[str, tuple[str, ...]]:
    """Return the calls that read a model, by command."""
    return {
        "evaluate": ("evaluate", model, "pairs.jsonl"),
        "evaluate --baseline": ("evaluate", "model", "pairs.jsonl", "--baseline", model),
        "embed": ("embed", model, "pairs.jsonl", "--column", "query", "--out", "vectors.parquet"),
        "search": ("search", model, "pairs.jsonl", "a red fox", "--column", "query", "--mode", "hybrid"),
        "label": ("label", "zero-shot", model, "pairs.jsonl", "--column=query", "--classes=fox,goose", "--out=l.csv"),
        "audit --model": ("audit", "pairs.jsonl", "--model", model, "--out", "audit.html"),
        "mine": ("mine", model, "pairs.jsonl", "--out", "mined.jsonl", "--quiet"),
        "lab": ("lab", "temperature", model, "pairs.jsonl", "--steps", "0", "--out", "lab", "--quiet"),
        "index build": ("index", "build", "docs.index", model, "pairs.jsonl", "--column", "query"),
        "map": ("map", model, "pairs.jsonl", "--column=query", "--by=key", "--out=map.html"),
        "export": ("export", model, "--onnx", "onnx"),
        "complete": ("complete", model, "a red [MASK]"),
        "train finetune": ("train", "finetune", "data.path=pairs.jsonl", f"encoder.model={model}", *SMALL),
        "train adapt": ("train", "adapt", "data.path=pairs.jsonl", f"encoder.of.model={model}", *STUDENT[1:], *SMALL),
        "mine --rescore": ("mine", "model", "pairs.jsonl", "--rescore", model, "--out", "mined.jsonl", "--quiet"),
    }


def calls() -> Iterator[Call]:
    """Return all bad inputs: each damage of each kind, to the commands in turn."""
    yield from data_calls()
    yield from model_calls()
    yield from caption_calls()
    yield from text_calls()
    yield from document_calls()
    yield from package_calls()
    yield from recipe_calls()
    yield from run_calls()
    yield from file_calls()
    yield from option_calls()


def data_calls() -> Iterator[Call]:
    for turn, form in enumerate(_bad_sources.FORMATS):
        commands = list(of_data(form.path).items())
        if form.name == "BEIR qrels":
            commands = [item for item in commands if item[0] in ("evaluate", "lab")]  # mine reads train.tsv
        start = 5 * turn % len(commands)  # so that one damage meets other commands in other formats
        rotated = itertools.cycle(commands[start:] + commands[:start])
        for (name, damage), (command, words) in zip(_bad_sources.damages(form).items(), rotated, strict=False):
            yield Call(command, form.name, name, words, lambda folder, d=damage, f=form: d(f, folder))  # type: ignore[misc]


def model_calls() -> Iterator[Call]:
    for turn, kind in enumerate(_bad_models.KINDS):
        commands = list(of_models("damaged").items())
        start = 4 * turn % len(commands)
        rotated = itertools.cycle(commands[start:] + commands[:start])
        for (name, damage), (command, words) in zip(_bad_models.damages(kind).items(), rotated, strict=False):
            yield Call(command, f"model: {kind}", name, words, _damaged_model(kind, damage))


def caption_calls() -> Iterator[Call]:
    for path, damage, make in _bad_captions.damages():
        words = ("train", "simcse", "data.name=image_text", f"data.path={path}", *BERT, "positives.column=caption")
        yield Call("train image_text", f"captions: {path}", damage, (*words, *SMALL), make)


def text_calls() -> Iterator[Call]:
    for command, kind, damage, words, make in _bad_texts.calls():
        yield Call(command, kind, damage, words, make, harmless=damage in _bad_texts.HARMLESS)


def document_calls() -> Iterator[Call]:
    """What is wrong with a document is a line of the build's report, on standard output, and the sound one is read."""
    build = ("index", "build", "docs.index", "model", _bad_documents.FOLDER, "--quiet")
    for kind, damage, make in _bad_documents.damages():
        yield Call("index build", f"document: {kind}", damage, build, make, harmless=True)
    for turn, form in enumerate(_bad_sources.FORMATS[:5]):
        for damage, change in list(_bad_sources.damages(form).items())[turn::3]:
            words = ("index", "add", "rows.index", form.path, "--model", "model", "--column", "query")
            yield Call("index add", form.name, damage, words, lambda folder, d=change, f=form: d(f, folder))  # type: ignore[misc]


def _damaged_model(kind: str, damage: _bad_models.Damage) -> Make:
    def make(folder: Path) -> None:
        shutil.copytree(folder / "models" / kind, folder / "damaged")
        damage(folder / "damaged")

    return make


def writes(name: str, content: str | bytes) -> Make:
    def make(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))

    return make


PACKAGES: dict[str, str | bytes] = {
    "no syntax": "def f(:\n",
    "zeros": b"\0" * 4000,
    "Latin-1": b"def f():\n    '''\xe4\xe9 a sentence of words'''\n    return 1\n",
    "nested parentheses": "x = " + "(" * 5000 + ")" * 5000,
    "a long number": "x = " + "9" * 100_000,
    "nothing documented": "x = 1\n",
    "a lone surrogate": 'def f():\n    """three words \\ud800 here and more"""\n    return 1\n',
}


def package_calls() -> Iterator[Call]:
    words = ("data.heldout=0", "data.unseen=0", "data.workers=1", *STATIC, "training.steps=2", "training.batch_size=8")
    for name, content in PACKAGES.items():
        train = ("train", "python_packages", "data.paths=[packages]", *words, "--out", "out", "--quiet")
        demo = ("demo", "data.paths=[packages]", *words, "--out", "out", "--quiet")
        yield Call("train python_packages", "Python packages", name, train, writes("packages/a.py", content))
        yield Call("demo", "Python packages", name, demo, writes("packages/a.py", content))
    missing = ("demo", "data.paths=[nothing]", "--out", "out", "--quiet")
    yield Call("demo", "Python packages", "missing", missing, lambda _: None)


def recipe_calls() -> Iterator[Call]:
    for (name, content), more in zip(RECIPES.items(), itertools.cycle(((), ("--dry-run",))), strict=False):
        words = ("train", "recipe.yaml", "--out", "out", "--quiet", *more)
        yield Call(" ".join(("train", *more)), "recipe", name, words, writes("recipe.yaml", content))
    for setting in SETTINGS:
        words = ("train", "static", "data.path=pairs.jsonl", *STATIC, *SMALL, setting)
        yield Call("train", "setting", setting, words, lambda _: None)


def in_run(name: str, change: Callable[[str], str | bytes]) -> Make:
    """Damage a file of a run."""

    def make(folder: Path) -> None:
        shutil.copytree(folder / "good run", folder / "run")
        path = folder / "run" / name
        changed = change(path.read_text(encoding="utf-8")) if path.suffix != ".safetensors" else change("")
        path.write_bytes(changed if isinstance(changed, bytes) else changed.encode("utf-8", "surrogatepass"))

    return make


def in_json(**changes: Any) -> Callable[[str], str]:
    return lambda text: json.dumps({**json.loads(text), **changes})


RESULTS: dict[str, Callable[[str], str | bytes]] = {
    "empty": lambda _: "",
    "cut": lambda text: text[: len(text) // 2],
    "a list": lambda _: "[1]",
    "zeros": lambda _: bytes(400),
    "Latin-1": lambda _: b'{"task": "\xe4"}',
    "nested 20,000 deep": lambda _: '{"metrics": ' + "[" * 20_000 + "]" * 20_000 + "}",
    "a number of 9,000 digits": lambda _: '{"seconds": ' + "9" * 9000 + "}",
    "metrics of 5": in_json(metrics=5),
    "metrics of lists": in_json(metrics={"mrr@10": [1]}),
    "intervals of words": in_json(intervals={"mrr@10": "wide"}),
    "differences of null": in_json(difference={"bm25": None}),
    "a protocol of 5": in_json(protocol=5),
    "HTML": in_json(task="<script>alert(1)</script>"),
    "control characters": in_json(task="\x1b[2J\u202e"),
    "a lone surrogate": in_json(task="\ud800"),
}
HARMLESS = ("HTML", "control characters", "a lone surrogate")  # a task may be called so


def run_calls() -> Iterator[Call]:
    for name, change in RESULTS.items():
        make = in_run("results.json", change)
        yield Call("report", "results.json", name, ("report", "run"), make, harmless=name in HARMLESS)
    for name, change in RESULTS.items():
        make = in_run("events.jsonl", _event(change))
        yield Call("report --json", "events.jsonl", name, ("report", "run", "--json"), make, harmless=True)
    compare = ("compare", "good run", "run")
    for name in ("empty", "cut", "a list", "zeros", "Latin-1", "nested 20,000 deep", "a number of 9,000 digits"):
        yield Call("compare", "rows.json", name, compare, in_run("rows.json", RESULTS[name]))
    for name in ("empty", "cut", "zeros", "Latin-1", "nested 20,000 deep"):
        yield Call("compare", "recipe.yaml", name, compare, in_run("recipe.yaml", RESULTS[name]), harmless=True)
        yield Call("compare", "results.json", name, compare, in_run("results.json", RESULTS[name]))
    for name, content in (("no run", None), ("a file", "run")):
        make = (lambda _: None) if content is None else writes("run", content)
        yield Call("report", "run", name, ("report", "run"), make)
    resume: tuple[str, ...] = ("train", "static", "data.path=pairs.jsonl", *STATIC, "data.heldout=0.2")
    resume += ("training.batch_size=16", "training.steps=4", "--out", "run", "--quiet", "--resume")
    for name in ("recipe.yaml", "events.jsonl", "results.json"):
        for damage in ("empty", "cut", "zeros", "Latin-1"):
            yield Call("train --resume", name, damage, resume, in_run(name, RESULTS[damage]), harmless=True)


def _event(change: Callable[[str], str | bytes]) -> Callable[[str], str | bytes]:
    """Return the damage of a JSON file as one of the second event of a log."""

    def damage(text: str) -> str | bytes:
        lines = text.splitlines()
        changed = change(lines[1])
        return changed if isinstance(changed, bytes) else "\n".join((lines[0], changed, *lines[2:], ""))

    return damage


DECISIONS: dict[str, str | bytes] = {
    "empty": "",
    "cut": '{"query": "a", "neg',
    "a list": "[1]\n",
    "an array of objects": '[{"query": "a", "negative": "b", "action": "drop"}]',
    "zeros": b"\0" * 100,
    "Latin-1": b'{"query": "\xe4"}',
    "UTF-16": '{"query": "a", "negative": "b", "action": "drop"}\n'.encode("utf-16"),
    "nested 20,000 deep": '{"query": ' + "[" * 20_000 + "]" * 20_000 + "}\n",
    "a number of 9,000 digits": '{"query": ' + "9" * 9000 + "}\n",
    "no action": '{"query": "a", "negative": "b"}\n',
    "an unknown action": '{"query": "a", "negative": "b", "action": "dorp"}\n',
    "a query of 5": '{"query": 5, "negative": "b", "action": "drop"}\n',
    "a lone surrogate": '{"query": "\\ud800", "negative": "b", "action": "drop"}\n',
}


def npy(text: str, data: bytes = b"") -> bytes:
    """Return a NumPy file of this header."""
    header = text.encode() + b" " * (63 - (len(text) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


CALIBRATION: dict[str, str | bytes] = {
    "empty": b"",
    "a text": "a,b\n",
    "a pickle": npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"\x80\x04cos\nsystem\n."),
    "10 ** 12 numbers": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1000000000000), }"),
    "another shape": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }", bytes(16)),
    "not a number": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 16), }", b"\xff" * 128),
    "words": npy("{'descr': '<U1', 'fortran_order': False, 'shape': (2, 16), }", bytes(128)),
    "a header that is code": npy("__import__('os').system('touch exploded')"),
}

KEYS: dict[str, str | bytes] = {
    "empty": "",
    "a key in the clear": "open sesame\n",
    "zeros": b"\0" * 64,
    "Latin-1": b"\xe4",
}


def file_calls() -> Iterator[Call]:
    mine = ("mine", "model", "pairs.jsonl", "--out", "mined.jsonl", "--quiet", "--decisions", "decisions.jsonl")
    train = ("train", "static", "data.path=pairs.jsonl", *STATIC, *SMALL, "positives.decisions=decisions.jsonl")
    for (name, content), words in zip(DECISIONS.items(), itertools.cycle((mine, train)), strict=False):
        yield Call(f"{words[0]} decisions", "decisions", name, words, writes("decisions.jsonl", content))
    int8 = ("embed", "model", "pairs.jsonl", "--column=key", "--out=v.npy", "--precision=int8", "--calibration")
    for name, content in CALIBRATION.items():
        words = (*int8, "c.ranges.npy")
        yield Call("embed --calibration", "calibration", name, words, writes("c.ranges.npy", content))
    for name, content in (("empty", ""), ("two texts", "a\nb\n"), ("zeros", "\0\0")):
        yield Call("embed --calibration", "calibration", f"{name}, .txt", (*int8, "c.txt"), writes("c.txt", content))
    corpus = ("mine", "model", "pairs.jsonl", "--out", "mined.jsonl", "--quiet", "--corpus")
    for form in _bad_sources.FORMATS[:4]:
        for name in ("missing", "cut in half", "zeros", "other columns"):
            damage = _bad_sources.damages(form)[name]
            make: Make = lambda folder, d=damage, f=form: d(f, folder)  # type: ignore[misc]  # noqa: E731
            yield Call("mine --corpus", form.name, name, (*corpus, form.path), make)
    for turn, form in enumerate(_bad_sources.FORMATS[:5]):
        for name, damage in list(_bad_sources.damages(form).items())[turn::4]:
            words = ("label", "zero-shot", "model", form.path, "--column=query", "--classes=fox,goose", "--out=l.csv")
            yield Call("label", form.name, name, words, lambda folder, d=damage, f=form: d(f, folder))  # type: ignore[misc]
    for name, text in (("empty", ""), ("blank", " \n\n"), ("Latin-1", "\udce4"), ("control", "\x1b[2J\x00")):
        words = ("search", "model", "pairs.jsonl", "-", "--column", "key", "--json")
        yield Call("search -", "standard input", name, words, lambda _: None, text)
    for name, content in KEYS.items():
        yield Call("serve --keys", "keys", name, ("serve", "model", "--keys", "keys.txt"), writes("keys.txt", content))


def option_calls() -> Iterator[Call]:
    for words in options():
        yield Call(words[0], "options", " ".join(word[:99] for word in words), words, lambda _: None)
