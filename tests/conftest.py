"""What all tests share: real data where it lies beside the checkout, no network, and a cache that goes away."""

import multiprocessing.process
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import settings

# Before the datasets library is imported: it reads its settings only then.
_CACHE = tempfile.mkdtemp(prefix="nearfar-tests-")
os.environ |= {"HF_DATASETS_CACHE": _CACHE, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
if (
    "PYTEST_XDIST_WORKER" in os.environ
):  # before torch is imported: workers share the cores, and a thread each is fastest
    os.environ["OMP_NUM_THREADS"] = "1"

settings.register_profile("gate", derandomize=True, deadline=None)  # of CI; otherwise each run draws other examples


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick", action="store_true", help="no property search, no slow test, nothing that starts a process"
    )


@pytest.hookimpl(trylast=True)  # after hypothesis has marked its tests
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--quick"):
        left_out = [item for item in items if item.get_closest_marker("hypothesis") or item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True)
def no_process_when_quick(request: pytest.FixtureRequest) -> Iterator[None]:
    """With --quick a test is skipped where it starts a process."""
    if not request.config.getoption("--quick"):
        yield
        return

    def skip(*_: object, **__: object) -> NoReturn:
        pytest.skip("starts a process, which --quick leaves out; make test runs it")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", skip)
        patch.setattr(multiprocessing.process.BaseProcess, "start", skip)
        yield


@pytest.fixture
def default_signals() -> Iterator[None]:
    """The handlers that a test of signals assumes: a shell starts its background jobs with SIGINT ignored."""
    defaults: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in defaults.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: set by no Python code


def pytest_unconfigure() -> None:
    shutil.rmtree(_CACHE, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of small real data sets; its README says what each holds."""
    folder = Path(os.environ.get("NEARFAR_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not (folder / "README.md").exists():
        pytest.skip(f"the real data sets are not in {folder}; set NEARFAR_DATA to their folder")
    return folder
