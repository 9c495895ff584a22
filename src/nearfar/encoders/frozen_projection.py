"""FrozenProjection: a linear layer over a frozen encoder."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from nearfar.abilities import (
    HasMaxLength,
    HasPaddedForm,
    KnowsLanguages,
    ReadsPictures,
    Tokenises,
    Truncates,
    TwoSided,
    named_prompts_of,
    prompts_of,
    reads,
    start_of,
)
from nearfar.column import Column, chunks
from nearfar.compute.hardware import precision
from nearfar.contracts import Encoder, ForeignForm
from nearfar.encoders.pretrained.modules import Normalize
from nearfar.encoders.reading.nested import inner_identity, inner_spec, load_inner, save_inner
from nearfar.encoders.reading.pooling import Dense, PaddedEncoder
from nearfar.encoders.reading.tokens import cached_folder, memory_mapped, missing_token_error
from nearfar.encoders.reading.vectors import VectorInputs, VectorStore
from nearfar.errors import InputError
from nearfar.registry import PartOf
from nearfar.requirements import refuse_incomplete
from nearfar.storage.fingerprint import fingerprint
from nearfar.storage.foreign import SENTENCE_TRANSFORMERS, sentence_transformers
from nearfar.text.prompts import checked_prompts

INNER, UNIT, LAYER = "of", "unit", "projection"  # subfolders of a saved model
CHUNK = 2048  # cells in one forward pass of the inner encoder


class FrozenProjection(nn.Module):
    """A linear layer over the unit vectors e of another encoder, which is not trained: x = W e + b.

    It begins as the identity: the first `dim` coordinates, unchanged. A column is encoded once, and its vectors are
    cached on disk, so that an epoch takes seconds, however large the encoder, and batches may have thousands of rows.
    The vectors of an existing index come into the new space by one product, without their texts.

    For training, those vectors are computed in bf16 where the machine is fast at it, whatever `training.precision` is
    for the layer; `Model.embed` computes them in the precision of the model.

    Args:
        of: the encoder, `{name: transformer, model: minilm}`.
        dim: of the vectors; None is that of the encoder.
        prompts: text in front of each cell, by role; by default those of the encoder.

    Call: `VectorInputs`, e (n, d) -> x (n, dim), not normalised; a row of zeros gives zeros.

    Errors: `InputError` for an encoder of two towers, a dim out of range.

    Example:
        >>> import nearfar as nf
        >>> encoder = nf.encoders.FrozenProjection(nf.encoders.Static(dim=8, vocabulary=300), dim=4)
        >>> encoder.prepare([nf.column.ListColumn("text", ["pull near", "push far"])])
        >>> nf.Model(encoder).embed(["near"]).shape
        (1, 4)

    When not to use it: with an encoder that is not trained yet (static without weights), or with many pairs labelled by
    people: those are worth training the whole encoder on.
    """

    def __init__(
        self,
        of: Annotated[Encoder, PartOf("encoders")],
        dim: int | None = None,
        prompts: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        refuse_incomplete("encoders", of, where="encoder.of")
        if isinstance(of, TwoSided):
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
        self.prompts: dict[str, str] = {**prompts_of(of), **checked_prompts(prompts or {}, "encoder.prompts")}
        self.named_prompts = named_prompts_of(of)
        if isinstance(of, Tokenises):
            self.tokenise = of.tokenise
        if isinstance(of, Truncates):
            self.truncated = of.truncated
        if isinstance(of, ReadsPictures):
            self.picture_size = of.picture_size
        if isinstance(of, KnowsLanguages):
            self.made_for, self.unread_and_fertility = of.made_for, of.unread_and_fertility

    @property
    def reads(self) -> tuple[str, ...]:
        """The kinds of cells that the inner encoder reads."""
        return reads(self.of)

    @property
    def max_length(self) -> int | None:
        """The tokens of a text that the inner encoder reads; None where it has no maximum."""
        return self.of.max_length if isinstance(self.of, HasMaxLength) else None

    @property
    def starts_from(self) -> str | None:
        """The model that the inner encoder began from; None where its weights were random."""
        return start_of(self.of)

    def untrained(self) -> FrozenProjection:
        """Return the same encoder under a layer as it begins: of two such towers the spaces do not belong together."""
        trained = [(parameter, parameter.requires_grad) for parameter in self.of.parameters()]
        other = FrozenProjection(self.of, self.dim, self.prompts)
        for parameter, flag in trained:  # of the encoder that both have
            parameter.requires_grad_(flag)
        return other.to(self.projection.linear.weight.device).train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the layer alone: the frozen encoder stays in eval mode, without dropout."""
        super().train(mode)
        self.of.eval()
        return self

    def prepare(self, columns: Sequence[Column]) -> None:
        """Let the inner encoder learn what it needs."""
        self.of.prepare(columns)
        self.of.requires_grad_(False).eval()

    @torch.no_grad()
    def inputs(self, cells: Sequence[Any]) -> VectorInputs:
        """Return cells as the inner encoder's unit vectors; zeros for a cell of which it knows no token."""
        inputs = self.of.inputs(cells)
        device = self.projection.linear.weight.device
        return VectorInputs(normalize(self.of(inputs.to(device)).float(), dim=1))

    def store(self, column: Column) -> VectorStore:
        """Return the unit vectors of a whole column, encoded once: in bf16, where the machine is fast at it."""
        width, size = self.projection.linear.in_features, len(column)
        device = self.projection.linear.weight.device
        bf16 = precision("auto", device) == "bf16"

        def write(new: Path) -> None:
            autocast = torch.autocast(device.type, torch.bfloat16, enabled=bf16)
            with autocast, (new / "vectors").open("wb") as file:
                for start, cells in zip(range(0, size, CHUNK), chunks(column, CHUNK)):
                    vectors = self.inputs(cells).vectors.cpu().numpy().astype("<f4")
                    if not (nonzero := vectors.any(1)).all():
                        row = int(np.argmin(nonzero))
                        raise missing_token_error(column.name, start + row, str(cells[row]))
                    file.write(vectors.data)

        identity = ("projected 1", bf16, fingerprint(*self.of.identity()))
        folder = cached_folder(identity, column, write, "vectors")
        return VectorStore(memory_mapped(folder / "vectors", np.float32, size * width).reshape(size, width))

    def forward(self, inputs: VectorInputs) -> Tensor:
        """Return raw vectors (n, dim)."""
        e = inputs.vectors
        with torch.autocast(e.device.type, enabled=False):  # bf16 would lose small changes of a layer near the identity
            x: Tensor = self.projection(e)
        return x * e.any(1, keepdim=True)

    def settings(self) -> dict[str, Any]:
        """Return what `load` needs beside the files."""
        return {"of": inner_spec(self.of), "dim": self.dim, "prompts": self.prompts}

    def identity(self) -> Iterator[tuple[str, Any]]:
        """Yield what the embedding space depends on."""
        yield from inner_identity("of", self.of)
        for name, weight in self.projection.state_dict().items():
            yield name, weight.detach().float().cpu().numpy()

    def save(self, folder: Path) -> list[ForeignForm]:
        """Write the inner encoder into a folder of its own, and the layer as sentence-transformers' Dense."""
        rows = save_inner(folder, INNER, self.of)
        for name in (UNIT, LAYER):
            (folder / name).mkdir()
        self.projection.write(folder / LAYER)
        if not rows:
            return []  # sentence-transformers has no form for the inner encoder
        [added] = sentence_transformers(("Normalize", UNIT), ("Dense", LAYER))
        return [ForeignForm(SENTENCE_TRANSFORMERS, [*rows, *added.modules])]

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

    def padded_encoder(self) -> tuple[PaddedEncoder, str, int]:
        """Return the encoder over padded tokens, for other runtimes, its tokenizer.json, and its maximum length."""
        if not isinstance(self.of, HasPaddedForm):
            raise InputError(f"export: {type(self.of).__name__}, inside frozen_projection, has no form in ONNX")
        padded, tokenizer, longest = self.of.padded_encoder()
        assert isinstance(padded, PaddedEncoder)
        padded.after = nn.Sequential(padded.after, Normalize(), copy.deepcopy(self.projection).cpu().float())
        return padded, tokenizer, longest
