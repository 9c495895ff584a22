"""The YAML of recipes: which words are numbers, what is refused before it fills the memory, and writing it again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from nearfar.column_names import repeated

LARGEST = 1 << 20  # characters of a recipe, aliases written out; ours have some hundred
DEEPEST = 32  # levels of lists and mappings


class _RecipeLoader(yaml.SafeLoader):
    """YAML 1.2's reading of plain words: 2e-3 is a number; yes, no, on, off, 010, 1:30 and 2024-01-01 are texts.

    YAML 1.1, PyYAML's own, reads 2e-3 as text, and a column called `on` as true.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping. Errors: `yaml.YAMLError` for a key that is there twice: the last would silently count."""
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if (twice := repeated(names)) is not None:
            raise yaml.constructor.ConstructorError(None, None, f"{twice!r} is there twice", node.start_mark)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


class _RecipeDumper(yaml.SafeDumper):
    """Puts quotes around the texts that `_RecipeLoader` or YAML 1.1 would read as something else."""


PLAIN_WORDS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    "float": (
        r"[-+]?(([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(inf|Inf|INF))|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    "merge": (r"<<", ["<"]),
}
_RecipeLoader.yaml_implicit_resolvers = {}  # none of YAML 1.1's; the dumper adds to them
for _tag, (_words, _first) in PLAIN_WORDS.items():
    for _reader in (_RecipeLoader, _RecipeDumper):
        _reader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_words})$"), _first)


def read_yaml(text: str) -> Any:
    """Return what a YAML text says. Errors: `ValueError`, for all that can be wrong with it."""
    try:
        _refuse_explosion(text)
        return _RecipeLoader(text).get_single_data()
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from error


def _refuse_explosion(text: str) -> None:
    """Refuse a text that stands for too much, before any of it is built: aliases that repeat aliases, deep nesting.

    Errors: `ValueError`, and `yaml.YAMLError` for what is no YAML.
    """
    if len(text) > LARGEST:
        raise ValueError(f"more than {LARGEST:,} characters, the most that are read")
    sizes: dict[str, int] = {}  # of what each anchor stands for: values and their characters, aliases written out
    inside: list[tuple[str | None, int]] = [(None, 0)]  # the anchors and sizes of the collections that are open
    for event in yaml.parse(text, Loader=_RecipeLoader):
        where = "" if event.start_mark is None else f"line {event.start_mark.line + 1}: "
        if isinstance(event, yaml.CollectionStartEvent):
            inside.append((event.anchor, 1))
            if len(inside) > DEEPEST:
                raise ValueError(f"{where}nested more than {DEEPEST} levels deep")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size = inside.pop()
        elif isinstance(event, yaml.ScalarEvent):
            anchor, size = event.anchor, 1 + len(event.value)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise ValueError(f"{where}*{event.anchor:.60} stands for nothing that is whole before it")
            anchor, size = None, sizes[event.anchor]
        else:
            continue
        if anchor is not None:
            sizes[anchor] = size
        inside[-1] = inside[-1][0], inside[-1][1] + size
        if inside[-1][1] > LARGEST:
            raise ValueError(f"{where}its aliases stand for more than {LARGEST:,} characters, the most that are read")


def as_yaml(recipe: Mapping[str, Any]) -> str:
    """Return a recipe, or any plain values, as YAML that `read_yaml` reads back as the same values."""
    return str(yaml.dump(dict(recipe), Dumper=_RecipeDumper, sort_keys=False, allow_unicode=True))
