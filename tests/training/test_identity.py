"""A run's identity: every setting of a loss makes another run."""

from __future__ import annotations

from typing import Any

import pytest

from nearfar import registry
from nearfar.encoders.static import Static
from nearfar.positives.columns import Columns
from nearfar.training.identity import run_identity
from nearfar.training.settings import Settings
from nearfar.training.train_module import Trained
from tests.contracts.test_losses import COMPARING
from tests.training.runs import rows

SETTINGS = [
    (name, setting, parameter.default)
    for name in COMPARING
    for setting, parameter in registry.recipe_settings("losses", registry.find("losses", name)).items()
    if isinstance(parameter.default, int | float)
]


@pytest.mark.parametrize(("name", "setting", "default"), SETTINGS)
def test_a_loss_with_another_setting_is_another_run(name: str, setting: str, default: Any) -> None:
    encoder, positives = Static(dim=4, vocabulary=300), Columns(rows(8))
    encoder.prepare(list(positives.views.values()))
    other = not default if isinstance(default, bool) else default + 1 if isinstance(default, int) else default + 0.125

    def identity(**given: Any) -> Any:
        loss = registry.build("losses", {"name": name, **given}, dim=4)
        return run_identity(Trained(encoder, loss), positives, Settings())["loss"]

    assert identity(**{setting: other})[setting] == pytest.approx(other)
    assert identity() != identity(**{setting: other})


@pytest.mark.parametrize("setting", [{"seed": 7}, {"vocabulary": 280}])
@pytest.mark.parametrize("name", ["dual", "frozen_projection"])
def test_an_encoder_with_another_setting_of_a_part_is_another_run(name: str, setting: dict[str, Any]) -> None:
    """What an encoder keeps for loading must not hide the settings that a part inside it was trained with."""
    inner = "of" if name == "frozen_projection" else "key"

    def identity(**more: Any) -> Any:
        small = {"name": "static", "dim": 4, "vocabulary": 300}
        parts = {"of": small} if inner == "of" else {"query": small, "key": small}
        encoder = registry.build("encoders", {"name": name, **parts, inner: small | more})
        positives = Columns(rows(8))
        encoder.prepare(list(positives.views.values()))
        positives.fingerprint = "the same"
        found = run_identity(
            Trained(encoder, registry.build("losses", {"name": "infonce"}, dim=4)), positives, Settings()
        )
        return found["encoder"][inner]

    assert identity() == identity()
    assert identity(**setting) != identity()
