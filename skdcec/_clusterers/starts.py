"""Which clusters does an embedding show? Those that training starts from, or ends with."""

from typing import Any, NamedTuple

import numpy as np
from sklearn import config_context
from sklearn.base import clone
from sklearn.cluster import KMeans

from skdcec._clusterers.graph import N_JUDGES, cuts, neighbors_of, rearranged
from skdcec._clusterers.mixtures import fit_readout, mixture_labels
from skdcec._sklearn_compat import check_array, unwarned
from skdcec.metrics import modularity

# So many points show the clusters of any number.
_MAX_SHOWN = 10_000


class Start(NamedTuple):
    """Where joint training begins.

    Attributes
    ----------
    centers : ndarray of shape (n_clusters, n_components), dtype float32
    labels : ndarray of shape (n_samples,), dtype int64, or None
        Clusters that the targets are warmed up with; None where they are the points nearest to
        each center anyway.
    """

    centers: np.ndarray
    labels: np.ndarray | None


def find_start(
    embedding: np.ndarray, n_clusters: int, *, init: Any, n_init: int, seed: int
) -> Start:
    """Return the centers and labels that joint training starts from.

    Parameters
    ----------
    embedding : ndarray of shape (n_samples, n_components), dtype float32
        Of length 1 where the metric is the cosine.
    n_clusters : int
    init : {"auto", "gaussian-mixture", "k-means"}, array or clusterer
        Arrays are centers, or labels.
    n_init : int
        Starts of which the best is kept; not used for an array or a clusterer.
    seed : int

    Raises
    ------
    ValueError
        If given centers have another shape, or given labels, or those that a clusterer finds,
        are of another number of clusters.
    """
    if isinstance(init, str) or hasattr(init, "fit_predict"):
        labels = find_labels(embedding, n_clusters, init=init, n_init=n_init, seed=seed)
    elif np.ndim(init) == 1:
        labels = _given_labels(init, len(embedding), n_clusters)
    else:
        return Start(_given_centers(init, (n_clusters, embedding.shape[1])), None)
    kinds = np.unique(labels[labels >= 0])
    if len(kinds) != n_clusters and not isinstance(init, str):
        raise ValueError(
            f"init={init!r} found {len(kinds)} clusters instead of n_clusters={n_clusters}."
        )
    # Means taken here, in one order: k-means adds up in the order its threads finish.
    means = [embedding[labels == kind].mean(axis=0, dtype=np.float64) for kind in kinds]
    # Fewer distinct points than clusters leave centers without members; they repeat.
    means += [means[0]] * (n_clusters - len(means))
    centers = np.asarray(means, dtype=np.float32)
    # The clusters of k-means are the points nearest to each center.
    if isinstance(init, str) and init == "k-means":
        return Start(centers, None)
    return Start(centers, np.where(labels < 0, -1, np.searchsorted(kinds, labels)))


def check_init(init: Any, n_samples: int, n_clusters: int) -> None:
    """Raise for centers or labels that cannot be those of these samples, before any training.

    Parameters
    ----------
    init : {"auto", "gaussian-mixture", "k-means"}, array or clusterer
    n_samples : int
    n_clusters : int

    Raises
    ------
    ValueError
        If so. How many components centers have is known when the encoder is fitted.
    """
    if isinstance(init, str) or hasattr(init, "fit_predict"):
        return
    if np.ndim(init) == 1:
        _given_labels(init, n_samples, n_clusters)
        return
    centers = check_array(init, dtype=np.float32, input_name="init")
    if len(centers) != n_clusters:
        raise ValueError(
            f"init has shape {centers.shape}, so {len(centers)} centers, and "
            f"n_clusters={n_clusters}: set n_clusters to {len(centers)}, or give as many centers."
        )


def _given_labels(init: Any, n_samples: int, n_clusters: int) -> np.ndarray:
    labels = np.asarray(init)
    if labels.dtype.kind not in "iu":
        raise ValueError(
            f"init has one axis and values such as {labels[:1].tolist()}; labels are whole "
            "numbers, negative where a row has none, and centers have two axes."
        )
    if len(labels) != n_samples:
        raise ValueError(
            f"init has {len(labels)} labels, but X has {n_samples} rows: give one for each, "
            "negative where none is known."
        )
    n_given = len(np.unique(labels[labels >= 0]))
    if n_given != n_clusters:
        raise ValueError(
            f"init labels {n_given} clusters; n_clusters={n_clusters}: set n_clusters to "
            f"{n_given}, or label as many."
        )
    return labels.astype(np.int64)


def _given_centers(init: Any, shape: tuple[int, int]) -> np.ndarray:
    centers = check_array(init, dtype=np.float32, input_name="init", copy=True)
    if centers.shape != shape:
        raise ValueError(
            f"init has shape {centers.shape}; (n_clusters, n_components) is {shape}, where "
            "n_components is the encoder's: give centers of its embedding."
        )
    return centers


def find_labels(
    embedding: np.ndarray, n_clusters: int, *, init: Any, n_init: int, seed: int
) -> np.ndarray:
    """Return the cluster of each point, negative where a clusterer leaves one without.

    Parameters
    ----------
    embedding : ndarray of shape (n_samples, n_components)
    n_clusters : int
    init : {"auto", "gaussian-mixture", "k-means"} or clusterer
    n_init : int
    seed : int

    Returns
    -------
    ndarray of shape (n_samples,), dtype int64
    """
    if n_clusters == 1:
        return np.zeros(len(embedding), dtype=np.int64)
    # A mixture refuses its k-means start under array API dispatch; these are NumPy arrays.
    with config_context(array_api_dispatch=False):
        if not isinstance(init, str):
            whole = embedding.astype(np.float64)
            return _with_params(init, n_clusters, seed).fit_predict(whole)
        # Clusters without members are told once, after the training.
        with unwarned():
            if init == "k-means":
                return k_means_labels(embedding.astype(np.float64), n_clusters, n_init, seed)
            rows = _shown(len(embedding), seed)
            points = embedding[rows].astype(np.float64)
            labels = _best_labels(points, n_clusters, init, n_init, seed)
            if len(rows) == len(embedding):
                return labels
            return fit_readout(points, labels, n_clusters, seed).predict(embedding)


def _shown(n_samples: int, seed: int) -> np.ndarray:
    """Return the rows that are looked at: all, or as many as show the clusters."""
    rows = np.arange(n_samples)
    if n_samples <= _MAX_SHOWN:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, _MAX_SHOWN, replace=False))


def clarity(embedding: np.ndarray, labels: np.ndarray) -> float:
    """Return how clearly an embedding shows clusters: their modularity in its own graph.

    Parameters
    ----------
    embedding : ndarray of shape (n_samples, n_components)
    labels : ndarray of shape (n_samples,)

    Returns
    -------
    float
        Of a part of the points where there are many.
    """
    if len(embedding) < 2:
        return 0.0
    rows = _shown(len(embedding), 0)
    return modularity(labels[rows], neighbors_of(embedding[rows])[:, :N_JUDGES])


def _best_labels(
    points: np.ndarray, n_clusters: int, init: str, n_init: int, seed: int
) -> np.ndarray:
    """Return the labels of greatest modularity, rearranged, which raises it further.

    They are of mixtures and, for "auto", of k-means and cut graphs. Labels that merge two
    groups have to split a third one, and such a split cuts many edges of the graph of nearest
    neighbours. Likelihood does not see that: it may even be greater.
    """
    if len(np.unique(points, axis=0)) <= n_clusters:
        return k_means_labels(points, n_clusters, n_init, seed)
    neighbors = neighbors_of(points)
    found = mixture_labels(points, n_clusters, n_init, seed)
    if init == "auto":
        found.append(k_means_labels(points, n_clusters, n_init, seed))
        found += cuts(neighbors, n_clusters, seed)
    full = [labels for labels in found if len(np.unique(labels)) == n_clusters]
    if not full:
        # There are fewer groups than clusters, so that the mixtures let clusters go.
        return k_means_labels(points, n_clusters, n_init, seed)
    judges = neighbors[:, :N_JUDGES]
    best = max(full, key=lambda labels: modularity(labels, judges))
    return rearranged(points, best, neighbors, seed)


def _with_params(init: Any, n_clusters: int, seed: int) -> Any:
    """Return a clone of the user's clusterer for this number of clusters and seed."""
    model = clone(init)
    params = model.get_params(deep=False)
    given = {"n_clusters": n_clusters, "n_components": n_clusters}
    if params.get("random_state", 0) is None:
        given["random_state"] = seed
    return model.set_params(**{k: v for k, v in given.items() if k in params})


def k_means_labels(embedding: np.ndarray, n_clusters: int, n_init: int, seed: int) -> np.ndarray:
    """Return the labels of the k-means of least inertia, of `n_init` starts."""
    labels: np.ndarray = KMeans(n_clusters, n_init=n_init, random_state=seed).fit_predict(embedding)
    return labels
