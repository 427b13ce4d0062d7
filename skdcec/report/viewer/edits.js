// What the reader changes: images moved to other clusters, clusters merged and split.

const EDITS_KEY = `skdcec-edits-${data.clustering}`;
const firstLabels = labels.slice();
const firstClusters = data.clusters.map(({ cluster }) => cluster);
// By image, the cluster that it has been moved to.
const movedTo = new Map();
const undoable = [];

function clusterNumbers() { return data.clusters.map(({ cluster }) => cluster).filter((cluster) => cluster !== NONE); }

function nextCluster() { return Math.max(...firstClusters, ...clusterNumbers(), ...data.unused, -1) + 1; }

function moveImages(indices, cluster) {
  undoable.push(indices.map((i) => [i, labels[i]]));
  for (const i of indices) assign(i, cluster);
  showEdits();
}

function assign(i, cluster) {
  labels[i] = cluster;
  if (cluster === firstLabels[i]) movedTo.delete(i);
  else movedTo.set(i, cluster);
}

function undoMove() {
  for (const [i, cluster] of undoable.pop() ?? []) assign(i, cluster);
  showEdits();
}

function undoAll() {
  for (const i of [...movedTo.keys()]) assign(i, firstLabels[i]);
  undoable.length = 0;
  showEdits();
}

function loadEdits() {
  let kept = data.edits ?? [];
  try {
    kept = JSON.parse(localStorage.getItem(EDITS_KEY)) ?? kept;
  } catch {
    // Files on disk may have no storage.
  }
  if (!Array.isArray(kept)) return;
  for (const [i, cluster] of kept) {
    if (Number.isInteger(i) && i >= 0 && i < N && Number.isInteger(cluster) && cluster >= 0 && cluster < 10_000) assign(i, cluster);
  }
  if (!movedTo.size) return;
  recount();
  placeNames();
}

// The clusters as they are now: what was computed of one that changed is not shown any more.
function recount() {
  const members = new Map(firstClusters.map((cluster) => [cluster, []]));
  for (let i = 0; i < N; i++) {
    if (!members.has(labels[i])) members.set(labels[i], []);
    members.get(labels[i]).push(i);
  }
  const changed = new Set();
  for (const [i, cluster] of movedTo) changed.add(cluster).add(firstLabels[i]);
  const known = new Map(recount.found.map((card) => [card.cluster, card]));
  const stays = ([cluster, inside]) => inside.length || notShown.get(cluster) || !changed.has(cluster);
  data.clusters = [...members].filter(stays).map(([cluster, inside]) => {
    if (!changed.has(cluster)) return known.get(cluster);
    const unknown = { name: "", note: "", changed: true, stability: null, palette: [], outstanding: [] };
    const size = inside.length + (notShown.get(cluster) ?? 0);
    return { cluster, size, share: size / TOTAL, ...unknown, ...examplesOf(inside) };
  }).sort((a, b) => (a.cluster === NONE) - (b.cluster === NONE) || b.size - a.size || a.cluster - b.cluster);
  rankOfCluster.clear();
  data.clusters.forEach(({ cluster }, rank) => {
    rankOfCluster.set(cluster, rank);
    if (!names.has(cluster)) names.set(cluster, { name: "", note: "" });
  });
  flags.fill("");
  for (const card of data.clusters) for (const flag of ["typical", "borderline", "odd"]) for (const i of card[flag]) flags[i] = flag;
}
recount.found = data.clusters;

function examplesOf(members) {
  const far = distancesTo(meanOf(members), members);
  const order = [...members.keys()].sort((a, b) => far[a] - far[b]).map((k) => members[k]);
  const n = Math.min(12, Math.ceil(order.length / 2));
  const left = order.slice(n);
  return { typical: order.slice(0, n), borderline: [], odd: left.slice(left.length >> 1).slice(-6).reverse() };
}

function showEdits() {
  try {
    localStorage.setItem(EDITS_KEY, JSON.stringify([...movedTo]));
  } catch {
    // They then last as long as the page.
  }
  recount();
  placeNames();
  showLead();
  fillCards();
  setColour(state.colour);
  showEditBar();
  $("announce").textContent = `${images(movedTo.size)} moved`;
}

function showEditBar() {
  $("edit-bar").hidden = !movedTo.size;
  $("edit-count").textContent = `${images(movedTo.size)} moved to other clusters by you${SAMPLED ? "; those that are not on this page stay where they are" : ""}`;
  $("undo").disabled = !undoable.length;
}

function saveEdits() {
  const moves = [...movedTo].sort((a, b) => a[0] - b[0])
    .map(([i, cluster]) => ({ file: data.files[i], from: firstLabels[i], to: cluster }));
  save("cluster-edits.json", "application/json",
    JSON.stringify({ format: "skdcec cluster edits", title: data.title, moves, clusters: nameRows(clusterNumbers()) }, null, 1));
  const [out, from, file] = inTerminal("cluster-edits.json");
  tellSaved("cluster-edits.json", "this puts the changes into the page and the tables:", `skdcec report ${out} --edits ${file}`,
    "and this also lets the clusters learn from them:", `skdcec cluster ${from} --out ${out} --edits ${file}`);
}

// A choice of clusters, but for the images' own, and a button that moves them there.
function mover(indicesOfMoved, text, { own = () => null, done = () => {}, fresh = true } = {}) {
  const select = element("select", { "aria-label": `${text} which cluster` });
  const fill = () => {
    const chosen = select.value;
    select.replaceChildren(...clusterNumbers().filter((cluster) => cluster !== own()).map((cluster) => element("option", { value: cluster, "data-name-of": cluster }, clusterName(cluster))));
    if (fresh) select.append(element("option", { value: nextCluster() }, "a new cluster"));
    if (chosen) select.value = chosen;
  };
  fill();
  select.addEventListener("focus", fill);
  const move = button(text, () => {
    const to = Number(select.value);
    const indices = indicesOfMoved().filter((i) => labels[i] !== to);
    if (indices.length) moveImages(indices, to);
    if ($("dialog").open) showImage(viewing.image);
    if (indices.length) done(`${images(indices.length)} moved to ${clusterName(to)}.`, to);
  });
  return element("div", { class: "mover" }, move, select);
}

// Two halves that differ most, by 2-means: the smaller one becomes a cluster of its own.
function splitCluster(cluster) {
  const members = indicesOf((i) => labels[i] === cluster);
  if (members.length < 2) return;
  const farthest = (from) => { const far = distancesTo(from, members); return members[far.indexOf(Math.max(...far))]; };
  const first = farthest(meanOf(members));
  let centres = [first, farthest(meanOf([first]))].map((i) => meanOf([i]));
  let halves = [[], []];
  for (let round = 0; round < 30; round++) {
    const far = centres.map((centre) => distancesTo(centre, members));
    halves = [members.filter((_, k) => far[0][k] <= far[1][k]), members.filter((_, k) => far[0][k] > far[1][k])];
    if (!halves[0].length || !halves[1].length) return;
    centres = halves.map(meanOf);
  }
  moveImages(halves.sort((a, b) => a.length - b.length)[0], nextCluster());
  goToCluster(cluster);
}
