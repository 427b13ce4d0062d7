"""How is a fitted network kept by pickle, joblib and skops, none of which should know tensors?"""

import contextlib
import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# What stands for a network: it, with a number in the place of each tensor, and those tensors.
_KEYS = {"network", "tensors"}


def state_without_tensors(state: dict[str, Any]) -> dict[str, Any]:
    """Return an estimator's state with its networks as arrays, and with its device the CPU.

    What was fitted on a GPU must load on a machine without one, and skops knows arrays alone.
    """
    kept = {
        key: _taken_apart(value) if isinstance(value, nn.Module) else value
        for key, value in state.items()
    }
    if "device_" in kept:
        kept["device_"] = "cpu"
    return kept


def state_with_tensors(kept: dict[str, Any]) -> dict[str, Any]:
    """Return the state that `state_without_tensors` was given, or an older one as it is."""
    return {
        key: _put_together(**value) if isinstance(value, dict) and value.keys() == _KEYS else value
        for key, value in kept.items()
    }


def _taken_apart(network: nn.Module) -> dict[str, Any]:
    tensors: dict[int, Tensor] = {}
    for holder in _holders(network):
        tensors.update((id(tensor), tensor) for tensor in holder.values() if tensor is not None)
    # Numbers rather than copies; a tensor in two places has the same number in both.
    numbers: dict[int, Any] = {key: number for number, key in enumerate(tensors)}
    return {
        "network": copy.deepcopy(network, numbers),
        "tensors": [_as_array(tensor) for tensor in tensors.values()],
    }


def _put_together(network: nn.Module, tensors: list[tuple[Any, bool, bool, bool]]) -> nn.Module:
    # A copy, since what is kept may be copied once more from the same state.
    made = copy.deepcopy(network)
    loaded = [_as_tensor(*tensor) for tensor in tensors]
    for holder in _holders(made):
        holder.update(
            {name: loaded[value] for name, value in holder.items() if isinstance(value, int)}
        )
    return made


def _holders(network: nn.Module) -> list[dict[str, Any]]:
    return [holder for part in network.modules() for holder in (part._parameters, part._buffers)]


def _as_array(tensor: Tensor) -> tuple[Any, bool, bool, bool]:
    values: Any = tensor.detach().cpu()
    # How weights lie in memory decides in what order sums are taken.
    as_images = values.ndim == 4 and not values.is_contiguous()
    values = (values.permute(0, 2, 3, 1) if as_images else values).contiguous()
    # NumPy has no bfloat16, for one.
    with contextlib.suppress(TypeError):
        values = values.numpy()
    return values, as_images, isinstance(tensor, nn.Parameter), tensor.requires_grad


def _as_tensor(values: Any, as_images: bool, is_parameter: bool, has_gradient: bool) -> Tensor:
    # A copy: joblib maps arrays into memory, read-only, and PyTorch's own lie where sums are fast.
    array = isinstance(values, np.ndarray)
    tensor = torch.tensor(values, device="cpu") if array else values
    tensor = tensor.permute(0, 3, 1, 2) if as_images else tensor
    return nn.Parameter(tensor, has_gradient) if is_parameter else tensor
