"""The map's drawing in a headless Chromium, against plain loops: rows at the pointer, in the lasso, and by keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nearfar.reports
from tests.reports.chromium import dumped, title

SCRIPT = Path(nearfar.reports.__file__).parent / "templates" / "map.js"
PAGE = """<!doctype html><meta charset="utf-8"><title></title>
<style>:root { --paper: #fdfdfc; --ink: #191b1d; --a: #ff0000; --b: #0000ff; }
body { margin: 0; } canvas { display: block; width: %dpx; height: 600px; }</style>
<canvas id="map" tabindex="0"></canvas>
<script type="module">
%s
const canvas = document.getElementById("map"), count = 400, seen = [], chosen = [];
let state = 1;
const random = () => (state = state * 48271 %% 2147483647) / 2147483647;
const xy = Uint16Array.from({ length: 2 * count }, () => Math.floor(random() * 65536));
const group = Uint8Array.from({ length: count }, (_, row) => row %% 2);
const query = { x: 90000, y: 100, rows: [3] };
const map = pointMap(canvas, { xy, group, colours: ["--a", "--b"], rest: -1, links: [[0, 1]], query }, {
  point: (row, x, y, how) => seen.push([row, x, y, how]),
  select: rows => chosen.push(rows),
});
canvas.setPointerCapture = () => {};
const out = {}, last = () => seen[seen.length - 1];
const places = Array.from({ length: count }, (_, row) => { map.go(row); return last().slice(1, 3); });
const send = (type, x, y, more = {}) => canvas.dispatchEvent(new PointerEvent(type, {
  clientX: x, clientY: y, pointerId: 1, pointerType: "mouse", bubbles: true, ...more }));
const press = key => canvas.dispatchEvent(new KeyboardEvent("keydown", { key, cancelable: true }));
const far = (row, x, y) => Math.hypot(places[row][0] - x, places[row][1] - y);
const closest = (x, y, reach, allowed = () => true) => {
  let best = -1;
  for (let row = 0; row < count; row++)
    if (allowed(row) && far(row, x, y) < reach && (best < 0 || far(row, x, y) < far(best, x, y))) best = row;
  return best;
};
out.inside = places.every(([x, y]) => x >= 0 && y >= 0 && x <= canvas.clientWidth && y <= 600);
out.hover = Array.from({ length: 300 }, () => {
  const x = random() * canvas.clientWidth, y = random() * 600;
  send("pointermove", x, y);
  return last()[0] === closest(x, y, 9);
}).every(Boolean);
map.only(new Set([1]));
const [x1, y1] = places[10], [x2, y2] = places[11];
send("pointermove", x1, y1);
out.hidden = last()[0] === closest(x1, y1, 9, row => row %% 2);
send("pointermove", x2, y2);
out.shown = last()[0];
map.only(null);
const corners = [[120, 80], [420, 80], [420, 330], [120, 330]];
send("pointerdown", ...corners[0], { shiftKey: true });
for (const corner of corners.slice(1)) send("pointermove", ...corner);
send("pointerup", ...corners[3]);
const expected = places.flatMap(([x, y], row) => x > 120 && x < 420 && y > 80 && y < 330 ? [row] : []);
out.lasso = JSON.stringify(chosen.pop()) === JSON.stringify(expected) && expected.length > 3;
press("Escape");
out.emptied = chosen.pop().length;
const arrows = [["ArrowRight", 1, 0], ["ArrowLeft", -1, 0], ["ArrowUp", 0, -1], ["ArrowDown", 0, 1]];
out.steps = arrows.map(([key, dx, dy]) => {
  map.go(closest(canvas.clientWidth * 0.36, 300, 999));
  const from = last();
  press(key);
  const x = last()[1] - from[1], y = last()[2] - from[2];
  const along = x * dx + y * dy, aside = Math.abs(x * dy) + Math.abs(y * dx);
  return last()[0] !== from[0] && along > 0 && aside <= along && last()[3] === "key";
}).every(Boolean);
map.go(7);
press("Enter");
out.picked = chosen.pop();
map.select([]);
map.draw();
const context = canvas.getContext("2d"), ratio = canvas.width / canvas.clientWidth;
const pixel = place => place.map(side => Math.round(side * ratio));
const colour = row => [...context.getImageData(...pixel(places[row]), 1, 1).data].join();
const isAlone = row => closest(...places[row], 10, other => other !== row) < 0;
const alone = Array.from({ length: count }, (_, row) => row).filter(isAlone);
const counted = {};
for (const row of alone) counted[row %% 2 + ":" + colour(row)] = (counted[row %% 2 + ":" + colour(row)] || 0) + 1;
out.alone = alone.length;
out.colours = counted;
send("pointermove", places[20][0], places[20][1]);
const before = places[20];
send("pointerdown", 300, 300);
send("pointermove", 340, 325, { buttons: 1 });
send("pointerup", 340, 325);
map.go(20);
out.moved = [last()[1] - before[0], last()[2] - before[1]];
map.fit();
map.go(20);
out.back = Math.hypot(last()[1] - before[0], last()[2] - before[1]);
const at = before.map(Math.floor), factor = Math.exp(400 * 0.0016);
canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: -400, clientX: at[0], clientY: at[1], cancelable: true }));
map.go(20);
out.stays = Math.hypot(...[0, 1].map(i => last()[1 + i] - (at[i] + (before[i] - at[i]) * factor)));
map.fit();
const even = Uint8Array.from({ length: count }, (_, row) => Number(row %% 4 < 2));
const look = meant => {
  map.draw();
  const seenAs = {};
  for (const row of alone) {
    const name = `${meant(row) ? "lit" : "faint"} ${row %% 2}:${colour(row)}`;
    seenAs[name] = (seenAs[name] || 0) + 1;
  }
  return seenAs;
};
map.among(even);
out.among = look(row => even[row]);
send("pointerdown", 0, 0, { shiftKey: true });
for (const corner of [[canvas.clientWidth, 0], [canvas.clientWidth, 600], [0, 600]]) send("pointermove", ...corner);
send("pointerup", 0, 600);
out.lassoed = chosen.pop();
map.among(null);
map.select([0, 1]);
out.selected = look(row => row < 2);
document.title = JSON.stringify(out);
</script>"""


@pytest.fixture(scope="module", params=[900, 390])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the drawing did, on a wide page and on one as wide as a phone."""
    page = PAGE % (request.param, SCRIPT.read_text(encoding="utf-8"))
    said: dict[str, Any] = json.loads(title(dumped(page, tmp_path_factory.mktemp("page"))))
    return said | {"width": request.param}


def test_all_rows_and_the_query_fit(found: dict[str, Any]) -> None:
    assert found["inside"]


def test_the_nearest_row_at_the_pointer_is_told(found: dict[str, Any]) -> None:
    assert found["hover"]
    assert found["hidden"] and found["shown"] % 2 == 1  # of the groups that are shown


def test_the_lasso_takes_what_it_encloses(found: dict[str, Any]) -> None:
    assert found["lasso"]
    assert found["emptied"] == 0


def test_keys_go_to_a_row_in_their_direction(found: dict[str, Any]) -> None:
    assert found["steps"]
    assert found["picked"] == [7]


def test_points_have_the_colour_of_their_group(found: dict[str, Any]) -> None:
    assert found["alone"] > 0
    exact = sum(found["colours"].get(known, 0) for known in ("0:255,0,0,255", "1:0,0,255,255"))
    assert exact >= 0.9 * found["alone"]  # the lines of links and of the query lie over a few


def test_rows_that_are_not_in_question_are_faint_and_not_taken(found: dict[str, Any]) -> None:
    # 40 of 128 parts of red or blue on the paper, by whole numbers.
    paper, colours = np.array([253, 253, 252]), {0: np.array([255, 0, 0]), 1: np.array([0, 0, 255])}
    for seen in (found["among"], found["selected"]):
        right = 0
        for name, times in seen.items():
            (how, which), colour = name.split(":")[0].split(), np.array(name.split(":")[1].split(",")[:3], int)
            share = 1.0 if how == "lit" else 40 / 128
            right += times * bool(np.abs(paper + share * (colours[int(which)] - paper) - colour).max() <= 1)
        assert right >= 0.9 * found["alone"]
        assert {name.split()[0] for name in seen} >= {"faint"}
    assert found["lassoed"] == [row for row in range(400) if row % 4 < 2]


def test_dragging_moves_and_zooming_keeps_the_place_of_the_pointer(found: dict[str, Any]) -> None:
    assert found["moved"] == pytest.approx([40, 25], abs=0.01)
    assert found["back"] < 0.01
    assert found["stays"] < 0.01
