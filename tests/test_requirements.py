"""What a part must have is read from the contracts: each thing that is missing is named, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pytest
from torch import nn

from nearfar import contracts, registry, requirements
from nearfar.errors import InputError
from nearfar.requirements import CONTRACTS, MODULES, attributes_of, methods_of, refuse_incomplete

PROTOCOLS = {package: getattr(contracts, name) for package, name in CONTRACTS.items()}
ASKED = [(package, name) for package, p in PROTOCOLS.items() for name in (*attributes_of(p), *methods_of(p))]


def whole(package: str, *, without: str = "") -> type[Any]:
    """Return a class with all that a package's contract asks for, its attributes on the class, or all but one thing."""
    protocol = PROTOCOLS[package]
    is_module = package in MODULES
    body: dict[str, Any] = {name: () for name in attributes_of(protocol) if name != without}
    for name, method in methods_of(protocol).items():
        called = "forward" if name == "__call__" and is_module else name
        body |= {called: method} if name != without else {}
    return type("Mine", (nn.Module,) if is_module else (), body)


@pytest.mark.parametrize("package", CONTRACTS)
def test_a_part_with_all_that_the_contract_asks_for_passes(package: str) -> None:
    refuse_incomplete(package, whole(package))
    refuse_incomplete(package, whole(package)())


@pytest.mark.parametrize(("package", "name"), ASKED)
def test_each_missing_thing_is_named_alone(package: str, name: str) -> None:
    part = whole(package, without=name)
    if package == "data" and name == "column":
        part.task = None
        refuse_incomplete(package, part())  # a task is enough of a data set
        del part.task
    called = "forward" if name == "__call__" and package in MODULES else name
    with pytest.raises(InputError) as caught:
        refuse_incomplete(package, part(), "my_module:Mine")
    words = re.escape(f"{package} my_module:Mine lacks `{called}")
    assert re.fullmatch(
        rf"{words}(\(\w*(, \w+)*\))?` \(.+\); docs/write_your_own\.md has a skeleton", str(caught.value)
    )


def test_a_loss_without_unit_is_told_what_unit_is() -> None:
    with pytest.raises(InputError) as caught:
        refuse_incomplete("losses", whole("losses", without="unit"), "my:Loss")
    assert str(caught.value) == (
        "losses my:Loss lacks `unit` (bool: it takes vectors of unit length); docs/write_your_own.md has a skeleton"
    )


def test_much_that_is_missing_is_a_list_of_names() -> None:
    class Loss:
        def forward(self) -> None: ...

    with pytest.raises(InputError) as caught:
        refuse_incomplete("losses", Loss(), where="loss.of")
    assert str(caught.value) == (
        f"loss.of {__name__}:{Loss.__qualname__} lacks its base `torch.nn.Module`, `unit`, `cacheable`, "
        "`needs_negatives`, `__call__(queries, keys, pairs)`; docs/write_your_own.md has a skeleton"
    )


def test_a_method_must_take_what_it_is_given() -> None:
    part = whole("losses")
    part.forward = lambda self, queries, keys: 0
    with pytest.raises(InputError, match=r"lacks `forward\(queries, keys, pairs\)` \(with these arguments: Return the"):
        refuse_incomplete("losses", part)
    part.forward = lambda self, *tensors: 0
    refuse_incomplete("losses", part)
    part.forward = lambda self, queries, keys, pairs, more=0: 0
    refuse_incomplete("losses", part)


def test_of_a_class_only_that_is_asked_which_its_constructor_does_not_set() -> None:
    part = whole("encoders", without="dim")
    refuse_incomplete("encoders", part)
    with pytest.raises(InputError, match=r"lacks `dim` \(int\)"):
        refuse_incomplete("encoders", part())
    built = part()
    built.dim = 8
    refuse_incomplete("encoders", built)


def test_nothing_of_a_part_is_called() -> None:
    def asked(self: Any) -> Any:
        raise RuntimeError("a property that needs data")

    part = whole("encoders", without="dim")
    part.dim = property(asked)
    refuse_incomplete("encoders", part())


def test_a_module_s_own_attributes_count_wherever_torch_keeps_them() -> None:
    part = whole("heads", without="dim")
    built = part()
    built.dim = nn.Parameter()  # in the module's parameters, not among its attributes
    refuse_incomplete("heads", built)


def test_a_contract_s_default_is_not_asked_for() -> None:
    class Asks(Protocol):
        always: ClassVar[bool]
        sometimes: ClassVar[bool] = False

        def method(self) -> None: ...

    class AsksMore(Asks, Protocol):
        more: int

        @property
        def last(self) -> str:
            """What comes last."""
            ...

    assert list(attributes_of(Asks)) == ["always"]
    assert {**attributes_of(AsksMore)} == {"always": ClassVar[bool], "more": int, "last": str}
    assert list(methods_of(AsksMore)) == ["method"]


def test_the_contracts_say_themselves_which_parts_are_modules() -> None:
    said = {package for package, protocol in PROTOCOLS.items() if "`nn.Module`" in (protocol.__doc__ or "")}
    assert said == set(MODULES)


def test_every_package_of_parts_has_a_contract_and_a_page_with_a_skeleton() -> None:
    assert set(registry.PART_PACKAGES) <= set(CONTRACTS)
    assert (Path(__file__).resolve().parents[1] / requirements.PAGE).is_file()


def test_a_package_without_a_contract_asks_for_nothing() -> None:
    refuse_incomplete("floors", object())


@pytest.mark.parametrize("outside", ["class", "object"])
def test_the_registry_refuses_what_is_incomplete(outside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    name = f"incomplete_{outside}"
    has = {"class": "", "object": "    def forward(self, vectors): return vectors\n"}[outside]
    (tmp_path / f"{name}.py").write_text(f"from torch import nn\nclass Mine(nn.Module):\n    other = 1\n{has}")
    lacks = {"class": r"forward\(vectors\)", "object": "dim"}[outside]
    with pytest.raises(InputError, match=rf"^heads {name}:Mine lacks `{lacks}`"):
        registry.build("heads", {"name": f"{name}:Mine"}, outside=True)
