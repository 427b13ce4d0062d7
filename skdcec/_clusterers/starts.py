"""Where the clusters start: a mixture of Gaussians, chosen and mended by its cuts."""

import numpy as np
from scipy.sparse.csgraph import connected_components
from sklearn.base import clone
from sklearn.cluster import KMeans, SpectralClustering
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
# Clusters are joined and cut at most so often, the most promising so many ways each time.
_MAX_MOVES = 10
_N_WAYS = 3
# Pairs of clusters that are worth a look.
_N_JOINS = 20
# Fewer points than this are not cut.
_MIN_CUT = 3 * _N_NEIGHBORS


def mixture_labels(
    embedding: np.ndarray, n_clusters: int, n_init: int, seed: int, *, by_cuts: bool = True
) -> np.ndarray:
    """Cluster by the mixture that cuts the fewest ties between neighbours.

    A mixture that joins two groups has to cut a third one in two, and such a cut goes through
    the midst of many neighbours. Likelihood does not see that: it may even be greater.
    The best of `n_init` mixtures is mended: two of its clusters are joined, another is cut
    where the fewest ties are, and the mixture is fitted again from there, as long as that helps.

    Parameters
    ----------
    embedding : array of shape (n_samples, n_components), dtype float64
    n_clusters : int
    n_init : int
        Mixtures to choose from.
    seed : int
    by_cuts : bool, default=True
        False takes the mixture of the greatest likelihood instead, as it is.

    Returns
    -------
    array of shape (n_samples,), dtype int64
    """
    covariance = max(_COVARIANCE_SHARE * embedding.var(axis=0).mean(), 1e-6)

    def mixture(**params) -> GaussianMixture:
        return GaussianMixture(n_clusters, max_iter=_MAX_ITER, reg_covar=covariance, **params)

    if not by_cuts:
        return mixture(n_init=n_init, random_state=seed).fit_predict(embedding)
    rng = check_random_state(seed)
    starts = [
        mixture(random_state=rng.randint(2**31)).fit_predict(embedding) for _ in range(n_init)
    ]
    full = [labels for labels in starts if len(np.unique(labels)) == n_clusters]
    if not full:
        # There are fewer groups than clusters, so that the mixtures let clusters go.
        return KMeans(n_clusters, n_init=n_init, random_state=seed).fit_predict(embedding)
    judged = np.arange(len(embedding))
    if len(judged) > _MAX_JUDGED:
        judged = rng.choice(judged, _MAX_JUDGED, replace=False)
    points = embedding[judged]
    ties = _neighbors(points)
    labels = max(full, key=lambda labels: modularity(labels[judged], ties))
    mended = _mended(points, labels[judged], mixture(), ties, seed)
    return labels if mended is None else mended.predict(embedding)


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


def _neighbors(points: np.ndarray) -> np.ndarray:
    n_neighbors = min(_N_NEIGHBORS, len(points) - 1)
    return NearestNeighbors(n_neighbors=n_neighbors).fit(points).kneighbors(return_distance=False)


def _mended(
    points: np.ndarray, labels: np.ndarray, mixture: GaussianMixture, ties: np.ndarray, seed: int
) -> GaussianMixture | None:
    """Join and cut clusters as long as that raises the modularity; None if it does not at all."""
    n_clusters = mixture.n_components
    if n_clusters < 3 or len(np.unique(labels)) < n_clusters:
        # Nothing to cut; or a part of the points, which has none of a small cluster.
        return None
    mended, best = None, modularity(labels, ties)
    for _ in range(_MAX_MOVES):
        found = []
        for moved in _moves(points, labels, n_clusters, ties, seed):
            model = clone(mixture).set_params(**_moments(points, moved, mixture.reg_covar))
            settled = model.fit_predict(points)
            if len(np.unique(settled)) == n_clusters:
                found.append((modularity(settled, ties), settled, model))
        if not found:
            break
        reached, moved, model = max(found, key=lambda found: found[0])
        if reached <= best:
            break
        best, labels, mended = reached, moved, model
    return mended


def _moves(
    points: np.ndarray, labels: np.ndarray, n_clusters: int, ties: np.ndarray, seed: int
) -> list[np.ndarray]:
    """Return the labels after the most promising ways to join two clusters and cut a third."""
    # What joining two clusters adds to the modularity.
    between = np.zeros((n_clusters, n_clusters))
    np.add.at(between, (np.repeat(labels, ties.shape[1]), labels[ties].ravel()), 1 / ties.size)
    shares = np.bincount(labels, minlength=n_clusters) / len(labels)
    joined = between + between.T - 2 * np.outer(shares, shares)
    pairs = [(first, second) for first in range(n_clusters) for second in range(first)]
    pairs = sorted(pairs, key=lambda pair: -joined[pair])[:_N_JOINS]
    # What cutting one adds.
    before = modularity(labels, ties)
    cuts = {}
    for cluster in range(n_clusters):
        rows = np.flatnonzero(labels == cluster)
        if len(rows) >= _MIN_CUT:
            cut = labels.copy()
            cut[rows[_halves(points[rows], seed)]] = n_clusters
            cuts[cluster] = cut, modularity(cut, ties) - before
    ways = [
        (joined[pair] + gain, pair, cut)
        for pair in pairs
        for cluster, (cut, gain) in cuts.items()
        if cluster not in pair
    ]
    moves = []
    for _, (first, second), cut in sorted(ways, key=lambda way: -way[0])[:_N_WAYS]:
        moved = np.where(cut == first, second, cut)
        moved[cut == n_clusters] = first
        moves.append(moved)
    return moves


def _halves(points: np.ndarray, seed: int) -> np.ndarray:
    """Tell the two sides of the normalised cut through the ties of `points` apart."""
    graph = NearestNeighbors(n_neighbors=_N_NEIGHBORS).fit(points).kneighbors_graph()
    graph = (graph + graph.T) / 2
    _, part = connected_components(graph, directed=False)
    sizes = np.bincount(part)
    whole = (sizes >= min(_MIN_CUT, sizes.max()))[part]
    side = part == sizes.argmax()
    if side[whole].all():
        cut = SpectralClustering(2, affinity="precomputed", random_state=seed)
        side[whole] = cut.fit_predict(graph[whole][:, whole]) == 1
    # A few points without ties to the others are no side of their own.
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
