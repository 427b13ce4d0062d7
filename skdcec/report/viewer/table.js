// The table of all images.

const PAGE = 25;

function startTable() {
  const columns = [
    ["file", (i) => data.files[i]], ["cluster", (i) => labels[i]], ["confidence", (i) => confidence[i]],
    ["second cluster", (i) => second[i]], ["margin", (i) => margin[i]], ["distance", (i) => distance[i]], ["flag", (i) => flags[i]],
    ...(byHand.size ? [["by hand", (i) => (byHand.has(i) ? "yes" : "")]] : []),
    ...data.columns.map((column) => [column.name, column.kind === "number"
      ? (i) => (textOf(column, i) === "" ? NaN : Number(textOf(column, i))) : (i) => textOf(column, i)]),
  ];
  const rows = Int32Array.from({ length: N }, (_, i) => i);
  const view = { sorted: NONE, down: false, start: 0 };
  const sortBy = (k) => {
    view.down = view.sorted === k ? !view.down : false;
    Object.assign(view, { sorted: k, start: 0 });
    const values = Array.from({ length: N }, (_, i) => columns[k][1](i));
    const sign = view.down ? -1 : 1;
    const collator = new Intl.Collator(undefined, { numeric: true });
    rows.sort((a, b) => (typeof values[a] === "string" ? sign * collator.compare(values[a], values[b])
      : Number.isNaN(values[a]) - Number.isNaN(values[b]) || sign * (values[a] - values[b])) || a - b);
    showTablePage(columns, rows, view, sortBy);
  };
  showTablePage(columns, rows, view, sortBy);
  explainColumns(columns.slice(0, columns.length - data.columns.length).map(([name]) => name));
  if (SAMPLED) {
    $("table-head").textContent = "The images on this page as a table";
    $("table-hint").textContent = `These are ${sampleInWords()}. The file clusters.csv, where there is one, has a row for each.`;
    $("save-all").textContent = "Save these as CSV";
  }
  $("table-hint").hidden = !SAMPLED;
  $("save-all").addEventListener("click", () => saveCsv(SAMPLED ? "clusters-sample.csv" : "clusters.csv", [...Array(N).keys()]));
}

// Heads sort when they are clicked, so what they mean is told beside them: a phone has no pointer.
function explainColumns(columns) {
  const explained = columns.map((name) => [name, meaningOf(name)]).filter(([, meaning]) => meaning);
  $("table-body").after(element("details", {}, element("summary", {}, "What the columns say"), element("div", {},
    element("dl", { class: "meanings" }, ...explained.flatMap(([name, meaning]) => [element("dt", {}, name), element("dd", {}, meaning)])),
    element("p", { class: "hint small" }, "A head sorts by its column, and once more the other way round."))));
}

function showTablePage(columns, rows, view, sortBy) {
  const head = element("tr", {}, ...columns.map(([name], k) => element("th", {
    scope: "col", "aria-sort": view.sorted === k ? (view.down ? "descending" : "ascending") : "none",
  }, button(`${name}${view.sorted === k ? (view.down ? " ↓" : " ↑") : ""}`, () => sortBy(k), { title: k < columns.length - data.columns.length ? meaningOf(name) : null }))));
  const body = [...rows.slice(view.start, view.start + PAGE)].map((i) => element("tr", {},
    element("td", {}, button(data.files[i], () => openImage(i, [...rows]))),
    ...columns.slice(1).map(([name, value]) => tableCell(name, value(i)))));
  const end = Math.min(N, view.start + PAGE);
  const turn = (step) => {
    view.start += step;
    showTablePage(columns, rows, view, sortBy);
  };
  $("table-body").replaceChildren(
    scroller("All images", element("table", {}, element("thead", {}, head), element("tbody", {}, ...body))),
    element("div", { class: "pages" }, button("Back", () => turn(-PAGE), { disabled: view.start === 0 }),
      element("span", {}, `${count(view.start + 1)} to ${count(end)} of ${count(N)}`),
      button("Next", () => turn(PAGE), { disabled: end === N })));
}

function tableCell(name, value) {
  if (typeof value === "string") return element("td", { class: value.length > 24 ? "long" : "" }, value);
  if (Number.isNaN(value) || (name === "second cluster" && value === NONE)) return element("td", {}, "");
  return element("td", { class: "right" }, Number.isInteger(value) ? String(value) : Number(value.toPrecision(3)).toString());
}
