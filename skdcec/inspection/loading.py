"""Files are read once, however often a display needs what is in them."""

import os
from typing import Any

from sklearn.pipeline import Pipeline

from skdcec._analysis.spaces import best_of, data_for


def after_loading(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Let the first step of a pipeline read the files that `X` names.

    Parameters
    ----------
    estimator : fitted estimator, Pipeline or search
    X : array-like
        What the estimator takes, or what `load_images` returns.

    Returns
    -------
    estimator : estimator or Pipeline
        What a search found best; if `X` are paths and it is a Pipeline, without its first step.
    X : array-like
        What this estimator takes.
    """
    estimator = best_of(estimator)
    X = data_for(estimator, X)
    if isinstance(estimator, Pipeline) and len(estimator) > 1 and _are_paths(X):
        return estimator[1:], estimator[0].transform(X)
    return estimator, X


def _are_paths(X: Any) -> bool:
    if isinstance(X, (list, tuple)):
        return bool(len(X)) and isinstance(X[0], str | os.PathLike)
    return getattr(X, "ndim", None) == 1
