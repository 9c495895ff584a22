"""The public face: pinned names, all documented, examples that run, and a help that loads nothing heavy."""

from __future__ import annotations

import doctest
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import nearfar
from nearfar import registry
from nearfar.errors import InputError

NEARFAR = Path(sys.executable).parent / "nearfar"
HEAVY = ("torch", "numpy", "datasets", "pyarrow", "pydantic", "scipy", "rich", "tokenizers", "yaml", "jinja2")
PUBLIC = [
    "Experiment",
    "Hit",
    "Index",
    "InputError",
    "Known",
    "Model",
    "NearfarError",
    "Pairs",
    "Report",
    "Run",
    "RunError",
    "Scheduled",
    "augmentations",
    "data",
    "encoders",
    "evaluate",
    "fit",
    "heads",
    "losses",
    "metrics",
    "objectives",
    "positives",
    "search",
    "train",
]


def test_the_public_names_are_pinned() -> None:
    assert sorted(nearfar.__all__) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(nearfar, name) is not None
    assert name in dir(nearfar)


def test_search_and_train_are_functions() -> None:
    """Importing a module sets its name on the package: then a function of that name must not be lost."""
    for module in modules():
        importlib.import_module(module.__name__)
    assert inspect.isfunction(nearfar.search)
    assert inspect.isfunction(nearfar.train)
    with pytest.raises(InputError, match="query 1 is empty"):
        nearfar.search(None, ["a"], " ")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        nearfar.fitt  # noqa: B018


@pytest.mark.parametrize("package", registry.PART_PACKAGES)
def test_a_package_shows_its_parts(package: str) -> None:
    module = getattr(nearfar, package)
    for part in dir(module):
        assert registry.name_of(getattr(module, part)) in registry.names(package)
    with pytest.raises(AttributeError, match="no part 'Nothing'"):
        module.Nothing  # noqa: B018


def modules() -> Iterator[ModuleType]:
    yield nearfar
    for found in pkgutil.walk_packages(nearfar.__path__, "nearfar."):
        yield importlib.import_module(found.name)


def defined(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Yield the public classes and functions that a module defines, and the public methods of its classes."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value) or inspect.isfunction(value):
            yield f"{module.__name__}.{name}", value
        if inspect.isclass(value):
            for inner, member in vars(value).items():
                plain = getattr(member, "__func__", getattr(member, "fget", member))  # behind class, static, property
                if not inner.startswith("_") and inspect.isfunction(plain):
                    yield f"{module.__name__}.{name}.{inner}", plain


def test_all_that_is_public_says_what_it_is() -> None:
    bare = [module.__name__ for module in modules() if not (module.__doc__ or "").strip() and module.__file__]
    public = [m for m in modules() if not any(part.startswith("_") for part in m.__name__.split("."))]
    silent = [name for module in public for name, value in defined(module) if not inspect.getdoc(value)]
    assert (silent, [name for name in bare if not is_empty(name)]) == ([], [])


def is_empty(module_name: str) -> bool:
    file = importlib.import_module(module_name).__file__
    return file is not None and not Path(file).read_text(encoding="utf-8").strip()


def examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for module in modules() for test in finder.find(module, module.__name__, globs=None) if test.examples]
    return sorted(found, key=lambda test: test.name)


@pytest.mark.parametrize("example", examples(), ids=lambda test: test.name)
def test_examples_run(example: doctest.DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # an example may write files
    monkeypatch.setenv("NEARFAR_CACHE", str(tmp_path / "cache"))
    skipped = [part.source for part in example.examples if doctest.SKIP in part.options]
    assert skipped == [], f"{example.name}: an example that is not run may be wrong; make it run or write it as prose"
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    told: list[str] = []
    outcome = doctest.DocTestRunner(optionflags=flags).run(example, out=told.append)
    assert outcome.failed == 0, "".join(told)


def loaded(code: str) -> list[str]:
    """Return the heavy modules that are loaded after running code in a fresh Python."""
    script = f"import sys, json\n{code}\nprint(json.dumps(sorted(m for m in {HEAVY!r} if m in sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_importing_is_light() -> None:
    assert loaded("import nearfar") == []


def test_help_loads_nothing_heavy() -> None:
    assert loaded("from nearfar.cli import run\nassert run(['--help']) == 0") == []
    train = loaded("from nearfar.cli import run\nassert run(['train', '--help']) == 0")
    assert set(train) <= {"pydantic"}  # typer's own, from some release on
