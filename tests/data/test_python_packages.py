"""PythonPackages: what becomes a row, what is skipped, what is held out, and what the cache does."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.data.harvest import run
from nearfar.data.harvest.distributions import environment_distributions
from nearfar.data.harvest.parse import Limits, documented_code, promising_parts, summary
from nearfar.data.python_packages import COLUMNS, MAX_PER_QUERY, PythonPackages
from nearfar.errors import InputError, RunError
from nearfar.text.minhash import near_duplicates, signatures

DEFAULT = Limits()
ALL = Limits(min_words=1, min_body=0, max_code=10**9)
FIRST = ("ka", "lo", "mi", "nu", "pe", "ra", "so", "ti", "vu", "za")
WORDS = [a + b for a in FIRST for b in ("ba", "de", "fi", "go", "hu", "jan", "kel", "mor")]

GOOD = 'def f(x):\n    """Return the sum of it."""\n    y = x + 1\n    return y\n'


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "python_packages"


def rows(data: Any) -> list[dict[str, str]]:
    columns = {name: data.column(name).read(0, len(data)) for name in data.columns}
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def code_by_name(text: str, limits: Limits = DEFAULT) -> dict[str, str]:
    return {row.name: row.code for row in documented_code(text, limits)}


def tree(root: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def function(rng: random.Random, name: str = "") -> str:
    """Return a function of random words, so that no two are near-duplicates."""
    name = name or "_".join(rng.sample(WORDS, 3))
    lines = [
        f"    {rng.choice(WORDS)} = {rng.choice(WORDS)}({rng.choice(WORDS)}, {rng.randrange(999)})" for _ in "123456"
    ]
    doc = " ".join(rng.sample(WORDS, 6)).capitalize()
    return f'def {name}():\n    """{doc}."""\n' + "\n".join(lines) + f"\n    return {rng.choice(WORDS)}\n"


def many(root: Path, distributions: int = 24, modules: int = 6, functions: int = 4) -> list[Path]:
    rng = random.Random(0)
    files = {
        f"dist{d:02}/pkg/m{m}.py": "\n\n".join(function(rng) for _ in range(functions))
        for d in range(distributions)
        for m in range(modules)
    }
    tree(root, dict(files))
    return sorted(root.iterdir())


# --- documented code


CASES = {
    "one line": ('def f(): "Do it well."; return 1', "def f(): return 1"),
    "several on the line": ('def f(): "Do it well."; x = 1; return x', "def f(): x = 1; return x"),
    "semicolon, then lines": ('def f():\n    "Do it well.";\n    return 1', "def f():\n    return 1"),
    "semicolon, joined": (
        'def f():\n    "Do it well."; \\\n    x = 1\n    return x',
        "def f():\n    x = 1\n    return x",
    ),
    "backslash, semicolon": (
        'def f():\n    "Do it" \\\n    ; x = 1\n    return x',
        "def f():\n    x = 1\n    return x",
    ),
    "implicitly joined": ('def f():\n    ("Do it "\n     "well.")\n    return 1', "def f():\n    return 1"),
    "in parentheses": ('def f():\n    (\n    "Do it well."\n    )\n    return 1', "def f():\n    return 1"),
    "comment behind": ('def f():\n    "Do it well."  # noqa\n\n    return 1', "def f():\n    return 1"),
    "prefix": ('def f():\n    R"""Do it\n\n    well."""\n    return 1', "def f():\n    return 1"),
    "wide characters": ('def f(é="日本"): "Dö it wéll."; return "ü"', 'def f(é="日本"): return "ü"'),
    "tabs": ('class A:\n\tdef f(self):\n\t\t"Do it well."\n\t\treturn 1', "def f(self):\n\treturn 1"),
    "form feed": (
        'class A:\n\f    def f(self):\n        "Do it well."\n        return 1',
        "def f(self):\n    return 1",
    ),
    "form feed inside": ('def f():\n    "Do it well."\n    \f    return 1', "def f():\n    return 1"),
    "async": ('async def f():\n    "Do it well."\n    return 1', "async def f():\n    return 1"),
    "decorator": ('@a(\n  1)\n@b\ndef f():\n    "Do it well."\n    return 1', "def f():\n    return 1"),
    "nested": (
        'def f():\n    "Do it well."\n    def g():\n        "Do that well."\n    class B: "Do those."\n    return g',
        "def f():\n    def g():\n        ...\n    class B: ...\n    return g",
    ),
    "other line ends": ('def f():\n    "Do it well."\n    x = "a\u2028b\x0bc"\n    return x', None),
    "text at the margin": ('class A:\n  def f(self):\n    "Do it well."\n    return """\na\n  b"""', None),
    "trailing backslash": ('def f():\n    "Do it well."\n    return 1\\\n\n', "def f():\n    return 1"),
    "in blocks": (
        "if a:\n  try:\n    pass\n  except E:\n    for x in y:\n      match x:\n        case 1:\n"
        '          def f():\n            "Do it well."\n            return 1',
        "def f():\n  return 1",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_slices(name: str) -> None:
    text, code = CASES[name]
    found = code_by_name(text, ALL)
    found = {key.rpartition(".")[2]: value for key, value in found.items()}
    assert "Do " not in found["f"]
    assert ast.get_docstring(ast.parse(found["f"]).body[0]) is None  # type: ignore[arg-type]
    if code is not None and name != "in blocks":
        assert found["f"] == code
    if name == "in blocks":
        assert found["f"] == "def f():\n  return 1"


def test_names_and_kinds() -> None:
    text = (
        'class A:\n    "A thing."\n    x = 1\n    class B:\n        "B thing."\n        y = 1\n'
        '        async def f(self):\n            "F thing."\n            def g(): "G thing."; return 1\n'
        '            return g\n    if x:\n        def h(self): "H thing."; return 1\n'
    )
    found = {row.name: row.kind for row in documented_code(text, ALL)}
    assert found == {
        "A": "class",
        "A.B": "class",
        "A.B.f": "method",
        "A.B.f.<locals>.g": "function",
        "A.h": "method",
    }


@pytest.mark.parametrize(
    "body",
    [
        "pass",
        "...",
        "raise NotImplementedError",
        "raise NotImplementedError('a subclass does this, and it is a long story')",
        "...\n    raise NotImplementedError()",
        "",
        "return self.x",
        "# a comment\n    return self.x  ",
    ],
)
def test_stubs_are_no_rows(body: str) -> None:
    assert code_by_name(f'def f(self):\n    """Return the thing itself."""\n    {body}\n') == {}


def test_a_long_line_or_two_lines_are_a_body() -> None:
    doc = '"""Return the thing itself."""'
    assert code_by_name(f"def f(self):\n    {doc}\n    return self.some_name.another_name(first, second)\n")
    assert code_by_name(f"def f(self):\n    {doc}\n    x = 1\n    return x\n")


def test_long_code_ends_at_a_line() -> None:
    lines = "".join(f"    x{i} = {i}\n" for i in range(1000))
    code = code_by_name(f'def f():\n    """Set a thousand names."""\n{lines}')["f"]
    assert 3900 < len(code) <= 4000
    ast.parse(code)
    assert code_by_name(f'def f():\n    """Return one endless line."""\n    x = 1\n    return "{"a" * 9000}"\n') == {}


NAMES = st.sampled_from(["a", "bé", "c_1"])
DOCSTRINGS = st.sampled_from(
    ['"Say what."', "'''Say\n\n  what.\n'''", 'r"Say \\d."', '("Say " "what.")', '"Say \\ud800."', '""" Säy """', None]
)
SIMPLE = st.sampled_from(["x = 1", "return (1,\n 2)", "y = 'é'  # why", "# nothing\n", "\n", "z = [\n'a'\n]", "pass"])


@st.composite
def definitions(draw: st.DrawFn, depth: int = 2) -> str:
    header = draw(st.sampled_from(["def {}():", "async def {}(a, /, b=':'):", "class {}:", "@d\ndef {}(\n): # why"]))
    indent = draw(st.sampled_from([" ", "    ", "\t"]))
    docstring = draw(DOCSTRINGS)
    name = draw(NAMES)
    if docstring and "\n" not in docstring + header and draw(st.booleans()):
        rest = draw(st.sampled_from(["", ";", "; x = 1", "; x = 'é'; y = 2 ;"]))
        return f"{header.format(name)} {docstring}{rest}\n"
    inner = [SIMPLE] if depth == 0 else [SIMPLE, definitions(depth=depth - 1)]
    body = draw(st.lists(st.one_of(inner), min_size=1, max_size=4))
    if all(not line.strip() or line.startswith("#") for line in body):
        body.append("pass")
    if docstring:
        body.insert(0, docstring + draw(st.sampled_from(["", ";", "  # noqa", "; w = 3", "; \\\n w = 3"])))
    text = "\n".join(body)
    inside = "\n".join(indent + line if line else "" for line in text.split("\n"))
    return f"{header.format(name)}\n{inside}\n"


class WithoutDocstrings(ast.NodeTransformer):
    def cut(self, node: Any) -> Any:
        self.generic_visit(node)
        if isinstance(node.body[0], ast.Expr) and isinstance(getattr(node.body[0].value, "value", None), str):
            node.body = node.body[1:] or [ast.Expr(ast.Constant(...))]
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = cut  # noqa: N815


@settings(max_examples=150, deadline=None)
@given(st.lists(definitions(), min_size=1, max_size=3))
def test_code_is_its_definition_without_docstrings(parts: list[str]) -> None:
    text = "\n".join(parts)
    expected = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bare = WithoutDocstrings().visit(ast.parse(ast.unparse(node)).body[0])
            bare.decorator_list = []
            expected.append(ast.dump(bare))
    found = list(documented_code(text, ALL))
    assert [row for part in promising_parts(text) for row in documented_code(part, ALL)] == found
    for row in found:
        [node] = ast.parse(row.code).body
        assert ast.dump(node) in expected
        assert not any(
            ast.get_docstring(inner)
            for inner in ast.walk(node)
            if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        )


def test_definitions_inside_strings_are_text() -> None:
    text = f"""def code():
    \"\"\"Return a template of code.\"\"\"
    first = "it's"  # "
    return '''
{GOOD}
'''


@first
def plain():
    return {{"def": "x"}}


class A:
    def f(self):
        'Return one and two and three.'
        return [1, 2, 3], "long enough to be a body"
"""
    parts = list(promising_parts(text))
    assert [row.name for part in parts for row in documented_code(part, DEFAULT)] == ["code", "A.f"]
    assert "plain" not in "".join(parts)


# --- summaries


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("  Add two\n  numbers.  And more of it.\n\nNever this.", "Add two numbers."),
        ("Use it, e.g. For tests. Or not.", "Use it, e.g. For tests."),
        ("Note. Use the other one. Please.", "Note. Use the other one."),
        ("add(a, b) -> c\n\nAdd two numbers.", "Add two numbers."),
        ("Add two numbers.\nArgs:\n    a: one", "Add two numbers."),
        ("Add two numbers\n===============\nAnd so on", "Add two numbers"),
        ("Add two numbers:\n- one\n- two", "Add two numbers:"),
        (":class:`Foo` for all numbers", ":class:`Foo` for all numbers"),
        (":param x: the number it adds", ""),
        ("x (`int`, *optional*): the number to add", ""),
        ("Parameters\n----------\nx : int or float", ""),
        ("Two words.", ""),
        ("1 2 3 - 4", ""),
        ("A lone \ud800 surrogate here", ""),
        ("", ""),
    ],
)
def test_summary(docstring: str, expected: str) -> None:
    assert summary(docstring, 300, 3) == expected


def test_a_long_summary_ends_at_a_word() -> None:
    text = summary("word " * 200, 300, 3)
    assert len(text) == 299
    assert text.endswith("word")


# --- files


def test_bad_files_are_counted_and_skipped(tmp_path: Path) -> None:
    root = tree(
        tmp_path / "project",
        {
            "pkg/__init__.py": GOOD,
            "pkg/bom.py": b"\xef\xbb\xbf" + GOOD.encode(),
            "pkg/crlf.py": GOOD.replace("\n", "\r\n").replace("sum", "crlf"),
            "pkg/cr.py": GOOD.replace("\n", "\r").replace("sum", "cr"),
            "pkg/escapes.py": GOOD.replace("x + 1", "'\\d'").replace("sum", "warning"),
            "pkg/surrogate.py": GOOD.replace("sum", "\\ud800"),
            "pkg/surrogate_in_code.py": GOOD.replace("x + 1", "'\\ud800'").replace("sum", "surrogate"),
            "pkg/binary.py": b"\x7fELF\xff\xfe" + bytes(range(1, 256)),
            "pkg/latin.py": GOOD.replace("sum", "s\xfcm").encode("latin-1"),
            "pkg/null.py": GOOD + "\0",
            "pkg/huge.py": GOOD + "#" * 2_000_000,
            "pkg/syntax.py": GOOD + "x = (:",
            "pkg/tabs.py": GOOD + "\tx = 1",
            "pkg/deep.py": GOOD + "x = " + "-" * 50_000 + "1",
            "pkg/brackets.py": GOOD + "(" * 5_000,
            "pkg/empty.py": "",
            "pkg/notes.txt": GOOD,
            "__pycache__/pkg.py": GOOD,
            "site-packages/other.py": GOOD,
            ".hidden/other.py": GOOD,
        },
    )
    (root / "pkg/dangling.py").symlink_to(tmp_path / "nowhere")
    data = PythonPackages(paths=[root])
    deep = data.notes["files skipped"].pop("nested too deeply", 0) + data.notes["files skipped"]["syntax error"]
    assert deep == 4  # which of the two a parser calls its limits depends on the version
    del data.notes["files skipped"]["syntax error"]
    assert data.notes["files skipped"] == {"huge": 1, "not UTF-8": 2, "null bytes": 1}
    assert data.notes["files read"] == 8
    assert [row["module"] for row in rows(data)] == [
        f"pkg{x}" for x in ("", ".cr", ".crlf", ".escapes", ".surrogate_in_code")
    ]
    assert data.notes["removed"]["duplicates"] == 1  # bom.py holds what __init__.py holds
    assert all("\r" not in row["code"] for row in rows(data))
    assert {row["distribution"] for row in rows(data)} == {"project"}


def test_a_file_that_may_not_be_read_is_counted_and_not_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.name == "b.py":
            raise PermissionError(path)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refused)  # not chmod: root may read everything
    root = tree(tmp_path / "project", {"a.py": GOOD, "b.py": GOOD})
    assert PythonPackages(paths=[root]).notes["files skipped"] == {"unreadable": 1}
    monkeypatch.undo()
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    data = PythonPackages(paths=[root])
    assert data.notes["distributions from cache"] == 0
    assert data.notes["files read"] == 2


def test_most_rows_of_one_docstring(tmp_path: Path) -> None:
    same = [f'def f{i}():\n    """Initialise the  Weights."""\n    x = {i}\n    return x\n' for i in range(30)]
    data = PythonPackages(paths=[tree(tmp_path / "project", {"a.py": "\n".join(same)})])
    assert len(data) == MAX_PER_QUERY
    assert data.notes["removed"]["repeated docstrings"] == 30 - MAX_PER_QUERY


# --- splits


def test_splits_are_disjoint_and_meet_their_sizes(tmp_path: Path) -> None:
    data = PythonPackages(paths=many(tmp_path), heldout=40, unseen=40)
    assert len(data) == data.notes["train"]
    parts = {"train": rows(data)} | {name: rows(data.split(name)) for name in ("heldout", "unseen")}
    assert data.split("train") is data
    surplus = sum(dropped["surplus"] for dropped in data.notes["dropped"].values())
    assert sum(map(len, parts.values())) + surplus == 24 * 6 * 4
    for name in ("heldout", "unseen"):
        assert (36 if name == "heldout" else 24) <= len(parts[name]) <= 40  # whole modules of 4, distributions of 24
        assert len(data.split(name)) == data.notes[name]
        assert data.split(name).split(name) is data.split(name)
        assert data.split(name).columns == data.columns == COLUMNS
    groups = {
        name: ({(row["distribution"], row["module"]) for row in part}, {row["distribution"] for row in part})
        for name, part in parts.items()
    }
    assert not groups["train"][0] & groups["heldout"][0]
    assert groups["heldout"][1] <= groups["train"][1]
    assert not groups["unseen"][1] & (groups["train"][1] | groups["heldout"][1])
    assert sorted(groups["unseen"][1]) == data.notes["unseen distributions"]
    assert len({data.fingerprint, *(data.split(name).fingerprint for name in ("heldout", "unseen"))}) == 3


def leaky(root: Path) -> list[Path]:
    """Add to every module copies of functions from other distributions, each changed in another way."""
    paths = many(root, 12, 6, 4)
    names = sorted(root.rglob("*.py"))
    texts = [name.read_text() for name in names]
    shout = [text.replace('"""', '"""   ', 1).upper() for text in texts]
    for i, name in enumerate(names):
        query, code, comment = (texts[(i + shift) % len(texts)].split("\n\n\n") for shift in (7, 19, 31))
        rng = random.Random(i)
        other = [function(rng), function(rng)]
        doc = shout[(i + 7) % len(texts)].split('"""')[1]
        same_query = other[0].replace(other[0].split('"""')[1], doc)
        same_code = code[1].replace(code[1].split('"""')[1], " ".join(rng.sample(WORDS, 6)))
        spaced = comment[2].replace(comment[2].split('"""')[1], " ".join(rng.sample(WORDS, 6)))
        spaced = spaced.replace(" = ", "=").replace("\n", "  # why\n", 1).replace("(", "( ")
        near = (
            query[3].replace(query[3].split('"""')[1], " ".join(rng.sample(WORDS, 6))).replace("return ", "return not ")
        )
        name.write_text("\n\n".join([texts[i], other[1], same_query, same_code, spaced, near]))
    return paths


def test_nothing_that_training_saw_is_held_out(tmp_path: Path) -> None:
    data = PythonPackages(paths=leaky(tmp_path), heldout=40, unseen=40)
    train = rows(data)
    queries = {" ".join(row["docstring"].lower().split()) for row in train}
    plain = {"".join(line.partition("#")[0] for line in row["code"].split("\n")).replace(" ", "") for row in train}
    train_shingles = [shingle_set(row["code"]) for row in train]
    for name in ("heldout", "unseen"):
        dropped = data.notes["dropped"][name]
        assert dropped.pop("surplus") >= 0
        assert all(count > 0 for count in dropped.values()), data.notes
        for row in rows(data.split(name)):
            assert " ".join(row["docstring"].lower().split()) not in queries
            code = "".join(line.partition("#")[0] for line in row["code"].split("\n")).replace(" ", "")
            assert code not in plain
            shingles = shingle_set(row["code"])
            assert max(len(shingles & other) / len(shingles | other) for other in train_shingles) < 0.9


def shingle_set(code: str) -> set[tuple[str, ...]]:
    import re

    words = re.findall(r"\w+", re.sub("#.*", "", code))
    return set(zip(words, words[1:], words[2:]))


def test_seed_changes_what_is_held_out(tmp_path: Path) -> None:
    paths = many(tmp_path)
    prints = {PythonPackages(paths=paths, heldout=40, unseen=40, seed=seed).fingerprint for seed in (0, 0, 1)}
    assert len(prints) == 2


def test_a_small_environment_is_scaled_down(tmp_path: Path) -> None:
    data = PythonPackages(paths=many(tmp_path, 12, 6, 4))
    assert data.notes["scaled down"] == dict.fromkeys(["heldout", "unseen"], "2000 asked, a tenth of all is 28")
    assert 0 < len(data.split("heldout")) <= 28
    assert 0 < len(data.split("unseen")) <= 28


def test_one_module_alone_holds_nothing_out(tmp_path: Path) -> None:
    data = PythonPackages(paths=[tree(tmp_path / "project", {"a.py": GOOD})])
    assert len(data) == 1
    for name in ("heldout", "unseen"):
        with pytest.raises(InputError, match=f"'{name}' has no rows"):
            data.split(name)


def test_nothing_asked_is_nothing_held_out(tmp_path: Path) -> None:
    data = PythonPackages(paths=many(tmp_path, 12, 6, 4), heldout=0, unseen=0)
    assert len(data) == 12 * 6 * 4


# --- near-duplicates


def test_signatures_estimate_the_jaccard_similarity() -> None:
    rng = random.Random(0)
    first = [[rng.choice(WORDS) for _ in range(200)] for _ in range(50)]
    second = [words[: 4 * i] + [rng.choice(WORDS) for _ in range(200 - 4 * i)] for i, words in enumerate(first)]
    codes = [" ".join(words) for words in first + second]
    estimate = (signatures(codes[:50]) == signatures(codes[50:])).mean(1)
    sets = [shingle_set(code) for code in codes]
    true = np.array([len(a & b) / len(a | b) for a, b in zip(sets[:50], sets[50:])])
    assert np.abs(estimate - true).mean() < 0.06
    assert abs(float((estimate - true).mean())) < 0.02


def test_signatures_of_little_code() -> None:
    assert signatures([]).shape == (0, 32)
    some = signatures(["", "a", "a b", "a b c", "x y z w"])
    assert len(np.unique(some, axis=0)) == 5
    assert (signatures(["x y z w"])[0] == some[4]).all()


def test_the_join_finds_what_comparing_all_with_all_finds() -> None:
    rng = np.random.default_rng(0)
    others = rng.integers(0, 2**32, (3000, 32), np.uint32)
    others[1000:2500] = others[0]  # copied code: one large bucket
    queries = others[rng.integers(0, 3000, 600)].copy()
    for i, row in enumerate(queries):
        row[rng.permutation(32)[: i % 16]] = 7
    equal = (queries[:, None] == others[None]).sum(2).max(1)
    assert (near_duplicates(queries, others) == (equal >= 23)).all()
    assert not near_duplicates(queries, others[:0]).any()
    assert near_duplicates(queries[:0], others).shape == (0,)


# --- cache and processes


def contents(data: PythonPackages) -> list[Any]:
    return [rows(data), rows(data.split("heldout")), rows(data.split("unseen")), data.fingerprint]


def test_one_and_two_workers_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_JOB_FILES", 2)
    paths = many(tmp_path / "src")
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "one"))
    one = PythonPackages(paths=paths, workers=1)
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "two"))
    two = PythonPackages(paths=paths[::-1], workers=2)
    assert two.notes["distributions from cache"] == 0
    assert contents(one) == contents(two)
    assert one.notes == two.notes


def test_a_cached_distribution_is_not_parsed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = many(tmp_path / "src")
    first = PythonPackages(paths=paths)
    monkeypatch.setattr(run, "harvest", None)
    second = PythonPackages(paths=paths)
    assert contents(first) == contents(second)
    assert second.notes["distributions from cache"] == len(paths)
    assert second.notes | {"distributions from cache": 0} == first.notes


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    root = tree(tmp_path / "project", {"a.py": GOOD})
    PythonPackages(paths=[root])
    tree(root, {"a.py": GOOD.replace("sum", "other sum")})
    assert rows(PythonPackages(paths=[root]))[0]["docstring"] == "Return the other sum of it."


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "another", "no metadata"])
def test_a_damaged_cache_file_is_ignored_and_written_again(tmp_path: Path, cache: Path, damage: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = many(tmp_path / "src", 12, 6, 4)
    first = PythonPackages(paths=paths)
    file = sorted(cache.iterdir())[3]
    whole = file.read_bytes()
    if damage == "another":
        pq.write_table(pa.table({"x": [1]}), file)
    elif damage == "no metadata":
        pq.write_table(pq.read_table(file).replace_schema_metadata(None), file)
    else:
        flipped = whole[:200] + bytes([whole[200] ^ 255]) + whole[201:]
        file.write_bytes({"cut": whole[:-50], "empty": b"", "flipped": flipped}[damage])
    second = PythonPackages(paths=paths)
    assert contents(first) == contents(second)
    assert second.notes["distributions from cache"] == 11
    assert file.read_bytes() == whole
    assert not list(cache.glob("*.part"))


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "file"))
    data = PythonPackages(paths=[tree(tmp_path / "project", {"a.py": GOOD})])
    assert len(data) == 1
    assert "NEARFAR_CACHE" in data.notes["cache"]


def test_a_script_without_a_guard_may_use_workers(tmp_path: Path) -> None:
    root = tree(tmp_path / "project", {"a.py": GOOD, "b.py": GOOD.replace("sum", "other")})
    script = tmp_path / "script.py"
    script.write_text(
        "print('start')\nfrom pathlib import Path\nfrom nearfar.data.harvest import run\n"
        "run._JOB_FILES = 1\nfrom nearfar.data.python_packages import PythonPackages\n"
        f"print(len(PythonPackages(paths=[Path({str(root)!r})], workers=2)))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("start\n2\n", "")


def die(_: Any) -> None:
    os._exit(1)


def test_a_dead_worker_is_an_error_that_says_so() -> None:
    from nearfar.data.harvest.run import run

    with pytest.raises(RunError, match="worker process died"):
        list(run(die, [1, 2], 2))


def test_progress_goes_to_standard_error_and_only_if_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [tree(tmp_path / "project", {"a.py": GOOD})]
    PythonPackages(paths=paths)
    assert capsys.readouterr() == ("", "")
    tree(tmp_path / "project", {"b.py": GOOD})
    PythonPackages(paths=paths, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "reading Python source" in err


# --- the environment


def installed(
    root: Path, name: str, files: dict[str, str], record: bool = True, more: Mapping[str, str] | None = None
) -> None:
    info = f"{name}-1.0.dist-info"
    tree(root, dict(files))
    lines = "".join(f"{file},sha256=x,{len(text)}\n" for file, text in files.items())
    tree(root, {f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n\nName: no\n"})
    record_file = {f"{info}/RECORD": lines} if record else {}
    tree(root, record_file | {f"{info}/{key}": text for key, text in (more or {}).items()})


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    first, second, library = (tmp_path / name for name in ("first", "second", "library"))
    installed(first, "Some_Name", {"some/__init__.py": GOOD, "shared.py": GOOD, "../bin/tool.py": GOOD})
    installed(first, "zz", {"shared.py": GOOD, "gone.py": GOOD})
    installed(second, "some-name", {"some/old.py": GOOD})
    installed(second, "bare", {"bare.py": GOOD}, record=False)
    link = json.dumps({"dir_info": {"editable": True}})
    installed(second, "linked", {"linked.py": GOOD}, more={"direct_url.json": link})
    installed(second, "native", {"native.so": "x"})
    installed(second, "odd", {"odd.py": GOOD}, more={"direct_url.json": "{"})
    (first / "gone.py").unlink()
    tree(library, {"os.py": GOOD, "test/test_os.py": GOOD, "idlelib/idle_test/a.py": GOOD, "site-packages/x.py": GOOD})
    paths = [str(first), str(second)]
    distributions = importlib.metadata.distributions
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: distributions(path=paths))
    monkeypatch.setattr("nearfar.data.harvest.distributions.sysconfig.get_path", lambda _: str(library))
    yield first


def test_the_environment_is_the_library_and_what_is_installed(site: Path) -> None:
    found, skipped = environment_distributions()
    modules = {distribution.name: [file.module for file in distribution.files] for distribution in found}
    assert modules == {"python": ["os"], "some-name": ["shared", "some"], "zz": ["gone"]}
    assert skipped == {
        "found twice": 1,
        "without RECORD": 1,
        "editable": 1,
        "without Python source": 1,
        "damaged metadata": 1,
    }


def test_the_environment_is_harvested(site: Path) -> None:
    data = PythonPackages(heldout=0, unseen=0)
    assert data.notes["files skipped"] == {"missing": 1}
    assert data.notes["pairs harvested"] == 3
    assert data.notes["removed"]["duplicates"] == 2
    assert data.notes["distributions"] == 3
    again = PythonPackages(heldout=0, unseen=0)
    assert again.notes["distributions from cache"] == 2  # what lacks a file is read again, in case it is back
    assert again.fingerprint == data.fingerprint


# --- errors


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder"):
        PythonPackages(paths=[tmp_path / "nowhere"])
    with pytest.raises(InputError, match="two folders are called 'a'"):
        PythonPackages(paths=[tree(tmp_path / x / "a", {"a.py": GOOD}) for x in "bc"])
    said = r"no documented Python code in .*empty: 2 files read of 1 distribution; skipped: 1 not UTF-8; name other"
    with pytest.raises(InputError, match=said):
        PythonPackages(paths=[tree(tmp_path / "empty", {"a.py": "x = 1", "b.py": b"\xe9", "c.py": ""})])
    with pytest.raises(InputError, match="heldout: -1 must be at least 0"):
        PythonPackages(heldout=-1)
    with pytest.raises(InputError, match="workers: 0 must be at least 1"):
        PythonPackages(workers=0)
    data = PythonPackages(paths=[tree(tmp_path / "project", {"a.py": GOOD})])
    with pytest.raises(InputError, match="did you mean 'docstring'"):
        data.column("docstrings")
    with pytest.raises(InputError, match="did you mean 'heldout'"):
        data.split("held")
