// Clusters against metadata.

function showMetadata() {
  const body = $("metadata-body");
  if (!data.agreement.length) {
    body.append(element("p", { class: "hint" }, "No metadata came with these images."));
    return;
  }
  body.append(element("p", { class: "hint" }, "How far do clusters and metadata agree? NMI is 0 where they are unrelated and 1 where each determines the other. Many values raise it by chance alone, so compare it with the mark, its mean over shuffled labels. Homogeneity is 1 where every cluster holds one value only, completeness where every value lies in one cluster; NMI, also called V-measure, is their harmonic mean."));
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

function crossTable(agreement, open) {
  const column = data.columns.find(({ name }) => name === agreement.column);
  const rowSums = agreement.counts.map((row) => row.reduce((a, b) => a + b, 0));
  const byName = column.kind === "number";
  const order = [...rowSums.keys()].sort((a, b) => (byName ? a - b : rowSums[b] - rowSums[a]));
  const rows = order.map((r) => element("tr", {}, element("th", { scope: "row" }, agreement.levels[r]),
    ...agreement.clusters.map((_, c) => crossCell(agreement, column, r, c)),
    element("td", { class: "right" }, count(rowSums[r]))));
  const head = element("tr", {}, element("th", { scope: "col" }, ""), ...agreement.clusters.map((cluster) => element("th", { scope: "col" },
    swatch(clusterColour(cluster)), " ", element("span", { "data-name-of": cluster }, clusterName(cluster)))), element("th", { scope: "col" }, "all"));
  const missing = agreement.n_missing ? ` ${images(agreement.n_missing)} without a value left out.` : "";
  return element("details", { open }, element("summary", {}, `Clusters and ${agreement.column}`),
    element("div", {}, element("p", { class: "hint small" }, `Blue cells hold more images than independence would give, orange ones fewer; the deeper, the less likely by chance (adjusted residuals). A cell opens its images.${missing}`),
      element("div", { class: "scroll" }, element("table", { class: "cross" }, element("thead", {}, head), element("tbody", {}, ...rows)))));
}

function crossCell(agreement, column, r, c) {
  const [level, cluster] = [agreement.levels[r], agreement.clusters[c]];
  const [inCell, residual] = [agreement.counts[r][c], agreement.residuals[r][c]];
  const valueOf = (i) => (column.kind === "number" ? column.levels[column.groups[i]] : textOf(column, i));
  // The last row may hold all that are too rare for rows of their own.
  const rest = column.kind === "category" && !column.texts.includes(level);
  const fits = rest ? (value) => value && !agreement.levels.includes(value) : (value) => value === level;
  const inside = (i) => labels[i] === cluster && fits(valueOf(i));
  const cell = button(count(inCell), () => {
    showGallery(indicesOf(inside), `${level} in ${clusterName(cluster)}`);
  }, {
    disabled: inCell === 0, title: `${level}: ${images(inCell)}, ${agreement.expected[r][c].toFixed(1)} expected, residual ${residual.toFixed(1)}`,
  });
  if (Math.abs(residual) > 2) {
    cell.style.setProperty("--shade", `var(--${residual > 0 ? "more" : "fewer"})`);
    cell.style.setProperty("--depth", Math.min(0.7, 0.06 + Math.abs(residual) / 28));
  }
  return element("td", {}, cell);
}
