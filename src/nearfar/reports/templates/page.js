(() => {
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);
  const show = (event, text, picture = {}) => {
    tip.textContent = text;
    if (picture.sprite) {
      const tile = document.createElement("span");
      tile.className = "tile " + picture.sprite;
      tile.style.backgroundPosition = picture.at;
      tip.prepend(tile);
    }
    tip.hidden = false;
    const rightmost = document.documentElement.clientWidth - tip.offsetWidth - 8;
    tip.style.left = Math.max(8, Math.min(event.clientX + 14, rightmost)) + scrollX + "px";
    tip.style.top = event.clientY + scrollY + 20 + "px";
  };
  const text = value => value.toLocaleString("en", { maximumSignificantDigits: 4 }).replace("-", "\u2212");
  for (const thumb of document.querySelectorAll(".thumb")) {
    thumb.addEventListener("pointermove", event => show(event, thumb.dataset.tip, thumb.dataset));
    thumb.addEventListener("pointerleave", () => { tip.hidden = true; });
  }
  for (const plot of document.querySelectorAll("svg.plot")) {
    const title = plot.querySelector("title");
    plot.setAttribute("aria-label", title.textContent);
    title.remove(); // else the browser's tooltip covers this one
    const [x0, x1, y0, y1] = (plot.dataset.range || "").split(" ").map(Number);
    const lines = [...plot.querySelectorAll("path[data-name]")].map(path => {
      const flat = path.getAttribute("d").match(/[\d.]+/g).map(Number);
      return [path.dataset.name, flat.flatMap((x, i) => i % 2 ? [] : [[x / 1000, flat[i + 1] / 1000]])];
    });
    plot.addEventListener("pointermove", event => {
      const markTip = event.target.dataset.tip;
      if (markTip) return show(event, markTip, event.target.dataset);
      if (!lines.length) return void (tip.hidden = true);
      const box = plot.getBoundingClientRect();
      const at = (event.clientX - box.left) / box.width;
      const nearest = lines.map(([name, points]) =>
        [name, points.reduce((a, b) => Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a)]);
      const values = nearest.map(([name, p]) => name + " " + text(y1 - p[1] * (y1 - y0)) + plot.dataset.unit);
      const x = x0 + nearest[0][1][0] * (x1 - x0);
      show(event, plot.dataset.x + " " + text(plot.dataset.log ? 10 ** x : Math.round(x)) + ": " + values.join(", "));
    });
    plot.addEventListener("pointerleave", () => { tip.hidden = true; });
  }
})();
