"""Several data sets in one run: the mixing, the positives across data sets, and resuming."""

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

from nearfar.abilities import tasks_of
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
from nearfar.training.order import MAX_PERIOD, MixingSchedule, Sampler, quotas
from nearfar.training.settings import Settings
from nearfar.training.state import TrainState
from nearfar.training.step import GradientStep
from nearfar.training.train_module import Queue, Trained, queued_examples
from tests.training.floats import CPU, Floats, Perceptron
from tests.training.runs import SETTINGS, Rows, in_ranks, rows, weights
from tests.training.test_fit import BrokenOffError, breaks, stop_at
from tests.training.test_ranks import SGD, pictures

MIXINGS: list[dict[str, Any]] = [
    {},
    {"mixing": "round_robin"},
    {"mixing": "temperature"},
    {"one_data_set": True},
    {"mixing": "round_robin", "one_data_set": True},
    {"mixing": "temperature", "mixing_temperature": 2.0, "one_data_set": True},
]


class Numbered:
    """Positives of a given size, of which nothing else matters."""

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


def dataset_of(examples: Ids, sizes: list[int]) -> Ids:
    return np.searchsorted(np.cumsum(sizes), examples, side="right")


@pytest.mark.parametrize("batches", [False, True], ids=["examples", "batches"])
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
    data = dataset_of(drawn, sizes)
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
    assert rounded == [1, MAX_PERIOD]
    smoothed = np.array(quotas([10, 1000, 10**7], "temperature", 5))
    assert smoothed / smoothed.sum() == pytest.approx(np.array([10, 1000, 10**7]) ** 0.2 / 30.685, rel=1e-3)


@settings(deadline=None, max_examples=50)
@given(wanted=st.lists(st.integers(1, 30), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_slots_are_looked_up_as_counted_and_evenly_spread(wanted: list[int], seed: int) -> None:
    schedule, slots = MixingSchedule(wanted, seed), np.arange(3 * sum(wanted) + 1)
    order = schedule.dataset_of(slots)
    for d, quota in enumerate(wanted):
        counted = np.concatenate([[0], np.cumsum(order == d)])[:-1]
        assert schedule.count_before(d, slots).tolist() == counted.tolist()
        assert [schedule.slot(d, i) for i in range(3 * quota)] == np.flatnonzero(order[:-1] == d).tolist()
        assert np.abs(counted - slots * quota / sum(wanted)).max() <= len(wanted)


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=2, max_size=4),
    batch=st.integers(2, 20),
    mixing=st.sampled_from(MIXINGS),
    steps=st.lists(st.integers(0, 60), min_size=1, max_size=6),
)
def test_any_batch_is_known_without_those_before_it(
    sizes: list[int], batch: int, mixing: Any, steps: list[int]
) -> None:
    whole = sampler(sizes, batch_size=batch, **mixing)
    size = whole.batch_size
    stream = np.concatenate([whole.batch(step) for step in range(64)])
    used = sampler(sizes, batch_size=batch, queue=17, **mixing)
    for step in steps:
        assert sampler(sizes, batch_size=batch, **mixing).batch(step).tolist() == stream[step * size :][:size].tolist()
        stop = step * size + 5
        assert used.stream(max(0, stop - 17), stop).tolist() == stream[max(0, stop - 17) : stop].tolist()


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=4),
    batch=st.integers(2, 20),
    mixing=st.sampled_from(MIXINGS),
)
def test_no_example_comes_twice_in_a_batch_smaller_than_its_data_set(sizes: list[int], batch: int, mixing: Any) -> None:
    if not mixing:  # shuffled as one data set
        return
    found = sampler(sizes, batch_size=batch, **mixing)
    for step in range(60):
        examples = found.batch(step)
        assert len(examples) == min(batch, sum(sizes))
        data = dataset_of(examples, sizes)
        for d, n in enumerate(sizes):
            of_dataset = examples[data == d]
            times = np.bincount(of_dataset, minlength=1)
            assert times.max() == -(-len(of_dataset) // n), "once where there are enough, else as evenly as can be"


def test_proportional_is_shuffled_as_one_and_one_data_set_is_itself() -> None:
    assert sampler([30, 34], batch_size=16).batch(3).tolist() == Sampler(64, 16, 0).batch(3).tolist()
    one, more = Columns(rows()), {"mixing": "temperature", "one_data_set": True, "apart": True}
    assert mix(one) is mix([one]) is one
    assert Sampler.of(one, Settings(**more)).batch(1).tolist() == Sampler(64, 64, 0).batch(1).tolist()  # type: ignore[arg-type]
    assert sampler([30, 70], batch_size=10, mixing="round_robin").steps(2) == 20
    encoder: Any = Perceptron()
    names = run_identity(Trained(encoder, InfoNCE()), one, Settings())["training"]
    assert "mixing" not in names
    with pytest.raises(InputError, match="give one data set at least"):
        mix([])
    with pytest.raises(InputError, match=r"training\.mixing_temperature must be a number above zero"):
        Settings(mixing_temperature=0)


FIRST = {"query": ["same", "only first", "echo"], "key": ["answer 1", "document", "says"]}
SECOND = {"query": ["same", "only second", "other"], "key": ["answer 2", "document", "echo"]}


def both(**more: Any) -> Mixture:
    return Mixture([Columns(Rows(**FIRST)), Columns(Rows(**SECOND))], **more)


def relations(batch: Batch) -> list[str]:
    """Return a text for each query, a sign for each key: + for a positive, - for a negative, 0 for an ignored one."""
    pairs = batch.pairs
    n, m = pairs.shape
    signs = [["+" if q == k else "-" for k in pairs.key_group] for q in pairs.query_group]
    if pairs.query_scope is not None and pairs.key_scope is not None:
        for i in range(n):
            for j in range(m):
                signs[i][j] = signs[i][j] if pairs.query_scope[i] == pairs.key_scope[j] else "0"
    if pairs.known is not None:
        for i, j, weight in zip(*(part.tolist() for part in vars(pairs.known).values()), strict=True):
            signs[i][j] = "+" if weight else "0"
    return ["".join(row) for row in signs]


def test_an_answer_in_another_data_set_is_a_positive() -> None:
    """Its question is of one data set alone, and the answer's text is in another, too."""
    one, two = Columns(Rows(query=["a"], key=["A"])), Columns(Rows(query=["b", "b"], key=["A", "B"]))
    pairs = Mixture([one, two]).batch(np.array([0, 2])).pairs
    assert pairs.known is not None
    known = [part.tolist() for part in vars(pairs.known).values()]
    assert known == [[1], [0], [1.0]]  # b, of the second, and A, of the first


def test_equal_content_of_two_data_sets_is_one_item() -> None:
    batch = both().batch(np.array([4, 0, 5, 2, 1, 3]))  # queries are then ordered by data set: 0 2 1, 4 5 3
    assert {view: cells.tolist() for view, cells in batch.rows.items()} == {
        **{"0/query": [0, 2, 1], "0/key": [0, 2, 1]},
        **{"1/query": [1, 2, 0], "1/key": [1, 2, 0]},
    }
    assert batch.positive_index is not None
    assert batch.positive_index.tolist() == [3, 0, 4, 1, 2, 5]
    assert relations(batch) == [
        "+----+",  # same: both answers
        "-+--0-",  # echo: repeated word for word by a key
        "--++--",  # the document that both have
        "--++--",
        "----+-",
        "+----+",
    ]
    assert batch.pairs.query_item[0] == batch.pairs.query_item[5]
    assert batch.pairs.key_item[2] == batch.pairs.key_item[3]


def test_pairs_of_data_sets_apart_are_ignored() -> None:
    batch = both(apart=True).batch(np.arange(6))
    assert relations(batch) == ["+--000", "-+-000", "--+000", "000+--", "000-+-", "000--+"]
    again: Any = mix(both(), apart=True)
    assert relations(again.batch(np.arange(6))) == relations(batch)


def test_known_pairs_of_one_data_set_stay() -> None:
    """A key that repeats the query is ignored in the first, and a positive in the second, for rows of the second."""
    first = Columns(Rows(query=["x", "y"], key=["z", "x"]))
    second = Columns(Rows(query=["x", "v"], key=["x", "w"]))
    signs = relations(Mixture([first, second]).batch(np.arange(4)))
    assert (signs[0], signs[2]) == ("+0+-", "+++-")


def test_a_batch_of_one_data_set_has_no_rows_of_others() -> None:
    batch = both().batch(np.array([3, 4]), np.array([0, 5, 1]))
    assert {view: len(cells) for view, cells in batch.rows.items()} == {
        "0/query": 0,
        "0/key": 0,
        "1/query": 2,
        "1/key": 2,
    }
    assert relations(batch) == ["+-+--", "-+--+"]


@settings(deadline=None, max_examples=40)
@given(draw=st.data(), apart=st.booleans())
def test_queued_keys_come_last_in_the_order_of_the_queue(draw: st.DataObject, apart: bool) -> None:
    """Every key of the batch is that of its example, wherever it is placed; ids of content show which it is."""
    table = {"query": [f"q{i % 5}" for i in range(9)], "key": [f"k{i % 7}" for i in range(9)]}
    parts = [Columns(Rows(**table, negative=[[f"n{i}", "n"] for i in range(9)])), Columns(Rows(**FIRST))]
    mixture = Mixture(parts, apart)
    one = st.integers(0, 11)
    examples = np.array(draw.draw(st.lists(one, min_size=1, max_size=9)))
    in_queue = np.array(draw.draw(st.lists(one, max_size=9)), np.int64)
    batch = mixture.batch(examples, in_queue)
    expected = [mixture.batch(np.array([i])) for i in range(12)]
    items = np.array([int(alone.pairs.key_item[0]) for alone in expected])
    assert batch.positive_index is not None
    assert batch.pairs.key_item[torch.from_numpy(batch.positive_index)].tolist() == items[examples].tolist()
    old = batch.pairs.key_item[batch.pairs.shape[1] - len(in_queue) :]
    assert old.tolist() == items[in_queue].tolist()
    signs, groups = relations(batch), np.array(table["key"] + FIRST["key"])
    queries = np.array(table["query"] + FIRST["query"])
    ordered = np.concatenate([examples[examples < 9], examples[examples >= 9]])
    for i, example in enumerate(ordered):  # queries are ordered by data set
        answers = set(groups[queries == queries[example]])
        expected_signs = ["+" if groups[j] in answers else "-" for j in in_queue]
        compared = [not apart or (j < 9) == (example < 9) for j in in_queue]
        assert list(signs[i][len(signs[i]) - len(in_queue) :]) == [
            sign if of_same else "0" for sign, of_same in zip(expected_signs, compared, strict=True)
        ]


@pytest.mark.parametrize("mixing", MIXINGS, ids=str)
def test_a_queued_key_is_the_key_of_its_example(mixing: Any) -> None:
    positives = Mixture([pictures(9, negatives=True), pictures(14)])
    run_settings = Settings(batch_size=6, queue=20, **mixing)
    encoder: Any = Perceptron()
    trained = Trained(encoder, InfoNCE())
    train_state = TrainState.of(trained.module(run_settings).train(), run_settings)
    stores = {view: encoder.store(column) for view, column in positives.views.items()}
    sampler_of_run = Sampler.of(positives, run_settings)
    read = BatchReader(positives, stores, sampler_of_run, run_settings, Ranks(), encoder)
    step = GradientStep(train_state, trained, positives, run_settings, CPU, "fp32")
    keys = torch.cat([stores[f"{d}/key"][np.arange(n)].rows for d, n in ((0, 9), (1, 14))])
    vectors = torch.nn.functional.normalize(encoder(Floats(keys)).detach(), dim=1)
    for number in range(7):
        in_queue = queued_examples(read.sampler, number, 20)
        assert isinstance(step.queue, Queue)
        torch.testing.assert_close(step.queue.vectors[: len(in_queue)], vectors[torch.from_numpy(in_queue)])
        prepared = read(number)
        assert 0 not in prepared.sizes.values()
        output = step(prepared)
        assert output.keys is not None
        assert output.keys.shape[0] == prepared.pairs.shape[1]
        step.after_optimizer_step(prepared, output, 0.0)  # the weights stay, so a key's vector does


def run(folder: Path, **more: Any) -> Run:
    encoder = Static(dim=16, vocabulary=300)
    data = [Columns(rows(40)), Columns(rows(24, seed=1))]
    loss = more.pop("loss", None) or InfoNCE()
    return fit(encoder, data, loss, out=folder, quiet=True, **{**SETTINGS, **more})


@pytest.mark.filterwarnings("ignore:training.best")
@pytest.mark.parametrize(
    "mixing",
    [
        MIXINGS[0],
        {**MIXINGS[1], "apart": True, "queue": 20},
        {**MIXINGS[5], "queue": 30, "keys": "momentum", "momentum": 0.9},
    ],
    ids=str,
)
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path: Path, mixing: Any) -> None:
    whole = run(tmp_path / "whole", **mixing)
    with pytest.raises(BrokenOffError):
        run(tmp_path / "run", evaluate=stop_at(7), evaluate_every=1, best="map", **{**mixing, "checkpoint_every": 3})
    assert np.array_equal(weights(run(tmp_path / "run", resume=True, **mixing)), weights(whole))
    with pytest.raises(InputError, match=r"cannot resume, training\.one_data_set was"):
        run(tmp_path / "run", resume=True, **{**mixing, "one_data_set": not mixing.get("one_data_set", False)})


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
    assert [task.name for task in tasks_of(both(), "1/heldout")] == ["1/heldout"]


def test_a_dry_run_of_two(tmp_path: Path) -> None:
    data = [Columns(rows(40)), Columns(rows(24, seed=1))]
    found = dry_run(Static(dim=16, vocabulary=300), data, InfoNCE(), **{**SETTINGS, "one_data_set": True})
    assert (found.facts["pairs"], found.facts["batch_size"]) == (64, 16)
    assert len({example["row"][0] for example in found.facts["batch"]}) == 1


def all_mixings(folder: Path) -> dict[str, torch.Tensor]:
    """Train with some mixings, the last with more ranks than a view has rows; return the weights of each."""
    found: dict[str, torch.Tensor] = {}
    for i, mixing in enumerate([{"queue": 9}, MIXINGS[3], {**MIXINGS[1], "batch_size": 2}]):
        encoder: Any = Perceptron()
        data = [pictures(9, negatives=True), pictures(14)]
        given = {**SGD, **mixing}
        fit(encoder, data, InfoNCE(), out=folder / str(i), quiet=True, device="cpu", precision="fp32", **given)
        found |= {f"{i} {name}": value.detach().clone() for name, value in encoder.state_dict().items()}
    return found


def _all_mixings(ranks: Ranks, folder: Path, cache: Path) -> None:
    os.environ["NEARFAR_CACHE"] = str(cache)
    found = all_mixings(folder / "ranks")
    if ranks.is_first:
        save_file(found, folder / "found.safetensors")


def test_one_process_or_two_learn_the_same(tmp_path: Path, cache: Path) -> None:
    expected = all_mixings(tmp_path / "alone")
    in_ranks(2, _all_mixings, tmp_path, cache)
    found = load_file(tmp_path / "found.safetensors")
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-6)
