// The map and its controls.

function segments(id, options, chosen, onchoose) {
  const buttons = options.map(([value, text]) => button(text, () => choose(value), { "data-value": value }));
  const choose = (value) => {
    for (const one of buttons) one.setAttribute("aria-pressed", one.dataset.value === value);
    onchoose(value);
  };
  $(id).append(...buttons);
  choose(chosen);
}

function startMap() {
  if (!pen) {
    $("map").hidden = true;
    report("This browser cannot draw the map (no Canvas). The table at the end lists all images.");
    return;
  }
  canvas.setAttribute("aria-label", `Map of ${SAMPLED ? sampleInWords() : images(N)}`);
  $("colour").append(element("option", { value: "cluster" }, "cluster"),
    ...data.columns.filter(({ kind }) => kind !== "text").map(({ name }) => element("option", { value: name }, name)));
  $("colour").addEventListener("change", () => setColour($("colour").value));
  recallView();
  segments("mode", [["images", "Images"], ["dots", "Dots"]], state.mode, (value) => {
    state.mode = value;
    requestDraw();
  });
  segments("tool", [["move", "Move"], ["box", "Box"], ["lasso", "Lasso"]], state.tool, (value) => {
    state.tool = value;
    $("stage").dataset.tool = value;
  });
  let pause = 0;
  $("search").value = state.search;
  $("search").addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(() => {
      state.search = $("search").value;
      refilter();
      $("announce").textContent = `${images(state.found)} found${onThisPage()}`;
    }, 120);
  });
  $("search-show").addEventListener("click", () => showGallery(indicesOf((i) => matches[i]), "Matches"));
  canvas.addEventListener("pointerdown", pointerDown);
  canvas.addEventListener("pointermove", pointerMove);
  canvas.addEventListener("pointerup", pointerUp);
  canvas.addEventListener("pointercancel", pointerUp);
  canvas.addEventListener("click", click);
  canvas.addEventListener("pointerleave", () => { if (!pointers.size) focusOn(NONE); });
  canvas.addEventListener("wheel", wheel, { passive: false });
  canvas.addEventListener("keydown", mapKey);
  const zoomBy = (factor) => () => glide({ x: state.x, y: state.y, zoom: Math.min(80, Math.max(0.7, state.zoom * factor)) });
  $("zoom-in").addEventListener("click", zoomBy(1.8));
  $("zoom-out").addEventListener("click", zoomBy(1 / 1.8));
  $("zoom-all").addEventListener("click", () => glide({ x: 0.5, y: 0.5, zoom: 1 }));
  setColour(state.colour);
  new ResizeObserver(resize).observe($("stage"));
}
