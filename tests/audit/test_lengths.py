"""Texts that reach a model's maximum length, for every kind of encoder."""

from __future__ import annotations

from typing import Any

import pytest

from nearfar.audit.lengths import tokens
from nearfar.column import ListColumn
from nearfar.encoders.static import Static
from nearfar.model import Model
from tests.audit.test_checks import read
from tests.encoders.tiny import tiny

SHORT, LONG = "query key pull push", "query key pull push anchor positive negative vector " * 4


def static() -> Static:
    encoder = Static(dim=4, vocabulary=300, max_length=16)
    encoder.prepare([ListColumn("text", [SHORT, LONG])])
    return encoder


@pytest.mark.parametrize("encoder", [static, lambda: tiny("bert", max_length=16)])
def test_texts_that_are_cut_are_named(encoder: Any) -> None:
    model = Model(encoder())
    result = tokens(read([SHORT, LONG, f"{SHORT} again", f"{LONG} again"]), model)
    assert [example["row"] for example in result.findings[0].examples] == [2, 4]
    assert result.profile["tokens"]["text"]["tokens"]["most"] <= 16
    fits = tokens(read([SHORT]), model)
    assert [finding.level for finding in fits.findings] == ["fine"]
