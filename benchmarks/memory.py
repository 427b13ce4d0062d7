"""Peak memory of a fit on memory-mapped images, for growing numbers of images, and its speed.

Each fit runs in a process of its own. Two peaks are measured, both above what the process took when
all was imported: of all memory that the system counts as the process's, which contains the pages of
the image file that it holds, and of what it needs itself (Linux only). The growth per image of the
second is what the embedding, the targets and the assignments take.

With --speed, fits of one collection in a file and in memory take turns, each beginning with a file
that the system has forgotten (Linux only); each round gives one ratio.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from _common import HERE, Stopwatch, environment, print_table, provenance, write_results

SHAPE = (64, 64, 3)
MIB = 2**20


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", help="numbers of images")
    parser.add_argument("--dtypes", nargs="+", choices=["uint8", "float32"], default=["uint8"])
    parser.add_argument("--clusters", type=int, default=10, help="(default: 10)")
    parser.add_argument(
        "--filters", type=int, nargs="+", default=[8, 16, 32], help="(default: 8 16 32)"
    )
    parser.add_argument("--speed", action="store_true", help="measure speed rather than memory")
    parser.add_argument("--rounds", type=int, default=5, help="of --speed (default: 5)")
    parser.add_argument("--folder", help="where there is room for the images")
    parser.add_argument("--quick", action="store_true", help="only see whether this runs")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(fit_and_watch(args.child, args.clusters, args.filters)))
    elif args.speed:
        measure_speed((args.images or [400 if args.quick else 16_000])[0], args)
    else:
        measure_memory(args)


def measure_memory(args):
    numbers = args.images or ([200, 400] if args.quick else [1_000, 16_000, 64_000, 200_000])
    results = []
    for dtype in args.dtypes:
        for n_images in numbers:
            with tempfile.TemporaryDirectory(dir=args.folder) as folder:
                path = Path(folder, "images.npy")
                size = write_images(path, n_images, dtype)
                output = subprocess.run(
                    [
                        *(sys.executable, __file__, "--child", str(path)),
                        *("--clusters", str(args.clusters)),
                        *("--filters", *map(str, args.filters)),
                    ],
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                ).stdout
            results.append(
                {
                    "images": n_images,
                    "dtype": dtype,
                    "clusters": args.clusters,
                    "filters": args.filters,
                    "file": size,
                    "load_average": environment()["load_average"],
                    **provenance(),
                    **json.loads(output),
                }
            )
            print(f"{n_images:,} images of {dtype}: done", flush=True)

    print()
    print_table(
        ["images of 64x64x3", "file", "peak", "of it needed", "at import", "seconds"],
        [
            [
                f"{r['images']:,} {r['dtype']}",
                *(
                    "-" if r[key] is None else f"{r[key] / MIB:,.0f} MiB"
                    for key in ("file", "peak", "needed", "import")
                ),
                r["seconds"],
            ]
            for r in results
        ],
    )
    for dtype in args.dtypes:
        first, *_, last = [r for r in results if r["dtype"] == dtype] * 2
        growth = (last["needed"] - first["needed"]) / max(1, last["images"] - first["images"])
        print(f"\nNeeded memory grows by {growth:,.0f} bytes per image of {dtype}.")
    keep(
        {f"{r['images']} {r['dtype']}, {r['clusters']}, {r['filters']}": r for r in results},
        args.quick,
    )


def measure_speed(n_images, args):
    """Train on a file and in memory, by turns, in this process."""
    results, rows = {}, []
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for dtype in args.dtypes:
            path = Path(folder, "images.npy")
            write_images(path, n_images, dtype)
            inputs = {"file": np.load(path, mmap_mode="r"), "memory": np.load(path)}
            speeds = {"file": [], "memory": []}
            for round_ in range(-1, 1 if args.quick else args.rounds):  # one to warm up
                for name in ("file", "memory") if round_ % 2 else ("memory", "file"):
                    forget(path)
                    seconds = train(inputs[name], args.clusters, args.filters)
                    if round_ >= 0:
                        speeds[name].append(2 * n_images / seconds)
            ratios = [f / m for f, m in zip(speeds["file"], speeds["memory"], strict=True)]
            results[f"speed, {n_images} {dtype}"] = {
                "images_per_second": speeds,
                "ratios": ratios,
                "median_ratio": statistics.median(ratios),
                "load_average": environment()["load_average"],
                **provenance(),
            }
            medians = [statistics.median(speed) for speed in speeds.values()]
            of_each = " ".join(f"{ratio:.2f}" for ratio in ratios)
            rows.append([f"{n_images:,} {dtype}", *medians, statistics.median(ratios), of_each])
    print_table(["images/s", "file", "memory", "ratio", "of each round"], rows)
    keep(results, args.quick)


def keep(results, quick):
    """Add results to those of before."""
    path = HERE / "results" / "memory.json"
    before = json.loads(path.read_text()).get("results", {}) if path.exists() else {}
    before = before if isinstance(before, dict) and not quick else {}
    write_results("memory", {"shape": SHAPE, "results": before | results}, quick=quick)


def forget(path):
    """Let the system forget what it has of a file, so that it comes from the disk."""
    if hasattr(os, "posix_fadvise"):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def write_images(path, n_images, dtype):
    """Write random images; return the size of the file in bytes."""
    random = np.random.default_rng(0)
    file = np.lib.format.open_memmap(path, "w+", dtype, (n_images, *SHAPE))
    # The same again and again, which is as good here and made in no time.
    images = random.integers(0, 256, (1000, *SHAPE), dtype=np.uint8)
    for start in range(0, n_images, 1000):
        file[start : start + 1000] = images[: n_images - start]
    file.flush()
    return int(file.nbytes)


def train(images, n_clusters, filters):
    """Fit both phases; return the seconds of their loops."""
    from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering

    # A narrow network, one epoch and one start: what grows with n is measured, not the training.
    model = DeepConvEmbeddingClustering(
        n_clusters,
        encoder=ConvAutoencoder(
            filters=filters, max_epochs=1, batch_size=256, callbacks=[Stopwatch()]
        ),
        max_epochs=1,
        n_init=1,
        device="cpu",
        random_state=0,
    )
    watch = Stopwatch()
    model.set_params(callbacks=[watch]).fit(images)
    return watch.seconds_ + model.encoder_.callbacks[0].seconds_


def fit_and_watch(path, n_clusters, filters):
    """Fit on the images in a file; return the peaks of memory in bytes."""
    import skdcec  # noqa: F401

    images = np.load(path, mmap_mode="r")
    before = memory()
    peaks = [before]
    done = threading.Event()

    def watch():
        while not done.wait(0.01):
            peaks.append(memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    train(images, n_clusters, filters)
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    peak, needed = (max(values) for values in zip(*peaks, strict=True))
    return {
        "import": before[0],
        "peak": peak - before[0],
        "needed": needed - before[1],
        "seconds": seconds,
    }


def memory():
    """Return the memory of this process in bytes, and how much of it is not that of files."""
    lines = Path(f"/proc/{os.getpid()}/status").read_text().splitlines()
    values = {
        line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("VmR", "Rss"))
    }
    return int(values["VmRSS"]) * 1024, int(values["RssAnon"]) * 1024


if __name__ == "__main__":
    main()
