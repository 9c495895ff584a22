from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from nearfar.column import ListColumn
from nearfar.contracts import Role
from nearfar.encoders.pretrained.static_files import MODULE_FOLDER
from nearfar.encoders.static import Static
from nearfar.errors import InputError, RunError
from nearfar.model import Model
from tests.training.runs import files_up_to

TEXTS = [
    *("pull near", "push far", "a", "?", "größe ☃ 東京 \U0001f469\u200d\U0001f680", "  padded\tout \n", "_", "naïve"),
    "near and far " * 400,  # beyond max_length
]
PROMPTS = {"query": "search: ", "key": "doc: "}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))


def small(seed: int = 0, **more: Any) -> Static:
    encoder = Static(**{"dim": 8, "vocabulary": 300, "seed": seed, **more})
    encoder.prepare([ListColumn("text", ["pull near", "push far away", "search: doc: größe", "near near"])])
    return encoder


@pytest.fixture
def model() -> Model:
    return Model(small(), PROMPTS, {"recipe": {"name": "a"}, "metrics": {"mrr@10": 0.5}})


@pytest.fixture
def folder(model: Model, tmp_path: Path) -> Path:
    return model.save(tmp_path / "model")


@pytest.fixture(scope="module")
def sentence_transformer() -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of importing it: its dependencies' deprecations
        from sentence_transformers import SentenceTransformer
    return SentenceTransformer


@pytest.mark.filterwarnings(
    "ignore:.*sentence_transformers.models:DeprecationWarning"
)  # the name that all releases read
@pytest.mark.parametrize("prompts", [{}, PROMPTS])
def test_sentence_transformers_gives_the_same_vectors(sentence_transformer: Any, tmp_path: Path, prompts: Any) -> None:
    model = Model(small(max_length=64), prompts)
    other = sentence_transformer(str(model.save(tmp_path / "model")), device="cpu")
    calls: list[tuple[Any, Role | None]] = [
        (other.encode, None), (other.encode_query, "query"), (other.encode_document, "key"),
    ]  # fmt: skip
    for theirs, role in calls:
        expected: Any = model.embed(TEXTS, role=role)
        np.testing.assert_allclose(theirs(TEXTS), expected, atol=1e-6)
    names: dict[str, Role] = {"query": "query", "document": "key"}
    for name, role in names.items():  # as the model card says, for releases before 5
        expected = model.embed(TEXTS, role=role)
        np.testing.assert_allclose(other.encode(TEXTS, prompt_name=name), expected, atol=1e-6)
    assert np.allclose(model.embed(TEXTS), model.embed(TEXTS, "query"), atol=1e-6) == (not prompts)
    assert other.similarity_fn_name == "cosine"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])).filter(str.strip), max_size=9),
    size=st.integers(1, 5),
)
def test_vectors_are_of_unit_length_in_order_whatever_the_batch(model: Model, texts: list[str], size: int) -> None:
    found = model.embed(texts, batch_size=size)
    assert found.shape == (len(texts), 8)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    for text, vector in zip(texts, found, strict=True):
        np.testing.assert_allclose(model.embed([text])[0], vector, atol=1e-6)


def test_a_role_puts_its_prompt_in_front(model: Model) -> None:
    assert np.array_equal(model.embed(["near"], "query"), model.embed(["search: near"]))
    assert np.array_equal(model.embed(["near"], "key"), model.embed(["doc: near"]))


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("", "text 13 is empty"),
        (" \n\t\u3000", "text 13 is empty"),
        ("near \ud800", "text 13 holds a lone surrogate"),
        (None, r"row 13 is NoneType .*, this model reads text"),
        (float("nan"), r"row 13 is number .'nan'., this model reads text"),
        (b"near", "row 13 is bytes"),
    ],
)
@pytest.mark.parametrize("role", [None, "query"])
def test_a_bad_text_is_named_by_its_row(model: Model, cell: Any, message: str, role: Any) -> None:
    with pytest.raises(InputError, match=f"embed: {message}"):
        model.embed(["near", "far", cell], role, batch_size=2, first=10)


def test_what_the_encoder_does_not_know_is_named(model: Model) -> None:
    encoder = model.encoder
    assert isinstance(encoder, Static)
    with torch.no_grad():
        encoder.embedding.weight[encoder.tokenise(["far"])[0]] = 0
    with pytest.raises(InputError, match=r"row 6 has no vector .'far'."):
        model.embed(["near", "far"], first=4)
    with torch.no_grad():
        encoder.embedding.weight[:] = torch.nan
    with pytest.raises(InputError, match="row 1 has no vector"):
        model.embed(["near"])


def test_wrong_calls_are_told(model: Model) -> None:
    wrong: Any = "passage"
    for call, message in (
        (lambda: model.embed("near"), r"write embed\(\[text\]\)"),
        (lambda: model.embed(["near"], wrong), "no role 'passage'; known: query, key"),
        (lambda: model.embed(["near"], batch_size=0), "batch_size must be at least 1"),
        (lambda: Model(small(), {"document": "x"}), "prompts: no role 'document'; known: key, query"),
        (lambda: Model(small(), {"query": "\ud800"}), "prompts.query must be a text"),
        (lambda: Model(Static()).embed(["near"]), "no tokenizer yet"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_embedding_leaves_the_mode_as_it_was(model: Model) -> None:
    encoder: Any = model.encoder
    for mode in (True, False):
        encoder.train(mode)
        model.embed(["near"])
        assert encoder.training is mode
        with pytest.raises(InputError):
            model.embed([""])
        assert encoder.training is mode
    model.embed(["near"])
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_loaded_it_is_the_same(model: Model, folder: Path) -> None:
    again = Model.load(str(folder))
    for role in (None, "query", "key"):
        assert np.array_equal(again.embed(TEXTS, role), model.embed(TEXTS, role))
    assert (again.fingerprint, again.prompts, again.notes) == (model.fingerprint, model.prompts, model.notes)
    assert not [path for path in folder.rglob("*") if path.suffix in {".bin", ".pt", ".pkl"}]


def test_the_fingerprint_is_of_all_that_makes_a_space(model: Model) -> None:
    other = Model(small(seed=1))
    space = [
        model,
        other,
        Model(small()),
        Model(small(), {"query": "search: "}),
        Model(small(), {"key": "search: "}),
        Model(small(max_length=9)),
        Model(small(vocabulary=260)),
        Model(small(dim=9)),
    ]
    assert len({one.fingerprint for one in space}) == len(space)
    assert Model(small()).fingerprint == space[2].fingerprint
    assert Model(small(), notes={"a": 1}).fingerprint == space[2].fingerprint


def change(path: Path, **more: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def flip_a_weight(folder: Path) -> None:
    tensors = {name: tensor.clone() for name, tensor in load_file(folder / MODULE_FOLDER / "model.safetensors").items()}
    tensors["embedding.weight"][3, 1] += 1e-6
    save_file(tensors, folder / MODULE_FOLDER / "model.safetensors")


def swap_two_tokens(folder: Path) -> None:
    path = folder / MODULE_FOLDER / "tokenizer.json"
    known = json.loads(path.read_text())
    vocab = known["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    path.write_text(json.dumps(known))


def pickle_instead(folder: Path) -> None:
    torch.save({"embedding.weight": torch.zeros(2, 2)}, folder / MODULE_FOLDER / "model.safetensors")


def pickle_beside(folder: Path) -> None:
    (folder / MODULE_FOLDER / "model.safetensors").rename(folder / MODULE_FOLDER / "pytorch_model.bin")


def old_pickle(folder: Path) -> None:
    (folder / MODULE_FOLDER / "model.safetensors").write_bytes(b"\x80\x04\x95")


def cut(folder: Path) -> None:
    path = folder / MODULE_FOLDER / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-5])


def other_tensor(folder: Path) -> None:
    save_file({"other": torch.zeros(2)}, folder / MODULE_FOLDER / "model.safetensors")


def other_shape(folder: Path) -> None:
    save_file({"embedding.weight": torch.zeros(2, 8)}, folder / MODULE_FOLDER / "model.safetensors")


def encoder_setting(**more: Any) -> Any:
    def damage(folder: Path) -> None:
        path = folder / "nearfar.json"
        change(path, encoder=json.loads(path.read_text())["encoder"] | more)

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_a_weight, "the files give fingerprint .*changed after saving"),
        (swap_two_tokens, "the files give fingerprint"),
        (lambda f: change(f / "nearfar.json", prompts={"query": "find: "}), "the files give fingerprint"),
        (lambda f: change(f / "nearfar.json", fingerprint="0" * 32), "nearfar.json says '0000"),
        (encoder_setting(max_length=10), "the files give fingerprint"),
        (encoder_setting(dim=9), "do not belong together"),
        (encoder_setting(dim="wide"), "nearfar.json: encoder.dim"),
        (encoder_setting(dimension=9), "no setting is called 'dimension'; did you mean 'dim'"),
        (lambda f: change(f / "nearfar.json", format=2), "not a description of format 1"),
        (lambda f: change(f / "nearfar.json", prompts=[]), "not a description of format 1"),
        (lambda f: change(f / "nearfar.json", prompts={"query": 3}), "prompts.query must be a text"),
        (lambda f: (f / "nearfar.json").write_text("{"), "nearfar.json: not readable"),
        (lambda f: (f / "nearfar.json").write_bytes(b"\xff"), "nearfar.json: not readable"),
        (lambda f: (f / MODULE_FOLDER / "tokenizer.json").unlink(), "tokenizer.json: no such file"),
        (lambda f: (f / MODULE_FOLDER / "tokenizer.json").write_text("{}"), "tokenizer.json: not a tokenizer"),
        (lambda f: (f / MODULE_FOLDER / "model.safetensors").unlink(), "model.safetensors: no such file"),
        (pickle_instead, "this is a pickle, which can run code"),
        (old_pickle, "this is a pickle, which can run code"),
        (pickle_beside, "pytorch_model.bin is a pickle"),
        (cut, "not whole safetensors"),
        (lambda f: (f / MODULE_FOLDER / "model.safetensors").write_bytes(b""), "not whole safetensors"),
        (other_tensor, "lacks embedding.weight; it holds other"),
        (other_shape, "embedding.weight is .2, 8."),
    ],
)
def test_a_folder_that_is_not_what_was_saved_is_refused(folder: Path, damage: Any, message: str) -> None:
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        Model.load(folder)
    assert str(folder) in str(caught.value) or "prompts" in message


def test_no_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such model folder"):
        Model.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "name", ["planted:Encoder", "planted", "planted.Encoder", "os:system", "_bags", "../planted", "", None]
)
def test_a_folder_brings_no_code(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: Any) -> None:
    (tmp_path / "planted.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Encoder: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    encoder_setting(name=name)(folder)
    with pytest.raises(InputError, match="encoders: "):
        Model.load(folder)
    assert not (tmp_path / "ran").exists()
    assert "planted" not in sys.modules


def test_saving_replaces_an_older_model(folder: Path) -> None:
    (folder / "left over").write_text("")
    new = Model(small(seed=3))
    new.save(folder)
    assert Model.load(folder).fingerprint == new.fingerprint
    assert not (folder / "left over").exists()
    assert [path.name for path in folder.parent.glob(".model*")] == []


def test_saving_deletes_nothing_else(model: Model, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="a file stands where the model's folder is to be"):
        model.save(tmp_path / "file")
    with pytest.raises(InputError, match="a file stands where a folder is needed"):
        model.save(tmp_path / "file" / "model")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="holds other things than a model, which saving would delete"):
        model.save(tmp_path / "work")
    assert (tmp_path / "file").read_text() == (tmp_path / "work" / "thesis.tex").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    Model.load(model.save(tmp_path / "empty"))


def test_a_full_disk_leaves_the_older_model(folder: Path, model: Model) -> None:
    with files_up_to(1_000), pytest.raises(RunError, match=r"cannot be written .*File too large"):
        Model(small(seed=3)).save(folder)
    assert Model.load(folder).fingerprint == model.fingerprint
    assert [path.name for path in folder.parent.glob(".model*")] == []


def test_a_replacement_that_was_broken_off_leaves_the_older_model(folder: Path, model: Model) -> None:
    folder.rename(folder.parent / ".model.old")  # killed between the two renames
    with pytest.warns(UserWarning, match="its replacement was broken off; the model before it is read"):
        assert Model.load(folder).fingerprint == model.fingerprint


def test_notes_cannot_take_the_place_of_what_loading_needs(tmp_path: Path) -> None:
    notes: dict[str, Any] = {"encoder": "big", "format": 7, "prompts": "?", "fingerprint": 0, "where": tmp_path}
    again = Model.load(Model(small(), notes=notes).save(tmp_path / "model"))
    assert again.notes == {"where": str(tmp_path)}


def test_the_card_tells_use_data_metrics_and_recipe(tmp_path: Path) -> None:
    model = Model(small(), notes={"data": {"pairs": 3}, "recipe": {"seed": 0}})
    folder = model.save(tmp_path / "model")
    model.notes["reports"] = {
        "heldout": {
            "metrics": {"mrr@10": 0.5, "map": None},
            "intervals": {"mrr@10": {"low": 0.4, "high": 0.6}},
            "baseline": {"bm25": {"mrr@10": 0.25}},
            "difference": {"bm25": {"mrr@10": {"value": 0.25, "low": None, "high": None}}},
            "protocol": {"documents": 7},
        }
    }
    model.describe(folder)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: ")
    assert "| mrr@10 | 0.500 [0.400, 0.600] | 0.250 | +0.250 |" in card
    assert "| map |  |  |  |" in card
    for text in (model.fingerprint, '"pairs": 3', '"documents": 7', "## Limits", 'prompt_name="query"'):
        assert text in card
    assert Model.load(folder).notes["reports"] == model.notes["reports"]


class Squares(torch.nn.Module):
    """An encoder of something else than texts: lists of numbers to their squares."""

    dim: ClassVar[int] = 2

    def prepare(self, columns: Any) -> None: ...

    def inputs(self, cells: Any) -> Any:
        return torch.tensor(cells)

    def store(self, column: Any) -> Any:
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        return {}

    def save(self, folder: Path) -> list[Any]:
        return []

    @classmethod
    def load(cls, folder: Path, settings: dict[str, Any]) -> Squares:
        return cls()

    def forward(self, inputs: Any) -> Any:
        return inputs.square()

    def identity(self) -> Iterator[tuple[str, Any]]:
        yield "power", 2


def test_a_cell_need_not_be_a_text() -> None:
    squares: Any = Squares()
    np.testing.assert_allclose(Model(squares).embed([[3.0, 0.0], [1.0, 1.0]], "key"), [[1, 0], [0.5**0.5, 0.5**0.5]])
