"""Every encoder: prepared once, the same vectors from raw cells, from a store and from disk, whatever the batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nearfar import registry
from nearfar.abilities import GivesStates, reads, side
from nearfar.column import ListColumn, kind_of
from nearfar.contracts import ForeignForm, States
from nearfar.errors import InputError
from nearfar.model import Model
from nearfar.requirements import refuse_incomplete
from nearfar.storage.fingerprint import fingerprint
from nearfar.storage.foreign import modules_of
from tests.contracts import samples

NAMES = registry.names("encoders")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))


def prepared(name: str) -> tuple[Any, ListColumn]:
    """Return an encoder prepared on the first kind of cells that it understands."""
    part = registry.find("encoders", name)
    for column in samples.columns():
        encoder = registry.build("encoders", {"name": name, **samples.settings("encoders", part)})
        try:
            encoder.prepare([column])
            encoder(encoder.inputs(column.read(0, 2)))
        except (InputError, TypeError, ValueError, AttributeError):
            continue
        return encoder.eval(), column
    raise AssertionError(f"encoders.{name} understands none of the samples")


def vectors(encoder: Any, inputs: Any) -> np.ndarray[Any, Any]:
    with torch.inference_mode():
        found: np.ndarray[Any, Any] = encoder(inputs).float().numpy()
    return found


def identity(encoder: Any) -> str:
    return fingerprint(*encoder.identity())


@pytest.mark.parametrize("name", NAMES)
def test_vectors_have_the_shape_it_says(name: str) -> None:
    encoder, column = prepared(name)
    found = vectors(encoder, encoder.inputs(column.read(0, 8)))
    assert found.shape == (8, encoder.dim)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", NAMES)
def test_it_lacks_nothing_of_its_contract(name: str) -> None:
    encoder, _ = prepared(name)
    refuse_incomplete("encoders", encoder)


@pytest.mark.parametrize("name", NAMES)
def test_each_side_says_which_kinds_it_reads(name: str) -> None:
    encoder, column = prepared(name)
    for role in ("query", "key"):
        known = reads(side(encoder, role))
        assert kind_of(column.cells[0]) in known
        for other in (some for some in samples.columns() if kind_of(some.cells[0]) not in known):
            with pytest.raises(InputError, match=f"row 1 is {kind_of(other.cells[0])} .* reads"):
                Model(encoder).embed(other.read(0, 1), "query" if role == "query" else "key")


@pytest.mark.parametrize("name", NAMES)
def test_states_are_ragged_and_in_the_order_of_the_rows(name: str) -> None:
    encoder, column = prepared(name)
    inputs = side(encoder, None).inputs(column.cells)
    if not isinstance(encoder, GivesStates):
        pytest.skip("it offers no states")
    with torch.inference_mode():
        whole = encoder.states(inputs)
        alone = [encoder.states(inputs[i : i + 1]) for i in range(8)]
    assert isinstance(whole, States) and whole.offsets.tolist()[0] == 0 and len(whole.offsets) == 9
    assert whole.values.shape[0] == len(whole.places) == int(whole.offsets[-1])
    for i, one in enumerate(alone):
        mine = slice(int(whole.offsets[i]), int(whole.offsets[i + 1]))
        np.testing.assert_allclose(whole.values[mine], one.values, atol=1e-5)
        assert whole.places[mine].tolist() == one.places.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_preparing_again_changes_nothing(name: str) -> None:
    encoder, column = prepared(name)
    before = identity(encoder)
    encoder.prepare([ListColumn(column.name, column.read(0, 3))])
    assert identity(encoder) == before


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_sliced_joined_costed_and_moved(name: str) -> None:
    encoder, column = prepared(name)
    inputs = encoder.inputs(column.read(0, 8))
    parts = [inputs[:3], inputs[3:4], inputs[4:]]
    assert [len(part) for part in parts] == [3, 1, 4]
    joined = parts[0].join(parts[1:]).to("cpu")
    assert len(joined) == len(inputs) == 8
    assert joined.costs().tolist() == inputs.costs().tolist()
    assert (inputs.costs() > 0).all()
    np.testing.assert_allclose(vectors(encoder, joined), vectors(encoder, inputs), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_vector_does_not_depend_on_its_batch(name: str) -> None:
    encoder, column = prepared(name)
    whole = vectors(encoder, encoder.inputs(column.read(0, 8)))
    alone = [vectors(encoder, encoder.inputs(column.read(i, i + 1)))[0] for i in range(8)]
    np.testing.assert_allclose(np.stack(alone), whole, atol=1e-6)


@pytest.mark.parametrize("role", ["query", "key", None])
@pytest.mark.parametrize("name", NAMES)
def test_a_store_gives_the_same_inputs_by_row(name: str, role: str | None) -> None:
    encoder, column = prepared(name)
    reads, rows = side(encoder, role), np.array([5, 0, 5, 7])
    expected = vectors(encoder, reads.inputs([column.cells[row] for row in rows]))
    for _ in range(2):  # made, then from the cache
        np.testing.assert_allclose(vectors(encoder, reads.store(column)[rows]), expected, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_sides_go_into_one_batch_in_any_order(name: str) -> None:
    encoder, column = prepared(name)
    query, key = (side(encoder, role).inputs(column.read(0, 8)) for role in ("query", "key"))
    expected = np.concatenate([vectors(encoder, part) for part in (query[:3], key[2:8], query[5:6], key[:1])])
    joined = query[:3].join([key[2:8], query[5:6], key[:1]])
    assert len(joined) == len(joined.costs()) == 11
    np.testing.assert_allclose(vectors(encoder, joined), expected, atol=1e-6)
    np.testing.assert_allclose(vectors(encoder, joined[2:10]), expected[2:10], atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_it_is_the_same(name: str, tmp_path: Path) -> None:
    encoder, column = prepared(name)
    folder = tmp_path / "saved"
    folder.mkdir()
    forms = encoder.save(folder)
    assert all(isinstance(form, ForeignForm) and form.tool for form in forms)
    assert all((folder / row["path"]).is_dir() for row in modules_of(forms))
    known = json.loads(json.dumps(encoder.settings()))
    again = type(encoder).load(folder, known).eval()
    assert again.settings() == encoder.settings()
    assert identity(again) == identity(encoder)
    inputs = column.read(0, 8)
    np.testing.assert_array_equal(vectors(again, again.inputs(inputs)), vectors(encoder, encoder.inputs(inputs)))
    assert not [file for file in folder.rglob("*") if file.suffix in {".bin", ".pt", ".pkl"}]


@pytest.mark.parametrize("name", NAMES)
def test_as_a_model_it_is_the_same_space(name: str, tmp_path: Path) -> None:
    encoder, column = prepared(name)
    model = Model(encoder)
    again = Model.load(model.save(tmp_path / "model"))
    assert again.fingerprint == model.fingerprint
    np.testing.assert_array_equal(again.embed(column.read(0, 8)), model.embed(column.read(0, 8)))
    np.testing.assert_allclose(np.linalg.norm(model.embed(column.read(0, 8)), axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_its_parameters(name: str) -> None:
    encoder, column = prepared(name)
    encoder.train()
    for role in ("query", "key"):
        encoder(side(encoder, role).inputs(column.read(0, 8))).square().sum().backward()
    trained = [p for p in encoder.parameters() if p.requires_grad]
    assert trained
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    assert any(p.grad.abs().sum() > 0 for p in trained)


@pytest.mark.parametrize("name", NAMES)
def test_loading_an_empty_folder_is_the_users_error(name: str, tmp_path: Path) -> None:
    encoder, _ = prepared(name)
    with pytest.raises(InputError, match=str(tmp_path)):
        type(encoder).load(tmp_path, encoder.settings())
