"""The audit of pictures: broken ones, copies, leaks between splits and classes that disagree, each shown."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from nearfar.audit.findings import Finding
from nearfar.audit.pictures import audit_pictures
from nearfar.data.images import Images
from nearfar.errors import InputError
from tests.data.test_archives import in_folder
from tests.pictures.samples import encoded
from tests.pictures.test_near_copies import photograph, saved

pytest.importorskip("PIL.Image", reason="the extra images is not installed")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures of two classes in two splits, with one copy of each kind, and a broken one."""
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    own = {
        f"{split}/{kind}/{i}.png": photograph(100 * a + 10 * b + i)
        for a, split in enumerate(("train", "test"))
        for b, kind in enumerate(("cat", "dog"))
        for i in range(5)
    }
    own["train/cat/exact.png"] = own["train/cat/0.png"]
    own["train/cat/near.png"] = saved(own["train/cat/1.png"])
    own["test/dog/leak.png"] = own["train/dog/2.png"]
    own["test/dog/near_leak.png"] = saved(own["train/dog/3.png"])
    own["train/dog/conflict.png"] = saved(own["train/cat/4.png"])
    files = {name: encoded(picture) for name, picture in own.items()} | {"train/cat/broken.png": b"no"}
    return in_folder(tmp_path / "set", files)


def audited(folder: Path, mirrored: bool = False) -> dict[str, Finding]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {one.check: one for one in audit_pictures(Images(folder), mirrored=mirrored).findings}


def names(finding: Finding) -> set[frozenset[str]]:
    return {frozenset({one["text"], one["of"]["text"]}) for one in finding.examples}


def test_each_kind_of_copy_is_named_with_its_original(folder: Path) -> None:
    found = audited(folder)
    assert {check: one.level for check, one in found.items() if one.level != "fine"} == {
        "broken": "problem", "leaks": "problem", "near leaks": "problem", "duplicates": "problem",
        "near duplicates": "notice", "conflicting labels": "problem", "classes": "notice",
    }  # fmt: skip
    assert names(found["leaks"]) == {frozenset({"test/dog/leak.png", "train/dog/2.png"})}
    assert names(found["near leaks"]) == {frozenset({"test/dog/near_leak.png", "train/dog/3.png"})}
    assert names(found["duplicates"]) == {frozenset({"train/cat/0.png", "train/cat/exact.png"})}
    assert names(found["near duplicates"]) == {
        frozenset({"train/cat/1.png", "train/cat/near.png"}),
        frozenset({"train/cat/4.png", "train/dog/conflict.png"}),
    }
    assert names(found["conflicting labels"]) == {frozenset({"train/cat/4.png", "train/dog/conflict.png"})}
    assert [found[check].count for check in ("broken", "leaks", "near leaks", "duplicates")] == [1, 1, 1, 1]
    assert found["near leaks"].examples[0]["split"] == "test"  # what is judged by stands first
    assert found["leaks"].of == 12


def test_what_is_shown_has_a_tile_and_programs_get_all_pairs(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = audit_pictures(Images(folder))
    facts = result.to_json()
    assert set(result.pictures) == {facts["sheet"]["file"]}
    room = facts["sheet"]["columns"] * facts["sheet"]["rows"]
    shown = [one for finding in facts["findings"] for one in finding["examples"] if "of" in one]
    assert all(0 <= side["tile"] < room for one in shown for side in (one, one["of"]))
    listed = facts["profile"]["copies"]
    assert (listed["pairs"], listed["exact"], len(listed["listed"])) == (5, 2, 5)
    assert facts["kind"] == "pictures" and facts["splits"] == {"train": 13, "test": 12}


def test_nothing_wrong_is_said_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    flipped = np.ascontiguousarray(photograph(3)[:, ::-1])
    files = {f"{i}.png": encoded(photograph(i)) for i in range(6)} | {"flipped.png": encoded(flipped)}
    found = audited(in_folder(tmp_path / "set", files))
    assert {one.level for one in found.values()} == {"fine"}
    assert set(found) == {"broken", "duplicates", "near duplicates"}  # one split, no classes
    assert audited(tmp_path / "set", mirrored=True)["near duplicates"].examples[0]["mirrored"] is True


def test_one_picture_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    one = in_folder(tmp_path / "one", {"a.png": encoded(photograph(0))})
    with pytest.raises(InputError, match="holds one picture"):
        audit_pictures(Images(one))
