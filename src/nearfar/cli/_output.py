"""What a command prints: text for people on a terminal, or one JSON value and nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the facts as one JSON value on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]


def emit(facts: Any, as_json: bool, show: Callable[[], None]) -> None:
    """Print facts as JSON, or show them to people."""
    if as_json:
        print(json.dumps(finite(facts), ensure_ascii=False, default=str))
    else:
        show()


def finite(value: Any) -> Any:
    """Return plain values with null in the place of numbers that JSON has no word for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value
