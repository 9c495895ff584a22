"""The layers hold: files import from lower layers and their own package only, and bear the names the design gives them.

All imports count: inside functions (they run later, but they run) and under TYPE_CHECKING (a reader follows them).
"""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "nearfar"
# A layer a line, the lowest first: a file imports from lower layers and from its own package.
LAYERS = """
errors content figures printable
column column_names pairs compute
tasks
contracts
coerce requirements
abilities registry
sides
storage
vectors
text pictures
data positives augmentations encoders heads losses objectives metrics
model static_model
query_model
training index
mining evaluation
audit
recipes config reports
results
experiment
uses lab bulk adapters
serving
cli
nearfar
"""
LAYER = {package: layer for layer, packages in enumerate(LAYERS.strip().splitlines()) for package in packages.split()}
SAME_LAYER = {  # who may import whom on one layer, and why
    ("config", "recipes"): "a recipe is read before its parts are built",
    ("objectives", "losses"): "predicting a token among all is the losses' engine over a vocabulary",
}
PARTS = (
    "data",
    "positives",
    "augmentations",
    "encoders",
    "heads",
    "losses",
    "objectives",
    "metrics",
)  # packages whose files are parts
DYNAMIC = {"nearfar", "nearfar.registry", "nearfar.cli"}  # may import by a computed name
FORBIDDEN_NAMES = re.compile(r"^_*(?i:utils?|common|helpers?|misc|base)$|^_*Base(?=[A-Z])|(Manager|Handler)$")
# The one pickle that is opened: a package's file of known content, of which torch reads tensors alone.
ALLOWED = {"encoders/image_networks/lite0.py: calls torch.load(weights_only=True)"}
FORBIDDEN_MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def modules(source: Path = SOURCE) -> dict[str, Path]:
    """Return every module under the source folder by its dotted name."""
    found = {}
    for path in sorted(source.rglob("*.py")):
        parts = [source.name, *path.relative_to(source).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def package_of(module: str) -> str:
    """Return a module's package: its first name under nearfar."""
    return module.split(".")[1] if "." in module else module


def imports(module: str, known: dict[str, Path]) -> Iterator[tuple[int, str]]:
    """Yield the line and the module of everything in the project that a module imports, wherever it does so."""
    package = module.split(".")[0]
    for node in ast.walk(ast.parse(known[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            where = node.module or ""
            if node.level:
                inside = module.split(".")[: None if known[module].name == "__init__.py" else -1]
                where = ".".join([*inside[: len(inside) - node.level + 1], *where.split(".")]).rstrip(".")
            full = [f"{where}.{alias.name}" for alias in node.names]
            names = [name if name in known else where for name in full]
        else:
            continue
        for name in names:
            if name.split(".")[0] == package:
                yield node.lineno, name


def breaches(source: Path = SOURCE) -> list[str]:
    """Return every import that goes up, or across between two packages of one layer."""
    known, found = modules(source), []
    for module, path in known.items():
        mine = package_of(module)
        for line, other in imports(module, known):
            theirs = package_of(other)
            where = f"{path.relative_to(source.parent)}:{line}: {module} imports {other}"
            if mine not in LAYER or theirs not in LAYER:
                found.append(f"{where}: {mine if mine not in LAYER else theirs} has no layer; give it one")
            elif LAYER[theirs] > LAYER[mine]:
                found.append(f"{where}, a higher layer")
            elif theirs != mine and LAYER[mine] == LAYER[theirs] and (mine, theirs) not in SAME_LAYER:
                found.append(f"{where}, another package of the same layer")
    return found


def cycle(source: Path = SOURCE) -> list[str]:
    """Return the modules of a cycle of imports, or nothing."""
    known = modules(source)
    graph = {module: {other for _, other in imports(module, known) if other != module} for module in known}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in modules().values():
        yield path.relative_to(SOURCE), ast.parse(path.read_text(encoding="utf-8"))


def test_no_import_goes_up_or_across() -> None:
    assert breaches() == []


def test_no_cycle() -> None:
    assert cycle() == []


def test_every_file_and_folder_has_a_layer() -> None:
    assert {package_of(module) for module in modules()} <= set(LAYER)


def test_every_exception_is_used() -> None:
    known = modules()
    crossing = {(package_of(m), package_of(other)) for m in known for _, other in imports(m, known)}
    assert set(SAME_LAYER) <= crossing


def test_only_registry_and_doors_import_by_computed_name() -> None:
    for module, path in modules().items():
        text = path.read_text(encoding="utf-8")
        assert module in DYNAMIC or not re.search(r"import_module|__import__", text), f"{module} imports by name"


def test_no_forbidden_name() -> None:
    for path, tree in trees():
        named = [part.removesuffix(".py") for part in path.parts]
        kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        named += [node.name for node in ast.walk(tree) if isinstance(node, kinds)]
        assert [name for name in named if FORBIDDEN_NAMES.search(name)] == [], path


def test_a_part_file_has_one_public_class() -> None:
    for path, tree in trees():
        if path.parts[0] in PARTS and len(path.parts) == 2 and path.name != "__init__.py":
            found = [n.name for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]
            assert len(found) == 1, f"{path} has public classes {found}"


def unsafe(tree: ast.Module) -> Iterator[str]:
    """Yield what a module does that could run code it was handed: pickles, eval, exec, remote code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            yield from (f"imports {name}" for name in names if name.split(".")[0] in FORBIDDEN_MODULES)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            words = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if called in ("eval", "exec", "compile", "torch.load", "torch.hub.load", "yaml.load", "yaml.unsafe_load"):
                only = "(weights_only=True)" if words.get("weights_only") == "True" else ""
                yield f"calls {called}{only}"
            if any(words.get(word, "False") != "False" for word in ("trust_remote_code", "allow_pickle")):
                yield f"{called} trusts code it was handed"


def test_nothing_runs_code_it_was_handed() -> None:
    found = [f"{path.as_posix()}: {what}" for path, tree in trees() for what in unsafe(tree)]
    assert [one for one in found if one not in ALLOWED] == []
    assert set(found) >= ALLOWED  # an exception that is no longer needed goes


@pytest.mark.parametrize(
    ("file", "text", "word"),
    [
        ("losses/a.py", "from nearfar.training import fit", "higher layer"),
        ("losses/a.py", "def f():\n    import nearfar.metrics.b", "same layer"),
        ("errors.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .data import b", "higher layer"),
        ("cli/a.py", "import nearfar", "higher layer"),
        ("encoders/a.py", "from nearfar import model", "higher layer"),
        ("attic/a.py", "from nearfar import errors", "no layer"),
    ],
)
def test_a_breach_is_seen(tmp_path: Path, file: str, text: str, word: str) -> None:
    source = tmp_path / "nearfar"
    for name in ("__init__", "errors", "model", "data/b", "metrics/b", "training/fit", "training/__init__", file[:-3]):
        (source / f"{name}.py").parent.mkdir(parents=True, exist_ok=True)
        (source / f"{name}.py").write_text("")
    (source / file).write_text(text)
    found = breaches(source)
    assert len(found) == 1
    assert word in found[0]


def test_a_cycle_is_seen(tmp_path: Path) -> None:
    source = tmp_path / "nearfar"
    source.mkdir()
    (source / "pairs.py").write_text("def f():\n    from nearfar.topk import g")
    (source / "topk.py").write_text("from nearfar import pairs")
    assert {"nearfar.pairs", "nearfar.topk"} <= set(cycle(source))


def test_what_runs_code_is_seen() -> None:
    for text in (
        "import pickle",
        "from dill import loads",
        "torch.load(f)",
        "torch.load(f, weights_only=True)",
        "eval(x)",
        "np.load(f, allow_pickle=True)",
    ):
        assert list(unsafe(ast.parse(text))), text
