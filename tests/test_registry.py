"""The registry: parts by name, settings by type, errors that name the nearest, and no code from outside uninvited."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from torch import Tensor, nn

from nearfar import registry
from nearfar.errors import InputError
from nearfar.losses.infonce import InfoNCE
from nearfar.pairs import Pairs

OUTSIDE = '''
import torch
from nearfar.losses.infonce import InfoNCE

class Mine(InfoNCE):
    """InfoNCE with a setting of its own."""

    def __init__(self, hardness: float = 1.0, temperature: float = 0.05) -> None:
        super().__init__(temperature)
        self.hardness = hardness

def function():
    pass
'''


class Part:
    def __init__(
        self,
        size: int,
        rate: float = 0.1,
        kind: Literal["a", "b"] = "a",
        where: Path | None = None,
        words: list[str] | None = None,
        on: bool = False,
        name: str = "",
        other: InfoNCE | None = None,
        count: int | None = None,
        sizes: list[int] | None = None,
        some: Sequence[str] = (),
        each: Iterable[str] = (),
        fixed: tuple[str, ...] = (),
        pair: tuple[int, int] = (1, 2),
        either: str | list[str] | None = None,
    ) -> None:
        self.all = {key: value for key, value in locals().items() if key != "self"}


@pytest.mark.parametrize(
    ("key", "given", "expected"),
    [
        ("rate", "2e-5", 2e-5),  # YAML reads 2e-5 as text
        ("rate", 3, 3.0),
        ("size", "12", 12),
        ("size", 12.0, 12),
        ("on", "yes", True),
        ("on", "false", False),
        ("where", "a/b.json", Path("a/b.json")),
        ("where", None, None),
        ("words", ["x", "y"], ["x", "y"]),
        ("name", 2020, "2020"),  # a column may be called so
        ("kind", "b", "b"),
        ("kind", " b ", "b"),
        ("rate", " 2e-3 ", 2e-3),
        ("size", "1e3", 1000),
        ("on", " ON ", True),
        ("where", "none", Path("none")),  # it fits as it is
        ("count", "None", None),
        ("count", "null", None),
        ("count", "", None),
        ("words", "neg", ["neg"]),
        ("words", "a,b", ["a,b"]),  # a comma is data
        ("words", 2020, ["2020"]),
        ("words", "null", None),
        ("sizes", 512, [512]),
        ("sizes", "512", [512]),
        ("sizes", " 5e2 ", [500]),
        ("sizes", (1, "2"), [1, 2]),
        ("some", "neg", ["neg"]),  # and no list of characters
        ("each", "neg", ["neg"]),
        ("each", ["a", "b"], ["a", "b"]),
        ("fixed", "neg", ("neg",)),
        ("either", "neg", "neg"),
        ("either", ["neg"], ["neg"]),
    ],
)
def test_a_value_becomes_what_the_annotation_says(key: str, given: Any, expected: Any) -> None:
    found = registry.coerced_settings(Part, {key: given}, "part")[key]
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("key", "given", "why"),
    [
        ("rate", "hot", "number"),
        ("size", 1.5, "integer"),
        ("size", None, "integer"),
        ("kind", "c", "'a' or 'b'"),
        ("words", {"x": 1}, "list"),
        ("size", True, "a truth value is no number"),
        ("rate", False, "a truth value is no number"),
        ("sizes", True, "a truth value is no number"),
        ("size", "None", "integer"),
        ("count", "x", "integer"),
        ("sizes", "1,2", r"list; a comma does not make a list: write \[a, b\]"),
        ("pair", 3, "tuple"),
        ("pair", "3,4", r"a comma does not make a list: write \[a, b\]"),
        ("name", True, """for the text write '"true"', in both quotes"""),
        ("either", False, """for the text write '"false"'"""),
        ("rate", "nan", "finite"),
        ("rate", float("nan"), "finite"),
        ("rate", 1e400, "finite"),
        ("size", float("inf"), "finite"),
        ("size", 10**30, "beyond 64 bits"),
        pytest.param("size", 10**6000, "beyond 64 bits", id="more digits than Python writes"),
        ("size", "9" * 30, "beyond 64 bits"),
        ("where", [1], "path"),
        ("on", "perhaps", "boolean"),
        ("other", "infonce", "InfoNCE"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_the_reason(key: str, given: Any, why: str) -> None:
    with pytest.raises(InputError, match=rf"^part\.{key}: .* does not fit .*{why}") as caught:
        registry.coerced_settings(Part, {key: given}, "part")
    assert "\n" not in str(caught.value)


def test_a_long_value_is_shown_by_its_start() -> None:
    with pytest.raises(InputError) as caught:
        registry.coerced_settings(Part, {"size": "x" * 100_000}, "part")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("package", "spec"),
    [
        (package, {"name": name, "seed": -1})
        for package in ("data", "positives", "encoders", "losses", "metrics")
        for name in registry.names(package)
        if "seed" in registry.settings(registry.find(package, name))
    ],
)
def test_no_seed_is_below_0(package: str, spec: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"seed: -1 is no seed"):
        registry.coerced_settings(registry.find(package, spec["name"]), {"seed": -1}, package)


def test_an_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(
        InputError, match=r"loss: no setting is called 'temprature'; did you mean 'temperature'\? known"
    ):
        registry.build("losses", {"name": "infonce", "temprature": 1}, section="loss")
    with pytest.raises(InputError, match="no setting is called 7"):
        registry.coerced_settings(Part, {7: 1}, "part")  # type: ignore[dict-item]


def test_an_unknown_part_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"losses: no part is called 'infonse'; did you mean 'infonce'\? known: "):
        registry.find("losses", "infonse")
    with pytest.raises(InputError, match=r"loss: which part\? give loss\.name=\.\.\.; known: .*infonce"):
        registry.build("losses", {"temperature": 1}, section="loss")


def test_what_must_be_given_is_asked_for() -> None:
    with pytest.raises(InputError, match=r"data\.table: path must be given, e\.g\. data\.path=\.\.\."):
        registry.build("data", {"name": "table"})


def test_what_nearfar_hands_in_is_no_setting() -> None:
    rows = [{"query": "a", "key": "b"}]
    with pytest.raises(InputError, match="no setting is called 'data'"):
        registry.build("positives", {"name": "columns", "data": rows}, data=rows)
    part = registry.find("positives", "columns")
    assert "data" not in registry.recipe_settings("positives", part)
    assert "data" in registry.settings(part)


def test_a_constructor_gets_what_it_names_of_the_context() -> None:
    loss = registry.build("losses", {"name": "infonce", "temperature": "0.1"}, dim=8, data=None)
    assert loss.temperature == pytest.approx(0.1)


def test_a_private_file_is_no_part() -> None:
    for package in registry.PART_PACKAGES:
        assert not [name for name in registry.names(package) if name.startswith("_")]
    with pytest.raises(InputError, match="no part is called '_tiles'"):
        registry.find("losses", "_tiles")


def test_a_new_file_is_a_new_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nearfar.losses

    (tmp_path / "mine.py").write_text(OUTSIDE)
    monkeypatch.setattr(nearfar.losses, "__path__", [*nearfar.losses.__path__, str(tmp_path)])
    assert "mine" in registry.names("losses")
    assert registry.build("losses", {"name": "mine", "hardness": "2"}).hardness == 2.0
    assert registry.name_of(nearfar.losses.Mine) == "mine"


@pytest.mark.parametrize("text", ["", "class A: pass\nclass B: pass"])
def test_a_part_file_defines_one_public_class(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nearfar.losses

    name = f"count{text.count('class')}"
    (tmp_path / f"{name}.py").write_text(f"{text}\nclass _Private: pass\n")
    monkeypatch.setattr(nearfar.losses, "__path__", [*nearfar.losses.__path__, str(tmp_path)])
    with pytest.raises(InputError, match=rf"exactly one public class, it defines {text.count('class')}"):
        registry.find("losses", name)


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's in the folder that nearfar is called from."""
    monkeypatch.chdir(tmp_path)
    name = f"own_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(OUTSIDE)
    (tmp_path / f"{name}_broken.py").write_text("1 / 0")
    monkeypatch.setattr("sys.path", [entry for entry in __import__("sys").path if entry])
    return name


def test_a_part_from_outside_is_built_where_that_is_allowed(own_module: str) -> None:
    loss = registry.build("losses", {"name": f"{own_module}:Mine", "hardness": "3"}, outside=True)
    assert (type(loss).__name__, loss.hardness) == ("Mine", 3.0)
    assert registry.name_of(type(loss)) == f"{own_module}:Mine"
    with pytest.raises(InputError, match="no setting is called 'hardnes'; did you mean 'hardness'"):
        registry.build("losses", {"name": f"{own_module}:Mine", "hardnes": 1}, outside=True)


def test_a_part_from_outside_is_refused_elsewhere(own_module: str) -> None:
    import sys

    with pytest.raises(InputError, match="would run code from outside nearfar") as caught:
        registry.find("losses", f"{own_module}:Mine")
    assert "infonce" in str(caught.value)
    assert own_module not in sys.modules


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("{}:Nothing", "has no attribute 'Nothing'"),
        ("{}_broken:Mine", "ZeroDivisionError"),
        ("nowhere.at_all:Mine", "No module named 'nowhere'"),
        ("{}:function", "no class but a function"),
        ("os.path", "package.module:Class"),
        (":Mine", "package.module:Class"),
        (".relative:Mine", "package.module:Class"),
    ],
)
def test_what_cannot_be_imported_is_the_users_error(own_module: str, name: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        registry.find("losses", name.format(own_module), outside=True)


@dataclass(frozen=True)
class Weighted:
    """A record of a part and its weight."""

    loss: InfoNCE | None = None
    weight: float = 1.0


MARK = registry.PartsOf("losses", Weighted)


class Sum(nn.Module):
    unit, cacheable, needs_negatives = True, True, True

    def __init__(self, losses: Annotated[Sequence[Any], MARK] = ({"weight": 3.0},), scale: float = 1.0) -> None:
        super().__init__()
        self.losses, self.scale = losses, scale

    def forward(self, queries: Tensor, keys: Tensor, pairs: Pairs) -> Tensor:
        found: Tensor = sum(entry.weight * entry.loss(queries, keys, pairs) for entry in self.losses)
        return found


def test_a_list_of_parts_is_checked_built_and_told() -> None:
    spec = {"name": f"{__name__}:Sum", "losses": [{"name": "infonce", "temperature": "0.2", "weight": "2"}, {}]}
    built = registry.build("losses", spec, outside=True)
    first, second = built.losses
    assert (first.weight, first.loss.temperature) == (2.0, pytest.approx(0.2))
    assert second == Weighted(None, 1.0)
    told = registry.settings_of(built)["losses"]
    assert (told[0]["name"], told[0]["temperature"], told[0]["weight"]) == ("infonce", 0.2, 2.0)
    assert told[1] == {"weight": 1.0}
    again = registry.build("losses", {"name": f"{__name__}:Sum", "losses": told}, outside=True)
    assert registry.settings_of(again)["losses"] == told  # what is told builds the same
    assert registry.lists(Sum) == {"losses": MARK}
    assert registry.nested(Sum) == {}
    loss = InfoNCE(temperature=0.5)
    (held,) = registry.build_list(MARK, [{"loss": loss, "weight": 3}], "losses")
    assert held == Weighted(loss, 3.0)
    default = registry.build("losses", {"name": f"{__name__}:Sum"}, outside=True)
    assert registry.settings_of(default)["losses"] == [{"weight": 3.0}]
    part, given = registry.checked("losses", {"name": f"{__name__}:Sum"}, outside=True)
    assert (part, given) == (Sum, {})


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ([{}, {"name": "infonse"}], "no part is called 'infonse'; did you mean 'infonce'"),
        (
            [{}, {"name": "infonce", "wieght": 2}],
            r"loss\.losses\.1: no setting is called 'wieght'; did you mean 'weight'",
        ),
        (
            [{"wieght": 2}],
            r"loss\.losses\.0: no setting is called 'wieght'; did you mean 'weight'\? known: name, weight",
        ),
        ([{"weight": "much"}], r"loss\.losses\.0\.weight: 'much' does not fit float"),
        (["infonce"], r"loss\.losses\.0: 'infonce' is no part"),
        ([{"name": "os.path:join"}], "would run code from outside"),
        ({"0": {"weight": 2}}, r"loss\.losses: .* is no list; write loss\.losses: \[\{name"),
    ],
)
def test_what_is_wrong_in_a_list_of_parts_names_its_place(losses: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        registry.build_list(MARK, losses, "loss.losses")


@dataclass
class Unhashable:
    share: float = 0.5

    def __call__(self, cells: Any, draws: Any) -> Any:
        return cells


@dataclass(slots=True)
class Slotted:
    share: float = 0.5

    def __call__(self, cells: Any, draws: Any) -> Any:
        return cells


class Renaming:
    def __init__(self, words: set[str] | None = None, file: Path | None = None, pair: tuple[int, int] = (1, 2)) -> None:
        self._words, self._file, self._pair = words, file, pair

    def __call__(self, cells: Any, draws: Any) -> Any:
        return cells


@pytest.mark.parametrize(
    ("part", "setting", "value", "kept"),
    [
        (Unhashable, "share", 0.25, 0.25),
        (Slotted, "share", 0.25, 0.25),
        (Renaming, "words", {"b", "a"}, "['a', 'b']"),
        (Renaming, "file", "a.txt", "a.txt"),
        (Renaming, "pair", [3, 4], "[3, 4]"),
    ],
)
def test_the_settings_of_a_part_are_remembered(part: type[Any], setting: str, value: Any, kept: Any) -> None:
    """Of classes of every kind: without a hash, without a dictionary, with other names inside."""
    spec = {"name": f"{__name__}:{part.__name__}"}
    built = registry.build("augmentations", {**spec, setting: value}, outside=True)
    assert registry.settings_of(built)[setting] == kept
    assert registry.settings_of(registry.build("augmentations", spec, outside=True)) != registry.settings_of(built)
