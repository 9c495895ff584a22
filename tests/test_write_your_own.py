"""The skeletons of docs/write_your_own.md: named from outside in a recipe, and equal to what the page says of them."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

import nearfar as nf
from nearfar import config, registry
from nearfar.compute.draws import Draws
from nearfar.errors import InputError
from tests import skeletons

CLASSES = {Path(path).stem: path for path in skeletons.skeletons() if not path.startswith("tests/")}


@pytest.fixture(autouse=True)
def own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put every skeleton into a folder of the user's, and forget the modules afterwards."""
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path)
    for path, text in skeletons.skeletons().items():
        if not path.startswith("tests/"):
            (tmp_path / Path(path).name).write_text(text, encoding="utf-8")
    yield
    for name in CLASSES:
        sys.modules.pop(name, None)


def part(name: str) -> Any:
    """Return the class of a skeleton by its file's name."""
    return registry.public_class(name)


def toy_pairs(folder: Path, n: int = 50) -> Path:
    """Write pairs of vectors of six numbers, the key near its query."""
    random = np.random.default_rng(0)
    queries = random.normal(size=(n, 6))
    keys = queries + 0.1 * random.normal(size=(n, 6))
    rows = [{"query": q.round(3).tolist(), "key": k.round(3).tolist()} for q, k in zip(queries, keys, strict=True)]
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def recipe(folder: Path, **sections: Any) -> Path:
    """Write a recipe all of whose parts are from outside but the positives; sections that are None are left out."""
    whole: dict[str, Any] = {
        "data": {"name": "json_pairs:JsonPairs", "path": str(toy_pairs(folder))},
        "positives": {"name": "columns"},
        "encoder": {"name": "flat:Flat", "dim": 4},
        "loss": {"name": "contrastive:Contrastive", "margin": 0.1},
        "training": {"steps": 4, "batch_size": 15, "learning_rate": 2e-3},
        "evaluate": [{"name": "retrieval", "split": "heldout"}],
        **sections,
    }
    path = folder / "own.yaml"
    path.write_text(json.dumps({key: value for key, value in whole.items() if value is not None}), encoding="utf-8")
    return path


def trained(folder: Path, *overrides: str, **sections: Any) -> Any:
    own = recipe(folder, **sections)
    return nf.train(own, overrides, out=folder / "run", baselines=[], quiet=True)


def test_the_page_has_a_skeleton_for_each_kind_of_part() -> None:
    packages = {"losses", "encoders", "data", "augmentations", "heads", "objectives", "metrics", "evaluation.floors"}
    assert {skeletons.package_of(path) for path in CLASSES.values()} == packages
    assert all(text.count("\n") < 80 for text in skeletons.skeletons().values())


def test_a_recipe_of_parts_from_outside_trains_and_is_judged(tmp_path: Path) -> None:
    done = trained(tmp_path, "loss.margin=2e-1", "training.epochs=2")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (results["pairs"], len(done.metrics)) == (45, len(results["metrics"]))
    assert results["metrics"]["recall@10"] == 1.0  # five documents are held out
    whole = config.load(tmp_path / "run" / "recipe.yaml")
    assert whole["loss"] == {"name": "contrastive:Contrastive", "margin": 0.2}
    assert whole["data"]["every"] == 10
    layer = done.model.encoder.layer
    v = normalize(torch.arange(1.0, 7.0), dim=0)
    expected = normalize(layer.weight @ v + layer.bias, dim=0).detach().numpy()
    np.testing.assert_allclose(done.model.embed([[1, 2, 3, 4, 5, 6]])[0], expected, atol=1e-6)


def test_a_stored_model_imports_no_code_from_outside(tmp_path: Path) -> None:
    model = trained(tmp_path).model
    folder = tmp_path / "run" / "model"
    with pytest.raises(InputError, match="'flat:Flat' would run code from outside nearfar"):
        nf.Model.load(folder)
    settings = json.loads((folder / "nearfar.json").read_text())["encoder"]
    again = nf.Model(part("flat").load(folder, {key: settings[key] for key in ("dim", "size")}))
    assert again.fingerprint == model.fingerprint


def test_the_loss_equals_its_float64_form() -> None:
    q, k = normalize(torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), dim=2)
    s = (q @ k.T).tolist()
    pull = sum(1 - s[i][i] for i in range(5)) / 5
    push = sum(max(0.0, s[i][j] - 0.1) for i in range(5) for j in range(5) if i != j) / 20
    loss = part("contrastive")(margin=0.1)
    assert float(loss(q, k, nf.Pairs.aligned(5))) == pytest.approx(pull + push, abs=1e-12)
    with pytest.raises(InputError, match=r"contrastive\.margin"):
        part("contrastive")(margin=1.0)


def test_the_data_set_holds_out_one_row_of_ten(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"query": "q{i}", "key": "k{i}"}}\n' for i in range(20)))
    data = part("json_pairs")(path)
    assert data.split("heldout").column("key").read(0, 2) == ["k0", "k10"]
    assert (len(data), data.columns, data.column("query").read(0, 1)) == (18, ["query", "key"], ["q1"])


def test_the_augmentation_reads_its_order_from_the_draws() -> None:
    texts, draws = ["a b c d e", "f g", "h", "i j k"], Draws.of(np.array([[0, 0, row] for row in range(4)]))
    shuffled = part("text_shuffle")(longest=3)(texts, draws)
    assert shuffled[0] == "a b c d e"
    order = draws.order(3)[3].tolist()
    assert shuffled[3] == " ".join("ijk"[i] for i in order)
    assert [sorted(text) for text in shuffled] == [sorted(text) for text in texts]


def test_the_head_is_a_product() -> None:
    head, x = part("shortened")(dim=6, size=2), torch.randn(3, 6)
    assert head.dim == 2
    torch.testing.assert_close(head(x), torch.stack([head.layer.weight @ row for row in x]))


def test_the_objective_is_the_sum_over_hidden_entries_however_it_is_cut() -> None:
    encoder = part("flat")(dim=4, size=6)
    objective = part("masked_entries")(encoder, share=0.5)
    objective.prepare(encoder)
    inputs = encoder.inputs(list(np.random.default_rng(0).normal(size=(8, 6))))
    draws = Draws.of(np.array([[0, 0, row] for row in range(8)]))
    changed, targets = objective.hide(inputs, draws)
    hidden = draws.uniform(6) < 0.5
    assert torch.equal(changed.vectors, torch.where(hidden, 0.0, inputs.vectors))
    with torch.no_grad():
        terms, predicted = objective(encoder, changed, targets), objective.layer(encoder(changed))
    errors = (predicted - inputs.vectors).tolist()
    one_by_one = sum(errors[i][j] ** 2 for i in range(8) for j in range(6) if hidden[i, j])
    assert float(terms.total) == pytest.approx(one_by_one, rel=1e-5)
    assert terms.count == int(hidden.sum())
    with torch.no_grad():
        cuts = [objective(encoder, *objective.hide(inputs[rows], draws[rows])) for rows in (slice(0, 3), slice(3, 8))]
    assert sum(float(cut.total) for cut in cuts) == pytest.approx(float(terms.total), rel=1e-5)
    assert sum(cut.count for cut in cuts) == terms.count


@pytest.mark.parametrize("name", CLASSES)
def test_the_registry_takes_each_skeleton_from_outside(name: str) -> None:
    package = skeletons.package_of(CLASSES[name])
    assert registry.find(package, f"{name}:{part(name).__name__}", outside=True) is part(name)


def test_a_recipe_takes_the_augmentation(tmp_path: Path) -> None:
    words = [
        f"{a} {b} {c}" for a in ("red", "blue", "pale") for b in ("fox", "goose", "lamp") for c in ("runs", "ends")
    ]
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in words))
    own = {
        "data": {"name": "table", "path": str(path), "heldout": 2},
        "positives": {"name": "views", "views": [{"name": "text_shuffle:TextShuffle", "times": 2}]},
        "encoder": {"name": "static", "dim": 8, "vocabulary": 300},
        "loss": {"name": "infonce"},
        "training": {"steps": 3, "batch_size": 8},
        "evaluate": [],
    }
    done = trained(tmp_path, "positives.views.0.longest=5", **own)
    assert np.isfinite(done.model.embed(["red fox"])).all()
    entry = config.load(tmp_path / "run" / "recipe.yaml")["positives"]["views"][0]
    assert (entry["name"], entry["longest"], entry["times"]) == ("text_shuffle:TextShuffle", 5, 2)
    (example,) = config.build(config.load(tmp_path / "own.yaml")).positives.describe(np.array([0]))
    views = [sorted(text.split()) for key, text in example.items() if key != "row"]
    assert views == [views[0]] * 2


def test_a_recipe_takes_the_head(tmp_path: Path) -> None:
    heads = {"projection": {"name": "shortened:Shortened", "size": 3}}
    done = trained(tmp_path, heads=heads)
    assert done.model.dim == 4  # the encoder ships without its projection
    whole = config.load(tmp_path / "run" / "recipe.yaml")
    assert whole["heads"]["projection"] == {"name": "shortened:Shortened", "size": 3}
    shipped = nf.train(tmp_path / "own.yaml", ["ship=projection"], out=tmp_path / "b", baselines=[], quiet=True)
    assert shipped is not None
    assert shipped.model.dim == 3


def test_a_recipe_takes_the_objective(tmp_path: Path) -> None:
    objective = {"name": "masked_entries:MaskedEntries", "share": 0.5}
    rows = {"name": "unpaired", "column": "query"}
    done = trained(tmp_path, "training.steps=40", objective=objective, positives=rows, loss=None, evaluate=[])
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    losses = [event["loss"] for event in events if "loss" in event]
    assert losses[-1] < losses[0]
    assert done.model.dim == 4


def test_a_recipe_takes_the_metric(tmp_path: Path) -> None:
    done = trained(tmp_path, evaluate=[{"name": "success:Success", "k": 1, "split": "heldout"}])
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    data = part("json_pairs")(toy_pairs(tmp_path)).split("heldout")
    cells = {name: data.column(name).read(0, len(data)) for name in ("query", "key")}
    q, k = (done.model.embed(cells[name], role=name) for name in ("query", "key"))
    hits = [int(np.argmax(k @ row)) == i for i, row in enumerate(q)]
    assert results["metrics"]["success@1"] == pytest.approx(np.mean(hits))


def test_evaluate_takes_the_metric_as_an_object() -> None:
    texts = ["red fox", "grey goose", "pale lamp", "blue stone"]
    table = nf.data.Table([{"query": text, "key": f"{text} {text}"} for text in texts])
    encoder = nf.encoders.Static(dim=16, vocabulary=300)
    encoder.prepare([table.column("query"), table.column("key")])
    task = nf.positives.Columns(table).task("train")
    report = nf.evaluate(nf.Model(encoder), task, [part("success")(k=1), "retrieval"])
    assert report.metrics["success@1"] == report.metrics["recall@1"] == 1
    assert (report.baseline["bm25"]["success@1"], report.worst) == (1, [])  # all are right
    wrong = dataclasses.replace(task, relevance={0: {1: 1}, 1: {1: 1}})
    again = nf.evaluate(nf.Model(encoder), wrong, [part("success")(k=1), "retrieval"])
    assert [(row["query"], row["value"]) for row in again.worst] == [("red fox", 0)]
    assert again.protocol["worst"].startswith("lowest success@1 first")


def test_a_floor_is_a_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    floors = importlib.import_module("nearfar.evaluation.floors")
    folder = tmp_path / "floors"
    folder.mkdir()
    (folder / "same_length.py").write_text(skeletons.skeletons()["evaluation/floors/same_length.py"])
    monkeypatch.setattr(floors, "__path__", [*floors.__path__, str(folder)])
    table = nf.data.Table([{"query": "x" * i, "key": "y" * (2 * i)} for i in range(1, 9)])
    encoder = nf.encoders.Static(dim=8, vocabulary=300)
    encoder.prepare([table.column("query"), table.column("key")])
    report = nf.evaluate(nf.Model(encoder), nf.positives.Columns(table).task("train"), baselines=["same-length"])
    # Query i, of i letters, answers to the key of 2 i: first among the keys of 2, 4, ... only for i = 1.
    floor = report.to_json()["baseline"]["same-length"]
    assert floor["recall@1"] == pytest.approx(1 / 8)
