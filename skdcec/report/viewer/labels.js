// Names of clusters on the map.

let namePlaces = placesOfNames();

function placeNames() { namePlaces = placesOfNames(); }

// Where a cluster has many images and a large share of all: the mean of a scattered cluster, or its
// most typical image, may lie in the midst of another one.
function placesOfNames() {
  const side = 20;
  const cell = (value) => Math.min(side - 1, Math.floor(value * side));
  const grid = () => Array.from({ length: side * side }, () => []);
  const all = grid();
  const own = data.clusters.map(grid);
  for (let i = 0; i < N; i++) {
    const place = cell(positions[2 * i]) + side * cell(positions[2 * i + 1]);
    all[place].push(i);
    own[rankOfCluster.get(labels[i])][place].push(i);
  }
  const around = (cells, place) => [-side, 0, side].flatMap((up) => [-1, 0, 1].flatMap((right) => {
    const column = (place % side) + right;
    return column < 0 || column >= side ? [] : cells[place + up + right] ?? [];
  }));
  return own.map((cells) => {
    let members = [];
    let most = 0;
    cells.forEach((inside, place) => {
      if (!inside.length) return;
      const near = around(cells, place);
      const weight = near.length ** 2 / around(all, place).length;
      if (weight > most) [most, members] = [weight, near];
    });
    const mean = (axis) => members.reduce((sum, i) => sum + positions[2 * i + axis], 0) / members.length;
    return [mean(0), mean(1)];
  });
}

function drawClusterNames() {
  const style = getComputedStyle(document.documentElement);
  pen.font = `600 13px ${getComputedStyle(document.body).fontFamily}`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.lineJoin = "round";
  const placed = [];
  data.clusters.forEach(({ cluster, typical }, rank) => {
    if (cluster === NONE || !typical.length || (state.only.size && !state.only.has(rank))) return;
    const [x, y] = pointToScreen(...namePlaces[rank]);
    const text = clusterName(cluster);
    const half = pen.measureText(text).width / 2 + 4;
    if (x < half || x > screen2d.width - half || y < 12 || y > screen2d.height - 12) return;
    if (placed.some((other) => Math.abs(other.x - x) < other.half + half && Math.abs(other.y - y) < 20)) return;
    placed.push({ x, y, half });
    pen.lineWidth = 4;
    pen.strokeStyle = style.getPropertyValue("--surface").trim();
    pen.strokeText(text, x, y);
    pen.fillStyle = style.getPropertyValue("--ink").trim();
    pen.fillText(text, x, y);
  });
}
