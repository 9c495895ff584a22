(() => {
  const source = document.getElementById("suspects");
  if (!source) return;
  const rows = JSON.parse(source.textContent);
  const cards = [...document.querySelectorAll("[data-card]")];
  const storageKey = "nearfar review " + source.dataset.name;
  const key = i => JSON.stringify([rows[i].query, rows[i].negative]); // not i: another mining has other rows there
  let chosen = {};
  try { chosen = JSON.parse(localStorage.getItem(storageKey)) || {}; } catch { /* a browser that stores nothing for files */ }
  const show = () => {
    cards.forEach((card, i) => {
      card.classList.toggle("decided", key(i) in chosen);
      for (const button of card.querySelectorAll("button"))
        button.setAttribute("aria-pressed", String(button.dataset.action === chosen[key(i)]));
    });
    const done = rows.filter((_, i) => key(i) in chosen).length;
    document.getElementById("count").textContent = done.toLocaleString("en") + " of " + rows.length.toLocaleString("en") + " decided";
    document.getElementById("save").disabled = !done;
    document.getElementById("next").hidden = done === rows.length;
  };
  document.getElementById("cards").addEventListener("click", event => {
    const button = event.target.closest("button");
    if (!button) return;
    const at = key(button.closest("[data-card]").dataset.card);
    if (chosen[at] === button.dataset.action) delete chosen[at];
    else chosen[at] = button.dataset.action;
    try { localStorage.setItem(storageKey, JSON.stringify(chosen)); } catch { /* as above */ }
    show();
  });
  document.getElementById("next").addEventListener("click", () => {
    const card = cards.find((_, i) => !(key(i) in chosen));
    if (!card) return;
    card.scrollIntoView({ block: "start" });
    card.querySelector("button").focus({ preventScroll: true });
  });
  document.getElementById("save").addEventListener("click", () => {
    const lines = rows.flatMap((row, i) => key(i) in chosen ? [JSON.stringify({ ...row, action: chosen[key(i)] })] : []);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "application/jsonl" }));
    link.download = "decisions.jsonl";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  show();
})();
