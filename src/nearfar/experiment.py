"""An experiment: train by a recipe, judge on its splits, write the results, the model card and the report."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearfar.errors import InputError
from nearfar.results import run_facts, write_recipe, write_results
from nearfar.storage.locks import run_folder

if TYPE_CHECKING:
    from nearfar.config import Recipe, RecipeParts
    from nearfar.contracts import Positives
    from nearfar.evaluation.baselines import Start
    from nearfar.evaluation.report import Report
    from nearfar.evaluation.searched import Searching
    from nearfar.evaluation.splits import Judgement
    from nearfar.model import Model
    from nearfar.training.fit import Run
    from nearfar.vectors.embed import Embedder


@dataclass(frozen=True)
class Experiment:
    """A run, its reports, and the content of results.json.

    reports: by split, the recipe's main one first; a second task of a split has its kind in its name, "heldout labels".
    """

    run: Run
    reports: dict[str, Report]
    facts: dict[str, Any]

    @property
    def model(self) -> Model:
        """The trained model."""
        return self.run.model

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of the first report, by name; where nothing is judged, those of the run."""
        return next((report.metrics for report in self.reports.values()), self.run.metrics)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.run.folder


def train(
    recipe: str | Path,
    settings: Mapping[str, Any] | Sequence[str] = (),
    *,
    out: str | Path,
    baselines: str | Path | Model | Sequence[str | Path | Model] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> Experiment | None:
    """Train a model by a recipe, judge it on the splits that the recipe names, and write everything under `out`.

    The same as `nearfar train`: recipe.yaml, checkpoints/, model/ with its card, results.json and report.html. Of
    several ranks (torchrun) the first judges and writes; the others get None.

    Args:
        recipe: the name of a recipe that ships, or a YAML file.
        settings: the recipe's settings by path, {"data.path": "faq.jsonl", "training.epochs": 3}, or texts as on the
            command line.
        out: the run's folder.
        baselines: what the model is compared with: floors by name ("bm25", "bm25-stems", "majority", ...), folders
            of models, or models, one or a list; "none" or [] for none. By default the usual floors of each task.
            What the model was before training is always among them: the model that it began from ("start"), or over
            classes and cells that are no text its network with random weights ("untrained").
        resume: go on from the newest whole checkpoint. overwrite: replace a run that lies in `out`.
        quiet: no progress bar.

    Errors: `InputError` for a recipe, data or settings that are wrong, or a folder that is used or in which another
    process is writing; those of `fit`.

    Example:
        >>> import nearfar as nf
        >>> pairs = [{"query": f"where is number {i}", "key": f"number {i} is here"} for i in range(60)]
        >>> small = {"encoder.dim": 16, "encoder.vocabulary": 300, "training.batch_size": 16, "training.steps": 4}
        >>> done = nf.train("static", {"data.path": pairs, "data.heldout": 0.2, **small}, out="runs/a", quiet=True)
        >>> done.model.dim, sorted(path.name for path in done.folder.glob("re*"))
        (16, ['recipe.yaml', 'report.html', 'results.json'])

    When not to use it: where parts are Python objects of your own; compose them with `fit` and `evaluate`.
    """
    from nearfar import config
    from nearfar.evaluation.baselines import chosen_baselines

    chosen, folder = config.load(recipe, settings), Path(out)
    peers = chosen_baselines(baselines)
    with run_folder(folder, allowed=resume or overwrite):  # before the time that reading the data takes
        return run(chosen, config.build(chosen), folder, peers, resume=resume, overwrite=overwrite, quiet=quiet)


def run(
    recipe: Recipe,
    parts: RecipeParts,
    out: Path,
    baselines: Sequence[str | Embedder] | None,
    *,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    search: Callable[[Model], Searching] | None = None,
) -> Experiment | None:
    """Train by a recipe whose parts are built already, and judge; see `train`, which ends with this.

    search: makes of the trained model what searches with it, which is judged, too.
    """
    from nearfar.abilities import start_of
    from nearfar.compute.ranks import Ranks
    from nearfar.config import plain, resolved
    from nearfar.evaluation.row_values import ROWS_FILE
    from nearfar.evaluation.splits import judgements
    from nearfar.evaluation.token_predictions import refuse_other_kind
    from nearfar.reports.sheets import remove_pictures
    from nearfar.training import by_pairs
    from nearfar.training.fit import fit

    first = Ranks.from_environment().is_first
    began = time.perf_counter() - parts.seconds
    judged = judgements(parts.evaluate, parts.positives, baselines)
    splits = dict.fromkeys(one.split for one in judged)
    main = [one for one in judged if one.split == next(iter(splits))]
    _refuse_unknown_best(parts, main)
    numbers = by_pairs.plain(parts.training, len(parts.positives))
    whole: Recipe = plain({**resolved(recipe), "training": numbers})
    if first and (not resume or not (out / "recipe.yaml").exists()):
        write_recipe(out, whole)
        for stale in ("results.json", ROWS_FILE, "report.html"):  # of the run that is replaced
            (out / stale).unlink(missing_ok=True)
        remove_pictures(out)
    starts: dict[str, Start] = {}
    began_from = start_of(parts.encoder)
    started = [one for one in judged if one.has_start(began_from)]

    def before(model: Model) -> None:
        for one in judged:
            refuse_other_kind(model, one.task, one.metrics)  # only now is it known what the model predicts
            one.refuse_baselines(model)
        starts.update({one.name: one.start(model, began_from) for one in started})

    done = fit(
        parts.encoder,
        parts.positives,
        parts.loss,
        out=out,
        before=before if judged else None,
        evaluate=partial(_metrics, main) if judged else None,
        heads=parts.heads,
        objective=parts.objective,
        objective_weight=parts.objective_weight,
        ship=parts.ship,
        heldout=_heldout(parts, splits),
        refresh=parts.refresh,
        resume=resume,
        overwrite=overwrite,
        quiet=quiet,
        notes={"recipe": whole},
        **parts.training,
    )
    if not first:
        return None
    write_recipe(out, whole)  # a resumed run may differ in settings that change no number
    training = _about_training(parts, numbers) | ({} if done.selected is None else {"selected step": done.selected})
    searching = None if search is None else search(done.model)
    reports = {one.name: one.report(done.model, starts.get(one.name), training, searching) for one in judged}
    seconds = time.perf_counter() - began + done.seconds_before  # of all parts of a resumed run
    views, pictures = _views(parts)
    facts = run_facts(done, reports, parts.positives, seconds) | ({"views": views} if views else {})
    write_results(done, reports, facts, pictures)
    return Experiment(done, reports, facts)


def _metrics(judged: Sequence[Judgement], model: Model) -> dict[str, float]:
    """Return the metrics of a model on some tasks; of those that several have, the first task's."""
    found = [one.numbers(model) for one in judged]
    return {name: value for numbers in reversed(found) for name, value in numbers.items()}


def _refuse_unknown_best(parts: RecipeParts, judged: Sequence[Judgement]) -> None:
    """Refuse a metric to stop by that none of the judged tasks has. Errors: `InputError`, with the nearest one."""
    from nearfar import registry
    from nearfar.evaluation.choose import metrics_of
    from nearfar.training.settings import Settings
    from nearfar.training.validation import HELDOUT_LOSS, unknown_best

    settings = Settings(**registry.coerced_settings(Settings, parts.training, "training"))
    if settings.patience and judged:
        found = [metric for one in judged for metric in metrics_of(one.task, one.metrics)]
        unknown_best(settings, [HELDOUT_LOSS, *(name for metric in found for name in metric.meaning)])


def _about_training(parts: RecipeParts, numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a verdict must know of training to say what to try; numbers: the settings, none of them "auto"."""
    settings = {name: numbers[name] for name in ("learning_rate", "epochs", "steps", "batch_size")}
    return {"pairs": len(parts.positives), **settings, "mined negatives": parts.refresh is not None}


def _views(parts: RecipeParts) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return a sheet of pictures that training saw, and the file of its tiles; nothing where it saw no pictures."""
    from nearfar.column import column_kind
    from nearfar.reports.views import names_of, sheet_facts
    from nearfar.training.seen_views import seen_views

    shown = any(column_kind(column) == "image" for column in parts.positives.views.values())
    if not shown:
        return {}, {}
    try:
        seen = seen_views(parts.encoder, parts.positives, **parts.training)
    except InputError as error:  # a picture is no longer there: the run is worth more than the sheet
        warnings.warn(f"no sheet of what training saw: {error}", stacklevel=2)
        return {}, {}
    facts, pictures = sheet_facts(seen, names_of(parts.data, seen), most=64)
    return (facts, pictures) if pictures else ({}, {})


def _heldout(parts: RecipeParts, splits: Iterable[str]) -> Positives | None:
    """Return the positives of the recipe's main split, for the held-out loss; None where it has none."""
    first = next(iter(splits), None)
    if parts.of_split is None or not parts.training["heldout_examples"]:
        return None
    if first is None and parts.objective is None:
        return None
    try:
        return parts.of_split(first or "heldout")  # an objective has held-out rows, too, where nothing is judged
    except InputError as error:  # its rows are too few for such positives: training can do without
        warnings.warn(f"no held-out loss: {error}", stacklevel=2)
        return None
