"""Every floor judges a task that it takes, is a baseline by its name, and one stands in every report."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar import registry
from nearfar.column import ListColumn
from nearfar.contracts import Floor
from nearfar.errors import InputError
from nearfar.evaluation import floors
from nearfar.evaluation.baselines import FLOORS, floor, floor_names, floors_serving, usual_floors
from nearfar.evaluation.choose import metrics_of
from nearfar.evaluation.evaluate import evaluate
from nearfar.evaluation.measure import measure
from nearfar.tasks import Labels, Language, LanguageTokens, PairLabels, Retrieval, Similarity, Task
from tests.contracts import samples

NAMES = registry.names(FLOORS)
N = 8


def column(kind: str) -> ListColumn:
    cells: dict[str, list[Any]] = {one.name: list(one.cells) for one in samples.columns()}
    cells["ids"] = [[1, 2, i] for i in range(N)]
    return ListColumn(kind, cells[kind])


def tasks(*kinds: str) -> Iterator[Task]:
    """Yield a task of every type, over cells of one kind, or two for its two sides."""
    one, other = column(kinds[0]), column(kinds[-1])
    other.cells = [*other.cells[2:], *other.cells[:2]]
    ids, rows = [str(i) for i in range(N)], np.arange(N)
    yield Retrieval("sample", one, other, ids, ids, {i: {i: 1} for i in range(N)}, rows, excluded={0: [1, 2]})
    yield Similarity("sample", one, other, rows.astype(np.float64), rows)
    yield Labels("sample", one, rows % 2, other, rows % 2, ["a", "b"], rows)
    dev = PairLabels("sample", one, other, rows % 2 == 0, rows)
    yield PairLabels("sample", one, other, rows % 2 == 0, rows, dev)
    if kinds == ("text",):  # only texts have tokens
        words, hidden = np.arange(5 * N) % 11 + 2, np.arange(1, 5 * N, 3)
        special, none = np.arange(13) < 2, np.zeros(0, np.int64)
        texts = words, 5 * np.arange(N + 1), np.tile(words, 3).astype(np.int32), 5 * np.arange(3 * N + 1), special
        yield Language("sample", one, other, rows, tokens=LanguageTokens(*texts, hidden, 0.3))
        places = np.flatnonzero(np.arange(5 * N) % 5 < 4)  # each text ends before its end is asked for
        asked: dict[str, Any] = {"next_places": places, "next_ids": words[places + 1]}
        yield Language("sample", one, other, rows, tokens=LanguageTokens(*texts, none, **asked))


def every_task() -> Iterator[Task]:
    for kinds in (("text",), ("picture",), ("series",), ("ids",), ("text", "picture")):
        yield from tasks(*kinds)


@pytest.mark.parametrize("name", NAMES)
def test_a_floor_judges_what_it_serves(name: str) -> None:
    one = floor(name)
    assert isinstance(one, Floor)
    served = [task for task in every_task() if name.replace("_", "-") in floors_serving(task)]
    assert {type(task) for task in served} == set(one.takes), f"no sample for {name}"
    for task in served:
        judged = one(task, 0)
        found = measure(task, judged, metrics_of(task, None))
        assert found.numbers and all(np.isfinite(value) for value in found.numbers.values())
        assert judged.about["name"] == name.replace("_", "-")
        if isinstance(task, Retrieval) and judged.ranking is not None:
            assert not {1, 2} & set(judged.ranking.rows[0].tolist())
        again = measure(task, one(task, 0), metrics_of(task, None))
        assert again.numbers == found.numbers


@pytest.mark.parametrize("name", NAMES)
def test_a_floor_is_found_with_dashes_and_underscores(name: str) -> None:
    assert type(floor(name)) is type(floor(name.replace("_", "-"))) is registry.find(FLOORS, name)
    assert registry.find(FLOORS, name).__doc__


def test_every_task_has_a_floor() -> None:
    for task in every_task():
        assert usual_floors(task), f"{type(task)} over {task}"
    usual = [list(usual_floors(task)) for task in tasks("text")]
    of_tokens = [["neighbour-counts", "token-frequency"], ["kneser-ney", "token-frequency"]]
    assert usual == [["bm25", "bm25-stems"], ["word-overlap"], ["majority"], ["word-overlap"], *of_tokens]
    assert [list(usual_floors(task)) for task in tasks("picture")] == [
        *(["pixels"], ["pixels"], ["majority", "pixels"], ["pixels"]),
    ]
    assert list(usual_floors(next(tasks("text", "picture")))) == ["random-order"]


def test_a_new_file_is_a_floor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "last_class.py").write_text(
        '''"""The last class."""

import numpy as np

from nearfar import tasks
from nearfar.contracts import Predictions


class LastClassFloor:
    """The last class as the answer to every cell."""

    takes = (tasks.Labels,)
    reads = ()
    usual = ()
    fused = False

    def __call__(self, task, seed):
        return Predictions(answers=np.full(len(task.labels), len(task.classes) - 1))
'''
    )
    monkeypatch.setattr(floors, "__path__", [*floors.__path__, str(tmp_path)])
    assert "last-class" in floor_names()

    class Ones:
        def embed(self, cells: list[Any], /, role: str | None = None) -> np.ndarray:
            return np.ones((len(cells), 1), np.float32)

    (task,) = (task for task in tasks("text") if isinstance(task, Labels))
    report = evaluate(Ones(), task, baselines=["last-class", "last_class"], resamples=20)
    assert {name: numbers["probe"] for name, numbers in report.baseline.items()} == {"last-class": 0.5}


def test_a_floor_that_lacks_something_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_made.py").write_text(
        """class HalfMade:
    takes = reads = usual = ()

    def __call__(self, task):
        return None
"""
    )
    monkeypatch.setattr(floors, "__path__", [*floors.__path__, str(tmp_path)])
    with pytest.raises(InputError) as caught:
        floor("half-made")
    assert re.match(
        r"evaluation\.floors half_made lacks `fused` \(bool\), `__call__\(task, seed\)` \(with these", str(caught.value)
    )


class Counted(ListColumn):
    """A column that counts how often its cells are read."""

    reads = 0

    def read(self, start: int, stop: int) -> list[Any]:
        self.reads += 1
        return super().read(start, stop)


class Declared(Counted):
    """A column that declares its kind."""

    kind = "vector"


def test_cells_are_read_once_for_all_floors_and_not_where_their_kind_is_declared() -> None:
    for kind, found in ((Counted, ["word-overlap"]), (Declared, ["pixels"])):
        one, other = kind("one", ["a"] * N), kind("other", ["b"] * N)
        task = Similarity("sample", one, other, np.arange(N, dtype=np.float64), np.arange(N))
        assert list(usual_floors(task)) == found
        assert (one.reads, other.reads) == ((1, 1) if kind is Counted else (0, 0))


def test_a_floor_that_cannot_serve_says_which_could() -> None:
    for task, name, able in (
        (next(tasks("picture")), "bm25", "pixels, random-order can"),
        (next(tasks("text")), "majority", "bm25, bm25-stems, random-order can"),
    ):
        with pytest.raises(InputError, match=f"{name} cannot judge sample, .*; {able}"):
            evaluate(None, task, baselines=[name])  # type: ignore[arg-type]
