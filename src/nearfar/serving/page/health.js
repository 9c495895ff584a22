// What the index is, and whether it is well: only what is known is said.
import { ask } from "./api.js";
import { $, button, counted, make, number, percent } from "./element.js";

let isShown = false;

// facts: of the index.
export async function showHealth(facts) {
  if (isShown) return;
  isShown = true;
  const recall = make("dd", {}, searchedBy(facts.approximate)), checked = make("div", { role: "status", "aria-live": "polite" }, "Not looked at since this page was opened.");
  const texts = make("dd", {}, "Reading some of them …");
  const check = button("Check now", async () => {
    check.disabled = true;
    checked.textContent = "Looking …";
    try {
      const found = await ask("index/check", {});
      checked.replaceChildren(found.problems.length ? make("ul", { class: "problems" }, found.problems.map(one => make("li", {}, one)))
        : `Its parts agree: ${counted(found.rows, "row")}, ${counted(found.texts, "text")}, looked at ${new Date().toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short" })}.`);
      if (found.approximate) recall.textContent = searchedBy(found.approximate);
    } catch (error) {
      checked.textContent = error.message;
    }
    check.disabled = false;
  });
  const { model } = facts;
  $("health").replaceChildren(
    make("h2", {}, "The index"),
    make("dl", { class: "facts-list" },
      fact("Rows", `${number(facts.rows)}, ${number(facts.texts)} with a text`),
      facts.thumbnails ? fact("Pictures", `${number(facts.thumbnails)} rows have a small one; ${number(facts.thumbnail_bytes / 1e6, 1)} MB`) : null,
      fact("Search", recall, true),
      fact("State", make("dd", {}, checked, facts.read_only ? null : check), true),
      fact("Fields", Object.entries(facts.fields).map(([name, kind]) => `${name} (${kind})`).join(", ") || "none"),
      fact("Language of the words", facts.language ?? "not told: words are compared as they are, without stems"),
      fact("Kept by", `${facts.backend}${facts.precision ? ", in " + facts.precision : ""}; ${number(facts.bytes / 1e6, 1)} MB; generation ${facts.generation}`),
      fact("Digest of the rows", make("dd", {}, make("code", {}, facts.digest)), true)),
    make("h2", {}, "The model"),
    make("dl", { class: "facts-list" },
      fact("Model", model ? `${model.name}, ${number(model.dim)} dimensions` : "none: it is searched by vectors and words"),
      fact("Fingerprint of the space", make("dd", {}, make("code", {}, facts.fingerprint ?? "not known")), true),
      model && facts.fingerprint ? fact("Is the index of this model?", model.fingerprint === facts.fingerprint ? "Yes, the fingerprints are equal." : "No.") : null,
      model?.reads.length ? fact("Reads", model.reads.join(", ")) : null,
      fact("Texts", texts, true)));
  try {
    texts.replaceChildren(...said(await ask("index/texts")));
  } catch (error) {
    texts.textContent = error.message;
  }
}

const fact = (name, value, isElement) => make("div", {}, make("dt", {}, name), isElement ? value : make("dd", {}, value));

function searchedBy(approximate) {
  if (!approximate) return "Exact: every row is compared, so none of the nearest is missed.";
  const { name, recall, asked, k, queries, date, milliseconds, exact_milliseconds } = approximate;
  return `${name}: recall@${k} ${number(recall, 4)} on ${counted(queries, "row")} as queries (${number(asked, 2)} was asked), measured on ${date}; `
    + `${number(milliseconds, 1)} ms a query, ${number(exact_milliseconds, 1)} ms where every row is compared.`;
}

function said({ of, read, truncated, longest, language, unread }) {
  if (!of) return ["No row has a text."];
  const looked = read < of ? ` (of ${number(read)} that were drawn)` : "", lines = [];
  if (truncated != null) lines.push(truncated ? `${percent(truncated / read)} are longer than the ${number(longest)} tokens that the model reads, and are cut there${looked}.`
    : `None is longer than the ${number(longest)} tokens that the model reads${looked}.`);
  if (language) lines.push(`They are in ${language[0].toUpperCase() + language.slice(1)}.`);
  if (unread) lines.push(`The model does not read them well: ${unread}.`);
  return lines.length ? lines.map(line => make("p", {}, line)) : ["Nothing is known of them: the model does not say what it reads."];
}
