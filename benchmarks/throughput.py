"""Images per second in training and inference, compared with a loop in bare PyTorch.

The bare loop does what one would write by hand for speed: the same network of PyTorch's own layers
in channels_last memory order, fused Adam, batches sliced from a float32 tensor, and nothing else.
It runs in float32 and, where the processor has it, in bfloat16 by autocast; the ratio is to the
faster one. Ours starts from uint8 images, in the precision that it chooses, and does all that the
estimators do: conversion, shuffling, learning rate, history, callbacks. In the joint phase both
recompute the targets on all images after each epoch. We infer in float32 always, so that a model
gives the same everywhere.

They take turns within one run, in changing order, so that what else the machine does falls on all;
each round gives one ratio.
"""

import argparse
import json
import statistics
import time
from functools import partial

import numpy as np
import torch
from _common import HERE, Stopwatch, environment, print_table, provenance, write_results
from sklearn.frozen import FrozenEstimator
from torch import nn
from torch.nn.functional import mse_loss

from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering
from skdcec._nn.device import resolve_precision
from skdcec._nn.modules import ConvAutoencoderModule, use_channels_last

N_CLUSTERS = 10
N_COMPONENTS = 10
# Name: image shape, batch size, images of a full run, images of a quick one.
SETTINGS = {
    "28x28x1, batch 256": ((28, 28, 1), 256, 10_240, 1_024),
    "128x128x3, batch 64": ((128, 128, 3), 64, 640, 128),
}


def bare_network(shape):
    """Return the network of the estimators, made of PyTorch's layers alone."""
    generator = torch.Generator().manual_seed(0)
    module = ConvAutoencoderModule(shape, N_COMPONENTS, (32, 64, 128), "relu", generator)
    for name, layer in module.decoder.named_children():
        if isinstance(layer, nn.ConvTranspose2d):
            geometry = layer.kernel_size, layer.stride, layer.padding, layer.output_padding
            module.decoder[int(name)] = nn.ConvTranspose2d(
                layer.in_channels, layer.out_channels, *geometry
            )
            module.decoder[int(name)].load_state_dict(layer.state_dict())
    return use_channels_last(module)


def autocast(precision):
    """Return what a bare loop computes in."""
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")


def bare_pretraining(shape, images, batch_size, epochs, precision):
    """Return the seconds of a hand-written pretraining loop."""
    module = bare_network(shape)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)
    start = time.perf_counter()
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(batch_size):
            x = images[rows].permute(0, 3, 1, 2)
            with autocast(precision):
                decoded = module.decode(module.encode(x))
            loss = mse_loss(decoded.float(), x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return time.perf_counter() - start


def bare_inference(module, images, batch_size, precision):
    """Return the seconds of embedding all images."""
    start = time.perf_counter()
    with torch.inference_mode(), autocast(precision):
        parts = images.split(batch_size)
        torch.cat([module.encode(x.permute(0, 3, 1, 2)) for x in parts]).float().numpy()
    return time.perf_counter() - start


def bare_joint_training(module, centers, images, batch_size, epochs, precision):
    """Return the seconds of a hand-written joint loop, starting from `module` and `centers`."""
    centers = torch.nn.Parameter(torch.from_numpy(centers.copy()))
    optimizer = torch.optim.Adam([*module.parameters(), centers], lr=1e-3, fused=True)

    def assign(z):
        q = 1 / (1 + torch.cdist(z, centers).square())
        return q / q.sum(1, keepdim=True)

    def target():
        with torch.inference_mode(), autocast(precision):
            parts = images.split(batch_size)
            z = torch.cat([module.encode(x.permute(0, 3, 1, 2)) for x in parts])
        with torch.no_grad():
            q = assign(z.float())
            p = q.square() / q.sum(0)
            return p / p.sum(1, keepdim=True)

    p = target()
    start = time.perf_counter()
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(batch_size):
            x = images[rows].permute(0, 3, 1, 2)
            with autocast(precision):
                z = module.encode(x)
                decoded = module.decode(z)
            q, goal = assign(z.float()), p[rows]
            clustering = (goal * (goal / q).log()).sum(1).mean()
            loss = mse_loss(decoded.float(), x) + 0.1 * clustering
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        p = target()
    return time.perf_counter() - start


def our_pretraining(images, batch_size, epochs):
    """Return the seconds of the loop in `ConvAutoencoder.fit`."""
    watch = Stopwatch()
    encoder = ConvAutoencoder(
        N_COMPONENTS,
        max_epochs=epochs,
        batch_size=batch_size,
        callbacks=[watch],
        device="cpu",
        random_state=0,
    )
    encoder.fit(images)
    return watch.seconds_


def our_joint_training(encoder, centers, images, batch_size, epochs):
    """Return the seconds of the loop in the clusterer's joint phase."""
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
    model.fit(images)
    return watch.seconds_


def measure(shape, batch_size, n_images, epochs, rounds):
    """Return, for each phase, the images per second of each contender in each round."""
    images = np.random.default_rng(0).integers(0, 256, (n_images, *shape), dtype=np.uint8)
    tensor = torch.from_numpy(images / np.float32(255))
    encoder = ConvAutoencoder(
        N_COMPONENTS, max_epochs=1, batch_size=batch_size, device="cpu", random_state=0
    ).fit(images)
    centers = encoder.transform(images[:N_CLUSTERS])

    def trained():
        module = bare_network(shape)
        module.load_state_dict(encoder.module_.state_dict())
        return module

    def ours_inferred():
        start = time.perf_counter()
        encoder.transform(images)
        return time.perf_counter() - start

    native = resolve_precision(None, torch.device("cpu")) == torch.bfloat16
    contenders = {
        "pretraining": {"ours": lambda: our_pretraining(images, batch_size, epochs)},
        "joint training": {
            "ours": lambda: our_joint_training(encoder, centers, images, batch_size, epochs)
        },
        "inference": {"ours": ours_inferred},
    }
    for precision in ("float32", "bfloat16") if native else ("float32",):
        told = (tensor, batch_size, epochs, precision)
        contenders["pretraining"][precision] = partial(bare_pretraining, shape, *told)
        contenders["joint training"][precision] = lambda told=told: bare_joint_training(
            trained(), centers, *told
        )
        contenders["inference"][precision] = partial(
            bare_inference, trained(), tensor, batch_size, precision
        )
    speeds = {phase: {name: [] for name in those} for phase, those in contenders.items()}
    for round_ in range(-1, rounds):  # one to warm up
        for phase, functions in contenders.items():
            n_seen = n_images * (1 if phase == "inference" else epochs)
            for name in functions if round_ % 2 else reversed(functions):
                seconds = functions[name]()
                if round_ >= 0:
                    speeds[phase][name].append(n_seen / seconds)
    return speeds


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
            bare = zip(*(speed[name] for name in speed if name != "ours"), strict=True)
            ratios = [o / max(b) for o, b in zip(speed["ours"], bare, strict=True)]
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
    header = ["images/s, medians", *speed, "ours/faster", "of each round"]
    print_table(header, rows)
    write_results("throughput", {"results": results}, quick=args.quick)


if __name__ == "__main__":
    main()
