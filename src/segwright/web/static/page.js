// Takes a picture, asks the server for its class ids, and draws them. Names are set as text, never as markup.
"use strict";
const $ = (id) => document.getElementById(id);
const NONE = 255; // a pixel without a class
let model = null, shown = null, alone = null, asking = null, saved = "";

const key = { get: () => sessionStorage.getItem("token") || "", set: (text) => sessionStorage.setItem("token", text) };
const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

async function ask(path, options = {}) {
  const headers = key.get() ? { authorization: `Bearer ${key.get()}` } : {};
  const answer = await fetch(path, { ...options, headers: { ...headers, ...options.headers } });
  $("key").hidden = answer.status !== 401;
  if (answer.status === 401) $("token").focus();
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => null);
  const failed = new Error(said?.error?.message || `The server answered ${answer.status}.`);
  failed.again = answer.status === 503 ? Number(answer.headers.get("retry-after")) || 2 : 0;
  throw failed;
}

function say(text, busy = false) {
  $("status").textContent = text;
  $("status").classList.toggle("busy", busy);
}
function complain(text) {
  $("error").textContent = text;
  $("error").hidden = !text;
}

async function learn() {
  for (;;) {
    try {
      model = await (await ask("/model")).json();
      break;
    } catch (failed) {
      if (!failed.again) { say(""); if ($("key").hidden) complain(failed.message); return; }
      say("The model is loading …", true);
      await wait(failed.again);
    }
  }
  const { labels, limits } = model;
  complain("");
  say("");
  $("about").textContent = `${model.name} (${model.architecture}) tells ${labels.classes.length} classes apart, those of ${labels.name}.`;
  $("most").textContent = `, up to ${Math.floor(limits.bytes / 2 ** 20)} MiB and ${Math.floor(limits.pixels / 1e6)} million pixels`;
  $("licence").textContent = `Licence of the weights: ${model.licence}.`;
}

async function take(file) {
  if (!file) return;
  if (!model) await learn();
  if (!model) return;
  asking?.abort();
  const mine = (asking = new AbortController());
  complain("");
  say(`Looking at ${file.name} …`, true);
  try {
    const [answer, picture] = await Promise.all([
      ids(file, mine.signal),
      createImageBitmap(file).catch(() => null), // the browser may not know the format; the server does
    ]);
    if (mine.signal.aborted) return;
    const bytes = await answer.blob();
    const mask = await createImageBitmap(bytes, { colorSpaceConversion: "none" });
    const { width, height } = mask;
    shown = { file, width, height, picture: fits(picture, mask) ? picture : null, ids: values(mask) };
    if (saved) URL.revokeObjectURL(saved);
    $("save").href = saved = URL.createObjectURL(bytes);
    $("save").download = `${file.name.replace(/\.[^.]*$/, "")}_ids.png`;
    present();
  } catch (failed) {
    if (failed.name === "AbortError") return;
    say("");
    complain(failed instanceof TypeError ? "The server cannot be reached. Is it still running?" : failed.message);
  }
}

async function ids(file, signal) {
  for (let turn = 0; ; turn++) {
    try {
      return await ask("/predict/ids", { method: "POST", body: file, headers: { "content-type": "application/octet-stream" }, signal });
    } catch (failed) {
      if (!failed.again || turn === 5) throw failed;
      say("The server is busy; trying again …", true);
      await wait(failed.again);
    }
  }
}

const fits = (picture, mask) => picture && picture.width === mask.width && picture.height === mask.height;

function values(mask) {
  const canvas = new OffscreenCanvas(mask.width, mask.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(mask, 0, 0);
  const pixels = context.getImageData(0, 0, mask.width, mask.height).data;
  const found = new Uint8Array(mask.width * mask.height);
  for (let at = 0; at < found.length; at++) found[at] = pixels[4 * at];
  return found;
}

function present() {
  const { file, width, height, picture } = shown;
  alone = null;
  $("result").hidden = false;
  $("drop").classList.add("small");
  $("name").textContent = file.name;
  $("size").textContent = `${width} × ${height} pixels`;
  $("picture").width = width;
  $("picture").height = height;
  $("picture").style.setProperty("--ratio", width / height);
  $("opacity").disabled = !picture;
  if (!picture) $("size").textContent += " · this browser cannot show the picture itself";
  list();
  paint();
  say(`${shown.classes[0] ? `Mostly ${shown.classes[0].name}` : "No class"}: ${shown.classes.length} classes in ${file.name}.`);
}

function list() {
  const counts = new Uint32Array(256);
  for (const id of shown.ids) counts[id]++;
  const total = shown.ids.length - counts[NONE] || 1;
  shown.classes = model.labels.classes.map((one) => ({ ...one, share: counts[one.id] / total })).filter((one) => one.share > 0);
  shown.classes.sort((a, b) => b.share - a.share);
  $("shares").replaceChildren(...shown.classes.map(entry));
}

function entry(one) {
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-pressed", "false");
  const swatch = part("span", "sw"), color = part("i"), share = part("data"), bar = part("span", "bar"), fill = part("i");
  color.style.background = `rgb(${one.color.map(Number).join(" ")})`;
  const name = part("span");
  name.textContent = name.title = one.name;
  swatch.append(color, name);
  share.value = one.share;
  share.textContent = one.share < 0.0005 ? "<0.1 %" : `${(100 * one.share).toFixed(1)} %`;
  fill.style.width = `${100 * one.share}%`;
  bar.setAttribute("aria-hidden", "true");
  bar.append(fill);
  button.append(swatch, share, bar);
  button.addEventListener("click", () => {
    alone = alone === one.id ? null : one.id;
    for (const other of $("shares").querySelectorAll("button")) other.setAttribute("aria-pressed", String(alone !== null && other === button));
    paint();
  });
  const item = document.createElement("li");
  item.append(button);
  return item;
}

function part(kind, style = "") {
  const made = document.createElement(kind);
  if (style) made.className = style;
  return made;
}

function paint() {
  const { width, height, picture, ids } = shown;
  const opacity = picture ? $("opacity").value / 100 : 1;
  const colors = new Uint8ClampedArray(4 * ids.length);
  const palette = new Array(256).fill(null);
  for (const one of model.labels.classes) palette[one.id] = one.color;
  for (let at = 0; at < ids.length; at++) {
    const color = palette[ids[at]];
    if (!color || (alone !== null && ids[at] !== alone)) continue;
    colors.set(color, 4 * at);
    colors[4 * at + 3] = 255;
  }
  const layer = new OffscreenCanvas(width, height);
  layer.getContext("2d").putImageData(new ImageData(colors, width, height), 0, 0);
  const context = $("picture").getContext("2d");
  context.globalAlpha = 1;
  context.clearRect(0, 0, width, height);
  if (picture) context.drawImage(picture, 0, 0);
  context.globalAlpha = alone === null ? opacity : Math.max(opacity, 0.7);
  context.drawImage(layer, 0, 0);
  $("opacity").setAttribute("aria-valuetext", `${Math.round(100 * opacity)} % colour`);
}

function point(event) {
  const box = $("picture").getBoundingClientRect();
  const x = Math.floor(((event.clientX - box.left) / box.width) * shown.width);
  const y = Math.floor(((event.clientY - box.top) / box.height) * shown.height);
  if (x < 0 || y < 0 || x >= shown.width || y >= shown.height) return;
  const id = shown.ids[y * shown.width + x];
  const name = model.labels.classes.find((one) => one.id === id)?.name ?? "no class";
  $("under").textContent = `${name} at ${x}, ${y}`;
}

$("file").addEventListener("change", (event) => { take(event.target.files[0]); event.target.value = ""; });
$("opacity").addEventListener("input", paint);
for (const kind of ["pointermove", "pointerdown"]) $("picture").addEventListener(kind, point);
$("key").addEventListener("submit", (event) => { event.preventDefault(); key.set($("token").value.trim()); $("token").value = ""; learn(); });
addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").classList.remove("over"); });
addEventListener("drop", (event) => { event.preventDefault(); $("drop").classList.remove("over"); take(event.dataTransfer.files[0]); });
addEventListener("paste", (event) => take([...event.clipboardData.files][0]));
learn();
