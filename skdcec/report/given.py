"""What was given for a page: which images, called how, and in which clusters?"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from skdcec.report.checks import are_paths


def columns_of(collection: Any) -> dict[str, Any]:
    """Return how the images are called and what is known of them, if `load_images` returned them.

    Parameters
    ----------
    collection : Mapping or array-like
        Other things than mappings say neither.

    Returns
    -------
    options : dict
        ``paths``, ``metadata``, ``skipped`` and ``duplicates`` for :func:`write_report`, those that
        there are.
    """
    if not isinstance(collection, Mapping):
        return {}
    kept = {name: collection.get(name) for name in ("paths", "metadata", "skipped", "duplicates")}
    return {name: value for name, value in kept.items() if value is not None and len(value)}


def images_in(given: Any) -> Any:
    """Return the images in what `load_images` returned; anything else as it is.

    Raises
    ------
    ValueError
        If they are paths none of which leads anywhere from here.
    """
    images = given["images"] if isinstance(given, Mapping) and "images" in given else given
    if hasattr(images, "__len__") and len(images) and not isinstance(images, Mapping):
        _check_found(images)
    return images


def numbered(labels: Any, cluster_names: Mapping | None) -> tuple[Any, Mapping | None]:
    """Return labels as numbers, and texts among them as the names of their clusters.

    Parameters
    ----------
    labels : array-like of shape (n,)
        Numbers, which are left as they are, or texts.
    cluster_names : mapping or None
        What names clusters otherwise.

    Returns
    -------
    labels : array-like
    cluster_names : mapping or None

    Raises
    ------
    ValueError
        If only some are texts.
    """
    array = np.asarray(labels)
    if array.ndim != 1 or array.dtype.kind not in "OUT":
        return labels, cluster_names
    if not hasattr(labels, "dtype"):
        # NumPy makes texts of what stands beside them in a list.
        array = np.asarray(labels, dtype=object)
    others = [value for value in array.tolist() if not isinstance(value, str)]
    if len(others) == len(array):
        return labels, cluster_names
    if others:
        raise ValueError(
            f"labels has {others[0]!r} beside texts: give each image a text, or a whole number, -1 "
            "where it is in no cluster."
        )
    names, numbers = np.unique(array.astype(str), return_inverse=True)
    return numbers, dict(enumerate(names.tolist())) | dict(cluster_names or {})


def _check_found(images: Any) -> None:
    """Refuse names that are relative to something else, of which a page would be all gray."""
    if not are_paths(images):
        return
    texts = (os.fsdecode(path) for path in images)
    # The first part may be an archive, which holds the rest.
    if not any(
        os.path.isabs(text) or os.path.exists(Path(text).parts[0]) for text in texts if text
    ):
        raise ValueError(
            f"images: {os.fsdecode(images[0])!r} is not in {os.getcwd()!r}, nor is any other: give "
            "paths that lead there from here, such as the filenames of load_images rather than its "
            "paths."
        )
