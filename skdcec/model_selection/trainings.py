"""One training of one candidate, taken from the cache where it was done before."""

import hashlib
import json
import time
import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from skdcec._analysis.spaces import Space, metric_of
from skdcec._encoders.cache import content_digest, plain_value


@dataclass
class Run:
    """One training: a fitted model, or the reason why there is none."""

    n_clusters: int
    run: int
    model: Any = None
    labels: Any = None
    own_space: Space | None = None
    own_silhouette: float = float("nan")
    seconds: float = 0.0
    error: str = ""


class Cache(NamedTuple):
    """Where finished trainings are kept, and under what; nowhere with an empty prefix."""

    memory: Any
    prefix: str


def run_candidate(estimator: Any, X: Any, k: int, run: int, cache: Cache) -> Run:
    """Train one candidate, or take it from the cache; a failure is never kept there."""
    try:
        if not cache.prefix:
            return _train("", estimator, X, k, run)
        # Threads change the order of sums, and so the labels.
        seed = estimator.get_params().get("random_state")
        key = f"{cache.prefix} {k} {seed} {torch.get_num_threads()}"
        cached = cache.memory.cache(_train, ignore=["estimator", "X", "k", "run"])
        return cached(key, estimator, X, k, run)
    except Exception as error:  # whatever it is, the other candidates go on
        return Run(k, run, error=f"{type(error).__name__}: {error}")


def _train(key: str, estimator: Any, X: Any, k: int, run: int) -> Run:
    start = time.perf_counter()
    estimator.fit(X)
    labels = estimator.labels_ if hasattr(estimator, "labels_") else estimator.predict(X)
    own_space = None
    if hasattr(estimator, "encoder_"):
        own_space = Space(np.asarray(estimator.transform(X)), metric_of(estimator.encoder_))
    seconds = time.perf_counter() - start
    return Run(k, run, estimator, np.asarray(labels), own_space, seconds=seconds)


def cache_of(clusterer: Any, X: Any, memory: Any, space: Space) -> Cache:
    """Return the cache of trainings, whose prefix, with k and seed, tells them apart."""
    params = clusterer.get_params(deep=False)
    if memory.location is None or params.get("random_state", 0) is None:
        return Cache(memory, "")
    session = ("verbose", "callbacks", "memory", "encoder", "n_clusters", "random_state")
    try:
        plain = {k: plain_value(k, v) for k, v in params.items() if k not in session}
    except TypeError as error:
        warnings.warn(f"The trainings are not cached: {error}", UserWarning, stacklevel=4)
        return Cache(memory, "")
    parts = [
        f"{type(clusterer).__module__}.{type(clusterer).__qualname__}",
        json.dumps(plain, sort_keys=True),
        content_digest(np.asarray(X)),
        content_digest(space.points),
    ]
    digest = hashlib.blake2b("\n".join(parts).encode(), digest_size=20)
    return Cache(memory, digest.hexdigest())
