"""Numbers and sizes in words: singular and plural, no certainty, no number that shows as zero where it is decided."""

from __future__ import annotations

import math

from nearfar import figures


def test_sizes() -> None:
    protocol = {"queries": 312, "documents": 1204, "clusters": 40}
    assert figures.sizes(protocol) == "312 queries, 1,204 documents"
    for seen, words in ((963, "963"), (0, "none"), (1204, "all")):
        known = {**protocol, figures.SEEN_DOCUMENTS: seen}
        assert figures.sizes(known) == f"312 queries, 1,204 documents ({words} seen in training)"
    assert figures.sizes({"queries": 1, "documents": 1}) == "1 query, 1 document"
    labels = {"cells": 500, "training cells": 1, "classes": 10}
    assert figures.sizes(labels) == "500 cells, 1 training cell, 10 classes"
    assert figures.sizes({"pairs": 1725, "dev pairs": 500}) == "1,725 pairs, 500 dev pairs"
    assert figures.sizes({}) == ""
    assert figures.counted(1, "clusters") == "1 cluster"


def test_numbers() -> None:
    assert [figures.number(value) for value in (1.0, 0.9994, 0.9996, 0.9999999, None)] == [
        "1.000", "0.999", "0.9996", "0.99999", "-",
    ]  # fmt: skip
    assert [figures.number(value) for value in (98.4413, 51234.8, 0.0, -0.0004, 1e-7)] == [
        "98.4", "51,235", "0.000", "-0.0004", "< 0.00001",
    ]  # fmt: skip
    assert figures.number(-0.0214, sign=True) == "-0.021"
    assert figures.number(0.0, sign=True) == "0.000"


def test_names() -> None:
    assert figures.title("mrr@10") == "MRR@10" and figures.title("ndcg@10") == "nDCG@10"
    assert figures.title("map") == "MAP" and figures.title("knn@20") == "kNN@20"
    assert figures.title("knn_macro_f1@20") == "kNN@20 macro-F1" and figures.title("hits@3") == "hits@3"
    assert figures.title("knn_balanced@5") == "kNN@5 balanced" and figures.title("fewshot@20x1") == "Few-shot@20x1"
    assert figures.title("probe_balanced") == "Linear probe balanced"


def test_json_of_any_shape_is_read() -> None:
    wrong = (math.nan, math.inf, "1", True, None, 10**200)
    assert [figures.finite(value) for value in wrong] == [None] * len(wrong)
    assert figures.finite(2) == 2.0
    assert figures.mapping([1]) == {} and figures.mapping({"a": 1}) == {"a": 1}
    assert figures.pair_of({"low": 1, "high": 2}) == (1.0, 2.0)
    assert figures.pair_of(3) is None and figures.pair_of({"low": math.nan, "high": 1.0}) is None


def test_bounds_are_told_apart_and_alike_in_decimals() -> None:
    assert figures.bounds({"low": None, "high": None}) == figures.bounds(None) == figures.bounds({}) == ""
    assert figures.bounds({"low": math.nan, "high": 1.0}) == ""
    assert figures.bounds({"low": 0.69, "high": 0.735}) == "[0.690, 0.735]"
    assert figures.bounds({"low": 0.99961, "high": 1.0}) == "[0.9996, 1.0000]"
    assert figures.bounds({"low": 0.50012, "high": 0.50034}) == "[0.5001, 0.5003]"
    assert figures.bounds({"low": -0.01, "high": 0.02}, sign=True) == "[-0.010, +0.020]"
    assert figures.bounds({"low": -0.0004, "high": 0.02}, sign=True) == "[-0.0004, +0.0200]"
    assert figures.bounds({"low": -1e-9, "high": 0.02}, sign=True) == "[0.000, +0.020]"
    assert figures.bounds({"low": 12.0, "high": 51234.8}) == "[12, 51,235]"


def test_a_decided_difference_shows_no_zero() -> None:
    assert figures.distance({"value": -0.021, "low": -0.034, "high": -0.008}) == "0.021 [0.008, 0.034]"
    assert figures.distance({"value": 0.0012, "low": 0.0002, "high": 0.002}) == "0.0012 [0.0002, 0.0020]"
    assert figures.outcome({"low": 0.0002, "high": 0.002}) == "better"
    assert figures.outcome({"low": 0.0, "high": 0.002}) == "undecided"
    assert figures.outcome({"low": -0.2, "high": -0.1}) == "worse"
    assert figures.outcome({"low": math.nan, "high": math.nan}) == "unknown"
