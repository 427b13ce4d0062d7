"""Do clusters agree with what is known about the images, beyond chance?"""

from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import homogeneity_completeness_v_measure, normalized_mutual_info_score
from sklearn.utils import check_random_state

_N_PERMUTATIONS = 20


class Agreement(NamedTuple):
    """How far two labellings agree.

    Parameters
    ----------
    nmi : float
        Normalized mutual information, the same number as the V-measure.
    chance : float
        Its mean over permutations of the clusters: the more values, the higher by chance alone.
    homogeneity : float
        1 where each cluster holds one class only.
    completeness : float
        1 where each class lies in one cluster.
    """

    nmi: float
    chance: float
    homogeneity: float
    completeness: float


def agreement(classes: np.ndarray, clusters: np.ndarray, *, random_state: Any = 0) -> Agreement:
    """Compare classes and clusters of the same images.

    Parameters
    ----------
    classes, clusters : ndarray of shape (n_samples,)
    random_state : int, RandomState instance or None, default=0
        Of the 20 permutations behind `chance`.

    Returns
    -------
    agreement : Agreement
    """
    rng = check_random_state(random_state)
    chance = [
        normalized_mutual_info_score(classes, rng.permutation(clusters))
        for _ in range(_N_PERMUTATIONS)
    ]
    homogeneity, completeness, nmi = homogeneity_completeness_v_measure(classes, clusters)
    return Agreement(float(nmi), float(np.mean(chance)), float(homogeneity), float(completeness))


def cross_table(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Count how often each pair of codes occurs.

    Parameters
    ----------
    rows, columns : ndarray of shape (n_samples,), dtype int
        Codes from 0.
    shape : tuple of int
        Of the result.

    Returns
    -------
    counts : ndarray of int of this shape
    """
    counts = np.zeros(shape, dtype=np.int64)
    np.add.at(counts, (rows, columns), 1)
    return counts


def expected_counts(counts: np.ndarray) -> np.ndarray:
    """Return the counts that independent rows and columns with the same totals would have.

    Parameters
    ----------
    counts : ndarray of shape (n_rows, n_columns)

    Returns
    -------
    expected : ndarray of shape (n_rows, n_columns), dtype float64
    """
    rows, columns = counts.sum(axis=1, keepdims=True), counts.sum(axis=0, keepdims=True)
    return rows * columns / max(counts.sum(), 1)


def adjusted_residuals(counts: np.ndarray) -> np.ndarray:
    """Return by how many standard deviations counts differ from independence.

    Parameters
    ----------
    counts : ndarray of shape (n_rows, n_columns)

    Returns
    -------
    residuals : ndarray of shape (n_rows, n_columns)
        About standard normal if rows and columns are independent; 0 where the totals leave no
        choice.

    References
    ----------
    Haberman, *The Analysis of Residuals in Cross-Classified Tables*, Biometrics 1973.
    """
    total = max(counts.sum(), 1)
    expected = expected_counts(counts)
    free_rows = 1 - counts.sum(axis=1, keepdims=True) / total
    free_columns = 1 - counts.sum(axis=0, keepdims=True) / total
    variance = expected * free_rows * free_columns
    return np.where(variance > 0, (counts - expected) / np.sqrt(np.maximum(variance, 1e-300)), 0.0)
