"""Is a run that is killed again and again, and resumed, equal to one that never was? To the last bit of its weights.

    python benchmarks/kill_resume.py [--of static | finetune | masked_language | ...] [--kills 20] [--seed 0]

Small real runs. static: documented functions of some of Python's own packages, a tokenizer and embeddings from nothing.
finetune: the recipe of that name, with LoRA on a random transformer, negatives mined anew every few steps, weights
chosen on rows that are kept back, a verdict and a report. masked_language, causal_language, retromae: the recipes of
these names on the documentation of Python's own modules, a tokenizer and a small transformer from nothing, with
dropout, and the verdict. The states that are compared are those of the last checkpoint, too: of retromae, the decoder,
which is in no model folder.

One run is left alone. Others are killed (SIGKILL) at moments drawn evenly over a whole run's time, imports left out: in
harvest, tokenisation, mining, steps, checkpoints and while the model is saved. Then they are resumed. The verdict
compares the model folders' weights and fingerprints, and the metrics. Exit code 1 where they differ.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import inspect
import json
import multiprocessing
import os
import random
import signal
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path

PACKAGES = ("asyncio", "concurrent", "email", "http", "importlib", "json", "logging", "multiprocessing", "unittest")
MODULES = ("argparse", "ast", "doctest", "statistics", "turtle", "typing", "urllib.parse")
STEPS, EVERY, LANGUAGE_STEPS = 240, 10, 60
PRELOADED = ["nearfar.config", "nearfar.experiment", "transformers.models.bert.modeling_bert", "peft"]


def static(folder: Path) -> None:
    """Train, or go on with training, in `folder`."""
    from nearfar.data.python_packages import PythonPackages
    from nearfar.encoders.static import Static
    from nearfar.losses.infonce import InfoNCE
    from nearfar.positives.columns import Columns
    from nearfar.training.fit import fit

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


def finetune(folder: Path) -> None:
    """Fine-tune, or go on with it, in `folder`; its model and its pairs are made once."""
    from nearfar.column import ListColumn
    from nearfar.encoders.transformer import Transformer
    from nearfar.experiment import train
    from nearfar.model import Model

    words = ["near", "far", "pull", "push", "anchor", "vector", "space", "query", "key", "loss", "batch", "step"]
    rows = [{"query": f"{a} {b} {i}", "key": f"{b} {i} {a} {b}"} for i, a in enumerate(words * 3) for b in words]
    small = folder.parent / "small"
    if not small.is_dir():
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
        encoder = Transformer(config={"model_type": "bert", **sizes}, vocabulary=300, max_length=32)
        encoder.prepare([ListColumn(side, [row[side] for row in rows]) for side in ("query", "key")])
        Model(encoder).save(small)
    settings = {
        "data.path": rows,
        "encoder.model": str(small),
        "encoder.max_length": 32,
        "encoder.lora": {"rank": 4, "dropout": 0.1},
        "training.batch_size": 32,
        "training.steps": 40,
        "training.learning_rate": 1e-3,
        "training.refresh_every": 6,
        "training.checkpoint_every": 4,
        "training.device": "cpu",
    }
    train("finetune", settings, out=folder, resume=True, quiet=True)


def language(recipe: str, folder: Path) -> None:
    """Train a language model, or go on with it, in `folder`."""
    from nearfar.experiment import train

    members = (vars(importlib.import_module(name)).values() for name in MODULES)
    found = dict.fromkeys(inspect.getdoc(one) for of in members for one in of if callable(one))
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    kind = "llama" if recipe == "causal_language" else "bert"
    settings = {
        "data.path": [{"text": text} for text in found if text],
        "data.heldout": 0.1,
        "encoder.config": {"model_type": kind, **sizes},
        "encoder.vocabulary": 500,
        "encoder.max_length": 48,
        "encoder.dropout": 0.1,
        "training.batch_size": 16,
        "training.steps": LANGUAGE_STEPS,
        "training.checkpoint_every": EVERY,
        "training.device": "cpu",
    }
    train(recipe, settings, out=folder, resume=True, quiet=True)


LANGUAGE = ("masked_language", "causal_language", "retromae")
RUNS: dict[str, Callable[[Path], None]] = {"static": static, "finetune": finetune}
RUNS |= {name: partial(language, name) for name in LANGUAGE}


def child(folder: Path, of: str, threads: int) -> None:
    """Run in a process of its own."""
    import torch

    os.environ["NEARFAR_CACHE"] = str(folder.parent / "cache")
    torch.set_num_threads(threads)
    RUNS[of](folder)


def start(folder: Path, of: str, threads: int) -> ForkServerProcess:
    """Start a run in a process of its own, forked from a server that has done the imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=child, args=(folder, of, threads))
    process.start()
    return process


def outcome(folder: Path) -> tuple[str, str, str]:
    """Return the hash of a model's weights and of the last checkpoint, its fingerprint, and the run's metrics."""
    known = json.loads((folder / "model" / "nearfar.json").read_text(encoding="utf-8"))
    digest = hashlib.sha256()
    last = max((folder / "checkpoints").iterdir(), key=lambda path: path.name)
    for path in (*sorted((folder / "model").rglob("*.safetensors")), last / "state.safetensors"):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16], known["fingerprint"], json.dumps(known.get("metrics"))


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
    parser.add_argument("--of", choices=RUNS, default="static")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="the last digits depend on their number")
    chosen = parser.parse_args()
    draw = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as place:
        alone = Path(place) / "alone" / "run"
        alone.parent.mkdir()
        start(Path(place) / "first" / "run", chosen.of, chosen.threads).join()  # with the imports
        began = time.monotonic()
        process = start(alone, chosen.of, chosen.threads)
        process.join()
        if process.exitcode != 0:
            return 1
        whole = time.monotonic() - began
        expected = outcome(alone)
        print(f"left alone: {whole:.1f} s, weights {expected[0]}", flush=True)
        kills, runs, equal = 0, 0, True
        while kills < chosen.kills or process.exitcode != 0:
            if process.exitcode == 0:  # the one before ended: the next begins, with an empty cache
                runs += 1
                folder = Path(place) / f"killed-{runs}" / "run"
            process = start(folder, chosen.of, chosen.threads)
            if kills < chosen.kills and not (folder / "model").exists():  # what comes then is short, and seen
                process.join(draw.uniform(0, whole))
                process.kill()
            process.join()
            if process.exitcode == 0:
                equal &= outcome(folder) == expected
                print(f"run {runs} ended: weights {outcome(folder)[0]}", flush=True)
            elif process.exitcode == -signal.SIGKILL:
                kills += 1
                print(f"kill {kills}, run {runs}: {reached(folder)}", flush=True)
            else:
                print(f"run {runs} failed with exit code {process.exitcode}")
                return 1
    verdict = "EQUAL to the last bit" if equal else "DIFFERENT"
    print(f"{kills} kills over {runs} runs: weights, fingerprints and metrics are {verdict}")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
