"""Two spaces beside each other: what each of several parts sees, brought to equal variance."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from scipy.linalg import eigh
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    clone,
)
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skdcec._encoders.base import fill_in, unchanged_on_failure
from skdcec._encoders.contrastive import ContrastiveEncoder
from skdcec._encoders.images import (
    MAX_SEEN,
    ImageInput,
    check_scale_of_part,
    check_units,
    evenly_spread,
    units_compared,
)
from skdcec._encoders.remembered import embeddings_remembered, remember
from skdcec._persistence import SavedEstimator, declared, register
from skdcec._persistence.declared import MAX_WEIGHT, Kind
from skdcec._sklearn_compat import Interval, fit_context
from skdcec.features.color_edges import ColorEdgeFeatures

# Images that are described together.
_CHUNK = 256

MAX_PARTS = 8

_TINY_VARIANCE = 1e-12

# Of the largest variance along an axis: what is less is rounding.
_TINY_SHARE = 1e-10


@register
class SideBySide(
    ImageInput, SavedEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Describe images in several ways at once, none of which drowns the others.

    Each part embeds the images; the parts are brought to equal total variance and stand side by
    side; of these values, the `n_components` principal components are kept. Where two parts
    see different things, as learned and hand-made features do, the two together are better than
    either.

    Parameters
    ----------
    parts : list of transformers of images, default=None
        What describes the images, such as ``ColorEdgeFeatures()``, ``PretrainedFeatures()`` or
        ``ContrastiveEncoder(weights="paintings", max_epochs=0)``. Copies of them are fitted;
        what is in a ``FrozenEstimator`` is taken as it was fitted. None takes what describes
        paintings best: :func:`painting_parts`.
    n_components : int or None, default=96
        Principal components that are kept; None keeps all values as they stand. Where images
        differ in fewer directions, the rest is 0.
    image_shape : tuple (height, width) or (height, width, channels), default=None
        Shape of the images that come as rows of a 2-D `X`. None takes a square number of
        features for a square gray image, and any other for an image one pixel high.
    data_format : {"channels_last", "channels_first"}, default="channels_last"
        Order of the axes of a 4-D `X`. Rows of a 2-D `X` are always (H, W, C).
    device : str or torch.device, default=None
        Of the parts that leave theirs open. None takes CUDA or Apple's MPS where present, else
        the CPU.
    random_state : int, RandomState instance or None, default=None
        Of the parts that are trained and leave theirs open.

    Attributes
    ----------
    parts_ : list of transformers
        The parts, fitted.
    mean_ : ndarray of shape (n_values,)
        Mean of the values of all parts.
    deviation_ : ndarray of shape (n_values,)
        What values are divided by: the root of the total variance of the part that each is of.
    components_ : ndarray of shape (`n_components`, n_values) or None
        The directions that are kept; None with ``n_components=None``.
    metric_ : str
        "euclidean", the distance that the embedding is made for.
    image_shape_ : tuple (height, width, channels)
    scale_ : float
        Largest value that pixels have by convention.
    n_features_in_ : int
        Values per image.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of `X`, where it had any.

    See Also
    --------
    ColorEdgeFeatures : Features made by hand.
    PretrainedFeatures : Features of networks that were trained elsewhere.
    skdcec.ContrastiveEncoder : Learned features.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import load_digits
    >>> from skdcec import ConvAutoencoder
    >>> from skdcec.features import ColorEdgeFeatures, SideBySide
    >>> images = load_digits().images[:100]
    >>> autoencoder = ConvAutoencoder(filters=(4, 8), max_epochs=1)
    >>> space = SideBySide([autoencoder, ColorEdgeFeatures()], n_components=8, random_state=0)
    >>> KMeans(10, random_state=0).fit_predict(space.fit_transform(images)).shape
    (100,)
    """

    _parameter_constraints: dict[str, Any] = {
        **ImageInput._parameter_constraints,
        "parts": [list, tuple, None],
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "device": [str, torch.device, None],
        "random_state": ["random_state"],
    }
    _kept_parameters: Mapping[str, Kind] = {
        **ImageInput._kept_parameters,
        "parts": declared.either(
            declared.items(declared.part("encoder", "features"), 1, MAX_PARTS), declared.nothing
        ),
        "n_components": declared.either(declared.whole(1, declared.MAX_WIDTH), declared.nothing),
        "random_state": declared.seed,
    }
    _fitted_attributes: Mapping[str, Kind | None] = {
        **ImageInput._fitted_attributes,
        "parts_": declared.items(declared.part("encoder", "features"), 1, MAX_PARTS),
        "mean_": declared.array(1, "<f8", -MAX_WEIGHT, MAX_WEIGHT),
        "deviation_": declared.array(1, "<f8", 1e-7, MAX_WEIGHT),
        "components_": declared.either(declared.array(2, "<f8", -1.001, 1.001), declared.nothing),
        "metric_": declared.choice("euclidean"),
        "scale_": declared.scale,
        "n_features_in_": declared.n_features,
        "_n_features_out": declared.whole(1, declared.MAX_WIDTH),
    }
    _role = "encoder"
    # There is no network to train further together with clusters.
    module_ = None

    def __init__(
        self,
        parts: Sequence[Any] | None = None,
        *,
        n_components: int | None = 96,
        image_shape: tuple[int, ...] | None = None,
        data_format: str = "channels_last",
        device: Any = None,
        random_state: Any = None,
    ):
        self.parts = parts
        self.n_components = n_components
        self.image_shape = image_shape
        self.data_format = data_format
        self.device = device
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: None = None) -> Self:
        """Fit the parts, and find how much they vary and in which directions.

        Variances and directions are those of at most ten thousand images, evenly spread.

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

        Raises
        ------
        ValueError
            If `parts` is empty, or a part does not return one row of numbers per image.
        TypeError
            If a part is no transformer.
        """
        self._fit(X)
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X: Any, y: None = None) -> np.ndarray:
        """Fit to images, and describe them; faster than the one after the other.

        Parameters
        ----------
        X : array-like
            The images.
        y : None
            Ignored.

        Returns
        -------
        embedding : ndarray of shape (n_samples, n_components), dtype float32
            The descriptions together, balanced.
        """
        images, values = self._fit(X)
        if len(values) < len(images):
            return self._embed(images)
        return self._project(values)

    def transform(self, X: Any) -> np.ndarray:
        """Describe images.

        Parameters
        ----------
        X : array-like, or pictures
            Images of the shape seen in `fit`; or paths, contents of files, open files or PIL
            images, which are brought to it.

        Returns
        -------
        embedding : ndarray of shape (n_samples, n_components), dtype float32
            The descriptions together, balanced.
        """
        return self._by_chunks(lambda some: self._embed(self._checked(some)), X)

    def _checked(self, X: Any) -> np.ndarray:
        images = self._validate(X, reset=False)
        check_units(images, self.scale_)
        return images

    def _fit(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Fit, and return the images with the values of those that were looked at."""
        with unchanged_on_failure(self), embeddings_remembered():
            images = self._validate(X, reset=True)
            self.scale_ = self._find_scale(images)
            self.parts_ = self._fitted_parts(images)
            seen = images
            if len(images) > MAX_SEEN:
                seen = images[evenly_spread(len(images), MAX_SEEN)]
            values, widths = self._first_values(seen)
            self.mean_, self.deviation_ = moments(values, widths, [1.0] * len(widths))
            self.components_ = None
            if self.n_components is not None:
                self.components_ = principal_axes(self._balanced(values), int(self.n_components))
            self.metric_ = "euclidean"
            self._n_features_out = (
                len(self.mean_) if self.n_components is None else int(self.n_components)
            )
        if seen is images:
            remember(self, images, lambda: self._project(values))
        return images, values

    def _fitted_parts(self, images: np.ndarray) -> list[Any]:
        """Return the parts, fitted to the images unless they are frozen."""
        given = painting_parts() if self.parts is None else list(self.parts)
        if not 1 <= len(given) <= MAX_PARTS:
            raise ValueError(
                f"parts={self.parts!r} must be a list of 1 to {MAX_PARTS} transformers of images."
            )
        # Further draws, so that parts of one kind differ.
        random = check_random_state(self.random_state)
        fitted = []
        for part in given:
            if isinstance(part, type) or not (hasattr(part, "fit") and hasattr(part, "transform")):
                raise TypeError(
                    f"parts={self.parts!r} must be transformers of images; {part!r} has no fit "
                    "and transform."
                )
            seed = int(random.randint(2**31 - 1))
            if isinstance(part, FrozenEstimator):
                check_is_fitted(part.estimator)
                fitted.append(part.estimator)
                continue
            own = clone(part)
            first = own.steps[0][1] if hasattr(own, "steps") else own
            fill_in(first, image_shape=self.image_shape_, device=self.device, random_state=seed)
            fitted.append(own.fit(_as_taken(own, images)))
        return fitted

    def _first_values(self, images: np.ndarray) -> tuple[np.ndarray, list[int]]:
        """Return what all parts make of images, side by side, and how many values of each."""
        chunks = [self._values(images[start : start + _CHUNK]) for start in _starts(images)]
        widths = [part.shape[1] for part in chunks[0]]
        return np.concatenate([np.concatenate(parts, axis=1) for parts in chunks]), widths

    def _values(self, images: np.ndarray) -> list[np.ndarray]:
        """Return what each part makes of a few images."""
        found = []
        for part in self.parts_:
            with units_compared():
                values = np.asarray(part.transform(_as_taken(part, images)))
            if values.ndim != 2 or len(values) != len(images) or values.dtype.kind not in "fiub":
                raise ValueError(
                    f"{type(part).__name__} makes {values.dtype} of shape {values.shape} of "
                    f"{len(images)} images: a part must return one row of numbers for each."
                )
            found.append(values.astype(np.float32, copy=False))
        return found

    def _embed(self, images: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [
                self._project(np.concatenate(self._values(images[start : start + _CHUNK]), axis=1))
                for start in _starts(images)
            ]
        )

    def _balanced(self, values: np.ndarray) -> np.ndarray:
        """Return values around 0, of equal total variance for each part."""
        return (values - self.mean_) / self.deviation_

    def _project(self, values: np.ndarray) -> np.ndarray:
        result = self._balanced(values)
        if self.components_ is not None:
            result = result @ self.components_.T
        return result.astype(np.float32)

    def _check_loaded(self) -> None:
        n_values, n_out = len(self.mean_), self._n_features_out
        axes = (n_out, n_values) if self.components_ is None else self.components_.shape
        if len(self.deviation_) != n_values or axes != (n_out, n_values):
            raise ValueError("Means, deviations and directions are of different parts.")
        for part in self.parts_:
            check_is_fitted(part)
            check_scale_of_part(part, self.scale_)
            if part.image_shape_ != self.image_shape_:
                raise ValueError(f"A part takes images of other shapes than {self.image_shape_}.")
        if sum(part._n_features_out for part in self.parts_) != n_values:
            raise ValueError(
                f"The parts do not make the {n_values} values that there are means of."
            )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "mean_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def painting_parts() -> list[Any]:
    """Return what, side by side, describes paintings best of what comes with the library.

    Returns
    -------
    parts : list of transformers
        Unfitted.
    """
    return [
        ContrastiveEncoder(weights="paintings", max_epochs=0),
        # Chosen on paintings: more colours and coarser cells than by default.
        ColorEdgeFeatures(n_levels=8, n_cells=4),
    ]


def painting_space() -> SideBySide:
    """Return the space that paintings are compared in where nothing is to be trained.

    Returns
    -------
    space : SideBySide
        Unfitted.
    """
    return SideBySide(painting_parts())


def moments(
    rows: np.ndarray, widths: Sequence[int], shares: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return what brings blocks of columns to mean 0 and given shares of the variance.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_values)
    widths : sequence of int
        Columns of each block.
    shares : sequence of float

    Returns
    -------
    mean, deviation : ndarray of shape (n_values,), dtype float64
        What is taken from columns, and what they are then divided by.
    """
    variances = np.split(rows.var(axis=0, dtype=np.float64), np.cumsum(widths)[:-1])
    totals = [float(block.sum()) for block in variances]
    # A block that is the same in all rows counts for nothing, whatever it is divided by.
    deviations = [
        np.sqrt(total / share) if total > _TINY_VARIANCE else 1.0
        for total, share in zip(totals, shares, strict=True)
    ]
    return rows.mean(axis=0, dtype=np.float64), np.repeat(deviations, widths)


def principal_axes(rows: np.ndarray, n_components: int) -> np.ndarray:
    """Return the directions in which rows of mean 0 vary most.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_values), dtype float64
    n_components : int

    Returns
    -------
    axes : ndarray of shape (`n_components`, n_values)
        Of length 1, and 0 where rows vary in fewer directions.
    """
    n, n_values = rows.shape
    # Of the two matrices of products that have the same axes, the smaller one.
    across = n < n_values
    products = rows @ rows.T if across else rows.T @ rows
    n_kept = min(n_components, len(products))
    variances, vectors = eigh(products, subset_by_index=[len(products) - n_kept, len(products) - 1])
    kept = variances > _TINY_SHARE * max(variances[-1], _TINY_VARIANCE)
    directions = vectors[:, kept].T[::-1]
    if across:
        directions = directions @ rows
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    # The sign of a direction is arbitrary; it is fixed here, because solvers differ in it.
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    axes = np.zeros((n_components, n_values))
    axes[: len(directions)] = directions * np.sign(largest)
    return axes


def _as_taken(part: Any, images: np.ndarray) -> np.ndarray:
    """Return images as (n, H, W, C), or as rows where a part knows only these."""
    first = part.steps[0][1] if hasattr(part, "steps") else part
    knows_images = "image_shape" in first.get_params(deep=False)
    if knows_images and getattr(first, "data_format", "channels_last") == "channels_last":
        return images
    return images.reshape(len(images), -1)


def _starts(images: np.ndarray) -> range:
    """Return where chunks of images begin."""
    return range(0, len(images), _CHUNK)
