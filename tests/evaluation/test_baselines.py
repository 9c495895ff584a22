"""Baselines mean the same wherever they are given: floors by name, models, folders of models, none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import nearfar as nf
from nearfar.errors import InputError
from nearfar.evaluation.baselines import baselines_of, chosen_baselines
from tests.evaluation.models import Words, retrieval

TASK = retrieval(["red fox", "grey goose"], ["red fox runs", "grey goose flies"], {0: {0: 1}, 1: {1: 1}})


def saved(folder: Path) -> Path:
    encoder = nf.encoders.Static(dim=8, vocabulary=300)
    encoder.prepare([TASK.queries, TASK.documents])
    path: Path = nf.Model(encoder).save(folder)
    return path


def test_one_is_a_list_of_one_and_names_are_the_same_with_dashes_and_underscores() -> None:
    model = Words()
    given: list[tuple[Any, Any]] = [
        (None, None),
        ("bm25", ["bm25"]),
        ("random_order", ["random-order"]),
        (("bm25-stems", "random_order"), ["bm25-stems", "random-order"]),
        (model, [model]),
        ([model, "bm25"], [model, "bm25"]),
        ("none", []),
        (["none", "bm25"], ["bm25"]),
        ([], []),
    ]
    for baselines, expected in given:
        assert chosen_baselines(baselines) == expected
        assert chosen_baselines(expected) == expected  # what was chosen may be given again


def test_a_folder_is_the_model_in_it(tmp_path: Path) -> None:
    folder = saved(tmp_path / "other")
    fingerprint = nf.Model.load(folder).fingerprint
    for given in (folder, str(folder), [folder]):
        assert list(baselines_of(TASK, given)) == [str(folder)]
    report = nf.evaluate(Words(), TASK, "retrieval", baselines=str(folder), resamples=20)
    assert list(report.baseline) == [str(folder)]
    assert report.protocol["baselines"][str(folder)]["fingerprint"] == fingerprint
    assert report.baseline[str(folder)]["recall@10"] == 1


def test_none_is_no_baseline_and_one_name_is_that_floor() -> None:
    assert nf.evaluate(Words(), TASK, baselines="none", resamples=20).baseline == {}
    assert list(nf.evaluate(Words(), TASK, baselines="bm25_stems", resamples=20).baseline) == ["bm25-stems"]


def test_one_metric_is_a_list_of_one() -> None:
    one_by_one: list[Any] = ["retrieval", {"name": "retrieval"}, nf.metrics.Retrieval()]
    whole = nf.evaluate(Words(), TASK, ["retrieval"], resamples=20).metrics
    assert whole["recall@10"] == 1
    for given in one_by_one:
        assert nf.evaluate(Words(), TASK, given, resamples=20).metrics == whole


def test_what_is_no_baseline_is_refused_without_a_word_of_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        chosen_baselines("random_ordr")
    assert str(caught.value).startswith("evaluate: no baseline is called 'random_ordr'; did you mean 'random-order'")
    assert str(caught.value).endswith("; or a model, or its folder")
    with pytest.raises(InputError, match=r"^evaluate: a int is no baseline; give the name of a floor, a model, or"):
        chosen_baselines([3])  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"no nearfar\.json"):
        nf.evaluate(Words(), TASK, baselines=tmp_path)
    with pytest.raises(InputError, match=r"^evaluate: no baseline is called 'bm52'") as caught:
        nf.train("static", {"data.path": [{"query": "a", "key": "b"}]}, out=tmp_path / "run", baselines="bm52")
    assert "--" not in str(caught.value)
