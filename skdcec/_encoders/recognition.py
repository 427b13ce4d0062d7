"""What was given in the place of an array of numbers, and what would do?"""

import os
from collections.abc import Iterable, Mapping
from numbers import Number
from typing import Any

import numpy as np
import sklearn
import torch
from PIL import Image
from scipy import sparse

from skdcec._maps import blocks

# Tables that cannot name the files to load; those of text can.
_WORKBOOKS = (".xlsx", ".xlsm", ".xls", ".ods", ".numbers", ".parquet")
# What pandas writes in the place of values that are not there.
_MISSING = ("NAType", "NaTType")
# What Pillow's modes are to us: the others hold indices, inks, or half of their channels for hue.
_MODES = ("L", "RGB", "RGBA", "F", "I", "I;16")


def recognized(X: Any, *, rows: bool = False, name: str = "X") -> Any:
    """Return what scikit-learn's checks can take for an array, or say what `X` is instead.

    Parameters
    ----------
    X : object
        Arrays and frames of numbers, and lists of those, are left to the checks; tensors on the
        CPU become arrays, lists of equal images one array, and what `load_images` returns the
        images in it.
    rows : bool, default=False
        Whether rows of features are wanted, and not images.
    name : str, default="X"
        What the caller calls it.

    Returns
    -------
    array-like

    Raises
    ------
    TypeError, ValueError
        If it is something else; one sentence that names the fix.
    """
    if isinstance(X, np.ndarray) and X.ndim == 0 and X.dtype == object:
        # What NumPy makes of things that it does not know.
        X = X.item()
    if sparse.issparse(X):
        return X
    if not rows and isinstance(X, Mapping) and hasattr(X.get("images"), "shape"):
        # What `load_images` and the data sets of scikit-learn return.
        X = X["images"]
    _refuse_things(X, rows, name)
    if isinstance(X, torch.Tensor):
        return _from_tensor(X, name)
    if hasattr(X, "__array__") or hasattr(X, "__array_interface__"):
        return _from_array(X, rows, name)
    if not hasattr(X, "__len__") or not hasattr(X, "__getitem__"):
        if isinstance(X, Iterable):
            raise TypeError(
                f"{name} is a {_kind(X)}, which can be read once only: give an array, "
                f"np.stack(list({name}))."
            )
        raise TypeError(f"{name} is {_short(X)}: give an array of {_wanted(rows)}.")
    return _from_list(list(X), rows, name)


def check_finite_values(X: np.ndarray, *, name: str = "X") -> None:
    """Raise where an array has values that are no numbers.

    Raises
    ------
    ValueError
        If so; it counts the samples, and names the first.
    """
    if X.dtype.kind != "f" or X.size == 0 or sklearn.get_config()["assume_finite"]:
        return
    with np.errstate(over="ignore", invalid="ignore"):
        if all(np.isfinite(block.sum(dtype=np.float64)) for block in blocks(X)):
            return
    bad = np.concatenate(
        [~np.isfinite(block).reshape(len(block), -1).all(axis=1) for block in blocks(X)]
    )
    if bad.any():
        first = int(bad.argmax())
        what = "NaN" if np.isnan(X[first]).any() else "infinity"
        raise ValueError(
            f"Input {name} contains {what}: {int(bad.sum())} of {len(X)} samples have values that "
            f"are not finite, the first is {name}[{first}]; leave these out, or give them values, "
            f"such as np.nan_to_num({name}, posinf=0, neginf=0)."
        )


# Things that are no data


def _refuse_things(X: Any, rows: bool, name: str) -> None:
    """Raise for single things that stand for images without being an array of them."""
    if isinstance(X, bytes | bytearray):
        raise TypeError(
            f"{name} is the content of a file ({len(X)} bytes): give images, "
            f"np.asarray(PIL.Image.open(io.BytesIO({name})).convert('RGB'))[None]."
        )
    if isinstance(X, str | os.PathLike):
        raise ValueError(f"{name}={_short(X)} is {_path_kind(X)}: {_to_load(X, rows)}")
    if isinstance(X, Image.Image):
        raise ValueError(
            f"{name} is one PIL image: a collection of one is "
            f"np.asarray({name}.convert('RGB'))[None]."
        )
    if isinstance(X, torch.utils.data.DataLoader):
        raise TypeError(
            f"{name} is a DataLoader: give what it loads as one array, "
            f"torch.cat([batch[0] for batch in {name}]).numpy(), or without [0] where a batch has "
            "no labels."
        )
    if isinstance(X, torch.utils.data.Dataset):
        raise TypeError(
            f"{name} is a {_kind(X)} of PyTorch: give its images as one array, "
            f"np.stack([item[0] for item in {name}])."
        )
    if isinstance(X, Mapping):
        raise TypeError(f"{name} is a {_kind(X)}: {_entry(X, rows, name)}")
    if hasattr(X, "column_names") and hasattr(X, "features"):
        column = next((c for c in X.column_names if "image" in c.lower()), "image")
        raise TypeError(
            f"{name} is a {_kind(X)} with columns: give its images as one array, "
            f"{_resized(f'{name}[{column!r}]')}."
        )


def _entry(X: Mapping[Any, Any], rows: bool, name: str) -> str:
    """Return which entry of a mapping holds the images."""
    for key in ("images", "data"):
        if key in X and hasattr(X[key], "shape"):
            # As `load_images` and scikit-learn return them.
            entry = f"{name}.{key}" if hasattr(X, key) else f"{name}[{key!r}]"
            flat = f".reshape(len({entry}), -1)" if rows and X[key].ndim > 2 else ""
            return f"give its images, {entry}{flat}."
    keys = ", ".join(repr(key) for key in list(X)[:5])
    return f"give the array that it holds, one of {name}[...] with {keys or 'no key at all'}."


def _path_kind(path: Any) -> str:
    text = os.fsdecode(path)
    if os.path.isdir(text):
        return "a folder"
    if text.lower().endswith((".csv", ".tsv", ".txt", *_WORKBOOKS)):
        return "the path of a table"
    return "a path" if os.path.splitext(text)[1] or os.sep in text else "a text"


def _to_load(path: Any, rows: bool) -> str:
    """Return what to give in the place of a path."""
    text = os.fsdecode(path)
    if text.lower().endswith(_WORKBOOKS):
        return (
            "save it as CSV with a column of file names, and give "
            f"{_loaded(repr('table.csv'), rows)}."
        )
    return f"give the images themselves, {_loaded(_short(text), rows)}."


def _loaded(source: str, rows: bool) -> str:
    """Return the code that reads images from `source`, itself code."""
    if rows:
        return f"skdcec.datasets.load_images({source}, size=64).images.reshape(-1, 64 * 64 * 3)"
    return f"skdcec.datasets.load_images({source}).images"


# Arrays, tensors, frames


def _from_tensor(X: torch.Tensor, name: str) -> np.ndarray:
    try:
        array: np.ndarray = X.detach().numpy()
    except (TypeError, RuntimeError) as error:
        raise TypeError(
            f"{name} is a tensor of {X.dtype} ({X.layout}) on {X.device}: give an array, "
            f"{name}.detach().cpu().to_dense().float().numpy()."
        ) from error
    return array


def _from_array(X: Any, rows: bool, name: str) -> Any:
    """Return arrays and frames as they are, unless they hold something else than numbers."""
    if isinstance(X, np.ma.MaskedArray) and np.ma.is_masked(X):
        raise ValueError(
            f"{name} is a masked array, and what is masked would count: give "
            f"{name}.filled(0), or another value."
        )
    if hasattr(X, "columns") and hasattr(X, "iloc"):
        _check_columns(X, rows, name)
        return X
    kind = getattr(getattr(X, "dtype", None), "kind", "O")
    if kind == "c":
        raise ValueError(
            f"Complex data not supported: {name} holds {X.dtype}; give np.abs({name}), or another "
            "number of each value."
        )
    if kind in "biuf" and getattr(X, "ndim", 1) > 1:
        return X
    array = X if isinstance(X, np.ndarray) else np.asarray(X)
    if array.dtype.kind in "mMV":
        raise TypeError(f"{name} holds {array.dtype}: give an array of {_wanted(rows)}.")
    if array.ndim == 0:
        raise ValueError(f"{name} is {_short(array.item())}: give an array of {_wanted(rows)}.")
    if array.dtype.kind in "OUST" and array.size:
        alone = array.ndim == 1 or array.shape[1:] == (1,)
        _refuse_items(array, rows, name, _kind(X) if alone else None)
        if array.dtype.kind in "UST":
            raise ValueError(
                f"{name} holds texts, such as {_short(array.ravel()[0])}, and no numbers: give "
                f"{name}.astype(float)."
            )
    if array.ndim == 1 and array.size:
        _refuse_one_axis(array, rows, name if array is X else f"np.asarray({name})")
    return X


def _check_columns(frame: Any, rows: bool, name: str) -> None:
    """Raise for columns of text that is no number, and of images."""
    for place, column in enumerate(frame.columns):
        values = frame.iloc[:, place]
        if getattr(values.dtype, "kind", "O") in "biufc":
            continue
        first = next((value for value in values if not _is_missing(value)), None)
        if any(type(value).__name__ in _MISSING for value in values):
            raise ValueError(
                f"{name} has a column {column!r} with missing values: leave their rows or the "
                f"column out, or give them values, such as {name}.fillna(0)."
            )
        if first is not None and not isinstance(first, str):
            _refuse_items([first], rows, f"{name}[{column!r}]", "column")
        elif first is not None and not _is_number(first):
            raise ValueError(
                f"{name} has a column {column!r} of texts, such as {_short(first)}: keep the "
                "columns of numbers, or, if it names files, give "
                f"{_loaded(f'list({name}[{column!r}])', rows)}."
            )


def _refuse_one_axis(array: np.ndarray, rows: bool, name: str) -> None:
    raise ValueError(
        f"Reshape your data: {name} has one axis, shape {array.shape}, but {_wanted(rows)} are "
        f"needed; {name}[None] is one row, and {name}[:, None] rows of one value."
    )


# Lists


def _from_list(items: list[Any], rows: bool, name: str) -> Any:
    if not items:
        raise ValueError(f"{name} is empty: give an array of {_wanted(rows)}, at least one.")
    if isinstance(items[0], Image.Image):
        return _stack_pictures(items, name)
    _refuse_items(items, rows, name, "list")
    if isinstance(items[0], torch.Tensor):
        items = [_from_tensor(i, name) if isinstance(i, torch.Tensor) else i for i in items]
    shapes = [_shape(item) for item in items]
    if len({*shapes}) > 1:
        _refuse_shapes(shapes, name)
    if len(shapes[0] or ()) > 1:
        return np.asarray(items)
    if shapes[0] == ():
        _refuse_one_axis(np.asarray(items), rows, f"np.asarray({name})")
    return items


def _refuse_items(items: Any, rows: bool, name: str, kind: str | None) -> None:
    """Raise for lists of things that stand for images; `kind` is None where it is a table."""
    flat = items.ravel() if isinstance(items, np.ndarray) else items
    first = next((item for item in flat if item is not None), None)
    if first is None:
        raise ValueError(f"{name} holds None only: give an array of {_wanted(rows)}.")
    if isinstance(first, bytes) and not _is_short_text(first):
        raise TypeError(
            f"{name} holds bytes, the contents of files: give images, "
            "np.stack([np.asarray(PIL.Image.open(io.BytesIO(data)).convert('RGB')"
            f".resize((64, 64))) for data in {name}])."
        )
    if isinstance(first, str | bytes | os.PathLike):
        if kind is not None or not _is_number(first):
            column = f"{name}.ravel()" if np.ndim(items) == 2 else name
            source = name if kind == "list" else f"list({column})" if kind else "paths"
            raise ValueError(
                f"{name} holds texts or paths, such as {_short(first)}, and no images: give "
                f"{_loaded(source, rows)}."
            )
    elif kind is None:
        return
    elif isinstance(first, Mapping):
        key = next((k for k in first if "image" in str(k).lower()), next(iter(first), "image"))
        raise TypeError(
            f"{name} holds a {_kind(first)} for each image: give one array, "
            f"{_resized(f'[item[{key!r}] for item in {name}]')}."
        )
    elif isinstance(first, Image.Image):
        raise TypeError(f"{name} is a {kind} of PIL images: give one array, {_resized(name)}.")
    elif kind != "list" and _shape(first):
        raise ValueError(
            f"{name} is a {kind} of arrays of shape {_shape(first)}: give one array, "
            f"np.stack({name})."
        )
    elif not isinstance(first, Number | np.generic) and _shape(first) == ():
        raise TypeError(f"{name} holds {_kind(first)} objects: give an array of {_wanted(rows)}.")


def _stack_pictures(items: list[Any], name: str) -> np.ndarray:
    """Return PIL images as one array."""
    if not all(isinstance(item, Image.Image) for item in items):
        other = next(item for item in items if not isinstance(item, Image.Image))
        raise TypeError(f"{name} holds PIL images and {_kind(other)} objects: give images only.")
    modes, sizes = ({getattr(i, key) for i in items} for key in ("mode", "size"))
    if len(modes) > 1 or len(sizes) > 1 or not modes <= {*_MODES}:
        raise ValueError(
            f"{name} holds PIL images of modes {', '.join(sorted(modes)[:3])} and sizes "
            f"{', '.join(map(str, sorted(sizes)[:3]))}; all must have one size, and one mode of "
            f"{', '.join(_MODES)}: give {_resized(name)}."
        )
    return np.stack([np.asarray(item) for item in items])


def _refuse_shapes(shapes: list[tuple[int, ...] | None], name: str) -> None:
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes):
        raise TypeError(
            f"{name} holds arrays and things that are none, such as item "
            f"{shapes.index(None)}: give arrays only."
        )
    if len(known) == 2 and min(map(len, known)) <= 1 < max(map(len, known)):
        images = 0 if len(known[0]) > len(known[1]) else 1
        raise ValueError(
            f"{name} holds two arrays of shapes {known[0]} and {known[1]}, images and labels "
            f"perhaps: give {name}[{images}]."
        )
    few = sorted({*known})[:3]
    if max(map(len, known)) < 2:
        raise ValueError(f"{name} holds rows of different lengths, {few}; all must have one.")
    raise ValueError(
        f"{name} holds images of different shapes, {few}; all must have one size: "
        "skdcec.datasets.load_images resizes them."
    )


# Words


def _wanted(rows: bool) -> str:
    return (
        "rows of numbers, shape (n, n_features)"
        if rows
        else "images, shape (n, H, W), (n, H, W, C) or rows"
    )


def _resized(images: str) -> str:
    return f"np.stack([np.asarray(image.convert('RGB').resize((64, 64))) for image in {images}])"


def _kind(thing: Any) -> str:
    return type(thing).__name__


def _short(thing: Any) -> str:
    thing = thing.item() if isinstance(thing, np.generic) else thing
    text = repr(os.fspath(thing) if isinstance(thing, os.PathLike) else thing)
    return text if len(text) <= 80 else f"{text[:60]}...{text[-17:]}"


def _shape(item: Any) -> tuple[int, ...] | None:
    """Return the shape of an item of a list, None if it is no array."""
    try:
        return np.shape(item)
    except (ValueError, TypeError):
        return None


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in _MISSING:
        return True
    return isinstance(value, float) and value != value


def _is_short_text(data: bytes) -> bool:
    """Whether bytes are a path or a number, and no file's content."""
    return len(data) < 4096 and b"\0" not in data and os.fsdecode(data).isprintable()


def _is_number(text: Any) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
