"""Images shrunk to what a description was made for, and described."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from skdcec._encoders.base import fill_in, unchanged_on_failure
from skdcec._encoders.images import ImageInput, check_scale_of_part
from skdcec._persistence import declared, register
from skdcec._persistence.declared import Kind
from skdcec._sklearn_compat import HasMethods, Interval, fit_context


@register
class Resized(ImageInput, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Describe images by a transformer that was made for smaller ones.

    In :class:`SideBySide`, parts see images of one size; an encoder of 64 pixels stands in this
    beside a network that wants more.

    Parameters
    ----------
    estimator : transformer of images
        A copy is fitted to the shrunken images.
    size : int, default=64
        Pixels of the longer side; smaller images stay as they are.
    image_shape : tuple (height, width) or (height, width, channels), default=None
        Shape of the images that come as rows of a 2-D `X`. None takes a square number of
        features for a square gray image, and any other for an image one pixel high.
    data_format : {"channels_last", "channels_first"}, default="channels_last"
        Order of the axes of a 4-D `X`. Rows of a 2-D `X` are always (H, W, C).
    device : str or torch.device, default=None
        That of the transformer, where it leaves its own open.
    random_state : int, RandomState instance or None, default=None
        That of the transformer, where it leaves its own open.

    Attributes
    ----------
    parts_ : list of one transformer
        It, fitted.
    image_shape_ : tuple (height, width, channels)
    scale_ : float
        Largest value that pixels have by convention.
    n_features_in_ : int
        Values per image.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of `X`, where it had any.

    See Also
    --------
    SideBySide : Several descriptions of images together.
    skdcec.ContrastiveEncoder : A transformer that is made for 64 pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from skdcec.features import ColorEdgeFeatures, Resized
    >>> images = np.zeros((3, 50, 100, 3), np.uint8)
    >>> Resized(ColorEdgeFeatures(), size=32).fit(images).parts_[0].image_shape_
    (16, 32, 3)
    """

    _parameter_constraints: dict[str, Any] = {
        **ImageInput._parameter_constraints,
        "estimator": [HasMethods(["fit", "transform"])],
        "size": [Interval(Integral, 1, None, closed="left")],
        "device": [str, torch.device, None],
        "random_state": ["random_state"],
    }
    _kept_parameters: Mapping[str, Kind] = {
        **ImageInput._kept_parameters,
        "estimator": declared.part("encoder", "features"),
        "size": declared.side,
        "random_state": declared.seed,
    }
    _fitted_attributes: Mapping[str, Kind | None] = {
        **ImageInput._fitted_attributes,
        "parts_": declared.items(declared.part("encoder", "features"), 1, 1),
        "scale_": declared.scale,
        "n_features_in_": declared.n_features,
        "_n_features_out": declared.whole(1, declared.MAX_WIDTH),
    }
    _role = "features"

    def __init__(
        self,
        estimator: Any,
        size: int = 64,
        *,
        image_shape: tuple[int, ...] | None = None,
        data_format: str = "channels_last",
        device: Any = None,
        random_state: Any = None,
    ):
        self.estimator = estimator
        self.size = size
        self.image_shape = image_shape
        self.data_format = data_format
        self.device = device
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: None = None) -> Self:
        """Fit the transformer to the shrunken images.

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
            part = clone(self.estimator)
            fill_in(part, device=self.device, random_state=self.random_state)
            self.parts_ = [part.fit(shrunken(images, int(self.size)))]
            width = getattr(part, "_n_features_out", None)
            self._n_features_out = int(width or len(part.get_feature_names_out()))
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
        features : ndarray of shape (n_samples, n_features)
            What the transformer makes of each resized image.
        """
        return self._by_chunks(self._describe, X)

    def _describe(self, X: Any) -> np.ndarray:
        images = shrunken(self._validate(X, reset=False), int(self.size))
        # Whatever it returns by `set_output`.
        return np.asarray(self.parts_[0].transform(images))

    def _check_loaded(self) -> None:
        part = self.parts_[0]
        check_is_fitted(part)
        check_scale_of_part(part, self.scale_)
        height, width, n_channels = self.image_shape_
        wanted = (*_small((height, width), int(self.size)), n_channels)
        if part.image_shape_ != wanted:
            raise ValueError(f"Its transformer takes images of shape {part.image_shape_}.")
        if part._n_features_out != self._n_features_out:
            raise ValueError(f"Its transformer does not make {self._n_features_out} values.")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "parts_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def shrunken(images: np.ndarray, size: int) -> np.ndarray:
    """Return images whose longer side has at most `size` pixels, in the same proportions.

    Parameters
    ----------
    images : ndarray of shape (n_samples, height, width, channels)
    size : int

    Returns
    -------
    images : ndarray of shape (n_samples, height, width, channels)
        uint8 where they were that, else float32.
    """
    height, width = _small(images.shape[1:3], size)
    if (height, width) == images.shape[1:3]:
        return images
    dtype = np.uint8 if images.dtype == np.uint8 else np.float32
    small = np.empty((len(images), height, width, images.shape[3]), dtype)
    for image, place in zip(images, small, strict=True):
        for channel in range(images.shape[3]):
            band = Image.fromarray(np.ascontiguousarray(image[..., channel], dtype))
            # As files are read: large reductions first by whole factors.
            shrunk = band.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
            place[..., channel] = shrunk
    return small


def _small(shape: tuple[int, ...], size: int) -> tuple[int, int]:
    """Return (height, width) of the same proportions with at most `size` on the longer side."""
    scale = min(1.0, size / max(shape))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))
