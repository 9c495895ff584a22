from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from nearfar.column import ListColumn
from nearfar.errors import InputError
from nearfar.text import tokenizer as byte_pairs
from nearfar.text.tokenizer import train_tokenizer

WORDS = [
    "a",
    "readHTTPServer",
    "snake_case",
    "__init__",
    "words,",
    "größe",
    "東京",
    "x2000",
    "(f_x)",
    "!=",
    "3.14",
    "☃",
]
TEXTS = [" ".join(WORDS[i % 7 :: 1 + i % 3]) for i in range(40)]
WHITE = set("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | {chr(c) for c in range(0x2000, 0x200B)}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return byte_pairs._trained([ListColumn("text", TEXTS)], 400)


def bytes_of(tokenizer: Any, text: str) -> bytes:
    """What the tokens of a text spell."""
    letters = {letter: byte for byte, letter in _letters().items()}
    tokens = tokenizer.encode(text, add_special_tokens=False).tokens
    return bytes(letters[letter] for token in tokens for letter in token)


def _letters() -> dict[int, str]:
    """The letter of each byte: those that print stand for themselves, the others follow from 256 on (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def test_the_table_of_letters_is_the_librarys() -> None:
    assert set(_letters().values()) == set(pre_tokenizers.ByteLevel.alphabet())


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=30) | st.text(alphabet="_ aB1-\u0301\uff3f\u00a0", max_size=8))
@example(text="_")
@example(text=" __ _ ")
@example(text="\x1c\u200b\ufeff\U0001f469\u200d\U0001f680")
def test_nothing_is_lost_but_white_space_and_underscores(tokenizer: Any, text: str) -> None:
    normal = tokenizer.normalizer.normalize_str(text)
    kept = "".join(letter for letter in normal if letter not in WHITE and letter != "_")
    spelt = bytes_of(tokenizer, text)
    assert spelt.decode() == (kept or (normal if "_" in normal else ""))
    assert bool(spelt) == bool(set(normal) - WHITE)  # whatever is not blank has a token


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("readHTTPServer", ["read", "http", "server"]),
        ("snake_case __init__", ["snake", "case", "init"]),
        ("x2000 3.14159", ["x", "200", "0", "3", ".", "141", "59"]),
        ("f(x_1) != naïve", ["f", "(", "x", "1", ")", "!=", "naïve"]),
        ("ﬁne Größe", ["fine", "größe"]),
    ],
)
def test_identifiers_are_split_into_words(tokenizer: Any, text: str, words: list[str]) -> None:
    pieces = tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))
    letters = {letter: byte for byte, letter in _letters().items()}
    assert [bytes(letters[letter] for letter in piece).decode() for piece, _ in pieces] == words


def test_it_is_the_same_in_every_process() -> None:
    code = (
        "from tests.text.test_tokenizer import TEXTS, ListColumn, byte_pairs\n"
        "print(byte_pairs._trained([ListColumn('text', TEXTS)], 400).to_str(), end='')"
    )
    root = Path(__file__).parents[2]
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            capture_output=True,
            check=True,
            timeout=120,
            env={"RAYON_NUM_THREADS": threads, "PATH": "", "PYTHONHASHSEED": threads},
        ).stdout.decode()
        for threads in ("1", "4")
    }
    assert found == {byte_pairs._trained([ListColumn("text", TEXTS)], 400).to_str()}


def test_the_size_is_a_limit_and_holds_all_bytes() -> None:
    assert byte_pairs._trained([ListColumn("text", TEXTS)], 300).get_vocab_size() <= 300
    assert byte_pairs._trained([ListColumn("text", [])], 256).get_vocab_size() == 256


def test_it_is_trained_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = train_tokenizer([ListColumn("text", TEXTS)], 300)
    assert len(list((cache / "tokenizers").iterdir())) == 1
    monkeypatch.setattr(byte_pairs, "_trained", lambda *_: pytest.fail("learnt again"))
    assert train_tokenizer([ListColumn("other name", list(TEXTS))], 300).to_str() == first.to_str()
    for other in ([ListColumn("text", TEXTS[1:])], [ListColumn("text", TEXTS)] * 2):
        with pytest.raises(pytest.fail.Exception):
            train_tokenizer(other, 300)
    with pytest.raises(pytest.fail.Exception):
        train_tokenizer([ListColumn("text", TEXTS)], 299)
    monkeypatch.undo()


@pytest.mark.parametrize("content", [b"", b"{", b'{"model": 1}', b"\xff\xfe"])
def test_a_broken_cache_is_made_anew(cache: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setenv("NEARFAR_CACHE", str(cache))
    first = train_tokenizer([ListColumn("text", TEXTS)], 300)
    (file,) = (cache / "tokenizers").iterdir()
    file.write_bytes(content)
    assert train_tokenizer([ListColumn("text", TEXTS)], 300).to_str() == first.to_str()
    assert file.read_bytes() != content


def test_only_a_sample_of_much_text_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(byte_pairs, "SAMPLE", 10_000)
    columns = [ListColumn("a", ["x" * 10] * 50_000), ListColumn("b", ["y" * 10] * 50_000)]
    blocks = list(byte_pairs._sample(columns))
    read = [sum(len(text) for block in blocks for text in block if text[0] == letter) for letter in "xy"]
    assert read == [10_000, 10_000]


def test_of_much_text_it_is_said_how_much_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [ListColumn("text", ["near and far"] * 1_000), ListColumn("few", ["near"])]
    assert byte_pairs.sample_lines(columns) == []
    monkeypatch.setattr(byte_pairs, "SAMPLE", 4_000)
    (line,) = byte_pairs.sample_lines(columns)
    assert line.startswith("column 'text': the tokenizer learns from 0 of about 0 million characters")


@pytest.mark.parametrize("long", ["x" * 5_000, "near" + " " * 5_000 + "far", "near far " + "1" * 2_500])
def test_a_word_without_end_is_learnt_from_in_parts(long: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [text for texts in byte_pairs._sample([ListColumn("text", [long, "near"])]) for text in texts]
    assert "".join(parts) == long + "near"
    assert max(map(len, parts)) == byte_pairs.LONGEST_RUN
    words = ["near and far " * 200]  # long, but not one word
    assert [text for texts in byte_pairs._sample([ListColumn("text", words)]) for text in texts] == words


def test_a_file_that_is_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        byte_pairs.read_tokenizer(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="not a tokenizer"):
        byte_pairs.read_tokenizer(tmp_path / "tokenizer.json")
