// Why a row is where it is: what vectors and words gave it, how the two were fused, and what that moved.
import { make, number } from "./element.js";

const ORDINALS = { one: "st", two: "nd", few: "rd", other: "th" }, rules = new Intl.PluralRules("en", { type: "ordinal" });
export const place = rank => number(rank) + ORDINALS[rules.select(rank)];

// explain: of a hit. rank: where it stands in the list. names: of terms, as the query writes them.
export function explained(explain, rank, names) {
  const { vectors, words, fused, reranked } = explain;
  const rows = [];
  if (vectors || fused) rows.push(row("Vectors", "cosine with the query", vectors && number(vectors.score, 3), vectors, fused?.parts?.vectors));
  if (words || fused) rows.push(row("Words", words ? "BM25" : "no word of the query is in it", words && number(words.score, 2), words, fused?.parts?.words));
  if (fused) rows.push(row("Together", weights(fused.by), number(fused.score, 3), fused, null));
  if (reranked) rows.push(row("Reranker", `${place(reranked.before)} before`, number(reranked.score, 3), reranked, null));
  return make("div", { class: "explained" },
    make("p", { class: "moved" }, moved(explain, rank)),
    make("table", {},
      make("thead", {}, make("tr", {}, ...["By", "Score", "Rank", ...(fused ? ["Part"] : [])].map(name => make("th", { scope: "col" }, name)))),
      make("tbody", {}, rows.map(cells => make("tr", {}, cells.slice(0, fused ? 4 : 3))))),
    terms(words, names));
}

function row(name, what, score, leg, part) {
  return [make("th", { scope: "row" }, name, make("small", {}, what)), make("td", {}, score ?? "–"), make("td", {}, leg ? place(leg.rank) : "–"),
    make("td", {}, part == null ? "" : number(part, 3))];
}

function weights(by) {
  return by === "rrf" ? "reciprocal ranks, added" : `shares of the best scores, weighed ${number(by.vectors, 1)} to ${number(by.words, 1)}`;
}

function moved({ vectors, words, fused }, rank) {
  if (!fused) return vectors ? "Ranked by vectors alone." : words ? "Ranked by words alone." : "";
  if (!vectors) return "Words alone brought it here; it is not among the nearest by vectors.";
  const up = vectors.rank - rank, by = Math.abs(up);
  if (!up) return `In the same place as by vectors alone${words ? "" : ", and no word of the query is in it"}.`;
  const why = up > 0 ? words ? " The words it shares with the query did that." : "" : " Rows that share more of the query’s words passed it.";
  return `${up > 0 ? "Up" : "Down"} ${number(by)} against vectors alone, where it is ${place(vectors.rank)}.${why}`;
}

function terms(words, names) {
  const given = Object.entries(words?.terms ?? {}).sort((a, b) => b[1] - a[1]), most = given.length ? given[0][1] : 1;
  if (!given.length) return null;
  return make("dl", { class: "terms", "aria-label": "What each word gave" }, given.map(([term, score]) => {
    const bar = make("span", { class: "bar" });
    bar.style.width = `${Math.max(2, 100 * score / most)}%`;
    return make("div", {}, make("dt", {}, make("bdi", {}, Object.hasOwn(names, term) ? names[term] : term)), make("dd", {}, make("span", { class: "track" }, bar), number(score, 2)));
  }));
}
