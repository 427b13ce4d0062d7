"""How a model is kept: tensors and JSON in one safetensors file, and no code.

A file names classes, parameters and fitted attributes. Only classes that were registered are
made, only parameters that their ``__init__`` takes are given, and only attributes that they
declare are set.
"""

import copy
import inspect
import json
import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from torch import nn

from skdcec._files import check_source, write_bytes
from skdcec._sklearn_compat import OUTPUT_CONFIG, validate_params_of

FORMAT = 2

# What belongs to one session rather than to the model, where its weights came from included: a file
# holds the weights themselves, and opens no other.
_SESSION = frozenset({"memory", "callbacks", "verbose", "weights"})

# What scikit-learn itself sets on any estimator.
_BY_SKLEARN = ("n_features_in_", "feature_names_in_", OUTPUT_CONFIG)
_OUTPUTS = ("default", "pandas", "polars")

# The first format let anything be kept on a model. How images had been loaded is now a note.
_OLD_NOTES = {"image_loading_": "image_loading"}

# Values per image that a file may claim: as many as any photograph has, and more in a file whose
# weights are many. Some networks do not depend on the size of images, so that weights cannot
# tell, but the memory that decoding takes does.
_IMAGE_VALUES = 2**24
_IMAGE_VALUES_PER_BYTE = 8
# A layer has weights and a bias, and one that mirrors it or a normalisation.
_TENSORS_PER_LAYER = 3

_COMPANIONS = "companions"

AnyClass = TypeVar("AnyClass", bound=type)

_registry: dict[str, type] = {}


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


def register(cls: AnyClass) -> AnyClass:
    """Let files name `cls`; a decorator of estimators and augmentations.

    What `fit` sets and a file keeps is declared by ``_fitted_attributes``, a tuple of names;
    saving and loading know no others. Among them may be ``module_``, a network that
    ``_new_module(None)`` makes without values, and ``encoder_``, a fitted estimator, of whose
    network ``module_`` is then a refined copy.

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
    hidden = [name for name in _attributes(cls) if hasattr(cls, name)]
    if hidden:
        raise TypeError(f"_fitted_attributes of {cls.__name__} would hide {hidden}.")
    _registry[cls.__name__] = cls
    return cls


def is_registered(estimator: Any) -> bool:
    """Whether files may hold `estimator`: an instance of a registered class, not of a subclass."""
    return _registry.get(type(estimator).__name__) is type(estimator)


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
        If the name of a companion is no identifier.
    OSError
        If the file cannot be written; then there is the old one, or none.

    Warns
    -----
    UserWarning
        If parameters or attributes cannot be rebuilt; their names are given.
    """
    content, left_out = as_bytes(estimator, companions=companions, notes=notes)
    if left_out:
        warnings.warn(
            f"Not saved, because it cannot be rebuilt from plain values: "
            f"{', '.join(sorted(left_out))}.",
            UserWarning,
            stacklevel=3,
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
                f"{name}={one!r} cannot be saved: its class {_full_name(one)} is none of skdcec's."
            )
    writer = _Writer(estimator)
    header: dict[str, Any] = {"format": FORMAT, "estimator": writer.estimator(estimator, "")}
    if companions:
        header[_COMPANIONS] = {
            name: writer.estimator(one, f"{_COMPANIONS}.{name}.")
            for name, one in companions.items()
        }
    if notes:
        header["notes"] = {name: _encode(value, name, _not_a_note) for name, value in notes.items()}
    content = serialize(writer.tensors, metadata={"skdcec": json.dumps(header)})
    return content, writer.left_out


def load(cls: type | tuple[type, ...], path: Any, *, encoder: BaseEstimator | None = None) -> Any:
    """Read a fitted estimator of class `cls`, or of one of several; see its method `load`.

    Companions and notes in the same file are left alone.
    """
    return _load(cls, path, encoder, with_companions=False).estimator


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
    return _load(cls, path, encoder, with_companions=True)


def _load(
    cls: type | tuple[type, ...],
    path: Any,
    encoder: BaseEstimator | None,
    *,
    with_companions: bool,
) -> Bundle:
    path = Path(path)
    check_source(path, "a file that save wrote")
    try:
        header, tensors = _read(path, with_companions=with_companions)
        version, node = header["format"], header["estimator"]
        if version > FORMAT:
            raise ValueError(
                f"{str(path)!r} has format {version}, newer than {FORMAT}, the newest "
                "that this version of skdcec reads: upgrade skdcec."
            )
        _check_class(node["class"], cls, path)
        _check_foreign(node, encoder, path)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path) from error
    try:
        reader = _Reader(tensors, path.stat().st_size, encoder, version)
        model = reader.model(node)
        companions = {
            name: reader.estimator(one, f"{_COMPANIONS}.{name}.")
            for name, one in (header.get(_COMPANIONS, {}) if with_companions else {}).items()
        }
        notes = {name: _decode(value) for name, value in header.get("notes", {}).items()}
        return Bundle(model, companions, notes | reader.old_notes)
    except _Refused as error:
        raise _damaged(path, str(error)) from error
    except (
        KeyError,
        TypeError,
        AttributeError,
        ValueError,
        RuntimeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise _damaged(path) from error


def _check_class(name: str, cls: type | tuple[type, ...], path: Path) -> None:
    wanted = " or ".join(one.__name__ for one in (cls if isinstance(cls, tuple) else (cls,)))
    if name not in _registry:
        raise _damaged(path, f"it says that it holds a {name!r}, where a {wanted} is expected")
    if not issubclass(_registry[name], cls):
        raise ValueError(f"{str(path)!r} holds a {name}, not a {wanted}: use {name}.load.")


def _check_foreign(node: dict[str, Any], encoder: BaseEstimator | None, path: Path) -> None:
    foreign = node["encoder_"].get("name") if "encoder_" in node else None
    if foreign is not None and encoder is None:
        raise ValueError(
            f"{str(path)!r} was saved with an encoder of class {foreign}, which "
            "cannot be rebuilt from the file: pass a fitted one of the same architecture as "
            "encoder."
        )


class _CannotRebuild(Exception):
    """A value is not made of plain values and of registered classes."""


class _Refused(Exception):
    """A file says what no file of ours would; the text says what."""


class _Writer:
    """Turns estimators into JSON values, and collects tensors and what had to be left out."""

    def __init__(self, model: BaseEstimator) -> None:
        self.model = model
        self.tensors: dict[str, torch.Tensor] = {}
        self.left_out: set[str] = set()

    def estimator(self, estimator: Any, prefix: str) -> dict[str, Any]:
        params = estimator.get_params(deep=False)
        names = _attributes(type(estimator))
        state = {k: v for k, v in vars(estimator).items() if k not in params}
        self.left_out |= {f"{prefix}{name}={state[name]!r}" for name in state if name not in names}
        fitted = {name: state[name] for name in names if name in state}
        module, encoder = fitted.pop("module_", None), fitted.pop("encoder_", None)
        if "device_" in fitted:
            fitted["device_"] = "cpu"
        node = {
            "class": type(estimator).__name__,
            "params": self.values(params, prefix),
            "fitted": self.values(fitted, prefix),
        }
        if module is not None:
            self.module(module, prefix + "module_.")
        if encoder is not None:
            node["encoder_"] = self.encoder(encoder, prefix + "encoder_.")
        return node

    def encoder(self, encoder: Any, prefix: str) -> dict[str, Any]:
        if is_registered(encoder):
            return self.estimator(encoder, prefix)
        self.module(encoder.module_, prefix + "module_.")
        name = _full_name(encoder)
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
        return _encode(value, name, self.other)

    def other(self, value: Any, name: str) -> dict[str, Any]:
        return self.array(value, name) if isinstance(value, np.ndarray) else self.part(value, name)

    def array(self, array: np.ndarray, name: str) -> dict[str, Any]:
        if array.dtype == object:
            return {"names": [str(item) for item in array]}
        try:
            self.tensors[name] = torch.from_numpy(np.array(array, order="C"))
        except TypeError as error:
            raise _CannotRebuild from error
        return {"array": name}

    def part(self, value: Any, name: str) -> dict[str, Any]:
        """Return what stands for an object that is a parameter."""
        role = name.rpartition(".")[2]
        encoder = getattr(self.model, "encoder_", None)
        if role == "estimator":
            if value is self.model:
                return {"reference": "model"}
            if value is encoder:
                return {"reference": "encoder_"}
            if is_registered(value) and any(k in vars(value) for k in _attributes(type(value))):
                return {"estimator": [f"{name}.", self.estimator(value, f"{name}.")]}
        if role == "encoder" and isinstance(value, FrozenEstimator):
            return {"frozen": True}
        if role == "encoder" and not is_registered(value):
            return {"foreign": True}
        if not is_registered(value):
            raise _CannotRebuild
        params = value.get_params(deep=False)
        if _attributes(type(value)):
            return {"class": type(value).__name__, "params": self.values(params, f"{name}.")}
        # A composition without one of its parts is another one, so all is kept or nothing.
        kept = {key: self.value(one, f"{name}.{key}") for key, one in params.items()}
        return {"class": type(value).__name__, "params": kept}


class _Reader:
    """Rebuilds estimators from JSON values and tensors; only registered classes are made."""

    def __init__(
        self,
        tensors: dict[str, torch.Tensor],
        n_bytes: int,
        encoder: BaseEstimator | None,
        version: int,
    ):
        self.tensors = tensors
        self.n_bytes = n_bytes
        self.foreign_encoder = encoder
        self.version = version
        self.old_notes: dict[str, Any] = {}
        self.encoder_: Any = None
        self.references: dict[str, Any] = {}

    def model(self, node: dict[str, Any]) -> Any:
        """Rebuild the estimator that companions may refer to."""
        model = self.estimator(node, "")
        self.references = {"model": model, "encoder_": getattr(model, "encoder_", None)}
        return model

    def estimator(self, node: dict[str, Any], prefix: str) -> Any:
        outer, self.encoder_ = self.encoder_, None
        if "encoder_" in node:
            self.encoder_ = self.encoder(node["encoder_"], prefix + "encoder_.")
        estimator = self.instance(node)
        self.set_fitted(estimator, node["fitted"])
        names = _attributes(type(estimator))
        if "encoder_" in names:
            if self.encoder_ is None:
                raise _Refused("it has no encoder")
            estimator.encoder_ = self.encoder_
        if "module_" in names:
            self.check_images(estimator)
            if "encoder_" in names:
                blank = copy.deepcopy(self.encoder_.module_)
            else:
                blank = estimator._new_module(None)
            estimator.module_ = self.module(blank, prefix + "module_.")
        self.encoder_ = outer
        return estimator

    def encoder(self, node: dict[str, Any], prefix: str) -> Any:
        if "name" not in node:
            return self.estimator(node, prefix)
        encoder: Any = copy.deepcopy(self.foreign_encoder)
        encoder.module_ = self.module(encoder.module_, prefix + "module_.")
        return encoder

    def set_fitted(self, estimator: Any, fitted: dict[str, Any]) -> None:
        names = set(_attributes(type(estimator))) - {"module_", "encoder_"}
        for name, value in fitted.items():
            if name in names:
                setattr(estimator, name, self.value(value))
            elif self.version > 1:
                raise _Refused(f"a {type(estimator).__name__} has no fitted attribute {name!r}")
            elif name in _OLD_NOTES:
                self.old_notes[_OLD_NOTES[name]] = _decode(value)
        output = getattr(estimator, OUTPUT_CONFIG, {"transform": "default"})
        if list(output) != ["transform"] or output["transform"] not in _OUTPUTS:
            raise _Refused(f"its kind of output is {output!r}")

    def check_images(self, estimator: Any) -> None:
        """Compare the images that a network is for with what there is in the file."""
        shape = getattr(estimator, "image_shape_", (1, 1, 1))
        if len(shape) != 3 or not all(type(length) is int and length >= 1 for length in shape):
            raise _Refused(f"its images are of shape {shape!r}")
        allowed = max(_IMAGE_VALUES, _IMAGE_VALUES_PER_BYTE * self.n_bytes)
        if math.prod(shape) > allowed:
            raise _Refused(
                f"it has {self.n_bytes} bytes and claims images of shape {shape}, of more than "
                f"{allowed} values"
            )

    def module(self, module: nn.Module, prefix: str) -> nn.Module:
        state = {
            # Weights of convolutions lie as images do, which decides in what order sums are taken.
            name.removeprefix(prefix): tensor.contiguous(memory_format=torch.channels_last)
            if tensor.ndim == 4
            else tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }
        module.load_state_dict(state, assign=True)
        return module.eval()

    def instance(self, node: dict[str, Any]) -> Any:
        if node["class"] not in _registry:
            raise _Refused(
                f"it names the class {node['class']!r}, which is not known, or whose module has "
                "not been imported"
            )
        cls = _registry[node["class"]]
        taken = set(inspect.signature(cls).parameters) - _SESSION
        refused = sorted(set(node["params"]) - taken)
        if refused:
            raise _Refused(f"it gives a {cls.__name__} the parameters {refused}")
        made = cls(**{name: self.value(value) for name, value in node["params"].items()})
        validate_params_of(made)
        n_layers = len(made._layer_widths()) if hasattr(made, "_layer_widths") else 0
        if n_layers * _TENSORS_PER_LAYER > len(self.tensors):
            raise _Refused(f"it has {len(self.tensors)} tensors and claims {n_layers} layers")
        return made

    def value(self, value: Any) -> Any:
        return _decode(value, self.other)

    def other(self, value: dict[str, Any]) -> Any:
        if "class" in value:
            return self.instance(value)
        ((kind, content),) = value.items()
        if kind == "names":
            return np.array(content, dtype=object)
        if kind == "array":
            return self.tensors[content].numpy()
        if kind == "frozen":
            return FrozenEstimator(self.encoder_)
        if kind == "foreign":
            return clone(self.foreign_encoder)
        if kind == "reference":
            return self.references[content]
        if kind == "estimator":
            prefix, node = content
            return self.estimator(node, prefix)
        raise _Refused(f"it holds a value of the unknown kind {kind!r}")


def _attributes(cls: type) -> tuple[str, ...]:
    """Return the names of what is kept of a fitted estimator."""
    own: tuple[str, ...] = getattr(cls, "_fitted_attributes", ())
    return (*own, *_BY_SKLEARN) if own else ()


def _full_name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _encode(value: Any, name: str, other: Callable[[Any, str], Any]) -> Any:
    """Return `value` as JSON can hold it; `other` does so with what is no plain value."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, (list, tuple, range)):
        items = [_encode(item, f"{name}.{i}", other) for i, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {k: _encode(item, f"{name}.{k}", other) for k, item in value.items()}}
    return other(value, name)


def _decode(value: Any, other: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Return what `_encode` was given; without `other`, plain values alone."""
    if isinstance(value, list):
        return [_decode(item, other) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"tuple"}:
        return tuple(_decode(item, other) for item in value["tuple"])
    if value.keys() == {"dict"}:
        return {key: _decode(item, other) for key, item in value["dict"].items()}
    if other is None:
        raise _Refused("a note is no plain value")
    return other(value)


def _not_a_note(value: Any, name: str) -> Any:
    raise TypeError(
        f"notes[{name!r}]={value!r} must be made of None, booleans, numbers, strings, and lists, "
        "tuples and dicts of them."
    )


def _read(path: Path, *, with_companions: bool) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if "skdcec" not in metadata:
                raise ValueError(f"{str(path)!r} is a safetensors file, but no skdcec model.")
            tensors = {
                name: file.get_tensor(name)
                for name in file.keys()  # noqa: SIM118
                if with_companions or not name.startswith(f"{_COMPANIONS}.")
            }
    except SafetensorError as error:
        raise _damaged(path) from error
    try:
        return json.loads(metadata["skdcec"]), tensors
    except (ValueError, RecursionError) as error:
        raise _damaged(path) from error


def _damaged(path: Path, reason: str = "") -> ValueError:
    """Return the error about a file, which ends in a `reason` where one can be told."""
    told = f": {reason}." if reason else "."
    return ValueError(f"{str(path)!r} is not a model saved by skdcec, or it is damaged{told}")
