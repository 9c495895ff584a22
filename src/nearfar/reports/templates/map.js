// A map of points on a canvas: pan, zoom, hover, lasso, keys. It fetches nothing and knows nothing of the page around it.
const SIDE = 65535; // coordinates are whole numbers from 0 to this, on both axes by one scale; up is larger
const CELLS = 128; // of the grid along each axis, by which the point at the pointer is found
const FADED = 40; // of 128: how much of its colour a point has that is not in question

// data: {xy: Uint16Array (2n), group: Uint8Array (n), colours: names of CSS variables by group,
//   rest: the group that lies below all others, or -1, links: [[row, row]], query: null or {x, y, rows}}; x and y of a query may lie outside of the rows' square.
// callbacks, all optional: point(row or -1, x, y, how) with how "pointer" or "key" or "none", x and y in the canvas;
//   select(rows).
// It returns {fit, zoom(factor), lasso(on), select(rows), only(groups or null), among(mask or null), go(row), draw(), ask(query or null)}.
//   among: Uint8Array (n), 1 for rows that are in question; the others are faint, and no pointer, key or lasso finds them.
export function pointMap(canvas, data, callbacks = {}) {
  const { xy, group } = data;
  const count = group.length;
  const context = canvas.getContext("2d", { alpha: false });
  const grid = gridOf(xy, count);
  let bounds = boundsOf(xy, data.query);
  const chosen = new Uint8Array(count);
  let anyChosen = false, groups = null, passing = null;
  let width = 0, height = 0, ratio = 1, image = null, pixels = null, margin = 0;
  let scale = 1, left = 0, top = 0, least = 1; // a point is at x * scale + left, top - y * scale, in pixels of the canvas
  let theme = themeOf(canvas, data.colours), fitted = true;
  let current = -1, path = null, lassoing = false, pending = false, stale = true;

  const across = row => xy[2 * row] * scale + left;
  const down = row => top - xy[2 * row + 1] * scale;
  const isMeant = row => (!groups || groups.has(group[row])) && (!passing || passing[row] === 1);
  const lit = row => isMeant(row) && (!anyChosen || chosen[row] === 1);
  let order = ordered();

  function ordered() { // rows of the rest and faded ones first, so that they cover nothing; else as the rows are
    const found = new Uint32Array(count);
    let at = 0;
    for (const late of [false, true])
      for (let row = 0; row < count; row++)
        if ((lit(row) && group[row] !== data.rest) === late) found[at++] = row;
    return found;
  }
  function redraw(points = true) {
    stale ||= points;
    if (pending) return;
    pending = true;
    requestAnimationFrame(draw);
  }
  function draw() {
    pending = false;
    if (!image) return;
    if (stale) paint();
    stale = false;
    context.putImageData(image, -margin, -margin);
    overlay();
  }
  function radius() {
    const part = Math.min(1, Math.sqrt(width * height) / ratio / 750); // a phone's map has less of it
    const base = Math.min(4.2, Math.max(1.4, 150 * part / Math.sqrt(count)));
    return Math.min(5.5, base * (scale / least) ** 0.3) * ratio;
  }
  function paint() {
    pixels.fill(theme.paper);
    const mask = discOf(radius(), image.width);
    const wide = image.width, tall = image.height, r = Math.ceil(radius());
    for (const row of order) {
      const x = Math.round(across(row)) + margin, y = Math.round(down(row)) + margin;
      if (x < r || y < r || x >= wide - r || y >= tall - r) continue;
      const colour = theme.groups[group[row]], strength = lit(row) ? 128 : FADED;
      stamp(pixels, y * wide + x, mask, colour, strength);
    }
  }
  function overlay() {
    context.lineJoin = "round";
    context.lineWidth = ratio;
    context.strokeStyle = theme.ink;
    for (const [a, b] of data.links || []) line(across(a), down(a), across(b), down(b), 0.35);
    if (data.query) {
      const x = data.query.x * scale + left, y = top - data.query.y * scale;
      for (const row of data.query.rows) {
        line(x, y, across(row), down(row), 0.8);
        ring(across(row), down(row), radius() + 2 * ratio);
      }
      diamond(x, y, 7 * ratio);
    }
    if (current >= 0) {
      context.lineWidth = 2 * ratio;
      ring(across(current), down(current), radius() + 4 * ratio);
    }
    if (path && path.length > 2) {
      context.lineWidth = 1.5 * ratio;
      context.setLineDash([5 * ratio, 4 * ratio]);
      context.beginPath();
      path.forEach(([x, y]) => context.lineTo(x, y));
      context.closePath();
      context.stroke();
      context.setLineDash([]);
    }
  }
  function line(x, y, u, v, alpha) {
    context.globalAlpha = alpha;
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(u, v);
    context.stroke();
    context.globalAlpha = 1;
  }
  function ring(x, y, r) {
    context.beginPath();
    context.arc(x, y, r, 0, 2 * Math.PI);
    context.stroke();
  }
  function diamond(x, y, r) {
    context.beginPath();
    for (const [u, v] of [[0, -r], [r, 0], [0, r], [-r, 0]]) context.lineTo(x + u, y + v);
    context.closePath();
    context.fillStyle = theme.ink;
    context.fill();
    context.strokeStyle = theme.paperName;
    context.lineWidth = 2 * ratio;
    context.stroke();
    context.strokeStyle = theme.ink;
    context.lineWidth = ratio;
  }

  function resize() {
    const box = canvas.getBoundingClientRect(), before = ratio;
    if (!box.width || !box.height) return;
    ratio = Math.min(2, devicePixelRatio || 1);
    const middle = [(width / 2 - left) / scale, (top - height / 2) / scale];
    canvas.width = width = Math.round(box.width * ratio);
    canvas.height = height = Math.round(box.height * ratio);
    margin = Math.ceil(7 * ratio);
    image = context.createImageData(width + 2 * margin, height + 2 * margin);
    pixels = new Uint32Array(image.data.buffer);
    if (fitted) fit();
    else {
      scale *= ratio / before;
      left = width / 2 - middle[0] * scale;
      top = height / 2 + middle[1] * scale;
      redraw();
    }
    draw(); // at once: a canvas of another size is black until it is drawn
  }
  function fit() {
    const edge = 18 * ratio, wide = Math.max(1, bounds.right - bounds.left), tall = Math.max(1, bounds.top - bounds.bottom);
    scale = least = Math.min((width - 2 * edge) / wide, (height - 2 * edge) / tall);
    left = width / 2 - (bounds.left + wide / 2) * scale;
    top = height / 2 + (bounds.bottom + tall / 2) * scale;
    fitted = true;
    redraw();
  }
  function zoomAt(factor, x, y) {
    const next = Math.min(least * 400, Math.max(least * 0.5, scale * factor)), by = next / scale;
    left = x - (x - left) * by;
    top = y - (y - top) * by;
    scale = next;
    fitted = false;
    redraw();
  }
  function zoom(factor) {
    const seen = current >= 0 && inside(across(current), down(current));
    zoomAt(factor, seen ? across(current) : width / 2, seen ? down(current) : height / 2);
  }
  const inside = (x, y) => x >= 0 && y >= 0 && x <= width && y <= height;

  function tell(row, how) {
    if (row === current && how === "pointer") return;
    current = row;
    callbacks.point?.(row, row < 0 ? 0 : across(row) / ratio, row < 0 ? 0 : down(row) / ratio, how);
    redraw(false);
  }
  function go(row, how = "key") {
    if (row >= 0 && !inside(across(row), down(row))) {
      left += width / 2 - across(row);
      top += height / 2 - down(row);
      fitted = false;
      redraw();
    }
    tell(row, how);
  }
  function select(rows) {
    chosen.fill(0);
    for (const row of rows) chosen[row] = 1;
    anyChosen = rows.length > 0;
    order = ordered();
    redraw();
    callbacks.select?.(rows);
  }
  const selected = () => { const found = []; for (let row = 0; row < count; row++) if (chosen[row]) found.push(row); return found; };
  function nearestTo(x, y, reach) {
    return nearest(grid, xy, (x - left) / scale, (top - y) / scale, reach / scale, isMeant);
  }
  function step(dx, dy) { // to the nearest point in a direction, at most 45 degrees off
    let best = -1, least = Infinity;
    const from = current >= 0 ? [across(current), down(current)] : [width / 2, height / 2];
    for (let row = 0; row < count; row++) {
      if (row === current || !isMeant(row)) continue;
      const x = across(row) - from[0], y = down(row) - from[1], along = x * dx + y * dy;
      const aside = Math.abs(x * dy) + Math.abs(y * dx), far = along + 2 * aside;
      if ((current < 0 || (along > 0 && aside <= along)) && (current < 0 ? x * x + y * y : far) < least) {
        best = row;
        least = current < 0 ? x * x + y * y : far;
      }
    }
    if (best >= 0) go(best);
  }

  const at = event => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
  };
  const down_ = new Map(); // pointers that are down, by id: where they are
  let moved = 0;
  canvas.addEventListener("pointerdown", event => {
    if (event.button > 0) return;
    canvas.setPointerCapture?.(event.pointerId);
    down_.set(event.pointerId, at(event));
    moved = 0;
    path = (lassoing || event.shiftKey) && down_.size === 1 ? [at(event)] : null;
  });
  canvas.addEventListener("pointermove", event => {
    const now = at(event), before = down_.get(event.pointerId);
    if (!before) return tell(nearestTo(now[0], now[1], 9 * ratio), "pointer");
    const other = [...down_].find(([id]) => id !== event.pointerId)?.[1];
    moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
    down_.set(event.pointerId, now);
    if (path) {
      path.push(now);
      return redraw(false);
    }
    if (other) {
      const far = (a, b) => Math.max(1, Math.hypot(a[0] - b[0], a[1] - b[1]));
      zoomAt(far(now, other) / far(before, other), other[0], other[1]);
    } else if (moved > 4 * ratio) {
      left += now[0] - before[0];
      top += now[1] - before[1];
      fitted = false;
      redraw();
    }
  });
  const up = event => {
    if (!down_.delete(event.pointerId)) return;
    const drawn = path;
    path = null;
    if (drawn && drawn.length > 2) select(within(drawn));
    else if (moved <= 4 * ratio && event.type === "pointerup") {
      const reach = (event.pointerType === "mouse" ? 9 : 22) * ratio, [x, y] = at(event);
      tell(nearestTo(x, y, reach), "pick");
      if (current < 0 && anyChosen) select([]);
    }
    redraw(false);
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("pointerleave", event => { if (event.pointerType === "mouse" && !down_.size) tell(-1, "pointer"); });
  canvas.addEventListener("wheel", event => {
    event.preventDefault();
    const [x, y] = at(event);
    zoomAt(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), x, y);
  }, { passive: false });
  function within(polygon) {
    const flat = polygon.map(([x, y]) => [(x - left) / scale, (top - y) / scale]), found = [];
    for (let row = 0; row < count; row++)
      if (isMeant(row) && encloses(flat, xy[2 * row], xy[2 * row + 1])) found.push(row);
    return found;
  }
  const keys = {
    ArrowLeft: () => step(-1, 0), ArrowRight: () => step(1, 0), ArrowUp: () => step(0, -1), ArrowDown: () => step(0, 1),
    "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: fit,
    Enter: () => toggle(), " ": () => toggle(), Escape: () => { path = null; tell(-1, "none"); if (anyChosen) select([]); },
  };
  function toggle() {
    if (current < 0) return;
    chosen[current] ^= 1;
    select(selected());
  }
  canvas.addEventListener("keydown", event => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  new ResizeObserver(resize).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    theme = themeOf(canvas, data.colours);
    redraw();
  });
  resize();
  return {
    fit, zoom, select, go, draw,
    lasso(on) { lassoing = on; },
    ask(query) { // another query in the place of data.query
      data = { ...data, query };
      bounds = boundsOf(xy, query);
      if (fitted) fit(); else redraw(false);
    },
    only(some) { groups = some; order = ordered(); redraw(); },
    among(mask) { passing = mask; order = ordered(); redraw(); },
  };
}

function gridOf(xy, count) { // rows by cell: those of cell c are rows[start[c]] to rows[start[c + 1] - 1]
  const start = new Uint32Array(CELLS * CELLS + 1), rows = new Uint32Array(count);
  const cell = row => cellOf(xy[2 * row + 1]) * CELLS + cellOf(xy[2 * row]);
  for (let row = 0; row < count; row++) start[cell(row) + 1]++;
  for (let c = 0; c < CELLS * CELLS; c++) start[c + 1] += start[c];
  const next = start.slice();
  for (let row = 0; row < count; row++) rows[next[cell(row)]++] = row;
  return { start, rows };
}
function cellOf(value) {
  return Math.min(CELLS - 1, Math.max(0, Math.floor(value * CELLS / (SIDE + 1))));
}
function nearest(grid, xy, x, y, reach, allowed) {
  let best = -1, least = reach * reach;
  for (let v = cellOf(y - reach); v <= cellOf(y + reach); v++)
    for (let u = cellOf(x - reach); u <= cellOf(x + reach); u++)
      for (let i = grid.start[v * CELLS + u]; i < grid.start[v * CELLS + u + 1]; i++) {
        const row = grid.rows[i], dx = xy[2 * row] - x, dy = xy[2 * row + 1] - y, far = dx * dx + dy * dy;
        if ((far < least || (far === least && best < 0)) && allowed(row)) {
          best = row;
          least = far;
        }
      }
  return best;
}
function encloses(polygon, x, y) {
  let odd = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [a, b] = polygon[i], [c, d] = polygon[j];
    if ((b > y) !== (d > y) && x < (c - a) * (y - b) / (d - b) + a) odd = !odd;
  }
  return odd;
}
function boundsOf(xy, query) {
  let left = Infinity, right = -Infinity, bottom = Infinity, top = -Infinity;
  const take = (x, y) => {
    left = Math.min(left, x), right = Math.max(right, x), bottom = Math.min(bottom, y), top = Math.max(top, y);
  };
  for (let i = 0; i < xy.length; i += 2) take(xy[i], xy[i + 1]);
  if (query) take(query.x, query.y);
  return xy.length || query ? { left, right, bottom, top } : { left: 0, right: 1, bottom: 0, top: 1 };
}
function discOf(radius, wide) { // which pixels a point covers, by their distance in the image, and how far, of 128
  const reach = Math.ceil(radius), offsets = [], covers = [];
  for (let y = -reach; y <= reach; y++)
    for (let x = -reach; x <= reach; x++) {
      const cover = Math.round(128 * Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(x, y))));
      if (cover) offsets.push(y * wide + x), covers.push(cover);
    }
  return { offsets: Int32Array.from(offsets), covers: Uint8Array.from(covers) };
}
function stamp(pixels, at, { offsets, covers }, colour, strength) { // red and blue in one product, green in another
  const both = colour & 0xff00ff, green = colour & 0xff00;
  for (let i = 0; i < offsets.length; i++) {
    const share = strength === 128 ? covers[i] : covers[i] * strength >> 7;
    const place = at + offsets[i], old = pixels[place], a = old & 0xff00ff, b = old & 0xff00;
    pixels[place] = 0xff000000 | (a + ((both - a) * share >> 7) & 0xff00ff) | (b + ((green - b) * share >> 7) & 0xff00);
  }
}
function themeOf(canvas, names) {
  const style = getComputedStyle(canvas), value = name => style.getPropertyValue(name).trim();
  const packed = name => {
    const [r, g, b] = value(name).replace(/^#(.)(.)(.)$/, "#$1$1$2$2$3$3").match(/[0-9a-f]{2}/gi).map(part => parseInt(part, 16));
    return (0xff000000 | b << 16 | g << 8 | r) >>> 0;
  };
  return { paper: packed("--paper"), paperName: value("--paper"), ink: value("--ink"), groups: names.map(packed) };
}
