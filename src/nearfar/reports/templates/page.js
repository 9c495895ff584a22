(() => {
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);
  const show = (event, text) => {
    tip.textContent = text;
    tip.hidden = false;
    const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
    tip.style.left = Math.max(8, Math.min(event.clientX + 14, room)) + scrollX + "px";
    tip.style.top = event.clientY + scrollY + 20 + "px";
  };
  const text = value => (+value.toPrecision(4)).toLocaleString("en");
  for (const plot of document.querySelectorAll("svg.plot")) {
    const title = plot.querySelector("title");
    plot.setAttribute("aria-label", title.textContent);
    title.remove(); // else the browser's own tooltip covers ours
    const [x0, x1, y0, y1] = (plot.dataset.range || "").split(" ").map(Number);
    const lines = [...plot.querySelectorAll("path[data-name]")].map(path => {
      const flat = path.getAttribute("d").match(/[\d.]+/g).map(Number);
      return [path.dataset.name, flat.flatMap((x, i) => i % 2 ? [] : [[x / 1000, flat[i + 1] / 1000]])];
    });
    plot.addEventListener("pointermove", event => {
      const own = event.target.dataset.tip;
      if (own) return show(event, own);
      if (!lines.length) return void (tip.hidden = true);
      const box = plot.getBoundingClientRect();
      const at = (event.clientX - box.left) / box.width;
      const near = lines.map(([name, points]) =>
        [name, points.reduce((a, b) => Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a)]);
      const told = near.map(([name, p]) => name + " " + text(y1 - p[1] * (y1 - y0)) + plot.dataset.unit);
      const x = x0 + near[0][1][0] * (x1 - x0);
      show(event, plot.dataset.x + " " + text(plot.dataset.log ? 10 ** x : Math.round(x)) + ": " + told.join(", "));
    });
    plot.addEventListener("pointerleave", () => { tip.hidden = true; });
  }
})();
