"""Points without clusters, which those that may have some are compared with."""

from collections.abc import Iterator

import numpy as np


def normal_draws(points: np.ndarray, *, n_draws: int, seed: int) -> Iterator[np.ndarray]:
    """Yield samples of one normal distribution with the mean and covariance of `points`.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_components), dtype float64
    n_draws, seed : int

    Yields
    ------
    drawn : ndarray of shape (n_samples, n_components)
    """
    rng = np.random.default_rng(seed)
    mean, spread = points.mean(axis=0), _square_root(points)
    for _ in range(n_draws):
        yield mean + rng.standard_normal((len(points), spread.shape[0])) @ spread


def _square_root(points: np.ndarray) -> np.ndarray:
    """Return R with R.T @ R the covariance; fewer rows than columns where it has no full rank."""
    centered = points - points.mean(axis=0)
    _, scales, axes = np.linalg.svd(centered / np.sqrt(len(points) - 1), full_matrices=False)
    return scales[:, None] * axes
