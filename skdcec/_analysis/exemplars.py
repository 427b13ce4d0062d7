"""Which images show what a cluster is: its typical, its borderline and its odd ones."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

KINDS = ("typical", "borderline", "odd")
# In this order they are chosen, each from what the ones before left over.
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
        Difference between the two probabilities.
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
    """Say how each image belongs to its cluster.

    Parameters
    ----------
    labels : ndarray of shape (n_samples,), dtype int64
        Clusters from 0; -1 for none.
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
    if probabilities is None:
        if distances is None:
            raise ValueError(
                "probabilities and distances are both None; pass at least one of them."
            )
        similarity = 1 / (1 + np.square(distances))
        probabilities = similarity / similarity.sum(axis=1, keepdims=True)
    if distances is None:
        distances = -np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    rows, inside = np.arange(len(labels)), labels >= 0
    confidence = np.where(inside, probabilities[rows, labels], np.nan)
    others = probabilities.astype(np.float64)
    others[rows[inside], labels[inside]] = -1.0
    second = others.argmax(axis=1)
    margin = confidence - others[rows, second]
    if probabilities.shape[1] == 1:
        second, margin = np.where(inside, -1, 0), confidence
    distance = np.where(inside, distances[rows, labels], distances.min(axis=1))
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
        "borderline", with the smallest margin to another cluster; "odd", farthest from the
        center. In a small cluster each kind takes at most half of what is left, the last one
        asked for all of it.
    distance : ndarray of shape (n_samples,)
        Of each image to the center of its cluster.
    margin : ndarray of shape (n_samples,), default=None
        As of `membership`; needed for borderline images.

    Returns
    -------
    chosen : dict of label to dict of kind to ndarray of int
        Row numbers: typical images from the nearest, borderline ones from the smallest margin,
        odd ones from the farthest.
    """
    keys = {"typical": distance, "odd": -distance, "borderline": margin}
    wanted = [kind for kind in _PRECEDENCE if counts.get(kind, 0) > 0]
    chosen: dict[Any, dict[str, np.ndarray]] = {}
    for label in np.unique(labels).tolist():
        left = np.flatnonzero(labels == label)
        found = {}
        for kind in wanted:
            key = keys[kind]
            assert key is not None
            allowed = len(left) if kind == wanted[-1] else math.ceil(len(left) / 2)
            best = np.argsort(key[left], kind="stable")[: min(counts[kind], allowed)]
            found[kind] = left[best]
            left = np.delete(left, best)
        chosen[label] = {kind: found[kind] for kind in counts if kind in found}
    return chosen
