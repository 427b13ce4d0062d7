"""Are the arguments what a page can be made of?"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skdcec._sklearn_compat import check_array

MAX_CLUSTERS = 10_000
# So many rows are looked at together.
_BLOCK = 10_000


def check_labels(labels: Any) -> np.ndarray:
    """Return labels as whole numbers."""
    if isinstance(labels, Mapping):
        raise TypeError(
            f"labels is a {type(labels).__name__}: give the cluster of each image, such as the "
            "labels_ of a model."
        )
    array = np.asarray(labels)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"labels has shape {array.shape}; one label per image is needed.")
    if not np.issubdtype(array.dtype, np.number) or np.any(array != np.floor(array)):
        raise ValueError(
            f"labels must be whole numbers, got {array.dtype}; "
            "np.unique(labels, return_inverse=True)[1] numbers others."
        )
    array = array.astype(np.int64)
    if array.min() < -1 or array.max() >= MAX_CLUSTERS:
        raise ValueError(
            f"labels run from {array.min()} to {array.max()}; -1 to {MAX_CLUSTERS - 1} is allowed."
        )
    return array


def check_length(name: str, value: Any, n: int) -> None:
    """Raise a ValueError if there is not one row per label."""
    length = len(value) if hasattr(value, "__len__") else None
    if length != n:
        raise ValueError(f"{name} has {length} rows, but there are {n} labels.")


def check_matrix(name: str, values: Any, labels: np.ndarray) -> np.ndarray | None:
    """Return one row per label and at least one column per cluster; None stays None."""
    if values is None:
        return None
    # Infinite distances belong to clusters without members.
    kinds = [np.float64, np.float32]
    array = check_array(values, dtype=kinds, ensure_all_finite=False, input_name=name)
    check_length(name, array, len(labels))
    for start in range(0, len(array), _BLOCK):
        part = array[start : start + _BLOCK]
        if np.isnan(part).any():
            raise ValueError(f"{name} contains NaN.")
        if np.isinf(part).all(axis=1).any():
            row = start + int(np.isinf(part).all(axis=1).argmax())
            raise ValueError(
                f"{name} of row {row} are infinite for all clusters; one must be finite."
            )
    if not labels.max() < array.shape[1] <= MAX_CLUSTERS:
        raise ValueError(
            f"{name} has {array.shape[1]} columns, but labels has cluster {labels.max()}; one "
            f"column per cluster is needed, and at most {MAX_CLUSTERS}."
        )
    return array


def check_rows(name: str, rows: Any, n: int) -> set[int]:
    """Return which rows are meant, each of which there has to be."""
    found = {*map(int, rows)}
    odd = [i for i in found if not 0 <= i < n]
    if odd:
        raise ValueError(f"{name} has the row {min(odd)}; those of {n} images are 0 to {n - 1}.")
    return found


def check_groups(name: str, groups: Any, n: int) -> list[list[int]]:
    """Return groups of rows, each of which there has to be."""
    return [sorted(check_rows(name, group, n)) for group in groups]


def check_skipped(skipped: Any) -> list[tuple[str, str]]:
    """Return files that were not used, each with the reason."""
    pairs = [tuple(pair) if isinstance(pair, (tuple, list)) else (pair,) for pair in skipped]
    odd = [pair for pair in pairs if len(pair) != 2]
    if odd:
        raise ValueError(f"skipped has {odd[0]!r}; pairs of a file and the reason are needed.")
    return [(os.fsdecode(file).replace(os.sep, "/"), str(reason)) for file, reason in pairs]


def image_names(paths: Sequence[str | os.PathLike] | None, images: Any, n: int) -> list[str]:
    """Return how images are called: by their paths, or by their number."""
    if paths is None:
        if not are_paths(images):
            return [f"image {i}" for i in range(n)]
        paths = images
    check_length("paths", paths, n)
    return [os.fsdecode(path).replace(os.sep, "/") for path in paths]


def are_paths(images: Any) -> bool:
    """Whether `images` are names of files rather than pixels."""
    return (not hasattr(images, "ndim") or images.ndim == 1) and isinstance(
        images[0], (str, bytes, os.PathLike)
    )
