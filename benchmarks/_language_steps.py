"""Whole training steps of a language model: nearfar's `fit`, and transformers' `Trainer` with its collator.

Both begin from the same weights and read the same token ids; batch size, optimiser, schedule and clipping are those of
the recipe, without dropout. A step is timed from one forward pass to the next, so reading and hiding count.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _language_texts import Ids, cells_of, ids_of_cells, kept_recipe, read
from _machine import PeakMemory

from nearfar.abilities import LanguageKind

UNTIMED = 2  # steps: memory is taken, and libraries choose their products
CLASSES = {"masked": "AutoModelForMaskedLM", "causal": "AutoModelForCausalLM"}
ALIKE = 24  # texts of the batch whose losses are compared


class Clock:
    """Stamps the forward pass of each step, with the number of its tokens, padding aside."""

    def __init__(self) -> None:
        self.times: list[tuple[float, float]] = []
        self.tokens: list[int] = []

    def stamp(self, tokens: int) -> None:
        """Note the moment."""
        self.times.append((time.perf_counter(), time.process_time()))
        self.tokens.append(tokens)

    def speed(self) -> dict[str, float]:
        """Return tokens a second, and tokens a second of one core, which hardly depend on the machine's load."""
        first, last = self.times[UNTIMED], self.times[-1]
        tokens = sum(self.tokens[UNTIMED:-1])
        return {
            "tokens_per_second": tokens / (last[0] - first[0]),
            "tokens_per_cpu_second": tokens / (last[1] - first[1]),
            "tokens_a_step": tokens / len(self.tokens[UNTIMED:-1]),
        }


@dataclass(frozen=True)
class Training:
    """What both contestants are given: texts, the recipe, the model to begin from, and a folder to write in."""

    kind: LanguageKind
    texts: Ids
    recipe: dict[str, Any]
    model: Path
    steps: int
    scratch: Path
    precision: str


def train(
    contestant: str, kind: LanguageKind, form: str, folder: str, steps: int, precision: str, **settings: Any
) -> dict[str, Any]:
    """Return the speed, memory and last loss of one training in this process. settings: of the Trainer alone."""
    place, clock = Path(folder), Clock()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as scratch, PeakMemory() as memory:
        texts = read(place, form)
        recipe, longer = kept_recipe(place), steps + UNTIMED + 1
        given = Training(kind, texts, recipe, place / "model", longer, Path(scratch), precision)
        loss = _ours(given, clock) if contestant == "nearfar" else _peer(given, clock, **settings)
    if not math.isfinite(loss):
        raise SystemExit(f"{contestant}, {kind}, {form}: the loss is {loss}")
    return {**clock.speed(), "loss": loss, "peak_mb": memory.peak_mb, "extra_mb": memory.extra_mb}


def _ours(given: Training, clock: Clock) -> float:
    import nearfar as nf

    os.environ["NEARFAR_CACHE"] = str(given.scratch / "cache")
    encoder, objective = _encoder_and_objective(given.model, given.recipe)
    objective.register_forward_pre_hook(lambda _, inputs: clock.stamp(len(inputs[1].ids)))
    positives = nf.positives.Unpaired(nf.data.Table([{"text": cell} for cell in cells_of(given.texts)]))
    settings = given.recipe["training"] | {"steps": given.steps, "precision": given.precision}
    run = nf.fit(encoder, positives, objective=objective, out=given.scratch / "run", quiet=True, **settings)
    events = [json.loads(line) for line in (run.folder / "events.jsonl").read_text("utf-8").splitlines()]
    return float([event["loss"] for event in events if event["event"] == "step"][-1])


def _encoder_and_objective(model: Path, recipe: dict[str, Any]) -> tuple[Any, Any]:
    """Return the encoder of a folder, which reads cells of numbers, and the recipe's objective of it."""
    import nearfar as nf
    from nearfar import registry

    encoder: Any = nf.encoders.Transformer(str(model), max_length=recipe["encoder"]["max_length"], dropout=0.0)
    encoder.tokenise = partial(ids_of_cells, encoder)
    return encoder, registry.build("objectives", recipe["objective"], encoder=encoder)


def _peer(
    given: Training,
    clock: Clock,
    attention: str = "sdpa",
    sampling: str = "group_by_length",
    multiple: int | None = None,
    workers: int = 0,
    keeps: bool = True,
    compiled: bool = False,
) -> float:
    """Train by transformers' Trainer.

    keeps: whether glibc keeps what is freed for the next step, as nearfar's `fit` lets it. compiled: by torch.compile.
    """
    from transformers import AutoTokenizer, Trainer, TrainingArguments

    from nearfar.compute.hardware import keep_freed_memory

    if keeps:
        keep_freed_memory()
    settings, share = given.recipe["training"], given.recipe["objective"].get("share", 0.15)
    network = _peers_model(given.kind, given.model, attention)
    network.register_forward_pre_hook(
        lambda *inputs: clock.stamp(int(inputs[2]["attention_mask"].sum())), with_kwargs=True
    )
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    arguments = TrainingArguments(
        output_dir=str(given.scratch),
        max_steps=given.steps,
        per_device_train_batch_size=settings["batch_size"],
        learning_rate=settings["learning_rate"],
        weight_decay=settings["weight_decay"],
        warmup_steps=math.ceil(settings["warmup"] * given.steps),
        lr_scheduler_type="linear",
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        train_sampling_strategy=sampling,
        dataloader_num_workers=workers,
        dataloader_drop_last=True,
        dataloader_pin_memory=False,
        bf16=given.precision == "bf16",
        torch_compile=compiled,
        use_cpu=True,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
    )
    trainer = Trainer(
        model=network,
        args=arguments,
        train_dataset=_dataset(given.texts, tokenizer, given.kind),
        data_collator=_collator(given.kind, tokenizer, share, multiple),
    )
    return float(trainer.train().training_loss)


def _dataset(texts: Ids, tokenizer: Any, kind: LanguageKind) -> Any:
    """Return what its collator is to be given, as its documentation advises: with the places of special tokens."""
    from datasets import Dataset

    columns: dict[str, Any] = {"input_ids": texts, "length": [len(text) for text in texts]}
    if kind == "masked":
        special = set(tokenizer.all_special_ids)
        columns["special_tokens_mask"] = [[int(token in special) for token in text] for text in texts]
    return Dataset.from_dict(columns)


def _collator(kind: LanguageKind, tokenizer: Any, share: float, multiple: int | None) -> Any:
    from transformers import DataCollatorForLanguageModeling

    return DataCollatorForLanguageModeling(
        tokenizer, mlm=kind == "masked", mlm_probability=share, pad_to_multiple_of=multiple
    )


def _peers_model(kind: LanguageKind, model: Path, attention: str) -> Any:
    import transformers

    network = getattr(transformers, CLASSES[kind]).from_pretrained(model, attn_implementation=attention)
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return network


def losses(kind: LanguageKind, form: str, folder: str) -> dict[str, float]:
    """Return both losses in fp32 of the same weights on some texts: the peer's model gets what we hide, padded."""
    from nearfar.compute.draws import Draws

    place = Path(folder)
    encoder, objective = _encoder_and_objective(place / "model", kept_recipe(place))
    objective.prepare(encoder)
    inputs = encoder.inputs(cells_of(read(place, form)[:ALIKE]))
    hidden, targets = objective.hide(inputs, Draws.of(torch.arange(len(inputs))[:, None].numpy(), 0))
    terms = objective(encoder, hidden, targets)
    lengths = torch.from_numpy(inputs.costs())
    network, end = _peers_model(kind, place / "model", "sdpa").eval(), int(kind == "causal")
    mask = torch.arange(int(lengths.max()) + end) < lengths[:, None]  # (n, longest)
    ids, labels = torch.zeros(mask.shape, dtype=torch.int64), torch.full(mask.shape, -100)
    ids[mask] = hidden.ids
    if end:  # it shifts labels itself: a target stands one place behind the place that tells it
        rows, places = (part[targets.places] for part in mask.nonzero(as_tuple=True))
        labels[rows, places + 1] = targets.tokens
    else:
        flat = torch.full_like(hidden.ids, -100)
        flat[targets.places] = targets.tokens
        labels[mask] = flat
    with torch.no_grad():
        theirs = network(input_ids=ids, attention_mask=mask.long(), labels=labels).loss
    return {"nearfar": terms.total.item() / terms.count, "Trainer's model": float(theirs), "targets": terms.count}
