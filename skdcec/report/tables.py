"""What is written beside the page? One row per image, and one per cluster."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skdcec._analysis.exemplars import Membership, exemplars, membership
from skdcec._analysis.projection import unit_square
from skdcec._files import Table
from skdcec.report.checks import check_labels, check_matrix, check_rows, image_names
from skdcec.report.colours import colours
from skdcec.report.metadata import Column, Standout, metadata_columns, read_column, standouts
from skdcec.report.names import check_names

TABLE_COLUMNS = (
    "file",
    "cluster",
    "confidence",
    "second_cluster",
    "margin",
    "distance",
    "x",
    "y",
    "by_hand",
    "flag",
)
FLAGS = {"typical": 12, "borderline": 6, "odd": 6}
# A margin above which an image is not borderline, however few have a smaller one.
NO_OTHER_NEAR = 0.9


def image_table(
    labels: Any,
    *,
    paths: Sequence[str | os.PathLike],
    probabilities: Any = None,
    distances: Any = None,
    map_coordinates: Any = None,
    metadata: Any = None,
    by_hand: Sequence[int] = (),
) -> Table:
    """Return one row per image, the content of ``clusters.csv``.

    Parameters
    ----------
    labels : array-like of shape (n,) of int
        Clusters from 0; -1 for none.
    paths : sequence of n str or path-like
        Names of the images.
    probabilities : array-like of shape (n, k), default=None
        Soft assignment; None: Student's t over `distances`.
    distances : array-like of shape (n, k), default=None
        Distances to the centroids; None: minus the logarithm of `probabilities`, which orders
        the images in the same way.
    map_coordinates : array-like of shape (n, 2), default=None
        Positions on the map.
    metadata : DataFrame or mapping of str to sequence, default=None
        Columns of n values.
    by_hand : sequence of int, default=()
        Rows of images that somebody put into their cluster, whatever the model finds.

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
        - `by_hand`: "yes" for images that somebody put into their cluster, else "". Their
          confidence, margin and distance are the model's all the same: a negative margin says
          that it would have chosen `second_cluster`;
        - `flag`: in each cluster "typical" for the 12 nearest the centroid, "odd" for the 6
          farthest from it, "borderline" for the 6 with the smallest margin, of those where it is
          at most 0.9, else "". In small clusters at most a half is typical, and a half of what
          remains is odd. What was put by hand where its margin is negative is not borderline.

    See Also
    --------
    cluster_summary : One row per cluster.
    write_table : Writes it as a file.

    Examples
    --------
    >>> from skdcec.report import image_table
    >>> table = image_table([0, 1], paths=["a.jpg", "b.jpg"], distances=[[0.0, 1.0], [3.0, 1.0]])
    >>> table["confidence"], table["second_cluster"]
    ([0.666667, 0.833333], [1, 0])
    """
    labels = check_labels(labels)
    names = image_names(paths, paths, len(labels))
    columns = metadata_columns(metadata, len(labels))
    belonging = membership(
        labels,
        probabilities=check_matrix("probabilities", probabilities, labels),
        distances=check_matrix("distances", distances, labels),
    )
    return rows_of_images(labels, names, belonging, map_coordinates, columns, by_hand)


def rows_of_images(
    labels: np.ndarray,
    names: list[str],
    belonging: Membership,
    map_coordinates: Any,
    columns: list[Column],
    by_hand: Sequence[int],
) -> Table:
    """Return what :func:`image_table` does, from arguments that have been checked."""
    n = len(labels)
    put_there = check_rows("by_hand", by_hand, n)
    coordinates = np.zeros((n, 2)) if map_coordinates is None else unit_square(map_coordinates, n)
    table = {
        "file": names,
        "cluster": labels.tolist(),
        "confidence": _rounded(belonging.confidence),
        "second_cluster": [None if other < 0 else other for other in belonging.second.tolist()],
        "margin": _rounded(belonging.margin),
        "distance": _rounded(belonging.distance),
        "x": _rounded(coordinates[:, 0]),
        "y": _rounded(coordinates[:, 1]),
        "by_hand": ["yes" if i in put_there else "" for i in range(n)],
    }
    flags = [""] * n
    for examples in examples_of(table).values():
        for flag, rows in examples.items():
            for i in rows:
                flags[i] = flag
    table["flag"] = flags
    for column in columns:
        key = f"metadata_{column.name}" if column.name in TABLE_COLUMNS else column.name
        table[key] = column.texts
    return table


def examples_of(table: Table) -> dict[int, dict[str, list[int]]]:
    """Return the rows of each cluster's typical, borderline and odd images, the best first."""
    # By the rounded numbers, so that whoever reads the table finds the rule to hold.
    distance, margin = np.array(table["distance"]), np.array(table["margin"])
    margin[(np.array(table["by_hand"]) == "yes") & (margin < 0)] = np.nan
    # As the page says of them: no other cluster comes near.
    margin[margin > NO_OTHER_NEAR] = np.nan
    chosen = exemplars(np.array(table["cluster"]), FLAGS, distance=distance, margin=margin)
    return {
        cluster: {flag: rows.tolist() if cluster >= 0 else [] for flag, rows in examples.items()}
        for cluster, examples in chosen.items()
    }


def cluster_summary(
    table: Table,
    *,
    pixels: np.ndarray | None = None,
    cluster_names: Mapping[int, Any] | None = None,
    stability: Mapping[int, float] | None = None,
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
    stability : mapping of int to float, default=None
        How much of each cluster comes back from other starts and other samples, 0 to 1.
    random_state : int, RandomState instance or None, default=0
        Determines which images decide on the colours.

    Returns
    -------
    summary : dict of str to list
        Largest cluster first, -1 last: `cluster`, `name`, `note`, `size`, `share`, mean
        `confidence`, mean `distance`; `stability`, None where it is not known; `lightness`, the
        mean L* of CIELAB, and `contrast`, the mean of its standard deviation within an image
        (both 0 to 100); `palette`, six colours by k-means in CIELAB as "#rrggbb 31%", from dark
        to light; `metadata`, the values that stand out most, as "column=value 41/120 lift 3.2".

    See Also
    --------
    image_table : One row per image.

    Examples
    --------
    >>> from skdcec.report import cluster_summary, image_table
    >>> table = image_table([0, 0, 1], paths=["a", "b", "c"], distances=[[0, 1], [0, 1], [1, 0]])
    >>> cluster_summary(table)["size"]
    [2, 1]
    """
    if not isinstance(table, Mapping) or "cluster" not in table:
        raise TypeError(
            f"table is a {type(table).__name__} without a column 'cluster': give what image_table "
            "returns."
        )
    labels = np.array(table["cluster"])
    names = check_names(cluster_names, labels)
    columns = [
        read_column(key, values) for key, values in table.items() if key not in TABLE_COLUMNS
    ]
    found = standouts(labels, columns)
    return rows_of_clusters(table, found, pixels, names, stability or {}, random_state)


def rows_of_clusters(
    table: Table,
    standing_out: Mapping[int, list[Standout]],
    pixels: np.ndarray | None,
    names: Mapping[int, Mapping[str, str]],
    stability: Mapping[int, float],
    random_state: Any,
    rows: np.ndarray | None = None,
) -> Table:
    """Return what :func:`cluster_summary` does, from arguments that have been checked.

    `rows` are the images that `pixels` are of, if not all.
    """
    labels = np.array(table["cluster"])
    pictured = labels if rows is None else labels[rows]
    clusters, sizes = np.unique(labels, return_counts=True)
    confidence, distance = np.array(table["confidence"]), np.array(table["distance"])
    summary: Table = {}
    for cluster, size in sorted(zip(clusters.tolist(), sizes.tolist(), strict=True), key=_by_size):
        members = np.flatnonzero(labels == cluster)
        row = {
            "cluster": cluster,
            "name": names.get(cluster, {}).get("name", ""),
            "note": names.get(cluster, {}).get("note", ""),
            "size": size,
            "share": round(size / len(labels), 4),
            "confidence": round(float(confidence[members].mean()), 4),
            "distance": round(float((distance[members] / size).sum()), 4),
            "stability": _known(stability.get(cluster)),
        }
        if pixels is not None:
            row |= colours(pixels[pictured == cluster], random_state)
        row["metadata"] = "; ".join(
            f"{one.column}={one.value} {one.size}/{size} lift {one.lift:.1f}"
            for one in standing_out[cluster]
        )
        for key, value in row.items():
            summary.setdefault(key, []).append(value)
    return summary


def _known(share: float | None) -> float | None:
    return None if share is None or not math.isfinite(share) else round(share, 2)


def _by_size(item: tuple[int, int]) -> tuple:
    cluster, size = item
    return cluster < 0, -size, cluster


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
