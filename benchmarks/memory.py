"""Peak memory of a fit on memory-mapped images, for growing numbers of images.

Each fit runs in a process of its own. Two peaks are measured: of all memory in use, which contains
the pages of the image file that the system keeps while there is room for them, and of the memory
that the process really needs (Linux only). Only the second says whether a collection larger than
memory can be fitted; its growth per image is what the embedding, the targets and the assignments
take.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from _common import print_table, write_results

SHAPE = (64, 64, 3)
MIB = 2**20


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", help="numbers of images")
    parser.add_argument("--quick", action="store_true", help="only see whether this runs")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(fit_and_watch(args.child)))
        return
    numbers = args.images or ([200, 400] if args.quick else [1_000, 4_000, 16_000, 64_000])

    results = []
    with tempfile.TemporaryDirectory() as folder:
        for n_images in numbers:
            path = Path(folder, "images.npy")
            size = write_images(path, n_images)
            output = subprocess.run(
                [sys.executable, __file__, "--child", str(path)],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            ).stdout
            results.append({"images": n_images, "file": size, **json.loads(output)})
            print(f"{n_images:,} images: done", flush=True)

    print()
    print_table(
        ["images of 64x64x3", "file", "all memory", "needed", "needed before fit", "seconds"],
        [
            [
                f"{r['images']:,}",
                *(
                    "-" if r[key] is None else f"{r[key] / MIB:,.0f} MiB"
                    for key in ("file", "peak", "needed_peak", "needed_before")
                ),
                r["seconds"],
            ]
            for r in results
        ],
    )
    first, last = results[0], results[-1]
    if last["needed_peak"] and last["images"] > first["images"]:
        growth = (last["needed_peak"] - first["needed_peak"]) / (last["images"] - first["images"])
        print(
            f"\nNeeded memory grows by {growth:,.0f} bytes per image of {np.prod(SHAPE):,} bytes."
        )
    write_results("memory", {"shape": SHAPE, "results": results}, quick=args.quick)


def write_images(path, n_images):
    """Write random images block by block; return the size of the file in bytes."""
    random = np.random.default_rng(0)
    file = np.lib.format.open_memmap(path, "w+", np.uint8, (n_images, *SHAPE))
    for start in range(0, n_images, 1000):
        block = file[start : start + 1000]
        block[:] = random.integers(0, 256, block.shape, dtype=np.uint8)
    return int(file.nbytes)


def fit_and_watch(path):
    """Fit on the images in a file; return the peaks of memory in bytes."""
    import resource

    from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering

    images = np.load(path, mmap_mode="r")
    # A narrow network and one epoch: the data are what is measured, not the training.
    model = DeepConvEmbeddingClustering(
        n_clusters=10,
        encoder=ConvAutoencoder(filters=(8, 16, 32), max_epochs=1, batch_size=256),
        max_epochs=1,
        device="cpu",
        random_state=0,
    )
    before = needed_memory()
    peaks = [before or 0]
    done = threading.Event()

    def watch():
        while not done.wait(0.02):
            peaks.append(needed_memory() or 0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    model.fit(images)
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        "needed_before": before,
        "needed_peak": max(peaks) or None,
        "seconds": seconds,
    }


def needed_memory():
    """Return the memory of this process that is not backed by a file, in bytes."""
    path = Path(f"/proc/{os.getpid()}/status")
    if not path.exists():
        return None
    for line in path.read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return None


if __name__ == "__main__":
    main()
