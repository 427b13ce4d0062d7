// One card per cluster.

function showLead() {
  const real = data.clusters.filter(({ cluster }) => cluster !== NONE);
  const parts = [`${images(TOTAL)} in ${real.length === 1 ? "one cluster" : `${real.length} clusters`}`];
  const none = data.clusters.find(({ cluster }) => cluster === NONE);
  if (none) parts.push(`${count(none.size)} of them in none`);
  if (data.unused.length) parts.push(`without members: ${data.unused.join(", ")}`);
  const { agreement } = data.stability;
  if (agreement !== null) parts.push(`two runs on halves of the images agree by ${agreement.toFixed(2)} (1 is alike, 0 is chance)`);
  $("lead").textContent = parts.join("; ");
  if (agreement !== null) $("lead").append(" ", term("what is that?", "agreement"));
  if (data.n_skipped) $("lead").append("; ", button(data.n_skipped === 1 ? "1 file was not used" : `${count(data.n_skipped)} files were not used`, goToSkipped, { class: "term" }));
  $("sample").hidden = !SAMPLED;
  $("sample").textContent = `This page shows ${sampleInWords()}, with some of every cluster. How many images a cluster has is counted among all.`;
}

function goToSkipped() {
  $("skipped").open = true;
  $("skipped").scrollIntoView();
  $("skipped").firstElementChild.focus({ preventScroll: true });
}

const OVERVIEW = 24;

// All clusters at a glance, each by those images that are most typical of it, and others where these are few.
function showOverview() {
  const shown = data.clusters.slice(0, OVERVIEW);
  $("overview").replaceChildren(...shown.map(({ cluster, typical, borderline, odd, size }) => element("li", {},
    element("button", { type: "button", onclick: () => goToCluster(cluster) },
      element("span", { class: "mosaic" }, ...[...typical, ...borderline, ...odd].slice(0, 4).map((i) => Object.assign(picture(i), { alt: "" }))),
      element("span", { class: "mosaic-name" }, swatch(clusterColour(cluster)),
        element("span", { "data-name-of": cluster }, clusterName(cluster)), element("span", { class: "number" }, count(size)))))));
  if (data.clusters.length > OVERVIEW) $("overview").append(element("li", { class: "hint" }, `and ${data.clusters.length - OVERVIEW} more below`));
}

function showCards() {
  fillCards();
  $("save-names").addEventListener("click", saveNames);
  $("save-copy").addEventListener("click", saveCopy);
  $("save-edits").addEventListener("click", saveEdits);
  $("undo").addEventListener("click", undoMove);
  $("undo-all").addEventListener("click", undoAll);
  showEditBar();
}

function fillCards() {
  showOverview();
  $("cards").replaceChildren(...data.clusters.map(clusterCard));
}

function clusterCard(cluster) {
  const number = cluster.cluster;
  const { name, note } = names.get(number);
  const input = element("input", {
    type: "text", value: name, placeholder: defaultName(number), maxlength: 200,
    "aria-label": `Name of cluster ${number}`, spellcheck: "false",
    oninput: () => changeName(number, { name: input.value.trim() }),
  });
  const area = element("textarea", {
    rows: 1, placeholder: "Add a note", maxlength: 10000, "aria-label": `Note on cluster ${number}`,
    oninput: () => changeName(number, { note: area.value.trim() }),
  }, note);
  const head = element("div", { class: "cluster-head" },
    element("h3", { class: "unseen", "data-name-of": number }, clusterName(number)),
    element("div", { class: "cluster-name" }, swatch(clusterColour(number)), input),
    element("p", { class: "cluster-size" }, `${images(cluster.size)}, ${percent(cluster.share)}`),
    isLoose(cluster) ? element("p", { class: "loose" }, "Loose: it would not come back in another run") : null);
  const about = element("div", { class: "cluster-about" },
    palette(cluster.palette), cluster.changed ? changedNote() : clusterFacts(cluster), outstanding(cluster), area,
    element("div", { class: "cluster-actions" }, button(notShown.get(number) ? `See ${count(cluster.size - notShown.get(number))} of ${count(cluster.size)}` : `See all ${count(cluster.size)}`, () => showCluster(cluster)), changeControls(number)));
  const examples = element("div", { class: "examples" },
    exampleList("Typical", cluster.typical),
    exampleList("Borderline", cluster.borderline, (i) => clusterCaption(second[i])),
    exampleList("Odd", cluster.odd));
  return element("article", { class: "cluster", "data-cluster": number, "aria-label": clusterName(number), tabindex: -1 }, head, examples, about);
}

function goToCluster(cluster) { goTo(document.querySelector(`article[data-cluster="${cluster}"]`)); }

function showCluster(cluster) {
  setColour("cluster");
  state.only = new Set([rankOfCluster.get(cluster.cluster)]);
  refilter();
  const mark = isLoose(cluster) ? " (loose)" : "";
  showGallery(byDistance(indicesOf((i) => labels[i] === cluster.cluster)), clusterName(cluster.cluster) + mark, cluster.cluster);
}

function changedNote() {
  return element("p", { class: "changed" }, "Changed by you. Its colours and numbers follow when the page is drawn again.");
}

function changeControls(cluster) {
  if (cluster === NONE) return null;
  return element("details", { class: "change" }, element("summary", {}, "Change"), element("div", {},
    clusterNumbers().length < 2 ? null : mover(() => indicesOf((i) => labels[i] === cluster), "Merge into", { own: () => cluster, done: (_, to) => goToCluster(to), fresh: false }),
    button("Split in two", () => splitCluster(cluster)),
    element("p", { class: "small" }, "To move some images only, see all of them and choose.")));
}

function isLoose({ stability }) {
  return stability !== null && stability < data.stability.firm;
}

function palette(colours) {
  if (!colours.length) return null;
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
  if (cluster.confidence !== null) rows.push(["Confidence", `${decimal(cluster.confidence)} of 1 on average`]);
  if (cluster.stability !== null) rows.push(["Comes back", `${percent(cluster.stability)} in other runs`]);
  return factList(rows);
}

function outstanding(cluster) {
  if (!cluster.outstanding.length) return null;
  const inWords = ([column, value, inside, lift]) => `${value} (${column}): ${inside} of ${images(cluster.size)}, ${lift.toFixed(1)} times as often as in all`;
  const rows = cluster.outstanding.map((one) => element("tr", { title: inWords(one) },
    element("td", {}, one[1], " ", element("small", {}, one[0])),
    element("td", { class: "right" }, percent(one[2] / cluster.size)),
    element("td", { class: "right" }, `${one[3].toFixed(1)}×`)));
  return element("table", { class: "outstanding" },
    element("thead", {}, element("tr", {}, ...["Stands out", "share", "lift"].map((text, i) => element("th", { scope: "col", class: i ? "right" : "" }, term(text))))),
    element("tbody", {}, ...rows));
}

function exampleList(title, indices, caption) {
  return indices.length ? element("div", {}, element("h4", {}, term(title)), tiles(indices, caption)) : null;
}
