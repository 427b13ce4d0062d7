"""Where the clusters start: a mixture of Gaussians, fitted several times and chosen by its cuts."""

import numpy as np
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_random_state

# The least variance of a cluster in any direction, as a share of the embedding's. Without it
# clusters of few points would shrink onto them.
_COVARIANCE_SHARE = 0.02
_MAX_ITER = 500
_N_NEIGHBORS = 10
# So many points tell which of the mixtures cuts least.
_MAX_JUDGED = 10_000


def mixture_labels(
    embedding: np.ndarray, n_clusters: int, n_init: int, seed: int, *, by_cuts: bool = True
) -> np.ndarray:
    """Cluster by the mixture that cuts the fewest ties between neighbours.

    A mixture that joins two groups has to cut a third one in two, and such a cut goes through
    the midst of many neighbours. Likelihood does not see that: it may even be greater.

    Parameters
    ----------
    embedding : array of shape (n_samples, n_components), dtype float64
    n_clusters : int
    n_init : int
        Mixtures to choose from.
    seed : int
    by_cuts : bool, default=True
        False takes the mixture of the greatest likelihood instead.

    Returns
    -------
    array of shape (n_samples,), dtype int64
    """
    covariance = max(_COVARIANCE_SHARE * embedding.var(axis=0).mean(), 1e-6)

    def fitted(n_init: int, seed: int) -> np.ndarray:
        return GaussianMixture(
            n_clusters,
            n_init=n_init,
            max_iter=_MAX_ITER,
            reg_covar=covariance,
            random_state=seed,
        ).fit_predict(embedding)

    if not by_cuts:
        return fitted(n_init, seed)
    rng = check_random_state(seed)
    starts = [fitted(1, rng.randint(2**31)) for _ in range(n_init)]
    full = [labels for labels in starts if len(np.unique(labels)) == n_clusters]
    if not full:
        # There are fewer groups than clusters, so that the mixtures let clusters go.
        return KMeans(n_clusters, n_init=n_init, random_state=seed).fit_predict(embedding)
    judged = np.arange(len(embedding))
    if len(judged) > _MAX_JUDGED:
        judged = rng.choice(judged, _MAX_JUDGED, replace=False)
    n_neighbors = min(_N_NEIGHBORS, len(judged) - 1)
    neighbors = NearestNeighbors(n_neighbors=n_neighbors).fit(embedding[judged])
    ties = neighbors.kneighbors(return_distance=False)
    return max(full, key=lambda labels: modularity(labels[judged], ties))


def modularity(labels: np.ndarray, neighbors: np.ndarray) -> float:
    """Return how many neighbours share a cluster beyond what cluster sizes alone would make.

    Parameters
    ----------
    labels : array of shape (n_samples,)
        From 0.
    neighbors : array of shape (n_samples, n_neighbors)
        Row numbers of the nearest neighbours of each point.

    Returns
    -------
    float

    References
    ----------
    Newman & Girvan, *Finding and evaluating community structure in networks*, Physical Review E
    2004, equation 5, for a graph in which every point has the same number of ties.
    """
    shares = np.bincount(labels) / len(labels)
    return float((labels[neighbors] == labels[:, None]).mean() - np.square(shares).sum())
