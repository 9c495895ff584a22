"""Runs that stop: refused, interrupted, out of disk, not finite; and what is left is whole."""

from __future__ import annotations

import errno
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.calling import Run
from tests.cli.conftest import SMALL
from tests.contracts.samples import write_lines

TRAIN = ["train", "static", "data.path=pairs.jsonl", *SMALL, "--out", "run"]
NEARFAR = Path(sys.executable).parent / "nearfar"


def checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "run" / "checkpoints").iterdir())


def damage(checkpoint: Path) -> None:
    state = checkpoint / "state.safetensors"
    content = bytearray(state.read_bytes())
    content[-20] ^= 1
    state.write_bytes(content)


def test_a_used_folder_is_refused(run_here: Path, nearfar: Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in run_here.glob("run/**/*")}
    nearfar(*TRAIN).refused("run", "lies there already", "--resume")
    assert {path: path.stat().st_mtime_ns for path in run_here.glob("run/**/*")} == before


def test_a_used_folder_is_replaced_if_asked(run_here: Path, nearfar: Run) -> None:
    done = nearfar(*TRAIN, "training.steps=3", "--overwrite", "--json")
    assert done.code == 0, done.err
    assert [place.name for place in checkpoints(run_here)] == ["step-000003"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("training.learning_rate=0.5", ["training.learning_rate", "0.02", "0.5"]),
        ("encoder.dim=8", ["encoder.dim", "16", "8"]),
        ("loss.temperature=0.5", ["loss", "0.5"]),
        ("data.heldout=0.2", ["data"]),
    ],
)
def test_resuming_with_other_settings_is_refused_by_name(
    change: str, said: list[str], run_here: Path, nearfar: Run
) -> None:
    recipe = (run_here / "run" / "recipe.yaml").read_text()
    nearfar(*TRAIN, change, "--resume").refused("cannot resume", *said)
    assert (run_here / "run" / "recipe.yaml").read_text() == recipe


def test_resuming_a_finished_run_changes_no_number(run_here: Path, nearfar: Run) -> None:
    before = json.loads((run_here / "run" / "results.json").read_text())["metrics"]
    done = nearfar(*TRAIN, "--resume", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["metrics"] == before


def test_a_broken_checkpoint_is_passed_over_with_a_warning(run_here: Path, nearfar: Run) -> None:
    shutil.rmtree(run_here / "run")
    assert nearfar(*TRAIN, "training.checkpoint_every=5", "training.keep=9").code == 0
    assert [place.name for place in checkpoints(run_here)] == ["step-000005", "step-000008"]
    damage(checkpoints(run_here)[-1])
    done = nearfar(*TRAIN, "training.checkpoint_every=5", "training.keep=9", "--resume", "--json")
    assert done.code == 0, done.err
    assert "nearfar: warning: " in done.err
    assert "step-000008" in done.err
    assert "passed over" in done.err
    json.loads(done.out)


def test_no_whole_checkpoint_is_an_error(run_here: Path, nearfar: Run) -> None:
    for place in checkpoints(run_here):
        (place / "manifest.json").unlink()
    done = nearfar(*TRAIN, "--resume")
    assert done.code == 2
    assert done.out == ""
    assert done.err.strip().splitlines()[-1].startswith("nearfar: ")
    assert "no checkpoint is whole (step-000008)" in done.err


def own_loss(folder: Path, body: str) -> str:
    """Write a loss of the user's that does something at the third step; return its name."""
    name = f"own_{folder.name.replace('-', '_')}"
    (folder / f"{name}.py").write_text(
        "import os, signal\n"
        "from nearfar.losses.infonce import InfoNCE\n\n"
        "class Own(InfoNCE):\n"
        "    '''InfoNCE that something happens to.'''\n"
        "    calls = 0\n\n"
        "    def forward(self, queries, keys, pairs):\n"
        "        Own.calls += self.training  # the held-out loss does not count\n"
        "        value = super().forward(queries, keys, pairs)\n"
        "        if Own.calls == 3:\n"
        f"            {body}\n"
        "        return value\n"
    )
    return f"loss.name={name}:Own"


def test_a_loss_that_is_not_finite_stops_the_run(run_here: Path, nearfar: Run) -> None:
    shutil.rmtree(run_here / "run")
    own = own_loss(run_here, "value = value * float('nan')")
    done = nearfar(*TRAIN, own, "training.checkpoint_every=2")
    done.refused("step 3", "nan", "rows", "step 2", "learning_rate", code=1)
    assert [place.name for place in checkpoints(run_here)] == ["step-000002"]
    assert not (run_here / "run" / "model").exists()


@pytest.mark.parametrize("every", [[], ["training.checkpoint_every=2"]], ids=["no checkpoint", "checkpoints"])
def test_a_run_whose_folder_is_removed_stops(every: list[str], run_here: Path, nearfar: Run) -> None:
    shutil.rmtree(run_here / "run")
    own = own_loss(run_here, "import shutil; shutil.rmtree('run')")
    nearfar(*TRAIN, own, *every).refused("run/events.jsonl", "was removed while the run wrote to it", code=1)


@pytest.mark.parametrize("method", ["write", "flush"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of TensorBoard's own thread
def test_a_disk_too_full_for_the_curves_stops_it_by_their_place(
    method: str, run_here: Path, nearfar: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_writer = pytest.importorskip("tensorboard.summary.writer.record_writer")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    shutil.rmtree(run_here / "run")
    monkeypatch.setattr(record_writer.RecordWriter, method, full)
    done = nearfar(*TRAIN, "training.tensorboard=true")
    assert done.code == 1
    assert "nearfar: run/tensorboard: cannot be written (No space left on device); free space or" in done.err


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_stops_it_with_a_checkpoint(name: str, run_here: Path, nearfar: Run) -> None:
    shutil.rmtree(run_here / "run")
    own = own_loss(run_here, f"os.kill(os.getpid(), signal.{name})")
    nearfar(*TRAIN, own).refused(name, "step 3", "--resume", code=130)
    assert [place.name for place in checkpoints(run_here)] == ["step-000003"]
    done = nearfar(*TRAIN, own, "--resume", "--json")
    assert done.code == 0, done.err


def test_batches_without_a_negative_are_refused(here: Path, nearfar: Run) -> None:
    write_lines(here / "same.jsonl", [{"query": f"question {i}", "key": "the answer"} for i in range(6)])
    done = nearfar("train", "static", "data.path=same.jsonl", *SMALL[:2], "data.heldout=0", "evaluate.0.split=train")
    done.refused("no query has a negative")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write in")
def test_a_folder_that_nobody_can_write_in_is_refused(here: Path, nearfar: Run) -> None:
    for command in ([*TRAIN[:-1], "/proc/run"], ["embed", "model", "pairs.jsonl", "--out", "/proc/run/v.npy"]):
        done = nearfar(*command)
        done.refused("/proc/run", "choose another", code=done.code)
        assert done.code in (1, 2)


@pytest.fixture
def small_files_only() -> Iterator[Callable[[int], None]]:
    """A way to forbid files above a size, which to a program looks like a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("default_signals")
def test_a_full_disk_leaves_the_last_checkpoint_whole(
    run_here: Path, nearfar: Run, small_files_only: Callable[[int], None]
) -> None:
    shutil.rmtree(run_here / "run")
    own = own_loss(run_here, "os.kill(os.getpid(), signal.SIGTERM)")
    assert nearfar(*TRAIN, own).code == 130
    place = checkpoints(run_here)[-1]
    small_files_only((place / "state.safetensors").stat().st_size // 2)
    done = nearfar(*TRAIN, own, "--resume")
    small_files_only(resource.RLIM_INFINITY)
    told = done.err.splitlines()[-1]
    assert (done.code, done.out, "Traceback" in done.err) == (1, "", False)
    assert told.startswith("nearfar: run/checkpoints/")
    assert "cannot be written" in told
    assert "free space" in told
    assert checkpoints(run_here) == [place]
    assert not (run_here / "run" / "model").exists()
    assert nearfar(*TRAIN, own, "--resume").code == 0


def test_vectors_on_a_full_disk_leave_nothing_behind(
    here: Path, nearfar: Run, small_files_only: Callable[[int], None]
) -> None:
    for name in ("v.npy", "v.parquet"):
        small_files_only(500)
        done = nearfar("embed", "model", "pairs.jsonl", "--out", f"out/{name}")
        small_files_only(resource.RLIM_INFINITY)
        done.refused(name, "cannot be written", "free space", code=1)
        assert list((here / "out").iterdir()) == []


@pytest.mark.usefixtures("default_signals")
def test_interrupted_while_it_reads_says_so(here: Path, nearfar: Run) -> None:
    """Before the first step there is nothing to save: Ctrl-C ends it at once, without a traceback."""
    name = f"slow_{here.name.replace('-', '_')}"
    (here / f"{name}.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)\n")
    done = nearfar(*TRAIN, f"loss.name={name}:Loss")
    assert (done.code, done.out, done.err) == (130, "", "nearfar: interrupted\n")


def test_a_reader_that_has_gone_is_no_error(here: Path) -> None:
    process = subprocess.Popen([NEARFAR, "list", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert (process.wait(timeout=60), process.stderr.read()) == (0, "")
    process.stderr.close()


def test_adapting_to_few_documents_goes_without_a_heldout_loss(here: Path, nearfar: Run) -> None:
    write_lines(here / "few.jsonl", [{"text": f"note {i} says pull {i} near and push {i + 1} far"} for i in range(12)])
    small = ["data.heldout=2", "encoder.of={name: static, dim: 8, vocabulary: 300}"]
    words = ["train", "adapt", "data.path=few.jsonl", *small, "training.steps=2", "training.batch_size=8"]
    done = nearfar(*words, "--out", "adapted", "--quiet")
    assert done.code == 0, done.err
    assert "no held-out loss" in done.err
    assert (here / "adapted" / "model" / "nearfar.json").is_file()
