"""A plugin of pytest: parts in the folder NEARFAR_TEST_PARTS are in their packages, as if their files lay there.

    NEARFAR_TEST_PARTS=folder pytest -p tests.contracts.dropped_in tests/contracts -k mine

The folder has a folder for each package (`losses/mine.py`), and `tests/losses/references/mine.py` for a loss.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path

for _file in sorted(Path(os.environ["NEARFAR_TEST_PARTS"]).rglob("*.py")):
    _package = ".".join(_file.parent.relative_to(os.environ["NEARFAR_TEST_PARTS"]).parts)
    _path = importlib.import_module(_package if _package.startswith("tests.") else f"nearfar.{_package}").__path__
    if str(_file.parent) not in _path:
        _path.append(str(_file.parent))
