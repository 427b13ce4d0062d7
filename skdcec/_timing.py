"""How fast is this machine? Seconds of training steps, and of drawing a page, as measured.

What takes seconds to import is imported where it is used, since the command's help must not wait.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skdcec._files import read_sealed, write_sealed

if TYPE_CHECKING:
    import numpy as np

_STEPS_TO_MEASURE = 6
_IMAGES_TO_MEASURE = 64
_MEASURED_PAGES = (10, 50)
_DRAWINGS_KEPT = 8
# Less is not worth a word.
_LEAST_SLOWDOWN = 1.3
_MOMENT = 0.2
_MOST_THREADS = 4


# Training


@dataclass(frozen=True)
class Speed:
    """What a training costs on this machine, in seconds.

    Parameters
    ----------
    pretraining : float
        Of one optimisation step of pretraining.
    joint : float
        Of one step of the joint phase.
    embedding : float
        Of embedding one image.
    """

    pretraining: float
    joint: float
    embedding: float


def measure_speed(model: Any, X: np.ndarray) -> Speed:
    """Time a few steps of training a model.

    Parameters
    ----------
    model : unfitted DeepConvEmbeddingClustering or DeepEmbeddingClustering
        A copy of it is trained, and thrown away.
    X : ndarray of shape (n_samples, height, width, channels) or (n_samples, n_features)

    Returns
    -------
    speed : Speed

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering
    >>> from skdcec._timing import measure_speed
    >>> model = DeepConvEmbeddingClustering(3, encoder=ConvAutoencoder())
    >>> speed = measure_speed(model, load_digits().images[:100])
    >>> min(speed.pretraining, speed.joint, speed.embedding) > 0
    True
    """
    from sklearn.base import clone

    from skdcec._nn.batches import plan_batches

    batch_size, _ = plan_batches(len(X), "auto")
    some = X[: _STEPS_TO_MEASURE * batch_size]
    epochs = math.ceil((_STEPS_TO_MEASURE + 1) * batch_size / len(some))
    epochs = epochs if len(some) < _STEPS_TO_MEASURE * batch_size else 1
    (pretraining, pretraining_ends), (joint, joint_ends) = _stopwatch(), _stopwatch()
    model = clone(model).set_params(
        n_clusters=min(model.n_clusters, len(some)),
        max_epochs=epochs,
        # What the clusters start from does not change the cost of a step.
        init="k-means",
        n_init=1,
        memory=None,
        random_state=0,
        verbose=False,
        callbacks=[joint],
        encoder__max_epochs=epochs,
        encoder__batch_size=batch_size,
        encoder__callbacks=[pretraining],
    )
    with warnings.catch_warnings():
        # It is not trained long enough for anything.
        warnings.simplefilter("ignore")
        model.fit(some)
    start = time.perf_counter()
    model.transform(some)
    embedding = (time.perf_counter() - start) / len(some)
    return Speed(_median_step(pretraining_ends), _median_step(joint_ends), embedding)


def measure_embedding(encoder: Any, X: np.ndarray) -> float:
    """Return the seconds that an encoder which is not trained takes to embed an image.

    Parameters
    ----------
    encoder : unfitted transformer
    X : ndarray of shape (n_samples, height, width, channels)
    """
    some = X[:_IMAGES_TO_MEASURE]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoder.fit(some)
    start = time.perf_counter()
    encoder.transform(some)
    return (time.perf_counter() - start) / len(some)


def _stopwatch() -> tuple[Any, list[float]]:
    """Return a callback, and the list of times at which steps end while it is called."""
    from skorch.callbacks import Callback

    ends: list[float] = []

    class Stopwatch(Callback):
        # The list is not its own, since estimators copy their callbacks.
        def on_batch_end(self, net: Any, **kwargs: Any) -> None:
            ends.append(time.perf_counter())

    return Stopwatch(), ends


def _median_step(ends: list[float]) -> float:
    import numpy as np

    return float(np.median(np.diff(ends)))


# Other work


def slowdown() -> float:
    """Return how many times as long as on an idle machine takes what needs its processors.

    A few threads work for a moment, and wait where other programs have the processors. A load
    average would also tell of what has ended, such as the command before this one.

    Returns
    -------
    slowdown : float
        1 where others do little.

    Examples
    --------
    >>> from skdcec._timing import slowdown
    >>> slowdown() >= 1
    True
    """
    n_threads = min(_MOST_THREADS, os.cpu_count() or 1)
    start = time.perf_counter()
    with ThreadPoolExecutor(n_threads) as threads:
        shares = [*threads.map(_share_of_a_processor, [start] * n_threads)]
    found = n_threads / max(sum(shares), 0.01)
    return found if found >= _LEAST_SLOWDOWN else 1.0


def _share_of_a_processor(start: float) -> float:
    """Work for a moment, and return for how much of it this thread had a processor."""
    worked, content = time.thread_time(), bytes(1 << 20)
    while time.perf_counter() < start + _MOMENT:
        # Other threads of Python go on meanwhile.
        hashlib.sha256(content)
    return (time.thread_time() - worked) / (time.perf_counter() - start)


# Drawing


def drawing_seconds(
    files: Sequence[str], *, cache: str | Path | None = None, slowdown: float = 1.0
) -> float:
    """Return what map, page and tables of images will take on this machine.

    By the last runs of this machine that are noted in the cache; where there are none, by
    drawing a page of a few of the images.

    Parameters
    ----------
    files : sequence of str
    cache : str or path, default=None
    slowdown : float, default=1.0
        By how much other work slows it down.

    Returns
    -------
    seconds : float
    """
    known = _read_drawings(cache)
    if not known:
        measured = [_measure_drawing(files[:: -(-len(files) // n)]) for n in _MEASURED_PAGES]
        known = [(n, seconds / slowdown) for n, seconds in measured]
        _write_drawings(cache, known)
    return slowdown * _expected_drawing(known, len(files))


def note_drawing(
    n_images: int, seconds: float, *, cache: str | Path | None = None, slowdown: float = 1.0
) -> None:
    """Keep in the cache what map, page and tables took on this machine.

    Parameters
    ----------
    n_images : int
    seconds : float
    cache : str or path, default=None
    slowdown : float, default=1.0
        By how much other work slowed it down.
    """
    _write_drawings(cache, [*_read_drawings(cache), (n_images, seconds / slowdown)])


def _measure_drawing(files: Sequence[str]) -> tuple[int, float]:
    import numpy as np

    from skdcec.report import write_report

    n = len(files)
    embedding = np.random.default_rng(0).normal(size=(n, 32))
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "page.html")
        write_report(page, files, np.zeros(n, np.int64), embedding=embedding, n_jobs=-1)
    return n, time.perf_counter() - start


def _expected_drawing(known: Sequence[tuple[int, float]], n_images: int) -> float:
    """Return the seconds of `n_images`, on the line that is nearest to those known."""
    import numpy as np
    from scipy.optimize import nnls

    counts, seconds = np.array(known, dtype=float).T
    # Errors count by their share, since a page of many images takes minutes.
    lines = np.stack([np.ones(len(counts)), counts], axis=1) / seconds[:, None]
    (base, rate), _ = nnls(lines, np.ones(len(counts)))
    return float(base + rate * n_images)


def _drawings_file(cache: str | Path) -> Path:
    # The same home directory may be that of several machines.
    return Path(cache) / "drawing" / f"{platform.node() or 'machine'}-{os.cpu_count()}.json"


def _read_drawings(cache: str | Path | None) -> list[tuple[int, float]]:
    if cache is None:
        return []
    with contextlib.suppress(OSError, ValueError):
        runs = read_sealed(_drawings_file(cache)).get("runs")
        if isinstance(runs, list) and runs and all(_is_drawing(run) for run in runs):
            return [(n, seconds) for n, seconds in runs]
    return []


def _is_drawing(run: Any) -> bool:
    if not isinstance(run, list) or [type(value) for value in run] != [int, float]:
        return False
    n, seconds = run
    return 0 < n < 10**12 and 0 < seconds < math.inf


def _write_drawings(cache: str | Path | None, known: Sequence[tuple[int, float]]) -> None:
    if cache is None:
        return
    path = _drawings_file(cache)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_sealed(path, {"runs": [*known][-_DRAWINGS_KEPT:]})
