"""What do hostile model files do? Changed models of every class, loaded and used.

    python benchmarks/reliability_models.py --n 20000 --seed 0

Each is loaded and used in a process that was forked for a few hundred of them, within limits.
"""

import argparse
import collections
import json
import os
import resource
import signal
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from _common import print_table, write_results
from _hostile_models import judge, make_files, make_images, make_models, mutate

# A process is given up after so long without an answer.
PATIENCE = 60.0
BATCH = 500
LIMIT = 4 * 2**30
GOOD = ("refused", "predicts")
ASKED = {"unclear": 0, "hangs": 0, "seconds": 2.0, "megabytes": 100.0}


def peak():
    """Return the most memory that this process had since the last call of `forget`, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def forget():
    Path("/proc/self/clear_refs").write_text("5")


def work(numbers, models, files, seed, answers, folder):
    """Load and use the models of these numbers, and say of each what happened."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    names = list(models)
    path = folder / f"model-{os.getpid()}.skdcec"
    with answers.open("a") as out:
        for number in numbers:
            name = names[number % len(names)]
            path.write_bytes(mutate(files[name], (seed, number)))
            print(json.dumps({"started": number}), file=out, flush=True)
            forget()
            before, started = peak(), time.process_time()
            outcome = judge(*models[name], path)
            answer = {
                "number": number,
                "model": name,
                "outcome": outcome,
                "seconds": time.process_time() - started,
                "megabytes": peak() - before,
            }
            print(json.dumps(answer), file=out, flush=True)
    path.unlink(missing_ok=True)


def run(numbers, *rest):
    """Fork a process for a batch, and another one for what is left where it ends or hangs."""
    *_, answers, folder = rest
    while numbers:
        pid = os.fork()
        if pid == 0:
            try:
                work(numbers, *rest)
            finally:
                os._exit(0)
        last, size = time.monotonic(), -1
        while not os.waitpid(pid, os.WNOHANG)[0]:
            time.sleep(0.05)
            now = answers.stat().st_size if answers.exists() else 0
            if now != size:
                last, size = time.monotonic(), now
            elif time.monotonic() - last > PATIENCE:
                os.kill(pid, signal.SIGKILL)
        lines = [json.loads(line) for line in answers.read_text().splitlines()]
        begun = {line["started"] for line in lines if "started" in line}
        ended = {line["number"] for line in lines if "number" in line}
        with answers.open("a") as out:
            for number in begun - ended:
                lost = {"number": number, "model": "?", "outcome": "hang, or end of the process"}
                print(json.dumps(lost | {"seconds": 0.0, "megabytes": 0.0}), file=out)
        numbers = [number for number in numbers if number not in begun]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first change")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    n = 500 if options.quick else options.n
    warnings.simplefilter("ignore")
    models = make_models(make_images())
    files = make_files(models)
    for model, X in models.values():
        # What is imported and allocated once is not of any file.
        getattr(model, "predict", getattr(model, "transform", None))(X[:8])
    last = options.first + n
    with tempfile.TemporaryDirectory() as folder:
        starts = range(options.first, last, BATCH)
        jobs = []
        for job in range(options.jobs):
            jobs.append(os.fork())
            if jobs[-1]:
                continue
            for start in starts[job :: options.jobs]:
                answers = Path(folder) / f"{start}.jsonl"
                numbers = list(range(start, min(last, start + BATCH)))
                run(numbers, models, files, options.seed, answers, Path(folder))
                print(f"{start} to {numbers[-1]}", flush=True)
            os._exit(0)
        for job in jobs:
            os.waitpid(job, 0)
        files = Path(folder).glob("*.jsonl")
        lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    found = sorted((line for line in lines if "number" in line), key=lambda line: line["number"])
    if len(found) != n:
        raise RuntimeError(f"{len(found)} of {n} were told of.")
    tell(found, options, [line for line in found if line["outcome"] not in GOOD])


def tell(found, options, bad):
    counts = collections.Counter(line["outcome"].split(":")[0] for line in found)
    measured = {
        "unclear": counts["unclear"],
        "hangs": counts["hang, or end of the process"],
        "seconds": max(line["seconds"] for line in found),
        "megabytes": max(line["megabytes"] for line in found),
    }
    print_table(
        ["of changed models", "asked", "measured"],
        [[name, asked, measured[name]] for name, asked in ASKED.items()],
    )
    for line in bad[:20]:
        print(line)
    for key in ("seconds", "megabytes"):
        print("worst", max(found, key=lambda line: line[key]))
    results = {
        "n": len(found),
        "seed": options.seed,
        "outcomes": dict(counts),
        "asked": ASKED,
        "measured": measured,
        "bad": bad[:50],
    }
    write_results("reliability_models", results, quick=options.quick)


if __name__ == "__main__":
    main()
