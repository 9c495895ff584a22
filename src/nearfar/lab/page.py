"""The results of the temperature laboratory for people: the HTML page, and the tables on the console.

Both take `results`, in the shape of the JSON of `nearfar lab temperature`.
"""

from __future__ import annotations

from typing import Any

from nearfar.lab.temperature import LANDMARKS
from nearfar.printable import show
from nearfar.reports import curves
from nearfar.reports.curves import Curve, TrainedPoint
from nearfar.reports.page import template

_STYLES = ("model", "model second", "model third")


def page(results: dict[str, Any]) -> str:
    """Return the HTML page; it loads nothing. Every text is untrusted and escaped."""
    return template("temperature.html.j2").render(
        results=results,
        shares=_share_curves(results),
        entropy=_curve(results, "entropy_share", "entropy"),
        positive=_curve(results, "positive", "positive"),
        rows=_rows(results),
        drawn=_training_charts(results) if results.get("trainings") else {},
    )


def show_lab(results: dict[str, Any]) -> None:
    """Print the penalties at some temperatures, the metrics after the trainings, and the path of the page."""
    counts = results["sample"]["negatives"]
    show(f"{results['sample']['queries']:,} queries, {counts['least']:,} to {counts['most']:,} negatives each")
    show("share of the gradient on the hardest negatives, entropy of the shares (of its")
    show("maximum), probability of the positive; means over queries", "")
    _print_curves(results)
    if results.get("trainings"):
        steps = results["protocol"]["short trainings"]["steps"]
        show("", f"after {steps} steps at each temperature; tolerance: mean cosine of", results["tolerance_of"], "")
        _print_trainings(results)
    show("", f"page  {results['page']}")


def _share_curves(results: dict[str, Any]) -> list[Curve]:
    """Return the curves of the share of the gradient on the hardest negatives."""
    values, limits = results["curves"], results["limits"]
    return [
        Curve(
            f"hardest {k}",
            style,
            list(zip(values["temperature"], shares)),
            limits["zero"]["hardest"][k],
            limits["infinity"]["hardest"][k],
        )
        for style, (k, shares) in zip(_STYLES, values["hardest"].items())
    ]


def _curve(results: dict[str, Any], key: str, name: str) -> Curve:
    values, limits = results["curves"], results["limits"]
    points = list(zip(values["temperature"], values[key]))
    return Curve(name, "model", points, limits["zero"][key], limits["infinity"][key])


def _rows(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of the page's table: the landmarks and the model's temperature, between the limits."""
    values, limits = results["curves"], results["limits"]
    shown = {results["temperature"], *LANDMARKS}
    rows = [{"temperature": "\u2192 0", **limits["zero"]}]
    for i, tau in enumerate(values["temperature"]):
        if tau in shown:
            hardest = {k: shares[i] for k, shares in values["hardest"].items()}
            others = {key: values[key][i] for key in ("entropy", "entropy_share", "positive")}
            rows.append({"temperature": f"{tau:g}", "hardest": hardest, **others})
    return [*rows, {"temperature": "\u2192 \u221e", **limits["infinity"]}]


def _training_charts(results: dict[str, Any]) -> dict[str, Any]:
    """Return the charts of the short trainings."""
    start, trained = results["start"], results["trainings"]

    def points(metric: str) -> list[TrainedPoint]:
        return [TrainedPoint(row["temperature"], row[metric], **row.get(f"{metric} interval", {})) for row in trained]

    plane = [(row["temperature"], (row["uniformity"], row["tolerance"])) for row in trained]
    before = (start["uniformity"], start["tolerance"])
    cosines = {"tolerance": ("model", points("tolerance")), "random pairs": ("other", points("random_cosine"))}
    mrr, uniformity = {"MRR@10": ("model", points("mrr@10"))}, {"uniformity": ("model", points("uniformity"))}
    return {
        "plane": curves.plane("Uniformity against tolerance", plane, before, "uniformity", "tolerance"),
        "mrr": curves.trainings("MRR@10 in the sample", mrr, start["mrr@10"]),
        "uniformity": curves.trainings("Uniformity", uniformity, start["uniformity"]),
        "tolerance": curves.trainings("Tolerance", cosines, None, from_zero=True),
    }


def _print_curves(results: dict[str, Any]) -> None:
    values, limits = results["curves"], results["limits"]
    ks = list(values["hardest"])
    show(f"{'tau':>8}" + "".join(f"{'hardest ' + k:>13}" for k in ks) + f"{'entropy':>11}{'positive':>11}")
    rows = [("-> 0", limits["zero"], None)]
    rows += [(f"{tau:g}", values, values["temperature"].index(tau)) for tau in LANDMARKS]
    for name, row, i in [*rows, ("-> inf", limits["infinity"], None)]:
        columns = [*(row["hardest"][k] for k in ks), row["entropy_share"], row["positive"]]
        numbers = [column if i is None else column[i] for column in columns]
        widths = [13] * len(ks) + [11, 11]
        show(f"{name:>8}" + "".join(f"{100 * value:>{width - 2}.1f} %" for value, width in zip(numbers, widths)))


def _print_trainings(results: dict[str, Any]) -> None:
    metrics = ("uniformity", "tolerance", "random_cosine", "alignment", "mrr@10")
    widths = (12, 12, 16, 12, 9)
    show(f"{'tau':>8}" + "".join(f"{m.replace('_', ' '):>{w}}" for m, w in zip(metrics, widths)))
    for row in [results["start"], *results["trainings"]]:
        name = f"{row['temperature']:g}" if "temperature" in row else "before"
        values = [row[metric] if row[metric] is not None else float("nan") for metric in metrics]
        show(f"{name:>8}" + "".join(f"{v:>{w}.3f}" for v, w in zip(values, widths)))
