"use strict";
/* Charts, tables and the confusion matrix of all pages. What layers.js, viewer.js and gallery.js share is in `segwright`. */
const segwright = {
  byId: (id) => document.getElementById(id),
  all: (selector, from = document) => [...from.querySelectorAll(selector)],
  live: document.getElementById("live"),
  spaced: (n) => String(n).replace(/\B(?=(\d{3})+$)/g, "\u202f"),
};
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const { byId, all, live, spaced } = segwright;
  const tip = byId("tip");

  /* One tooltip for charts and matrix: beside a point of the window that `place` finds, also while the page scrolls. */
  let place = null;
  function showTip(text, where) {
    tip.textContent = text;
    tip.hidden = false;
    place = where;
    follow();
  }
  function follow() {
    if (tip.hidden) return;
    const { x, y } = place();
    const box = tip.getBoundingClientRect();
    const left = x + 14 + box.width > innerWidth - 6 ? x - 14 - box.width : x + 14;
    const top = y - box.height - 12 < 6 ? y + 16 : y - box.height - 12;
    tip.style.transform = `translate(${Math.max(6, left)}px, ${Math.max(6, top)}px)`;
  }
  const hideTip = () => { tip.hidden = true; };

  /* Charts: each g.hit has a <title> (taken over from the browser's own tooltip) and says where its marks are. */
  const SVG = "http://www.w3.org/2000/svg";
  function make(name, attributes, parent) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    parent.append(element);
    return element;
  }
  for (const chart of all("svg.chart")) {
    const hits = all("g.hit", chart);
    const texts = hits.map((hit) => {
      const title = hit.querySelector("title");
      title.remove();
      return title.textContent;
    });
    const marks = make("g", { "aria-hidden": "true" }, chart);
    const vertical = chart.classList.contains("lines") || chart.classList.contains("ranks");
    let current = -1;
    const show = (index, speak) => {
      current = index;
      hits.forEach((hit, at) => hit.classList.toggle("on", at === index));
      const { x, y } = hits[index].dataset;
      const ys = y.split(" ").filter(Boolean);
      marks.replaceChildren();
      if (vertical) make("line", { class: "cursor", x1: x, x2: x, y1: chart.dataset.top, y2: chart.dataset.bottom }, marks);
      for (const at of ys) make("circle", { class: "cursor-dot", cx: x, cy: at, r: 4 }, marks);
      const mark = new DOMPoint(Number(x), Number(ys[0] ?? chart.dataset.top));
      showTip(texts[index], () => mark.matrixTransform(chart.getScreenCTM()));
      if (speak) live.textContent = texts[index].replaceAll("\n", ", ");
    };
    const hide = () => {
      marks.replaceChildren();
      for (const hit of hits) hit.classList.remove("on");
      hideTip();
    };
    hits.forEach((hit, index) => {
      hit.addEventListener("pointerenter", () => show(index, false));
      hit.addEventListener("pointerdown", () => show(index, false));
      hit.addEventListener("click", () => pick(index));
    });
    const pick = (index) => chart.dispatchEvent(new CustomEvent("pick", { bubbles: true, detail: texts[index] }));
    chart.addEventListener("pointerleave", hide);
    chart.addEventListener("blur", hide);
    chart.addEventListener("keydown", (event) => {
      if (!hits.length) return;
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") return hide();
      if (event.key === "Enter" && current >= 0) return pick(current);
      if (!step && event.key !== "Home" && event.key !== "End") return;
      event.preventDefault();
      const last = hits.length - 1;
      const next = event.key === "Home" ? 0 : event.key === "End" ? last : current < 0 ? (step > 0 ? 0 : last) : current + step;
      show(Math.min(last, Math.max(0, next)), true);
    });
  }

  /* Tables sort by the data-value (or text) of a column; undefined values stay at the end. */
  for (const table of all("table.sortable")) {
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = head.querySelector("button");
      if (!button) return;
      button.addEventListener("click", () => {
        const first = column === 0 ? "ascending" : "descending";
        const other = column === 0 ? "descending" : "ascending";
        const order = head.getAttribute("aria-sort") === first ? other : first;
        for (const each of heads) each.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const value = (row) => (column === 0 ? row.cells[0].textContent.trim().toLowerCase() : Number.parseFloat(row.cells[column].dataset.value));
        const rows = [...body.rows].map((row) => [value(row), row]);
        rows.sort(([a], [b]) => {
          if (column === 0) return sign * a.localeCompare(b);
          if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(a)) - Number(Number.isNaN(b));
          return sign * (a - b);
        });
        body.append(...rows.map(([, row]) => row));
        live.textContent = `Sorted by ${button.textContent}, ${order}`;
      });
    });
  }

  /* Confusion matrix: shares of truth, shares of prediction, or pixels; all three on pointing or by arrow keys. */
  const matrix = byId("matrix");
  if (matrix) {
  const { names, counts, levels, named } = JSON.parse(matrix.textContent);
  const sum = (values) => values.reduce((a, b) => a + b, 0);
  const truth = counts.map(sum);
  const found = names.map((_, p) => sum(counts.map((row) => row[p])));
  const largest = Math.max(1, ...counts.map((row) => Math.max(...row)));
  const grid = byId("cells");
  const cells = [...grid.tBodies[0].rows].map((row) => all("td", row));
  const notes = {
    truth: "Percent of the true pixels of each row’s class; rows add up to 100.",
    prediction: "Percent of the pixels that were given each column’s class; columns add up to 100.",
    counts: "Number of pixels; shaded against the largest cell.",
  };
  const percent = (part, whole) => {
    if (!whole) return "–";
    const share = (100 * part) / whole;
    return share > 0 && share < 0.05 ? "<\u202f0.1\u202f%" : `${share.toFixed(1)}\u202f%`;
  };
  function short(n) {
    let size = n;
    for (const unit of ["", "k", "M", "G", "T"]) {
      if (size < 999.5) return unit && size < 9.95 ? size.toFixed(1) + unit : size.toFixed(0) + unit;
      size /= 1000;
    }
    return n.toExponential(0);
  }
  function paint(over) {
    cells.forEach((row, t) => row.forEach((cell, p) => {
      const n = counts[t][p];
      const whole = over === "truth" ? truth[t] : over === "prediction" ? found[p] : largest;
      const rate = whole ? n / whole : 0;
      const shade = rate > 0 ? Math.max(1, Math.round(Math.sqrt(rate) * levels)) : 0;
      cell.className = (t === p ? "h" : "m") + shade;
      if (names.length > named) return;
      cell.textContent = over === "counts" ? (n ? short(n) : "") : rate >= 0.005 ? String(Math.floor(rate * 100 + 0.5)) : "";
    }));
    byId("over-note").textContent = notes[over];
  }
  for (const radio of all("input[name=over]")) radio.addEventListener("change", () => paint(radio.value));
  paint(document.querySelector("input[name=over]:checked").value);

  const heads = [...grid.tHead.rows[0].cells].slice(1);
  const sides = [...grid.tBodies[0].rows].map((row) => row.cells[0]);
  let here = [0, 0];
  function cellText([t, p]) {
    const told = t === p ? `${names[t]}, found as such` : `${names[t]} called ${names[p]}`;
    return `${told}\n${spaced(counts[t][p])} pixels\n${percent(counts[t][p], truth[t])} of true ${names[t]}\n${percent(counts[t][p], found[p])} of what was called ${names[p]}`;
  }
  function light(at) {
    for (const head of [...heads, ...sides]) head.classList.remove("lit");
    if (at) { sides[at[0]].classList.add("lit"); heads[at[1]].classList.add("lit"); }
  }
  function point(at, speak) {
    const cell = cells[at[0]][at[1]];
    light(at);
    showTip(cellText(at), () => {
      const box = cell.getBoundingClientRect();
      return { x: box.right, y: box.top };
    });
    if (speak) live.textContent = cellText(at).replaceAll("\n", ", ");
  }
  function leave() { light(null); hideTip(); }
  const position = (cell) => [cell.parentNode.rowIndex - 1, cell.cellIndex - 1];
  const cellOf = (event) => event.target.closest("tbody td");
  all("td", grid.tBodies[0]).forEach((cell) => cell.removeAttribute("title"));
  grid.addEventListener("pointerover", (event) => { const cell = cellOf(event); if (cell) point(position(cell), false); else leave(); });
  grid.addEventListener("pointerleave", leave);
  if (cells.length) cells[0][0].tabIndex = 0;
  grid.addEventListener("focusin", (event) => { const cell = cellOf(event); if (cell) { here = position(cell); point(here, true); } });
  grid.addEventListener("focusout", leave);
  const choose = ([t, p]) => { if (counts[t][p]) grid.dispatchEvent(new CustomEvent("confusion", { bubbles: true, detail: { truth: t, predicted: p, pixels: counts[t][p] } })); };
  grid.addEventListener("click", (event) => { const cell = cellOf(event); if (cell) choose(position(cell)); });
  grid.addEventListener("keydown", (event) => {
    if ((event.key === "Enter" || event.key === " ") && cellOf(event)) { event.preventDefault(); return choose(here); }
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    if (event.key === "Escape") leave();
    if (!step || !cellOf(event)) return;
    event.preventDefault();
    cells[here[0]][here[1]].removeAttribute("tabindex");
    here = here.map((n, i) => Math.min(names.length - 1, Math.max(0, n + step[i])));
    const cell = cells[here[0]][here[1]];
    cell.tabIndex = 0;
    cell.focus();
  });
  }

  /* Copying: the clipboard where the browser allows it, else the text is selected for Ctrl-C. */
  for (const button of all("[data-copy]")) {
    button.addEventListener("click", async () => {
      const source = byId(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(source.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(source);
        button.textContent = "Press Ctrl-C";
      }
      live.textContent = button.textContent;
      setTimeout(() => { button.textContent = "Copy"; }, 2500);
    });
  }

  /* The section in view is marked in the bar. */
  const links = new Map(all(".masthead nav a").map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      const link = links.get(entry.target.id);
      link.setAttribute("aria-current", "true");
      link.parentNode.scrollLeft = link.offsetLeft - 60;
    }
  }, { rootMargin: "-20% 0px -75% 0px" });
  for (const id of links.keys()) seen.observe(byId(id));
  addEventListener("scroll", follow, { passive: true, capture: true });
  addEventListener("resize", hideTip);
})();
