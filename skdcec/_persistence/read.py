"""How does an estimator come back from JSON values and tensors?"""

import copy
import importlib.util
import itertools
import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from torch import nn

from skdcec._callers import caller_level
from skdcec._persistence.declared import MAX_WEIGHT, Kind
from skdcec._persistence.registry import (
    ENCODER,
    NETWORK,
    attributes_of,
    parameters_of,
    registered,
    required_of,
)
from skdcec._persistence.tensors import Refused, TensorFile, is_moderate
from skdcec._persistence.values import MAX_TEXT, decode
from skdcec._sklearn_compat import OUTPUT_CONFIG, validate_params_of

# Files of before hold the device that was asked for, which is for the session to choose.
_PASSED_OVER = "device"

# The first format let anything be kept on a model. How images had been loaded is now a note.
_OLD_NOTES = {"image_loading_": "image_loading"}

# Values per image, and per map that a network makes of it, that a file may claim; more in a file
# whose weights are many. Some networks do not depend on the size of images, so that weights cannot
# tell, but the memory that decoding takes does.
_IMAGE_VALUES = 2**22
_IMAGE_VALUES_PER_BYTE = 8
# A layer has weights and a bias, and one that mirrors it or a normalisation.
_TENSORS_PER_LAYER = 3
# Weights between the layers of a network that is yet to be trained, where a file has fewer bytes.
_NEW_WEIGHTS = 2**22


class Reader:
    """Rebuilds estimators from JSON values and tensors; only registered classes are made."""

    def __init__(self, tensors: TensorFile, encoder: BaseEstimator | None, version: int):
        self.tensors = tensors
        self.n_tensors = len(tensors)
        self.n_bytes = tensors.n_bytes
        self.foreign_encoder = encoder
        self.version = version
        self.old_notes: dict[str, Any] = {}
        self.encoder_: Any = None
        self.references: dict[str, Any] = {}

    def model(self, node: dict[str, Any]) -> Any:
        """Rebuild the estimator that companions may refer to."""
        model = self.estimator(node, "")
        self.references = {"model": model, ENCODER: getattr(model, ENCODER, None)}
        return model

    def estimator(self, node: dict[str, Any], prefix: str) -> Any:
        """Rebuild a fitted estimator, whose results are numbers."""
        kinds = attributes_of(_class_of(node))
        _check_names(node, {"class", "params", "fitted", *({ENCODER} & kinds.keys())}, "a node")
        outer, self.encoder_ = self.encoder_, None
        if ENCODER in node:
            self.encoder_ = self.encoder(node[ENCODER], f"{prefix}{ENCODER}.")
        estimator = self.instance(node)
        self.set_fitted(estimator, node["fitted"])
        if ENCODER in kinds:
            if self.encoder_ is None:
                raise Refused("it has no encoder")
            estimator.encoder_ = self.encoder_
        if NETWORK in kinds:
            if ENCODER in kinds:
                blank = copy.deepcopy(getattr(self.encoder_, NETWORK, None))
            else:
                check_images(estimator, self.n_bytes)
                blank = estimator._new_module(None)
            of_network = f"{prefix}{NETWORK}."
            estimator.module_ = None if blank is None else self.module(blank, of_network)
        self.encoder_ = outer
        _check_loaded(estimator)
        return estimator

    def encoder(self, node: dict[str, Any], prefix: str) -> Any:
        """Rebuild the encoder of a clusterer, or give a user's own the weights of the file."""
        if "name" not in node:
            if getattr(_class_of(node), "_role", None) != "encoder":
                raise Refused(f"its encoder is a {node['class']}")
            return self.estimator(node, prefix)
        _check_names(node, {"name"}, "an encoder")
        encoder: Any = copy.deepcopy(self.foreign_encoder)
        if getattr(encoder, NETWORK, None) is not None:
            encoder.module_ = self.module(encoder.module_, f"{prefix}{NETWORK}.")
        return encoder

    def set_fitted(self, estimator: Any, fitted: dict[str, Any]) -> None:
        """Set the attributes that the class declares, each of its kind."""
        cls = type(estimator)
        kinds = {name: kind for name, kind in attributes_of(cls).items() if kind is not None}
        for name, value in fitted.items():
            if name in kinds:
                setattr(estimator, name, self.value_of_kind(value, kinds[name], name, cls))
            elif self.version > 1:
                raise Refused(f"a {cls.__name__} has no fitted attribute {name!r}")
            elif name in _OLD_NOTES:
                self.old_notes[_OLD_NOTES[name]] = decode(value)
        missing = sorted(required_of(cls) - fitted.keys())
        if missing and self.version > 1:
            raise Refused(f"its {cls.__name__} lacks the fitted attributes {missing}")
        _check_columns(estimator)
        output = getattr(estimator, OUTPUT_CONFIG, {"transform": "default"})["transform"]
        if output != "default" and importlib.util.find_spec(output) is None:
            warnings.warn(
                f"The model returned frames of {output}, which is not installed: it now returns "
                "arrays.",
                UserWarning,
                stacklevel=caller_level(),
            )
            delattr(estimator, OUTPUT_CONFIG)

    def module(self, module: nn.Module, prefix: str) -> nn.Module:
        """Give a network the weights of the file."""
        blank = module.state_dict()
        names = self.tensors.names(prefix)
        if {prefix + name for name in blank} != set(names):
            raise Refused(f"the tensors of {prefix.rstrip('.')} are not those of its layers")
        state = {}
        for name, expected in blank.items():
            dtype, shape = self.tensors.claim(prefix + name)
            if dtype != expected.dtype or shape != tuple(expected.shape):
                raise Refused(
                    f"its tensor {prefix + name} is of shape {shape} and {dtype} instead of "
                    f"{tuple(expected.shape)} and {expected.dtype}"
                )
            tensor = self.tensors.take(prefix + name)
            if tensor.is_floating_point() and not is_moderate(tensor):
                raise Refused(f"its tensor {prefix + name} holds NaN, or above {MAX_WEIGHT:g}")
            # Weights of convolutions lie as images do, which decides in what order sums are taken.
            state[name] = (
                tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
            )
        module.load_state_dict(state, assign=True)
        return module.eval()

    def instance(self, node: dict[str, Any]) -> Any:
        """Make an instance with the parameters that the class declares, each of its kind."""
        cls = _class_of(node)
        kinds, params = parameters_of(cls), dict(node["params"])
        if _PASSED_OVER not in kinds:
            params.pop(_PASSED_OVER, None)
        _check_names(params, set(kinds), f"a {cls.__name__} the parameters")
        made = cls(
            **{
                name: self.value_of_kind(value, kinds[name], name, cls)
                for name, value in params.items()
            }
        )
        validate_params_of(made)
        if hasattr(made, "_layer_widths"):
            self.check_layers(made._layer_widths(), made.n_components)
        return made

    def check_layers(self, widths: tuple[int, ...], n_components: int) -> None:
        """Compare the layers of a network, which may be yet to be trained, with the file."""
        if len(widths) * _TENSORS_PER_LAYER > self.n_tensors:
            raise Refused(f"it has {self.n_tensors} tensors and claims {len(widths)} layers")
        n_weights = sum(a * b for a, b in itertools.pairwise([1, *widths, n_components]))
        if n_weights > max(_NEW_WEIGHTS, self.n_bytes):
            raise Refused(
                f"it has {self.n_bytes} bytes and claims layers of widths {widths} for "
                f"n_components={n_components}"
            )

    def value_of_kind(self, value: Any, kind: Kind, name: str, cls: type) -> Any:
        """Return a value, which has to be of the kind that the class declares."""
        found = decode(value, self.other)
        if not kind.accepts(found):
            text = repr(found)
            text = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."
            raise Refused(f"{name}={text} of a {cls.__name__} is not {kind.text}")
        return found

    def other(self, value: dict[str, Any]) -> Any:
        """Return what is no plain value."""
        if "class" in value:
            _check_names(value, {"class", "params"}, "a part")
            return self.instance(value)
        if len(value) != 1:
            raise Refused("it holds a value of no known kind")
        ((kind, content),) = value.items()
        if kind == "names":
            return np.array(content, dtype=object)
        if kind == "array":
            return self.tensors.take(content).numpy()
        if kind == "frozen" and self.encoder_ is not None:
            return FrozenEstimator(self.encoder_)
        if kind == "foreign" and self.foreign_encoder is not None:
            return clone(self.foreign_encoder)
        if kind == "reference":
            return self.references[content]
        if kind == "estimator":
            prefix, node = content
            return self.estimator(node, prefix)
        raise Refused(f"it holds a value of the unknown kind {kind!r}")


def _class_of(node: dict[str, Any]) -> type:
    cls = registered(node["class"])
    if cls is None:
        raise Refused(
            f"it names the class {node['class']!r}, which is not known, or whose module has "
            "not been imported"
        )
    return cls


def _check_names(given: Mapping[str, Any], known: set[str], what: str) -> None:
    refused = sorted(set(given) - known)
    if refused:
        raise Refused(f"it gives {what} {refused}, which saving does not")


def _check_columns(estimator: Any) -> None:
    """Raise if what scikit-learn keeps of the columns of X does not fit together."""
    names = getattr(estimator, "feature_names_in_", None)
    n_features = getattr(estimator, "n_features_in_", None)
    if names is not None and len(names) != n_features:
        raise Refused(f"it has {len(names)} names for {n_features} features")


def _check_loaded(estimator: Any) -> None:
    if not hasattr(estimator, "_check_loaded"):
        return
    try:
        with np.errstate(all="ignore"):
            estimator._check_loaded()
    except ValueError as error:
        raise Refused(str(error).rstrip(".")) from error


def check_images(encoder: Any, n_bytes: int) -> None:
    """Compare the images that a network is for with the size of its file.

    Raises
    ------
    Refused
        If they are larger than a network of so few weights is for.
    """
    shape = getattr(encoder, "image_shape_", None)
    if shape is None or not hasattr(encoder, "_layer_widths"):
        return
    allowed = max(_IMAGE_VALUES, _IMAGE_VALUES_PER_BYTE * n_bytes)
    height, width, _ = shape
    largest = math.prod(shape)
    for n_maps in encoder._layer_widths():
        height, width = math.ceil(height / 2), math.ceil(width / 2)
        largest = max(largest, n_maps * height * width)
    if largest > allowed:
        raise Refused(
            f"it has {n_bytes} bytes and claims images of shape {shape}, of more than {allowed} "
            "values, itself or in a layer"
        )
