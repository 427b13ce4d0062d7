"""Cluster real images, compare the result with k-means, and write a page to look at.

Two sets of images that come with scikit-learn are clustered: all 1797 handwritten digits of
``load_digits``, and the two colour photographs of ``load_sample_images`` cut into small squares.
Labels (the digit; the photograph) only score the finished clusters. Larger pieces of the two
photographs become files, and the command ``skdcec cluster`` makes a page of them. Run it by
``make demo``, or ``python examples/demo.py [FOLDER]``; what is written goes to ``demo_output/`` or
the folder given.
"""

import shlex
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_sample_images
from sklearn.decomposition import PCA
from sklearn.metrics import (
    calinski_harabasz_score,
    normalized_mutual_info_score,
    silhouette_score,
)
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from skdcec import DeepConvEmbeddingClustering
from skdcec.metrics import clustering_accuracy

SCORES = ["NMI", "ACC", "silhouette (pixels)", "CH (pixels)", "silhouette (embedding)"]
SCORES += ["CH (embedding)"]
PATCH, PIECE = 20, 53  # pixels
PHOTOS = ["temple", "flower"]
EXPLANATION = """
   NMI and ACC compare with the labels, which no method has seen; 1 is perfect.
   Silhouette and Calinski-Harabasz (CH) say how well clusters are separated, in a space
   that all methods share: the pixels, which favours the two k-means, and what the encoder
   makes of them before it has seen any clusters, which favours the embedded clustering.
   Greater is better throughout. This is one seed; others give other figures."""
COLORS = ["#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#edc948", "#b07aa1", "#9c755f"]


def main(folder):
    started = time.perf_counter()

    digits, photos = load_digits(), load_sample_images().images
    patches, photo_of_patch = cut_into_patches(photos)
    write_pictures(folder / "pictures", photos)
    # A net as small as that of the digits keeps one processor busy; another does the rest.
    torch.set_num_threads(1)
    threadpool_limits(1)
    meanwhile = Parallel(n_jobs=2, return_as="generator")(
        [
            delayed(timed_fit)(
                DeepConvEmbeddingClustering(n_clusters=8, encoder="auto", random_state=0), patches
            ),
            delayed(make_page)(folder / "pictures", folder / "report"),
        ]
    )

    print(f"\n1. Handwritten digits: {len(digits.images)} gray images of 8x8, in 10 clusters.")
    print("   Settings: the defaults, which learn from the images alone.\n", flush=True)
    model = DeepConvEmbeddingClustering(n_clusters=10, random_state=0, verbose=1)
    model, seconds = timed_fit(model, digits.images)
    compare(model, seconds, digits.images, digits.target)
    print(EXPLANATION)
    digit_clusters = from_typical_to_odd(model, digits.images)
    on_white = 16 - digits.images
    draw_galleries(
        folder / "digits",
        on_white,
        digit_clusters,
        lambda rows: describe_digits(digits.target[rows]),
    )

    print(
        f"\n2. Colour patches: {len(patches)} squares of {PATCH}x{PATCH} from two photographs, in "
        "8 clusters.\n"
        '   Settings: encoder="auto", which looks at the images and here takes what paintings\n'
        "   have taught, beside colours and edges; nothing is trained. Labels: which photograph\n"
        "   a patch is from. ACC can only be low here, as it credits one cluster for each photo.",
        flush=True,
    )
    model, seconds = next(meanwhile)
    compare(model, seconds, patches, photo_of_patch)
    patch_clusters = from_typical_to_odd(model, patches)
    draw_galleries(
        folder / "patches",
        patches,
        patch_clusters,
        lambda rows: f"{np.mean(photo_of_patch[rows] == 0):.0%} from the temple",
    )
    draw_photographs(folder / "photographs.png", photos, model.labels_)

    draw_overview(
        folder / "overview.png", [(on_white, digit_clusters, 20), (patches, patch_clusters, 16)]
    )
    print(f"\nPictures of every cluster are in {folder}/; look at {folder}/overview.png first.")

    print("\n3. A folder of pictures, by the command, as you would use it for your own.\n")
    said, page = next(meanwhile)
    print(said)
    print(f"{time.perf_counter() - started:.0f} seconds in all. Now open this page in a browser:")
    print(f"\n    {page}\n\nand type, for a page of your own pictures:\n")
    for line in next_commands():
        print(f"    {line}")


def cut_into_patches(photos, side=PATCH):
    """Return the squares of all photographs, row by row, and the photograph each is from."""
    patches = []
    for photo in photos:
        rows, columns = photo.shape[0] // side, photo.shape[1] // side
        photo = photo[: rows * side, : columns * side]
        squares = photo.reshape(rows, side, columns, side, 3).swapaxes(1, 2)
        patches.append(squares.reshape(-1, side, side, 3))
    return np.concatenate(patches), np.repeat(np.arange(len(photos)), [len(p) for p in patches])


# --- the page ---


def write_pictures(folder, photos):
    """Write pieces of the photographs as files, those of each into a folder of its own."""
    pieces, photo_of_piece = cut_into_patches(photos, PIECE)
    for i, (piece, photo) in enumerate(zip(pieces, photo_of_piece, strict=True)):
        path = folder / PHOTOS[photo] / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(piece).save(path)


def make_page(pictures, out):
    """Run the command, and return what it says, and the page that it wrote."""
    command = ["cluster", str(pictures), "-k", "6", "--out", str(out)]
    # Its bar would write over that of the digits.
    run = subprocess.run(
        [sys.executable, "-m", "skdcec", *command], capture_output=True, text=True, encoding="utf-8"
    )
    if run.returncode:
        raise RuntimeError(run.stderr)
    said = f"$ skdcec {' '.join(command)}\n{run.stdout}"
    return textwrap.indent(said, "   "), (out / "report.html").resolve()


def next_commands():
    """Return what to type next, with what makes the command known to the shell."""
    if sys.prefix != sys.base_prefix:
        is_windows = sys.platform == "win32"
        script = Path(sys.prefix, "Scripts" if is_windows else "bin", "activate")
        yield f"{script}" if is_windows else f"source {shlex.quote(str(script))}"
    yield "skdcec cluster FOLDER_OF_YOUR_PICTURES --open"


# --- the comparison ---


def timed_fit(estimator, X):
    """Return the fitted estimator, and the seconds that took."""
    start = time.perf_counter()
    estimator.fit(X)
    return estimator, time.perf_counter() - start


def compare(model, seconds_of_model, images, target):
    """Fit two baselines, and print one table of them and the fitted model."""
    pixels = images.reshape(len(images), -1) / images.max()
    k_means = KMeans(model.n_clusters, n_init=10, random_state=0)
    baselines = {
        "k-means on pixels": k_means,
        "PCA + k-means": make_pipeline(PCA(10, random_state=0), k_means),
    }
    labels, seconds = {}, {}
    for name, baseline in baselines.items():
        _, seconds[name] = timed_fit(baseline, pixels)
        labels[name] = baseline.predict(pixels)
    labels["embedded clustering"], seconds["embedded clustering"] = model.labels_, seconds_of_model

    rows = {
        name: [
            normalized_mutual_info_score(target, found),
            clustering_accuracy(target, found),
            *(
                score(Z, found)
                for Z in (pixels, model.encoder_.transform(images))
                for score in (silhouette_score, calinski_harabasz_score)
            ),
            seconds[name],
        ]
        for name, found in labels.items()
    }
    print_table(rows)


def print_table(rows):
    """Print the scores, and who won what."""
    print(
        "\n                         labels:        pixels:           embedding:\n"
        "                          NMI   ACC     silhouette   CH   silhouette   CH     seconds"
    )
    line = "   {:20}{:6.3f}{:6.3f}{:11.3f}{:9.0f}{:10.3f}{:9.0f}{:10.1f}"
    for name, scores in rows.items():
        print(line.format(name, *scores))
    print()
    winners = np.argmax([scores[:-1] for scores in rows.values()], axis=0)
    for i, name in enumerate(rows):
        won = [score for score, winner in zip(SCORES, winners, strict=True) if winner == i]
        if won:
            print(f"   {name} is best by {', '.join(won)}.")


# --- the pictures ---


def describe_digits(digits):
    """Return which digit a cluster holds most of, and how much of the cluster that is."""
    digit = np.bincount(digits).argmax()
    return f"{np.mean(digits == digit):.0%} are a {digit}"


def from_typical_to_odd(model, images):
    """Return, for each cluster, the rows of its images by their distance to the center."""
    embedding = model.transform(images)
    distance = np.linalg.norm(embedding - model.cluster_centers_[model.labels_], axis=1)
    order = distance.argsort()
    return [order[model.labels_[order] == kind] for kind in range(model.n_clusters)]


def montage(images, n_columns, n_rows=None):
    """Lay images out row by row, with white lines between them."""
    n_rows = n_rows or -(-len(images) // n_columns)
    _, height, width, *channels = images.shape
    sheet = np.full((n_rows, height + 1, n_columns, width + 1, *channels), white(images))
    for place, image in zip(np.ndindex(n_rows, n_columns), images, strict=False):
        sheet[place[0], :-1, place[1], :-1] = image
    return sheet.reshape(n_rows * (height + 1), n_columns * (width + 1), *channels)


def white(images):
    return images.dtype.type(255 if images.dtype == np.uint8 else 16)


def show(axes, picture, title=""):
    axes.imshow(picture, cmap="gray", interpolation="nearest")
    axes.set_title(title, loc="left", fontsize=9)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def draw_galleries(folder, images, clusters, describe):
    """Write one picture per cluster: its most typical images, and its oddest ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, rows in enumerate(clusters):
        if not len(rows):
            continue
        parts = {
            "nearest to the center": montage(images[rows[:72]], 12),
            "farthest from the center": montage(images[rows[72:][:-25:-1]], 12),
        }
        parts = {title: sheet for title, sheet in parts.items() if sheet.size}
        heights = [len(sheet) / sheet.shape[1] for sheet in parts.values()]
        size = (7.2, 7 * sum(heights) + 0.3 * len(parts) + 0.4)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(parts), 1, height_ratios=heights, squeeze=False)
        for axes, (title, sheet) in zip(grid.flat, parts.items(), strict=True):
            show(axes, sheet, title)
        figure.suptitle(f"Cluster {kind}: {len(rows)} images, {describe(rows)}", x=0.015, ha="left")
        figure.savefig(folder / f"cluster_{kind}.png", dpi=110)


def draw_overview(path, collections):
    """Write one picture with the most typical images of each cluster as a row."""
    figure = Figure(figsize=(10, 2.75), layout="constrained")
    for axes, (images, clusters, n_columns) in zip(figure.subplots(1, 2), collections, strict=True):
        sheets = [montage(images[rows[:n_columns]], n_columns, 1) for rows in clusters]
        show(axes, np.concatenate(sheets), f"{len(images)} images, {len(clusters)} clusters")
        height = len(sheets[0])
        axes.set_yticks(
            np.arange(len(clusters)) * height + height / 2 - 1, range(len(clusters)), fontsize=8
        )
        axes.tick_params(length=0)
    figure.savefig(path, dpi=110)


def draw_photographs(path, photos, labels):
    """Write the photographs, and beside them which cluster each of their patches is in."""
    figure = Figure(figsize=(10, 7), layout="constrained")
    colors = np.array([to_rgb(color) for color in COLORS])
    for (left, right), photo in zip(figure.subplots(2, 2), photos, strict=True):
        n_rows, n_columns = photo.shape[0] // PATCH, photo.shape[1] // PATCH
        kinds, labels = np.split(labels, [n_rows * n_columns])
        show(left, photo[: n_rows * PATCH, : n_columns * PATCH])
        show(right, colors[kinds.reshape(n_rows, n_columns)])
    figure.legend(
        handles=[Patch(color=color, label=f"cluster {i}") for i, color in enumerate(COLORS)],
        loc="outside lower center",
        ncols=len(COLORS),
        frameon=False,
    )
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo_output"))
    except KeyboardInterrupt:
        sys.exit("\nStopped.")
