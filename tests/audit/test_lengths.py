"""What a model cuts: every kind of encoder, texts at its maximum and below."""

from __future__ import annotations

from typing import Any

import pytest

from nearfar.audit.lengths import tokens
from nearfar.column import ListColumn
from nearfar.encoders.static import Static
from nearfar.model import Model
from tests.audit.test_checks import read
from tests.encoders.tiny import tiny

SHORT, LONG = "near far pull push", "near far pull push anchor positive negative vector " * 4


def static() -> Static:
    encoder = Static(dim=4, vocabulary=300, max_length=16)
    encoder.prepare([ListColumn("text", [SHORT, LONG])])
    return encoder


@pytest.mark.parametrize("encoder", [static, lambda: tiny("bert", max_length=16)])
def test_texts_that_are_cut_are_named(encoder: Any) -> None:
    model = Model(encoder())
    found = tokens(read([SHORT, LONG, f"{SHORT} again", f"{LONG} again"]), model)
    assert [told["row"] for told in found.findings[0].examples] == [2, 4]
    assert found.profile["tokens"]["text"]["tokens"]["most"] <= 16
    fits = tokens(read([SHORT]), model)
    assert [finding.level for finding in fits.findings] == ["fine"]
