// One image: what is known of it, those like it, and the original.

const viewing = { image: NONE, among: [], full: false, ended: -Infinity };
// Whether an original could be read from where this page lies, and which could not.
const sought = { found: false, gone: new Set(), told: false };
// What browsers show: of other files it cannot be told whether they are there.
const SHOWABLE = /\.(jpe?g|png|webp|gif|bmp|avif)$/i;
// One press of Escape ends the full screen and asks the dialog to close, in either order: milliseconds.
const ONE_PRESS = 500;

// Where the original lies, as seen from the page; null for images that came without files.
function original(i) {
  const { originals } = data;
  if (!originals || !HAS_ADDRESS) return null;
  if (originals.links) return originals.links[i];
  return originals.prefix + data.files[i].split("/").map(encodeURIComponent).join("/");
}

function imageView(i, onchoose) {
  const rows = [["Cluster", element("span", {}, swatch(clusterColour(labels[i])), " ", element("span", { "data-name-of": labels[i] }, clusterName(labels[i])))]];
  if (movedTo.has(i)) rows.push(["Found in", clusterName(firstLabels[i])]);
  else if (byHand.has(i)) rows.push(["By hand", "somebody put it here"]);
  if (Number.isFinite(confidence[i]) && !movedTo.has(i)) rows.push(["Confidence", `${decimal(confidence[i])}, ${fitInWords(i)}`]);
  if (second[i] !== NONE && !movedTo.has(i)) rows.push([margin[i] < 0 ? "Fits better" : "Next best", `${clusterName(second[i])}, margin ${decimal(margin[i])}`]);
  if (Number.isFinite(distance[i]) && !movedTo.has(i)) rows.push(["Distance", `${Number(distance[i].toPrecision(3))} from the centre${flags[i] ? `, ${flags[i]}` : ""}`]);
  for (const column of data.columns) if (textOf(column, i)) rows.push([column.name, textOf(column, i), true]);
  if (folder(i) && !data.columns.some((column) => textOf(column, i) === folder(i))) rows.push(["Folder", folder(i), true]);
  const list = element("ul", { class: "tiles" },
    ...nearest(i, 18).map((other) => tile(other, clusterCaption(labels[other]), onchoose)));
  return element("div", { class: "image-view", "data-image": i },
    element("div", { class: "portrait" }, picture(i), element("h3", {}, baseName(i)), factList(rows), mover(() => [i], "Move to", { own: () => labels[i] })),
    element("div", {}, element("h4", {}, "Most similar first, with their clusters"), list));
}

function fitInWords(i) {
  if (margin[i] < 0) return "another cluster fits better";
  if (margin[i] > 0.9) return "no other cluster comes near";
  return margin[i] < 0.1 ? "the next best fits almost as well" : "fits better than the others";
}

function byDistance(indices) { return indices.sort((a, b) => distance[a] - distance[b] || a - b); }

// Those that were listed with it are the next ones; else those of its cluster.
function openImage(i, among = []) {
  hideCard();
  viewing.among = among.includes(i) ? among : byDistance(indicesOf((other) => labels[other] === labels[i]));
  showImage(i);
  if ($("dialog").open) return;
  $("dialog").showModal();
  $("dialog").focus();
}

function showImage(i) {
  const dialog = $("dialog");
  const place = viewing.among.indexOf(i);
  const focused = document.activeElement?.dataset?.key;
  viewing.image = i;
  const turn = (step, text, key) => button(text, () => turnImage(step), {
    "data-key": key, disabled: !(place + step in viewing.among), title: step < 0 ? "Arrow left" : "Arrow right",
  });
  const link = originalLink(i);
  const bar = element("div", { class: "dialog-bar" }, turn(-1, "← Previous", "previous"),
    element("span", { class: "number" }, `${count(place + 1)} of ${count(viewing.among.length)}`), turn(1, "Next →", "next"),
    element("span", { class: "gap" }), viewing.full || !pen ? null : button("Show on the map", () => showOnMap(i)), link,
    button(viewing.full ? "Leave full screen" : "Full screen", () => showFull(!viewing.full), { "data-key": "full", title: "Key F" }),
    button("Close", () => dialog.close(), { "data-key": "close" }));
  dialog.classList.toggle("full", viewing.full);
  $("viewer").replaceChildren(bar, viewing.full ? largePicture(i) : imageView(i, openSimilar));
  tryOriginal(i);
  dialog.setAttribute("aria-label", data.files[i]);
  dialog.scrollTop = 0;
  const again = focused && $("viewer").querySelector(`[data-key="${focused}"]:not(:disabled)`);
  if (again) again.focus();
  else if (dialog.open) dialog.focus();
}

function originalLink(i) {
  if (!original(i)) return null;
  if (sought.gone.has(i)) return element("span", { class: "link", "data-original": i }, "No original here");
  return element("a", { href: original(i), target: "_blank", rel: "noopener", class: "link", "data-original": i }, "Open the original");
}

// A page that was mailed or moved alone has no originals. Until one is found, each that is opened is tried.
function tryOriginal(i) {
  if (sought.found || sought.gone.has(i) || !original(i) || !SHOWABLE.test(data.files[i])) return;
  const tried = new Image();
  tried.addEventListener("load", () => { sought.found = true; });
  tried.addEventListener("error", () => {
    sought.gone.add(i);
    if (viewing.image !== i || !$("dialog").open) return;
    $("viewer").querySelector("[data-original]").replaceWith(originalLink(i));
    if (sought.told || viewing.full) return;
    sought.told = true;
    $("viewer").firstElementChild.after(element("p", { class: "gone hint small", role: "status" },
      "The original of this image is not where it was when this page was made, so there is only the small picture. This is so where a page was mailed or moved without the folder of its images: back in its place, it opens them. Where the images have moved, ",
      element("code", {}, "skdcec report OUT --images FOLDER"), " draws the page again."));
  });
  tried.src = original(i);
}

function openSimilar(i, among) { openImage(i, [viewing.image, ...among.filter((other) => other !== viewing.image)]); }

function turnImage(step) {
  const next = viewing.among[viewing.among.indexOf(viewing.image) + step];
  if (next !== undefined) showImage(next);
}

function largePicture(i) {
  const caption = element("figcaption", {}, `${baseName(i)}, `, element("span", { "data-name-of": labels[i] }, clusterName(labels[i])));
  const figure = element("figure", { class: "large" }, caption);
  if (!original(i)) {
    figure.prepend(picture(i));
    return figure;
  }
  const img = element("img", { alt: data.files[i], src: original(i) });
  img.addEventListener("error", () => {
    img.replaceWith(picture(i));
    caption.append(" (a small picture: the original is not where it was, or this browser cannot show it)");
  }, { once: true });
  figure.prepend(img);
  return figure;
}

function showFull(full) {
  if (full === viewing.full) return;
  viewing.full = full;
  // Where the browser refuses, it fills the window.
  if (full) $("dialog").firstElementChild.requestFullscreen?.().catch(() => {});
  else if (document.fullscreenElement) document.exitFullscreen();
  showImage(viewing.image);
}

function showOnMap(i) {
  $("dialog").close();
  state.focus = NONE;
  glide({ x: positions[2 * i], y: positions[2 * i + 1], zoom: Math.max(6, state.zoom) });
  $("stage").scrollIntoView({ block: "center" });
  canvas.focus({ preventScroll: true });
  focusOn(i, 400);
}

function dialogKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
  if (event.key === "ArrowLeft") turnImage(-1);
  else if (event.key === "ArrowRight") turnImage(1);
  else if (event.key === "f" || event.key === "F") showFull(!viewing.full);
  else return;
  event.preventDefault();
}

function startDialog() {
  const dialog = $("dialog");
  dialog.addEventListener("keydown", dialogKey);
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => {
    viewing.full = false;
    if (document.fullscreenElement) document.exitFullscreen();
  });
  dialog.addEventListener("cancel", (event) => {
    if (!viewing.full && performance.now() - viewing.ended > ONE_PRESS) return;
    event.preventDefault();
    showFull(false);
  });
  document.addEventListener("fullscreenchange", () => {
    if (document.fullscreenElement || !dialog.open || !viewing.full) return;
    viewing.ended = performance.now();
    showFull(false);
  });
}
