"""Which images are unlike all that a model was trained on?"""

from typing import Any

import numpy as np
from sklearn.covariance import LedoitWolf
from sklearn.metrics import euclidean_distances

from skdcec._nn.batches import Batches, map_batches

__all__: list[str] = []

# Each limit is passed by half a percent of the training images.
_QUANTILE = 0.995
_MIN_IMAGES = 50
_MAX_IMAGES = 20_000

# Principal components of the layers' statistics, and what is added to their variances: small
# ones are where strangers stand out, but not reliable enough to count in full.
_N_DIRECTIONS = 400
_RIDGE = 0.03


def learn_strangers(model: Any, labels: np.ndarray, embedding: np.ndarray, images: Any) -> None:
    """Keep with the fitted clusterer what `unlikeness` compares with.

    The distance to the nearest cluster alone misses noise, patterns and diagrams, which are
    embedded amid the rest. An autoencoder cannot reproduce them, and in a contrastive encoder
    they stir the layers in ways that the embedding leaves out, as they do in the network behind
    rows of features. Too few images set no limit.

    Parameters
    ----------
    model : fitted DeepConvEmbeddingClustering or DeepEmbeddingClustering
    labels : ndarray of shape (n_samples,)
    embedding : ndarray of shape (n_samples, n_components)
        In the pretrained space.
    images : array of shape (n_samples, height, width, channels) or (n_samples, n_features)
    """
    if len(images) < _MIN_IMAGES:
        return
    clusters, members = np.unique(labels, return_inverse=True)
    means = np.stack([embedding[labels == cluster].mean(axis=0) for cluster in clusters])
    # Of one shape for all clusters, since small ones cannot tell their own.
    spread = LedoitWolf(assume_centered=True).fit(embedding - means[members])
    ridge = 1e-6 * np.trace(spread.covariance_) / len(spread.covariance_) + 1e-12
    precision = np.linalg.inv(spread.covariance_ + ridge * np.eye(len(spread.covariance_)))
    model.unlike_means_, model.unlike_whitening_ = means, np.linalg.cholesky(precision)
    some = images[:: -(-len(images) // _MAX_IMAGES)]
    if _has_statistics(model, some):
        # So many directions fit what they were found on: the limit is set on other images.
        _learn_statistics(model, some[::2])
        some = some[1::2]
    limits = np.quantile(_strangeness(model, some), _QUANTILE, axis=0)
    model.unlike_limits_ = np.maximum(limits, 1e-12)


def unlikeness(model: Any, images: Any) -> np.ndarray | None:
    """Return how far each image is from the training images; above 1 it is unlike them.

    None where `learn_strangers` set no limits.
    """
    if not hasattr(model, "unlike_limits_"):
        return None
    return (_strangeness(model, images) / model.unlike_limits_).max(axis=1)


def _strangeness(model: Any, images: Any) -> np.ndarray:
    """Return for each image the numbers that have limits.

    They are its distance to the nearest cluster, in the pretrained space and in units of the
    spread within clusters, and what shows that the encoder does not know its like.
    """
    strangeness = []
    for start in range(0, len(images), 1024):
        some = images[start : start + 1024]
        embedding = model.encoder_.transform(some)
        distances = euclidean_distances(
            embedding @ model.unlike_whitening_, model.unlike_means_ @ model.unlike_whitening_
        )
        columns = [distances.min(axis=1)]
        if hasattr(model.encoder_, "inverse_transform") and not _has_statistics(model, some):
            errors = (model.encoder_.inverse_transform(embedding) - some) ** 2
            columns.append(errors.mean(axis=(1, 2, 3)))
        if hasattr(model, "unlike_directions_"):
            rows = (_statistics(model, some) - model.unlike_center_) * model.unlike_unit_
            along = rows @ model.unlike_directions_.T
            rest = np.square(rows).sum(axis=1) - np.square(along).sum(axis=1)
            squares = np.square(along) / (model.unlike_variances_[:-1] + _RIDGE)
            columns.append(squares.sum(axis=1) + rest / (model.unlike_variances_[-1] + _RIDGE))
        strangeness.append(np.stack(columns, axis=1))
    return np.concatenate(strangeness)


def _learn_statistics(model: Any, images: Any) -> None:
    """Find the directions in which the statistics of layers vary, and how much."""
    statistics = _statistics(model, images)
    model.unlike_center_ = statistics.mean(axis=0)
    deviation = statistics.std(axis=0)
    known = deviation > 1e-6
    model.unlike_unit_ = np.where(known, 1 / np.where(known, deviation, 1), 0)
    rows = (statistics - model.unlike_center_) * model.unlike_unit_
    variances, directions = np.linalg.eigh(rows.T @ rows / len(rows))
    n_kept = min(_N_DIRECTIONS, len(rows) // 4)
    model.unlike_directions_ = np.ascontiguousarray(directions[:, -n_kept:].T)
    # The last stands for all other directions.
    model.unlike_variances_ = np.append(variances[-n_kept:], variances[:-n_kept].mean())


def _has_statistics(model: Any, images: Any) -> bool:
    return np.ndim(images) == 2 or hasattr(model.encoder_.module_, "statistics")


def _statistics(model: Any, images: Any) -> np.ndarray:
    if np.ndim(images) == 2:
        # Means of the layers of a network that has never seen these images: nothing to learn by
        # heart, as an autoencoder of a few hundred such rows does.
        return np.asarray(images)
    encoder = model.encoder_
    device = next(encoder.module_.parameters()).device
    batches = Batches(np.asarray(images), encoder.scale_, device)
    return map_batches(encoder.module_.statistics, batches).numpy()
