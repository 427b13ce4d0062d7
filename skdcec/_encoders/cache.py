"""How pretraining is shared: a cache of fitted encoders under keys of plain values."""

import contextlib
import copy
import hashlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_memory

from skdcec import _persistence
from skdcec._callers import caller_level
from skdcec._encoders.weights import NAMES, weights_file
from skdcec._files import why_not_written, write_bytes, write_json
from skdcec._maps import blocks
from skdcec._nn import distributed
from skdcec._nn.checkpoints import Checkpoint, kept_until_stored, tell
from skdcec._persistence.tensors import open_regular

# Raised whenever an equal fit would return another encoder than it did.
_FORMAT = 4

# Of a description, beside the key in it.
_MAX_DESCRIPTION = 1_000

# What a fitted encoder does not depend on, or what the key holds in another form.
_NOT_IN_KEY = {"verbose", "callbacks", "device"}


def fit_encoder(
    encoder: BaseEstimator, X: np.ndarray, *, memory: Any, device: str, seeded: bool
) -> BaseEstimator:
    """Fit `encoder` on `X`, or take the result of an equal fit from the cache.

    Of several processes that miss the cache at once, one computes and the others wait.
    Trouble with the cache costs a warning and the computation, never the result.

    Entries are model files, which hold no code. Only an encoder of a class that such files may
    not name, a user's own, is left to joblib, which reads and writes pickles.

    Parameters
    ----------
    encoder : estimator
        Unfitted, with an int as `random_state`.
    X : ndarray
    memory : None, str, path or joblib.Memory
        The folder, or whose `location` is the folder.
    device : str
        Where, and in what precision, the encoder will be fitted; part of the key.
    seeded : bool
        Whether the user fixed the seed; without, no two fits are equal.

    Returns
    -------
    encoder : estimator
        Fitted.
    """
    ranks = distributed.current()
    if ranks is not None:
        ranks.has_told = False
        if ranks.rank > 0:
            return _as_first_does(encoder, X)
    folder = folder_of(memory)
    if folder is None:
        return _fit_together(encoder, X)
    if not seeded:
        _warn(
            "memory is of no use without a seed: set random_state of the clusterer or of its "
            "encoder, so that fits can share one pretraining."
        )
        return _fit_together(encoder, X)
    try:
        key = pretraining_key(encoder, X, device)
    except TypeError as error:
        _warn(f"The pretraining is not cached: {error}")
        return _fit_together(encoder, X)
    if _persistence.is_registered(encoder):
        return _load_or_fit(_Entry(folder, key), encoder, X)
    return _unpickle_or_fit(memory, folder, key, encoder, X)


def _fit_together(encoder: BaseEstimator, X: np.ndarray) -> BaseEstimator:
    """Fit where the cache had nothing, which of several processes only the first knows."""
    ranks = distributed.current()
    if ranks is not None:
        ranks.tell(None)
    encoder.fit(X)
    # That of a user's class was fitted by each process for itself.
    distributed.equalize(getattr(encoder, "module_", None))
    return encoder


def _tell(found: BaseEstimator) -> BaseEstimator:
    """Give the other processes what the first one found in the cache."""
    ranks = distributed.current()
    if ranks is not None:
        ranks.tell(_without_session(found))
    return found


def _as_first_does(encoder: BaseEstimator, X: np.ndarray) -> BaseEstimator:
    """Take what the first process found, or fit with it."""
    found = distributed.shared(None)
    return _fit_together(encoder, X) if found is None else found.set_params(**_session(encoder))


def folder_of(memory: Any) -> Path | None:
    """Return the folder that `memory` stands for, or None where nothing is to be kept."""
    if isinstance(memory, (str, os.PathLike)):
        return Path(memory)
    location = getattr(check_memory(memory), "location", None)
    return None if location is None else Path(location)


class _Entry:
    """The files of one pretraining: a model, the digest of its bytes, and a lock.

    The digest is checked before the model is used: a weight that changed on the disk would be
    as good a weight as any.
    """

    def __init__(self, folder: Path, key: str):
        self.folder = folder
        self.key = key
        name = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        self.model = folder / f"skdcec-{name}.safetensors"
        self.description = folder / f"skdcec-{name}.json"
        self.lock = folder / f"skdcec-{name}.lock"

    def read(self, encoder: BaseEstimator) -> BaseEstimator | None:
        """Return the encoder fitted with equal parameters, or None if there is none.

        Raises
        ------
        ValueError
            If the entry is damaged.
        """
        try:
            with open_regular(self.description) as file:
                # Quotes and letters that are not ASCII take more bytes in JSON than in the key.
                text = file.read(6 * len(self.key) + _MAX_DESCRIPTION).decode()
            with open_regular(self.model) as file:
                described = json.loads(text)
                if not isinstance(described, dict) or described.get("key") != self.key:
                    raise ValueError(f"{self.description} is not what was written.")
                if described.get("size") != os.fstat(file.fileno()).st_size:
                    raise ValueError(f"{self.model} is not of the size that was written.")
                content = file.read(described["size"])
        except FileNotFoundError:
            return None
        except RecursionError as error:
            raise ValueError(f"{self.description} is nested too deep.") from error
        if described != self.describe(content):
            raise ValueError(f"{self.model} is not what was written.")
        # What was compared is what is used, whatever happens to the file meanwhile.
        fitted = _persistence.load(type(encoder), self.model, content=content)
        # Equal under the key, but some may be in the file in another form or not at all.
        return fitted.set_params(**encoder.get_params(deep=False))

    def write(self, encoder: BaseEstimator) -> None:
        try:
            content, _ = _persistence.as_bytes(encoder)
        except ValueError as error:
            raise OSError(str(error)) from error
        # In this order a reader finds no description of a model that is not there.
        self.description.unlink(missing_ok=True)
        write_bytes(self.model, [content])
        write_json(self.description, self.describe(content))

    def describe(self, content: bytes) -> dict[str, Any]:
        """Return what is written beside a model."""
        return {"key": self.key, "size": len(content), "digest": _digest(content)}

    def __str__(self) -> str:
        return f"The cache memory={str(self.folder)!r}"


def _load_or_fit(entry: _Entry, encoder: BaseEstimator, X: np.ndarray) -> BaseEstimator:
    checkpoint = Checkpoint(entry.folder, entry.key)
    with contextlib.ExitStack() as stack:
        try:
            with contextlib.suppress(ValueError):
                found = entry.read(encoder)
                if found is not None:
                    # Whoever wrote it may not have come to that.
                    checkpoint.remove()
                    return _tell(found)
            entry.folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(entry.lock))
            # Whoever had the lock before may have written it.
            found = entry.read(encoder)
            if found is not None:
                return _tell(found)
        except ValueError:
            _warn(f"{entry} held a damaged entry, which is replaced.")
        except OSError as error:
            _warn(f"{entry} cannot be used ({why_not_written(error)}); nothing is kept there.")
            tell("trouble", None)
            return _fit_together(encoder, X)
        with kept_until_stored():
            _fit_from(checkpoint, encoder, X)
            try:
                entry.write(encoder)
            except OSError as error:
                why = why_not_written(error)
                _warn(f"{entry} cannot be written to ({why}); nothing is kept there.")
                tell("trouble", None)
        checkpoint.remove()
    return encoder


def _fit_from(checkpoint: Checkpoint, encoder: Any, X: np.ndarray) -> None:
    """Fit one of our encoders from where an equal fit was interrupted."""
    encoder._checkpoint = checkpoint
    try:
        _fit_together(encoder, X)
    finally:
        del encoder._checkpoint


def _unpickle_or_fit(
    memory: Any, folder: Path, key: str, encoder: BaseEstimator, X: np.ndarray
) -> BaseEstimator:
    """Do the same for an encoder of a class that is not skdcec's, by joblib."""
    try:
        memory = check_memory(str(memory) if isinstance(memory, os.PathLike) else memory)
        cached = memory.cache(_fit, ignore=["encoder", "X"])
        if cached.check_call_in_cache(key, encoder, X):
            fitted = cached(key, encoder, X)
            if hasattr(encoder, "module_"):
                _warn(f"The cache memory={str(folder)!r} held a damaged entry, which is replaced.")
        else:
            with FileLock(_Entry(folder, key).lock):
                fitted = cached(key, encoder, X)
    except _FitFailed as failure:
        raise failure.error from None
    except OSError as error:
        why = why_not_written(error)
        _warn(f"The cache memory={str(folder)!r} cannot be used ({why}); nothing is kept there.")
        ranks = distributed.current()
        # The others would not fit once more.
        return encoder if ranks is not None and ranks.has_told else _fit_together(encoder, X)
    return _tell(fitted.set_params(**_session(encoder)))


class _FitFailed(Exception):
    """Carries an error of the fit itself past those of the cache."""

    def __init__(self, error: OSError):
        self.error = error


def _fit(key: str, encoder: BaseEstimator, X: np.ndarray) -> BaseEstimator:
    """Return a fitted encoder without what belongs to one session only."""
    try:
        _fit_together(encoder, X)
    except OSError as error:
        raise _FitFailed(error) from error
    return _without_session(encoder)


def _without_session(encoder: BaseEstimator) -> BaseEstimator:
    return copy.copy(encoder).set_params(**dict.fromkeys(_session(encoder)))


def _session(encoder: BaseEstimator) -> dict[str, Any]:
    """Return the parameters that say how a fit is watched, not what it computes."""
    params = encoder.get_params(deep=False)
    return {name: params[name] for name in ("callbacks", "verbose") if name in params}


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=caller_level())


def pretraining_key(encoder: BaseEstimator, X: np.ndarray, device: str) -> str:
    """Return a text that is equal for equal pretrainings, in any process.

    Raises
    ------
    TypeError
        If a parameter of the encoder is not made of plain values.
    """
    cls = type(encoder)
    params = {k: v for k, v in _params_of(encoder).items() if k not in _NOT_IN_KEY}
    return json.dumps(
        {
            "format": _FORMAT,
            "encoder": f"{cls.__module__}.{cls.__qualname__}",
            "params": {name: plain_value(name, value) for name, value in params.items()},
            "data": content_digest(X),
            "device": device,
        },
        sort_keys=True,
    )


def _params_of(estimator: Any) -> dict[str, Any]:
    """Return the parameters of an estimator, with the digest of weights in their place."""
    params: dict[str, Any] = estimator.get_params(deep=False)
    weights = params.get("weights")
    # What they are counts, and not where.
    if isinstance(weights, (str, os.PathLike)) and (weights in NAMES or Path(weights).is_file()):
        params["weights"] = _digest(weights_file(weights).read_bytes())
    return params


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=20).hexdigest()


def content_digest(X: np.ndarray) -> str:
    """Return a digest of an array's values, dtype and shape, read block by block."""
    digest = hashlib.blake2b(f"{X.dtype.str} {X.shape}".encode(), digest_size=20)
    for block in blocks(X):
        digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()


def plain_value(name: str, value: Any) -> Any:
    """Return `value` as JSON can hold it."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.ndim and value.dtype != object:
        return [value.dtype.str, value.shape, content_digest(value)]
    if isinstance(value, np.ndarray):
        return plain_value(name, value.tolist())
    if isinstance(value, (list, tuple, range)):
        return [plain_value(name, item) for item in value]
    if hasattr(value, "get_params") and not isinstance(value, type):
        cls = type(value)
        params = _params_of(value)
        return [
            f"{cls.__module__}.{cls.__qualname__}",
            {key: plain_value(f"{name}.{key}", params[key]) for key in sorted(params)},
        ]
    raise TypeError(
        f"the encoder's {name}={value!r} is neither made of plain values nor has get_params, so "
        "equal fits cannot be told."
    )
