"""nearfar complete: what it prints, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.calling import Run
from tests.uses.test_complete import masked


def test_the_command_says_the_same(tmp_path: Path, nearfar: Run) -> None:
    folder = masked().save(tmp_path / "model")
    done = nearfar("complete", str(folder), "near [MASK] far", "--top", "3", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["kind"] == "masked"
    assert len(found["blanks"]) == 1
    assert len(found["blanks"][0]) == 3
    shown = nearfar("complete", str(folder), "near [MASK] far", "--top", "3").out.splitlines()
    assert shown[0] == found["text"]
    assert shown[1].startswith(f"1: {found['blanks'][0][0]['text']} 0.")
    wrong = nearfar("complete", str(folder), "near far")
    assert wrong.code == 2
    assert "write [MASK]" in wrong.err


def test_no_token_is_invisible(tmp_path: Path, nearfar: Run) -> None:
    folder = masked("words").save(tmp_path / "model")
    every = ("complete", str(folder), "near [MASK] far", "--top", "1000")
    texts = [one["text"] for one in json.loads(nearfar(*every, "--json").out)["blanks"][0]]
    assert " " in texts and "\x1b" in texts
    shown = nearfar(*every).out
    assert "' ' 0.0" in shown and r"'\x1b' 0.0" in shown
    assert ":  " not in shown and ",  " not in shown
