"""Thumbnails of an index's rows: beside them, gone with them, and never those of another picture."""

from __future__ import annotations

import io
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PIL", reason="the extra images is not installed")

from PIL import Image

import nearfar as nf
from nearfar.errors import InputError
from nearfar.index.documents.build import BuildSettings
from nearfar.index.documents.build_index import build_index
from nearfar.index.store import RowStore
from nearfar.index.thumbnails import FILE, Thumbnails
from tests.encoders.known_vectors import BLUE, GREEN, RED, KnownTexts, MeanColours
from tests.pictures.samples import encoded

COLOURS = {"red": RED, "green": GREEN, "blue": BLUE}
HOSTILE = "a b/../..\n'); DROP TABLE thumbnails; --<img src=x>\u202e%2f#?.png"


def model() -> nf.Model:
    return nf.Model(nf.encoders.Dual(MeanColours(), KnownTexts({"red": [1, 0.1, 0]})))


def colour(data: bytes | None) -> str:
    """Return the name of the colour that a thumbnail has."""
    assert data is not None
    mean = np.asarray(Image.open(io.BytesIO(data)), float).mean((0, 1))
    return ("red", "green", "blue")[int(mean.argmax())]


def photographs(place: Path, **given: Any) -> Path:
    place.mkdir(exist_ok=True)
    for name, picture in given.items():
        (place / f"{name}.png").write_bytes(encoded(picture))
    return place


def shown(index: nf.Index) -> dict[str, str]:
    """Return the colours of all thumbnails, by file; every row is asked for its own."""
    rows = [row for row in index.get(index.ids()) if row is not None]
    data = {str(row.fields["file"]): index.thumbnail(row.id) for row in rows}
    assert index.with_thumbnail([row.id for row in rows]) == {row.id for row in rows if index.thumbnail(row.id)}
    return {name: colour(found) for name, found in data.items() if found is not None}


def test_rows_have_the_picture_that_they_were_added_with(tmp_path: Path) -> None:
    with nf.Index.create(tmp_path / "i", model()) as index:
        index.add([{"id": name, "image": picture} for name, picture in COLOURS.items()])
        index.add([{"id": HOSTILE, "image": BLUE}])
        assert [colour(index.thumbnail(name)) for name in (*COLOURS, HOSTILE)] == [*COLOURS, "blue"]
        index.add([{"id": "red", "image": GREEN}])
        assert colour(index.thumbnail("red")) == "green"
        index.add([{"id": "red", "text": "red"}])  # a text is no picture
        assert index.thumbnail("red") is index.thumbnail("nobody") is None
        assert index.with_thumbnail(["red", "green", "nobody", HOSTILE]) == {"green", HOSTILE}
        index.delete(["green", HOSTILE])
        assert index.with_thumbnail([*COLOURS, HOSTILE]) == {"blue"}
        assert index.verify()["problems"] == []
    shutil.copytree(tmp_path / "i", tmp_path / "moved")
    with nf.Index.open(tmp_path / "moved") as index:
        assert colour(index.thumbnail("blue")) == "blue"
        info = index.info()
        assert (info["thumbnails"], info["keeps_thumbnails"]) == (1, True)
        assert info["thumbnail_bytes"] == len(index.thumbnail("blue") or b"")


def test_an_index_of_texts_has_no_file_of_them(tmp_path: Path) -> None:
    with nf.Index.create(tmp_path / "i", model()) as index:
        index.add([{"id": "a", "text": "red"}])
        index.delete(["a"])
        assert index.info()["thumbnails"] == 0
        assert not (index.place / FILE).exists()


def test_builds_keep_them_true(tmp_path: Path) -> None:
    photos, folder = photographs(tmp_path / "photos", **COLOURS), tmp_path / "i"
    build_index(folder, model(), photos)
    with nf.Index.open(folder) as index:
        assert shown(index) == {f"{name}.png": name for name in COLOURS}
        photographs(photos, red=GREEN, new=BLUE)
        (photos / "green.png").unlink()
        (photos / "blue.png").rename(photos / "sea.png")
        report, _ = build_index(folder, model(), photos)
        assert (report.embedded, report.updated, report.deleted) == (3, 0, 3)
        assert shown(index) == {"red.png": "green", "new.png": "blue", "sea.png": "blue"}
        assert index.info()["thumbnails"] == index.count() == 3
        assert index.verify()["problems"] == []


def test_an_archive_has_them_by_its_members(tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "photos"), "zip", photographs(tmp_path / "photos", **COLOURS))
    build_index(tmp_path / "i", model(), tmp_path / "photos.zip")
    with nf.Index.open(tmp_path / "i") as index:
        rows = [row for row in index.get(index.ids()) if row is not None]
        assert {row.fields["member"]: colour(index.thumbnail(row.id)) for row in rows} == {
            f"{name}.png": name for name in COLOURS
        }


def test_an_index_that_lacks_them_gets_them_without_a_vector(tmp_path: Path) -> None:
    photos, folder = photographs(tmp_path / "photos", **COLOURS), tmp_path / "i"
    build_index(folder, model(), photos)
    with nf.Index.open(folder) as index:
        before, (red,) = index.description.digest, index.ids("file = 'red.png'")
        (index.place / FILE).unlink()
    with nf.Index.open(folder) as index:
        assert shown(index) == {}  # as of an index that was built by an older nearfar
        index.delete([red])
    report, _ = build_index(folder, model(), photos)
    assert (report.read, report.embedded, report.updated) == (2, 0, 2)
    with nf.Index.open(folder) as index:
        assert shown(index) == {"green.png": "green", "blue.png": "blue"}  # what someone has deleted stays so
    report, _ = build_index(folder, model(), photos)
    assert (report.read, report.unchanged) == (0, 3)
    build_index(folder, model(), photos, BuildSettings(again=True))
    with nf.Index.open(folder) as index:
        assert shown(index) == {f"{name}.png": name for name in COLOURS}
        assert index.description.digest == before


def test_who_wants_none_has_none_and_what_was_there_is_gone(tmp_path: Path) -> None:
    photos, folder = photographs(tmp_path / "photos", **COLOURS), tmp_path / "i"
    build_index(folder, model(), photos)
    with nf.Index.open(folder) as index:
        [data] = [index.thumbnail(name) for name in index.ids("file = 'red.png'")]
        file = index.place / FILE
    assert data is not None and data[-40:] in file.read_bytes()
    for none in (False, None):  # it stays so
        photographs(photos, **{f"more{none}": GREEN})
        build_index(folder, model(), photos, BuildSettings(thumbnails=none))
        with nf.Index.open(folder, model()) as index:
            index.add([{"id": "mine", "image": BLUE, "file": "mine"}])
            assert (shown(index), index.keeps_thumbnails) == ({}, False)
        assert data[-40:] not in b"".join(each.read_bytes() for each in file.parent.glob(f"{FILE}*"))
    with nf.Index.beside(folder, model()) as other:
        assert not other.keeps_thumbnails
    report, _ = build_index(folder, model(), photos, BuildSettings(thumbnails=True))
    assert (report.embedded, report.updated) == (0, 5)
    with nf.Index.open(folder) as index:
        assert len(shown(index)) == 5


def test_a_deleted_photograph_leaves_no_bytes(tmp_path: Path) -> None:
    with nf.Index.create(tmp_path / "i", model()) as index:
        index.add([{"id": name, "image": picture} for name, picture in COLOURS.items()])
        data, file = index.thumbnail("red"), index.place / FILE
        index.delete(["red"])
    assert data is not None and data[-40:] not in file.read_bytes()


class Ended(BaseException):
    """The process ends."""


@pytest.mark.parametrize("at", ["remove", "upsert", "add"])
@pytest.mark.parametrize("after", [False, True])
def test_a_write_that_ends_anywhere_leaves_no_wrong_one(
    tmp_path: Path, at: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nf.Index.create(tmp_path / "i", model()) as index:
        index.add([{"id": "x", "image": RED}])
        with index._opened.reading() as (_, store):
            owner: Any = type(store.backend) if at == "upsert" else Thumbnails
        call = getattr(owner, at)

        def ends(*given: Any) -> None:
            if after:
                call(*given)
            raise Ended

        with monkeypatch.context() as patched:
            patched.setattr(owner, at, ends)
            with pytest.raises(Ended):
                index.add([{"id": "x", "image": GREEN}, {"id": "y", "image": BLUE}])
        vector = index.vectors(["x"])[0]
        small = index.thumbnail("x")
        assert small is None or colour(small) == ("red", "green", "blue")[int(vector.argmax())]
        index.add([{"id": "z", "image": BLUE}])  # follows up
        assert index.with_thumbnail(["x", "y", "z"]) <= set(index.ids())
        assert index.verify()["problems"] == []


def test_those_of_rows_that_went_while_the_process_ended_go_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nf.Index.create(tmp_path / "i", model()) as index:
        index.add([{"id": name, "image": picture} for name, picture in COLOURS.items()])
        with monkeypatch.context() as patched:
            patched.setattr(RowStore, "_follow", lambda *_: (_ for _ in ()).throw(Ended))
            patched.setattr(Thumbnails, "remove", lambda *_: None)
            with pytest.raises(Ended):
                index.delete(["red"])
        assert index.thumbnail("red") is not None
        index.delete(["nobody"])
        assert index.thumbnail("red") is None
        with sqlite3.connect(index.place / FILE) as other:
            other.execute("INSERT INTO thumbnails (id, picture) VALUES ('stray', x'00')")
        assert index.verify()["problems"] == ["1 thumbnails are of rows that are gone: stray"]
        index.optimise()
        assert index.verify()["problems"] == []
        assert index.with_thumbnail(list(COLOURS)) == {"green", "blue"}


def test_a_damaged_file_is_named_and_one_without_a_table_is_none(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"")
    assert Thumbnails(tmp_path / FILE).get("x") is None
    (tmp_path / FILE).write_bytes(b"no database" * 500)
    with pytest.raises(InputError, match=rf"{FILE}: is damaged"):
        Thumbnails(tmp_path / FILE).get("x")
