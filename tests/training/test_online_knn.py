"""kNN while training: what is kept back, that training never sees it, and the value beside a naive one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import nearfar as nf
from nearfar.column import content_ids, take
from nearfar.model import Model
from nearfar.reports.course import course_of
from nearfar.training import online_knn
from nearfar.training.online_knn import KnnRows
from nearfar.training.settings import Settings
from tests.training.small_pictures import Pictures, Shifted, SmallConvolution


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(online_knn, "SHARE", 0.2)
    monkeypatch.setattr(online_knn, "FEWEST", 10)


def views(data: Pictures | None = None) -> nf.positives.Views:
    return nf.positives.Views(data or Pictures(), views=[{"augmentation": Shifted(), "times": 2}])


def rows_of(positives: nf.positives.Views, among: np.ndarray | None = None) -> KnnRows:
    rows, why = KnnRows.of(positives, SmallConvolution(), Settings(), among)
    assert rows is not None and why is None
    return rows


def test_each_class_is_kept_back_alike_and_the_rows_are_apart() -> None:
    positives = views()
    rows, n = rows_of(positives), len(positives)
    assert not set(rows.queries) & set(rows.train) and set(rows.bank) <= set(rows.train)
    assert len(rows.queries) + len(rows.train) == n
    assert 0.15 * n < len(rows.queries) < 0.25 * n and 0.4 * n < len(rows.bank) < 0.6 * n
    for number in range(4):
        share = (rows.classes[rows.queries] == number).mean() / (rows.classes == number).mean()
        assert 0.8 < share < 1.25
    part = np.arange(0, n, 2)
    assert set(rows_of(positives, part).queries) | set(rows_of(positives, part).train) == set(part)


def test_equal_pictures_are_kept_back_together() -> None:
    data = Pictures()
    data.images, data.labels, data.rows = data.images * 2, data.labels * 2, data.rows * 2
    positives = views(data)
    rows, ids = rows_of(positives), content_ids(positives.documents.cells)
    assert not np.isin(ids[rows.queries], ids[rows.train]).any()


def test_without_classes_and_with_few_pictures_it_is_left_out_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Pictures()
    data.columns = ["image"]
    rows, why = KnnRows.of(views(data), SmallConvolution(), Settings(), None)
    assert rows is None and why == "no kNN while training: the pictures have no classes"
    assert KnnRows.of(views(), SmallConvolution(), Settings(online_knn=False), None) == (None, None)
    monkeypatch.setattr(online_knn, "FEWEST", 1000)
    rows, why = KnnRows.of(views(), SmallConvolution(), Settings(), None)
    assert rows is None and why is not None and "20% of 160 pictures are too few" in why


def test_a_run_logs_it_and_never_trains_on_what_is_kept_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    positives, encoder = views(), SmallConvolution()
    rows, seen = rows_of(positives), set[int]()
    batch = positives.batch

    def noted(examples: np.ndarray, queued: np.ndarray | None = None) -> object:
        seen.update(examples.tolist())
        return batch(examples, queued)

    monkeypatch.setattr(positives, "batch", noted)
    run = nf.fit(encoder, positives, nf.losses.InfoNCE(), out=tmp_path / "run", batch_size=32, epochs=2, quiet=True)
    assert seen == set(rows.train.tolist())
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    online = [event for event in events if event["event"] == "online"]
    assert [event["step"] for event in online] == [1, 8] and online[0]["of"] == {
        "queries": len(rows.queries),
        "among": len(rows.bank),
    }
    model = Model(run.model.encoder)
    cells, bank = (model.embed(take(positives.documents.cells, part)) for part in (rows.queries, rows.bank))
    hits = 0
    for vector, own in zip(cells.astype(np.float64), rows.classes[rows.queries], strict=True):
        cosines = bank.astype(np.float64) @ vector
        nearest = np.argsort(-cosines, kind="stable")[:20]
        votes = np.bincount(rows.classes[rows.bank][nearest], np.exp(cosines[nearest] / 0.07), minlength=4)
        hits += int(votes.argmax() == own)
    assert run.online["knn@20"] == pytest.approx(hits / len(cells), abs=1.01 / len(cells))
    course = course_of(events)
    assert [step for step, _ in course["online"]["knn@20"]] == [1, 8] and course["online_of"]["queries"] == len(cells)


def test_measuring_leaves_weights_and_buffers_as_they_are(tmp_path: Path) -> None:
    """The run's weights are those of a run that measures nothing but trains on the same rows."""

    def trained(folder: str, every: float) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(online_knn, "ROWS_BETWEEN", every)
            patch.setattr(online_knn, "POINTS", 1000)
            encoder = SmallConvolution()
            nf.fit(encoder, views(), nf.losses.InfoNCE(), out=tmp_path / folder, batch_size=32, steps=6, quiet=True)
            return {name: tensor.clone() for name, tensor in encoder.state_dict().items()}

    often, seldom = trained("often", 0.01), trained("seldom", 1000)
    assert all(torch.equal(tensor, seldom[name]) for name, tensor in often.items())
