// Filters: chips of what holds, values of fields with their counts, and why nothing is left.
import { $, button, counted, make, number } from "./element.js";
import { toggled } from "./state.js";
import { thumbnail } from "./thumbnails.js";

const FEW = 6; // values of a field that are shown at first
const OF_CONTENT = /#[0-9a-f]{24}(-\d+)?$/; // how the ids of rows of documents end
const open = new Set(); // the fields whose values are all shown

// given: conditions of the state. counts: the server's of these or other conditions, or null. change: takes what of the state is to be other. index: its facts.
export function showChips(given, counts, state, change, index) {
  const alone = where => counts?.conditions.find(one => one.where === where)?.alone;
  const chips = given.map(one => chip(one.label, () => change(one.without), alone(one.where)));
  if (state.like) {
    const name = state.like.replace(OF_CONTENT, ""), like = chip(`like ${name}`, () => change({ like: "" }));
    if (index.thumbnails === index.rows) like.firstChild.prepend(thumbnail(state.like, "", $("chips")));
    chips.unshift(like);
  }
  $("chips").replaceChildren(...chips);
}

// alone: how many rows meet the condition, where that is known.
function chip(label, drop, alone) {
  const many = alone == null ? null : make("small", {}, number(alone)), said = alone == null ? "" : `, which ${counted(alone, "row")} meet${alone === 1 ? "s" : ""}`;
  return make("li", {}, button([make("bdi", {}, label), many, make("span", { "aria-hidden": "true" }, "×")].filter(Boolean), drop, { "aria-label": `Without ${label}${said}` }));
}

export function showFacets(facets, state, change) {
  $("facets").replaceChildren(...facets.map(facet => group(facet, state, change)));
}

function group(facet, state, change) {
  const chosen = state.fields.get(facet.field) ?? [];
  const first = facet.values.filter((one, i) => i < FEW || chosen.includes(String(one.value)));
  const all = open.has(facet.field), values = all ? facet.values : first, left = facet.values.length - first.length;
  const set = make("fieldset", {}, make("legend", {}, make("bdi", {}, facet.field)), values.map(one => {
    const box = make("input", { type: "checkbox", on: { change: () => change({ fields: toggled(state.fields, facet.field, String(one.value)) }) } });
    box.checked = chosen.includes(String(one.value));
    box.dataset.focus = `${facet.field}=${one.value}`;
    return make("label", { class: one.count ? "" : "empty" }, box, make("bdi", {}, String(one.value) || "(empty)"), make("small", {}, number(one.count)));
  }));
  if (left > 0) set.append(button(all ? "Fewer" : `${number(left)} more`, () => {
    if (!open.delete(facet.field)) open.add(facet.field);
    set.replaceWith(group(facet, state, change));
  }, { class: "plain" }));
  return set;
}

// Which condition it is that leaves nothing. counts: the server's, of each condition in the order of `given`.
export function showWhyNot(counts, given, change) {
  const place = $("why-not");
  place.hidden = counts.matching > 0 || !given.length;
  if (place.hidden) return place.replaceChildren();
  const cut = counts.conditions.map((one, i) => ({ label: given[i].label, drop: given[i].without, alone: one.alone, left: one.without }));
  cut.sort((a, b) => b.left - a.left);
  const alone = cut.find(one => one.alone === 0);
  place.replaceChildren(
    make("h2", {}, "No row meets all of these conditions"),
    make("p", {}, verdict(cut, alone, counts.rows)),
    make("table", {},
      make("thead", {}, make("tr", {}, ["Condition", "Rows that meet it alone", "Rows left without it", ""].map(name => make("th", { scope: "col" }, name)))),
      make("tbody", {}, cut.map(one => make("tr", {},
        make("th", { scope: "row" }, make("bdi", {}, one.label)), make("td", { "data-label": "meet it alone" }, number(one.alone)), make("td", { "data-label": "left without it" }, number(one.left)),
        make("td", {}, button("Drop", () => change(one.drop), { "aria-label": `Drop ${one.label}` })))))));
}

function verdict(cut, alone, rows) {
  if (alone && cut.length > 1) return `${alone.label} alone is met by none of the ${counted(rows, "row")}.`;
  if (cut.length === 1) return `It is met by none of the ${counted(rows, "row")}.`;
  const most = cut[0];
  if (most.left > 0) return `Each is met by some rows, and no row meets all. Without ${most.label} there are ${number(most.left)}.`;
  return "Each is met by some rows, and dropping one of them is not enough.";
}
