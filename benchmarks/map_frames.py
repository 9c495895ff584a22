"""How long a frame of the map of a corpus takes in a headless Chromium, and how large its page is.

Texts of 100 characters and vectors in clusters; frames of panning, zooming and hovering are drawn one after the other,
each read back, so that nothing is left to be done later. Prints JSON: the medians and the 95th percentile in
milliseconds, and the page in MB.

    python benchmarks/map_frames.py --rows 50000
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.reports.map import MapRows, page
from nearfar.vectors.corpus_map import CorpusMap
from nearfar.vectors.kept import NeighboursKept

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.reports.chromium import dumped

MEASURE = """
const given = JSON.parse(document.getElementById("rows").textContent);
const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
const canvas = document.getElementById("map"), context = canvas.getContext("2d");
const value = new Uint32Array(bytes(given.value).buffer), last = given.colours.length - 1;
const group = Uint8Array.from(value, one => Math.min(one, last)), xy = new Uint16Array(bytes(given.xy).buffer);
const drawn = pointMap(canvas, { xy, group, colours: given.colours, rest: given.rest, query: null });
const box = canvas.getBoundingClientRect();
const send = (type, x, y, more) => canvas.dispatchEvent(new PointerEvent(type, {
  clientX: box.left + x, clientY: box.top + y, pointerId: 1, pointerType: "mouse", ...more }));
canvas.setPointerCapture = () => {};
const measure = move => {
  const times = [];
  for (let i = 0; i < 60; i++) {
    const started = performance.now();
    move(i);
    drawn.draw();
    context.getImageData(0, 0, 1, 1);
    times.push(performance.now() - started);
  }
  times.sort((a, b) => a - b);
  return { median: times[30], p95: times[57] };
};
const found = {};
found.pan = measure(i => {
  if (!i) send("pointerdown", 400, 300);
  send("pointermove", 400 + 7 * (i % 12), 300 + 3 * (i % 9), { buttons: 1 });
});
send("pointerup", 400, 300);
found.zoom = measure(i => drawn.zoom(i < 30 ? 1.06 : 1 / 1.06));
found.hover = measure(i => send("pointermove", 200 + 11 * i, 150 + 6 * i));
document.title = JSON.stringify({ ...found, canvas: [canvas.width, canvas.height] });
"""


def sample_page(rows: int, seed: int = 0) -> str:
    """Return the page of a map of rows in 12 clusters, with texts of 100 characters."""
    draw = np.random.default_rng(seed)
    cluster = draw.integers(12, size=rows)
    places = (draw.standard_normal((12, 2)) * 4)[cluster] + draw.standard_normal((rows, 2))
    words = ["".join(draw.choice(list("abcdefghijklmnop"), 7)) for _ in range(500)]
    texts = [" ".join(draw.choice(words, 14))[:100] for _ in range(rows)]
    found = CorpusMap(
        "umap", [f"row-{i}" for i in range(rows)], places.astype(np.float32), None, NeighboursKept(0.4, 0.01, 10, 2000)
    )
    return page(found, MapRows(np.arange(rows), texts, "cluster", [f"cluster {c}" for c in cluster]), "sample")


def measured(rows: int) -> dict[str, Any]:
    """Return the milliseconds of frames and the size of the page."""
    html = sample_page(rows)
    start, end = html.index('<script type="module">'), html.index("</script>", html.index('<script type="module">'))
    script = html[start:end]
    drawing = script[: script.index("// The page around a map")]  # without the page's own handlers
    policy = html.index('<meta http-equiv="Content-Security-Policy"')
    changed = html[:policy] + html[html.index(">", policy) + 1 : start] + drawing + MEASURE + html[end:]
    with tempfile.TemporaryDirectory() as folder:
        title = dumped(changed, Path(folder), "1280,1000").split("<title>")[1].split("</title>")[0]
    return {"rows": rows, "page_mb": round(len(html.encode()) / 1e6, 2), "milliseconds": json.loads(title)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    print(json.dumps(measured(parser.parse_args().rows)))


if __name__ == "__main__":
    main()
