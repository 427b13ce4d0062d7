"""How fast are two processes of one thread each, beside one process of two threads?

The processes are started once and take turns, in changing order, so that what else the machine
does falls on both; each round gives one ratio for each phase. What is measured is the training
loop, of the slowest process. Afterwards the clusters of handwritten digits are compared:
seeds make a difference, and a group of processes should make none beside that.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys

import numpy as np
from _common import Stopwatch, environment, print_table, provenance, write_results
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from skdcec import ContrastiveEncoder, ConvAutoencoder, DeepConvEmbeddingClustering

# Name: encoder, image shape, batch size, images, of a quick run.
SETTINGS = {
    "autoencoder, 28x28x1, batch 256": (ConvAutoencoder, (28, 28, 1), 256, 5_120, 256),
    "autoencoder, 128x128x3, batch 64": (ConvAutoencoder, (128, 128, 3), 64, 320, 64),
    "contrastive, 64x64x3, batch 128": (ContrastiveEncoder, (64, 64, 3), 128, 1_280, 128),
}
# Name: processes, threads of each.
CONTENDERS = {"one process": (1, 2), "two processes": (2, 1)}


def train(setting, quick):
    """Return the seconds of both phases of a fit, without what is between them."""
    encoder_class, shape, batch_size, n_full, n_quick = SETTINGS[setting]
    n_images = n_quick if quick else n_full
    images = np.random.default_rng(0).integers(0, 256, (n_images, *shape), dtype=np.uint8)
    encoder = encoder_class(max_epochs=2, batch_size=batch_size, callbacks=[Stopwatch()])
    if encoder_class is ConvAutoencoder:
        encoder.set_params(precision="float32")
    watch = Stopwatch()
    model = DeepConvEmbeddingClustering(
        4, encoder=encoder, max_epochs=2, tol=0, init="k-means", n_init=1, random_state=0
    )
    model.set_params(callbacks=[watch]).fit(images)
    return {"pretraining": model.encoder_.callbacks[0].seconds_, "joint training": watch.seconds_}


def cluster_digits(seed, quick):
    """Return the labels of handwritten digits."""
    epochs = 1 if quick else 20
    encoder = ConvAutoencoder(max_epochs=epochs, precision="float32")
    model = DeepConvEmbeddingClustering(10, encoder=encoder, max_epochs=epochs, random_state=seed)
    return model.fit_predict(load_digits().images).tolist()


def work():
    """Do what is asked for on the standard input, line by line."""
    for line in sys.stdin:
        task, *arguments = json.loads(line)
        result = {"train": train, "digits": cluster_digits}[task](*arguments)
        print(json.dumps(result), flush=True)


class Group:
    """Processes that do the same at the same time."""

    def __init__(self, n_processes, n_threads):
        with socket.socket() as open_socket:
            open_socket.bind(("127.0.0.1", 0))
            port = open_socket.getsockname()[1]
        group = {
            "WORLD_SIZE": str(n_processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": str(n_threads),
            # Clusters without members: these images have none.
            "PYTHONWARNINGS": "ignore",
        }
        self.processes = [
            subprocess.Popen(
                [sys.executable, __file__, "--work"],
                env={**os.environ, **group, "RANK": str(rank)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(n_processes)
        ]

    def ask(self, *task):
        """Return the answer of each process."""
        for process in self.processes:
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
        return [json.loads(process.stdout.readline()) for process in self.processes]

    def close(self):
        for process in self.processes:
            process.stdin.close()
            process.wait()


def measure_speed(groups, setting, rounds, quick):
    """Return, for both phases, the seconds of each contender in each round."""
    seconds = {phase: {name: [] for name in groups} for phase in ("pretraining", "joint training")}
    for round_ in range(-1, rounds):  # one to warm up
        for name in sorted(groups, reverse=bool(round_ % 2)):
            answers = groups[name].ask("train", setting, quick)
            for phase in seconds if round_ >= 0 else ():
                seconds[phase][name].append(max(answer[phase] for answer in answers))
    return seconds


def measure_digits(groups, seeds, quick):
    """Return how well each contender finds the digits, and how much they agree."""
    digits = load_digits().target
    lines = []
    for seed in range(seeds):
        labels = {name: groups[name].ask("digits", seed, quick) for name in groups}
        one, (first, second) = labels["one process"][0], labels["two processes"]
        lines.append(
            {
                "seed": seed,
                "one process": normalized_mutual_info_score(digits, one),
                "two processes": normalized_mutual_info_score(digits, first),
                "adjusted Rand index of the two": adjusted_rand_score(one, first),
                "labels equal on both ranks": first == second,
            }
        )
    return lines


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, help="of each contender (default: 7)")
    parser.add_argument("--seeds", type=int, default=4, help="of the digits (default: 4)")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=[*SETTINGS])
    parser.add_argument("--quick", action="store_true", help="only see whether this runs")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work()
        return
    if args.quick:
        args.rounds, args.seeds = 1, 1

    groups = {name: Group(*size) for name, size in CONTENDERS.items()}
    results, rows = {}, []
    for setting in args.settings:
        for phase, seconds in measure_speed(groups, setting, args.rounds, args.quick).items():
            pairs = zip(seconds["one process"], seconds["two processes"], strict=True)
            ratios = [one / two for one, two in pairs]
            results[f"{setting}, {phase}"] = {
                "seconds": seconds,
                "ratios": ratios,
                "median_ratio": statistics.median(ratios),
                "load_average": environment()["load_average"],
                **provenance(),
            }
            medians = [statistics.median(seconds[name]) for name in CONTENDERS]
            of_each = " ".join(f"{ratio:.2f}" for ratio in ratios)
            rows.append([f"{setting}, {phase}", *medians, statistics.median(ratios), of_each])
    header = ["seconds, medians", "1 × 2 threads", "2 × 1 thread", "speed", "of each round"]
    print_table(header, rows)
    digits = measure_digits(groups, args.seeds, args.quick)
    print()
    print_table([*digits[0]], [[*map(str, line.values())] for line in digits])
    for group in groups.values():
        group.close()
    write_results("processes", {"results": results, "digits": digits}, quick=args.quick)


if __name__ == "__main__":
    main()
