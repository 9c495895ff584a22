"""Embeddings over HTTP side by side: `nearfar serve`, sentence-transformers behind FastAPI, and infinity.

python benchmarks/serving.py [--rounds 3] [--seconds 60] [--soak 10] [--infinity ENVIRONMENT] [--work FOLDER]

MiniLM, 64 clients in a process of their own, one text of 16 to 256 tokens a request, server and clients on the same two
cores. Contestants take turns, each a fresh process; figures are medians over rounds. Vectors are compared with those of
sentence-transformers in fp32. After the rounds, `--soaked` servers get a mixed load of so many minutes, with bad
requests and callers who leave, and their memory is followed. With --work what was measured is kept, so that a run that
was stopped goes on. infinity-emb needs an environment of its own: `python -m venv ENVIRONMENT` and
`ENVIRONMENT/bin/pip install 'infinity-emb[torch,server]'`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _machine import RESULTS, Bound, bound, conclude, facts, fresh, once, tell
from _servers import Contestant, contestants, running, version_of
from _serving_load import soak, speed
from rich.table import Table

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
TOKENS = (16, 256)  # of a text
NEAR = 0.999  # the least cosine to fp32 of a setting that counts as fast
PEERS = {"plain": 2.0, "infinity": 1.2}  # times their texts a second
GROWTH = 1.05  # of memory under a mixed load
Runs = dict[str, list[dict[str, Any]]]


def child(what: str, task: dict[str, Any]) -> dict[str, Any]:
    """Do what a fresh process is asked for."""
    return {"texts": make_texts, "speed": speed, "soak": soak}[what](task)


def make_texts(task: dict[str, Any]) -> dict[str, Any]:
    """Write texts of all lengths, cut at words from news, and their vectors by sentence-transformers in fp32."""
    from sentence_transformers import SentenceTransformer

    import nearfar as nf
    from nearfar.encoders.pretrained.folder import folder_of

    with gzip.open(Path(task["data"]) / "G-reuters" / "reuters-aptemod.jsonl.gz", "rt", encoding="utf-8") as file:
        articles = [" ".join(json.loads(line)["text"].split()) for line in file]
    encoder: Any = nf.Model.load(task["model"]).encoder
    texts = cut_texts(articles, lambda some: encoder.tokenise(some)[1], task["count"])
    folder = str(folder_of(task["model"]))
    model = SentenceTransformer(folder, device="cpu")
    vectors = np.asarray(model.encode(texts, normalize_embeddings=True, show_progress_bar=False), np.float32)
    Path(task["texts"]).write_text(json.dumps(texts), encoding="utf-8")
    np.save(task["reference"], vectors, allow_pickle=False)
    lengths = encoder.tokenise(texts)[1]
    told = {"least": int(lengths.min()), "mean": float(lengths.mean()), "most": int(lengths.max())}
    return {"folder": folder, "tokens": told}


def cut_texts(articles: list[str], tokens: Any, count: int) -> list[str]:
    """Return so many texts whose numbers of tokens are drawn evenly. tokens: texts to their numbers of tokens (n,)."""
    draws = np.random.default_rng(0)
    found: list[str] = []
    single, double = tokens(["the", "the the"]).tolist()
    special = 2 * single - double  # tokens that each text has beside those of its words
    for row in draws.permutation(len(articles)).tolist():
        words = articles[row].split()
        sizes = special + np.cumsum(tokens(words) - special) if words else np.zeros(1)  # (w,) of the first words
        if sizes[-1] <= TOKENS[1]:
            continue  # a short article would have the short texts
        asked = int(draws.integers(TOKENS[0], TOKENS[1] + 1))
        text = " ".join(words[: int(np.searchsorted(sizes, asked, side="right"))])
        if text and TOKENS[0] <= int(tokens([text])[0]) <= TOKENS[1]:
            found.append(text)
        if len(found) == count:
            return found
    raise SystemExit(f"only {len(found)} articles are long enough for {count} texts; ask for fewer by --texts")


def measure(given: argparse.Namespace, work: Path) -> None:
    """Let every contestant answer in turns, then soak some; keep what was found."""
    machine = facts()
    files = {"texts": str(work / "texts.json"), "reference": str(work / "reference.npy")}
    asked = {"model": given.model, "count": given.texts, **files}
    made = once(work, "texts", asked, lambda: fresh(__file__, _task("texts", **asked, data=str(given.data))))
    taking_part = _chosen(given, made["folder"], bf16=machine["bf16 in hardware"])
    load = {**files, "clients": given.clients, "seconds": given.seconds, "warmup": given.warmup}
    runs: Runs = {one.name: [] for one in taking_part}
    for turn in range(given.rounds):
        for one in taking_part:
            held = {"turn": turn, "command": one.command, **load}
            run = once(work, _stem(one), held, partial(_loaded, one, "speed", load, work))
            runs[one.name].append(run)
            tell(f"round {turn + 1}: {one.name}: {run['texts_per_second']:.1f} texts/s, p99 {run['p99_ms']:,.0f} ms")
    soaks = {}
    load = {**files, "clients": given.clients, "seconds": 60 * given.soak, "seed": 0}
    for one in taking_part if given.soak else []:
        if one.name in given.soaked or one.family in given.soaked:
            held = {"command": one.command, **load}
            soaks[one.name] = found = once(work, f"soak-{_stem(one)}", held, partial(_loaded, one, "soak", load, work))
            tell(f"mixed load: {one.name}: {found['settled_mb']:,.0f} MB, at the end {found['end_mb']:,.0f} MB")
    absent = {} if given.infinity else {"infinity": "not measured; --infinity ENVIRONMENT names one that has it"}
    settings = {name: getattr(given, name) for name in ("rounds", "seconds", "clients", "texts", "soak")}
    if given.infinity:
        settings["infinity"] = version_of(given.infinity)
    held = {"machine": machine, "settings": settings, "tokens": made["tokens"], "absent": absent}
    held |= {"runs": runs, "soaks": soaks, "bounds": bounds_of(runs, soaks)}
    conclude(given.out, "serving", held, shown(runs), *(f"{name}: {why}" for name, why in absent.items()), width=120)


def _task(what: str, **task: Any) -> dict[str, Any]:
    return {"what": what, "task": task}


def _stem(one: Contestant) -> str:
    return one.name.replace(", ", "-").replace(" ", "_")


def _chosen(given: argparse.Namespace, folder: str, *, bf16: bool) -> list[Contestant]:
    found = contestants(given.model, folder, given.infinity, bf16=bf16)
    return [one for one in found if not given.only or one.name in given.only or one.family in given.only]


def _loaded(one: Contestant, what: str, load: dict[str, Any], work: Path) -> dict[str, Any]:
    """Start a server and let the clients at it."""
    with running(one, work / f"{_stem(one)}.log") as server:
        place = {"form": one.form, "path": one.path, "url": server.url, "pid": server.pid}
        return fresh(__file__, _task(what, **load, **place))


def middle(runs: list[dict[str, Any]], what: str) -> float:
    """Return the median over rounds."""
    return statistics.median(float(run[what]) for run in runs)


def fastest(runs: Runs, family: str, setting: str = "") -> str | None:
    """Return the fastest of a family whose vectors are near those of fp32, of a setting or of all; None without one."""
    names = [name for name in runs if name.startswith(f"{family}, {setting}")]
    near = [name for name in names if middle(runs[name], "least_cosine") >= NEAR]
    return max(near, key=lambda name: middle(runs[name], "texts_per_second"), default=None)


def bounds_of(runs: Runs, soaks: dict[str, dict[str, Any]]) -> list[Bound]:
    """Hold ours against each peer: both in fp32, and both in their fastest setting; and ours against itself."""
    held: list[Bound] = []
    for setting, called in (("fp32", "fp32"), ("", "fastest")):
        ours = fastest(runs, "ours", setting)
        for family, asked in PEERS.items():
            peer = fastest(runs, family, setting)
            if ours is None or peer is None:
                continue
            for what, limit, least in (("texts_per_second", asked, True), ("p99_ms", 1.0, False)):
                ratios = [one[what] / other[what] for one, other in zip(runs[ours], runs[peer])]
                words = f"{called} ({ours}): {what.replace('_', ' ')}, times that of {peer}"
                held.append(bound(words, statistics.median(ratios), limit, least=least))
    own = [run["errors"] for name, of in runs.items() if name.startswith("ours") for run in of]
    if own:
        wrong = sum(count for errors in own for kind, count in errors.items() if kind != "429")
        held.append(bound("ours: errors but 429", wrong, 0, least=False))
    for name, found in soaks.items():
        if name.startswith("ours"):
            growth = found["end_mb"] / found["settled_mb"]
            words = f"{name}: memory at the end of a mixed load, times that after a minute of it"
            held.append(bound(words, growth, GROWTH, least=False))
            held.append(bound(f"{name}: failures of the server in it", found["failed"], 0, least=False))
    return held


def shown(runs: Runs) -> Table:
    """Return the table of all contestants."""
    table = Table(title="MiniLM over HTTP, one text of 16 to 256 tokens a request")
    ours = {name.partition(", ")[2]: middle(of, "texts_per_second") for name, of in runs.items() if "ours" in name}
    for name in ("", "texts/s", "ours / it", "p50 ms", "p99 ms", "least cosine", "errors", "MB"):
        table.add_column(name, justify="right" if name else "left")
    for name, of in runs.items():
        rate = middle(of, "texts_per_second")
        same = ours.get(name.split(", ")[1])
        errors = sum((count for run in of for count in run["errors"].values()), 0)
        table.add_row(
            name, f"{rate:,.1f}", f"{same / rate:.2f}" if same and rate else "", f"{middle(of, 'p50_ms'):,.0f}",
            f"{middle(of, 'p99_ms'):,.0f}", f"{middle(of, 'least_cosine'):.6f}", f"{errors:,}",
            f"{middle(of, 'resident_mb'):,.0f}",
        )  # fmt: skip
    return table


def two_cores() -> None:
    """Keep this process, and those that it starts, to two cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])


def main() -> None:
    """Read the options, and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="minilm", help="a folder that sentence-transformers reads, too")
    parser.add_argument("--rounds", type=int, default=3, help="fresh processes of each contestant, taking turns")
    parser.add_argument("--seconds", type=float, default=60.0, help="of load, after --warmup")
    parser.add_argument("--warmup", type=float, default=5.0, help="seconds of load that are not counted")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--texts", type=int, default=1_000, help="distinct texts")
    parser.add_argument("--soak", type=float, default=10.0, help="minutes of mixed load; 0 leaves it out")
    parser.add_argument("--soaked", nargs="*", default=["ours"], help="contestants, or families, that get it")
    parser.add_argument("--only", nargs="+", help="contestants, or families, that take part")
    parser.add_argument("--infinity", type=Path, help="the environment in which infinity-emb is installed")
    parser.add_argument("--work", type=Path, help="folder that keeps what was measured, to go on from")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the dated JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(**json.loads(given.child))))
        return
    two_cores()
    with tempfile.TemporaryDirectory() as folder:
        work = given.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        measure(given, work)


if __name__ == "__main__":
    main()
