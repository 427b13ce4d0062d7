// Files that the reader saves.

function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = element("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

// As they are typed in a terminal: the folder of this page, that of the images, and a file that the browser has saved.
function inTerminal(file) {
  const typed = (path) => {
    const windows = /^\/[a-z]:/i.test(path);
    if (/^[\w./:-]+$/.test(path)) return windows ? path.slice(1) : path;
    return windows ? `"${path.slice(1)}"` : `'${path.replaceAll("'", "'\\''")}'`;
  };
  const folderOf = (address, otherwise) => {
    if (location.protocol !== "file:") return otherwise;
    return typed(decodeURIComponent(new URL(address, location.href).pathname).replace(/(.)\/$/, "$1"));
  };
  const prefix = data.originals?.prefix;
  return [folderOf(".", "OUT"), prefix ? folderOf(prefix, "FOLDER") : "FOLDER", `~/Downloads/${file}`];
}

// Sentences and commands in turn.
function tellSaved(file, ...parts) {
  $("saved").replaceChildren(button("Close", () => { $("saved").hidden = true; }),
    `Saved as ${file} among your downloads. In the terminal `,
    ...parts.map((part, k) => (k % 2 ? commandLine(part) : part)));
  $("saved").hidden = false;
}

function saveNames() {
  save("cluster-names.json", "application/json",
    JSON.stringify({ format: "skdcec cluster names", title: data.title, clusters: nameRows(firstClusters) }, null, 1));
  const [out, , file] = inTerminal("cluster-names.json");
  tellSaved("cluster-names.json", "this puts them into the page and the tables:", `skdcec report ${out} --names ${file}`);
}

// The page once more, with names, notes and moved images as they are now.
function saveCopy() {
  const fresh = JSON.parse($("data").textContent);
  for (const card of fresh.clusters) Object.assign(card, names.get(card.cluster));
  fresh.added = nameRows(clusterNumbers().filter((cluster) => !firstClusters.includes(cluster)));
  fresh.edits = [...movedTo];
  // Or else what this browser keeps for the first page would hide what the copy holds.
  for (const key of ["id", "clustering"]) fresh[key] += `-${Date.now().toString(36)}`;
  const text = JSON.stringify(fresh).replace(/[<>&\u0080-\uffff]/g, (mark) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, "0")}`);
  const page = document.implementation.createHTMLDocument("");
  const html = document.documentElement.cloneNode(false);
  html.removeAttribute("class");
  html.removeAttribute("data-theme");
  const body = page.createElement("body");
  for (const part of written) body.append(page.importNode(part, part.id !== "data"));
  body.querySelector("#data").textContent = text;
  html.append(document.head.cloneNode(true), body);
  // eslint-disable-next-line no-restricted-properties -- it is read: the page as it was written
  save(location.pathname.split("/").pop().replace(/(\.html?)?$/i, "-named.html"), "text/html", `<!doctype html>\n${html.outerHTML}\n`);
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
  const taken = ["file", "cluster", "cluster_name", "confidence", "second_cluster", "margin", "distance", "x", "y", "by_hand", "flag"];
  const head = [...taken, ...data.columns.map(({ name: column }) => (taken.includes(column) ? `metadata_${column}` : column))];
  const number = (value) => (Number.isFinite(value) ? Number(value.toPrecision(6)) : "");
  const known = (i, values) => (movedTo.has(i) ? "" : number(values[i]));
  const rows = indices.map((i) => [
    data.files[i], labels[i], clusterName(labels[i]), known(i, confidence), second[i] === NONE || movedTo.has(i) ? "" : second[i],
    known(i, margin), known(i, distance), number(positions[2 * i + Number(turned)]), number(positions[2 * i + Number(!turned)]),
    movedTo.has(i) || byHand.has(i) ? "yes" : "", flags[i],
    ...data.columns.map((column) => textOf(column, i)),
  ]);
  save(name, "text/csv", `\ufeff${[head, ...rows].map((row) => row.map(csvField).join(",")).join("\r\n")}\r\n`);
}
