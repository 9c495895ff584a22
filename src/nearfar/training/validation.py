"""Evaluation during training: metrics, held-out loss and hit rates, the best checkpoint, early stopping by patience."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, Self

import torch
from torch.nn.functional import normalize

from nearfar.compute.evaluating import evaluating
from nearfar.compute.fp32_products import product
from nearfar.compute.ranks import Ranks
from nearfar.contracts import Encoder, Positives
from nearfar.errors import InputError, nearest
from nearfar.model import Model
from nearfar.text.alike import as_read
from nearfar.training.batches import BatchReader, PreparedBatch, uncached_stores
from nearfar.training.checkpoint import Checkpointer
from nearfar.training.completions import Completions
from nearfar.training.encode import micro_batches
from nearfar.training.log import RunLogger
from nearfar.training.mixture import mix
from nearfar.training.objective_terms import hidden_views
from nearfar.training.order import Sampler
from nearfar.training.pair_ranks import hit_rates
from nearfar.training.settings import Settings
from nearfar.training.step import GradientStep

Evaluate = Callable[[Model], Mapping[str, float]]
HELDOUT_LOSS = "heldout_loss"  # the metric's name
USUAL_BEST = "mrr@10"
CURVE_POINTS = 20  # of the held-out loss between the first step and the last, at most
ROWS_BETWEEN = 20  # rows trained on for each held-out row that a point reads: a few per cent of the time


class Evaluator:
    """Evaluates the current encoder on rank 0, and gives all ranks the result.

    selects: whether its best evaluation decides what ships, and its patience when to stop. Where validation rows do
    (`selection`), it has no patience, and the weights that they chose are evaluated at the end (`now`), not the last.
    """

    def __init__(
        self,
        evaluate: Evaluate | None,
        encoder: Encoder,
        settings: Settings,
        checkpointer: Checkpointer,
        logger: RunLogger,
        curve: HeldoutCurve | None = None,
        *,
        selects: bool = True,
    ) -> None:
        self.evaluate, self.encoder, self.settings, self.selects = evaluate, encoder, settings, selects
        self.checkpointer, self.logger, self.curve = checkpointer, logger, curve
        self.judges = evaluate is not None or curve is not None  # at the end, and every so many steps

    @staticmethod
    def refuse_unjudged(settings: Settings, *, judged: bool) -> None:
        """Refuse patience where nothing is evaluated, so that it would never end a run. Errors: `InputError`."""
        if settings.patience and not settings.validation and not judged:
            raise InputError(
                "training.patience counts evaluations, and nothing is evaluated; name what to judge by (evaluate, of a "
                "held-out split), give training.validation, or leave patience out"
            )

    def begin(self, ranks: Ranks) -> None:
        """Log what a new run's language model makes of texts before the first step."""
        if self.curve is not None and self.logger.plan.first == 0:
            ranks.on_first_rank(partial(self.curve.complete, 0))

    def __call__(self, step: int, ranks: Ranks) -> bool:
        """Evaluate, if it is due after this step; return whether this is the best evaluation so far."""
        is_end = self.selects and step == self.logger.plan.steps
        if self.judges and (due(step, self.settings.evaluate_every) or is_end):
            return self.now(step, ranks)
        if self.curve is not None and self.curve.due(step):
            ranks.on_first_rank(partial(self.curve.point, step))
        return False

    def now(self, step: int, ranks: Ranks) -> bool:
        """Evaluate the weights as they are, those of a step; return whether this is the best evaluation so far."""
        if not self.judges:
            return False
        is_best, memory = ranks.on_first_rank(lambda: self._evaluate(step))
        self.checkpointer.memory.update(memory)
        return is_best

    def _evaluate(self, step: int) -> tuple[bool, dict[str, Any]]:
        """Return whether this is the best evaluation so far, and the checkpointer's memory after it."""
        found = {} if self.evaluate is None else self.evaluate(Model(self.encoder))
        loss = None
        if self.curve is not None:
            self.curve.complete(step)
            loss = self.curve.log(step)
        metrics = {name: float(value) for name, value in found.items()} | ({} if loss is None else {HELDOUT_LOSS: loss})
        self.logger.log("evaluate", step=step, metrics=metrics)
        self.logger.warn(step, unknown_best(self.settings, metrics))
        is_best = self.checkpointer.record_evaluation(step, metrics, _deciding_metric(self.settings, metrics))
        best, patience = self.checkpointer.best, self.settings.patience * self.settings.evaluate_every
        if self.selects:
            self.checkpointer.memory["stopped"] = best is not None and 0 < patience <= step - best["step"]
        return is_best, self.checkpointer.memory


def due(step: int, every: int) -> bool:
    """Return whether what happens every so many steps (0: never) happens after this one."""
    return every > 0 and step % every == 0


def _deciding_metric(settings: Settings, metrics: Mapping[str, float]) -> str:
    """Return the name of the metric that decides which checkpoint is the best."""
    return settings.best or (USUAL_BEST if USUAL_BEST in metrics else next(iter(metrics), USUAL_BEST))


def unknown_best(settings: Settings, metrics: Collection[str]) -> str | None:
    """Return a warning where the metric that decides the best checkpoint is missing.

    Errors: `InputError` where patience depends on it.
    """
    if settings.best is None or settings.best in metrics or not settings.evaluate_every:
        return None
    message = f"training.best: no metric {settings.best!r}; {nearest(settings.best, metrics)}"
    if settings.patience:
        raise InputError(message)
    return f"{message}; no checkpoint is kept as the best"


class HeldoutLoss:
    """The mean loss of fixed batches of held-out examples, with the current weights.

    It is computed on `heldout_examples` of the split, the same each time, in one or more batches of training's size.
    Where the split has that many rows, the number of negatives is that of training; only then can the two losses be
    compared. There is no dropout, no gradient and no queue, keys are the trained encoder's, and augmented views are
    drawn once. Of an objective it is the mean over the hidden parts, drawn once, too.

    When not to use it: where two views differ by dropout alone (SimCSE). Without dropout they are the same vector, and
    the loss measures only how uniformly the vectors are spread.
    """

    def __init__(self, positives: Positives, step: GradientStep) -> None:
        self.positives, self.step = positives, step
        self.hidden = hidden_views(None if step.objective is None else step.objective.objective, positives)
        self.settings = replace(
            step.settings, queue=0, keys="same", momentum=0.0, mixing="proportional", one_data_set=False, view_scale=1.0
        )

    @classmethod
    def of(cls, heldout: Positives | Sequence[Positives] | None, step: GradientStep) -> Self | None:
        """Return the held-out loss; None without a split, for fewer than two examples, or if it is off."""
        positives = None if heldout is None else mix(heldout, apart=step.settings.apart)
        if positives is None or len(positives) < 2 or not step.settings.heldout_examples:
            return None
        return cls(positives, step)

    @cached_property
    def batches(self) -> list[PreparedBatch]:
        """The held-out batches, read once."""
        encoder = self.step.encode.encoder
        positives = as_read(encoder, self.positives)
        stores = uncached_stores(encoder, positives)
        sampler = Sampler.of(positives, self.settings)
        count = max(1, min(self.settings.heldout_examples, len(positives)) // sampler.batch_size)
        read_batch = BatchReader(positives, stores, sampler, self.settings, Ranks(), encoder, self.hidden)
        return [read_batch(step) for step in range(count)]

    @torch.no_grad()
    def measured(self) -> tuple[float, dict[str, float]]:
        """Return the loss, and the hit rates at 1, 5 and 10 within its batches (`pair_ranks.hit_rates`), their mean.

        There are none where no loss compares queries with keys. Errors: `InputError` where the loss refuses the batch
        (no negatives, no grades).
        """
        module = self.step.train_state.module
        with evaluating(module):
            found = [self._measured(batch) for batch in self.batches]
            loss = sum(one for one, _ in found) / len(found) + self._objective()
        rates = [of_batch for _, of_batch in found if of_batch]
        return loss, {name: sum(one[name] for one in rates) / len(rates) for name in (rates[0] if rates else ())}

    def _measured(self, batch: PreparedBatch) -> tuple[float, dict[str, float]]:
        """Return the loss and the hit rates of a batch."""
        if self.step.loss is None or batch.trained is None:
            return 0.0, {}
        inputs, sizes = batch.trained.inputs, batch.trained.sizes
        vectors = self.step.encode.without_graph(inputs, micro_batches(inputs, self.settings))
        views = dict(zip(sizes, torch.split(vectors, list(sizes.values())), strict=True))
        with self.step.encode.autocast():
            queries, keys = self.step.queries_and_keys(views, self.positives)  # (n, d), (m, d)
            loss = float(self.step.loss(queries, keys, batch.pairs))
        q, k = (normalize(side.float(), dim=1).cpu() for side in (queries, keys))
        return loss, hit_rates(product(q, k), batch.pairs)

    def _objective(self) -> float:
        """Return the objective's weighted mean over all batches; 0 without one."""
        if self.step.objective is None:
            return 0.0
        sums = torch.stack([self.step.objective.sums(batch, backward=False) for batch in self.batches]).sum(0)
        total, count = sums.tolist()
        return float(self.step.objective.weight * total / max(count, 1.0))


class HeldoutCurve:
    """Logs the held-out loss now and then, so that it stands beside the training loss of a run, and the hit rates.

    It is measured after the first step and then at even distances: at most 20 times in a run, and at most once for
    twenty times as many rows of training as it reads; besides these, at each evaluation. The event "heldout" also says
    how many examples it is of, in batches of which size: only a loss of equally large batches can be compared with that
    of training. The hit rates at 1, 5 and 10 are those among the keys of such a batch, query-to-key, ties counting
    against the model: a loss may fall while they fall, too, as the sigmoid loss does where all logits sink. No decision
    hangs on them. A language model also completes a few held-out texts (`Completions`), in the event "completions":
    before the first step, at every fourth of these points, at each evaluation and at the end.
    """

    def __init__(self, loss: HeldoutLoss, settings: Settings, logger: RunLogger) -> None:
        self.loss, self.logger, self.plan = loss, logger, logger.plan
        objective = None if loss.step.objective is None else loss.step.objective.objective
        self.completions = Completions.of(loss.step.encode.encoder, objective, loss.hidden, loss.positives)
        rows = min(settings.heldout_examples, len(loss.positives))
        self.every = max(
            math.ceil(self.plan.steps / CURVE_POINTS), math.ceil(ROWS_BETWEEN * rows / self.plan.batch_size)
        )

    def due(self, step: int) -> bool:
        """Return whether the curve has a point after this step."""
        return step == 1 or due(step, self.every)

    def point(self, step: int) -> None:
        """Log a point of the curve, and at every fourth how a language model completes texts."""
        if due(step, 4 * self.every):
            self.complete(step)
        self.log(step)

    def log(self, step: int) -> float | None:
        """Log what is measured and return the loss; None, with a warning once, where the loss refuses the split."""
        try:
            loss, rates = self.loss.measured()
        except InputError as error:
            self.logger.warn(step, f"no {HELDOUT_LOSS}: {error}")
            return None
        sizes = [len(batch.examples) for batch in self.loss.batches]
        of = {"examples": sum(sizes), "batch": max(sizes)}
        self.logger.log("heldout", step=step, **{HELDOUT_LOSS: loss}, **rates, of=of)
        return loss

    def complete(self, step: int) -> None:
        """Log how a language model completes texts; of any other model nothing."""
        if self.completions is not None:
            self.logger.log("completions", step=step, **self.completions())
