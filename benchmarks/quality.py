"""Quality of clusters on labelled digits: data set by method by seed, beside published results.

Each finished seed of a method is a line in results/quality.jsonl; what is there already, with the
same parameters and versions, is not fitted again, so a run that was stopped can be taken up.

The folder given holds usps.npz and mnist_test.npz, each with x, uint8 images of shape (n, height,
width), and y, the digits. These only score the finished clusters. Silhouette and Calinski-Harabasz
are those of each method's own space, so they do not compare methods.
"""

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from _common import (
    HERE,
    Stopwatch,
    append_line,
    environment,
    is_done,
    params_that_matter,
    print_table,
    read_lines,
    settings_of,
)
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.metrics import (
    adjusted_rand_score,
    calinski_harabasz_score,
    normalized_mutual_info_score,
    silhouette_score,
)

from skdcec import (
    ConvAutoencoder,
    DeepConvEmbeddingClustering,
    DeepEmbeddingClustering,
    DenseAutoencoder,
)
from skdcec.augmentation import digit_augmentation
from skdcec.metrics import clustering_accuracy

SETS = ("digits", "usps", "mnist_test")
PIXELS, AE, OURS = "k-means on pixels", "autoencoder + k-means", "DCEC, defaults"
DEC, IDEC, AUGMENTED = "DEC", "IDEC", "DCEC, augmented"
LONGER = "DCEC, 40 joint epochs"
# Published ACC and NMI. MNIST: all 70 000 digits, but for ConvDEC-DA, which gives MNIST-test.
PUBLISHED = {
    ("usps", PIXELS): (0.694, 0.659),
    ("usps", AE): (0.709, 0.684),
    ("usps", OURS): (0.790, 0.826),
    ("usps", DEC): (0.764, 0.787),
    ("usps", AUGMENTED): (0.987, 0.962),
    ("mnist_test", PIXELS): (0.553, 0.527),
    ("mnist_test", AE): (0.879, 0.807),
    ("mnist_test", OURS): (0.890, 0.885),
    ("mnist_test", DEC): (0.912, 0.869),
    ("mnist_test", IDEC): (0.881, 0.867),
    ("mnist_test", AUGMENTED): (0.985, 0.960),
}


def ours(args, seed):
    return DeepConvEmbeddingClustering(
        10, encoder=ConvAutoencoder(callbacks=[Stopwatch()]), random_state=seed
    )


def longer(args, seed):
    return ours(args, seed).set_params(max_epochs=40)


def augmented(args, seed):
    """Return what the guide page on augmentation recommends for digits."""
    encoder = ConvAutoencoder(
        augmentation=digit_augmentation(),
        max_epochs=args.augmented_epochs,
        callbacks=[Stopwatch()],
    )
    return DeepConvEmbeddingClustering(
        10,
        encoder=encoder,
        gamma=1.0,
        reconstruction_weight=0.0,
        max_epochs=40,
        random_state=seed,
    )


def dec(args, seed, **weights):
    encoder = DenseAutoencoder(callbacks=[Stopwatch()])
    return DeepEmbeddingClustering(10, encoder=encoder, random_state=seed, **weights)


def idec(args, seed):
    return dec(args, seed, gamma=0.1, reconstruction_weight=1.0)


MODELS = {DEC: dec, IDEC: idec, OURS: ours, LONGER: longer, AUGMENTED: augmented}
METHODS = (PIXELS, AE, *MODELS)


def run(method, images, target, args, seed):
    """Yield each method that one fit gives results of, with its scores."""
    rows = images.reshape(len(images), -1) / np.float32(images.max())
    k_means = KMeans(10, n_init=20, random_state=seed)
    start = time.perf_counter()
    if method == PIXELS:
        labels = k_means.fit_predict(rows)
        yield method, scores(rows, labels, target, time.perf_counter() - start)
        return
    model = (ours if method == AE else MODELS[method])(args, seed)
    data = images if isinstance(model, DeepConvEmbeddingClustering) else rows
    if method == AE:
        encoder = model.fit_encoder(data)
    else:
        model.fit(data)
        seconds = time.perf_counter() - start
        result = scores(model.transform(data), model.labels_, target, seconds)
        yield method, {**result, "epochs": model.n_iter_, "converged": model.converged_}
        encoder = model.encoder_
    if method in (AE, OURS):
        # From the same pretraining, so the difference is what the joint training adds.
        start = time.perf_counter()
        space = encoder.transform(data)
        labels = k_means.fit_predict(space)
        seconds = time.perf_counter() - start + encoder.callbacks[0].seconds_
        yield AE, scores(space, labels, target, seconds)


def scores(space, labels, target, seconds):
    return {
        "ACC": clustering_accuracy(target, labels),
        "NMI": float(normalized_mutual_info_score(target, labels)),
        "ARI": float(adjusted_rand_score(target, labels)),
        "silhouette": float(silhouette_score(space, labels, sample_size=3000, random_state=0)),
        "CH": float(calinski_harabasz_score(space, labels)),
        "seconds": seconds,
    }


def settings(method, n_images, args):
    """Return what a result depends on besides data set, method and seed."""
    known = {"images": n_images, "n_init": 20}
    if method in (AE, *MODELS):
        params = params_that_matter((ours if method == AE else MODELS[method])(args, 0))
        if method == AE:
            params = {k: v for k, v in params.items() if k.startswith("encoder__")}
        known["params"] = params
    return settings_of(known)


def read_set(name, args):
    if name == "digits":
        digits = load_digits()
        return digits.images.astype(np.uint8), digits.target
    with np.load(args.data / f"{name}.npz") as data:
        return data["x"], data["y"]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--augmented-epochs", type=int, default=100, help="of pretraining")
    parser.add_argument("--threads", type=int, help="of PyTorch (default: its own choice)")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    parser.add_argument("--quick", action="store_true", help="only see whether this runs")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.quick:
        args.seeds, args.augmented_epochs = args.seeds[:2], 1
    path = HERE / ("scratch" if args.quick else "results") / "quality.jsonl"
    path.parent.mkdir(exist_ok=True)
    if not args.table:
        run_all(args, path)
    print_results(path, args)
    if args.quick:
        print("A quick run: the figures mean nothing.")


def run_all(args, path):
    done = read_lines(path)
    for name in args.sets:
        images, target = read_set(name, args)
        if args.quick:
            images, target = images[:300], target[:300]
        for seed in args.seeds:
            # The defaults before their pretraining, which is a part of theirs.
            for method in sorted(args.methods, key=lambda method: method == AE):
                key = {"data": name, "method": method, "seed": seed}
                key["settings"] = settings(method, len(images), args)
                if is_done(key, done):
                    continue
                for found, result in run(method, images, target, args, seed):
                    line = {**key, "method": found, "results": result}
                    line["settings"] = settings(found, len(images), args)
                    append_line(path, {**line, "load": environment()["load_average"]})
                    done.append(line)
                    print(f"{name}, {found}, seed {seed}: {result}", flush=True)


def print_results(path, args):
    """Print mean and deviation over the seeds, of today's parameters in their last run."""
    groups = defaultdict(dict)
    for line in read_lines(path):
        known = line["settings"]
        if known.get("params") != settings(line["method"], known["images"], args).get("params"):
            continue
        key = json.dumps(known, sort_keys=True)
        groups[line["data"], line["method"]].setdefault(key, {})[line["seed"]] = line["results"]
    for name in SETS:
        rows = []
        for method in METHODS:
            if (name, method) not in groups:
                continue
            results = [*list(groups[name, method].values())[-1].values()]
            published = PUBLISHED.get((name, method))
            rows.append(
                [
                    method,
                    len(results),
                    *(spread(results, key, 3) for key in ("ACC", "NMI", "ARI", "silhouette")),
                    *(spread(results, key, 0) for key in ("CH", "seconds")),
                    "{:.3f} / {:.3f}".format(*published) if published else "",
                ]
            )
        if rows:
            print()
            columns = ("seeds", "ACC", "NMI", "ARI", "silhouette", "CH", "seconds")
            print_table([name, *columns, "published ACC / NMI"], rows)
    print("\nMNIST: the published figures are of all 70 000 digits, but for the augmented method.")


def spread(results, key, digits):
    """Return mean and standard deviation over the seeds."""
    values = [result[key] for result in results if key in result]
    if not values:
        return ""
    deviation = np.std(values, ddof=1) if len(values) > 1 else 0.0
    return f"{np.mean(values):.{digits}f} ± {deviation:.{digits}f}"


if __name__ == "__main__":
    main()
