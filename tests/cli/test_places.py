"""Places that cannot be read or written: each is answered once, before the work, and what was there stays."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import datasets
import pytest

import nearfar
from nearfar.data.table import Table
from tests.cli.calling import Run
from tests.cli.test_bad_runs import NEARFAR

EMBED = ["embed", "model", "pairs.jsonl", "--column=key", "--out"]
NOT_UTF8 = os.fsdecode(b"p\xff")


@pytest.mark.parametrize(("kind", "word"), [("folder", "a folder"), ("pipe", "regular"), ("dangling", "link")])
def test_a_name_that_is_no_file_stays_what_it_is(kind: str, word: str, here: Path, nearfar: Run) -> None:
    for name, command in (("v.npy", EMBED), ("a.html", ["audit", "pairs.jsonl", "--out"])):
        place = here / name
        if kind == "pipe":
            os.mkfifo(place)
        elif kind == "folder":
            place.mkdir()
        else:
            place.symlink_to("nowhere")
        before = _what_it_is(place)
        nearfar(*command, name).refused(name, word)
        assert _what_it_is(place) == before


def _what_it_is(place: Path) -> tuple[int, ...]:
    """Return all of a name's status but the time when it was read last."""
    found = os.lstat(place)
    return found.st_mode, found.st_ino, found.st_nlink, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def test_a_link_to_a_file_stays_a_link(here: Path, nearfar: Run) -> None:
    (here / "elsewhere.npy").write_bytes(b"old")
    (here / "v.npy").symlink_to("elsewhere.npy")
    assert nearfar(*EMBED, "v.npy").code == 0
    assert (here / "v.npy").is_symlink()
    assert (here / "elsewhere.npy").read_bytes().startswith(b"\x93NUMPY")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ["x" * 300 + ".jsonl", "~nobody-of-this-name/x.jsonl"])
def test_a_path_that_cannot_be_is_the_users_input(name: str, nearfar: Run) -> None:
    nearfar("search", "model", name, "fox").refused(name[:20])
    nearfar("train", "static", f"data.path={name}").refused(name[:20])


@pytest.mark.usefixtures("here")
def test_a_home_that_nobody_has_is_the_users_input(nearfar: Run) -> None:
    place = "~nobody-of-this-name/x"
    nearfar("search", f"{place}.index", "fox").refused("search")
    nearfar("index", "build", "new.index", "model", place).refused(place)
    nearfar("train", "simclr", f"data.path={place}").refused(place)
    assert nearfar("search", "model", "pairs.jsonl", f"{place}.png").code == 0  # words, then


def test_names_that_are_no_text(here: Path, nearfar: Run) -> None:
    (here / f"{NOT_UTF8}.jsonl").write_bytes((here / "pairs.jsonl").read_bytes())
    nearfar("audit", f"{NOT_UTF8}.jsonl", "--out", "a.html", "--quiet").refused("not UTF-8", "rename")
    (here / "texts").mkdir()
    (here / "texts" / f"{NOT_UTF8}.txt").write_text("a fox")
    nearfar("search", "model", "texts", "fox").refused("not UTF-8", "rename")
    nearfar("train", "static", "data.path=pairs.jsonl", "--out", NOT_UTF8).refused("not UTF-8")
    (here / "model").rename(here / NOT_UTF8)
    nearfar("search", NOT_UTF8, "pairs.jsonl", "fox").refused("not UTF-8", "rename")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write in")
@pytest.mark.usefixtures("here")
def test_a_home_that_cannot_be_written(nearfar: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEARFAR_CACHE")
    monkeypatch.setenv("HOME", "/proc/self")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    mine = ["mine", "model", "pairs.jsonl", "--out", "m.jsonl", "--quiet"]
    nearfar(*mine).refused("/proc/self", "NEARFAR_CACHE")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", "/proc/self/datasets")
    nearfar(*mine).refused("/proc/self", "HF_DATASETS_CACHE")


def test_a_model_and_a_table_survive_files_that_are_cut_off(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is mapped into memory and cut off kills the process (SIGBUS), and Arrow reads less than was written."""
    model = nearfar.Model.load(here / "model")
    vectors = model.embed(["the fox"])
    for path in here.rglob("*.safetensors"):
        os.truncate(path, 10)
    assert (model.embed(["the fox"]) == vectors).all()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(here / "tables"))
    rows = len(Table("pairs.jsonl"))
    [copy] = (here / "tables").rglob("*.arrow")
    for size in (0, 10, copy.stat().st_size // 2, copy.stat().st_size - 8):
        os.truncate(copy, size)
        assert len(Table("pairs.jsonl")) == rows


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_streams_that_are_full_or_closed(here: Path) -> None:
    def code(redirection: str) -> tuple[int, str]:
        call = f"'{NEARFAR}' list {redirection}"
        done = subprocess.run(["sh", "-c", call], cwd=here, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stderr

    full = "nearfar: standard output, or a file that the system does not name: No space left on device; free space"
    assert code(">/dev/full") == (1, f"{full}, or choose another place\n")
    assert code(">/dev/full 2>/dev/full") == (1, "")
    assert code(">&-") == (0, "")
