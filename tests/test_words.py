"""One word for one thing: the source speaks the field's language, and no two classes bear one name."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator

import pytest

from tests.test_layers import SOURCE, modules

# What the code once said, and what papers say instead.
PHRASES = {
    r"way back|ways? forth|forth and back|there and back": "backward pass, forward pass",
    r"both ways|one way\b(?! (to|from|of)\b)": "query-to-key, key-to-query",
    r"blot(s|ted|ting)?": "mask, masked",
    r"rooms?|house": "package",
    r"by heart": "memorized",
    r"to the letter": "verbatim",
}
IDENTIFIERS = {
    **{"keeper": "checkpointer", "moving": "train_state", "watch": "logger", "forth_and_back": "gradient_step"},
    **{"whose": "example_index", "looks": "augmentations", "turns": "mixing_schedule", "interleaved": "mixed_sampler"},
    **{"Keeper": "Checkpointer", "Moving": "TrainState", "Watch": "RunLogger", "Judge": "Evaluator"},
    **{"Judged": "Experiment", "Fresh": "NegativeRefresh", "Rising": "ScheduledMiner", "Near": "PositiveTerms"},
    **{"taught": "teacher_scores", "lean": "bf16_layers", "panels": "row_blocks"},
    **{"told": "described", "capped": "limited", "near_and_far": "positives"},
    **{"joined": "merge_batches", "follow_": "update_momentum_copy_", "near_weight": "positive_weight"},
}
FLOOR = re.compile(r"\bfloors?\b", re.IGNORECASE)  # only what a model must beat
FLOOR_FILES = ("evaluation/", "reports/", "metrics/", "contracts.py", "requirements.py", "experiment.py")
ALIKE = {  # two classes of one name, and why
    "Similarity": "graded pairs: the data set, and the task that it makes",
    "Retrieval": "the task, and the metric of that task",
}


def identifiers(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        for field in ("id", "attr", "arg", "name"):
            name = getattr(node, field, None)
            if isinstance(name, str):
                yield getattr(node, "lineno", 0), name


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Yield a source's comments and string literals with their first lines."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING) or tokenize.tok_name[token.type] == "FSTRING_MIDDLE":
            yield token.start[0], " ".join(token.string.split())


def resources() -> Iterator[tuple[str, int, str]]:
    """Yield the lines of templates and recipes."""
    for path in sorted(SOURCE.rglob("*")):
        if path.suffix in (".j2", ".yaml", ".css", ".js"):
            for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                yield path.relative_to(SOURCE).as_posix(), number, text.strip()


def files() -> Iterator[tuple[str, str]]:
    for path in modules().values():
        yield path.relative_to(SOURCE).as_posix(), path.read_text(encoding="utf-8")


@pytest.mark.parametrize(("phrase", "instead"), PHRASES.items())
def test_no_phrase_of_a_dialect(phrase: str, instead: str) -> None:
    pattern = re.compile(rf"\b(?:{phrase})\b", re.IGNORECASE)
    lines = [(name, line, text) for name, source in files() for line, text in prose(source)]
    found = [f"{name}:{line}: {text[:90]}" for name, line, text in [*lines, *resources()] if pattern.search(text)]
    assert found == [], f"say {instead}"


def test_no_identifier_of_a_dialect() -> None:
    found = [
        f"{name}:{line}: {word}, say {IDENTIFIERS[word]}"
        for name, source in files()
        for line, word in identifiers(ast.parse(source))
        if word in IDENTIFIERS
    ]
    assert found == []


def test_a_floor_is_what_a_model_must_beat() -> None:
    found = [
        f"{name}:{line}: {text[:90]}"
        for name, source in files()
        for line, text in [*prose(source), *identifiers(ast.parse(source))]
        if FLOOR.search(text) and not name.startswith(FLOOR_FILES) and text != "floor"  # of numpy, torch and math
    ]
    assert found == []


def test_no_two_public_classes_of_one_name() -> None:
    places = defaultdict(list)
    for name, source in files():
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(name)
    assert {name: found for name, found in places.items() if len(found) > 1 and name not in ALIKE} == {}
    assert {name for name in ALIKE if len(places[name]) < 2} == set(), "no longer needed"


def test_files_are_one_thought_long() -> None:
    """Over 300 lines a file says why, in a line that begins with "# This file is long because"."""
    long = [
        name for name, source in files() if source.count("\n") > 300 and "# This file is long because" not in source
    ]
    assert long == []
