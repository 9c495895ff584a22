"""Sets of pictures: splits, classes, held-out pictures, samples, the store, and data sets saved to disk."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from nearfar import positives
from nearfar.column import column_kind, content_id, content_ids, take
from nearfar.data.archives.digest import content_digest
from nearfar.data.images import Images
from nearfar.data.picture_sets.layout import Place, layout
from nearfar.data.picture_sets.members import is_picture_set
from nearfar.data.picture_sets.split import drawn
from nearfar.errors import InputError
from nearfar.pictures.decode import decoded
from nearfar.tasks import Labels
from tests.data.test_archives import in_folder, in_tar, in_zip
from tests.pictures.samples import encoded, noise


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pictures"


def classes(counts: dict[str, int], start: int = 0) -> dict[str, bytes]:
    """Return files of classes, all pictures distinct, of several sizes."""
    files = [f"{name}/{i:03d}.png" for name, count in counts.items() for i in range(count)]
    return {file: encoded(noise(start + i, 8 + i % 3, 9)) for i, file in enumerate(files)}


@pytest.mark.parametrize(
    ("names", "places"),
    [
        (["a.png", "b.png"], [("train", None), ("train", None)]),
        (["x/cat/1.png", "x/cat/2.png", "x/dog/1.png"], [("train", "cat"), ("train", "cat"), ("train", "dog")]),
        (["cat/1.png", "cat/2.png"], [("train", None), ("train", None)]),  # one class tells nothing
        (["1/a.png", "2/a.png"], [("train", None), ("train", None)]),  # nor does a folder for each picture
        (
            ["s/Greek/c1/1.png", "s/Greek/c1/2.png", "s/Latin/c1/1.png"],
            [("train", "Greek/c1"), ("train", "Greek/c1"), ("train", "Latin/c1")],
        ),
        (
            ["Train/a/1.png", "Train/a/2.png", "val/b/3.png"],
            [("train", "a"), ("train", "a"), ("validation", "b")],
        ),
        (["train/a/1.png", "train/a/2.png", "train/b/3.png"], [("train", "a"), ("train", "a"), ("train", "b")]),
        (
            ["train/images/a/1.png", "train/images/a/2.png", "test/images/b/3.png"],
            [("train", "a"), ("train", "a"), ("test", "b")],
        ),
        (
            ["train/a/1.png", "train/a/2.png", "train/b/2.png", "test/3.png"],
            [("train", "a"), ("train", "a"), ("train", "b"), ("test", None)],
        ),
        (
            ["train/1.png", "test/2.png", "unlabeled/3.png", "cover.png"],
            [("train", None), ("test", None), ("unlabeled", None), None],
        ),
        (["test/1.png", "test/2.png", "other/1.png"], [("train", "test"), ("train", "test"), ("train", "other")]),
        (["a/1.png", "a/2.png", "b/1.png", "c.png"], [("train", "a"), ("train", "a"), ("train", "b"), ("train", None)]),
    ],
)
def test_folders_say_the_split_and_the_class(names: list[str], places: list[tuple[str, str | None] | None]) -> None:
    assert [None if place is None else (place.split, place.label) for place in layout(names)] == places


def test_a_path_is_below_what_all_share() -> None:
    assert layout(["x/y/train/a/1.png", "x/y/test/b/2.png"])[0] == Place("train", None, "train/a/1.png")


@pytest.mark.parametrize(
    "setting", [{"store_gb": -1}, {"store_gb": float("nan")}, {"seed": -1}, {"workers": 0}, {"side": 0}, {"limit": -1}]
)
def test_a_setting_out_of_range_is_refused_by_name(setting: dict[str, Any], tmp_path: Path) -> None:
    folder = in_folder(tmp_path / "set", classes({"a": 2}))
    with pytest.raises(InputError, match=rf"^data\.images\.{next(iter(setting))}: "):
        Images(folder, **setting)


def test_a_set_in_the_order_of_its_classes_has_all_of_them_on_both_sides(tmp_path: Path) -> None:
    folder = in_folder(tmp_path / "set", classes({"a": 100, "b": 100, "c": 40, "d": 2}))
    images = Images(folder, heldout=0.02)
    held = Counter(images.split("heldout").column("label").read(0, 99))
    assert held == {"a": 2, "b": 2, "c": 1, "d": 1}
    assert Counter(images.column("label").read(0, 999)) == {"a": 98, "b": 98, "c": 39, "d": 1}
    assert images.notes | {"train": 236, "heldout": 6, "classes": 4} == images.notes
    assert images.notes["held out"] == "held out 2.5%, asked 2.0%: at least one picture of each class"
    assert Images(folder, heldout=0.02).split("heldout").fingerprint == images.split("heldout").fingerprint
    other = Images(folder, heldout=0.02, seed=1)
    assert other.split("heldout").fingerprint != images.split("heldout").fingerprint
    assert len(Images(folder, heldout=24).split("heldout")) == 25  # 10, 10, 4, and one of the two of the last class


def test_which_pictures_are_held_out_depends_on_their_content_alone(tmp_path: Path) -> None:
    files = classes({"a": 50, "b": 50})
    renamed = {f"{name[0]}/{99 - i}.png": data for i, (name, data) in enumerate(files.items())}
    one, other = (
        Images(in_folder(tmp_path / str(i), some), heldout=0.2).split("heldout")
        for i, some in enumerate((files, renamed))
    )
    assert set(content_ids(one.column("image"))) == set(content_ids(other.column("image")))
    assert len(one) == 20


def test_equal_pictures_are_never_on_both_sides(tmp_path: Path) -> None:
    files = classes({"train/a": 30, "train/b": 30}) | classes({"test/a": 10}, start=100)
    for i in range(30):  # the same picture again, in the same class and in the other one
        files[f"train/a/again {i}.png"] = files[f"train/a/{i:03d}.png"]
        files[f"train/b/again {i}.png"] = files[f"train/a/{i:03d}.png"]
    files["train/b/leak.png"] = files["test/a/000.png"]
    images = Images(in_folder(tmp_path / "set", files), heldout=0.3)
    ids = {name: set(content_ids(images.split(name).column("image"))) for name in images.splits}
    assert set(ids) == {"train", "test", "heldout"}
    assert not ids["train"] & ids["heldout"]
    assert not ids["train"] & ids["test"]
    assert images.notes["training pictures equal to one of another split, left out"] == 1
    assert sum(len(images.split(name)) for name in images.splits) == 130 - 1 + 1


def test_nothing_can_be_held_out_of_one_picture_of_each_class(tmp_path: Path) -> None:
    files = classes({"a": 1, "b": 1})
    files["a/copy.png"] = files["a/000.png"]
    folder = in_folder(tmp_path / "set", files)
    with pytest.raises(InputError, match="none can be held out, as no class has two distinct ones"):
        Images(folder, heldout=0.5)
    assert len(Images(folder, heldout=0.5, label=None).split("heldout")) in (1, 2)
    files = dict.fromkeys(files, files["a/000.png"])
    for kept, words in (
        (files, "all are equal; add other"),
        ({"1.png": files["a/000.png"]}, "it is the only one; add"),
    ):
        with pytest.raises(InputError, match=f"none can be held out, as {words} pictures"):
            Images(in_folder(tmp_path / str(len(kept)), kept), heldout=0.5)


def test_a_sample_has_its_share_of_each_class(tmp_path: Path) -> None:
    folder = in_folder(tmp_path / "set", classes({"train/a": 40, "train/b": 20, "test/a": 20}))
    images = Images(folder, limit=30)
    assert Counter(images.column("label").read(0, 99)) == {"a": 20, "b": 10}
    assert len(images.split("test")) == 20
    assert set(content_ids(Images(folder, limit=15).column("image"))) < set(content_ids(images.column("image")))


def test_draws_take_the_same_share_of_each_class_and_leave_one() -> None:
    ids = np.random.default_rng(0).integers(-(2**62), 2**62, 1000)
    classes = np.arange(1000) // 100
    out = drawn(ids, classes, 0.02, 0, leave=True)
    assert np.bincount(classes[out]).tolist() == [2] * 10
    assert drawn(ids[:2], np.array([0, 1]), 0.5, 0, leave=True).tolist() == [False, False]
    assert drawn(ids[:2], np.array([0, 1]), 0.5, 0, leave=False).tolist() == [True, True]


def test_pictures_of_all_sizes_come_back_as_they_are_and_large_ones_smaller(tmp_path: Path) -> None:
    files = {f"{i}.png": encoded(noise(i, 10 + i, 40 - i)) for i in range(20)} | {
        "big.jpg": encoded(noise(9, 500, 800), "JPEG")
    }
    images = Images(in_folder(tmp_path / "set", files), side=64)
    column = images.column("image")
    names = images.column("path").read(0, 99)
    assert column_kind(column) == "image"
    assert column.read(0, 99)[names.index("big.jpg")].shape == (64, 102, 3)
    for name, cell in zip(names, column.read(0, 99), strict=True):
        assert np.array_equal(cell, decoded(files[name], 64))
    rows = np.array([3, 17, 3, 0])
    assert all(map(np.array_equal, take(column, rows), [column.read(row, row + 1)[0] for row in rows]))
    assert content_ids(column).tolist() == [content_id(cell) for cell in column.read(0, 99)]
    column.read(0, 1)[0][:] = 7  # a reader's copy
    assert np.array_equal(column.read(0, 1)[0], decoded(files[names[0]], 64))


def test_pictures_are_decoded_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nearfar.data.picture_sets import reading

    folder = in_folder(tmp_path / "set", classes({"a": 5, "b": 5}))
    first = Images(folder)
    with monkeypatch.context() as patch:
        patch.setattr(reading, "decoded", lambda *_: pytest.fail("decoded again"))
        assert Images(folder).fingerprint == first.fingerprint
        shutil.copytree(folder, tmp_path / "copied")
        assert Images(tmp_path / "copied").fingerprint == first.fingerprint
    assert len(list(cache.glob("*/pixels.bin"))) == 1
    (folder / "a/000.png").write_bytes(encoded(noise(77)))
    assert Images(folder).fingerprint != first.fingerprint
    assert len(list(cache.glob("*/pixels.bin"))) == 2
    assert Images(folder, side=4).column("image").read(0, 1)[0].shape[0] == 4


@pytest.mark.parametrize("store_gb", [1.0, 0.0])
@pytest.mark.parametrize("file", ["pixels.bin", "index.npy", "names.json"])
def test_a_damaged_cache_is_made_anew(store_gb: float, file: str, tmp_path: Path, cache: Path) -> None:
    folder = in_folder(tmp_path / "set", classes({"a": 5, "b": 5}))
    cells = _cells(Images(folder, store_gb=store_gb))
    for damaged in cache.glob(f"*/{file}"):
        damaged.write_bytes(damaged.read_bytes()[:-9])
    again = _cells(Images(folder, store_gb=store_gb))
    assert again.keys() == cells.keys()
    assert all(np.array_equal(again[name], cell) for name, cell in cells.items())


def test_digests_are_remembered_for_files_that_have_not_changed_lately(tmp_path: Path, cache: Path) -> None:
    folder = in_folder(tmp_path / "set", {"a.png": b"1"})
    files = [folder / "a.png"]
    before = content_digest(files, folder)
    assert not (cache / "digests").exists()  # written a moment ago: it may change again within one tick of the clock
    stats = files[0].stat()
    long_ago = time.time() + 10
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: long_ago)
        assert content_digest(files, folder) == before
        [memo] = (cache / "digests").iterdir()
        memo.write_text("remembered")
        assert content_digest(files, folder) == "remembered"
        files[0].write_bytes(b"2")
        os.utime(files[0], ns=(stats.st_atime_ns, stats.st_mtime_ns))
        assert content_digest(files, folder) not in (before, "remembered")


@pytest.mark.parametrize("pack", [in_folder, in_zip, in_tar])
def test_pictures_that_do_not_fit_are_decoded_when_read(pack: Any, tmp_path: Path, cache: Path) -> None:
    files = classes({"a": 30, "b": 30})
    kept = Images(in_folder(tmp_path / "kept", files))
    path = pack(tmp_path / ("set.tar" if pack is in_tar else "set.zip"), files | {"a/bad.png": b"no"})
    for _ in range(2):
        with pytest.warns(UserWarning, match="1 of 61 pictures cannot be used"):
            images = Images(path, store_gb=0, heldout=0.1)
    assert [file for file in cache.glob("*/pixels.bin") if file.stat().st_size] == list(cache.glob("*/pixels.bin"))
    assert len(list(cache.glob("*/pixels.bin"))) == 1
    assert images.notes["decoded"].startswith("whenever read")
    cells = {path: cell for split in ("train", "heldout") for path, cell in _cells(images.split(split)).items()}
    assert list(cells) != [] and cells.keys() == _cells(kept).keys()
    assert all(np.array_equal(cells[name], cell) for name, cell in _cells(kept).items())
    assert set(content_ids(images.column("image"))) < {content_id(data) for data in files.values()}


def _cells(images: Images) -> dict[str, Any]:
    n = len(images)
    return dict(zip(images.column("path").read(0, n), images.column("image").read(0, n), strict=True))


def test_what_turns_out_too_large_is_indexed_and_kept_with_a_higher_limit(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nearfar.data.picture_sets import reading

    monkeypatch.setattr(reading, "_PROBED", 1)  # the first picture, which is small
    files = {"a.png": encoded(noise(0, 4, 4))} | {f"b{i}.png": encoded(noise(i, 90, 90)) for i in range(9)}
    folder = in_folder(tmp_path / "set", files)
    cells = _cells(Images(folder, store_gb=1e-5))
    assert list(cache.glob("*/pixels.bin")) == []
    kept = Images(folder)
    assert len(list(cache.glob("*/pixels.bin"))) == 1
    assert all(np.array_equal(cells[name], cell) for name, cell in _cells(kept).items())


def test_a_compressed_tar_that_does_not_fit_is_refused(tmp_path: Path, cache: Path) -> None:
    path = in_tar(tmp_path / "set.tar.gz", classes({"a": 5}), "w:gz")
    with pytest.raises(InputError, match="a compressed tar can only be read in order; decompress it"):
        Images(path, store_gb=1e-7)
    assert list(cache.glob("*/pixels.bin")) == []


def test_a_picture_that_breaks_when_it_is_read_is_named(tmp_path: Path) -> None:
    folder = in_folder(tmp_path / "set", classes({"a": 3}) | {"b.png": encoded(noise(5, 99, 99))[:300]})
    images = Images(folder, store_gb=0)
    with pytest.raises(InputError, match=r"'b\.png' is damaged or cut off"):
        images.column("image").read(0, 4)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"limit": 0}, "limit: 0 must be at least 1"),
        ({"side": 1}, "side: 1 must be at least 2"),
        ({"broken": 2.0}, "broken: 2 is a share"),
        ({"heldout": 1.5}, "heldout=1.5"),
        ({"heldout": -1.0}, "heldout=-1"),
        ({"heldout": 6.0}, "leaves no training"),
        ({"label": "kind"}, "has no column 'kind'"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    folder = in_folder(tmp_path / "set", classes({"a": 3, "b": 3}))
    with pytest.raises(InputError, match=words):
        Images(folder, **settings)


def test_a_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    images = Images(in_folder(tmp_path / "set", classes({"train/a": 3, "test/b": 3, "heldout/b": 2}, start=3)))
    assert len(images.split("testing")) == 3
    with pytest.raises(InputError, match="no split 'validation'; "):
        images.split("validation")
    with pytest.raises(InputError, match="has a split 'heldout' already"):
        Images(tmp_path / "set", heldout=0.5)
    assert [len(rows) for rows in images.pool("test")] == [3, 2]
    assert images.where(0).endswith("set: train/a/000.png")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    import datasets

    def split(start: int, labels: list[int]) -> Any:
        cells = [{"bytes": encoded(noise(start + i)), "path": None} for i in range(len(labels))]
        features = datasets.Features(
            {
                "image": datasets.Image(),
                "fine": datasets.ClassLabel(names=["cat", "dog"]),
                "place": datasets.Value("string"),
            }
        )
        rows = {"image": cells, "fine": labels, "place": [f"p{i % 2}" for i in range(len(labels))]}
        return datasets.Dataset.from_dict(rows, features)

    train, test = split(0, [0, 1] * 10), split(50, [1, 0, -1])
    datasets.DatasetDict({"train": train, "test": test}).save_to_disk(str(tmp_path / "saved"))
    return tmp_path / "saved"


@pytest.mark.parametrize("store_gb", [1.0, 0.0])
def test_a_saved_data_set_is_read(saved: Path, store_gb: float) -> None:
    images = Images(saved, heldout=0.2, store_gb=store_gb)
    assert (images.columns, images.splits) == (["image", "label", "path"], ["train", "test", "heldout"])
    assert Counter(images.split("heldout").column("label").read(0, 9)) == {"cat": 2, "dog": 2}
    assert images.split("test").column("label").read(0, 9) == ["dog", "cat", None]
    assert np.array_equal(images.split("test").column("image").read(1, 2)[0], noise(51))
    assert set(Images(saved, label="place").column("label").read(0, 99)) == {"p0", "p1"}
    assert "label" not in Images(saved, label=None).columns
    with pytest.raises(InputError, match="no column 'plaice' of classes; did you mean 'place'"):
        Images(saved, label="plaice")
    assert is_picture_set(saved)


def test_a_saved_data_set_is_read_without_following_its_paths(tmp_path: Path) -> None:
    import datasets

    (tmp_path / "outside.png").write_bytes(encoded(noise()))
    rows = [{"bytes": encoded(noise(i)), "path": "x.png"} for i in range(8)]
    features = datasets.Features({"picture": datasets.Image()})
    datasets.Dataset.from_dict({"picture": rows}, features).save_to_disk(str(tmp_path / "saved"))
    [file] = (tmp_path / "saved").glob("*.arrow")
    cells: list[Any] = [*rows, {"bytes": None, "path": str(tmp_path / "outside.png")}, None]
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, features.arrow_schema) as writer:
        writer.write_table(pa.Table.from_pylist([{"picture": cell} for cell in cells], features.arrow_schema))
    with pytest.warns(UserWarning, match=r"2 of 10 pictures cannot be used: train/8 is a path .* train/9 is missing"):
        assert len(Images(tmp_path / "saved")) == 8


def test_a_saved_data_set_without_pictures_is_refused(tmp_path: Path) -> None:
    import datasets

    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(str(tmp_path / "saved"))
    assert not is_picture_set(tmp_path / "saved")
    with pytest.raises(InputError, match="has no column of pictures, and one is needed"):
        Images(tmp_path / "saved")


@pytest.mark.parametrize(
    ("files", "pictures"),
    [
        (["a.png"], True),
        (["a/b/c.jpg", "notes.txt"], False),
        (["a/b/c.jpg", "a/d.webp", "notes.txt"], True),
        (["a.png", "rows.jsonl"], False),
        (["a.txt"], False),
        ([".hidden/a.png"], False),
        ([], False),
    ],
)
def test_a_folder_of_pictures_is_recognised(files: list[str], pictures: bool, tmp_path: Path) -> None:
    folder = in_folder(tmp_path / "set", dict.fromkeys(files, b"x"))
    folder.mkdir(exist_ok=True)
    assert is_picture_set(folder) is pictures


def test_an_archive_is_recognised_by_its_name() -> None:
    for name in ("a.zip", "a.tar", "a.tar.gz", "b/a.TAR.XZ", "a.tgz", "a.tar.zst"):
        assert is_picture_set(name)
    for name in ("a.gz", "a.jsonl.gz", "a.png", "owner/name", "", "nowhere"):
        assert not is_picture_set(name)


def test_classes_become_a_task(tmp_path: Path) -> None:
    files = classes({"train/a": 9, "train/b": 9, "test/a": 4, "test/b": 4})
    views = positives.Views(Images(in_folder(tmp_path / "set", files)))
    [task] = views.tasks("test")
    assert isinstance(task, Labels)
    assert (task.classes, len(task.cells), len(task.train)) == (["a", "b"], 8, 18)


def test_cifar_10_is_read_from_its_archive(shared_data: Path) -> None:
    images = Images(shared_data / "A-cifar10" / "cifar10-jpeg.tar.xz", heldout=0.02)
    assert {name: len(images.split(name)) for name in images.splits} == {
        "train": 49_000,
        "test": 10_000,
        "heldout": 1000,
    }
    assert set(Counter(images.split("heldout").column("label").read(0, 1000)).values()) == {100}
    assert {cell.shape for cell in take(images.column("image"), np.arange(0, 49_000, 997))} == {(32, 32, 3)}
    assert len(np.unique(np.concatenate([images.split(s).column("image").ids() for s in images.splits]))) == 60_000  # type: ignore[attr-defined]


def test_omniglot_is_read_from_its_archive(shared_data: Path) -> None:
    images = Images(shared_data / "A-omniglot-small" / "images_background_small1.zip", heldout=0.1)
    held = Counter(images.split("heldout").column("label").read(0, 9999))
    assert set(held.values()) == {2}
    assert len(held) == images.notes["classes"] == 136
    assert "Greek/character01" in held
    cell = images.column("image").read(0, 1)[0]
    assert cell.shape == (105, 105, 3)
    assert set(np.unique(cell)) == {0, 255}
