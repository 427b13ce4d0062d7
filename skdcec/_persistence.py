"""How a model is kept: tensors and JSON in one safetensors file, and no code."""

import copy
import json
import os
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from torch import nn

from skdcec import augmentation
from skdcec._nn.modules import use_channels_last

FORMAT = 1

# What belongs to one session rather than to the model.
_SESSION = {"memory", "callbacks", "verbose"}


def save(estimator: BaseEstimator, path: Any) -> None:
    """Write a fitted estimator; see its method `save`."""
    writer = _Writer()
    header = {"format": FORMAT, "estimator": writer.estimator(estimator, "")}
    if writer.left_out:
        warnings.warn(
            f"Not saved, because it cannot be rebuilt from plain values: "
            f"{', '.join(sorted(writer.left_out))}.",
            UserWarning,
            stacklevel=3,
        )
    content = serialize(writer.tensors, metadata={"skdcec": json.dumps(header)})
    with _replacing(Path(path)) as temporary:
        temporary.write_bytes(content)


def load(cls: type | tuple[type, ...], path: Any, *, encoder: BaseEstimator | None = None) -> Any:
    """Read a fitted estimator of class `cls`, or of one of several; see its method `load`."""
    wanted = [one.__name__ for one in (cls if isinstance(cls, tuple) else (cls,))]
    header, tensors = _read(Path(path))
    try:
        if header["format"] > FORMAT:
            raise ValueError(
                f"{str(path)!r} has format {header['format']}, newer than {FORMAT}, the newest "
                "that this version of skdcec reads: upgrade skdcec."
            )
        node = header["estimator"]
        if node["class"] not in _known_classes():
            raise _damaged(path)
        if node["class"] not in wanted:
            raise ValueError(
                f"{str(path)!r} holds a {node['class']}, not a {' or '.join(wanted)}: use "
                f"{node['class']}.load."
            )
        foreign = node["encoder_"].get("name") if "encoder_" in node else None
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(path) from error
    if foreign is not None and encoder is None:
        raise ValueError(
            f"{str(path)!r} was saved with an encoder of class {foreign}, which "
            "cannot be rebuilt from the file: pass a fitted one of the same architecture as "
            "encoder."
        )
    try:
        return _Reader(tensors, encoder).estimator(node, "")
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise _damaged(path) from error


class _CannotRebuild(Exception):
    """A value is not made of plain values and of classes of skdcec."""


class _Writer:
    """Turns estimators into JSON values, and collects tensors and what had to be left out."""

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self.left_out: set[str] = set()

    def estimator(self, estimator: BaseEstimator, prefix: str) -> dict[str, Any]:
        params = estimator.get_params(deep=False)
        fitted = {
            name: value
            for name, value in vars(estimator).items()
            if name not in params and name not in ("encoder_", "module_")
        }
        if "device_" in fitted:
            fitted["device_"] = "cpu"
        node = {
            "class": type(estimator).__name__,
            "params": self.values(params, prefix),
            "fitted": self.values(fitted, prefix),
        }
        self.module(estimator.module_, prefix + "module_.")
        if hasattr(estimator, "encoder_"):
            node["encoder_"] = self.encoder(estimator.encoder_, prefix + "encoder_.")
        return node

    def encoder(self, encoder: BaseEstimator, prefix: str) -> dict[str, Any]:
        if type(encoder) in _known_classes().values():
            return self.estimator(encoder, prefix)
        self.module(encoder.module_, prefix + "module_.")
        name = f"{type(encoder).__module__}.{type(encoder).__qualname__}"
        self.left_out.add(f"the encoder {name} (to be passed to load)")
        return {"name": name}

    def module(self, module: nn.Module, prefix: str) -> None:
        for name, tensor in module.state_dict().items():
            self.tensors[prefix + name] = tensor.detach().cpu().contiguous()

    def values(self, values: dict[str, Any], prefix: str) -> dict[str, Any]:
        """Return what can be rebuilt; the rest takes its default when it is loaded."""
        kept = {}
        for name, value in values.items():
            try:
                if name not in _SESSION:
                    kept[name] = self.value(value, prefix + name)
            except _CannotRebuild:
                self.left_out.add(f"{prefix}{name}={value!r}")
        return kept

    def value(self, value: Any, name: str) -> Any:
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, torch.device):
            return str(value)
        if isinstance(value, tuple):
            return {"tuple": [self.value(item, name) for item in value]}
        if isinstance(value, (list, range)):
            return [self.value(item, name) for item in value]
        if isinstance(value, dict):
            return {"dict": {key: self.value(item, name) for key, item in value.items()}}
        if isinstance(value, np.ndarray):
            if value.dtype == object:
                return {"names": [str(item) for item in value]}
            self.tensors[name] = torch.from_numpy(np.array(value, order="C"))
            return {"array": name}
        if isinstance(value, FrozenEstimator):
            return {"frozen": True}
        is_known = type(value) in _known_classes().values()
        if name == "encoder" and not is_known:
            return {"foreign": True}
        if is_known:
            params = value.get_params(deep=False)
            return {"class": type(value).__name__, "params": self.values(params, f"{name}.")}
        if type(value) in _augmentations().values():
            # A composition without one of its parts is another one, so all is kept or nothing.
            params = {k: self.value(v, name) for k, v in value.get_params(deep=False).items()}
            return {"class": type(value).__name__, "params": params}
        raise _CannotRebuild


class _Reader:
    """Rebuilds estimators from JSON values and tensors; only classes of skdcec are made."""

    def __init__(self, tensors: dict[str, torch.Tensor], encoder: BaseEstimator | None):
        self.tensors = tensors
        self.foreign_encoder = encoder
        self.encoder_: Any = None

    def estimator(self, node: dict[str, Any], prefix: str) -> Any:
        if "encoder_" in node:
            self.encoder_ = self.encoder(node["encoder_"], prefix + "encoder_.")
        estimator = self.instance(node)
        for name, value in node["fitted"].items():
            setattr(estimator, name, self.value(value))
        if self.encoder_ is not None and "encoder_" in node:
            estimator.encoder_ = self.encoder_
            module = copy.deepcopy(self.encoder_.module_)
        else:
            module = estimator._new_module(None)
        estimator.module_ = self.module(module, prefix + "module_.")
        return estimator

    def encoder(self, node: dict[str, Any], prefix: str) -> Any:
        if "name" not in node:
            return self.estimator(node, prefix)
        encoder: Any = copy.deepcopy(self.foreign_encoder)
        encoder.module_ = self.module(encoder.module_, prefix + "module_.")
        return encoder

    def module(self, module: nn.Module, prefix: str) -> nn.Module:
        state = {
            name.removeprefix(prefix): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }
        module.load_state_dict(state, assign=True)
        return use_channels_last(module).eval()

    def instance(self, node: dict[str, Any]) -> Any:
        cls = (_known_classes() | _augmentations())[node["class"]]
        return cls(**{name: self.value(value) for name, value in node["params"].items()})

    def value(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "class" in value:
            return self.instance(value)
        ((kind, content),) = value.items()
        if kind == "tuple":
            return tuple(self.value(item) for item in content)
        if kind == "dict":
            return {key: self.value(item) for key, item in content.items()}
        if kind == "names":
            return np.array(content, dtype=object)
        if kind == "array":
            return self.tensors[content].numpy()
        if kind == "frozen":
            return FrozenEstimator(self.encoder_)
        if kind == "foreign":
            return clone(self.foreign_encoder)
        raise ValueError(f"unknown kind of value {kind!r}")


def _known_classes() -> dict[str, type]:
    """Return the estimators that a file may name."""
    import skdcec

    return {name: getattr(skdcec, name) for name in skdcec.__all__ if name[0].isupper()}


def _augmentations() -> dict[str, type]:
    """Return the augmentations that a file may name."""
    names = [name for name in augmentation.__all__ if name[0].isupper()]
    return {name: getattr(augmentation, name) for name in names}


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if "skdcec" not in metadata:
                raise ValueError(f"{str(path)!r} is a safetensors file, but no skdcec model.")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise _damaged(path) from error
    try:
        return json.loads(metadata["skdcec"]), tensors
    except (ValueError, RecursionError) as error:
        raise _damaged(path) from error


def _damaged(path: Any) -> ValueError:
    return ValueError(f"{str(path)!r} is not a model saved by skdcec, or it is damaged.")


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a file beside `path` that takes its place when all went well."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
