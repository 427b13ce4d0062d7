"""Which classes may a file name, and what may it say of each?"""

from collections.abc import Mapping
from typing import Any, TypeVar

from skdcec._persistence import declared
from skdcec._persistence.declared import Kind
from skdcec._sklearn_compat import OUTPUT_CONFIG

AnyClass = TypeVar("AnyClass", bound=type)

# What scikit-learn itself sets on any estimator that has seen data.
OUTPUTS = ("default", "pandas", "polars")


def _is_output_config(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"transform"}
        and declared.choice(*OUTPUTS).accepts(value["transform"])
    )


BY_SKLEARN: Mapping[str, Kind] = {
    "n_features_in_": declared.n_features,
    "feature_names_in_": declared.names,
    OUTPUT_CONFIG: Kind(f"what set_output sets, one of {OUTPUTS}", _is_output_config),
}

# Attributes that are read in ways of their own.
NETWORK, ENCODER = "module_", "encoder_"

_registry: dict[str, type] = {}


def register(cls: AnyClass) -> AnyClass:
    """Let files name `cls`; a decorator of estimators and augmentations.

    What a file may say is declared by two tables, from names to kinds of values:
    ``_kept_parameters`` of what ``__init__`` takes, and ``_fitted_attributes`` of what `fit`
    sets. Saving and loading know no others. The second may also have ``module_``, a network
    that ``_new_module(None)`` makes without values, and ``encoder_``, a fitted estimator, of
    whose network ``module_`` is then a refined copy; they have None in the place of a kind.
    ``_role`` says as what part of another the class may stand. ``_check_loaded``, if there is
    such a method, raises a ValueError where attributes do not fit each other.

    Raises
    ------
    TypeError
        If another class has the same name, or a declared attribute would hide what the class
        defines.
    """
    known = _registry.get(cls.__name__, cls)
    # A class that was merely imported again has the same place.
    if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        raise TypeError(f"{known!r} is registered under the name {cls.__name__!r} already.")
    hidden = [name for name in attributes_of(cls) if hasattr(cls, name)]
    if hidden:
        raise TypeError(f"_fitted_attributes of {cls.__name__} would hide {hidden}.")
    _registry[cls.__name__] = cls
    return cls


def registered(name: Any) -> type | None:
    """Return the class of this name that files may name, or None."""
    return _registry.get(name) if isinstance(name, str) else None


def is_registered(estimator: Any) -> bool:
    """Whether files may hold `estimator`: an instance of a registered class, not of a subclass."""
    return _registry.get(type(estimator).__name__) is type(estimator)


def parameters_of(cls: type) -> Mapping[str, Kind]:
    """Return what a file may say of the parameters of a class."""
    kinds: Mapping[str, Kind] = getattr(cls, "_kept_parameters", {})
    return kinds


def attributes_of(cls: type) -> Mapping[str, Kind | None]:
    """Return what a file may say of a fitted estimator."""
    own: Mapping[str, Kind | None] = getattr(cls, "_fitted_attributes", {})
    return {**BY_SKLEARN, **own} if own else {}


def required_of(cls: type) -> set[str]:
    """Return the names of what a file has to say of a fitted estimator in JSON.

    What may be None may also be missing: the class was written down before it knew of it.
    """
    own: Mapping[str, Kind | None] = getattr(cls, "_fitted_attributes", {})
    return {name for name, kind in own.items() if kind is not None and not kind.accepts(None)}
