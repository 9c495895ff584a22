"""Files that grow, shrink or vanish while they are read: the old rows, the new ones or one error; never a mixture."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nearfar.data.beir import Beir
from nearfar.data.table import Table
from nearfar.data.tables import files
from nearfar.errors import InputError
from tests.data.test_odd_forms import LINES, beir

Change = Callable[[Path], None]


def parquet(rows: int) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table({"text": [f"text {i}" for i in range(rows)]}), stream)
    return stream.getvalue()


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(parquet(9) if path.suffix == ".parquet" else path.read_bytes().splitlines(keepends=True)[-1])


def shrink(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


CHANGES: dict[str, Change] = {"grows": grow, "shrinks": shrink, "vanishes": Path.unlink}


class Hooked:
    """Opens files as `Path.open` does, and calls a hook once, before the read of that number from a folder."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path, number: int, hook: Change) -> None:
        self.left, self.hook, self.folder = number, hook, folder
        self.real = Path.open
        patch.setattr(Path, "open", lambda path, *words, **more: self._open(path, *words, **more))
        patch.setattr(files, "_BLOCK", 8)

    def _open(self, path: Path, mode: str = "r", buffering: int = -1, **more: Any) -> Any:
        if mode != "rb" or path.parent != self.folder:
            return self.real(path, mode, buffering, **more)
        outer = self

        class Raw(io.FileIO):
            def readinto(self, buffer: Any) -> int | None:
                outer.before_a_read(path)
                return super().readinto(buffer)

            def readall(self) -> bytes:
                outer.before_a_read(path)
                return super().readall()

        return io.BufferedReader(Raw(path), 64)

    def before_a_read(self, path: Path) -> None:
        self.left -= 1
        if self.left == 0:
            self.left = -1_000_000
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Path, "open", self.real)
                self.hook(path)


def cells(source: Table) -> dict[str, list[Any]]:
    return {name: source.column(name).read(0, len(source)) for name in source.columns}


def tried(path: Path) -> tuple[dict[str, list[Any]] | None, str]:
    """Return the cells of a table, or None and what the error says."""
    try:
        return cells(Table(path)), ""
    except InputError as error:
        return None, str(error)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", [*LINES, "a.parquet"])
def test_a_table_that_changes_at_any_read(name: str, change: str, tmp_path: Path) -> None:
    content = parquet(3) if name == "a.parquet" else LINES[name].encode()
    told = set()
    for number in range(1, 200):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        path = folder / name
        text = b"four %d" % number  # no copy of it is there
        path.write_bytes(parquet(3 + number) if name == "a.parquet" else content.replace(b"four", text))
        before = path.read_bytes()
        with pytest.MonkeyPatch.context() as patch:
            hooked = Hooked(patch, folder, number, CHANGES[change])
            found, said = tried(path)
        assert found is not None or (said.startswith(str(path)) and "\n" not in said)
        changed = hooked.left < 0
        told.add(said)
        after, _ = tried(path)
        path.write_bytes(before)
        whole = cells(Table(path))  # what was kept under the old content is the old content
        assert len(next(iter(whole.values()))) >= 2
        assert found is None or found in (whole, after), number
        if not changed:
            break
    assert not changed and number > 3  # every read has been tried
    assert any("was changed or removed while it was read; try again when nothing writes it" in said for said in told)


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_of_texts_that_changes_at_any_read(change: str, tmp_path: Path) -> None:
    for number in range(1, 50):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        before = {f"{name}.md": f"{name} of {number}\n" * 3 for name in "ab"}
        for name, text in before.items():
            (folder / name).write_text(text)
        with pytest.MonkeyPatch.context() as patch:
            hooked = Hooked(patch, folder, number, CHANGES[change])
            found, said = tried(folder)
        assert found is not None or (str(folder) in said and "\n" not in said)
        after, _ = tried(folder)
        for name, text in before.items():
            (folder / name).write_text(text)
        whole = cells(Table(folder))
        assert whole["text"] == list(before.values())
        assert found is None or found in (whole, after), number
        if hooked.left > 0:
            break
    assert hooked.left > 0 and number > 3


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("change", CHANGES)
def test_a_beir_folder_that_changes_at_any_read(change: str, tmp_path: Path) -> None:
    for number in range(1, 200):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        beir(folder, [f"{number}0{i}" for i in range(3)])
        with pytest.MonkeyPatch.context() as patch:
            hooked = Hooked(patch, folder, number, CHANGES[change])
            try:
                task = Beir(folder).task()
                assert len(task.document_ids) == 3 and task.relevance == {i: {i: 1} for i in range(3)}
            except InputError as error:
                assert str(folder) in str(error) and "\n" not in str(error)
        if hooked.left > 0:
            break
    assert hooked.left > 0 and number > 3
