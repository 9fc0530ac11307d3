/* Review of doubted labels: marks by keys and buttons, kept in the browser, exported as a file. */
(() => {
  const { byId, all, live } = segwright;
  const { regions, format } = JSON.parse(byId("marking").textContent);
  const cards = all("article.doubt");
  const stored = `segwright-marks-${regions}`;
  const kinds = ["wrong", "right", "unsure"];
  const marks = new Map();
  let current = 0;
  let address = null;

  /* A browser may keep nothing for files; then marks live as long as the tab. */
  function recall() {
    try {
      return JSON.parse(localStorage.getItem(stored)) ?? [];
    } catch {
      return [];
    }
  }
  function keep() {
    try {
      localStorage.setItem(stored, JSON.stringify([...marks.values()]));
    } catch {
      /* nothing to be done: the export holds them */
    }
  }

  const rankOf = (card) => Number(card.dataset.rank);
  const choice = (card) => card.querySelector("select");

  function draw(card) {
    const mark = marks.get(rankOf(card));
    for (const button of all("[data-mark]", card)) button.setAttribute("aria-pressed", String(mark?.mark === button.dataset.mark));
    if (mark?.mark === "wrong") choice(card).value = mark.label ?? "";
  }

  function tell() {
    const found = [...marks.values()].sort((a, b) => a.rank - b.rank);
    const counts = kinds.map((kind) => [kind, found.filter(({ mark }) => mark === kind).length]);
    byId("marked").textContent = String(found.length);
    byId("tally").textContent = found.length ? `: ${counts.map(([kind, n]) => `${n} ${kind}`).join(", ")}` : "";
    const text = `${JSON.stringify({ format, regions, marks: found }, null, 1)}\n`;
    byId("marks").textContent = text;
    if (address) URL.revokeObjectURL(address);
    address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    byId("download").href = address;
  }

  function set(card, mark, label) {
    const rank = rankOf(card);
    if (mark) marks.set(rank, { rank, mark, label: mark === "wrong" ? label || null : null });
    else marks.delete(rank);
    draw(card);
    keep();
    tell();
    live.textContent = `Region ${rank}: ${mark ? `label ${mark}` : "no mark"}`.replace("label unsure", "unsure");
  }

  function go(place) {
    cards[current]?.removeAttribute("aria-current");
    current = Math.max(0, Math.min(cards.length - 1, place));
    const card = cards[current];
    card.setAttribute("aria-current", "true");
    card.focus({ preventScroll: true });
    card.scrollIntoView({ block: "nearest" });
  }

  cards.forEach((card, place) => {
    card.addEventListener("focusin", () => {
      if (place === current) return;
      cards[current].removeAttribute("aria-current");
      current = place;
      card.setAttribute("aria-current", "true");
    });
    for (const button of all("[data-mark]", card)) {
      button.addEventListener("click", () => {
        const pressed = button.getAttribute("aria-pressed") === "true";
        set(card, pressed ? null : button.dataset.mark, choice(card).value);
      });
    }
    choice(card).addEventListener("change", () => set(card, "wrong", choice(card).value));
  });

  document.addEventListener("keydown", (event) => {
    if (!cards.length || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, pre, input, textarea")) return;
    const card = cards[current];
    const act = {
      w: () => set(card, "wrong", null),
      m: () => set(card, "wrong", card.dataset.model),
      r: () => set(card, "right"),
      u: () => set(card, "unsure"),
    }[event.key.toLowerCase()];
    const step = { j: 1, ArrowRight: 1, k: -1, ArrowLeft: -1 }[event.key];
    if (act) {
      act();
      go(current + 1);
    } else if (event.key.toLowerCase() === "x") set(card, null);
    else if (step) go(current + step);
    else return;
    event.preventDefault();
  });

  const known = new Set(cards.map(rankOf));
  for (const mark of recall()) if (known.has(mark.rank) && kinds.includes(mark.mark)) marks.set(mark.rank, mark);
  cards.forEach(draw);
  cards[0]?.setAttribute("aria-current", "true");
  tell();
})();
