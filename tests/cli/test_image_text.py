"""Pictures with captions from the command line: a table and an archive beside it, COCO's captions, tars by braces."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.calling import Run
from tests.data.test_archives import in_tar, in_zip
from tests.pictures.samples import encoded, noise

NAMES = [f"{i}.png" for i in range(30)]
BERT = "{model_type: bert, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16}"
TEXT = [f"encoder.config={BERT}", "encoder.vocabulary=300", "positives.column=caption", "data.heldout=0.2"]
TEXT += ["training.steps=2", "training.batch_size=8"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the same pairs as a table, as COCO's captions and as two tars; the pictures are in a zip."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    pictures = {name: encoded(noise(i, 16, 16)) for i, name in enumerate(NAMES)}
    in_zip(tmp_path / "images.zip", pictures)
    rows = [(name, f"caption {k} of picture {name}") for name in NAMES for k in range(2)]
    table = "image\tcaption\n" + "".join(f"{name}\t{text}\n" for name, text in rows)
    (tmp_path / "captions.tsv.gz").write_bytes(gzip.compress(table.encode()))
    coco: dict[str, Any] = {"images": [{"id": i, "file_name": name} for i, name in enumerate(NAMES)]}
    coco["annotations"] = [{"image_id": NAMES.index(name), "caption": text} for name, text in rows]
    (tmp_path / "captions.json").write_text(json.dumps(coco))
    for part in range(2):
        members: dict[str, bytes] = {}
        for name in NAMES[part::2]:
            texts = [text for picture, text in rows if picture == name]
            members |= {name: pictures[name], f"{name[:-4]}.json": json.dumps({"captions": texts}).encode()}
        in_tar(tmp_path / f"part-{part}.tar", members)
    return tmp_path


@pytest.mark.parametrize(
    "source",
    [
        ["data.path=captions.tsv.gz", "data.pictures=images.zip"],
        ["data.path=captions.json", "data.pictures=images.zip"],
        ["data.path=part-{0..1}.tar"],
    ],
)
def test_captions_are_trained_on(source: list[str], folder: Path, nearfar: Run) -> None:
    done = nearfar("train", "simcse_scratch", "data.name=image_text", *source, *TEXT, "--out", "run", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["metrics"]
    assert "captions a picture" in (folder / "run" / "results.json").read_text()


def test_pictures_are_trained_on(nearfar: Run) -> None:
    words = ["data.name=image_text", "data.path=captions.tsv.gz", "data.pictures=images.zip", "training.batch_size=8"]
    done = nearfar("train", "simclr", *words, "encoder.size=16", "data.heldout=2", "--dry-run")
    assert done.code == 0, done.err
    assert "56 pairs" in done.out  # two pictures are held out, with both captions of each


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data.path=captions.tsv.gz"], "has none of the 30 pictures that captions name, such as '0.png'"),
        (["data.path=captions.tsv.gz", "data.pictures=image.zip"], "image.zip: no such file or folder"),
        (["data.path=part-{0..2}.tar"], "part-2.tar: no such file"),
        (["data.path=captions.tsv.gz", "data.picture=images.zip"], "did you mean 'pictures'"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(words: list[str], said: str, nearfar: Run) -> None:
    done = nearfar("train", "simcse_scratch", "data.name=image_text", *words, *TEXT, "--out", "run")
    assert done.code == 2
    assert said in done.err.replace("\n", " ")
