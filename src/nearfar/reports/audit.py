"""The page of an audit: problems first, each with its rows and its fix; then the profile of the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nearfar.reports.page import template
from nearfar.reports.sheets import Sprites

_CLASSES = 12  # that the table of classes shows


def page(audit: dict[str, Any], pictures: Mapping[str, bytes] | None = None) -> str:
    """Return the HTML page of an audit, given in the shape of the JSON of `nearfar audit`; it loads nothing.

    pictures: the file that the JSON's sheet names. Every text is untrusted and escaped.
    """
    sprites = Sprites(pictures or {})
    tiles = sprites.of(audit.get("sheet", {}))
    by_level = {level: [f for f in audit["findings"] if f["level"] == level] for level in ("problem", "notice")}
    profile = audit["profile"]
    lengths = profile.get("lengths", {})
    return template("audit.html.j2").render(
        audit=audit,
        **by_level,
        tiles=tiles,
        sprites=sprites,
        rows=sum(audit["splits"].values()),
        lengths={role: length | {"shares": _shares(length["histogram"]["counts"])} for role, length in lengths.items()},
        tokens=profile.get("tokens", {}),
        languages=_languages(profile),
        pairs=_pairs(profile.get("pairs", {})),
        classes=_classes(profile.get("classes")),
        diversity=profile.get("diversity"),
        seconds=sum(audit["seconds"].values()),
    )


def _shares(counts: list[float]) -> list[float]:
    total = sum(counts)
    return [count / total for count in counts] if total else counts


def _languages(profile: dict[str, Any]) -> dict[str, list[tuple[str, float]]]:
    """Return the commonest languages of each role with their shares; nothing where languages were not detected."""
    by_role = {role: value for role, value in profile.get("languages", {}).items() if isinstance(value, dict)}
    return {role: list(value["shares"].items())[:6] for role, value in by_role.items()}


def _pairs(pairs: dict[str, Any]) -> dict[str, Any] | None:
    if "histogram" not in pairs:
        return None
    histogram = pairs["histogram"]
    return pairs | {key: _shares(histogram[key]) for key in ("pairs", "random")} | {"edges": histogram["edges"]}


def _classes(classes: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the commonest and the rarest classes, and the largest count, which sets the scale of the bars."""
    if classes is None:
        return None
    counts = list(next(iter(classes["counts"].values())).items())
    shown = counts if len(counts) <= _CLASSES else [*counts[: _CLASSES // 2], *counts[-_CLASSES // 2 :]]
    most = max((n for _, n in counts), default=1)
    return classes | {"shown": shown, "left": len(counts) - len(shown), "most": most}
