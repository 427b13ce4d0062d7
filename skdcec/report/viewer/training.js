// Training curves, settings, files that were not used, and versions.

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
  if (!data.history.length) {
    $("training-head").textContent = "How this page came about";
    $("training-link").textContent = "Settings";
  }
  for (const section of data.history) {
    body.append(element("h3", {}, section.title), element("div", { class: "curves" }, ...section.curves.map(curve).filter(Boolean)));
  }
  if (data.history.length) body.append(element("p", { class: "hint small" }, "Each curve runs over the epochs; the number is its last value."));
  showPairs("Settings", data.settings, true);
  showSkipped(body);
  showCopies(body);
  showPairs("Versions", data.versions);
}

function showPairs(title, rows, open = false) {
  if (!rows.length) return;
  const lines = rows.map(([key, value]) => element("tr", {}, element("th", { scope: "row" }, term(key)), element("td", {}, value)));
  $("training-body").append(element("details", { open }, element("summary", {}, title), scroller(title,
    element("table", { class: "settings" }, element("tbody", {}, ...lines)))));
}

function showSkipped(body) {
  if (!data.n_skipped) return;
  body.append(element("details", { id: "skipped" }, element("summary", {}, `Files that were not used: ${count(data.n_skipped)}`), element("div", {},
    element("ul", { class: "files" }, ...data.skipped.map(([file, reason]) => element("li", {}, element("span", {}, file), " ", element("small", {}, reason)))),
    andMore(data.n_skipped - data.skipped.length, "skipped.csv"))));
}

function andMore(more, table) { return more > 0 ? element("p", { class: "hint small" }, `and ${count(more)} more, in the file ${table}.`) : null; }

// Groups of equal images. Of a large collection, some may not be on the page.
function showCopies(body) {
  if (!data.copies.length) return;
  const places = new Map(data.files.map((file, i) => [file, i]));
  const among = (group) => group.map((file) => places.get(file)).filter((i) => i !== undefined);
  const one = (file, group) => (places.has(file) ? button(file, () => openImage(places.get(file), among(group))) : file);
  const named = data.copies.reduce((sum, group) => sum + group.length - 1, 0);
  body.append(element("details", { id: "copies" }, element("summary", {}, `Copies of other images: ${count(data.n_copies)}`), element("div", {},
    element("p", { class: "hint small" }, "The images of a line are equal in every pixel, at the size at which they were compared. All of them are in the clusters, where they count as often as they are there."),
    element("ul", { class: "files" }, ...data.copies.map((group) => element("li", {}, ...group.flatMap((file, k) => (k ? [" = ", one(file, group)] : [one(file, group)]))))),
    andMore(data.n_copies - named, "duplicates.csv"))));
}
