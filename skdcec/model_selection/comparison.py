"""Which of several models without a common space? Pooled scores and adaptive evaluation (ACE)."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from sklearn.cluster import HDBSCAN
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state

from skdcec._analysis.samples import sample_rows
from skdcec._analysis.silhouette import distance_matrix, silhouettes
from skdcec._analysis.spaces import as_rows, metric_of
from skdcec._callers import caller_level
from skdcec._sklearn_compat import num_samples
from skdcec.model_selection.null import GAP_SPLITS, gap_p_value

_SPACE_LEVEL = 0.05
_EDGE_LEVEL = 0.10
_DAMPING = 0.9
# So many spaces are too few to be grouped.
_FEW = 5


@dataclass(frozen=True)
class ModelComparison:
    """Scores of the labels of several models in each other's embeddings.

    Experimental, as `compare_models` is.

    Parameters
    ----------
    scores : ndarray of shape (n_models, n_models)
        Silhouette of the labels of each model (row) in the embedding of each (column). The
        diagonal is each model in its own embedding. NaN for labels without a silhouette.
    gap_p_values : ndarray of shape (n_models,)
        P-value of the test for gaps in each embedding.
    pooled : ndarray of shape (n_models,)
        Mean over all embeddings.
    ace : ndarray of shape (n_models,)
        Mean weighted by `weights`.
    weights : ndarray of shape (n_models,)
        Weight of each embedding by adaptive clustering evaluation (ACE).

    See Also
    --------
    compare_models : Makes it.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import make_blobs
    >>> from skdcec.model_selection import compare_models
    >>> X, _ = make_blobs(200, centers=3, cluster_std=0.05, random_state=0)
    >>> comparison = compare_models([KMeans(k, random_state=0).fit(X) for k in (2, 3)], X)
    >>> int(comparison.pooled.argmax())
    1
    """

    scores: np.ndarray
    gap_p_values: np.ndarray
    pooled: np.ndarray
    ace: np.ndarray
    weights: np.ndarray


def compare_models(
    models: Sequence[Any], X: Any, *, sample_size: int | None = 3000, random_state: Any = 0
) -> ModelComparison:
    """Compare fitted models that have no pretrained embedding in common.

    Each model's labels are scored in the embedding of every model. Where models share their
    pretraining, `NClustersSearch` and `silhouette_scorer` rank them more reliably.

    .. warning::
        Experimental: the result depends on which models are listed, since another list is
        another set of spaces, and the function may change without a deprecation.

    Parameters
    ----------
    models : sequence of fitted clusterers
        With ``predict`` and ``transform``.
    X : array-like of shape (n_samples, ...)
        What the models take.
    sample_size : int, default=3000
        Rows that are scored. None takes all; the cost grows with the square.
    random_state : int, RandomState instance or None, default=0
        Determines the sample, and the halves that are tested for gaps.

    Returns
    -------
    comparison : ModelComparison
        The scores of each model in each embedding, and what they say together.

    Raises
    ------
    ValueError
        If there are no models.
    TypeError
        If a model has no ``predict`` or no ``transform``.

    Warns
    -----
    UndefinedMetricWarning
        If a model put all rows into one cluster, so that it has no score.

    See Also
    --------
    NClustersSearch : A search over models that share their pretraining.
    make_silhouette_scorer : Scores models in one embedding, the `reference`.

    Notes
    -----
    Adaptive clustering evaluation (ACE) [1]_ leaves out spaces without gaps, groups the others
    by how they rank the models, and weights the spaces within the best group. With five spaces
    or fewer all have the same weight. The test for gaps is the one of `NClustersSearch`.

    References
    ----------
    .. [1] Wang & Ye, *Deep Clustering Evaluation: How to Validate Internal Clustering
       Validation Measures*, arXiv 2403.14830.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import make_blobs
    >>> from skdcec.model_selection import compare_models
    >>> X, _ = make_blobs(200, centers=3, cluster_std=0.5, random_state=0)
    >>> models = [KMeans(k, random_state=0).fit(X) for k in (2, 3, 5)]
    >>> comparison = compare_models(models, X)
    >>> comparison.scores.shape, comparison.pooled.shape
    ((3, 3), (3,))
    """
    if isinstance(models, Mapping) or not hasattr(models, "__len__"):
        wanted = "list(models.values())" if isinstance(models, Mapping) else "[models]"
        raise TypeError(f"models is a {type(models).__name__}: give a list, such as {wanted}.")
    if not len(models):
        raise ValueError("models is empty; at least one fitted model is needed.")
    for model in models:
        if not hasattr(model, "predict") or not hasattr(model, "transform"):
            raise TypeError(f"{model!r} needs both predict and transform to be compared.")
    seeds = check_random_state(random_state)
    rows_seed = random_state if isinstance(random_state, Integral) else seeds
    rows = sample_rows(num_samples(X), sample_size, rows_seed)
    seed = int(seeds.randint(2**31 - 1))
    labellings = [np.asarray(model.predict(X))[rows] for model in models]
    scores = np.empty((len(models), len(models)))
    p_values = np.empty(len(models))
    for space, model in enumerate(models):
        last = model[-1] if isinstance(model, Pipeline) else model
        points = as_rows(model.transform(X))[rows]
        metric = metric_of(getattr(last, "encoder_", None))
        scores[:, space] = silhouettes(distance_matrix(points, metric), labellings).mean(axis=1)
        n_found = len(np.unique(labellings[space]))
        p_values[space] = gap_p_value(points, n_found, n_splits=GAP_SPLITS, seed=seed)
    undefined = int(np.isnan(scores).all(axis=1).sum())
    if undefined:
        warnings.warn(
            f"{undefined} of {len(models)} models put the rows that are scored into one cluster, "
            "or each into its own, which has no score: NaN.",
            UndefinedMetricWarning,
            stacklevel=caller_level(),
        )
    weights = space_weights(scores, p_values)
    filled = np.nan_to_num(scores, nan=np.nanmin(scores) if np.isfinite(scores).any() else np.nan)
    return ModelComparison(scores, p_values, pooled(scores), filled @ weights, weights)


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
    """Return the weight of each space by ACE.

    Spaces without a significant gap are left out, and so are those that score all models the
    same. The others are grouped by the rank correlation of their scores, and groups of more than
    five once more by the distance between their scores. Within a group, weights are the PageRank
    of the graph of significant correlations. The group with the highest weighted scores is taken.

    Parameters
    ----------
    scores : ndarray of shape (n_models, n_spaces)
        A NaN counts as the lowest score there is.
    p_values : ndarray of shape (n_spaces,)
        Of a test for gaps in each space. Where none is significant, all spaces take part.

    Returns
    -------
    weights : ndarray of shape (n_spaces,)
        They sum to 1. Equal where at most five spaces are left, or none ranks the models.

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
    """Return which hypotheses are rejected at a family-wise error rate of `level` (Holm)."""
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
    """Return groups of columns, without outliers unless all are outliers."""
    distances = 1 - likeness
    np.fill_diagonal(distances, 0)
    groups = []
    for group in _dense(distances):
        if len(group) <= _FEW:
            groups.append(group)
            continue
        within = _dense(euclidean_distances(columns[:, group].T))
        groups += [group[part] for part in within]
        # A column that correlates with its group but differs in level is a group of its own.
        alone = np.setdiff1d(np.arange(len(group)), np.concatenate(within))
        groups += [group[[part]] for part in alone]
    return groups


def _dense(distances: np.ndarray) -> list[np.ndarray]:
    """Return the clusters of HDBSCAN, or all rows as one where it finds none."""
    labels = HDBSCAN(
        min_cluster_size=2, min_samples=3, metric="precomputed", copy=True
    ).fit_predict(np.maximum(distances, 0))
    if (labels < 0).all():
        return [np.arange(len(labels))]
    return [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]


def _page_rank(edges: np.ndarray) -> np.ndarray:
    """Return the PageRank of each node of a weighted graph; it sums to 1."""
    n = len(edges)
    out = edges.sum(axis=1, keepdims=True)
    steps = np.where(out > 0, edges / np.where(out > 0, out, 1), 1 / n)
    share = np.linalg.solve(np.eye(n) - _DAMPING * steps.T, np.full(n, (1 - _DAMPING) / n))
    return share / share.sum()
