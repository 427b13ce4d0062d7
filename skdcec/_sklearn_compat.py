"""The one place for names that scikit-learn keeps to itself, and may move."""

import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from sklearn import utils
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._param_validation import HasMethods, Options, StrOptions
from sklearn.utils._param_validation import Interval as _Interval
from sklearn.utils.validation import _check_feature_names as check_feature_names
from sklearn.utils.validation import _num_samples as num_samples

if TYPE_CHECKING:
    # scikit-learn states no types, so what it decorates would have none either.
    _Function = TypeVar("_Function", bound=Callable[..., Any])

    def available_if(check: Callable[[Any], bool]) -> Callable[[_Function], _Function]: ...

    def fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[_Function], _Function]: ...

    def validate_params(
        constraints: Mapping[str, Any], *, prefer_skip_nested_validation: bool
    ) -> Callable[[_Function], _Function]: ...

else:
    from sklearn.base import _fit_context as fit_context
    from sklearn.utils import metaestimators
    from sklearn.utils._param_validation import validate_params

    def available_if(check):
        """Offer a method unless `check` raises an AttributeError, and say then what that says.

        scikit-learn's decorator of this name has it as the cause of its own error only.
        """
        return lambda function: _Available(function, metaestimators.available_if(check)(function))

    class _Available:
        def __init__(self, function, offered):
            self._offered = offered
            update_wrapper(self, function)

        def __get__(self, instance, owner=None):
            try:
                return self._offered.__get__(instance, owner)
            except AttributeError as error:
                reason = error.__cause__
                if reason is None or not str(reason):
                    raise
                raise AttributeError(f"{error}: {reason}") from reason


__all__ = [
    "OUTPUT_CONFIG",
    "HasMethods",
    "Interval",
    "OneOfMany",
    "Options",
    "StrOptions",
    "available_if",
    "check_array",
    "check_feature_names",
    "fit_context",
    "num_samples",
    "safe_indexing",
    "unwarned",
    "validate_data",
    "validate_params",
    "validate_params_of",
]

# The attribute in which `set_output` keeps what it was asked for.
OUTPUT_CONFIG = "_sklearn_output_config"


class Interval(_Interval):
    """A range of numbers, to which True, a 1 to Python and scikit-learn, does not belong."""

    def is_satisfied_by(self, val: Any) -> bool:
        return not isinstance(val, bool | np.bool_) and super().is_satisfied_by(val)


class OneOfMany(Interval):
    """Such a range of numbers of clusters, of which a search finds the best."""

    def __str__(self) -> str:
        return f"{super().__str__()}, which skdcec.model_selection.NClustersSearch chooses of many"


@contextmanager
def unwarned(
    message: str = "",
    module: str = r"sklearn\.",
    category: type[Warning] = ConvergenceWarning,
) -> Iterator[None]:
    """Ignore warnings, by default those of convergence, one for each of many runs we count.

    Parameters
    ----------
    message, module : str
        Patterns of the beginnings of the messages, and of the names of the modules.
    category : subclass of Warning
    """
    if getattr(sys.flags, "context_aware_warnings", False):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message, category, module)
            yield
        return
    # catch_warnings would put back the list it found, which takes away what other threads have
    # changed meanwhile; one entry in and the same out does not.
    entry = ("ignore", re.compile(message), category, re.compile(module), 0)
    filters = cast(list[Any], warnings.filters)
    filters.insert(0, entry)
    try:
        yield
    finally:
        with suppress(ValueError):
            filters.remove(entry)


def check_array(array: Any, **options: Any) -> Any:
    """Check an array as scikit-learn does, which adds up values that may cancel or overflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        return utils.check_array(array, **options)


def validate_data(estimator: Any, X: Any, **options: Any) -> Any:
    """Check what an estimator is given, likewise."""
    with np.errstate(over="ignore", invalid="ignore"):
        return utils.validation.validate_data(estimator, X, **options)


def validate_params_of(estimator: Any) -> None:
    """Hold the parameters of an estimator to the constraints of its class, where it has any.

    Raises
    ------
    ValueError
        If one does not meet them.
    """
    if hasattr(estimator, "_parameter_constraints"):
        estimator._validate_params()
