"""What a part must have: read from the protocol of its package in `contracts`, so that the two cannot drift apart."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, ClassVar

from nearfar.errors import InputError

CONTRACTS = {  # the protocol of a package's parts; a data set that is no more than a task needs only `task`
    "data": "Data",
    "positives": "Positives",
    "augmentations": "Augmentation",
    "encoders": "Encoder",
    "heads": "Head",
    "losses": "Loss",
    "objectives": "Objective",
    "metrics": "Metric",
    "evaluation.floors": "Floor",
}
MODULES = ("encoders", "heads", "losses", "objectives")  # parts that must be an `nn.Module`, as their protocols say
EXPLAINED = 3  # missing things that an error explains; of more, which is nearly all, it gives the names
PAGE = "docs/write_your_own.md"


def refuse_incomplete(package: str, part: Any, name: str | None = None, where: str | None = None) -> None:
    """Refuse a part, a class or an object, that lacks what the contract of its package asks for.

    Of a class, methods and class attributes are asked for; of an object also the attributes that its constructor sets,
    such as an encoder's `dim`. A method must take what the contract hands to it. A package without a contract asks for
    nothing.

    name: what the recipe calls the part; by default its module and class. where: its place, for errors, such as
    "encoder.key"; by default the package.

    Errors: `InputError` that names all that is missing, what each is, and the page with a skeleton.

    Example:
        >>> from torch import nn
        >>> class Mine(nn.Module):
        ...     unit, cacheable = True, True
        ...     def forward(self, queries, keys, pairs): return (queries * keys).sum()
        >>> refuse_incomplete("losses", Mine, "my_module:Mine")
        Traceback (most recent call last):
        nearfar.errors.InputError: losses my_module:Mine lacks `needs_negatives` (bool: a batch without negatives is an
        error); docs/write_your_own.md has a skeleton
    """
    if package not in CONTRACTS:
        return
    kind = part if inspect.isclass(part) else type(part)
    if package == "data" and "task" in dir(kind) and "column" not in dir(kind):
        return
    missing = list(_missing(package, kind, part))
    if missing:
        called = name or f"{kind.__module__}:{kind.__qualname__}"
        shown = [f"{what} ({why})" if len(missing) <= EXPLAINED else what for what, why in missing]
        raise InputError(f"{where or package} {called} lacks {', '.join(shown)}; {PAGE} has a skeleton")


def attributes_of(protocol: type[Any]) -> dict[str, Any]:
    """Return the attributes that a protocol asks for, and their types; those with a default are not asked for.

    Also its properties, which a part may have as attributes.
    """
    hints = _hints(protocol)
    found: dict[str, Any] = {}
    for base in reversed(protocol.__mro__):
        own = [name for name in vars(base).get("__annotations__", {}) if not name.startswith("_")]
        found |= {name: hints[name] for name in own if not hasattr(protocol, name)}
        properties = {name: value.fget for name, value in vars(base).items() if isinstance(value, property)}
        found |= {name: _hints(read).get("return", Any) for name, read in properties.items()}
    return found


def _hints(of: Any) -> dict[str, Any]:
    """Return the types that a protocol or a method of `contracts` names; some it imports for reading alone."""
    from torch import Tensor

    from nearfar.compute.draws import Draws
    from nearfar.pairs import Pairs

    return typing.get_type_hints(
        of, None, {each.__name__: each for each in (Tensor, Draws, Pairs)}, include_extras=True
    )


def methods_of(protocol: type[Any]) -> dict[str, Callable[..., Any]]:
    """Return the methods that a protocol asks for."""
    found = {name: value for base in reversed(protocol.__mro__) for name, value in vars(base).items()}
    bare = {name: getattr(value, "__func__", value) for name, value in found.items()}  # of a class method its function
    return {name: m for name, m in bare.items() if inspect.isfunction(m) and m.__module__ not in ("typing", "abc")}


def _missing(package: str, kind: type[Any], part: Any) -> Iterator[tuple[str, str]]:
    """Yield what a part lacks, and what that is."""
    from torch import nn

    from nearfar import contracts

    protocol: type[Any] = getattr(contracts, CONTRACTS[package])
    is_module = issubclass(kind, nn.Module)
    if package in MODULES and not is_module:
        yield "its base `torch.nn.Module`", f"every {protocol.__name__.lower()} is one"
    has = set(dir(part))
    for name, hint in attributes_of(protocol).items():
        asked = part is not kind or typing.get_origin(hint) is ClassVar
        if asked and name not in has and (part is kind or not hasattr(part, name)):
            yield f"`{name}`", _described(protocol, name, hint)
    for name, method in methods_of(protocol).items():
        called = "forward" if name == "__call__" and is_module else name
        own = next(
            (vars(base)[called] for base in kind.__mro__ if called in vars(base) and base is not nn.Module), None
        )
        given = [p.name for p in list(inspect.signature(method).parameters.values())[1:] if p.default is p.empty]
        if own is None or not _takes(own, given):
            yield f"`{called}({', '.join(given)})`", ("" if own is None else "with these arguments: ") + _first(method)


def _takes(method: Any, given: list[str]) -> bool:
    """Return whether a method, as it stands in its class, takes these arguments by position."""
    bare = getattr(method, "__func__", method)
    if not inspect.isfunction(bare):
        return True  # a callable object, or one in C: only a call can tell
    try:
        inspect.signature(bare).bind(*given, *([] if isinstance(method, staticmethod) else ["self"]))
    except TypeError:
        return False
    return True


def _described(protocol: type[Any], name: str, hint: Any) -> str:
    """Return an attribute's type, and what the contract's comment says of it."""
    inner = typing.get_args(hint)[0] if typing.get_origin(hint) is ClassVar else hint
    shown = inner.__name__ if inspect.isclass(inner) and not typing.get_args(inner) else str(inner)
    if isinstance(asked := inspect.getattr_static(protocol, name, None), property):
        shown += f": {_first(asked.fget)}"
    for base in protocol.__mro__:
        if name in vars(base).get("__annotations__", {}):
            with suppress(OSError):  # without its source the type must do
                found = re.search(rf"^\s+{name}: [^#\n]*#\s*(.+)$", inspect.getsource(base), re.MULTILINE)
                shown += f": {found.group(1)}" if found else ""
    return re.sub(r"\b(typing|collections\.abc|nearfar(\.\w+)*)\.", "", shown)


def _first(method: Any) -> str:
    """Return what a contract's method is for: the first sentence of its docstring."""
    first = (inspect.getdoc(method) or "the number of rows").partition("\n")[0]
    return first.partition(". ")[0].rstrip(".")
