"""Vectors that exist already, as a space to find clusters in: their principal components."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skdcec._encoders.base import unchanged_on_failure
from skdcec._encoders.images import validate_rows
from skdcec._persistence import SavedEstimator, declared, register
from skdcec._persistence.declared import MAX_CODE, Kind
from skdcec._sklearn_compat import Interval, fit_context
from skdcec.features.side_by_side import principal_axes

# Rows that are turned together, and those that decide on directions.
_CHUNK = 4096
_N_SEEN = 10_000

_TINY_VARIANCE = 1e-30


@register
class ReducedFeatures(
    SavedEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Bring vectors of any network to a few numbers, in which clusters can be found as they are.

    The values are taken as they come, centred, and turned so that the `n_components` directions
    in which they vary most remain; their total variance becomes 1. As the `encoder` of
    :class:`~skdcec.DeepEmbeddingClustering` with ``max_epochs=0``, nothing is trained.

    Parameters
    ----------
    n_components : int, default=32
        Principal components that are kept; fewer where there are fewer features. Where rows
        differ in fewer directions, the rest is 0.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,)
        Mean of the rows.
    components_ : ndarray of shape (n_kept, n_features)
        The directions that are kept.
    scale_of_variance_ : float
        What values are divided by: the root of their total variance.
    metric_ : str
        "euclidean", the distance that the embedding is made for.
    n_features_in_ : int
        Values per row.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of `X`, where it had any.

    See Also
    --------
    SideBySide : The same of several descriptions of images.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdcec import DeepEmbeddingClustering
    >>> from skdcec.features import ReducedFeatures
    >>> X = load_digits().data[:200]
    >>> model = DeepEmbeddingClustering(
    ...     10, encoder=ReducedFeatures(16), max_epochs=0, random_state=0
    ... )
    >>> model.fit_predict(X).shape
    (200,)
    """

    _parameter_constraints: dict[str, Any] = {
        "n_components": [Interval(Integral, 1, None, closed="left")]
    }
    _kept_parameters: Mapping[str, Kind] = {"n_components": declared.whole(1, declared.MAX_WIDTH)}
    _fitted_attributes: Mapping[str, Kind | None] = {
        "mean_": declared.array(1, "<f8", -MAX_CODE, MAX_CODE),
        "components_": declared.array(2, "<f8", -1.001, 1.001),
        "scale_of_variance_": declared.number(1e-30, 1e3 * MAX_CODE),
        "metric_": declared.choice("euclidean"),
        "n_features_in_": declared.n_features,
    }
    _role = "encoder"
    # There is no network to train further together with clusters.
    module_ = None

    def __init__(self, n_components: int = 32):
        self.n_components = n_components

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: None = None) -> Self:
        """Find in which directions rows vary most.

        Directions are those of at most ten thousand rows, evenly spread.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The vectors. May be memory-mapped.
        y : None
            Ignored.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a value is not finite, or above 1e15.
        """
        with unchanged_on_failure(self):
            rows = validate_rows(self, X, reset=True)
            seen = np.linspace(0, len(rows) - 1, min(len(rows), _N_SEEN)).round().astype(int)
            some = rows[seen].astype(np.float64)
            largest = float(np.abs(some).max())
            if largest > MAX_CODE:
                raise ValueError(
                    f"X has values up to {largest:.3g}; at most {MAX_CODE:g} are taken."
                )
            self.mean_ = some.mean(axis=0)
            some -= self.mean_
            total = float((some**2).sum() / len(some))
            # Rows that are all the same count for nothing, whatever they are divided by.
            self.scale_of_variance_ = float(np.sqrt(total)) if total > _TINY_VARIANCE else 1.0
            n_kept = min(int(self.n_components), rows.shape[1])
            self.components_ = principal_axes(some / self.scale_of_variance_, n_kept)
            self.metric_ = "euclidean"
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the principal components of rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Vectors as seen in `fit`.

        Returns
        -------
        embedding : ndarray of shape (n_samples, n_kept), dtype float32
        """
        check_is_fitted(self)
        rows = validate_rows(self, X, reset=False)
        found = np.empty((len(rows), len(self.components_)), dtype=np.float32)
        for start in range(0, len(rows), _CHUNK):
            some = (rows[start : start + _CHUNK] - self.mean_) / self.scale_of_variance_
            found[start : start + _CHUNK] = some @ self.components_.T
        return found

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def _check_loaded(self) -> None:
        n_features = self.components_.shape[1]
        if {len(self.mean_), self.n_features_in_} != {n_features}:
            raise ValueError("Mean and directions are of rows of different lengths.")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "mean_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
