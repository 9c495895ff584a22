"""What the pages say can be typed: each `nearfar ...` line and each `nf.` name in a code block exists."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import nearfar as nf
from nearfar import config, recipes, registry
from nearfar.cli import app
from nearfar.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
PAGES = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if path.is_file()]
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
GROUP: Any = typer.main.get_command(app())


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """Yield the language and the text of each code block."""
    for found in BLOCK.finditer(page):
        yield found.group(1), found.group(2)


def calls(page: str) -> Iterator[str]:
    """Yield the lines of a page's code blocks that call nearfar, with continued lines joined."""
    for language, text in blocks(page):
        if language in ("", "sh", "bash", "shell", "console", "text"):
            for line in text.replace("\\\n", " ").splitlines():
                bare = re.sub(r"^\s*(\$ |uvx? (run )?|\.venv/bin/)?", "", line)
                if bare.startswith("nearfar "):
                    yield bare


def mistakes(line: str) -> Iterator[str]:
    """Yield what is wrong with a call: the command, an option, what is missing, a setting that no recipe knows."""
    words, command = shlex.split(line, comments=True), GROUP
    while hasattr(command, "commands") and len(words) > 1 and words[1] not in ("-h", "--help"):
        words = words[1:]
        command = command.commands.get(words[0])
        if command is None:
            yield f"no command {words[0]}"
            return
    known = {option for parameter in command.params for option in parameter.opts} | {"-h", "--help"}
    options = [word.strip("[]").partition("=")[0] for word in words[1:] if word.strip("[").startswith("-")]
    yield from (f"no option {option}" for option in options if option not in known)
    if "--help" in words or "-h" in words or re.search(r"\[|\||\.\.\.", line):  # a synopsis names what may be given
        return
    try:
        context = command.make_context(words[0], words[1:])
    except Exception as error:
        yield f"{type(error).__name__}: {error}"
        return
    if words[0] == "train" and context.params["recipe"] in recipes.catalogue():
        try:
            config.resolved(config.load(context.params["recipe"], context.params["overrides"] or []))
        except InputError as error:
            yield str(error)


def names(page: str) -> Iterator[str]:
    """Yield each dotted name under `nf` in a page's Python blocks; a block that is no Python is an error."""
    for language, text in blocks(page):
        if language in ("python", "py") and "import nearfar as nf" in page:
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Attribute) and re.fullmatch(r"nf(\.\w+)+", ast.unparse(node)):
                    yield ast.unparse(node)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_call_can_be_typed(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    wrong = [f"{line}: {what}" for line in calls(text) for what in mistakes(line)]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_name_is_there(page: Path) -> None:
    for name in names(page.read_text(encoding="utf-8")):
        find(name)


def find(name: str) -> Any:
    value: Any = nf
    for part in name.split(".")[1:]:
        value = getattr(value, part)
    return value


SCRIPTS = sorted(path for folder in ("benchmarks", "examples") for path in (ROOT / folder).glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_name_in_a_script_is_there(script: Path) -> None:
    """The public names load when they are asked for, so a type checker does not see that one is gone."""
    public = (*nf.__all__, "column", "tasks")
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and re.fullmatch(r"nf(\.\w+){1,2}", name := ast.unparse(node)):
            assert name.split(".")[1] in public, name
            if name.split(".")[1] in ("column", "tasks", *registry.PART_PACKAGES):
                find(name)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("nearfar serch model corpus query", "no command serch"),
        ("nearfar train RECIPE [key=value ...] --out DIR [--resum]", "no option --resum"),
        ("nearfar embed model", "Missing"),
        ("nearfar lab temprature model data", "no command temprature"),
        ("nearfar lab temperature model data --step 3", "no option --step"),
        ("nearfar search model corpus query --top 3", "no option --top"),
        ("nearfar train static data.path=x.jsonl encoder.dims=8", "no setting is called 'dims'"),
        ("nearfar train static", "path must be given"),
    ],
)
def test_a_line_that_cannot_be_typed_is_seen(line: str, what: str) -> None:
    (found,) = calls(f"```sh\n$ {line}  # why\n```")
    assert any(what in mistake for mistake in mistakes(found)), list(mistakes(found))


@pytest.mark.parametrize(
    "line",
    [
        "nearfar demo",
        "nearfar --help",
        "nearfar train static data.path=pairs.jsonl training.epochs=1 --out runs/a",
        "nearfar train RECIPE [key=value ...] --out DIR [--resume]",
        'nearfar search runs/a/model corpus.jsonl "a query" -k 3',
        "nearfar lab temperature runs/a/model pairs.jsonl --steps 0",
        "nearfar evaluate runs/a/model \\\n  data --baseline bm25",
    ],
)
def test_a_line_that_can_be_typed_is_not(line: str) -> None:
    (found,) = calls(f"```\n{line}\n```")
    assert list(mistakes(found)) == []


def test_the_design_and_the_help_know_the_same_commands() -> None:
    known = (
        "audit compare complete demo doctor embed evaluate export index lab label list map mine report search serve "
        "train views"
    )
    assert sorted(GROUP.commands) == known.split()


def commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each command by its words, those of a group after the group."""
    for name, command in sorted(group.commands.items()):
        yield f"{before}{name}", command
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")


@pytest.mark.parametrize("name", [name for name, _ in commands(GROUP)])
def test_every_command_has_help_for_each_of_its_words(name: str) -> None:
    command = dict(commands(GROUP))[name]
    assert command.help
    assert len(command.get_short_help_str(200)) <= 64, "or the list of commands cuts it off at 80 columns"
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name}: {parameter.name}"
