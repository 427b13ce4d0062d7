"""How a model is kept: tensors and JSON in one safetensors file, and no code.

A file names classes, parameters and fitted attributes. Only classes that were registered are
made, and only what they declare is set, of the kind that they declare.
"""

import io
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from safetensors.torch import save as serialize
from sklearn.base import BaseEstimator

from skdcec._callers import caller_level
from skdcec._files import check_source, check_target, write_bytes
from skdcec._folders import MODEL
from skdcec._persistence.read import Reader, check_images
from skdcec._persistence.registry import is_registered, registered
from skdcec._persistence.tensors import Refused, TensorFile, count_json, open_regular, parse_json
from skdcec._persistence.values import decode, encode, not_a_note
from skdcec._persistence.write import Writer, full_name

FORMAT = 2

_METADATA = "skdcec"
_COMPANIONS, _NOTES = "companions", "notes"
_MAX_COMPANIONS = 10
# How much of a file's words an error repeats.
_MAX_REASON = 300


class Bundle(NamedTuple):
    """A model, and what is kept in the same file.

    Attributes
    ----------
    estimator : object
        The model, fitted.
    companions : dict of str to object
        Further fitted estimators.
    notes : dict of str to plain values
    """

    estimator: Any
    companions: dict[str, Any]
    notes: dict[str, Any]


def save(
    estimator: BaseEstimator,
    path: Any,
    *,
    companions: Mapping[str, BaseEstimator] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write a fitted estimator; see its method `save`.

    Parameters
    ----------
    estimator : estimator of a registered class
        Fitted.
    path : str or path-like
    companions : mapping of str to estimator, default=None
        Further fitted estimators of registered classes. Where the parameter `estimator` of one
        is the model itself, or its ``encoder_``, it is after loading the loaded one.
    notes : mapping of str to plain values, default=None
        None, booleans, numbers, strings, and lists, tuples and dicts of them.

    Raises
    ------
    TypeError
        If a class is not registered, or `notes` holds anything else.
    ValueError
        If the name of a companion is no identifier, or loading would refuse the file.
    OSError
        If the file cannot be written; then there is the old one, or none.

    Warns
    -----
    UserWarning
        If parameters or attributes cannot be rebuilt; their names are given.
    """
    check_target(path)
    content, left_out = as_bytes(estimator, companions=companions, notes=notes)
    _check_loads(estimator, path, content)
    if left_out:
        warnings.warn(
            f"Not saved, because it cannot be rebuilt from plain values: "
            f"{', '.join(sorted(left_out))}.",
            UserWarning,
            stacklevel=caller_level(),
        )
    write_bytes(path, [content])


def as_bytes(
    estimator: BaseEstimator,
    *,
    companions: Mapping[str, BaseEstimator] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> tuple[bytes, set[str]]:
    """Return what `save` writes, and the names of what cannot be rebuilt from it."""
    companions = companions or {}
    for name, one in {"estimator": estimator, **companions}.items():
        if not name.isidentifier():
            raise ValueError(f"The name {name!r} of a companion must be an identifier.")
        if not is_registered(one):
            raise TypeError(
                f"{name}={one!r} cannot be saved: its class {full_name(one)} is none of skdcec's."
            )
    if len(companions) > _MAX_COMPANIONS:
        raise ValueError(f"A file takes {_MAX_COMPANIONS} companions; got {len(companions)}.")
    writer = Writer(estimator)
    header: dict[str, Any] = {"format": FORMAT, "estimator": writer.estimator(estimator, "")}
    if companions:
        header[_COMPANIONS] = {
            name: writer.estimator(one, f"{_COMPANIONS}.{name}.")
            for name, one in companions.items()
        }
    if notes:
        header[_NOTES] = {name: encode(value, name, not_a_note) for name, value in notes.items()}
    text = json.dumps(header)
    try:
        # Once more in quotes, as it stands in the header of the file.
        count_json(json.dumps(text))
        count_json(text)
        content = serialize(writer.tensors, metadata={_METADATA: text})
        check_images(getattr(estimator, "encoder_", estimator), len(content))
    except Refused as error:
        raise ValueError(f"{full_name(estimator)} cannot be saved: {error}.") from error
    return content, writer.left_out


def _check_loads(estimator: Any, path: Any, content: bytes) -> None:
    """Raise a ValueError where loading would refuse what is about to be written."""
    encoder = getattr(estimator, "encoder_", None)
    foreign = None if encoder is None or is_registered(encoder) else encoder
    try:
        _load(type(estimator), path, io.BytesIO(content), foreign, with_companions=True)
    except ValueError as error:
        reason = error.__cause__ if isinstance(error.__cause__, Refused) else error
        raise ValueError(f"{full_name(estimator)} cannot be saved: {reason}.") from error


def load(
    cls: type | tuple[type, ...],
    path: Any,
    *,
    encoder: BaseEstimator | None = None,
    content: bytes | None = None,
) -> Any:
    """Read a fitted estimator of class `cls`, or of one of several; see its method `load`.

    Companions and notes in the same file are left alone. `content` stands for what the file
    holds, where that was read already.
    """
    with _opened(path) if content is None else io.BytesIO(content) as file:
        return _load(cls, path, file, encoder, with_companions=False).estimator


def load_bundle(
    cls: type | tuple[type, ...], path: Any, *, encoder: BaseEstimator | None = None
) -> Bundle:
    """Read a fitted estimator with its companions and notes.

    Parameters
    ----------
    cls : class or tuple of classes
        What the estimator may be. The classes of companions must have been imported.
    path : str or path-like
    encoder : fitted estimator, default=None
        Stands for one that is no part of skdcec.

    Returns
    -------
    bundle : Bundle

    Raises
    ------
    ValueError
        If the file is damaged, of another kind, or from a newer version.
    """
    with _opened(path) as file:
        return _load(cls, path, file, encoder, with_companions=True)


def _opened(path: Any) -> BinaryIO:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            f"path is a {type(path).__name__}: give the path of a file that save wrote."
        )
    if Path(path).is_dir() and (Path(path) / MODEL).is_file():
        raise IsADirectoryError(
            f"{os.fspath(path)!r} is a folder; its model is {os.fspath(Path(path) / MODEL)!r}."
        )
    check_source(path, "a file that save wrote")
    return open_regular(path)


def _load(
    cls: type | tuple[type, ...],
    path: Any,
    file: BinaryIO,
    encoder: BaseEstimator | None,
    *,
    with_companions: bool,
) -> Bundle:
    path = Path(path)
    try:
        tensors = TensorFile(file)
        if _METADATA not in tensors.metadata:
            raise ValueError(f"{str(path)!r} is a safetensors file, but no skdcec model.")
        header = _header_of(tensors, path)
        version = header["format"]
        _check_class(header["estimator"]["class"], cls, path)
        _check_foreign(header["estimator"], encoder, path)
    except (LookupError, TypeError, AttributeError) as error:
        raise _damaged(path) from error
    except Refused as error:
        raise _damaged(path, str(error)) from error
    try:
        reader = Reader(tensors, encoder, version)
        model = reader.model(header["estimator"])
        found = header.get(_COMPANIONS, {}) if with_companions else {}
        if len(found) > _MAX_COMPANIONS or not all(map(str.isidentifier, found)):
            raise Refused(f"it has {len(found)} companions, or one without a name")
        companions = {
            name: reader.estimator(one, f"{_COMPANIONS}.{name}.") for name, one in found.items()
        }
        notes = {name: decode(value) for name, value in header.get(_NOTES, {}).items()}
        return Bundle(model, companions, notes | reader.old_notes)
    except Refused as error:
        raise _damaged(path, str(error)) from error
    except (
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
        RuntimeError,
        ArithmeticError,
        AssertionError,
    ) as error:
        raise _damaged(path) from error


def _header_of(tensors: TensorFile, path: Path) -> dict[str, Any]:
    try:
        header = parse_json(tensors.metadata[_METADATA])
    except (ValueError, RecursionError) as error:
        raise _damaged(path) from error
    if not isinstance(header, dict) or type(header["format"]) is not int:
        raise Refused("its header is none of a model")
    version = header["format"]
    if version > FORMAT:
        raise ValueError(
            f"{str(path)!r} has format {_shortened(version)}, newer than {FORMAT}, the newest "
            "that this version of skdcec reads: upgrade skdcec."
        )
    unknown = sorted(header.keys() - {"format", "estimator", _COMPANIONS, _NOTES})
    if version < 1 or unknown:
        raise Refused(f"its header of format {version} holds {unknown}")
    return header


def _check_class(name: Any, cls: type | tuple[type, ...], path: Path) -> None:
    wanted = " or ".join(one.__name__ for one in (cls if isinstance(cls, tuple) else (cls,)))
    found = registered(name)
    if found is None:
        if isinstance(name, str) and name.isidentifier():
            # One of a module that was not imported, perhaps, which a file cannot make us do.
            raise ValueError(f"{str(path)!r} holds a {_shortened(name)!r}, not a {wanted}.")
        raise _damaged(path, f"it says that it holds a {name!r}, where a {wanted} is expected")
    if not issubclass(found, cls):
        raise ValueError(f"{str(path)!r} holds a {name}, not a {wanted}: use {name}.load.")


def _check_foreign(node: dict[str, Any], encoder: BaseEstimator | None, path: Path) -> None:
    foreign = node["encoder_"].get("name") if "encoder_" in node else None
    if foreign is not None and encoder is None:
        raise ValueError(
            f"{str(path)!r} was saved with an encoder of class {_shortened(foreign)}, which "
            "cannot be rebuilt from the file: pass a fitted one of the same architecture as "
            "encoder."
        )


def _damaged(path: Path, reason: str = "") -> ValueError:
    """Return the error about a file, which ends in a `reason` where one can be told."""
    told = f": {_shortened(reason)}." if reason else "."
    return ValueError(f"{str(path)!r} is not a model saved by skdcec, or it is damaged{told}")


def _shortened(words: Any) -> str:
    """Return the words of a file as one line that is not long."""
    try:
        text = " ".join(str(words).split())
    except ValueError:
        # Whole numbers of thousands of digits are not written out.
        return "a very large number"
    return text if len(text) <= _MAX_REASON else f"{text[:_MAX_REASON]}..."
