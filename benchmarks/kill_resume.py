"""Is a run that is killed again and again, and resumed, equal to one that never was? To the last bit of its weights.

    python benchmarks/kill_resume.py [--kills 20] [--seed 0] [--threads 1]

A small real run: documented functions of some of Python's own packages, a tokenizer and embeddings from nothing. One
run is left alone. Others are killed (SIGKILL) at moments drawn evenly over a whole run's time, from the first line
after its imports to the end, so in harvest, tokenisation, steps, checkpoints and while the model is saved; then they
are resumed. The verdict compares the model folders' weights and fingerprints. Exit code 1 where they differ.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

PACKAGES = ("asyncio", "concurrent", "email", "http", "importlib", "json", "logging", "multiprocessing", "unittest")
STEPS, EVERY = 240, 10


def train(folder: Path, threads: int) -> None:
    """Train, or go on with training, in `folder`; a file says when the imports are done."""
    import torch

    from nearfar.data.python_packages import PythonPackages
    from nearfar.encoders.static import Static
    from nearfar.losses.infonce import InfoNCE
    from nearfar.positives.columns import Columns
    from nearfar.training.fit import fit

    folder.parent.joinpath("ready").touch()
    torch.set_num_threads(threads)
    library = Path(sysconfig.get_paths()["stdlib"])
    data = PythonPackages(paths=[library / name for name in PACKAGES], heldout=0, unseen=0, workers=1, progress=False)
    positives = Columns(data, query="docstring", key="code")
    encoder = Static(dim=128, vocabulary=4000)
    fit(
        encoder,
        positives,
        InfoNCE(learnable=True),
        out=folder,
        resume=True,
        quiet=True,
        batch_size=256,
        steps=STEPS,
        learning_rate=0.02,
        checkpoint_every=EVERY,
        device="cpu",
    )


def start(folder: Path, threads: int) -> subprocess.Popen[bytes]:
    """Start a run in a process of its own and wait until its imports are done."""
    ready = folder.parent / "ready"
    ready.unlink(missing_ok=True)
    environment = {**os.environ, "NEARFAR_CACHE": str(folder.parent / "cache")}
    command = [sys.executable, __file__, "--run", str(folder), "--threads", str(threads)]
    process = subprocess.Popen(command, env=environment)
    while not ready.exists() and process.poll() is None:
        time.sleep(0.01)
    return process


def weights(folder: Path) -> tuple[str, str]:
    """Return the hash of a model's weights, and its fingerprint."""
    known = json.loads((folder / "model" / "nearfar.json").read_text(encoding="utf-8"))
    with (folder / "model" / "model.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16], known["fingerprint"]


def reached(folder: Path) -> str:
    """Return where a killed run was."""
    if (folder / "model").exists():
        return "the model was saved"
    text = (folder / "events.jsonl").read_text() if (folder / "events.jsonl").exists() else ""
    steps = [line for line in text.splitlines() if '"event": "step"' in line and line.endswith("}")]
    return f"at step {json.loads(steps[-1])['step']}" if steps else "before the first step"


def main() -> int:
    """Run the comparison and print the verdict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="the last digits depend on their number")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.run:
        train(chosen.run, chosen.threads)
        return 0
    draw = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as place:
        alone = Path(place) / "alone" / "run"
        alone.parent.mkdir()
        process = start(alone, chosen.threads)
        began = time.monotonic()
        if process.wait() != 0:
            return 1
        whole = time.monotonic() - began
        expected = weights(alone)
        print(f"left alone: {whole:.1f} s after its imports, {STEPS} steps, weights {expected[0]}", flush=True)
        kills, runs, equal = 0, 0, True
        while kills < chosen.kills or process.returncode != 0:
            if process.returncode == 0:  # the one before ended: the next begins, with an empty cache
                runs += 1
                folder = Path(place) / f"killed-{runs}" / "run"
                folder.parent.mkdir()
            process = start(folder, chosen.threads)
            began = time.monotonic()
            if kills < chosen.kills:
                try:
                    process.wait(draw.uniform(0, whole))
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    kills += 1
            if process.wait() == 0:
                equal &= weights(folder) == expected
                whole = min(whole, time.monotonic() - began) if kills == 0 else whole  # the machine is less busy now
                print(f"run {runs} ended: weights {weights(folder)[0]}", flush=True)
            elif process.returncode == -signal.SIGKILL:
                print(f"kill {kills}, run {runs}: {reached(folder)}", flush=True)
            else:
                print(f"run {runs} failed with exit code {process.returncode}")
                return 1
    verdict = "EQUAL to the last bit" if equal else "DIFFERENT"
    print(f"{kills} kills over {runs} runs: weights and fingerprints are {verdict}")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
