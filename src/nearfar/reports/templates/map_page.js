// The page around a map: legend, tip, table, export. All texts are set as text.
(() => {
  const given = JSON.parse(document.getElementById("rows").textContent);
  const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const xy = new Uint16Array(bytes(given.xy).buffer), value = new Uint32Array(bytes(given.value).buffer);
  const group = Uint8Array.from(value, one => Math.min(one, given.colours.length - 1)); // the commonest values come first
  const $ = id => document.getElementById(id);
  const canvas = $("map"), tip = $("tip"), detail = $("detail"), body = $("table").tBodies[0];
  const number = value => value.toLocaleString("en"), PAGE = 25;
  let rows = null, first = 0; // rows: those that are selected; null is all

  const name = row => given.names[value[row]] ?? "";
  const shown = () => rows ?? given.ids;
  const rowAt = i => rows ? rows[i] : i;

  const map = pointMap(canvas, { xy, group, colours: given.colours, rest: given.rest, links: [], query: given.query }, {
    point(row, x, y, how) {
      tip.hidden = row < 0 || how === "none";
      if (row < 0) return;
      tip.textContent = given.texts[row] || given.ids[row];
      if (given.by) tip.prepend(Object.assign(document.createElement("b"), { textContent: name(row) }));
      const frame = canvas.getBoundingClientRect();
      tip.style.left = Math.max(4, Math.min(x + 14, frame.width - tip.offsetWidth - 4)) + "px";
      tip.style.top = (y + tip.offsetHeight + 24 > frame.height ? y - tip.offsetHeight - 12 : y + 14) + "px";
      if (how !== "pointer")
        detail.textContent = [given.ids[row], given.by && name(row), given.texts[row]].filter(Boolean).join(" · ");
    },
    select(found) {
      rows = found.length ? found : null;
      first = 0;
      list();
    },
  });

  function list() {
    const total = shown().length;
    $("count").textContent = rows ? number(total) + (total === 1 ? " row selected" : " rows selected") : "All " + number(total) + " rows of the map";
    $("clear").hidden = !rows;
    body.replaceChildren(...Array.from({ length: Math.min(PAGE, total - first) }, (_, i) => {
      const row = rowAt(first + i), line = document.createElement("tr");
      const cell = (kind, text) => Object.assign(document.createElement(kind), { textContent: text });
      const id = cell("th", ""), link = cell("button", given.ids[row]);
      id.scope = "row";
      link.type = "button";
      link.addEventListener("click", () => { map.go(row); canvas.scrollIntoView({ block: "nearest" }); });
      id.append(link);
      line.append(id, ...(given.by ? [cell("td", name(row))] : []), cell("td", given.texts[row]));
      return line;
    }));
    $("where").textContent = total ? number(first + 1) + " to " + number(Math.min(first + PAGE, total)) : "";
    $("back").disabled = first === 0;
    $("more").disabled = first + PAGE >= total;
  }
  $("back").addEventListener("click", () => { first = Math.max(0, first - PAGE); list(); });
  $("more").addEventListener("click", () => { first += PAGE; list(); });
  $("clear").addEventListener("click", () => map.select([]));
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

  // A spreadsheet would run a cell that begins as a formula does; a number is none.
  const quoted = value => {
    const text = /^[=@\t\r+-]/.test(value) && !/^[+-]?[\d.]+$/.test(value) ? "'" + value : value;
    return '"' + text.replaceAll('"', '""') + '"';
  };
  $("save").addEventListener("click", () => {
    const head = ["id", ...(given.by ? [given.by] : []), "text_begins"];
    const lines = Array.from({ length: shown().length }, (_, i) => {
      const row = rowAt(i);
      return [given.ids[row], ...(given.by ? [name(row)] : []), given.texts[row]].map(quoted).join(",");
    });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([[head.map(quoted).join(","), ...lines].join("\r\n") + "\r\n"], { type: "text/csv" }));
    link.download = rows ? "selected.csv" : "map.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  list();
})();
