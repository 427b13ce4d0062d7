// Colours and names of clusters.

function swatch(colour) { return element("span", { class: "swatch", swatch: colour, "aria-hidden": "true" }); }

function clusterColour(cluster) {
  const { clusters, added, none } = data.colours;
  return clusters[cluster] ?? added[cluster - clusters.length] ?? none;
}

const NAMES_KEY = `skdcec-names-${data.id}`;
const names = new Map([...data.clusters, ...data.added ?? []].map(({ cluster, name, note }) => [cluster, { name, note }]));

function defaultName(cluster) { return cluster === NONE ? "In no cluster" : `Cluster ${cluster}`; }

function shortName(cluster) { return names.get(cluster)?.name || String(cluster); }

function clusterName(cluster) { return names.get(cluster)?.name || defaultName(cluster); }

function loadNames() {
  try {
    for (const { cluster, name, note } of JSON.parse(localStorage.getItem(NAMES_KEY) ?? "[]")) {
      if (names.has(cluster) || cluster >= 0) names.set(cluster, { name: String(name), note: String(note) });
    }
    $("names-kept").textContent = "is kept in this browser until you clear it";
  } catch {
    $("names-kept").textContent = "is lost when this page closes";
  }
}

function nameRows(wanted) {
  return [...names].filter(([cluster]) => wanted.includes(cluster)).map(([cluster, entry]) => ({ cluster, ...entry }));
}

function changeName(cluster, entry) {
  names.set(cluster, { ...names.get(cluster), ...entry });
  try {
    localStorage.setItem(NAMES_KEY, JSON.stringify(nameRows([...names.keys()])));
  } catch {
    // Browsers may refuse storage to files on disk; the names then last as long as the page.
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
