// The map as it is drawn.

const canvas = $("canvas");
const overlay = $("overlay");
const contexts = [canvas, overlay].map((surface) => surface.getContext?.("2d") ?? null);
// Null where the browser has no Canvas.
const pen = contexts.every(Boolean) ? contexts[0] : null;
const marker = contexts[1];
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

function channels(colour) { return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)); }

// Dots are written as pixels: twenty thousand calls of drawImage or arc take longer than a frame.
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
