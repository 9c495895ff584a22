"""Projected: a linear layer over an encoder that stays as it is."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from nearfar import registry
from nearfar.column import Column, chunks
from nearfar.contracts import Encoder
from nearfar.encoders._modules import Unit
from nearfar.encoders._padded import Padded
from nearfar.encoders._pooling import Dense
from nearfar.encoders._token_files import cached, mapped
from nearfar.encoders._vectors import Vectors, VectorStore
from nearfar.errors import InputError
from nearfar.fingerprint import fingerprint
from nearfar.folders import writing
from nearfar.hardware import precision
from nearfar.registry import PartOf
from nearfar.weights import read_weights

INNER, LAYER, UNIT = "of", "projection", "unit"  # folders of the model
WEIGHTS = ["linear.weight", "linear.bias"]
CHUNK = 2048  # cells encoded at once
UNITS = {"type": "sentence_transformers.models.Normalize", "path": UNIT}


class Projected(nn.Module):
    """A linear layer over the unit vectors e of another encoder, which is not trained: x = W e + b.

    It begins as the identity: the first `dim` coordinates as they are. A column is encoded once, and its vectors kept
    on disk, so that a pass over the data takes seconds, however heavy the encoder, and batches may have thousands of
    rows. Vectors that lie in an index already are moved into the new space by one product, without their texts.

    Args:
        of: the encoder, `{name: transformer, model: minilm}`.
        dim: of the vectors; None is that of the encoder.

    Call: Vectors (n, d) of the inner encoder -> (n, dim), not normalised. `prompts` are the inner encoder's.

    Errors: `InputError` for an encoder of two towers, a dim out of range.

    Example:
        >>> import nearfar as nf
        >>> encoder = nf.encoders.Projected(nf.encoders.Static(dim=8, vocabulary=300), dim=4)
        >>> encoder.prepare([nf.column.ListColumn("text", ["pull near", "push far"])])
        >>> nf.Model(encoder).embed(["near"]).shape
        (1, 4)

    When not to use it: with an encoder that has learnt nothing yet (static without weights), or where people's pairs
    are there in number: those are worth training the whole encoder on.
    """

    def __init__(self, of: Annotated[Encoder, PartOf("encoders")], dim: int | None = None) -> None:
        super().__init__()
        if hasattr(of, "side"):
            raise InputError("encoder.of: an encoder of two towers cannot be projected; project each tower")
        dim = of.dim if dim is None else dim
        if not 1 <= dim <= of.dim:
            raise InputError(f"encoder.dim: {dim} is not of the inner encoder's vectors, which have {of.dim}")
        self.of = cast("nn.Module", of).requires_grad_(False)
        self.dim = dim
        self.projection = Dense(of.dim, dim, bias=True, activation="Identity")
        with torch.no_grad():
            self.projection.linear.weight.copy_(torch.eye(dim, of.dim))
            self.projection.linear.bias.zero_()
        self.prompts: dict[str, str] = dict(getattr(of, "prompts", {}))

    @property
    def inner(self) -> Any:
        """The encoder that stays as it is."""
        return self.of

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
        self.inner.prepare(columns)
        self.of.requires_grad_(False).eval()

    @torch.no_grad()
    def inputs(self, cells: Sequence[Any]) -> Vectors:
        """Return cells as the inner encoder's vectors; zero for one of which it knows nothing."""
        inputs = self.inner.inputs(cells)
        device = self.projection.linear.weight.device
        return Vectors(normalize(self.of(inputs.to(device)).float(), dim=1))

    def store(self, column: Column) -> VectorStore:
        """Return a whole column as vectors, encoded once: in bf16, where the machine is fast at it."""
        width, size = self.projection.linear.in_features, len(column)
        where = self.projection.linear.weight.device
        half = precision("auto", where) == "bf16"

        def write(aside: Path) -> None:
            rough = torch.autocast(where.type, torch.bfloat16, enabled=half)
            with rough, writing(aside), (aside / "vectors").open("wb") as file:
                for cells in chunks(column, CHUNK):
                    file.write(self.inputs(cells).vectors.cpu().numpy().astype("<f4").data)

        folder = cached(("projected 1", half, fingerprint(*self.inner.identity())), column, write)
        return VectorStore(mapped(folder / "vectors", np.float32, size * width).reshape(size, width))

    def forward(self, inputs: Vectors) -> Tensor:
        """Return raw vectors (n, dim)."""
        x: Tensor = self.projection(inputs.vectors)
        return x

    def settings(self) -> dict[str, Any]:
        """Return what `load` needs beside the files."""
        return {"of": {"name": registry.name_of(type(self.of)), **self.inner.settings()}, "dim": self.dim}

    def identity(self) -> Iterator[tuple[str, Any]]:
        """Yield what makes this space what it is."""
        yield "of", registry.name_of(type(self.of))
        for name, value in self.inner.identity():
            yield f"of.{name}", value
        for name, weight in self.projection.state_dict().items():
            yield name, weight.detach().float().cpu().numpy()

    def save(self, folder: Path) -> list[dict[str, Any]]:
        """Write the inner encoder into a folder of its own, and the layer as sentence-transformers' Dense."""
        rows = self.inner.save(folder / INNER)
        place = folder / LAYER
        place.mkdir()
        self.projection.write(place)
        (folder / UNIT).mkdir()
        if not rows:
            return []  # sentence-transformers has no form for the inner encoder
        inner = [{**row, "path": f"{INNER}/{row.get('path', '')}".rstrip("/")} for row in rows]
        return [*inner, dict(UNITS), {"type": "sentence_transformers.models.Dense", "path": LAYER}]

    @classmethod
    def load(cls, folder: Path, settings: dict[str, Any]) -> Self:
        """Read what `save` wrote. Errors: those of the inner encoder; `InputError` for files that are missing."""
        spec, place = settings.get("of"), folder / INNER
        if not isinstance(spec, Mapping) or not place.is_dir():
            what = "no such folder" if isinstance(spec, Mapping) else "nearfar.json does not say what lies there"
            raise InputError(f"{place}: {what}; copy the model folder again")
        part, given = registry.checked("encoders", spec, section=f"{folder / 'nearfar.json'}: encoder.of")
        encoder = cls(cast("Any", part).load(place, given), settings.get("dim"))
        path = folder / LAYER / "model.safetensors"
        weights, linear = read_weights(path, WEIGHTS), encoder.projection.linear
        if weights[WEIGHTS[0]].shape != linear.weight.shape or weights[WEIGHTS[1]].shape != linear.bias.shape:
            raise InputError(f"{path}: the layer is not ({encoder.dim}, {linear.in_features}); copy the folder again")
        encoder.projection.load_state_dict({name: weights[name].float() for name in WEIGHTS})
        return encoder

    def portable(self) -> tuple[Padded, str, int]:
        """Return the encoder over padded tokens for other runtimes, its tokenizer.json, and its longest text."""
        if not hasattr(self.of, "portable"):
            raise InputError(f"export: {type(self.of).__name__} has no form in ONNX; known: static, transformer")
        padded, tokenizer, longest = self.inner.portable()
        padded.after = nn.Sequential(padded.after, Unit(), copy.deepcopy(self.projection).cpu().float())
        return padded, tokenizer, longest
