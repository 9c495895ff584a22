// The page around a map: legend, tip, table, export. All texts are set as text.
(() => {
  const given = JSON.parse(document.getElementById("rows").textContent);
  const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const xy = new Uint16Array(bytes(given.xy).buffer), value = new Uint32Array(bytes(given.value).buffer);
  const group = Uint8Array.from(value, one => Math.min(one, given.colours.length - 1)); // the commonest values come first
  const $ = id => document.getElementById(id);
  const canvas = $("map"), tip = $("tip"), detail = $("detail");
  const name = row => given.names[value[row]] ?? "", labels = given.labels ?? given.ids;

  const map = pointMap(canvas, { xy, group, colours: given.colours, rest: given.rest, links: [], query: given.query }, {
    point(row, x, y, how) {
      tip.hidden = row < 0 || how === "none";
      if (row < 0) return;
      tip.textContent = given.texts[row] || labels[row];
      if (given.by) tip.prepend(Object.assign(document.createElement("b"), { textContent: name(row) }));
      placeTip(tip, canvas, x, y);
      if (how !== "pointer")
        detail.textContent = [labels[row], given.by && name(row), given.texts[row]].filter(Boolean).join(" · ");
    },
    select(found) { show(found.length ? found : null); },
  });
  const parts = { count: $("count"), where: $("where"), body: $("table").tBodies[0], back: $("back"), more: $("more"), clear: $("clear"), save: $("save") };
  const show = mapTable(parts, { ids: given.ids, labels, texts: given.texts, by: given.by, name }, canvas, map);

  $("fit").addEventListener("click", () => map.fit());
  $("in").addEventListener("click", () => map.zoom(1.6));
  $("out").addEventListener("click", () => map.zoom(1 / 1.6));
  $("lasso").addEventListener("click", event => {
    const on = event.currentTarget.getAttribute("aria-pressed") !== "true";
    event.currentTarget.setAttribute("aria-pressed", String(on));
    map.lasso(on);
  });

  const only = new Set();
  $("legend")?.addEventListener("click", event => {
    const button = event.target.closest("button");
    if (!button) return;
    const at = Number(button.dataset.group);
    if (!only.delete(at)) only.add(at);
    for (const one of $("legend").querySelectorAll("button")) one.setAttribute("aria-pressed", String(only.has(Number(one.dataset.group))));
    map.only(only.size ? only : null);
  });
})();
