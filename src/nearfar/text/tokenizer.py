"""A byte-pair tokenizer learnt from the data: lower case, identifiers split into their words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.column import Column, content_ids
from nearfar.errors import InputError
from nearfar.storage.fingerprint import fingerprint
from nearfar.storage.folders import cache_folder, write_text

FORMAT = 1  # of what is learnt from the same texts: raise it when that changes
SAMPLE = 100_000_000  # characters: more teaches a vocabulary nothing new
TEXT_BLOCK = 1_000  # texts read at once


def learn(columns: Sequence[Column], size: int, special: Sequence[str] = ()) -> Any:
    """Return a `tokenizers.Tokenizer` with at most `size` tokens, from the disk's cache where the texts are known.

    special: tokens that come first, ids 0 and up, and stand for no text.

    It falls back to bytes, so that no text is outside it; what it leaves out is white space, and underscores between
    words.
    """
    key = fingerprint("tokenizer", FORMAT, size, list(special), *map(content_ids, columns))
    place = cache_folder("tokenizers") / f"{key}.json"
    try:
        return read(place)
    except InputError:
        write_text(place, _learnt(columns, size, special).to_str())
    return read(place)  # not the learnt one itself: first and later runs are to have the same


def _learnt(columns: Sequence[Column], size: int, special: Sequence[str] = ()) -> Any:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    hump = Regex(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")  # camelCase, HTTPServer
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(hump, " "), normalizers.Lowercase()]
    )
    underscores = r"\A[\s_]*_[\s_]*\z"  # nothing else: such a text is to have a token, too
    words = Regex(underscores + r"|[\p{L}\p{M}]+|\p{N}{1,3}|[^\s\p{L}\p{M}\p{N}_]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=alphabet,
        special_tokens=list(special),
        show_progress=False,
        max_token_length=32,
    )
    tokenizer.train_from_iterator(_sample(columns), trainer=trainer)
    return tokenizer


def read(path: Path) -> Any:
    """Read a tokenizer.json. Errors: `InputError` for a file that is missing or none."""
    from tokenizers import Tokenizer

    if not path.is_file():
        raise InputError(f"{path}: no such file; a tokenizer is one tokenizer.json")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare ones
        raise InputError(f"{path}: not a tokenizer ({error}); a tokenizer is one tokenizer.json") from error


def table_size(tokenizer: Any) -> int:
    """Return the rows that a table of its tokens needs: ids may have gaps."""
    return 1 + int(max(tokenizer.get_vocab().values(), default=0))


def _sample(columns: Sequence[Column]) -> Iterator[list[str]]:
    """Yield blocks of texts spread evenly over each column, up to SAMPLE characters in all."""
    for column in columns:
        blocks = range(0, len(column), TEXT_BLOCK)
        spent = 0
        for block in (blocks[i] for i in np.random.default_rng(0).permutation(len(blocks))):
            cells = column.read(block, min(block + TEXT_BLOCK, len(column)))
            yield cells
            spent += sum(map(len, cells))
            if spent > SAMPLE // len(columns):
                break
