"""Objectives: hide a part, and predict it. Each file is a part; its one public class is an attribute here."""

from __future__ import annotations

from typing import Any

from nearfar.registry import attribute, attributes


def __getattr__(name: str) -> Any:
    return attribute("objectives", name)


def __dir__() -> list[str]:
    return attributes("objectives")
