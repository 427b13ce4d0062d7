// Which images are alike.

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

function meanOf(indices) {
  embedding ??= unpackHalf(data.embedding);
  const d = data.dimensions;
  const mean = new Float32Array(d);
  for (const i of indices) for (let k = 0; k < d; k++) mean[k] += embedding[i * d + k] / indices.length;
  return mean;
}

function distancesTo(centre, indices) {
  const d = data.dimensions;
  return indices.map((i) => Math.sqrt(centre.reduce((sum, value, k) => sum + (value - embedding[i * d + k]) ** 2, 0)));
}

function showSimilar(i) {
  $("similar-body").replaceChildren(imageView(i, showSimilar));
  $("pick").value = "";
}

function startSimilar() {
  $("similar-hint").textContent = `The most alike, whatever their cluster${SAMPLED ? `, among the images on this page, ${sampleInWords()}: skdcec similar looks at all of them` : ""}. Every image on this page opens its own list.`;
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
  showSimilar(data.clusters[0].typical[0] ?? 0);
}
