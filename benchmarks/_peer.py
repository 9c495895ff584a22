"""The peer: sentence-transformers' own trainer, as its makers advise for static models, and in other settings."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, cast

from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.losses import MultipleNegativesRankingLoss, MultipleNegativesSymmetricRankingLoss
from sentence_transformers.models import StaticEmbedding
from transformers import TrainerCallback

from nearfar.config import RecipeParts

LOSSES = {"one way": MultipleNegativesRankingLoss, "both ways": MultipleNegativesSymmetricRankingLoss}


class Clock(TrainerCallback):
    """Stamps the begin of the first step and the end of the last, and counts the pairs of all."""

    def __init__(self) -> None:
        self.began, self.done, self.pairs = math.nan, math.nan, 0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start once. The first batch is read by then, so the peer is given the time of one batch's tokens."""
        if math.isnan(self.began):
            self.began = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.done = time.perf_counter()

    def count(self, _: Any, arguments: tuple[Any, ...]) -> None:
        """Hook before the loss: the number of queries in a batch."""
        self.pairs += len(arguments[0][0]["offsets"])


def trainer(
    columns: dict[str, list[str]], parts: RecipeParts, variant: dict[str, Any], clock: Clock, scratch: Path
) -> SentenceTransformerTrainer:
    """Return a trainer on pairs of texts; the encoder lends its tokenizer with its truncation."""
    encoder: Any = parts.encoder
    data = Dataset.from_dict(columns)
    model = SentenceTransformer(modules=[_embedding(encoder, variant["start"])], device="cpu")
    loss = LOSSES[variant["loss"]](model, scale=1.0 / cast("Any", parts.loss).temperature)
    loss.register_forward_pre_hook(clock.count)
    return SentenceTransformerTrainer(
        model=model,
        args=_arguments(len(data), parts.training, variant, scratch),
        train_dataset=data,
        loss=loss,
        callbacks=[clock],
    )


def _embedding(encoder: Any, start: str) -> StaticEmbedding:
    """Return the peer's encoder; its own first weights have spread 1, ours far less."""
    if start == "its own":
        return StaticEmbedding(encoder.tokenizer, embedding_dim=encoder.dim)
    return StaticEmbedding(encoder.tokenizer, embedding_weights=encoder.embedding.weight.detach().clone())


def _arguments(
    pairs: int, training: dict[str, Any], variant: dict[str, Any], scratch: Path
) -> SentenceTransformerTrainingArguments:
    batch, epochs = training["batch_size"], training["epochs"]
    return SentenceTransformerTrainingArguments(
        output_dir=str(scratch),
        num_train_epochs=epochs,
        per_device_train_batch_size=batch,
        learning_rate=variant["learning_rate"],
        warmup_steps=round(0.1 * epochs * math.ceil(pairs / batch)),  # a ratio has other names in other releases
        batch_sampler=variant["sampler"],
        dataloader_num_workers=variant["workers"],
        use_cpu=True,
        seed=training["seed"],
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
