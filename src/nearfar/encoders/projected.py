"""Projected: an encoder with the head that it was trained with, where the head is part of the model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, cast

import torch
from torch import Tensor, nn

from nearfar import registry
from nearfar.abilities import (
    HasTowers,
    ReadsPictures,
    Tokenises,
    Truncates,
    TwoSided,
    inputs_at,
    max_length_of,
    named_prompts_of,
    prompts_of,
    rates_of,
    reads,
    start_of,
    untrained_of,
)
from nearfar.column import Column
from nearfar.contracts import Encoder, ForeignForm, Head, Inputs, Store
from nearfar.encoders.reading.nested import inner_identity, inner_spec, load_inner, save_inner
from nearfar.errors import InputError
from nearfar.registry import PartOf
from nearfar.requirements import refuse_incomplete
from nearfar.storage.arrays import weight_shapes
from nearfar.storage.weights import read_tensors, write_weights
from nearfar.text.tokenizer import library_errors

INNER, HEAD = "encoder", "head.safetensors"


class Projected(nn.Module):
    """An encoder's vectors after a head: the model of a run with `ship: projection`, as CLIP's is.

    The common space of two encoders is that of their projections (Radford et al. 2021, arXiv:2103.00020, section 2.3).
    What one encoder is trained for otherwise is better found below the projection (Chen et al. 2020, arXiv:2002.05709,
    section 4.2), which is why `ship: encoder` is the default.

    Args:
        of: the encoder, `{name: static, dim: 256}`.
        head: what its vectors go through, `{name: mlp, sizes: [128]}`; made by hand, it takes `of.dim` dimensions.
        dropout: share of the encoder's numbers that are zero before the head in a training step (Srivastava et al.
            2014), so that few rows are not memorized.

    Call: the inputs of the encoder, n rows -> (n, dim), not normalised. What else the encoder can do (two sides,
    towers, tokens, a maximum length) this one can, too.

    Errors: `InputError` for what is no encoder, or no head, and for a dropout that is no share.

    Example:
        >>> import nearfar as nf
        >>> encoder = nf.encoders.Static(dim=8, vocabulary=300)
        >>> projected = nf.encoders.Projected(encoder, nf.heads.Mlp(dim=8, sizes=[4]))
        >>> projected.prepare([nf.column.ListColumn("text", ["pull near", "push far"])])
        >>> nf.Model(projected).embed(["near"]).shape
        (1, 4)

    When not to use it: for one encoder in a recipe; there, name the head under `heads.projection` and say `ship:
    projection`. A tower of a `dual` has a projection of its own this way (recipe `clip`).
    """

    def __init__(
        self, of: Annotated[Encoder, PartOf("encoders")], head: Annotated[Head, PartOf("heads")], dropout: float = 0.0
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise InputError(f"encoder.dropout is a share, 0 to below 1; it is {dropout:g}")
        refuse_incomplete("encoders", of, where="encoder.of")
        refuse_incomplete("heads", head, where="encoder.head")
        self.of: Any = of
        self.head: Any = head
        self.dropout = dropout
        self.dim = head.dim
        self.prompts = prompts_of(of)
        self.named_prompts = named_prompts_of(of)
        self.reads = reads(of)
        # It has the abilities of the encoder, and no others.
        if isinstance(of, TwoSided):
            self.side = of.side
        if isinstance(of, HasTowers):
            self.towers = {role: Projected(tower, head, dropout) for role, tower in of.towers.items()}
        if isinstance(of, Tokenises):
            self.tokenise = of.tokenise
        if isinstance(of, Truncates):
            self.truncated = of.truncated
        if isinstance(of, ReadsPictures):
            self.picture_size = of.picture_size

    @property
    def max_length(self) -> int | None:
        """The tokens of a text that the encoder reads; None where it has no maximum."""
        return max_length_of(self.of)

    @property
    def starts_from(self) -> str | None:
        """The model that the encoder began from; None where its weights were random."""
        return start_of(self.of)

    def untrained(self) -> Projected | None:
        """Return the encoder and the head as they were before training; None where the encoder cannot be made so."""
        of = untrained_of(self.of)
        if of is None:
            return None
        head = registry.recipe_of("heads", self.head)
        made: Projected = registry.build("encoders", {"name": registry.name_of(type(self)), "of": of, "head": head})
        return made.to(next(self.parameters(), torch.zeros(0)).device)

    def prepare(self, columns: Sequence[Column]) -> None:
        """Let the inner encoder learn what it needs."""
        self.of.prepare(columns)

    def inputs_at(self, cells: Sequence[Any], share: float) -> Inputs:
        """Return raw cells as the inner encoder's inputs after a share of the steps."""
        return inputs_at(self.of, cells, share)

    def inputs(self, cells: Sequence[Any]) -> Inputs:
        """Return raw cells as the inner encoder's inputs."""
        return cast("Inputs", self.of.inputs(cells))

    def store(self, column: Column) -> Store:
        """Return the inputs of a whole column."""
        return cast("Store", self.of.store(column))

    def rates(self) -> dict[str, float]:
        """Return the factors on the inner encoder's learning rates."""
        return {f"of.{name}": rate for name, rate in rates_of(self.of).items()}

    def forward(self, inputs: Any) -> Tensor:
        """Return raw vectors (n, dim)."""
        below: Tensor = self.of(inputs)
        weight = next(self.head.parameters(), below)  # a head may have none
        below = torch.nn.functional.dropout(below, self.dropout, self.training)
        vectors: Tensor = self.head(below.to(weight.dtype))
        return vectors

    def settings(self) -> dict[str, Any]:
        """Return what `load` needs beside the files."""
        return {"of": inner_spec(self.of), "head": registry.recipe_of("heads", self.head)}

    def identity(self) -> Iterator[tuple[str, Any]]:
        """Yield what the embedding space depends on: the encoder, and the head with its weights."""
        yield from inner_identity("of", self.of)
        yield "head", json.dumps(registry.recipe_of("heads", self.head), sort_keys=True)
        for name, weight in self.head.state_dict().items():
            yield f"head.{name}", weight.detach().float().cpu().numpy()

    def save(self, folder: Path) -> list[ForeignForm]:
        """Write the encoder into a folder of its own, and the head beside it; no foreign tool has such a form."""
        save_inner(folder, INNER, self.of)
        write_weights(folder / HEAD, self.head.state_dict())
        return []

    @classmethod
    def load(cls, folder: Path, settings: dict[str, Any]) -> Self:
        """Read what `save` wrote. Errors: those of both parts; `InputError` for a head whose weights do not fit."""
        of = load_inner(folder, INNER, settings.get("of"))
        spec = {"name": registry.name_of(cls), "of": of, "head": settings.get("head") or {}}
        shapes = weight_shapes(folder / HEAD)
        failed = f"{folder / 'nearfar.json'}: the head that it describes cannot be built"
        # Whatever sizes nearfar.json names, they take no memory.
        with library_errors(failed, "copy the model folder again"), torch.device("meta"):
            result: Self = registry.build("encoders", spec, section=f"{folder / 'nearfar.json'}: encoder")
        for name, weight in result.head.state_dict().items():
            if shapes.get(name) != tuple(weight.shape):
                raise InputError(
                    f"{folder / HEAD}: {name} is {shapes.get(name)}, nearfar.json asks for {tuple(weight.shape)}; copy "
                    "the model folder again"
                )
        try:
            result.head.load_state_dict(read_tensors(folder / HEAD), assign=True)
        except RuntimeError as error:
            line = str(error).splitlines()[-1].strip()
            raise InputError(
                f"{folder / HEAD}: does not fit nearfar.json ({line}); copy the model folder again"
            ) from error
        return result
