"""Language models of a few minutes on film reviews, beside counts of the same tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from _interpolation import chosen_weight, interpolated
from _machine import untimed

import nearfar as nf
from nearfar import config
from nearfar.column import Ids
from nearfar.contracts import Values
from nearfar.evaluation.floors.language.kneser_ney import KneserNey
from nearfar.evaluation.floors.language.neighbours import NeighbourCounts
from nearfar.evaluation.token_predictions import token_predictions, tokenised
from nearfar.tasks import Language
from nearfar.training.order import Sampler
from nearfar.training.settings import Settings

Numbers = dict[str, Any]
ORDER = 5


def rate(recipe: str, settings: list[str], out: str, steps: int = 45) -> Numbers:
    """Return how many steps a second a recipe takes here, by a short run."""
    run = _fit(recipe, [*settings, f"training.steps={steps}"], Path(out))
    size = config.build(config.load(recipe, settings)).training["batch_size"]
    return {"steps a second": run.train_pairs_per_second / size, "untimed": untimed(steps)}


def train(recipe: str, settings: list[str], out: str) -> Numbers:
    """Train by a recipe in this process; return facts of the run."""
    run = _fit(recipe, settings, Path(out))
    found = {"seconds of fit": run.seconds, "peak_mb": run.peak_memory_mb, "warnings": run.warnings}
    return found | {"train_pairs_per_second": run.train_pairs_per_second, "model": str(run.folder / "model")}


def _fit(recipe: str, settings: list[str], out: Path) -> nf.Run:
    parts = config.build(config.load(recipe, settings))
    return nf.fit(
        parts.encoder,
        parts.positives,
        parts.loss,
        out=out,
        objective=parts.objective,
        objective_weight=parts.objective_weight,
        overwrite=True,
        quiet=True,
        **parts.training,
    )


class Judged:
    """A trained language model with the tokens of a split, and those of the passages that it has seen."""

    def __init__(self, recipe: str, settings: list[str], model: str) -> None:
        self.model = nf.Model.load(Path(model))
        self.encoder: Any = self.model.encoder
        self.parts = config.build(config.load(recipe, settings))
        positives: Any = self.parts.positives
        store = self.encoder.store(positives.cells)
        self.ids, self.offsets = np.asarray(store.ids, np.int64), np.asarray(store.offsets, np.int64)
        chosen = Settings(**self.parts.training)
        assert chosen.steps is not None
        sampler = Sampler.of(positives, chosen)
        self.seen = np.unique(sampler.stream(0, chosen.steps * sampler.batch_size))
        self.known = self.encoder.known_tokens()

    def documents(self, ids: Ids, offsets: Ids, rows: Ids | None = None) -> list[Ids]:
        """Return token ids as lists, each with its end token where the model is asked for that."""
        chosen = range(len(offsets) - 1) if rows is None else rows.tolist()
        found = [ids[offsets[i] : offsets[i + 1]] for i in chosen]
        if not self.known.causal or self.known.end is None:
            return found
        end, longest = np.array([self.known.end]), self.encoder.max_length
        return [each if len(each) >= longest else np.concatenate([each, end]) for each in found]

    def split(self, name: str) -> Any:
        """Return a split of the recipe's data as a task with this model's tokens."""
        task = self.parts.positives.task(name)
        assert isinstance(task, Language)
        return tokenised(self.model, task, seed=0)

    def facts(self) -> Numbers:
        """Return how many tokens were seen, and of how many."""
        lengths = np.diff(self.offsets)
        chosen = Settings(**self.parts.training)
        times = int(chosen.steps or 0) * min(chosen.batch_size, len(lengths)) / len(lengths)
        return {
            "tokens of all training passages": int(lengths.sum()),
            "distinct tokens seen": int(lengths[self.seen].sum()),
            "epochs": times,
            "vocabulary": len(self.known.special),
            "parameters": sum(p.numel() for p in self.encoder.parameters()),
        }


def causal(recipe: str, settings: list[str], model: str) -> Numbers:
    """Return bits per byte and perplexity of a decoder, of 5-grams of the same and of all tokens, and of mixtures.

    The weight of a mixture is chosen on dev.
    """
    judged = Judged(recipe, settings, model)
    tasks = {name: judged.split(name) for name in ("dev", "test")}
    own = {name: token_predictions(judged.model, task).next_tokens for name, task in tasks.items()}
    likelihoods: dict[str, dict[str, Values]] = {"decoder": {k: v.log_likelihood for k, v in own.items() if v}}
    about = {}
    for name, rows in (("5-gram, same tokens", judged.seen), ("5-gram, all tokens", None)):
        counts = KneserNey.fit(
            judged.documents(judged.ids, judged.offsets, rows), len(judged.known.special), order=ORDER
        )
        likelihoods[name] = {
            part: _asked(counts.log_probabilities(judged.documents(task.tokens.ids, task.tokens.offsets)))
            for part, task in tasks.items()
        }
        about[name] = counts.about
    for name in list(likelihoods)[1:]:
        one, other = likelihoods["decoder"], likelihoods[name]
        weight = chosen_weight(one["dev"], other["dev"])
        likelihoods[f"decoder with {name}"] = {part: interpolated(one[part], other[part], weight) for part in tasks}
        about[f"decoder with {name}"] = {"weight of the decoder": weight}
    size = tasks["test"].tokens.text_bytes
    told = {name: _compression(each["test"], size) for name, each in likelihoods.items()}
    return {"rows": told, "about": about, "bytes": size, "facts": judged.facts()}


def _asked(found: list[Values]) -> Values:
    """Return the log-probabilities of all tokens but the first of each text, which nobody is asked for."""
    return np.concatenate([each[1:] for each in found])


def _compression(likelihood: Values, size: int) -> Numbers:
    return {
        "bits per byte": float(-likelihood.sum() / np.log(2) / size),
        "perplexity": float(np.exp(-likelihood.mean())),
        "tokens": len(likelihood),
    }


def masked(recipe: str, settings: list[str], model: str) -> Numbers:
    """Return how many hidden tokens a model tells, beside counts of neighbours of the same and of all tokens."""
    judged = Judged(recipe, settings, model)
    task = judged.split("test")
    tokens = task.tokens
    scores = token_predictions(judged.model, task).hidden_tokens
    assert scores is not None
    asked = tokens.ids[tokens.hidden]
    rows: Numbers = {
        "masked model": {
            "accuracy": float(scores.right.mean()),
            "perplexity": float(np.exp(-scores.log_likelihood.mean())),
        }
    }
    hidden = np.zeros(len(tokens.ids), np.bool_)
    hidden[tokens.hidden] = True
    documents, ends = judged.documents(tokens.ids, tokens.offsets), tokens.offsets[1:-1]
    for name, chosen in (("same tokens", judged.seen), ("all tokens", None)):
        counted = judged.documents(judged.ids, judged.offsets, chosen)
        counts = NeighbourCounts.fit(counted, len(judged.known.special))
        likelihood, told = counts.predict(documents, np.split(hidden, ends))  # (h,), (h,)
        found = {"accuracy": float(np.mean(told == asked)), "perplexity": float(np.exp(-likelihood.mean()))}
        rows[f"both neighbours, {name}"] = found
    frequency = np.bincount(judged.ids, minlength=len(tokens.special))
    frequency[tokens.special] = 0
    rows["the most frequent token"] = {"accuracy": float(np.mean(asked == frequency.argmax()))}
    return {"rows": rows, "hidden": len(asked), "facts": judged.facts()}
