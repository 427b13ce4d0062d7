"""Are there groups at all? Silhouettes of points without clusters, and a test for gaps."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.isotonic import isotonic_regression
from sklearn.preprocessing import normalize

from skdcec._analysis.clouds import normal_draws
from skdcec._analysis.silhouette import distance_matrix, silhouettes
from skdcec._analysis.spaces import within_range
from skdcec._sklearn_compat import unwarned

# Quantiles of sqrt(n) * dip of n uniform values, from 200 000 samples each, at these upper tails.
_TAILS = np.array([0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001])
_SIZES = np.array([10, 20, 50, 100, 200, 500, 1000, 2000])
_QUANTILES = np.array(
    [
        (0.3091, 0.3757, 0.4124, 0.4412, 0.4768, 0.5044, 0.5275, 0.5537, 0.5707),
        (0.3278, 0.3945, 0.4337, 0.4700, 0.5109, 0.5390, 0.5643, 0.5956, 0.6157),
        (0.3457, 0.4159, 0.4587, 0.4969, 0.5416, 0.5724, 0.6002, 0.6353, 0.6602),
        (0.3546, 0.4271, 0.4714, 0.5108, 0.5579, 0.5905, 0.6200, 0.6581, 0.6837),
        (0.3619, 0.4355, 0.4809, 0.5209, 0.5685, 0.6015, 0.6334, 0.6725, 0.7013),
        (0.3678, 0.4427, 0.4888, 0.5295, 0.5790, 0.6128, 0.6435, 0.6822, 0.7129),
        (0.3714, 0.4465, 0.4929, 0.5342, 0.5836, 0.6170, 0.6496, 0.6896, 0.7196),
        (0.3738, 0.4494, 0.4959, 0.5380, 0.5898, 0.6249, 0.6554, 0.6973, 0.7279),
    ]
)

GAP_SPLITS = 5
# Fewer points between two centers are not looked at.
_LEAST_BETWEEN = 20
# Points on a circle, seen from the side, have two peaks though nothing parts them: n of them have
# a dip of .06, and one of less than .06 + .22 / sqrt(n) in five of six samples.
_DIP_OF_CIRCLE, _BY_CHANCE = 0.06, 0.22


def paired_differences(values: np.ndarray, best: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compare per-point silhouettes with those of another labelling of the same points.

    Parameters
    ----------
    values : ndarray of shape (n_labellings, n_samples)
    best : ndarray of shape (n_samples,)

    Returns
    -------
    mean, standard_error : ndarray of shape (n_labellings,)
        Of the differences, point by point.
    """
    differences = values - best
    error = differences.std(axis=1, ddof=1) / np.sqrt(differences.shape[1])
    return differences.mean(axis=1), error


def cluster_by_k_means(points: np.ndarray, n_clusters: int, n_init: int, seed: int) -> np.ndarray:
    """Return k-means labels, which do not depend on what else is clustered.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_components)
    n_clusters, n_init, seed : int

    Returns
    -------
    labels : ndarray of shape (n_samples,)
    """
    # Fewer distinct points than clusters: what is found is counted.
    with unwarned():
        return KMeans(n_clusters, n_init=n_init, random_state=seed).fit_predict(points)


def gaussian_null(
    points: np.ndarray,
    n_clusters: Sequence[int],
    *,
    metric: str,
    n_draws: int,
    n_init: int,
    seed: int,
    on_draw: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Return mean silhouettes of k-means on points that have no clusters.

    Drawn from one normal distribution with the mean and covariance of `points`.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_components)
    n_clusters : sequence of int
    metric : str
        With "cosine" the draws are scaled to unit length, as the points are.
    n_draws, n_init, seed : int
    on_draw : callable
        Called after each draw.

    Returns
    -------
    silhouettes : ndarray of shape (n_draws, len(n_clusters))
        Each column is the same whatever the others.
    """
    means = np.empty((n_draws, len(n_clusters)))
    if not n_clusters:
        return means
    points = np.asarray(points, dtype=np.float64)
    for draw, drawn in enumerate(normal_draws(points, n_draws=n_draws, seed=seed)):
        if metric == "cosine":
            drawn = normalize(drawn)
        labellings = [cluster_by_k_means(drawn, k, n_init, seed) for k in n_clusters]
        means[draw] = silhouettes(distance_matrix(drawn, metric), labellings).mean(axis=1)
        on_draw()
    return means


def dip_statistic(values: np.ndarray) -> float:
    """Return how far the distribution of values is from any with a single peak.

    Parameters
    ----------
    values : ndarray of shape (n,)

    Returns
    -------
    dip : float
        The largest difference between the empirical distribution function and the nearest
        unimodal one; between 1 / 2n and 1/4, and 0 where all values are equal.

    References
    ----------
    Hartigan & Hartigan, *The Dip Test of Unimodality*, Annals of Statistics 1985.
    """
    x, counts = np.unique(values, return_counts=True)
    n = len(values)
    if len(x) == 1:
        return 0.0
    after = np.cumsum(counts) / n
    before = after - counts / n
    low, high, dip = 0, len(x) - 1, 1 / n
    while high > low:
        part = slice(low, high + 1)
        minorant, below = _convex_minorant(x[part], before[part])
        majorant, above = _convex_minorant(x[part], -after[part])
        majorant = -majorant
        gap = majorant - minorant
        left_best, right_best = below[gap[below].argmax()], above[gap[above].argmax()]
        if gap[left_best] >= gap[right_best]:
            left, width = left_best, gap[left_best]
            right = above[np.searchsorted(above, left)]
        else:
            right, width = right_best, gap[right_best]
            left = below[np.searchsorted(below, right, side="right") - 1]
        if width <= dip:
            break
        # Outside of the new modal interval the fit stays convex on its left, concave on its right.
        # Its ends may be jumps: a peak can be a single value that many points share.
        dip = max(
            dip,
            (after[part][:left] - minorant[:left]).max(initial=0),
            (majorant[right + 1 :] - before[part][right + 1 :]).max(initial=0),
        )
        if left == 0 and right == high - low:
            break
        low, high = low + left, low + right
    return dip / 2


def _convex_minorant(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the greatest convex function below the points, and where it touches them."""
    if len(x) == 1:
        return y.copy(), np.array([0])
    widths = np.diff(x)
    # The slopes of the minorant are the increasing ones nearest to those between the points.
    slopes = isotonic_regression(np.diff(y) / widths, sample_weight=widths)
    touching = np.flatnonzero(np.diff(slopes, prepend=-np.inf, append=np.inf))
    minorant = np.interp(x, x[touching], y[touching])
    return minorant, touching


def dip_p_value(dip: float, n: int) -> float:
    """Return how often as many uniform values have as large a dip.

    Uniform values are the hardest of all unimodal ones, so for others this is an upper bound.

    Parameters
    ----------
    dip : float
    n : int
        Number of values.

    Returns
    -------
    p_value : float
        1 for dips below the median; below .001 an extrapolation.
    """
    scaled = dip * np.sqrt(n)
    # Quantiles are almost linear in the inverse square root of n.
    position = 1 / np.sqrt(np.clip(n, _SIZES[0], None))
    inverse = 1 / np.sqrt(_SIZES)
    quantiles = np.array(
        [np.interp(position, inverse[::-1], column[::-1]) for column in _QUANTILES.T]
    )
    if scaled < quantiles[0]:
        return 1.0
    # The tail is that of a maximum of a Gaussian process: its logarithm falls with the square.
    squares, logs = quantiles**2, np.log(_TAILS)
    if scaled <= quantiles[-1]:
        return float(np.exp(np.interp(scaled**2, squares, logs)))
    slope = (logs[-1] - logs[-4]) / (squares[-1] - squares[-4])
    return float(np.exp(logs[-1] + slope * (scaled**2 - squares[-1])))


def gap_p_value(points: np.ndarray, n_clusters: int, *, n_splits: int, seed: int) -> float:
    """Test whether there is a gap between any two of the groups that k-means finds.

    Centers are found in one half of the points. For each two centers, the points of the other
    half that are nearest to these two are projected on the line between them, and tested for two
    peaks; peaks no further apart than those of a circle that is seen from the side, as images of
    one thing that turns may have, are none. The halves never meet, so finding the centers does
    not favour a gap; and what is nearest to two centers is densest between them, but for a gap.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_components)
    n_clusters, n_splits, seed : int

    Returns
    -------
    p_value : float
        The least of each half's p-values times their number; twice the median over the
        splits, which is valid however they depend on each other. 1 for too few points.
    """
    points = within_range(np.asarray(points, dtype=np.float64))
    if n_clusters < 2 or len(points) < 4 * n_clusters:
        return 1.0
    rng = np.random.default_rng(seed)
    p_values = []
    for _ in range(n_splits):
        order = rng.permutation(len(points))
        halves = points[order[::2]], points[order[1::2]]
        for fitted, held_out in (halves, halves[::-1]):
            with unwarned():
                model = KMeans(n_clusters, n_init=3, random_state=seed).fit(fitted)
            centers = model.cluster_centers_
            p_values.append(_held_out_p_value(centers, held_out))
    return float(min(1.0, 2 * np.median(p_values)))


def _held_out_p_value(centers: np.ndarray, held_out: np.ndarray) -> float:
    nearest = np.sort(np.argsort(cdist(held_out, centers), axis=1)[:, :2], axis=1)
    pairs, sizes = np.unique(nearest, axis=0, return_counts=True)
    p_values = []
    for (first, second), n in zip(pairs, sizes, strict=True):
        if n < _LEAST_BETWEEN:
            continue
        between = held_out[(nearest == (first, second)).all(axis=1)]
        dip = dip_statistic(between @ (centers[first] - centers[second]))
        is_deep = dip > _DIP_OF_CIRCLE + _BY_CHANCE / np.sqrt(n)
        p_values.append(dip_p_value(dip, n) if is_deep else 1.0)
    return min(1.0, len(p_values) * min(p_values, default=1.0))
