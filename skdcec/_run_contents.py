"""What may the data files of a run hold?"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

# Kinds of the values, and how many there are: n images, k clusters, d components.
_ARRAY_FIELDS: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "labels": ("iu", ("n",)),
    "embedding": ("f", ("n", "d")),
    "probabilities": ("f", ("n", "k")),
    "distances": ("f", ("n", "k")),
    "map": ("f", ("n", 2)),
}


def _are_texts(value: Any, n: int | None = None) -> bool:
    is_list = isinstance(value, list) and n in (None, len(value))
    return is_list and all(isinstance(item, str) for item in value)


def _are_numbers(value: Any) -> bool:
    numbers = isinstance(value, list) and all(isinstance(item, (int, float)) for item in value)
    return numbers and not any(isinstance(item, int) and abs(item) > 2**53 for item in value)


def _is_history(value: Any) -> bool:
    if not isinstance(value, dict) or not all(isinstance(phase, dict) for phase in value.values()):
        return False
    columns = [losses for phase in value.values() for losses in phase.values()]
    return "loss" in value.get("Joint training", {}) and all(map(_are_numbers, columns))


def _are_settings(value: Any) -> bool:
    known = isinstance(value, dict)
    return known and all(isinstance(item, (str, int, float, type(None))) for item in value.values())


_TEXT_FIELDS: dict[str, Callable[[Any, int], bool]] = {
    "paths": _are_texts,
    "filenames": _are_texts,
    "metadata": lambda value, n: (
        isinstance(value, dict) and all(_are_texts(column, n) for column in value.values())
    ),
    "skipped": lambda value, n: (
        isinstance(value, list) and all(_are_texts(pair, 2) for pair in value)
    ),
    "duplicates": lambda value, n: (
        isinstance(value, list)
        and all(isinstance(group, list) and len(group) > 1 for group in value)
        and all(type(i) is int and 0 <= i < n for group in value for i in group)
    ),
    "history": lambda value, n: _is_history(value),
    "settings": lambda value, n: _are_settings(value),
    "title": lambda value, n: isinstance(value, str),
    "metric": lambda value, n: value in ("euclidean", "cosine"),
    "by_hand": lambda value, n: (
        isinstance(value, list) and all(type(i) is int and 0 <= i < n for i in value)
    ),
    "pins": lambda value, n: (
        isinstance(value, dict) and all(type(cluster) is int for cluster in value.values())
    ),
}


def check_values(values: Mapping[str, Any]) -> None:
    """Refuse values that no run has.

    Parameters
    ----------
    values : mapping
        The fields of a :class:`skdcec._runs.Run`.

    Raises
    ------
    ValueError
        If one is missing, or of another type, range or shape.
    """
    import numpy as np

    odd = {*values} ^ {*_ARRAY_FIELDS, *_TEXT_FIELDS}
    if odd:
        raise ValueError(f"it holds no {min(odd)!r}, or should not")
    sizes: dict[str | int, int] = {2: 2}
    for name, (kinds, axes) in _ARRAY_FIELDS.items():
        array = values[name]
        if not isinstance(array, np.ndarray) or array.dtype.kind not in kinds:
            raise ValueError(f"its {name} are not numbers of the right kind")
        if array.ndim != len(axes) or any(
            sizes.setdefault(axis, size) != size or not size
            for axis, size in zip(axes, array.shape, strict=True)
        ):
            raise ValueError(f"its parts differ in length: {name} of shape {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"its {name} are not all finite")
    n, labels = sizes["n"], values["labels"]
    if labels.min() < 0 or labels.max() >= sizes["k"]:
        raise ValueError(f"its labels are not within 0 and {sizes['k'] - 1}")
    for name, is_right in _TEXT_FIELDS.items():
        if not is_right(values[name], n):
            raise ValueError(f"its {name} are not what they should be for {n} images")
    if any(not 0 <= cluster < sizes["k"] for cluster in values["pins"].values()):
        raise ValueError(f"its pins are not within 0 and {sizes['k'] - 1}")


def parse_arrays(content: bytes, path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an uncompressed archive.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    import numpy as np

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(member.file_size for member in archive.infolist()) > len(content):
                raise ValueError("it claims to be larger than it is")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return dict(arrays)
    except Exception as error:
        # There is no telling what a damaged file raises.
        raise ValueError(f"{path.name} cannot be read: {error}") from error
