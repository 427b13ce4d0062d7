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

// Around the whole map there is room for half of the pictures at its border.
function scale() {
  const border = Math.min(1.2 * thumbnailSide(1), 0.4 * Math.min(screen2d.width, screen2d.height));
  const within = (length, part) => Math.min(length * part, length - border);
  return state.zoom * Math.min(within(screen2d.width, 0.93) / extent[0], within(screen2d.height, 0.9) / extent[1]);
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
  const yielding = drawsThumbnails() && drawn.count < drawn.inView;
  if (state.colour === "cluster" && !drawsThumbnails()) drawClusterNames();
  $("drawn").textContent = `${count(drawn.count)} of ${count(drawn.inView)} ${kind} drawn${yielding ? ". Marked ones have others behind them: zoom in" : ""}${SAMPLED ? `. The map shows ${sampleInWords()}` : ""}`;
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
  const side = layout.side;
  const outer = side - 2;
  const inner = side - (side > 40 ? 6 : 4);
  let drawn = 0;
  for (const i of shown) {
    const [x, y] = thumbnailPlace(i);
    if (x < -side || y < -side || x > screen2d.width + side || y > screen2d.height + side) continue;
    if (x >= 0 && y >= 0 && x < screen2d.width && y < screen2d.height) drawn++;
    pen.fillStyle = groups.list[groups.of[i]].colour;
    pen.fillRect(x - outer / 2, y - outer / 2, outer, outer);
    const more = layout.behind.get(i)?.length;
    const image = inner * screen2d.ratio > 1.2 * CELL && SINGLE > CELL ? sharpImage(i) : null;
    if (image) {
      const crop = Math.min(image.naturalWidth, image.naturalHeight);
      pen.drawImage(image, (image.naturalWidth - crop) / 2, (image.naturalHeight - crop) / 2, crop, crop,
        x - inner / 2, y - inner / 2, inner, inner);
    } else {
      const cell = cellOf(i);
      const source = sheet(cell.number);
      if (source.ready) pen.drawImage(source.image, cell.x, cell.y, CELL, CELL, x - inner / 2, y - inner / 2, inner, inner);
    }
    if (more) drawMore(more, x + outer / 2, y - outer / 2, side);
  }
  return drawn;
}

// Says at the upper right corner of a picture how many others had to yield to it.
function drawMore(more, right, top, side) {
  if (side < 38) {
    pen.fillStyle = "#000";
    pen.beginPath();
    pen.moveTo(right - 9, top);
    pen.lineTo(right, top);
    pen.lineTo(right, top + 9);
    pen.fill();
    pen.fillStyle = "#fff";
    pen.beginPath();
    pen.moveTo(right - 6, top);
    pen.lineTo(right, top);
    pen.lineTo(right, top + 6);
    pen.fill();
    return;
  }
  const text = `+${more}`;
  pen.font = "600 10px sans-serif";
  pen.textAlign = "right";
  pen.textBaseline = "top";
  pen.fillStyle = "rgba(0, 0, 0, .75)";
  pen.fillRect(right - 7 - 6 * text.length, top, 7 + 6 * text.length, 14);
  pen.fillStyle = "#fff";
  pen.fillText(text, right - 3, top + 3);
}

function drawMarker() {
  const { width, height, ratio } = screen2d;
  marker.setTransform(ratio, 0, 0, ratio, 0, 0);
  marker.clearRect(0, 0, width, height);
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
  marker.strokeStyle = ink;
  if (state.focus !== NONE) {
    const [x, y] = placeOf(state.focus);
    const half = isThumbnail(state.focus) ? layout.side / 2 : 8;
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
