"""Images as their colours and the directions of their edges: features made by hand."""

import math
from collections.abc import Iterator, Mapping
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin

from skdcec._encoders.base import unchanged_on_failure
from skdcec._encoders.images import MAX_SEEN, ImageInput, check_units, evenly_spread
from skdcec._encoders.remembered import recalled, remember
from skdcec._nn.batches import divide
from skdcec._persistence import declared, register
from skdcec._persistence.declared import Kind
from skdcec._sklearn_compat import Interval, fit_context

# Values that are described together: they stay in the processor's cache.
_CHUNK_VALUES = 2**20

# Red, green and blue as they add up to how bright a pixel looks.
_LUMA = (0.299, 0.587, 0.114)

_TINY_VARIANCE = 1e-12

# A cell counts for no more than this share of the strength of its block's edges.
_MAX_SHARE = 0.2


@register
class ColorEdgeFeatures(
    ImageInput, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Describe images by their colours and by the directions of their edges.

    A histogram of colours, of which the square roots are taken so that distances are
    Hellinger's, stands beside histograms of oriented gradients in a grid of cells. The two parts
    are brought to equal variance over the images seen in `fit`; nothing else is learned. On small
    collections of paintings this is hard to beat.

    Parameters
    ----------
    n_levels : int, default=4
        Levels of each colour channel, whose combinations are the bins of the histogram. Gray
        images have the square of so many bins.
    n_directions : int, default=9
        Directions of edges, from 0 to 180 degrees.
    n_cells : int, default=8
        Cells along each side of the image; fewer where the image is shorter than two pixels
        for each.
    image_shape : tuple (height, width) or (height, width, channels), default=None
        Shape of the images that come as rows of a 2-D `X`. None takes a square number of
        features for a square gray image, and any other for an image one pixel high.
    data_format : {"channels_last", "channels_first"}, default="channels_last"
        Order of the axes of a 4-D `X`. Rows of a 2-D `X` are always (H, W, C).

    Attributes
    ----------
    image_shape_ : tuple (height, width, channels)
    scale_ : float
        What pixel values are divided by.
    color_deviation_, edge_deviation_ : float
        Roots of the total variance of the two parts, which they are divided by.
    n_features_in_ : int
        Values per image.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of `X`, where it had any.

    See Also
    --------
    PretrainedFeatures : Features of a network that was trained on other images.

    Notes
    -----
    An opaque fourth channel is left out; images of two, or of more than four, channels are
    described by the mean of their channels.

    References
    ----------
    Dalal & Triggs, *Histograms of Oriented Gradients for Human Detection*, CVPR 2005.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.pipeline import make_pipeline
    >>> from skdcec.features import ColorEdgeFeatures
    >>> images = load_digits().images
    >>> model = make_pipeline(ColorEdgeFeatures(), KMeans(10, random_state=0))
    >>> model.fit_predict(images).shape
    (1797,)
    """

    _parameter_constraints: dict[str, Any] = {
        **ImageInput._parameter_constraints,
        "n_levels": [Interval(Integral, 2, 32, closed="both")],
        "n_directions": [Interval(Integral, 1, None, closed="left")],
        "n_cells": [Interval(Integral, 1, None, closed="left")],
    }
    _kept_parameters: Mapping[str, Kind] = {
        **ImageInput._kept_parameters,
        "n_levels": declared.whole(2, 32),
        "n_directions": declared.whole(1, declared.MAX_WIDTH),
        "n_cells": declared.whole(1, declared.MAX_WIDTH),
    }
    _fitted_attributes: Mapping[str, Kind | None] = {
        **ImageInput._fitted_attributes,
        "color_deviation_": declared.number(1e-7, declared.MAX_WIDTH),
        "edge_deviation_": declared.number(1e-7, declared.MAX_WIDTH),
        "scale_": declared.scale,
        "n_features_in_": declared.n_features,
        "_n_features_out": declared.whole(1, declared.MAX_WIDTH),
    }
    _role = "features"

    def __init__(
        self,
        *,
        n_levels: int = 4,
        n_directions: int = 9,
        n_cells: int = 8,
        image_shape: tuple[int, ...] | None = None,
        data_format: str = "channels_last",
    ):
        self.n_levels = n_levels
        self.n_directions = n_directions
        self.n_cells = n_cells
        self.image_shape = image_shape
        self.data_format = data_format

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: None = None) -> Self:
        """Find how much colours and edges vary, over at most ten thousand evenly spread images.

        Parameters
        ----------
        X : array-like
            The images.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The estimator itself, fitted.
        """
        with unchanged_on_failure(self):
            images = self._validate(X, reset=True)
            self.scale_ = self._find_scale(images)
            seen = images
            if len(images) > MAX_SEEN:
                seen = images[evenly_spread(len(images), MAX_SEEN)]
            colors, edges = map(np.concatenate, zip(*self._parts(seen), strict=True))
            self.color_deviation_, self.edge_deviation_ = map(_deviation, (colors, edges))
            self._n_features_out = colors.shape[1] + edges.shape[1]
        remember(self, seen, lambda: self._joined(colors, edges))
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Describe images.

        Parameters
        ----------
        X : array-like, or pictures
            Images of the shape seen in `fit`; or paths, contents of files, open files or PIL
            images, which are brought to it.

        Returns
        -------
        features : ndarray of shape (n_samples, n_features), dtype float32
            Colours first, then the directions of edges, block by block.
        """
        return self._by_chunks(self._describe, X)

    def _describe(self, X: Any) -> np.ndarray:
        images = self._validate(X, reset=False)
        check_units(images, self.scale_)
        known = recalled(self, images)
        if known is not None:
            return np.asarray(known)
        return np.concatenate([self._joined(*parts) for parts in self._parts(images)])

    def _joined(self, colors: np.ndarray, edges: np.ndarray) -> np.ndarray:
        """Return both as columns that vary equally."""
        balanced = [colors / self.color_deviation_, edges / self.edge_deviation_]
        return np.concatenate(balanced, axis=1).astype(np.float32)

    def _parts(self, images: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield colours and edges of some images at a time."""
        step = max(1, _CHUNK_VALUES // math.prod(images.shape[1:]))
        for start in range(0, len(images), step):
            some = divide(images[start : start + step], self.scale_).clip(0, 1)
            if some.shape[3] == 4:
                some = some[..., :3]
            elif some.shape[3] != 3:
                some = some.mean(axis=3, keepdims=True)
            yield (
                color_histograms(some, self.n_levels),
                edge_histograms(some, self.n_directions, self.n_cells),
            )

    def _check_loaded(self) -> None:
        height, width, n_channels = self.image_shape_
        if math.prod(self.image_shape_) != self.n_features_in_:
            raise ValueError(f"Images of shape {self.image_shape_} have other numbers of values.")
        n_rows, n_columns = (max(1, min(self.n_cells, side // 2)) for side in (height, width))
        tall, wide = min(2, n_rows), min(2, n_columns)
        n_blocks = (n_rows - tall + 1) * (n_columns - wide + 1)
        n_edges = n_blocks * tall * wide * self.n_directions
        if self._n_features_out != self.n_levels ** (3 if n_channels in (3, 4) else 2) + n_edges:
            raise ValueError(f"Its parameters do not make {self._n_features_out} values.")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "edge_deviation_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def color_histograms(images: np.ndarray, n_levels: int) -> np.ndarray:
    """Return the square roots of the shares of pixels of each colour.

    Parameters
    ----------
    images : ndarray of shape (n_samples, height, width, 1 or 3)
        Values within [0, 1].
    n_levels : int
        Of each of three channels; a single one has the square of it.

    Returns
    -------
    histograms : ndarray of shape (n_samples, n_bins), dtype float32
    """
    n, n_channels = len(images), images.shape[3]
    per_channel = n_levels if n_channels > 1 else n_levels**2
    n_bins = per_channel**n_channels
    levels = np.minimum((images * per_channel).astype(np.int32), per_channel - 1)
    bins = np.repeat(np.arange(n), math.prod(images.shape[1:3]))
    for channel in np.moveaxis(levels, 3, 0):
        bins *= per_channel
        bins += channel.ravel()
    counts = np.bincount(bins, minlength=n * n_bins).reshape(n, n_bins)
    return np.sqrt(counts / math.prod(images.shape[1:3])).astype(np.float32)


def edge_histograms(images: np.ndarray, n_directions: int, n_cells: int) -> np.ndarray:
    """Return histograms of oriented gradients.

    Each gradient is shared by the two nearest directions of its cell. Blocks of 2 x 2 cells are
    brought to unit length, clipped at .2 and again brought to unit length.

    Parameters
    ----------
    images : ndarray of shape (n_samples, height, width, 1 or 3)
        Values within [0, 1].
    n_directions : int
        Over half a turn: dark beside light is the same as light beside dark.
    n_cells : int
        Along each side, where it has two pixels for each.

    Returns
    -------
    histograms : ndarray of shape (n_samples, n_blocks * 4 * n_directions), dtype float32
    """
    gray = images[..., 0] if images.shape[3] == 1 else images @ np.array(_LUMA, images.dtype)
    n, height, width = gray.shape
    down, right = np.zeros_like(gray), np.zeros_like(gray)
    down[:, 1:-1] = gray[:, 2:] - gray[:, :-2]
    right[:, :, 1:-1] = gray[:, :, 2:] - gray[:, :, :-2]
    strength = np.sqrt(right * right + down * down)
    turns = np.arctan2(down, right) / np.pi
    direction = (turns - np.floor(turns)) * n_directions - 0.5
    lower = np.floor(direction)
    share = direction - lower

    n_rows, n_columns = (max(1, min(n_cells, side // 2)) for side in (height, width))
    row, column = np.arange(height) * n_rows // height, np.arange(width) * n_columns // width
    cell = np.arange(n)[:, None, None] * n_rows * n_columns + row[:, None] * n_columns + column
    # One more at both ends, as half a direction beyond the last is as near to the first.
    n_bins = n_directions + 2
    bins = (cell * n_bins + (lower + 1).astype(np.int64)).ravel()
    at_lower, at_upper = (
        np.bincount(bins, (strength * weight).ravel(), minlength=n * n_rows * n_columns * n_bins)
        for weight in (1 - share, share)
    )
    sums = (at_lower + np.roll(at_upper, 1)).reshape(n, n_rows, n_columns, n_bins)
    sums[..., 1] += sums[..., -1]
    sums[..., -2] += sums[..., 0]
    cells = sums[..., 1:-1].astype(np.float32)

    tall, wide = min(2, n_rows), min(2, n_columns)
    blocks = np.concatenate(
        [
            cells[:, i : n_rows - tall + 1 + i, j : n_columns - wide + 1 + j]
            for i in range(tall)
            for j in range(wide)
        ],
        axis=3,
    )
    return _unit_length(np.minimum(_unit_length(blocks), _MAX_SHARE)).reshape(n, -1)


def _deviation(values: np.ndarray) -> float:
    """Return the root of the variance of all columns together."""
    variance = float(values.var(axis=0, dtype=np.float64).sum())
    # What is the same for all images counts for nothing, whatever it is divided by.
    return math.sqrt(variance) if variance > _TINY_VARIANCE else 1.0


def _unit_length(blocks: np.ndarray) -> np.ndarray:
    return blocks / np.sqrt(np.square(blocks).sum(axis=3, keepdims=True) + 1e-6)
