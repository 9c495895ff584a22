// The table of a map's rows, all or those that are selected, by pages, with an export. All texts are set as text.
const PAGE = 25; // rows
const SELECTED = "selected";
// A spreadsheet would run a cell that begins as a formula does; a number is none.
function csvCell(value) {
  const text = /^[=@\t\r+-]/.test(value) && !/^[+-]?[\d.]+$/.test(value) ? "'" + value : value;
  return '"' + text.replaceAll('"', '""') + '"';
}

// parts: elements {count, where, body, back, more, clear, save}. data: {ids, labels, texts, by, name(row)}; labels: what rows are called.
// map: of `pointMap`, whose row a press on its name goes to. It returns show(rows, which): null for all of them; which: they are, in words.
export function mapTable(parts, data, canvas, map) {
  let rows = null, first = 0, which = "";
  const number = value => value.toLocaleString("en");
  const total = () => rows ? rows.length : data.ids.length, rowAt = i => rows ? rows[i] : i;

  function list() {
    const many = total();
    parts.count.textContent = rows ? number(many) + (many === 1 ? " row " : " rows ") + which : "All " + number(many) + " rows of the map";
    parts.clear.hidden = which !== SELECTED;
    parts.body.replaceChildren(...Array.from({ length: Math.min(PAGE, many - first) }, (_, i) => line(rowAt(first + i))));
    parts.where.textContent = many ? number(first + 1) + " to " + number(Math.min(first + PAGE, many)) : "";
    parts.back.disabled = first === 0;
    parts.more.disabled = first + PAGE >= many;
  }
  function line(row) {
    const made = document.createElement("tr");
    const cell = (kind, text) => Object.assign(document.createElement(kind), { textContent: text });
    const id = cell("th", ""), link = cell("button", data.labels[row]);
    id.scope = "row";
    link.type = "button";
    link.addEventListener("click", () => { map.go(row); canvas.scrollIntoView({ block: "nearest" }); });
    id.append(link);
    made.append(id, ...(data.by ? [Object.assign(cell("td", data.name(row)), { className: "by" })] : []), cell("td", data.texts[row]));
    return made;
  }
  function save() {
    const head = ["id", ...(data.by ? [data.by] : []), "text_begins"];
    const lines = Array.from({ length: total() }, (_, i) => {
      const row = rowAt(i);
      return [data.ids[row], ...(data.by ? [data.name(row)] : []), data.texts[row]].map(csvCell).join(",");
    });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([[head.map(csvCell).join(","), ...lines].join("\r\n") + "\r\n"], { type: "text/csv" }));
    link.download = rows ? "selected.csv" : "map.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  }
  parts.back.addEventListener("click", () => { first = Math.max(0, first - PAGE); list(); });
  parts.more.addEventListener("click", () => { first += PAGE; list(); });
  parts.clear.addEventListener("click", () => map.select([]));
  parts.save.addEventListener("click", save);
  list();
  return (some, said = some ? SELECTED : "") => { rows = some; which = said; first = 0; list(); };
}

// The tip at a point: where it stands in the frame of the canvas, at (x, y) of it.
export function placeTip(tip, canvas, x, y) {
  const frame = canvas.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(x + 14, frame.width - tip.offsetWidth - 4)) + "px";
  tip.style.top = (y + tip.offsetHeight + 24 > frame.height ? y - tip.offsetHeight - 12 : y + 14) + "px";
}
