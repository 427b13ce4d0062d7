"""Where the clusters start: the best of several clusterings of the pretrained embedding."""

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse.csgraph import connected_components
from sklearn import config_context
from sklearn.base import clone
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_random_state

from skdcec._sklearn_compat import check_array, unwarned

# The least variance of a cluster in any direction, as a share of the embedding's. Without it
# clusters of few points would shrink onto them.
_COVARIANCE_SHARE = 0.02
_MAX_ITER = 500
_N_NEIGHBORS = 10
# So many points tell which mixture has the greatest modularity.
_MAX_JUDGED = 10_000
# A mixture is refined by at most so many moves, each the best of the most promising few.
_MAX_MOVES = 10
_N_WAYS = 3
# Pairs of clusters that are considered for merging.
_N_MERGES = 20
# Fewer points than this are not split.
_MIN_SPLIT = 3 * _N_NEIGHBORS


class Start(NamedTuple):
    """Where joint training begins.

    Attributes
    ----------
    centers : ndarray of shape (n_clusters, n_components), dtype float32
    labels : ndarray of shape (n_samples,), dtype int64, or None
        Clusters that the targets are warmed up with, negative for points without one; None
        where they are the points nearest to each center anyway.
    """

    centers: np.ndarray
    labels: np.ndarray | None


def find_start(
    embedding: np.ndarray, n_clusters: int, *, init: Any, n_init: int, metric: str, seed: int
) -> Start:
    """Return the centers and labels that joint training starts from.

    Parameters
    ----------
    embedding : ndarray of shape (n_samples, n_components), dtype float32
        Of length 1 where the metric is the cosine.
    n_clusters : int
    init : {"gaussian-mixture", "k-means"}, array or clusterer
    n_init : int
        Starts of which the best is kept; not used for an array or a clusterer.
    metric : {"euclidean", "cosine"}
    seed : int

    Raises
    ------
    ValueError
        If given centers have another shape, or a clusterer finds another number of clusters.
    """
    if not isinstance(init, str) and not hasattr(init, "fit_predict"):
        return Start(_given_centers(init, (n_clusters, embedding.shape[1])), None)
    labels = _start_labels(embedding.astype(np.float64), n_clusters, init, n_init, metric, seed)
    kinds = np.unique(labels[labels >= 0])
    if len(kinds) != n_clusters and not isinstance(init, str):
        raise ValueError(
            f"init={init!r} found {len(kinds)} clusters instead of n_clusters={n_clusters}."
        )
    # Means taken here, in one order: k-means adds up in the order its threads finish.
    means = [embedding[labels == kind].mean(axis=0, dtype=np.float64) for kind in kinds]
    # Fewer distinct points than clusters leave centers without members; they repeat.
    means += [means[0]] * (n_clusters - len(means))
    centers = np.asarray(means, dtype=np.float32)
    # The clusters of k-means are the points nearest to each center.
    is_k_means = isinstance(init, str) and init == "k-means"
    if is_k_means or metric == "cosine":
        return Start(centers, None)
    return Start(centers, np.where(labels < 0, -1, np.searchsorted(kinds, labels)))


def _given_centers(init: Any, shape: tuple[int, int]) -> np.ndarray:
    centers = check_array(init, dtype=np.float32, input_name="init", copy=True)
    if centers.shape != shape:
        raise ValueError(f"init has shape {centers.shape}; (n_clusters, n_components) is {shape}.")
    return centers


def _start_labels(
    embedding: np.ndarray, n_clusters: int, init: Any, n_init: int, metric: str, seed: int
) -> np.ndarray:
    if n_clusters == 1:
        return np.zeros(len(embedding), dtype=np.int64)
    # A mixture refuses its k-means start under array API dispatch; these are NumPy arrays.
    with config_context(array_api_dispatch=False):
        if not isinstance(init, str):
            return _with_params(init, n_clusters, seed).fit_predict(embedding)
        if init == "k-means":
            best_of = k_means_labels
        elif metric == "cosine":
            best_of = likeliest_mixture_labels
        else:
            best_of = mixture_labels
        # Clusters without members are told once, after the training.
        with unwarned():
            return best_of(embedding, n_clusters, n_init, seed)


def _with_params(init: Any, n_clusters: int, seed: int) -> Any:
    """Return a clone of the user's clusterer for this number of clusters and seed."""
    model = clone(init)
    params = model.get_params(deep=False)
    given = {"n_clusters": n_clusters, "n_components": n_clusters}
    if params.get("random_state", 0) is None:
        given["random_state"] = seed
    return model.set_params(**{k: v for k, v in given.items() if k in params})


def k_means_labels(embedding: np.ndarray, n_clusters: int, n_init: int, seed: int) -> np.ndarray:
    """Return the labels of the k-means of least inertia, of `n_init` starts."""
    return KMeans(n_clusters, n_init=n_init, random_state=seed).fit_predict(embedding)


def likeliest_mixture_labels(
    embedding: np.ndarray, n_clusters: int, n_init: int, seed: int
) -> np.ndarray:
    """Return the labels of the Gaussian mixture of greatest likelihood, of `n_init` starts."""
    mixture = _mixture(embedding, n_clusters).set_params(n_init=n_init, random_state=seed)
    return mixture.fit_predict(embedding)


def mixture_labels(embedding: np.ndarray, n_clusters: int, n_init: int, seed: int) -> np.ndarray:
    """Return the labels of the Gaussian mixture of greatest modularity, of `n_init` starts.

    A mixture that merges two groups has to split a third one, and such a split cuts many edges
    of the graph of nearest neighbours. Likelihood does not see that: it may even be greater.
    The best mixture is then refined: two of its clusters are merged, another is split where
    the fewest edges are cut, and the mixture is fitted again from there, as long as that raises
    the modularity.

    Parameters
    ----------
    embedding : array of shape (n_samples, n_components), dtype float64
    n_clusters : int
    n_init : int
        Mixtures to choose from.
    seed : int

    Returns
    -------
    array of shape (n_samples,), dtype int64
    """
    mixture = _mixture(embedding, n_clusters)
    rng = check_random_state(seed)
    starts = [
        clone(mixture).set_params(random_state=rng.randint(2**31)).fit_predict(embedding)
        for _ in range(n_init)
    ]
    full = [labels for labels in starts if len(np.unique(labels)) == n_clusters]
    if not full:
        # There are fewer groups than clusters, so that the mixtures let clusters go.
        return k_means_labels(embedding, n_clusters, n_init, seed)
    judged = np.arange(len(embedding))
    if len(judged) > _MAX_JUDGED:
        judged = rng.choice(judged, _MAX_JUDGED, replace=False)
    points = embedding[judged]
    neighbors = _neighbors(points)
    labels = max(full, key=lambda labels: modularity(labels[judged], neighbors))
    refined = _refined(points, labels[judged], mixture, neighbors, seed)
    return labels if refined is None else refined.predict(embedding)


def _mixture(embedding: np.ndarray, n_clusters: int) -> GaussianMixture:
    covariance = max(_COVARIANCE_SHARE * embedding.var(axis=0).mean(), 1e-6)
    return GaussianMixture(n_clusters, max_iter=_MAX_ITER, reg_covar=covariance)


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
    2004, equation 5, for a graph in which every point has edges to equally many neighbours.
    """
    shares = np.bincount(labels) / len(labels)
    return float((labels[neighbors] == labels[:, None]).mean() - np.square(shares).sum())


def _neighbors(points: np.ndarray) -> np.ndarray:
    n_neighbors = min(_N_NEIGHBORS, len(points) - 1)
    return NearestNeighbors(n_neighbors=n_neighbors).fit(points).kneighbors(return_distance=False)


def _refined(
    points: np.ndarray,
    labels: np.ndarray,
    mixture: GaussianMixture,
    neighbors: np.ndarray,
    seed: int,
) -> GaussianMixture | None:
    """Merge and split clusters as long as that raises the modularity; None if nothing does."""
    n_clusters = mixture.n_components
    if n_clusters < 3 or len(np.unique(labels)) < n_clusters:
        # Nothing to split; or a part of the points, which has none of a small cluster.
        return None
    refined, best = None, modularity(labels, neighbors)
    for _ in range(_MAX_MOVES):
        found = []
        for moved in _moves(points, labels, n_clusters, neighbors, seed):
            model = clone(mixture).set_params(**_moments(points, moved, mixture.reg_covar))
            settled = model.fit_predict(points)
            if len(np.unique(settled)) == n_clusters:
                found.append((modularity(settled, neighbors), settled, model))
        if not found:
            break
        reached, moved, model = max(found, key=lambda found: found[0])
        if reached <= best:
            break
        best, labels, refined = reached, moved, model
    return refined


def _moves(
    points: np.ndarray, labels: np.ndarray, n_clusters: int, neighbors: np.ndarray, seed: int
) -> list[np.ndarray]:
    """Return the labels after the most promising ways to merge two clusters and split a third."""
    # What merging two clusters adds to the modularity.
    between = np.zeros((n_clusters, n_clusters))
    ends = np.repeat(labels, neighbors.shape[1]), labels[neighbors].ravel()
    np.add.at(between, ends, 1 / neighbors.size)
    shares = np.bincount(labels, minlength=n_clusters) / len(labels)
    merged = between + between.T - 2 * np.outer(shares, shares)
    pairs = [(first, second) for first in range(n_clusters) for second in range(first)]
    pairs = sorted(pairs, key=lambda pair: -merged[pair])[:_N_MERGES]
    # What splitting one adds.
    before = modularity(labels, neighbors)
    splits = {}
    for cluster in range(n_clusters):
        rows = np.flatnonzero(labels == cluster)
        if len(rows) >= _MIN_SPLIT:
            split = labels.copy()
            split[rows[_halves(points[rows], seed)]] = n_clusters
            splits[cluster] = split, modularity(split, neighbors) - before
    ways = [
        (merged[pair] + gain, pair, split)
        for pair in pairs
        for cluster, (split, gain) in splits.items()
        if cluster not in pair
    ]
    moves = []
    for _, (first, second), split in sorted(ways, key=lambda way: -way[0])[:_N_WAYS]:
        moved = np.where(split == first, second, split)
        moved[split == n_clusters] = first
        moves.append(moved)
    return moves


def _halves(points: np.ndarray, seed: int) -> np.ndarray:
    """Split `points` by the normalised cut of their graph of nearest neighbours."""
    graph = NearestNeighbors(n_neighbors=_N_NEIGHBORS).fit(points).kneighbors_graph()
    graph = (graph + graph.T) / 2
    _, part = connected_components(graph, directed=False)
    sizes = np.bincount(part)
    whole = (sizes >= min(_MIN_SPLIT, sizes.max()))[part]
    side = part == sizes.argmax()
    if side[whole].all():
        cut = SpectralClustering(2, affinity="precomputed", random_state=seed)
        side[whole] = cut.fit_predict(graph[whole][:, whole]) == 1
    # A few points without edges to the others are no side of their own.
    if not whole.all():
        nearest = NearestNeighbors(n_neighbors=1).fit(points[whole])
        side[~whole] = side[whole][nearest.kneighbors(points[~whole], return_distance=False)[:, 0]]
    return side


def _moments(points: np.ndarray, labels: np.ndarray, covariance: float) -> dict[str, np.ndarray]:
    """Return the parameters at which a mixture of these clusters starts."""
    clusters = [points[labels == cluster] for cluster in range(labels.max() + 1)]
    floor = covariance * np.eye(points.shape[1])
    spread = [np.atleast_2d(np.cov(rows, rowvar=False, bias=True)) for rows in clusters]
    return {
        "weights_init": np.array([len(rows) / len(points) for rows in clusters]),
        "means_init": np.array([rows.mean(axis=0) for rows in clusters]),
        "precisions_init": np.array([np.linalg.inv(one + floor) for one in spread]),
    }
