"""Which Gaussian mixture makes points most likely? Found from given labels."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

COVARIANCES = ("full", "tied", "diag", "spherical")

# The least variance of a component in any direction, as a share of the points'. Without it
# components of few points would shrink onto them.
_COVARIANCE_SHARE = 0.02
_LEAST_VARIANCE = 1e-6
# A covariance whose criterion is worse by more than this, before its mixture is fitted, is not
# fitted. Of twelve sets of 32 or 96 components in 2 to 50 clusters, fits gained .29 for each
# component at most.
_LEAST_GAIN = 10.0
_GAIN_PER_COMPONENT = 0.3
_MAX_ITER = 500
_TOLERANCE = 1e-3
# So that a component that lost its points still has a mean.
_LEAST_SIZE = 10 * np.finfo(np.float64).eps
# What belongs to a component less than this does not count for its covariance.
_LEAST_SHARE = 1e-20
# Shares of points in components that are worked out at once: as many as stay near the processor.
_BLOCK = 2**17
# Larger covariances are not kept.
MAX_VALUES = 10**7


class Points(NamedTuple):
    """Points about 0.

    Attributes
    ----------
    values : ndarray of shape (n_samples, n_components), dtype float64
    products : ndarray of shape (n_components, n_components)
        Of values with each other, summed over the points.
    floor : float
        What the variance of a component is at least, in any direction.
    """

    values: np.ndarray
    products: np.ndarray
    floor: float

    def part(self, rows: np.ndarray) -> "Points":
        """Return some of the points, where they are."""
        values = self.values[rows]
        return Points(values, values.T @ values, self.floor)


def prepared(embedding: np.ndarray) -> Points:
    """Return points as mixtures are fitted to them."""
    values = embedding - embedding.mean(axis=0)
    return Points(values, values.T @ values, least_variance(embedding))


def least_variance(embedding: np.ndarray) -> float:
    """Return what the variance of a component is at least, in any direction."""
    variances = embedding.var(axis=0, dtype=np.float64)
    return max(_COVARIANCE_SHARE * float(variances.mean()), _LEAST_VARIANCE)


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

    def log_heights(self) -> np.ndarray:
        """Return the logarithms of weight and density of each component at its mean."""
        d = self.means.shape[1]
        correlated = self.roots.ndim == 3
        roots = np.diagonal(self.roots, axis1=1, axis2=2) if correlated else self.roots
        widths = np.log(np.broadcast_to(roots, (len(roots), d))).sum(axis=1)
        heights: np.ndarray = np.log(self.weights) + widths - d / 2 * math.log(2 * math.pi)
        return heights

    def n_parameters(self) -> int:
        """Return how many numbers it has that can be chosen."""
        k, d = self.means.shape
        of_roots = len(self.roots) * d * (d + 1) // 2 if self.roots.ndim == 3 else self.roots.size
        return of_roots + k * d + k - 1


class Fit(NamedTuple):
    """What a mixture says of the points that it was fitted to.

    Attributes
    ----------
    covariance : {"full", "tied", "diag", "spherical"}
    mixture : Gaussians
    labels : ndarray of shape (n_samples,), dtype int64
    criterion : float
        Bayesian information criterion, for each point; less is better.
    """

    covariance: str
    mixture: Gaussians
    labels: np.ndarray
    criterion: float

    def predict(self, points: Points) -> np.ndarray:
        """Return the most probable component of each of other points, about the same 0."""
        return _read(_FAMILIES[self.covariance](points), self.mixture)[0]


def best_fit(points: Points, k: int, start: Callable[[str], np.ndarray]) -> Fit:
    """Return what the mixture says whose covariance fits best.

    What fits best is what has the least Bayesian information criterion: few large clusters have
    covariances of their own, many small ones have too few points for that. A covariance that is
    too far behind at the start is not fitted.

    Parameters
    ----------
    points : Points
    k : int
    start : callable
        Returns the labels, from 0, that the mixture of a covariance starts from.

    References
    ----------
    Fraley & Raftery, *Model-Based Clustering, Discriminant Analysis, and Density Estimation*,
    JASA 2002.
    """
    d = points.values.shape[1]
    possible = COVARIANCES if k * d**2 <= MAX_VALUES else COVARIANCES[1:]
    glance = start(possible[0])
    expected = {
        covariance: expected_criterion(points, glance, k, covariance) for covariance in possible
    }
    margin = max(_LEAST_GAIN, _GAIN_PER_COMPONENT * d)
    fits: list[Fit] = []
    for covariance in sorted(expected, key=lambda covariance: expected[covariance]):
        reached = min((fit.criterion for fit in fits), default=math.inf)
        if expected[covariance] <= reached + margin:
            labels = glance if covariance == possible[0] else start(covariance)
            fits.append(fit_gaussians(points, labels, k, covariance))
    return min(fits, key=lambda fit: fit.criterion)


def fit_gaussians(points: Points, labels: np.ndarray, k: int, covariance: str) -> Fit:
    """Return what the mixture says that expectation and maximisation lead to from given labels.

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
    family = _FAMILIES[covariance](points)
    mixture, last = family.of_labels(labels, k), -math.inf
    for _ in range(_MAX_ITER):
        likelihood, mixture = family.improved(mixture)
        if abs(likelihood - last) < _TOLERANCE:
            break
        last = likelihood
    found, likelihood = _read(family, mixture)
    return Fit(covariance, mixture, found, _criterion(mixture, likelihood, len(labels)))


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
    mixture = _FAMILIES[covariance](points).of_labels(labels, k)
    n, d = points.values.shape
    squares = np.square(mixture.roots).reshape(len(mixture.roots), -1).sum(axis=1)
    if mixture.roots.shape[1:] == (1,):
        squares *= d
    # The floor is no part of what the points themselves have.
    logarithms = mixture.log_heights() - (d - points.floor * squares) / 2
    return _criterion(mixture, float(mixture.weights @ logarithms), n)


def _criterion(mixture: Gaussians, likelihood: float, n_samples: int) -> float:
    return mixture.n_parameters() * math.log(n_samples) / n_samples - 2 * likelihood


def _read(family: "_Summed | _Full", mixture: Gaussians) -> tuple[np.ndarray, float]:
    """Return the most probable component of each point, and the likelihood of the points."""
    labels = np.empty(len(family.points.values), dtype=np.int64)
    likelihood = 0.0
    for block, joint in family.log_joints(mixture):
        labels[block] = joint.argmax(axis=1)
        likelihood += _made_shares(joint)
    return labels, likelihood / len(labels) + family.constant(mixture)


def _made_shares(joint: np.ndarray) -> float:
    """Make logarithms of joint densities shares of each row; return the logarithms' sum."""
    largest = joint.max(axis=1, keepdims=True)
    joint -= largest
    # What is far from a component has no share of it.
    with np.errstate(under="ignore"):
        np.exp(joint, out=joint)
        total = joint.sum(axis=1, keepdims=True)
        joint /= total
    return float((largest + np.log(total)).sum())


class _Summed:
    """Mixtures that need only sums over the points: of values, and of squares of values.

    The logarithm of a density is a sum of these as well, so that both steps are products of
    matrices.
    """

    def __init__(self, points: Points, covariance: str) -> None:
        self.points = points
        self.covariance = covariance
        squares = {
            "tied": points.values[:, :0],
            "diag": np.square(points.values),
            "spherical": np.square(points.values).sum(axis=1, keepdims=True),
        }[covariance]
        self.terms = np.hstack([np.ones((len(points.values), 1)), points.values, squares])

    def of_labels(self, labels: np.ndarray, k: int) -> Gaussians:
        return self._of_sums(_one_each(labels, k).T @ self.terms)

    def improved(self, mixture: Gaussians) -> tuple[float, Gaussians]:
        likelihood, sums = 0.0, np.zeros((len(mixture.means), self.terms.shape[1]))
        for block, joint in self.log_joints(mixture):
            likelihood += _made_shares(joint)
            with np.errstate(under="ignore"):
                sums += joint.T @ self.terms[block]
        return likelihood / len(self.terms) + self.constant(mixture), self._of_sums(sums)

    def log_joints(self, mixture: Gaussians) -> Iterator[tuple[slice, np.ndarray]]:
        if self.covariance == "tied":
            turned = mixture.means @ mixture.roots[0] @ mixture.roots[0].T
            of_squares = np.empty((len(turned), 0))
        else:
            precisions = np.square(mixture.roots)
            turned, of_squares = mixture.means * precisions, -0.5 * precisions
        constants = mixture.log_heights() - 0.5 * (turned * mixture.means).sum(axis=1)
        factors = np.hstack([constants[:, None], turned, of_squares]).T
        size = max(1, _BLOCK // len(turned))
        for start in range(0, len(self.terms), size):
            block = slice(start, start + size)
            yield block, self.terms[block] @ factors

    def constant(self, mixture: Gaussians) -> float:
        """Return what all components have in common, in the mean over the points."""
        if self.covariance != "tied":
            return 0.0
        inverse = mixture.roots[0] @ mixture.roots[0].T
        return -0.5 * float((inverse * self.points.products).sum()) / len(self.terms)

    def _of_sums(self, sums: np.ndarray) -> Gaussians:
        d = self.points.values.shape[1]
        sizes = sums[:, 0] + _LEAST_SIZE
        with np.errstate(under="ignore"):
            means = sums[:, 1 : d + 1] / sizes[:, None]
            if self.covariance == "tied":
                spread = (self.points.products - (sizes * means.T) @ means) / sizes.sum()
                spread = (spread + self.points.floor * np.eye(d))[None]
            else:
                away = np.square(means)
                if self.covariance == "spherical":
                    away = away.sum(axis=1, keepdims=True)
                spread = sums[:, d + 1 :] / sizes[:, None] - away
                spread = spread / (d // spread.shape[1]) + self.points.floor
        roots = _roots_of_inverse(spread) if spread.ndim == 3 else 1 / np.sqrt(spread)
        return Gaussians(sizes / sizes.sum(), means, roots)


class _Full:
    """Mixtures whose components have covariances of their own."""

    def __init__(self, points: Points) -> None:
        self.points = points

    def of_labels(self, labels: np.ndarray, k: int) -> Gaussians:
        return self._of_shares(_one_each(labels, k))

    def improved(self, mixture: Gaussians) -> tuple[float, Gaussians]:
        ((_, joint),) = self.log_joints(mixture)
        likelihood = _made_shares(joint) / len(joint)
        return likelihood, self._of_shares(joint)

    def log_joints(self, mixture: Gaussians) -> Iterator[tuple[slice, np.ndarray]]:
        values = self.points.values
        apart = np.empty((len(mixture.means), len(values)))
        for own, mean, root in zip(apart, mixture.means, mixture.roots, strict=True):
            turned = values @ root
            turned -= mean @ root
            np.einsum("ij,ij->i", turned, turned, out=own)
        yield slice(None), mixture.log_heights() - 0.5 * apart.T

    def constant(self, mixture: Gaussians) -> float:
        return 0.0

    def _of_shares(self, shares: np.ndarray) -> Gaussians:
        values = self.points.values
        d = values.shape[1]
        sizes = shares.sum(axis=0) + _LEAST_SIZE
        spread = np.empty((len(sizes), d, d))
        with np.errstate(under="ignore"):
            means = (shares.T @ values) / sizes[:, None]
            for own, share, size, mean in zip(spread, shares.T, sizes, means, strict=True):
                # Most points belong to a component not at all.
                rows = np.flatnonzero(share > _LEAST_SHARE)
                centered = values[rows] - mean
                own[:] = (share[rows] / size * centered.T) @ centered
        spread += self.points.floor * np.eye(d)
        return Gaussians(sizes / sizes.sum(), means, _roots_of_inverse(spread))


_FAMILIES: dict[str, Callable[[Points], _Summed | _Full]] = {
    "full": _Full,
    "tied": lambda points: _Summed(points, "tied"),
    "diag": lambda points: _Summed(points, "diag"),
    "spherical": lambda points: _Summed(points, "spherical"),
}


def _one_each(labels: np.ndarray, k: int) -> np.ndarray:
    """Return the shares of points that belong to one component alone."""
    shares = np.zeros((len(labels), k))
    shares[np.arange(len(labels)), labels] = 1
    return shares


def _roots_of_inverse(spread: np.ndarray) -> np.ndarray:
    eye = np.eye(spread.shape[1])
    roots = [solve_triangular(root, eye, lower=True).T for root in np.linalg.cholesky(spread)]
    return np.stack(roots)
