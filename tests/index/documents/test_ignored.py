"""What is left out of a folder: as git has it, what tools have made, and each counted by its reason."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.index.documents.find_files import find_files
from nearfar.index.documents.ignored import BY_GIT, BY_TOOLS

TREE = [
    "a.txt",
    "b.log",
    "build/a.txt",
    "build/b.log",
    "src/a.txt",
    "src/b.log",
    "src/build/a.txt",
    "src/x/a b.txt",
    "x/y/z.md",
]
PATTERNS = [
    "*.log", "build/", "/build", "build", "!b.log", "!src/b.log", "src/*", "!src/x/", "x/**", "**/a.txt", "a.*",
    "/a.txt", "!/src/a.txt", "x/y", "[ab].txt", "a\\ b.txt", "# a.txt", "", "!", "src/**/a.txt", "*",
    "!*/", "!*.md", "z.md ",
]  # fmt: skip


def write(top: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text, encoding="utf-8")
    return top


def names(top: Path, *, everything: bool = False) -> list[str]:
    return [file.name for file in find_files(top, everything=everything).files]


def git(top: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", top, *words], capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
@settings(max_examples=25, deadline=None)
@given(
    top=st.lists(st.sampled_from(PATTERNS), max_size=4),
    inside=st.lists(st.sampled_from(PATTERNS), max_size=3),
    own=st.lists(st.sampled_from(PATTERNS), max_size=1),
)
def test_what_git_ignores_is_left_out(
    tmp_path_factory: pytest.TempPathFactory, top: list[str], inside: list[str], own: list[str]
) -> None:
    rules = {".gitignore": "\n".join(top), "src/.gitignore": "\n".join(inside)}
    folder = write(tmp_path_factory.mktemp("repository"), dict.fromkeys(TREE, "text") | rules)
    git(folder, "init", "-q")
    write(folder, {".git/info/exclude": "\n".join(own)})
    listed = git(folder, "ls-files", "-z", "--others", "--exclude-standard").split("\0")
    seen = sorted(name for name in listed if name and not name.endswith(".gitignore"))
    assert names(folder) == seen
    within = [name.removeprefix("src/") for name in seen if name.startswith("src/")]
    asked = subprocess.run(["git", "-C", folder, "check-ignore", "-q", "src/"], check=False).returncode == 0
    assert asked or names(folder / "src") == within  # rules above a folder hold in it, unless they name it
    assert names(folder, everything=True) == sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def test_each_reason_is_counted(tmp_path: Path) -> None:
    files = {
        ".gitignore": "secret.txt\nruns/\n", "secret.txt": "s", "runs/a.txt": "a", "runs/b.txt": "b",
        ".hidden/c.txt": "c", "node_modules/p/index.js": "x", "src/__pycache__/a.txt": "x",
        "env/pyvenv.cfg": "home = /", "env/lib/a.py": "x",
        "target/CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55", "pyproject.toml": "[project]",
        "dist/a.txt": "x", "a.egg-info/PKG-INFO": "x", "docs/build/page.txt": "how to build", "docs/a.txt": "kept",
    }  # fmt: skip
    found = find_files(write(tmp_path, files))
    assert [file.name for file in found.files] == ["docs/a.txt", "docs/build/page.txt", "pyproject.toml"]
    assert found.passed_over == {BY_GIT: 2, BY_TOOLS: 6, "hidden": 2}
    assert (
        found.left_out()
        == f" (passed over: {', '.join(f'{count} {what}' for what, count in found.passed_over.items())})"
    )
    everything = find_files(tmp_path, everything=True)
    assert ([file.name for file in everything.files], everything.passed_over) == (sorted(files), {})


def test_rules_hold_without_a_repository_and_end_at_its_top(tmp_path: Path) -> None:
    write(tmp_path, {".gitignore": "*.txt\n", "inner/a.txt": "a", "inner/.gitignore": "b.md\n", "inner/b.md": "b"})
    assert names(tmp_path / "inner") == ["a.txt"]  # there is no repository, so what lies above says nothing
    write(tmp_path / "inner", {".git/HEAD": "ref: refs/heads/main\n"})
    assert names(tmp_path / "inner") == ["a.txt"]
    (tmp_path / ".git").mkdir()
    shutil.rmtree(tmp_path / "inner" / ".git")
    assert names(tmp_path / "inner") == []


def test_a_folder_that_is_ignored_but_asked_for_is_read(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            ".git/HEAD": "",
            ".gitignore": "runs/\n*.log\n",
            "runs/a/b.txt": "b",
            "runs/.gitignore": "c.txt\n",
            "runs/c.txt": "c",
        },
    )
    assert names(tmp_path / "runs") == ["a/b.txt"]
    assert names(tmp_path / "runs" / "a") == ["b.txt"]


def test_what_would_take_for_ever_or_is_no_file_does_not_count(tmp_path: Path) -> None:
    slow = "*a" * 40 + "b\n"
    top = write(
        tmp_path / "top", {".gitignore": f"# {slow}{slow}c.txt\n", "a" * 200: "x", "c.txt": "c", "d/e.txt": "e"}
    )
    secret = write(tmp_path / "outside", {"rules": "e.txt\n"}) / "rules"
    (top / "d" / ".gitignore").symlink_to(secret)
    found = find_files(top)
    assert [file.name for file in found.files] == ["a" * 200, "d/e.txt"]
    assert found.problems == [".gitignore: line 2 has more than 4 stars, so it does not count"]
    (top / ".gitignore").write_bytes(b"c.txt\n" * 200_000)
    found = find_files(top)
    assert "c.txt" in [file.name for file in found.files]
    assert found.problems == [".gitignore: has more than 1 MB, so its patterns do not count"]
    (top / ".gitignore").write_bytes(b"\xff\xfe\n\0\nc.txt\n")
    assert "c.txt" not in names(top)
