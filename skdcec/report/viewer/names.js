// Colours and names of clusters.

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

function clusterCaption(cluster) {
  return element("p", { class: "caption" }, swatch(clusterColour(cluster)),
    element("span", { "data-short-name-of": cluster }, shortName(cluster)));
}
