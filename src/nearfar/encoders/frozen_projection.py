"""FrozenProjection: a linear layer over an encoder that stays as it is."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from nearfar.column import Column, chunks
from nearfar.compute.hardware import precision
from nearfar.contracts import Encoder
from nearfar.encoders.pretrained.modules import Normalize
from nearfar.encoders.reading.nested import (
    ROLES,
    VectorInputs,
    VectorStore,
    inner_identity,
    inner_spec,
    load_inner,
    save_inner,
)
from nearfar.encoders.reading.pooling import Dense, PaddedEncoder
from nearfar.encoders.reading.tokens import cached, mapped, missing_token
from nearfar.errors import InputError, nearest
from nearfar.registry import PartOf
from nearfar.storage.fingerprint import fingerprint
from nearfar.storage.folders import writing

INNER, UNIT, LAYER = "of", "unit", "projection"  # folders of the model
CHUNK = 2048  # cells encoded at once


class FrozenProjection(nn.Module):
    """A linear layer over the unit vectors e of another encoder, which is not trained: x = W e + b.

    It begins as the identity: the first `dim` coordinates as they are. A column is encoded once, and its vectors kept
    on disk, so that a pass over the data takes seconds, however heavy the encoder, and batches may have thousands of
    rows. Vectors that lie in an index already are moved into the new space by one product, without their texts.

    In training, those vectors are computed in bf16 where the machine is fast at it, whatever `training.precision` says
    of the layer; `Model.embed` computes them as it is told.

    Args:
        of: the encoder, `{name: transformer, model: minilm}`.
        dim: of the vectors; None is that of the encoder.
        prompts: text put in front, by role; the encoder's own.

    Call: Vectors (n, d) of the inner encoder -> (n, dim), not normalised; zero where the inner one is.

    Errors: `InputError` for an encoder of two towers, a dim out of range.

    Example:
        >>> import nearfar as nf
        >>> encoder = nf.encoders.FrozenProjection(nf.encoders.Static(dim=8, vocabulary=300), dim=4)
        >>> encoder.prepare([nf.column.ListColumn("text", ["pull near", "push far"])])
        >>> nf.Model(encoder).embed(["near"]).shape
        (1, 4)

    When not to use it: with an encoder that has learnt nothing yet (static without weights), or where people's pairs
    are there in number: those are worth training the whole encoder on.
    """

    def __init__(
        self,
        of: Annotated[Encoder, PartOf("encoders")],
        dim: int | None = None,
        prompts: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        if hasattr(of, "side"):
            raise InputError("encoder.of: an encoder of two towers cannot be projected; project each tower")
        dim = of.dim if dim is None else dim
        if not 1 <= dim <= of.dim:
            raise InputError(f"encoder.dim: {dim} is not of the inner encoder's vectors, which have {of.dim}")
        self.of: Any = cast("nn.Module", of).requires_grad_(False)
        self.dim = dim
        self.projection = Dense(of.dim, dim, bias=True, activation="Identity")
        with torch.no_grad():
            self.projection.linear.weight.copy_(torch.eye(dim, of.dim))
            self.projection.linear.bias.zero_()
        for role in prompts or {}:
            if role not in ROLES:
                raise InputError(f"encoder.prompts: no role {role!r}; {nearest(role, ROLES)}")
        self.prompts: dict[str, str] = {**getattr(of, "prompts", {}), **(prompts or {})}

    @property
    def takes(self) -> type:
        """The type of the inner encoder's cells."""
        kind: type = getattr(self.of, "takes", object)
        return kind

    def train(self, mode: bool = True) -> Self:
        """Switch the layer alone: what is not trained drops nothing out."""
        super().train(mode)
        self.of.eval()
        return self

    def prepare(self, columns: Sequence[Column]) -> None:
        """Let the inner encoder learn what it needs."""
        self.of.prepare(columns)
        self.of.requires_grad_(False).eval()

    @torch.no_grad()
    def inputs(self, cells: Sequence[Any]) -> VectorInputs:
        """Return cells as the inner encoder's vectors; zero for one of which it knows nothing."""
        inputs = self.of.inputs(cells)
        device = self.projection.linear.weight.device
        return VectorInputs(normalize(self.of(inputs.to(device)).float(), dim=1))

    def store(self, column: Column) -> VectorStore:
        """Return a whole column as vectors, encoded once: in bf16, where the machine is fast at it."""
        width, size = self.projection.linear.in_features, len(column)
        where = self.projection.linear.weight.device
        half = precision("auto", where) == "bf16"

        def write(aside: Path) -> None:
            rough = torch.autocast(where.type, torch.bfloat16, enabled=half)
            with rough, writing(aside), (aside / "vectors").open("wb") as file:
                for start, cells in zip(range(0, size, CHUNK), chunks(column, CHUNK)):
                    vectors = self.inputs(cells).vectors.cpu().numpy().astype("<f4")
                    if not (known := vectors.any(1)).all():
                        row = int(np.argmin(known))
                        raise missing_token(column.name, start + row, str(cells[row]))
                    file.write(vectors.data)

        folder = cached(("projected 1", half, fingerprint(*self.of.identity())), column, write, "vectors")
        return VectorStore(mapped(folder / "vectors", np.float32, size * width).reshape(size, width))

    def forward(self, inputs: VectorInputs) -> Tensor:
        """Return raw vectors (n, dim)."""
        x = inputs.vectors
        with torch.autocast(x.device.type, enabled=False):  # bf16 would hardly see a layer near the identity move
            y: Tensor = self.projection(x)
        return y * x.any(1, keepdim=True)

    def settings(self) -> dict[str, Any]:
        """Return what `load` needs beside the files."""
        return {"of": inner_spec(self.of), "dim": self.dim, "prompts": self.prompts}

    def identity(self) -> Iterator[tuple[str, Any]]:
        """Yield what makes this space what it is."""
        yield from inner_identity("of", self.of)
        for name, weight in self.projection.state_dict().items():
            yield name, weight.detach().float().cpu().numpy()

    def save(self, folder: Path) -> list[dict[str, Any]]:
        """Write the inner encoder into a folder of its own, and the layer as sentence-transformers' Dense."""
        rows = save_inner(folder, INNER, self.of)
        for name in (UNIT, LAYER):
            (folder / name).mkdir()
        self.projection.write(folder / LAYER)
        added = {"Normalize": UNIT, "Dense": LAYER}  # nothing, where the inner encoder has no such form
        return rows and [*rows, *({"type": f"sentence_transformers.models.{k}", "path": p} for k, p in added.items())]

    @classmethod
    def load(cls, folder: Path, settings: dict[str, Any]) -> Self:
        """Read what `save` wrote. Errors: those of the inner encoder; `InputError` for files that do not fit."""
        encoder = cls(**{**settings, "of": load_inner(folder, INNER, settings.get("of"))})
        layer = Dense.read(folder / LAYER)
        if layer.config() != encoder.projection.config():
            raise InputError(
                f"{folder / LAYER}: {layer.config()} does not fit nearfar.json; copy the model folder again"
            )
        encoder.projection = layer
        return encoder

    def portable(self) -> tuple[PaddedEncoder, str, int]:
        """Return the encoder over padded tokens for other runtimes, its tokenizer.json, and its longest text."""
        padded, tokenizer, longest = self.of.portable()
        padded.after = nn.Sequential(padded.after, Normalize(), copy.deepcopy(self.projection).cpu().float())
        return padded, tokenizer, longest
