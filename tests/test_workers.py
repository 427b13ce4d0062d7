"""When workers of a search end: with the process that they work for."""

import os
import subprocess
import sys
import time

import joblib
import pytest

from skdcec._workers import ending_with_parent

# The workers have nothing to do that would tell them to watch.
PARENT = """
import os, time
import joblib
from skdcec._workers import ending_with_parent
def work(i):
    print(os.getpid(), flush=True)
    time.sleep(1000)
joblib.Parallel(n_jobs=2, **ending_with_parent())(joblib.delayed(work)(i) for i in range(2))
"""


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs Linux")
@pytest.mark.skipif(not ending_with_parent(), reason="needs a joblib that passes options on")
def test_workers_end_whatever_they_are_at():
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as run:
        pids = [int(run.stdout.readline()) for _ in range(2)]
        assert all(map(is_alive, pids))
        run.kill()
    for _ in range(100):
        if not any(map(is_alive, pids)):
            return
        time.sleep(0.1)
    raise AssertionError("a worker is still there after 10 s")


@pytest.mark.parametrize("backend", ["threading", "sequential", "multiprocessing"])
def test_other_backends_are_asked_for_nothing(backend):
    with joblib.parallel_config(backend):
        assert ending_with_parent() == {}
