"""Several data sets in one run: who comes up when, who is near whom across them, and that a stopped run goes on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from nearfar.column import Ids
from nearfar.compute.ranks import Ranks
from nearfar.contracts import Batch
from nearfar.encoders.static import Static
from nearfar.errors import InputError, RunError
from nearfar.losses.infonce import InfoNCE
from nearfar.positives.columns import Columns
from nearfar.training.batches import BatchReader
from nearfar.training.dry_run import dry_run
from nearfar.training.fit import Run, fit
from nearfar.training.identity import run_identity
from nearfar.training.mixture import Mixture, mix
from nearfar.training.order import PERIOD, MixingSchedule, Sampler, quotas
from nearfar.training.settings import Settings
from nearfar.training.state import TrainState
from nearfar.training.step import GradientStep
from nearfar.training.train_module import Queue, build_train_module, queued
from tests.training.floats import CPU, Floats, Perceptron
from tests.training.runs import SETTINGS, Rows, in_ranks, rows, weights
from tests.training.test_fit import BrokenOffError, breaks, stop_at
from tests.training.test_ranks import SGD, pictures

WAYS: list[dict[str, Any]] = [
    {},
    {"mixing": "round_robin"},
    {"mixing": "temperature"},
    {"one_data_set": True},
    {"mixing": "round_robin", "one_data_set": True},
    {"mixing": "temperature", "mixing_temperature": 2.0, "one_data_set": True},
]


class Numbered:
    """Positives of which only the size is asked."""

    def __init__(self, n: int) -> None:
        self.n, self.fingerprint = n, "numbered"
        self.views: dict[str, Any] = {}
        self.query_views = self.key_views = ["x"]

    def __len__(self) -> int:
        return self.n

    def batch(self, examples: Ids, queued: Ids | None = None) -> Batch:
        return PAIRS.batch(examples % len(PAIRS), queued)


PAIRS = Columns(Rows(query=["a", "b"], key=["c", "d"]))


def sampler(sizes: list[int], **more: Any) -> Sampler:
    parts: Any = [Numbered(n) for n in sizes]
    return Sampler.of(mix(parts), Settings(**more))


def whose(examples: Ids, sizes: list[int]) -> Ids:
    return np.searchsorted(np.cumsum(sizes), examples, side="right")


@pytest.mark.parametrize("batches", [False, True], ids=["places", "batches"])
@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, [5, 15, 30]),
        ({"mixing": "round_robin"}, [1, 1, 1]),
        ({"mixing": "temperature", "mixing_temperature": 2.0}, [1, 3**0.5, 6**0.5]),
        ({"mixing": "temperature", "mixing_temperature": 1.0}, [5, 15, 30]),
    ],
    ids=str,
)
def test_every_data_set_has_its_share_and_every_example_of_it(more: Any, expected: list[float], batches: bool) -> None:
    sizes, size = [5, 15, 30], 10
    found = sampler(sizes, batch_size=size, one_data_set=batches, **more)
    drawn = np.concatenate([found.batch(step) for step in range(600)])
    data = whose(drawn, sizes)
    times = np.array(expected) / sum(expected) * len(drawn)
    assert np.abs(np.bincount(data) - times).max() <= 3 * size
    for d in range(3):
        count = np.bincount(drawn[data == d])[sum(sizes[:d]) :]
        assert len(count) == sizes[d]
        assert count.max() - count.min() <= 1
    if batches:
        assert all(len(set(data[start : start + size])) == 1 for start in range(0, len(data), size))


def test_quotas_are_exact_where_a_period_is_short_enough() -> None:
    assert quotas([500, 1500, 3000], "proportional", 5) == [1, 3, 6]
    assert quotas([7, 7], "temperature", 5) == [1, 1]
    rounded = quotas([1, 10**7 + 1], "proportional", 5)
    assert rounded == [1, PERIOD]
    smoothed = np.array(quotas([10, 1000, 10**7], "temperature", 5))
    assert smoothed / smoothed.sum() == pytest.approx(np.array([10, 1000, 10**7]) ** 0.2 / 30.685, rel=1e-3)


@settings(deadline=None, max_examples=50)
@given(wanted=st.lists(st.integers(1, 30), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_turns_are_looked_up_as_counted_and_evenly_spread(wanted: list[int], seed: int) -> None:
    turns, places = MixingSchedule(wanted, seed), np.arange(3 * sum(wanted) + 1)
    order = turns.dataset_of(places)
    for d, quota in enumerate(wanted):
        counted = np.concatenate([[0], np.cumsum(order == d)])[:-1]
        assert turns.before(d, places).tolist() == counted.tolist()
        assert [turns.turn(d, i) for i in range(3 * quota)] == np.flatnonzero(order[:-1] == d).tolist()
        assert np.abs(counted - places * quota / sum(wanted)).max() <= len(wanted)


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=2, max_size=4),
    batch=st.integers(2, 20),
    way=st.sampled_from(WAYS),
    steps=st.lists(st.integers(0, 60), min_size=1, max_size=6),
)
def test_any_place_is_known_without_those_before_it(sizes: list[int], batch: int, way: Any, steps: list[int]) -> None:
    whole = sampler(sizes, batch_size=batch, **way)
    size = whole.batch_size
    row = np.concatenate([whole.batch(step) for step in range(64)])
    used = sampler(sizes, batch_size=batch, queue=17, **way)
    for step in steps:
        assert sampler(sizes, batch_size=batch, **way).batch(step).tolist() == row[step * size :][:size].tolist()
        stop = step * size + 5
        assert used.row(max(0, stop - 17), stop).tolist() == row[max(0, stop - 17) : stop].tolist()


@settings(deadline=None, max_examples=60)
@given(sizes=st.lists(st.integers(1, 40), min_size=2, max_size=4), batch=st.integers(2, 20), way=st.sampled_from(WAYS))
def test_no_example_comes_twice_in_a_batch_that_has_room(sizes: list[int], batch: int, way: Any) -> None:
    if not way:  # one shuffled row, as of one data set
        return
    found = sampler(sizes, batch_size=batch, **way)
    for step in range(60):
        examples = found.batch(step)
        assert len(examples) == min(batch, sum(sizes))
        data = whose(examples, sizes)
        for d, n in enumerate(sizes):
            mine = examples[data == d]
            times = np.bincount(mine, minlength=1)
            assert times.max() == -(-len(mine) // n), "once where there are enough, else as evenly as can be"


def test_proportional_is_one_row_and_one_data_set_is_itself() -> None:
    assert sampler([30, 34], batch_size=16).batch(3).tolist() == Sampler(64, 16, 0).batch(3).tolist()
    one, more = Columns(rows()), {"mixing": "temperature", "one_data_set": True, "apart": True}
    assert mix(one) is mix([one]) is one
    assert Sampler.of(one, Settings(**more)).batch(1).tolist() == Sampler(64, 64, 0).batch(1).tolist()  # type: ignore[arg-type]
    assert sampler([30, 70], batch_size=10, mixing="round_robin").steps(2) == 20
    encoder: Any = Perceptron()
    names = run_identity(encoder, one, InfoNCE(), Settings())["training"]
    assert "mixing" not in names
    with pytest.raises(InputError, match="give one data set at least"):
        mix([])
    with pytest.raises(InputError, match=r"training\.mixing_temperature must be a number above zero"):
        Settings(mixing_temperature=0)


FIRST = {"query": ["same", "only first", "echo"], "key": ["answer 1", "document", "says"]}
SECOND = {"query": ["same", "only second", "other"], "key": ["answer 2", "document", "echo"]}


def both(**more: Any) -> Mixture:
    return Mixture([Columns(Rows(**FIRST)), Columns(Rows(**SECOND))], **more)


def told(batch: Batch) -> list[list[str]]:
    """Return for each query and key what the pairs say of them."""
    pairs = batch.pairs
    n, m = pairs.shape
    said = [["near" if q == k else "far" for k in pairs.key_group] for q in pairs.query_group]
    if pairs.query_scope is not None and pairs.key_scope is not None:
        for i in range(n):
            for j in range(m):
                said[i][j] = said[i][j] if pairs.query_scope[i] == pairs.key_scope[j] else "ignored"
    if pairs.known is not None:
        for i, j, weight in zip(*(part.tolist() for part in vars(pairs.known).values()), strict=True):
            said[i][j] = "near" if weight else "ignored"
    return said


def test_an_answer_that_lies_in_another_data_set_is_near() -> None:
    """Its question is of one data set alone, and another has the answer's text as its own."""
    one, two = Columns(Rows(query=["a"], key=["A"])), Columns(Rows(query=["b", "b"], key=["A", "B"]))
    pairs = Mixture([one, two]).batch(np.array([0, 2])).pairs
    assert pairs.known is not None
    said = [part.tolist() for part in vars(pairs.known).values()]
    assert said == [[1], [0], [1.0]]  # b, of the second, and A, of the first


def test_equal_content_of_two_data_sets_is_one_thing() -> None:
    batch = both().batch(np.array([4, 0, 5, 2, 1, 3]))  # queries then lie by data set: 0 2 1, 4 5 3
    assert {view: cells.tolist() for view, cells in batch.rows.items()} == {
        **{"0/query": [0, 2, 1], "0/key": [0, 2, 1]},
        **{"1/query": [1, 2, 0], "1/key": [1, 2, 0]},
    }
    assert batch.positive_index is not None
    assert batch.positive_index.tolist() == [3, 0, 4, 1, 2, 5]
    assert told(batch) == [
        ["near", "far", "far", "far", "far", "near"],  # same: both answers
        ["far", "near", "far", "far", "ignored", "far"],  # echo: repeated word for word by a key
        ["far", "far", "near", "near", "far", "far"],  # the document that both have
        ["far", "far", "near", "near", "far", "far"],
        ["far", "far", "far", "far", "near", "far"],
        ["near", "far", "far", "far", "far", "near"],
    ]
    assert batch.pairs.query_item[0] == batch.pairs.query_item[5]
    assert batch.pairs.key_item[2] == batch.pairs.key_item[3]


def test_data_sets_apart_are_neither_near_nor_far() -> None:
    batch = both(apart=True).batch(np.arange(6))
    said = np.array(told(batch))
    assert set(said[:3, 3:].ravel()) == set(said[3:, :3].ravel()) == {"ignored"}
    assert said[:3, :3].tolist() == np.where(np.eye(3, dtype=bool), "near", "far").tolist()
    again: Any = mix(both(), apart=True)
    assert told(again.batch(np.arange(6))) == said.tolist()


def test_what_one_data_set_says_itself_stays() -> None:
    """A key that repeats the query is ignored in the first; the second, which answers so, tells of its own rows."""
    first = Columns(Rows(query=["x", "y"], key=["z", "x"]))
    second = Columns(Rows(query=["x", "v"], key=["x", "w"]))
    said = told(Mixture([first, second]).batch(np.arange(4)))
    assert said[0] == ["near", "ignored", "near", "far"]
    assert said[2] == ["near", "near", "near", "far"]


def test_a_batch_of_one_data_set_has_no_rows_of_others() -> None:
    batch = both().batch(np.array([3, 4]), np.array([0, 5, 1]))
    assert {view: len(cells) for view, cells in batch.rows.items()} == {
        "0/query": 0,
        "0/key": 0,
        "1/query": 2,
        "1/key": 2,
    }
    assert told(batch) == [["near", "far", "near", "far", "far"], ["far", "near", "far", "far", "near"]]


@settings(deadline=None, max_examples=40)
@given(draw=st.data(), apart=st.booleans())
def test_queued_keys_come_last_in_the_order_of_the_queue(draw: st.DataObject, apart: bool) -> None:
    """Every key of the batch is the one of its example, wherever it lies: told by ids, which are of content."""
    table = {"query": [f"q{i % 5}" for i in range(9)], "key": [f"k{i % 7}" for i in range(9)]}
    parts = [Columns(Rows(**table, negative=[[f"n{i}", "n"] for i in range(9)])), Columns(Rows(**FIRST))]
    mixture = Mixture(parts, apart)
    one = st.integers(0, 11)
    examples = np.array(draw.draw(st.lists(one, min_size=1, max_size=9)))
    waiting = np.array(draw.draw(st.lists(one, max_size=9)), np.int64)
    batch = mixture.batch(examples, waiting)
    expected = [mixture.batch(np.array([i])) for i in range(12)]
    items = np.array([int(alone.pairs.key_item[0]) for alone in expected])
    assert batch.positive_index is not None
    assert batch.pairs.key_item[torch.from_numpy(batch.positive_index)].tolist() == items[examples].tolist()
    old = batch.pairs.key_item[batch.pairs.shape[1] - len(waiting) :]
    assert old.tolist() == items[waiting].tolist()
    said, groups = np.array(told(batch)), np.array(table["key"] + FIRST["key"])
    queries = np.array(table["query"] + FIRST["query"])
    asked = np.concatenate([examples[examples < 9], examples[examples >= 9]])
    for i, example in enumerate(asked):  # queries lie by data set
        answers = set(groups[queries == queries[example]])
        expect = ["near" if groups[j] in answers else "far" for j in waiting]
        alike = [not apart or (j < 9) == (example < 9) for j in waiting]
        assert said[i, said.shape[1] - len(waiting) :].tolist() == [
            e if a else "ignored" for e, a in zip(expect, alike, strict=True)
        ]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_what_lies_in_the_queue_is_the_key_of_its_example(way: Any) -> None:
    positives = Mixture([pictures(9, negatives=True), pictures(14)])
    chosen = Settings(batch_size=6, queue=20, **way)
    encoder: Any = Perceptron()
    train_state = TrainState.of(build_train_module(encoder, InfoNCE(), chosen).train(), chosen)
    stores = {view: encoder.store(column) for view, column in positives.views.items()}
    read = BatchReader(positives, stores, Sampler.of(positives, chosen), chosen, Ranks(), encoder)
    step = GradientStep(train_state, positives, chosen, CPU, "fp32")
    keys = torch.cat([stores[f"{d}/key"][np.arange(n)].rows for d, n in ((0, 9), (1, 14))])
    vectors = torch.nn.functional.normalize(encoder(Floats(keys)).detach(), dim=1)
    for number in range(7):
        waiting = queued(read.sampler, number, 20)
        assert isinstance(step.queue, Queue)
        torch.testing.assert_close(step.queue.vectors[: len(waiting)], vectors[torch.from_numpy(waiting)])
        prepared = read(number)
        assert 0 not in prepared.sizes.values()
        outcome = step(prepared)
        assert outcome.keys.shape[0] == prepared.pairs.shape[1]
        step.moved(prepared, outcome)  # the weights stay, so a key's vector does


def run(folder: Path, **more: Any) -> Run:
    encoder = Static(dim=16, vocabulary=300)
    data = [Columns(rows(40)), Columns(rows(24, seed=1))]
    loss = more.pop("loss", None) or InfoNCE()
    return fit(encoder, data, loss, out=folder, quiet=True, **{**SETTINGS, **more})


@pytest.mark.filterwarnings("ignore:training.best")
@pytest.mark.parametrize(
    "way", [WAYS[0], {**WAYS[1], "apart": True, "queue": 20}, {**WAYS[5], "queue": 30, "momentum": 0.9}], ids=str
)
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path: Path, way: Any) -> None:
    whole = run(tmp_path / "whole", **way)
    with pytest.raises(BrokenOffError):
        run(tmp_path / "run", evaluate=stop_at(7), evaluate_every=1, best="map", **{**way, "checkpoint_every": 3})
    assert np.array_equal(weights(run(tmp_path / "run", resume=True, **way)), weights(whole))
    with pytest.raises(InputError, match=r"cannot resume, training\.one_data_set was"):
        run(tmp_path / "run", resume=True, **{**way, "one_data_set": not way.get("one_data_set", False)})


def test_an_error_names_data_set_and_row(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"the batch holds rows [01]/\d+, [01]/\d+"):
        run(tmp_path, loss=breaks(3))


def test_people_see_which_data_set_an_example_is_of() -> None:
    assert both().describe(np.array([4, 0])) == [
        {"row": "1/2", "query": "only second", "key": "document"},
        {"row": "0/1", "query": "same", "key": "answer 1"},
    ]


def test_a_split_is_named_with_its_data_set() -> None:
    assert [both().task(name).name for name in ("heldout", "1/heldout")] == ["heldout", "1/heldout"]
    task: Any = both().task("1/heldout")
    assert task.queries.read(1, 2) == ["only second"]
    with pytest.raises(InputError, match=r"there are data sets 0 to 1, e\.g\. 0/heldout"):
        both().task("2/heldout")


def test_a_dry_run_of_two(tmp_path: Path) -> None:
    data = [Columns(rows(40)), Columns(rows(24, seed=1))]
    found = dry_run(Static(dim=16, vocabulary=300), data, InfoNCE(), **{**SETTINGS, "one_data_set": True})
    assert (found.facts["pairs"], found.facts["batch_size"]) == (64, 16)
    assert len({example["row"][0] for example in found.facts["batch"]}) == 1


def all_ways(folder: Path) -> dict[str, torch.Tensor]:
    """Train in some ways, the last with more ranks than a view has rows; return what was learnt in each."""
    found: dict[str, torch.Tensor] = {}
    for i, way in enumerate([{"queue": 9}, WAYS[3], {**WAYS[1], "batch_size": 2}]):
        encoder: Any = Perceptron()
        data = [pictures(9, negatives=True), pictures(14)]
        given = {**SGD, **way}
        fit(encoder, data, InfoNCE(), out=folder / str(i), quiet=True, device="cpu", precision="fp32", **given)
        found |= {f"{i} {name}": value.detach().clone() for name, value in encoder.state_dict().items()}
    return found


def _all_ways(ranks: Ranks, folder: Path, cache: Path) -> None:
    os.environ["NEARFAR_CACHE"] = str(cache)
    found = all_ways(folder / "ranks")
    if ranks.first:
        save_file(found, folder / "found.safetensors")


def test_one_process_or_two_learn_the_same(tmp_path: Path, cache: Path) -> None:
    expected = all_ways(tmp_path / "alone")
    in_ranks(2, _all_ways, tmp_path, cache)
    found = load_file(tmp_path / "found.safetensors")
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-6)
