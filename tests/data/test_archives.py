"""Folders, zips and tars of pictures: what is unsafe or broken is named, and nothing is lost without a word."""

from __future__ import annotations

import io
import os
import re
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nearfar.column import content_ids
from nearfar.data.archives import members
from nearfar.data.images import Images
from nearfar.errors import InputError
from nearfar.pictures import decode
from tests.pictures.samples import encoded, noise, png

NAMES = [f"{split}/{label}/{i}.png" for split in ("train", "test") for label in ("cat", "dog") for i in range(4)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))


def pictures() -> dict[str, bytes]:
    return {name: encoded(noise(i, 12, 14)) for i, name in enumerate(NAMES)}


def in_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def in_zip(path: Path, files: dict[str, bytes]) -> Path:
    """Return an archive whose bytes are the same whenever it is written."""
    with zipfile.ZipFile(path, "w") as file:
        for name, data in files.items():
            file.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)  # by a name alone it bears the time
    return path


def in_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as file:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


PACKED: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {
    "folder": lambda path, files: in_folder(path / "set", files),
    "zip": lambda path, files: in_zip(path / "set.zip", files),
    "tar": lambda path, files: in_tar(path / "set.tar", files),
    "tar.gz": lambda path, files: in_tar(path / "set.tar.gz", files, "w:gz"),
    "tgz": lambda path, files: in_tar(path / "set.tgz", files, "w:gz"),
    "tar.bz2": lambda path, files: in_tar(path / "set.tar.bz2", files, "w:bz2"),
    "tar.xz": lambda path, files: in_tar(path / "set.tar.xz", files, "w:xz"),
}


@pytest.mark.parametrize("form", PACKED)
def test_a_set_is_the_same_one_however_it_is_packed(form: str, tmp_path: Path) -> None:
    files = pictures()
    images = Images(PACKED[form](tmp_path, dict(reversed(files.items()))))
    assert images.splits == ["train", "test"]
    for split in images.splits:
        rows = images.split(split)
        wanted = sorted(name for name in NAMES if name.startswith(split))
        assert rows.column("path").read(0, 99) == wanted
        assert rows.column("label").read(0, 99) == [name.split("/")[1] for name in wanted]
        for cell, name in zip(rows.column("image").read(0, 99), wanted, strict=True):
            assert np.array_equal(cell, decode.decoded(files[name]))
    assert images.fingerprint == Images(in_folder(tmp_path / "another", files)).fingerprint


def tar_with(kind: bytes, target: str = "") -> Callable[[Path], Path]:
    """Return what makes a tar of the pictures with a member more that is of a kind."""

    def make(path: Path) -> Path:
        with tarfile.open(in_tar(path / "set.tar", pictures()), "a") as file:
            info = tarfile.TarInfo("train/cat/odd.png")
            info.type, info.linkname = kind, target
            file.addfile(info)
        return path / "set.tar"

    return make


def with_name(form: str, name: str) -> Callable[[Path], Path]:
    return lambda path: PACKED[form](path, {**pictures(), name: encoded(noise(99))})


def with_data(form: str, data: bytes) -> Callable[[Path], Path]:
    return with_file(form, "train/cat/odd.png", data)


def with_file(form: str, name: str, data: bytes) -> Callable[[Path], Path]:
    return lambda path: PACKED[form](path, {**pictures(), name: data})


def linked_file(path: Path) -> Path:
    folder = in_folder(path / "set", pictures())
    (folder / "train/cat/odd.png").symlink_to(folder / "train/cat/0.png")
    return folder


def linked_folder(path: Path) -> Path:
    folder = in_folder(path / "set", pictures())
    (folder / "train/odd.png").symlink_to(folder / "train/cat")
    return folder


def pipe(path: Path) -> Path:
    folder = in_folder(path / "set", pictures())
    os.mkfifo(folder / "train/cat/odd.png")
    return folder


def zip_link(path: Path) -> Path:
    with zipfile.ZipFile(in_zip(path / "set.zip", pictures()), "a") as file:
        info = zipfile.ZipInfo("train/cat/odd.png")
        info.external_attr = 0o120777 << 16
        file.writestr(info, "/etc/passwd")
    return path / "set.zip"


def zip_of_wrong_sum(path: Path) -> Path:
    file = with_data("zip", b"\x89PNG of no sense")(path)
    data = bytearray(file.read_bytes())
    at = data.rindex(b"train/cat/odd.png", 0, data.index(b"PK\x01\x02"))
    data[at - 16 : at - 12] = b"\0\0\0\0"
    central = data.rindex(b"train/cat/odd.png")
    data[central - 30 : central - 26] = b"\1\2\3\4"
    file.write_bytes(bytes(data))
    return file


def zip_of_unknown_method(path: Path) -> Path:
    file = with_data("zip", encoded(noise(99)))(path)
    data = bytearray(file.read_bytes())
    central = data.rindex(b"train/cat/odd.png") - 46
    data[central + 10 : central + 12] = struct.pack("<H", 77)
    file.write_bytes(bytes(data))
    return file


def twice(path: Path) -> Path:
    with tarfile.open(in_tar(path / "set.tar", pictures()), "a") as file:
        info = tarfile.TarInfo("train/cat/0.png")
        data = encoded(noise(99))
        info.size = len(data)
        file.addfile(info, io.BytesIO(data))
    return path / "set.tar"


ODD = "train/cat/odd.png"
LEFT_OUT: dict[str, tuple[Callable[[Path], Path], str]] = {  # one of 17, said and left out
    "a link in a folder": (linked_file, "odd.png is a link"),
    "a linked folder": (linked_folder, "odd.png is a link"),
    "a pipe in a folder": (pipe, "odd.png is no regular file"),
    "a link in a tar": (tar_with(tarfile.SYMTYPE, "/etc/passwd"), "odd.png is a link"),
    "a hard link in a tar": (tar_with(tarfile.LNKTYPE, "train/cat/0.png"), "odd.png is a link"),
    "a device in a tar": (tar_with(tarfile.CHRTYPE), "odd.png is no regular file"),
    "a pipe in a tar": (tar_with(tarfile.FIFOTYPE), "odd.png is no regular file"),
    "a link in a zip": (zip_link, "odd.png is a link"),
    "a climbing path in a tar": (with_name("tar", "../../odd.png"), "odd.png has a path that leads out"),
    "a path that climbs later": (with_name("tar.xz", "train/../../odd.png"), "odd.png has a path that leads out"),
    "a climbing path in a zip": (with_name("zip", "../odd.png"), "odd.png has a path that leads out"),
    "an absolute path in a tar": (with_name("tar", "/etc/odd.png"), "odd.png has an absolute path"),
    "an absolute path in a zip": (with_name("zip", "/etc/odd.png"), "odd.png has an absolute path"),
    "a drive in a zip": (with_name("zip", "C:/odd.png"), "odd.png has an absolute path"),
    "a network's path in a zip": (with_name("zip", "\\\\server\\odd.png"), "odd.png has an absolute path"),
    "the same name twice": (twice, "0.png is the second of its name"),
    "an empty file": (with_data("folder", b""), "odd.png the file is empty"),
    "a text": (with_data("tar.gz", b"hello"), "odd.png is no picture of a format"),
    "200 megapixels": (with_data("zip", png(20_000, 10_000)), "odd.png has "),
    "1 x 1": (with_data("tar", encoded(noise()[:1, :1])), "odd.png is 1 x 1 pixels"),
    "a cut picture": (with_data("tar.xz", encoded(noise(5, 99, 99))[:200]), "odd.png is damaged or cut off"),
    "a wrong sum in a zip": (zip_of_wrong_sum, "odd.png is damaged in the archive"),
    "an unknown way of packing": (zip_of_unknown_method, "odd.png is damaged in the archive"),
    "a file above the splits": (with_name("folder", "cover.png"), "cover.png lies beside the folders of splits"),
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_one_picture_that_cannot_be_used_is_named_and_left_out(kind: str, tmp_path: Path) -> None:
    make, words = LEFT_OUT[kind]
    path = make(tmp_path)
    with pytest.warns(UserWarning, match=f"1 of 17 pictures cannot be used: .*{re.escape(words)}"):
        images = Images(path)
    assert {name: len(images.split(name)) for name in images.splits} == {"train": 8, "test": 8}
    assert words in images.notes["broken pictures"]
    with pytest.raises(InputError, match=f"{re.escape(str(path))}: 1 of 17 .*more than broken=0 allows"):
        Images(path, broken=0)


UNSEEN = {  # files that are no pictures, and what systems pack beside them
    "__MACOSX/train/cat/._0.png": b"Mac OS X",
    "train/cat/._1.png": b"Mac OS X",
    ".thumbs/0.png": b"",
    "train/cat/Thumbs.db": b"\0",
    "README.md": b"pictures",
    "labels.csv": b"a,b",
}


@pytest.mark.parametrize("form", ["folder", "zip", "tar"])
def test_files_that_are_no_pictures_are_passed_over(form: str, tmp_path: Path) -> None:
    images = Images(PACKED[form](tmp_path, {**pictures(), **UNSEEN}))
    assert sum(len(images.split(name)) for name in images.splits) == len(NAMES)
    assert "broken" not in images.notes


def cut(form: str, share: float) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        whole = PACKED[form](path, pictures())
        data = whole.read_bytes()
        whole.write_bytes(data[: int(len(data) * share)])
        return whole

    return make


def cut_between_members(path: Path) -> Path:
    """A tar that ends behind its fourth member: nothing but the mark of its end is missing."""
    whole = in_tar(path / "set.tar", pictures())
    with tarfile.open(whole) as file:
        at = file.getmembers()[4].offset
    whole.write_bytes(whole.read_bytes()[:at])
    return whole


def header_of_noise(path: Path) -> Path:
    """A tar whose fifth header is damaged, which `tarfile` takes for the end of it."""
    whole = in_tar(path / "set.tar", pictures())
    with tarfile.open(whole) as file:
        at = file.getmembers()[4].offset
    data = bytearray(whole.read_bytes())
    data[at : at + 512] = noise(7, 512, 1, 1).tobytes()
    whole.write_bytes(bytes(data))
    return whole


def long_name(path: Path) -> Path:
    with tarfile.open(path / "set.tar", "w", format=tarfile.GNU_FORMAT) as file:
        info = tarfile.TarInfo("x" * (2 << 20) + ".png")
        file.addfile(info, io.BytesIO())
    return path / "set.tar"


def locked(path: Path) -> Path:
    whole = in_zip(path / "set.zip", pictures())
    data = bytearray(whole.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    whole.write_bytes(bytes(data))
    return whole


def file_of(name: str, data: bytes) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        (path / name).write_bytes(data)
        return path / name

    return make


DAMAGED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a zip cut in the middle": (cut("zip", 0.5), "the zip is damaged or cut off"),
    "a zip cut near its end": (cut("zip", 0.99), "the zip is damaged or cut off"),
    "a tar cut in a member": (cut("tar", 0.5), "the tar is damaged or cut off"),
    "a tar cut between members": (cut_between_members, "it ends without a mark of its end"),
    "a damaged header": (header_of_noise, "no header where one must be"),
    "a cut tar.gz": (cut("tar.gz", 0.6), "compressed file is damaged or cut off"),
    "a cut tar.xz": (cut("tar.xz", 0.6), "compressed file is damaged or cut off"),
    "a cut tar.bz2": (cut("tar.bz2", 0.6), "compressed file is damaged or cut off"),
    "a long name": (long_name, "a name of 2 MB"),
    "an encrypted zip": (locked, "'train/cat/0.png' is encrypted"),
    "an empty file": (file_of("a.zip", b""), "the file is empty"),
    "a text called zip": (file_of("a.zip", b"hello"), "the zip is damaged"),
    "a text called tar": (file_of("a.tar", b"hello" * 300), "the tar is damaged"),
    "a text called tar.gz": (file_of("a.tar.gz", b"hello" * 300), "the tar is damaged"),
    "one picture": (file_of("a.png", encoded(noise())), "is one picture; give the folder"),
    "another kind of archive": (file_of("a.rar", b"Rar!\x1a\x07"), "is no archive by its name"),
    "nothing there": (lambda path: path / "nowhere", "no such file or folder"),
    "an empty folder": (lambda path: in_folder(path / "set", {"a.txt": b"a"}), "holds no picture"),
    "an empty zip": (lambda path: in_zip(path / "set.zip", {}), "holds no picture"),
    "an empty tar": (lambda path: in_tar(path / "set.tar", {}), "holds no picture"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_archive_is_one_error_that_names_it(kind: str, tmp_path: Path) -> None:
    make, words = DAMAGED[kind]
    path = make(tmp_path)
    with pytest.raises(InputError, match=f"{re.escape(str(path))}: .*{words}"):
        Images(path)
    left = list((tmp_path / "cache" / "pictures").glob("*/pixels.bin"))
    assert left == []


def test_an_archive_that_stands_for_far_more_than_its_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "LARGEST_SURE", 1 << 20)
    blank = {f"a/{i}.bmp": bytes(1 << 20) for i in range(3)}
    for form in ("zip", "tar.xz", "tar.gz"):
        monkeypatch.setattr(members, "MOST_TIMES", 200)
        with pytest.raises(InputError, match=r"stands for more than 0\.0 GB, over 200 times its"):
            Images(PACKED[form](tmp_path, blank))


@pytest.mark.parametrize("form", ["folder", "zip", "tar"])
def test_a_file_is_not_read_beyond_its_largest_size(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nearfar.data.picture_sets import members as sets

    monkeypatch.setattr(sets, "WANTED", members.Wanted(decode.is_picture_name, 5_000, decode.too_many_bytes))
    path = PACKED[form](tmp_path, {**pictures(), ODD: encoded(noise(1, 300, 300), "BMP")})
    with pytest.warns(UserWarning, match="odd.png has 0 MB, the most of a picture's file is 134"):
        assert len(Images(path).split("train")) == 8


def test_many_broken_pictures_are_an_error_that_names_the_first(tmp_path: Path) -> None:
    files = pictures() | {f"train/cat/bad {i}.png": b"no" for i in range(7)}
    path = in_folder(tmp_path / "set", files)
    with pytest.raises(InputError, match=r"7 of 23 pictures cannot be used: train/cat/bad 0.png is no .*; and 2 more"):
        Images(path)
    with pytest.warns(UserWarning, match="7 of 23"):
        images = Images(path, broken=0.4)
    assert images.notes["broken"] == 7
    assert len(images) == 8
    only = in_folder(tmp_path / "only", {"a.png": b"no"})
    with pytest.raises(InputError, match=r"1 of 1 pictures cannot be used: .*none is left"):
        Images(only)


def test_names_that_are_no_unicode_are_read(tmp_path: Path) -> None:
    folder = in_folder(tmp_path / "set", pictures())
    try:
        (folder / "train/cat" / os.fsdecode(b"caf\xe9.png")).write_bytes(encoded(noise(50)))
    except OSError:
        pytest.skip("this file system takes no such name")
    images = Images(folder)
    assert [path for path in images.column("path").read(0, 99) if "caf" in path] == ["train/cat/caf\ufffd.png"]
    assert len(np.unique(content_ids(images.column("image")))) == 9
