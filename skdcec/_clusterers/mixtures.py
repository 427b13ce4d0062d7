"""Mixtures of Gaussians: those that fit an embedding, and the one that tells given clusters."""

from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from scipy.spatial.distance import cdist
from scipy.special import softmax
from sklearn.cluster import KMeans
from sklearn.utils import check_random_state

from skdcec._analysis.gaussians import (
    COVARIANCES,
    MAX_VALUES,
    best_fit,
    fit_gaussians,
    least_variance,
    prepared,
)

_N_FOLDS = 5
# So many points tell which covariance to take, and how sure of it to be.
_MAX_COMPARED = 10_000
_TEMPERATURES = 2 ** np.arange(0, 4.5, 0.5)
# Where clusters have fewer, covariances of their own make too sure of the points in them.
_MEMBERS_PER_COMPONENT = 0.5
# Points that are assigned at once.
_BLOCK = 10_000


def mixture_labels(
    embedding: np.ndarray, n_clusters: int, n_init: int, seed: int
) -> list[np.ndarray]:
    """Return the labels of `n_init` Gaussian mixtures, of the covariance that fits best.

    Parameters
    ----------
    embedding : ndarray of shape (n_samples, n_components), dtype float64
    n_clusters : int
    n_init : int
    seed : int

    Returns
    -------
    list of ndarray of shape (n_samples,), dtype int64
    """
    points = prepared(embedding)
    rng = check_random_state(seed)
    seeds = {covariance: rng.randint(2**31) for covariance in COVARIANCES}

    def start(seed: int) -> np.ndarray:
        labels: np.ndarray = KMeans(n_clusters, n_init=1, random_state=seed).fit_predict(embedding)
        return labels

    best = best_fit(points, n_clusters, lambda covariance: start(seeds[covariance]))
    found = [best.labels]
    for _ in range(n_init - 1):
        labels = start(rng.randint(2**31))
        found.append(fit_gaussians(points, labels, n_clusters, best.covariance).labels)
    return found


class Readout(NamedTuple):
    """A Gaussian mixture whose components are clusters, and that assigns any point to them.

    Attributes
    ----------
    weights : ndarray of shape (n_clusters,), dtype float64
        They sum to 1, and are 0 for clusters without points.
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
        factors = self._factors()
        posterior = np.empty((len(embedding), len(self.means)), dtype=np.float32)
        for start in range(0, len(embedding), _BLOCK):
            block = slice(start, start + _BLOCK)
            joint = self._log_joint(embedding[block].astype(np.float64), factors)
            # What is far from a cluster has no probability.
            with np.errstate(under="ignore"):
                posterior[block] = softmax(joint, axis=1).astype(np.float32)
        return posterior

    def log_joint(self, embedding: np.ndarray) -> np.ndarray:
        """Return the logarithm of what the posterior is in proportion to.

        Parameters
        ----------
        embedding : ndarray of shape (n_samples, n_components)
            As many as fit into memory several times.

        Returns
        -------
        ndarray of shape (n_samples, n_clusters), dtype float64
        """
        return self._log_joint(embedding.astype(np.float64), self._factors())

    def tempered(self, temperature: float) -> "Readout":
        """Return the mixture whose posterior is this one's to the power of 1 / `temperature`.

        It assigns points to the same clusters, and is less sure of them.
        """
        widths = _log_widths(self._factors())
        with np.errstate(divide="ignore", under="ignore"):
            log_weights = np.log(self.weights) / temperature + (1 - 1 / temperature) * widths
            weights = softmax(log_weights)
        return Readout(weights, self.means, temperature * self.covariances)

    def _factors(self) -> np.ndarray:
        """Return roots of the covariances: of each cluster, or one for all."""
        correlated = self.covariances.ndim == 3
        roots: np.ndarray = (np.linalg.cholesky if correlated else np.sqrt)(self.covariances)
        return roots

    def _log_joint(self, points: np.ndarray, factors: np.ndarray) -> np.ndarray:
        means = self.means.astype(np.float64)
        if factors.ndim == 3 and len(factors) == 1:
            apart = cdist(*(_scaled(rows, factors[0]) for rows in (points, means)), "sqeuclidean")
        else:
            apart = np.empty((len(points), len(means)))
            for cluster, (mean, factor) in enumerate(zip(means, factors, strict=True)):
                apart[:, cluster] = np.square(_scaled(points - mean, factor)).sum(axis=1)
        # A cluster without points has no share.
        with np.errstate(divide="ignore"):
            return np.log(self.weights) - 0.5 * apart - _log_widths(factors)

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


def _scaled(rows: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Return rows in units of the root of a covariance."""
    if factor.ndim == 1:
        return rows / factor
    scaled: np.ndarray = solve_triangular(factor, rows.T, lower=True, check_finite=False).T
    return scaled


def _log_widths(factors: np.ndarray) -> np.ndarray:
    """Return half the logarithms of the determinants of covariances, from their roots."""
    roots = np.diagonal(factors, axis1=1, axis2=2) if factors.ndim == 3 else factors
    widths: np.ndarray = np.log(roots).sum(axis=1)
    return widths


def fit_readout(embedding: np.ndarray, labels: np.ndarray, n_clusters: int, seed: int) -> Readout:
    """Return the mixture that tells given clusters from each other.

    Clusters of many points may each have their own covariance, those of few share one: what takes
    few points at their word is surer of those than of others. As points lie further out than those
    of a normal distribution, the posterior is made only as sure as it can be. Both are found by
    the Brier score of points that the mixture was not fitted to.

    Parameters
    ----------
    embedding : ndarray of shape (n_samples, n_components)
    labels : ndarray of shape (n_samples,)
    n_clusters : int
    seed : int

    Returns
    -------
    Readout

    References
    ----------
    Brier, *Verification of Forecasts Expressed in Terms of Probability*, Monthly Weather Review
    1950.
    Guo et al., *On Calibration of Modern Neural Networks*, ICML 2017.
    """
    floor = least_variance(embedding)
    rows = np.random.default_rng(seed).permutation(len(embedding))[:_MAX_COMPARED]
    folds = np.arange(len(rows)) % _N_FOLDS

    def losses(covariance: str) -> np.ndarray:
        """Return the loss at each temperature."""
        total = np.zeros(len(_TEMPERATURES))
        for fold in range(min(_N_FOLDS, len(rows))):
            seen, unseen = rows[folds != fold], rows[folds == fold]
            # Of a cluster whose points are all unseen, nothing is known.
            unseen = unseen[np.isin(labels[unseen], labels[seen])]
            if len(unseen):
                fitted = _moments(embedding[seen], labels[seen], n_clusters, covariance, floor)
                total += _brier_losses(fitted.log_joint(embedding[unseen]), labels[unseen])
        return total

    n_components = embedding.shape[1]
    are_many = len(embedding) >= _MEMBERS_PER_COMPONENT * n_clusters * n_components
    possible = ["tied"] if n_components**2 <= MAX_VALUES else ["diag"]
    if are_many and n_clusters * n_components**2 <= MAX_VALUES:
        possible.append("full")
    found = {covariance: losses(covariance) for covariance in possible}
    best = min(found, key=lambda covariance: found[covariance].min())
    temperature = float(_TEMPERATURES[found[best].argmin()])
    return _moments(embedding, labels, n_clusters, best, floor).tempered(temperature)


def _brier_losses(log_joint: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the Brier score of some points, summed, at each temperature."""
    own = np.arange(len(labels)), labels
    found = []
    for temperature in _TEMPERATURES:
        with np.errstate(under="ignore"):
            posterior = softmax(log_joint / temperature, axis=1)
            posterior[own] -= 1
            found.append(np.square(posterior).sum())
    return np.array(found)


def _moments(
    points: np.ndarray, labels: np.ndarray, n_clusters: int, covariance: str, floor: float
) -> Readout:
    """Return the mixture of the shares, means and covariances of given clusters.

    Covariances of few points are drawn toward what is known better: the one that all clusters
    share toward a sphere, those of single clusters toward that one.
    """
    n_components = points.shape[1]
    sizes = np.bincount(labels, minlength=n_clusters)
    shares = sizes / sizes.sum()
    # A cluster without points has the mean of all, and no share.
    center = points.mean(axis=0, dtype=np.float64)
    means = np.tile(center, (n_clusters, 1)).astype(np.float32)
    members = [np.flatnonzero(labels == cluster) for cluster in range(n_clusters)]
    centered = points.astype(np.float64)
    for cluster in np.flatnonzero(sizes):
        means[cluster] = centered[members[cluster]].mean(axis=0)
        centered[members[cluster]] -= means[cluster]
    if covariance == "diag":
        squares = [np.square(centered[own]).sum(axis=0) / max(len(own), 1) for own in members]
        return Readout(shares, means, np.stack(squares) + floor)
    sphere = np.square(centered).mean() * np.eye(n_components)
    shared = _shrunk_covariance(centered, sphere)
    spread = (
        shared[None]
        if covariance == "tied"
        else np.stack([_shrunk_covariance(centered[own], shared) for own in members])
    )
    return Readout(shares, means, spread + floor * np.eye(n_components))


def _shrunk_covariance(centered: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the covariance of points about 0, drawn toward a target as far as it is unsure.

    References
    ----------
    Ledoit & Wolf, *A Well-Conditioned Estimator for Large-Dimensional Covariance Matrices*,
    Journal of Multivariate Analysis 2004.
    """
    n = len(centered)
    if n < 2:
        return target
    sample = centered.T @ centered / n
    away = np.square(sample - target).sum()
    variance = np.square(np.square(centered).sum(axis=1)).sum() / n - np.square(sample).sum()
    share = min(1.0, variance / n / away) if away > 0 else 1.0
    return sample + share * (target - sample)
