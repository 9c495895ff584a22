"""Numbers on pages: no exponents, true minus signs, and intervals."""

import math

import pytest

from nearfar.reports.charts import Axis
from nearfar.reports.numbers import interval, minus, number, power, short


@pytest.mark.parametrize(
    ("value", "shown", "difference"),
    [
        (9e-05, "0.00009", "+0.00009"),
        (-9e-05, "\u22120.00009", "\u22120.00009"),
        (1e-7, "< 0.00001", "< +0.00001"),
        (-1e-7, "> \u22120.00001", "> \u22120.00001"),
        (0.9997, "0.9997", "+0.9997"),
        (0.9999999, "0.99999", "+0.99999"),
        (1.0, "1.000", "+1.000"),
        (1e20, "> 1,000,000,000,000,000", "> +1,000,000,000,000,000"),
        (-1e20, "< \u22121,000,000,000,000,000", "< \u22121,000,000,000,000,000"),
    ],
)
def test_a_number_is_written_out(value: float, shown: str, difference: str) -> None:
    assert number(value) == shown
    assert number(value, sign=True) == difference


def test_an_interval_has_true_minus_signs() -> None:
    assert interval({"low": 0.57, "high": 0.6}) == "[0.570, 0.600]"
    assert interval({"low": -0.01, "high": 0.016}, sign=True) == "[\u22120.010, +0.016]"
    assert interval({"low": None, "high": 1.0}) == interval(None) == ""
    assert number(None) == "\u2013"


def test_short_numbers_have_three_digits_and_no_exponent() -> None:
    values = (0, 1.6, 0.000123, 0.0586, 51234.8, -2.0, 1e-9)
    assert [short(value) for value in values] == [
        "0", "1.6", "0.000123", "0.0586", "51,235", "\u22122", "< 0.00001",
    ]  # fmt: skip


def test_an_axis_has_no_exponent_either() -> None:
    assert power(2e-7) == "2\u00b710\u207b\u2077"
    assert power(-3.5e12) == "\u22123.5\u00b710\u00b9\u00b2"
    for values in ([0.0, 3e-9], [-1e12, 4e12], [0.0, 0.00004], [math.pi, math.pi + 1e-7]):
        texts = [text for _, text in Axis.over(values).ticks()]
        assert not any("e" in text or "-" in text for text in texts), texts


def test_a_sentence_has_true_minus_signs_and_keeps_its_names() -> None:
    assert minus("a-1 [-0.010, +0.030], -2 (bm25-2)") == "a-1 [\u22120.010, +0.030], \u22122 (bm25-2)"
