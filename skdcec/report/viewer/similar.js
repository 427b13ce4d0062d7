// One image, and those like it.

let embedding = null;

function nearest(i, wanted) {
  embedding ??= unpackHalf(data.embedding);
  const d = data.dimensions;
  const start = i * d;
  const far = new Float32Array(N);
  for (let j = 0; j < N; j++) {
    let sum = 0;
    for (let k = 0; k < d; k++) {
      const difference = embedding[start + k] - embedding[j * d + k];
      sum += difference * difference;
    }
    far[j] = sum;
  }
  if (data.metric === "cosine") cosineDistances(i, far);
  const best = [];
  for (let j = 0; j < N; j++) {
    if (j === i || (best.length === wanted && far[j] >= far[best[wanted - 1]])) continue;
    let place = best.length;
    while (place > 0 && far[best[place - 1]] > far[j]) place--;
    best.splice(place, 0, j);
    if (best.length > wanted) best.pop();
  }
  return best;
}

function cosineDistances(i, far) {
  // |a - b|² = |a|² + |b|² - 2ab; the rows lost their unit length when dimensions were dropped.
  const d = data.dimensions;
  const squares = new Float32Array(N);
  for (let j = 0; j < N * d; j++) squares[(j / d) | 0] += embedding[j] * embedding[j];
  for (let j = 0; j < N; j++) {
    const product = (squares[i] + squares[j] - far[j]) / 2;
    far[j] = 1 - product / (Math.sqrt(squares[i] * squares[j]) || 1);
  }
}

function imageView(i, onchoose) {
  const rows = [["Cluster", element("span", {}, swatch(clusterColour(labels[i])), " ", element("span", { "data-name-of": labels[i] }, clusterName(labels[i])))]];
  if (Number.isFinite(confidence[i])) rows.push(["Confidence", decimal(confidence[i])]);
  if (second[i] !== NONE) rows.push(["Next best", `${clusterName(second[i])}, margin ${decimal(margin[i])}`]);
  rows.push(["Distance", `${Number(distance[i].toPrecision(3))} from the centre${flags[i] ? `, ${flags[i]}` : ""}`]);
  for (const column of data.columns) if (textOf(column, i)) rows.push([column.name, textOf(column, i)]);
  if (folder(i)) rows.push(["Folder", folder(i)]);
  const list = element("ul", { class: "tiles" },
    ...nearest(i, 18).map((other) => tile(other, clusterCaption(labels[other]), onchoose)));
  return element("div", { class: "image-view", "data-image": i },
    element("div", { class: "portrait" }, picture(i), element("h3", {}, baseName(i)), factList(rows)),
    element("div", {}, element("h4", {}, "Most similar first, with their clusters"), list));
}

function openImage(i) {
  const dialog = $("dialog");
  hideCard();
  const map = pen ? button("Show on the map", () => {
    dialog.close();
    state.focus = NONE;
    glide({ x: positions[2 * i], y: positions[2 * i + 1], zoom: Math.max(6, state.zoom) });
    $("stage").scrollIntoView({ block: "center" });
    focusOn(i, 400);
  }) : null;
  dialog.replaceChildren(
    element("div", { class: "dialog-bar" }, map, button("Close", () => dialog.close())),
    imageView(i, openImage));
  dialog.setAttribute("aria-label", data.files[i]);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function showSimilar(i) {
  $("similar-body").replaceChildren(imageView(i, showSimilar));
  $("pick").value = "";
}

function startSimilar() {
  $("similar-hint").textContent = `The nearest by ${data.metric === "cosine" ? "cosine" : "Euclidean"} distance in the same space as the map, whatever their cluster. Every image on this page opens its own list.`;
  $("pick").addEventListener("input", () => {
    const exact = data.files.indexOf($("pick").value);
    if (exact >= 0) {
      showSimilar(exact);
      return;
    }
    const words = folded($("pick").value).split(/\s+/).filter(Boolean);
    const found = words.length ? indicesOf((i) => words.every((word) => searchTexts()[i].includes(word))).slice(0, 20) : [];
    $("pick-list").replaceChildren(...found.map((i) => element("option", { value: data.files[i] })));
  });
  $("pick-random").addEventListener("click", () => showSimilar(Math.floor(Math.random() * N)));
  $("dialog").addEventListener("click", (event) => { if (event.target === $("dialog")) $("dialog").close(); });
  showSimilar(data.clusters[0].typical[0] ?? 0);
}
