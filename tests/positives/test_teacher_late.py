"""TeacherScores: the teacher is asked late, but is the encoder before training; samples; questions of its task."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nearfar as nf
from nearfar import config
from nearfar.abilities import EXPECT
from nearfar.column import take
from nearfar.errors import InputError
from nearfar.positives import teacher_scores as module
from nearfar.positives.teacher_scores import WHAT_TO_EXPECT, TeacherScores
from nearfar.reports import console
from nearfar.training.dry_run import dry_run
from nearfar.training.fit import fit
from tests.positives.test_teacher_scores import TEXTS, cache, recipe, static, teacher_scores

assert cache  # a fixture that is used by all


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which the number of documents of each call of the teacher is added."""
    calls: list[int] = []
    real: Any = vars(module)["teacher_lists"]

    def counting(encoder: Any, positives: Any, rows: Any, *more: Any) -> Any:
        calls.append(len(rows))
        return real(encoder, positives, rows, *more)

    monkeypatch.setattr(module, "teacher_lists", counting)
    return calls


def test_the_teacher_is_not_asked_before_the_first_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch)
    positives = teacher_scores()
    assert calls == []
    positives.batch(np.arange(3))
    positives.batch(np.arange(5))
    assert calls == [len(TEXTS)]


def test_an_encoder_that_was_trained_meanwhile_is_no_teacher() -> None:
    encoder = static()
    positives = TeacherScores(nf.data.Table([{"text": text} for text in TEXTS]), encoder, per_document=2)
    with torch.no_grad():
        encoder.embedding.weight.add_(1.0)
    with pytest.raises(InputError, match="was trained since"):
        positives.batch(np.arange(3))
    late: Any = teacher_scores()
    late.prepare_batches()
    with torch.no_grad():
        late.encoder.embedding.weight.add_(1.0)
    late.batch(np.arange(3))  # the teacher was asked before


def test_a_resumed_run_has_the_teacher_of_before_and_ends_bit_equal(tmp_path: Path) -> None:
    """Of the held-out questions, too, whose loss is computed with weights that were trained."""

    def train(folder: Path, resume: bool = False, **more: Any) -> Any:
        parts = config.build(recipe(tmp_path))
        assert parts.of_split is not None
        settings = {**parts.training, "epochs": 1.0, "steps": 8, "schedule": "constant", "keep": 9} | more
        heldout = parts.of_split("heldout")
        return fit(
            parts.encoder,
            parts.positives,
            parts.loss,
            out=folder,
            heldout=heldout,
            resume=resume,
            quiet=True,
            **settings,
        )

    whole = train(tmp_path / "whole")
    train(tmp_path / "run", steps=3)
    resumed = train(tmp_path / "run", resume=True)
    for name, weight in whole.model.encoder.state_dict().items():
        assert torch.equal(weight, resumed.model.encoder.state_dict()[name]), name
    assert resumed.metrics["heldout_loss"] == whole.metrics["heldout_loss"]


def test_a_dry_run_asks_the_teacher_of_a_few_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "SAMPLE", 10)
    given = recipe(tmp_path)
    parts = config.build(given)
    calls = counted(monkeypatch)
    facts = dry_run(parts.encoder, parts.positives, parts.loss, **parts.training).facts
    assert calls == [10]
    assert (facts["pairs"], facts["batch_size"]) == (len(parts.positives), 16)
    assert facts["steps"] == -(-20 * len(parts.positives) // 16)
    assert facts["reading_seconds"] > 0 and facts["seconds"] > 0
    for example in facts["batch"]:
        text = json.loads((tmp_path / "corpus.jsonl").read_text().splitlines()[0])["text"]
        assert example["key"] in TEXTS and example["query"] in " ".join(TEXTS) and text in TEXTS
    console.show_estimate(facts)
    assert f"{EXPECT}: {WHAT_TO_EXPECT}\n" in capsys.readouterr().out
    assert facts["notes"][EXPECT] == WHAT_TO_EXPECT


def test_a_sample_is_part_of_the_whole() -> None:
    positives = teacher_scores(per_document=2, seed=3)
    sample, seconds = positives.sample(40)
    assert seconds > 0
    assert len(sample) >= 40
    batch = sample.batch(np.arange(16))
    texts = take(sample.views["key"], batch.rows["key"])
    assert set(texts) <= set(TEXTS)
    for described in sample.describe(np.arange(16)):
        row = described["row"] - 1  # of the data: the source document
        assert described["query"] in TEXTS[row]
    assert positives.documents.cells is positives.views["key"]  # the whole one is as it was


def test_a_task_has_questions_enough_to_decide() -> None:
    rows = nf.data.Table([{"text": text} for text in TEXTS], heldout=10)
    positives = TeacherScores(rows, static(), query=nf.augmentations.TextSpan(4, 4))
    task = positives.task("heldout")
    assert len(task.queries) == 50  # five spans of 4 words are half of a text of 40, and no more are taken
    assert task.notes[EXPECT] == WHAT_TO_EXPECT
    queries, documents = task.queries.read(0, 50), task.documents.read(0, len(TEXTS))
    assert len(documents) == len(TEXTS) and task.seen is not None
    source = [next(iter(task.relevance[i])) for i in range(50)]
    assert np.flatnonzero(~task.seen).tolist() == sorted(set(source))
    held_out = rows.split("heldout").column("text").read(0, 10)
    for document in set(source):
        parts = [query for query, row in zip(queries, source, strict=True) if row == document]
        [text] = [text for text in held_out if parts[0] in text]
        assert len(parts) == 5 and all(part in text and part not in documents[document] for part in parts)
        assert len(text.split()) == len(documents[document].split()) + sum(len(part.split()) for part in parts)
    of_cluster = {(cluster, row) for cluster, row in zip(task.clusters.tolist(), source, strict=True)}
    assert len(of_cluster) == len(np.unique(task.clusters)) == 10
    again = positives.task("heldout")
    assert again.queries.read(0, 50) == queries


def test_many_documents_have_one_question_each() -> None:
    texts = [f"{i} says how to pull near {i + 1} and how to push far {i + 2} words" for i in range(1100)]
    task = TeacherScores(nf.data.Table([{"text": text} for text in texts], heldout=1050), static()).task("heldout")
    assert len(task.queries) == 1050 and len(task.documents) == 1100


def test_the_recipe_is_judged_beside_bm25_and_says_what_to_expect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = recipe(tmp_path)
    small = {
        f"{section}.{name}": value
        for section in ("data", "positives", "training")
        for name, value in given[section].items()
    }
    small = {name: value for name, value in small.items() if not name.endswith(".name")} | {"training.epochs": 1}
    small |= {"encoder.of.model": given["encoder"]["of"]["model"], "encoder.of.max_length": None}
    done = nf.train("adapt", small, out=tmp_path / "run", quiet=True)
    [report] = done.reports.values()
    assert "bm25" in report.baseline and report.to_json()["protocol"]["queries"] > 5
    console.show_results(done.reports.values(), done.facts)
    assert f"{EXPECT}: {WHAT_TO_EXPECT}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("fails", [False, True])
def test_the_layers_of_the_encoder_are_afterwards_in_the_modes_in_which_they_were(
    monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    positives: Any = teacher_scores()
    encoder = positives.encoder
    encoder.add_module("frozen", torch.nn.Dropout())
    encoder.train().frozen.eval()
    real, modes = type(encoder).forward, []

    def forward(self: Any, inputs: Any) -> Any:
        modes.append(self.training)
        if fails:
            raise ZeroDivisionError
        return real(self, inputs)

    monkeypatch.setattr(type(encoder), "forward", forward)
    with pytest.raises(ZeroDivisionError) if fails else nullcontext():
        positives.batch(np.arange(3))
    assert modes and not any(modes)
    assert encoder.training and not encoder.frozen.training
