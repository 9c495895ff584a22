"""Every part of every package: found by its file's name, its settings typed, its purpose told."""

from __future__ import annotations

import inspect
import typing

import pytest

from nearfar import registry

PARTS = [(package, name) for package in registry.PART_PACKAGES for name in registry.names(package)]


@pytest.mark.parametrize(("package", "name"), PARTS)
def test_has_one_name_everywhere(package: str, name: str) -> None:
    part = registry.find(package, name)
    assert registry.name_of(part) == name
    assert registry.attribute(package, part.__name__) is part


@pytest.mark.parametrize(("package", "name"), PARTS)
def test_says_what_it_is_in_one_sentence(package: str, name: str) -> None:
    first = (inspect.getdoc(registry.find(package, name)) or "").partition("\n\n")[0]
    assert first, f"{package}.{name} has no docstring"
    assert first.splitlines()[0].rstrip()[-1] in ".:;", f"{package}.{name}: {first!r} does not end"


@pytest.mark.parametrize(("package", "name"), PARTS)
def test_every_setting_has_a_type(package: str, name: str) -> None:
    part = registry.find(package, name)
    typed = typing.get_type_hints(part.__init__)
    assert [setting for setting in registry.settings(part) if setting not in typed] == []


@pytest.mark.parametrize(("package", "name"), PARTS)
def test_its_defaults_pass_its_own_types(package: str, name: str) -> None:
    part = registry.find(package, name)
    settings = registry.recipe_settings(package, part).items()
    defaults = {key: p.default for key, p in settings if p.default is not p.empty}
    assert registry.coerced_settings(part, defaults, name) == defaults
