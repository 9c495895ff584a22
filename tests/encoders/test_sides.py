"""Two sides of different kinds, texts and pictures: trained, saved, judged and searched; wrong kinds are refused."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nearfar as nf
from nearfar import encoders, registry
from nearfar.abilities import reads, side
from nearfar.audit.lengths import tokens
from nearfar.audit.material import read_material
from nearfar.column import ListColumn
from nearfar.data.table import Table
from nearfar.encoders.dual import Dual
from nearfar.encoders.reading.nested import TwoSidedInputs
from nearfar.encoders.static import Static
from nearfar.errors import InputError
from nearfar.losses.infonce import InfoNCE
from nearfar.positives.columns import Columns
from nearfar.positives.relations.view import ViewEntry
from nearfar.positives.views import Views
from nearfar.sides import prepare_sides, refuse_kinds
from nearfar.text.prompts import prompted
from nearfar.training.dry_run import dry_run
from tests.encoders.array_encoder import Tiny
from tests.training.runs import Rows

COLOURS = {"red": (250, 10, 10), "green": (10, 250, 10), "blue": (10, 10, 250), "grey": (120, 120, 120)}
SETTINGS: dict[str, Any] = {"batch_size": 4, "steps": 2, "device": "cpu", "precision": "fp32", "quiet": True}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def built_in(monkeypatch: pytest.MonkeyPatch) -> type[Any]:
    """Let the picture encoder lie in the package of encoders, so that a folder with it is loaded; return its class."""
    name = "nearfar.encoders.array_encoder"
    monkeypatch.setattr(encoders, "__path__", [*encoders.__path__, str(Path(__file__).parent)])
    monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module(name)
    monkeypatch.setitem(sys.modules, name, module)  # gone after the test
    found: type[Any] = module.Tiny
    return found


def pictures(n: int = 8) -> list[np.ndarray[Any, Any]]:
    """Return n pictures, of one colour each, with noise."""
    draw = np.random.default_rng(0)
    colours = list(COLOURS.values())
    return [
        (np.array(colours[i % 4]) + draw.integers(-9, 9, (8, 8, 3))).clip(0, 255).astype(np.uint8) for i in range(n)
    ]


def captions(n: int = 8) -> list[str]:
    return [f"a {list(COLOURS)[i % 4]} picture number {i}" for i in range(n)]


def rows() -> Rows:
    return Rows(caption=captions(), photo=pictures())


def positives() -> Columns:
    return Columns(rows(), query="caption", key="photo")


def towers(picture: type[Any] = Tiny, **more: Any) -> Dual:
    return Dual(Static(dim=8, vocabulary=300), picture(dim=8), **more)


def prepared(**more: Any) -> Dual:
    dual = towers(**more)
    prepare_sides(dual, positives())
    return dual


def test_each_side_is_prepared_on_its_own_columns() -> None:
    dual = prepared()
    assert dual.towers["key"].prepared == ["photo"]
    assert dual.side("query").reads == ("text",) and "image" in dual.side("key").reads
    assert dual.reads == dual.side("key").reads
    whole = towers()  # without views, by the kinds of the columns
    whole.prepare([ListColumn("photo", pictures()), ListColumn("caption", captions())])
    assert whole.towers["key"].prepared == ["photo"]
    assert whole.towers["query"].identifier == dual.towers["query"].identifier
    with pytest.raises(
        InputError, match=r"key tower reads array, and no .* encoder.side\('key'\).prepare\(\[column\]\)"
    ):
        towers().prepare([ListColumn("caption", captions())])


def test_one_encoder_is_prepared_on_all_columns() -> None:
    encoder = Tiny()
    prepare_sides(encoder, Columns(Rows(query=pictures(), key=pictures()[::-1])))
    assert encoder.prepared == ["query", "key"]


def test_a_column_of_arrays_is_given_once_for_all_its_views() -> None:
    """Texts are given for each view: the sample of a vocabulary depends on it."""
    encoder, many = Tiny(), [ViewEntry(times=2), ViewEntry(times=6, side="query")]
    prepare_sides(encoder, Views(Rows(image=pictures()), views=many))
    assert encoder.prepared == ["image"]
    texts = Views(Rows(text=captions()))
    given: list[ListColumn] = []
    static: Any = Static(dim=8, vocabulary=300)
    static.prepare = given.extend
    prepare_sides(static, texts)
    assert [column is texts.documents.cells for column in given] == [True, True]


@pytest.mark.parametrize("more", [{}, {"micro_batch": 3}, {"queue": 8}])
def test_it_trains_saves_loads_and_is_judged_and_searched(
    tmp_path: Path, built_in: type[Any], more: dict[str, Any]
) -> None:
    dual = towers(built_in)
    prepare_sides(dual, positives())
    before = {name: weight.clone() for name, weight in dual.state_dict().items()}
    run = nf.fit(dual, positives(), InfoNCE(), out=tmp_path / "run", **SETTINGS, **more)
    assert all(not torch.equal(before[name], weight) for name, weight in dual.state_dict().items())
    again = nf.Model.load(tmp_path / "run" / "model")
    assert again.fingerprint == run.model.fingerprint
    cells: dict[Any, Any] = {"query": captions(), "key": pictures()}
    for role, some in cells.items():
        np.testing.assert_array_equal(again.embed(some, role), run.model.embed(some, role))
    report = nf.evaluate(again, positives().task("train"), resamples=10)
    similarity = again.embed(captions(), "query") @ again.embed(pictures(), "key").T  # (8, 8)
    rank = (similarity >= similarity.diagonal()[:, None]).sum(1)
    assert report.metrics["mrr@10"] == pytest.approx(float((1 / rank).mean()))
    hits = nf.search(again, pictures(), captions()[3], k=8)
    assert [hit["id"] for hit in hits] == np.argsort(-similarity[3], kind="stable").tolist()
    assert set(hits[0]) == {"id", "score"}
    [[nearest]] = nf.search(again, ListColumn("photo", pictures()), [captions()[0]], k=1)
    assert nearest["id"] == int(similarity[0].argmax())


def test_pictures_ask_and_texts_are_found() -> None:
    dual = Dual(Tiny(dim=8), Static(dim=8, vocabulary=300))
    dual.prepare([ListColumn("caption", captions()), ListColumn("photo", pictures())])
    model = nf.Model(dual)
    similarity = model.embed(pictures()[:1], "query") @ model.embed(captions(), "key").T
    [hit] = nf.search(model, captions(), pictures()[0], k=1)
    assert hit == {"id": int(similarity.argmax()), "score": pytest.approx(float(similarity.max())), "text": hit["text"]}
    assert hit["text"] == captions()[hit["id"]]
    words = model.embed(["a red picture"], "key") @ model.embed(captions(), "key").T  # words are read by the other side
    [hit] = nf.search(model, captions(), "a red picture", k=1)
    assert hit["score"] == pytest.approx(float(words.max()))


def test_a_dry_run_reads_both_kinds() -> None:
    facts = dry_run(towers(), positives(), InfoNCE(), batch_size=4, device="cpu").facts
    assert facts["parameters"] == sum(weight.numel() for weight in prepared().parameters())


def test_stores_and_batches_keep_the_sides_apart() -> None:
    dual = prepared(prompts={"query": "find: "})
    some, order = positives(), np.array([5, 0, 5])
    text = side(dual, "query").store(prompted(dual, some, "query"))[order]
    picture = side(dual, "key").store(prompted(dual, some, "key"))[order]
    assert isinstance(text, TwoSidedInputs) and isinstance(picture, TwoSidedInputs)
    query, key = dual.towers["query"], dual.towers["key"]
    asked = query(query.inputs([f"find: {captions()[row]}" for row in order]))
    torch.testing.assert_close(
        dual(text.join([picture])), torch.cat([asked, key(key.inputs([pictures()[row] for row in order]))])
    )


def test_a_prompt_is_for_texts() -> None:
    with pytest.raises(InputError, match=r"encoder.prompts.key: that tower reads array, no text; leave it out"):
        towers(prompts={"key": "photo: "})


def test_a_column_of_a_kind_that_is_not_read_is_named(tmp_path: Path) -> None:
    swapped = Columns(rows(), query="photo", key="caption")
    with pytest.raises(InputError, match=r"view 'query' \(column 'photo'\) is image, and encoder.query reads text"):
        nf.fit(towers(), swapped, InfoNCE(), out=tmp_path / "a", **SETTINGS)
    with pytest.raises(
        InputError, match=r"view 'key' .*photo.* is image, and encoder \(static\) reads text; .* of image"
    ):
        nf.fit(Static(dim=8), positives(), InfoNCE(), out=tmp_path / "b", **SETTINGS)
    refuse_kinds(prepared(), positives())


@pytest.mark.parametrize(
    ("cells", "role", "message"),
    [
        (["a", "b"], "key", r"row 11 is text .'a'.*key side reads array"),
        (["a", pictures(1)[0]], "query", r"row 12 is image .*query side reads text"),
        ([pictures(1)[0], None], None, r"row 12 is NoneType .*key side reads array"),
    ],
)
def test_a_cell_of_a_kind_that_is_not_read_is_named(cells: list[Any], role: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        nf.Model(prepared()).embed(cells, role, first=10)


def test_an_audit_counts_the_tokens_of_the_side_that_reads_text() -> None:
    table = Table([{"query": caption, "key": f"{caption} again"} for caption in captions()])
    profile = tokens(read_material(table), nf.Model(prepared())).profile["tokens"]
    assert set(profile) == {"query"} and profile["query"]["texts"] == 8


def test_a_folder_promises_the_foreign_forms_that_it_has(tmp_path: Path) -> None:
    for name, encoder in (("pictures", Tiny()), ("both", prepared())):
        folder = nf.Model(encoder, notes={"data": {"pairs": 8}}).save(tmp_path / name)
        assert not [*folder.rglob("modules.json"), *folder.rglob("config_sentence_transformers.json")]
        assert not (folder / "normalize").exists()
        nf.Model(encoder).describe(folder)  # as after a run
        about = (folder / "README.md").read_text()
        assert "sentence-transformers" not in about and "SentenceTransformer" not in about
        assert about.startswith('---\nlibrary_name: "nearfar"')
        assert json.loads((folder / "nearfar.json").read_text())["forms"] == []
    static = Static(dim=8, vocabulary=300)
    static.prepare([ListColumn("caption", captions())])
    folder = nf.Model(static).save(tmp_path / "texts")
    nf.Model(static).describe(folder)
    assert (folder / "modules.json").is_file() and (folder / "config_sentence_transformers.json").is_file()
    assert "SentenceTransformer(" in (folder / "README.md").read_text()


def test_the_card_says_what_each_side_reads(tmp_path: Path) -> None:
    about = (nf.Model(prepared()).save(tmp_path / "model") / "README.md").read_text()
    assert 'query = model.embed(["a dog on a beach"], role="query")\nkey = model.embed(pictures, role="key")' in about


def test_a_recipe_names_the_picture_encoder() -> None:
    spec = {"name": "dual", "query": {"name": "static", "dim": 8}, "key": {"name": "tests.encoders.array_encoder:Tiny"}}
    built = registry.build("encoders", spec, outside=True)
    assert "image" in reads(built.side("key"))
