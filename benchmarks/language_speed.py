"""Training steps of language models: nearfar beside transformers' Trainer, over the same tokens of film reviews.

python benchmarks/language_speed.py [--kinds masked causal] [--forms texts chunks] [--rounds 3] [--steps 4]

masked: the recipe's ModernBERT, 4 layers of 256, with a vocabulary of 30,000. causal: llama of the recipe's size.
texts: passages as the recipe cuts them, at the Trainer grouped by length. chunks: all passages one after the other, cut
to the maximum length, so that nothing is padded; both read the same chunks. Tokens a second are those of texts, padding
aside, through whole steps: reading, hiding, forward and backward pass, optimiser. Neither has dropout.
--set changes the recipe for both, e.g. --kinds masked --set objective.share=0.15: what SHARED names.
All take part in the first round; then the fastest of each take turns, with --each the fastest of each precision.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from _language_figures import OURS, PEER, Runs, bounds, called, fastest, table
from _machine import RESULTS, conclude, facts, fresh, once, tell

DATA = Path(__file__).parents[2] / "shared" / "data"
KEPT, AS_IT_COMES = "memory kept", "memory as it comes"  # by glibc: see `keep_freed_memory`
SETTINGS: dict[str, dict[str, Any]] = {KEPT: {}}
# Changes of the recipe that both contestants follow.
SHARED = (
    *("encoder.config", "encoder.max_length", "positives.chunk", "objective.share", "training.batch_size"),
    *("training.learning_rate", "training.weight_decay", "training.warmup"),
)
MORE: dict[str, dict[str, Any]] = {  # with --tune
    AS_IT_COMES: {"keeps": False},
    "eager attention": {"attention": "eager"},
    "padded to multiples of 8": {"multiple": 8},
    "a worker": {"workers": 1},
    "batches at random": {"sampling": "random"},
    "torch.compile": {"compiled": True},
}


def child(part: str, **task: Any) -> dict[str, Any]:
    """Do what a fresh process is asked for."""
    if part == "prepare":
        from _language_texts import prepare

        return prepare(**task)
    from _language_steps import losses, train

    return train(**task) if part == "train" else losses(**task)


def contest(kind: str, form: str, given: argparse.Namespace, folder: Path) -> Runs:
    """Let all take turns, each in a fresh process; return every contestant's runs."""
    settings = {**SETTINGS, **{name: MORE[name] for name in given.tune}}
    contestants = {called(OURS, precision): {"precision": precision} for precision in given.precisions}
    for precision in given.precisions:
        contestants |= {called(PEER, precision, name): {"precision": precision, **s} for name, s in settings.items()}
    runs: Runs = {}
    for round_ in range(given.rounds):
        for name, variant in contestants.items():
            contestant, of = name.split(",")[0], variant["precision"] if given.each else None
            if round_ and name != fastest(runs, contestant, of):
                continue  # slower settings are measured once
            task = {"part": "train", "contestant": contestant, "kind": kind, "form": form, **variant}
            task |= {"folder": str(folder), "steps": given.steps}
            kept = f"{kind}-{form}-{round_}-{''.join(c if c.isalnum() else '_' for c in name)}"
            found = once(given.work, kept, task, partial(fresh, __file__, task))
            runs.setdefault(name, []).append(found)
            told = f"{found['tokens_per_second']:,.0f} tokens/s, {found['peak_mb']:,.0f} MB"
            tell(f"{kind}, {form}, round {round_ + 1}: {name}: {told}")
    return runs


def _folder(given: argparse.Namespace, kind: str) -> Path:
    """Return where a kind of model is prepared, another folder for other changes."""
    changes = hashlib.sha256(json.dumps(given.set).encode()).hexdigest()[:8] if given.set else ""
    return Path(given.work / f"{kind}{changes}")


def measure(given: argparse.Namespace) -> None:
    machine, read, losses, found = facts(), dict[str, Any](), dict[str, Any](), dict[str, Any]()
    for kind in given.kinds:
        folder = _folder(given, kind)
        task = {"part": "prepare", "kind": kind, "folder": str(folder), "data": str(given.data)}
        task |= {"reviews": given.reviews, "vocabulary": given.vocabulary, "changes": given.set}
        read[kind] = once(given.work, f"{kind}-read", task, partial(fresh, __file__, task))
        losses[kind] = {}
        for form in given.forms:
            task = {"part": "losses", "kind": kind, "form": form, "folder": str(folder)}
            losses[kind][form] = once(given.work, f"{kind}-{form}-losses", task, partial(fresh, __file__, task))
            tell(f"{kind}, {form}: {losses[kind][form]}")
    for kind in given.kinds:
        found[kind] = {form: contest(kind, form, given, _folder(given, kind)) for form in given.forms}
    names = ("kinds", "forms", "rounds", "steps", "precisions", "vocabulary", "reviews", "set", "each", "tune")
    measured: dict[str, Any] = {
        "machine": machine,
        "settings": {name: getattr(given, name) for name in names},
        "read": read,
    }
    measured |= {"losses": losses, "runs": found, "bounds": bounds(found, losses)}
    conclude(given.out, "language_speed", measured, table(found, given.vocabulary), width=140)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kinds", nargs="+", default=["masked", "causal"], choices=["masked", "causal"])
    parser.add_argument("--forms", nargs="+", default=["texts", "chunks"], choices=["texts", "chunks"])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--rounds", type=int, default=3, help="fresh processes of each contestant, taking turns")
    parser.add_argument("--steps", type=int, default=4, help="timed, after two that are not")
    parser.add_argument("--reviews", type=int, default=4_000, help="of which passages are cut")
    parser.add_argument("--vocabulary", type=int, default=30_000)
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="changes of the recipe"
    )
    parser.add_argument("--each", action="store_true", help="let the fastest of each precision take all turns")
    parser.add_argument("--tune", nargs="+", default=[], choices=list(MORE), help="more of the Trainer's settings")
    parser.add_argument("--work", type=Path, help="folder that keeps what each process found, to go on from")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(**json.loads(given.child))))
        return
    if strange := [change for change in given.set if not change.startswith(SHARED)]:
        parser.error(f"--set {strange[0]}: the Trainer would not follow it; known are {', '.join(SHARED)}")
    with tempfile.TemporaryDirectory() as scratch:
        given.work = given.work or Path(scratch)
        measure(given)


if __name__ == "__main__":
    main()
