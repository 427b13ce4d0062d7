"""How do samples look, whatever form the estimator takes them in?"""

from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_consistent_length

from skdcec._analysis.spaces import best_of
from skdcec._encoders.images import natural_scale, resolve_image_shape
from skdcec._encoders.recognition import recognized
from skdcec._maps import blocks
from skdcec._nn.batches import fits_float32


def images_of(
    estimator: Any, X: Any, images: Any = None, image_shape: tuple[int, ...] | None = None
) -> np.ndarray:
    """Return the images to show, in the form that `estimator` says they have.

    Parameters
    ----------
    estimator : fitted estimator, Pipeline or search
    X : array-like
        What the estimator takes.
    images : array-like, default=None
        What is shown instead of `X`; 4-D in the `data_format` of the estimator.
    image_shape : tuple, default=None
        Shape of images that come as rows, where the estimator does not know it.

    Returns
    -------
    images : ndarray of shape (n_samples, height, width, channels)
        A view wherever possible.

    Raises
    ------
    ValueError
        If they cannot be read as images, or differ from `X` in number.
    """
    estimator = best_of(estimator)
    steps = (
        [step for _, step in estimator.steps] if isinstance(estimator, Pipeline) else [estimator]
    )
    knowing = next((step for step in steps if hasattr(step, "image_shape_")), None)
    data_format = getattr(knowing, "data_format", "channels_last")
    if images is not None:
        shown = as_images(images, image_shape, data_format)
        check_consistent_length(shown, X)
        return shown
    return as_images(X, image_shape or getattr(knowing, "image_shape_", None), data_format)


def as_images(images: Any, image_shape: tuple[int, ...] | None, data_format: str) -> np.ndarray:
    """Return images as a (n, height, width, channels) array, uncopied where possible.

    Parameters
    ----------
    images : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, n_features)
    image_shape : tuple or None
        Shape of images that come as rows; None takes a square number for gray squares.
    data_format : {"channels_last", "channels_first"}
        Order of the axes of 4-D images.

    Returns
    -------
    images : ndarray of shape (n_samples, height, width, channels)

    Raises
    ------
    ValueError
        If they are not numbers, or not of one of these shapes.
    """
    array = np.asarray(recognized(images, name="images"))
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"images must be numbers, got {array.dtype}: skdcec.datasets.load_images reads files."
        )
    if array.ndim == 2:
        return array.reshape(len(array), *resolve_image_shape(image_shape, array.shape[1]))
    if array.ndim == 3:
        return array[..., np.newaxis]
    if array.ndim != 4:
        raise ValueError(
            f"images have shape {array.shape}; (n, H, W), (n, H, W, C), (n, C, H, W) or rows of "
            "shape (n, n_features) are needed."
        )
    if data_format == "channels_first":
        return array.transpose(0, 2, 3, 1)
    if array.shape[1] in (1, 3, 4) and array.shape[3] > 4:
        raise ValueError(
            f"images of shape {array.shape} look like (n, C, H, W): pass "
            "data_format='channels_first'."
        )
    return array


def value_range(images: np.ndarray) -> tuple[float, float]:
    """Return the values to draw as black and as white; those that are not finite do not count."""
    if images.dtype == np.uint8:
        return 0.0, 255.0
    if images.dtype.kind == "b":
        return 0.0, 1.0
    ends = []
    for part in blocks(images):
        known = part
        if not (np.isfinite(part.min()) and np.isfinite(part.max())):
            known = part[np.isfinite(part)]
        if known.size:
            ends += [known.min(), known.max()]
    extremes = np.array(ends or [0.0])
    low, high = float(extremes.min()), float(extremes.max())
    if low >= 0:
        return 0.0, natural_scale(extremes)
    # Centred values: zero is not black.
    return low, high if high > low else low + 1.0


def to_pixels(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return one image as uint8 of shape (height, width, 3 or 4)."""
    if not fits_float32(high - low):
        # Halves, since the span of finite numbers need not be finite.
        image = (np.asarray(image, dtype=np.float64) / 2 - low / 2) / (high / 2 - low / 2)
        low, high = 0.0, 1.0
    values = np.asarray(image, dtype=np.float32)
    if values.shape[2] not in (3, 4):
        values = values.mean(axis=2, keepdims=True).repeat(3, axis=2)
    unit = np.nan_to_num((values - low) / (high - low))
    return np.round(255 * unit.clip(0, 1)).astype(np.uint8)
