// The images of a selection.

function showGallery(indices, title, cluster = null, said = "") {
  const gallery = $("gallery");
  const list = tiles([]);
  const more = button("Show more", () => extend(), { class: "more" });
  const chosen = new Set();
  let choosing = false;
  let shown = 0;
  const choose = (i, among) => {
    if (!choosing) {
      openImage(i, among);
      return;
    }
    if (!chosen.delete(i)) chosen.add(i);
    list.querySelector(`[data-image="${i}"]`).setAttribute("aria-pressed", chosen.has(i));
    tell();
  };
  const extend = () => {
    list.append(...indices.slice(shown, shown + 240).map((i) => tile(i, null, choose)));
    shown = Math.min(indices.length, shown + 240);
    more.hidden = shown >= indices.length;
  };
  const hint = element("p", { class: "hint small", role: "status" });
  const tell = () => {
    toMove.querySelector("button").textContent = choosing ? "Move chosen to" : "Move all to";
    hint.textContent = choosing ? `${images(chosen.size)} chosen; only these are moved.` : said;
    hint.hidden = !hint.textContent;
  };
  const chooser = button("Choose images", () => {
    choosing = !choosing;
    chosen.clear();
    for (const one of list.querySelectorAll(".tile")) {
      if (choosing) one.setAttribute("aria-pressed", "false");
      else one.removeAttribute("aria-pressed");
    }
    chooser.textContent = choosing ? "Open images again" : "Choose images";
    tell();
  });
  // Those of a cluster are listed without what has left it.
  const moved = (text) => showGallery(cluster === null ? indices : indices.filter((i) => labels[i] === cluster), title, cluster, text);
  const toMove = mover(() => (choosing ? [...chosen] : indices), "Move all to", { own: () => cluster, done: moved });
  extend();
  tell();
  gallery.replaceChildren(
    element("div", { class: "section-head" },
      element("h3", {}, `${title}, ${images(indices.length)}${onThisPage()}`),
      element("div", { class: "actions" }, chooser, toMove,
        button("Save as CSV", () => saveCsv("selection.csv", indices), { id: "save-selection" }),
        button("Close", () => { gallery.hidden = true; canvas.focus({ preventScroll: true }); }))),
    hint, shares(indices), list, more);
  gallery.hidden = false;
  gallery.focus({ preventScroll: true });
  gallery.scrollIntoView({ block: "nearest" });
}

function shares(indices) {
  const sizes = new Map();
  for (const i of indices) sizes.set(labels[i], (sizes.get(labels[i]) ?? 0) + 1);
  const present = data.clusters.filter(({ cluster }) => sizes.has(cluster));
  const text = present.map(({ cluster }) => `${clusterName(cluster)} ${sizes.get(cluster)}`).join(", ");
  return element("div", { class: "shares", role: "img", "aria-label": text, title: text },
    ...present.map(({ cluster }) => {
      const part = element("span", { swatch: clusterColour(cluster) });
      part.style.flexGrow = sizes.get(cluster);
      return part;
    }));
}
