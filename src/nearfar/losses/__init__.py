"""Module 3: the losses over queries and keys. Each file is a part; its public class is an attribute of the package."""

from __future__ import annotations

from typing import Any

from nearfar.registry import attribute, attributes


def __getattr__(name: str) -> Any:
    return attribute("losses", name)


def __dir__() -> list[str]:
    return attributes("losses")
