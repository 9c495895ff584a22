from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordLevel

from nearfar.column import ListColumn
from nearfar.encoders.pretrained.static_files import MODULE_FOLDER
from nearfar.encoders.reading import bags
from nearfar.encoders.reading.bags import BagStore
from nearfar.encoders.static import Static
from nearfar.encoders.transformer import Transformer
from nearfar.errors import InputError, RunError
from tests.training.runs import files_up_to, train, weights

TEXTS = ["pull near", "push far far far away", "x", "größe ☃", "near " * 900, "_", "the same", "the same"]
COLUMN = ListColumn("text", TEXTS)


@pytest.fixture
def encoder() -> Static:
    made = Static(dim=8, vocabulary=300)
    made.prepare([COLUMN])
    return made


def letters(folder: Path, known: str) -> Path:
    """A tokenizer that knows some letters and passes over all others."""
    tokenizer = Tokenizer(BPE({letter: 3 * i for i, letter in enumerate(known)}, []))
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def same(one: Any, other: Any) -> None:
    assert torch.equal(one.tokens, other.tokens)
    assert torch.equal(one.weights, other.weights)
    assert torch.equal(one.offsets, other.offsets)


@pytest.mark.parametrize("rows", [[0], [4, 1, 1, 0], [7, 6, 5, 4, 3, 2, 1, 0], []])
def test_a_store_gives_what_inputs_gives(encoder: Static, rows: list[int]) -> None:
    for _ in range(2):  # made, then from the cache
        same(encoder.store(COLUMN)[np.array(rows, np.int64)], encoder.inputs([TEXTS[row] for row in rows]))


def test_a_column_is_tokenised_once(encoder: Static, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder.store(COLUMN)
    monkeypatch.setattr(Static, "tokenise", lambda *_: pytest.fail("again"))
    assert len(encoder.store(ListColumn("other name", list(TEXTS)))) == len(TEXTS)
    with pytest.raises(pytest.fail.Exception):
        encoder.store(ListColumn("text", TEXTS[1:]))


def test_another_length_is_another_store(encoder: Static, cache: Path) -> None:
    shorter = Static(dim=8, vocabulary=300, max_length=3)
    shorter.prepare([COLUMN])
    rows = np.array([1])
    assert encoder.store(COLUMN)[rows].costs() > shorter.store(COLUMN)[rows].costs()
    assert len(list((cache / "tokens").iterdir())) == 2


@pytest.mark.parametrize("file", ["tokens", "counts", "offsets", "lengths", "sizes.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_store_that_is_cut_off_is_made_anew(encoder: Static, cache: Path, file: str, damage: str) -> None:
    encoder.store(COLUMN)
    (folder,) = (cache / "tokens").iterdir()
    path = folder / file
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[:-9])
    else:
        path.unlink()
    rows = np.arange(len(TEXTS))
    same(encoder.store(COLUMN)[rows], encoder.inputs(TEXTS))
    assert path.read_bytes() == whole


def test_a_long_column_is_written_in_parts(encoder: Static) -> None:
    texts = [f"near {i} far {i % 7}" for i in range(12_001)]
    rows = np.array([0, 4_999, 5_000, 9_999, 10_000, 12_000])
    same(encoder.store(ListColumn("text", texts))[rows], encoder.inputs([texts[row] for row in rows]))


def test_an_empty_column_is_empty(encoder: Static) -> None:
    assert len(encoder.store(ListColumn("text", []))) == 0


def test_a_full_disk_is_told(encoder: Static, cache: Path) -> None:
    before = [path.name for path in (cache / "tokens").iterdir()]
    with files_up_to(1_000), pytest.raises(RunError, match="cannot be written"):
        encoder.store(ListColumn("text", [f"text {i}" for i in range(1_000)]))
    assert [path.name for path in (cache / "tokens").iterdir()] == before


def test_a_text_without_a_token_is_named(tmp_path: Path) -> None:
    encoder = Static(dim=4, tokenizer=letters(tmp_path, "nf"))
    with pytest.raises(InputError, match="column 'key', row 3: the tokenizer has no token for 'up'"):
        encoder.store(ListColumn("key", ["near", "far", "up", "n"]))


def test_a_tokenizer_of_ones_own(tmp_path: Path) -> None:
    encoder = Static(dim=4, tokenizer=letters(tmp_path, "nf"))
    assert encoder.embedding.weight.shape == (4, 4)  # ids 0 and 3
    encoder.prepare([ListColumn("text", ["near", "far", "f"])])
    vectors = encoder(encoder.inputs(["n f n"]))
    weight = encoder.embedding.weight
    torch.testing.assert_close(vectors[0], (2 * weight[0] + weight[3]) / 3)
    folder = tmp_path / "saved"
    encoder.save(folder)
    again = Static.load(folder, encoder.settings())
    assert torch.equal(again.embedding.weight, weight)
    assert again.vocabulary == 4  # fewer than 256 are fine where nothing is learnt


def test_a_tokenizer_that_fails_is_the_users_error(tmp_path: Path) -> None:
    Tokenizer(WordLevel({"near": 0}, unk_token="[none]")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InputError, match=r"the tokenizer cannot read .*Missing \[UNK\]"):
        Static(dim=4, tokenizer=tmp_path / "tokenizer.json").inputs(["far"])


def test_the_first_weights_are_small_and_of_the_seed() -> None:
    tables = []
    for seed in (0, 0, 1):
        encoder = Static(dim=64, vocabulary=300, seed=seed)
        encoder.prepare([COLUMN])
        tables.append(encoder.embedding.weight.detach())
    assert torch.equal(tables[0], tables[1])
    assert not torch.equal(tables[0], tables[2])
    held = np.bincount(encoder.store(COLUMN).tokens, minlength=len(tables[0]))  # texts that hold a token
    lengths = tables[0].std(dim=1).numpy()
    assert np.average(lengths, weights=held) == pytest.approx(0.05, rel=0.1)
    assert lengths[held == 1].mean() > 1.1 * lengths[held > 1].mean()  # rare tokens begin longer


def test_without_a_text_there_is_nothing_to_weigh_by() -> None:
    encoder = Static(dim=64, vocabulary=256)
    encoder.prepare([])
    assert encoder.embedding.weight.std().item() == pytest.approx(0.05, rel=0.05)


def test_only_so_many_tokens_are_read() -> None:
    encoder = Static(dim=4, vocabulary=300, max_length=2)
    encoder.prepare([COLUMN])
    tokens, lengths = encoder.tokenise(["near far near far", "x"])
    assert lengths.tolist() == [2, 1]
    assert tokens.dtype == np.int32


@pytest.mark.parametrize("settings", [{"dim": 0}, {"max_length": 0}, {"max_length": 65_536}])
def test_wrong_settings_are_named(settings: dict[str, Any]) -> None:
    (name,) = settings
    with pytest.raises(InputError, match=rf"encoders.static: .*{name} \({settings[name]}\)"):
        Static(**settings)


def test_before_it_is_prepared_it_says_so(tmp_path: Path) -> None:
    encoder = Static()
    for ask in (lambda: encoder.inputs(["x"]), lambda: encoder.store(COLUMN), lambda: list(encoder.identity())):
        with pytest.raises(InputError, match=r"no tokenizer yet; call prepare"):
            ask()
    with pytest.raises(InputError, match=r"no tokenizer yet; call prepare"):
        encoder.save(tmp_path)


def test_weights_of_another_tokenizer_do_not_fit(encoder: Static, tmp_path: Path) -> None:
    encoder.save(tmp_path / "a")
    letters(tmp_path / "a" / MODULE_FOLDER, "n")
    with pytest.raises(InputError, match="the folder's files do not belong together"):
        Static.load(tmp_path / "a", encoder.settings())


def test_two_runs_at_once_write_the_same_store(encoder: Static, monkeypatch: pytest.MonkeyPatch) -> None:
    write = bags._write

    def second(folder: Path, *rest: Any) -> None:
        write(folder, *rest)
        monkeypatch.setattr(bags, "_write", write)
        encoder.store(COLUMN)  # the other run
        raise RunError("cannot be written (Directory not empty)")

    monkeypatch.setattr(bags, "_write", second)
    same(encoder.store(COLUMN)[np.arange(3)], encoder.inputs(TEXTS[:3]))


def test_a_store_of_another_kind_is_no_store(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []
    monkeypatch.setattr(bags, "_write", lambda folder, *_: made.append(folder))
    with pytest.raises(FileNotFoundError):
        BagStore.of(COLUMN, lambda texts: (np.empty(0, np.int32), np.empty(0, np.int64)), 9, "name")
    assert len(made) == 1


@pytest.mark.parametrize("encoder", [Static, partial(Transformer, config={"model_type": "bert"})])
@pytest.mark.parametrize("vocabulary", [255, 10_000_001, 10**15])
def test_a_vocabulary_that_no_memory_holds_is_refused(encoder: Any, vocabulary: int) -> None:
    """The library that trains it would end the process."""
    with pytest.raises(InputError, match=rf"encoder.vocabulary must be 256, .* to 10,000,000; it is {vocabulary}"):
        encoder(vocabulary=vocabulary)


def test_token_dropout_is_of_training_alone_and_a_run_draws_it_by_its_seed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="token_dropout is a share, 0 to below 1; it is 1"):
        Static(token_dropout=1.0)
    encoder = Static(dim=8, vocabulary=300, token_dropout=0.5)
    encoder.prepare([COLUMN])
    inputs = encoder.inputs(TEXTS)
    assert torch.equal(encoder.eval()(inputs), encoder(inputs))
    encoder.train()
    assert not torch.equal(encoder(inputs), encoder(inputs))
    made = [Static(dim=16, vocabulary=300, token_dropout=share) for share in (0.5, 0.5, 0.0)]
    one, same_seed, without = (weights(train(tmp_path / str(i), encoder=each)) for i, each in enumerate(made))
    assert np.array_equal(one, same_seed)
    assert not np.array_equal(one, without)
