// A row's text with the words that match and the sentence nearest to the query. Places are in code points.
import { button, make } from "./element.js";

const SHORT = 420, BEFORE = 110; // code points of an excerpt, and of it before what is lit

// match: null or {words: [[start, stop]], sentence: [start, stop] or null}.
export function litText(text, match, isWhole, showAll) {
  const points = Array.from(text), words = match?.words ?? [], sentence = match?.sentence ?? null;
  const all = isWhole || points.length <= SHORT, [from, to] = all ? [0, points.length] : excerpt(points, words, sentence);
  const part = (start, stop) => points.slice(start, stop).join("");
  const marked = (start, stop) => {
    const found = [];
    let at = start;
    for (const [a, b] of words) {
      const first = Math.max(a, at), last = Math.min(b, stop);
      if (first >= last) continue;
      found.push(part(at, first), make("mark", {}, part(first, last)));
      at = last;
    }
    return [...found, part(at, stop)];
  };
  const shown = make("p", { class: all ? "text whole" : "text", dir: "auto" });
  if (from > 0) shown.append("… ");
  if (sentence && sentence[0] < to && sentence[1] > from) {
    const [a, b] = [Math.max(from, sentence[0]), Math.min(to, sentence[1])];
    shown.append(...marked(from, a), make("span", { class: "sentence", title: "The sentence nearest to the query, by the model" }, ...marked(a, b)), ...marked(b, to));
  } else shown.append(...marked(from, to));
  if (to < points.length) shown.append(" …");
  if (!all) shown.append(" ", button("Whole text", showAll, { class: "plain" }));
  return shown;
}

function excerpt(points, words, sentence) {
  const focus = sentence ? sentence[0] : words.length ? words[0][0] : 0;
  let from = focus <= BEFORE ? 0 : focus - BEFORE;
  while (from > 0 && from < focus && !/\s/.test(points[from - 1])) from++;
  let to = Math.min(points.length, from + SHORT);
  while (to < points.length && to > from + SHORT / 2 && !/\s/.test(points[to])) to--;
  return [from, to];
}
