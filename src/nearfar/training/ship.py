"""What ships of a run: the encoder, or the encoder with its projection."""

from __future__ import annotations

from typing import Any, Literal, get_args

from nearfar.contracts import Encoder
from nearfar.encoders.projected import Projected
from nearfar.errors import InputError, nearest
from nearfar.training.train_module import Trained

Ship = Literal["encoder", "projection"]
SHIPPED: tuple[Ship, ...] = get_args(Ship)


def refuse_unknown_ship(ship: Any) -> None:
    """Raise `InputError` for what is neither the encoder nor its projection."""
    if ship not in SHIPPED:
        raise InputError(f"ship: {ship!r} cannot be shipped; {nearest(str(ship), SHIPPED)}")


def shipped_encoder(trained: Trained, ship: Ship) -> Encoder:
    """Return the encoder of the model that a run makes. Errors: `InputError` for a projection that there is not."""
    if ship == "encoder":
        return trained.encoder
    refuse_unknown_ship(ship)
    if "projection" not in trained.heads:
        raise InputError("ship=projection: the recipe has no heads.projection; add one, or leave ship out")
    return Projected(trained.encoder, trained.heads["projection"])
