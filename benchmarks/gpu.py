"""Training, prediction and a search on a GPU, against a loop in bare PyTorch and the card's limit.

The bare loop is the same network in channels_last memory order with fused Adam, in the precision
that ours takes by itself, over images that are on the card already; for prediction they come from
the processor's memory, as ours do. The card's limit is what it reaches in a product of large
matrices; how much of it a step takes is counted from the operations of the network. The two take
turns within one run, in changing order. It also counts how often an epoch asks the device for a
number, which it has to wait for. It takes about three minutes; with --device cpu --quick it only
shows that it runs.
"""

import argparse
import statistics
import time
from contextlib import nullcontext

import numpy as np
import torch
from _common import HERE, Stopwatch, print_table, provenance, write_results
from sklearn.frozen import FrozenEstimator
from torch.nn.functional import mse_loss
from torch.utils.flop_counter import FlopCounterMode

from skdcec import ContrastiveEncoder, ConvAutoencoder, DeepConvEmbeddingClustering
from skdcec._nn.batches import Batches
from skdcec._nn.device import resolve_precision
from skdcec._nn.functional import contrastive_loss
from skdcec._nn.modules import ContrastiveModule, ConvAutoencoderModule
from skdcec.augmentation import painting_augmentation
from skdcec.model_selection import NClustersSearch

# Name: image shape, batch size, images, images of a quick run, share of the bare loop asked for.
SETTINGS = {
    "28x28x1, batch 256": ((28, 28, 1), 256, 60_000, 512, 0.7),
    "128x128x3, batch 64": ((128, 128, 3), 64, 10_000, 64, 0.9),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="(default: cuda)")
    parser.add_argument("--rounds", type=int, default=5, help="of each contender (default: 5)")
    parser.add_argument("--epochs", type=int, default=3, help="in each round (default: 3)")
    parser.add_argument("--quick", action="store_true", help="only see whether this runs")
    args = parser.parse_args()
    device = torch.device(args.device)
    if args.quick:
        args.rounds = args.epochs = 1
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    limit = matmul_peak(device, 256 if args.quick else 8192)
    results = {"card": card, "matmul FLOP per second": limit, **provenance(), "settings": {}}
    rows = []
    for setting, (shape, batch_size, n_full, n_quick, asked) in SETTINGS.items():
        n_images = n_quick if args.quick else n_full
        images = pictures(n_images, shape)
        flop = step_flop(shape)
        speeds = training(shape, images, batch_size, device, args)
        speeds |= inference(images, batch_size, device, args)
        if shape[2] == 3:
            speeds |= contrast(images[: n_images // 4], batch_size, device, args)
        results["settings"][setting] = {"images_per_second": speeds, "FLOP per image": flop}
        for name, (ours, bare) in pairs(speeds).items():
            ratio = statistics.median(o / b for o, b in zip(ours, bare, strict=True))
            share = statistics.median(ours) * flop / limit if name == "pretraining" else np.nan
            medians = [statistics.median(bare), statistics.median(ours)]
            rows.append([f"{setting}, {name}", *medians, ratio, asked, share])
    results |= other_stages(device, args.quick)
    print_table(["images/s", "bare", "ours", "ratio", "asked", "of the card's limit"], rows)
    for name, value in results.items():
        if isinstance(value, float):
            print(f"{name}: {value:,.4g}")
    write_results("gpu", results, quick=args.quick)
    write_table(results, rows, args.quick)


def write_table(results, rows, quick):
    """Write a table for the documentation."""
    path = HERE / ("scratch" if quick else "results") / "gpu.csv"
    lines = [f"{results['card']},bare,ours,ratio,asked,of the card's limit"]
    lines += [",".join([name.replace(",", ";"), *(f"{v:.3g}" for v in values)])
              for name, *values in rows]  # fmt: skip
    path.write_text("\n".join(lines) + "\n")


def pictures(n_images, shape):
    """Return images of ten kinds, so that clusters keep members."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 128, (10, *shape), dtype=np.uint8)
    noise = rng.integers(0, 128, (n_images, *shape), dtype=np.uint8)
    return kinds[rng.integers(10, size=n_images)] + noise


def pairs(speeds):
    """Return what ours and the bare loop reached in each phase."""
    names = [name.removesuffix(", ours") for name in speeds if name.endswith(", ours")]
    return {name: (speeds[f"{name}, ours"], speeds[f"{name}, bare"]) for name in names}


def synchronize(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(function, device):
    synchronize(device)
    start = time.perf_counter()
    function()
    synchronize(device)
    return time.perf_counter() - start


def matmul_peak(device, size):
    """Return the operations per second in a product of matrices, in the precision of training."""
    dtype = resolve_precision(None, device)
    a = torch.randn(size, size, device=device, dtype=dtype)
    timed(lambda: a @ a, device)
    return 2 * size**3 / min(timed(lambda: a @ a, device) for _ in range(5))


def new_module(shape, device):
    generator = torch.Generator().manual_seed(0)
    module = ConvAutoencoderModule(shape, 10, (32, 64, 128), "relu", generator)
    return module.to(device, memory_format=torch.channels_last)


def step_flop(shape):
    """Return the operations of a training step for one image."""
    module, counter = new_module(shape, "cpu"), FlopCounterMode(display=False)
    x = torch.zeros(1, shape[2], *shape[:2])
    with counter:
        module.decode(module.encode(x)).sum().backward()
    return counter.get_total_flops()


def precise(device):
    dtype = resolve_precision(None, device)
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def training(shape, images, batch_size, device, args):
    """Return the images per second of a pretraining and of ours, by turns."""
    resident = Batches(images, 255.0, device)[:].contiguous(memory_format=torch.channels_last)

    def bare():
        module = new_module(shape, device)
        optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)

        def run():
            for _ in range(args.epochs):
                for rows in torch.randperm(len(images)).to(device).split(batch_size):
                    x = resident[rows]
                    with precise(device):
                        decoded = module.decode(module.encode(x))
                    loss = mse_loss(decoded.float(), x)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()

        return timed(run, device)

    def ours():
        watch = Stopwatch()
        encoder = ConvAutoencoder(
            max_epochs=args.epochs,
            batch_size=batch_size,
            callbacks=[watch],
            device=device,
            random_state=0,
        ).fit(images)
        phases["joint training, ours"].append(joint(encoder))
        return watch.seconds_

    def joint(encoder):
        watch = Stopwatch()
        DeepConvEmbeddingClustering(
            10,
            encoder=FrozenEstimator(encoder),
            init="k-means",
            n_init=1,
            max_epochs=args.epochs,
            tol=0,
            callbacks=[watch],
            device=device,
            random_state=0,
        ).fit(images[: len(images) // 4])
        return len(images) // 4 * args.epochs / watch.seconds_

    phases = {"joint training, ours": []}
    contenders = {"bare": bare, "ours": ours}
    speeds = by_turns("pretraining", contenders, len(images) * args.epochs, args.rounds)
    # Beside the bare pretraining: it also has the centers, the targets and their refreshes.
    speeds["joint training, ours"] = phases["joint training, ours"][1:]
    speeds["joint training, bare"] = speeds["pretraining, bare"]
    return speeds


def inference(images, batch_size, device, args):
    encoder = ConvAutoencoder(max_epochs=1, batch_size=batch_size, device=device, random_state=0)
    model = DeepConvEmbeddingClustering(
        10, encoder=encoder, init="k-means", n_init=1, max_epochs=0, device=device, random_state=0
    ).fit(images[:512])

    def bare():
        with torch.inference_mode():
            parts = torch.from_numpy(images).split(1024)
            batches = (x.to(device).permute(0, 3, 1, 2).float().div_(255) for x in parts)
            torch.cat([model.module_.encode(x) for x in batches]).cpu()

    def ours():
        return timed(lambda: model.predict(images), device)

    contenders = {"bare": lambda: timed(bare, device), "ours": ours}
    return by_turns("prediction", contenders, len(images), args.rounds)


def contrast(images, batch_size, device, args):
    """Return the images per second of a contrastive training and of ours, by turns."""
    resident = Batches(images, 255.0, device)[:].contiguous(memory_format=torch.channels_last)
    side = 3 * images.shape[1] // 4
    augment = painting_augmentation(side)

    def bare():
        generator = torch.Generator().manual_seed(0)
        filters = (32, 64, 128, 256, 256)
        module = ContrastiveModule(3, 64, filters, generator)
        module.to(device, memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(module.parameters(), lr=3e-3, fused=True)

        def run():
            for _ in range(args.epochs):
                for rows in torch.randperm(len(images)).to(device).split(batch_size):
                    views = [augment(resident[rows], generator=generator) for _ in range(2)]
                    first, second = module.project(torch.cat(views)).chunk(2)
                    loss = contrastive_loss(first, second, 0.2)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()

        return timed(run, device)

    def ours():
        watch = Stopwatch()
        ContrastiveEncoder(
            max_epochs=args.epochs,
            batch_size=batch_size,
            callbacks=[watch],
            device=device,
            random_state=0,
        ).fit(images)
        return watch.seconds_

    contenders = {"bare": bare, "ours": ours}
    return by_turns("contrastive training", contenders, len(images) * args.epochs, args.rounds)


def by_turns(phase, contenders, n_images, rounds):
    """Return the images per second of each contender, which returns its seconds."""
    speeds = {f"{phase}, {name}": [] for name in contenders}
    for round_ in range(-1, rounds):  # one to warm up
        for name in sorted(contenders, reverse=bool(round_ % 2)):
            seconds = contenders[name]()
            if round_ >= 0:
                speeds[f"{phase}, {name}"].append(n_images / seconds)
    return speeds


def other_stages(device, quick):
    """Return what a contrastive epoch, a search and waiting for the device come to."""
    n_images, size = (64, 16) if quick else (4_096, 64)
    images = pictures(n_images, (size, size, 3))
    epochs = 1 if quick else 5
    encoder = ConvAutoencoder(max_epochs=epochs, device=device)
    model = DeepConvEmbeddingClustering(encoder=encoder, max_epochs=epochs, device=device)
    search = NClustersSearch(model.set_params(random_state=0), range(2, 4 if quick else 11))
    return {
        "seconds of a search": timed(lambda: search.fit(images), device),
        "waits for the device in an epoch": float(waits(device, images)),
    }


def waits(device, images):
    """Return how often an epoch waits for the device, as PyTorch warns of it."""
    import warnings

    from skdcec._nn.nets import EmbeddingNet

    found, run_single_epoch = [], EmbeddingNet.run_single_epoch

    def watched(net, iterator, *args, **kwargs):
        with warnings.catch_warnings(record=True) as caught, debugging(device):
            warnings.simplefilter("always")
            run_single_epoch(net, iterator, *args, **kwargs)
        if iterator is not None:
            found.append(sum("synchron" in str(one.message).lower() for one in caught))

    EmbeddingNet.run_single_epoch = watched
    try:
        ConvAutoencoder(max_epochs=1, device=device, random_state=0).fit(images)
    finally:
        EmbeddingNet.run_single_epoch = run_single_epoch
    return max(found)


def debugging(device):
    if device.type != "cuda":
        return nullcontext()

    class Debugging:
        def __enter__(self):
            torch.cuda.set_sync_debug_mode("warn")

        def __exit__(self, *error):
            torch.cuda.set_sync_debug_mode("default")

    return Debugging()


if __name__ == "__main__":
    main()
