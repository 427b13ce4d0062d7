"""Kill -9 at random moments of trainings: what is lost, and are the labels the same afterwards?

A fit with each encoder, a search over the number of clusters, and ``skdcec cluster`` are killed at
moments drawn evenly from the time between their first step and their end, and run again. Counted
are other labels than those of a run that nobody killed, files left over, and losses of more than
an interval between two checkpoints, which is half a second here rather than half a minute.

``--n 60`` kills that often, each kind in turn. What a checkpoint costs is measured by ``--cost``:
seconds of writing and reading one, by network, and its bytes.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _common import print_table, write_results
from PIL import Image

from skdcec import ContrastiveEncoder, ConvAutoencoder, DenseAutoencoder
from skdcec._nn import checkpoints, nets

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
KINDS = ["conv", "contrastive", "dense", "search", "command"]
INTERVAL, EPOCHS = 0.5, 10


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=20, help="kills at random moments")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cost", action="store_true", help="only what a checkpoint costs")
    parser.add_argument("--quick", action="store_true", help="only see whether this runs")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        serve(*args.child)
        return
    costs = measure_costs(quick=args.quick)
    if args.cost:
        return
    random = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        make_images(scratch / "images", random, n=60 if args.quick else 320)
        undisturbed = {kind: undisturbed_run(kind, scratch) for kind in args.kinds}
        kills = []
        for i in range(len(args.kinds) if args.quick else args.n):
            kind = args.kinds[i % len(args.kinds)]
            kills.append(kill(kind, scratch, undisturbed[kind], random))
            print(json.dumps(kills[-1]), flush=True)
    print()
    report(kills)
    write_results(
        "resume",
        {"interval": INTERVAL, "seed": args.seed, "kills": kills, "costs": costs},
        quick=args.quick,
    )


def report(kills):
    rows = []
    for kind in dict.fromkeys(one["kind"] for one in kills):
        of_kind = [one for one in kills if one["kind"] == kind]
        rows.append(
            [
                kind,
                len(of_kind),
                *(sum(one["phase"] == phase for one in of_kind) for phase in PHASES),
                sum(one["other labels"] for one in of_kind),
                sum(one["left over"] for one in of_kind),
                sum(one["lost seconds"] > one["interval"] for one in of_kind),
                max(one["lost seconds"] for one in of_kind),
            ]
        )
    print_table(
        ["killed", "n", *PHASES, "other labels", "left over", "lost > interval", "most lost (s)"],
        rows,
    )


PHASES = ["pretraining", "joint", "after"]


def make_images(folder, random, n):
    folder.mkdir()
    for i in range(n):
        pixels = random.integers(0, 60, (16, 16, 3), dtype=np.uint8)
        pixels[: 4 + 4 * (i % 3), :, i % 3] += 180
        Image.fromarray(pixels).save(folder / f"{i:03}.png")


# The process that is killed


def serve(kind, place):
    """Train, and write a line for each step and each checkpoint."""
    place = Path(place)
    log = os.open(place / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(what, seconds=0.0):
        os.write(log, f"{what} {time.monotonic()} {seconds}\n".encode())

    on_batch_end, write = nets.EmbeddingNet.on_batch_end, checkpoints.Checkpoint.write

    def logged_step(self, net, **kwargs):
        on_batch_end(self, net, **kwargs)
        note("joint" if isinstance(self, nets.ClusteringNet) else "pretraining")

    def logged_write(self, state):
        start = time.monotonic()
        write(self, state)
        note("checkpoint", self._interval)
        assert self._interval >= INTERVAL, time.monotonic() - start

    nets.EmbeddingNet.on_batch_end, checkpoints.Checkpoint.write = logged_step, logged_write
    checkpoints.INTERVAL, checkpoints.MAX_SHARE = INTERVAL, 0.1
    if kind == "command":
        command(place)
    else:
        labels = (
            search(place)
            if kind == "search"
            else model_of(kind, place).fit_predict(X_of(kind, place))
        )
        (place / "labels.json").write_text(
            json.dumps(labels if kind == "search" else labels.tolist())
        )


def X_of(kind, place):
    from skdcec.datasets import load_images

    images = load_images(place.parent / "images", 16, cache=None).images
    return images.reshape(len(images), -1) / 255 if kind == "dense" else images


def model_of(kind, place):
    from skdcec import DeepConvEmbeddingClustering, DeepEmbeddingClustering

    encoder = {
        "conv": ConvAutoencoder(8, filters=(8, 16, 16), max_epochs=EPOCHS),
        "contrastive": ContrastiveEncoder(8, filters=(8, 16, 16), max_epochs=EPOCHS),
        "dense": DenseAutoencoder(8, hidden_layer_sizes=(100, 400), max_epochs=EPOCHS),
    }[kind]
    cls = DeepEmbeddingClustering if kind == "dense" else DeepConvEmbeddingClustering
    settings = {"memory": place / "memory", "n_init": 2, "tol": 0.0, "random_state": 0}
    return cls(3, encoder=encoder, gamma=0.1, max_epochs=EPOCHS, **settings)


def search(place):
    from skdcec.model_selection import NClustersSearch

    model = model_of("conv", place).set_params(memory=None, max_epochs=EPOCHS // 2)
    found = NClustersSearch(model, [2, 3, 4], screen=None, memory=place / "memory")
    found.fit(X_of("search", place))
    return {str(k): labels.tolist() for k, labels in found.labels_of_.items()}


def command(place):
    from skdcec._cli import main as run

    source, cache = place.parent / "images", place / "memory"
    arguments = ["cluster", source, "-k", 3, "--out", place / "out", "--cache", cache]
    arguments += ["--encoder", "autoencoder", "--size", 16]
    status = run([*map(str, arguments), "--epochs", str(EPOCHS), "--jobs", "1", "--quiet"])
    if status:
        sys.exit(status)


# The process that kills


def start(kind, place):
    place.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, __file__, "--child", kind, str(place)],
        env=ENVIRONMENT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(kind, place):
    process = start(kind, place)
    printed = process.communicate()[1]
    if process.returncode:
        raise RuntimeError(f"{kind}: {printed[-2000:]}")
    return time.monotonic()


def undisturbed_run(kind, scratch):
    """Return when which step was done, when all was, and the labels."""
    place = scratch / kind
    end = finish(kind, place)
    steps = steps_of(place)
    times = [at for _, at in steps]
    seconds = [round(times[-1] - times[0], 1), round(end - times[-1], 1)]
    print(f"{kind}: {len(steps)} steps in {seconds[0]} s, then {seconds[1]} s", flush=True)
    return steps, end, labels_of(place)


def kill(kind, scratch, undisturbed, random):
    steps, end, expected = undisturbed
    place = scratch / f"{kind}-killed"
    times = np.array([at for _, at in steps])
    moment = random.uniform(times[0], end)
    n_steps = int((times <= moment).sum())
    # Within the step, or after the last one.
    delay = max(0.0, moment - times[n_steps - 1]) * random.uniform()
    process = start(kind, place)
    while process.poll() is None and len(steps_of(place)) < n_steps:
        time.sleep(0.005)
    time.sleep(delay)
    process.kill()
    process.communicate()
    done = steps_of(place)
    interval = max(
        [INTERVAL, *(seconds for what, _, seconds in log_of(place) if what == "checkpoint")]
    )
    finish(kind, place)
    n_repeated = len(steps_of(place)) - len(steps)
    # Of the steps that the killed process did, the last ones are those that were done again.
    lost = done[-1][1] - done[max(0, len(done) - n_repeated - 1)][1] if n_repeated > 0 else 0.0
    left = [str(path) for path in place.rglob("*") if is_left_over(path)]
    phase = done[-1][0] if len(done) < len(steps) else "after"
    found = {
        "kind": kind,
        "phase": phase,
        "steps done": len(done),
        "of": len(steps),
        "steps repeated": n_repeated,
        "lost seconds": round(lost, 2),
        # Between two steps, the second of which may have taken long.
        "interval": round(interval + max(np.diff([at for _, at in done]), default=0.0), 2),
        "other labels": labels_of(place) != expected,
        "left over": len(left),
    }
    shutil.rmtree(place)
    return found


def is_left_over(path):
    return "unfinished" in path.name or path.name.endswith(".partial")


def log_of(place):
    lines = (place / "log").read_text().splitlines() if (place / "log").exists() else []
    parts = [line.split() for line in lines]
    return [(what, float(at), float(seconds)) for what, at, seconds in parts]


def steps_of(place):
    return [(what, at) for what, at, _ in log_of(place) if what != "checkpoint"]


def labels_of(place):
    name = "out/clusters.csv" if (place / "out").exists() else "labels.json"
    return (place / name).read_bytes()


# What it costs


def measure_costs(*, quick):
    """Write and read checkpoints of the networks that people train."""
    import torch

    rows, costs = [], {}
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (64, 64, 64, 3), dtype=np.uint8)
    encoders = {
        "ConvAutoencoder(32), 64 x 64 x 3": (ConvAutoencoder(32), images),
        "ContrastiveEncoder(), 64 x 64 x 3": (ContrastiveEncoder(), images),
        "DenseAutoencoder(), 784": (DenseAutoencoder(), random.random((64, 784))),
    }
    for name, (encoder, X) in encoders.items():
        taken = []

        class Kept(checkpoints.Checkpoint):
            def write(self, state, taken=taken):
                start = time.perf_counter()
                super().write(state)
                taken.append((time.perf_counter() - start, self.path.stat().st_size))

        with tempfile.TemporaryDirectory() as folder:
            encoder.set_params(max_epochs=2, random_state=0, device="cpu")
            encoder._checkpoint = Kept(Path(folder), name)
            usual, checkpoints.INTERVAL = checkpoints.INTERVAL, 0.0
            share, checkpoints.MAX_SHARE = checkpoints.MAX_SHARE, float("inf")
            encoder._checkpoint._interval = 0.0
            try:
                with checkpoints.kept_until_stored():
                    encoder.fit(X)
                    start = time.perf_counter()
                    encoder._checkpoint.read()
                    reading = time.perf_counter() - start
            finally:
                checkpoints.INTERVAL, checkpoints.MAX_SHARE = usual, share
        seconds = float(np.median([one for one, _ in taken]))
        costs[name] = {"MB": taken[-1][1] / 1e6, "write": seconds, "read": reading}
        costs[name]["share"] = seconds / max(usual, seconds / share)
        rows.append([name, costs[name]["MB"], seconds, reading, f"{costs[name]['share']:.2%}"])
    print(f"{torch.get_num_threads()} thread(s)")
    print_table(["network", "MB", "write (s)", "read (s)", "share of the time"], rows)
    return costs


if __name__ == "__main__":
    main()
