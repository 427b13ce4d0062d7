"""How many clusters do several views of one space agree on?"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.linalg import eigh
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import normalize

from skdcec._analysis.clouds import normal_draws
from skdcec._analysis.gaussians import Fit, Points, best_fit, fit_gaussians, prepared
from skdcec._analysis.silhouette import distance_matrix, silhouettes
from skdcec._analysis.stability import found_again, principal, resampled_labels
from skdcec._clusterers.graph import neighbors_of
from skdcec._clusterers.starts import find_labels
from skdcec.metrics import modularity
from skdcec.model_selection.null import cluster_by_k_means

# What is read here are shares of points and edges, which so many points give to a few percent.
MAX_POINTS = 1000
# More directions than this hold little of an embedding, and a covariance of them is expensive.
_MAX_COMPONENTS = 64
# A full covariance of each cluster needs more points than a cluster has, in more directions.
_MAX_COVARIANCE_COMPONENTS = 16
_N_INIT = 3
# Clouds without clusters: what is seen of few points differs between them, and costs little.
_MIN_CLOUDS, _MAX_CLOUDS = 3, 20
_POINTS_IN_CLOUDS = 2000
# Of the time: clusters that a training would start from are sought with more care.
_SHARE_OF_FOUND = 0.4
# The views of neighbouring k differ by noise; this is in the logarithm of k.
_BANDWIDTH = 0.15
# Less than the noise that is left. Of numbers that are as good as the best, the smallest is taken.
_AS_BEST = 0.01
_AS_GOOD = 0.07


def n_clouds(n_points: int) -> int:
    """Return with how many clouds without clusters so many points are compared."""
    return min(_MAX_CLOUDS, max(_MIN_CLOUDS, _POINTS_IN_CLOUDS // n_points))


class Views(NamedTuple):
    """How well the clusters that were found hold together, for each number of them.

    Attributes
    ----------
    modularity : ndarray of shape (n_numbers,)
        In the graph of nearest neighbours.
    silhouette : ndarray of shape (n_numbers,)
    """

    modularity: np.ndarray
    silhouette: np.ndarray


class Evidence(NamedTuple):
    """What several views say of each number of clusters, and of which clusters.

    Attributes
    ----------
    columns : dict of ndarray of shape (n_numbers,)
    labels : dict of int to ndarray of shape (n_samples,)
        The clusters that were found as a training's start is, of each number that was looked at.
    """

    columns: dict[str, np.ndarray]
    labels: dict[int, np.ndarray]


@np.errstate(under="ignore")
def collect(
    points: np.ndarray,
    numbers: Sequence[int],
    *,
    seed: int,
    on_done: Callable[[float], None] = lambda share: None,
) -> Evidence:
    """Return what several views say of each number of clusters.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_components)
        A few hundred to `MAX_POINTS`.
    numbers : sequence of int
        Numbers of clusters; those without a meaning for so many points get NaN.
    seed : int
    on_done : callable
        Told the share of the work that was just done, again and again.

    Returns
    -------
    evidence : Evidence
        Its columns are "bic" (for each point, the least over covariances) and its "covariance";
        "modularity" and "found_silhouette", each the mean over clusters found as a training's
        start is and by `quick_labels`, and the excess of both over clouds of the same spread
        without clusters; "concordance" of the two; "eigengap"; "resampled": adjusted Rand index
        of k-means on two halves.
    """
    points = principal(points, _MAX_COMPONENTS)
    tried = [int(k) for k in numbers if 1 < k < len(points) - 1] if points.shape[1] else []
    columns: dict[str, np.ndarray] = {
        name: np.full(len(numbers), np.nan)
        for name in (
            "bic",
            "modularity",
            "excess_modularity",
            "found_silhouette",
            "excess_found_silhouette",
            "concordance",
            "eigengap",
            "resampled",
        )
    }
    columns["covariance"] = np.full(len(numbers), "", dtype="<U9")
    if not tried:
        return Evidence(columns, {})
    at = np.isin(numbers, tried)
    neighbors = neighbors_of(points)
    values, vectors = _spectrum(neighbors, max(tried) + 1)
    # Two ways of finding clusters, as each misses some.
    found = []
    for k in tried:
        found.append(find_labels(points, k, init="auto", n_init=_N_INIT, seed=seed))
        on_done(_SHARE_OF_FOUND / len(tried))
    ways = found, quick_labels(points, neighbors, vectors, tried, seed)
    seen = Views(*np.mean([look(points, neighbors, labels) for labels in ways], axis=0))
    clouds = []
    n_draws = n_clouds(len(points))
    for drawn in normal_draws(points, n_draws=n_draws, seed=seed):
        near = neighbors_of(drawn)
        _, spread = _spectrum(near, max(tried) + 1)
        clouds.append(look(drawn, near, quick_labels(drawn, near, spread, tried, seed)))
        on_done((1 - _SHARE_OF_FOUND) / n_draws)
    chance = Views(*np.mean(clouds, axis=0))
    leading = prepared(points[:, :_MAX_COVARIANCE_COMPONENTS])
    fits = [_mixture(leading, k, seed) for k in tried]
    columns["bic"][at] = [fit.criterion for fit in fits]
    columns["covariance"][at] = [fit.covariance for fit in fits]
    columns["modularity"][at] = seen.modularity
    columns["excess_modularity"][at] = seen.modularity - chance.modularity
    columns["found_silhouette"][at] = seen.silhouette
    columns["excess_found_silhouette"][at] = seen.silhouette - chance.silhouette
    columns["concordance"][at] = [_concordance(*labels) for labels in zip(*ways, strict=True)]
    columns["eigengap"][at] = [values[k - 1] - values[k] for k in tried]
    columns["resampled"][at] = [_resampled(points, k, seed) for k in tried]
    return Evidence(columns, dict(zip(tried, found, strict=True)))


def look(points: np.ndarray, neighbors: np.ndarray, labellings: Sequence[np.ndarray]) -> Views:
    """Return modularity and silhouette of several labellings of points.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_components)
    neighbors : ndarray of shape (n_samples, n_neighbors)
        Row numbers of the nearest neighbours of each point.
    labellings : sequence of ndarray of shape (n_samples,)
    """
    apart = silhouettes(distance_matrix(points, "euclidean"), labellings).mean(axis=1)
    return Views(np.array([modularity(labels, neighbors) for labels in labellings]), apart)


def quick_labels(
    points: np.ndarray,
    neighbors: np.ndarray,
    vectors: np.ndarray,
    numbers: Sequence[int],
    seed: int,
) -> list[np.ndarray]:
    """Return labels for each number of clusters: of four clusterings, the most modular one.

    Points without clusters do not reward the effort that `find_labels` makes.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_components)
    neighbors : ndarray of shape (n_samples, n_neighbors)
    vectors : ndarray of shape (n_samples, n_vectors)
        Of the normalised graph of neighbours, by decreasing eigenvalue, one for each cluster.
    numbers : sequence of int
    seed : int
    """
    tree, seen = linkage(points, "ward"), prepared(points)
    found = []
    for k in numbers:
        compact = cluster_by_k_means(points, k, _N_INIT, seed)
        labellings = [
            compact,
            cluster_by_k_means(normalize(vectors[:, :k]), k, _N_INIT, seed),
            fcluster(tree, k, "maxclust") - 1,
            fit_gaussians(seen, compact, k, "tied").labels,
        ]
        full = [labels for labels in labellings if len(np.unique(labels)) == k] or [compact]
        found.append(max(full, key=lambda labels: modularity(labels, neighbors)))
    return found


def _concordance(labels: np.ndarray, others: np.ndarray) -> float:
    """Return how much of a point's cluster two clusterings have in common, on average."""
    both = (labels, others), (others, labels)
    return float(np.mean([found_again(a, b, a.max() + 1)[a].mean() for a, b in both]))


def _spectrum(neighbors: np.ndarray, n_values: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest eigenvalues of the normalised graph, and their vectors."""
    n = len(neighbors)
    graph = np.zeros((n, n))
    graph[np.arange(n)[:, None], neighbors] = 0.5
    graph += graph.T
    scale = 1 / np.sqrt(graph.sum(axis=1))
    graph *= scale[:, None] * scale
    values, vectors = eigh(graph, subset_by_index=[max(n - n_values, 0), n - 1])
    return values[::-1], vectors[:, ::-1]


def _resampled(points: np.ndarray, k: int, seed: int) -> float:
    """Return how well k-means on two halves agree on all points."""
    order = np.random.default_rng(seed).permutation(len(points))
    halves = order[::2], order[1::2]
    if k > len(halves[1]):
        return math.nan
    return float(adjusted_rand_score(*(resampled_labels(points, rows, k, seed) for rows in halves)))


def _mixture(points: Points, k: int, seed: int) -> Fit:
    """Return what the mixture says whose covariance fits best."""
    labels = cluster_by_k_means(points.values, k, _N_INIT, seed)
    return best_fit(points, k, lambda _: labels)


# One rule


def support_of(numbers: np.ndarray, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return how much all views together support each number.

    Parameters
    ----------
    numbers : ndarray of shape (n_numbers,)
    columns : dict of ndarray of shape (n_numbers,)
        Those of `Evidence`.

    Returns
    -------
    support : ndarray of shape (n_numbers,)
        As `weigh` returns it.
    """
    excess = columns["excess_modularity"]
    # At most, modularity is 1 - 1/k. Taken as a share of what chance leaves, its excess would err
    # towards many small clusters, and as it is towards few; this is between the two.
    left = 1 - 1 / numbers - (columns["modularity"] - excess)
    excesses = excess / np.sqrt(np.maximum(left, 1e-3)), columns["excess_found_silhouette"]
    return weigh(numbers, excesses, columns["concordance"])


@np.errstate(under="ignore")
def weigh(
    numbers: np.ndarray, excesses: Sequence[np.ndarray], concordance: np.ndarray
) -> np.ndarray:
    """Return how much several excesses over points without clusters support each number.

    Parameters
    ----------
    numbers : ndarray of shape (n_numbers,)
    excesses : sequence of ndarray of shape (n_numbers,)
        In any units, greater is better; one that is nowhere positive is left out.
    concordance : ndarray of shape (n_numbers,)
        Of different clusterings; left out with all of the excesses.

    Returns
    -------
    support : ndarray of shape (n_numbers,)
        Geometric mean of all, each as a share of its largest, smoothed over
        neighbouring numbers and divided by its largest; NaN where any of them is.
    """
    views = [*excesses, concordance]
    known = np.all([np.isfinite(view) for view in views], axis=0)
    support = np.full(len(numbers), np.nan)
    if not any((excess[known] > 0).any() for excess in excesses):
        return support
    shares = [view[known] / view[known].max() for view in views if view[known].max() > 0]
    # No view alone may rule out a number: a hundredth is left.
    joint = np.exp(np.mean(np.log(np.maximum(shares, 0.01)), axis=0))
    places = np.log(numbers[known])
    kernel = np.exp(-0.5 * np.square((places[:, None] - places) / _BANDWIDTH))
    smooth = kernel @ joint / kernel.sum(axis=1)
    support[known] = smooth / smooth.max()
    return support


def supported(support: np.ndarray) -> tuple[int | None, np.ndarray]:
    """Return which number is chosen, and which are as good.

    Parameters
    ----------
    support : ndarray of shape (n_numbers,)
        As `weigh` returns it, of increasing numbers.

    Returns
    -------
    index : int or None
        The smallest number whose support is not less than the greatest by more than noise;
        None where nothing is known.
    as_good : ndarray of bool of shape (n_numbers,)
        All from the first to the last whose support is nearly as great.
    """
    as_good = np.zeros(len(support), dtype=bool)
    known = np.nan_to_num(support, nan=-np.inf)
    if not np.isfinite(known).any():
        return None, as_good
    near = np.flatnonzero(known >= 1 - _AS_GOOD)
    as_good[near[0] : near[-1] + 1] = True
    return int(np.flatnonzero(known >= 1 - _AS_BEST)[0]), as_good & np.isfinite(support)
