// The rows that were found, as a list to read, or a sheet of pictures to look at, and to go through by keys.
import { explained } from "./explain.js";
import { $, button, make, number } from "./element.js";
import { litText } from "./lit.js";
import { forget, thumbnail } from "./thumbnails.js";

export const PLACES = ["file", "line", "page", "member"]; // of rows that came from documents
const LONGEST = 80; // characters of a field's value

// hits: of a search with explain. mode: what they are ranked by. actions: {like(id)}.
export function showHits(hits, mode, actions) {
  const isSheet = hits.some(hit => hit.picture) && hits.every(hit => hit.text == null);
  const items = hits.map((hit, i) => item(hit, i + 1, mode, actions, isSheet));
  forget($("hits"));
  $("hits").classList.toggle("sheet", isSheet);
  $("hits").replaceChildren(...items);
}

// matches: of the same hits, by id. terms: what words are looked for by, as the query writes them.
export function light(hits, matches, terms) {
  hits.forEach((hit, i) => {
    hit.terms = terms;
    const match = matches.get(hit.id), shown = $("hits").children[i];
    if (match && shown && hit.text != null) {
      hit.match = match;
      shown.querySelector(".text")?.replaceWith(text(hit));
    }
  });
}

function item(hit, rank, mode, actions, isSheet) {
  const panel = make("div", { id: `why-${rank}`, hidden: true });
  const why = button("Why here", () => toggle(panel, why, hit, rank), { class: "plain why", "aria-expanded": "false", "aria-controls": panel.id });
  const head = make("div", { class: "head" },
    make("span", { class: "rank", "aria-hidden": "true" }, rank),
    make("h3", { title: source(hit) }, make("bdi", {}, source(hit))),
    make("data", { value: hit.score, title: { vectors: "cosine", words: "BM25", hybrid: "of both, fused" }[mode] }, number(hit.score, mode === "words" ? 2 : 3)));
  const like = button("More like this", () => actions.like(hit.id), { class: "plain" });
  const frame = make("div", { class: "frame-of-picture", on: { click: () => why.click() } }, hit.picture ? thumbnail(hit.id, source(hit), $("hits")) : make("span", {}, "No picture is kept"));
  const inside = [head, isSheet ? null : text(hit), rest(hit), make("div", { class: "actions" }, why, like), panel];
  return make("li", { tabindex: "-1", class: hit.picture || isSheet ? "row pictured" : "row", "aria-label": `${rank}: ${source(hit)}` },
    hit.picture || isSheet ? [frame, make("div", { class: "about" }, inside)] : inside);
}

function toggle(panel, why, hit, rank) {
  panel.hidden = !panel.hidden;
  why.setAttribute("aria-expanded", String(!panel.hidden));
  if (!panel.hidden && !panel.firstChild && hit.explain) panel.append(explained(hit.explain, rank, hit.terms ?? {}));
}

export function source(hit) {
  const { file, line, page, member } = hit.fields ?? {};
  if (typeof file !== "string") return hit.id;
  if (typeof member === "string") return member; // of an archive
  return file + (line != null ? `:${line}` : page != null ? `, page ${page}` : "");
}

function text(hit) {
  if (hit.text == null) return hit.picture ? null : make("p", { class: "text none" }, "A picture, or a row without a text.");
  return litText(hit.text, hit.match, hit.isWhole, () => {
    hit.isWhole = true;
    const shown = [...$("hits").children].find(one => one.contains(document.activeElement));
    shown?.querySelector(".text").replaceWith(text(hit));
    shown?.focus();
  });
}

function rest(hit) {
  const given = Object.entries(hit.fields ?? {}).filter(([name, value]) => value != null && !PLACES.includes(name));
  if (!given.length) return null;
  return make("dl", { class: "fields" }, given.map(([name, value]) => {
    const said = String(value);
    return make("div", {}, make("dt", {}, make("bdi", {}, name)), make("dd", {}, make("bdi", {}, said.length > LONGEST ? said.slice(0, LONGEST) + " …" : said)));
  }));
}

// The row above (-1) or below (1) another one: in a sheet the one that stands there, in a list the next.
function beyond(rows, at, way) {
  const from = rows[at], others = rows.filter(row => way * (row.offsetTop - from.offsetTop) > 0);
  const line = Math.min(...others.map(row => way * row.offsetTop));
  return others.filter(row => way * row.offsetTop === line).sort((a, b) => Math.abs(a.offsetLeft - from.offsetLeft) - Math.abs(b.offsetLeft - from.offsetLeft))[0];
}

// Keys: / to the query, arrows between the rows, Enter opens why, Escape closes it and goes back to the query.
export function keys(query) {
  const rows = () => [...$("hits").children];
  const current = () => rows().findIndex(row => row.contains(document.activeElement));
  const isTyping = target => target.matches("input, textarea, select") || target.closest("canvas, dialog");
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || document.querySelector("dialog[open]")) return;
    const at = current(), inQuery = event.target === query, beside = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "/" && !isTyping(event.target)) query.focus(), query.select();
    else if (event.key === "ArrowDown" && (inQuery || at >= 0)) (at < 0 ? rows()[0] : beyond(rows(), at, 1))?.focus();
    else if (event.key === "ArrowUp" && at >= 0) (beyond(rows(), at, -1) ?? query).focus();
    else if (beside && at >= 0 && $("hits").classList.contains("sheet")) rows()[at + beside]?.focus();
    else if (event.key === "Enter" && at >= 0 && event.target === rows()[at]) rows()[at].querySelector(".why").click();
    else if (event.key === "Escape" && at >= 0) {
      const open = rows()[at].querySelector(".why[aria-expanded=true]");
      if (open) open.click(), rows()[at].focus();
      else query.focus();
    } else return;
    event.preventDefault();
  });
}
