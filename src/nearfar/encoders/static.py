"""Static: a text's vector is the mean of its tokens' vectors. No attention, no order, very fast."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nearfar.column import Column, Ids
from nearfar.encoders._bag_store import BagStore
from nearfar.encoders._bags import Bags, bag_sum
from nearfar.weights import read_weights, write_weights
from nearfar.errors import InputError


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

    def __init__(
        self,
        dim: int = 512,
        vocabulary: int = 30_000,
        tokenizer: Path | None = None,
        max_length: int = 512,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if dim < 1 or vocabulary < 256 or max_length < 1:
            raise InputError(
                f"encoders.static: dim ({dim}) and max_length ({max_length}) must be at least 1 and vocabulary "
                f"({vocabulary}) at least 256, one for each byte"
            )
        self.dim, self.vocabulary, self.max_length, self.seed = dim, vocabulary, max_length, seed
        self.tokenizer: Any = None
        if tokenizer is not None:
            self._use(_read_tokenizer(tokenizer))

    def prepare(self, columns: Sequence[Column]) -> None:
        """Learn the tokenizer from some columns' texts, unless there is one."""
        from nearfar.encoders._tokenizer import learn

        if self.tokenizer is None:
            self._use(learn(columns, self.vocabulary))

    def _use(self, tokenizer: Any, weight: Tensor | None = None) -> None:
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.max_length)
        self.tokenizer, size = tokenizer, tokenizer.get_vocab_size()
        self.identifier = tokenizer.to_str()
        if weight is None:
            weight = torch.randn(size, self.dim, generator=torch.Generator().manual_seed(self.seed))
        self.embedding = nn.EmbeddingBag.from_pretrained(weight, freeze=False)

    def forward(self, bags: Bags) -> Tensor:
        """Return raw vectors, (n, dim)."""
        return bag_sum(self.embedding.weight, bags)  # (n, dim)

    def tokenise(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int32], Ids]:
        """Return the token ids of texts, one after the other (t,), and their numbers (n,)."""
        if self.tokenizer is None:
            raise InputError("encoders.static: no tokenizer yet; call prepare(columns) or give one")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
        encodings = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        lengths = np.fromiter((len(e) for e in encodings), np.int64, len(encodings))
        ids = [np.asarray(e.ids, np.int32) for e in encodings]
        return np.concatenate([np.empty(0, np.int32), *ids]), lengths

    def inputs(self, cells: Sequence[str]) -> Bags:
        """Return texts as bags."""
        return Bags.of(*self.tokenise(cells), len(self.embedding.weight))

    def store(self, column: Column) -> BagStore:
        """Return a whole column as bags, tokenised once."""
        return BagStore.of(column, self.tokenise, len(self.embedding.weight), self.identifier)

    def settings(self) -> dict[str, Any]:
        """Return what `load` needs beside the files."""
        return {"dim": self.dim, "vocabulary": len(self.embedding.weight), "max_length": self.max_length}

    def identity(self) -> Iterator[tuple[str, Any]]:
        """Yield what makes this space what it is."""
        yield "tokenizer", self.identifier
        yield "max_length", self.max_length
        yield "embedding.weight", self.embedding.weight.detach().cpu().numpy()

    def save(self, folder: Path) -> list[dict[str, Any]]:
        """Write tokenizer.json and model.safetensors; sentence-transformers reads both as a StaticEmbedding."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokenizer.json").write_text(self.tokenizer.to_str(pretty=True), encoding="utf-8")
        write_weights(folder / "model.safetensors", {"embedding.weight": self.embedding.weight.detach()})
        return [{"type": "sentence_transformers.models.StaticEmbedding"}]

    @classmethod
    def load(cls, folder: Path, settings: dict[str, Any]) -> Self:
        """Read what `save` wrote. Errors: `InputError` naming the file that is missing, cut off or of other shape."""
        encoder = cls(**settings)
        weight = read_weights(folder / "model.safetensors", ["embedding.weight"])["embedding.weight"]
        tokenizer = _read_tokenizer(folder / "tokenizer.json")
        expected = (tokenizer.get_vocab_size(), encoder.dim)
        if tuple(weight.shape) != expected:
            raise InputError(
                f"{folder / 'model.safetensors'}: embedding.weight is {tuple(weight.shape)}, tokenizer and dim ask for "
                f"{expected}; the folder's files do not belong together"
            )
        encoder._use(tokenizer, weight.float())
        return encoder


def _read_tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; a tokenizer is one tokenizer.json")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exceptions
        raise InputError(f"{path}: not a tokenizer ({error}); a tokenizer is one tokenizer.json") from error
