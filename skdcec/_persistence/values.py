"""How are plain values kept in JSON, which knows neither tuples nor arrays?"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from skdcec._persistence.tensors import Refused

# How much of a value an error repeats.
MAX_TEXT = 80


def encode(value: Any, name: str, other: Callable[[Any, str], Any]) -> Any:
    """Return `value` as JSON can hold it; `other` does so with what is no plain value."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, (list, tuple, range)):
        items = [encode(item, f"{name}.{i}", other) for i, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {k: encode(item, f"{name}.{k}", other) for k, item in value.items()}}
    return other(value, name)


def decode(value: Any, other: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Return what `encode` was given; without `other`, plain values alone."""
    if isinstance(value, list):
        return [decode(item, other) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"tuple"}:
        return tuple(decode(item, other) for item in value["tuple"])
    if value.keys() == {"dict"}:
        return {key: decode(item, other) for key, item in value["dict"].items()}
    if other is None:
        raise Refused("a note is no plain value")
    return other(value)


def not_a_note(value: Any, name: str) -> Any:
    """Raise a TypeError about what `encode` cannot keep without tensors."""
    raise TypeError(
        f"notes[{name!r}]={value!r} must be made of None, booleans, numbers, strings, and lists, "
        "tuples and dicts of them."
    )
