"use strict";
/* Pictures and id maps as pixels.

   DATA CONTRACT. A page that shows pictures carries <script type="application/json" id="gallery"> with

     classes   names of the classes by id
     colors    {official: ["#rrggbb", ...], safe: [...]}: their colours in both palettes
     codes     ["#rrggbb", ...]: the colour that stands for each id in the id maps, each different; any other is void
     pictures  [{name, note, layers, truth, counts}, ...]
       layers  [{name, kind, src}, ...] from the left to the right; all of a picture have the same size
         kind "picture"  a picture; the first one lies below the colours of id maps
         kind "ids"      an id map, lossless; `src` shows it in the colours of `codes`
         kind "errors"   needs no src: what differs between the layers `of`: [truth, predicted] (their places in layers)
         src             a data: URI, or "#id" of an <img> of the page
       truth   place of the layer that holds the truth; missing where there is none. Every other id map is a prediction.
       counts  [[truth, predicted, pixels], ...] of the whole picture (optional): what a confusion cell ranks by
     total, holding   number of pictures of the set, and [[...]]: in how many each confusion occurs (both optional)

   In the page, <article data-picture="N"> with one <button class="view"><img></button> a layer, in order, opens pictures[N]
   (gallery.js), and its id maps are drawn in the palette. Needed besides: viewer.html, viewer.css, colors.style_rules,
   and <button id="palette"> for the switch; `gallery.palettes` gives classes, colors and codes.
   A model comparison gives one "ids" layer a model: {name: "A", kind: "ids", src}, {name: "B", ...}.
   segwright.viewer.open(pictures, place, {view, other, split, lit}) shows a list of such pictures (viewer.js):
   view, other: places of layers; split: true starts with the slider between them; lit: {truth, predicted} ids or null. */

segwright.layers = (() => {
  const VOID = 255;
  const WRONG = [255, 86, 48];
  const source = segwright.byId("gallery");
  const data = source ? JSON.parse(source.textContent) : { classes: [], colors: { official: [], safe: [] }, codes: [], pictures: [] };
  const parse = (hex) => [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16));
  const palettes = { official: data.colors.official.map(parse), safe: data.colors.safe.map(parse) };
  const codes = new Map(data.codes.map((hex, id) => [Number.parseInt(hex.slice(1), 16), id]));
  const byHand = { safe: false };

  /* The safe palette has stripes beyond eight classes: the same as segwright.data.safe_palette draws. */
  const stripeColors = palettes.safe.map((color) => {
    const bright = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 110;
    return color.map((value) => Math.round(value * 0.4 + (bright ? 0 : 255) * 0.6));
  });
  function striped(id, x, y) {
    const band = id >> 3;
    if (!byHand.safe || band === 0) return false;
    const step = (band - 1) >> 2;
    const along = [x + y, y - x, y, x][(band - 1) & 3];
    const period = 8 + 4 * step;
    return ((along % period) + period) % period < 3 + step;
  }
  function colorOf(id, x, y) {
    return striped(id, x, y) ? stripeColors[id] : (byHand.safe ? palettes.safe : palettes.official)[id];
  }

  const address = (src) => (src.startsWith("#") ? segwright.byId(src.slice(1)).src : src);
  async function read(src, width, height) {
    const image = new Image();
    image.src = address(src);
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = width ?? image.naturalWidth;
    canvas.height = height ?? image.naturalHeight;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    return context.getImageData(0, 0, canvas.width, canvas.height);
  }
  function toIds(pixels) {
    const ids = new Uint8Array(pixels.width * pixels.height);
    const rgba = pixels.data;
    for (let i = 0, at = 0; i < ids.length; i++, at += 4) ids[i] = codes.get((rgba[at] << 16) | (rgba[at + 1] << 8) | rgba[at + 2]) ?? VOID;
    return ids;
  }

  /* A picture with its pixels: the last few stay in memory. */
  const kept = new Map();
  function load(picture) {
    if (!kept.has(picture)) {
      kept.set(picture, decode(picture));
      if (kept.size > 12) kept.delete(kept.keys().next().value);
    }
    return kept.get(picture);
  }
  async function decode(picture) {
    const ids = await Promise.all(picture.layers.map(async (layer) => (layer.kind === "ids" ? read(layer.src) : null)));
    const size = ids.find(Boolean);
    const rgb = [];
    for (const layer of picture.layers) rgb.push(layer.kind === "picture" ? await read(layer.src, size?.width, size?.height) : null);
    const { width, height } = size ?? rgb.find(Boolean);
    return { picture, width, height, ids: ids.map((one) => one && toIds(one)), rgb, image: rgb.find(Boolean) ?? null };
  }

  /* [truth, predicted] of a layer, as places of layers; null where there is nothing to compare. */
  function pairOf(picture, at) {
    const layer = picture.layers[at];
    if (layer.of) return layer.of;
    const truth = picture.truth ?? -1;
    if (truth < 0) return null;
    if (layer.kind === "ids" && at !== truth) return [truth, at];
    const other = picture.layers.findIndex((one, place) => one.kind === "ids" && place !== truth);
    return other < 0 ? null : [truth, other];
  }

  function isEdge(ids, i, x, y, width, height) {
    const id = ids[i];
    return (x > 0 && ids[i - 1] !== id) || (x < width - 1 && ids[i + 1] !== id) || (y > 0 && ids[i - width] !== id) || (y < height - 1 && ids[i + width] !== id);
  }

  /* One layer drawn, as ImageData. how: {opacity 0..1, outline, wrongOnly, hidden: Set of ids, lit: {truth, predicted}}.
     lit: a null id stands for any class; truth alone means its missed pixels. Pixels that are not lit become dim grey. */
  function paint(loaded, at, how) {
    const { width, height, picture } = loaded;
    const layer = picture.layers[at];
    const pair = pairOf(picture, at);
    const truth = pair && loaded.ids[pair[0]];
    const found = pair && loaded.ids[pair[1]];
    const ids = layer.kind === "ids" ? loaded.ids[at] : null;
    const below = (layer.kind === "picture" ? loaded.rgb[at] : loaded.image)?.data;
    const out = new ImageData(width, height);
    const rgba = out.data;
    const hatch = Math.max(8, Math.floor(width / 60));
    const lit = how.lit && truth ? litMask(truth, found, how.lit) : null;
    for (let i = 0, to = 0, y = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i++, to += 4) {
        let r = below ? below[to] : 96, g = below ? below[to + 1] : 96, b = below ? below[to + 2] : 96;
        const grey = 0.299 * r + 0.587 * g + 0.114 * b;
        const stripe = (x + y) % hatch < Math.floor(hatch / 3) ? 150 : 205;
        const wrong = truth && truth[i] !== VOID && truth[i] !== found[i];
        if (layer.kind === "errors") {
          r = g = b = grey * 0.38 + 24;
          if (truth[i] === VOID) r = g = b = stripe * 0.45;
          else if (wrong) [r, g, b] = WRONG.map((value) => 0.22 * grey + 0.78 * value);
        } else if (ids && ids[i] === VOID) {
          [r, g, b] = [r, g, b].map((value) => value + (stripe - value) * how.opacity);
        } else if (ids && !how.hidden.has(ids[i]) && !(how.wrongOnly && !wrong) && (!how.outline || isEdge(ids, i, x, y, width, height))) {
          const color = colorOf(ids[i], x, y);
          const part = how.outline ? 1 : how.opacity;
          r += (color[0] - r) * part;
          g += (color[1] - g) * part;
          b += (color[2] - b) * part;
        }
        if (lit ? !lit[i] : how.wrongOnly && truth && !wrong) r = g = b = grey * 0.34 + 14;
        else if (lit && isEdge(lit, i, x, y, width, height)) r = g = b = 255;
        rgba[to] = r; rgba[to + 1] = g; rgba[to + 2] = b; rgba[to + 3] = 255;
      }
    }
    return out;
  }
  function litMask(truth, found, lit) {
    const mask = new Uint8Array(truth.length);
    for (let i = 0; i < mask.length; i++) {
      if (truth[i] === VOID) continue;
      if (lit.predicted === null) mask[i] = truth[i] === lit.truth && found[i] !== lit.truth;
      else mask[i] = truth[i] === lit.truth && found[i] === lit.predicted;
    }
    return mask;
  }

  function draw(canvas, pixels) {
    canvas.width = pixels.width;
    canvas.height = pixels.height;
    canvas.getContext("2d").putImageData(pixels, 0, 0);
  }

  return { data, load, paint, draw, address, state: byHand, VOID };
})();
