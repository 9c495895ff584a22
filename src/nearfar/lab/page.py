"""The page of the temperature laboratory: what the loss does at each temperature, and what becomes of the space."""

from __future__ import annotations

from typing import Any

from nearfar.lab.temperature import LANDMARKS
from nearfar.reports import curves
from nearfar.reports.curves import Curve, TrainedPoint
from nearfar.reports.run import template

_LOOKS = ("model", "model second", "model third")


def page(facts: dict[str, Any]) -> str:
    """Return the HTML page of what `nearfar lab temperature` found, in the shape of its JSON; it loads nothing.

    Every text is untrusted, and escaped.
    """
    return template("temperature.html.j2").render(
        facts=facts,
        shares=_shares(facts),
        entropy=_curve(facts, "entropy_share", "entropy"),
        positive=_curve(facts, "positive", "positive"),
        rows=_rows(facts),
        drawn=_drawn(facts) if facts.get("trainings") else {},
    )


def _shares(facts: dict[str, Any]) -> list[Curve]:
    """Return the curves of the hardest negatives' shares."""
    told, limits = facts["curves"], facts["limits"]
    return [
        Curve(
            f"hardest {k}",
            look,
            list(zip(told["temperature"], values)),
            limits["zero"]["hardest"][k],
            limits["infinity"]["hardest"][k],
        )
        for look, (k, values) in zip(_LOOKS, told["hardest"].items())
    ]


def _curve(facts: dict[str, Any], key: str, name: str) -> Curve:
    told, limits = facts["curves"], facts["limits"]
    points = list(zip(told["temperature"], told[key]))
    return Curve(name, "model", points, limits["zero"][key], limits["infinity"][key])


def _rows(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the numbers at some temperatures and the one that is spoken of, between the limits."""
    told, limits = facts["curves"], facts["limits"]
    wanted = {facts["temperature"], *LANDMARKS}
    rows = [{"temperature": "\u2192 0", **limits["zero"]}]
    for i, tau in enumerate(told["temperature"]):
        if tau in wanted:
            shared = {k: values[i] for k, values in told["hardest"].items()}
            plain = {key: told[key][i] for key in ("entropy", "entropy_share", "positive")}
            rows.append({"temperature": f"{tau:g}", "hardest": shared, **plain})
    return [*rows, {"temperature": "\u2192 \u221e", **limits["infinity"]}]


def _drawn(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the drawings of the short trainings."""
    start, found = facts["start"], facts["trainings"]

    def of(name: str) -> list[TrainedPoint]:
        return [TrainedPoint(told["temperature"], told[name], **told.get(f"{name} interval", {})) for told in found]

    space = [(told["temperature"], (told["uniformity"], told["tolerance"])) for told in found]
    before = (start["uniformity"], start["tolerance"])
    near = {"tolerance": ("model", of("tolerance")), "random pairs": ("other", of("random_cosine"))}
    return {
        "plane": curves.plane("Uniformity against tolerance", space, before, "uniformity", "tolerance"),
        "found": curves.trainings("MRR@10 in the sample", {"MRR@10": ("model", of("mrr@10"))}, start["mrr@10"]),
        "uniformity": curves.trainings("Uniformity", {"uniformity": ("model", of("uniformity"))}, start["uniformity"]),
        "tolerance": curves.trainings("Tolerance", near, None, from_zero=True),
    }


def show_lab(facts: dict[str, Any]) -> None:
    """Print the curves at some temperatures, the trainings, and where the page lies."""
    counts = facts["sample"]["negatives"]
    print(f"{facts['sample']['queries']:,} queries, {counts['least']:,} to {counts['most']:,} negatives each")
    print("share of the gradient on the hardest negatives, entropy of the shares (of its")
    print("maximum), probability of the positive; means over queries\n")
    _curves(facts)
    if facts.get("trainings"):
        steps = facts["protocol"]["short trainings"]["steps"]
        print(f"\nafter {steps} steps at each temperature; tolerance: mean cosine of")
        print(f"{facts['tolerance_of']}\n")
        _trainings(facts)
    print(f"\npage  {facts['page']}")


def _curves(facts: dict[str, Any]) -> None:
    told, limits = facts["curves"], facts["limits"]
    shares = list(told["hardest"])
    print(f"{'tau':>8}" + "".join(f"{'hardest ' + k:>13}" for k in shares) + f"{'entropy':>11}{'positive':>11}")
    rows = [("-> 0", limits["zero"], None)]
    rows += [(f"{tau:g}", told, told["temperature"].index(tau)) for tau in LANDMARKS]
    for name, values, place in [*rows, ("-> inf", limits["infinity"], None)]:
        numbers = [*(values["hardest"][k] for k in shares), values["entropy_share"], values["positive"]]
        line = [value if place is None else value[place] for value in numbers]
        widths = [13] * len(shares) + [11, 11]
        print(f"{name:>8}" + "".join(f"{100 * value:>{width - 2}.1f} %" for value, width in zip(line, widths)))


def _trainings(facts: dict[str, Any]) -> None:
    columns = ("uniformity", "tolerance", "random_cosine", "alignment", "mrr@10")
    widths = (12, 12, 16, 12, 9)
    print(f"{'tau':>8}" + "".join(f"{c.replace('_', ' '):>{w}}" for c, w in zip(columns, widths)))
    for row in [facts["start"], *facts["trainings"]]:
        name = f"{row['temperature']:g}" if "temperature" in row else "before"
        values = [row[column] if row[column] is not None else float("nan") for column in columns]
        print(f"{name:>8}" + "".join(f"{v:>{w}.3f}" for v, w in zip(values, widths)))
