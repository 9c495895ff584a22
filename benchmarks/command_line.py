"""How soon the command line answers: `nearfar --help`, a whole process each time, on an idle machine."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

from _machine import NEARFAR, RESULTS, bound, conclude, facts, fresh

LIMIT = 0.3  # s, the median


def answer() -> dict[str, Any]:
    """Return the seconds that one call took."""
    began = time.perf_counter()
    subprocess.run([NEARFAR, "--help"], capture_output=True, check=True, timeout=60)
    return {"seconds": time.perf_counter() - began}


def measure(given: argparse.Namespace) -> None:
    machine = facts()
    seconds = [fresh(__file__, {})["seconds"] for _ in range(given.rounds)]
    held = [bound("nearfar --help, median seconds", statistics.median(seconds), LIMIT, least=False)]
    settings = {"rounds": given.rounds}
    measured = {"machine": machine, "settings": settings, "runs": seconds, "bounds": held}
    conclude(given.out, "command_line", measured)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="calls")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(answer(**json.loads(given.child))))
    else:
        measure(given)


if __name__ == "__main__":
    main()
