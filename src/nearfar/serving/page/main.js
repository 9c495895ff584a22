// The page: what is typed and chosen becomes a state, the state is asked, the answer is shown.
import { ask } from "./api.js";
import { $, counted, number } from "./element.js";
import { showChips, showFacets, showWhyNot } from "./filters.js";
import { followRows, showFusion } from "./fusion.js";
import { showHealth } from "./health.js";
import { keys, light, PLACES, showHits } from "./hits.js";
import { askMap, filterMap, showMap } from "./map_tab.js";
import { acceptPictures, drop, picture } from "./picture.js";
import { asked as askedRows, conditions, grown, isWhole, joined, parse, remember } from "./state.js";

const TYPING = 140, SETTLED = 350; // milliseconds after the last letter: a search, and a look at sentences
let state = parse(location.hash), index = null, counts = null, asked = null, timer = 0; // counts: of the conditions' rows

function change(some, isTyping = false) {
  const before = state;
  state = { ...state, ...("k" in some || "tab" in some ? {} : { k: 10 }), ...some };
  remember(state, !isTyping);
  if ("like" in some && some.like === "" && before.like && !state.q) $("q").focus();
  clearTimeout(timer);
  if (isTyping) timer = setTimeout(show, TYPING);
  else show();
}

function failed(error) {
  if (error.name === "AbortError") return;
  $("alert").textContent = error.message;
  $("alert").hidden = false;
  $("search").removeAttribute("aria-busy");
}

async function show() {
  asked?.abort(); // what is still under way answers an older state
  asked = new AbortController();
  const { signal } = asked;
  $("alert").hidden = true;
  if ($("q").value !== state.q) $("q").value = state.q;
  document.title = state.q ? `${state.q} · ${index.name}` : `${index.name} · nearfar`;
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const on = tab.dataset.tab === state.tab;
    tab.setAttribute("aria-selected", String(on));
    tab.tabIndex = on ? 0 : -1;
    $(tab.getAttribute("aria-controls")).hidden = !on;
  }
  for (const mode of document.querySelectorAll("[data-mode]")) mode.setAttribute("aria-pressed", String(mode.dataset.mode === rankedBy()));
  const given = conditions(state, index.fields), { tab } = state;
  $("ranking").hidden = tab !== "search";
  $("ask").hidden = $("chips").hidden = tab === "health";
  showChips(given, counts, state, change, index);
  try {
    if (tab === "search") await search(given, count(given, signal), signal);
    if (tab === "map") {
      await showMap(index, state.by, Object.keys(index.fields).filter(name => ["text", "boolean"].includes(index.fields[name])), change);
      const where = joined(given), counting = given.length ? count(given, signal) : null;
      await Promise.all([askMap(state.like ? null : query(), where, signal), filterMap(where, signal), counting]);
    }
    if (tab === "health") await showHealth(index);
  } catch (error) {
    failed(error);
  }
}

const isSheet = () => !index.texts && index.thumbnails > 0; // all that is found has a picture, or nothing to show
const noun = () => isSheet() && index.thumbnails === index.rows ? "picture" : "row";
const rankedBy = () => picture() || state.like || !index.texts ? "vectors" : readsTexts() ? state.mode : "words";
const readsTexts = () => index.model !== null && (!index.model.reads.length || index.model.reads.includes("text"));
function query() {
  if (picture()) return { image: picture() };
  if (state.like) return { like: [state.like] };
  return state.q.trim() ? { text: state.q } : null;
}

async function count(given, signal) {
  const conditions = given.map(one => one.where), key = JSON.stringify(conditions);
  if (counts?.key !== key) counts = { key, ...await ask("facets", { conditions }, signal) };
  showChips(given, counts, state, change, index);
  const focused = document.activeElement?.dataset?.focus;
  showFacets(counts.facets, state, change);
  if (focused) document.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
  showWhyNot(counts, given, change);
  return counts;
}

// counting: the promise of the rows that meet the conditions.
async function search(given, counting, signal) {
  const looked = query(), mode = rankedBy();
  const among = async () => {
    const { rows, matching } = await counting;
    return given.length ? `${counted(matching, noun())} that meet${matching === 1 ? "s" : ""} the conditions` : counted(rows, noun());
  };
  if (!looked) {
    showHits([], mode, {});
    showFusion([], mode);
    $("more").hidden = true;
    $("status").textContent = `Say what to look for among ${await among()}.`;
    return;
  }
  $("search").setAttribute("aria-busy", "true");
  const began = performance.now(), how = looked.like ? {} : { mode }, k = askedRows(state.k, isSheet());
  const answer = ask("search", { ...looked, ...how, k, where: joined(given), explain: true, truncate: true }, signal);
  const [{ hits }] = await Promise.all([answer, counting]);
  const spent = Math.round(performance.now() - began);
  $("search").removeAttribute("aria-busy");
  showHits(hits, mode, { like: id => change({ like: id, q: "" }) });
  showFusion(hits, mode);
  $("status").textContent = hits.length ? `The best ${number(hits.length)} of ${await among()}, in ${number(spent)} ms.` : nothing(mode, given, (await counting).matching);
  $("more").hidden = hits.length < k || isWhole(k);
  if (looked.text && hits.length) await explainTexts(hits, mode, signal);
}

function nothing(mode, given, matching) {
  if (!matching) return given.length ? "No row is left." : "The index has no row.";
  return given.length ? "No row that meets the conditions has a word of the query." : "No row has a word of the query; by meaning there is always one that is nearest.";
}

// Words are lit at once; sentences, which the model has to read, when nothing was typed for a moment.
async function explainTexts(hits, mode, signal) {
  const ids = hits.filter(hit => hit.text != null).slice(0, 50).map(hit => hit.id);
  if (!ids.length) return;
  const look = async sentences => {
    const { rows, terms } = await ask("matches", { text: state.q, ids, sentences }, signal);
    light(hits, new Map(rows.map(row => [row.id, row])), terms);
  };
  await look(false);
  if (mode === "words" || !readsTexts()) return;
  await new Promise(resolve => setTimeout(resolve, SETTLED));
  if (!signal.aborted) await look(true);
}

function listen() {
  $("q").addEventListener("input", () => {
    if (picture()) drop(() => {});
    change({ q: $("q").value, like: "" }, true);
  });
  $("ask").addEventListener("submit", event => {
    event.preventDefault();
    change({ q: $("q").value });
  });
  for (const mode of document.querySelectorAll("[data-mode]")) mode.addEventListener("click", () => change({ mode: mode.dataset.mode }));
  $("condition-form").addEventListener("submit", event => {
    event.preventDefault();
    const where = $("condition").value.trim();
    if (where && !state.where.includes(where)) change({ where: [...state.where, where] });
    $("condition").value = "";
  });
  $("more").addEventListener("click", () => change({ k: grown(state.k) }));
  const tabs = [...document.querySelectorAll("[role=tab]")];
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => change({ tab: tab.dataset.tab }));
    tab.addEventListener("keydown", event => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (to !== undefined) tabs[(to + tabs.length) % tabs.length].focus(), tabs[(to + tabs.length) % tabs.length].click();
    });
  });
  addEventListener("popstate", () => {
    state = parse(location.hash);
    show();
  });
  keys($("q"));
  followRows();
}

async function begin() {
  if (matchMedia("(max-width: 44rem)").matches) $("filters").open = false;
  try {
    index = await ask("index");
  } catch (error) {
    return failed(error);
  }
  $("name").textContent = index.name;
  $("rows").textContent = counted(index.rows, noun());
  for (const mode of document.querySelectorAll("[data-mode]")) mode.disabled = !readsTexts() && mode.dataset.mode !== "words";
  const isWordless = !index.texts && index.rows > 0;
  document.querySelector(".how-to-rank").hidden = isWordless;
  $("no-words").hidden = !isWordless;
  if (isSheet() && Object.keys(index.fields).every(name => PLACES.includes(name))) { // no values to choose from
    $("search").classList.add("wide");
    $("filters").open = false;
    $("condition").placeholder = "file starts with 'IMG_'";
  }
  if (index.model?.reads.includes("image")) acceptPictures(() => change(picture() ? { q: "", like: "" } : {}));
  listen();
  if (!query() && state.tab === "search") $("q").focus();
  await show();
}
begin();
