"""Scores from several spaces in one: pooled, and adaptive clustering evaluation (ACE)."""

import numpy as np
from scipy.stats import spearmanr
from sklearn.cluster import HDBSCAN
from sklearn.metrics.pairwise import euclidean_distances

_SPACE_LEVEL = 0.05
_EDGE_LEVEL = 0.10
_DAMPING = 0.9
# Fewer spaces do not fall into groups.
_FEW = 5


def pooled(scores: np.ndarray) -> np.ndarray:
    """Return the mean of each model's scores over all spaces.

    Parameters
    ----------
    scores : ndarray of shape (n_models, n_spaces)
        A NaN counts as the lowest score there is.

    Returns
    -------
    pooled : ndarray of shape (n_models,)
        NaN where there is no score at all.
    """
    if not np.isfinite(scores).any():
        return np.full(len(scores), np.nan)
    return np.nan_to_num(scores, nan=np.nanmin(scores)).mean(axis=1)


def space_weights(scores: np.ndarray, p_values: np.ndarray) -> np.ndarray:
    """Return how much each space counts by ACE.

    Spaces that show no gap are left out, and so are those that rank nothing. The others are
    grouped by how alike they rank the models, and large groups once more by how alike their
    scores are. Within a group, spaces that rank like many others count more. The group that
    scores highest on the whole is taken.

    Parameters
    ----------
    scores : ndarray of shape (n_models, n_spaces)
        A NaN counts as the lowest score there is.
    p_values : ndarray of shape (n_spaces,)
        Of a test for gaps in each space. Where none is significant, all spaces take part.

    Returns
    -------
    weights : ndarray of shape (n_spaces,)
        They sum to 1. With at most five spaces left, or none that ranks, each counts the same.

    References
    ----------
    Wang & Ye, *Deep Clustering Evaluation: How to Validate Internal Clustering Validation
    Measures*, arXiv 2403.14830.
    """
    weights = np.zeros(scores.shape[1])
    lowest = np.nanmin(scores) if np.isfinite(scores).any() else 0.0
    filled = np.nan_to_num(scores, nan=lowest)
    kept = _holm(p_values, _SPACE_LEVEL)
    if not kept.any():
        kept[:] = True
    ranking = kept & (np.ptp(filled, axis=0) > 0)
    spaces = np.flatnonzero(ranking if ranking.any() else kept)
    if len(spaces) <= _FEW or not ranking.any():
        weights[spaces] = 1 / len(spaces)
        return weights
    columns = filled[:, spaces]
    likeness, significant = _rank_likeness(columns)
    edges = np.where(significant, np.maximum(likeness, 0), 0)
    np.fill_diagonal(edges, 0)
    choices = []
    for group in _groups(columns, likeness):
        share = _page_rank(edges[np.ix_(group, group)])
        choices.append(((columns[:, group] @ share).sum(), group, share))
    _, group, share = max(choices, key=lambda choice: choice[0])
    weights[spaces[group]] = share
    return weights


def _holm(p_values: np.ndarray, level: float) -> np.ndarray:
    """Say which hypotheses are rejected, with the error over all of them below `level`."""
    order = np.argsort(p_values, kind="stable")
    passed = p_values[order] <= level / np.arange(len(p_values), 0, -1)
    rejected = np.zeros(len(p_values), dtype=bool)
    rejected[order[: len(passed) if passed.all() else int(passed.argmin())]] = True
    return rejected


def _rank_likeness(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rank correlations between columns, and which are significantly positive."""
    n = columns.shape[1]
    likeness, significant = np.zeros((n, n)), np.zeros((n, n), dtype=bool)
    pairs = np.triu_indices(n, 1)
    found = [
        spearmanr(columns[:, i], columns[:, j], alternative="greater")
        for i, j in zip(*pairs, strict=True)
    ]
    likeness[pairs] = [correlation for correlation, _ in found]
    significant[pairs] = _holm(np.array([p_value for _, p_value in found]), _EDGE_LEVEL)
    return likeness + likeness.T, significant | significant.T


def _groups(columns: np.ndarray, likeness: np.ndarray) -> list[np.ndarray]:
    """Return the groups of columns; outliers are in none, unless all are."""
    distances = 1 - likeness
    np.fill_diagonal(distances, 0)
    groups = []
    for group in _dense(distances):
        if len(group) <= _FEW:
            groups.append(group)
            continue
        within = _dense(euclidean_distances(columns[:, group].T))
        groups += [group[part] for part in within]
        # What is like the group in rank but not in size stands for itself.
        alone = np.setdiff1d(np.arange(len(group)), np.concatenate(within))
        groups += [group[[part]] for part in alone]
    return groups


def _dense(distances: np.ndarray) -> list[np.ndarray]:
    labels = HDBSCAN(
        min_cluster_size=2, min_samples=3, metric="precomputed", copy=True
    ).fit_predict(np.maximum(distances, 0))
    if (labels < 0).all():
        return [np.arange(len(labels))]
    return [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]


def _page_rank(edges: np.ndarray) -> np.ndarray:
    """Return the stationary share of each node of a weighted graph; they sum to 1."""
    n = len(edges)
    out = edges.sum(axis=1, keepdims=True)
    steps = np.where(out > 0, edges / np.where(out > 0, out, 1), 1 / n)
    share = np.linalg.solve(np.eye(n) - _DAMPING * steps.T, np.full(n, (1 - _DAMPING) / n))
    return share / share.sum()
