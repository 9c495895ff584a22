"""Projected: an encoder with the head that it was trained with, where the head is part of the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Self, cast

from safetensors.torch import load_file
from torch import Tensor, nn

from nearfar import registry
from nearfar.abilities import TwoSided, prompts_of, rates_of, reads
from nearfar.column import Column
from nearfar.contracts import Encoder, ForeignForm, Inputs, Store
from nearfar.encoders.reading.nested import inner_identity, inner_spec, load_inner, save_inner
from nearfar.errors import InputError
from nearfar.registry import PartOf
from nearfar.storage.weights import write_weights

INNER, HEAD = "encoder", "head.safetensors"
LINEAR = {"name": "mlp", "sizes": [128]}


class Projected(nn.Module):
    """An encoder's vectors after a head: the model of a run with `ship: projection`, as CLIP's is.

    The common space of two encoders is that of their projections (Radford et al. 2021, arXiv:2103.00020, section 2.3).
    What one encoder is trained for otherwise is better found below the projection (Chen et al. 2020, arXiv:2002.05709,
    section 4.2), which is why `ship: encoder` is the default.

    Args:
        of: the encoder.
        head: what its vectors go through, a head or {name: ..., setting: value}.

    Errors: `InputError` for a head that does not take the encoder's vectors.

    Example:
        >>> import nearfar as nf
        >>> encoder = nf.encoders.Static(dim=8, vocabulary=300)
        >>> projected = nf.encoders.Projected(encoder, nf.heads.Mlp(dim=8, sizes=[4]))
        >>> projected.prepare([nf.column.ListColumn("text", ["pull near", "push far"])])
        >>> nf.Model(projected).embed(["near"]).shape
        (1, 4)

    When not to use it: in a recipe; there, name the head under `heads.projection` and say `ship: projection`.
    """

    def __init__(self, of: Annotated[Encoder, PartOf("encoders")], head: Any = MappingProxyType(LINEAR)) -> None:
        super().__init__()
        built: Any = registry.build("heads", head, dim=of.dim) if isinstance(head, Mapping) else head
        self.of: Any = of
        self.head: Any = built
        self.dim: int = built.dim
        self.prompts = prompts_of(of)
        self.reads = reads(of)
        if isinstance(of, TwoSided):
            self.side = of.side  # only then is this an encoder of two sides

    def prepare(self, columns: Sequence[Column]) -> None:
        """Let the inner encoder learn what it needs."""
        self.of.prepare(columns)

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
        weight = next(self.head.parameters())
        vectors: Tensor = self.head(self.of(inputs).to(weight.dtype))
        return vectors

    def settings(self) -> dict[str, Any]:
        """Return what `load` needs beside the files."""
        kind = type(self.head)
        kept = {name: getattr(self.head, name) for name in registry.recipe_settings("heads", kind)}
        return {"of": inner_spec(self.of), "head": {"name": registry.name_of(kind), **kept}}

    def identity(self) -> Iterator[tuple[str, Any]]:
        """Yield what the embedding space depends on: the encoder, and the head with its weights."""
        yield from inner_identity("of", self.of)
        yield "head", str(registry.settings_of(self.head))
        for name, weight in self.head.state_dict().items():
            yield f"head.{name}", weight.detach().float().cpu().numpy()

    def save(self, folder: Path) -> list[ForeignForm]:
        """Write the encoder into a folder of its own, and the head beside it; no foreign tool has such a form."""
        save_inner(folder, INNER, self.of)
        write_weights(folder / HEAD, self.head.state_dict())
        return []

    @classmethod
    def load(cls, folder: Path, settings: dict[str, Any]) -> Self:
        """Read what `save` wrote. Errors: those of the encoder; `InputError` for a head whose weights do not fit."""
        result = cls(load_inner(folder, INNER, settings.get("of")), settings.get("head") or {})
        try:
            result.head.load_state_dict(load_file(folder / HEAD))
        except (OSError, RuntimeError) as error:
            line = str(error).splitlines()[-1].strip()
            raise InputError(
                f"{folder / HEAD}: does not fit nearfar.json ({line}); copy the model folder again"
            ) from error
        return result
