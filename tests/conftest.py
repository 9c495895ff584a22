"""What all tests share: real data where it lies beside the checkout, no network, and a cache that goes away."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# Before the datasets library is imported: it reads its settings only then.
_CACHE = tempfile.mkdtemp(prefix="nearfar-tests-")
os.environ |= {"HF_DATASETS_CACHE": _CACHE, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}

settings.register_profile("gate", derandomize=True)  # of CI; otherwise each run draws other examples


def pytest_unconfigure() -> None:
    shutil.rmtree(_CACHE, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of small real data sets; its README says what each holds."""
    folder = Path(os.environ.get("NEARFAR_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not (folder / "README.md").exists():
        pytest.skip(f"the real data sets are not in {folder}; set NEARFAR_DATA to their folder")
    return folder
