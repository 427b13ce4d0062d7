"""Measures of clusterings that scikit-learn lacks."""

from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics.cluster import contingency_matrix
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.validation import check_consistent_length, column_or_1d

from skdcec._sklearn_compat import check_array

__all__ = ["clustering_accuracy", "neighbor_modularity"]


def clustering_accuracy(labels_true: Any, labels_pred: Any) -> float:
    """Share of samples that the best one-to-one matching of clusters to classes gets right.

    Parameters
    ----------
    labels_true : array-like of shape (n_samples,)
        Classes.
    labels_pred : array-like of shape (n_samples,)
        Clusters. There may be more or fewer clusters than classes; what is left without a
        partner counts as wrong.

    Returns
    -------
    accuracy : float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If the two differ in length, are not 1-D, or are empty.

    See Also
    --------
    sklearn.metrics.normalized_mutual_info_score : Agreement without a matching.
    skdcec.inspection.ContingencyDisplay : Which cluster holds which classes.

    References
    ----------
    Xie, Girshick & Farhadi, *Unsupervised Deep Embedding for Clustering Analysis*,
    ICML 2016, equation 10 (called ACC).

    Examples
    --------
    >>> from skdcec.metrics import clustering_accuracy
    >>> clustering_accuracy([0, 0, 1, 1], [1, 1, 0, 0])
    1.0
    >>> clustering_accuracy([0, 0, 1, 1], [0, 0, 1, 2])
    0.75
    """
    labels_true = column_or_1d(labels_true)
    labels_pred = column_or_1d(labels_pred)
    check_consistent_length(labels_true, labels_pred)
    if not len(labels_true):
        raise ValueError("labels_true and labels_pred are empty.")
    counts = contingency_matrix(labels_true, labels_pred)
    matched = linear_sum_assignment(counts, maximize=True)
    return float(counts[matched].sum() / len(labels_true))


def neighbor_modularity(
    X: Any, labels: Any, *, n_neighbors: int = 5, metric: str = "euclidean"
) -> float:
    """Share of nearest neighbours that share a cluster, beyond what cluster sizes would make.

    It asks for nothing but that neighbours belong together, whatever the shape of clusters, and
    has no unit, so that it can be compared between embeddings of different kinds and sizes. For
    the same images and number of clusters, the embedding of the greater modularity is mostly the
    one whose clusters agree better with what is in the images. Between numbers of clusters it
    does not choose: with more of them it falls slowly, where there are groups and where not.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Points, such as an embedding.
    labels : array-like of shape (n_samples,)
        Their clusters.
    n_neighbors : int, default=5
        Neighbours of each point; all others, where there are fewer. Clusters of as few points
        are not taken for clusters.
    metric : str, default="euclidean"
        A metric of `sklearn.neighbors.NearestNeighbors`.

    Returns
    -------
    modularity : float
        Below 1; 0 for one cluster, and about 0 for labels drawn at random.

    Raises
    ------
    ValueError
        If lengths differ, there are fewer than two points, values are not finite, or
        `n_neighbors` is below 1.

    See Also
    --------
    skdcec.model_selection.modularity_scorer : The same, for scikit-learn's searches.

    References
    ----------
    Newman & Girvan, *Finding and evaluating community structure in networks*, Physical Review E
    2004, equation 5, for a graph in which every point has edges to equally many neighbours.

    Examples
    --------
    >>> from skdcec.metrics import neighbor_modularity
    >>> X = [[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]]
    >>> neighbor_modularity(X, [0, 0, 0, 1, 1, 1], n_neighbors=2)
    0.5
    """
    X = check_array(X, dtype=np.float64)
    if len(X) < 2:
        raise ValueError("X has one row; neighbours need at least two.")
    # By a power of two, which changes no order, so that squares neither overflow nor vanish.
    X = np.ldexp(X, -np.frexp(np.abs(X).max())[1])
    labels = column_or_1d(labels)
    check_consistent_length(X, labels)
    if not isinstance(n_neighbors, (int, np.integer)) or n_neighbors < 1:
        raise ValueError(f"n_neighbors={n_neighbors!r} must be a whole number of at least 1.")
    model = NearestNeighbors(n_neighbors=min(int(n_neighbors), len(X) - 1), metric=metric)
    numbers = np.unique(labels, return_inverse=True)[1]
    return modularity(numbers, model.fit(X).kneighbors(return_distance=False))


def modularity(labels: np.ndarray, neighbors: np.ndarray) -> float:
    """Return the modularity of labels in a graph of nearest neighbours.

    Parameters
    ----------
    labels : ndarray of shape (n_samples,)
        From 0.
    neighbors : ndarray of shape (n_samples, n_neighbors)
        Row numbers of the nearest neighbours of each point.

    Returns
    -------
    float
    """
    shares = np.bincount(labels) / len(labels)
    return float((labels[neighbors] == labels[:, None]).mean() - np.square(shares).sum())
