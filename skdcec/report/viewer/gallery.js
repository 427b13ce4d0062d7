// The images of a selection.

function showGallery(indices, title) {
  const gallery = $("gallery");
  const list = tiles([]);
  const more = button("Show more", () => extend(), { class: "more" });
  let shown = 0;
  const extend = () => {
    list.append(...indices.slice(shown, shown + 240).map((i) => tile(i)));
    shown = Math.min(indices.length, shown + 240);
    more.hidden = shown >= indices.length;
  };
  extend();
  gallery.replaceChildren(
    element("div", { class: "section-head" },
      element("h3", {}, `${title}, ${images(indices.length)}`),
      element("div", { class: "actions" },
        button("Save as CSV", () => saveCsv("selection.csv", indices), { id: "save-selection" }),
        button("Close", () => { gallery.hidden = true; canvas.focus({ preventScroll: true }); }))),
    shares(indices), list, more);
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
