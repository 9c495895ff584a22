"""Recipes: read, overridden by path, resolved to every default, built; each mistake named with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from nearfar import config, recipes
from nearfar.config import build, dumped, load, plain, resolved
from nearfar.errors import InputError
from nearfar.positives.columns import Columns
from nearfar.recipes.yaml_text import as_yaml
from nearfar.training.mixture import Mixture

ROWS = [{"query": f"question {i}", "key": f"answer {i}"} for i in range(10)]
RECIPE: dict[str, Any] = {
    "data": {"name": "table", "path": ROWS},
    "positives": {"name": "columns"},
    "encoder": {"name": "static", "dim": 8, "vocabulary": 300},
    "loss": {"name": "infonce", "temperature": "5e-2"},
    "training": {"epochs": 2, "learning_rate": "2e-2"},
    "evaluate": [{"name": "retrieval", "split": "heldout"}],
}


def written(folder: Path, recipe: Any) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(recipe if isinstance(recipe, str) else yaml.safe_dump(recipe), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", recipes.catalogue())
def test_a_recipe_that_ships_is_whole(name: str) -> None:
    assert recipes.catalogue()[name], "its first line says what it is for"
    path = {
        "table": ["data.path=pairs.jsonl"],
        "images": ["data.path=pictures"],
        "image_text": ["data.path=pairs.jsonl"],
    }
    recipe = load(name, path.get(recipes.load(name)["data"]["name"], []))
    assert resolved(recipe)["data"]["name"] == recipe["data"]["name"]
    for found, given in zip(resolved(recipe)["evaluate"], recipe["evaluate"], strict=True):
        assert found == found | given  # beside the settings that were left out


def test_a_recipe_file_is_read_and_built(tmp_path: Path) -> None:
    parts = build(load(written(tmp_path, RECIPE)))
    assert isinstance(parts.positives, Columns)
    assert (len(parts.data), len(parts.positives), parts.encoder.dim) == (10, 10, 8)
    assert (parts.training["epochs"], parts.training["learning_rate"]) == (2.0, 0.02)
    assert parts.evaluate == [{"name": "retrieval", "split": "heldout"}]


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("training.learning_rate=2e-5", "training", "learning_rate", 2e-5),
        ("training.epochs=0.5", "training", "epochs", 0.5),
        ("training.steps=7", "training", "steps", 7),
        ("training.precision=fp32", "training", "precision", "fp32"),
        ("loss.temperature=0.1", "loss", "temperature", 0.1),
        ("loss.learnable=true", "loss", "learnable", True),
        ("encoder.tokenizer=null", "encoder", "tokenizer", None),
        ("data.path=pairs.jsonl", "data", "path", "pairs.jsonl"),
        ("data.path=a=b.jsonl", "data", "path", "a=b.jsonl"),
        ("data.header=[a, b]", "data", "header", ["a", "b"]),
        ("data.delimiter={", "data", "delimiter", "{"),  # not YAML, so it is itself
        ("positives.query=2020", "positives", "query", "2020"),
        ("positives.negative=[n1, n2]", "positives", "negative", ["n1", "n2"]),
        ("positives.query=on", "positives", "query", "on"),  # YAML 1.1 reads it as true
        ("positives.query=010", "positives", "query", "010"),  # and this as 8
        ("positives.query=2024-01-01", "positives", "query", "2024-01-01"),
        ('positives.query="true"', "positives", "query", "true"),
        ("data.heldout_by=query", "data", "heldout_by", ["query"]),
        ("training.steps=None", "training", "steps", None),
        ("training.steps= 1e3 ", "training", "steps", 1000),
        ("training.apart=yes", "training", "apart", True),
    ],
)
def test_a_setting_is_overridden_by_its_path(override: str, section: str, key: str, value: Any) -> None:
    found = resolved(load("static", ["data.path=x.jsonl", override]))[section][key]
    assert (found, type(found)) == (value, type(value))


def test_an_entry_of_a_list_is_overridden_by_its_number(tmp_path: Path) -> None:
    recipe = load("python_packages", ["evaluate.1.split=heldout", "evaluate.0.split=unseen"])
    assert [entry["split"] for entry in recipe["evaluate"]] == ["unseen", "heldout"]


def test_an_empty_section_is_filled_by_an_override(tmp_path: Path) -> None:
    recipe = load(written(tmp_path, {**RECIPE, "training": None, "evaluate": None}), ["training.epochs=5"])
    assert resolved(recipe)["training"]["epochs"] == 5
    assert resolved(recipe)["evaluate"] == []


@pytest.mark.parametrize(
    ("recipe", "overrides", "path", "found"),
    [
        ("static", ["data.name=python_packages"], "data", {"name": "python_packages"}),
        ("static", ["loss.name=triplet"], "loss", {"name": "triplet"}),
        ("static", ["loss.margin=0.3", "loss.name=triplet"], "loss", {"name": "triplet", "margin": 0.3}),
        ("static", ["loss.name=triplet", "loss.margin=0.3"], "loss", {"name": "triplet", "margin": 0.3}),
        ("static", {"loss.margin": 0.3, "loss.name": "triplet"}, "loss", {"name": "triplet", "margin": 0.3}),
        ("static", ["loss.name=mine:Loss", "loss.a=1"], "loss", {"name": "mine:Loss", "a": 1}),
        ("static", ["loss.name=infonce"], "loss", {"name": "infonce", "temperature": 0.05}),
        ("static", ["loss.name=triplet", "loss.name=infonce"], "loss", {"name": "infonce", "temperature": 0.05}),
        # distill has a temperature, too, but the recipe chose 0.05 for infonce
        ("static", ["loss.name=distill"], "loss", {"name": "distill"}),
        ("adapt", ["encoder.of.name=static"], "encoder", {"name": "frozen_projection", "of": {"name": "static"}}),
        (
            "adapt",
            ["encoder.of.dim=8", "encoder.of.name=static", "encoder.dim=4"],
            "encoder",
            {"name": "frozen_projection", "of": {"name": "static", "dim": 8}, "dim": 4},
        ),
        (
            "static",
            ["loss.of.margin=0.3", "loss.of.name=triplet", "loss.name=matryoshka"],
            "loss",
            {"name": "matryoshka", "of": {"name": "triplet", "margin": 0.3}},
        ),
        (
            "adapt",
            {"encoder.of.name": "static", "encoder.of": {"name": "transformer", "model": "x"}},
            "encoder",
            {"name": "frozen_projection", "of": {"name": "static"}},
        ),
        ("static", ["evaluate.0.name=alignment"], "evaluate", [{"name": "alignment", "split": "heldout"}]),
        (
            "python_packages",
            ["evaluate.1.k=3", "evaluate.1.name=knn"],
            "evaluate",
            [{"name": "retrieval", "split": "heldout"}, {"name": "knn", "split": "unseen", "k": 3}],
        ),
    ],
)
def test_a_part_of_another_name_comes_without_the_settings_of_the_one_it_replaces(
    recipe: str, overrides: Any, path: str, found: Any
) -> None:
    assert load(recipe, overrides)[path] == found


def test_entries_of_lists_keep_what_is_theirs(tmp_path: Path) -> None:
    views = [{"name": "text_crop", "fewest": 2, "times": 2}, {"name": "text_crop", "times": 6, "side": "query"}]
    several = {**RECIPE, "data": [RECIPE["data"], {"name": "table", "path": "b", "heldout": 0.1}]}
    path = written(tmp_path, {**several, "positives": {"name": "views", "views": views}})
    recipe = load(path, ["positives.views.0.name=text_noise", "positives.views.1.name=text_noise", "data.1.name=beir"])
    first, second = recipe["positives"]["views"]
    assert first == {"name": "text_noise", "times": 2}
    assert second == {"name": "text_noise", "times": 6, "side": "query"}
    assert recipe["data"] == [RECIPE["data"], {"name": "beir"}]
    assert load(path, ["positives.name=columns"])["positives"] == {"name": "columns"}


def test_a_setting_that_the_new_part_lacks_is_refused_where_the_user_gave_it() -> None:
    with pytest.raises(InputError, match="loss: no setting is called 'temperature'"):
        resolved(load("static", ["data.path=x", "loss.name=triplet", "loss.temperature=0.1"]))
    assert resolved(load("static", ["data.path=x", "loss.name=triplet"]))["loss"]["margin"] == 0.2


@pytest.mark.parametrize("sign", ["|", ">", "#", ";", ",", "&", "*", "%", "@", "!", ":"])
def test_a_sign_of_yaml_alone_is_that_sign(sign: str) -> None:
    assert recipes.by_path([f"data.delimiter={sign}"])["data.delimiter"][0] == sign


def test_overrides_leave_the_values_that_they_were_given_as_they_were() -> None:
    inner: dict[str, Any] = {"name": "static", "dim": 8}
    recipe = load("adapt", {"encoder.of": inner, "encoder.of.dim": 16})
    assert recipe["encoder"]["of"] == {"name": "static", "dim": 16}
    assert inner == {"name": "static", "dim": 8}


def test_a_part_that_is_none_in_a_recipe_may_be_given(tmp_path: Path) -> None:
    path = written(tmp_path, {**RECIPE, "positives": {"name": "views", "query": None}})
    assert load(path, ["positives.query.name=text_crop"])["positives"]["query"] == {"name": "text_crop"}


def test_what_is_written_reads_back_as_the_same_values() -> None:
    texts = ["2e-3", "on", "no", "010", "1:30", "2024-01-01", "null", "", "true", "1e5", "~", "0x10", "é: [", "=", "<<"]
    values = {"texts": texts, "numbers": [2e-5, 1e300, 0.5, 12, -3, True, None]}
    assert recipes._parsed("a recipe", as_yaml({"data": values})) == {"data": values}


def test_a_number_in_the_settings_of_a_foreign_model_is_a_number(tmp_path: Path) -> None:
    path = written(tmp_path, "encoder: {name: transformer, config: {layer_norm_eps: 1e-12}}")
    assert load(path)["encoder"]["config"]["layer_norm_eps"] == 1e-12


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.epochs", ["'training.epochs'", "path=value"]),
        ("=3", ["path=value"]),
        ("training..epochs=3", ["path=value"]),
        ("trainig.epochs=3", ["no section 'trainig'", "did you mean 'training'"]),
        ("training=3", ["training is a whole section", "training.epochs=3"]),
        ("loss=infonce", ["loss is a whole section", "loss.name=..."]),
        ("evaluate=[]", ["evaluate is a whole section", "evaluate.0.split=heldout"]),
        ("evaluate.0=x", ["evaluate.0 leads nowhere", "entries 0 to 0"]),
        ("evaluate.9.split=x", ["evaluate.9 leads nowhere", "entries 0 to 0"]),
        ("evaluate.one.split=x", ["evaluate.one leads nowhere"]),
        ("data.name.first=x", ["data.name.first leads nowhere"]),
        ("positives.views.0.name=text_noise", ["positives.views.0 leads nowhere"]),
    ],
)
def test_an_override_that_leads_nowhere_says_so(override: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        load("static", [override])
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("data: [1, {", ["not YAML", "line 1"]),
        ("", ["this is empty"]),
        ("- a list", ["this is a list"]),
        ("just words", ["this is a str"]),
        ("data: 2020-01-02", ["section data is '2020-01-02'"]),
        ("loss: {name: infonce}\nloss: {name: triplet}", ["not YAML", "'loss' is there twice", "line"]),
        ("loss: {name: infonce, tile: 2, tile: 3}", ["'tile' is there twice"]),
        ("a: " + "[" * 1000, ["not YAML"]),
        ({**RECIPE, "trainig": {}}, ["no section 'trainig'", "did you mean 'training'"]),
        ({**RECIPE, "loss": "infonce"}, ["section loss is 'infonce'", "loss: {name: ..., ...}"]),
        ({**RECIPE, "training": 3}, ["section training is '3'", "{epochs: 3, ...}"]),
        ({**RECIPE, "evaluate": {"name": "x"}}, ["section evaluate", "[{name: ..., split: ...}]"]),
    ],
)
def test_a_file_that_is_no_recipe_says_why(tmp_path: Path, recipe: Any, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        load(written(tmp_path, recipe))
    message = str(caught.value)
    assert message.startswith(str(tmp_path))
    assert all(word in message for word in words), message
    assert "\n" not in message


def test_what_is_no_file_names_the_nearest_recipe(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="statc: no recipe of that name and no such file; did you mean 'static'"):
        load("statc")
    with pytest.raises(InputError, match="not readable as a recipe"):
        load("x" * 5000)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not readable as a recipe"):
        load(tmp_path / "bytes.yaml")
    written(tmp_path, RECIPE)
    with pytest.raises(InputError, match=r"a folder; to run its recipe again name .*recipe\.yaml"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"loss": None}, ["loss: which part?", "loss.name=...", "infonce"]),
        ({"loss": {"temperature": 1}}, ["loss: which part?"]),
        ({"loss": {"name": "infonse"}}, ["losses: no part is called 'infonse'", "'infonce'"]),
        ({"encoder": {"name": "static", "dimension": 8}}, ["encoder: no setting is called 'dimension'", "known: dim"]),
        ({"encoder": {"name": "static", "dim": "wide"}}, ["encoder.dim: 'wide' does not fit int"]),
        ({"data": {"name": "table"}}, ["data.table: path must be given", "data.path=..."]),
        ({"positives": {"name": "columns", "data": 1}}, ["positives: no setting is called 'data'"]),
        ({"training": {"epoch": 3}}, ["training: no setting is called 'epoch'", "did you mean 'epochs'"]),
        ({"training": {"epochs": -1}}, ["training.epochs", "above zero"]),
        ({"training": {"batch_size": 1}}, ["training.batch_size must be at least 2"]),
        ({"evaluate": ["retrieval"]}, ["evaluate.0: write {name: metric, split: split, setting: value}"]),
        ({"evaluate": [{"split": "test"}]}, ["evaluate.0", "retrieval"]),
        ({"evaluate": [{"name": "retreival"}]}, ["no part is called 'retreival'", "did you mean 'retrieval'"]),
        (
            {"evaluate": [{"name": "retrieval", "on": "x"}]},
            ["evaluate.0: no setting 'on'", "known: direction, name, split"],
        ),
    ],
)
def test_a_recipe_that_cannot_be_built_says_where(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        build({**RECIPE, **change})
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_mistake_is_found_before_the_data_is_read() -> None:
    with pytest.raises(InputError, match=r"training\.epochs"):
        build({**RECIPE, "data": {"name": "table", "path": "nowhere.jsonl"}, "training": {"epochs": -1}})


def test_the_resolved_recipe_names_every_setting() -> None:
    whole = resolved(RECIPE)
    assert whole["loss"]["temperature"] == 0.05
    assert whole["encoder"]["tokenizer"] is None and whole["encoder"]["max_length"] is None  # 512, or the folder's
    assert whole["training"]["batch_size"] == 1024
    assert "data" not in whole["positives"]


def test_the_resolved_recipe_reads_back_as_itself(tmp_path: Path) -> None:
    whole = plain(resolved(RECIPE))
    again = load(written(tmp_path, dumped(whole, {"nearfar": "0"})))
    assert again == whole
    assert plain(resolved(again)) == whole


def test_a_path_in_a_recipe_is_written_as_text() -> None:
    recipe = {**RECIPE, "encoder": {"name": "static", "tokenizer": Path("a") / "tokenizer.json"}}
    assert plain(resolved(recipe))["encoder"]["tokenizer"] == str(Path("a") / "tokenizer.json")


def test_building_leaves_the_recipe_as_it_was() -> None:
    before = repr(RECIPE)
    build(RECIPE)
    assert repr(RECIPE) == before


MORE = [{"query": f"frage {i}", "key": f"antwort {i}", "said": f"gesagt {i}"} for i in range(6)]
SEVERAL: dict[str, Any] = {**RECIPE, "data": [RECIPE["data"], {"name": "table", "path": MORE}]}


def test_several_data_sets_are_built_as_one(tmp_path: Path) -> None:
    recipe = load(written(tmp_path, SEVERAL), ["training.apart=true", "training.mixing=round_robin"])
    parts = build(recipe)
    assert isinstance(parts.positives, Mixture)
    assert (len(parts.data), len(parts.positives), parts.positives.apart) == (10, 16, True)
    assert list(parts.positives.views) == ["0/query", "0/key", "1/query", "1/key"]
    each = build(
        {**SEVERAL, "positives": [{"name": "columns"}, {"name": "columns", "query": "query", "key": "said"}]}
    ).positives
    assert isinstance(each, Mixture)
    assert each.describe(np.array([10])) == [{"row": "1/1", "query": "frage 0", "key": "gesagt 0"}]
    assert isinstance(build({**RECIPE, "data": [RECIPE["data"]]}).positives, Columns)


def test_a_recipe_of_several_data_sets_reads_back_as_itself(tmp_path: Path) -> None:
    for positives in (SEVERAL["positives"], [SEVERAL["positives"]] * 2):
        whole = plain(resolved({**SEVERAL, "positives": positives}))
        assert [spec["name"] for spec in whole["data"]] == ["table", "table"]
        again = load(written(tmp_path, dumped(whole, {"nearfar": "0"})))
        assert again == whole
        assert plain(resolved(again)) == whole


def test_a_setting_of_one_of_several_data_sets_is_overridden_by_its_number(tmp_path: Path) -> None:
    recipe = load(written(tmp_path, SEVERAL), ["data.1.path=b.jsonl", "data.0.delimiter=;"])
    assert resolved(recipe)["data"][1]["path"] == "b.jsonl"
    assert recipe["data"][0]["delimiter"] == ";"
    with pytest.raises(
        InputError, match=r"data\.path leads nowhere in this recipe; it has entries 0 to 1, e\.g\. data\.0"
    ):
        load(written(tmp_path, SEVERAL), ["data.path=b.jsonl"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": [RECIPE["data"], {"name": "table"}]}, ["data.1.table: path must be given", "data.1.path=..."]),
        ({"data": [RECIPE["data"], {"name": "tabel", "path": 1}]}, ["no part is called 'tabel'"]),
        ({"data": []}, ["data: which part?"]),
        ({"positives": [{"name": "columns"}] * 3}, ["positives: a list of 3 for 2 of data"]),
        ({"positives": [{"name": "columns"}, {"name": "columns", "kee": 1}]}, ["positives.1", "did you mean 'key'"]),
        ({"training": {"mixing": "even"}}, ["training.mixing", "'even'"]),
        ({"training": {"mixing_temperature": 0}}, ["training.mixing_temperature", "above zero"]),
    ],
)
def test_a_mistake_in_one_of_several_data_sets_says_where(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        build({**SEVERAL, **change})
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_list_of_other_things_is_no_list_of_data_sets(tmp_path: Path) -> None:
    for data in ([], ["a.jsonl"], "a.jsonl"):
        with pytest.raises(InputError, match=r"section data is .*write data: \{name: \.\.\., \.\.\.\}"):
            load(written(tmp_path, {**RECIPE, "data": data}))
    with pytest.raises(InputError, match="section loss is"):
        load(written(tmp_path, {**RECIPE, "loss": [RECIPE["loss"]]}))


@pytest.mark.parametrize(
    ("training", "mining", "mines"),
    [
        ({}, None, False),
        ({"refresh_every": 0}, {"negatives": 2}, False),
        ({"refresh_every": 50}, None, True),
        ({"refresh_first": True}, {"negatives": "3", "window": [10, 30], "relative_margin": "5e-2"}, True),
    ],
)
def test_negatives_are_mined_where_the_training_asks_for_it(
    tmp_path: Path, training: dict[str, Any], mining: dict[str, Any] | None, mines: bool
) -> None:
    recipe = {**RECIPE, "training": training, **({} if mining is None else {"mining": mining})}
    whole = plain(resolved(recipe))
    assert ("mining" in whole) == (mines or mining is not None)
    again = load(written(tmp_path, dumped(whole, {"nearfar": "0"})))
    assert again == whole
    assert plain(resolved(again)) == whole
    refresh = build(recipe).refresh
    assert (refresh is not None) == mines
    if refresh is not None and mining is not None:
        assert (refresh.negatives, refresh.window, refresh.relative_margin) == (3, (10, 30), 0.05)


@pytest.mark.parametrize(
    ("training", "mining", "words"),
    [
        ({}, {"negatives": 2}, ["mining: when?", "training.refresh_every=..."]),
        ({"refresh_every": 5}, {"negative": 2}, ["mining: no setting is called 'negative'", "'negatives'"]),
        ({"refresh_every": 5}, {"negatives": "few"}, ["mining.negatives: 'few' does not fit int"]),
        ({"refresh_every": 5}, {"negatives": 0}, ["mining.negatives must be at least 1"]),
        ({"refresh_every": 5}, {"window": [9, 3]}, ["mining.window: ranks 9 to 3 cannot hold 1 negatives"]),
        ({"refresh_every": 5}, {"sampling": "best"}, ["mining.sampling: 'best' does not fit"]),
        ({"refresh_every": -5}, {}, ["training.refresh_every must be zero or more"]),
    ],
)
def test_a_mistake_in_mining_says_where(training: dict[str, Any], mining: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        build({**RECIPE, "training": training, "mining": mining, "data": {"name": "table", "path": "nowhere.jsonl"}})
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_mining_is_overridden_by_its_path() -> None:
    recipe = load("static", ["data.path=x.jsonl", "training.refresh_every=9", "mining.window=null", "mining.seed=4"])
    assert (resolved(recipe)["mining"]["window"], resolved(recipe)["mining"]["seed"]) == (None, 4)
    with pytest.raises(InputError, match=r"mining is a whole section; .*, e\.g\. mining\.negatives=2"):
        load("static", ["mining=4"])


def test_a_part_from_outside_is_honoured_in_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"outside_{tmp_path.name}"
    Path(f"{name}.py").write_text("from nearfar.losses.infonce import InfoNCE\nclass Mine(InfoNCE):\n    '''Mine.'''\n")
    recipe = {**RECIPE, "loss": {"name": f"{name}:Mine", "temperature": 0.2}}
    assert vars(build(recipe).loss)["_modules"]["scale"].temperature == pytest.approx(0.2)
    assert resolved(recipe)["loss"]["name"] == f"{name}:Mine"


def test_everything_a_caller_needs_is_in_config() -> None:
    assert all(hasattr(config, name) for name in config.__all__)


@pytest.mark.parametrize("name", ["python_packages", "python-packages"])
def test_a_dash_in_a_recipe_s_name_stands_for_an_underscore(name: str) -> None:
    assert load(name)["data"]["name"] == "python_packages"


def test_settings_may_be_values_by_path() -> None:
    recipe = load("static", {"data.path": ROWS, "training.epochs": 3, "evaluate.0.split": "test"})
    assert recipe["data"]["path"] is ROWS
    assert recipe["training"]["epochs"] == 3
    assert recipe["evaluate"][0]["split"] == "test"
    with pytest.raises(InputError, match="data is a whole section"):
        load("static", {"data": 1})
    with pytest.raises(InputError, match="no section 'trainin'; did you mean 'training'"):
        load("static", {"trainin.epochs": 3})
