"""Which Gaussian mixture makes points most likely? Found from given labels."""

import math
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

COVARIANCES = ("full", "tied", "diag", "spherical")

_MAX_ITER = 500
_TOLERANCE = 1e-3
# So that a component that lost its points still has a mean.
_LEAST_SIZE = 10 * np.finfo(np.float64).eps
# What belongs to a component less than this does not count for its covariance.
_LEAST_SHARE = 1e-20


class Points(NamedTuple):
    """Points about 0, and what each step of a fit asks of them.

    Attributes
    ----------
    values : ndarray of shape (n_samples, n_components), dtype float64
    squares : ndarray of shape (n_samples, n_components)
    norms : ndarray of shape (n_samples,)
        Squared.
    products : ndarray of shape (n_components, n_components)
        Of values with each other, summed over the points.
    floor : float
        What the variance of a component is at least, in any direction.
    """

    values: np.ndarray
    squares: np.ndarray
    norms: np.ndarray
    products: np.ndarray
    floor: float


def prepared(embedding: np.ndarray, floor: float) -> Points:
    """Return points as mixtures are fitted to them."""
    values = embedding - embedding.mean(axis=0)
    squares = np.square(values)
    return Points(values, squares, squares.sum(axis=1), values.T @ values, floor)


class Gaussians(NamedTuple):
    """A Gaussian mixture.

    Attributes
    ----------
    weights : ndarray of shape (k,)
    means : ndarray of shape (k, d)
    roots : ndarray
        Of the inverse covariances: upper triangles of shape (k, d, d) or, the same for all,
        (1, d, d); or (k, d); or (k, 1).
    """

    weights: np.ndarray
    means: np.ndarray
    roots: np.ndarray

    def log_joint(self, points: Points) -> np.ndarray:
        """Return the logarithm of the density of each point together with each component."""
        if self.roots.ndim == 3:
            apart = self._apart_correlated(points.values)
        else:
            precisions = np.square(self.roots)
            turned = self.means * precisions
            apart = points.values @ (-2 * turned).T
            if self.roots.shape[1] == 1:
                apart += points.norms[:, None] * precisions[:, 0]
            else:
                apart += points.squares @ precisions.T
            apart += (turned * self.means).sum(axis=1)
        apart *= -0.5
        apart += self.log_heights()
        return apart

    def log_heights(self) -> np.ndarray:
        """Return the logarithms of weight and density of each component at its mean."""
        k, d = self.means.shape
        correlated = self.roots.ndim == 3
        roots = np.diagonal(self.roots, axis1=1, axis2=2) if correlated else self.roots
        widths = np.log(np.broadcast_to(roots, (len(roots), d))).sum(axis=1)
        heights: np.ndarray = np.log(self.weights) + widths - d / 2 * math.log(2 * math.pi)
        return heights

    def _apart_correlated(self, values: np.ndarray) -> np.ndarray:
        """Return the squared distances of points from components, in units of their spread."""
        if len(self.roots) == 1:
            turned, means = values @ self.roots[0], self.means @ self.roots[0]
            apart = turned @ (-2 * means).T
            apart += np.square(turned).sum(axis=1)[:, None]
            apart += np.square(means).sum(axis=1)
            return apart
        apart = np.empty((len(self.means), len(values)))
        for own, mean, root in zip(apart, self.means, self.roots, strict=True):
            turned = values @ root
            turned -= mean @ root
            np.einsum("ij,ij->i", turned, turned, out=own)
        return apart.T

    def n_parameters(self) -> int:
        """Return how many numbers it has that can be chosen."""
        k, d = self.means.shape
        of_roots = len(self.roots) * d * (d + 1) // 2 if self.roots.ndim == 3 else self.roots.size
        return of_roots + k * d + k - 1


class Fit(NamedTuple):
    """What a mixture says of the points that it was fitted to.

    Attributes
    ----------
    labels : ndarray of shape (n_samples,), dtype int64
    criterion : float
        Bayesian information criterion, for each point; less is better.
    """

    labels: np.ndarray
    criterion: float


def fit_gaussians(points: Points, labels: np.ndarray, k: int, covariance: str) -> Fit:
    """Return the mixture that expectation and maximisation lead to from given labels.

    It is that of scikit-learn's `GaussianMixture`, with all components told at once where they
    can be.

    Parameters
    ----------
    points : Points
    labels : ndarray of shape (n_samples,)
        From 0.
    k : int
    covariance : {"full", "tied", "diag", "spherical"}
    """
    mixture, last = _maximised(points, _belonging(labels, k), covariance), -math.inf
    for _ in range(_MAX_ITER):
        likelihood, belonging = _expected(mixture, points)
        mixture = _maximised(points, belonging, covariance)
        if abs(likelihood - last) < _TOLERANCE:
            break
        last = likelihood
    likelihood, belonging = _expected(mixture, points)
    return Fit(belonging.argmax(axis=1), _criterion(mixture, likelihood, len(labels)))


def expected_criterion(points: Points, labels: np.ndarray, k: int, covariance: str) -> float:
    """Return the criterion of the mixture of given labels, if each point is in one alone.

    That takes no distances: the sum over the points of a component follows from its covariance.

    Parameters
    ----------
    points : Points
    labels : ndarray of shape (n_samples,)
        From 0.
    k : int
    covariance : {"full", "tied", "diag", "spherical"}
    """
    mixture = _maximised(points, _belonging(labels, k), covariance)
    n, d = points.values.shape
    squares = np.square(mixture.roots).reshape(len(mixture.roots), -1).sum(axis=1)
    if mixture.roots.shape[1:] == (1,):
        squares *= d
    # The floor is no part of what the points themselves have.
    constants = mixture.log_heights() - (d - points.floor * squares) / 2
    return _criterion(mixture, float(mixture.weights @ constants), n)


def _belonging(labels: np.ndarray, k: int) -> np.ndarray:
    belonging = np.zeros((len(labels), k))
    belonging[np.arange(len(labels)), labels] = 1
    return belonging


def _criterion(mixture: Gaussians, likelihood: float, n_samples: int) -> float:
    return mixture.n_parameters() * math.log(n_samples) / n_samples - 2 * likelihood


def _expected(mixture: Gaussians, points: Points) -> tuple[float, np.ndarray]:
    """Return the mean logarithm of the density, and how far each point belongs to components."""
    belonging = mixture.log_joint(points)
    largest = belonging.max(axis=1, keepdims=True)
    belonging -= largest
    # What is far from a component has no share of it.
    with np.errstate(under="ignore"):
        np.exp(belonging, out=belonging)
        total = belonging.sum(axis=1, keepdims=True)
        belonging /= total
    return float((largest + np.log(total)).mean()), belonging


def _maximised(points: Points, belonging: np.ndarray, covariance: str) -> Gaussians:
    """Return the mixture of greatest likelihood where points belong to components so far."""
    n, d = points.values.shape
    sizes = belonging.sum(axis=0) + _LEAST_SIZE
    with np.errstate(under="ignore"):
        means = (belonging.T @ points.values) / sizes[:, None]
        if covariance == "full":
            spread = _own_covariances(points, belonging, sizes, means)
        elif covariance == "tied":
            shared = (points.products - (sizes * means.T) @ means) / sizes.sum()
            spread = (shared + points.floor * np.eye(d))[None]
        elif covariance == "diag":
            spread = belonging.T @ points.squares / sizes[:, None] - means**2 + points.floor
        else:
            norms = belonging.T @ points.norms / sizes - np.square(means).sum(axis=1)
            spread = norms[:, None] / d + points.floor
    return Gaussians(sizes / sizes.sum(), means, _roots_of_inverse(spread))


def _own_covariances(
    points: Points, belonging: np.ndarray, sizes: np.ndarray, means: np.ndarray
) -> np.ndarray:
    k, d = means.shape
    spread = np.empty((k, d, d))
    for own, share, size, mean in zip(spread, belonging.T, sizes, means, strict=True):
        # Most points belong to a component not at all.
        rows = np.flatnonzero(share > _LEAST_SHARE)
        centered = points.values[rows] - mean
        own[:] = (share[rows] / size * centered.T) @ centered
    return spread + points.floor * np.eye(d)


def _roots_of_inverse(spread: np.ndarray) -> np.ndarray:
    if spread.ndim == 2:
        return 1 / np.sqrt(spread)
    eye = np.eye(spread.shape[1])
    roots = [solve_triangular(root, eye, lower=True).T for root in np.linalg.cholesky(spread)]
    return np.stack(roots)
