// Moving the map, and pointing at images.

function clampView() {
  state.zoom = Math.min(Math.max(state.zoom, 0.7), 80);
  state.x = Math.min(Math.max(state.x, 0), 1);
  state.y = Math.min(Math.max(state.y, 0), 1);
}

function zoomAt(x, y, factor) {
  const [mapX, mapY] = toMap(x, y);
  state.zoom *= factor;
  clampView();
  const [afterX, afterY] = toMap(x, y);
  state.x += mapX - afterX;
  state.y += mapY - afterY;
  moved();
}

function moved() {
  clampView();
  hideCard();
  rememberView();
  requestDraw();
}

function glide(target) {
  const from = { x: state.x, y: state.y, zoom: state.zoom };
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const began = performance.now();
  const step = (now) => {
    const part = still ? 1 : Math.min(1, Math.max(0, (now - began) / 260));
    const eased = part * (2 - part);
    state.x = from.x + eased * (target.x - from.x);
    state.y = from.y + eased * (target.y - from.y);
    state.zoom = from.zoom * (target.zoom / from.zoom) ** eased;
    moved();
    if (part < 1) requestAnimationFrame(step);
  };
  step(began);
}

function imageAt(x, y, reach = 14) {
  if (drawsThumbnails()) {
    const shown = layoutThumbnails();
    const half = layout.side / 2;
    for (const i of shown) {
      const [px, py] = thumbnailPlace(i);
      if (Math.abs(px - x) <= half && Math.abs(py - y) <= half) return i;
    }
  }
  const [mapX, mapY] = toMap(x, y);
  let best = (reach / scale()) ** 2;
  let found = NONE;
  for (let i = 0; i < N; i++) {
    const squared = (positions[2 * i] - mapX) ** 2 + (positions[2 * i + 1] - mapY) ** 2;
    if (matches[i] && squared <= best) {
      best = squared;
      found = i;
    }
  }
  return found;
}

let cardTimer = 0;

function focusOn(i, pause = 125) {
  if (i === state.focus) return;
  state.focus = i;
  drawMarker();
  hideCard();
  if (i !== NONE) cardTimer = setTimeout(showCard, pause, i);
}

function hideCard() {
  clearTimeout(cardTimer);
  $("card").hidden = true;
}

function showCard(i) {
  const card = $("card");
  const behind = withBehind(i).length - 1;
  card.replaceChildren(picture(i), element("p", {}, element("strong", {}, baseName(i))),
    element("p", {}, swatch(clusterColour(labels[i])), ` ${clusterName(labels[i])}`),
    ...data.columns.filter((column) => textOf(column, i)).slice(0, 4)
      .map((column) => element("p", { class: "muted" }, `${column.name}: ${textOf(column, i)}`)));
  if (behind > 0) card.append(element("p", { class: "muted" }, `${behind} more behind it: open it, or zoom in`));
  card.hidden = false;
  const [x, y] = placeOf(i);
  const gap = isThumbnail(i) ? layout.side / 2 + 8 : 16;
  const right = x + gap + card.offsetWidth <= screen2d.width;
  card.style.left = `${Math.max(4, right ? x + gap : x - gap - card.offsetWidth)}px`;
  card.style.top = `${Math.max(4, Math.min(y - 40, screen2d.height - card.offsetHeight - 8))}px`;
}

const pointers = new Map();
let trace = [];
let pressed = null;

function traceOutline() {
  if (pressed?.tool !== "box") return trace;
  const [[x0, y0], [x1, y1]] = [trace[0], trace.at(-1)];
  return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
}

function pointerPlace(event) {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

function pointerDown(event) {
  if (event.button > 0) return;
  canvas.setPointerCapture(event.pointerId);
  const place = pointerPlace(event);
  pointers.set(event.pointerId, place);
  const tool = event.shiftKey && state.tool === "move" ? "box" : state.tool;
  pressed = { place, tool, far: pointers.size > 1 };
  trace = pointers.size === 1 && pressed.tool !== "move" ? [place] : [];
  hideCard();
}

function pointerMove(event) {
  const place = pointerPlace(event);
  const before = pointers.get(event.pointerId);
  if (!before) {
    if (event.pointerType === "mouse") focusOn(imageAt(...place));
    return;
  }
  if (Math.hypot(place[0] - pressed.place[0], place[1] - pressed.place[1]) > 4) pressed.far = true;
  if (pointers.size === 2) {
    const [id] = [...pointers.keys()].filter((other) => other !== event.pointerId);
    const still = pointers.get(id);
    const grown = Math.hypot(place[0] - still[0], place[1] - still[1])
      / (Math.hypot(before[0] - still[0], before[1] - still[1]) || 1);
    pointers.set(event.pointerId, place);
    state.x -= (place[0] - before[0]) / 2 / scale();
    state.y += (place[1] - before[1]) / 2 / scale();
    zoomAt((place[0] + still[0]) / 2, (place[1] + still[1]) / 2, grown);
    return;
  }
  pointers.set(event.pointerId, place);
  if (trace.length) {
    trace.push(place);
    drawMarker();
  } else if (pressed.far) {
    state.x -= (place[0] - before[0]) / scale();
    state.y += (place[1] - before[1]) / scale();
    moved();
  }
}

function pointerUp(event) {
  if (!pointers.delete(event.pointerId) || pointers.size) return;
  if (trace.length > 1 && pressed.far) selectInside(traceOutline());
  trace = [];
  drawMarker();
}

// Not on pointerup: the click that follows a tap would land on the dialog just opened.
function click(event) {
  if (pressed?.far) return;
  const i = imageAt(...pointerPlace(event), event.pointerType === "mouse" ? 14 : 22);
  if (i !== NONE) openImage(i, withBehind(i));
}

// First the pictures that had to yield to this one, or else nobody would see them.
function withBehind(i) {
  const behind = isThumbnail(i) ? layout.behind.get(i) : null;
  return behind ? [i, ...behind] : [];
}

function selectInside(outline) {
  const inside = (x, y) => {
    let odd = false;
    for (let a = 0, b = outline.length - 1; a < outline.length; b = a++) {
      const [ax, ay] = outline[a];
      const [bx, by] = outline[b];
      if ((ay > y) !== (by > y) && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
    }
    return odd;
  };
  const found = indicesOf((i) => matches[i] && inside(...toScreen(i)));
  $("announce").textContent = `${images(found.length)} selected`;
  if (found.length) showGallery(found, "Selection");
}

function wheel(event) {
  // Until the map has the focus, the wheel scrolls the page.
  if (!event.ctrlKey && document.activeElement !== canvas) return;
  event.preventDefault();
  const pixels = event.deltaY * (event.deltaMode === 1 ? 16 : 1);
  zoomAt(...pointerPlace(event), Math.exp(-pixels * (event.ctrlKey ? 0.01 : 0.0018)));
}

function stepFocus(dx, dy) {
  const start = state.focus === NONE ? [screen2d.width / 2, screen2d.height / 2] : toScreen(state.focus);
  let best = Infinity;
  let found = NONE;
  for (let i = 0; i < N; i++) {
    if (!matches[i] || i === state.focus) continue;
    const [x, y] = toScreen(i);
    const along = (x - start[0]) * dx + (y - start[1]) * dy;
    const across = Math.abs((x - start[0]) * dy) + Math.abs((y - start[1]) * dx);
    if ((state.focus !== NONE && along <= 0) || across > Math.max(2, Math.abs(along)) + (state.focus === NONE ? 1e6 : 0)) continue;
    const cost = Math.abs(along) + 2 * across;
    if (cost < best) {
      best = cost;
      found = i;
    }
  }
  if (found === NONE) return;
  focusOn(found, 0);
  const [x, y] = toScreen(found);
  if (x < 20 || y < 20 || x > screen2d.width - 20 || y > screen2d.height - 20) {
    glide({ x: positions[2 * found], y: positions[2 * found + 1], zoom: state.zoom });
  }
  $("announce").textContent = `${data.files[found]}, ${clusterName(labels[found])}`;
}

// The wheel scrolls the page again, and the next Tab goes on behind the map.
function leaveMap() {
  focusOn(NONE);
  $("map-help").focus({ preventScroll: true });
}

function mapKey(event) {
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const arrow = arrows[event.key];
  const middle = [screen2d.width / 2, screen2d.height / 2];
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (arrow && event.shiftKey) {
    state.x += (arrow[0] * 80) / scale();
    state.y -= (arrow[1] * 80) / scale();
    moved();
  } else if (arrow) stepFocus(...arrow);
  else if (event.key === "+" || event.key === "=") zoomAt(...middle, 1.4);
  else if (event.key === "-") zoomAt(...middle, 1 / 1.4);
  else if (event.key === "0") glide({ x: 0.5, y: 0.5, zoom: 1 });
  else if (event.key === "Enter" && state.focus !== NONE) openImage(state.focus, withBehind(state.focus));
  else if (event.key === "Escape") leaveMap();
  else return;
  event.preventDefault();
}
