"""Which images are unlike all that a model was fitted on?"""

import math
import warnings
from collections.abc import Iterator
from numbers import Real
from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin, _fit_context
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import check_is_fitted

from skdcec import _persistence
from skdcec._analysis.images import as_images
from skdcec._analysis.spaces import as_rows, embed
from skdcec._nn.batches import Batches, map_batches

__all__ = ["NoveltyDetector"]

# Fewer images say too little about what is usual to set a limit.
_MIN_IMAGES = 50
# More say no more about it.
_MAX_IMAGES = 5_000
_N_FOLDS = 5

# A view counts by how far an image is beyond the middle one, in units of how far one in a hundred
# is. Nearer to the middle, views with long tails would count for more than others.
_REACH = 0.99

# What is added to the variance along each direction, in units of the mean variance of a number:
# directions of small variance are where novel images stand out, but the least reliable.
_RIDGE = 0.03
_N_DIRECTIONS = 400

# Larger images are reduced by a whole factor before their pixels are counted.
_MAX_SIDE = 128
_CHUNK = 256


@_persistence.register
class NoveltyDetector(OutlierMixin, BaseEstimator):
    """Tell images unlike all that a model was fitted on.

    Whether an image is novel shows in several views of it:

    - "clusters": how far its embedding is from the nearest cluster, or from the mean where the
      estimator is an encoder;
    - "pixels": how unusual its colours, edges, orientations, textures and empty areas are, most
      of which no embedding keeps;
    - "reconstruction": the error with which an autoencoder reproduces it;
    - "layers": how unusual the mean, deviation and correlation of the layers of a contrastive
      encoder are;
    - "features": how unusual a row is, where the estimator takes rows of features.

    A view counts by how far it is beyond its usual values, in units of how far these reach, and
    the view in which an image is most unusual decides. The limit is set on images that took no
    part in finding out what is usual (cross-fitting).

    Parameters
    ----------
    estimator : fitted clusterer or encoder
        It is never changed.
    contamination : float, default=0.005
        Share of images like those seen in `fit` that are flagged all the same.

    Attributes
    ----------
    offset_ : float
        Scores below are novel. Minus infinity, and nothing is flagged, if there were fewer than
        50 images.
    views_ : tuple of str
        The views that the estimator allows.
    n_features_in_ : int
        Values per image or row.

    See Also
    --------
    DeepConvEmbeddingClustering : Clusters images.
    DeepEmbeddingClustering : Clusters rows of features.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from skdcec import ConvAutoencoder
    >>> from skdcec.novelty import NoveltyDetector
    >>> images = load_digits().images
    >>> encoder = ConvAutoencoder(5, max_epochs=2, random_state=0).fit(images[:500])
    >>> detector = NoveltyDetector(encoder).fit(images[:500])
    >>> noise = np.random.default_rng(0).integers(17, size=(3, 8, 8))
    >>> detector.predict(noise)
    array([-1, -1, -1])
    """

    _fitted_attributes = ("offset_", "views_", "_normals", "_usual", "_reach")
    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "transform"])],
        "contamination": [Interval(Real, 0, 0.5, closed="neither")],
    }

    def __init__(self, estimator: Any, *, contamination: float = 0.005):
        self.estimator = estimator
        self.contamination = contamination

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: None = None) -> Self:
        """Learn what is usual, and set the limit.

        Parameters
        ----------
        X : array-like
            The images or rows that `estimator` was fitted on.
        y : None
            Ignored.

        Returns
        -------
        self : object

        Warns
        -----
        UserWarning
            If there are too few images to set a limit, or to set it at `contamination`.
        """
        check_is_fitted(self.estimator)
        X = np.asarray(X)
        self.n_features_in_ = int(np.prod(X.shape[1:]))
        labels = self._labels(X)
        every = slice(None, None, -(-len(X) // _MAX_IMAGES))
        labels = labels[every]
        views = self._views(X[every])
        self.views_ = tuple(views)
        self._normals = {name: _fit_view(name, rows, labels) for name, rows in views.items()}
        enough = len(labels) >= _MIN_IMAGES
        unusual = _cross_fitted(views, labels) if enough else _unusual(self._normals, views)
        self._usual = np.median(unusual, axis=0)
        self._reach = np.maximum(np.quantile(unusual, _REACH, axis=0) - self._usual, 1e-3)
        self.offset_ = _limit(-self._in_reaches(unusual).max(axis=1), float(self.contamination))
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Return how usual each image is; the lower, the more novel.

        Parameters
        ----------
        X : array-like
            Images or rows of the shape seen in `fit`.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            -1 where one in a hundred images seen in `fit` is as unusual in that view in which
            the image is most unusual, 0 where half of them are.
        """
        return -self.view_scores(X).max(axis=1)

    def view_scores(self, X: Any) -> np.ndarray:
        """Return how unusual each image is in each of ``views_``; greater is more novel.

        Parameters
        ----------
        X : array-like
            Images or rows of the shape seen in `fit`.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_views)
            The view with the greatest says why an image is flagged.
        """
        check_is_fitted(self)
        X = np.asarray(X)
        unusual = [
            _unusual(self._normals, self._views(X[start : start + _CHUNK]))
            for start in range(0, len(X), _CHUNK)
        ]
        return self._in_reaches(np.concatenate(unusual))

    def decision_function(self, X: Any) -> np.ndarray:
        """Return ``score_samples`` minus ``offset_``: negative for what is novel.

        Parameters
        ----------
        X : array-like
            Images or rows of the shape seen in `fit`.

        Returns
        -------
        decision : ndarray of shape (n_samples,)
            Infinite where no limit was set.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """Return 1 for images like those seen in `fit`, and -1 for novel ones.

        Parameters
        ----------
        X : array-like
            Images or rows of the shape seen in `fit`.

        Returns
        -------
        known : ndarray of shape (n_samples,), dtype int64
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def save(self, path: Any) -> None:
        """Write the detector and its estimator to a file that holds no code.

        Parameters
        ----------
        path : str or path-like
            The file, in safetensors format. Replaced as a whole, or not at all.
        """
        check_is_fitted(self)
        _persistence.save(self, path)

    @classmethod
    def load(cls, path: Any) -> Self:
        """Read a detector written by `save`. Executes nothing from the file.

        Parameters
        ----------
        path : str or path-like
            The file.

        Returns
        -------
        detector : NoveltyDetector
            Fitted, on the CPU.

        Raises
        ------
        ValueError
            If the file is damaged, of another kind, or from a newer version.
        """
        return _persistence.load(cls, path)

    def _labels(self, X: np.ndarray) -> np.ndarray:
        labels = getattr(self.estimator, "labels_", None)
        if labels is not None and len(labels) == len(X):
            return labels
        if hasattr(self.estimator, "predict"):
            return self.estimator.predict(X)
        return np.zeros(len(X), dtype=int)

    def _views(self, X: np.ndarray) -> dict[str, np.ndarray]:
        """Return the numbers that each view consists of, one row per image."""
        model = self.estimator
        encoder = getattr(model, "encoder_", model)
        shape = getattr(model, "image_shape_", None)
        if shape is None:
            return {"clusters": embed(encoder, X), "features": as_rows(X)}
        images = as_images(X, shape, getattr(model, "data_format", "channels_last"))
        embedding = embed(encoder, images)
        views = {"clusters": embedding, "pixels": pixel_statistics(images, model.scale_)}
        if hasattr(encoder, "inverse_transform"):
            decoded = encoder.inverse_transform(embedding)
            if getattr(encoder, "data_format", "channels_last") == "channels_first":
                decoded = as_images(decoded, shape, "channels_first")
            errors = (decoded.reshape(images.shape) - images) / model.scale_
            views["reconstruction"] = np.square(errors).mean(axis=(1, 2, 3))[:, None]
        if hasattr(encoder.module_, "statistics"):
            device = next(encoder.module_.parameters()).device
            batches = Batches(images, model.scale_, device)
            views["layers"] = map_batches(encoder.module_.statistics, batches).numpy()
        return views

    def _in_reaches(self, unusual: np.ndarray) -> np.ndarray:
        return (unusual - self._usual) / self._reach

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "offset_")


class _Normal(NamedTuple):
    """What is usual of some numbers: normal distributions around centers, of one covariance."""

    centers: np.ndarray  # (n_centers, n_numbers), in units of `unit`
    unit: np.ndarray  # (n_numbers,)
    directions: np.ndarray  # (n_directions, n_numbers)
    precisions: np.ndarray  # (n_directions + 1,), the last in all other directions


def _fit_view(name: str, rows: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return what is usual of one view; nothing for what says by itself how unusual it is."""
    if name == "reconstruction":
        return ()
    return _fit_normal(rows, labels if name == "clusters" else np.zeros(len(rows), dtype=int))


def _fit_normal(rows: np.ndarray, labels: np.ndarray) -> _Normal:
    """Find the means, and the directions in which rows vary around them, and how much."""
    rows = rows.astype(np.float64)
    found, members = np.unique(labels, return_inverse=True)
    means = np.stack([rows[members == i].mean(axis=0) for i in range(len(found))])
    rest = rows - means[members]
    deviation = rest.std(axis=0)
    # What hardly varied may vary a little: a hundredth of what the others do.
    unit = np.maximum(deviation, 0.01 * math.sqrt(np.square(deviation).mean()) + 1e-9)
    rest /= unit
    n_rows, n_numbers = rest.shape
    if n_rows < n_numbers:
        values, directions = np.linalg.svd(rest, full_matrices=False)[1:]
        variances = np.square(values) / n_rows
    else:
        variances, directions = np.linalg.eigh(rest.T @ rest / n_rows)
        variances, directions = variances[::-1], directions.T[::-1]
    n_kept = min(_N_DIRECTIONS, n_numbers, max(1, n_rows // 4))
    known, total = variances[:n_kept].clip(0), np.square(rest).sum() / n_rows
    left = max(0.0, total - known.sum()) / max(1, n_numbers - n_kept)
    precisions = 1 / (np.append(known, left) + _RIDGE)
    return _Normal(means / unit, unit, np.ascontiguousarray(directions[:n_kept]), precisions)


def _distances(normal: _Normal, rows: np.ndarray) -> np.ndarray:
    """Return the squared Mahalanobis distance of each row to the nearest center."""
    rows = rows.astype(np.float64) / normal.unit
    nearest = np.full(len(rows), np.inf)
    for center in normal.centers:
        rest = rows - center
        along = np.square(rest @ normal.directions.T)
        left = (np.square(rest).sum(axis=1) - along.sum(axis=1)).clip(0)
        distances = along @ normal.precisions[:-1] + left * normal.precisions[-1]
        nearest = np.minimum(nearest, distances)
    return nearest


def _unusual(normals: dict[str, Any], views: dict[str, np.ndarray]) -> np.ndarray:
    """Return how unusual each image is in each view, on a scale without an end on either side."""
    columns = [
        _distances(_Normal(*normals[name]), rows) if normals[name] else rows[:, 0]
        for name, rows in views.items()
    ]
    return np.log(np.stack(columns, axis=1) + 1e-12)


def _cross_fitted(views: dict[str, np.ndarray], labels: np.ndarray) -> np.ndarray:
    """Return how unusual each image is by what is usual of the others."""
    fold = np.arange(len(labels)) % _N_FOLDS
    unusual = np.empty((len(labels), len(views)))
    for held_out in (fold == i for i in range(_N_FOLDS)):
        normals = {
            name: _fit_view(name, rows[~held_out], labels[~held_out])
            for name, rows in views.items()
        }
        held = {name: rows[held_out] for name, rows in views.items()}
        unusual[held_out] = _unusual(normals, held)
    return unusual


def _limit(scores: np.ndarray, contamination: float) -> float:
    """Return the score that a share of images is below, and say so where that cannot be."""
    n = len(scores)
    if n < _MIN_IMAGES:
        warnings.warn(
            f"{n} images are too few to tell what is unlike them, so none will be flagged: "
            f"{_MIN_IMAGES} are needed.",
            UserWarning,
            stacklevel=4,
        )
        return -math.inf
    # That a further image of the same kind is below it has just this probability.
    rank = math.floor(contamination * (n + 1))
    if rank == 0:
        return float(scores.min())
    return float(np.sort(scores)[rank - 1])


# What pixels show. All functions take units: values in [0, 1], or gray in [0, 1].

_STEP = 1 / 255


def pixel_statistics(images: np.ndarray, scale: float) -> np.ndarray:
    """Return what can be counted in an image without any network.

    Parameters
    ----------
    images : ndarray of shape (n_samples, height, width, channels)
    scale : float
        What values are divided by, to be at most 1.

    Returns
    -------
    statistics : ndarray of shape (n_samples, n_statistics)
        Logarithms of what is a share or a size. Their number depends on the shape of the images.
    """
    height, width = images.shape[1:3]
    factor = -(-max(height, width) // _MAX_SIDE)
    # Patterns of two by two pixels are looked for, at two sizes at least.
    pad = [(0, 0), (0, max(0, 4 - height)), (0, max(0, 4 - width)), (0, 0)]
    parts = []
    for start in range(0, len(images), _CHUNK):
        units = images[start : start + _CHUNK].astype(np.float32) / np.float32(scale)
        if factor > 1 and min(height, width) >= factor:
            units = _reduced(units, factor)
        units = np.pad(units, pad, mode="edge")
        gray = units.mean(axis=3)
        columns = [*_tones(gray), *_colors(units), *_edges(gray), *_octaves(gray), *_layout(gray)]
        parts.append(np.stack(columns, axis=1))
    return np.concatenate(parts)


def _reduced(units: np.ndarray, factor: int) -> np.ndarray:
    n, height, width, channels = units.shape
    height, width = height // factor, width // factor
    units = units[:, : height * factor, : width * factor]
    return units.reshape(n, height, factor, width, factor, channels).mean(axis=(2, 4))


def _log(values: np.ndarray, least: float) -> np.ndarray:
    return np.log(values + np.float32(least))


def _tones(gray: np.ndarray) -> Iterator[np.ndarray]:
    """Yield how light and how dark an image is, and whether few tones fill much of it."""
    n, n_pixels = len(gray), gray[0].size
    levels = (gray * 255).clip(0, 255).astype(np.int64).reshape(n, -1)
    counts = np.bincount((levels + 256 * np.arange(n)[:, None]).ravel(), minlength=256 * n)
    shares = counts.reshape(n, 256) / n_pixels
    below = shares.cumsum(axis=1)
    for share in (0.02, 0.5, 0.98):
        yield (below < share).sum(axis=1) / 255
    yield _log(gray.std(axis=(1, 2)), _STEP)
    yield _log(shares[:, :5].sum(axis=1), 0.01)
    yield _log(shares[:, 251:].sum(axis=1), 0.01)
    coarse = shares.reshape(n, 32, 8).sum(axis=2)
    yield _log(coarse.max(axis=1), 0)
    yield -(coarse * np.log(coarse + 1e-9)).sum(axis=1)


def _colors(units: np.ndarray) -> Iterator[np.ndarray]:
    """Yield how many colours there are, which, and whether channels change together."""
    n, channels = len(units), units.shape[3]
    levels = (units * 31.99).clip(0, 31).astype(np.int32)
    codes = levels @ (32 ** np.arange(min(channels, 4), dtype=np.int32)).repeat(
        [1] * (min(channels, 4) - 1) + [max(1, channels - 3)]
    )
    codes = np.sort(codes.reshape(n, -1), axis=1)
    yield np.log(1.0 + (np.diff(codes, axis=1) > 0).sum(axis=1))
    if channels != 3:
        return
    red, green, blue = np.moveaxis(units, 3, 0)
    chroma = units.max(axis=3) - units.min(axis=3)
    yield _log(chroma.mean(axis=(1, 2)), _STEP)
    yield _log(chroma.std(axis=(1, 2)), _STEP)
    for opponents in (red - green, (red + green) / 2 - blue):
        yield opponents.mean(axis=(1, 2))
        yield _log(opponents.std(axis=(1, 2)), _STEP)
    slopes = units[:, :, 1:] - units[:, :, :-1]
    together = np.square(slopes.mean(axis=3)).mean(axis=(1, 2))
    yield together / (np.square(slopes).mean(axis=(1, 2, 3)) + _STEP**2)


def _edges(gray: np.ndarray) -> Iterator[np.ndarray]:
    """Yield how many neighbours are equal, how steep edges are, and whether along the axes."""
    slopes_x, slopes_y = gray[:, :, 1:] - gray[:, :, :-1], gray[:, 1:] - gray[:, :-1]
    for slopes in (slopes_x, slopes_y):
        steepness = np.abs(slopes).reshape(len(gray), -1)
        mean = steepness.mean(axis=1) + _STEP / 4
        yield _log((steepness < _STEP / 2).mean(axis=1), 0.01)
        yield _log((steepness < 4 * _STEP).mean(axis=1), 0.01)
        yield _log((steepness > 0.25).mean(axis=1), 0.01)
        yield np.log(mean)
        # Few steep edges or many gentle ones.
        yield np.log((np.square(steepness).mean(axis=1) + _STEP**2 / 16) / mean**2)
    x = np.square(slopes_x[:, 1:] + slopes_x[:, :-1]) / 4
    y = np.square(slopes_y[:, :, 1:] + slopes_y[:, :, :-1]) / 4
    strength = x + y
    # The cosine of four times the direction: 1 along the axes, -1 along the diagonals.
    along = np.square(x - y) - 4 * x * y
    along /= np.square(strength) + 1e-12
    for weight in (np.sqrt(strength), strength):
        least = _STEP**2 / 16 if weight is strength else _STEP / 4
        yield (along * weight).mean(axis=(1, 2)) / (weight.mean(axis=(1, 2)) + least)


def _octaves(gray: np.ndarray) -> Iterator[np.ndarray]:
    """Yield how much there is of details of each size, and of which direction."""
    before: Any = 0
    for octave in range(5):
        height, width = gray.shape[1] // 2 * 2, gray.shape[2] // 2 * 2
        if min(height, width) < 2:
            return
        a, b = gray[:, :height:2, :width:2], gray[:, :height:2, 1:width:2]
        c, d = gray[:, 1:height:2, :width:2], gray[:, 1:height:2, 1:width:2]
        squares = [np.square(a - b + c - d), np.square(a + b - c - d), np.square(a - b - c + d)]
        across, down, diagonal = (one.mean(axis=(1, 2)) / 16 + (_STEP / 4) ** 2 for one in squares)
        energy = np.log(across + down + diagonal)
        yield energy - before
        before = energy
        if octave < 2:
            yield np.log(diagonal / (across + down))
            yield np.log(across / down)
        if octave == 1:
            # Whether there are calm areas, and busy ones.
            local = np.sqrt(sum(squares) / 16).reshape(len(gray), -1)
            ranks = [int(share * (local.shape[1] - 1)) for share in (0.1, 0.5, 0.9)]
            for rank in ranks:
                yield _log(np.partition(local, ranks, axis=1)[:, rank], _STEP / 4)
        gray = (a + b + c + d) / 4


def _layout(gray: np.ndarray) -> Iterator[np.ndarray]:
    """Yield how much of an image is explained by rows and columns of one tone each."""
    variance = gray.var(axis=(1, 2)) + _STEP**2
    for axis in (1, 2):
        yield _log(gray.mean(axis=axis).var(axis=1) / variance, 0.01)
