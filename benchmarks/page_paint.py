"""How soon the page of a server shows something, and how soon the rows that were asked for: by Chromium's own clock.

An index of short texts with two fields, a static model, a server of its own; each load begins without a cache. Prints
JSON, medians of the loads in milliseconds since the address was opened: the first paint, the first contentful one, and
when the counts of filters, the hits of a search, and the map of 50,000 rows with its query are there.

    python benchmarks/page_paint.py --rows 100000
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from _machine import NEARFAR
from _servers import Contestant, running

import nearfar as nf
from nearfar.uses.map import map_of_index

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.serving.browser import Tab, tab  # drives the page as its tests do

KINDS = ("question", "answer", "note", "letter", "report")
AT_ONCE = 10_000  # rows that are added together
SEEN = {
    "counts": ("", "document.querySelector('#facets label') !== null"),
    "hits": ("#q=word17+word23", "document.querySelectorAll('#hits > li').length === 10"),
    "filtered hits": ("#q=word17+word23&f.kind=note", "document.querySelectorAll('#hits > li').length === 10"),
    "map": ("#tab=map&by=kind&q=word17+word23", "document.querySelectorAll('#map-tab .asked li').length === 10"),
}


def sample_rows(count: int, seed: int = 0) -> Iterator[list[dict[str, Any]]]:
    """Yield rows of twelve words of a few thousand, by their frequency, with a kind and a year."""
    draw = np.random.default_rng(seed)
    for start in range(0, count, AT_ONCE):
        words = np.minimum(draw.zipf(1.3, (min(AT_ONCE, count - start), 12)), 4000)
        yield [
            {"id": f"row-{start + i}", "text": " ".join(f"word{word}" for word in line),
             "kind": KINDS[int(line[0]) % len(KINDS)], "year": 1990 + int(line[1]) % 35}
            for i, line in enumerate(words)
        ]  # fmt: skip


def build(folder: Path, rows: int) -> None:
    """Write a model and an index of so many rows, with its map."""
    encoder = nf.encoders.Static(dim=256, vocabulary=5000)
    encoder.prepare([nf.data.Table(next(sample_rows(AT_ONCE))).text("text")])
    nf.Model(encoder).save(folder / "static")
    model = nf.Model.load(folder / "static")
    with nf.Index.create(folder / "rows.index", model) as index:
        for some in sample_rows(rows):
            index.add(some)
        map_of_index(index)


def loaded(opened: Tab, address: str, seen: str) -> dict[str, float]:
    """Return when a page painted, and when something could be seen on it, in milliseconds since it was opened."""
    opened.go("about:blank")
    opened.call("Network.clearBrowserCache")
    opened.go(address)
    watch = f"""new Promise(done => {{
      const look = () => {seen} ? done(performance.now()) : requestAnimationFrame(look);
      look();
    }})"""
    opened.wait("document.querySelector('main') !== null && document.readyState === 'complete'")
    there = opened.evaluate(watch)
    paints = opened.evaluate("performance.getEntriesByType('paint').map(one => [one.name, one.startTime])")
    return {**dict(paints), "seen": there}


def measured(folder: Path, loads: int) -> dict[str, Any]:
    """Return the medians of some loads, by what is waited for."""
    words = ("serve", str(folder / "rows.index"), "--read-only", "--model", str(folder / "static"))
    server = Contestant("ours", "static", "page", "/", (str(NEARFAR), *words))
    found: dict[str, Any] = {}
    with running(server, folder / "server.log") as site, tab(folder) as opened:
        opened.size(1280, 900)
        for name, (fragment, seen) in SEEN.items():
            times = [loaded(opened, f"{site.url}/{fragment}", seen) for _ in range(loads)]
            found[name] = {"first": {key: round(value, 1) for key, value in times[0].items()}} | {
                key: round(median(one[key] for one in times), 1) for key in times[0]
            }
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--loads", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        build(Path(folder), given.rows)
        built = round(time.perf_counter() - began, 1)
        print(json.dumps({"rows": given.rows, "built_seconds": built, **measured(Path(folder), given.loads)}, indent=1))


if __name__ == "__main__":
    main()
