/* What opens the viewer: the rows of pictures, cells of the confusion matrix, class names, the ranks of pictures. And the
   palette switch, which swatches, charts (CSS variables of .safe) and id maps (canvases, redrawn) all follow. */

(() => {
  const { byId, all, live, layers, viewer, spaced } = segwright;
  const { pictures, total, holding } = layers.data;

  /* The palette, kept while the page is open and, where the browser allows it, over a reload. */
  const store = (value) => {
    try {
      if (value === undefined) return sessionStorage.getItem("segwright-palette");
      sessionStorage.setItem("segwright-palette", value);
    } catch { /* storage is switched off: the choice lasts until the page is closed */ }
    return null;
  };
  const toggle = byId("palette");
  segwright.setSafe = (safe) => {
    layers.state.safe = safe;
    document.documentElement.classList.toggle("safe", safe);
    toggle?.setAttribute("aria-pressed", String(safe));
    store(safe ? "safe" : "official");
    document.dispatchEvent(new Event("palette"));
  };
  toggle?.addEventListener("click", () => {
    segwright.setSafe(!layers.state.safe);
    live.textContent = layers.state.safe ? "Safe colours" : "Official colours";
  });
  if (toggle && store() === "safe") segwright.setSafe(true);

  if (!viewer) return;

  /* Id maps in the page are drawn in the palette, with void hatched, once they come near the window. */
  const maps = new Map();
  const full = { opacity: 1, outline: false, wrongOnly: false, hidden: new Set(), lit: null };
  async function paintMap(image) {
    const { picture, layer } = maps.get(image);
    const loaded = await layers.load(picture);
    let canvas = image.nextElementSibling;
    if (!canvas) {
      canvas = document.createElement("canvas");
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", image.alt);
      image.after(canvas);
      image.hidden = true;
    }
    layers.draw(canvas, layers.paint(loaded, layer, full));
  }
  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      paintMap(target.querySelector("img"));
    }
  }, { rootMargin: "400px" });

  const rows = all("article[data-picture]").map((row) => pictures[Number(row.dataset.picture)]);
  for (const view of all("button.view")) {
    const article = view.closest("article");
    const image = view.querySelector("img");
    if (article.dataset.picture !== undefined) {
      const picture = pictures[Number(article.dataset.picture)];
      const layer = all("button.view", article).indexOf(view);
      view.addEventListener("click", () => viewer.open(rows, rows.indexOf(picture), { view: layer }));
      if (picture.layers[layer].kind === "ids") {
        maps.set(image, { picture, layer });
        near.observe(view);
      }
    } else {
      view.addEventListener("click", () => {
        const views = all("button.view", article);
        const caption = (one) => one.parentNode.querySelector("figcaption").textContent;
        const list = views.map((one) => ({ name: caption(one), note: article.querySelector(".file").textContent, layers: [{ name: "", kind: "picture", src: one.querySelector("img").src }] }));
        viewer.open(list, views.indexOf(view));
      });
    }
  }
  document.addEventListener("palette", () => {
    for (const image of maps.keys()) if (image.hidden) paintMap(image);
  });

  /* Pictures by confusion: those with most of its pixels first. */
  const matches = (lit, t, p) => t === lit.truth && (lit.predicted === null ? p !== t : p === lit.predicted);
  segwright.litPixels = (picture, lit) => picture.counts?.reduce((sum, [t, p, pixels]) => sum + (matches(lit, t, p) ? pixels : 0), 0);
  const note = byId("gallery-note");
  function show(lit, pixels, holders) {
    const found = pictures.map((picture) => [segwright.litPixels(picture, lit) ?? 0, picture]).filter(([n]) => n > 0).sort(([a], [b]) => b - a);
    const held = found.reduce((sum, [n]) => sum + n, 0);
    const share = pixels ? Math.floor((100 * held) / pixels) : 0;
    if (!found.length) {
      note.textContent = live.textContent = `None of the ${spaced(pictures.length)} pictures in this page shows it; write the report again with a larger --budget-mb.`;
      return;
    }
    const all = holders === undefined || holders === found.length;
    lit.note = all ? "" : `The list has ${spaced(found.length)} of the ${spaced(holders)} pictures that show it, with ${share}\u202f% of its pixels.`;
    note.textContent = "";
    const first = found[0][1];
    viewer.open(found.map(([, picture]) => picture), 0, { view: first.layers.findIndex((layer) => layer.kind === "picture"), lit });
  }
  document.addEventListener("confusion", ({ detail }) => {
    if (pictures.some((picture) => picture.counts)) show({ truth: detail.truth, predicted: detail.predicted }, detail.pixels, holding?.[detail.truth]?.[detail.predicted]);
  });

  /* A class name in the table opens what was missed of it. */
  if (pictures.some((picture) => picture.counts)) {
    byId("cells")?.classList.add("opens");
    for (const head of all("#scores tbody th")) {
      const id = Number(head.dataset.value);
      const one = document.createElement("button");
      one.type = "button";
      one.className = "opens";
      one.title = "Pictures in which most of it was missed";
      one.append(...head.childNodes);
      head.append(one);
      one.addEventListener("click", () => show({ truth: id, predicted: null }));
    }
  }

  /* A dot among the ranks of pictures opens that picture, where the page has it. */
  const byName = new Map(pictures.map((picture) => [picture.name, picture]));
  document.addEventListener("pick", ({ target, detail }) => {
    if (!target.classList.contains("ranks")) return;
    const line = detail.split("\n")[0];
    const picture = byName.get(line) ?? byName.get(line.replace(/ \((best|median|worst)\)$/, ""));
    if (picture) viewer.open([picture], 0);
    else live.textContent = byId("ranks-note").textContent = `${line} is not among the ${spaced(pictures.length)} of ${spaced(total ?? pictures.length)} pictures in this page.`;
  });
})();
