"""The verdict: one sentence that the numbers allow, beside the strongest baseline and the starting model."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from nearfar.evaluation.verdict import in_order, verdict
from nearfar.figures import label_of

BEGAN = {"baselines": {"start": {"name": "minilm", "label": "minilm before training"}}}
Gap = tuple[float, float] | None


def content(ours: float = 0.713, /, protocol: dict[str, Any] | None = None, **others: tuple[float, Gap]) -> Any:
    """Return a report's JSON: MRR@10 of the model, and of each baseline with the bounds of the difference to it."""
    gaps = {name: {"value": ours - theirs, **_bounds(gap)} for name, (theirs, gap) in others.items()}
    return {
        "metrics": {"map": 0.2, "mrr@10": ours, "uniformity": -3.0},
        "intervals": {"mrr@10": {"low": ours - 0.02, "high": ours + 0.02}},
        "baseline": {name: {"map": 0.9, "mrr@10": theirs} for name, (theirs, _) in others.items()},
        "difference": {name: {"mrr@10": gap} for name, gap in gaps.items()},
        "protocol": {"queries": 312, "documents": 1204, "clusters": 312, **BEGAN, **(protocol or {})},
    }


def _bounds(gap: Gap) -> dict[str, float | None]:
    return {"low": None, "high": None} if gap is None else {"low": gap[0], "high": gap[1]}


def sentence(report: Any) -> str:
    found: str = verdict(report)["sentence"]
    return found


def test_worse_than_the_model_it_began_from_comes_first() -> None:
    found = verdict(content(start=(0.734, (-0.034, -0.008)), bm25=(0.5, (0.19, 0.24))))
    assert found["sentence"] == (
        "Training made it worse: MRR@10 0.713 [0.693, 0.733], 0.021 [0.008, 0.034] below the model it began from "
        "(minilm)."
    )
    assert (found["metric"], found["against"], found["outcome"]) == ("mrr@10", "start", "worse")
    assert (found["value"], found["low"], found["high"]) == (pytest.approx(-0.021), -0.034, -0.008)
    assert "nearfar audit" in found["advice"]
    json.dumps(found, allow_nan=False)


def test_worse_than_the_start_and_than_a_stronger_baseline() -> None:
    found = verdict(content(bm25=(0.8, (-0.1, -0.07)), start=(0.734, (-0.034, -0.008))))
    assert found["sentence"].startswith("Training made it worse: ")
    assert found["sentence"].endswith(" It is worse than BM25, too: 0.087 [0.070, 0.100] below it.")
    assert (found["against"], found["outcome"]) == ("start", "worse")


def test_not_better_than_the_start_comes_first_and_the_worst_outcome_counts() -> None:
    near = (0.709, (-0.01, 0.018))
    assert sentence(content(start=near)) == (
        "Training did not make it better, as far as can be told: MRR@10 0.713 [0.693, 0.733], a difference of +0.004 "
        "[-0.010, +0.018] to the model it began from (minilm)."
    )
    found = verdict(content(start=near, bm25=(0.8, (-0.1, -0.07))))
    assert found["sentence"].startswith("Training did not make it better")
    assert found["sentence"].endswith(" It is worse than BM25: 0.087 [0.070, 0.100] below it.")
    assert (found["against"], found["outcome"]) == ("bm25", "worse")
    found = verdict(content(start=near, bm25=(0.72, (-0.02, 0.006))))
    assert found["sentence"].endswith(" Nor can it be told from BM25, the strongest baseline: -0.007 [-0.020, +0.006].")
    assert (found["against"], found["outcome"]) == ("start", "undecided")
    found = verdict(content(start=(0.7, (-0.01, 0.036)), bm25=(0.705, (0.001, 0.015))))
    assert found["sentence"].endswith(" It is better than BM25: 0.008 [0.001, 0.015] above it.")
    assert found["outcome"] == "undecided"


def test_better_than_the_start_but_not_than_the_strongest() -> None:
    start = (0.6, (0.09, 0.13))
    found = verdict(content(start=start, bm25=(0.8, (-0.1, -0.07))))
    assert found["sentence"] == (
        "Worse than BM25, the strongest of 2 baselines: MRR@10 0.713 [0.693, 0.733], 0.087 [0.070, 0.100] below it. "
        "Training made it better: 0.113 [0.090, 0.130] above the model it began from (minilm)."
    )
    assert (found["against"], found["outcome"]) == ("bm25", "worse")
    found = verdict(content(start=start, bm25=(0.703, (-0.01, 0.03))))
    assert found["sentence"] == (
        "Cannot be told from BM25, the strongest of 2 baselines: MRR@10 0.713 [0.693, 0.733], a difference of +0.010 "
        "[-0.010, +0.030]. Training made it better: 0.113 [0.090, 0.130] above the model it began from (minilm)."
    )


def test_the_strongest_is_chosen_by_the_verdict_s_metric_whatever_the_order() -> None:
    found = verdict(content(majority=(0.1, (0.6, 0.7)), strong=(0.692, (0.008, 0.034)), bm25=(0.5, (0.19, 0.24))))
    assert found["sentence"] == (
        "Better than all 3 baselines: MRR@10 0.713 [0.693, 0.733], 0.021 [0.008, 0.034] above the strongest, strong."
    )
    assert (found["against"], found["outcome"], found["advice"]) == ("strong", "better", "")
    assert sentence(content(a=(0.692, (0.008, 0.034)), b=(0.5, (0.19, 0.24)))).startswith("Better than both baselines:")
    assert sentence(content(bm25=(0.692, (0.008, 0.034)))) == (
        "Better than BM25: MRR@10 0.713 [0.693, 0.733], 0.021 [0.008, 0.034] above it."
    )
    assert sentence(content(start=(0.692, (0.008, 0.034)))).startswith("Training made it better: MRR@10 0.713")
    # Better than the strongest in the mean of paired differences, and undecided beside a weaker one.
    assert sentence(content(a=(0.692, (0.008, 0.034)), b=(0.69, (-0.01, 0.05)))).startswith(
        "Better than a, the strongest of 2 baselines: "
    )


def test_the_metric_is_the_first_of_the_usual_order_never_the_one_with_the_best_result() -> None:
    assert in_order(["accuracy", "uniformity", "map", "mrr@10"]) == ["mrr@10", "map", "accuracy"]
    assert in_order(["pearson", "spearman", "alignment"]) == ["spearman", "pearson"]
    assert verdict(content(bm25=(0.8, (-0.1, -0.07))))["metric"] == "mrr@10"  # its map is much better than bm25's
    lost = content(bm25=(0.8, (-0.1, -0.07)))
    lost["metrics"]["mrr@10"] = None
    assert verdict(lost)["metric"] == "mrr@10"
    assert verdict({"metrics": {"uniformity": -3.0}})["sentence"] == "Nothing was measured that judges a model."
    assert verdict({"metrics": {}})["outcome"] == "unknown"
    assert in_order(["heldout_loss", "mrr@10"]) == ["mrr@10"]  # of a loss a higher value is no better


def test_few_rows_say_nothing() -> None:
    few = {"queries": 9, "clusters": 9}
    found = verdict(content(bm25=(0.5, None), start=(0.734, None), protocol=few))
    assert found["sentence"] == (
        "Nothing can be said: only 9 independent queries. On these: MRR@10 0.713 [0.693, 0.733], the model it began "
        "from (minilm) 0.734."
    )
    assert (found["outcome"], found["low"], found["high"]) == ("unknown", None, None)
    assert found["value"] == pytest.approx(-0.021)
    assert found["advice"].startswith("Hold out more queries")
    report = content(bm25=(0.5, (math.nan, math.nan)), protocol={"queries": 40, "clusters": 9})
    report["intervals"] = {}
    assert sentence(report) == (
        "Nothing can be said: only 9 independent groups of 40 queries. On these: MRR@10 0.713, BM25 0.500."
    )
    report["protocol"] |= {"clusters": 200, "intervals": "no resample has a value"}
    assert sentence(report).startswith("Nothing can be said: no resample has a value. On these: ")
    report["protocol"] |= {"clusters": 20, "intervals": "a few clusters hold nearly all rows (20 count as 3.2)"}
    assert sentence(report).startswith("Nothing can be said: a few clusters hold nearly all rows (20 count as 3.2). On")
    one = content(bm25=(0.5, None), protocol={"queries": 1, "clusters": 1})
    assert sentence(one).startswith("Nothing can be said: only 1 row. ")


def test_nearly_one_is_not_one() -> None:
    report = content(1.0, bm25=(0.9, (0.05, 0.15)))
    report["intervals"] = {"mrr@10": {"low": 0.99, "high": 1.0}}
    found = verdict(report)
    assert found["sentence"] == "Better than BM25: MRR@10 1.000 [0.990, 1.000], 0.100 [0.050, 0.150] above it."
    assert found["advice"].startswith("The task is too easy")
    report["metrics"]["mrr@10"], report["intervals"] = 0.9997, {"mrr@10": {"low": 0.9991, "high": 1.0}}
    assert "MRR@10 0.9997 [0.999, 1.000]" in sentence(report)


def test_documents_that_were_seen_are_in_the_sentence() -> None:
    def said(seen: int | None, documents: int = 1204) -> str:
        known = {} if seen is None else {"documents seen in training": seen}
        return sentence(content(bm25=(0.5, (0.19, 0.24)), protocol={"documents": documents, **known}))

    whole = "Better than BM25: MRR@10 0.713 [0.693, 0.733], 0.213 [0.190, 0.240] above it"
    assert said(None) == said(0) == whole + "."
    assert said(963) == whole + ", among 1,204 documents, of which 963 were seen in training."
    assert said(1) == whole + ", among 1,204 documents, of which 1 was seen in training."
    assert said(7, 7) == whole + ", among 7 documents, all of which were seen in training."
    for seen, start in ((1204, "It has seen every document in training: judge it on new ones"), (963, "")):
        found = verdict(content(bm25=(0.5, (0.19, 0.24)), protocol={"documents seen in training": seen}))
        assert found["advice"].startswith(start) and bool(found["advice"]) == bool(start)


def test_advice_is_by_facts() -> None:
    def after(**training: Any) -> str:
        report = content(start=(0.734, (-0.034, -0.008)), protocol={"training": training})
        advice: str = verdict(report)["advice"]
        return advice

    assert after(learning_rate=0.003, epochs=3, steps=None, pairs=244) == (
        "Try a smaller training.learning_rate (it was 0.003), fewer training.epochs (there were 3), more pairs (there "
        "were 244), mined negatives (training.refresh_every); and look for faults in the data with nearfar audit."
    )
    many = after(learning_rate=5e-5, epochs=1, steps=60, pairs=2_000_000, **{"mined negatives": True})
    assert many.startswith("Try a smaller training.learning_rate (it was 5e-05), fewer training.steps (there were 60);")
    # +0.010 [-0.010, +0.030] of 312 queries: the half width is twice the value, so four times as many decide.
    near = verdict(content(bm25=(0.703, (-0.01, 0.03))))["advice"]
    assert near == "More held-out queries would decide: about 1,300 for a difference of this size, there are 312."
    start = verdict(content(start=(0.703, (-0.01, 0.03))))["advice"]
    assert start == f"{near} More pairs or steps may help."
    equal = verdict(content(bm25=(0.713, (0.0, 0.0))))
    assert (equal["outcome"], equal["advice"]) == ("undecided", "More held-out queries would decide.")
    hair = verdict(content(bm25=(0.71299, (-0.01, 0.01))))["advice"]
    assert hair == "So small a difference no realistic number of queries would decide."
    fused = content(bm25=(0.8, (-0.1, -0.07)))
    assert "or a pretrained model to start from (the recipe finetune)" in verdict(fused)["advice"]
    begun = content(start=(0.6, (0.09, 0.13)), bm25=(0.8, (-0.1, -0.07)))
    assert "or another model to start from may" in verdict(begun)["advice"]
    assert "Longer training, more data or a pretrained model" in verdict(content(pixels=(0.8, (-0.1, -0.07))))["advice"]
    gain = {"value": 0.05, "low": 0.02, "high": 0.08}
    fused |= {"fusion": {"bm25": {"mrr@10": 0.85}}, "fusion_difference": {"bm25": {"mrr@10": gain}}}
    assert verdict(fused)["advice"] == "The fusion of the two rankings is better than BM25 alone: MRR@10 0.850."


def test_nothing_to_compare_with_and_baselines_without_the_metric() -> None:
    alone = verdict(content())
    assert alone["sentence"] == "MRR@10 0.713 [0.693, 0.733]; there is nothing to compare it with."
    assert (alone["outcome"], alone["against"]) == ("unknown", None)
    report = content(majority=(0.9, None), bm25=(0.5, (0.19, 0.24)))
    report["baseline"]["majority"] = {}
    assert sentence(report).startswith("Better than BM25: ")


def test_labels_of_tables() -> None:
    assert label_of("start", BEGAN) == "minilm before training"
    assert label_of("bm25", BEGAN) == "BM25"
    assert label_of("runs/a/model", BEGAN) == "runs/a/model"
    assert label_of("start", {}) == "start"


def test_a_start_that_was_kept_is_no_undecided_difference() -> None:
    kept = {"training": {"selected step": 0, "learning_rate": 0.02, "epochs": 4.0, "pairs": 300}}
    found = verdict(content(start=(0.713, (-0.044, 0.044)), bm25=(0.5, (0.19, 0.24)), protocol=kept))
    assert found["sentence"] == (
        "No step of training beat the model it began from (minilm), so it was kept: MRR@10 0.713 [0.693, 0.733]."
    )
    assert found["advice"].startswith("Try a smaller training.learning_rate (it was 0.02), fewer training.epochs")
    trained = verdict(content(start=(0.713, (-0.044, 0.044)), protocol={"training": {"selected step": 4}}))
    assert trained["sentence"].startswith("Training did not make it better, as far as can be told")


@pytest.mark.parametrize(("start", "words"), [((0.8, (-0.1, -0.07)), "worse"), ((0.6, (0.09, 0.14)), "better")])
def test_the_start_is_told_where_nothing_can_be_said_beside_the_strongest(start: tuple[float, Gap], words: str) -> None:
    found = verdict(content(start=start, bm25=(0.9, None)))
    assert found["sentence"].startswith(f"Training made it {words}: MRR@10 0.713")
    assert found["sentence"].endswith(" Nothing can be said beside BM25, 0.900.")


def test_a_metric_that_cannot_be_computed_is_not_passed_over() -> None:
    report = content(bm25=(0.5, (0.19, 0.24)))
    report["metrics"] = {"mrr@10": None, "map": 0.2}
    found = verdict(report)
    assert found["sentence"] == "Nothing can be said: MRR@10 cannot be computed, as where all vectors are alike."
    assert (found["metric"], found["outcome"]) == ("mrr@10", "unknown") and "collapsed" in found["advice"]


def test_a_difference_too_small_to_write_is_not_zero() -> None:
    found = sentence(content(bm25=(0.713 - 1e-7, (5e-8, 2e-7))))
    assert "less than 0.000001 above it" in found
