"""Which images show what a cluster is: its typical, borderline and odd ones."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

KINDS = ("typical", "borderline", "odd")
# So many values of a table of images and clusters are looked at in double precision at a time.
_BLOCK = 2**22
# The order of choice: each kind takes from what the kinds before it left over.
_PRECEDENCE = ("typical", "odd", "borderline")


class Membership(NamedTuple):
    """How each image belongs to its cluster.

    Parameters
    ----------
    confidence : ndarray of shape (n_samples,)
        Probability of the image's own cluster; NaN for images in none.
    second : ndarray of shape (n_samples,), dtype int64
        The most probable other cluster, -1 if there is none.
    margin : ndarray of shape (n_samples,)
        Probability of the own cluster minus that of `second`; negative where the other is the
        more probable one, NaN for images in none.
    distance : ndarray of shape (n_samples,)
        To the image's own center; of images in no cluster, to the nearest one.
    """

    confidence: np.ndarray
    second: np.ndarray
    margin: np.ndarray
    distance: np.ndarray


def membership(
    labels: np.ndarray,
    *,
    probabilities: np.ndarray | None = None,
    distances: np.ndarray | None = None,
) -> Membership:
    """Measure how each image belongs to its cluster.

    Parameters
    ----------
    labels : ndarray of shape (n_samples,), dtype int64
        Clusters from 0; negative for none.
    probabilities : ndarray of shape (n_samples, n_clusters), default=None
        Soft assignment. None: Student's t with one degree of freedom over `distances`.
    distances : ndarray of shape (n_samples, n_clusters), default=None
        Distances to the centers. None: minus the logarithm of `probabilities`, which orders the
        images in the same way.

    Returns
    -------
    membership : Membership

    Raises
    ------
    ValueError
        If both are None.
    """
    known = probabilities if distances is None else distances
    if known is None:
        raise ValueError("probabilities and distances are both None; pass one of them.")
    step = max(1, _BLOCK // known.shape[1])
    parts = []
    for start in range(0, len(labels), step):
        rows = slice(start, start + step)
        parts.append(
            _membership(
                labels[rows],
                None if probabilities is None else probabilities[rows].astype(np.float64),
                None if distances is None else distances[rows].astype(np.float64),
            )
        )
    return Membership(*map(np.concatenate, zip(*parts, strict=True)))


def _membership(
    labels: np.ndarray, probabilities: np.ndarray | None, distances: np.ndarray | None
) -> Membership:
    if probabilities is None:
        assert distances is not None
        # Through logarithms, since squares of finite distances need not be finite.
        logs = np.log(np.maximum(distances, np.finfo(np.float64).tiny))
        logs = -np.logaddexp(0, 2 * logs)
        similarity = np.exp(logs - logs.max(axis=1, keepdims=True))
        probabilities = similarity / similarity.sum(axis=1, keepdims=True)
    if distances is None:
        distances = -np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    rows, inside = np.arange(len(labels)), labels >= 0
    own = np.where(inside, labels, 0)
    confidence = np.where(inside, probabilities[rows, own], np.nan)
    others = probabilities.copy()
    others[rows[inside], labels[inside]] = -1.0
    second = others.argmax(axis=1)
    margin = confidence - others[rows, second]
    if probabilities.shape[1] == 1:
        second, margin = np.where(inside, -1, 0), confidence
    distance = np.where(inside, distances[rows, own], distances.min(axis=1))
    return Membership(confidence, second, margin, distance)


def exemplars(
    labels: np.ndarray,
    counts: Mapping[str, int],
    *,
    distance: np.ndarray,
    margin: np.ndarray | None = None,
) -> dict[Any, dict[str, np.ndarray]]:
    """Choose the images that show what each cluster is; no image is chosen twice.

    Parameters
    ----------
    labels : ndarray of shape (n_samples,)
        Cluster of each image.
    counts : mapping of str to int
        How many of each kind, at most: "typical", nearest to the center of the cluster;
        "odd", farthest from it; "borderline", with the smallest margin to another cluster. They
        are chosen in this order. So that small clusters have some of each, a kind takes at most
        half of the images left, and the last kind asked for takes all.
    distance : ndarray of shape (n_samples,)
        Of each image to the center of its cluster.
    margin : ndarray of shape (n_samples,), default=None
        As `membership` returns it; needed for borderline images. Images whose margin is NaN, as
        of those in no cluster, are not borderline.

    Returns
    -------
    chosen : dict of label to dict of kind to ndarray of int
        Row numbers: typical images from the nearest, borderline ones from the smallest margin,
        odd ones from the farthest. The kinds come in the order of `counts`, without those of
        which none are asked for.

    Raises
    ------
    ValueError
        If borderline images are asked for and `margin` is None.
    """
    wanted = [kind for kind in _PRECEDENCE if counts.get(kind, 0) > 0]
    if margin is None:
        if "borderline" in wanted:
            raise ValueError(f"margin=None, but {counts['borderline']} borderline images are due.")
        margin = np.full(len(labels), np.nan)
    keys = {"typical": distance, "odd": -distance, "borderline": margin}
    chosen: dict[Any, dict[str, np.ndarray]] = {}
    for label in np.unique(labels).tolist():
        left = np.flatnonzero(labels == label)
        found = {}
        for kind in wanted:
            key = keys[kind]
            allowed = len(left) if kind == wanted[-1] else math.ceil(len(left) / 2)
            comparable = left[~np.isnan(key[left])]
            best = np.argsort(key[comparable], kind="stable")[: min(counts[kind], allowed)]
            found[kind] = comparable[best]
            left = left[~np.isin(left, found[kind])]
        chosen[label] = {kind: found[kind] for kind in counts if kind in found}
    return chosen
