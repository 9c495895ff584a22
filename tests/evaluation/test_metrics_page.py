"""The page about metrics names every task, metric and floor; the contract stands on the page with the skeletons."""

from __future__ import annotations

import re
from pathlib import Path

from nearfar import registry
from nearfar.contracts import Predictions
from nearfar.evaluation.baselines import floor_names
from nearfar.tasks import TASK_TYPES
from tests.skeletons import PAGE as CONTRACTS_PAGE

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
CONTRACTS = CONTRACTS_PAGE.read_text(encoding="utf-8")


def test_it_names_every_task_metric_and_floor() -> None:
    for name in ("Language", *(task.__name__ for task in TASK_TYPES), *registry.names("metrics"), *floor_names()):
        assert f"`{name}`" in PAGE, name


def test_a_metric_is_explained_once_with_every_part_that_it_may_need() -> None:
    assert "write_your_own.md#a-metric" in PAGE and "write_your_own.md#a-floor" in PAGE
    told = CONTRACTS.partition("\n## A metric\n")[2].partition("\n## A floor\n")[0]
    rows = re.findall(r"^\| `(\w+)` \|", told, re.MULTILINE)
    fields = set(Predictions.__dataclass_fields__) - {"dev_scores", "about", "shared"}  # they come with others
    assert set(rows) == fields
    for word in ("`needs`", "Statistic(value, resampled)"):
        assert word in told and word not in PAGE
