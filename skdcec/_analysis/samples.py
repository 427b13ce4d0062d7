"""Which rows stand for all?"""

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

# Of so many images a cluster can be judged by looking.
_LEAST = 100


def sample_rows(n_samples: int, size: int | None, random_state: Any) -> np.ndarray:
    """Return the numbers of the rows that are judged or drawn, in order.

    Parameters
    ----------
    n_samples : int
    size : int or None
        How many rows; None takes all.
    random_state : int, RandomState instance or None

    Returns
    -------
    rows : ndarray of shape (min(n_samples, size),)
    """
    if size is None or n_samples <= size:
        return np.arange(n_samples)
    return np.sort(check_random_state(random_state).permutation(n_samples)[:size])


def stratified_rows(
    labels: np.ndarray, size: int | None, random_state: Any, *, first: Any = ()
) -> np.ndarray:
    """Return a sample in which no cluster is lost, however small.

    Parameters
    ----------
    labels : ndarray of shape (n_samples,)
    size : int or None
        How many rows; None takes all.
    random_state : int, RandomState instance or None
    first : array-like of int, default=()
        Rows that are taken before others of their cluster, in this order.

    Returns
    -------
    rows : ndarray of shape (min(n_samples, size),)
        In order. Up to half of them are shared out evenly, up to 100 to each cluster, the others by
        the sizes of the clusters. At least one of each cluster, even where these are more than
        `size`.

    Examples
    --------
    >>> import numpy as np
    >>> from skdcec._analysis.samples import stratified_rows
    >>> labels = np.repeat([0, 1], [990, 10])
    >>> np.bincount(labels[stratified_rows(labels, 40, 0)]).tolist()
    [30, 10]
    """
    n = len(labels)
    if size is None or n <= size:
        return np.arange(n)
    _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    order = check_random_state(random_state).permutation(n)
    order[np.asarray(first, dtype=np.int64)] = np.arange(-len(first), 0)
    by_cluster = np.lexsort((order, codes))
    ends = np.cumsum(sizes)
    place = np.arange(n) - np.repeat(ends - sizes, sizes)
    return np.sort(by_cluster[place < np.repeat(_quotas(sizes, size), sizes)])


def _quotas(sizes: np.ndarray, size: int) -> np.ndarray:
    """Return how many rows of each cluster are taken."""
    least = np.minimum(sizes, np.clip(size // (2 * len(sizes)), 1, _LEAST))
    left, rest = size - least.sum(), sizes - least
    if left <= 0:
        return least
    shares = left * rest / rest.sum()
    quotas = least + np.floor(shares).astype(sizes.dtype)
    # What rounding left over goes to those that lost most by it.
    quotas[np.argsort(np.floor(shares) - shares, kind="stable")[: size - quotas.sum()]] += 1
    return quotas
