"""Model folders that are damaged or hostile: each is one `InputError`, soon, and no pickle is ever read."""

from __future__ import annotations

import copy
import json
import pickle
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import nearfar as nf
from nearfar.encoders.dual import Dual
from nearfar.encoders.frozen_projection import FrozenProjection
from nearfar.encoders.projected import Projected
from nearfar.encoders.static import Static
from nearfar.errors import InputError
from nearfar.heads.mlp import Mlp
from tests.encoders.hostile import HOSTILE, INDEX, LAYER, PANIC, STATIC, Damage, edited, index, tokens
from tests.encoders.tiny import TEXTS, column, tiny


@pytest.fixture(autouse=True)
def no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every way to read a pickle end the test, whoever catches errors on the way."""

    def refuse(*_: Any, **__: Any) -> None:
        pytest.exit("a pickle was read")

    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads"), (pickle, "Unpickler")):
        monkeypatch.setattr(module, name, refuse)


def foreign(model: nf.Model, folder: Path) -> Path:
    """Save a model as if another library had written it."""
    model.save(folder)
    (folder / "nearfar.json").unlink()
    return folder


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sources")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEARFAR_CACHE", str(root / "cache"))
        return saved(root)


def saved(root: Path) -> dict[str, Path]:
    bert, static = tiny("bert", max_length=20), Static(dim=8, vocabulary=300)
    dual = Dual(Static(dim=32, vocabulary=300), tiny("bert"))
    projected = Projected(Static(dim=8, vocabulary=300), Mlp(dim=8, sizes=[4]))
    for encoder in (static, dual, projected):
        encoder.prepare([column()])
    return {
        "bert": foreign(nf.Model(bert), root / "bert"),
        "static": foreign(nf.Model(static), root / "static"),
        "dual": foreign(nf.Model(dual), root / "dual"),
        "dense": foreign(nf.Model(FrozenProjection(tiny("bert"), dim=8)), root / "dense"),
        "projected": nf.Model(projected).save(root / "projected"),
        "modernbert": foreign(nf.Model(tiny("modernbert")), root / "modernbert"),
    }


@pytest.mark.parametrize(("source", "kind", "damage", "message"), HOSTILE, ids=[f"{s}: {k}" for s, k, *_ in HOSTILE])
def test_a_hostile_folder_is_one_error(
    source: str, kind: str, damage: Damage, message: str, sources: dict[str, Path], tmp_path: Path, capfd: Any
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(sources[source], folder)
    damage(folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=message):
        nf.Model.load(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000, f"{kind}: kilobytes"
    assert capfd.readouterr().err == ""  # no panic's backtrace, no report of transformers


@pytest.mark.parametrize("source", ["bert", "static", "dual", "dense", "projected", "modernbert"])
def test_the_undamaged_folders_are_read(source: str, sources: dict[str, Path]) -> None:
    assert nf.Model.load(sources[source]).embed(TEXTS[:2]).shape[0] == 2


BACKTRACKS = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}


@pytest.mark.parametrize(("source", "file"), [("bert", "tokenizer.json"), ("static", STATIC)])
def test_a_regex_that_backtracks_is_given_up(
    source: str, file: str, sources: dict[str, Path], tmp_path: Path, capfd: Any
) -> None:
    """The library's regular expressions (Oniguruma) stop after ten million steps, by a panic."""
    folder = tmp_path / "model"
    shutil.copytree(sources[source], folder)
    edited(file, lambda known: known.update(pre_tokenizer=BACKTRACKS))(folder)
    model, text = nf.Model.load(folder), "a" * 60 + "!"
    calls: list[Callable[[], object]] = [lambda: model.embed([text])]
    if source == "bert":
        calls.append(lambda: cast("Any", model.encoder).unread_and_fertility([text]))
    for call in calls:
        with pytest.raises(InputError, match=r"the tokenizer cannot read these texts .*retry-limit"):
            call()
    capfd.readouterr()  # of the panic, which the library itself prints


def test_other_heads_are_refused_where_a_fingerprint_tells(sources: dict[str, Path], tmp_path: Path) -> None:
    """No tensor has their number: another one that divides the width gives other vectors from the same weights."""
    assert nf.Model.load(sources["bert"]).embed(TEXTS[:1]).shape == (1, 32)
    own = nf.Model.load(sources["bert"]).save(tmp_path / "own")
    edited("config.json", lambda known: known.update(num_attention_heads=2))(own)
    with pytest.raises(InputError, match="fingerprint"):
        nf.Model.load(own)


def test_a_sharded_model_is_read(sources: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(sources["bert"], tmp_path / "model")
    index("shard-1.safetensors")(tmp_path / "model")
    assert nf.Model.load(tmp_path / "model").fingerprint == nf.Model.load(sources["bert"]).fingerprint
    save_file({LAYER: torch.zeros(32, 48)}, tmp_path / "model" / "shard-2.safetensors")
    edited(INDEX, lambda known: known["weight_map"].update(x="shard-2.safetensors"))(tmp_path / "model")
    with pytest.raises(InputError, match=f"{LAYER} lies in another file, too"):
        nf.Model.load(tmp_path / "model")


def test_a_panic_does_not_end_the_command(sources: dict[str, Path], tmp_path: Path) -> None:
    """A panic is a `BaseException`: it passed every handler, and its backtrace was printed by the library itself."""
    shutil.copytree(sources["bert"], tmp_path / "model")
    tokens(normalizer=PANIC)(tmp_path / "model")
    (tmp_path / "texts.txt").write_text("near\nfar\n")
    code = "import sys; from nearfar.cli import main; sys.exit(main())"
    call = [sys.executable, "-c", code, "embed", "model", "texts.txt", "--out", "v.npy"]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "its tokenizer cannot be read as a fast one" in done.stderr and "panicked" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-3, 70),
    st.floats(),
    st.text(max_size=9),
    st.just([]),
    st.just({}),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values inside a JSON value; of long lists and objects those of the first forty."""
    inner = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else [])
    return [at] + [path for key, one in inner[:40] for path in places(one, (*at, key))]


def replaced(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    if not at:
        return new
    result = copy.copy(value)
    result[at[0]] = replaced(value[at[0]], at[1:], new)
    return result


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), source=st.sampled_from(["bert", "dual", "dense", "projected", "static"]))
def test_whatever_the_json_says_it_is_read_or_refused(
    data: st.DataObject, source: str, sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("mutated") / "model"
    shutil.copytree(sources[source], folder)
    path = data.draw(st.sampled_from(sorted(folder.rglob("*.json"))))
    content = json.loads(path.read_text())
    at = data.draw(st.sampled_from(places(content)))
    path.write_text(json.dumps(replaced(content, at, data.draw(VALUES))))
    try:
        vectors = nf.Model.load(folder).embed(TEXTS[:2])
    except InputError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert vectors.shape[0] == 2
    finally:
        shutil.rmtree(folder)
