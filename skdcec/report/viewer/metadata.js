// Clusters against metadata.

function showMetadata() {
  const body = $("metadata-body");
  if (!data.agreement.length) {
    body.append(element("p", { class: "hint" }, "Nothing else is known of these images. The names of sub-folders, or a table that skdcec cluster --metadata reads, would be compared with the clusters here."));
    return;
  }
  body.append(element("p", { class: "hint" }, "How far do the clusters agree with what else is known of the images? 0 is not at all, 1 completely (the NMI). Chance alone gives more than 0: only what lies above it, the mark on the bar, says something."));
  body.append(element("ul", { class: "hint" }, ...agreementsInWords().map((text) => element("li", {}, text))));
  body.append(scroller("How far clusters and metadata agree", agreementTable()));
  data.agreement.filter(({ counts }) => counts).forEach((agreement, rank) => body.append(crossTable(agreement, rank === 0)));
}

// A sentence for each degree, from the columns that clusters agree with most.
function agreementsInWords() {
  const much = ["hardly more than chance would", "a little", "in part", "to a large part", "almost entirely"];
  const byDegree = much.map(() => []);
  for (const one of data.agreement.filter(({ counts, like }) => counts && !like)) {
    const { column, nmi, chance } = one;
    const above = (nmi - chance) / Math.max(1e-9, 1 - chance);
    const alike = data.agreement.filter(({ like }) => like === column).map((other) => other.column);
    const names = `its ${[column, ...alike].join(" and its ")}${alike.length ? ", which divide the images alike" : ""}`;
    byDegree[[0.03, 0.15, 0.4, 0.8].filter((limit) => above > limit).length].push(`${names} (${decimal(nmi)}, by chance ${decimal(chance)})`);
  }
  const listed = (names) => [names.slice(0, -1).join(", "), names.at(-1)].filter(Boolean).join(" and ");
  return much.map((degree, k) => (byDegree[k].length ? `Whoever knows the cluster of an image knows ${listed(byDegree[k])} ${degree}.` : ""))
    .filter(Boolean).reverse();
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
  const heads = ["Column", "Values", "NMI", "By chance", "0 to 1", "Homogeneity", "Completeness"];
  return element("table", {}, element("thead", {}, element("tr", {}, ...heads.map((text, i) => element("th", { scope: "col", class: i && i !== 4 ? "right" : "" }, term(text))))),
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
  const head = element("tr", {}, element("td"), ...agreement.clusters.map((cluster) => element("th", { scope: "col" },
    swatch(clusterColour(cluster)), " ", element("span", { "data-name-of": cluster }, clusterName(cluster)))), element("th", { scope: "col" }, "all"));
  const table = element("table", { class: "cross" }, element("thead", {}, head), element("tbody", {}, ...rows));
  const toggle = element("input", { type: "checkbox", onchange: () => table.classList.toggle("expected", toggle.checked) });
  const missing = agreement.n_missing ? ` ${images(agreement.n_missing)} without a value left out.` : "";
  return element("details", { open }, element("summary", {}, `Clusters and ${agreement.column}`),
    element("div", {}, element("p", { class: "hint small" }, "Blue cells hold more images than chance would give, orange ones fewer; the deeper, the less likely it is chance (", term("residual"), ` beyond 2; a single image has no colour). A cell opens its images${onThisPage()}.${missing} The counts are those of ${SAMPLED ? "all images in " : ""}the clusters as they were found.`),
      element("label", { class: "chance" }, toggle, " In brackets, what chance would give"),
      scroller(`Clusters and ${agreement.column}`, table)));
}

function crossCell(agreement, column, r, c) {
  const [level, cluster] = [agreement.levels[r], agreement.clusters[c]];
  const [inCell, residual] = [agreement.counts[r][c], agreement.residuals[r][c]];
  const valueOf = (i) => (column.kind === "number" ? column.levels[column.groups[i]] : textOf(column, i));
  // The last row may hold all that are too rare for rows of their own.
  const rest = r === data.max_levels;
  const fits = rest ? (value) => value && !agreement.levels.includes(value) : (value) => value === level;
  const inside = (i) => firstLabels[i] === cluster && fits(valueOf(i));
  const cell = button(count(inCell), () => {
    showGallery(indicesOf(inside), `${level} in ${clusterName(cluster)}`);
  }, {
    disabled: inCell === 0, "data-expected": `(${agreement.expected[r][c].toFixed(1)})`, title: `${level}: ${images(inCell)}, ${agreement.expected[r][c].toFixed(1)} expected, residual ${residual.toFixed(1)}`,
  });
  // A single image is no pattern, however rare its value.
  if (Math.abs(residual) > 2 && (residual < 0 || inCell > 1)) {
    cell.style.setProperty("--shade", `var(--${residual > 0 ? "more" : "fewer"})`);
    cell.style.setProperty("--depth", Math.min(0.7, 0.06 + Math.abs(residual) / 28));
  }
  return element("td", {}, cell);
}
