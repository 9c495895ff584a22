// What fusing moved: the rows that are shown by vectors, together, and by words, with a line from each place to the other.
import { $, button, make, number } from "./element.js";
import { place } from "./explain.js";
import { source } from "./hits.js";

const SVG = "http://www.w3.org/2000/svg";
const COLUMNS = [["vectors", "Vectors", 3], ["fused", "Together", 3], ["words", "Words", 2]]; // with the digits of scores

// hits: of a search with explain. mode: what they are ranked by; where it is one ranking alone, nothing is shown.
export function showFusion(hits, mode) {
  const isFused = mode === "hybrid" && hits.some(hit => hit.explain?.fused);
  $("fusion").hidden = !isFused;
  if (!isFused) return $("ranks").replaceChildren();
  const lists = COLUMNS.map(([leg]) => hits.map((hit, row) => ({ row, leg: hit.explain[leg] })).filter(one => one.leg).sort((a, b) => a.leg.rank - b.leg.rank));
  const columns = COLUMNS.map(([leg, name, digits], at) => column(hits, lists[at], name, digits, leg === "fused"));
  const [vectors, fused, words] = lists;
  $("ranks").replaceChildren(columns[0], lines(vectors, fused, hits.length), columns[1], lines(fused, words, hits.length), columns[2]);
  $("moved").textContent = summary(hits);
}

function summary(hits) {
  const by = leg => hits.filter(hit => hit.explain[leg]).length;
  const up = hits.filter((hit, i) => hit.explain.vectors && hit.explain.vectors.rank > i + 1).length;
  const said = { vectors: hits.length - by("words"), words: hits.length - by("vectors") };
  return [`${number(up)} of these ${number(hits.length)} rows stand higher than by vectors alone.`,
    said.vectors && `${number(said.vectors)} ${said.vectors === 1 ? "has" : "have"} no word of the query.`,
    said.words && `${number(said.words)} ${said.words === 1 ? "comes" : "come"} from the words alone.`].filter(Boolean).join(" ");
}

function column(hits, list, name, digits, isMiddle) {
  const entry = ({ row, leg }) => {
    const label = make("bdi", {}, source(hits[row]));
    return make("li", { "data-row": row }, make("b", {}, place(leg.rank)),
      isMiddle ? button(label, () => $("hits").children[row].focus(), { class: "plain" }) : make("span", { class: "unseen" }, label), make("data", { value: leg.score }, number(leg.score, digits)));
  };
  return make("section", { class: isMiddle ? "middle" : "" }, make("h3", {}, name), make("ol", {}, list.map(entry)));
}

// Lines between two lists of rows. Up and down are by the rank of a ranking, against that of both together.
function lines(left, right, count) {
  const drawing = document.createElementNS(SVG, "svg");
  for (const [name, value] of Object.entries({ viewBox: `0 0 100 ${count}`, preserveAspectRatio: "none", "aria-hidden": "true" })) drawing.setAttribute(name, value);
  drawing.style.height = `calc(${count} * var(--slot))`;
  left.forEach((one, from) => {
    const to = right.findIndex(other => other.row === one.row);
    if (to < 0) return;
    const line = document.createElementNS(SVG, "line"), ranks = [one.leg.rank, right[to].leg.rank];
    for (const [name, value] of Object.entries({ x1: 0, y1: from + 0.5, x2: 100, y2: to + 0.5 })) line.setAttribute(name, value);
    line.dataset.row = one.row;
    line.setAttribute("class", ranks[0] === ranks[1] ? "" : ranks[0] > ranks[1] ? "rises" : "falls");
    drawing.append(line);
  });
  return drawing;
}

// The lines of the row at the pointer, or with the focus, stand out.
export function followRows() {
  const mark = event => {
    const at = event.target.closest?.("[data-row]")?.dataset.row;
    for (const one of $("ranks").querySelectorAll("[data-row]")) one.classList.toggle("at", one.dataset.row === at);
  };
  for (const kind of ["pointerover", "focusin"]) $("ranks").addEventListener(kind, mark);
  $("ranks").addEventListener("pointerleave", mark);
}
