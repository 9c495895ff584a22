"""The map kept beside an index: the one of its rows as they are, or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import nearfar as nf
from nearfar.errors import ChangedMeanwhileError, InputError
from nearfar.index.index import Index
from nearfar.index.kept_map import keep_map, kept_map, made_map, map_file
from nearfar.vectors.corpus_map import CorpusMap, map_of
from nearfar.vectors.kept import neighbours_kept
from nearfar.vectors.projection import Values, principal_axes


def drawn(n: int = 60, d: int = 7, seed: int = 0) -> Values:
    vectors = np.random.default_rng(seed).standard_normal((n, d))
    unit: Values = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


@pytest.fixture
def index(tmp_path: Path) -> Index:
    made: Index = nf.Index.create(tmp_path / "i.index", None, dim=7)
    made.add([{"id": f"r{i}", "text": f"text {i}"} for i in range(60)], drawn())
    return made


def test_a_map_is_that_of_the_rows_and_is_read_again_as_it_was(index: Index) -> None:
    assert kept_map(index) is None
    made, of = made_map(index)
    places, axes = principal_axes(drawn().astype(np.float32))
    order = [int(name[1:]) for name in made.ids]
    assert made.places == pytest.approx(places[order], abs=1e-5)
    assert made.kept.share == pytest.approx(neighbours_kept(drawn(), places).share, abs=1e-3)
    path = keep_map(index, (made, of))
    assert path == map_file(index, "pca") and path.is_file()
    found = kept_map(index)
    assert found is not None and made.axes is not None and found.axes is not None
    assert (found.ids, found.kept, found.method) == (made.ids, made.kept, "pca")
    assert np.array_equal(found.places, made.places)
    assert np.array_equal(found.axes.axes, made.axes.axes) and np.array_equal(found.axes.mean, made.axes.mean)
    assert found.axes.shares == pytest.approx(axes.shares, rel=1e-5)
    assert kept_map(index, "umap") is None


def test_it_disturbs_neither_verify_nor_check_nor_optimise(index: Index) -> None:
    keep_map(index, made_map(index))
    assert index.verify()["problems"] == [] == index.check()["problems"]
    index.optimise()
    assert kept_map(index) is not None  # the same rows
    assert index.verify()["problems"] == []


@pytest.mark.parametrize("change", ["add", "replace", "delete"])
def test_a_map_of_other_rows_is_none(index: Index, change: str) -> None:
    keep_map(index, made_map(index))
    if change == "add":
        index.add([{"id": "new"}], drawn(1, seed=5))
    elif change == "replace":
        index.add([{"id": "r3", "text": "text 3"}], drawn(1, seed=5))
    else:
        index.delete(["r3"])
    assert kept_map(index) is None
    keep_map(index, made_map(index))
    assert kept_map(index) is not None


def test_a_map_that_is_written_after_a_change_is_none(index: Index) -> None:
    """Of as many rows as there are now, and so told apart by their digest alone."""
    made = made_map(index)
    index.add([{"id": "r3", "text": "text 3"}], drawn(1, seed=5))
    keep_map(index, made)
    assert kept_map(index) is None


def test_a_map_that_is_written_after_a_swap_leaves_the_other_generation_its_own(index: Index) -> None:
    made = made_map(index)
    with nf.Index.beside(index.folder, None, dim=7) as other:
        other.add([{"id": f"r{i}"} for i in range(60)], drawn(60, seed=3))
    nf.Index.swap(index.folder)
    keep_map(index, now := made_map(index))
    path = keep_map(index, made)
    assert path != map_file(index, "pca")
    found = kept_map(index)
    assert found is not None and np.array_equal(found.places, now[0].places)


def test_a_generation_that_is_swapped_in_has_its_own(index: Index) -> None:
    keep_map(index, made_map(index))
    other = nf.Index.beside(index.folder, None, dim=7)
    other.add([{"id": f"r{i}"} for i in range(9)], drawn(9, seed=3))
    other.close()
    assert kept_map(index) is not None
    nf.Index.swap(index.folder)
    assert kept_map(index) is None
    made = made_map(index)
    assert len(made[0].ids) == 9
    keep_map(index, made)
    assert len(list(index.folder.rglob("map-pca.parquet"))) == 2


def test_a_damaged_file_is_no_map(index: Index) -> None:
    path = keep_map(index, made_map(index))
    whole = path.read_bytes()
    for text in (b"", whole[:-9], whole[: len(whole) // 2], b"PAR1" + bytes(50) + b"PAR1"):
        path.write_bytes(text)
        assert kept_map(index) is None
    at = len(whole) // 3  # among the places
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
    assert kept_map(index) is None
    path.write_bytes(whole)
    table = pq.read_table(path)
    notes = json.loads(table.schema.metadata[b"nearfar"])
    changes: list[dict[str, Any]] = [
        {"axes": {}},
        {"axes": None},
        {"kept": {"share": 1}},
        {"state": 5},
        {"format": 0},
        {"method": "x"},
    ]
    for change in changes:
        other = table.replace_schema_metadata({b"nearfar": json.dumps({**notes, **change}).encode()})
        pq.write_table(other, path)
        assert kept_map(index) is None, change
    path.write_bytes(whole)
    assert kept_map(index) is not None


def test_too_few_rows_are_no_map(tmp_path: Path) -> None:
    with nf.Index.create(tmp_path / "few.index", None, dim=7) as few:
        few.add([{"id": "a"}, {"id": "b"}], drawn(2))
        with pytest.raises(InputError, match="at least 3 vectors, there are 2"):
            made_map(few)


def test_who_writes_meanwhile_is_told(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*given: Any) -> CorpusMap:
        found = map_of(*given)
        index.delete(["r1"])
        return found

    monkeypatch.setattr("nearfar.index.kept_map.map_of", slow)
    with pytest.raises(ChangedMeanwhileError, match="another process wrote to it"):
        made_map(index)


@pytest.mark.parametrize("precision", ["float16", "int8", "bits"])
def test_vectors_of_any_precision_have_a_map(tmp_path: Path, precision: str) -> None:
    with nf.Index.create(tmp_path / "q.index", None, dim=7, precision=precision) as quantised:
        quantised.add([{"id": f"r{i}"} for i in range(60)], drawn())
        made, _ = made_map(quantised)
        places = principal_axes(drawn())[0]
        assert made.places == pytest.approx(places[[int(name[1:]) for name in made.ids]], abs=2e-3)
