/* The viewer: pictures in layers, two of them beside a slider, zoomed and moved together. Its data: see layers.js. */

segwright.viewer = (() => {
  const dialog = segwright.byId("viewer");
  if (!dialog) return null;
  const { byId, all, live, layers } = segwright;
  const stage = byId("viewer-stage");
  const plane = stage.querySelector(".viewer-plane");
  const canvas = byId("viewer-canvas");
  const over = byId("viewer-over");
  const splitter = byId("viewer-split");
  const [left, right] = all(".viewer-side", stage);
  const tip = stage.querySelector(".viewer-tip");
  const opacity = byId("viewer-opacity");
  const other = byId("viewer-other");

  let pictures = [];
  let here = 0;
  let loaded = null;
  let opener = null;
  let view = 0;
  let against = 0;
  let split = false;
  let blinking = false;
  let lit = null;
  let zoom = { scale: 1, x: 0, y: 0 };
  const how = { outline: false, wrongOnly: false, hidden: new Set() };

  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const layerNames = () => pictures[here].layers.map((layer) => layer.name);
  const withIds = () => pictures[here].layers.some((layer) => layer.kind !== "picture");
  const button = (act) => dialog.querySelector(`[data-act=${act}]`);
  const press = (act, on) => button(act).setAttribute("aria-pressed", String(on));

  /* Opening, and going from picture to picture. */
  function open(list, place, start = {}) {
    pictures = list;
    opener = document.activeElement;
    split = Boolean(start.split);
    lit = start.lit ?? null;
    how.hidden.clear();
    how.wrongOnly = false;
    zoom = { scale: 1, x: 0, y: 0 };
    view = start.view ?? 0;
    against = start.other ?? -1;
    if (!dialog.open) dialog.showModal();
    fillStrip();
    go(place);
    stage.focus();
  }
  async function go(place) {
    here = (place + pictures.length) % pictures.length;
    const picture = pictures[here];
    view = Math.min(view, picture.layers.length - 1);
    if (against < 0 || against >= picture.layers.length || against === view) against = firstOther();
    byId("viewer-name").textContent = picture.name;
    fillViews();
    fillClasses();
    for (const one of all("button", byId("viewer-strip"))) one.setAttribute("aria-current", String(Number(one.dataset.place) === here));
    byId("viewer-strip").querySelector("[aria-current=true]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
    loaded = null;
    const found = await layers.load(picture);
    if (pictures[here] !== picture) return;
    loaded = found;
    layout();
    redraw();
  }
  function firstOther() {
    const { layers: own, truth } = pictures[here];
    const wanted = view === (truth ?? -1) ? own.findIndex((layer, at) => layer.kind === "ids" && at !== view) : truth ?? -1;
    return wanted >= 0 ? wanted : own.findIndex((_, at) => at !== view);
  }
  function setView(at) {
    const count = pictures[here].layers.length;
    view = (at + count) % count;
    if (against === view) against = firstOther();
    fillViews();
    redraw();
  }

  /* What the tools show. */
  function fillViews() {
    const names = layerNames();
    const make = (name, at) => {
      const one = document.createElement("button");
      one.type = "button";
      one.setAttribute("role", "radio");
      one.setAttribute("aria-checked", String(at === view));
      one.dataset.view = at;
      one.textContent = name;
      one.addEventListener("click", () => { setView(at); byId("viewer-views").children[at].focus(); });
      return one;
    };
    byId("viewer-views").replaceChildren(...names.map(make));
    other.replaceChildren(...names.flatMap((name, at) => (at === view ? [] : [new Option(name, at, false, at === against)])));
    dialog.classList.toggle("single", names.length < 2);
    dialog.classList.toggle("plain", !withIds());
    const count = pictures.length > 1 ? `${here + 1} of ${pictures.length}` : "";
    byId("viewer-kind").textContent = [names[view], count, pictures[here].note].filter(Boolean).join(" · ");
    for (const step of all("[data-step]", dialog)) step.hidden = pictures.length < 2;
    press("split", split);
    press("outline", how.outline);
    press("wrong", how.wrongOnly);
    press("palette", layers.state.safe);
    const note = byId("viewer-lit");
    note.hidden = !lit;
    if (lit) note.firstElementChild.textContent = litText();
  }
  function litText() {
    const name = (id) => layers.data.classes[id];
    const told = lit.predicted === null ? `${name(lit.truth)} that was missed` : lit.predicted === lit.truth ? `${name(lit.truth)} found as such` : `${name(lit.truth)} called ${name(lit.predicted)}`;
    const pixels = segwright.litPixels?.(pictures[here], lit);
    return `Lit: ${told}${pixels === undefined ? "" : `, ${segwright.spaced(pixels)} pixels of this picture`}. ${lit.note ?? ""}`;
  }
  const present = new WeakMap();
  function fillClasses() {
    const picture = pictures[here];
    const box = byId("viewer-classes");
    box.replaceChildren();
    if (!withIds()) return;
    layers.load(picture).then((found) => {
      if (pictures[here] !== picture) return;
      if (!present.has(picture)) present.set(picture, [...new Set(found.ids.flatMap((ids) => (ids ? [...new Set(ids)] : [])))].filter((id) => id !== layers.VOID).sort((a, b) => a - b));
      box.replaceChildren(...present.get(picture).map((id, order) => {
        const one = document.createElement("button");
        one.type = "button";
        one.dataset.class = id;
        one.setAttribute("aria-pressed", String(!how.hidden.has(id)));
        one.title = order < 9 ? `Show or hide (${order + 1})` : "Show or hide";
        const mark = document.createElement("i");
        mark.className = `k${id}`;
        const label = document.createElement("span");
        label.textContent = layers.data.classes[id];
        one.append(mark, label);
        one.addEventListener("click", () => toggleClass(one));
        return one;
      }));
    });
  }
  function toggleClass(one) {
    const id = Number(one.dataset.class);
    if (!how.hidden.delete(id)) how.hidden.add(id);
    one.setAttribute("aria-pressed", String(!how.hidden.has(id)));
    live.textContent = `${layers.data.classes[id]} ${how.hidden.has(id) ? "hidden" : "shown"}`;
    redraw();
  }
  function fillStrip() {
    const strip = byId("viewer-strip");
    strip.hidden = pictures.length < 2;
    strip.replaceChildren(...(strip.hidden ? [] : pictures.map((picture, place) => {
      const one = document.createElement("button");
      one.type = "button";
      one.dataset.place = place;
      one.setAttribute("aria-label", picture.name);
      const image = document.createElement("img");
      image.loading = "lazy";
      image.alt = "";
      image.src = layers.address(picture.layers.find((layer) => layer.src).src);
      const pixels = lit && segwright.litPixels?.(picture, lit);
      one.append(image);
      if (pixels) one.append(Object.assign(document.createElement("span"), { textContent: `${segwright.spaced(pixels)} px` }));
      one.addEventListener("click", () => go(place));
      return one;
    })));
  }

  /* Drawing. */
  const options = () => ({ ...how, opacity: opacity.value / 100, lit });
  function redraw() {
    if (!loaded) return;
    const shown = blinking && !split ? against : view;
    layers.draw(canvas, layers.paint(loaded, shown, options()));
    if (split) layers.draw(over, layers.paint(loaded, against, options()));
    for (const one of [over, splitter, left, right]) one.hidden = !split;
    const names = layerNames();
    left.textContent = names[view];
    right.textContent = names[against];
    press("blink", blinking);
    stage.setAttribute("aria-label", `${split ? `${names[view]} and ${names[against]}` : names[shown]} of ${pictures[here].name}`);
    place();
  }
  function layout() {
    const room = stage.clientWidth;
    const high = Math.max(innerWidth <= 640 ? innerHeight * 0.6 : 180, innerHeight - (dialog.scrollHeight - stage.offsetHeight) - innerHeight * 0.06);
    const scale = Math.min(room / loaded.width, high / loaded.height);
    plane.style.width = `${loaded.width * scale}px`;
    plane.style.height = `${loaded.height * scale}px`;
  }
  function place() {
    const box = { width: plane.offsetWidth, height: plane.offsetHeight };
    zoom.x = clamp(zoom.x, -box.width * (zoom.scale - 1), 0);
    zoom.y = clamp(zoom.y, -box.height * (zoom.scale - 1), 0);
    const many = loaded && (box.width * zoom.scale) / loaded.width > 2.5;
    for (const one of [canvas, over]) {
      one.style.transform = `translate(${zoom.x}px, ${zoom.y}px) scale(${zoom.scale})`;
      one.style.imageRendering = many ? "pixelated" : "auto";
    }
    const at = splitter.value / 1000;
    over.style.clipPath = `inset(0 0 0 ${clamp((at * box.width - zoom.x) / zoom.scale / box.width, 0, 1) * 100}%)`;
    splitter.style.setProperty("--wide", `${box.width}px`);
    plane.style.setProperty("--at", `${at * 100}%`);
  }
  function zoomAt(factor, x, y) {
    const scale = clamp(zoom.scale * factor, 1, 32);
    const by = scale / zoom.scale;
    zoom = { scale, x: x - (x - zoom.x) * by, y: y - (y - zoom.y) * by };
    place();
  }
  const zoomMiddle = (factor) => zoomAt(factor, plane.offsetWidth / 2, plane.offsetHeight / 2);
  const fit = () => { zoom = { scale: 1, x: 0, y: 0 }; place(); };

  /* Pointers: drag moves, two fingers and the wheel zoom, pointing tells the classes. */
  const fingers = new Map();
  const spot = (event) => {
    const box = plane.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  plane.addEventListener("wheel", (event) => {
    event.preventDefault();
    const { x, y } = spot(event);
    zoomAt(Math.exp(-event.deltaY * 0.002), x, y);
  }, { passive: false });
  plane.addEventListener("pointerdown", (event) => {
    plane.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, spot(event));
  });
  plane.addEventListener("pointermove", (event) => {
    const now = spot(event);
    const before = fingers.get(event.pointerId);
    if (before && fingers.size === 1) {
      zoom.x += now.x - before.x;
      zoom.y += now.y - before.y;
      place();
    } else if (before && fingers.size === 2) {
      const still = [...fingers].find(([id]) => id !== event.pointerId)[1];
      const apart = (point) => Math.hypot(point.x - still.x, point.y - still.y);
      zoomAt(apart(now) / Math.max(1, apart(before)), (now.x + still.x) / 2, (now.y + still.y) / 2);
    }
    if (before) fingers.set(event.pointerId, now);
    tell(now);
  });
  for (const end of ["pointerup", "pointercancel"]) plane.addEventListener(end, (event) => fingers.delete(event.pointerId));
  plane.addEventListener("pointerleave", () => { tip.hidden = true; });
  function tell({ x, y }) {
    if (!loaded || !withIds()) return;
    const column = Math.floor(((x - zoom.x) / zoom.scale / plane.offsetWidth) * loaded.width);
    const row = Math.floor(((y - zoom.y) / zoom.scale / plane.offsetHeight) * loaded.height);
    tip.hidden = column < 0 || row < 0 || column >= loaded.width || row >= loaded.height;
    if (tip.hidden) return;
    const name = (id) => (id === layers.VOID ? "void" : layers.data.classes[id]);
    tip.textContent = loaded.picture.layers.flatMap((layer, at) => (loaded.ids[at] ? [`${layer.name}: ${name(loaded.ids[at][row * loaded.width + column])}`] : [])).join("\n");
    const flip = x > plane.offsetWidth / 2;
    tip.style.transform = `translate(${x + plane.offsetLeft + (flip ? -14 : 14)}px, ${y + plane.offsetTop + 14}px) translateX(${flip ? "-100%" : "0"})`;
  }

  /* Buttons and keys do the same things. */
  let colored = 70;
  const acts = {
    split() { split = !split; fillViews(); redraw(); (split ? splitter : stage).focus(); },
    blink() { blinking = !blinking; redraw(); },
    outline() { how.outline = !how.outline; fillViews(); redraw(); },
    wrong() { how.wrongOnly = !how.wrongOnly; fillViews(); redraw(); },
    palette() { segwright.setSafe(!layers.state.safe); },
    in: () => zoomMiddle(1.5),
    out: () => zoomMiddle(1 / 1.5),
    fit,
    unlit() { lit = null; fillViews(); redraw(); stage.focus(); },
    colors() {
      if (Number(opacity.value)) { colored = opacity.value; opacity.value = 0; } else opacity.value = colored;
      redraw();
    },
    help() {
      const keys = byId("viewer-keys");
      keys.hidden = !keys.hidden;
      byId("viewer-help").setAttribute("aria-expanded", String(!keys.hidden));
      if (!keys.hidden) keys.scrollIntoView({ block: "nearest" });
    },
  };
  for (const one of all("[data-act]", dialog)) one.addEventListener("click", () => acts[one.dataset.act]());
  for (const one of all("[data-step]", dialog)) one.addEventListener("click", () => go(here + Number(one.dataset.step)));
  byId("viewer-help").addEventListener("click", acts.help);
  byId("viewer-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  opacity.addEventListener("input", redraw);
  splitter.addEventListener("input", place);
  other.addEventListener("change", () => { against = Number(other.value); redraw(); });
  dialog.addEventListener("close", () => { pictures = []; loaded = null; opener?.focus(); });
  addEventListener("resize", () => { if (loaded) { layout(); place(); } });
  document.addEventListener("palette", () => { if (loaded) { fillViews(); redraw(); } });

  const letters = { s: "split", l: "outline", x: "wrong", c: "palette", o: "colors", "+": "in", "=": "in", "-": "out", "−": "out", 0: "fit", z: "fit", "?": "help" };
  const kinds = { i: (layer) => layer.kind === "picture", g: (_, at) => at === pictures[here].truth, p: (layer, at) => layer.kind === "ids" && at !== pictures[here].truth, e: (layer) => layer.kind === "errors" };
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  dialog.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !pictures.length) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const field = event.target.matches("select, input");
    const arrow = arrows[key];
    if (arrow && field) return;
    if (arrow && event.shiftKey) {
      if (zoom.scale > 1) { zoom.x -= arrow[0] * 60; zoom.y -= arrow[1] * 60; } else splitter.value = Number(splitter.value) + arrow[0] * 40;
      place();
    } else if (arrow) {
      if (arrow[0]) go(here + arrow[0]); else setView(view + arrow[1]);
    } else if (key === "b") {
      if (!event.repeat) { blinking = true; redraw(); }
    } else if (letters[key]) acts[letters[key]]();
    else if (kinds[key]) {
      const at = pictures[here].layers.findIndex(kinds[key]);
      if (at >= 0) setView(at);
    } else if (/^[1-9]$/.test(key)) {
      const one = byId("viewer-classes").children[Number(key) - 1];
      if (one) toggleClass(one);
    } else return;
    event.preventDefault();
  });
  dialog.addEventListener("keyup", (event) => { if (event.key.toLowerCase() === "b") { blinking = false; redraw(); } });

  return { open };
})();
