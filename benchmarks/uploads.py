"""How long does one upload take, and do 100 000 paths fit into little memory, also after a kill?

An upload: the bytes of one picture, as they come in, to the cluster of a model that is loaded, on
one core. Paths: links to the pictures of FOLDER, as many as asked for, through a small network
that is made up (three convolutions), in a process of its own, which is killed by signal 9 on the
way and started again with the same `memory`.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _common import print_table, write_results
from torch import nn

from skdcec import ContrastiveEncoder, DeepConvEmbeddingClustering
from skdcec.datasets import load_images
from skdcec.features import PretrainedFeatures

MIB = 2**20
HALF = (0.5, 0.5, 0.5)


def small_network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(a, b, 3, 2) for a, b in ((3, 16), (16, 32), (32, 64))]
    return nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))


def uploads(folder, quick):
    """Return the milliseconds of one upload at a time, by model."""
    paths = sorted(folder.rglob("*.jpg"))
    some = paths[:: max(1, len(paths) // (40 if quick else 400))]
    encoders = {
        "paintings": "paintings",
        "contrastive, of those weights": ContrastiveEncoder(weights="paintings", max_epochs=0),
        "autoencoder": "autoencoder",
    }
    contents = [path.read_bytes() for path in some[:: 2 if quick else 4]]
    found = {}
    for name, encoder in encoders.items():
        model = DeepConvEmbeddingClustering(5, encoder=encoder, max_epochs=0, random_state=0)
        if name == "autoencoder":
            from skdcec import ConvAutoencoder

            model.set_params(encoder=ConvAutoencoder(32, max_epochs=1))
        # In the size that the command gives to each.
        size = 64 if name == "autoencoder" else 128
        model.fit(load_images([str(path) for path in some], size=size).images)
        model.predict(contents[0])
        times = []
        for content in contents:
            start = np.array([time.perf_counter(), time.process_time()])
            model.predict(content)
            times.append(np.array([time.perf_counter(), time.process_time()]) - start)
        by_clock, by_processor = 1000 * np.array(times).T
        found[name] = {
            "median ms": float(np.median(by_clock)),
            "95 of 100 within ms": float(np.percentile(by_clock, 95)),
            # On a machine that does other things, too, what it would take alone.
            "median ms of the processor": float(np.median(by_processor)),
            "uploads": len(contents),
            "mean size in kB": float(np.mean([len(content) for content in contents]) / 1000),
        }
    return found


def transform_paths(folder, memory):
    """Find the features of all paths, and say what that took; runs in a process of its own."""
    paths = [str(path) for path in sorted(Path(folder).iterdir())]
    before = peak()
    features = PretrainedFeatures(
        small_network(), mean=HALF, std=HALF, size=64, resize="crop", memory=memory
    ).fit(paths)
    start = time.perf_counter()
    rows = features.transform(paths)
    return {
        "rows": len(rows),
        "sum": float(rows.astype(np.float64).sum()),
        "seconds": time.perf_counter() - start,
        "peak MiB": peak() / MIB,
        "of which before": before / MIB,
    }


def peak():
    """Return the most memory that this process had, and not the one that started it."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def many_paths(source, n, scratch):
    """Return what a run that was killed half way, and its successor, took."""
    files = sorted(source.rglob("*.jpg"))
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        links, memory = Path(folder, "links"), Path(folder, "memory")
        links.mkdir()
        for i in range(n):
            (links / f"{i:06}.jpg").symlink_to(files[i % len(files)])
        command = [sys.executable, __file__, "--child", str(links), str(memory)]
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            while n_kept(memory) * 256 < n // 2 and child.poll() is None:
                time.sleep(0.2)
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            killed = {"seconds": time.perf_counter() - start, "kept": n_kept(memory) * 256}
        resumed = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        known = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return {"killed": killed, "resumed": resumed, "all known": known}


def n_kept(memory):
    return len([*memory.glob("*.npy")]) if memory.exists() else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="folder of pictures")
    parser.add_argument("--paths", type=int, default=100_000, help="how many (default: 100 000)")
    parser.add_argument("--quick", action="store_true", help="only see whether this runs")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(transform_paths(*args.child)))
        return
    if args.data is None:
        parser.error("--data FOLDER is needed")
    torch.set_num_threads(1)
    results = {"uploads": uploads(args.data, args.quick)}
    header = ["model", *next(iter(results["uploads"].values()))]
    print_table(header, [[name, *line.values()] for name, line in results["uploads"].items()])
    n = 2_000 if args.quick else args.paths
    results["paths"] = {"n": n, **many_paths(args.data, n, None)}
    print(json.dumps(results["paths"], indent=1))
    write_results("uploads", results, quick=args.quick)


if __name__ == "__main__":
    main()
