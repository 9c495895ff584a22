"""The laboratory on a terminal: two tables, 80 columns wide."""

from __future__ import annotations

from typing import Any

from nearfar.evaluation.temperature import LANDMARKS


def show(facts: dict[str, Any]) -> None:
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
