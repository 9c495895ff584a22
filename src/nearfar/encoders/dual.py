"""Dual: one tower for the queries and another for the keys."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

import torch
from torch import Tensor, nn

from nearfar import registry
from nearfar.abilities import TwoSided, prompts_of, rates_of, reads, untrained_of
from nearfar.column import Column, column_kind
from nearfar.contracts import Encoder, ForeignForm
from nearfar.encoders.pretrained.halves import two_halves
from nearfar.encoders.pretrained.module_rows import encoder_spec
from nearfar.encoders.reading.nested import (
    TowerSide,
    TowerStore,
    TwoSidedInputs,
    inner_identity,
    inner_spec,
    load_inner,
    save_inner,
)
from nearfar.errors import InputError
from nearfar.registry import PartOf
from nearfar.requirements import refuse_incomplete
from nearfar.sides import ROLES, kinds_read
from nearfar.storage.folders import write_text
from nearfar.storage.foreign import PROMPT_NAMES, sentence_transformers
from nearfar.text.prompts import checked_prompts


class Dual(nn.Module):
    """Two towers into one space: queries go through one encoder, keys through another.

    Karpukhin et al. 2020, arXiv:2004.04906. Keys are encoded in advance, queries while a user waits: a static encoder
    for the queries and a transformer for the keys search as fast as the first, and nearly as well as the second. The
    sides may hold cells of different kinds, such as texts and pictures: each tower reads those of its side alone.

    Args:
        query: the encoder of queries, `{name: static, dim: 384}`.
        key: the encoder of keys, of the same dim.
        prompts: text in front of each cell, by role; by default those of the towers.
        model: in the place of both, a folder (or a name on the hub) with two towers: a `CLIPModel` or `SiglipModel` of
            transformers, also as sentence-transformers saves it, or a Router of sentence-transformers. To freeze a
            tower or to give it LoRA, name both: `query: {name: transformer, model: FOLDER, frozen: 6}`, `key: {name:
            image, model: FOLDER}`.
        query_rate, key_rate: factors of the towers' learning rates: 0.1 for a pretrained one beside one from nothing.
        query_kind: of such a model of texts and pictures, what queries are: text, the default, as in a search by
            words, or image, for pictures that look for texts.

    Attributes: `learnt`, the temperature of such a folder, and SigLIP's bias, by the names of the losses' settings:
    `nf.losses.InfoNCE(**dual.learnt, learnable=True)` or `nf.losses.Sigmoid(**dual.learnt)` go on from there, in a
    recipe `loss: {name: infonce, temperature: learnt, learnable: true}`. A run sets them to what its loss has at the
    end. They are saved in its form; {} for other towers.

    Call: `TwoSidedInputs` of n rows -> (n, dim), each row by its side's tower, not normalised. `inputs`, `store` and
    `reads` are those of the keys, and so is `Model.embed(..., role=None)`; `side("query")` has those of the queries.
    Training prepares each tower on the columns of its side.

    Errors: `InputError` for towers of unequal dim, a tower that is dual itself, or a prompt for a tower of no texts.

    Example:
        >>> import nearfar as nf
        >>> dual = nf.encoders.Dual(nf.encoders.Static(dim=8, vocabulary=300), nf.encoders.Static(dim=8, seed=1))
        >>> dual.prepare([nf.column.ListColumn("text", ["pull near", "push far"])])
        >>> nf.Model(dual).embed(["near"], role="query").shape
        (1, 8)

    When not to use it: where queries and keys are alike (questions and questions), or pairs are few: one encoder for
    both learns from twice as many texts.
    """

    def __init__(
        self,
        query: Annotated[Encoder | None, PartOf("encoders")] = None,
        key: Annotated[Encoder | None, PartOf("encoders")] = None,
        prompts: dict[str, str] | None = None,
        model: str | None = None,
        query_kind: Literal["text", "image"] | None = None,
        query_rate: float = 1.0,
        key_rate: float = 1.0,
    ) -> None:
        super().__init__()
        self.model, self.query_kind, self.query_rate, self.key_rate = model, query_kind, query_rate, key_rate
        for role, rate in (("query", query_rate), ("key", key_rate)):
            if not 0 < rate < math.inf:
                raise InputError(
                    f"encoder.{role}_rate is a factor of the learning rate, above 0; it is {rate:g}. A tower that is "
                    f"not trained is a frozen_projection, or has encoder.{role}.frozen"
                )
        query, key = _given_or_read(query, key, model, query_kind)
        for role, tower in (("query", query), ("key", key)):
            refuse_incomplete("encoders", tower, where=f"encoder.{role}")
            if isinstance(tower, TwoSided):
                raise InputError(f"encoder.{role}: a tower cannot have two sides itself; give one encoder")
        if query.dim != key.dim:
            raise InputError(
                f"encoder: the query tower has {query.dim} dimensions, the key tower {key.dim}; both must have the "
                f"same to be compared, e.g. encoder.query.dim={key.dim} where that tower has such a setting"
            )
        self.query, self.key = cast("nn.Module", query), cast("nn.Module", key)
        self.dim = query.dim
        defaults = {role: prompts_of(tower).get(role, "") for role, tower in self.towers.items()}
        self.prompts: dict[str, str] = {**defaults, **checked_prompts(prompts or {}, "encoder.prompts")}
        for role, tower in self.towers.items():
            if self.prompts[role] and reads(tower) and "text" not in reads(tower):
                raise InputError(f"encoder.prompts.{role}: that tower reads {kinds_read(tower)}, no text; leave it out")

        halves = two_halves(self.towers)
        self.learnt: dict[str, float] = {} if halves is None else halves.learnt

    @property
    def towers(self) -> dict[str, Any]:
        """The two encoders, by role."""
        return {"query": self.query, "key": self.key}

    @property
    def reads(self) -> tuple[str, ...]:
        """The kinds of cells that the keys' tower reads."""
        return reads(self.key)

    def side(self, role: str) -> TowerSide:
        """Return the reader of one side's columns and cells."""
        return TowerSide(role, self.towers[role])

    def untrained(self) -> Dual | None:
        """Return both towers as they were before training; None where one of them cannot be made so."""
        query, key = (untrained_of(tower) for tower in self.towers.values())
        return None if query is None or key is None else Dual(query, key, self.prompts)

    def prepare(self, columns: Sequence[Column]) -> None:
        """Let each tower learn from those columns whose kind it reads: from all, where both read text.

        Errors: `InputError` for columns of which a tower reads none; `side(role).prepare` prepares each by itself.
        """
        kinds = [column_kind(column) for column in columns]
        for role, tower in self.towers.items():
            known = reads(tower)
            own = [column for column, kind in zip(columns, kinds) if not known or kind is None or kind in known]
            if columns and not own:
                raise InputError(
                    f"encoder.prepare: the {role} tower reads {kinds_read(tower)}, and no column is that; write "
                    f"encoder.side({role!r}).prepare([column]) for each side"
                )
            tower.prepare(own)

    def inputs(self, cells: Sequence[Any]) -> TwoSidedInputs:
        """Return cells as inputs of the keys' side."""
        return self.side("key").inputs(cells)

    def store(self, column: Column) -> TowerStore:
        """Return the store of a column, as inputs of the keys' side."""
        return self.side("key").store(column)

    def forward(self, inputs: TwoSidedInputs) -> Tensor:
        """Return raw vectors (n, dim), each by the tower of its row's side."""
        parts = [tower(inputs.parts[role]) for role, tower in self.towers.items() if role in inputs.parts]
        if len(parts) == 1:
            return cast("Tensor", parts[0])
        if not parts:
            return torch.zeros(0, self.dim, device=next(self.parameters()).device)
        stacked = torch.cat(parts)  # (n, dim), queries first
        return stacked[torch.from_numpy(inputs.stacked_index()).to(stacked.device)]

    def rates(self) -> dict[str, float]:
        """Return the factor of each parameter's learning rate, by name."""
        found: dict[str, float] = {}
        for role, factor in (("query", self.query_rate), ("key", self.key_rate)):
            tower = self.towers[role]
            every = dict.fromkeys((name for name, _ in tower.named_parameters()), 1.0) if factor != 1 else {}
            found |= {f"{role}.{name}": factor * rate for name, rate in (every | rates_of(tower)).items()}
        return found

    def settings(self) -> dict[str, Any]:
        """Return what `load` needs beside the files."""
        return {**{role: inner_spec(tower) for role, tower in self.towers.items()}, "prompts": self.prompts}

    def identity(self) -> Iterator[tuple[str, Any]]:
        """Yield what the embedding space depends on: the identities of both towers."""
        for role, tower in self.towers.items():
            yield from inner_identity(role, tower)

    def save(self, folder: Path) -> list[ForeignForm]:
        """Write each tower into a folder of its own, and the config of sentence-transformers' Router (from 5.0 on).

        The two towers of CLIP or SigLIP are written as their one model of transformers instead.
        """
        if (halves := two_halves(self.towers)) is not None:
            return halves.save(folder, self.learnt, prompted=any(self.prompts.values()))
        types: dict[str, str] = {}
        structure: dict[str, list[str]] = {}
        for role, tower in self.towers.items():
            rows = save_inner(folder, role, tower)
            types |= {row["path"]: row["type"] for row in rows}
            structure[PROMPT_NAMES[role]] = [row["path"] for row in rows]
        if not all(structure.values()):
            return []  # sentence-transformers has no form for one of the towers
        parameters = {"default_route": PROMPT_NAMES["key"], "allow_empty_key": True}
        router = {"types": types, "structure": structure, "parameters": parameters}
        write_text(folder / "router_config.json", json.dumps(router, indent=2))
        return sentence_transformers(("Router", ""))

    @classmethod
    def load(cls, folder: Path, settings: dict[str, Any]) -> Self:
        """Read what `save` wrote. Errors: those of the towers; `InputError` for a tower without settings or folder."""
        shared = (folder / "config.json").is_file()
        towers = {role: load_inner(folder, role, settings.get(role), shared=shared) for role in ROLES}
        return cls(**towers, prompts=settings.get("prompts"))


def _given_or_read(query: Any, key: Any, model: str | None, query_kind: str | None) -> tuple[Any, Any]:
    """Return the two towers: those given, or those of a folder. Errors: `InputError` for settings that do not fit."""
    if query_kind not in (None, "text", "image"):
        raise InputError(f"encoder.query_kind must be text or image, it is {query_kind!r:.40}")
    if model is None:
        if query_kind is not None:
            raise InputError(
                "encoder.query_kind is of encoder.model; name the towers in their order, or give the model"
            )
        missing = [role for role, tower in (("query", query), ("key", key)) if tower is None]
        if missing:
            raise InputError(
                f"encoder.dual: {', '.join(missing)} must be given, e.g. encoder.{missing[0]}.name=static, or both by "
                "encoder.model=FOLDER of a model with two towers"
            )
        return query, key
    if query is not None or key is not None:
        raise InputError("encoder.model has both towers; leave encoder.query and encoder.key out, or the model")
    spec = encoder_spec(model)
    if spec["name"] != "dual":
        raise InputError(f"encoder.model: {model} has one encoder, {spec['name']}; a dual needs encoder.query and .key")
    sides = [spec[role] for role in ROLES]
    of_texts_and_pictures = sides[0]["name"] != sides[1]["name"] and sides[1]["name"] == "image"
    if query_kind == "image":
        if not of_texts_and_pictures:
            raise InputError(f"encoder.query_kind: {model} reads no pictures; leave query_kind out")
        sides.reverse()
    first, second = (registry.build("encoders", side) for side in sides)
    return first, second
