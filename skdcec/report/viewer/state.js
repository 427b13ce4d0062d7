// What the map shows, and what of that the address keeps.

const state = {
  x: 0.5, y: 0.5, zoom: 1, mode: "images", tool: "move", colour: "cluster", search: "",
  only: new Set(), focus: NONE, found: N,
};
// From few to many, for numbers.
const SCALE = ["#482878", "#3e4a89", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#c2df23"];
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
  groups.list = data.clusters.map(({ cluster, size }) => ({ colour: clusterColour(cluster), cluster, size }));
  for (let i = 0; i < N; i++) groups.of[i] = rankOfCluster.get(labels[i]);
}

function groupByNumber(column) {
  const last = Math.max(1, column.levels.length - 1);
  groups.list = column.levels.map((name, rank) => ({ name, colour: SCALE[Math.round((rank / last) * (SCALE.length - 1))] }));
  groups.list.push({ name: "no value", colour: data.colours.none });
  for (let i = 0; i < N; i++) groups.of[i] = column.groups[i] < 0 ? column.levels.length : column.groups[i];
}

function groupByCategory(column) {
  const sizes = new Int32Array(column.texts.length);
  for (let i = 0; i < N; i++) sizes[column.codes[i]]++;
  const order = [...sizes.keys()].filter((code) => column.texts[code]).sort((a, b) => sizes[b] - sizes[a]);
  const shown = order.slice(0, data.colours.categories.length);
  const rank = new Int16Array(column.texts.length).fill(shown.length);
  shown.forEach((code, place) => { rank[code] = place; });
  groups.list = shown.map((code, place) => ({ name: column.texts[code], colour: data.colours.categories[place] }));
  groups.list.push({ name: order.length > shown.length ? `${order.length - shown.length} others` : "no value", colour: data.colours.none });
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
    }, swatch(group.colour), groupName(group), element("span", { class: "number" }, count(group.size ?? groups.sizes[rank]))))] : [])));
}

function folded(text) { return text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase(); }

let haystack = null;

function searchTexts() {
  haystack ??= data.files.map((file, i) => folded([file, ...data.columns.map((column) => textOf(column, i))].join("\n")));
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
  layout.shown = null;
  showLegend();
  rememberView();
  requestDraw();
}

// The view is kept in the address, so that a bookmark or a copied link brings it back

function axisOf(key) { return turned ? { x: "y", y: "x" }[key] ?? key : key; }

let rememberTimer = 0;

function rememberView() {
  if (!HAS_ADDRESS) return;
  clearTimeout(rememberTimer);
  rememberTimer = setTimeout(() => {
    const view = new URLSearchParams();
    if (state.zoom !== 1 || state.x !== 0.5 || state.y !== 0.5) {
      for (const key of ["x", "y", "zoom"]) view.set(key, Number(state[axisOf(key)].toFixed(4)));
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
    if (Number.isFinite(value)) state[axisOf(key)] = value;
  }
  clampView();
  state.search = view.get("search") ?? "";
  setColour(view.get("colour") ?? "cluster");
  for (const rank of (view.get("only") ?? "").split(" ").filter(Boolean).map(Number)) {
    if (rank in groups.list) state.only.add(rank);
  }
  refilter();
}
