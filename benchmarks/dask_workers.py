"""How many images per second does a worker of Dask assign, beside a plain call?

Both have one thread, and read the same file; the two take turns, in changing order, and each round
gives two ratios: by the clock, and by the seconds of the processor that either process takes, which
other work on the machine does not lengthen. With --keep-memory, the worker is started as
`examples/dask_embedding.py` does, so that it keeps its memory; without, as Dask does by itself.
"""

import argparse
import runpy
import statistics
import tempfile
import time
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import torch
from _common import HERE, environment, print_table, write_results
from distributed import Client, LocalCluster

from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering

SHAPE = (32, 32, 3)
EXAMPLE = runpy.run_path(str(HERE.parent / "examples" / "dask_embedding.py"), run_name="example")


def read(path, block_info=None):
    """Return one block of the images in a file."""
    start, stop = block_info[None]["array-location"][0]
    return np.load(path, mmap_mode="r")[start:stop]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=32_768)
    parser.add_argument("--block", type=int, default=4_096, help="images of one (default: 4096)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    parser.add_argument("--keep-memory", action="store_true", help="as the example does")
    parser.add_argument("--quick", action="store_true", help="only see whether this runs")
    args = parser.parse_args()
    if args.quick:
        args.images, args.block, args.rounds = 512, 128, 1
    torch.set_num_threads(1)
    name = "dask_workers"
    if args.keep_memory:
        dask.config.set({"distributed.nanny.pre-spawn-environ": EXAMPLE["KEEPING_MEMORY"]})
        name += "_keep_memory"
    n_blocks = -(-args.images // args.block)
    sizes = tuple(len(part) for part in np.array_split(range(args.images), n_blocks))

    with tempfile.TemporaryDirectory() as folder:
        path, model_path = str(Path(folder, "images.npy")), str(Path(folder, "model.safetensors"))
        rng = np.random.default_rng(0)
        np.save(path, rng.integers(0, 256, (args.images, *SHAPE), dtype=np.uint8))
        model = DeepConvEmbeddingClustering(
            10, encoder=ConvAutoencoder(max_epochs=1), init="k-means", max_epochs=0, random_state=0
        ).fit(np.load(path)[:512])
        model.save(model_path)
        with (
            LocalCluster(1, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            client.wait_for_workers(1)
            parts = da.map_blocks(
                read,
                path,
                chunks=(sizes, *((side,) for side in SHAPE)),
                dtype=np.uint8,
                meta=np.empty((0, 0, 0, 0), dtype=np.uint8),
            )
            contenders = {
                "plain": (
                    lambda: model.predict(np.load(path, mmap_mode="r")),
                    time.process_time,
                ),
                "worker": (
                    lambda: EXAMPLE["predict_array"](parts, model_path).compute(),
                    lambda: sum(client.run(time.process_time).values()),
                ),
            }
            speeds = measure(contenders, args)
    results = {"load_average": environment()["load_average"], "block": args.block}
    rows = []
    for by, speed in speeds.items():
        ratios = [w / p for w, p in zip(speed["worker"], speed["plain"], strict=True)]
        median = statistics.median(ratios)
        results[by] = {"images_per_second": speed, "ratios": ratios, "median_ratio": median}
        medians = [statistics.median(speed[name]) for name in contenders]
        rows.append([by, *medians, median, " ".join(f"{ratio:.2f}" for ratio in ratios)])
    print_table(["images/s", "plain", "worker", "ratio", "of each round"], rows)
    write_results(name, results, quick=args.quick)


def measure(contenders, args):
    """Return the images per second of each round, by the clock and of the processor."""
    speeds = {by: {name: [] for name in contenders} for by in ("clock", "processor")}
    for round_ in range(-1, args.rounds):  # one to warm up
        for name in sorted(contenders, reverse=bool(round_ % 2)):
            call, processor = contenders[name]
            before = processor()
            start = time.perf_counter()
            call()
            seconds = {"clock": time.perf_counter() - start, "processor": processor() - before}
            if round_ >= 0:
                for by, taken in seconds.items():
                    speeds[by][name].append(args.images / taken)
    return speeds


if __name__ == "__main__":
    main()
