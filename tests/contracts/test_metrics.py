"""Every metric explains its values and returns just those; a new file, or a class of the user's own, is a metric."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nearfar as nf
from nearfar import metrics, registry
from nearfar.column import ListColumn
from nearfar.contracts import Measurement, Metric, Predictions, Sample, Statistic, TextSide, TokenScores
from nearfar.errors import InputError
from nearfar.tasks import Labels, Language, LanguageTokens, PairLabels, Retrieval, Similarity, Task
from nearfar.vectors.ranking import Ranking
from tests.test_experiment import SMALL

NAMES = registry.names("metrics")
N = 20
TEXTS = ListColumn("text", [str(i) for i in range(N)])


def unit(seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    vectors = np.random.default_rng(seed).standard_normal((N, 8)).astype(np.float32)
    found: np.ndarray[Any, np.dtype[np.float32]] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


def names() -> np.ndarray[Any, np.dtype[np.float32]]:
    """The vectors of two classes by one prompt each, as the third of the sample is unknown."""
    return unit(2)[:2]


def judged(task: Task) -> Predictions:
    """What a system with every part makes of a task."""
    one, other = unit(0), unit(1)
    sample = Sample(*(torch.from_numpy(x) for x in (one, one, other)))
    if isinstance(task, Retrieval):
        rows = (np.arange(N)[:, None] + np.arange(N)) % N  # each query's own document comes first
        ranking = Ranking(rows, np.tile(np.linspace(1, 0, N, dtype=np.float32), (N, 1)))
        return Predictions({"queries": one, "documents": other}, ranking=ranking, sample=sample)
    if isinstance(task, Labels):
        return Predictions(
            {"cells": one, "train": other}, sample=sample, text_side=TextSide("texts", lambda _: names())
        )
    if isinstance(task, Language):
        hidden = TokenScores(np.repeat(np.arange(N), 2), np.linspace(-3, -1, 2 * N), np.arange(2 * N) % 3 == 0)
        return Predictions(hidden_tokens=hidden, next_tokens=hidden)
    scores = np.linspace(-1, 1, N)
    return Predictions({"first": one, "second": other}, scores=scores, dev_scores=scores, sample=sample)


def tasks() -> Iterator[Task]:
    ids, clusters = [str(i) for i in range(N)], np.arange(N)
    yield Retrieval("sample", TEXTS, TEXTS, ids, ids, {i: {i: 1} for i in range(N)}, clusters)
    yield Similarity("sample", TEXTS, TEXTS, np.arange(N, dtype=np.float64), clusters)
    yield Labels("sample", TEXTS, clusters % 3, TEXTS, clusters % 3, ["a", "b", "c"], clusters, unknown=2)
    dev = PairLabels("sample", TEXTS, TEXTS, clusters % 2 == 0, clusters)
    yield PairLabels("sample", TEXTS, TEXTS, clusters % 2 == 0, clusters, dev)
    words = np.arange(5 * N) % 11 + 2
    special, every = np.arange(13) < 2, np.arange(0)
    offsets = 5 * np.arange(N + 1)
    tokens = LanguageTokens(words, offsets, words.astype(np.int32), offsets, special, every, text_bytes=300)
    yield Language("sample", TEXTS, TEXTS, clusters, tokens=tokens)


def evaluated(name: str) -> Iterator[tuple[Metric, dict[str, Measurement]]]:
    """Yield a metric and its values on each type of task that it takes."""
    metric = registry.build("metrics", {"name": name})
    taken = [task for task in tasks() if isinstance(task, metric.takes)]
    assert taken, f"metrics.{name} takes none of the samples"
    for task in taken:
        yield metric, dict(metric(task, judged(task)))


@pytest.mark.parametrize("name", NAMES)
def test_returns_the_values_it_explains(name: str) -> None:
    for metric, found in evaluated(name):
        assert isinstance(metric, Metric)
        assert metric.meaning
        assert all(isinstance(text, str) and len(text) > 10 for text in metric.meaning.values())
        assert list(found) == list(metric.meaning)
        for value in found.values():
            plain = value.value if isinstance(value, Statistic) else value
            assert np.isfinite(np.asarray(plain)).all()
            assert np.shape(plain) in ((), (N,))


@pytest.mark.parametrize("name", NAMES)
def test_a_second_call_returns_the_same(name: str) -> None:
    for (_, one), (_, other) in zip(evaluated(name), evaluated(name), strict=True):
        for first, second in zip(one.values(), other.values(), strict=True):
            a, b = (value.value if isinstance(value, Statistic) else value for value in (first, second))
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_a_statistic_of_every_row_once_is_its_value(name: str) -> None:
    for _, found in evaluated(name):
        for value in found.values():
            if isinstance(value, Statistic):
                assert value.resampled(np.ones((2, N))) == pytest.approx([value.value] * 2)


@pytest.mark.parametrize("name", NAMES)
def test_what_it_needs_are_parts_of_what_is_judged(name: str) -> None:
    metric = registry.build("metrics", {"name": name})
    every = {"vectors", "ranking", "scores", "answers", "sample", "text_side", "hidden_tokens", "next_tokens"}
    assert metric.needs and set(metric.needs) <= every
    for task in tasks():
        if isinstance(task, metric.takes):
            with pytest.raises(InputError, match=r"needs|need as many"):
                metric(task, Predictions())


def test_no_two_metrics_share_a_value_name() -> None:
    parts = [registry.build("metrics", {"name": name}) for name in NAMES]
    names = Counter(name for part in parts for name in part.meaning)
    assert [name for name, count in names.items() if count > 1] == []


MINE = '''"""Hits: a metric of somebody's own."""

from typing import ClassVar

import numpy as np

from nearfar import tasks


class Hits:
    """Share of the queries with a relevant document among the first k."""

    takes: ClassVar = (tasks.Retrieval,)
    needs: ClassVar = ("ranking",)
    usual: ClassVar = False

    def __init__(self, k: int = 1) -> None:
        self.k = k
        self.meaning = {f"hits@{k}": f"share of the queries with a relevant document among the first {k}"}

    def __call__(self, task, predictions):
        rows = predictions.ranking.rows[:, : self.k].tolist()
        found = [any(task.relevance[q].get(row, 0) > 0 for row in best) for q, best in enumerate(rows)]
        return {f"hits@{self.k}": np.array(found, float)}
'''


@pytest.mark.parametrize("name", ["hits", "my_metrics:Hits"])
def test_a_new_file_or_a_users_class_is_in_the_results_of_a_recipe(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "parts"
    folder.mkdir()
    if name == "hits":
        (folder / "hits.py").write_text(MINE)
        monkeypatch.setattr(metrics, "__path__", [*metrics.__path__, str(folder)])
        assert "hits" in registry.names("metrics")
    else:
        (folder / "my_metrics.py").write_text(MINE)
        monkeypatch.syspath_prepend(folder)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        f"""
data: {{name: table}}
positives: {{name: columns}}
encoder: {{name: static}}
loss: {{name: infonce}}
training: {{batch_size: 16, epochs: 1}}
evaluate: [{{name: "{name}", k: 3, split: heldout}}, {{name: retrieval, split: heldout}}]
"""
    )
    done = nf.train(recipe, SMALL, out=tmp_path / "run", quiet=True)
    assert done is not None
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    task = nf.positives.Columns(nf.data.Table(SMALL["data.path"], heldout=0.3)).task("heldout")
    queries, documents = (column.read(0, len(column)) for column in (task.queries, task.documents))
    cosines = done.model.embed(queries, "query") @ done.model.embed(documents, "key").T
    first = np.argsort(-cosines, axis=1, kind="stable")[:, :3].tolist()
    hits = [any(task.relevance[q].get(row, 0) > 0 for row in rows) for q, rows in enumerate(first)]
    assert results["metrics"]["hits@3"] == pytest.approx(np.mean(hits))
    assert (
        results["intervals"]["hits@3"]["low"] <= results["metrics"]["hits@3"] <= results["intervals"]["hits@3"]["high"]
    )
    assert "hits@3" in results["difference"]["bm25"] and "hits@3" in results["fusion"]["bm25"]
    assert list(results["metrics"])[:2] == ["hits@3", "ndcg@10"]
    assert "among the first 3" in (tmp_path / "run" / "report.html").read_text()
    assert "hits@3" in (tmp_path / "run" / "model" / "README.md").read_text()


class Unexplained:
    takes = (Retrieval,)
    needs = ("ranking",)
    usual = False

    def __call__(self, task: Task) -> dict[str, float]:
        return {}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            Unexplained(),
            r"^metrics .*:Unexplained lacks `meaning` \(.+\), `__call__\(task, predictions\)` \(with these",
        ),
        (3, "^metrics builtins:int lacks `takes`, `needs`, `usual`, `meaning`, `__call__"),
        (nf.metrics.Probe, r"^evaluate: Probe is a class; give an object of it: Probe\(\.\.\.\)"),
        (nf.metrics.Knn, "^evaluate: Knn is a class"),
    ],
)
def test_what_is_no_metric_is_refused_with_all_that_it_lacks(given: Any, says: str) -> None:
    for metrics_given in (given, [given]):
        with pytest.raises(InputError, match=says):
            nf.evaluate(nf.Model(nf.encoders.Static(dim=8)), next(tasks()), metrics_given)
