"""MiniLM fine-tuned on the same pairs: by us, and by the peer."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from _machine import PeakMemory

BATCH, LENGTH, RATE, SCALE = 64, 256, 2e-5, 20.0


def train(contestant: str, rows: str, precision: str, dropout: bool, **variant: Any) -> dict[str, Any]:
    """Train one contestant for one pass in this process; return its speed, memory and losses."""
    pairs = json.loads(Path(rows).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as scratch, PeakMemory() as memory:
        train_one = _ours if contestant == "ours" else _peer
        found = train_one(pairs, precision, dropout, Path(scratch), **variant)
    return found | {"peak_mb": memory.peak_mb, "extra_mb": memory.extra_mb}


def _ours(pairs: list[dict[str, str]], precision: str, dropout: bool, scratch: Path) -> dict[str, Any]:
    import nearfar as nf
    from nearfar.training.order import Sampler
    from nearfar.training.settings import Settings

    # The peer's loss is one way, so is ours here.
    encoder = nf.encoders.Transformer("minilm", max_length=LENGTH, dropout=None if dropout else 0.0)
    positives = nf.positives.Columns(nf.data.Table(pairs))
    given: dict[str, Any] = {"batch_size": BATCH, "learning_rate": RATE, "precision": precision, "epochs": 1}
    loss = nf.losses.InfoNCE(temperature=1 / SCALE, symmetric=False)
    run = nf.fit(encoder, positives, loss, out=scratch / "run", quiet=True, **given)
    events = [json.loads(line) for line in (run.folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    sampler = Sampler.of(positives, Settings(**given))
    return {
        "pairs_per_second": run.train_pairs_per_second,
        "losses": [event["loss"] for event in events if event["event"] == "step"],
        "order": [i for step in range(len(pairs) // BATCH) for i in sampler.batch(step).tolist()],
    }


def _peer(
    pairs: list[dict[str, str]],
    precision: str,
    dropout: bool,
    scratch: Path,
    attention: str,
    order: list[int] | None = None,
) -> dict[str, Any]:
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.losses import MultipleNegativesRankingLoss
    from torch import nn
    from transformers import TrainerCallback

    from nearfar.encoders.pretrained.folder import folder_of

    class Clock(TrainerCallback):
        """The losses, and the time from the first step's begin to the last one's end."""

        def __init__(self) -> None:
            self.began, self.done = 0.0, 0.0
            self.losses: list[float] = []

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = self.began or time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.done = time.perf_counter()

        def on_log(self, *_: Any, **given: Any) -> None:
            if "loss" in given["logs"]:
                self.losses.append(float(given["logs"]["loss"]))

    class InOrder(SentenceTransformerTrainer):
        """The trainer, its batches in the order of the rows."""

        def get_batch_sampler(self, *given: Any, **rest: Any) -> Any:
            if order is None:
                return super().get_batch_sampler(*given, **rest)
            return [order[i : i + BATCH] for i in range(0, len(order), BATCH)]

    model = SentenceTransformer(str(folder_of("minilm")), device="cpu", model_kwargs={"attn_implementation": attention})
    model.max_seq_length = LENGTH
    if not dropout:
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    clock = Clock()
    trainer = InOrder(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(scratch),
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            learning_rate=RATE,
            bf16=precision == "bf16",
            use_cpu=True,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=0,
        ),
        train_dataset=Dataset.from_dict({"anchor": [r["query"] for r in pairs], "positive": [r["key"] for r in pairs]}),
        loss=MultipleNegativesRankingLoss(model, scale=SCALE),
        callbacks=[clock],
    )
    trainer.train()
    return {"pairs_per_second": len(pairs) / (clock.done - clock.began), "losses": clock.losses}
