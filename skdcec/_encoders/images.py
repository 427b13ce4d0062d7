"""What an image array is: shapes, channel order, dtype, and every error about them."""

import contextlib
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skdcec._callers import caller_level
from skdcec._encoders.recognition import check_finite_values, recognized
from skdcec._maps import blocks, one_by_one
from skdcec._persistence import declared
from skdcec._persistence.declared import Kind
from skdcec._sklearn_compat import StrOptions, check_array, check_feature_names, validate_data
from skdcec.datasets.decode import fit_picture
from skdcec.datasets.pictures import Pictures, pictures_in

ImageShape = tuple[int, int, int]
# What pixel values usually reach: fractions, 8 bits, 16 bits.
_PIXEL_RANGES = (1.0, 255.0, 65535.0)

# Where the largest values differ by less than this factor, one may be of darker images.
_ALIKE = 10

# Values of so many times the scale are too far from any center for float32 to tell which is near.
_MOST = 1e6

# The digits of scikit-learn, of 8 x 8 pixels, are as small as images come.
_FEW_PIXELS = 64

# So many images decide how much descriptions vary, and are in memory at once for that.
MAX_SEEN = 10_000

# So many images are looked at for colour.
_N_LOOKED_AT = 200

# Pictures that are in memory together; of large ones, fewer.
_CHUNK = 256
_CHUNK_BYTES = 2**25

# Whether the units of what is embedded here were compared by what this is a part of.
_compared: ContextVar[bool] = ContextVar("_compared", default=False)

Layout = Literal["rows", "gray", "channels_last", "channels_first"]


class ImageInput:
    """What estimators of images share: the form that images come in, and their scale.

    A mixin for estimators with the parameters `image_shape` and `data_format`.
    """

    image_shape: tuple[int, ...] | None
    data_format: str
    image_shape_: ImageShape
    _layout: Layout

    _parameter_constraints: dict[str, Any] = {
        "image_shape": ["array-like", None],
        "data_format": [StrOptions({"channels_last", "channels_first"})],
    }
    _kept_parameters: Mapping[str, Kind] = {
        "image_shape": declared.either(declared.shape, declared.nothing),
        "data_format": declared.choice("channels_last", "channels_first"),
    }
    _fitted_attributes: Mapping[str, Kind | None] = {
        "image_shape_": declared.full_shape,
        "_layout": declared.choice(*get_args(Layout)),
    }

    def _validate(self, X: Any, *, reset: bool) -> np.ndarray:
        """Return images as (n, height, width, channels), and take note of their form in `fit`."""
        images, shape, layout = validate_images(
            self, X, reset=reset, image_shape=self._given_image_shape() if reset else None
        )
        if reset:
            self.image_shape_, self._layout = shape, layout
        return images

    def _by_chunks(self, function: Callable[[Any], np.ndarray], X: Any) -> np.ndarray:
        check_is_fitted(self)
        return by_chunks(self, function, X)

    def _given_image_shape(self) -> tuple[int, ...] | None:
        """Return what the user says of the shape."""
        return self.image_shape

    def _find_scale(self, images: np.ndarray) -> float:
        return natural_scale(images)


def evenly_spread(n_samples: int, n: int) -> np.ndarray:
    """Return the numbers of so many rows, or of all where there are fewer."""
    return np.linspace(0, n_samples - 1, min(n_samples, n)).round().astype(int)


def by_chunks(estimator: Any, function: Callable[[Any], np.ndarray], X: Any) -> np.ndarray:
    """Apply `function` to arrays as they are, and to pictures some hundred at a time.

    Parameters
    ----------
    estimator : fitted estimator of images
    function : callable
        Takes images in the form that the estimator takes.
    X : array-like, or pictures

    Returns
    -------
    ndarray
        Of all of them.
    """
    pictures = pictures_for(estimator, X)
    if pictures is None:
        return function(X)
    return np.concatenate([function(some) for some in _decoded(estimator, pictures)])


def pictures_for(estimator: Any, X: Any) -> Pictures | None:
    """Return what stands for pictures that a fitted estimator of images can be given."""
    pictures = pictures_in(X)
    if pictures is not None:
        first, n_channels = pictures.first, estimator.image_shape_[2]
        # PIL images of other than 8 bits, or with a fourth channel, are arrays of what they hold.
        if isinstance(first, Image.Image) and (
            n_channels not in (1, 3) or first.mode in ("F", "I", "I;16", "I;16B")
        ):
            return None
    elif isinstance(X, str | os.PathLike) and os.path.isdir(X):
        size = estimator.image_shape_[:2]
        raise ValueError(
            f"X={os.fspath(X)!r} is a folder: give its images in the size seen in fit, "
            f"skdcec.datasets.load_images(X, size={size}).images."
        )
    return pictures


def _decoded(estimator: Any, pictures: Pictures) -> Iterator[np.ndarray]:
    """Yield pictures in the size and the units of the images that an estimator was fitted on."""
    height, width, n_channels = estimator.image_shape_
    scale = float(estimator.scale_)
    if n_channels not in (1, 3):
        raise ValueError(
            f"X holds pictures, of 1 or 3 channels; {type(estimator).__name__} was fitted on "
            f"images of {n_channels}: give an array of these."
        )
    if scale not in _PIXEL_RANGES:
        raise ValueError(
            f"X holds pictures, with values up to 255; {type(estimator).__name__} was fitted on "
            f"images in other units, with values up to {scale:g}: give an array in these."
        )
    pictures.check()

    def prepare(image: Image.Image) -> np.ndarray:
        if n_channels == 1:
            return fit_picture(image.convert("L"), (height, width), "pad")[..., :1]
        return fit_picture(image, (height, width), "pad")

    step = max(1, min(_CHUNK, _CHUNK_BYTES // (height * width * 3)))
    bounds = [(i, min(i + step, len(pictures))) for i in range(0, len(pictures), step)]
    for _, pixels in pictures.decoded(bounds, prepare, side=max(height, width)):
        if scale == 255:
            yield _in_layout(estimator, pixels)
        else:
            yield _in_layout(estimator, pixels.astype(np.float32) * np.float32(scale / 255))


def _in_layout(estimator: Any, images: np.ndarray) -> np.ndarray:
    """Return images in the order that the estimator takes 4-D arrays in."""
    return images.transpose(0, 3, 1, 2) if estimator.data_format == "channels_first" else images


def validate_images(
    estimator: Any, X: Any, *, reset: bool, image_shape: tuple[int, ...] | None
) -> tuple[np.ndarray, ImageShape, Layout]:
    """Check images and return them as an (n, height, width, channels) array, uncopied.

    Parameters
    ----------
    estimator : estimator with the parameter `data_format`
        Sets (or, without `reset`, compares with) its ``n_features_in_`` and feature names;
        without `reset`, compares with its ``image_shape_``.
    X : array-like
        2-D rows, (n, H, W), or 4-D in the estimator's `data_format`.
    reset : bool
        Whether this is `fit`.
    image_shape : tuple or None
        What the user says of the shape; only read with `reset`.

    Returns
    -------
    images : ndarray of shape (n_samples, height, width, channels)
        A view wherever `X` is an array of numbers in C order.
    image_shape : tuple (height, width, channels)
    layout : str
        The form that `X` had.

    Raises
    ------
    ValueError
        If `X` is not numeric and finite, not 2-, 3- or 4-dimensional, or of another image
        shape than asked for or seen in fit.
    """
    X = recognized(X)
    wanted = _as_triple(image_shape) if reset else estimator.image_shape_
    _refuse_one_image(X, wanted, estimator.data_format)
    if getattr(X, "ndim", 2) <= 2:
        rows = _checked_rows(estimator, X, reset=reset)
        shape = resolve_image_shape(image_shape, rows.shape[1]) if reset else estimator.image_shape_
        return rows.reshape(len(rows), *shape), shape, "rows"

    name = type(estimator).__name__
    if X.ndim > 4:
        raise ValueError(
            f"X has {X.ndim} dimensions, shape {X.shape}; {name} takes images as "
            "(n, H, W), (n, H, W, C) or flattened (n, H*W*C)."
        )
    X = check_array(
        X,
        ensure_2d=False,
        allow_nd=True,
        ensure_all_finite=False,
        estimator=name,
        input_name="X",
    )
    check_finite_values(X)
    images, layout = _to_channels_last(X, estimator.data_format, known=wanted is not None)
    shape = images.shape[1:]
    if 0 in shape:
        raise ValueError(
            f"Found array with 0 feature(s) (shape={X.shape}) while a minimum of 1 is required."
        )
    if reset:
        if wanted is not None and wanted != shape:
            raise ValueError(
                f"image_shape={image_shape!r}, given or of the fitted encoder, does not fit X of "
                f"shape {X.shape}, whose images are {shape} (height, width, channels)."
            )
        estimator.n_features_in_ = math.prod(shape)
        check_feature_names(estimator, X, reset=True)
    elif shape != wanted:
        seen: ImageShape = estimator.image_shape_
        raise ValueError(
            f"X holds images of shape {shape} (height, width, channels), but {name} was "
            f"fitted with images of shape {seen}: "
            f"{_as_wanted(X, shape, seen, estimator.data_format)}."
        )
    return images, shape, layout


def validate_rows(estimator: BaseEstimator, X: Any, *, reset: bool) -> np.ndarray:
    """Check vectors and return them as an (n, n_features) array in C order, uncopied."""
    X = recognized(X, rows=True)
    if getattr(X, "ndim", 2) > 2:
        raise ValueError(
            f"X has {X.ndim} dimensions, shape {X.shape}; {type(estimator).__name__} takes rows "
            "of features, (n, n_features): X.reshape(len(X), -1) makes rows of images, and "
            "DeepConvEmbeddingClustering or ConvAutoencoder take them as they are."
        )
    return _checked_rows(estimator, X, reset=reset)


def _checked_rows(estimator: BaseEstimator, X: Any, *, reset: bool) -> np.ndarray:
    # What is said of values that are not finite is ours: scikit-learn advises classifiers.
    rows: np.ndarray = validate_data(estimator, X, reset=reset, order="C", ensure_all_finite=False)
    check_finite_values(rows)
    return rows


def restore_layout(images: np.ndarray, layout: Layout) -> np.ndarray:
    """Give (n, height, width, channels) images the form that X had in fit."""
    if layout == "rows":
        return images.reshape(len(images), -1)
    if layout == "gray":
        return images[..., 0]
    return images.transpose(0, 3, 1, 2) if layout == "channels_first" else images


def resolve_image_shape(image_shape: tuple[int, ...] | None, n_features: int) -> ImageShape:
    """Return (height, width, channels) of images that come as rows of `n_features`.

    Raises
    ------
    ValueError
        If `image_shape` has another number of values, or is None where the number of
        features suggests colour images but does not say which.
    """
    shape = _as_triple(image_shape)
    if shape is not None:
        if math.prod(shape) != n_features:
            raise ValueError(
                f"image_shape={image_shape!r} has {math.prod(shape)} values, but X has "
                f"{n_features} features per row."
            )
        return shape
    side = math.isqrt(n_features)
    if side * side == n_features:
        return side, side, 1
    # Four channels of a square image make a square number too, and count as gray above.
    side = math.isqrt(n_features // 3)
    if side >= 8 and 3 * side * side == n_features:
        raise ValueError(
            f"X has {n_features} features per row, which could be {side}x{side} images with "
            f"3 channels: pass image_shape=({side}, {side}, 3), or "
            f"image_shape=(1, {n_features}) if it is a plain row."
        )
    return 1, n_features, 1


def warn_of_table(shape: ImageShape) -> None:
    """Say what a table is for, where rows that nobody called images are hardly any."""
    height, width, _ = shape
    if height == 1 or height * width < _FEW_PIXELS:
        warnings.warn(
            f"X has {height * width} features per row, which are taken for images of {height} x "
            f"{width} pixels: DeepEmbeddingClustering is made for tables, and "
            f"image_shape=({height}, {width}) says that these are images.",
            UserWarning,
            stacklevel=caller_level(),
        )


def are_gray(images: np.ndarray) -> bool:
    """Whether a spread of images, (n, height, width, channels), has no colour at all.

    Gray files have three equal channels once they were read.
    """
    if images.ndim < 4 or images.shape[3] == 1:
        return True
    some = images[:: max(1, len(images) // _N_LOOKED_AT)]
    return bool((some[..., :1] == some).all())


def natural_scale(array: np.ndarray) -> float:
    """Return the number that images are divided by, so that values lie within [-1, 1].

    The usual ranges of pixels, 1, 255 and 65535, are taken for what they are when the
    largest value fills more than half of them; then the same images as uint8, as fractions
    and as floats up to 255 come out equal. Any other range is divided by its largest value.
    """
    return _scale_of(_largest(array))


def _scale_of(largest: float) -> float:
    for full in _PIXEL_RANGES:
        if full / 2 < largest <= full:
            return full
    return largest or 1.0


def check_units(array: np.ndarray, scale: float) -> None:
    """Compare the units of what a fitted model is given with those that it was fitted on.

    Raises
    ------
    ValueError
        If values are so large that float32 could not tell how far they are from any center.

    Warns
    -----
    UserWarning
        If a model is given images in 0..1, 0..255 or 0..65535, and was fitted on others.
    """
    largest = _largest(array)
    if largest / _MOST > scale:
        raise ValueError(
            f"X has values up to {largest:.3g}, more than {_MOST:.0e} times what was seen in fit, "
            f"where X was divided by {scale:.3g}: give X in the same units."
        )
    if array.ndim < 4:
        return
    if array.dtype.kind in "iu" and np.iinfo(array.dtype).max >= scale >= largest:
        # Dark images, in units of the same range.
        return
    found = _scale_of(largest)
    alike = scale / _ALIKE < found < scale * _ALIKE
    if found in _PIXEL_RANGES and not alike and not _compared.get():
        warnings.warn(
            f"X has values up to {found:g}, but the images seen in fit went up to {scale:g}: "
            "give X in the same units.",
            UserWarning,
            stacklevel=caller_level(),
        )


@contextlib.contextmanager
def units_compared() -> Iterator[None]:
    """Let the parts of an estimator say nothing of units that it has compared itself."""
    token = _compared.set(True)
    try:
        yield
    finally:
        _compared.reset(token)


def check_scale_of_part(part: Any, scale: float) -> None:
    """Raise if a fitted part cannot have seen the images that the whole was fitted on.

    Raises
    ------
    ValueError
        If what fits the scale of one is beyond what the other takes.
    """
    own = getattr(part, "scale_", scale)
    if max(own, scale) / _MOST > min(own, scale):
        raise ValueError(f"A part was fitted to values up to {own:.3g}, the whole to {scale:.3g}.")


def root_mean_square(array: np.ndarray) -> float:
    """Return the number that brings the mean squared value of vectors to 1."""
    # Divided by the largest value first: squares leave the range of floats long before values.
    largest = _largest(array)
    if largest == 0:
        return 1.0
    squares = sum(
        float(np.square(np.divide(block, largest, dtype=np.float64)).sum())
        for block in one_by_one(np.array_split(array, max(1, array.size // 2**20)))
    )
    return largest * math.sqrt(squares / array.size)


def _largest(array: np.ndarray) -> float:
    # Unsigned values need one pass.
    if array.dtype.kind == "u":
        return max(float(block.max()) for block in blocks(array))
    return max(max(float(block.max()), -float(block.min())) for block in blocks(array))


def _refuse_one_image(X: Any, wanted: ImageShape | None, data_format: str) -> None:
    """Raise where `X` is one image without an axis of samples, or looks like that."""
    shape: tuple[int, ...] = tuple(getattr(X, "shape", ()))
    if wanted is not None:
        height, width, channels = wanted
        orders = [wanted, (channels, height, width)]
        own, other = reversed(orders) if data_format == "channels_first" else orders
        forms: list[tuple[int, ...]] = [own]
        if channels == 1 and height > 1:
            forms.append((height, width))
        if shape in forms and shape[0] != 1:
            raise ValueError(
                f"X of shape {shape} is one image without an axis of samples: X[None] is a "
                "collection of one."
            )
        if shape == other and shape[0] != 1:
            text = f"X of shape {shape} is one image in another order of axes: give X.transpose("
            if own != wanted:
                raise ValueError(f"{text}2, 0, 1)[None].")
            gray = f"np.stack([X] * {channels}, axis=3)"
            raise ValueError(f"{text}1, 2, 0)[None], or {gray} of gray ones.")
    elif len(shape) == 3 and min(shape[:2]) > 4 and shape[2] in (3, 4):
        raise ValueError(
            f"X of shape {shape} looks like one image, (height, width, channels): X[None] is a "
            f"collection of one, and image_shape={shape[1:]} says that it holds {shape[0]} gray "
            "images."
        )


def _as_wanted(X: np.ndarray, shape: ImageShape, wanted: ImageShape, data_format: str) -> str:
    """Return what to give in the place of images of another shape."""
    height, width, channels = wanted
    first = data_format == "channels_first"
    if X.ndim == 4 and shape == ((width, channels, height) if first else (channels, height, width)):
        return f"give X.transpose({'0, 3, 1, 2' if first else '0, 2, 3, 1'})"
    if shape[:2] != wanted[:2]:
        brought = "; paths and PIL images are brought to it" if channels in (1, 3) else ""
        return f"give them in that size{brought}"
    axis = 1 if first else 3
    if shape[2] == 1:
        gray = f"np.stack([X] * {channels}" if X.ndim == 3 else f"np.repeat(X, {channels}"
        return f"for gray ones, give {gray}, axis={axis})"
    fewer = "X[:, :3]" if first else "X[..., :3]"
    return f"give {fewer}" if (shape[2], channels) == (4, 3) else "give as many channels"


def _as_triple(image_shape: tuple[int, ...] | None) -> ImageShape | None:
    if image_shape is None:
        return None
    shape = tuple(int(length) for length in image_shape)
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise ValueError(
            f"image_shape={image_shape!r} must be (height, width) or (height, width, channels), "
            "each at least 1."
        )
    return (shape[0], shape[1], shape[2] if len(shape) == 3 else 1)


def _to_channels_last(X: np.ndarray, data_format: str, *, known: bool) -> tuple[np.ndarray, Layout]:
    """Return a channels-last view; unless the shape is `known`, doubt an unlikely order."""
    if X.ndim == 3:
        return X[..., np.newaxis], "gray"
    second, last = X.shape[1], X.shape[3]
    if data_format == "channels_first":
        if last in (1, 3, 4) and second > 4 and not known:
            raise ValueError(_order_message(X, "channels_last", "(n, H, W, C)"))
        return X.transpose(0, 2, 3, 1), "channels_first"
    if second in (1, 3, 4) and last > 4 and not known:
        raise ValueError(_order_message(X, "channels_first", "(n, C, H, W)"))
    return X, "channels_last"


def _order_message(X: np.ndarray, data_format: str, order: str) -> str:
    return (
        f"X of shape {X.shape} looks like images in the order {order}: pass "
        f"data_format={data_format!r}, or image_shape=(height, width, channels) if it is not."
    )
