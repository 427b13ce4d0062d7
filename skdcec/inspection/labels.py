"""Labels of any form as arrays of integers or strings."""

from typing import Any

import numpy as np
from sklearn.utils.validation import column_or_1d


def is_none(label: Any) -> bool:
    """Whether a label says that an image belongs to no cluster."""
    return isinstance(label, int) and label < 0


def as_labels(labels: Any) -> np.ndarray:
    """Return labels as an array of ints or strings."""
    array = column_or_1d(labels, warn=False)
    if not len(array):
        raise ValueError("labels is empty.")
    if array.dtype.kind == "f" and np.equal(array, np.round(array)).all():
        return array.astype(np.int64)
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    return array.astype(str)


def sizes_of(labels: np.ndarray) -> dict[Any, int]:
    """Return the number of samples of each label, the largest first and no cluster last."""
    values, counts = np.unique(labels, return_counts=True)
    pairs = zip(values.tolist(), counts.tolist(), strict=True)
    return dict(sorted(pairs, key=lambda pair: (is_none(pair[0]), -pair[1], pair[0])))


def codes_of(labels: np.ndarray) -> np.ndarray:
    """Return the position of each label among the clusters, and -1 for no cluster."""
    values, codes = np.unique(labels, return_inverse=True)
    clusters = np.array([not is_none(value) for value in values.tolist()])
    return np.where(clusters, np.cumsum(clusters) - 1, -1)[codes]
