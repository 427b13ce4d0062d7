"""How good are the labels that a model predicts, judged in a space of one's choice?"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import silhouette_score

from skdcec._analysis.samples import sample_rows
from skdcec._analysis.spaces import Space, best_of, data_for, within_range
from skdcec._callers import caller_level
from skdcec._sklearn_compat import num_samples, safe_indexing
from skdcec.metrics import neighbor_modularity


def score_labels(
    estimator: Any,
    X: Any,
    space_of: Callable[[Any, Any], Space],
    *,
    index: Callable[..., float] = silhouette_score,
    sample_size: int | None = 3000,
    random_state: Any = 0,
) -> float:
    """Return an index of the labels that a fitted estimator predicts.

    Parameters
    ----------
    estimator : fitted clusterer with ``predict``
    X : array-like
        What the estimator takes.
    space_of : callable
        ``space_of(estimator, X)`` is where the labels are judged.
    index : callable, default=silhouette_score
        ``index(points, labels)``, such as scikit-learn's indices without a ground truth.
    sample_size : int or None, default=3000
        Rows that are scored; None takes all.
    random_state : int, RandomState instance or None, default=0
        Determines the rows.

    Returns
    -------
    value : float
        NaN, with an `UndefinedMetricWarning`, for fewer than two clusters, or as many as rows.
    """
    X = data_for(best_of(estimator), X)
    n_samples = num_samples(X)
    if sample_size is not None and n_samples > sample_size:
        X = safe_indexing(X, sample_rows(n_samples, sample_size, random_state))
    _, first, labels = np.unique(estimator.predict(X), return_index=True, return_inverse=True)
    # Numbered as they come, so that the same groups under other numbers get the same score
    # to the last digit, and a search for the best one sees that they are equal.
    labels = np.argsort(np.argsort(first))[labels]
    if not 1 < len(first) < len(labels):
        warnings.warn(
            f"The model put {len(labels)} samples into {len(first)} clusters, which has no "
            "score: NaN.",
            UndefinedMetricWarning,
            stacklevel=caller_level(),
        )
        return float("nan")
    space = space_of(estimator, X)
    # Two depend on distances alone; the other indices take Euclidean means, which for unit-length
    # embeddings rank as the cosine does.
    by_distance = index in (silhouette_score, neighbor_modularity)
    options = {"metric": space.metric} if by_distance else {}
    return float(index(within_range(space.points), labels, **options))
