"""How far apart are groups? Silhouettes of labellings, and other indices of predicted labels."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import silhouette_score
from sklearn.metrics.pairwise import pairwise_distances
from sklearn.utils import check_random_state

from skdcec._analysis.spaces import Space
from skdcec._sklearn_compat import num_samples, safe_indexing


def sample_rows(n_samples: int, size: int | None, random_state: Any) -> np.ndarray:
    """Return the numbers of the rows that are judged or drawn, in order.

    Parameters
    ----------
    n_samples : int
    size : int or None
        How many rows; None takes all.
    random_state : int, RandomState instance or None

    Returns
    -------
    rows : ndarray of shape (min(n_samples, size),)
    """
    if size is None or n_samples <= size:
        return np.arange(n_samples)
    return np.sort(check_random_state(random_state).permutation(n_samples)[:size])


def silhouettes(distances: np.ndarray, labellings: Sequence[np.ndarray]) -> np.ndarray:
    """Return the silhouette of every point for every labelling.

    Each labelling costs one product of the distances with its one-hot labels. One product for
    all labellings would be little faster, and its rounding would depend on how many there are.

    Parameters
    ----------
    distances : ndarray of shape (n_samples, n_samples)
    labellings : sequence of ndarray of shape (n_samples,)
        Labels may be any values.

    Returns
    -------
    values : ndarray of shape (n_labellings, n_samples)
        As of `sklearn.metrics.silhouette_samples`; NaN throughout where there are fewer than
        two clusters, or as many as points.
    """
    return np.array([_silhouettes(distances, labels) for labels in labellings])


def _silhouettes(distances: np.ndarray, labels: np.ndarray) -> np.ndarray:
    points = np.arange(len(distances))
    kinds, code = np.unique(labels, return_inverse=True)
    if not 1 < len(kinds) < len(points):
        return np.full(len(points), np.nan)
    sizes = np.bincount(code)
    sums = distances @ np.eye(len(kinds))[code]
    within = sums[points, code] / np.maximum(sizes[code] - 1, 1)
    means = sums / sizes
    means[points, code] = np.inf
    between = means.min(axis=1)
    larger = np.maximum(within, between)
    # By definition 0 for a cluster of one; and for points that all coincide.
    defined = (sizes[code] > 1) & (larger > 0)
    return np.where(defined, (between - within) / np.where(defined, larger, 1), 0.0)


def distance_matrix(points: np.ndarray, metric: str) -> np.ndarray:
    """Return all distances between points, in double precision and 0 on the diagonal.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_components)
    metric : str
        As `sklearn.metrics.pairwise_distances` takes it.

    Returns
    -------
    distances : ndarray of shape (n_samples, n_samples), dtype float64
    """
    points = np.asarray(points, dtype=np.float64)
    distances = pairwise_distances(points, metric=metric)
    if distances is points:
        # Of metric="precomputed": what the user gave is never changed.
        distances = distances.copy()
    np.fill_diagonal(distances, 0)
    return distances


def score_labels(
    estimator: Any,
    X: Any,
    space_of: Callable[[Any, Any], Space],
    *,
    index: Callable[..., float] = silhouette_score,
    sample_size: int | None = 3000,
    random_state: Any = 0,
) -> float:
    """Return an index of the labels that a fitted estimator predicts.

    Parameters
    ----------
    estimator : fitted clusterer with ``predict``
    X : array-like
        What the estimator takes.
    space_of : callable
        ``space_of(estimator, X)`` is where the labels are judged.
    index : callable, default=silhouette_score
        ``index(points, labels)``, such as scikit-learn's indices without a ground truth.
    sample_size : int or None, default=3000
        Rows that are scored; None takes all.
    random_state : int, RandomState instance or None, default=0
        Determines the rows.

    Returns
    -------
    value : float
        NaN, with an `UndefinedMetricWarning`, for fewer than two clusters, or as many as rows.
    """
    n_samples = num_samples(X)
    if sample_size is not None and n_samples > sample_size:
        X = safe_indexing(X, sample_rows(n_samples, sample_size, random_state))
    _, first, labels = np.unique(estimator.predict(X), return_index=True, return_inverse=True)
    # Numbered as they come, so that the same groups under other numbers get the same score
    # to the last digit, and a search for the best one sees that they are equal.
    labels = np.argsort(np.argsort(first))[labels]
    if not 1 < len(first) < len(labels):
        warnings.warn(
            f"The model put {len(labels)} samples into {len(first)} clusters, which has no "
            "score: NaN.",
            UndefinedMetricWarning,
            stacklevel=3,
        )
        return float("nan")
    space = space_of(estimator, X)
    # A silhouette depends on distances alone; the other indices take Euclidean means, which for
    # unit-length embeddings rank as the cosine does.
    options = {"metric": space.metric} if index is silhouette_score else {}
    return float(index(space.points, labels, **options))
