// The map of the index: its rows, the query among them joined to its nearest, and a table of what a lasso takes.
import { ask } from "./api.js";
import { $, button, counted, make, number, percent } from "./element.js";
import { pointMap } from "./map.js";
import { mapTable, placeTip } from "./map_table.js";
import { thumbnail } from "./thumbnails.js";

let drawn = null; // {key, map, where, ask(place or null), among(mask or null, how many), again()}

// by: the field of the colours, or "". coloured: fields that may be one. change: takes what of the state is to be other.
export async function showMap(index, by, coloured, change) {
  if (drawn?.key === by) return;
  drawn = { key: by, where: null, ask() {}, among() {}, again: () => change({}) };
  const place = $("map-tab");
  place.setAttribute("aria-busy", "true");
  try {
    const found = await ask("map" + (by ? `?by=${encodeURIComponent(by)}` : ""));
    if (drawn?.key === by) draw(place, found, by, coloured, change);
  } catch (error) {
    drawn = null;
    if (error.code !== "no_map") throw error;
    place.replaceChildren(missing(index, () => change({})));
  } finally {
    place.removeAttribute("aria-busy");
  }
}

function missing(index, again) {
  const said = make("p", { role: "status" });
  const start = button("Make the map", async () => {
    start.disabled = true;
    said.textContent = "Making it: all vectors are read four times.";
    try {
      await ask("map", { method: "pca" });
      again();
    } catch (error) {
      said.textContent = error.message;
      start.disabled = false;
    }
  });
  return make("div", { class: "nothing" },
    make("h2", {}, "No map is kept of this index as it is now"),
    make("p", {}, "It takes seconds for some thousand rows, and is kept beside them. On the server:"),
    make("pre", {}, `nearfar map ${index.name}`), index.read_only ? null : make("p", {}, start), said);
}

function draw(place, found, by, coloured, change) {
  const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const xy = new Uint16Array(bytes(found.xy).buffer), value = new Uint32Array(bytes(found.value).buffer);
  const group = Uint8Array.from(value, one => Math.min(one, found.colours.length - 1)); // the commonest values come first
  const name = row => found.names[value[row]] ?? "", labels = found.labels ?? found.ids;
  const pictured = found.pictured && bits(found.pictured);
  const small = row => pictured?.[row] ? [thumbnail(found.ids[row], labels[row], parts.tip)] : [];
  const parts = layout(place, found, by, coloured, change), { canvas, tip, detail } = parts;
  const map = pointMap(canvas, { xy, group, colours: found.colours, rest: found.rest, links: [], query: null }, {
    point(row, x, y, how) {
      tip.hidden = row < 0 || how === "none";
      if (row < 0) return;
      tip.replaceChildren(...small(row), ...(by ? [make("b", {}, name(row))] : []), found.texts[row] || labels[row]);
      placeTip(tip, canvas, x, y);
      if (how !== "pointer") detail.textContent = [labels[row], by && name(row), found.texts[row]].filter(Boolean).join(" · ");
    },
    select(rows) { list(rows.length ? rows : null); },
  });
  const show = mapTable(parts, { ids: found.ids, labels, texts: found.texts, by, name }, canvas, map);
  let passing = null; // rows that meet the conditions, null for all
  const list = selected => selected || !passing ? show(selected) : show(passing, `${passing.length === 1 ? "meets" : "meet"} the conditions`);
  const rowOf = new Map(found.ids.map((id, row) => [id, row]));
  parts.fit.addEventListener("click", () => map.fit());
  parts.nearer.addEventListener("click", () => map.zoom(1.6));
  parts.farther.addEventListener("click", () => map.zoom(1 / 1.6));
  parts.lasso.addEventListener("click", () => map.lasso(pressed(parts.lasso)));
  const only = new Set();
  parts.legend.forEach((one, at) => one.addEventListener("click", () => {
    if (pressed(one)) only.add(at);
    else only.delete(at);
    map.only(only.size ? only : null);
  }));
  drawn.map = found.map;
  drawn.ask = placed => {
    const rows = (placed?.near ?? []).map(one => rowOf.get(one.id)).filter(row => row !== undefined);
    map.ask(placed && { x: placed.x, y: placed.y, rows });
    parts.near.replaceChildren(...(placed?.near ?? []).map(one => make("li", {}, make("data", { value: one.score }, number(one.score, 3)), pictured?.[rowOf.get(one.id)] ? thumbnail(one.id, "") : null,
      button(make("bdi", {}, rowOf.has(one.id) ? labels[rowOf.get(one.id)] : one.id), () => rowOf.has(one.id) && map.go(rowOf.get(one.id)), { class: "plain" }), " ", make("bdi", {}, one.text))));
    parts.asked.hidden = !placed;
  };
  drawn.among = (mask, matching) => {
    map.select([]);
    map.among(mask);
    passing = mask && [...mask.keys()].filter(row => mask[row]);
    parts.passing.hidden = !mask;
    parts.passing.textContent = mask ? `${number(matching)} of the ${counted(found.shown, "row")} meet the conditions; the others are faint.` : "";
    list(null);
  };
}

// A bit for each row, the highest of a byte first.
const bits = text => {
  const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  return Uint8Array.from({ length: 8 * bytes.length }, (_, row) => bytes[row >> 3] >> (7 - (row & 7)) & 1);
};

function pressed(one) {
  const on = one.getAttribute("aria-pressed") !== "true";
  one.setAttribute("aria-pressed", String(on));
  return on;
}

function layout(place, found, by, coloured, change) {
  const plain = label => make("button", { type: "button" }, label), toggle = (...inside) => make("button", { type: "button", "aria-pressed": "false" }, ...inside);
  const parts = {
    canvas: make("canvas", { id: "map", tabindex: "0", role: "application", "aria-describedby": "map-keys",
      "aria-label": `Map of ${counted(found.shown, "row")}. Arrow keys go from row to row; the table below has the same rows.` }),
    tip: make("div", { id: "tip", class: "tip", hidden: true }), detail: make("p", { id: "detail", role: "status", "aria-live": "polite" }),
    fit: plain("Whole map"), nearer: make("button", { type: "button", "aria-label": "Zoom in" }, "+"), farther: make("button", { type: "button", "aria-label": "Zoom out" }, "−"),
    lasso: toggle("Select by lasso"), near: make("ol"), passing: make("p", { role: "status", hidden: true }), asked: make("section", { class: "asked", hidden: true }), count: make("h2", { id: "count", "aria-live": "polite" }),
    save: plain("Save as CSV"), clear: plain("Select nothing"), back: plain("Back"), more: plain("Next"), where: make("p"), body: make("tbody"),
    legend: found.legend.map(one => toggle(make("span", { class: `key spot ${one.style}` }, make("bdi", {}, one.name)), make("small", {}, number(one.size)))),
  };
  const colours = make("select", { id: "by", on: { change: event => change({ by: event.target.value }) } },
    make("option", { value: "" }, "one colour"), coloured.map(name => make("option", { value: name }, name)));
  colours.value = by;
  parts.asked.append(make("h2", {}, "Near the query"), make("p", {}, "The diamond is the query. Lines join it to the rows that are nearest to it in the space:"), parts.near);
  const column = (label, kind) => make("th", { scope: "col", class: kind }, label);
  place.replaceChildren(
    make("h2", { class: "verdict" }, `The map keeps ${percent(found.kept.share)} of who is near whom.`), make("p", { class: "lede" }, lede(found)),
    make("div", { class: "legend" }, make("label", { for: "by" }, "Colours by "), colours, parts.legend),
    parts.passing, make("div", { class: "area" }, parts.canvas, parts.tip), parts.detail,
    make("div", { class: "tools" }, parts.fit, parts.nearer, parts.farther, parts.lasso),
    make("p", { id: "map-keys", class: "keys" }, "Drag to move, wheel or two fingers to zoom, Shift and drag to select. Keys: arrows go to the next row, + and − zoom, 0 shows all, Enter selects, Escape lets go."),
    parts.asked, parts.count, make("div", { class: "tools rows" }, parts.save, parts.clear, parts.back, parts.more, parts.where),
    make("table", { id: "table" }, make("thead", {}, make("tr", {}, column("Row"), by ? column(by, "by") : null, column("Text, its beginning"))), parts.body));
  return parts;
}

function lede({ kept, rows, shown, shares }) {
  const exact = kept.sample < rows ? ` (exactly compared with all, for ${number(kept.sample)} rows)` : "";
  const axes = shares ? ` The two axes hold ${percent(shares[0] + shares[1])} of the variance, so what lies together here may be far apart in the space.` : "";
  return `Of each row’s ${kept.neighbours} nearest neighbours in the space, that is the share which is among its ${kept.neighbours} nearest on the map, too; `
    + `chance would give ${percent(kept.chance)}${exact}.${axes}` + (shown < rows ? ` ${number(shown)} of ${number(rows)} rows are shown, drawn at random.` : "");
}

// query: {text} or {image}, or null for none. where: the conditions, or null; those of the nearest rows, too.
export async function askMap(query, where, signal) {
  if (drawn) drawn.ask(query && await asked("map/place", { ...query, where }, signal));
}

// Asks about the map that is drawn. Where another one is kept meanwhile, that one is drawn instead.
async function asked(path, body, signal) {
  const before = drawn;
  try {
    return await ask(path, { ...body, map: before.map }, signal);
  } catch (error) {
    if (!["other_map", "no_map"].includes(error.code)) throw error;
    if (drawn === before) {
      drawn = null;
      before.again();
    }
    throw new DOMException(error.message, "AbortError"); // what was asked of the old map is of no use
  }
}

// The rows that do not meet the conditions become faint; null: there are none.
export async function filterMap(where, signal) {
  if (!drawn || drawn.where === where) return; // what is selected stays
  const map = drawn, answer = where === null ? null : await asked("map/passing", { where }, signal);
  map.where = where;
  if (!answer) return map.among(null, 0);
  map.among(bits(answer.mask), answer.matching);
}
