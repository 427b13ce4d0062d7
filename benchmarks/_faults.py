"""Faults at every file operation, and runs that are made by hand rather than by training.

Shared by ``tests/test_faults.py`` and ``reliability_runs.py``.
"""

import contextlib
import copy
import errno
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np

from skdcec._files import read_table, write_bytes, write_table
from skdcec._folders import CLUSTERS, MODEL, NAMES, PAGE, claim, staged
from skdcec._runs import load_model_and_run, save_model, write_record


class Killed(BaseException):
    """Stands for the end of the process: nothing that follows works either."""


class Faults:
    """Makes the n-th operation that changes files fail, whoever calls it and by whatever name.

    Python tells of each operation before it is done, and what is raised then takes its place.
    """

    _EVENTS = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.link")
    _WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC

    def __init__(self):
        self._is_on = False
        self._n, self._error, self._forever = 0, None, False
        self.count = 0
        sys.addaudithook(self._see)

    @contextlib.contextmanager
    def at(self, n, error=None, *, forever=True):
        """Fail from the n-th operation on, or only there; count them where there is no error."""
        self.count, self._n, self._error, self._forever = 0, n, error, forever
        self._is_on = True
        try:
            yield
        finally:
            self._is_on = False

    def _see(self, event, arguments):
        if not self._is_on:
            return
        if event == "open":
            path, _, flags = arguments
            # Of what is below /dev, and of what has no name, nothing is left behind.
            if not isinstance(flags, int) or not flags & self._WRITES or isinstance(path, int):
                return
            if str(path).startswith("/dev/"):
                return
        elif event not in self._EVENTS:
            return
        self.count += 1
        hit = self.count >= self._n if self._forever else self.count == self._n
        if self._error is not None and hit:
            if isinstance(self._error, int):
                name = os.fspath(arguments[0]) if event == "open" else arguments[0]
                raise OSError(self._error, os.strerror(self._error), name)
            raise self._error


class HandmadeRun:
    """A finished run with its model, and the names that somebody gave its clusters."""

    def __init__(self, run, model, detector, name, scratch):
        self.run, self.model, self.name = run, model, name
        path = Path(scratch) / f"{name}.safetensors"
        save_model(model, path, reading={"size": 8, "resize": "pad"}, detector=detector)
        self.content = path.read_bytes()

    @property
    def state(self):
        """What a reader should find, as plain values."""
        labels = self.run.labels.tolist()
        return {"model": self.model.labels_.tolist(), "run": labels, "table": labels}

    @property
    def names(self):
        return {0: {"name": self.name, "note": ""}}

    def write(self, out):
        """Write the run as ``skdcec cluster`` does, without training or drawing."""
        claim(out)
        with staged(out) as folder:
            write_bytes(folder / MODEL, [self.content])
            self.run.save(folder)
            write_bytes(folder / PAGE, [self.name.encode()])
            write_table(folder / CLUSTERS, {"cluster": self.run.labels.tolist()})
            for name in ("cluster_summary.csv", "skipped.csv", "duplicates.csv"):
                write_table(folder / name, {"of": [self.name]})
            write_record(folder, {"run": self.name})

    def name_clusters(self, out):
        """Give names to clusters, as ``skdcec report --names`` does."""
        with staged(out) as folder:
            rows = [{"cluster": cluster, **entry} for cluster, entry in self.names.items()]
            names = {"clustering": self.run.digest(), "clusters": rows}
            write_bytes(folder / NAMES, [json.dumps(names).encode()])
            write_bytes(folder / PAGE, [self.name.encode()])


def two_runs(run, model, detector, scratch):
    """Return two runs that a reader tells apart by every file: of a fit, and of its clusters
    under other numbers.
    """
    other_run, other_model = copy.deepcopy(run), copy.deepcopy(model)
    other_model.labels_ = model.labels_.max() - model.labels_
    other_model.cluster_centers_ = model.cluster_centers_[::-1].copy()
    other_run.labels = other_model.labels_
    other_run.map = np.flip(run.map)
    other_run.title = "other"
    return (
        HandmadeRun(run, model, detector, "first", scratch),
        HandmadeRun(other_run, other_model, None, "second", scratch),
    )


def found_in(out):
    """Return what a reader finds in a folder, and the names of the clusters."""
    saved, run = load_model_and_run(out)
    table = [int(label) for label in read_table(out / CLUSTERS)["cluster"]]
    names = run.kept_names(out)
    state = {"model": saved.model.labels_.tolist(), "run": run.labels.tolist(), "table": table}
    return state, names, (out / PAGE).read_text()


def hidden(out):
    """Return what a run may have left over."""
    return sorted(path.name for path in out.iterdir() if path.name.startswith("."))


def every_fault(faults, start, act, check, *, errors=(None, errno.ENOSPC, errno.EACCES)):
    """Do something again and again, each time with a fault at the next operation.

    Parameters
    ----------
    faults : Faults
    start : callable
        Returns a new folder to do it in.
    act : callable
        What is done with the folder.
    check : callable
        Is told the folder, what was raised, and whether a process was killed.
    errors : tuple
        Numbers of errors; None is a kill, after which nothing works any more.

    Returns
    -------
    n_faults : int
    """
    n_faults = 0
    for error in errors:
        for forever in (True,) if error is None else (True, False):
            n = 0
            while True:
                n += 1
                out = start()
                raised = None
                try:
                    with faults.at(n, Killed() if error is None else error, forever=forever):
                        act(out)
                except (Killed, OSError, ValueError) as problem:
                    raised = problem
                if faults.count < n:
                    break
                n_faults += 1
                check(out, raised, error is None)
                shutil.rmtree(out.parent, ignore_errors=True)
    return n_faults
