"""Every data set: columns of one length, splits, a fingerprint. Every definition of positives: batches and a task."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nearfar import registry
from nearfar.abilities import TakesQueue
from nearfar.column import content_id, content_ids
from nearfar.contracts import Batch
from nearfar.errors import InputError
from nearfar.losses.distill import Distill
from nearfar.losses.infonce import InfoNCE
from nearfar.tasks import Task
from tests.contracts import samples


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", registry.names("data"))
def test_data_has_columns_or_is_a_task(name: str, tmp_path: Path) -> None:
    found = samples.data(name, tmp_path)
    if not hasattr(found, "column"):
        assert isinstance(found.task(), Task)
        return
    assert found.columns
    for name in found.columns:
        column = found.column(name)
        assert len(column) == len(found)
        parts = [*column.read(0, 2), *column.read(2, len(found))]
        assert list(map(content_id, parts)) == content_ids(column).tolist()
    with pytest.raises(InputError, match=found.columns[0]):
        found.column("no such column")
    with pytest.raises(InputError, match="no such split"):
        found.split("no such split")


@pytest.mark.parametrize("name", registry.names("data"))
def test_the_same_rows_have_the_same_fingerprint(name: str, tmp_path: Path) -> None:
    first, second = samples.data(name, tmp_path), samples.data(name, tmp_path)
    if hasattr(first, "column"):
        assert first.fingerprint == second.fingerprint
        held = next(split for split in ("heldout", "test") if split in getattr(first, "splits", ["heldout"]))
        assert first.split(held).columns == first.columns
        assert first.split(held).fingerprint != first.fingerprint


def positives(name: str) -> Any:
    encoder = registry.build("encoders", {"name": "static", "dim": 8, "vocabulary": 300})
    needed = registry.recipe_settings("positives", registry.find("positives", name))
    spec = {"name": name} | ({"teacher": samples.teacher()} if "teacher" in needed else {})
    return registry.build("positives", spec, data=samples.table(), encoder=encoder)


@pytest.mark.parametrize("name", registry.names("positives"))
def test_a_batch_has_rows_and_pairs(name: str) -> None:
    found = positives(name)
    batch = found.batch(np.arange(6))
    sizes = [sum(len(batch.rows[view]) for view in views) for views in (found.query_views, found.key_views)]
    assert batch.pairs.shape == tuple(sizes)
    for view, rows in batch.rows.items():
        assert 0 <= rows.min() <= rows.max() < len(found.views[view])
    if not found.query_views:
        return  # rows without pairs, for an objective alone
    vectors = torch.nn.functional.normalize(torch.randn(sum(sizes), 8), dim=1)
    loss = Distill() if name in samples.GRADED else InfoNCE()
    assert loss(vectors[: sizes[0]], vectors[sizes[0] :], batch.pairs).isfinite()  # each query has a positive


@pytest.mark.parametrize("name", registry.names("positives"))
def test_positives_that_take_a_queue_put_its_keys_last(name: str) -> None:
    found = positives(name)
    if not isinstance(found, TakesQueue):
        assert "queued" not in inspect.signature(found.batch).parameters
        return
    examples, queued = np.arange(4), np.array([7, 1])
    alone, both = found.batch(examples).pairs, found.batch(examples, queued).pairs
    assert both.shape == (alone.shape[0], alone.shape[1] + 2)
    assert torch.equal(both.key_item[:-2], alone.key_item)
    assert torch.equal(both.key_item[-2:], _of_examples(found.batch(queued), "key_item")[:2])


@pytest.mark.parametrize("name", registry.names("positives"))
def test_ids_mean_the_same_in_every_batch(name: str) -> None:
    found = positives(name)
    one, other = found.batch(np.array([0, 1, 2, 3])), found.batch(np.array([9, 8, 3, 2, 1]))
    for field in ("query_item", "query_group", "key_item"):
        first, second = (_of_examples(batch, field) for batch in (one, other))
        assert torch.equal(first[1:4], second[:5].flip(0)[:3]), field


def _of_examples(batch: Batch, field: str) -> torch.Tensor:
    """Return the ids of a batch's examples: of their queries, or of their positives."""
    ids: torch.Tensor = getattr(batch.pairs, field)
    if field.startswith("query") or batch.positive_index is None:
        return ids
    return ids[torch.from_numpy(batch.positive_index)]


@pytest.mark.parametrize("name", registry.names("positives"))
def test_examples_are_described_and_splits_are_tasks(name: str) -> None:
    found = positives(name)
    assert found.fingerprint == positives(name).fingerprint
    described = found.describe(np.array([3, 1]))
    assert len(described) == 2
    assert all(isinstance(example, dict) for example in described)
    json.dumps(described)
    assert isinstance(found.task("heldout"), Task)
    with pytest.raises(InputError, match="no split 'nowhere'"):
        found.task("nowhere")
