"""nearfar index build: what it says, what it refuses, and that it can be broken off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import nearfar as nf
from nearfar.index.documents import build_index
from tests.cli.calling import Run
from tests.pictures.samples import encoded, noise


@pytest.fixture
def docs(here: Path) -> Path:
    folder = here / "docs"
    folder.mkdir()
    (folder / "a.txt").write_text("a red fox", encoding="utf-8")
    (folder / "b.csv").write_text("text,year\nthe grey goose,1999\n", encoding="utf-8")
    (folder / "c.md").write_bytes(b"\xff\x1b[31m")
    (folder / "d.bin").write_bytes(b"\0")
    return folder


def test_documents_become_an_index(docs: Path, nearfar: Run) -> None:
    done = nearfar("index", "build", "docs.index", "model", "docs", "--field", "year=integer", "--json")
    assert done.code == 0, done.err
    facts: dict[str, Any] = json.loads(done.out)
    assert (facts["passages"], facts["embedded"], facts["files"]) == (2, 2, {"table": 1, "text": 2})
    assert (facts["passed_over"], facts["waits"]) == ({"binary": 1}, False)
    assert len(facts["problems"]) == 1
    done = nearfar("index", "build", "docs.index", "model", "docs", "--field", "year=integer", columns=200)
    assert done.code == 0
    first, second, *rest = done.out.splitlines()
    assert first == "docs.index: 2 passages of 3 files (table: 1, text: 2)"
    assert second.startswith("  read 0 files that are new or changed, 4 are as they were; embedded 0 passages; ")
    assert rest[:3] == [
        "  characters, without white space: 19 read, 19 in passages",
        "  passed over: 1 binary",
        "  problems: 1",
    ]
    assert "c.md: line 1 is not UTF-8 text" in rest[3]


def test_what_is_wrong_is_refused(docs: Path, here: Path, nearfar: Run) -> None:
    build = ("index", "build", "docs.index", "model")
    nearfar(*build, "missing").refused("missing", "no such file or folder")
    nearfar("index", "build", "docs.index", "no-model", "docs").refused("no-model")
    nearfar(*build, "docs", "--field", "year").refused("NAME=KIND")
    nearfar(*build, "docs", "--field", "year=int").refused("year", "int", "integer")
    nearfar(*build, "docs", "--tokens", "2").refused("2 tokens", "at least 8")
    nearfar(*build, "docs", "--backend", "none").refused("none")
    (here / "empty").mkdir()
    nearfar(*build, "empty").refused("empty", "holds no file to index")
    assert not (here / "docs.index" / "index.json").exists()
    assert nearfar(*build, "docs").code == 0
    docs.rename(here / "other")
    nearfar(*build, "other").refused("was built from", "--moved")
    assert nearfar(*build, "other", "--moved").code == 0
    nearfar(*build, "other", "--field", "line=text").refused("line", "every document")


def test_broken_off_it_says_how_to_go_on(docs: Path, nearfar: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(build_index, "build", interrupted)
        done = nearfar("index", "build", "docs.index", "model", "docs")
    done.refused("docs.index: interrupted", "the same command goes on", code=130)
    assert nearfar("index", "build", "docs.index", "model", "docs").code == 0


def test_where_every_file_fails_the_build_fails(here: Path, nearfar: Run) -> None:
    folder = here / "broken"
    folder.mkdir()
    (folder / "a.md").write_bytes(b"\xff\x1b[31m")
    (folder / "b.html").write_text("<p> </p>", encoding="utf-8")
    done = nearfar("index", "build", "broken.index", "model", "broken", "--json")
    assert done.code == 2
    assert json.loads(done.out)["passages"] == 0
    assert len(json.loads(done.out)["problems"]) == 2
    said = "broken: the index is empty, as no file gave a passage (a.md: line 1 is not UTF-8 text"
    assert said in done.err and "and 1 more problems" in done.err and len(done.err.splitlines()) <= 2
    assert nearfar("index", "build", "broken.index", "model", "broken").code == 2  # and again, with nothing changed
    (folder / "c.md").write_text("a fox", encoding="utf-8")
    assert nearfar("index", "build", "broken.index", "model", "broken").code == 0  # the others are lines of the report
    (folder / "c.md").unlink()
    assert nearfar("index", "build", "broken.index", "model", "broken").code == 2
    (folder / "a.md").unlink()
    (folder / "b.html").write_bytes(b"")
    (folder / "d.bin").write_bytes(b"\0")
    done = nearfar("index", "build", "broken.index", "model", "broken")
    assert done.code == 2 and "no file gave a passage (passed over: 1 binary, 1 empty)" in done.err


def test_what_git_ignores_is_left_out_unless_all_is_asked_for(docs: Path, nearfar: Run) -> None:
    (docs / ".gitignore").write_text("b.csv\n", encoding="utf-8")
    done = nearfar("index", "build", "docs.index", "model", "docs", "--json")
    facts = json.loads(done.out)
    assert facts["files"] == {"text": 2}
    assert facts["passed_over"] == {"binary": 1, "hidden": 1, "ignored by .gitignore": 1}
    facts = json.loads(nearfar("index", "build", "docs.index", "model", "docs", "--all", "--json").out)
    assert (facts["files"], facts["passed_over"]) == ({"table": 1, "text": 3}, {"binary": 1})
    facts = json.loads(nearfar("index", "build", "docs.index", "model", "docs", "--json").out)
    assert (facts["removed"], facts["files"]) == (2, {"text": 2})


def test_small_pictures_are_kept_unless_they_are_not_wanted(here: Path, nearfar: Run) -> None:
    pytest.importorskip("PIL", reason="the extra images is not installed")
    pictures = {f"{i}.png": noise(i, 40, 40) for i in range(3)}
    (here / "photos").mkdir()
    for name, picture in pictures.items():
        (here / "photos" / name).write_bytes(encoded(picture))
    encoder = nf.encoders.Image(size=32)
    encoder.prepare([nf.column.ListColumn("image", list(pictures.values()))])
    nf.Model(encoder).save(here / "eyes")
    build = ("index", "build", "photos.index", "eyes", "photos")
    for option, kept in (((), 3), (("--no-thumbnails",), 0), ((), 0), (("--thumbnails",), 3), ((), 3)):
        done = nearfar(*build, *option, "--json")
        assert done.code == 0, done.err
        info = nearfar("index", "info", "photos.index")
        assert ("  pictures 3 thumbnails, 0.0 MB" in info.out.splitlines()) == bool(kept)
        assert json.loads(nearfar("index", "info", "photos.index", "--json").out)["thumbnails"] == kept
    done = nearfar("search", "photos.index", "photos/1.png", "-k", "1", "--json")
    assert list(json.loads(done.out)[0]) == ["id", "score", "fields"]  # pictures are for pages alone
