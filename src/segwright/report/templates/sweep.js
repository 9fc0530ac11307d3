"use strict";
(() => {
  const chart = document.querySelector("svg.parallel");
  if (!chart) return;
  const lines = [...chart.querySelectorAll(".trial")];
  const rows = new Map([...document.querySelectorAll(".trials tbody tr")].map((row) => [row.dataset.trial, row]));
  const count = document.getElementById("chosen-count");

  /* A line and its row in the table light up together. */
  for (const line of lines) {
    const row = rows.get(line.dataset.trial);
    new MutationObserver(() => row.classList.toggle("on", line.classList.contains("on"))).observe(line, { attributeFilter: ["class"] });
    row.addEventListener("pointerenter", () => line.classList.add("on"));
    row.addEventListener("pointerleave", () => line.classList.remove("on"));
  }

  /* Dragging along an axis keeps the trials that pass through the range; a press without a drag drops it. */
  const ranges = new Map();
  const height = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse()).y;
  function sift() {
    let kept = 0;
    for (const line of lines) {
      const places = line.dataset.places.split(" ").map(Number);
      const out = [...ranges].some(([axis, [low, high]]) => places[axis] < low || places[axis] > high);
      line.classList.toggle("out", out);
      rows.get(line.dataset.trial).classList.toggle("out", out);
      kept += out ? 0 : 1;
    }
    count.textContent = ranges.size ? `${kept} of ${lines.length} trials pass through the chosen ranges.` : "";
  }
  for (const brush of chart.querySelectorAll(".brush")) {
    const axis = Number(brush.dataset.axis);
    const chosen = chart.querySelector(`.chosen[data-axis="${axis}"]`);
    let from = null;
    const draw = (to) => {
      const [low, high] = [Math.min(from, to), Math.max(from, to)];
      const wide = high - low > 4;
      if (wide) ranges.set(axis, [low, high]); else ranges.delete(axis);
      chosen.classList.toggle("set", wide);
      chosen.setAttribute("y", low);
      chosen.setAttribute("height", high - low);
      sift();
    };
    brush.addEventListener("pointerdown", (event) => {
      event.preventDefault(); // no text selection, no focus ring
      brush.setPointerCapture(event.pointerId);
      from = height(event);
      draw(from);
    });
    brush.addEventListener("pointermove", (event) => { if (from !== null) draw(height(event)); });
    for (const end of ["pointerup", "pointercancel"]) brush.addEventListener(end, () => { from = null; });
  }
})();
