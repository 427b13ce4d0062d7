// Files that the reader saves.

function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = element("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

// Where a spreadsheet would find a formula, whatever mark it splits lines on; as in _files.py.
const FORMULA =
  /(?<![^,;|\t\r\n\v\f\x85\u2028\u2029])(?=[ '"\xa0\u2000-\u200b\u3000\ufeff]*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20])/g;

function csvField(value) {
  let text = String(value ?? "");
  if (typeof value === "string" && !/^[-+]?[\d.]+(e[-+]?\d+)?$/i.test(text)) text = text.replace(FORMULA, "'");
  return /[",;|\t\r\n\v\f\x85\u2028\u2029]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
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
