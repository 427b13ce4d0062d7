"""Which images are unlike all that a model was fitted on?"""

import math
import warnings
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted

from skdcec._analysis.images import as_images
from skdcec._analysis.samples import stratified_rows
from skdcec._analysis.spaces import as_rows, embed, images_in
from skdcec._callers import caller_level
from skdcec._encoders.images import by_chunks
from skdcec._nn.batches import divide, fits_float32
from skdcec._persistence import SavedEstimator, declared, register
from skdcec._persistence.declared import Kind
from skdcec._sklearn_compat import HasMethods, Interval, fit_context

__all__ = ["NoveltyDetector"]

# Fewer images say too little about what is usual to set a limit.
_MIN_IMAGES = 50
# More add little to it.
_MAX_IMAGES = 5_000
_N_FOLDS = 5

# What is added to the variance along each direction, where that of a number is 1: directions of
# small variance are where novel images stand out, but the least reliable.
_RIDGE = 0.03
_N_DIRECTIONS = 400

# Of distances, which usually are above 5: images that are all the same are not told apart.
_ROUNDING = 0.01

# What is counted, in its units: a file that claims more is not believed.
_MOST = 1e50

# Larger images are reduced by a whole factor before anything is counted in them.
_MAX_SIDE = 96
_CHUNK = 256


@register
class NoveltyDetector(SavedEstimator, OutlierMixin, BaseEstimator):
    """Tell images unlike all that a model was fitted on.

    An embedding keeps what tells the known images apart, and places a screenshot or noise
    amid them. So more is looked at:

    - some fifty numbers that can be counted in an image: how light, dark and colourful it is,
      how many colours it has, how steep its edges are and whether they follow the axes, how
      much detail of each size there is and where, and how much is of one tone;
    - with an autoencoder, the error with which it reproduces the image;
    - how far its embedding is from the nearest cluster.

    Where the estimator takes rows of features, the first are the features themselves. All numbers
    together are taken for normally distributed around the mean of each cluster, and the
    Mahalanobis distance to the nearest mean says how novel an image is. The limit is set by
    images that took no part in finding out what is usual (cross-fitting).

    Parameters
    ----------
    estimator : fitted clusterer or encoder
        It is never changed. An encoder is taken for one of a single cluster.
    contamination : float, default=0.005
        Share of images like those seen in `fit` that are flagged all the same. With n images, no
        share below 1 / (n + 1) can be held.

    Attributes
    ----------
    offset_ : float
        Scores below are novel. Minus infinity, so that nothing is flagged, if there were fewer
        than 50 images.
    n_features_in_ : int
        Values per image or row.

    See Also
    --------
    DeepConvEmbeddingClustering : Clusters images.
    DeepEmbeddingClustering : Clusters rows of features.

    References
    ----------
    Lee, Lee, Lee & Shin, *A Simple Unified Framework for Detecting Out-of-Distribution Samples
    and Adversarial Attacks*, NeurIPS 2018, for the distance.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from skdcec import ConvAutoencoder
    >>> from skdcec.novelty import NoveltyDetector
    >>> images = load_digits().images[:500]
    >>> encoder = ConvAutoencoder(5, max_epochs=2, random_state=0).fit(images)
    >>> detector = NoveltyDetector(encoder).fit(images)
    >>> noise = np.random.default_rng(0).integers(17, size=(3, 8, 8))
    >>> detector.predict(noise)
    array([-1, -1, -1])
    """

    _kept_parameters: Mapping[str, Kind] = {
        "estimator": declared.part("clusterer", "encoder"),
        "contamination": declared.number(1e-9, 0.5 - 1e-9),
    }
    _fitted_attributes: Mapping[str, Kind | None] = {
        "n_features_in_": declared.n_features,
        "offset_": declared.number(-math.inf, 0),
        "_usual": Kind("what is usual of embeddings and of numbers", lambda v: _is_usual(v)),
        # Detectors of earlier versions have none: to them, what lay too near was novel, too.
        "_one_sided": declared.either(declared.flag, declared.nothing),
    }
    _role = "detector"
    _parameter_constraints: dict[str, Any] = {
        "estimator": [HasMethods(["fit", "transform"])],
        "contamination": [Interval(Real, 0, 0.5, closed="neither")],
    }

    def __init__(self, estimator: Any, *, contamination: float = 0.005):
        self.estimator = estimator
        self.contamination = contamination

    @fit_context(prefer_skip_nested_validation=True)
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
            The estimator itself, fitted.

        Raises
        ------
        NotFittedError
            If `estimator` is not fitted.
        ValueError
            If `X` is not what `estimator` takes, or holds fewer than two images.

        Warns
        -----
        UserWarning
            If there are too few images to set a limit.
        """
        check_is_fitted(self.estimator)
        X = np.asarray(images_in(X))
        if X.ndim == 0 or len(X) < 2:
            raise ValueError(f"X of shape {X.shape} holds fewer than the 2 images needed.")
        labels = self._labels(X)
        some: Any = slice(None, None, -(-len(X) // _MAX_IMAGES))
        if len(np.unique(labels[some])) < len(np.unique(labels)):
            # Of a cluster that none of them is of, all images would be novel.
            some = stratified_rows(labels, _MAX_IMAGES, 0)
        labels, (numbers, embedding) = labels[some], self._numbers(X[some])
        self.n_features_in_ = math.prod(X.shape[1:])
        self._usual = _fit_usual(numbers, embedding, labels)
        self._one_sided = True
        if len(labels) < _MIN_IMAGES:
            warnings.warn(
                f"{len(labels)} images are too few to tell which new ones are unlike them, so none "
                f"will be flagged as such: at least {_MIN_IMAGES} are needed.",
                UserWarning,
                stacklevel=caller_level(),
            )
            self.offset_ = -math.inf
            return self
        distances = _held_out_distances(numbers, embedding, labels)
        # That the distance of a further image is beyond that of this rank has just this
        # probability, whatever the distribution.
        rank = max(1, math.floor(self.contamination * (len(distances) + 1)))
        self.offset_ = -float(np.sort(distances)[-rank]) - _ROUNDING
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Return how usual each image is; the lower, the more novel.

        Parameters
        ----------
        X : array-like, or pictures
            Images or rows of the shape seen in `fit`, or what stands for images, as ``predict`` of
            a model takes it: paths, contents of files, open files or PIL images.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            The negative Mahalanobis distance to the nearest cluster. Divided by ``offset_``, it
            is above 1 for what is novel.
        """
        check_is_fitted(self)
        X = images_in(X)
        if hasattr(self.estimator, "image_shape_"):
            return by_chunks(self.estimator, self._scores, X)
        return self._scores(X)

    def _scores(self, X: Any) -> np.ndarray:
        X = np.asarray(X)
        if X.ndim == 0:
            raise ValueError(
                f"X is a {type(X.item()).__name__}: give rows, as the estimator was fitted on."
            )
        one_sided = bool(getattr(self, "_one_sided", False))
        scores = [
            -_distances(self._usual, *self._numbers(X[start : start + _CHUNK]), one_sided)
            for start in range(0, len(X), _CHUNK)
        ]
        return np.concatenate(scores)

    def decision_function(self, X: Any) -> np.ndarray:
        """Return ``score_samples`` minus ``offset_``: negative for what is novel.

        Parameters
        ----------
        X : array-like, or pictures
            Images or rows of the shape seen in `fit`, or what stands for images, as ``predict`` of
            a model takes it: paths, contents of files, open files or PIL images.

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
        X : array-like, or pictures
            Images or rows of the shape seen in `fit`, or what stands for images, as ``predict`` of
            a model takes it: paths, contents of files, open files or PIL images.

        Returns
        -------
        known : ndarray of shape (n_samples,), dtype int64
            1 for what is like something known, -1 for what is unlike all of it.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def _labels(self, X: np.ndarray) -> np.ndarray:
        if not hasattr(self.estimator, "predict"):
            return np.zeros(len(X), dtype=int)
        labels = getattr(self.estimator, "labels_", None)
        if labels is not None and len(labels) == len(X):
            return labels
        return self.estimator.predict(X)

    def _numbers(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what is counted in each image, and its embedding."""
        model = self.estimator
        encoder = getattr(model, "encoder_", model)
        shape = getattr(model, "image_shape_", None)
        if shape is None:
            rows, scale = as_rows(X), getattr(model, "scale_", 1.0)
            # Squares of extreme values would not be finite.
            return rows if fits_float32(scale) else rows / scale, embed(encoder, X)
        data_format = getattr(model, "data_format", "channels_last")
        embedding = embed(encoder, X, data_format)
        images = as_images(X, shape, data_format)
        columns = [pixel_statistics(images, model.scale_)]
        if hasattr(encoder, "inverse_transform"):
            decoded = encoder.inverse_transform(embedding)
            order = getattr(encoder, "data_format", "channels_last")
            errors = divide(as_images(decoded, shape, order), model.scale_)
            errors = np.square(errors - divide(images, model.scale_)).mean(axis=(1, 2, 3))
            columns.append(_log(errors, _STEP**2)[:, None])
        return np.concatenate(columns, axis=1), embedding

    def _check_loaded(self) -> None:
        check_is_fitted(self.estimator)
        shape = getattr(self.estimator, "image_shape_", (self.estimator.n_features_in_,))
        if self.n_features_in_ != math.prod(shape):
            raise ValueError(f"n_features_in_={self.n_features_in_} is not that of its estimator.")
        tried = np.random.default_rng(0).random((1, self.n_features_in_)) * self.estimator.scale_
        if not np.isfinite(self.score_samples(tried)).all():
            raise ValueError("The scores are no numbers.")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "offset_")


class _Normal(NamedTuple):
    """Normal distributions around centers, of one covariance."""

    centers: np.ndarray  # (n_centers, n_numbers), in units of `unit`
    unit: np.ndarray  # (n_numbers,)
    directions: np.ndarray  # (n_directions, n_numbers)
    precisions: np.ndarray  # (n_directions + 1,), the last in all other directions

    @classmethod
    def fit(cls, rows: np.ndarray, labels: np.ndarray) -> Self:
        """Find the means, and the directions in which rows vary around them, and how much."""
        rows = rows.astype(np.float64)
        found, members = np.unique(labels, return_inverse=True)
        means = np.stack([rows[members == i].mean(axis=0) for i in range(len(found))])
        rest = rows - means[members]
        deviation = rest.std(axis=0)
        # What did not vary may vary a little: by a hundredth of what the others do, and by more
        # than rounding does.
        least = 0.01 * math.sqrt(np.square(deviation).mean()) + 1e-4 * np.abs(rows).max()
        unit = np.maximum(deviation, least + 1e-12)
        rest /= unit
        n_rows, n_numbers = rest.shape
        if n_rows < n_numbers:
            values, directions = np.linalg.svd(rest, full_matrices=False)[1:]
            variances = np.square(values) / n_rows
        else:
            variances, directions = np.linalg.eigh(rest.T @ rest / n_rows)
            variances, directions = variances[::-1], directions.T[::-1]
        # More cannot be told from so few rows.
        n_kept = min(_N_DIRECTIONS, n_numbers, max(1, n_rows // 2))
        known, total = variances[:n_kept].clip(0), np.square(rest).sum() / n_rows
        left = max(0.0, total - known.sum()) / max(1, n_numbers - n_kept)
        precisions = 1 / (np.append(known, left) + _RIDGE)
        return cls(means / unit, unit, np.ascontiguousarray(directions[:n_kept]), precisions)

    def squared_distances(self, rows: np.ndarray, *, one_sided: bool = False) -> np.ndarray:
        """Return the squared Mahalanobis distance of each row to the nearest center.

        With `one_sided`, a last number below that of a center counts as being the same.
        """
        rows = rows.astype(np.float64) / self.unit
        nearest = np.full(len(rows), np.inf)
        for center in self.centers:
            rest = rows - center
            if one_sided:
                rest[:, -1] = rest[:, -1].clip(0)
            along = np.square(rest @ self.directions.T)
            left = (np.square(rest).sum(axis=1) - along.sum(axis=1)).clip(0)
            distances = along @ self.precisions[:-1] + left * self.precisions[-1]
            nearest = np.minimum(nearest, distances)
        return nearest


def _is_usual(value: Any) -> bool:
    """Whether a value may be what `_fit_usual` returns; plain tuples where it is from a file."""
    return (
        isinstance(value, dict)
        and value.keys() == {"clusters", "numbers"}
        and all(_is_normal(part) for part in value.values())
    )


def _is_normal(value: Any) -> bool:
    rows = declared.array(2, "f", -_MOST, _MOST)
    kinds = (
        rows,
        declared.array(1, "f", 1e-15, _MOST),
        rows,
        declared.array(1, "f", 0, 2 / _RIDGE),
    )
    if not (isinstance(value, tuple) and len(value) == len(kinds)):
        return False
    if not all(kind.accepts(part) for kind, part in zip(kinds, value, strict=True)):
        return False
    centers, unit, directions, precisions = value
    n_numbers, n_directions = len(unit), len(directions)
    return (
        centers.shape[1] == n_numbers
        and directions.shape == (n_directions, n_numbers)
        and len(precisions) == n_directions + 1
    )


def _fit_usual(
    numbers: np.ndarray, embedding: np.ndarray, labels: np.ndarray
) -> dict[str, tuple[np.ndarray, ...]]:
    """Return what is usual of embeddings, and of all numbers with the distance among them."""
    rows = np.concatenate([numbers, np.empty((len(numbers), 1))], axis=1)
    # Images are nearer to centers that they have a part in than others will be.
    for held_out in _folds(len(rows)):
        clusters = _Normal.fit(embedding[~held_out], labels[~held_out])
        rows[held_out] = _with_distance(clusters, numbers[held_out], embedding[held_out])
    return {"clusters": _Normal.fit(embedding, labels), "numbers": _Normal.fit(rows, labels)}


def _folds(n: int) -> Iterator[np.ndarray]:
    """Yield which of `n` images to hold out, each of them once."""
    n_folds = min(_N_FOLDS, n)
    for fold in range(n_folds):
        yield np.arange(n) % n_folds == fold


def _distances(
    usual: dict[str, tuple[np.ndarray, ...]],
    numbers: np.ndarray,
    embedding: np.ndarray,
    one_sided: bool = True,
) -> np.ndarray:
    """Return how far images are from what is usual."""
    # Plain tuples where they come from a file.
    clusters, normal = _Normal(*usual["clusters"]), _Normal(*usual["numbers"])
    rows = _with_distance(clusters, numbers, embedding)
    # To lie nearer to a cluster than is usual is not novel. An encoder that was fitted on few
    # images puts all further ones nearer, as it spreads those few more than it does others.
    return np.sqrt(normal.squared_distances(rows, one_sided=one_sided))


def _with_distance(clusters: _Normal, numbers: np.ndarray, embedding: np.ndarray) -> np.ndarray:
    distances = np.log(clusters.squared_distances(embedding) + 1e-3)
    return np.concatenate([numbers, distances[:, None]], axis=1)


def _held_out_distances(
    numbers: np.ndarray, embedding: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Return how far each image is from what is usual of others."""
    distances = np.empty(len(labels))
    for held_out in _folds(len(labels)):
        usual = _fit_usual(numbers[~held_out], embedding[~held_out], labels[~held_out])
        distances[held_out] = _distances(usual, numbers[held_out], embedding[held_out])
    return distances


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
        units = divide(images[start : start + _CHUNK], scale)
        if factor > 1 and min(height, width) >= factor:
            units = _reduced(units, factor)
        units = np.pad(units, pad, mode="edge")
        gray = _mean_of_channels(units)
        columns = [*_tones(gray), *_colors(units), *_edges(gray), *_octaves(gray), *_layout(gray)]
        parts.append(np.stack(columns, axis=1))
    return np.concatenate(parts)


def _mean_of_channels(values: np.ndarray) -> np.ndarray:
    # Four times as fast as NumPy's mean over so short an axis.
    return np.einsum("nhwc->nhw", values) / values.shape[3]


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
    lightest = np.maximum(np.maximum(red, green), blue)
    chroma = lightest - np.minimum(np.minimum(red, green), blue)
    yield _log(chroma.mean(axis=(1, 2)), _STEP)
    yield _log(chroma.std(axis=(1, 2)), _STEP)
    for opponents in (red - green, (red + green) / 2 - blue):
        yield opponents.mean(axis=(1, 2))
        yield _log(opponents.std(axis=(1, 2)), _STEP)
    slopes = units[:, :, 1:] - units[:, :, :-1]
    together = np.square(_mean_of_channels(slopes)).mean(axis=(1, 2))
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
    """Yield how much there is of details of each size, of which direction, and where."""
    energy = np.zeros(len(gray))
    strengths: list[np.ndarray] = []
    for octave in range(5):
        height, width = gray.shape[1] // 2 * 2, gray.shape[2] // 2 * 2
        if min(height, width) < 2:
            return
        a, b = gray[:, :height:2, :width:2], gray[:, :height:2, 1:width:2]
        c, d = gray[:, 1:height:2, :width:2], gray[:, 1:height:2, 1:width:2]
        details = np.stack([a - b + c - d, a + b - c - d, a - b - c + d]) / 4
        across, down, diagonal = np.square(details).mean(axis=(2, 3)) + (_STEP / 4) ** 2
        before, energy = energy, np.log(across + down + diagonal)
        yield energy - before
        if octave < 2:
            yield np.log(diagonal / (across + down))
            yield np.log(across / down)
        # In pictures of things few details are strong, and where small ones are, large ones are
        # too. Noise has neither.
        mean = np.abs(details).mean(axis=(0, 2, 3)) + _STEP / 4
        yield energy - 2 * np.log(mean)
        strengths.append(np.log(np.sqrt(np.square(details).sum(axis=0)) + _STEP / 2))
        if octave in (1, 2) and min(height, width) >= 8:
            yield _correlation(_halved(strengths[octave - 1]), strengths[octave])
        if octave == 1:
            # Whether there are calm areas, and busy ones.
            local = strengths[octave].reshape(len(gray), -1)
            ranks = [int(share * (local.shape[1] - 1)) for share in (0.1, 0.5, 0.9)]
            yield from np.partition(local, ranks, axis=1)[:, ranks].T
        gray = (a + b + c + d) / 4


def _halved(maps: np.ndarray) -> np.ndarray:
    height, width = maps.shape[1] // 2 * 2, maps.shape[2] // 2 * 2
    maps = maps[:, :height, :width]
    return (maps[:, ::2, ::2] + maps[:, ::2, 1::2] + maps[:, 1::2, ::2] + maps[:, 1::2, 1::2]) / 4


def _correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the correlation over space of two maps of each image, 0 where one is constant."""
    first = first - first.mean(axis=(1, 2), keepdims=True)
    second = second - second.mean(axis=(1, 2), keepdims=True)
    variances = np.square(first).mean(axis=(1, 2)) * np.square(second).mean(axis=(1, 2))
    return (first * second).mean(axis=(1, 2)) / (np.sqrt(variances) + 1e-3)


def _layout(gray: np.ndarray) -> Iterator[np.ndarray]:
    """Yield how much of an image is explained by rows and columns of one tone each."""
    variance = gray.var(axis=(1, 2)) + _STEP**2
    for axis in (1, 2):
        yield _log(gray.mean(axis=axis).var(axis=1) / variance, 0.01)
