"""Quality on many collections: set by method by seed, beside simple methods.

Each finished seed of a method is a line in results/zoo.jsonl; what is there already, with the same
parameters and versions, is not fitted again, so a run that was stopped can be taken up. With
--table, nothing is fitted: the table of the docs is written from what is there.

The folder given holds the sets as <name>.npz, each with x, uint8 images, and y, their kinds, which
only score the finished clusters; and paintings/<artist>/*.jpg. Small collections of paintings are
eight artists with at most 150 works each, drawn from those whose names begin with A to M, or with
N to Z. The painting encoder has seen all of them, so each half is embedded by an encoder that was
trained on the other one by `skdcec pretrain`: --weights-am and --weights-nz are their files.

Defaults are tuned on all of these sets together, except USPS and the artists N to Z, which only
score.
"""

import argparse
import csv
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from _common import (
    HERE,
    append_line,
    is_done,
    params_that_matter,
    print_table,
    read_lines,
    settings_of,
)
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    normalized_mutual_info_score,
)
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline

from skdcec import (
    ContrastiveEncoder,
    ConvAutoencoder,
    DeepConvEmbeddingClustering,
    DeepEmbeddingClustering,
)
from skdcec.augmentation import digit_augmentation
from skdcec.datasets import load_images
from skdcec.features import ColorEdgeFeatures, SideBySide
from skdcec.metrics import clustering_accuracy
from skdcec.model_selection import modularity_scorer

RESULTS = HERE / "results" / "zoo.jsonl"
TABLE = HERE.parent / "docs" / "guide" / "zoo" / "nmi.csv"
SHAPES = ("digits", "usps", "mnist_test", "orl", "coil20", "greek", "letters", "fashion")
DRAWS = tuple(f"paintings {half} {draw}" for half in ("A-M", "N-Z") for draw in range(5))
SETS = SHAPES + DRAWS
# More images of a set than this are left out, at random, the same ones for all methods.
MOST = 3000
N_PCA = 32

SIMPLE = ("k-means", "PCA + k-means", "PCA + mixture", "PCA + diagonal mixture")
HAND_MADE = "colours + edges + k-means"
QUICK = "PCA, no joint phase"
STARTS = {"auto": "auto, no joint phase", "contrastive": "contrastive, no joint phase"}
DEEP = ("auto", "contrastive", "augmented")
METHODS = (*SIMPLE, HAND_MADE, QUICK, *STARTS.values(), *DEEP)


def main():
    options = parse()
    if not options.table:
        torch.set_num_threads(options.threads)
        for name in options.sets:
            for seed in options.seeds:
                for method in options.methods:
                    measure(name, method, seed, options)
    write_table(read_lines(RESULTS))


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="the folder of the sets")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS, metavar="SET")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, metavar="M")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--weights-am", type=Path, help="an encoder trained on the artists A to M")
    parser.add_argument("--weights-nz", type=Path, help="an encoder trained on the artists N to Z")
    parser.add_argument("--table", action="store_true", help="only write the table")
    options = parser.parse_args()
    if not options.table and options.data is None:
        parser.error("--data FOLDER is needed to fit anything")
    return options


def measure(name, method, seed, options):
    """Fit one method to one set with one seed, unless that was done."""
    weights = options.weights_nz if "A-M" in name else options.weights_am
    if name in DRAWS and weights is None and method.startswith("auto"):
        print(f"{name}, {method}: skipped, since no encoder of the other artists is given")
        return
    # Shapes have no colours, and paintings are not turned.
    if method == ("augmented" if name in DRAWS else HAND_MADE):
        return
    X, y = read(name, options.data)
    model = make(method, X, len(set(y)), seed, weights if name in DRAWS else None)
    params = params_that_matter(model) if hasattr(model, "encoder") else {"model": repr(model)}
    known = {"params": params, "threads": options.threads, "n": len(X)}
    key = {"set": name, "method": method, "seed": seed, "settings": settings_of(known)}
    if is_done(key, read_lines(RESULTS)):
        return
    start = time.perf_counter()
    given = X if isinstance(model, DeepConvEmbeddingClustering) or method == HAND_MADE else rows(X)
    labels = model.fit_predict(given)
    scores = {
        "nmi": normalized_mutual_info_score(y, labels),
        "ami": adjusted_mutual_info_score(y, labels),
        "ari": adjusted_rand_score(y, labels),
        "acc": clustering_accuracy(np.unique(y, return_inverse=True)[1], labels),
        "alive": len(np.unique(labels)),
        "refined": getattr(model, "refined_", None),
        "seconds": time.perf_counter() - start,
    }
    if method in (QUICK, *STARTS.values()):
        # What tells embeddings apart without labels.
        scores["modularity"] = modularity_scorer(model, given)
    append_line(RESULTS, {**key, **scores})
    print(f"{name}, {method}, seed {seed}: NMI {scores['nmi']:.3f}", flush=True)


def rows(X):
    return X.reshape(len(X), -1) / np.float32(255)


def read(name, folder):
    """Return the images and kinds of a set."""
    if name in DRAWS:
        _, half, draw = name.split()
        return draw_paintings(folder / "paintings", half, int(draw))
    if name == "digits":
        digits = load_digits()
        return digits.images.astype(np.uint8), digits.target
    with np.load(folder / f"{name}.npz") as data:
        X, y = data["x"], data["y"]
    kept = np.random.default_rng(0).permutation(len(X))[:MOST]
    return (X[kept], y[kept]) if len(kept) < len(X) else (X, y)


def draw_paintings(folder, half, seed):
    """Return a small collection of paintings, and their artists."""
    artists = sorted(path.name for path in folder.iterdir() if path.is_dir())
    artists = [name for name in artists if (name[0] <= "M") == (half == "A-M")]
    rng = np.random.default_rng(seed)
    works = []
    for artist in sorted(rng.choice(artists, 8, replace=False)):
        files = sorted(folder.joinpath(artist).glob("*.jpg"))
        works += sorted(rng.choice(files, min(150, len(files)), replace=False))
    bunch = load_images([str(path) for path in works], size=64)
    return bunch.images, np.array([Path(path).parent.name for path in bunch.paths])


def make(method, X, k, seed, weights):
    """Return an unfitted clusterer."""
    k_means = KMeans(k, n_init=20, random_state=seed)
    n_components = min(N_PCA, len(X), X[0].size)
    pca = PCA(n_components, random_state=seed)
    if method == "k-means":
        return k_means
    if method == "PCA + k-means":
        return make_pipeline(pca, k_means)
    if method in ("PCA + mixture", "PCA + diagonal mixture"):
        covariance = "full" if method == "PCA + mixture" else "diag"
        # As much as keeps mixtures of few points apart, found on the sets that are tuned on.
        floor = 0.02 * PCA(n_components).fit(rows(X)).explained_variance_.mean()
        return make_pipeline(
            pca,
            GaussianMixture(
                k, covariance_type=covariance, n_init=3, reg_covar=floor, random_state=seed
            ),
        )
    if method == QUICK:
        return DeepEmbeddingClustering(k, encoder=pca, max_epochs=0, random_state=seed)
    if method == HAND_MADE:
        return make_pipeline(ColorEdgeFeatures(), k_means)
    encoder, params = "auto", {}
    if weights is not None and method.startswith("auto"):
        learned = FrozenEstimator(ContrastiveEncoder.load(weights).set_params(verbose=None))
        encoder = SideBySide([learned, ColorEdgeFeatures(n_levels=8, n_cells=4)])
    if method.startswith("contrastive"):
        encoder = ContrastiveEncoder()
    if method == "augmented":
        encoder = ConvAutoencoder(augmentation=digit_augmentation(), max_epochs=100)
        params = {"gamma": 1.0, "reconstruction_weight": 0.0, "max_epochs": 40}
    if method in STARTS.values():
        params["max_epochs"] = 0
    # The two that share a pretraining find it again.
    memory = HERE / "scratch" / "zoo"
    return DeepConvEmbeddingClustering(
        k, encoder=encoder, random_state=seed, memory=str(memory), **params
    )


def write_table(lines):
    """Print and write the mean NMI of each set and method."""
    found = defaultdict(dict)
    for line in lines:
        # The last line of a seed counts.
        found[line["set"], line["method"]][line["seed"]] = line["nmi"]
    methods = [m for m in METHODS if any(method == m for _, method in found)]
    groups = {name: [name] for name in SHAPES}
    for half in ("A-M", "N-Z"):
        groups[f"paintings {half}, 5 draws"] = [n for n in DRAWS if half in n]
    table = []
    for title, members in groups.items():
        row = [title, "scored only" if title == "usps" or "N-Z" in title else "tuned on"]
        for method in methods:
            values = [v for name in members for v in found[name, method].values()]
            row.append(f"{np.mean(values):.3f} ({len(values)})".lstrip("0") if values else "–")
        table.append(row)
    header = ["set", "", *methods]
    print_table(header, table)
    TABLE.parent.mkdir(exist_ok=True)
    with TABLE.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *table])


if __name__ == "__main__":
    main()
