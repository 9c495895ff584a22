"""The skeletons of docs/write_your_own.md: each code block that begins with its file's path, written to a folder."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "write_your_own.md"
BLOCK = re.compile(r"^```python\n# (\S+\.py)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def skeletons() -> dict[str, str]:
    """Return the text of each file of the page by its path: "losses/contrastive.py"."""
    return dict(BLOCK.findall(PAGE.read_text(encoding="utf-8")))


def parts() -> list[tuple[str, str]]:
    """Return the package and the name of each part on the page: ("evaluation.floors", "same_length")."""
    return [(package_of(path), Path(path).stem) for path in skeletons() if not path.startswith("tests/")]


def package_of(path: str) -> str:
    """Return the package of a file: "evaluation.floors" of "evaluation/floors/same_length.py"."""
    return ".".join(Path(path).parts[:-1])


def write(folder: Path) -> None:
    """Write every file under a folder, each in the folder of its package."""
    for path, text in skeletons().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
