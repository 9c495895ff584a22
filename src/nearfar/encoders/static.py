"""Static: a text's vector is the mean of its tokens' vectors, without attention or word order, and very fast."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nearfar.column import Column, Ids
from nearfar.contracts import ForeignForm
from nearfar.encoders.pretrained.folder import folder_of
from nearfar.encoders.pretrained.modules import Modules, after_dim, read_modules
from nearfar.encoders.pretrained.static_files import (
    MODULE_FOLDER,
    PLAIN,
    read_saved_static,
    read_static,
    static_identity,
    token_ids,
    truncate_to,
)
from nearfar.encoders.pretrained.write import write_after, write_modules
from nearfar.encoders.reading.bags import Bags, BagStore, bag_sum, thinned
from nearfar.encoders.reading.pooling import Dense, PaddedEncoder, TokenLookup
from nearfar.encoders.reading.token_counts import MAX_TOKENS
from nearfar.errors import InputError
from nearfar.storage.foreign import sentence_transformers
from nearfar.storage.weights import write_weights
from nearfar.text.tokenizer import check_vocabulary, read_tokenizer, table_size, train_tokenizer, truncated

DIM, MAX_LENGTH = 512, 512  # of a new one
INITIAL_STD = 0.05  # of the weights. With 1, Adam's steps are small beside them: MRR@10 0.44 on code search, not 0.55


class Static(nn.Module):
    """The mean of token embeddings: x = (1 / |T|) sum_{t in T} E_t over a text's tokens T.

    It equals sentence-transformers' StaticEmbedding, where its folder loads with the same vectors, and model2vec's
    models. It computes the mean from a text's distinct tokens, with their counts as weights.

    Args:
        dim: of the vectors; by default 512, or that of the folder.
        vocabulary: size of the byte-pair vocabulary that `prepare` trains on the data.
        tokenizer: a `tokenizer.json` to use instead of training one.
        max_length: tokens of a text that are read, the rest is truncated; by default 512, or those of the folder.
        seed: of the initial weights.
        token_dropout: share of a text's distinct tokens that a training step does not see, against learning few texts
            by heart (word dropout, Iyyer et al. 2015, section 4.1 of "Deep unordered composition").
        model: a folder of sentence-transformers with a static model, one of model2vec, or a name on the hub, to begin
            from. Only safetensors are read.
        route: of the folder of a Router, which has two encoders, the side to read: query or document.

    Call: `Bags` of n texts -> (n, dim), not normalised. Errors: `InputError` for a tokenizer that cannot be read, or a
    call before `prepare`.

    Example:
        >>> import nearfar as nf
        >>> encoder = nf.encoders.Static(dim=64, vocabulary=300)
        >>> encoder.prepare([nf.column.ListColumn("text", ["pull near", "push far"])])
        >>> encoder(encoder.inputs(["near", "far"])).shape
        torch.Size([2, 64])

    When not to use it: where word order or long context decides; a transformer reads both, a hundred times slower.
    """

    reads: tuple[str, ...] = ("text",)

    def __init__(
        self,
        dim: int | None = None,
        vocabulary: int = 30_000,
        tokenizer: Path | None = None,
        max_length: int | None = None,
        seed: int = 0,
        model: str | None = None,
        route: str | None = None,
        token_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= token_dropout < 1:
            raise InputError(f"encoder.token_dropout is a share, 0 to below 1; it is {token_dropout:g}")
        folder = None if model is None else folder_of(model)
        modules = Modules(Path()) if folder is None else read_modules(folder, "StaticEmbedding", route)
        read = None if folder is None else read_static(modules.first)
        width, longest = (DIM, MAX_LENGTH) if read is None else (read.weight.shape[1], read.max_length)
        width = after_dim(str(model), modules.after, width)
        self.dim = width if dim is None else dim
        self.max_length = longest if max_length is None else max_length
        check_vocabulary(vocabulary, "encoder.vocabulary")
        if self.dim < 1 or not 1 <= self.max_length <= MAX_TOKENS:
            raise InputError(
                f"encoders.static: dim ({self.dim}) must be at least 1, and max_length ({self.max_length}) 1 to "
                f"{MAX_TOKENS}"
            )
        if read is not None and (self.dim != width or tokenizer is not None):
            raise InputError(f"encoders.static: {model} has a tokenizer and {width} dimensions; leave out your own")
        self.vocabulary, self.seed, self.model, self.route = vocabulary, seed, model, route
        self.token_dropout = token_dropout
        self.prompts, self.named_prompts = modules.prompts, modules.named
        self.after = nn.Sequential(*modules.after)  # dense layers over the mean
        self.tokenizer: Any = None
        self.prepared = False
        if tokenizer is not None:
            self._set_tokenizer(read_tokenizer(Path(tokenizer)))
        if read is not None:
            self._set_tokenizer(read.tokenizer, torch.from_numpy(read.weight))

    @property
    def starts_from(self) -> str | None:
        """The model that it began from; None where its weights were random."""
        return self.model

    def prepare(self, columns: Sequence[Column]) -> None:
        """Train the tokenizer on the columns' texts, unless there is one; scale the initial weights by their tokens."""
        if self.tokenizer is None:
            self._set_tokenizer(train_tokenizer(columns, self.vocabulary))
        if not self.prepared:
            self._scale_by_idf([self.store(column) for column in columns])

    def _scale_by_idf(self, stores: Sequence[BagStore]) -> None:
        """Scale the initial token vectors by inverse document frequency (Spaerck Jones 1972), of mean 1 over texts.

        Training then begins from a weighted word match. Worth 0.008 MRR@10 on code search.
        """
        vocabulary, texts = len(self.embedding.weight), sum(len(store) for store in stores)
        self.prepared = True
        if texts == 0:
            return
        frequency = sum((store.document_frequency(vocabulary) for store in stores), np.zeros(vocabulary, np.int64))
        idf = np.log(1 + texts / (frequency + 0.5))  # (v,)
        idf /= np.average(idf, weights=frequency) if frequency.any() else 1.0
        with torch.no_grad():
            self.embedding.weight.mul_(torch.from_numpy(idf).float()[:, None])

    def _set_tokenizer(self, tokenizer: Any, weight: Tensor | None = None) -> None:
        """Use a tokenizer, with its table of token vectors (v, dim); without one, a random table."""
        truncate_to(tokenizer, self.max_length)
        self.tokenizer = tokenizer
        self.identifier: str = tokenizer.to_str()
        self.prepared = weight is not None
        if weight is None:
            generator = torch.Generator().manual_seed(self.seed)
            weight = INITIAL_STD * torch.randn(table_size(tokenizer), self.dim, generator=generator)
        self.embedding = nn.EmbeddingBag.from_pretrained(weight, freeze=False)

    def forward(self, bags: Bags) -> Tensor:
        """Return raw vectors, (n, dim)."""
        if self.training and self.token_dropout:
            bags = thinned(bags, self.token_dropout)
        vectors: Tensor = self.after(bag_sum(self.embedding.weight, bags))  # (n, dim)
        return vectors

    def _required_tokenizer(self) -> Any:
        if self.tokenizer is None:
            raise InputError("encoders.static: no tokenizer yet; call prepare(columns) or give one")
        return self.tokenizer

    def tokenise(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int32], Ids]:
        """Return the token ids of texts, one text after the other (t,), and the texts' lengths (n,)."""
        return token_ids(self._required_tokenizer(), texts)

    def truncated(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return for each text whether it is longer than what is read, (n,)."""
        return truncated(self._required_tokenizer(), texts, special=False)

    def inputs(self, cells: Sequence[str]) -> Bags:
        """Return texts as bags."""
        return Bags.of(*self.tokenise(cells), len(self.embedding.weight))

    def store(self, column: Column) -> BagStore:
        """Return the bags of a whole column, tokenised once."""
        self._required_tokenizer()
        return BagStore.of(column, self.tokenise, len(self.embedding.weight), self.identifier)

    def settings(self) -> dict[str, Any]:
        """Return what `load` needs beside the files."""
        return {"dim": self.dim, "max_length": self.max_length}

    def identity(self) -> Iterator[tuple[str, Any]]:
        """Yield what the embedding space depends on."""
        self._required_tokenizer()
        yield from static_identity(self.identifier, self.max_length, self.embedding.weight.detach().cpu().numpy())
        if len(self.after):
            yield "after", [(type(m).__name__, str(m.config()) if isinstance(m, Dense) else "") for m in self.after]
        for name, weight in self.after.state_dict().items():
            yield f"after.{name}", weight.detach().float().cpu().numpy()

    def padded_encoder(self) -> tuple[PaddedEncoder, str, int]:
        """Return the encoder over padded tokens, for other runtimes, its tokenizer.json, and its maximum length."""
        tokenizer = json.loads(self._required_tokenizer().to_str())
        tokenizer["post_processor"] = None  # which would add special tokens
        table = TokenLookup(self.embedding.weight.detach().clone().cpu().float())
        return (
            PaddedEncoder(table, ["mean"], copy.deepcopy(self.after).cpu().float()),
            json.dumps(tokenizer),
            self.max_length,
        )

    def save(self, folder: Path) -> list[ForeignForm]:
        """Write tokenizer.json and model.safetensors; sentence-transformers reads both as a StaticEmbedding."""
        subfolder = folder / MODULE_FOLDER
        subfolder.mkdir(parents=True, exist_ok=True)
        (subfolder / "tokenizer.json").write_text(self._required_tokenizer().to_str(pretty=True), encoding="utf-8")
        write_weights(subfolder / "model.safetensors", {PLAIN: self.embedding.weight.detach()})
        forms = sentence_transformers(("StaticEmbedding", MODULE_FOLDER), *write_after(folder, self.after, first=1))
        if len(self.after):
            write_modules(folder, forms)  # `load` reads the layers from it
        return forms

    @classmethod
    def load(cls, folder: Path, settings: dict[str, Any]) -> Self:
        """Read what `save` wrote. Errors: `InputError` naming a file that is missing, broken or of another shape."""
        encoder = cls(**{**settings, "tokenizer": None, "model": None, "route": None})  # the folder has its own
        if (folder / "modules.json").is_file():
            encoder.after = nn.Sequential(*read_modules(folder, "StaticEmbedding").after)
        layers = [layer.linear for layer in encoder.after if isinstance(layer, Dense)]
        saved = read_saved_static(folder, layers[0].in_features if layers else encoder.dim, encoder.max_length)
        encoder.vocabulary = len(saved.weight)
        encoder._set_tokenizer(saved.tokenizer, torch.from_numpy(saved.weight))
        return encoder
