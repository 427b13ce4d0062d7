"use strict";

// Everything from the data is put on the page as text, never as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const N = data.files.length;
const { size: SINGLE, chunk: CHUNK, cell: CELL, per_side: PER_SIDE } = data.thumbnails;
const NONE = -1;

function $(id) { return document.getElementById(id); }

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "swatch") node.style.setProperty("--swatch", value);
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value !== null) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

function button(text, onclick, attributes = {}) {
  return element("button", { type: "button", onclick, ...attributes }, text);
}

function count(value) { return value.toLocaleString("en").replace(/,/g, "\u2009"); }

function images(value) { return value === 1 ? "1 image" : `${count(value)} images`; }

function baseName(i) { return data.files[i].slice(data.files[i].lastIndexOf("/") + 1) || data.files[i]; }

function folder(i) { return data.files[i].slice(0, Math.max(0, data.files[i].lastIndexOf("/"))); }

function percent(value) {
  const hundred = 100 * value;
  return `${hundred > 0 && hundred < 9.95 ? hundred.toFixed(1) : hundred.toFixed(0)} %`;
}

function decimal(value, digits = 2) { return Number.isFinite(value) ? value.toFixed(digits) : "–"; }


// Numbers

function unpack(base64, Type) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new Type(bytes.buffer);
}

function unpackHalf(base64) {
  return Float32Array.from(unpack(base64, Uint16Array), (half) => {
    const sign = half & 0x8000 ? -1 : 1;
    const exponent = (half >> 10) & 31;
    const fraction = (half & 1023) / 1024;
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction);
  });
}

const labels = unpack(data.labels, Int16Array);
const second = unpack(data.second, Int16Array);
const confidence = unpack(data.confidence, Float32Array);
const margin = unpack(data.margin, Float32Array);
const distance = unpack(data.distance, Float32Array);
const positions = Float32Array.from(unpack(data.positions, Uint16Array), (value) => value / 65535);
const flags = new Array(N).fill("");
const rankOfCluster = new Map(data.clusters.map((cluster, rank) => [cluster.cluster, rank]));
for (const cluster of data.clusters) {
  for (const flag of ["typical", "borderline", "odd"]) for (const i of cluster[flag]) flags[i] = flag;
}
for (const column of data.columns) {
  column.codes = unpack(column.codes, column.texts.length > 65535 ? Uint32Array : Uint16Array);
  if (column.kind === "number") column.groups = unpack(column.groups, Int16Array);
}

function valueOf(column, i) { return column.texts[column.codes[i]]; }

let embedding = null;

function nearest(i, wanted) {
  embedding ??= unpackHalf(data.embedding);
  const d = data.dimensions;
  const start = i * d;
  const far = new Float32Array(N);
  for (let j = 0; j < N; j++) {
    let sum = 0;
    for (let k = 0; k < d; k++) {
      const difference = embedding[start + k] - embedding[j * d + k];
      sum += difference * difference;
    }
    far[j] = sum;
  }
  if (data.metric === "cosine") cosineDistances(i, far);
  const best = [];
  for (let j = 0; j < N; j++) {
    if (j === i || (best.length === wanted && far[j] >= far[best[wanted - 1]])) continue;
    let place = best.length;
    while (place > 0 && far[best[place - 1]] > far[j]) place--;
    best.splice(place, 0, j);
    if (best.length > wanted) best.pop();
  }
  return best;
}

function cosineDistances(i, far) {
  // |a - b|² = |a|² + |b|² - 2ab; the rows lost their unit length when dimensions were dropped.
  const d = data.dimensions;
  const squares = new Float32Array(N);
  for (let j = 0; j < N * d; j++) squares[(j / d) | 0] += embedding[j] * embedding[j];
  for (let j = 0; j < N; j++) {
    const product = (squares[i] + squares[j] - far[j]) / 2;
    far[j] = 1 - product / (Math.sqrt(squares[i] * squares[j]) || 1);
  }
}


// Thumbnails

const chunks = [];

function single(i) {
  const chunk = Math.floor(i / CHUNK);
  chunks[chunk] ??= $(`thumbnails-${chunk}`).textContent.split("\n");
  const base64 = chunks[chunk][i % CHUNK];
  return base64 ? `data:image/webp;base64,${base64}` : "";
}

const sheets = [];

function sheet(number) {
  if (!sheets[number]) {
    const image = new Image();
    image.decoding = "async";
    image.src = `data:image/webp;base64,${$(`sheet-${number}`).textContent}`;
    sheets[number] = { image, ready: false };
    sheets[number].loaded = image.decode().then(() => {
      sheets[number].ready = true;
      requestDraw();
    });
  }
  return sheets[number];
}

function cellOf(i) {
  const place = i % (PER_SIDE * PER_SIDE);
  return {
    number: Math.floor(i / (PER_SIDE * PER_SIDE)),
    x: (place % PER_SIDE) * CELL,
    y: Math.floor(place / PER_SIDE) * CELL,
  };
}

function picture(i) {
  const img = element("img", { alt: data.files[i], decoding: "async" });
  const source = single(i);
  if (source) {
    img.src = source;
  } else {
    const cell = cellOf(i);
    sheet(cell.number).loaded.then(() => {
      const canvas = element("canvas", { width: CELL, height: CELL });
      canvas.getContext("2d").drawImage(sheets[cell.number].image, -cell.x, -cell.y);
      img.src = canvas.toDataURL();
    });
  }
  return img;
}

function tile(i, caption = null, onchoose = openImage) {
  return element("li", {},
    button(picture(i), () => onchoose(i), { class: "tile", title: data.files[i], "data-image": i }),
    caption);
}

function clusterCaption(cluster) {
  return element("p", { class: "caption" }, swatch(clusterColour(cluster)),
    element("span", { "data-short-name-of": cluster }, shortName(cluster)));
}

function tiles(indices, caption = () => null) {
  return element("ul", { class: "tiles" }, ...indices.map((i) => tile(i, caption(i))));
}


// Colours and names

// Paul Tol's bright set and six more, told apart with the common kinds of colour blindness.
const COLOURS = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377",
  "#ee8833", "#0d8f8f", "#9a7fd1", "#a06b3c", "#e58ac0", "#7f8c2f"];
const SCALE = ["#482878", "#3e4a89", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#c2df23"];
const OTHER = "#8f8b83";

function swatch(colour) { return element("span", { class: "swatch", swatch: colour, "aria-hidden": "true" }); }

function clusterColour(cluster) {
  const rank = rankOfCluster.get(cluster);
  if (cluster === NONE || rank === undefined) return OTHER;
  return mixed(COLOURS[rank % COLOURS.length], Math.floor(rank / COLOURS.length));
}

function channels(colour) { return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)); }

function mixed(colour, round) {
  const towards = round % 2 ? 255 : 0;
  const part = round && Math.min(0.75, 0.3 + 0.15 * round);
  return `#${channels(colour).map((value) => Math.round(value + part * (towards - value)).toString(16).padStart(2, "0")).join("")}`;
}

const NAMES_KEY = `skdcec-names-${data.id}`;
const names = new Map(data.clusters.map((cluster) => [cluster.cluster, { name: cluster.name, note: cluster.note }]));

function defaultName(cluster) { return cluster === NONE ? "In no cluster" : `Cluster ${cluster}`; }

function shortName(cluster) { return names.get(cluster)?.name || String(cluster); }

function clusterName(cluster) { return names.get(cluster)?.name || defaultName(cluster); }

function loadNames() {
  try {
    for (const { cluster, name, note } of JSON.parse(localStorage.getItem(NAMES_KEY) ?? "[]")) {
      if (names.has(cluster)) names.set(cluster, { name: String(name), note: String(note) });
    }
    $("names-kept").textContent = " and are kept in this browser";
  } catch {
    $("names-kept").textContent = " but are lost when the page closes";
  }
}

function nameRows() { return [...names].map(([cluster, entry]) => ({ cluster, ...entry })); }

function changeName(cluster, entry) {
  names.set(cluster, { ...names.get(cluster), ...entry });
  try {
    localStorage.setItem(NAMES_KEY, JSON.stringify(nameRows()));
  } catch {
    // Browsers may refuse storage to files; the names then live as long as the page.
  }
  for (const node of document.querySelectorAll(`[data-name-of="${cluster}"]`)) {
    node.textContent = clusterName(cluster);
  }
  for (const node of document.querySelectorAll(`[data-short-name-of="${cluster}"]`)) {
    node.textContent = shortName(cluster);
  }
  if (state.colour === "cluster") showLegend();
  requestDraw();
}


// Files for the reader

function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = element("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function csvField(value) {
  let text = String(value ?? "");
  // A spreadsheet would run such a text as a formula.
  if (typeof value === "string" && /^'*[=+\-@\t\r]/.test(text) && !/^[-+]?[\d.]+(e[-+]?\d+)?$/i.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function saveCsv(name, indices) {
  const taken = ["file", "cluster", "cluster_name", "confidence", "second_cluster", "margin", "distance", "x", "y", "flag"];
  const head = [...taken, ...data.columns.map(({ name: column }) => (taken.includes(column) ? `metadata_${column}` : column))];
  const number = (value) => (Number.isFinite(value) ? Number(value.toPrecision(6)) : "");
  const rows = indices.map((i) => [
    data.files[i], labels[i], clusterName(labels[i]), number(confidence[i]), second[i] === NONE ? "" : second[i],
    number(margin[i]), number(distance[i]), number(positions[2 * i]), number(positions[2 * i + 1]), flags[i],
    ...data.columns.map((column) => valueOf(column, i)),
  ]);
  save(name, "text/csv", `\ufeff${[head, ...rows].map((row) => row.map(csvField).join(",")).join("\r\n")}\r\n`);
}


// 1 Cluster cards

function showLead() {
  const real = data.clusters.filter(({ cluster }) => cluster !== NONE);
  const parts = [`${images(N)} in ${real.length === 1 ? "one cluster" : `${real.length} clusters`}`];
  if (real.length < data.clusters.length) parts.push(`${count(data.clusters.at(-1).size)} of them in none`);
  if (data.unused.length) parts.push(`without members: ${data.unused.join(", ")}`);
  $("lead").textContent = parts.join("; ");
}

function showCards() {
  $("cards").append(...data.clusters.map(clusterCard));
  $("save-names").addEventListener("click", () => save("cluster-names.json", "application/json",
    JSON.stringify({ format: "skdcec cluster names", title: data.title, clusters: nameRows() }, null, 1)));
}

function clusterCard(cluster) {
  const { name, note } = names.get(cluster.cluster);
  const input = element("input", {
    type: "text", value: name, placeholder: defaultName(cluster.cluster), maxlength: 200,
    "aria-label": `Name of cluster ${cluster.cluster}`, spellcheck: "false",
    oninput: () => changeName(cluster.cluster, { name: input.value.trim() }),
  });
  const area = element("textarea", {
    rows: 1, placeholder: "Add a note", maxlength: 10000, "aria-label": `Note on cluster ${cluster.cluster}`,
    oninput: () => changeName(cluster.cluster, { note: area.value.trim() }),
  }, note);
  const about = element("div", {},
    element("div", { class: "cluster-name" }, swatch(clusterColour(cluster.cluster)), input),
    element("p", { class: "cluster-size" }, `${images(cluster.size)}, ${percent(cluster.share)}`),
    palette(cluster.palette), clusterFacts(cluster), outstanding(cluster), area,
    button(`See all ${count(cluster.size)}`, () => {
      setColour("cluster");
      state.only = new Set([rankOfCluster.get(cluster.cluster)]);
      refilter();
      const members = indicesOf((i) => labels[i] === cluster.cluster);
      showGallery(members.sort((a, b) => distance[a] - distance[b]), clusterName(cluster.cluster));
    }));
  const examples = element("div", { class: "examples" },
    exampleList("Typical", cluster.typical),
    exampleList("Borderline", cluster.borderline, (i) => clusterCaption(second[i])),
    exampleList("Odd", cluster.odd));
  return element("article", { class: "cluster", "data-cluster": cluster.cluster, "aria-label": clusterName(cluster.cluster) },
    about, examples);
}

function palette(colours) {
  const label = colours.map(([colour, share]) => `${colour} ${share} %`).join(", ");
  return element("div", { class: "palette", role: "img", "aria-label": `Colours: ${label}` },
    ...colours.map(([colour, share]) => {
      const part = element("span", { swatch: colour, title: `${colour}, ${share} %` });
      part.style.flexGrow = Math.max(1, share);
      return part;
    }));
}

function clusterFacts(cluster) {
  const rows = [["Lightness", decimal(cluster.lightness, 0)], ["Contrast", decimal(cluster.contrast, 0)]];
  if (cluster.confidence !== null) rows.push(["Confidence", `${decimal(cluster.confidence)} on average`]);
  return factList(rows);
}

function factList(rows) {
  return element("dl", { class: "facts" },
    ...rows.flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, value)]));
}

function outstanding(cluster) {
  if (!cluster.outstanding.length) return null;
  const rows = cluster.outstanding.map(([column, value, inside, lift]) => element("tr",
    { title: `${column}: ${inside} of ${cluster.size} images` },
    element("td", {}, value, " ", element("small", {}, column)),
    element("td", { class: "right" }, percent(inside / cluster.size)),
    element("td", { class: "right" }, `${lift.toFixed(1)}×`)));
  return element("table", { class: "outstanding" },
    element("thead", {}, element("tr", {}, ...["Stands out", "share", "lift"].map((text, i) => element("th", { scope: "col", class: i ? "right" : "" }, text)))),
    element("tbody", {}, ...rows));
}

function exampleList(title, indices, caption) {
  return element("div", {}, element("h4", {}, indices.length ? title : ""), tiles(indices, caption));
}

function indicesOf(test) {
  const found = [];
  for (let i = 0; i < N; i++) if (test(i)) found.push(i);
  return found;
}


// 2 The map: what is shown

const state = {
  x: 0.5, y: 0.5, zoom: 1, mode: "auto", tool: "move", colour: "cluster", search: "",
  only: new Set(), focus: NONE, found: N,
};
const groups = { of: new Int16Array(N), list: [] };
const matches = new Uint8Array(N).fill(1);

function setColour(name) {
  const column = data.columns.find((candidate) => candidate.name === name && candidate.kind !== "text");
  state.colour = column ? name : "cluster";
  $("colour").value = state.colour;
  if (!column) groupByCluster();
  else if (column.kind === "number") groupByNumber(column);
  else groupByCategory(column);
  groups.sizes = new Int32Array(groups.list.length);
  for (let i = 0; i < N; i++) groups.sizes[groups.of[i]]++;
  state.only.clear();
  refilter();
}

function groupByCluster() {
  groups.list = data.clusters.map(({ cluster }) => ({ colour: clusterColour(cluster), cluster }));
  for (let i = 0; i < N; i++) groups.of[i] = rankOfCluster.get(labels[i]);
}

function groupByNumber(column) {
  const last = Math.max(1, column.levels.length - 1);
  groups.list = column.levels.map((name, rank) => ({ name, colour: SCALE[Math.round((rank / last) * (SCALE.length - 1))] }));
  groups.list.push({ name: "no value", colour: OTHER });
  for (let i = 0; i < N; i++) groups.of[i] = column.groups[i] < 0 ? column.levels.length : column.groups[i];
}

function groupByCategory(column) {
  const sizes = new Int32Array(column.texts.length);
  for (let i = 0; i < N; i++) sizes[column.codes[i]]++;
  const order = [...sizes.keys()].filter((code) => column.texts[code]).sort((a, b) => sizes[b] - sizes[a]);
  const shown = order.slice(0, COLOURS.length);
  const rank = new Int16Array(column.texts.length).fill(shown.length);
  shown.forEach((code, place) => { rank[code] = place; });
  groups.list = shown.map((code, place) => ({ name: column.texts[code], colour: COLOURS[place] }));
  groups.list.push({ name: order.length > shown.length ? `${order.length - shown.length} others` : "no value", colour: OTHER });
  for (let i = 0; i < N; i++) groups.of[i] = rank[column.codes[i]];
}

function groupName(group) { return group.cluster === undefined ? group.name : clusterName(group.cluster); }

function showLegend() {
  $("legend").replaceChildren(...groups.list.flatMap((group, rank) => (groups.sizes[rank] ? [element("li", {},
    element("button", {
      type: "button", "aria-pressed": String(state.only.has(rank)), title: "Show only this, or all again",
      onclick: () => {
        if (!state.only.delete(rank)) state.only.add(rank);
        refilter();
      },
    }, swatch(group.colour), groupName(group), element("span", { class: "number" }, count(groups.sizes[rank]))))] : [])));
}

function folded(text) { return text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase(); }

let haystack = null;

function searchTexts() {
  haystack ??= data.files.map((file, i) => folded([file, ...data.columns.map((column) => valueOf(column, i))].join("\n")));
  return haystack;
}

function refilter() {
  const words = folded(state.search).split(/\s+/).filter(Boolean);
  const named = new Set([...names.keys()].filter((cluster) => folded(clusterName(cluster)) === words.join(" ")));
  const texts = words.length && !named.size ? searchTexts() : null;
  let found = 0;
  for (let i = 0; i < N; i++) {
    const fits = texts ? words.every((word) => texts[i].includes(word)) : !named.size || named.has(labels[i]);
    matches[i] = fits && (!state.only.size || state.only.has(groups.of[i])) ? 1 : 0;
    found += matches[i];
  }
  state.found = found;
  const narrowed = words.length > 0 || state.only.size > 0;
  $("search-show").hidden = !narrowed;
  $("search-show").disabled = !found;
  $("search-show").textContent = found ? `List ${images(found)}` : "No match";
  layoutThumbnails.shown = null;
  showLegend();
  rememberView();
  requestDraw();
}


// 2 The map: drawing

const canvas = $("canvas");
const overlay = $("overlay");
let pen = null;
let marker = null;
const screen2d = { width: 1, height: 1, ratio: 1 };

// The same random order on every visit decides which images yield when there is no room for all.
const order = (() => {
  const keys = new Uint32Array(N);
  for (let i = 0; i < N; i++) keys[i] = Math.imul(i + 1, 2654435761) >>> 0;
  return Int32Array.from(keys.keys()).sort((a, b) => keys[a] - keys[b]);
})();

const extent = [0, 1].map((axis) => {
  let [low, high] = [1, 0];
  for (let i = axis; i < 2 * N; i += 2) {
    low = Math.min(low, positions[i]);
    high = Math.max(high, positions[i]);
  }
  return Math.max(high - low, 0.05);
});

function scale() {
  return state.zoom * Math.min((screen2d.width * 0.93) / extent[0], (screen2d.height * 0.9) / extent[1]);
}

function toScreen(i) { return pointToScreen(positions[2 * i], positions[2 * i + 1]); }

function pointToScreen(x, y) {
  const factor = scale();
  return [(x - state.x) * factor + screen2d.width / 2, (state.y - y) * factor + screen2d.height / 2];
}

function toMap(x, y) {
  const factor = scale();
  return [(x - screen2d.width / 2) / factor + state.x, state.y - (y - screen2d.height / 2) / factor];
}

// The side of the square that each image would have if all shared the map evenly.
function room() { return Math.sqrt((screen2d.width * screen2d.height) / N); }

function thumbnailSide() {
  return Math.min(Math.max(26, Math.min(56, room())) * Math.max(1, state.zoom) ** 0.5, 128);
}

function drawsThumbnails() {
  return state.mode === "images" || (state.mode === "auto" && (state.zoom >= 1.8 || N <= 600));
}

// One image per cell of a grid that lies fixed on the map and halves its area in steps, so that
// moving never changes which images are shown and zooming does so rarely.
function layoutThumbnails() {
  const grid = 2 ** (Math.round(2 * Math.log2(thumbnailSide() / scale())) / 2);
  layoutThumbnails.side = grid * scale();
  if (layoutThumbnails.grid === grid && layoutThumbnails.shown) return layoutThumbnails.shown;
  const columns = Math.ceil(1 / grid) + 1;
  const taken = new Set();
  const shown = [];
  for (const i of order) {
    const cell = Math.floor(positions[2 * i + 1] / grid) * columns + Math.floor(positions[2 * i] / grid);
    if (!matches[i] || taken.has(cell)) continue;
    taken.add(cell);
    shown.push(i);
  }
  return Object.assign(layoutThumbnails, { grid, shown }).shown;
}

function thumbnailPlace(i) {
  const { grid } = layoutThumbnails;
  const factor = scale();
  return [((Math.floor(positions[2 * i] / grid) + 0.5) * grid - state.x) * factor + screen2d.width / 2,
    (state.y - (Math.floor(positions[2 * i + 1] / grid) + 0.5) * grid) * factor + screen2d.height / 2];
}

function placeOf(i) { return isThumbnail(i) ? thumbnailPlace(i) : toScreen(i); }

let drawing = 0;

function requestDraw() {
  if (pen && !drawing) drawing = requestAnimationFrame(() => { drawing = 0; drawMap(); });
}

function drawMap() {
  const { ratio } = screen2d;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  const dots = drawDots();
  let drawn = dots;
  let kind = dots.inView === 1 ? "dot" : "dots";
  if (drawsThumbnails()) {
    drawn = { inView: dots.inView, count: drawThumbnails() };
    kind = "images";
  }
  if (state.colour === "cluster" && !drawsThumbnails()) drawClusterNames();
  $("drawn").textContent = `${count(drawn.count)} of ${count(drawn.inView)} ${kind} drawn`;
  drawMarker();
}

// Dots are written into pixels: twenty thousand calls of drawImage or arc take too long for a frame.

function stamp(radius, colour, width) {
  const [red, green, blue] = channels(colour);
  const reach = Math.ceil(radius);
  const offsets = [];
  const values = [];
  const edges = [];
  for (let dy = -reach; dy <= reach; dy++) {
    for (let dx = -reach; dx <= reach; dx++) {
      const cover = Math.min(1, radius + 0.5 - Math.hypot(dx, dy));
      if (cover <= 0) continue;
      offsets.push(dy * width + dx);
      values.push(((Math.round(255 * cover) << 24) | (blue << 16) | (green << 8) | red) >>> 0);
      edges.push(cover < 1 ? 1 : 0);
    }
  }
  return { reach, offsets: Int32Array.from(offsets), values: Uint32Array.from(values), edges: Uint8Array.from(edges) };
}

// A soft edge may cover the background and the dimmed dots, but not another dot.
function press({ offsets, values, edges }, target, at, dimmed) {
  for (let k = 0; k < offsets.length; k++) {
    const place = at + offsets[k];
    if (!edges[k] || target[place] === 0 || (target[place] & 0xffffff) === dimmed) target[place] = values[k];
  }
}

let sheetOfDots = null;

function drawDots() {
  const { width, height } = canvas;
  if (sheetOfDots?.width !== width || sheetOfDots?.height !== height) sheetOfDots = pen.createImageData(width, height);
  const target = new Uint32Array(sheetOfDots.data.buffer);
  target.fill(0);
  const { ratio } = screen2d;
  const radius = ratio * Math.min(6, Math.min(3.4, Math.max(1.5, 0.21 * room())) * state.zoom ** 0.3);
  const dim = stamp(radius, getComputedStyle(document.documentElement).getPropertyValue("--dim").trim(), width);
  const stamps = groups.list.map(({ colour }) => stamp(radius, colour, width));
  const { reach } = dim;
  const dimmed = dim.values[0] & 0xffffff;
  const factor = scale() * ratio;
  const cell = 2 * ratio;
  const columns = Math.ceil(width / cell);
  const taken = new Uint8Array(columns * Math.ceil(height / cell));
  const result = { inView: 0, count: 0 };
  for (const wanted of [0, 1]) {
    if (wanted) taken.fill(0);
    for (let k = 0; k < N; k++) {
      const i = order[k];
      if (matches[i] !== wanted) continue;
      const x = Math.round((positions[2 * i] - state.x) * factor + width / 2);
      const y = Math.round((state.y - positions[2 * i + 1]) * factor + height / 2);
      if (x < reach || y < reach || x >= width - reach || y >= height - reach) continue;
      result.inView += wanted;
      if (wanted && drawsThumbnails()) continue;
      const place = Math.floor(y / cell) * columns + Math.floor(x / cell);
      if (taken[place]) continue;
      taken[place] = 1;
      result.count += wanted;
      press(wanted ? stamps[groups.of[i]] : dim, target, y * width + x, wanted ? dimmed : NONE);
    }
  }
  pen.putImageData(sheetOfDots, 0, 0);
  return result;
}

const sharp = new Map();

function sharpImage(i) {
  let image = sharp.get(i);
  if (!image) {
    if (sharp.size > 1500) sharp.clear();
    image = new Image();
    image.src = single(i);
    sharp.set(i, image);
    if (image.src) image.decode().then(requestDraw, () => {});
  }
  return image.complete && image.naturalWidth ? image : null;
}

function drawThumbnails() {
  const shown = layoutThumbnails();
  const side = layoutThumbnails.side;
  const outer = side - 2;
  const inner = side - (side > 40 ? 6 : 4);
  let drawn = 0;
  for (const i of shown) {
    const [x, y] = thumbnailPlace(i);
    if (x < -side || y < -side || x > screen2d.width + side || y > screen2d.height + side) continue;
    if (x >= 0 && y >= 0 && x < screen2d.width && y < screen2d.height) drawn++;
    pen.fillStyle = groups.list[groups.of[i]].colour;
    pen.fillRect(x - outer / 2, y - outer / 2, outer, outer);
    const image = inner * screen2d.ratio > 1.2 * CELL && SINGLE > CELL ? sharpImage(i) : null;
    if (image) {
      const crop = Math.min(image.naturalWidth, image.naturalHeight);
      pen.drawImage(image, (image.naturalWidth - crop) / 2, (image.naturalHeight - crop) / 2, crop, crop,
        x - inner / 2, y - inner / 2, inner, inner);
      continue;
    }
    const cell = cellOf(i);
    const source = sheet(cell.number);
    if (source.ready) pen.drawImage(source.image, cell.x, cell.y, CELL, CELL, x - inner / 2, y - inner / 2, inner, inner);
  }
  return drawn;
}

const namePlaces = placesOfNames();

// Where a cluster has many images and a large share of all: the mean of a scattered cluster, or its
// most typical image, may lie in the midst of another one.
function placesOfNames() {
  const side = 20;
  const cell = (value) => Math.min(side - 1, Math.floor(value * side));
  const grid = () => Array.from({ length: side * side }, () => []);
  const all = grid();
  const own = data.clusters.map(grid);
  for (let i = 0; i < N; i++) {
    const place = cell(positions[2 * i]) + side * cell(positions[2 * i + 1]);
    all[place].push(i);
    own[rankOfCluster.get(labels[i])][place].push(i);
  }
  const around = (cells, place) => [-side, 0, side].flatMap((up) => [-1, 0, 1].flatMap((right) => {
    const column = (place % side) + right;
    return column < 0 || column >= side ? [] : cells[place + up + right] ?? [];
  }));
  return own.map((cells) => {
    let members = [];
    let most = 0;
    cells.forEach((inside, place) => {
      if (!inside.length) return;
      const near = around(cells, place);
      const weight = near.length ** 2 / around(all, place).length;
      if (weight > most) [most, members] = [weight, near];
    });
    const mean = (axis) => members.reduce((sum, i) => sum + positions[2 * i + axis], 0) / members.length;
    return [mean(0), mean(1)];
  });
}

function drawClusterNames() {
  const style = getComputedStyle(document.documentElement);
  pen.font = `600 13px ${getComputedStyle(document.body).fontFamily}`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.lineJoin = "round";
  const placed = [];
  data.clusters.forEach(({ cluster, typical }, rank) => {
    if (cluster === NONE || !typical.length || (state.only.size && !state.only.has(rank))) return;
    const [x, y] = pointToScreen(...namePlaces[rank]);
    const text = clusterName(cluster);
    const half = pen.measureText(text).width / 2 + 4;
    if (x < half || x > screen2d.width - half || y < 12 || y > screen2d.height - 12) return;
    if (placed.some((other) => Math.abs(other.x - x) < other.half + half && Math.abs(other.y - y) < 20)) return;
    placed.push({ x, y, half });
    pen.lineWidth = 4;
    pen.strokeStyle = style.getPropertyValue("--surface").trim();
    pen.strokeText(text, x, y);
    pen.fillStyle = style.getPropertyValue("--ink").trim();
    pen.fillText(text, x, y);
  });
}

function drawMarker() {
  const { width, height, ratio } = screen2d;
  marker.setTransform(ratio, 0, 0, ratio, 0, 0);
  marker.clearRect(0, 0, width, height);
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
  marker.strokeStyle = ink;
  if (state.focus !== NONE) {
    const [x, y] = placeOf(state.focus);
    const half = isThumbnail(state.focus) ? layoutThumbnails.side / 2 : 8;
    marker.lineWidth = 2.5;
    marker.beginPath();
    if (half > 8) marker.rect(x - half, y - half, 2 * half, 2 * half);
    else marker.arc(x, y, half, 0, 2 * Math.PI);
    marker.stroke();
  }
  if (trace.length > 1) {
    marker.lineWidth = 1.5;
    marker.setLineDash([5, 4]);
    marker.beginPath();
    for (const [x, y] of traceOutline()) marker.lineTo(x, y);
    marker.closePath();
    marker.stroke();
    marker.setLineDash([]);
    marker.globalAlpha = 0.08;
    marker.fillStyle = ink;
    marker.fill();
    marker.globalAlpha = 1;
  }
}

function isThumbnail(i) { return drawsThumbnails() && layoutThumbnails().includes(i); }

function resize() {
  screen2d.width = Math.max(1, canvas.clientWidth);
  screen2d.height = Math.max(1, canvas.clientHeight);
  screen2d.ratio = Math.min(2, window.devicePixelRatio || 1);
  for (const surface of [canvas, overlay]) {
    surface.width = Math.round(screen2d.width * screen2d.ratio);
    surface.height = Math.round(screen2d.height * screen2d.ratio);
  }
  drawMap();
}


// 2 The map: moving and pointing

function clampView() {
  state.zoom = Math.min(Math.max(state.zoom, 0.7), 80);
  state.x = Math.min(Math.max(state.x, 0), 1);
  state.y = Math.min(Math.max(state.y, 0), 1);
}

function zoomAt(x, y, factor) {
  const [mapX, mapY] = toMap(x, y);
  state.zoom *= factor;
  clampView();
  const [afterX, afterY] = toMap(x, y);
  state.x += mapX - afterX;
  state.y += mapY - afterY;
  moved();
}

function moved() {
  clampView();
  hideCard();
  rememberView();
  requestDraw();
}

function glide(target) {
  const from = { x: state.x, y: state.y, zoom: state.zoom };
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const began = performance.now();
  const step = (now) => {
    const part = still ? 1 : Math.min(1, Math.max(0, (now - began) / 260));
    const eased = part * (2 - part);
    state.x = from.x + eased * (target.x - from.x);
    state.y = from.y + eased * (target.y - from.y);
    state.zoom = from.zoom * (target.zoom / from.zoom) ** eased;
    moved();
    if (part < 1) requestAnimationFrame(step);
  };
  step(began);
}

function imageAt(x, y, reach = 14) {
  if (drawsThumbnails()) {
    const shown = layoutThumbnails();
    const half = layoutThumbnails.side / 2;
    for (const i of shown) {
      const [px, py] = thumbnailPlace(i);
      if (Math.abs(px - x) <= half && Math.abs(py - y) <= half) return i;
    }
  }
  const [mapX, mapY] = toMap(x, y);
  let best = (reach / scale()) ** 2;
  let found = NONE;
  for (let i = 0; i < N; i++) {
    const squared = (positions[2 * i] - mapX) ** 2 + (positions[2 * i + 1] - mapY) ** 2;
    if (matches[i] && squared <= best) {
      best = squared;
      found = i;
    }
  }
  return found;
}

let cardTimer = 0;

function focusOn(i, pause = 125) {
  if (i === state.focus) return;
  state.focus = i;
  drawMarker();
  hideCard();
  if (i !== NONE) cardTimer = setTimeout(showCard, pause, i);
}

function hideCard() {
  clearTimeout(cardTimer);
  $("card").hidden = true;
}

function showCard(i) {
  const card = $("card");
  card.replaceChildren(picture(i), element("p", {}, element("strong", {}, baseName(i))),
    element("p", {}, swatch(clusterColour(labels[i])), ` ${clusterName(labels[i])}`),
    ...data.columns.filter((column) => valueOf(column, i)).slice(0, 4)
      .map((column) => element("p", { class: "muted" }, `${column.name}: ${valueOf(column, i)}`)));
  card.hidden = false;
  const [x, y] = placeOf(i);
  const gap = isThumbnail(i) ? layoutThumbnails.side / 2 + 8 : 16;
  const right = x + gap + card.offsetWidth <= screen2d.width;
  card.style.left = `${Math.max(4, right ? x + gap : x - gap - card.offsetWidth)}px`;
  card.style.top = `${Math.max(4, Math.min(y - 40, screen2d.height - card.offsetHeight - 8))}px`;
}

const pointers = new Map();
let trace = [];
let pressed = null;

function traceOutline() {
  if (pressed?.tool !== "box") return trace;
  const [[x0, y0], [x1, y1]] = [trace[0], trace.at(-1)];
  return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
}

function pointerPlace(event) {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

function pointerDown(event) {
  if (event.button > 0) return;
  canvas.setPointerCapture(event.pointerId);
  const place = pointerPlace(event);
  pointers.set(event.pointerId, place);
  const tool = event.shiftKey && state.tool === "move" ? "box" : state.tool;
  pressed = { place, tool, far: pointers.size > 1 };
  trace = pointers.size === 1 && pressed.tool !== "move" ? [place] : [];
  hideCard();
}

function pointerMove(event) {
  const place = pointerPlace(event);
  const before = pointers.get(event.pointerId);
  if (!before) {
    if (event.pointerType === "mouse") focusOn(imageAt(...place));
    return;
  }
  if (Math.hypot(place[0] - pressed.place[0], place[1] - pressed.place[1]) > 4) pressed.far = true;
  if (pointers.size === 2) {
    const [id] = [...pointers.keys()].filter((other) => other !== event.pointerId);
    const still = pointers.get(id);
    const grown = Math.hypot(place[0] - still[0], place[1] - still[1])
      / (Math.hypot(before[0] - still[0], before[1] - still[1]) || 1);
    pointers.set(event.pointerId, place);
    state.x -= (place[0] - before[0]) / 2 / scale();
    state.y += (place[1] - before[1]) / 2 / scale();
    zoomAt((place[0] + still[0]) / 2, (place[1] + still[1]) / 2, grown);
    return;
  }
  pointers.set(event.pointerId, place);
  if (trace.length) {
    trace.push(place);
    drawMarker();
  } else if (pressed.far) {
    state.x -= (place[0] - before[0]) / scale();
    state.y += (place[1] - before[1]) / scale();
    moved();
  }
}

function pointerUp(event) {
  if (!pointers.delete(event.pointerId) || pointers.size) return;
  if (trace.length > 1 && pressed.far) selectInside(traceOutline());
  trace = [];
  drawMarker();
}

// Not on pointerup: the click that follows a tap would land on the dialog just opened.
function click(event) {
  if (pressed?.far) return;
  const i = imageAt(...pointerPlace(event), event.pointerType === "mouse" ? 14 : 22);
  if (i !== NONE) openImage(i);
}

function selectInside(outline) {
  const inside = (x, y) => {
    let odd = false;
    for (let a = 0, b = outline.length - 1; a < outline.length; b = a++) {
      const [ax, ay] = outline[a];
      const [bx, by] = outline[b];
      if ((ay > y) !== (by > y) && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
    }
    return odd;
  };
  const found = indicesOf((i) => matches[i] && inside(...toScreen(i)));
  $("announce").textContent = `${images(found.length)} selected`;
  if (found.length) showGallery(found, "Selection");
}

function wheel(event) {
  // Plain scrolling belongs to the page until the reader has turned to the map.
  if (!event.ctrlKey && document.activeElement !== canvas) return;
  event.preventDefault();
  const pixels = event.deltaY * (event.deltaMode === 1 ? 16 : 1);
  zoomAt(...pointerPlace(event), Math.exp(-pixels * (event.ctrlKey ? 0.01 : 0.0018)));
}

function stepFocus(dx, dy) {
  const start = state.focus === NONE ? [screen2d.width / 2, screen2d.height / 2] : toScreen(state.focus);
  let best = Infinity;
  let found = NONE;
  for (let i = 0; i < N; i++) {
    if (!matches[i] || i === state.focus) continue;
    const [x, y] = toScreen(i);
    const along = (x - start[0]) * dx + (y - start[1]) * dy;
    const across = Math.abs((x - start[0]) * dy) + Math.abs((y - start[1]) * dx);
    if ((state.focus !== NONE && along <= 0) || across > Math.max(2, Math.abs(along)) + (state.focus === NONE ? 1e6 : 0)) continue;
    const cost = Math.abs(along) + 2 * across;
    if (cost < best) {
      best = cost;
      found = i;
    }
  }
  if (found === NONE) return;
  focusOn(found, 0);
  const [x, y] = toScreen(found);
  if (x < 20 || y < 20 || x > screen2d.width - 20 || y > screen2d.height - 20) {
    glide({ x: positions[2 * found], y: positions[2 * found + 1], zoom: state.zoom });
  }
  $("announce").textContent = `${data.files[found]}, ${clusterName(labels[found])}`;
}

function mapKey(event) {
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const arrow = arrows[event.key];
  const middle = [screen2d.width / 2, screen2d.height / 2];
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (arrow && event.shiftKey) {
    state.x += (arrow[0] * 80) / scale();
    state.y -= (arrow[1] * 80) / scale();
    moved();
  } else if (arrow) stepFocus(...arrow);
  else if (event.key === "+" || event.key === "=") zoomAt(...middle, 1.4);
  else if (event.key === "-") zoomAt(...middle, 1 / 1.4);
  else if (event.key === "0") glide({ x: 0.5, y: 0.5, zoom: 1 });
  else if (event.key === "Enter" && state.focus !== NONE) openImage(state.focus);
  else if (event.key === "Escape") focusOn(NONE);
  else return;
  event.preventDefault();
}

function segments(id, options, chosen, onchoose) {
  const buttons = options.map(([value, text]) => button(text, () => choose(value), { "data-value": value }));
  const choose = (value) => {
    for (const one of buttons) one.setAttribute("aria-pressed", one.dataset.value === value);
    onchoose(value);
  };
  $(id).append(...buttons);
  choose(chosen);
}

function startMap() {
  pen = canvas.getContext?.("2d") ?? null;
  marker = overlay.getContext?.("2d") ?? null;
  if (!pen || !marker) {
    pen = null;
    $("map").hidden = true;
    report("This browser cannot draw the map (no Canvas). The table at the end lists all images.");
    return;
  }
  canvas.setAttribute("aria-label", `Map of ${images(N)}`);
  $("colour").append(element("option", { value: "cluster" }, "cluster"),
    ...data.columns.filter(({ kind }) => kind !== "text").map(({ name }) => element("option", { value: name }, name)));
  $("colour").addEventListener("change", () => setColour($("colour").value));
  recallView();
  segments("mode", [["auto", "Auto"], ["dots", "Dots"], ["images", "Images"]], state.mode, (value) => {
    state.mode = value;
    requestDraw();
  });
  segments("tool", [["move", "Move"], ["box", "Box"], ["lasso", "Lasso"]], state.tool, (value) => {
    state.tool = value;
    $("stage").dataset.tool = value;
  });
  let pause = 0;
  $("search").value = state.search;
  $("search").addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(() => {
      state.search = $("search").value;
      refilter();
      $("announce").textContent = `${images(state.found)} found`;
    }, 120);
  });
  $("search-show").addEventListener("click", () => showGallery(indicesOf((i) => matches[i]), "Matches"));
  canvas.addEventListener("pointerdown", pointerDown);
  canvas.addEventListener("pointermove", pointerMove);
  canvas.addEventListener("pointerup", pointerUp);
  canvas.addEventListener("pointercancel", pointerUp);
  canvas.addEventListener("click", click);
  canvas.addEventListener("pointerleave", () => { if (!pointers.size) focusOn(NONE); });
  canvas.addEventListener("wheel", wheel, { passive: false });
  canvas.addEventListener("keydown", mapKey);
  const zoomBy = (factor) => () => glide({ x: state.x, y: state.y, zoom: Math.min(80, Math.max(0.7, state.zoom * factor)) });
  $("zoom-in").addEventListener("click", zoomBy(1.8));
  $("zoom-out").addEventListener("click", zoomBy(1 / 1.8));
  $("zoom-all").addEventListener("click", () => glide({ x: 0.5, y: 0.5, zoom: 1 }));
  setColour(state.colour);
  new ResizeObserver(resize).observe($("stage"));
}


// The view is kept in the address, so that a bookmark or a copied link brings it back

let rememberTimer = 0;

function rememberView() {
  clearTimeout(rememberTimer);
  rememberTimer = setTimeout(() => {
    const view = new URLSearchParams();
    if (state.zoom !== 1 || state.x !== 0.5 || state.y !== 0.5) {
      for (const key of ["x", "y", "zoom"]) view.set(key, Number(state[key].toFixed(4)));
    }
    if (state.colour !== "cluster") view.set("colour", state.colour);
    if (state.search) view.set("search", state.search);
    if (state.only.size) view.set("only", [...state.only].join(" "));
    const hash = view.toString();
    if (hash || location.hash.includes("=")) history.replaceState(null, "", `#${hash}`);
  }, 250);
}

function recallView() {
  const view = new URLSearchParams(location.hash.slice(1));
  for (const key of ["x", "y", "zoom"]) {
    const value = parseFloat(view.get(key));
    if (Number.isFinite(value)) state[key] = value;
  }
  clampView();
  state.search = view.get("search") ?? "";
  setColour(view.get("colour") ?? "cluster");
  for (const rank of (view.get("only") ?? "").split(" ").filter(Boolean).map(Number)) {
    if (rank in groups.list) state.only.add(rank);
  }
  refilter();
}


// The gallery of a selection

function showGallery(indices, title) {
  const gallery = $("gallery");
  const list = tiles([]);
  const more = button("Show more", () => extend(), { class: "more" });
  let shown = 0;
  const extend = () => {
    list.append(...indices.slice(shown, shown + 240).map((i) => tile(i)));
    shown = Math.min(indices.length, shown + 240);
    more.hidden = shown >= indices.length;
  };
  extend();
  gallery.replaceChildren(
    element("div", { class: "section-head" },
      element("h3", {}, `${title}, ${images(indices.length)}`),
      element("div", { class: "actions" },
        button("Save as CSV", () => saveCsv("selection.csv", indices), { id: "save-selection" }),
        button("Close", () => { gallery.hidden = true; canvas.focus({ preventScroll: true }); }))),
    shares(indices), list, more);
  gallery.hidden = false;
  gallery.focus({ preventScroll: true });
  gallery.scrollIntoView({ block: "nearest" });
}

function shares(indices) {
  const sizes = new Map();
  for (const i of indices) sizes.set(labels[i], (sizes.get(labels[i]) ?? 0) + 1);
  const present = data.clusters.filter(({ cluster }) => sizes.has(cluster));
  const text = present.map(({ cluster }) => `${clusterName(cluster)} ${sizes.get(cluster)}`).join(", ");
  return element("div", { class: "shares", role: "img", "aria-label": text, title: text },
    ...present.map(({ cluster }) => {
      const part = element("span", { swatch: clusterColour(cluster) });
      part.style.flexGrow = sizes.get(cluster);
      return part;
    }));
}


// 3 One image and those like it

function imageView(i, onchoose) {
  const rows = [["Cluster", element("span", {}, swatch(clusterColour(labels[i])), " ", element("span", { "data-name-of": labels[i] }, clusterName(labels[i])))]];
  if (Number.isFinite(confidence[i])) rows.push(["Confidence", decimal(confidence[i])]);
  if (second[i] !== NONE) rows.push(["Next best", `${clusterName(second[i])}, margin ${decimal(margin[i])}`]);
  rows.push(["Distance", `${Number(distance[i].toPrecision(3))} from the centre${flags[i] ? `, ${flags[i]}` : ""}`]);
  for (const column of data.columns) if (valueOf(column, i)) rows.push([column.name, valueOf(column, i)]);
  if (folder(i)) rows.push(["Folder", folder(i)]);
  const list = element("ul", { class: "tiles" },
    ...nearest(i, 18).map((other) => tile(other, clusterCaption(labels[other]), onchoose)));
  return element("div", { class: "image-view", "data-image": i },
    element("div", { class: "portrait" }, picture(i), element("h3", {}, baseName(i)), factList(rows)),
    element("div", {}, element("h4", {}, "Most similar first, with their clusters"), list));
}

function openImage(i) {
  const dialog = $("dialog");
  hideCard();
  const map = pen ? button("Show on the map", () => {
    dialog.close();
    state.focus = NONE;
    glide({ x: positions[2 * i], y: positions[2 * i + 1], zoom: Math.max(6, state.zoom) });
    $("stage").scrollIntoView({ block: "center" });
    focusOn(i, 400);
  }) : null;
  dialog.replaceChildren(
    element("div", { class: "dialog-bar" }, map, button("Close", () => dialog.close())),
    imageView(i, openImage));
  dialog.setAttribute("aria-label", data.files[i]);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function showSimilar(i) {
  $("similar-body").replaceChildren(imageView(i, showSimilar));
  $("pick").value = "";
}

function startSimilar() {
  $("similar-hint").textContent = `The nearest by ${data.metric === "cosine" ? "cosine" : "Euclidean"} distance in the same space as the map, whatever their cluster. Every image on this page opens its own list.`;
  $("pick").addEventListener("input", () => {
    const exact = data.files.indexOf($("pick").value);
    if (exact >= 0) {
      showSimilar(exact);
      return;
    }
    const words = folded($("pick").value).split(/\s+/).filter(Boolean);
    const found = words.length ? indicesOf((i) => words.every((word) => searchTexts()[i].includes(word))).slice(0, 20) : [];
    $("pick-list").replaceChildren(...found.map((i) => element("option", { value: data.files[i] })));
  });
  $("pick-random").addEventListener("click", () => showSimilar(Math.floor(Math.random() * N)));
  $("dialog").addEventListener("click", (event) => { if (event.target === $("dialog")) $("dialog").close(); });
  showSimilar(data.clusters[0].typical[0] ?? 0);
}


// 4 Metadata

function showMetadata() {
  const body = $("metadata-body");
  if (!data.agreement.length) {
    body.append(element("p", { class: "hint" }, "No metadata came with these images."));
    return;
  }
  body.append(element("p", { class: "hint" }, "How far do clusters and metadata agree? NMI is 0 if they know nothing of each other and 1 if each tells the other; many values raise it by chance alone, so compare it with the mark, its mean over shuffled labels. Homogeneity asks whether a cluster holds one value only, completeness whether a value stays in one cluster; NMI, also called V-measure, is their harmonic mean."));
  body.append(element("div", { class: "scroll" }, agreementTable()));
  data.agreement.filter(({ counts }) => counts).forEach((agreement, rank) => body.append(crossTable(agreement, rank === 0)));
}

function agreementTable() {
  const rows = data.agreement.map((agreement) => {
    const head = element("th", { scope: "row" }, agreement.column);
    if (!agreement.counts) {
      const why = agreement.kind === "text" ? `${count(agreement.n_values)} different values: nothing to compare` : "one value only: nothing to compare";
      return element("tr", {}, head, element("td", { colspan: 6 }, why));
    }
    const meter = element("span", { class: "meter", "aria-hidden": "true" }, element("i"), element("b"));
    meter.style.setProperty("--value", percent100(agreement.nmi));
    meter.style.setProperty("--chance", percent100(agreement.chance));
    return element("tr", {}, head, element("td", { class: "right" }, count(agreement.n_values)),
      element("td", { class: "right" }, decimal(agreement.nmi, 3)), element("td", { class: "right" }, decimal(agreement.chance, 3)),
      element("td", {}, meter), element("td", { class: "right" }, decimal(agreement.homogeneity, 3)),
      element("td", { class: "right" }, decimal(agreement.completeness, 3)));
  });
  const heads = ["Column", "Values", "NMI", "By chance", "", "Homogeneity", "Completeness"];
  return element("table", {}, element("thead", {}, element("tr", {}, ...heads.map((text, i) => element("th", { scope: "col", class: i && text ? "right" : "" }, text)))),
    element("tbody", {}, ...rows));
}

function percent100(value) { return `${Math.max(0, Math.min(100, 100 * value)).toFixed(1)}%`; }

function crossTable(agreement, open) {
  const column = data.columns.find(({ name }) => name === agreement.column);
  const rowSums = agreement.counts.map((row) => row.reduce((a, b) => a + b, 0));
  const columnSums = agreement.clusters.map((_, j) => agreement.counts.reduce((sum, row) => sum + row[j], 0));
  const total = rowSums.reduce((a, b) => a + b, 0);
  const byName = column.kind === "number";
  const order = [...rowSums.keys()].sort((a, b) => (byName ? a - b : rowSums[b] - rowSums[a]));
  const rows = order.map((r) => element("tr", {}, element("th", { scope: "row" }, agreement.levels[r]),
    ...agreement.clusters.map((cluster, c) => {
      const expected = (rowSums[r] * columnSums[c]) / total;
      const spread = Math.sqrt(expected * (1 - rowSums[r] / total) * (1 - columnSums[c] / total)) || 1;
      return crossCell(column, agreement.levels[r], cluster, agreement.counts[r][c], expected, spread);
    }),
    element("td", { class: "right" }, count(rowSums[r]))));
  const head = element("tr", {}, element("th", { scope: "col" }, ""), ...agreement.clusters.map((cluster) => element("th", { scope: "col" },
    swatch(clusterColour(cluster)), " ", element("span", { "data-name-of": cluster }, clusterName(cluster)))), element("th", { scope: "col" }, "all"));
  const missing = agreement.n_missing ? ` ${images(agreement.n_missing)} without a value left out.` : "";
  return element("details", { open }, element("summary", {}, `Clusters and ${agreement.column}`),
    element("div", {}, element("p", { class: "hint small" }, `Blue cells hold more images than independence would give, orange ones fewer; the deeper, the less likely by chance (adjusted residuals). A cell opens its images.${missing}`),
      element("div", { class: "scroll" }, element("table", { class: "cross" }, element("thead", {}, head), element("tbody", {}, ...rows)))));
}

function crossCell(column, level, cluster, value, expected, spread) {
  const residual = (value - expected) / spread;
  const inside = (i) => labels[i] === cluster
    && (column.kind === "number" ? column.levels[column.groups[i]] : valueOf(column, i)) === level;
  const cell = button(count(value), () => {
    const found = indicesOf(inside);
    if (found.length) showGallery(found, `${level} in ${clusterName(cluster)}`);
  }, {
    disabled: value === 0, title: `${level}: ${value} images, ${expected.toFixed(1)} expected, residual ${residual.toFixed(1)}`,
  });
  if (Math.abs(residual) > 2) {
    cell.style.setProperty("--shade", `var(--${residual > 0 ? "more" : "fewer"})`);
    cell.style.setProperty("--depth", Math.min(0.7, 0.06 + Math.abs(residual) / 28));
  }
  return element("td", {}, cell);
}


// 5 Training

function svg(tag, attributes, text = null) {
  const node = document.createElementNS($("svg").namespaceURI, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  return node;
}

function curve({ name, values }) {
  const known = values.filter((value) => value !== null);
  if (!known.length) return null;
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const [width, height, left] = [280, 130, 46];
  const x = (i) => left + (i / Math.max(1, values.length - 1)) * (width - left - 6);
  const y = (value) => 12 + (1 - (value - low) / (high - low || 1)) * (height - 34);
  const short = (value) => (value && Math.abs(value) < 1e-4 ? value.toExponential(1) : String(Number(value.toPrecision(3))));
  let path = "";
  values.forEach((value, i) => {
    if (value !== null) path += `${i && values[i - 1] !== null ? "L" : "M"}${x(i).toFixed(1)},${y(value).toFixed(1)}`;
  });
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${name}: from ${short(known[0])} to ${short(known.at(-1))}` });
  drawing.append(
    svg("line", { x1: left, x2: width - 6, y1: y(low), y2: y(low) }),
    svg("text", { x: left - 6, y: y(high) + 4, "text-anchor": "end" }, short(high)),
    ...(high > low ? [svg("text", { x: left - 6, y: y(low) + 4, "text-anchor": "end" }, short(low))] : []),
    svg("text", { x: left, y: height - 6 }, "1"),
    svg("text", { x: width - 6, y: height - 6, "text-anchor": "end" }, String(values.length)),
    svg("path", { d: values.length > 1 ? path : `${path}h4` }));
  return element("figure", {}, element("figcaption", {}, element("span", {}, name), element("span", { class: "number" }, short(known.at(-1)))), drawing);
}

function showTraining() {
  const body = $("training-body");
  for (const section of data.history) {
    body.append(element("h3", {}, section.title), element("div", { class: "curves" }, ...section.curves.map(curve).filter(Boolean)));
  }
  if (data.history.length) body.append(element("p", { class: "hint small" }, "Each curve runs over the epochs; the number is its last value."));
  for (const [title, rows, open] of [["Settings", data.settings, true], ["Versions", data.versions, false]]) {
    if (!rows.length) continue;
    body.append(element("details", { open }, element("summary", {}, title), element("div", { class: "scroll" },
      element("table", { class: "settings" }, element("tbody", {}, ...rows.map(([key, value]) => element("tr", {}, element("th", { scope: "row" }, key), element("td", {}, value))))))));
  }
}


// The table of all images

const PAGE = 100;

function startTable() {
  const columns = [
    ["file", (i) => data.files[i]], ["cluster", (i) => labels[i]], ["confidence", (i) => confidence[i]],
    ["second cluster", (i) => second[i]], ["margin", (i) => margin[i]], ["distance", (i) => distance[i]], ["flag", (i) => flags[i]],
    ...data.columns.map((column) => [column.name, column.kind === "number"
      ? (i) => (valueOf(column, i) === "" ? NaN : Number(valueOf(column, i))) : (i) => valueOf(column, i)]),
  ];
  const rows = Int32Array.from({ length: N }, (_, i) => i);
  const view = { sorted: NONE, down: false, start: 0 };
  const sortBy = (k) => {
    view.down = view.sorted === k ? !view.down : false;
    Object.assign(view, { sorted: k, start: 0 });
    const values = Array.from({ length: N }, (_, i) => columns[k][1](i));
    const sign = view.down ? -1 : 1;
    const collator = new Intl.Collator(undefined, { numeric: true });
    rows.sort((a, b) => (typeof values[a] === "string" ? sign * collator.compare(values[a], values[b])
      : Number.isNaN(values[a]) - Number.isNaN(values[b]) || sign * (values[a] - values[b])) || a - b);
    showTablePage(columns, rows, view, sortBy);
  };
  showTablePage(columns, rows, view, sortBy);
  $("save-all").addEventListener("click", () => saveCsv("clusters.csv", [...Array(N).keys()]));
}

function showTablePage(columns, rows, view, sortBy) {
  const head = element("tr", {}, ...columns.map(([name], k) => element("th", {
    scope: "col", "aria-sort": view.sorted === k ? (view.down ? "descending" : "ascending") : "none",
  }, button(`${name}${view.sorted === k ? (view.down ? " ↓" : " ↑") : ""}`, () => sortBy(k)))));
  const body = [...rows.slice(view.start, view.start + PAGE)].map((i) => element("tr", {},
    element("td", {}, button(data.files[i], () => openImage(i))),
    ...columns.slice(1).map(([name, value]) => tableCell(name, value(i)))));
  const end = Math.min(N, view.start + PAGE);
  const turn = (step) => {
    view.start += step;
    showTablePage(columns, rows, view, sortBy);
  };
  $("table-body").replaceChildren(
    element("div", { class: "scroll" }, element("table", {}, element("thead", {}, head), element("tbody", {}, ...body))),
    element("div", { class: "pages" }, button("Back", () => turn(-PAGE), { disabled: view.start === 0 }),
      element("span", {}, `${count(view.start + 1)} to ${count(end)} of ${count(N)}`),
      button("Next", () => turn(PAGE), { disabled: end === N })));
}

function tableCell(name, value) {
  if (typeof value === "string") return element("td", {}, value);
  if (Number.isNaN(value) || (name === "second cluster" && value === NONE)) return element("td", {}, "");
  return element("td", { class: "right" }, Number.isInteger(value) ? String(value) : Number(value.toPrecision(3)).toString());
}


// The page as a whole

function report(message) {
  const place = $("problem");
  place.textContent = place.hidden ? message : `${place.textContent} ${message}`;
  place.hidden = false;
}

function startTheme() {
  const dark = () => (document.documentElement.dataset.theme
    ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const show = () => { $("theme").textContent = dark() ? "Light colours" : "Dark colours"; requestDraw(); };
  $("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    show();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show();
}

function startPixels() {
  // Pictures of a few pixels are read better as squares than as a blur.
  document.documentElement.classList.toggle("tiny", SINGLE > 0 && SINGLE <= 32);
}

function startLinks() {
  // The address holds the view of the map; a plain link would overwrite it.
  for (const link of document.querySelectorAll("nav a")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      document.querySelector(link.getAttribute("href")).scrollIntoView();
    });
  }
}

for (const [part, start] of [["names", loadNames], ["summary", showLead], ["table", startTable], ["map", startMap], ["clusters", showCards],
  ["similar images", startSimilar], ["metadata", showMetadata], ["training", showTraining], ["colours", startTheme], ["pixels", startPixels], ["links", startLinks]]) {
  try {
    start();
  } catch (error) {
    report(`The part “${part}” of this page failed in this browser.`);
    console.error(error);
  }
}
