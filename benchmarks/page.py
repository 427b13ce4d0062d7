"""How soon can one use a page of many images, and how smooth is its map?

A page of generated pictures, or of those in a folder, is opened in Chromium from disk. Measured
are the time until it answers, from the start of loading; the time between frames while the map is
moved as by a hand, at three zooms; and how long the page's thread works on each.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
from _common import print_table, write_results
from playwright.sync_api import sync_playwright

from skdcec.datasets import load_images
from skdcec.report import write_report

N_FRAMES = 120
LOADED = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
# What the handlers of a pointer and of frames take is in the time between the frames.
PANNING = """async ([zoom, frames]) => {
  state.mode = "images";
  state.zoom = zoom;
  clampView();
  requestDraw();
  await new Promise((done) => setTimeout(done, 1500));
  const gaps = [], draws = [];
  const draw = drawMap;
  drawMap = () => {
    const start = performance.now();
    draw();
    draws.push(performance.now() - start);
  };
  let last = performance.now();
  for (let step = 0; step < frames; step++) {
    state.x += 0.002 * Math.cos(step / 10) / zoom;
    state.y += 0.002 * Math.sin(step / 10) / zoom;
    moved();
    const now = await new Promise(requestAnimationFrame);
    gaps.push(now - last);
    last = now;
  }
  drawMap = draw;
  return { gaps: gaps.slice(2), draws: draws.slice(2) };
}"""


def make_page(path, n, folder):
    """Write the page."""
    rng = np.random.default_rng(0)
    if folder:
        bunch = load_images(folder, 64, cache=None, sample=n)
        images, paths = bunch.filenames.tolist(), bunch.paths.tolist()
    else:
        small = rng.integers(0, 256, (n, 6, 6, 3), dtype=np.uint8)
        images = np.repeat(np.repeat(small, 16, axis=1), 16, axis=2)
        paths = [f"image {i}.png" for i in range(n)]
    embedding = rng.normal(size=(len(paths), 32)).astype(np.float32)
    labels = rng.integers(0, 12, len(paths))
    embedding[:, :3] += 4 * np.eye(12)[labels][:, :3] + labels[:, None] % 4
    places = embedding[:, :2] + rng.normal(size=(len(paths), 2))
    return write_report(
        path, images, labels, paths=paths, embedding=embedding, map_coordinates=places, n_jobs=1
    )


def processor_seconds(session):
    """Return what the page's main thread has worked."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return next(one["value"] for one in metrics if one["name"] == "TaskDuration")


def measure(path):
    """Open the page, and return what was measured."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        session = page.context.new_cdp_session(page)
        # Of the thread, so that what else the machine does is not in it.
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        page.goto(Path(path).as_uri())
        page.wait_for_selector("#table-body table")
        found = {
            "seconds until it answers": page.evaluate(LOADED) / 1000,
            "of these, of the processor": processor_seconds(session),
        }
        for zoom in (1, 4, 16):
            before = processor_seconds(session)
            frames = page.evaluate(PANNING, [zoom, N_FRAMES])
            spent = processor_seconds(session) - before
            gaps, draws = np.array(frames["gaps"]), np.array(frames["draws"])
            found[f"zoom {zoom}: ms of the processor per frame"] = 1000 * spent / N_FRAMES
            found[f"zoom {zoom}: ms of a frame, median"] = float(np.median(gaps))
            found[f"zoom {zoom}: ms of a frame, longest"] = float(gaps.max())
            found[f"zoom {zoom}: ms of drawing, longest"] = float(draws.max())
        browser.close()
    return found


def main():
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--folder", help="of pictures, instead of generated ones")
    parser.add_argument("--quick", action="store_true", help="600 images, to see that it runs")
    options = parser.parse_args()
    n = 600 if options.quick else options.images
    with tempfile.TemporaryDirectory() as folder:
        report = make_page(Path(folder) / "page.html", n, options.folder)
        found = measure(report.path)
    found["megabytes"] = report.n_bytes / 1e6
    print_table(["measured", "value"], found.items())
    write_results("page", {"images": n, "measured": found}, quick=options.quick)


if __name__ == "__main__":
    main()
