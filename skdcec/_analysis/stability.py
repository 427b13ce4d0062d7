"""How firm is a cluster? Does it come back from other starts and other samples?"""

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.utils import check_random_state

from skdcec._analysis.contingency import cross_table
from skdcec._analysis.gaussians import Points, best_fit, fit_gaussians, prepared
from skdcec._analysis.samples import sample_rows
from skdcec._analysis.spaces import within_range
from skdcec._sklearn_compat import unwarned

# A cluster of which less than half comes back is dissolved more often than not.
FIRM = 0.5
# More points say little more of shares.
_MAX_POINTS = 3000
_MAX_COMPONENTS = 16
_N_REFITS = 10
_N_INIT = 3


class Stability(NamedTuple):
    """How firm a clustering is.

    Attributes
    ----------
    clusters : dict of int to float
        For each cluster, the mean over refits of its Jaccard similarity (shared points, divided
        by points of either) to the cluster that is most like it; NaN for clusters of which none
        of the points that were looked at is a member.
    agreement : float
        Mean adjusted Rand index between refits: how far two runs agree. NaN for a single cluster.
    """

    clusters: dict[int, float]
    agreement: float


@np.errstate(under="ignore")
def cluster_stability(
    points: Any, labels: Any, *, n_refits: int = _N_REFITS, random_state: Any = 0
) -> Stability:
    """Return how firm each cluster is.

    The same number of clusters is found anew in random halves of the points, each from a start of
    its own: by k-means, and the mixture of the covariance that fits the labels best. All points
    are then given to these clusters.

    Parameters
    ----------
    points : array-like of shape (n_samples, n_components)
        The space in which clusters are judged, such as the pretrained embedding.
    labels : array-like of shape (n_samples,)
        Clusters; negative for none.
    n_refits : int, default=10
    random_state : int, RandomState instance or None, default=0

    Returns
    -------
    stability : Stability

    References
    ----------
    Hennig, *Cluster-wise assessment of cluster stability*, Computational Statistics and Data
    Analysis 2007.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from skdcec._analysis.stability import cluster_stability
    >>> X, y = make_blobs(200, centers=3, cluster_std=0.5, random_state=0)
    >>> cluster_stability(X, y).clusters
    {0: 1.0, 1: 1.0, 2: 1.0}
    """
    labels = np.asarray(labels)
    kinds = np.unique(labels[labels >= 0])
    rng = check_random_state(random_state)
    rows = sample_rows(len(labels), _MAX_POINTS, rng)
    points, codes = principal(np.asarray(points)[rows], _MAX_COMPONENTS), labels[rows]
    known = codes >= 0
    points, codes = points[known], np.searchsorted(kinds, codes[known])
    nothing = dict.fromkeys(kinds.tolist(), np.nan)
    k = len(np.unique(codes))
    if k < 2 or len(points) < 4 * k or not points.shape[1]:
        return Stability(nothing, np.nan)
    _, compact = np.unique(codes, return_inverse=True)
    whole = prepared(points)
    covariance = best_fit(whole, k, lambda _: compact).covariance
    refits = [_refit(whole, k, covariance, rng) for _ in range(n_refits)]
    similar = np.mean([found_again(codes, refit, len(kinds)) for refit in refits], axis=0)
    pairs = [adjusted_rand_score(one, other) for one, other in combinations(refits, 2)]
    found = dict(zip(kinds.tolist(), similar.tolist(), strict=True))
    return Stability(found, float(np.mean(pairs)) if pairs else np.nan)


def principal(points: np.ndarray, n_components: int) -> np.ndarray:
    """Return points on their principal axes, at unit mean variance.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_features)
    n_components : int
        Axes that are kept.

    Returns
    -------
    points : ndarray of shape (n_samples, at most n_components)
        Without columns if all points coincide.
    """
    points = within_range(np.asarray(points, dtype=np.float64))
    left, scales, _ = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    kept = np.flatnonzero(scales > 1e-9 * max(np.abs(points).max(), 1e-300))[:n_components]
    found = left[:, kept] * scales[kept]
    return found / np.sqrt(found.var(axis=0).mean()) if kept.size else found


def resampled_labels(points: np.ndarray, rows: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Cluster some rows by k-means, and give all points to the nearest of the centers.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_components)
    rows : ndarray of int
        At least k.
    k, seed : int

    Returns
    -------
    labels : ndarray of shape (n_samples,)
    """
    with unwarned():
        return KMeans(k, n_init=_N_INIT, random_state=seed).fit(points[rows]).predict(points)


def _refit(points: Points, k: int, covariance: str, rng: np.random.RandomState) -> np.ndarray:
    """Find k clusters in a half of the points, and say which all points belong to."""
    n = len(points.values)
    half = rng.permutation(n)[: (n + 1) // 2]
    start = resampled_labels(points.values, half, k, rng.randint(2**31 - 1))
    return fit_gaussians(points.part(half), start[half], k, covariance).predict(points)


def found_again(labels: np.ndarray, others: np.ndarray, n_clusters: int) -> np.ndarray:
    """Return how like each cluster is to the one of another clustering that is most like it.

    Parameters
    ----------
    labels, others : ndarray of shape (n_samples,)
        Clusters from 0.
    n_clusters : int
        Of `labels`.

    Returns
    -------
    similar : ndarray of shape (n_clusters,)
        Jaccard similarity, shared points divided by those of either; NaN for clusters without
        members.
    """
    shared = cross_table(labels, others, (n_clusters, others.max() + 1))
    sizes, other_sizes = shared.sum(axis=1, keepdims=True), shared.sum(axis=0)
    either = sizes + other_sizes - shared
    similar = (shared / np.maximum(either, 1)).max(axis=1)
    return np.where(sizes[:, 0] > 0, similar, np.nan)
