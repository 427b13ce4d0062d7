// What the page knows about the images.

// As the file has it, before anything is drawn: what a copy of the page is made of.
const written = [...document.body.childNodes].map((node) => (node.nodeName === "SCRIPT" ? node : node.cloneNode(true)));
const data = JSON.parse(document.getElementById("data").textContent);
const N = data.files.length;
const { size: SINGLE, chunk: CHUNK, cell: CELL, per_side: PER_SIDE } = data.thumbnails;
const NONE = -1;
// In a frame of a notebook: no address that could hold a view, or that links could start from.
const HAS_ADDRESS = location.protocol !== "about:";
// The page may show a sample; counts of clusters are of all images.
const TOTAL = data.total;
const SAMPLED = TOTAL > N;

function baseName(i) { return data.files[i].slice(data.files[i].lastIndexOf("/") + 1) || data.files[i]; }

function folder(i) { return data.files[i].slice(0, Math.max(0, data.files[i].lastIndexOf("/"))); }

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
// Images that somebody put into their cluster, whatever the model finds.
const byHand = new Set(data.by_hand);
// Of each cluster, how many images are not on the page.
const notShown = new Map(data.clusters.map(({ cluster, size }) => [cluster, size]));
for (const label of labels) notShown.set(label, notShown.get(label) - 1);
const positions = Float32Array.from(unpack(data.positions, Uint16Array), (value) => value / 65535);
// Directions mean nothing, so where the page is high rather than wide, so is the map.
const turned = (() => {
  const reach = [0, 1].map((axis) => {
    const values = positions.filter((_, k) => k % 2 === axis);
    return values.reduce((a, b) => Math.max(a, b), 0) - values.reduce((a, b) => Math.min(a, b), 1);
  });
  const stage = document.getElementById("stage");
  const isHigh = stage.clientWidth < stage.clientHeight;
  const [longer, shorter] = isHigh ? reach : reach.reverse();
  return longer > 1.1 * shorter;
})();
if (turned) for (let i = 0; i < 2 * N; i += 2) [positions[i], positions[i + 1]] = [positions[i + 1], positions[i]];
const flags = new Array(N).fill("");
const rankOfCluster = new Map(data.clusters.map((cluster, rank) => [cluster.cluster, rank]));
for (const cluster of data.clusters) {
  for (const flag of ["typical", "borderline", "odd"]) for (const i of cluster[flag]) flags[i] = flag;
}
for (const column of data.columns) {
  column.codes = unpack(column.codes, column.texts.length > 65535 ? Uint32Array : Uint16Array);
  if (column.kind === "number") column.groups = unpack(column.groups, Int16Array);
}

function textOf(column, i) { return column.texts[column.codes[i]]; }

function indicesOf(test) {
  const found = [];
  for (let i = 0; i < N; i++) if (test(i)) found.push(i);
  return found;
}
