"""A byte-pair tokenizer trained on the data: lower case, identifiers split into their words."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nearfar.column import Column, exact_ids, take
from nearfar.errors import InputError
from nearfar.storage.fingerprint import fingerprint
from nearfar.storage.folders import write_text
from nearfar.storage.places import cache_folder

FORMAT = 1  # of the cache: raise it when the same texts give another tokenizer
LONGEST_RUN = 1_000  # characters without white space, or of nothing else, that are learnt from as one
SAMPLE = 100_000_000  # characters to train on: more does not improve a vocabulary
TEXT_BLOCK = 1_000  # texts read in one call
TRIAL = ["near, far", "a longer text: " + "push and pull " * 9]
RUN = re.compile(rf"\S{{{LONGEST_RUN + 1}}}|\s{{{LONGEST_RUN + 1}}}")
FAR, LARGEST_ID = re.compile(rb":\s*\d{8,}"), 10_000_000
Kept = Literal["letters", "words", "text"]  # what a tokenizer keeps of a text
STDERR = 2  # its file descriptor


def train_tokenizer(columns: Sequence[Column], size: int, special: Sequence[str] = (), keeps: Kept = "letters") -> Any:
    """Return a `tokenizers.Tokenizer` with at most `size` tokens, trained on the columns' texts or from the cache.

    special: tokens with the first ids, which stand for no text.

    It falls back to bytes, so that it can read every text; it drops white space, and underscores between words.

    keeps: "words" also marks the token that begins a word, by a space in front of it. "text" drops nothing: its tokens
    written one after the other are the text, in its own case and with its white space, as a language model writes it.
    """
    other = () if keeps == "letters" else (keeps,)
    key = fingerprint("tokenizer", FORMAT, size, list(special), *other, *map(exact_ids, columns))
    path = cache_folder("tokenizers") / f"{key}.json"
    try:
        return read_tokenizer(path)
    except InputError:
        write_text(path, _trained(columns, size, special, keeps).to_str())
    return read_tokenizer(path)  # and not the trained object: the first run has the same tokenizer as later ones


def _trained(columns: Sequence[Column], size: int, special: Sequence[str] = (), keeps: Kept = "letters") -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    if keeps == "text":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        _read_words(tokenizer, marked=keeps == "words")
    if keeps != "letters":
        tokenizer.decoder = decoders.ByteLevel()
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


def _read_words(tokenizer: Any, *, marked: bool) -> None:
    """Let a tokenizer read words in lower case; marked: with a space in front of each."""
    from tokenizers import Regex, normalizers, pre_tokenizers

    case_change = Regex(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")  # camelCase, HTTPServer
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(case_change, " "), normalizers.Lowercase()]
    )
    underscores = r"\A[\s_]*_[\s_]*\z"  # a text of underscores alone: it keeps them, so that it has a token
    words = Regex(underscores + r"|[\p{L}\p{M}]+|\p{N}{1,3}|[^\s\p{L}\p{M}\p{N}_]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=marked, use_regex=False),
        ]
    )


def read_tokenizer(path: Path) -> Any:
    """Read a tokenizer.json. Errors: `InputError` for a file that is missing, or is no tokenizer."""
    from tokenizers import Tokenizer

    if not path.is_file():
        raise InputError(f"{path}: no such file; a tokenizer is one tokenizer.json")
    refuse_far_ids(path)
    with library_errors(f"{path}: not a tokenizer", "a tokenizer is one tokenizer.json"), quiet_panics():
        tokenizer = Tokenizer.from_file(str(path))
        try_tokenizer(tokenizer)
        return tokenizer


def cleaned(texts: Sequence[str], *, lower_case: bool) -> list[str]:
    """Return texts as a tokenizer reads them: without white space around them, in lower case where it has but that."""
    return [text.strip().lower() if lower_case else text.strip() for text in texts]


def check_vocabulary(vocabulary: int, where: str) -> None:
    """Refuse the size of a vocabulary that cannot be trained: the library reserves memory for it, or ends the process.

    Errors: `InputError` with the bounds: 256, one token for each byte, and ten million.
    """
    if not 256 <= vocabulary <= LARGEST_ID:
        raise InputError(f"{where} must be 256, one token for each byte, to {LARGEST_ID:,}; it is {vocabulary}")


def refuse_far_ids(path: Path) -> None:
    """Refuse a tokenizer.json or vocab.json with an id far beyond any vocabulary: each reserves memory.

    Only a file that holds such a number at all is read as JSON.

    Errors: `InputError` naming the id.
    """
    text = path.read_bytes()
    if not FAR.search(text):
        return
    with library_errors(f"{path}: not a tokenizer", "a tokenizer is one tokenizer.json"):
        content = json.loads(text)
        model = content.get("model", content)
        vocabulary = model.get("vocab", model)
        added = [token["id"] for token in content.get("added_tokens", [])]
        ids = [*added, *(vocabulary.values() if isinstance(vocabulary, dict) else ())]
        largest = max((i for i in ids if isinstance(i, int)), default=0)
    if largest > LARGEST_ID:
        raise InputError(f"{path}: an id is {largest}, far beyond any vocabulary; copy the model folder again")


def try_tokenizer(tokenizer: Any) -> None:
    """Tokenise two texts, with special tokens and without: some faults of a tokenizer.json panic only then.

    That it does not know a word of theirs is no fault: it may know those of the user's texts.
    """
    for special in (False, True):
        with suppress(Exception):  # a panic is none
            tokenizer.encode_batch_fast(TRIAL, add_special_tokens=special)


@contextmanager
def library_errors(what: str, fix: str) -> Iterator[None]:
    """Turn what the tokenizers library raises into an `InputError`: "{what} ({why}); {fix}".

    It raises plain `Exception`, and for what its authors did not foresee it panics. A panic is a `BaseException`, so
    that it would end the process past every handler, and its type has no name that could be imported.
    """
    try:
        yield
    except (InputError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise InputError(f"{what} ({' '.join(lines[:2]):.300}); {fix}") from error


@contextmanager
def quiet_panics() -> Iterator[None]:
    """Keep from standard error what the library writes there by itself when it panics; all else that is written stays.

    When not to use it: for longer than a file is read, as other threads' messages come late, too.
    """
    with ExitStack() as opened:
        try:
            caught = opened.enter_context(tempfile.TemporaryFile())
            before = os.dup(STDERR)
        except OSError:  # there is no standard error, or no place for temporary files
            caught = None
        if caught is None:
            yield
            return
        panicked = False
        sys.stderr.flush()
        os.dup2(caught.fileno(), STDERR)
        try:
            yield
        except BaseException as error:
            panicked = not isinstance(error, Exception)
            raise
        finally:
            sys.stderr.flush()
            os.dup2(before, STDERR)
            os.close(before)
            caught.seek(0)
            if not panicked and (written := caught.read()):
                os.write(STDERR, written)


def truncated(tokenizer: Any, texts: Sequence[str], *, special: bool = True) -> npt.NDArray[np.bool_]:
    """Return for each text, (n,), whether a tokenizer that truncates leaves some of its tokens out.

    special: whether special tokens are added, which take their part of the length.
    """
    with library_errors("the tokenizer cannot read these texts", "leave them out"):
        encodings = tokenizer.encode_batch_fast(list(texts), add_special_tokens=special)
    return np.fromiter((bool(one.overflowing) for one in encodings), bool, len(encodings))


def table_size(tokenizer: Any) -> int:
    """Return the number of rows that a table of token vectors needs: the largest id + 1, as ids may have gaps."""
    return 1 + int(max(tokenizer.get_vocab().values(), default=0))


def sample_lines(columns: Sequence[Column]) -> list[str]:
    """Return a line for each column of which `train_tokenizer` reads a part alone; its characters are estimated."""
    lines, share = [], SAMPLE // max(len(columns), 1)
    for column in columns:
        texts = take(column, np.unique(np.linspace(0, len(column) - 1, min(len(column), 200)).astype(np.int64)))
        total = sum(map(len, texts)) / max(len(texts), 1) * len(column)
        if total > 1.05 * share:  # it is an estimate
            lines.append(
                f"column {column.name!r}: the tokenizer learns from {share / 1e6:,.0f} of about {total / 1e6:,.0f} "
                "million characters, drawn from all of them"
            )
    return lines


def _sample(columns: Sequence[Column]) -> Iterator[list[str]]:
    """Yield random blocks of texts, about the same number of characters from each column, up to SAMPLE in total."""
    for column in columns:
        blocks = range(0, len(column), TEXT_BLOCK)
        characters = 0
        for block in (blocks[i] for i in np.random.default_rng(0).permutation(len(blocks))):
            cells = column.read(block, min(block + TEXT_BLOCK, len(column)))
            yield [part for cell in cells for part in _without_long_runs(cell)]
            characters += sum(map(len, cells))
            if characters > SAMPLE // len(columns):
                break


def _without_long_runs(text: str) -> list[str]:
    """Return a text, one with a word of over `LONGEST_RUN` characters in parts: a word's time grows as its square."""
    if len(text) <= LONGEST_RUN or RUN.search(text) is None:
        return [text]
    return [text[start : start + LONGEST_RUN] for start in range(0, len(text), LONGEST_RUN)]
