from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nearfar.errors import InputError, RunError
from nearfar.training import checkpoint_files
from nearfar.training.checkpoint_files import (
    Checkpoint,
    checkpoint_folders,
    newest_checkpoint,
    prune_checkpoints,
    write_checkpoint,
)
from tests.training.runs import files_up_to


def at(step: int, size: int = 4) -> Checkpoint:
    return Checkpoint(step, {"a/b": torch.full((size,), float(step)), "count": torch.tensor(step)}, {"best": None})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    place = write_checkpoint(tmp_path / "deep" / "folder", at(500))
    assert place.name == "step-000500"
    assert names(place) == ["manifest.json", "state.json", "state.safetensors"]
    found = newest_checkpoint(place.parent)
    assert found is not None
    assert (found.step, found.state) == (500, {"best": None})
    assert torch.equal(found.tensors["a/b"], torch.full((4,), 500.0))
    assert found.tensors["count"].item() == 500


def test_none_was_ever_written(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "nothing") is None


def test_the_newest_is_the_last_step_not_the_last_name(tmp_path: Path) -> None:
    for step in (2_000_000, 999_999, 5):
        write_checkpoint(tmp_path, at(step))
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 2_000_000


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def alter(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def nonsense(path: Path) -> None:
    path.write_text('["no manifest"]')


def deep(path: Path) -> None:
    path.write_text("[" * 10**5)


@pytest.mark.parametrize("file", ["state.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("harm", [truncate, alter, empty, nonsense, deep, Path.unlink])
def test_one_that_is_not_whole_is_passed_over(tmp_path: Path, file: str, harm: Any) -> None:
    write_checkpoint(tmp_path, at(1))
    harm(write_checkpoint(tmp_path, at(2)) / file)
    with pytest.warns(UserWarning, match="step-000002 is not whole"):
        found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 1


def test_one_under_the_name_of_another_step_is_passed_over(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, at(1))
    write_checkpoint(tmp_path, at(2)).rename(tmp_path / "step-000003")
    with pytest.warns(UserWarning, match=r"step-000003 is not whole \(state.json is of step 2\)"):
        found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 1


def test_none_whole_is_an_error_that_names_them(tmp_path: Path) -> None:
    for step in (1, 2):
        empty(write_checkpoint(tmp_path, at(step)) / "state.safetensors")
    with (
        pytest.warns(UserWarning, match="is not whole"),
        pytest.raises(InputError, match=r"no checkpoint is whole \(step-000002, step-000001\)"),
    ):
        newest_checkpoint(tmp_path)


def test_a_disk_that_fills_leaves_the_last_one_whole(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, at(1))
    with files_up_to(10_000), pytest.raises(RunError, match=r"cannot be written.*File too large"):
        write_checkpoint(tmp_path, at(2, size=1_000_000))
    assert names(tmp_path) == ["step-000001"]
    assert newest_checkpoint(tmp_path) is not None


@pytest.mark.parametrize("moment", ["write_weights", "_checksum"])
def test_an_error_at_any_moment_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    write_checkpoint(tmp_path, at(1))
    monkeypatch.setattr(checkpoint_files, moment, fail)
    with pytest.raises(RunError, match="No space left on device"):
        write_checkpoint(tmp_path, at(2))
    assert names(tmp_path) == ["step-000001"]


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, at(1))
    write_checkpoint(tmp_path, Checkpoint(1, {}, {"best": "other"}))
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.state == {"best": "other"}
    assert names(tmp_path) == ["step-000001"]


@pytest.mark.parametrize(
    ("now", "keep", "best", "left"),
    [
        *((5, 2, [], [4, 5]), (5, 1, [2], [2, 5]), (5, 2, [5], [4, 5]), (3, 2, [], [2, 3]), (3, 1, [1], [1, 3])),
        (5, 1, [1, 3], [1, 3, 5]),
    ],
)
def test_the_last_ones_and_the_best_stay(tmp_path: Path, now: int, keep: int, best: list[int], left: list[int]) -> None:
    for step in range(1, 6):  # later ones than now were passed over as broken, or are of another run
        write_checkpoint(tmp_path, at(step))
    (tmp_path / ".step-000004-half").mkdir()
    prune_checkpoints(tmp_path, now, keep, best)
    assert [int(place.name[5:]) for place in checkpoint_folders(tmp_path)] == left
    assert len(names(tmp_path)) == len(left)


def test_the_manifest_has_sums_and_sizes(tmp_path: Path) -> None:
    place = write_checkpoint(tmp_path, at(7))
    sums = json.loads((place / "manifest.json").read_text())
    assert {name: entry["bytes"] for name, entry in sums.items()} == {
        name: (place / name).stat().st_size for name in checkpoint_files.FILES
    }
