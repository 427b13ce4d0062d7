"""Which images did people move to other clusters?"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from skdcec._analysis.spaces import distances_to_means
from skdcec._files import check_source, parse_json
from skdcec.report.checks import MAX_CLUSTERS
from skdcec.report.names import names_of

FORMAT = "skdcec cluster edits"


class OtherRun(ValueError):
    """Changes were made on the page of another run."""


class Edits(NamedTuple):
    """What was changed on a page: image by image, and names of clusters."""

    moves: dict[str, tuple[int, int]]
    names: dict[int, dict[str, str]]


def read_edits(path: str | os.PathLike) -> Edits:
    """Read what the page saved of images that were moved, and clusters merged or split.

    Parameters
    ----------
    path : str or path-like
        The JSON file.

    Returns
    -------
    edits : Edits
        `moves`, by image the cluster that it was found in and the one it was moved to, and
        `names` as of :func:`read_names`.

    Raises
    ------
    ValueError
        If the file is none that the page saved, or has other values than the page writes.

    See Also
    --------
    read_names : Names alone.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from skdcec.report import read_edits
    >>> moves = '[{"file": "a.jpg", "from": 0, "to": 2}]'
    >>> text = f'{{"format": "skdcec cluster edits", "moves": {moves}}}'
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "cluster-edits.json")
    ...     _ = file.write_text(text)
    ...     read_edits(file).moves
    {'a.jpg': (0, 2)}
    """
    check_source(path, "a file of edits")
    where = os.fspath(path)
    try:
        content = parse_json(Path(path).read_bytes(), Path(path))
    except ValueError as error:
        raise ValueError(f"{where} is no file of changes that a page saved: {error}") from error
    moves = content.get("moves") if content.get("format") == FORMAT else None
    if not isinstance(moves, list) or not all(isinstance(move, dict) for move in moves):
        raise ValueError(f"{where} is no file of changes that a page saved.")
    found: dict[str, tuple[int, int]] = {}
    for move in moves:
        file = move.get("file")
        if not isinstance(file, str):
            raise ValueError(f"{where} has the file {file!r}; the name of an image is needed.")
        if file in found:
            raise ValueError(f"{where} moves {file!r} twice.")
        found[file] = _cluster(move, "from", -1, where), _cluster(move, "to", 0, where)
    return Edits(found, names_of(content.get("clusters", []), where))


def _cluster(move: Mapping[str, Any], key: str, least: int, where: str) -> int:
    value = move.get(key)
    if type(value) is not int or not least <= value < MAX_CLUSTERS:
        raise ValueError(
            f"{where} moves {move['file']!r} {key} cluster {value!r}; a whole number from {least} "
            f"to {MAX_CLUSTERS - 1} is needed."
        )
    return value


def edited_labels(labels: np.ndarray, paths: Sequence[str], edits: Edits) -> np.ndarray:
    """Return the labels that images have after they were moved.

    Parameters
    ----------
    labels : ndarray of shape (n,) of int
        As they were found.
    paths : sequence of n str
        What the images are called on the page.
    edits : Edits

    Returns
    -------
    edited : ndarray of shape (n,) of int

    Raises
    ------
    OtherRun
        If an image is not there, or is in another cluster than it was moved from or to: the edits
        were made on another page.
    """
    places = {path: i for i, path in enumerate(paths)}
    edited = labels.copy()
    for file, (source, target) in edits.moves.items():
        i = places.get(file)
        if i is None or labels[i] not in (source, target):
            known = "no such image is here" if i is None else f"it is in {labels[i]}"
            raise OtherRun(
                f"The changes move {file!r} from cluster {source}, but {known}: they were made on "
                "the page of another run."
            )
        edited[i] = target
    return edited


@np.errstate(under="ignore")
def edited_clusters(
    labels: np.ndarray, paths: Sequence[str], embedding: np.ndarray, edits: Edits
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, probabilities and distances after images were moved.

    The model knows nothing of what was moved, so they come from the means of the clusters in the
    embedding, and their common variance.

    Parameters
    ----------
    labels, paths, edits
        As of :func:`edited_labels`.
    embedding : ndarray of shape (n, n_components)

    Returns
    -------
    labels : ndarray of shape (n,)
    probabilities, distances : ndarray of shape (n, n_clusters)
    """
    labels = edited_labels(labels, paths, edits)
    distances = distances_to_means(embedding, labels)
    # Of clusters without members, which are far from all.
    empty = np.isinf(distances)
    distances[empty] = distances[~empty].max()
    squares = distances**2
    variance = squares[np.arange(len(labels)), labels].mean() / embedding.shape[1]
    logs = np.where(empty, -np.inf, -squares / (2 * variance or 1.0))
    likely = np.exp(logs - logs.max(axis=1, keepdims=True))
    return labels, likely / likely.sum(axis=1, keepdims=True), distances
