"""FrozenProjection: a linear layer over a frozen encoder."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from nearfar.abilities import (
    HasPaddedForm,
    KnowsLanguages,
    ReadsPictures,
    Tokenises,
    Truncates,
    TwoSided,
    max_length_of,
    named_prompts_of,
    prompts_of,
    reads,
    start_of,
)
from nearfar.column import Column, Ids, distinct_rows, exact_ids, take
from nearfar.compute.hardware import precision
from nearfar.contracts import Encoder, ForeignForm
from nearfar.encoders.pretrained.modules import Normalize
from nearfar.encoders.reading.last_blocks import Unlocking
from nearfar.encoders.reading.nested import inner_identity, inner_spec, load_inner, save_inner
from nearfar.encoders.reading.pooling import Dense, PaddedEncoder
from nearfar.encoders.reading.stored_states import LockedStore, StateRows, StateStore, StateWriter
from nearfar.encoders.reading.tokens import missing_token_error
from nearfar.encoders.reading.vectors import VectorInputs, VectorStore
from nearfar.errors import InputError
from nearfar.registry import PartOf
from nearfar.requirements import refuse_incomplete
from nearfar.storage.column_cache import cached_folder, memory_mapped
from nearfar.storage.fingerprint import fingerprint
from nearfar.storage.foreign import SENTENCE_TRANSFORMERS, sentence_transformers
from nearfar.text.prompts import checked_prompts

INNER, UNIT, LAYER = "of", "unit", "projection"  # subfolders of a saved model
MOST_DIMENSIONS = 16_384
CHUNK = 1024  # cells in one forward pass of the inner encoder


class FrozenProjection(nn.Module):
    """A linear layer over the unit vectors e of another encoder, which is not trained: x = W e + b.

    It begins as the identity, the first `dim` coordinates, unchanged, or at random. A column is encoded once, and its
    vectors are cached on disk, so that an epoch takes seconds, however large the encoder, and a batch may have
    thousands of rows. The vectors of an existing index come into the new space by one product, without their texts.

    For training, those vectors are computed in bf16 where the machine is fast at it, whatever `training.precision` is
    for the layer; `Model.embed` computes them in the precision of the model.

    With `unlock`, the last blocks of the encoder are trained, too, from a share of the steps on: the blocks below stay
    locked, and what they give of each row is stored as well (a text's states, token by token; a picture's feature map),
    so that a step computes the last blocks alone. Locking a trained tower, and how much of it, is from LiT (Zhai et al.
    2022, arXiv:2111.07991, section 5).

    Args:
        of: the encoder, `{name: transformer, model: minilm}`.
        dim: of the vectors; None is that of the encoder.
        prompts: text in front of each cell, by role; by default those of the encoder.
        initial: of the layer: identity, where the encoder's own space is a good start, or random (He et al. 2015,
            arXiv:1502.01852, with the scale of torch's linear layers), for a space that it shares with another encoder.
        seed: of the random weights.
        dropout: share of the numbers of e that are zero in a training step (Srivastava et al. 2014), against
            overfitting where pairs are few; 0 for none.
        unlock: number of last blocks, layers or stages of the encoder that are trained, with what follows them; 0 for
            none. They have no dropout, and batch norm keeps its statistics.
        unlock_at: the share of the steps after which they are.
        unlock_rate: factor of their learning rate.

    Call: `VectorInputs`, e (n, d), or the stored states -> x (n, dim), not normalised; a row of zeros gives zeros.

    Errors: `InputError` for an encoder of two towers, a dim out of range, blocks that cannot be unlocked.

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
        initial: Literal["identity", "random"] = "identity",
        seed: int = 0,
        dropout: float = 0.0,
        unlock: int = 0,
        unlock_at: float = 0.5,
        unlock_rate: float = 0.1,
    ) -> None:
        super().__init__()
        refuse_incomplete("encoders", of, where="encoder.of")
        if not 0 <= dropout < 1:
            raise InputError(f"encoder.dropout is a share, 0 to below 1; it is {dropout:g}")
        if isinstance(of, TwoSided):
            raise InputError("encoder.of: an encoder of two towers cannot be projected; project each tower")
        dim = of.dim if dim is None else dim
        if initial not in ("identity", "random"):
            raise InputError(f"encoder.initial must be identity or random, it is {initial!r:.40}")
        if not 1 <= dim <= (of.dim if initial == "identity" else MOST_DIMENSIONS):
            raise InputError(
                f"encoder.dim: {dim} is not of the inner encoder's vectors, which have {of.dim}; with encoder.initial="
                f"random it may be up to {MOST_DIMENSIONS:,}"
            )
        self.of: Any = cast("nn.Module", of).requires_grad_(False).eval()
        self.dim = dim
        with torch.random.fork_rng([]), torch.no_grad():
            torch.manual_seed(seed)
            self.projection = Dense(of.dim, dim, bias=True, activation="Identity")
            if initial == "identity":
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
        self.initial, self.seed, self.dropout = initial, seed, dropout
        self.unlock, self.unlock_at, self.unlock_rate = unlock, unlock_at, unlock_rate
        self._unlocking = Unlocking(unlock, unlock_at, unlock_rate)
        if isinstance(of, KnowsLanguages):
            self.made_for, self.unread_and_fertility = of.made_for, of.unread_and_fertility

    @property
    def reads(self) -> tuple[str, ...]:
        """The kinds of cells that the inner encoder reads."""
        return reads(self.of)

    @property
    def max_length(self) -> int | None:
        """The tokens of a text that the inner encoder reads; None where it has no maximum."""
        return max_length_of(self.of)

    @property
    def starts_from(self) -> str | None:
        """The model that the inner encoder began from; None where its weights were random."""
        return start_of(self.of)

    def untrained(self) -> FrozenProjection | None:
        """Return the same encoder under a layer as it begins: of two such towers the spaces do not belong together.

        None where blocks were unlocked: how they began is not kept.
        """
        if self.unlock:
            return None
        fresh = FrozenProjection(self.of, self.dim, self.prompts, self.initial, self.seed)
        return fresh.to(self.projection.linear.weight.device).train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the layer alone: the frozen encoder stays in eval mode, without dropout."""
        super().train(mode)
        self.of.eval()
        return self

    def prepare(self, columns: Sequence[Column]) -> None:
        """Let the inner encoder learn what it needs."""
        self.of.prepare(columns)
        self.of.requires_grad_(False).eval()
        self._unlocking.blocks_of(self.of)

    def rates(self) -> dict[str, float]:
        """Return the factor of the learning rate of each parameter of the last blocks, by name."""
        return self._unlocking.rates(self)

    def says(self, size: int | None = None) -> list[str]:  # noqa: ARG002 (it reads no picture itself)
        """Return a line about the blocks that are unlocked."""
        return self._unlocking.says(start_of(self.of) or type(self.of).__name__)

    def inputs(self, cells: Sequence[Any]) -> VectorInputs | StateRows:
        """Return cells as the inner encoder's unit vectors, or as what its last blocks take where some are unlocked.

        A cell of which the encoder knows no token is zeros.
        """
        return self.inputs_at(cells, 1.0)

    @torch.no_grad()
    def inputs_at(self, cells: Sequence[Any], share: float) -> VectorInputs | StateRows:
        """Return cells as they are read after a share of the steps: as vectors until the last blocks are trained."""
        inputs = self.of.inputs(cells).to(self.projection.linear.weight.device)
        last = self._unlocking.blocks_of(self.of)
        if last is not None and share >= self.unlock_at:
            return cast("StateRows", last.below(inputs))
        return VectorInputs(normalize(self.of(inputs).float(), dim=1))

    def store(self, column: Column) -> VectorStore | LockedStore:
        """Return the unit vectors of a whole column, encoded once: in bf16, where the machine is fast at it.

        Equal cells, such as the picture of several rows, are encoded and stored once. Where blocks are unlocked, the
        states below them are stored beside the vectors.
        """
        last = self._unlocking.blocks_of(self.of)
        rows, place = distinct_rows(exact_ids(column))
        width = self.projection.linear.in_features
        device = self.projection.linear.weight.device
        bf16 = precision("auto", device) == "bf16"
        identity = ("projected 3", bf16, self.unlock, fingerprint(*self.of.identity()))
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            folder = cached_folder(identity, column, lambda new: self._write(new, column, rows, bf16=bf16), "vectors")
        array = memory_mapped(folder / "vectors", np.float32, len(rows) * width).reshape(len(rows), width)
        vectors = VectorStore(array, place)
        return vectors if last is None else LockedStore(vectors, StateStore(folder, place), self.unlock_at)

    @torch.no_grad()
    def _write(self, new: Path, column: Column, rows: Ids, *, bf16: bool) -> None:
        """Write the vectors of some rows of a column, and the states below the unlocked blocks."""
        states = None if self._unlocking.last is None else StateWriter(new, bf16=bf16)
        with (new / "vectors").open("wb") as file, states or nullcontext():
            for start in range(0, len(rows), CHUNK):
                cells = take(column, rows[start : start + CHUNK])
                inputs = self.inputs(cells)
                vectors = self._unit(inputs).cpu().numpy().astype("<f4")
                if not (nonzero := vectors.any(1)).all():
                    row = int(np.argmin(nonzero))
                    raise missing_token_error(column.name, int(rows[start + row]), str(cells[row]))
                file.write(vectors.data)
                if states is not None:
                    states.write(cast("StateRows", inputs))

    def _unit(self, inputs: VectorInputs | StateRows) -> Tensor:
        """Return the inner encoder's unit vectors e (n, d)."""
        if isinstance(inputs, VectorInputs):
            return inputs.vectors
        assert self._unlocking.last is not None
        if not torch.is_autocast_enabled(inputs.ids.device.type):  # layers in fp32 take no stored bf16 by themselves
            inputs = StateRows(inputs.ids.to(self.projection.linear.weight.dtype), inputs.offsets)
        return normalize(self._unlocking.last(inputs).float(), dim=1)

    def forward(self, inputs: VectorInputs | StateRows) -> Tensor:
        """Return raw vectors (n, dim)."""
        e = self._unit(inputs)
        with torch.autocast(e.device.type, enabled=False):  # bf16 would lose small changes of a layer near the identity
            x: Tensor = self.projection(torch.nn.functional.dropout(e, self.dropout, self.training))
        return x * e.any(1, keepdim=True)

    def settings(self) -> dict[str, Any]:
        """Return what `load` needs beside the files."""
        unlocked = {"unlock": self.unlock} if self.unlock else {}  # for `untrained`
        found = {"of": inner_spec(self.of), "dim": self.dim, "prompts": self.prompts, "initial": self.initial}
        return found | unlocked

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
        unlocked, settings = settings.get("unlock", 0), {k: v for k, v in settings.items() if k != "unlock"}
        encoder = cls(**{**settings, "of": load_inner(folder, INNER, settings.get("of"))})
        encoder.unlock = unlocked  # when it was trained; nothing is unlocked now
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
