// One pair at a time: a key a verdict. What comes from data is only ever set as text.
import { ask } from "./api.js";
import { $ } from "./element.js";

const KEYS_OFF = "nearfar-review-keys-off";
const SAID = { positive: "Taken for an answer", drop: "Dropped", keep: "Kept" };
// What is said of a mined negative, and of a pair that the data lists.
const MINED = { "positive-name": "Known answer", "negative-name": "Mined negative: does it answer, too?", "drop-means": "neither: never used for this query", "keep-means": "rightly a negative" };
const LISTED = { "positive-name": "What it is like", "negative-name": "Its answer in the data: does it answer?", "drop-means": "never trained on as a pair", "keep-means": "rightly a pair" };
const REASONS = {
  above: "It scores above the known answer.",
  both: "Two independent scorers find it as close as the known answer.",
};
let decided = []; // {number, action} of what this tab decided, in that order
let shown = null, busy = false;

const itemAt = (number, seen) => `review/items/${number}${seen ? `?seen=${seen}` : ""}`;

// The item in the address counts from 1, as people do.
const wanted = () => Math.max(0, (Number.parseInt(location.hash.slice(1), 10) || 1) - 1);

// One thing at a time: a key that is pressed while the server answers is not for the item that comes next.
async function doing(what) {
  if (busy) return;
  busy = true;
  try {
    await what();
    $("alert").hidden = true;
  } catch (error) {
    $("alert").textContent = error.message;
    $("alert").hidden = false;
  } finally {
    busy = false;
  }
}

async function open(number, said = "") {
  if (wanted() !== number || !location.hash) history.pushState(null, "", `#${number + 1}`);
  show(await ask(itemAt(number)), said);
}

function show(item, said) {
  const moved = shown?.number !== item.number;
  shown = item;
  for (const name of ["query", "positive", "negative"]) $(name).textContent = item[name];
  for (const [id, words] of Object.entries(item.listed ? LISTED : MINED)) $(id).textContent = words;
  $("beside").hidden = item.listed && !item.positive;
  document.querySelector("[data-action=positive]").hidden = item.listed;
  $("reason").textContent = REASONS[item.reason] || item.reason;
  scores("positive", item, 0);
  scores("negative", item, 1);
  for (const button of document.querySelectorAll("[data-action]"))
    button.setAttribute("aria-pressed", String(button.dataset.action === item.action));
  $("place").textContent = `${(item.number + 1).toLocaleString("en")} of ${item.count.toLocaleString("en")}`;
  $("done").style.width = `${100 * item.decided / item.count}%`;
  const left = item.count - item.decided;
  const rest = left ? `${item.decided.toLocaleString("en")} of ${item.count.toLocaleString("en")} decided.` : "All are decided.";
  $("said").textContent = `${said ? `${said}. ` : ""}${rest}`;
  $("before").disabled = item.number === 0;
  $("after").disabled = item.number === item.count - 1;
  $("undecided").disabled = item.next === null;
  $("undo").disabled = !decided.length && !item.action;
  $("item").hidden = false;
  document.title = `${item.number + 1} of ${item.count} · Review · nearfar`;
  if (moved) {
    for (const name of ["positive", "negative"]) $(name).scrollTop = 0;
    $("query").focus({ preventScroll: true });
    scrollTo({ top: 0 });
  }
}

function scores(side, item, place) {
  const rows = Object.entries(item.scores).flatMap(([name, pair]) => {
    const term = document.createElement("dt"), value = document.createElement("dd");
    term.textContent = name;
    value.textContent = pair[place].toFixed(3);
    value.classList.toggle("over", place === 1 && pair[1] > pair[0]);
    return [term, value];
  });
  $(`${side}-scores`).replaceChildren(...rows);
}

// Where another tab or person has decided meanwhile, nothing is changed, and what holds now is shown.
async function changed(number, change) {
  try {
    return await change();
  } catch (error) {
    if (error.status === 409) {
      decided = decided.filter(one => one.number !== number);
      await open(number);
    }
    throw error;
  }
}

const decide = action => doing(async () => {
  const number = shown.number, verdict = { action, seen: shown.action };
  const item = await changed(number, () => ask(itemAt(number), verdict, null, "PUT"));
  decided.push({ number, action });
  if (item.next === null) show(item, SAID[action]);
  else await open(item.next, SAID[action]);
});
const undo = () => doing(async () => {
  const { number, action } = decided.at(-1) ?? shown;
  if (!action) return;
  const item = await changed(number, () => ask(itemAt(number, action), null, null, "DELETE"));
  decided.pop();
  if (wanted() !== number) history.pushState(null, "", `#${number + 1}`);
  show(item, "Taken back");
});
const step = by => {
  const number = shown.number + by;
  if (number >= 0 && number < shown.count) doing(() => open(number));
};
const nextUndecided = () => { if (shown.next !== null) doing(() => open(shown.next)); };

const ON_KEY = {
  a: () => { if (!shown.listed) decide("positive"); }, d: () => decide("drop"), k: () => decide("keep"), u: undo, n: nextUndecided,
  ArrowLeft: () => step(-1), ArrowRight: () => step(1),
};
document.addEventListener("keydown", event => {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!shown || !$("keys").checked || $("key-dialog").open || event.repeat) return;
  if (event.ctrlKey || event.metaKey || event.altKey || !(key in ON_KEY)) return;
  event.preventDefault();
  ON_KEY[key]();
});
for (const button of document.querySelectorAll("[data-action]"))
  button.addEventListener("click", () => decide(button.dataset.action));
$("before").addEventListener("click", () => step(-1));
$("after").addEventListener("click", () => step(1));
$("undecided").addEventListener("click", nextUndecided);
$("undo").addEventListener("click", undo);
$("keys").checked = !localStorage.getItem(KEYS_OFF);
$("keys").addEventListener("change", () => {
  if ($("keys").checked) localStorage.removeItem(KEYS_OFF);
  else localStorage.setItem(KEYS_OFF, "1");
});
addEventListener("popstate", () => doing(() => open(wanted())));

doing(async () => {
  if (location.hash) {
    try {
      await open(wanted());
      return;
    } catch (error) {
      if (error.status !== 404) throw error; // of another review, which was longer
    }
  }
  history.replaceState(null, "", "#1");
  const first = await ask(itemAt(0));
  if (first.action && first.next !== null) await open(first.next);
  else show(first, "");
});
