// What the page shows is in its address: behind #, so that it is never sent anywhere.
const MODES = ["hybrid", "vectors", "words"], TABS = ["search", "map", "health"];
const STEP = 10, MOST = 100; // rows that are shown, at first and at most
const SHEET = 2.4; // pictures in the place of a row: 24 are whole lines of 2, 3, 4 and 6

// fields: the values that are chosen, by field, as texts. where: further conditions, as they were written.
export function parse(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, "")), fields = new Map();
  for (const [name, value] of given)
    if (name.startsWith("f.") && name.length > 2) fields.set(name.slice(2), [...fields.get(name.slice(2)) || [], value]);
  const one = (name, known) => known.includes(given.get(name)) ? given.get(name) : known[0];
  return {
    q: given.get("q") || "", like: given.get("like") || "", mode: one("mode", MODES), tab: one("tab", TABS),
    k: Math.min(MOST, Math.max(STEP, Number(given.get("k")) || STEP)), fields, where: given.getAll("where").filter(Boolean),
    by: given.get("by") || "",
  };
}

export function written(state) {
  const given = new URLSearchParams();
  for (const name of ["q", "like", "by"]) if (state[name]) given.set(name, state[name]);
  if (state.mode !== MODES[0]) given.set("mode", state.mode);
  if (state.tab !== TABS[0]) given.set("tab", state.tab);
  if (state.k !== STEP) given.set("k", state.k);
  for (const [name, values] of state.fields) for (const value of values) given.append("f." + name, value);
  for (const where of state.where) given.append("where", where);
  return "#" + given;
}

// Typing replaces the address; whatever else changes is a step that Back undoes.
export function remember(state, step = true) {
  const next = written(state);
  if (next === (location.hash || "#")) return;
  history[step ? "pushState" : "replaceState"](null, "", next);
}

const quoted = text => `'${text.replaceAll("'", "''")}'`;
const literal = (value, kind) => kind === "text" ? quoted(value) : value;

// The conditions of a state in the server's words, with what a chip says and the state without it. kinds: of fields.
export function conditions(state, kinds) {
  const found = [];
  for (const [name, values] of state.fields) {
    const listed = values.map(value => literal(value, kinds[name])).join(", ");
    const fields = new Map(state.fields);
    fields.delete(name);
    found.push({ where: `"${name.replaceAll('"', '""')}" in (${listed})`, label: `${name}: ${values.join(" or ")}`, without: { fields } });
  }
  state.where.forEach((where, i) => found.push({ where, label: where, without: { where: state.where.filter((_, other) => other !== i) } }));
  return found;
}
export const joined = given => given.length ? given.map(one => `(${one.where})`).join(" and ") : null;
export const grown = k => Math.min(MOST, k + STEP);
export const asked = (k, isSheet) => isSheet ? Math.min(MOST, Math.round(SHEET * k)) : k; // rows of a search
export const isWhole = k => k >= MOST;

// The state's fields with a value chosen, or no longer.
export function toggled(fields, name, value) {
  const next = new Map(fields), values = next.get(name) || [];
  const left = values.includes(value) ? values.filter(one => one !== value) : [...values, value];
  if (left.length) next.set(name, left);
  else next.delete(name);
  return next;
}
