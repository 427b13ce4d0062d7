// Training curves, settings and versions.

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
    body.append(element("details", { open }, element("summary", {}, title), scroller(title,
      element("table", { class: "settings" }, element("tbody", {}, ...rows.map(([key, value]) => element("tr", {}, element("th", { scope: "row" }, key), element("td", {}, value))))))));
  }
}
