"""Which images does the page show? All of them, or a sample in which every cluster is."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from skdcec._analysis.samples import stratified_rows
from skdcec._files import Table
from skdcec.report.metadata import Column
from skdcec.report.tables import examples_of

# A page of more is slow to open, and says little more.
MAX_IMAGES = 20_000

Examples = Mapping[int, Mapping[str, list[int]]]


class Shown(NamedTuple):
    """What the page shows.

    Parameters
    ----------
    rows : ndarray of int
        Which images.
    table : dict of str to list
        What is known of each of them.
    columns : list of Column
        Their metadata.
    examples : dict of int to dict of str to list of int
        Places of the typical, borderline and odd images of each cluster among those shown.
    total : int
        How many images there are.
    """

    rows: np.ndarray
    table: Table
    columns: list[Column]
    examples: Examples
    total: int


def check_max_images(max_images: Any) -> int | None:
    """Return how many images a page may show, or None if all."""
    if max_images is None:
        return None
    if isinstance(max_images, bool) or not isinstance(max_images, (int, np.integer)):
        raise TypeError(f"max_images={max_images!r} must be a whole number, or None for all.")
    if max_images < 1:
        raise ValueError(f"max_images={max_images} must be 1 at least, or None for all.")
    return int(max_images)


def shown_of(table: Table, columns: list[Column], max_images: int | None, seed: int) -> Shown:
    """Choose what the page shows.

    Parameters
    ----------
    table : dict of str to list
        A row per image.
    columns : list of Column
        Metadata of all images.
    max_images : int or None
        How many to show at most, but for one of each cluster; None shows all.
    seed : int
        Which are drawn.

    Returns
    -------
    shown : Shown
    """
    labels = np.array(table["cluster"])
    examples = examples_of(table)
    rows = stratified_rows(labels, max_images, seed, first=_by_importance(examples))
    n = len(labels)
    if len(rows) == n:
        return Shown(rows, table, columns, examples, n)
    places = np.full(n, -1)
    places[rows] = np.arange(len(rows))
    return Shown(
        rows,
        {name: chosen_of(values, rows) for name, values in table.items()},
        [
            column._replace(texts=chosen_of(column.texts, rows), codes=column.codes[rows])
            for column in columns
        ],
        {
            cluster: {flag: _found(places[members]) for flag, members in of_cluster.items()}
            for cluster, of_cluster in examples.items()
        },
        n,
    )


def _found(places: np.ndarray) -> list[int]:
    return places[places >= 0].tolist()


def _by_importance(examples: Examples) -> list[int]:
    """Return examples in such an order that some of each kind come first in each cluster."""
    ranked: list[tuple[float, int]] = []
    for of_cluster in examples.values():
        for rows in of_cluster.values():
            ranked += [((place + 1) / len(rows), i) for place, i in enumerate(rows)]
    return [i for _, i in sorted(ranked)]


def chosen_of(values: Sequence[Any], rows: np.ndarray) -> list[Any]:
    """Return some of a list."""
    return [values[i] for i in rows.tolist()]
