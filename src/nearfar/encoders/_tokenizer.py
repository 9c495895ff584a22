"""A byte-pair tokenizer learnt from the data: lower case, identifiers split into their words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nearfar.column import Column

SAMPLE = 100_000_000  # characters: more teaches a vocabulary nothing new
BLOCK = 1_000  # texts read at once


def learn(columns: Sequence[Column], size: int) -> Any:
    """Return a `tokenizers.Tokenizer` with at most `size` tokens; no text is outside it, for it falls back to bytes."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    hump = Regex(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")  # camelCase, HTTPServer
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(hump, " "), normalizers.Lowercase()]
    )
    words = Regex(r"[\p{L}\p{M}]+|\p{N}{1,3}|[^\s\p{L}\p{M}\p{N}]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, "removed", invert=True),
            pre_tokenizers.Split("_", "removed"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=sorted(alphabet), show_progress=False, max_token_length=32)
    tokenizer.train_from_iterator(_sample(columns), trainer=trainer)
    return tokenizer


def _sample(columns: Sequence[Column]) -> Iterator[list[str]]:
    """Yield blocks of texts spread evenly over each column, up to SAMPLE characters in all."""
    for column in columns:
        blocks = range(0, len(column), BLOCK)
        spent = 0
        for block in (blocks[i] for i in np.random.default_rng(0).permutation(len(blocks))):
            cells = column.read(block, min(block + BLOCK, len(column)))
            yield cells
            spent += sum(map(len, cells))
            if spent > SAMPLE // len(columns):
                break
