"""One training of one candidate, taken from the cache where it was done before."""

import hashlib
import json
import pickle
import time
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from skdcec._analysis.spaces import Space, metric_of
from skdcec._callers import caller_level
from skdcec._encoders.cache import content_digest, plain_value
from skdcec._encoders.remembered import embeddings_remembered, remember
from skdcec._nn import distributed
from skdcec._nn.checkpoints import kept_until_stored
from skdcec._sklearn_compat import unwarned


@dataclass
class Run:
    """One training: a fitted model, or the reason why there is none."""

    n_clusters: int
    run: int
    model: Any = None
    labels: Any = None
    own_space: Space | None = None
    own_silhouette: float = float("nan")
    # Whether its own space is that in which all are judged, so that it has none.
    is_in_shared_space: bool = False
    seconds: float = 0.0
    error: str = ""


class Cache(NamedTuple):
    """Where finished trainings are kept, and under what; nowhere with an empty prefix."""

    memory: Any
    prefix: str


def run_candidate(
    estimator: Any, X: Any, k: int, run: int, cache: Cache, embedding: np.ndarray | None
) -> Run:
    """Train one candidate, or take it from the cache; a failure is never kept there.

    Of several processes that train together, only the first has a cache.

    Parameters
    ----------
    estimator : clusterer
    X : array-like
    k : int
        Its number of clusters.
    run : int
        Number of its run.
    cache : Cache
    embedding : ndarray of shape (n_samples, n_components) or None
        The points of the shared space, where that is the one which clusterers start in; what is
        refined leaves it.
    """
    try:
        with distributed.joined() if hasattr(estimator, "fit_encoder") else nullcontext():
            key = distributed.shared(_key_of(estimator, k, cache))
            if not key:
                return _train(estimator, X, k, run, embedding)
            return _recall(cache.memory, key, estimator, X, k, run, embedding)
    except Exception as error:  # whatever it is, the other candidates go on
        return Run(k, run, error=f"{type(error).__name__}: {error}")


def _key_of(estimator: Any, k: int, cache: Cache) -> str:
    """Return what tells a training from all others in the cache, if there is any."""
    # Threads change the order of sums, and so the labels.
    seed = estimator.get_params().get("random_state")
    return cache.prefix and f"{cache.prefix} {k} {seed} {torch.get_num_threads()}"


def _recall(memory: Any, key: str, *arguments: Any) -> Run:
    """Take a training from the cache, or train."""
    cached = memory.cache(_train_packed, ignore=["arguments"])
    with kept_until_stored():
        if distributed.on_first(lambda: cached.check_call_in_cache(key, arguments)):
            content, digest = distributed.on_first(_read, cached, key, arguments)
        else:
            train = cached if distributed.is_first() else _train_packed
            content, digest = train(key, arguments)
    return content if digest is None else pickle.loads(content)


def _read(cached: Any, key: str, arguments: tuple[Any, ...]) -> tuple[Any, str | None]:
    """Return a training that is in the cache, if it is as it was written, or train."""
    content, digest = cached(key, arguments)
    if digest is not None and _digest_of(content) != digest:
        warnings.warn(
            "A training in the cache is damaged and is done again.", stacklevel=caller_level()
        )
        cached.call_and_shelve(key, arguments).clear()
        content, digest = cached(key, arguments)
    return content, digest


def _train_packed(key: str, arguments: tuple[Any, ...]) -> tuple[Any, str | None]:
    run = _train(*arguments)
    try:
        content = pickle.dumps(run)
    except Exception:
        # What joblib, whatever the reason is, cannot keep either, and says so.
        return run, None
    return content, _digest_of(content)


def _digest_of(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=20).hexdigest()


def _train(estimator: Any, X: Any, k: int, run: int, embedding: np.ndarray | None) -> Run:
    start = time.perf_counter()
    # The search says once what all trainings lost.
    with (
        unwarned(r"\d+ of n_clusters=\d+ clusters have members", ""),
        embeddings_remembered(),
    ):
        if embedding is not None:
            remember(estimator.encoder.estimator, np.asarray(X), lambda: embedding)
        estimator.fit(X)
    if hasattr(estimator, "fit_encoder"):
        # What is handed out does not depend on where it was trained.
        estimator.set_params(memory=None)
    labels = estimator.labels_ if hasattr(estimator, "labels_") else estimator.predict(X)
    trained = Run(k, run, estimator, np.asarray(labels))
    # Where nothing is trained, to embed all images once more would take longer than the rest.
    starts_there = embedding is not None
    trained.is_in_shared_space = starts_there and not getattr(estimator, "refined_", True)
    if hasattr(estimator, "encoder_") and not trained.is_in_shared_space:
        metric = metric_of(estimator.encoder_)
        trained.own_space = Space(np.asarray(estimator.transform(X)), metric)
    trained.seconds = time.perf_counter() - start
    return trained


def cache_of(clusterer: Any, X: Any, memory: Any, space: Space) -> Cache:
    """Return the cache of trainings, whose prefix, with k and seed, tells them apart."""
    params = clusterer.get_params(deep=False)
    if memory.location is None or params.get("random_state", 0) is None:
        return Cache(memory, "")
    session = ("verbose", "callbacks", "memory", "encoder", "n_clusters", "random_state")
    try:
        plain = {k: plain_value(k, v) for k, v in params.items() if k not in session}
    except TypeError as error:
        warnings.warn(
            f"The trainings are not cached: {error}", UserWarning, stacklevel=caller_level()
        )
        return Cache(memory, "")
    parts = [
        f"{type(clusterer).__module__}.{type(clusterer).__qualname__}",
        json.dumps(plain, sort_keys=True),
        content_digest(np.asarray(X)),
        content_digest(space.points),
    ]
    digest = hashlib.blake2b("\n".join(parts).encode(), digest_size=20)
    return Cache(memory, digest.hexdigest())
