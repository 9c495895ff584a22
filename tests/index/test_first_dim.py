"""Search by first coordinates: candidates by a prefix, scores by whole vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nearfar as nf
from nearfar.errors import InputError
from nearfar.index.backends.exact import Exact
from nearfar.index.index import Index
from nearfar.index.rows import Rows, Vectors
from tests.index.word_model import WordModel

DIM, FIRST = 64, 16


def trained(loss: Any, steps: int = 80) -> tuple[Vectors, Vectors]:
    """Return the vectors (4000, 64) of points and (40, 64) of queries by a map that learnt to tell noisy copies apart.

    The points lie in 40 directions, each of less spread than the one before.
    """
    rng = np.random.default_rng(0)
    spread = (0.9 ** np.arange(40)).astype(np.float32)
    basis = torch.from_numpy(rng.standard_normal((40, 128), np.float32) * spread[:, None])
    weight = torch.nn.Parameter(torch.from_numpy(rng.standard_normal((128, DIM), np.float32)) / 128**0.5)
    optimizer = torch.optim.Adam([weight], lr=0.01)
    for _ in range(steps):
        points = torch.from_numpy(rng.standard_normal((64, 40), np.float32)) @ basis
        views = [points + torch.from_numpy(rng.standard_normal((64, 128), np.float32)) for _ in range(2)]
        query, key = (torch.nn.functional.normalize(view @ weight, dim=1) for view in views)
        optimizer.zero_grad()
        loss(query, key, nf.Pairs.aligned(64)).backward()
        optimizer.step()
    raw = rng.standard_normal((4000, 40), np.float32) @ basis.numpy()
    raw = np.vstack([raw, raw[:40] + rng.standard_normal((40, 128), np.float32)]) @ weight.detach().numpy()
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    return unit[:4000], unit[4000:]


def backend(place: Path, vectors: Vectors, **settings: Any) -> Exact:
    made = Exact.create(place, vectors.shape[1], {"even": "boolean"}, settings)
    even = [i % 2 == 0 for i in range(len(vectors))]
    made.upsert(Rows([f"{i:05}" for i in range(len(vectors))], vectors, [None] * len(vectors), {"even": even}))
    return made


def recall(found: Exact, truth: Exact, queries: Vectors, k: int) -> float:
    pairs = zip(found.nearest(queries, k), truth.nearest(queries, k))
    return float(np.mean([len(set(mine.ids) & set(true.ids)) / k for mine, true in pairs]))


def test_a_matryoshka_model_loses_little(tmp_path: Path) -> None:
    inner, found = nf.losses.InfoNCE(temperature=0.1), dict[str, float]()
    settings: dict[str, dict[str, Any]] = {
        "matryoshka": {},
        "int8": {"precision": "int8"},
        "float16": {"precision": "float16"},
        "plain": {},
    }
    settings |= {"two": {"first_dim": 2, "oversample": 1}}
    points, queries = trained(nf.losses.Matryoshka(inner, dims=[FIRST, DIM]))
    for name, given in settings.items():
        if name == "plain":
            points, queries = trained(inner)
        exact = {key: value for key, value in given.items() if value == "float16"}
        truth = backend(tmp_path / f"{name}-truth", points, **exact)
        made = backend(tmp_path / name, points, **{"first_dim": FIRST, "oversample": 4, **given})
        found[name] = recall(made, truth, queries, 10)
        for mine, every in zip(made.nearest(queries[:2], 10), truth.nearest(queries[:2], 4000)):
            scores = dict(zip(every.ids, every.scores.tolist()))
            assert [scores[name] for name in mine.ids] == mine.scores.tolist()  # of whole vectors
        made.close()
        truth.close()
    assert min(found["matryoshka"], found["int8"], found["float16"]) >= 0.98
    assert found["plain"] < found["matryoshka"] - 0.02
    assert found["two"] < 0.9


def test_it_never_comes_short_nor_finds_what_does_not_match(tmp_path: Path) -> None:
    from nearfar.index.filters import Compare

    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((2000, DIM), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[::7, :FIRST] = 0  # nothing is left of their first coordinates
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = np.vstack([vectors[:3], np.eye(DIM, dtype=np.float32)[-1:]])
    for precision in ("float32", "int8", "bits"):
        made = backend(tmp_path / precision, vectors, precision=precision, first_dim=FIRST, oversample=1)
        made.delete([f"{i:05}" for i in range(1, 2000, 5)])
        for where, matching in ((None, 1600), (Compare("even", "=", True), 800)):
            for k in (1, 10, 700, 3000):
                for found in made.nearest(queries, k, where):
                    assert len(set(found.ids)) == len(found.ids) == min(k, matching)
                    assert where is None or all(int(name) % 2 == 0 for name in found.ids)
                    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
        before = [(found.ids, found.scores.tolist()) for found in made.nearest(queries, 10)]
        made.optimise()
        assert [(found.ids, found.scores.tolist()) for found in made.nearest(queries, 10)] == before
        # A query without first coordinates compares all rows, and its answer is exact.
        truth = sorted(made.ids(), key=lambda name: (-vectors[int(name), -1], name))[:10]
        assert precision == "bits" or made.nearest(queries[-1:], 10)[0].ids == truth
        made.close()


class Trained(WordModel):
    """A model whose recipe says what it was trained for."""

    def __init__(self, dim: int, recipe: dict[str, Any], name: str = "words") -> None:
        super().__init__(dim, name)
        self.notes = {"recipe": recipe}


@pytest.mark.parametrize(
    ("recipe", "first", "words"),
    [
        ({"loss": {"name": "matryoshka", "dims": [128, 32, 64]}}, 64, ""),
        ({"loss": {"name": "matryoshka", "dims": None}}, 32, ""),
        ({"loss": {"name": "matryoshka", "dims": None}}, 16, "trained for vectors of 32, 64, 128 coordinates"),
        ({"loss": {"name": "infonce"}}, 64, "was not trained for shorter vectors"),
        ({"loss": {"name": "matryoshka"}, "heads": {"projection": {"name": "mlp"}}}, 64, "was not trained"),
        ({"loss": {"name": "matryoshka"}, "heads": {"projection": {"name": "mlp"}}, "ship": "projection"}, 64, ""),
        ({}, 17, ""),
    ],
)
def test_the_model_says_what_it_was_trained_for(tmp_path: Path, recipe: dict[str, Any], first: int, words: str) -> None:
    if words:
        with pytest.raises(InputError, match=words):
            Index.create(tmp_path / "i", Trained(128, recipe), settings={"first_dim": first})
        assert not (tmp_path / "i").exists()
        return
    with Index.create(tmp_path / "i", Trained(128, recipe), settings={"first_dim": first}) as index:
        index.add([{"id": "a", "text": "red fox"}, {"id": "b", "text": "grey goose"}])
        assert index.search("goose", k=1)[0].id == "b"
        assert index.info()["backend"]["first_dim"] == first


def test_a_generation_of_another_model_compares_what_suits_it(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", WordModel(64), settings={"first_dim": 32, "oversample": 4}) as index:
        with Index.beside(index.folder, WordModel(48)) as beside:
            assert beside.description.backend["first_dim"] == 32
        for other in (WordModel(16), Trained(64, {"loss": {"name": "infonce"}}, "other")):
            with (
                pytest.warns(UserWarning, match="first_dim 32 does not suit the new model"),
                Index.beside(index.folder, other) as beside,
            ):
                assert beside.description.backend == {"name": "exact", "precision": "float32"}
