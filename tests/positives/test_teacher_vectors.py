"""TeacherVectors: the teacher's cosines against a naive form in float64, fixed views, and a student that learns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import nearfar as nf
from nearfar import config, registry
from nearfar.abilities import batch_of, prepare_batches
from nearfar.augmentations.image import ImageAugmentation
from nearfar.column import Aliases, ListColumn, content_id, content_ids
from nearfar.compute.draws import Draws
from nearfar.compute.ranks import Ranks
from nearfar.encoders.dual import Dual
from nearfar.errors import InputError
from nearfar.losses.distill import Distill
from nearfar.positives.columns import Columns
from nearfar.positives.teacher_vectors import TeacherVectors
from nearfar.training.batches import BatchReader, uncached_stores
from nearfar.training.dry_run import dry_run
from nearfar.training.mixture import Mixture
from nearfar.training.order import Sampler
from nearfar.training.settings import Settings
from tests.encoders.known_vectors import KnownTexts, MeanColours
from tests.pictures.samples import noise
from tests.training.runs import Rows

WORDS = ["a", "b", "c", "d", "e", "f"]
TABLE = dict(zip(WORDS, np.random.default_rng(0).normal(size=(6, 3)).tolist(), strict=True))
PICTURES = [noise(i, 24, 24) for i in range(4)]
SEED = 5


class Counted(MeanColours):
    """Mean colours of pictures, that counts how many it encodes."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded: list[bytes] = []

    def inputs(self, cells: Any) -> Any:
        self.encoded += [np.asarray(cell).tobytes() for cell in cells]
        return super().inputs(cells)


class Texts(KnownTexts):
    def __init__(self) -> None:
        super().__init__(TABLE)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path_factory.mktemp("cache")))


def rows() -> Rows:
    """Return two captions of three pictures, and one of a fourth; one caption is of two pictures."""
    picture = [0, 0, 1, 1, 2, 2, 3]
    return Rows(image=[PICTURES[i] for i in picture], caption=["a", "b", "c", "a", "d", "e", "f"])


def teacher(*, texts_ask: bool = False) -> nf.Model:
    towers = (Texts(), Counted()) if texts_ask else (Counted(), Texts())
    return nf.Model(Dual(*towers))


def augmentation() -> ImageAugmentation:
    return ImageAugmentation("simclr", size=16)


def augmented(views: int = 3, **more: Any) -> TeacherVectors:
    given_ = {"teacher": teacher(), "augmentation": augmentation(), "views": views, "seed": SEED, **more}
    return TeacherVectors(rows(), query="image", key="caption", **given_)


def unit(vector: Any) -> Any:
    return np.asarray(vector, np.float64) / np.linalg.norm(np.asarray(vector, np.float64))


def naive(examples: list[int], numbers: list[int] | None) -> Any:
    """Return the cosines (b, b) of pictures and captions in float64, of the pictures in the views of some numbers."""
    data, found = rows(), np.zeros((len(examples), len(examples)))
    for i, example in enumerate(examples):
        picture = data.cells["image"][example]
        if numbers is not None:
            draws = Draws.of(np.array([[SEED, numbers[i], content_id(picture)]]))
            picture = np.asarray(augmentation()([picture], draws)[0])
        for j, other in enumerate(examples):
            found[i, j] = unit(picture.astype(np.float64).mean((0, 1))) @ unit(TABLE[data.cells["caption"][other]])
    return found


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=6), st.integers(1, 4), st.booleans(), st.data())
def test_known_has_the_teachers_cosines(examples: list[int], views: int, changed: bool, data: st.DataObject) -> None:
    passes = data.draw(st.lists(st.integers(0, 9), min_size=len(examples), max_size=len(examples)))
    more: dict[str, Any] = {"augmentation": augmentation(), "views": views, "seed": SEED} if changed else {}
    positives = TeacherVectors(rows(), teacher(), query="image", key="caption", **more)
    pairs = positives.batch(np.array(examples), passes=np.array(passes)).pairs
    expected = naive(examples, [p % views for p in passes] if changed else None)
    expected -= expected.min(1, keepdims=True)
    known = pairs.known
    assert known is not None
    found = np.full(expected.shape, np.nan)
    found[known.rows.numpy(), known.columns.numpy()] = known.weight.numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    items = pairs.query_item.tolist()
    same = [[p % views == q % views or not changed for q in passes] for p in passes]
    picture = content_ids(ListColumn("image", [rows().cells["image"][example] for example in examples]))
    assert [[a == b for b in items] for a in items] == ((picture[:, None] == picture) & np.array(same)).tolist()


def test_all_settings_that_were_given_are_remembered() -> None:
    remembered = registry.recipe_of("positives", augmented(augmented="query"))
    assert (remembered["augmented"], remembered["views"], remembered["seed"]) == ("query", 3, SEED)


def test_the_teacher_encodes_each_picture_once_a_view_and_never_again() -> None:
    first = augmented()
    tower: Any = first.teacher.encoder.towers["query"]  # type: ignore[attr-defined]
    assert tower.encoded == []  # not before it is asked
    prepare_batches(first)
    assert len(tower.encoded) == len(set(tower.encoded)) == 4 * 3  # four pictures, three views
    for p in range(7):
        first.batch(np.arange(7), passes=np.full(7, p))
    assert len(tower.encoded) == 12
    second = augmented()
    second.batch(np.arange(7))
    assert second.teacher.encoder.towers["query"].encoded == []  # type: ignore[attr-defined]
    other = augmented(seed=SEED + 1)
    other.batch(np.arange(2))
    assert len(other.teacher.encoder.towers["query"].encoded) == 12  # type: ignore[attr-defined]


@pytest.mark.parametrize("query", ["image", "caption"])
def test_a_batch_is_a_pure_function_of_examples_and_passes(query: str) -> None:
    key = "caption" if query == "image" else "image"
    made = [
        TeacherVectors(rows(), teacher(), query=query, key=key, augmentation=augmentation(), views=3, seed=SEED)
        for _ in range(2)
    ]
    examples, passes = np.array([6, 0, 3, 0]), np.array([1, 2, 0, 1])
    batches = [one.batch(examples, passes=passes).pairs for one in made]
    made[0].batch(np.arange(7))
    batches += [made[0].batch(examples, passes=passes).pairs, made[0].batch(examples, passes=passes + 3).pairs]
    for pairs in batches[1:]:
        assert pairs.known is not None and batches[0].known is not None
        assert torch.equal(pairs.known.weight, batches[0].known.weight)
        assert torch.equal(pairs.query_item, batches[0].query_item) and torch.equal(pairs.key_item, batches[0].key_item)
    other = made[0].batch(examples, passes=passes + 1).pairs
    assert other.known is not None and batches[0].known is not None
    assert not torch.equal(other.known.weight, batches[0].known.weight)


def divergences(positives: Any, student: Any, steps: int = 9) -> list[float]:
    """Return what distillation costs a student in each step of some passes, in batches that lie across their ends."""
    given_ = Settings(batch_size=4, seed=1)
    reader = BatchReader(
        positives, uncached_stores(student, positives), Sampler.of(positives, given_), given_, Ranks(), student
    )
    loss, found = Distill(temperature=0.1, teacher_temperature=0.1), []
    for step in range(steps):
        batch = reader(step)
        assert batch.trained is not None
        inputs = batch.trained.inputs
        vectors = torch.nn.functional.normalize(student(inputs).double(), dim=1)
        queries, keys = torch.split(vectors, list(batch.trained.sizes.values()))
        found.append(loss(queries, keys, batch.pairs).item())
    return found


@pytest.mark.parametrize("query", ["image", "caption"])
def test_the_student_sees_the_very_view_that_the_teacher_has_encoded(query: str) -> None:
    """A student that is the teacher has nothing to learn, in any pass."""
    key = "caption" if query == "image" else "image"
    towers = (MeanColours(), Texts()) if query == "image" else (Texts(), MeanColours())
    settings_: Any = {"query": query, "key": key, "augmentation": augmentation(), "views": 3, "seed": SEED}
    positives = TeacherVectors(rows(), teacher(), **settings_)  # the teacher's sides may lie the other way round
    student = Dual(*towers)
    assert max(divergences(positives, student)) < 1e-10
    assert max(divergences(Mixture([positives]), student)) < 1e-10
    wrong = TeacherVectors(rows(), teacher(), **settings_)
    wrong.augmentations = TeacherVectors(rows(), teacher(), **{**settings_, "seed": SEED + 1}).augmentations
    assert min(divergences(wrong, student)) > 1e-7  # of other views it has


def test_several_data_sets_hand_each_its_own_passes() -> None:
    plain = Columns(Rows(query=["a", "b"], key=["c", "d"]))
    both = Mixture([plain, augmented()])
    examples, passes = np.array([2, 0, 5, 1]), np.array([1, 7, 2, 7])
    batch = batch_of(both, examples, None, passes)
    alone = augmented().batch(np.array([0, 3]), passes=np.array([1, 2])).pairs
    assert batch.pairs.known is not None and alone.known is not None
    assert set(alone.known.weight.tolist()) <= set(batch.pairs.known.weight.tolist())
    assert set(alone.query_item.tolist()) <= set(batch.pairs.query_item.tolist())
    assert not Mixture([plain]).takes_passes


def test_fingerprints_tell_teachers_and_views_apart() -> None:
    made = [
        augmented(),
        augmented(views=2),
        augmented(seed=6),
        augmented(teacher=teacher(texts_ask=True)),
        augmented(augmentation=ImageAugmentation("byol", size=16)),
        TeacherVectors(rows(), teacher(), query="image", key="caption"),
    ]
    assert len({positives.fingerprint for positives in made}) == len(made)
    assert augmented().fingerprint == made[0].fingerprint


def test_contents_that_count_as_one_keep_their_scores() -> None:
    positives = TeacherVectors(rows(), teacher(), query="image", key="caption")
    alike = positives.with_aliases(Aliases.of({content_id("b"): content_id("a")}))
    before, after = positives.batch(np.arange(7)).pairs, alike.batch(np.arange(7)).pairs
    assert before.known is not None and after.known is not None
    assert torch.equal(before.known.weight, after.known.weight)
    assert after.key_item[1] == after.key_item[0] != before.key_item[1]
    assert alike.fingerprint != positives.fingerprint


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"views": 0, "augmentation": None}, "views must be at least 1"),
        ({"augmentation": None}, r"give positives\.augmentation"),
        ({"augmented": "image"}, "augmented must be query or key"),
        ({"teacher": nf.Model(Texts())}, "'image' is image, and the teacher reads text"),
        ({"teacher": "runs/a/model"}, r"teacher=nf\.Model\.load"),
        ({"teacher": 3}, "the folder of a model"),
    ],
)
def test_what_does_not_fit_is_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        augmented(**more)


def test_a_queue_and_mining_are_refused_by_name(tmp_path: Path) -> None:
    positives, student = augmented(), Dual(MeanColours(), Texts())
    with pytest.raises(InputError, match="queue"):
        nf.fit(student, positives, Distill(), out=tmp_path / "run", quiet=True, steps=2, queue=4, batch_size=4)


@pytest.fixture
def recipe(tmp_path: Path) -> Any:
    """Return a recipe that distils a saved teacher of 24 dimensions into a student of 8."""
    lines = [{"query": f"question {i} of {WORDS[i % 6]}", "key": f"answer {WORDS[i % 6]} to {i}"} for i in range(48)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    static = nf.encoders.Static(dim=24, vocabulary=300)
    static.prepare([ListColumn("text", [text for line in lines for text in line.values()])])
    nf.Model(static).save(tmp_path / "teacher")
    return {
        "data": {"name": "table", "path": str(tmp_path / "rows.jsonl"), "heldout": 8},
        "positives": {
            "name": "teacher_vectors",
            "teacher": str(tmp_path / "teacher"),
            "augmentation": {"name": "text_noise"},
            "views": 2,
        },
        "encoder": {"name": "static", "dim": 8, "vocabulary": 300},
        "loss": {"name": "distill", "teacher_temperature": 0.05},
        "training": {"epochs": 12, "batch_size": 16, "learning_rate": 0.05, "seed": 3},
    }


def test_a_recipe_names_a_teachers_folder_and_its_student_learns(recipe: Any, tmp_path: Path) -> None:
    parts = config.build(recipe)
    assert config.resolved(recipe)["positives"]["teacher"] == str(tmp_path / "teacher")
    assert registry.settings_of(parts.positives)["augmentation"]["name"] == "text_noise"
    assert parts.of_split is not None and parts.loss is not None
    estimate = dry_run(parts.encoder, parts.positives, parts.loss, **parts.training)
    assert estimate.facts["pairs"] == 40
    heldout: Any = parts.of_split("heldout")
    nf.fit(
        parts.encoder, parts.positives, parts.loss, out=tmp_path / "run", heldout=heldout, quiet=True, **parts.training
    )
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    losses = [event["loss"] for event in events if "loss" in event]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    assert [event for event in events if "heldout_loss" in str(event)]


def test_a_resumed_run_ends_at_the_same_weights(recipe: Any, tmp_path: Path) -> None:
    def run(folder: str, **more: Any) -> Iterator[Any]:
        parts = config.build(recipe)
        more = {**parts.training, "epochs": 4, "schedule": "constant", "warmup": 0.0, **more}
        assert parts.loss is not None
        fitted = nf.fit(parts.encoder, parts.positives, parts.loss, out=tmp_path / folder, quiet=True, **more)
        yield from (value for _, value in fitted.model.encoder.identity() if isinstance(value, np.ndarray))

    whole = list(run("whole"))
    list(run("parts", epochs=1.6))
    resumed = list(run("parts", resume=True))
    assert whole and all(np.array_equal(a, b) for a, b in zip(whole, resumed, strict=True))
