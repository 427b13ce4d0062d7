"""How does an estimator become JSON values and tensors?"""

from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from torch import nn

from skdcec._persistence.declared import MAX_WEIGHT
from skdcec._persistence.registry import (
    ENCODER,
    NETWORK,
    attributes_of,
    is_registered,
    parameters_of,
)
from skdcec._persistence.tensors import is_moderate
from skdcec._persistence.values import MAX_TEXT, encode
from skdcec._sklearn_callbacks import OF_SESSION


class _CannotRebuild(Exception):
    """A value is not made of plain values and of registered classes."""


class Writer:
    """Turns estimators into JSON values, and collects tensors and what had to be left out."""

    def __init__(self, model: BaseEstimator) -> None:
        self.model = model
        self.tensors: dict[str, torch.Tensor] = {}
        self.left_out: set[str] = set()

    def estimator(self, estimator: Any, prefix: str) -> dict[str, Any]:
        """Return what stands for a fitted estimator.

        Raises
        ------
        ValueError
            If an attribute is not what its class says.
        """
        params = estimator.get_params(deep=False)
        kinds = attributes_of(type(estimator))
        state = {
            k: v for k, v in vars(estimator).items() if k not in params and k not in OF_SESSION
        }
        self.left_out |= {f"{prefix}{name}={state[name]!r}" for name in state if name not in kinds}
        fitted = {name: state[name] for name in kinds if name in state}
        module, encoder = fitted.pop(NETWORK, None), fitted.pop(ENCODER, None)
        if "device_" in fitted:
            fitted["device_"] = "cpu"
        for name, value in fitted.items():
            kind = kinds[name]
            if kind is not None and not kind.accepts(value):
                text = " ".join(repr(value).split())
                text = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."
                raise ValueError(
                    f"{prefix}{name}={text} of {type(estimator).__name__} cannot be saved: it "
                    f"must be {kind.text}."
                )
        node = {
            "class": type(estimator).__name__,
            "params": self.params(estimator, prefix),
            "fitted": {name: self.value(value, prefix + name) for name, value in fitted.items()},
        }
        if module is not None:
            self.module(module, f"{prefix}{NETWORK}.")
        if encoder is not None:
            node[ENCODER] = self.encoder(encoder, f"{prefix}{ENCODER}.")
        return node

    def encoder(self, encoder: Any, prefix: str) -> dict[str, Any]:
        """Return what stands for the encoder of a clusterer."""
        if is_registered(encoder):
            return self.estimator(encoder, prefix)
        # A transformer without a network is clustered by as it is.
        if getattr(encoder, NETWORK, None) is not None:
            self.module(encoder.module_, f"{prefix}{NETWORK}.")
        name = full_name(encoder)
        self.left_out.add(f"the encoder {name} (to be passed to load)")
        return {"name": name}

    def module(self, module: nn.Module, prefix: str) -> None:
        """Keep the tensors of a network."""
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point() and not is_moderate(tensor):
                raise ValueError(
                    f"{prefix}{name} cannot be saved: it holds NaN, or weights above "
                    f"{MAX_WEIGHT:g}."
                )
            self.tensors[prefix + name] = tensor.detach().cpu().contiguous()

    def params(self, estimator: Any, prefix: str) -> dict[str, Any]:
        """Return what can be rebuilt; the rest takes its default when it is loaded."""
        kept = {}
        params = estimator.get_params(deep=False)
        for name, kind in parameters_of(type(estimator)).items():
            try:
                if not kind.accepts(params[name]):
                    raise _CannotRebuild
                kept[name] = self.value(params[name], prefix + name)
            except _CannotRebuild:
                self.left_out.add(f"{prefix}{name}={params[name]!r}")
        return kept

    def value(self, value: Any, name: str) -> Any:
        """Return what stands for a value."""
        return encode(value, name, self.other)

    def other(self, value: Any, name: str) -> dict[str, Any]:
        """Return what stands for a value that JSON does not know."""
        return self.array(value, name) if isinstance(value, np.ndarray) else self.part(value, name)

    def array(self, array: np.ndarray, name: str) -> dict[str, Any]:
        """Return what stands for an array, and keep it with the tensors."""
        if array.dtype == object:
            return {"names": [str(item) for item in array]}
        try:
            self.tensors[name] = torch.from_numpy(np.array(array, order="C"))
        except TypeError as error:
            raise _CannotRebuild from error
        return {"array": name}

    def part(self, value: Any, name: str) -> dict[str, Any]:
        """Return what stands for an object that is a parameter."""
        owner, _, role = name.rpartition(".")
        is_fitted_part = owner.rpartition(".")[2] == "parts_"
        if is_fitted_part and not is_registered(value):
            raise ValueError(
                f"{name} cannot be saved: its class {full_name(value)} is none of those that "
                "files may name. A pickle holds it, for your own use."
            )
        if role == "estimator" or is_fitted_part:
            if value is self.model:
                return {"reference": "model"}
            if value is getattr(self.model, ENCODER, None):
                return {"reference": ENCODER}
            if is_registered(value) and any(k in vars(value) for k in attributes_of(type(value))):
                return {"estimator": [f"{name}.", self.estimator(value, f"{name}.")]}
        if role == "encoder" and isinstance(value, FrozenEstimator):
            return {"frozen": True}
        if role == "encoder" and not is_registered(value):
            return {"foreign": True}
        if not is_registered(value):
            raise _CannotRebuild
        cls = type(value)
        if attributes_of(cls):
            return {"class": cls.__name__, "params": self.params(value, f"{name}.")}
        # A composition without one of its parts is another one, so all is kept or nothing.
        params = value.get_params(deep=False)
        kinds = parameters_of(cls)
        if not all(key in kinds and kinds[key].accepts(params[key]) for key in params):
            raise _CannotRebuild
        kept = {key: self.value(one, f"{name}.{key}") for key, one in params.items()}
        return {"class": cls.__name__, "params": kept}


def full_name(value: Any) -> str:
    """Return the name by which a class can be imported."""
    return f"{type(value).__module__}.{type(value).__qualname__}"
