"""How pretraining is shared: a cache of fitted encoders under keys of plain values."""

import copy
import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from filelock import FileLock
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_memory

# Raised whenever an equal fit would return another encoder than it did.
_FORMAT = 2

# What a fitted encoder does not depend on, or what the key holds in another form.
_NOT_IN_KEY = {"verbose", "callbacks", "device"}


def fit_encoder(
    encoder: BaseEstimator, X: np.ndarray, *, memory: Any, device: str, seeded: bool
) -> BaseEstimator:
    """Fit `encoder` on `X`, or take the result of an equal fit from the cache.

    Of several processes that miss the cache at once, one computes and the others wait.
    Trouble with the cache costs a warning and the computation, never the result.

    Parameters
    ----------
    encoder : estimator
        Unfitted, with an int as `random_state`.
    X : ndarray
    memory : None, str, path or joblib.Memory
    device : str
        Where, and in what precision, the encoder will be fitted; part of the key.
    seeded : bool
        Whether the user fixed the seed; without, no two fits are equal.

    Returns
    -------
    encoder : estimator
        Fitted.
    """
    try:
        memory = check_memory(str(memory) if isinstance(memory, Path) else memory)
    except OSError as error:
        _warn(f"The cache memory={str(memory)!r} cannot be used ({error}).")
        return encoder.fit(X)
    location = getattr(memory, "location", None)
    if location is None:
        return encoder.fit(X)
    if not seeded:
        _warn(
            "memory is of no use without a seed: set random_state of the clusterer or of its "
            "encoder, so that fits can share one pretraining."
        )
        return encoder.fit(X)
    try:
        key = pretraining_key(encoder, X, device)
    except TypeError as error:
        _warn(f"The pretraining is not cached: {error}")
        return encoder.fit(X)
    try:
        fitted = _load_or_fit(memory, Path(location), key, encoder, X)
    except _FitFailed as failure:
        raise failure.error from None
    except OSError as error:
        _warn(f"The cache memory={str(location)!r} cannot be used ({error}).")
        return encoder.fit(X)
    return fitted.set_params(**_session(encoder))


def _load_or_fit(
    memory: Any, location: Path, key: str, encoder: BaseEstimator, X: np.ndarray
) -> BaseEstimator:
    cached = memory.cache(_fit, ignore=["encoder", "X"])
    if cached.check_call_in_cache(key, encoder, X):
        fitted = cached(key, encoder, X)
        if hasattr(encoder, "module_"):
            _warn(f"An entry of the cache memory={str(location)!r} was damaged and is replaced.")
        return fitted
    name = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
    with FileLock(location / f"skdcec-{name}.lock"):
        return cached(key, encoder, X)


class _FitFailed(Exception):
    """Carries an error of the fit itself past those of the cache."""

    def __init__(self, error: OSError):
        self.error = error


def _fit(key: str, encoder: BaseEstimator, X: np.ndarray) -> BaseEstimator:
    """Return a fitted encoder without what belongs to one session only."""
    try:
        encoder.fit(X)
    except OSError as error:
        raise _FitFailed(error) from error
    return copy.copy(encoder).set_params(**dict.fromkeys(_session(encoder)))


def _session(encoder: BaseEstimator) -> dict[str, Any]:
    """Return the parameters that say how a fit is watched, not what it computes."""
    params = encoder.get_params(deep=False)
    return {name: params[name] for name in ("callbacks", "verbose") if name in params}


def _warn(message: str) -> None:
    # The caller of the clusterer's fit, behind scikit-learn's wrapper of it.
    warnings.warn(message, UserWarning, stacklevel=7)


def pretraining_key(encoder: BaseEstimator, X: np.ndarray, device: str) -> str:
    """Return a text that is equal for equal pretrainings, in any process.

    Raises
    ------
    TypeError
        If a parameter of the encoder is not made of plain values.
    """
    cls = type(encoder)
    params = {k: v for k, v in encoder.get_params(deep=False).items() if k not in _NOT_IN_KEY}
    return json.dumps(
        {
            "format": _FORMAT,
            "encoder": f"{cls.__module__}.{cls.__qualname__}",
            "params": {name: _plain(name, value) for name, value in params.items()},
            "data": content_digest(X),
            "device": device,
        },
        sort_keys=True,
    )


def content_digest(X: np.ndarray) -> str:
    """Return a digest of an array's values, dtype and shape, read block by block."""
    digest = hashlib.blake2b(f"{X.dtype.str} {X.shape}".encode(), digest_size=20)
    rows = max(1, 2**24 // max(1, X[:1].nbytes))
    for start in range(0, len(X), rows):
        digest.update(np.ascontiguousarray(X[start : start + rows]).data)
    return digest.hexdigest()


def _plain(name: str, value: Any) -> Any:
    """Return `value` as JSON can hold it."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return [value.dtype.str, value.shape, joblib.hash(value)]
    if isinstance(value, (list, tuple, range)):
        return [_plain(name, item) for item in value]
    if hasattr(value, "get_params") and not isinstance(value, type):
        cls = type(value)
        params = value.get_params(deep=False)
        return [
            f"{cls.__module__}.{cls.__qualname__}",
            {key: _plain(f"{name}.{key}", params[key]) for key in sorted(params)},
        ]
    raise TypeError(
        f"the encoder's {name}={value!r} is neither made of plain values nor has get_params, so "
        "equal fits cannot be told."
    )
