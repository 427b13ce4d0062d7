// What numbers and words mean, told where they stand.

const MEANINGS = {
  typical: "The images nearest to the centre of the cluster: what it is about, as the model sees it.",
  borderline: "Images that fit the cluster named below them almost as well. Look here for what separates the two.",
  odd: "The images of this cluster that lie farthest from its centre. Some may not belong here.",
  lightness: "From 0, black, to 100, white: the mean over all images of the cluster.",
  contrast: "How far light and dark lie apart within an image, on the scale of lightness, as the mean over the cluster.",
  confidence: "From 0 to 1: how clearly an image fits its own cluster better than all others. Near 1 no other comes close. It does not say that the cluster means something.",
  "next best": "The cluster that fits second best. The margin is by how much the image's own cluster fits better: near 0, both fit alike; near 1, only its own does.",
  "fits better": "The cluster that the model would have chosen. The margin is how much less the image's own cluster fits.",
  margin: "By how much the image's own cluster fits better than the next best: near 0, both fit alike; near 1, only its own does.",
  distance: "How far the image lies from the centre of its cluster. It has no unit: use it to compare images of the same cluster only.",
  "comes back": "The clusters were sought again in random parts of the collection. This much of the cluster was found again as one, on average. Below one half it is called loose.",
  "stands out": "What the metadata have more often in this cluster than chance would give.",
  share: "How many of the images in this cluster have this value.",
  lift: "How many times as often the value occurs here as in all images together: 2× is twice as often, 1× would be nothing special.",
  agreement: "The collection was cut in random halves and clustered anew in each. 1 means that both give the same clusters, 0 that they agree no more than by chance (adjusted Rand index).",
  nmi: "Normalised mutual information: 0 where clusters and metadata have nothing to do with each other, 1 where each tells the other. Also called V-measure.",
  "by chance": "What the same number is, on average, after the clusters have been shuffled. Only what lies above says something.",
  homogeneity: "1 where every cluster holds only one value of the metadata.",
  completeness: "1 where all images with the same value lie in one cluster.",
  residual: "How far a count is from what chance would give, in standard errors: beyond 3 or below −3 it is hardly chance (adjusted residual).",
  "by hand": "Somebody put the image into this cluster. Confidence and margin say what the model thinks of that: where the margin is below 0, it would have chosen another.",
  flag: "Typical, borderline or odd, where an image is shown as such among the clusters.",
  "second cluster": "The cluster that fits second best.",
  renumbered: "Clusters keep the numbers that they were known by. Where one was merged into another, the last one has its number now.",
  encoder: "What the images were compared by.",
  embedding: "Each image is described by so many numbers; images are alike where their numbers are.",
  size: "The square of pixels that each image was brought to before it was compared. pad: with bars in the colour of its border, so that nothing is cut off; crop: its middle; stretch: without its proportions.",
  seed: "The number that all that is random starts from: with the same one, the same images give the same clusters.",
  "pretraining epochs": "How often all images were gone through to learn to compare them.",
  "joint epochs": "How often all images were gone through to form the clusters.",
};

function meaningOf(word) { return MEANINGS[word.toLowerCase()] ?? null; }

// A word that says what it means when it is pointed at, clicked or tapped.
function term(text, word = text) {
  const meaning = meaningOf(word);
  if (!meaning) return text;
  return button(text, (event) => showMeaning(event.currentTarget, meaning), { class: "term", title: meaning, "aria-expanded": "false" });
}

function showMeaning(source, meaning) {
  const place = $("meaning");
  const again = !place.hidden && source.getAttribute("aria-expanded") === "true";
  hideMeaning();
  if (again) return;
  source.setAttribute("aria-expanded", "true");
  // What lies outside of an open dialog cannot be seen.
  (source.closest("dialog") ?? document.body).append(place);
  place.textContent = meaning;
  place.hidden = false;
  const box = source.getBoundingClientRect();
  const left = Math.max(8, Math.min(box.left, window.innerWidth - place.offsetWidth - 8));
  const below = box.bottom + 6 + place.offsetHeight < window.innerHeight;
  place.style.left = `${left}px`;
  place.style.top = `${below ? box.bottom + 6 : Math.max(8, box.top - place.offsetHeight - 6)}px`;
}

function hideMeaning() {
  $("meaning").hidden = true;
  for (const open of document.querySelectorAll(".term[aria-expanded=true]")) open.setAttribute("aria-expanded", "false");
}

function startMeanings() {
  document.addEventListener("scroll", hideMeaning, { capture: true, passive: true });
  document.addEventListener("pointerdown", (event) => { if (!event.target.closest?.(".term")) hideMeaning(); });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || $("meaning").hidden) return;
    // The dialog around it stays open.
    event.preventDefault();
    hideMeaning();
  });
}
