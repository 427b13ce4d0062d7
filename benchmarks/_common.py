"""What the benchmarks share: the machine's description, tables, results as JSON."""

import json
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

import torch
from skorch.callbacks import Callback

import skdcec

HERE = Path(__file__).resolve().parent


def environment():
    """Return what the figures depend on besides the code."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "skdcec": skdcec.__version__,
        **{name: version(name) for name in ("torch", "skorch", "scikit-learn", "numpy", "scipy")},
    }


def params_that_matter(model):
    """Return the parameters that a clusterer's results depend on, as a dict for JSON."""
    aside = ("encoder", "memory", "random_state")
    params = {
        name: value
        for name, value in model.get_params().items()
        if name not in aside and "callbacks" not in name
    }
    if params["init"] == "gaussian-mixture" and not hasattr(model.encoder, "joint_loss"):
        # Set results apart from those of other starts, as there were before. An encoder whose
        # metric is the cosine keeps the mixture of the greatest likelihood, without a lead.
        params["start"] = "mixture mended by its cuts, leads the targets"
    return params


def write_results(name, results, *, quick):
    """Write results as JSON; those of a quick run, which mean nothing, to a folder aside."""
    path = HERE / ("scratch" if quick else "results") / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"environment": environment(), **results}, indent=1) + "\n")
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
    """Add a line of JSON, also where a run was stopped in the middle of the line before."""
    with path.open("a+b") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 1))
        cut_off = size and file.read(1) != b"\n"
        file.write(b"\n" * cut_off + json.dumps(line).encode() + b"\n")


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
