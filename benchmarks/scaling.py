"""What does each stage of a fit cost against the number of images, and of clusters?

Images of many kinds lie in a file. Pretraining and joint phase are those of a narrow network, of
which one epoch each is timed, so the slopes hold for any network, and the seconds for this one.
They are seconds of the processor, which other work on the machine does not lengthen; those of the
clock are kept beside them.
Each pair of a number of images and of clusters is a line of `results/scaling.jsonl`, and is passed
over once it is there. --table prints them with the slopes, on a scale of logarithms: 1 is
proportional, 0 does not depend. --docs writes the table and the curves of the documentation.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _common import (
    HERE,
    append_line,
    environment,
    is_done,
    print_table,
    read_lines,
    settings_of,
)
from sklearn.frozen import FrozenEstimator
from skorch.callbacks import Callback
from threadpoolctl import threadpool_limits

from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering
from skdcec._clusterers.mixtures import fit_readout
from skdcec._clusterers.starts import clarity, find_labels, find_start

SHAPE = (32, 32, 1)
N_KINDS = 50
BATCH_SIZE = 256
FIXED = {"clusters": 10, "images": 16_000}
STAGES = ("pretraining epoch", "embedding", "start", "joint epoch", "read-out", "predict")
UNITS = (("images", "clusters"), ("clusters", "images"))
PATH = HERE / "results" / "scaling.jsonl"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--images", type=int, nargs="*", default=[1_000, 4_000, 16_000, 64_000, 200_000]
    )
    parser.add_argument("--clusters", type=int, nargs="*", default=[2, 10, 50, 200])
    parser.add_argument("--threads", type=int, default=1, help="(default: 1)")
    parser.add_argument("--folder", help="where there is room for the images")
    parser.add_argument("--table", action="store_true", help="print what was found so far")
    parser.add_argument("--docs", help="folder of the documentation, to write table and curves to")
    parser.add_argument("--quick", action="store_true", help="only see whether this runs")
    args = parser.parse_args()
    path = PATH
    if args.quick:
        path = HERE / "scratch" / PATH.name
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        args.images, args.clusters = [300, 600], [2, 4]
        FIXED.update(clusters=2, images=600)
    if not args.table and not args.docs:
        pairs = [(n, FIXED["clusters"]) for n in args.images]
        pairs += [(FIXED["images"], k) for k in args.clusters]
        torch.set_num_threads(args.threads)
        with threadpool_limits(args.threads):
            # What is only done the first time is not what is asked.
            measure(np.random.default_rng(0).integers(0, 256, (512, *SHAPE), np.uint8), 2)
            for n_images, n_clusters in dict.fromkeys(pairs):
                measure_once(path, n_images, n_clusters, args.folder)
    lines = read_lines(path)
    for unit, other in UNITS:
        print_stages(lines, unit, other)
    if args.docs:
        write_docs(lines, Path(args.docs))


def measure_once(path, n_images, n_clusters, folder):
    key = {
        "images": n_images,
        "clusters": n_clusters,
        "settings": settings_of({"shape": SHAPE, "kinds": N_KINDS, "batch_size": BATCH_SIZE}),
    }
    if is_done(key, read_lines(path)):
        return
    with tempfile.TemporaryDirectory(dir=folder) as at:
        file = Path(at, "images.npy")
        write_images(file, n_images)
        stages = measure(np.load(file, mmap_mode="r"), n_clusters)
    clock, processor = (
        dict(zip(stages, map(float, times), strict=True))
        for times in zip(*stages.values(), strict=True)
    )
    load = environment()["load_average"]
    append_line(path, {**key, "seconds": processor, "clock": clock, "load": load})
    print(f"{n_images:,} images, {n_clusters} clusters: done", flush=True)


def write_images(path, n_images):
    """Write noisy images of some kinds, block by block."""
    rng = np.random.default_rng(0)
    kinds = np.kron(rng.integers(0, 200, (N_KINDS, 8, 8)), np.ones((4, 4)))[..., None]
    file = np.lib.format.open_memmap(path, "w+", np.uint8, (n_images, *SHAPE))
    for start in range(0, n_images, 1000):
        block = file[start : start + 1000]
        noise = rng.integers(0, 56, block.shape)
        block[:] = kinds[rng.integers(N_KINDS, size=len(block))] + noise


def measure(images, n_clusters):
    """Return the seconds of each stage, by the clock and of the processor."""
    seconds, watch = {}, Watch()
    encoder = ConvAutoencoder(
        filters=(8, 16, 32),
        max_epochs=1,
        batch_size=BATCH_SIZE,
        callbacks=[watch],
        device="cpu",
        precision="float32",
        random_state=0,
    ).fit(images)
    seconds["pretraining epoch"] = watch.seconds_
    embedding, seconds["embedding"] = timed(encoder.transform, images)
    options = {"init": "auto", "n_init": 10, "seed": 0}
    start, seconds["start"] = timed(find_start, embedding, n_clusters, **options)
    model = DeepConvEmbeddingClustering(
        n_clusters,
        encoder=FrozenEstimator(encoder.set_params(callbacks=None)),
        init=start.centers,
        max_epochs=1,
        callbacks=[watch],
        device="cpu",
        random_state=0,
    ).fit(images)
    seconds["joint epoch"] = watch.seconds_
    seconds["read-out"] = timed(read_out, embedding, n_clusters, options)[1]
    seconds["predict"] = timed(model.predict, images)[1]
    return seconds


def read_out(embedding, n_clusters, options):
    """Do what follows the joint phase."""
    labels = find_labels(embedding, n_clusters, **options)
    clarity(embedding, labels)
    fit_readout(embedding, labels, n_clusters, 0).posterior(embedding).argmax(axis=1)


class Watch(Callback):
    """Measures the training loop of a fit."""

    def on_train_begin(self, net, **kwargs):
        self.start_ = now()

    def on_train_end(self, net, **kwargs):
        self.seconds_ = now() - self.start_


def timed(function, *args, **options):
    start = now()
    result = function(*args, **options)
    return result, now() - start


def now():
    """Return the time of the clock, and that of the processor for all threads."""
    return np.array([time.perf_counter(), time.process_time()])


def series(lines, unit, other):
    """Return the lines in which only one number changes."""
    chosen = {line[unit]: line for line in lines if line[other] == FIXED[other]}
    return [chosen[number] for number in sorted(chosen)]


def slopes(numbers, seconds):
    """Return the slope between neighbours on a scale of logarithms."""
    return np.diff(np.log(seconds)) / np.diff(np.log(numbers))


def print_stages(lines, unit, other):
    chosen = series(lines, unit, other)
    if not chosen:
        return
    numbers = [line[unit] for line in chosen]
    rows = []
    for stage in STAGES:
        seconds = [line["seconds"][stage] for line in chosen]
        of_each = " ".join(f"{slope:.2f}" for slope in slopes(numbers, seconds))
        rows.append([stage, *seconds, of_each])
    print(f"\nSeconds against the number of {unit}, with {FIXED[other]:,} {other}:")
    print_table([unit, *(f"{number:,}" for number in numbers), "slopes"], rows)


def write_docs(lines, docs):
    """Write curves and a table for the guide."""
    from matplotlib.figure import Figure

    folder = docs / "guide" / "large"
    folder.mkdir(exist_ok=True)
    figure = Figure(figsize=(9, 4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (unit, other) in zip(panels, UNITS, strict=True):
        chosen = series(lines, unit, other)
        numbers = [line[unit] for line in chosen]
        rows = [[unit, *map(str, numbers), "slopes"]]
        for stage, marker in zip(STAGES, "osD^vP", strict=True):
            seconds = [line["seconds"][stage] for line in chosen]
            axes.loglog(numbers, seconds, marker=marker, label=stage)
            of_each = " ".join(f"{slope:.2f}" for slope in slopes(numbers, seconds))
            rows.append(
                [stage, *(f"{number:.{2 if number < 10 else 0}f}" for number in seconds), of_each]
            )
        axes.set(xlabel=unit, title=f"{FIXED[other]:,} {other}")
        axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        (folder / f"{unit}.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    panels[0].set(ylabel="seconds of the processor")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper")
    figure.savefig(folder / "scaling.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
