"""Language by hiding: models of twelve minutes beside counts of tokens, and contrastive runs with and without it.

python benchmarks/hiding.py [--only causal masked sts code few] [--minutes 12] [--seeds 0 1 2] [--work FOLDER]

causal, masked: a language model on H-imdb's reviews, judged on 2,500 others; counts of n-grams and of neighbours see
the passages that the model has seen, or all. sts, code, few: SimCSE on sentences of the reviews, docstrings to code,
and that with few of the pairs; from the same network with the same tokenizer, untaught, or taught by hiding first. The
weights of a contrastive run are those of its best look at dev, settings were chosen on dev, too. Minutes become steps
by a short run, which wants an idle machine; with --work what was measured is kept, so that a run goes on where it
ended, and --before names earlier results, of which a study takes what they have of its rows and seeds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from _hiding_rows import ALONE, LONGER, MASKED, RETROMAE, steps_of, study
from _machine import RESULTS, bound, conclude, facts, fresh, once, tell
from rich.table import Table

DATA = Path(__file__).parents[2] / "shared" / "data"
PARTS = ("causal", "masked", "sts", "code", "few")
ROWS = ("untaught", "masked", "retromae", ALONE, LONGER, MASKED, RETROMAE)
RECIPES = {"causal": "causal_language", "masked": "masked_language", "retromae": "retromae"}
SHARED = ["training.precision=auto"]
MUON = ["training.optimizer=muon", "training.learning_rate=6e-3"]  # chosen on dev in runs of a minute or a few
# Of so many minutes a smaller network makes more, chosen on dev: it takes twice the steps of the recipe's.
SMALLER = [f"encoder.config.{size}" for size in ("hidden_size=128", "num_attention_heads=2", "intermediate_size=344")]
HIDE: dict[str, list[str]] = {
    "causal": MUON,
    "masked": [*MUON, *SMALLER, "objective.random=0", "objective.kept=0"],
    "start": MUON,  # masked language before contrast: some hidden tokens are kept, so that shown ones are told, too
    "retromae": MUON,
}
CODE = [
    *("finetune", "encoder.max_length=128", "training.validation=0"),
    *("training.batch_size=128", "training.learning_rate=1e-3"),
]
CONTRAST = {
    "sts": ["simcse_scratch", "encoder.config=null", "encoder.max_length=64", "encoder.dropout=0.1"],
    "code": CODE,
    "few": CODE,
}


def child(part: str, **task: Any) -> dict[str, Any]:
    """Do what a fresh process is asked for."""
    import _hiding_language as language
    import _hiding_start as start

    parts: dict[str, Any] = {name: getattr(language, name) for name in ("rate", "train", "causal", "masked")}
    parts |= {name: getattr(start, name) for name in ("untaught", "contrast", "judge")}
    found: dict[str, Any] = parts[part](**task)
    return found


def measure(given: argparse.Namespace) -> None:
    measured: dict[str, Any] = {"machine": facts(), "settings": _settings(given), "bounds": []}
    tables: list[Any] = []
    with tempfile.TemporaryDirectory() as scratch:
        work = given.work or Path(scratch)
        for part in given.only:
            if part in ("causal", "masked"):
                found, bounds, table = _language(part, given, work)
            else:
                found, bounds, table = study(__file__, part, given, work)
            measured[part] = found
            measured["bounds"] += bounds
            tables.append(table)
    conclude(given.out, "hiding", measured, *tables, width=140)


def _language(part: str, given: argparse.Namespace, work: Path) -> tuple[dict[str, Any], list[Any], Table]:
    """Train a language model of some minutes, and judge it beside counts."""
    from _hiding_data import reviews

    recipe = RECIPES[part]
    settings = [f"data.path={reviews(given.data, work / 'imdb')}", "data.heldout=0", *given.shared, *given.hide[part]]
    steps = steps_of(__file__, f"language-{part}", recipe, settings, given.minutes, work)
    settings = [*settings, "training.seed=0", "encoder.seed=0", f"training.steps={steps}"]
    task = {"part": "train", "recipe": recipe, "settings": settings, "out": str(work / f"language-{part}")}
    run = once(work, f"language-{part}", task, partial(fresh, __file__, task))
    tell(f"{part}: {steps} steps, {run['seconds of fit']:.0f} s")
    task = {"part": part, "recipe": recipe, "settings": settings, "model": run["model"]}
    found = once(work, f"judged-{part}", task, partial(fresh, __file__, task))
    found["run"] = {name: value for name, value in run.items() if name != "model"} | {"steps": steps}
    rows, figure = found["rows"], "bits per byte" if part == "causal" else "accuracy"
    first, *others = rows
    asked = [name for name in others if part == "masked" or name == "5-gram, same tokens"]
    bounds = [
        bound(f"{first}: {figure}, beside {n}", rows[first][figure], rows[n][figure], least=part == "masked")
        for n in asked
    ]
    for name in others:
        if name.startswith("decoder with"):
            best = min(rows[first][figure], rows[name.removeprefix("decoder with ")][figure])
            bounds.append(bound(f"{name}: {figure}", rows[name][figure], best, least=False))
    return found, bounds, _shown(part, found)


def _shown(part: str, found: dict[str, Any]) -> Table:
    about = found["facts"]
    seen, every = about["distinct tokens seen"], about["tokens of all training passages"]
    table = Table(title=f"{part} language, {seen / 1e6:.1f} of {every / 1e6:.1f} million tokens seen")
    figures = list(dict.fromkeys(name for row in found["rows"].values() for name in row))
    for column in ("", *figures):
        table.add_column(column, justify="right" if column else "left")
    for name, row in found["rows"].items():
        table.add_row(name, *(f"{row[figure]:.4g}" if figure in row else "" for figure in figures))
    return table


def _settings(given: argparse.Namespace) -> dict[str, Any]:
    names = ("only", "minutes", "contrast_minutes", "looks", "seeds", "rows", "shared", "hide", "contrast")
    return {name: getattr(given, name) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--minutes", type=float, default=12.0, help="of hiding, a row")
    parser.add_argument("--contrast-minutes", type=float, default=3.0)
    parser.add_argument("--looks", type=int, default=8, help="at dev, in a contrastive run")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--before", nargs="*", type=Path, default=[], help="earlier results to take up")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS)
    parser.add_argument(
        "--set", action="append", default=[], help="PART:path=value; parts: those of --only, start, retromae"
    )
    parser.add_argument("--work", type=Path, help="folder that keeps what each process found, to go on from")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.shared, given.hide, given.contrast = list(SHARED), dict(HIDE), dict(CONTRAST)
    for words in given.set:
        name, _, setting = words.partition(":")
        where = given.hide if name in given.hide else given.contrast
        where[name] = [*where[name], setting]
    if given.child:
        print(json.dumps(child(**json.loads(given.child))))
    else:
        measure(given)


if __name__ == "__main__":
    main()
