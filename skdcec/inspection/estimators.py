"""What the displays read from an estimator."""

import os
from typing import Any, NamedTuple

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state

from skdcec.model_selection import pretrained_embedding

_SPACES = ("auto", "pretrained", "input", "embedding")
_SPACE_NAMES = {
    "pretrained": "pretrained embedding",
    "input": "input",
    "embedding": "embedding",
}


def sample_rows(n_samples: int, size: int | None, random_state: Any) -> np.ndarray:
    """Return row numbers of a sample, the same as those of the scorers."""
    if size is None or size >= n_samples:
        return np.arange(n_samples)
    return np.sort(check_random_state(random_state).permutation(n_samples)[:size])


def unwrap(estimator: Any) -> Any:
    """Return what a search found best."""
    return getattr(estimator, "best_estimator_", estimator)


def after_loading(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Let the first step of a pipeline read files, once, for all that follows."""
    estimator = unwrap(estimator)
    if isinstance(estimator, Pipeline) and len(estimator) > 1 and _are_paths(X):
        return estimator[1:], estimator[0].transform(X)
    return estimator, X


def _are_paths(X: Any) -> bool:
    if isinstance(X, (list, tuple)):
        return bool(len(X)) and isinstance(X[0], str | os.PathLike)
    return getattr(X, "ndim", None) == 1


def last_step(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Return the last step of a pipeline, and what reaches it."""
    if not isinstance(estimator, Pipeline):
        return estimator, X
    return estimator[-1], estimator[:-1].transform(X) if len(estimator) > 1 else X


class Points(NamedTuple):
    """Rows, the distance that they are made for, and the name of their space."""

    rows: Any
    metric: str
    name: str


def points_of(estimator: Any, X: Any, space: str) -> Points:
    """Return `X` in one of the spaces that an estimator knows."""
    if space not in _SPACES:
        raise ValueError(f"space={space!r} must be one of {', '.join(map(repr, _SPACES))}.")
    last, reached = last_step(estimator, X)
    encoder = getattr(last, "encoder_", None)
    if space == "auto":
        alone = "input" if hasattr(last, "predict") else "embedding"
        space = alone if encoder is None else "pretrained"
    if space == "pretrained" and encoder is None:
        raise ValueError(
            f"space='pretrained' needs an estimator with an encoder_; {type(last).__name__} "
            "has none: use space='input', or 'embedding' if it has transform."
        )
    if space == "input":
        array = np.asarray(reached)
        return Points(array.reshape(len(array), -1), "euclidean", _SPACE_NAMES[space])
    if space == "pretrained":
        rows, judge = pretrained_embedding(last, reached), encoder
    else:
        rows, judge = last.transform(reached), encoder or last
    return Points(rows, getattr(judge, "metric_", "euclidean"), _SPACE_NAMES[space])
