"""How far apart are the groups? Silhouettes of many labellings of one set of points."""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics.pairwise import pairwise_distances

from skdcec._analysis.spaces import within_range


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

    Between points of extreme values, up to a factor that is the same for all.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_components)
    metric : str
        As `sklearn.metrics.pairwise_distances` takes it.

    Returns
    -------
    distances : ndarray of shape (n_samples, n_samples), dtype float64
    """
    points = within_range(np.asarray(points, dtype=np.float64))
    distances = pairwise_distances(points, metric=metric)
    if distances is points:
        # Of metric="precomputed": what the user gave is never changed.
        distances = distances.copy()
    np.fill_diagonal(distances, 0)
    return distances
