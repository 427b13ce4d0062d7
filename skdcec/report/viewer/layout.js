// Where pictures lie on the map.

const layout = {
  grid: 0, side: 0, shown: null, column: new Int32Array(N), row: new Int32Array(N), drawn: new Uint8Array(N), behind: new Map(),
};
// So many cells away, at most, a picture goes whose own cell is taken.
const REACH = 4;
const STEPS = (() => {
  const steps = [];
  for (let dy = -REACH; dy <= REACH; dy++) for (let dx = -REACH; dx <= REACH; dx++) if (dx || dy) steps.push([dx, dy]);
  return steps.sort((a, b) => Math.hypot(...a) - Math.hypot(...b));
})();

// From the middle of the map to its outermost image, across and down.
const farthest = [0, 1].map((axis) => {
  let far = 0;
  for (let i = axis; i < 2 * N; i += 2) far = Math.max(far, Math.abs(positions[i] - 0.5));
  return far;
});

// The side of the square that each image would have if all shared the map evenly.
function room() { return Math.sqrt((screen2d.width * screen2d.height) / N); }

function thumbnailSide(zoom = state.zoom) {
  // Few pictures would be lost in so much room.
  const largest = Math.max(56, Math.min(112, 0.35 * room()));
  return Math.min(Math.max(26, Math.min(largest, 0.9 * room())) * Math.max(1, zoom) ** 0.5, 128);
}

function drawsThumbnails() { return state.mode === "images"; }

// One image per cell of a grid that lies fixed on the map and halves its area in steps, so that
// moving never changes which images are shown and zooming does so rarely. Whoever finds its cell
// taken goes to the nearest free one; where none is near, it is behind the one that took its own.
function layoutThumbnails() {
  const grid = 2 ** (Math.round(2 * Math.log2(thumbnailSide() / scale())) / 2);
  layout.side = grid * scale();
  if (layout.grid === grid && layout.shown) return layout.shown;
  Object.assign(layout, { grid, shown: [], behind: new Map() });
  layout.drawn.fill(0);
  const width = 2 * middle() + 1;
  const owners = new Map();
  const settle = (i, column, row) => {
    owners.set(row * width + column, i);
    layout.column[i] = column;
    layout.row[i] = row;
    layout.drawn[i] = 1;
    layout.shown.push(i);
  };
  const homeless = [];
  const ends = { left: width, right: 0, low: width, high: 0 };
  for (const i of order) {
    if (!matches[i]) continue;
    const [column, row] = homeOf(i);
    Object.assign(ends, { left: Math.min(ends.left, column), right: Math.max(ends.right, column),
      low: Math.min(ends.low, row), high: Math.max(ends.high, row) });
    if (owners.has(row * width + column)) homeless.push(i);
    else settle(i, column, row);
  }
  for (const i of homeless) {
    const [column, row] = homeOf(i);
    const step = STEPS.find(([dx, dy]) => column + dx >= ends.left && column + dx <= ends.right
      && row + dy >= ends.low && row + dy <= ends.high && !owners.has((row + dy) * width + column + dx));
    if (step) {
      settle(i, column + step[0], row + step[1]);
    } else {
      const owner = owners.get(row * width + column);
      if (!layout.behind.has(owner)) layout.behind.set(owner, []);
      layout.behind.get(owner).push(i);
    }
  }
  return layout.shown;
}

// The column, or row, of the cell amid the map.
function middle() { return Math.ceil(0.5 / layout.grid) + REACH; }

// No cell lies amid farther out than the outermost image, so that the map ends half a picture beyond it.
function homeOf(i) {
  return [0, 1].map((axis) => {
    const last = Math.floor(farthest[axis] / layout.grid);
    const home = Math.round((positions[2 * i + axis] - 0.5) / layout.grid);
    return Math.min(last, Math.max(-last, home)) + middle();
  });
}

function thumbnailPlace(i) {
  return pointToScreen(0.5 + (layout.column[i] - middle()) * layout.grid, 0.5 + (layout.row[i] - middle()) * layout.grid);
}

function isThumbnail(i) { return drawsThumbnails() && layoutThumbnails() && layout.drawn[i] === 1; }
