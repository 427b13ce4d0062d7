"""What are small collections of paintings best described by, without training on them?

FOLDER has a folder of works for each artist. An encoder that was trained on the artists A to M
embeds collections of works by artists N to Z, whom it has not seen: five draws
of eight artists with at most 150 works each, and all of these artists with at most 100 works each.
Colours and edges, and the two side by side, are compared with it. Labels, the artists, only score.
"""

import argparse
from pathlib import Path

import numpy as np
from _common import print_table, write_results
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import normalized_mutual_info_score
from sklearn.neighbors import NearestNeighbors

from skdcec import ContrastiveEncoder
from skdcec.datasets import load_images
from skdcec.features import ColorEdgeFeatures

N_DRAWS, N_ARTISTS, N_WORKS, N_WORKS_OF_ALL = 5, 8, 150, 100
N_NEIGHBORS = 10


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


def spaces(images, encoder):
    """Return the images as described in each way."""
    by_hand = ColorEdgeFeatures().fit_transform(images)
    learned = encoder.fit(images).transform(images)
    both = np.hstack([part / np.sqrt(part.var(axis=0).sum()) for part in (by_hand, learned)])
    return {
        "colours and edges": by_hand,
        "encoder": learned,
        "side by side": both,
        "side by side, 32 components": PCA(32, random_state=0).fit_transform(both),
    }


def scores(points, artists, seeds):
    """Return the agreement of k-means with the artists, and how often neighbours name them."""
    names, codes = np.unique(artists, return_inverse=True)
    agreement = [
        normalized_mutual_info_score(
            codes, KMeans(len(names), n_init=10, random_state=seed).fit_predict(points)
        )
        for seed in seeds
    ]
    search = NearestNeighbors(n_neighbors=N_NEIGHBORS + 1).fit(points)
    near = codes[search.kneighbors(points, return_distance=False)[:, 1:]]
    votes = (near[:, :, None] == np.arange(len(names))).sum(axis=1)
    return {
        "NMI": float(np.mean(agreement)),
        "10-NN": float((votes.argmax(axis=1) == codes).mean()),
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--size", type=int, default=64, help="side of the images, in pixels")
    parser.add_argument("--weights", type=Path, required=True, help="file of the encoder")
    parser.add_argument("--train", type=int, metavar="EPOCHS", help="write that file first")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of k-means")
    parser.add_argument("--quick", action="store_true", help="only see whether this runs")
    args = parser.parse_args()
    bunch = load_images(args.data, size=args.size, metadata="folders", cache=None)
    artists = bunch.metadata["folder"].astype(str)
    names = np.unique(artists)
    seen = np.isin(artists, [name for name in names if name[0].upper() <= "M"])
    half = sorted(set(artists[~seen]))
    if args.train:
        trained = ContrastiveEncoder(max_epochs=args.train, random_state=0, verbose=True)
        trained.fit(bunch.images[seen]).save(args.weights)
    encoder = ContrastiveEncoder(weights=args.weights, max_epochs=0)
    results = {}
    for name, rows in collections(bunch.paths.astype(str), artists, half):
        for space, points in spaces(bunch.images[rows], encoder).items():
            results.setdefault(space, {})[name] = scores(points, artists[rows], args.seeds)
    table = []
    for space, found in results.items():
        draws = [value for name, value in found.items() if name.startswith("draw")]
        means = [float(np.mean([one[key] for one in draws])) for key in ("NMI", "10-NN")]
        table.append([space, *means, *found["all artists"].values()])
    print_table(["", "draws NMI", "10-NN", "all NMI", "10-NN"], table)
    write_results("small_collections", {"results": results}, quick=args.quick)


if __name__ == "__main__":
    main()
