"""What may a file say? Kinds of values, of which each class declares one per name."""

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

# Layers of a network, epochs of which the history is kept, and names of columns.
_MAX_LAYERS = 10**5
_MAX_EPOCHS = 10_000
_MAX_HISTORIES = 8
_MAX_NAMES = 100_000
_MAX_LETTERS = 10**6

# Sizes of embeddings and widths of layers.
MAX_WIDTH = 2**16
# Weights and centers, and what is made from them, stay far below what float32 can square.
MAX_WEIGHT = 1e8
MAX_CODE = 1e15


class Kind(NamedTuple):
    """A kind of values.

    Attributes
    ----------
    text : str
        Completes "must be".
    accepts : callable
        Says of a value whether it is of this kind, and raises nothing.
    """

    text: str
    accepts: Callable[[Any], bool]


nothing = Kind("None", lambda value: value is None)
flag = Kind("True or False", lambda value: isinstance(value, bool))


def either(*kinds: Kind) -> Kind:
    """Return what is of one of several kinds."""
    return Kind(
        " or ".join(kind.text for kind in kinds),
        lambda value: any(kind.accepts(value) for kind in kinds),
    )


def choice(*texts: str) -> Kind:
    """Return one of several texts."""
    return Kind(
        " or ".join(map(repr, texts)), lambda value: isinstance(value, str) and value in texts
    )


def whole(least: int, most: float) -> Kind:
    """Return a whole number within bounds that belong to it."""

    def accepts(value: Any) -> bool:
        return _is_number(value, Integral) and bool(least <= value <= most)

    return Kind(f"a whole number from {least} to {most}", accepts)


def number(least: float, most: float) -> Kind:
    """Return a number within bounds that belong to it; they may be infinite, but not NaN."""

    def accepts(value: Any) -> bool:
        return _is_number(value, Real) and bool(least <= value <= most)

    return Kind(f"a number from {least:g} to {most:g}", accepts)


def _is_number(value: Any, of: type) -> bool:
    return isinstance(value, of) and not isinstance(value, bool)


def items(kind: Kind, least: int, most: int) -> Kind:
    """Return a list or tuple of so many values of a kind."""

    def accepts(value: Any) -> bool:
        return (
            isinstance(value, (list, tuple, range))
            and least <= len(value) <= most
            and all(map(kind.accepts, value))
        )

    return Kind(f"{least} to {most} values, each {kind.text}", accepts)


def array(n_axes: int, codes: str, least: float, most: float) -> Kind:
    """Return an array that is not empty.

    Parameters
    ----------
    n_axes : int
    codes : str
        What ``dtype.kind`` may be, or a ``dtype.str``.
    least, most : float
        Bounds of its values.
    """

    def accepts(value: Any) -> bool:
        return (
            isinstance(value, np.ndarray)
            and value.ndim == n_axes
            and (value.dtype.kind in codes or value.dtype.str == codes)
            and value.size > 0
            # NaN is not within any bounds.
            and bool(value.min() >= least and value.max() <= most)
        )

    return Kind(f"an array of {n_axes} axes with values from {least:g} to {most:g}", accepts)


def _are_histories(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and len(value) <= _MAX_HISTORIES
        and all(isinstance(rows, list) and len(rows) <= _MAX_EPOCHS for rows in value.values())
        and len({len(rows) for rows in value.values()}) == 1
        # Where labels were not compared, their change is NaN.
        and all(isinstance(row, float) for rows in value.values() for row in rows)
    )


def _are_names(value: Any) -> bool:
    return (
        isinstance(value, np.ndarray)
        and value.dtype == object
        and value.ndim == 1
        and 0 < len(value) <= _MAX_NAMES
        and all(isinstance(name, str) for name in value)
        and sum(map(len, value)) <= _MAX_LETTERS
    )


histories = Kind(
    f"at most {_MAX_HISTORIES} lists of floats, equally long, of at most {_MAX_EPOCHS}",
    _are_histories,
)
names = Kind(f"at most {_MAX_NAMES} names, of {_MAX_LETTERS} letters together", _are_names)
seed = either(whole(0, 2**32 - 1), nothing)
learning_rate = number(1e-12, 1e6)
epochs = whole(1, 10**5)
batch_size = whole(1, 10**6)
widths = either(
    items(whole(1, MAX_WIDTH), 1, _MAX_LAYERS),
    Kind(
        "an array of them",
        lambda value: array(1, "iu", 1, MAX_WIDTH).accepts(value) and len(value) <= _MAX_LAYERS,
    ),
)
side = whole(1, 2**16)
shape = items(side, 2, 3)
full_shape = Kind(
    "three whole numbers of at least 1",
    lambda value: isinstance(value, tuple) and items(whole(1, math.inf), 3, 3).accepts(value),
)
n_features = whole(1, 2**31)
scale = number(math.ulp(0.0), np.finfo(np.float64).max)


def part(*roles: str) -> Kind:
    """Return an object of a registered class with one of these roles, or a user's own encoder."""

    def accepts(value: Any) -> bool:
        role = getattr(type(value), "_role", None)
        if role is None and "encoder" in roles:
            return hasattr(value, "fit") and hasattr(value, "transform")
        return role in roles

    return Kind(" or ".join(roles), accepts)
