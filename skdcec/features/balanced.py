"""Rows of several descriptions side by side: blocks of columns brought to equal variance."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skdcec._encoders.base import unchanged_on_failure
from skdcec._encoders.images import MAX_SEEN, evenly_spread, validate_rows
from skdcec._persistence import declared, register
from skdcec._persistence.declared import MAX_WEIGHT, Kind
from skdcec._sklearn_compat import Interval, fit_context
from skdcec.features.side_by_side import moments, principal_axes

# Of which squares can be added up; float32 has no greater ones.
_MAX_VALUE = float(np.finfo(np.float32).max)

_MAX_BLOCKS = 64


@register
class BalancedBlocks(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Bring blocks of columns to given shares of the variance, and keep principal components.

    What :class:`SideBySide` does to what its parts make of images, for rows that were made before:
    the features of a network beside others.

    Parameters
    ----------
    widths : sequence of int, default=None
        Columns of each block; None for one block of all columns.
    shares : sequence of float, default=None
        Variance of each block, in any unit; None gives all the same.
    n_components : int, default=96
        Principal components that are kept. Where rows differ in fewer directions, the rest is 0.

    Attributes
    ----------
    mean_, deviation_ : ndarray of shape (n_features,)
        What is taken from columns, and what they are divided by.
    components_ : ndarray of shape (`n_components`, n_features)
        The directions that are kept.
    metric_ : str
        "euclidean", the distance that the embedding is made for.
    n_features_in_ : int
        Columns.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of `X`, where it had any.

    See Also
    --------
    SideBySide : Makes the blocks itself, of images.

    Examples
    --------
    >>> import numpy as np
    >>> from skdcec.features import BalancedBlocks
    >>> random = np.random.default_rng(0)
    >>> rows = np.hstack([random.normal(size=(50, 3)), 1000 * random.normal(size=(50, 4))])
    >>> space = BalancedBlocks([3, 4], n_components=7).fit(rows)
    >>> float((rows / space.deviation_).var(axis=0)[:3].sum().round(3))
    1.0
    """

    _parameter_constraints: dict[str, Any] = {
        "widths": ["array-like", None],
        "shares": ["array-like", None],
        "n_components": [Interval(Integral, 1, None, closed="left")],
    }
    _kept_parameters: Mapping[str, Kind] = {
        "widths": declared.either(
            declared.items(declared.whole(1, declared.MAX_WIDTH), 1, _MAX_BLOCKS), declared.nothing
        ),
        "shares": declared.either(
            declared.items(declared.number(1e-6, 1e6), 1, _MAX_BLOCKS), declared.nothing
        ),
        "n_components": declared.whole(1, declared.MAX_WIDTH),
    }
    _fitted_attributes: Mapping[str, Kind | None] = {
        "mean_": declared.array(1, "<f8", -MAX_WEIGHT, MAX_WEIGHT),
        "deviation_": declared.array(1, "<f8", 1e-7, MAX_WEIGHT),
        "components_": declared.array(2, "<f8", -1.001, 1.001),
        "metric_": declared.choice("euclidean"),
        "n_features_in_": declared.n_features,
        "_n_features_out": declared.whole(1, declared.MAX_WIDTH),
    }
    _role = "encoder"
    # There is no network to train further together with clusters.
    module_ = None

    def __init__(
        self,
        widths: Sequence[int] | None = None,
        *,
        shares: Sequence[float] | None = None,
        n_components: int = 96,
    ):
        self.widths = widths
        self.shares = shares
        self.n_components = n_components

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: None = None) -> Self:
        """Find how much blocks vary, and in which directions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with the blocks side by side.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The estimator itself, fitted.

        Raises
        ------
        ValueError
            If the blocks do not have the columns of `X`.
        """
        with unchanged_on_failure(self):
            rows = _moderate(validate_rows(self, X, reset=True))
            widths = [rows.shape[1]] if self.widths is None else [*map(int, self.widths)]
            shares = [1.0] * len(widths) if self.shares is None else [*map(float, self.shares)]
            if sum(widths) != rows.shape[1] or min(widths, default=0) < 1:
                raise ValueError(
                    f"widths={self.widths!r} must be positive and add up to the {rows.shape[1]} "
                    "columns of X."
                )
            if len(shares) != len(widths) or min(shares) <= 0:
                raise ValueError(
                    f"shares={self.shares!r} must be {len(widths)} positive numbers, as many as "
                    "widths."
                )
            some = rows[evenly_spread(len(rows), MAX_SEEN)].astype(np.float64)
            self.mean_, self.deviation_ = moments(some, widths, shares)
            balanced = (some - self.mean_) / self.deviation_
            self.components_ = principal_axes(balanced, int(self.n_components))
            self.metric_ = "euclidean"
            self._n_features_out = int(self.n_components)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Embed rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with the blocks side by side.

        Returns
        -------
        embedding : ndarray of shape (n_samples, n_components), dtype float32
            Principal components of the balanced blocks.
        """
        check_is_fitted(self)
        rows = _moderate(validate_rows(self, X, reset=False))
        balanced = (rows - self.mean_) / self.deviation_
        embedding: np.ndarray = (balanced @ self.components_.T).astype(np.float32)
        return embedding

    def _check_loaded(self) -> None:
        n_values, n_out = self.n_features_in_, self._n_features_out
        if len(self.mean_) != n_values or len(self.deviation_) != n_values:
            raise ValueError("Means and deviations are not those of its columns.")
        if self.components_.shape != (n_out, n_values):
            raise ValueError("Its directions are not those of its columns.")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "components_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _moderate(rows: np.ndarray) -> np.ndarray:
    """Return rows whose squares are finite."""
    largest = max(abs(float(rows.max())), abs(float(rows.min())))
    if largest > _MAX_VALUE:
        raise ValueError(
            f"X has values up to {largest:g}, and may have up to {_MAX_VALUE:g}: take a greater "
            "unit, or look for what is no number there."
        )
    return rows
