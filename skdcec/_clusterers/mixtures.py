"""Mixtures of Gaussians: those that fit an embedding, and the one that tells given clusters."""

from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import softmax
from sklearn.base import clone
from sklearn.mixture import GaussianMixture
from sklearn.utils import check_random_state

_COVARIANCES = ("full", "tied", "diag", "spherical")

# The least variance of a cluster in any direction, as a share of the embedding's. Without it
# clusters of few points would shrink onto them.
_COVARIANCE_SHARE = 0.02
_LEAST_VARIANCE = 1e-6
_MAX_ITER = 500
_N_FOLDS = 5
# So many points tell which covariance to take.
_MAX_COMPARED = 10_000
# Points that are assigned at once.
_BLOCK = 10_000
# Larger covariances are not kept.
_MAX_VALUES = 10**7


def mixture_labels(
    embedding: np.ndarray, n_clusters: int, n_init: int, seed: int
) -> list[np.ndarray]:
    """Return the labels of `n_init` Gaussian mixtures, of the covariance that fits best.

    What fits best is what has the least Bayesian information criterion: few large clusters have
    covariances of their own, many small ones have too few points for that.

    Parameters
    ----------
    embedding : ndarray of shape (n_samples, n_components), dtype float64
    n_clusters : int
    n_init : int
    seed : int

    Returns
    -------
    list of ndarray of shape (n_samples,), dtype int64

    References
    ----------
    Fraley & Raftery, *Model-Based Clustering, Discriminant Analysis, and Density Estimation*,
    JASA 2002.
    """
    floor = _floor(embedding)
    rng = check_random_state(seed)
    first = [
        GaussianMixture(
            n_clusters,
            covariance_type=covariance,
            max_iter=_MAX_ITER,
            reg_covar=floor,
            random_state=rng.randint(2**31),
        ).fit(embedding)
        for covariance in _COVARIANCES
    ]
    best = min(first, key=lambda mixture: mixture.bic(embedding))
    mixtures = [best] + [
        clone(best).set_params(random_state=rng.randint(2**31)).fit(embedding)
        for _ in range(n_init - 1)
    ]
    return [mixture.predict(embedding) for mixture in mixtures]


def _floor(embedding: np.ndarray) -> float:
    variances = embedding.var(axis=0, dtype=np.float64)
    return max(_COVARIANCE_SHARE * float(variances.mean()), _LEAST_VARIANCE)


class Readout(NamedTuple):
    """A Gaussian mixture whose components are clusters, and that assigns any point to them.

    Attributes
    ----------
    weights : ndarray of shape (n_clusters,), dtype float64
        Share of the points in each cluster.
    means : ndarray of shape (n_clusters, n_components), dtype float32
    covariances : ndarray, dtype float64
        Of shape (n_clusters, n_components, n_components); (1, n_components, n_components), the
        same for all clusters; or (n_clusters, n_components), without correlations.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    def posterior(self, embedding: np.ndarray) -> np.ndarray:
        """Return the probability of each cluster at each point.

        Parameters
        ----------
        embedding : ndarray of shape (n_samples, n_components)

        Returns
        -------
        ndarray of shape (n_samples, n_clusters), dtype float32
            Rows sum to 1.
        """
        # One factor for each cluster, or one for all.
        correlated = self.covariances.ndim == 3
        factors = (np.linalg.cholesky if correlated else np.sqrt)(self.covariances)
        posterior = np.empty((len(embedding), len(self.means)), dtype=np.float32)
        for start in range(0, len(embedding), _BLOCK):
            block = slice(start, start + _BLOCK)
            posterior[block] = self._posterior(embedding[block].astype(np.float64), factors)
        return posterior

    def _posterior(self, points: np.ndarray, factors: np.ndarray) -> np.ndarray:
        """Return the posterior of so many points as fit into memory several times."""
        joint = np.empty((len(points), len(self.means)))
        for cluster, mean in enumerate(self.means.astype(np.float64)):
            factor = factors[cluster % len(factors)]
            centered = (points - mean).T
            if factor.ndim == 2:
                scaled = solve_triangular(factor, centered, lower=True, check_finite=False)
                factor = np.diagonal(factor)
            else:
                scaled = centered / factor[:, None]
            joint[:, cluster] = -0.5 * np.square(scaled).sum(axis=0) - np.log(factor).sum()
        # A cluster without points has no share, and what is far from a cluster no probability.
        with np.errstate(divide="ignore", under="ignore"):
            posterior: np.ndarray = softmax(joint + np.log(self.weights), axis=1)
            return posterior.astype(np.float32)

    def check(self, shape: tuple[int, int]) -> None:
        """Raise a ValueError unless this is a mixture of (n_clusters, n_components)."""
        n_clusters, n_components = shape
        known = {
            (n_clusters, n_components, n_components),
            (1, n_components, n_components),
            (n_clusters, n_components),
        }
        if (
            self.weights.shape != (n_clusters,)
            or self.means.shape != shape
            or self.covariances.shape not in known
        ):
            raise ValueError(f"The mixture is not one of {n_clusters} clusters.")
        posterior = self.posterior(self.means[:1])
        if not np.isfinite(posterior).all():
            raise ValueError("The mixture assigns its own mean to no cluster.")

    def predict(self, embedding: np.ndarray) -> np.ndarray:
        """Return the cluster of greatest probability at each point."""
        return self.posterior(embedding).argmax(axis=1)


def fit_readout(embedding: np.ndarray, labels: np.ndarray, n_clusters: int, seed: int) -> Readout:
    """Return the mixture that tells given clusters from each other.

    Its covariance is the one that tells the clusters of points apart that it was not fitted to:
    clusters of many points may each have their own shape, those of few share one.

    Parameters
    ----------
    embedding : ndarray of shape (n_samples, n_components)
    labels : ndarray of shape (n_samples,)
    n_clusters : int
    seed : int

    Returns
    -------
    Readout
    """
    floor = _floor(embedding)
    rows = np.random.default_rng(seed).permutation(len(embedding))[:_MAX_COMPARED]
    folds = np.arange(len(rows)) % _N_FOLDS

    def n_right(covariance: str) -> int:
        right = 0
        for fold in range(min(_N_FOLDS, len(rows))):
            seen, unseen = rows[folds != fold], rows[folds == fold]
            if len(seen):
                fitted = _moments(embedding[seen], labels[seen], n_clusters, covariance, floor)
                right += int((fitted.predict(embedding[unseen]) == labels[unseen]).sum())
        return right

    n_components = embedding.shape[1]
    n_values = {"diag": n_clusters * n_components, "tied": n_components**2}
    n_values["full"] = n_clusters * n_components**2
    # The first of equals has the fewest values to be wrong about.
    possible = [covariance for covariance, n in n_values.items() if n <= _MAX_VALUES]
    best = max(possible, key=n_right) if len(possible) > 1 else "diag"
    return _moments(embedding, labels, n_clusters, best, floor)


def _moments(
    points: np.ndarray, labels: np.ndarray, n_clusters: int, covariance: str, floor: float
) -> Readout:
    """Return the mixture of the shares, means and covariances of given clusters."""
    n_components = points.shape[1]
    sizes = np.bincount(labels, minlength=n_clusters)
    shares = sizes / sizes.sum()
    # A cluster without points has the mean of all, and no share.
    center = points.mean(axis=0, dtype=np.float64)
    means = np.tile(center, (n_clusters, 1)).astype(np.float32)
    # Of all clusters there is one covariance, to which each adds by its share.
    n_spreads = 1 if covariance == "tied" else n_clusters
    shape = (n_components,) if covariance == "diag" else (n_components, n_components)
    spread = np.zeros((n_spreads, *shape))
    for cluster in np.flatnonzero(sizes):
        own = points[labels == cluster].astype(np.float64)
        means[cluster] = own.mean(axis=0)
        centered = own - means[cluster]
        own_spread = (
            np.square(centered).mean(axis=0)
            if covariance == "diag"
            else centered.T @ centered / len(own)
        )
        if covariance == "tied":
            spread[0] += shares[cluster] * own_spread
        else:
            spread[cluster] = own_spread
    spread += floor if covariance == "diag" else floor * np.eye(n_components)
    return Readout(shares, means, spread)
