// One card per cluster.

function showLead() {
  const real = data.clusters.filter(({ cluster }) => cluster !== NONE);
  const parts = [`${images(N)} in ${real.length === 1 ? "one cluster" : `${real.length} clusters`}`];
  if (real.length < data.clusters.length) parts.push(`${count(data.clusters.at(-1).size)} of them in none`);
  if (data.unused.length) parts.push(`without members: ${data.unused.join(", ")}`);
  const { agreement } = data.stability;
  if (agreement !== null) parts.push(`two runs on halves of the images agree by ${agreement.toFixed(2)} (1 is alike, 0 is chance)`);
  $("lead").textContent = parts.join("; ");
}

function showCards() {
  $("cards").append(...data.clusters.map(clusterCard));
  $("save-names").addEventListener("click", () => save("cluster-names.json", "application/json",
    JSON.stringify({ format: "skdcec cluster names", title: data.title, clusters: nameRows() }, null, 1)));
}

function clusterCard(cluster) {
  const { name, note } = names.get(cluster.cluster);
  const input = element("input", {
    type: "text", value: name, placeholder: defaultName(cluster.cluster), maxlength: 200,
    "aria-label": `Name of cluster ${cluster.cluster}`, spellcheck: "false",
    oninput: () => changeName(cluster.cluster, { name: input.value.trim() }),
  });
  const area = element("textarea", {
    rows: 1, placeholder: "Add a note", maxlength: 10000, "aria-label": `Note on cluster ${cluster.cluster}`,
    oninput: () => changeName(cluster.cluster, { note: area.value.trim() }),
  }, note);
  const about = element("div", {},
    element("div", { class: "cluster-name" }, swatch(clusterColour(cluster.cluster)), input),
    element("p", { class: "cluster-size" }, `${images(cluster.size)}, ${percent(cluster.share)}`),
    isLoose(cluster) ? element("p", { class: "loose" }, "Loose: it would not come back in another run") : null,
    palette(cluster.palette), clusterFacts(cluster), outstanding(cluster), area,
    button(`See all ${count(cluster.size)}`, () => {
      setColour("cluster");
      state.only = new Set([rankOfCluster.get(cluster.cluster)]);
      refilter();
      const members = indicesOf((i) => labels[i] === cluster.cluster);
      const mark = isLoose(cluster) ? " (loose)" : "";
      showGallery(members.sort((a, b) => distance[a] - distance[b]), clusterName(cluster.cluster) + mark);
    }));
  const examples = element("div", { class: "examples" },
    exampleList("Typical", cluster.typical),
    exampleList("Borderline", cluster.borderline, (i) => clusterCaption(second[i])),
    exampleList("Odd", cluster.odd));
  return element("article", { class: "cluster", "data-cluster": cluster.cluster, "aria-label": clusterName(cluster.cluster) },
    about, examples);
}

function isLoose({ stability }) {
  return stability !== null && stability < data.stability.firm;
}

function palette(colours) {
  const label = colours.map(([colour, share]) => `${colour} ${share} %`).join(", ");
  return element("div", { class: "palette", role: "img", "aria-label": `Colours: ${label}` },
    ...colours.map(([colour, share]) => {
      const part = element("span", { swatch: colour, title: `${colour}, ${share} %` });
      part.style.flexGrow = Math.max(1, share);
      return part;
    }));
}

function clusterFacts(cluster) {
  const rows = [["Lightness", decimal(cluster.lightness, 0)], ["Contrast", decimal(cluster.contrast, 0)]];
  if (cluster.confidence !== null) rows.push(["Confidence", `${decimal(cluster.confidence)} on average`]);
  if (cluster.stability !== null) rows.push(["Comes back", `${percent(cluster.stability)} of it in other runs`]);
  return factList(rows);
}

function outstanding(cluster) {
  if (!cluster.outstanding.length) return null;
  const rows = cluster.outstanding.map(([column, value, inside, lift]) => element("tr",
    { title: `${column}: ${inside} of ${cluster.size} images` },
    element("td", {}, value, " ", element("small", {}, column)),
    element("td", { class: "right" }, percent(inside / cluster.size)),
    element("td", { class: "right" }, `${lift.toFixed(1)}×`)));
  return element("table", { class: "outstanding" },
    element("thead", {}, element("tr", {}, ...["Stands out", "share", "lift"].map((text, i) => element("th", { scope: "col", class: i ? "right" : "" }, text)))),
    element("tbody", {}, ...rows));
}

function exampleList(title, indices, caption) {
  return element("div", {}, element("h4", {}, indices.length ? title : ""), tiles(indices, caption));
}
