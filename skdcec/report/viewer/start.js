// The page as a whole.

function report(message) {
  const place = $("problem");
  place.textContent = place.hidden ? message : `${place.textContent} ${message}`;
  place.hidden = false;
}

function startTheme() {
  const dark = () => (document.documentElement.dataset.theme
    ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const show = () => { $("theme").textContent = dark() ? "Light colours" : "Dark colours"; requestDraw(); };
  $("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    show();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show();
}

function startPixels() {
  // Pictures of a few pixels are read better as squares than as a blur.
  document.documentElement.classList.toggle("tiny", SINGLE > 0 && SINGLE <= 32);
}

// The next Tab goes on from there.
function goTo(target) {
  target.scrollIntoView();
  target.focus({ preventScroll: true });
}

function startLinks() {
  // The address holds the view of the map; a plain link would overwrite it.
  for (const link of document.querySelectorAll("nav a, .skip")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      goTo(document.querySelector(link.getAttribute("href")));
    });
  }
}

for (const [what, start] of [["names", loadNames], ["changes", loadEdits], ["summary", showLead], ["table", startTable], ["map", startMap], ["clusters", showCards],
  ["similar images", startSimilar], ["images", startDialog], ["explanations", startMeanings], ["metadata", showMetadata], ["training", showTraining], ["colours", startTheme], ["pixels", startPixels], ["links", startLinks]]) {
  try {
    start();
  } catch (error) {
    report(`The part “${what}” of this page failed in this browser.`);
    console.error(error);
  }
}
