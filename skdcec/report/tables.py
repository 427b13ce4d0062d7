"""What is written beside the page? One row per image, and one per cluster."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skdcec._analysis.projection import unit_square
from skdcec._files import Table
from skdcec.report.checks import check_labels, check_matrix, image_names
from skdcec.report.colours import colours
from skdcec.report.metadata import metadata_columns, outstanding, read_column
from skdcec.report.names import check_named_clusters, read_names_option

TABLE_COLUMNS = (
    "file",
    "cluster",
    "confidence",
    "second_cluster",
    "margin",
    "distance",
    "x",
    "y",
    "flag",
)

FLAGS = {"typical": 12, "odd": 6, "borderline": 6}


def image_table(
    labels: Any,
    *,
    paths: Sequence[str | os.PathLike],
    probabilities: Any = None,
    distances: Any = None,
    map_coordinates: Any = None,
    metadata: Any = None,
) -> Table:
    """Return one row per image, the content of ``clusters.csv``.

    Parameters
    ----------
    labels : array-like of shape (n,) of int
        Clusters from 0; -1 for none.
    paths : sequence of n str or path-like
    probabilities : array-like of shape (n, k), default=None
        Soft assignment; None: Student's t over `distances`.
    distances : array-like of shape (n, k), default=None
        Distances to the centroids; None: minus the logarithm of `probabilities`, which orders
        the images in the same way.
    map_coordinates : array-like of shape (n, 2), default=None
    metadata : DataFrame or mapping of str to sequence, default=None

    Returns
    -------
    table : dict of str to list
        The columns of `TABLE_COLUMNS`, then those of the metadata (``metadata_`` before a name
        that is taken):

        - `confidence`, the probability of the image's own cluster;
        - `second_cluster`, the most probable other one, None if there is none;
        - `margin`, the difference between the two probabilities;
        - `distance` to the image's own centroid;
        - `x` and `y` on the map, within [0, 1];
        - `flag`: in each cluster "typical" for the 12 nearest the centroid, "odd" for the 6
          farthest from it, "borderline" for the 6 with the smallest margin, else "". In
          clusters of fewer than 48 images at most a half is typical, and a half of what
          remains is odd.

    Examples
    --------
    >>> from skdcec.report import image_table
    >>> table = image_table([0, 1], paths=["a.jpg", "b.jpg"], distances=[[0.0, 1.0], [3.0, 1.0]])
    >>> table["confidence"], table["second_cluster"]
    ([0.666667, 0.833333], [1, 0])
    """
    labels = check_labels(labels)
    n = len(labels)
    names = image_names(paths, paths, n)
    if probabilities is None and distances is None:
        raise ValueError("probabilities and distances are both None; pass at least one of them.")
    if probabilities is None:
        similarity = 1 / (1 + check_matrix("distances", distances, labels) ** 2)
        probabilities = similarity / similarity.sum(axis=1, keepdims=True)
    probabilities = check_matrix("probabilities", probabilities, labels)
    if distances is None:
        distances = -np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    distances = check_matrix("distances", distances, labels)

    rows, inside = np.arange(n), labels >= 0
    confidence = np.where(inside, probabilities[rows, labels], np.nan)
    others = probabilities.astype(np.float64)
    others[rows[inside], labels[inside]] = -1.0
    second = others.argmax(axis=1)
    margin = confidence - others[rows, second]
    distance = np.where(inside, distances[rows, labels], distances.min(axis=1))
    if probabilities.shape[1] == 1:
        second, margin = np.where(inside, -1, 0), confidence
    coordinates = np.zeros((n, 2)) if map_coordinates is None else unit_square(map_coordinates, n)
    table = {
        "file": names,
        "cluster": labels.tolist(),
        "confidence": _rounded(confidence),
        "second_cluster": [None if other < 0 else other for other in second.tolist()],
        "margin": _rounded(margin),
        "distance": _rounded(distance),
        "x": _rounded(coordinates[:, 0]),
        "y": _rounded(coordinates[:, 1]),
        "flag": _flags(labels, distance, margin),
    }
    for column in metadata_columns(metadata, n):
        key = f"metadata_{column.name}" if column.name in TABLE_COLUMNS else column.name
        table[key] = column.texts
    return table


def cluster_summary(
    table: Table,
    *,
    pixels: np.ndarray | None = None,
    cluster_names: Mapping[int, Any] | None = None,
    random_state: Any = 0,
) -> Table:
    """Return one row per cluster, the content of ``cluster_summary.csv``.

    Parameters
    ----------
    table : dict of str to list
        What :func:`image_table` returns.
    pixels : uint8 ndarray of shape (n, h, w, 3), default=None
        Small versions of the images, for colours.
    cluster_names : mapping of int to str or to {"name": str, "note": str}, default=None
    random_state : int, RandomState instance or None, default=0

    Returns
    -------
    summary : dict of str to list
        Largest cluster first, -1 last: `cluster`, `name`, `note`, `size`, `share`, mean
        `confidence`, mean `distance`; `lightness`, the mean L* of CIELAB, and `contrast`, the
        mean of its standard deviation within an image (both 0 to 100); `palette`, six colours
        by k-means in CIELAB as "#rrggbb 31%", from dark to light; `metadata`, the values that
        stand out most, as "column=value 41/120 lift 3.2".

    Examples
    --------
    >>> from skdcec.report import cluster_summary, image_table
    >>> table = image_table([0, 0, 1], paths=["a", "b", "c"], distances=[[0, 1], [0, 1], [1, 0]])
    >>> cluster_summary(table)["size"]
    [2, 1]
    """
    labels = np.array(table["cluster"])
    names = read_names_option(cluster_names)
    check_named_clusters(names, labels)
    columns = [
        read_column(key, values) for key, values in table.items() if key not in TABLE_COLUMNS
    ]
    clusters, sizes = np.unique(labels, return_counts=True)
    order = sorted(zip(clusters.tolist(), sizes.tolist(), strict=True), key=_by_size)
    confidence, distance = np.array(table["confidence"]), np.array(table["distance"])
    summary: Table = {}
    for cluster, size in order:
        members = np.flatnonzero(labels == cluster)
        row = {
            "cluster": cluster,
            "name": names.get(cluster, {}).get("name", ""),
            "note": names.get(cluster, {}).get("note", ""),
            "size": size,
            "share": round(size / len(labels), 4),
            "confidence": round(float(confidence[members].mean()), 4),
            "distance": round(float(distance[members].mean()), 4),
        }
        if pixels is not None:
            row |= colours(pixels[members], random_state)
        row["metadata"] = "; ".join(
            f"{key}={value} {count}/{size} lift {lift:.1f}"
            for key, value, count, lift in outstanding(labels == cluster, columns)
        )
        for key, value in row.items():
            summary.setdefault(key, []).append(value)
    return summary


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def _by_size(item: tuple[int, int]) -> tuple:
    cluster, size = item
    return cluster < 0, -size, cluster


def _flags(labels: np.ndarray, distance: np.ndarray, margin: np.ndarray) -> list[str]:
    flags = np.full(len(labels), "", dtype=object)
    for cluster in np.unique(labels[labels >= 0]):
        left = np.flatnonzero(labels == cluster)
        for flag, key in (("typical", distance), ("odd", -distance), ("borderline", margin)):
            count = min(FLAGS[flag], math.ceil(len(left) / 2))
            chosen = left[np.argsort(key[left], kind="stable")[:count]]
            flags[chosen] = flag
            left = np.setdiff1d(left, chosen)
    return flags.tolist()
