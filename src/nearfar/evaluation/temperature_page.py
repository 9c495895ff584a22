"""The page of the temperature laboratory: what the loss does at each temperature, and what becomes of the space."""

from __future__ import annotations

from typing import Any

from nearfar.evaluation import _curves
from nearfar.evaluation._curves import Curve, Trained
from nearfar.evaluation.page import template
from nearfar.evaluation.temperature import LANDMARKS

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

    def of(name: str) -> list[Trained]:
        return [Trained(told["temperature"], told[name], **told.get(f"{name} interval", {})) for told in found]

    space = [(told["temperature"], (told["uniformity"], told["tolerance"])) for told in found]
    before = (start["uniformity"], start["tolerance"])
    near = {"tolerance": ("model", of("tolerance")), "random pairs": ("other", of("random_cosine"))}
    return {
        "plane": _curves.plane("Uniformity against tolerance", space, before, "uniformity", "tolerance"),
        "found": _curves.trainings("MRR@10 in the sample", {"MRR@10": ("model", of("mrr@10"))}, start["mrr@10"]),
        "uniformity": _curves.trainings("Uniformity", {"uniformity": ("model", of("uniformity"))}, start["uniformity"]),
        "tolerance": _curves.trainings("Tolerance", near, None, from_zero=True),
    }
