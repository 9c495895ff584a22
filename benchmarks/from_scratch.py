"""Small transformers learnt from nothing, without labels and with them, and the way they take through the plane of
uniformity and alignment.

python benchmarks/from_scratch.py [--steps 200] [--studies simcse_scratch paraphrases] [--picture FILE.svg]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from _machine import RESULTS, conclude, facts, fresh, tell
from _path import drawn
from rich.table import Table

DATA = Path(__file__).parents[2] / "shared" / "data"
STUDIES = ("simcse_scratch, dropout alone", "simcse_scratch", "paraphrases")


def table(found: dict[str, Any]) -> Table:
    """Return what each training came to, before and after."""
    shown = Table(title="STS-B test, Spearman; alignment and uniformity on held-out captions")
    for name in ("", "before", "after", "captions", "news and forums", "alignment", "uniformity", "pairs/s", "s"):
        shown.add_column(name, justify="right" if name else "left")
    words = found["baselines"]
    shown.add_row("words by rarity", "", f"{words['spearman']:.3f}", *(f"{v:.3f}" for v in words["parts"].values()))
    for name, told in found["studies"].items():
        first, last = told["path"][0], told["path"][-1]
        shown.add_row(
            name,
            f"{first['spearman']:.3f}",
            f"{last['spearman']:.3f}",
            *(f"{value:.3f}" for value in told["parts"].values()),
            f"{first['alignment']:.2f} to {last['alignment']:.2f}",
            f"{first['uniformity']:.2f} to {last['uniformity']:.2f}",
            f"{told['train_pairs_per_second']:.0f}",
            f"{told['seconds']:.0f}",
        )
    return shown


def measure(given: argparse.Namespace) -> None:
    machine = facts()
    found: dict[str, Any] = {"studies": {}}
    with tempfile.TemporaryDirectory() as folder:
        for number, study in enumerate(given.studies):
            tell(f"{study}: {given.steps} steps")
            task = {"study": study, "data": str(given.data), "out": f"{folder}/{number}", "steps": given.steps}
            found["studies"][study] = fresh(__file__, {**task, "looks": given.looks, "overrides": given.set})
    found["baselines"] = fresh(__file__, {"study": "", "data": str(given.data)})
    settings = {"steps": given.steps, "looks": given.looks, "set": given.set}
    conclude(given.out, "from_scratch", {"machine": machine, "settings": settings, **found}, table(found), width=140)
    if given.picture:
        given.picture.write_text(drawn({name: told["path"] for name, told in found["studies"].items()}), "utf-8")


def child(study: str, data: str, **given: Any) -> dict[str, Any]:
    """Measure one thing in this process."""
    from _scratch import baselines, train

    return train(study, data, **given) if study else baselines(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--studies", nargs="+", default=list(STUDIES), choices=STUDIES)
    parser.add_argument("--steps", type=int, default=200, help="of each training")
    parser.add_argument("--looks", type=int, default=16, help="points on each way, evenly spaced in steps")
    parser.add_argument("--set", action="append", default=[], help="a setting of the recipes, as path=value")
    parser.add_argument("--picture", type=Path, help="an SVG of the ways, to be written")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(**json.loads(given.child))))
    else:
        measure(given)


if __name__ == "__main__":
    main()
