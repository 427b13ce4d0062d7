"""In which space are clusters judged, and how far are images from their centers there?

Estimators are read through their public attributes alone: ``encoder_``, ``transform``,
``cluster_centers_``, ``metric_``, ``data_format``, ``best_estimator_``, ``steps``.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.pipeline import Pipeline

from skdcec._encoders.remembered import embedded_once

SPACES = ("auto", "pretrained", "input", "embedding")
# How many values of points are compared with a mean at a time.
_BLOCK = 2**22
_NAMES = {"pretrained": "pretrained embedding", "input": "input", "embedding": "embedding"}


class Space(NamedTuple):
    """Where distances between images are taken.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_components)
    metric : {"euclidean", "cosine"}
        The distance that the points are made for.
    name : str
        In words, for texts such as the label of an axis.
    """

    points: np.ndarray
    metric: str
    name: str = "embedding"


def check_space(space: str) -> None:
    """Raise a ValueError that says which names of spaces there are."""
    if space not in SPACES:
        raise ValueError(f"space={space!r} must be one of {', '.join(map(repr, SPACES))}.")


def space_of(estimator: Any, X: Any, space: str = "auto") -> Space:
    """Return `X` in one of the spaces that a fitted estimator knows.

    Parameters
    ----------
    estimator : fitted clusterer or encoder, Pipeline that ends in one, or search
    X : array-like
        What the estimator takes.
    space : {"auto", "pretrained", "input", "embedding"}
        The embedding of the clusterer's pretrained encoder, which is the same for every number
        of clusters; the input of the (last) estimator; or its own ``transform``, in which
        training has made the clusters compact. "auto" is "pretrained" where there is such an
        encoder, else "input" for what predicts clusters and "embedding" for what does not.

    Returns
    -------
    space : Space

    Raises
    ------
    ValueError
        If there is no such space, or the name is unknown.
    """
    check_space(space)
    last, reached = last_step(best_of(estimator), X)
    encoder = getattr(last, "encoder_", None)
    if space == "auto":
        alone = "input" if hasattr(last, "predict") else "embedding"
        space = alone if encoder is None else "pretrained"
    if space == "input":
        return Space(as_rows(reached), "euclidean", _NAMES[space])
    if space == "embedding":
        return Space(
            as_rows(last.transform(reached)),
            metric_of(last if encoder is None else encoder),
            _NAMES[space],
        )
    if encoder is None:
        raise ValueError(
            f"space='pretrained' needs an estimator with an encoder_; {type(last).__name__} "
            "has none: use space='input', or 'embedding' if it has transform."
        )
    return Space(pretrained_embedding(last, reached), metric_of(encoder), _NAMES[space])


def best_of(estimator: Any) -> Any:
    """Return what a search found best; any other estimator as it is."""
    return getattr(estimator, "best_estimator_", estimator)


def data_for(estimator: Any, X: Any) -> Any:
    """Return what an estimator takes of what `load_images` returns; anything else as it is."""
    if not _is_bunch(X):
        return X
    first = estimator[0] if isinstance(estimator, Pipeline) else estimator
    return X.get("images" if hasattr(first, "image_shape_") else "filenames", X)


def images_in(X: Any) -> Any:
    """Return the images of what `load_images` returns; anything else as it is."""
    return X.get("images", X) if _is_bunch(X) else X


def _is_bunch(X: Any) -> bool:
    # One kind of sparse matrix is a dict.
    return isinstance(X, Mapping) and not issparse(X)


def last_step(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Return the last step of a pipeline, and `X` as the steps before it transform it.

    Any other estimator, and `X`, are returned as they are.
    """
    if not isinstance(estimator, Pipeline):
        return estimator, X
    return estimator[-1], estimator[:-1].transform(X) if len(estimator) > 1 else X


def pretrained_embedding(model: Any, X: Any) -> np.ndarray:
    """Embed `X` by the pretrained encoder of a fitted clusterer.

    Parameters
    ----------
    model : fitted clusterer with an ``encoder_``
    X : array-like
        What the model takes.

    Returns
    -------
    embedding : ndarray of shape (n_samples, n_components)
    """
    return embed(model.encoder_, X, getattr(model, "data_format", "channels_last"))


def embed(encoder: Any, X: Any, data_format: str = "channels_last") -> np.ndarray:
    """Embed images by a fitted encoder, whatever order of axes it expects itself.

    Parameters
    ----------
    encoder : fitted encoder
        Of images or of vectors; images are flattened for the latter.
    X : array-like
        What the clusterer around the encoder takes.
    data_format : {"channels_last", "channels_first"}, default="channels_last"
        Order of the axes of `X`, if it is 4-D.

    Returns
    -------
    embedding : ndarray of shape (n_samples, n_components)
    """
    X = np.asarray(X)
    if X.ndim == 4 and data_format == "channels_first":
        X = X.transpose(0, 2, 3, 1)
    # Rows are (H, W, C) for every encoder, whatever order it expects of 4-D arrays.
    takes_images = hasattr(encoder, "image_shape_")
    if not takes_images or getattr(encoder, "data_format", "channels_last") != "channels_last":
        X = as_rows(X)
    return np.asarray(embedded_once(encoder, X, lambda: encoder.transform(X)))


def metric_of(encoder: Any) -> str:
    """Return the distance that an embedding is made for."""
    return getattr(encoder, "metric_", "euclidean")


def as_rows(X: Any) -> np.ndarray:
    """Return one row of values per sample, uncopied."""
    X = np.asarray(X)
    return X.reshape(len(X), -1)


def center_distances(estimator: Any, X: Any) -> np.ndarray:
    """Return the distance of each sample to each center, in the space of ``transform``.

    Parameters
    ----------
    estimator : fitted clusterer with ``cluster_centers_`` and ``transform``
    X : array-like
        What the estimator takes.

    Returns
    -------
    distances : ndarray of shape (n_samples, n_clusters)
        Euclidean. Where the metric is the cosine, embeddings and centers have length 1, so that
        both give the same order.

    Raises
    ------
    TypeError
        If the estimator does not say where its centers are.
    """
    if hasattr(estimator, "cluster_centers_") and hasattr(estimator, "transform"):
        embedded = np.asarray(estimator.transform(X))
        if hasattr(estimator, "encoder_"):
            return euclidean_distances(embedded, estimator.cluster_centers_)
        # The transform of scikit-learn's relatives of k-means is the distances.
        if embedded.shape[1] == len(estimator.cluster_centers_):
            return embedded
    raise TypeError(
        f"{type(estimator).__name__} does not say how far images are from the centers of the "
        "clusters: it has no cluster_centers_ in the space of its transform."
    )


def within_range(points: Any, dtype: Any = None) -> np.ndarray:
    """Return points whose squares neither overflow nor vanish: usually as they are.

    Others are divided by a power of two, which changes neither the order of distances nor any
    ratio of them.

    Parameters
    ----------
    points : array-like of numbers
    dtype : dtype, default=None
        What they will be squared in; None is their own.

    Returns
    -------
    points : ndarray
    """
    points = np.asarray(points)
    exponent = _excess(points, dtype or points.dtype)
    return np.ldexp(points, -exponent) if exponent else points


def _excess(points: np.ndarray, dtype: Any) -> int:
    """Return the power of two that points have to be divided by before they are squared."""
    if points.dtype.kind != "f":
        return 0
    # 0 of what is not finite, which is for others to refuse.
    _, exponent = math.frexp(max(float(points.max()), -float(points.min())))
    # Squares are added up.
    limit = 300 if np.dtype(dtype) == np.float64 else 30
    return 0 if abs(exponent) <= limit else exponent


def distances_to_means(points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the distance of each point to the mean of each cluster.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_components)
    labels : ndarray of shape (n_samples,)
        Clusters from 0; -1 for none.

    Returns
    -------
    distances : ndarray of shape (n_samples, max(labels) + 1)
        Infinite for clusters without members; 0 throughout where there are no clusters.
    """
    if labels.max() < 0:
        return np.zeros((len(labels), 1))
    exponent = _excess(points, np.float64)
    points = np.ldexp(points, -exponent) if exponent else points
    distances = np.full((len(labels), labels.max() + 1), np.inf)
    # Points may be images: differences of all at once would need several times their memory.
    n_blocks = math.ceil(points.size / _BLOCK)
    blocks = np.array_split(np.arange(len(points)), min(len(points), n_blocks))
    for cluster in np.unique(labels[labels >= 0]):
        mean = points[labels == cluster].mean(axis=0, dtype=np.float64)
        for rows in blocks:
            distances[rows, cluster] = np.linalg.norm(points[rows] - mean, axis=1)
    if exponent:
        # Those between the largest numbers there are need not be numbers.
        with np.errstate(over="ignore"):
            found = np.minimum(np.ldexp(distances, exponent), np.finfo(np.float64).max)
        distances = np.where(np.isfinite(distances), found, np.inf)
    return distances
