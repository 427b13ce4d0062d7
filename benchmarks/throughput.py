"""Training images per second, compared with a loop in bare PyTorch.

The bare loop does what one would write by hand for speed: the same network in channels_last memory
order, fused Adam, batches sliced from a float32 tensor, and nothing else; both train in float32.
Ours starts from uint8 images and does all that the estimators do: conversion, shuffling, learning
rate, history, callbacks. In the joint phase both recompute the targets on all images after each
epoch.

The two take turns within one run, in changing order, so that what else the machine does falls on
both; each round gives one ratio.
"""

import argparse
import json
import statistics
import time

import numpy as np
import torch
from _common import HERE, Stopwatch, environment, print_table, provenance, write_results
from sklearn.frozen import FrozenEstimator
from torch.nn.functional import mse_loss

from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering
from skdcec._nn.modules import ConvAutoencoderModule

N_CLUSTERS = 10
N_COMPONENTS = 10
# Name: image shape, batch size, images of a full run, images of a quick one.
SETTINGS = {
    "28x28x1, batch 256": ((28, 28, 1), 256, 10_240, 1_024),
    "128x128x3, batch 64": ((128, 128, 3), 64, 640, 128),
}


def bare_pretraining(shape, images, batch_size, epochs):
    """Return the seconds of a hand-written pretraining loop."""
    module = ConvAutoencoderModule(shape, N_COMPONENTS, (32, 64, 128), "relu", _generator())
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)
    start = time.perf_counter()
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(batch_size):
            x = images[rows].permute(0, 3, 1, 2)
            loss = mse_loss(module.decode(module.encode(x)), x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return time.perf_counter() - start


def bare_joint_training(module, centers, images, batch_size, epochs):
    """Return the seconds of a hand-written joint loop, starting from `module` and `centers`."""
    centers = torch.nn.Parameter(torch.from_numpy(centers.copy()))
    optimizer = torch.optim.Adam([*module.parameters(), centers], lr=1e-3, fused=True)

    def assign(z):
        q = 1 / (1 + torch.cdist(z, centers).square())
        return q / q.sum(1, keepdim=True)

    def target():
        with torch.inference_mode():
            parts = images.split(batch_size)
            q = torch.cat([assign(module.encode(x.permute(0, 3, 1, 2))) for x in parts])
            p = q.square() / q.sum(0)
            return p / p.sum(1, keepdim=True)

    p = target()
    start = time.perf_counter()
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(batch_size):
            x = images[rows].permute(0, 3, 1, 2)
            z = module.encode(x)
            q, goal = assign(z), p[rows]
            clustering = (goal * (goal / q).log()).sum(1).mean()
            loss = mse_loss(module.decode(z), x) + 0.1 * clustering
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        p = target()
    return time.perf_counter() - start


def our_pretraining(images, batch_size, epochs):
    """Return the seconds of the loop in `ConvAutoencoder.fit`, and of the whole."""
    watch = Stopwatch()
    encoder = ConvAutoencoder(
        N_COMPONENTS,
        max_epochs=epochs,
        batch_size=batch_size,
        callbacks=[watch],
        device="cpu",
        precision="float32",
        random_state=0,
    )
    start = time.perf_counter()
    encoder.fit(images)
    return watch.seconds_, time.perf_counter() - start


def our_joint_training(encoder, centers, images, batch_size, epochs):
    """Return the seconds of the loop in the clusterer's joint phase, and of the whole."""
    watch = Stopwatch()
    model = DeepConvEmbeddingClustering(
        N_CLUSTERS,
        encoder=FrozenEstimator(encoder),
        init=centers,
        max_epochs=epochs,
        tol=0,
        batch_size=batch_size,
        callbacks=[watch],
        device="cpu",
        random_state=0,
    )
    start = time.perf_counter()
    model.fit(images)
    return watch.seconds_, time.perf_counter() - start


def measure(shape, batch_size, n_images, epochs, rounds):
    """Return, for both phases, the images per second of each round."""
    images = np.random.default_rng(0).integers(0, 256, (n_images, *shape), dtype=np.uint8)
    tensor = torch.from_numpy(images / np.float32(255))
    encoder = ConvAutoencoder(
        N_COMPONENTS,
        max_epochs=1,
        batch_size=batch_size,
        device="cpu",
        precision="float32",
        random_state=0,
    ).fit(images)
    centers = encoder.transform(images[:N_CLUSTERS])

    def bare_joint():
        module = ConvAutoencoderModule(shape, N_COMPONENTS, (32, 64, 128), "relu", _generator())
        module.load_state_dict(encoder.module_.state_dict())
        seconds = bare_joint_training(module, centers, tensor, batch_size, epochs)
        return seconds, seconds

    def bare_pre():
        seconds = bare_pretraining(shape, tensor, batch_size, epochs)
        return seconds, seconds

    contenders = {
        "pretraining": {
            "bare": bare_pre,
            "ours": lambda: our_pretraining(images, batch_size, epochs),
        },
        "joint training": {
            "bare": bare_joint,
            "ours": lambda: our_joint_training(encoder, centers, images, batch_size, epochs),
        },
    }
    speeds = {phase: {"bare": [], "ours": [], "ours, whole fit": []} for phase in contenders}
    n_seen = n_images * epochs
    for round_ in range(-1, rounds):  # one to warm up
        for phase, functions in contenders.items():
            for name in ("bare", "ours") if round_ % 2 else ("ours", "bare"):
                loop, whole = functions[name]()
                if round_ < 0:
                    continue
                speeds[phase][name].append(n_seen / loop)
                if name == "ours":
                    speeds[phase]["ours, whole fit"].append(n_seen / whole)
    return speeds


def _generator():
    return torch.Generator().manual_seed(0)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, help="of each contender (default: 7)")
    parser.add_argument("--epochs", type=int, default=2, help="in each round (default: 2)")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=[*SETTINGS])
    parser.add_argument("--threads", type=int, help="of PyTorch (default: its own choice)")
    parser.add_argument("--quick", action="store_true", help="only see whether this runs")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.quick:
        args.rounds, args.epochs = 2, 1

    # What is not measured again is kept as it is.
    path = HERE / "results" / "throughput.json"
    results = json.loads(path.read_text())["results"] if path.exists() and not args.quick else {}
    rows = []
    for setting in args.settings:
        shape, batch_size, n_full, n_quick = SETTINGS[setting]
        n_images = n_quick if args.quick else n_full
        speeds = measure(shape, batch_size, n_images, args.epochs, args.rounds)
        for phase, speed in speeds.items():
            ratios = [o / b for o, b in zip(speed["ours"], speed["bare"], strict=True)]
            results[f"{setting}, {phase}"] = {
                "images": n_images,
                "epochs": args.epochs,
                "load_average": environment()["load_average"],
                **provenance(),
                "images_per_second": speed,
                "ratios": ratios,
                "median_ratio": statistics.median(ratios),
            }
            rows.append(
                [
                    f"{setting}, {phase}",
                    *(statistics.median(speed[name]) for name in speed),
                    statistics.median(ratios),
                    " ".join(f"{ratio:.2f}" for ratio in ratios),
                ]
            )
    header = ["images/s, medians", "bare", "ours", "whole fit", "ours/bare", "of each round"]
    print_table(header, rows)
    write_results("throughput", {"results": results}, quick=args.quick)


if __name__ == "__main__":
    main()
