"""The same job by ClustPy, by the recipe of 2017 in plain PyTorch, and by skdcec.

- ClustPy's IDEC and ours have the same dense network (500-500-2000-10) and take turns.
- DCEC of 2017 (Guo, Liu, Zhu & Yin, ICONIP) is written out in `_dcec2017.py` as the paper has it:
  200 epochs of pretraining by Adam with lr 1e-3 and batches of 256, k-means, then a joint phase
  with targets every 140 batches until fewer than .1 % of the labels change.

Each runs in a process of its own, with as many threads, so that its peak of memory is its own. What
it is asked for is a budget of epochs; the seconds to a given NMI are those of its shortest budget
that reaches it, labels being used for nothing else. ClustPy gets an environment of its own in
--environment, which this script makes; it needs the network the first time.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

from _common import declare_operations, environment, print_table, write_results

# Epochs of pretraining and of the joint phase, from short to long.
BUDGETS = {
    "ClustPy IDEC": [(10, 10), (50, 50), (100, 150)],
    "skdcec IDEC": [(10, 5), (30, 10), (50, 20)],
    "DCEC of 2017": [(50, 100), (200, 100)],
    "skdcec DCEC": [(10, 5), (30, 10), (50, 20)],
}
HERE = Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder with mnist_test.npz (default: load_digits)")
    parser.add_argument("--images", type=int, default=2_000, help="of MNIST (default: 2000)")
    parser.add_argument("--environment", default=str(HERE / "scratch" / "clustpy"))
    parser.add_argument("--only", nargs="+", choices=BUDGETS, default=[*BUDGETS])
    parser.add_argument("--seeds", type=int, default=1, help="(default: 1)")
    parser.add_argument("--threads", type=int, default=1, help="(default: 1)")
    parser.add_argument("--nmi", type=float, nargs="+", default=[0.7, 0.75, 0.8])
    parser.add_argument("--quick", action="store_true", help="only see whether this runs")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(run(*json.loads(args.child))))
        return
    budgets = {name: [(1, 1)] if args.quick else BUDGETS[name] for name in args.only}
    python = make_environment(args.environment) if "ClustPy IDEC" in args.only else None
    lines = []
    for seed in range(args.seeds):
        for step in range(max(map(len, budgets.values()))):
            # By turns, so that what else the machine does falls on all.
            for name, epochs in budgets.items():
                if step >= len(epochs):
                    continue
                task = [name, args.data, args.images, *epochs[step], seed, args.threads]
                line = in_process(python if name.startswith("ClustPy") else sys.executable, task)
                line["load_average"] = environment()["load_average"]
                lines.append(line)
                print(f"{name}, {epochs[step]} epochs, seed {seed}: NMI {line['nmi']:.3f}, "
                      f"{line['seconds']:.1f} s", flush=True)  # fmt: skip
    show(lines, budgets, args.nmi)
    write_results("peers", {"lines": lines}, quick=args.quick)


def show(lines, budgets, targets):
    rows = []
    for name in budgets:
        own = [line for line in lines if line["name"] == name]
        longest = own[-1]
        per_epoch = [longest[f"{phase} epoch"] for phase in ("pretraining", "joint")]
        seconds = []
        for target in targets:
            reached = [line["seconds"] for line in own if line["nmi"] >= target]
            seconds.append(min(reached) if reached else "never")
        best = max(line["nmi"] for line in own)
        rows.append([name, *per_epoch, longest["peak"] / 2**20, best, *seconds])
    header = ["seconds", "pretraining epoch", "joint epoch", "peak MiB", "best NMI"]
    print_table([*header, *(f"to {target}" for target in targets)], rows)


def in_process(python, task):
    variables = {name: str(task[-1]) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    output = subprocess.run(
        [python, __file__, "--child", json.dumps(task)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables, "PYTHONWARNINGS": "ignore"},
    ).stdout
    return json.loads(output.splitlines()[-1])


def make_environment(folder):
    """Make an environment with ClustPy, which shares PyTorch with this one; return its Python."""
    import torch

    python = Path(folder, "bin", "python")
    marker = Path(folder, "complete")
    if not marker.exists():
        venv.create(folder, with_pip=True, clear=True)
        site = next(Path(folder, "lib").glob("python*/site-packages"))
        (site / "shared.pth").write_text(f"{Path(torch.__file__).parents[1]}\n{HERE.parent}\n")
        # What its networks need besides is here; what it asks for would bring gigabytes of CUDA.
        minor = int(torch.__version__.split(".")[1])
        wanted = ["clustpy", f"torchvision==0.{minor + 15}.*"]
        subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", *wanted], check=True)
        marker.touch()
    return str(python)


def load(data, n_images):
    """Return images from 0 to 1, and labels."""
    import numpy as np

    if data is None:
        from sklearn.datasets import load_digits

        digits = load_digits()
        return (digits.images / 16).astype(np.float32), digits.target
    with np.load(Path(data, "mnist_test.npz")) as file:
        return (file["x"][:n_images] / 255).astype(np.float32), file["y"][:n_images]


def run(name, data, n_images, pretraining, joint, seed, threads):
    """Do one job in this process."""
    import resource

    import torch
    from sklearn.metrics import normalized_mutual_info_score

    torch.set_num_threads(threads)
    images, kinds = load(data, n_images)
    start = time.perf_counter()
    job = {
        "ClustPy IDEC": clustpy_idec,
        "skdcec IDEC": skdcec_idec,
        "DCEC of 2017": dcec_2017,
        "skdcec DCEC": skdcec_dcec,
    }[name]
    labels, per_epoch = job(images, len(set(kinds.tolist())), pretraining, joint, seed)
    return {
        "name": name,
        "images": len(images),
        "epochs": [pretraining, joint],
        "seed": seed,
        "threads": threads,
        "seconds": time.perf_counter() - start,
        "pretraining epoch": per_epoch[0],
        "joint epoch": per_epoch[1],
        "nmi": normalized_mutual_info_score(kinds, labels),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def clustpy_idec(images, n_clusters, pretraining, joint, seed):
    # ClustPy imports torchvision, of which no compiled part is needed.
    declare_operations()
    from clustpy.deep import IDEC
    from clustpy.deep.neural_networks import FeedforwardAutoencoder

    rows = images.reshape(len(images), -1)
    start = time.perf_counter()
    network = FeedforwardAutoencoder([rows.shape[1], 500, 500, 2000, 10], random_state=seed)
    network.fit(pretraining, {"lr": 1e-3}, batch_size=256, data=rows)
    middle = time.perf_counter()
    model = IDEC(
        n_clusters,
        batch_size=256,
        neural_network=network,
        clustering_epochs=joint,
        embedding_size=10,
        random_state=seed,
    ).fit(rows)
    end = time.perf_counter()
    return model.labels_, ((middle - start) / pretraining, (end - middle) / joint)


def skdcec_idec(images, n_clusters, pretraining, joint, seed):
    from _common import Stopwatch

    from skdcec import DeepEmbeddingClustering, DenseAutoencoder

    watches = Stopwatch(), Stopwatch()
    encoder = DenseAutoencoder(
        10,
        hidden_layer_sizes=(500, 500, 2000),
        max_epochs=pretraining,
        batch_size=256,
        callbacks=[watches[0]],
    )
    model = DeepEmbeddingClustering(
        n_clusters,
        encoder=encoder,
        reconstruction_weight=1,
        gamma=0.1,
        max_epochs=joint,
        batch_size=256,
        callbacks=[watches[1]],
        random_state=seed,
    ).fit(images.reshape(len(images), -1))
    return model.labels_, per_epoch_of(model)


def skdcec_dcec(images, n_clusters, pretraining, joint, seed):
    from _common import Stopwatch

    from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering

    encoder = ConvAutoencoder(10, max_epochs=pretraining, callbacks=[Stopwatch()])
    model = DeepConvEmbeddingClustering(
        n_clusters,
        encoder=encoder,
        max_epochs=joint,
        callbacks=[Stopwatch()],
        random_state=seed,
    ).fit(images)
    return model.labels_, per_epoch_of(model)


def per_epoch_of(model):
    encoder = model.encoder_
    return (
        encoder.callbacks[0].seconds_ / encoder.n_iter_,
        model.callbacks[0].seconds_ / max(1, model.n_iter_),
    )


def dcec_2017(images, n_clusters, pretraining, joint, seed):
    from _dcec2017 import dcec

    return dcec(images, n_clusters, pretraining, joint, seed)


if __name__ == "__main__":
    main()
