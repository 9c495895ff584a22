"""The page of an audit: problems first, each with its rows and its fix; then what the data looks like."""

from __future__ import annotations

from typing import Any

from nearfar.reports.run import template

_CLASSES = 12  # that the table of classes shows


def page(facts: dict[str, Any]) -> str:
    """Return the HTML page of what `nearfar audit` found, in the shape of its JSON; it loads nothing.

    Every text is untrusted, and escaped.
    """
    by_level = {level: [f for f in facts["findings"] if f["level"] == level] for level in ("problem", "notice")}
    profile = facts["profile"]
    return template("audit.html.j2").render(
        facts=facts,
        **by_level,
        rows=sum(facts["splits"].values()),
        lengths={role: told | {"shares": _shares(told["histogram"]["counts"])} for role, told in _lengths(profile)},
        tokens=profile.get("tokens", {}),
        languages=_languages(profile),
        pairs=_pairs(profile.get("pairs", {})),
        classes=_classes(profile.get("classes")),
        diversity=profile.get("diversity"),
        took=sum(facts["seconds"].values()),
    )


def _lengths(profile: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return list(profile.get("lengths", {}).items())


def _shares(counts: list[float]) -> list[float]:
    total = sum(counts)
    return [count / total for count in counts] if total else counts


def _languages(profile: dict[str, Any]) -> dict[str, list[tuple[str, float]]]:
    told = {role: one for role, one in profile.get("languages", {}).items() if isinstance(one, dict)}
    return {role: list(one["shares"].items())[:6] for role, one in told.items()}


def _pairs(told: dict[str, Any]) -> dict[str, Any] | None:
    if "histogram" not in told:
        return None
    histogram = told["histogram"]
    return told | {key: _shares(histogram[key]) for key in ("pairs", "random")} | {"edges": histogram["edges"]}


def _classes(told: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the commonest and the rarest classes, with the most of all for the bars."""
    if told is None:
        return None
    counts = list(next(iter(told["counts"].values())).items())
    shown = counts if len(counts) <= _CLASSES else [*counts[: _CLASSES // 2], *counts[-_CLASSES // 2 :]]
    return told | {"shown": shown, "left": len(counts) - len(shown), "most": max((n for _, n in counts), default=1)}
