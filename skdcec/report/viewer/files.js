// Files that the reader saves.

function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = element("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function csvField(value) {
  let text = String(value ?? "");
  // A spreadsheet would run such a text as a formula.
  if (typeof value === "string" && /^'*[=+\-@\t\r]/.test(text) && !/^[-+]?[\d.]+(e[-+]?\d+)?$/i.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function saveCsv(name, indices) {
  const taken = ["file", "cluster", "cluster_name", "confidence", "second_cluster", "margin", "distance", "x", "y", "flag"];
  const head = [...taken, ...data.columns.map(({ name: column }) => (taken.includes(column) ? `metadata_${column}` : column))];
  const number = (value) => (Number.isFinite(value) ? Number(value.toPrecision(6)) : "");
  const rows = indices.map((i) => [
    data.files[i], labels[i], clusterName(labels[i]), number(confidence[i]), second[i] === NONE ? "" : second[i],
    number(margin[i]), number(distance[i]), number(positions[2 * i]), number(positions[2 * i + 1]), flags[i],
    ...data.columns.map((column) => textOf(column, i)),
  ]);
  save(name, "text/csv", `\ufeff${[head, ...rows].map((row) => row.map(csvField).join(",")).join("\r\n")}\r\n`);
}
