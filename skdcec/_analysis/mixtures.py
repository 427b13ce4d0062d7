"""Which Gaussian mixture describes points best? Fast, for a few thousand points."""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

COVARIANCES = ("full", "tied", "diagonal", "spherical")

_MAX_ITER = 30
_TOL = 1e-3
# As where training starts: clusters of few points would shrink onto them.
_COVARIANCE_SHARE = 0.02


class Mixture(NamedTuple):
    """A Gaussian mixture.

    Attributes
    ----------
    likelihood : float
        Logarithm, mean over the points it was fitted to.
    weights : ndarray of shape (k,)
    means : ndarray of shape (k, d)
    precision : ndarray
        Of shape (k, d, d) for "full", (d, d) for "tied", else (k, d).
    log_volume : ndarray of shape (k,) or float
        Logarithms of the determinants of the covariances.
    """

    likelihood: float
    weights: np.ndarray
    means: np.ndarray
    precision: np.ndarray
    log_volume: np.ndarray

    def log_joint(self, points: np.ndarray) -> np.ndarray:
        """Return the logarithm of the density of each point together with each component."""
        if self.precision.ndim == 3:
            first, second = np.triu_indices(points.shape[1])
            squares = points[:, first] * points[:, second]
            factors = self.precision[:, first, second] * np.where(first == second, 1, 2)
            turned = np.einsum("kij,kj->ki", self.precision, self.means)
            distances = squares @ factors.T
        elif np.ndim(self.log_volume) == 0:
            turned = self.means @ self.precision
            distances = (points @ self.precision * points).sum(axis=1)[:, None]
        else:
            turned = self.means * self.precision
            distances = points**2 @ self.precision.T
        distances = distances - 2 * points @ turned.T + (turned * self.means).sum(axis=1)
        constant = points.shape[1] * math.log(2 * math.pi)
        return np.log(self.weights) - (constant + self.log_volume + distances) / 2

    def predict(self, points: np.ndarray) -> np.ndarray:
        """Return the most probable component of each point."""
        return self.log_joint(points).argmax(axis=1)


@np.errstate(under="ignore")
def fit_mixture(points: np.ndarray, labels: np.ndarray, k: int, covariance: str) -> Mixture:
    """Fit a Gaussian mixture that starts from labels.

    Both steps are products of matrices for all clusters at once, which for small data is many
    times as fast as one cluster after the other.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_components)
        With mean about 0 and variance about 1.
    labels : ndarray of shape (n_samples,)
        From 0; where training starts.
    k : int
    covariance : {"full", "tied", "diagonal", "spherical"}
    """
    belonging, last = np.eye(k)[labels], -math.inf
    for _ in range(_MAX_ITER):
        mixture = _estimate(points, belonging, covariance)
        joint = mixture.log_joint(points)
        evidence = logsumexp(joint, axis=1)
        mixture = mixture._replace(likelihood=float(evidence.mean()))
        if abs(mixture.likelihood - last) < _TOL:
            break
        last = mixture.likelihood
        belonging = np.exp(joint - evidence[:, None])
    return mixture


def _estimate(points: np.ndarray, belonging: np.ndarray, covariance: str) -> Mixture:
    n, d = points.shape
    k = belonging.shape[1]
    floor = max(_COVARIANCE_SHARE * points.var(axis=0).mean(), 1e-12)
    # A component that lost its points stays, far from any.
    weights = belonging.sum(axis=0) + 1e-10
    means = belonging.T @ points / weights[:, None]
    if covariance == "full":
        first, second = np.triu_indices(d)
        spread = np.empty((k, d, d))
        moments = belonging.T @ (points[:, first] * points[:, second]) / weights[:, None]
        spread[:, first, second] = spread[:, second, first] = moments
        spread += floor * np.eye(d) - means[:, :, None] * means[:, None, :]
    elif covariance == "tied":
        spread = points.T @ points / n - (means.T * (weights / n)) @ means + floor * np.eye(d)
    else:
        variances = np.maximum(belonging.T @ points**2 / weights[:, None] - means**2, 0) + floor
        if covariance == "spherical":
            variances = np.repeat(variances.mean(axis=1, keepdims=True), d, axis=1)
        return Mixture(math.nan, weights / n, means, 1 / variances, np.log(variances).sum(axis=1))
    log_volume = np.linalg.slogdet(spread)[1]
    return Mixture(math.nan, weights / n, means, np.linalg.inv(spread), log_volume)


def information_criterion(mixture: Mixture, n_samples: int, covariance: str) -> float:
    """Return the Bayesian information criterion of a mixture, for each point; less is better.

    Parameters
    ----------
    mixture : Mixture
    n_samples : int
        Points that it was fitted to.
    covariance : {"full", "tied", "diagonal", "spherical"}
    """
    k, d = mixture.means.shape
    of_covariance = {
        "full": k * d * (d + 1) / 2,
        "tied": d * (d + 1) / 2,
        "diagonal": k * d,
        "spherical": k,
    }
    n_parameters = of_covariance[covariance] + k * d + k - 1
    return n_parameters * math.log(n_samples) / n_samples - 2 * mixture.likelihood


def best_mixture(points: np.ndarray, labels: np.ndarray, k: int) -> tuple[float, str]:
    """Return the least Bayesian information criterion over covariances, and which has it.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_components)
    labels : ndarray of shape (n_samples,)
    k : int

    Returns
    -------
    criterion : float
        For each point; less is better.
    covariance : str
        One of `COVARIANCES`.
    """
    found = {
        covariance: information_criterion(
            fit_mixture(points, labels, k, covariance), len(points), covariance
        )
        for covariance in COVARIANCES
    }
    best = min(found, key=lambda covariance: found[covariance])
    return found[best], best
