"""Static: a text's vector is the mean of its tokens' vectors. No attention, no order, very fast."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nearfar.column import Column, Ids
from nearfar.encoders.reading.bags import MOST_TOKENS, Bags, BagStore, bag_sum
from nearfar.encoders.reading.pooling import PaddedEncoder, TokenLookup
from nearfar.errors import InputError
from nearfar.storage.weights import read_weights, write_weights
from nearfar.text.tokenizer import learn, read, table_size

SPREAD = 0.05  # of the first weights. With 1, Adam's steps are small beside them: 0.44 MRR@10 on code search, not 0.55
PLACE = "0_StaticEmbedding"  # sentence-transformers before 5.0 reads nothing but a Transformer from the folder itself


class Static(nn.Module):
    """The mean of token embeddings, learnt from nothing: x = (1 / |T|) sum_{t in T} E_t over a text's tokens T.

    The form of sentence-transformers' StaticEmbedding (equal vectors; the folder loads there), and of model2vec's
    models. It works on a text's distinct tokens with their counts as weights, which is the same mean.

    Args:
        dim: of the vectors.
        vocabulary: size of the byte-pair vocabulary that `prepare` learns from the data.
        tokenizer: a `tokenizer.json` to use instead of learning one.
        max_length: tokens of a text that are read; the rest is cut off.
        seed: of the first weights.

    Call: Bags of n texts -> (n, dim), not normalised. Errors: `InputError` for a tokenizer that cannot be read, or a
    call before `prepare`.

    Example:
        >>> import nearfar as nf
        >>> encoder = nf.encoders.Static(dim=64, vocabulary=300)
        >>> encoder.prepare([nf.column.ListColumn("text", ["pull near", "push far"])])
        >>> encoder(encoder.inputs(["near", "far"])).shape
        torch.Size([2, 64])

    When not to use it: where word order or long context decides; a transformer does that, a hundred times slower.
    """

    takes: ClassVar[type] = str

    def __init__(
        self,
        dim: int = 512,
        vocabulary: int = 30_000,
        tokenizer: Path | None = None,
        max_length: int = 512,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if dim < 1 or vocabulary < 256 or not 1 <= max_length <= MOST_TOKENS:
            raise InputError(
                f"encoders.static: dim ({dim}) must be at least 1, max_length ({max_length}) 1 to {MOST_TOKENS}, and "
                f"vocabulary ({vocabulary}) at least 256, one for each byte"
            )
        self.dim, self.vocabulary, self.max_length, self.seed = dim, vocabulary, max_length, seed
        self.tokenizer: Any = None
        self.prepared = False
        if tokenizer is not None:
            self._use(read(Path(tokenizer)))

    def prepare(self, columns: Sequence[Column]) -> None:
        """Learn the tokenizer from some columns' texts, unless there is one, and how rare each token is."""
        if self.tokenizer is None:
            self._use(learn(columns, self.vocabulary))
        if not self.prepared:
            self._weigh([self.store(column) for column in columns])

    def _weigh(self, stores: Sequence[BagStore]) -> None:
        """Let rare tokens begin longer than frequent ones, by inverse document frequency: a search by words to learn on
        from (Spaerck Jones 1972). Worth 0.008 MRR@10 on code search."""
        size, texts = len(self.embedding.weight), sum(len(store) for store in stores)
        self.prepared = True
        if texts == 0:
            return
        held = sum((store.held(size) for store in stores), np.zeros(size, np.int64))
        rarity = np.log(1 + texts / (held + 0.5))
        rarity /= np.average(rarity, weights=held) if held.any() else 1.0
        with torch.no_grad():
            self.embedding.weight.mul_(torch.from_numpy(rarity).float()[:, None])

    def _use(self, tokenizer: Any, weight: Tensor | None = None) -> None:
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.max_length)
        self.tokenizer = tokenizer
        self.identifier: str = tokenizer.to_str()
        self.prepared = weight is not None
        if weight is None:
            first = torch.Generator().manual_seed(self.seed)
            weight = SPREAD * torch.randn(table_size(tokenizer), self.dim, generator=first)
        self.embedding = nn.EmbeddingBag.from_pretrained(weight, freeze=False)

    def forward(self, bags: Bags) -> Tensor:
        """Return raw vectors, (n, dim)."""
        return bag_sum(self.embedding.weight, bags)  # (n, dim)

    def _ready(self) -> Any:
        if self.tokenizer is None:
            raise InputError("encoders.static: no tokenizer yet; call prepare(columns) or give one")
        return self.tokenizer

    def tokenise(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int32], Ids]:
        """Return the token ids of texts, one after the other (t,), and their numbers (n,)."""
        tokenizer = self._ready()
        try:
            encodings = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        except Exception as error:  # the library raises bare ones
            raise InputError(f"encoders.static: the tokenizer cannot read these texts: {error}") from error
        lengths = np.fromiter((len(e) for e in encodings), np.int64, len(encodings))
        ids = [np.asarray(e.ids, np.int32) for e in encodings]
        return np.concatenate([np.empty(0, np.int32), *ids]), lengths

    def inputs(self, cells: Sequence[str]) -> Bags:
        """Return texts as bags."""
        return Bags.of(*self.tokenise(cells), len(self.embedding.weight))

    def store(self, column: Column) -> BagStore:
        """Return a whole column as bags, tokenised once."""
        self._ready()
        return BagStore.of(column, self.tokenise, len(self.embedding.weight), self.identifier)

    def settings(self) -> dict[str, Any]:
        """Return what `load` needs beside the files."""
        return {"dim": self.dim, "max_length": self.max_length}

    def identity(self) -> Iterator[tuple[str, Any]]:
        """Yield what makes this space what it is."""
        self._ready()
        yield "tokenizer", self.identifier
        yield "max_length", self.max_length
        yield "embedding.weight", self.embedding.weight.detach().cpu().numpy()

    def portable(self) -> tuple[PaddedEncoder, str, int]:
        """Return the encoder over padded tokens for other runtimes, its tokenizer.json, and its longest text."""
        whole = json.loads(self._ready().to_str())
        whole["post_processor"] = None  # a mean of a text's own tokens, no special ones
        table = TokenLookup(self.embedding.weight.detach().clone().cpu().float())
        return PaddedEncoder(table, ["mean"], nn.Identity()), json.dumps(whole), self.max_length

    def save(self, folder: Path) -> list[dict[str, Any]]:
        """Write tokenizer.json and model.safetensors; sentence-transformers reads both as a StaticEmbedding."""
        place = folder / PLACE
        place.mkdir(parents=True, exist_ok=True)
        (place / "tokenizer.json").write_text(self._ready().to_str(pretty=True), encoding="utf-8")
        write_weights(place / "model.safetensors", {"embedding.weight": self.embedding.weight.detach()})
        return [{"type": "sentence_transformers.models.StaticEmbedding", "path": PLACE}]

    @classmethod
    def load(cls, folder: Path, settings: dict[str, Any]) -> Self:
        """Read what `save` wrote. Errors: `InputError` naming the file that is missing, cut off or of other shape."""
        encoder = cls(**{**settings, "tokenizer": None})  # the folder has its own
        folder = folder / PLACE if (folder / PLACE).is_dir() else folder  # or in the folder itself, as model2vec has it
        weight = read_weights(folder / "model.safetensors", ["embedding.weight"])["embedding.weight"]
        tokenizer = read(folder / "tokenizer.json")
        expected = (table_size(tokenizer), encoder.dim)
        if tuple(weight.shape) != expected:
            raise InputError(
                f"{folder / 'model.safetensors'}: embedding.weight is {tuple(weight.shape)}, tokenizer and dim ask for "
                f"{expected}; the folder's files do not belong together"
            )
        encoder.vocabulary = len(weight)
        encoder._use(tokenizer, weight.float())
        return encoder
