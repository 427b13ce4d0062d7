"""Clustering accuracy on USPS and the MNIST test digits, beside published results.

Fits the estimator with its default parameters for several seeds. Each finished seed is a line in
results/clustering.jsonl; a seed that is there already, with the same parameters and versions, is
not fitted again, so a run that was stopped can be taken up.

The folder given holds usps.npz and mnist_test.npz, each with x, uint8 images of shape (n, height,
width), and y, the digits. These only score the finished clusters.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from _common import (
    HERE,
    Stopwatch,
    append_line,
    environment,
    print_table,
    read_lines,
)
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering
from skdcec.metrics import clustering_accuracy

OURS = "embedded clustering"
METHODS = ("k-means on pixels", "autoencoder + k-means", OURS)
# Published ACC and NMI; the last of each by Guo et al., ICONIP 2017. MNIST: all 70 000 digits.
PUBLISHED = {
    "usps": dict(zip(METHODS, [(0.694, 0.659), (0.709, 0.684), (0.790, 0.826)], strict=True)),
    "mnist_test": dict(zip(METHODS, [(0.553, 0.527), (0.879, 0.807), (0.890, 0.885)], strict=True)),
}


def run_seed(images, target, seed, quick):
    """Return ACC, NMI and seconds of each method."""
    results = {}

    def score(method, labels, seconds, **more):
        results[method] = {
            "ACC": clustering_accuracy(target, labels),
            "NMI": float(normalized_mutual_info_score(target, labels)),
            "seconds": seconds,
            **more,
        }

    start = time.perf_counter()
    k_means = KMeans(10, n_init=20, random_state=seed)
    score(
        "k-means on pixels",
        k_means.fit_predict(images.reshape(len(images), -1) / np.float32(255)),
        time.perf_counter() - start,
    )

    start = time.perf_counter()
    model = new_model(seed, quick).fit(images)
    score(
        OURS,
        model.labels_,
        time.perf_counter() - start,
        epochs=model.n_iter_,
        converged=model.converged_,
    )

    # From the same pretraining, so the difference is what the joint training adds.
    start = time.perf_counter()
    labels = k_means.fit_predict(model.encoder_.transform(images))
    seconds = time.perf_counter() - start + model.encoder_.callbacks[0].seconds_
    score("autoencoder + k-means", labels, seconds)
    return results


def new_model(seed, quick):
    """Return the default estimator, with a stopwatch in its default encoder."""
    epochs = {"max_epochs": 1} if quick else {}
    return DeepConvEmbeddingClustering(
        n_clusters=10,
        encoder=ConvAutoencoder(callbacks=[Stopwatch()], **epochs),
        random_state=seed,
        **epochs,
    )


def settings(n_images, quick):
    """Return what a result depends on besides data set and seed."""
    params = {
        name: value
        for name, value in new_model(0, quick).get_params().items()
        if name not in ("encoder", "random_state") and "callbacks" not in name
    }
    machine = {k: v for k, v in environment().items() if k not in ("load_average", "machine")}
    return json.loads(
        json.dumps(
            {"images": n_images, "params": params, **machine, "cuda": torch.cuda.is_available()},
            default=str,
        )
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument("--sets", nargs="+", choices=list(PUBLISHED), default=list(PUBLISHED))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--threads", type=int, help="of PyTorch (default: its own choice)")
    parser.add_argument("--quick", action="store_true", help="only see whether this runs")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.quick:
        args.seeds = args.seeds[:2]
    path = HERE / ("scratch" if args.quick else "results") / "clustering.jsonl"
    path.parent.mkdir(exist_ok=True)

    tables = {}
    for name in args.sets:
        with np.load(args.data / f"{name}.npz") as data:
            images, target = data["x"], data["y"]
        if args.quick:
            images, target = images[:500], target[:500]
        here = settings(len(images), args.quick)
        done = {
            line["seed"]: line["results"]
            for line in read_lines(path)
            if line["data"] == name and line["settings"] == here
        }
        for seed in args.seeds:
            if seed in done:
                continue
            done[seed] = run_seed(images, target, seed, args.quick)
            line = {"data": name, "seed": seed, "results": done[seed], "settings": here}
            append_line(path, line)
            ours = done[seed][OURS]
            print(
                f"{name}, seed {seed}: ACC {ours['ACC']:.3f}, NMI {ours['NMI']:.3f}, "
                f"{ours['seconds']:.0f} s",
                flush=True,
            )
        tables[name] = [done[seed] for seed in args.seeds]

    for name, results in tables.items():
        print()
        print_table(
            [f"{name}, {len(results)} seeds", "ACC", "NMI", "seconds", "published ACC / NMI"],
            [
                [
                    method,
                    *(spread(results, method, key, 3) for key in ("ACC", "NMI")),
                    spread(results, method, "seconds", 0),
                    "{:.3f} / {:.3f}".format(*PUBLISHED[name][method]),
                ]
                for method in METHODS
            ],
        )
    if "mnist_test" in tables:
        print("The published figures for MNIST are of all 70 000 digits.")
    if args.quick:
        print("A quick run: the figures mean nothing.")
    print(f"\nEach seed is a line of {path.relative_to(HERE.parent)}")


def spread(results, method, key, digits):
    """Return mean and standard deviation over the seeds."""
    values = [result[method][key] for result in results]
    deviation = np.std(values, ddof=1) if len(values) > 1 else 0.0
    return f"{np.mean(values):.{digits}f} ± {deviation:.{digits}f}"


if __name__ == "__main__":
    main()
