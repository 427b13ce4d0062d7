"""What the benchmarks share: the machine's description, tables, results as JSON."""

import json
import os
import platform
import subprocess
import time
from functools import cache
from pathlib import Path

import torch
from skorch.callbacks import Callback

from skdcec._files import versions

HERE = Path(__file__).resolve().parent
# What has to be committed for a result to be that of its commit; the results are not.
SOURCES = ("skdcec", "benchmarks", ":(exclude)benchmarks/results")


@cache
def declare_operations():
    """Let a torchvision be imported whose compiled part is for another build of PyTorch.

    What it adds in C++ are operations of detectors, none of which is used here; two of them have to
    be known by name, as long as what is returned, and remembered, is there.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library
    return None


def environment():
    """Return what the figures depend on besides the code."""
    return {
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        **versions(),
    }


@cache
def provenance():
    """Return the commit that runs, and whether its files were changed; None outside of git."""
    try:
        return {
            "commit": _git("rev-parse", "HEAD"),
            "dirty": bool(_git("status", "--porcelain", "--", *SOURCES)),
        }
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


def _git(*command):
    run = subprocess.run(
        ["git", *command], cwd=HERE.parent, check=True, capture_output=True, text=True
    )
    return run.stdout.strip()


def settings_of(known):
    """Return what a line of results depends on: what is known of the fit, and the environment."""
    here = {k: v for k, v in environment().items() if k not in ("load_average", "machine")}
    return json.loads(json.dumps({**known, **here, "cuda": torch.cuda.is_available()}, default=str))


def is_done(key, lines):
    """Return whether a line has these values; of `settings`, as far as an older line knew them."""
    added = {*versions(), "cuda"}

    def agrees(line):
        old = line.get("settings", {})
        new = {k: v for k, v in key["settings"].items() if k in old or k not in added}
        return old == new and all(line.get(k) == v for k, v in key.items() if k != "settings")

    return any(map(agrees, lines))


def params_that_matter(model):
    """Return the parameters that a clusterer's results depend on, as a dict for JSON."""
    aside = ("encoder", "memory", "random_state")
    params = {
        name: value
        for name, value in model.get_params().items()
        if name not in aside and "callbacks" not in name
    }
    # Sets results apart from those of other starts, as there were before.
    params["start"] = {
        "auto": "the best of mixtures, k-means and cut graphs, read out by a mixture",
        "gaussian-mixture": "mixture of the covariance that fits, rearranged",
    }.get(str(params["init"]), "as given")
    return params


def write_results(name, results, *, quick):
    """Write results as JSON; those of a quick run, which mean nothing, to a folder aside."""
    path = HERE / ("scratch" if quick else "results") / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    record = {"environment": environment() | provenance(), **results}
    path.write_text(json.dumps(record, indent=1) + "\n")
    if quick:
        print("A quick run: the figures mean nothing.")
    print(f"\nWritten to {path.relative_to(HERE.parent)}")


def print_table(header, rows):
    """Print rows of texts and numbers under a header; the first column is text."""
    cells = [list(header), *([_text(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        first, *others = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join([line[0].ljust(len(first)), *others]), flush=True)


def _text(value):
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def append_line(path, line):
    """Add a line of JSON and its commit, also where a run was stopped within the line before."""
    with path.open("a+b") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 1))
        cut_off = size and file.read(1) != b"\n"
        file.write(b"\n" * cut_off + json.dumps(line | provenance()).encode() + b"\n")


def read_lines(path):
    """Return the lines of a file of results, without one that was cut off while being written."""
    lines = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            print(f"Skipping a damaged line of {path.name}")
    return lines


class CountFits(Callback):
    """Adds a character to a file at the start of each training, in whichever process."""

    def __init__(self, path):
        self.path = path

    def on_train_begin(self, net, **kwargs):
        with open(self.path, "a") as file:
            file.write("x")


class Stopwatch(Callback):
    """Measures the training loop of a fit, without what comes before and after it."""

    def on_train_begin(self, net, **kwargs):
        self.start_ = time.perf_counter()

    def on_train_end(self, net, **kwargs):
        self.seconds_ = time.perf_counter() - self.start_
