"""Pictures with captions, of every source: rows, splits, shared pictures, and what is wrong with them."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar.column import column_kind, content_id, content_ids
from nearfar.data.archives.indexed_tar import IndexedTar
from nearfar.data.captions.shards import shard_paths
from nearfar.data.image_text import ImageText
from nearfar.data.images import Images
from nearfar.errors import InputError
from nearfar.pictures.decode import decoded
from nearfar.positives.columns import Columns
from tests.data.test_archives import in_folder, in_tar, in_zip
from tests.pictures.samples import encoded, noise

Row = dict[str, Any]
NAMES = [f"photos/{i}.png" for i in range(6)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pictures"


def files(names: list[str] = NAMES) -> dict[str, bytes]:
    return {name: encoded(noise(i, 12, 14)) for i, name in enumerate(names)}


def said(name: str, number: int) -> str:
    return f"caption {number} of {name}"


def rows(each: int = 2, names: list[str] = NAMES, **more: Any) -> list[Row]:
    """Return a row for each caption, a picture after the other."""
    return [{"image": name, "caption": said(name, k), **more} for name in names for k in range(each)]


def lines(path: Path, content: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    return path


def tsv(path: Path, content: list[Row]) -> Path:
    table = ["\t".join(content[0]), *("\t".join(map(str, row.values())) for row in content)]
    path.write_text("\n".join(table) + "\n", encoding="utf-8")
    return path


def coco(content: list[Row], **changes: Any) -> dict[str, Any]:
    """Return rows as COCO's captions."""
    names = list(dict.fromkeys(row["image"] for row in content))
    images = [{"id": 100 + i, "file_name": name, "width": 14} for i, name in enumerate(names)]
    annotations = [
        {"id": i, "image_id": 100 + names.index(row["image"]), "caption": row["caption"]}
        for i, row in enumerate(content)
    ]
    return {"info": {"year": 2017}, "images": images, "annotations": annotations, **changes}


def saved(path: Path, content: list[Row], pictures: dict[str, bytes]) -> Path:
    import datasets

    features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    cells = [{"image": {"bytes": pictures[row["image"]], "path": None}, "caption": row["caption"]} for row in content]
    data = datasets.Dataset.from_list(cells, features)
    data.save_to_disk(str(path))
    return path


def set_as_table(path: Path) -> ImageText:
    in_folder(path, files())
    return ImageText(tsv(path / "captions.tsv", rows()))


def set_as_lists(path: Path) -> ImageText:
    path.mkdir(exist_ok=True)
    in_zip(path / "all.zip", {f"top/{name}": data for name, data in files().items()})
    content = [{"file_name": name, "captions": [said(name, 0), said(name, 1)]} for name in NAMES]
    return ImageText(lines(path / "captions.jsonl", content), pictures=path / "all.zip")


def set_as_coco(path: Path) -> ImageText:
    path.mkdir(exist_ok=True)
    in_tar(path / "all.tar", files())
    (path / "captions.json").write_text(json.dumps(coco(rows())))
    return ImageText(path / "captions.json", pictures=path / "all.tar")


def set_as_indented_coco(path: Path) -> ImageText:
    in_tar(path / "all.tar.gz", files(), "w:gz")
    (path / "captions.json").write_text(json.dumps(coco(rows()), indent=1))
    return ImageText(path / "captions.json", pictures=path / "all.tar.gz")


def set_as_tar(path: Path) -> ImageText:
    path.mkdir(exist_ok=True)
    members: dict[str, bytes] = {}
    for i, (name, data) in enumerate(files().items()):
        members |= {f"{i}.json": json.dumps({"captions": [said(name, 0), said(name, 1)]}).encode(), f"{i}.png": data}
    return ImageText(in_tar(path / "shard.tar", members))


def set_as_saved(path: Path) -> ImageText:
    return ImageText(saved(path / "saved", rows(), files()))


SOURCES: list[Callable[[Path], ImageText]] = [
    *(set_as_table, set_as_lists, set_as_coco, set_as_indented_coco, set_as_tar, set_as_saved)
]


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_is_the_same_pairs_and_their_pictures_are_shared(
    source: Callable[[Path], ImageText], tmp_path: Path, cache: Path
) -> None:
    found = source(tmp_path)
    assert (found.columns, len(found), found.splits) == (["image", "caption", "path"], 12, ["train"])
    assert found.column("caption").read(0, 99) == [row["caption"] for row in rows()]
    pictures = found.column("image").read(0, 99)
    for picture, row in zip(pictures, rows(), strict=True):
        assert np.array_equal(picture, decoded(files()[row["image"]]))
    assert column_kind(found.column("image")) == "image"
    assert content_ids(found.column("image")).tolist() == list(map(content_id, pictures))
    [pixels] = cache.glob("*/pixels.bin")
    assert pixels.stat().st_size == 6 * 12 * 14 * 3  # each picture once
    assert (
        found.notes | {"train": 12, "heldout": 0, "distinct pictures": "6 train", "captions a picture": "2"}
        == found.notes
    )
    assert found.where(4) != found.where(2)


def test_content_ids_are_known_without_reading_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nearfar.data.picture_sets.store import StoredPictures

    found = set_as_table(tmp_path)
    monkeypatch.setattr(StoredPictures, "read_rows", lambda *_: pytest.fail("read"))
    ids = content_ids(found.column("image"))
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("store_gb", [1.0, 0.0])
@pytest.mark.parametrize("source", [set_as_table, set_as_lists, set_as_coco, set_as_tar, set_as_saved])
def test_opening_again_decodes_nothing_and_gives_the_same_set(
    source: Callable[[Path], ImageText], store_gb: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nearfar.data.picture_sets import reading

    monkeypatch.setattr(ImageText.__init__, "__kwdefaults__", {**_defaults(), "store_gb": store_gb})
    first = source(tmp_path / "a")
    cells = first.column("image").read(0, 99)
    with monkeypatch.context() as patch:
        patch.setattr(reading, "_pass", lambda *_: pytest.fail("read again"))
        again = source(tmp_path / "a")
    assert again.fingerprint == first.fingerprint
    assert all(map(np.array_equal, again.column("image").read(0, 99), cells))
    rest = np.array([7, 0, 7])
    assert all(map(np.array_equal, again.column("image").read_rows(rest), [cells[7], cells[0], cells[7]]))  # type: ignore[attr-defined]


def _defaults() -> dict[str, Any]:
    return dict(ImageText.__init__.__kwdefaults__ or {})


def test_splits_of_a_table_are_kept(tmp_path: Path) -> None:
    in_folder(tmp_path, files())
    splits = ["train", "train", "train", "dev", "test", "none"]
    content = [row | {"split": splits[i // 2]} for i, row in enumerate(rows())]
    found = ImageText(tsv(tmp_path / "captions.tsv", content))
    assert found.splits == ["train", "validation", "test", "none"]
    assert [len(found.split(name)) for name in ("train", "dev", "test", "none")] == [6, 2, 2, 2]
    assert found.split("dev").column("path").read(0, 9) == [NAMES[3]] * 2
    assert found.split("dev").where(1).endswith("captions.tsv: row 8 (line 9)")
    assert found.split("test").split("train").fingerprint == found.fingerprint
    with pytest.raises(InputError, match=r"no split 'heldout'; .*heldout=0\.1 keeps"):
        found.split("heldout")


def test_files_of_a_folder_are_splits(tmp_path: Path) -> None:
    in_folder(tmp_path, files())
    lines(tmp_path / "train.jsonl", rows(names=NAMES[:4]))
    lines(tmp_path / "test.jsonl", rows(3, names=NAMES[4:]))
    found = ImageText(tmp_path)
    assert {name: len(found.split(name)) for name in found.splits} == {"train": 8, "test": 6}


def test_held_out_pictures_take_all_their_captions_and_their_copies_with_them(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(40)]
    pictures = files(names) | {f"copy of {i}.png": encoded(noise(i, 12, 14)) for i in range(40)}
    found = ImageText(tsv(in_folder(tmp_path, pictures) / "captions.tsv", rows(5, list(pictures))), heldout=0.2)
    held = found.split("heldout")
    assert set(Counter(content_ids(held.column("image")).tolist()).values()) == {10}
    assert len(held) == 80
    assert len(found) == 320
    assert not set(content_ids(held.column("image"))) & set(content_ids(found.column("image")))
    assert found.notes["heldout"] == 80
    other = ImageText(tmp_path / "captions.tsv", heldout=0.2, seed=1)
    assert other.split("heldout").fingerprint != held.fingerprint
    assert len(ImageText(tmp_path / "captions.tsv", heldout=3).split("heldout")) == 30
    assert len(ImageText(tmp_path / "captions.tsv", limit=4)) == 40


def test_training_pictures_of_another_split_are_left_out_with_their_captions(tmp_path: Path) -> None:
    pictures = files() | {"again.png": files()[NAMES[0]]}
    content = rows(split="train") + rows(3, ["again.png"], split="test")
    found = ImageText(tsv(in_folder(tmp_path, pictures) / "captions.tsv", content))
    assert (len(found), len(found.split("test"))) == (10, 3)
    assert found.notes["training pictures equal to one of another split, left out"] == 1
    with pytest.raises(InputError, match="every training picture is equal to one of another split"):
        ImageText(tsv(tmp_path / "b.tsv", rows(2, NAMES[:1], split="train") + rows(3, ["again.png"], split="test")))


def test_what_is_beside_the_pairs_is_counted(tmp_path: Path) -> None:
    content = [*rows(), {"image": NAMES[0], "caption": said(NAMES[0], 0)}]
    pictures = files() | {"photos/alone.png": encoded(noise(77)), "photos/notes.txt": b"x"}
    found = ImageText(tsv(in_folder(tmp_path, pictures) / "captions.tsv", content))
    assert found.notes["pictures without a caption, left out"] == 1
    assert found.notes["rows equal to another one, of one picture and one caption"] == 1
    assert found.notes["captions a picture"] == "2 to 3, 2.2 on average"
    packed = ImageText(tmp_path / "captions.tsv", pictures=in_zip(tmp_path / "all.zip", pictures))
    assert packed.notes["pictures without a caption, left out"] == 1
    assert packed.fingerprint == found.fingerprint
    content = [{"image": name, "captions": [] if name == NAMES[0] else ["a dog"]} for name in NAMES]
    assert ImageText(lines(tmp_path / "lists.jsonl", content)).notes["pictures without a caption, left out"] == 3


def test_the_other_captions_are_those_of_the_picture_in_the_split(tmp_path: Path) -> None:
    content = [*rows(3, NAMES[:2]), *rows(1, NAMES[2:3]), {"image": NAMES[3], "caption": said(NAMES[3], 0)}]
    content += [{"image": NAMES[3], "caption": said(NAMES[3], 0)}]  # said twice
    in_folder(tmp_path, files())
    plain = ImageText(lines(tmp_path / "a.jsonl", content), progress=False)
    assert "other_captions" not in plain.columns
    some = ImageText(tmp_path / "a.jsonl", progress=False, other_captions=True)
    others = some.column("other_captions").read(0, len(some))
    assert others[:2] == [[said(NAMES[0], 1), said(NAMES[0], 2)], [said(NAMES[0], 0), said(NAMES[0], 2)]]
    assert others[6:] == [[], [], []]
    pairs = Columns(some, query="caption", key="other_captions", cluster="path")
    lines(tmp_path / "single.jsonl", rows(each=1))
    single = ImageText(tmp_path / "single.jsonl", progress=False, other_captions=True)
    with pytest.raises(InputError, match="no row with texts in both 'caption' and 'other_captions', as lists of one"):
        Columns(single, query="caption", key="other_captions")
    found = [(row["query"], row["key"]) for row in pairs.describe(np.arange(len(pairs)))]
    assert found == [(said(n, i), said(n, j)) for n in NAMES[:2] for i in range(3) for j in range(3) if i != j]


def test_a_picture_may_have_ten_thousand_captions(tmp_path: Path) -> None:
    content = [{"image": NAMES[0], "caption": f"a dog that runs {i}"} for i in range(10_000)] + rows(1, NAMES[1:])
    found = ImageText(tsv(in_folder(tmp_path, files()) / "captions.tsv", content))
    assert len(found) == 10_005
    assert found.notes["captions a picture"] == "1 to 10,000, 1,667.5 on average"


def test_missing_and_broken_pictures_are_named_by_row_and_path(tmp_path: Path) -> None:
    pictures = files() | {NAMES[1]: files()[NAMES[1]][:60]}
    del pictures[NAMES[3]]
    in_folder(tmp_path, pictures)
    (tmp_path / "photos/link.png").symlink_to(tmp_path / NAMES[0])
    odd = ["photos/link.png", "../outside.png", "/etc/passwd.png", "notes.txt", "a\0b.png"]
    path = lines(tmp_path / "captions.jsonl", rows() + rows(1, odd))
    with pytest.raises(InputError, match=r"7 of 11 pictures cannot be used: row 3 \(line 3\): 'photos/"):
        ImageText(path)
    with pytest.warns(UserWarning, match="They are left out") as warned:
        found = ImageText(path, broken=0.9)
    text = str(warned[0].message)
    assert "row 3 (line 3): 'photos/1.png' is damaged or cut off" in text
    assert "row 7 (line 7): 'photos/3.png' is missing" in text
    assert "row 13 (line 13): 'photos/link.png' is a link" in text
    assert "row 14 (line 14): '../outside.png' has a path that leads out" in text
    assert len(found) == 8
    assert found.notes["broken"] == 7


def test_an_archive_is_never_left(tmp_path: Path) -> None:
    pictures = {f"photos/{i}.png": encoded(noise(i)) for i in range(5)} | {"../evil.png": encoded(noise(9))}
    path = tsv(tmp_path / "captions.tsv", rows(1, [*pictures, "evil.png"]))
    for archive in (in_zip(tmp_path / "a.zip", pictures), in_tar(tmp_path / "a.tar", pictures)):
        with pytest.warns(UserWarning, match="2 of 7 pictures cannot be used.*leads out of the archive"):
            assert len(ImageText(path, pictures=archive)) == 5


def test_a_name_in_an_archive_may_be_the_end_of_one_member(tmp_path: Path) -> None:
    pictures = {f"a/{name}": data for name, data in files(["1.png", "2.png"]).items()} | files(["b/1.png"])
    archive = in_zip(tmp_path / "all.zip", pictures)
    with pytest.warns(UserWarning, match=r"1 of 2 pictures cannot be used: .*'1\.png' is missing"):
        assert ImageText(tsv(tmp_path / "c.tsv", rows(1, ["1.png", "2.png"])), pictures=archive).where(0) != ""


def shard(path: Path, **texts: bytes) -> Path:
    """Write a tar of two good pairs, and of further members: names with "__" for a dot."""
    members = {"a.jpg": encoded(noise(0), "JPEG"), "a.txt": b"a dog\n", "b.webp": encoded(noise(1), "WEBP")}
    members |= {"b.json": b'{"caption": "a cat", "width": 3}', "b.cls": b"1"}
    return in_tar(path, members | {name.replace("__", "."): data for name, data in texts.items()})


def test_shards_are_read_in_their_order_and_by_splits(tmp_path: Path) -> None:
    for name in ("train/000.tar", "train/001.tar", "test/000.tar"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        number = len(list(tmp_path.rglob("*.tar")))
        shard(tmp_path / name, **{f"{number}__txt": b"more", f"{number}__png": encoded(noise(9 + number))})
    found = ImageText(tmp_path)
    assert {name: len(found.split(name)) for name in found.splits} == {"train": 2, "test": 3}  # a and b are copies
    assert found.column("path").read(0, 9) == ["train/000.tar/0.png", "train/001.tar/1.png"]
    assert found.split("test").column("caption").read(0, 9) == ["a dog", "a cat", "more"]
    named = ImageText(f"{tmp_path}/train/{{000..001}}.tar")
    assert named.column("path").read(0, 9)[:3] == ["000.tar/a.jpg", "000.tar/b.webp", "000.tar/0.png"]
    assert len(named) == 6
    assert named.where(1) == f"{tmp_path}/train/000.tar: 'b'"


def test_braces_stand_for_names() -> None:
    def names(text: str) -> list[str]:
        return [str(path) for path in shard_paths(Path(text))]

    assert names("x-{08..11}.tar") == ["x-08.tar", "x-09.tar", "x-10.tar", "x-11.tar"]
    assert names("{a,b}/{0..1}.tar") == ["a/0.tar", "a/1.tar", "b/0.tar", "b/1.tar"]
    assert names("x.zip") == []
    with pytest.raises(InputError, match="stands for more than 100,000 files"):
        shard_paths(Path("{0..999999999999999999999}.tar"))


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"a__json": b'{"caption": "another"}'}, r"'a': has two texts that differ, a\.txt and a\.json; keep one"),
        ({"a__png": encoded(noise(5))}, r"'a': has 2 pictures \(a\.jpg, a\.png\); keep one"),
        ({"c__jpg": b"x", "c__txt": b" \n"}, r"'c': 'c\.txt': the caption is empty"),
        ({"c__jpg": b"x", "c__txt": b"\xff\xfe"}, r"'c\.txt' is no UTF-8 text"),
        ({"c__jpg": b"x", "c__json": b"{"}, r"'c\.json' is no JSON"),
        ({"c__jpg": b"x", "c__json": b"[" * 50_000}, r"'c\.json' is no JSON"),
        ({"c__jpg": b"x", "c__json": b'{"captions": ["a", 5]}'}, "caption 2 is 5 and no text"),
        ({"c__jpg": b"x", "c__json": b"5"}, "is 5; write an object with a caption"),
        ({"c__jpg": b"x", "c__json": b'{"caption": "\\ud800"}'}, "the caption is not Unicode"),
    ],
)
def test_what_is_wrong_with_a_key_is_named(texts: dict[str, bytes], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        ImageText(shard(tmp_path / "s.tar", **texts))


def test_texts_and_pictures_without_each_other_are_counted(tmp_path: Path) -> None:
    more = {"c__png": encoded(noise(5)), "d__json": b'{"url": "x"}', "d__jpg": b"x", "e__txt": b"a bird"}
    more["a__json"] = b'{"caption": "a dog"}'  # as the text says
    with pytest.warns(UserWarning, match=r"1 of 3 pictures cannot be used: .*'e': 's\.tar/e\.jpg' is missing"):
        found = ImageText(shard(tmp_path / "s.tar", **more))
    assert found.column("caption").read(0, 9) == ["a dog", "a cat"]
    assert found.notes["pictures without a caption, left out"] == 2
    assert ImageText(shard(tmp_path / "t.tar"), caption="txt").column("caption").read(0, 9) == ["a dog"]
    with pytest.raises(InputError, match="no field 'captoin'; did you mean 'caption'"):
        ImageText(tmp_path / "t.tar", caption="captoin")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": [{"id": 100, "file_name": NAMES[0]}]}, r"annotation 3 \(id 2\): its image_id 101 is that of none"),
        ({"images": [{"id": None, "file_name": "a.png"}]}, "image 1: its id is None; write a number"),
        ({"images": [{"id": 100}]}, r"image 1 \(id 100\): its file_name is None"),
        (
            {"images": [{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}]},
            "image 2: its id 1 is that of",
        ),
        ({"images": {"a": 1}}, "'images' is no list"),
        ({"annotations": [5]}, "entry 1 of 'annotations' is 5"),
        ({"annotations": []}, "holds no picture with a caption"),
        ({"annotations": [{"image_id": 100, "bbox": []}]}, "annotation 1 has no caption; give the file of captions"),
        ({"annotations": [{"image_id": 100, "caption": ""}]}, "annotation 1: the caption is empty"),
        ({"annotations": [{"image_id": 100, "caption": ["a", "b"]}]}, "annotation 1 must have one caption"),
        ({"annotations": [{"image_id": 100, "caption": 7}]}, "the caption is 7 and no text"),
        ({"annotations": [{"image_id": [1], "caption": "a"}]}, r"its image_id \[1\] is that of none"),
    ],
)
def test_what_is_wrong_with_cocos_captions_is_named(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    in_folder(tmp_path, files())
    (tmp_path / "captions.json").write_text(json.dumps(coco(rows(), **change)))
    with pytest.raises(InputError, match=words):
        ImageText(tmp_path / "captions.json")


def test_images_without_an_annotation_are_counted(tmp_path: Path) -> None:
    in_folder(tmp_path, files())
    found = coco(rows())
    found["annotations"] = found["annotations"][2:]
    (tmp_path / "captions.json").write_text(json.dumps(found))
    assert ImageText(tmp_path / "captions.json").notes["pictures without a caption, left out"] == 2
    (tmp_path / "captions.json").write_text(json.dumps(found, indent=1)[:-30])
    with pytest.raises(InputError, match=r"captions\.json: "):
        ImageText(tmp_path / "captions.json")


def test_a_json_of_rows_is_a_table(tmp_path: Path) -> None:
    in_folder(tmp_path, files())
    assert len(ImageText(lines(tmp_path / "lines.json", rows()))) == 12
    (tmp_path / "array.json").write_text(json.dumps(rows()))
    assert len(ImageText(tmp_path / "array.json")) == 12


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            [{"image": NAMES[0], "caption": "a"}, {"image": NAMES[1], "caption": " "}],
            r"row 2 .*, column 'caption': is only",
        ),
        (
            [{"image": NAMES[0], "caption": "a"}, {"image": None, "caption": "b"}],
            r"row 2 .*, column 'image': is null",
        ),
        ([{"image": NAMES[0], "captions": ["a", ""]}], r"row 1 \(line 1\), column 'captions': element 2 is empty"),
        ([{"image": NAMES[0], "captions": [1, 2]}], "column 'captions': holds .* not text or lists of text"),
        ([{"image": NAMES[0], "captions": []}], "holds no picture with a caption"),
        ([{"image": 5, "caption": "a"}], "column 'image': holds '5', and .* not text"),
        (
            [{"where": NAMES[0], "caption": "a"}],
            "which column holds the paths of the pictures. give data.image=",
        ),
        (
            [{"image": NAMES[0], "says": "a"}],
            "which column holds the captions. give data.caption=.*; columns: image",
        ),
        (
            [{"image": "nowhere.png", "caption": "a"}],
            "has none of the 1 pictures that .*, such as 'nowhere",
        ),
        ([{"image": "../a.png", "caption": "a"}], r"such as '\.\./a\.png', which has a path that leads out"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(content: list[Row], words: str, tmp_path: Path) -> None:
    in_folder(tmp_path, files())
    with pytest.raises(InputError, match=words):
        ImageText(lines(tmp_path / "captions.jsonl", content))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"image": "imagee"}, "data.image_text.image: no column 'imagee'; did you mean 'image'"),
        ({"caption": "text"}, "data.image_text.caption: no column 'text'"),
        ({"pictures": "nowhere.zip"}, "data.image_text.pictures: nowhere.zip: no such file or folder"),
        ({"heldout": 6}, "leaves no training"),
        ({"side": 1}, "side: 1 must be at least 2"),
        ({"broken": 2.0}, "broken: 2 is a share"),
        ({"seed": -1}, "data.image_text.seed"),
        ({"store_gb": -1.0}, "store_gb: -1 is no size"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tsv(in_folder(tmp_path, files()) / "captions.tsv", rows())
    with pytest.raises(InputError, match=words):
        ImageText(path, **settings)


def test_pictures_that_a_source_has_itself_are_not_looked_for_elsewhere(tmp_path: Path) -> None:
    path = shard(tmp_path / "s.tar")
    with pytest.raises(InputError, match="has its pictures in it; leave pictures=x out"):
        ImageText(path, pictures="x")
    with pytest.raises(InputError, match="has its pictures in it; leave image=x out"):
        ImageText(path, image="x")
    with pytest.raises(InputError, match="is compressed, and pictures in it cannot be read at their place"):
        ImageText(in_tar(tmp_path / "s.tar.gz", {"a.txt": b"a"}, "w:gz"))
    with pytest.raises(InputError, match=r"nowhere\.tar: no such file"):
        ImageText(tmp_path / "nowhere.tar")


def test_only_pictures_with_a_caption_are_decoded(tmp_path: Path, cache: Path) -> None:
    path = tsv(tmp_path / "captions.tsv", rows(5, NAMES[:2]))
    for pictures in (
        in_folder(tmp_path, files()),
        in_zip(tmp_path / "a.zip", files()),
        in_tar(tmp_path / "a.tar", files()),
    ):
        shutil.rmtree(cache, ignore_errors=True)
        assert len(ImageText(path, pictures=pictures)) == 10
        [pixels] = cache.glob("*/pixels.bin")
        assert pixels.stat().st_size == 2 * 12 * 14 * 3


def test_the_decoded_pictures_are_those_of_a_set_of_pictures(tmp_path: Path, cache: Path) -> None:
    archive = in_zip(tmp_path / "all.zip", files())
    Images(archive)
    ImageText(tsv(tmp_path / "captions.tsv", rows()), pictures=archive)
    assert len(list(cache.glob("*/pixels.bin"))) == 1


def test_the_places_in_a_tar_are_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shard(tmp_path / "s.tar")
    first = ImageText(path)
    monkeypatch.setattr(IndexedTar, "_found", lambda _: pytest.fail("searched again"))
    assert ImageText(path).fingerprint == first.fingerprint


def test_flickr8k_is_read_from_its_table_and_archive(shared_data: Path) -> None:
    folder = shared_data / "E-flickr8k"
    found = ImageText(folder / "captions.tsv.gz", pictures=folder / "images-112px.zip")
    counts = {name: len(found.split(name)) for name in found.splits}
    assert counts == {"train": 30_000, "validation": 5_000, "test": 5_000, "none": 455}
    assert found.notes["distinct pictures"] == "5,999 train, 1,000 validation, 1,000 test, 91 none"
    assert found.notes["captions a picture"] == "5 to 10, 5.0 on average"
    ids = {name: content_ids(found.split(name).column("image")) for name in found.splits}
    each = Counter(ids["train"].tolist())
    assert sorted(each.values())[-2:] == [5, 10]  # the two pictures with equal pixels are one
    assert [len(np.unique(of_split)) for of_split in ids.values()] == [5_999, 1_000, 1_000, 91]
    assert not set(ids["train"]) & (set(ids["validation"]) | set(ids["test"]))
    assert found.column("image").read(0, 1)[0].shape == (112, 112, 3)
