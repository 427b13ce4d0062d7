"""What is read from a network: which layer, and what stands for all places of an image?"""

import threading
from typing import Any

import torch
from torch import Tensor, nn

POOLINGS = ("default", "token", "avg")

# Where networks keep the blocks that are counted.
_BLOCKS = (
    "blocks",
    "stages",
    "layers",
    "trunk.blocks",
    "trunk.stages",
    "transformer.resblocks",
    "encoder.layers",
    "features",
)

# The names of a token that stands for the whole image.
_TOKENS = ("cls_token", "class_token", "class_embedding")


class _Found(Exception):
    """Ends a network's work at the layer that is read."""


def read(module: Any, batch: Tensor, *, layer: int | str | None, pooling: str) -> Tensor:
    """Return one row of features for each image.

    Parameters
    ----------
    module : torch.nn.Module
    batch : Tensor of shape (n, 3, height, width)
    layer : int, str or None
        The block, the name of a part, or what the network returns.
    pooling : {"default", "token", "avg"}

    Raises
    ------
    ValueError
        If there is no such layer or token, or what is read are no rows, maps or tokens.
    """
    if layer is not None:
        values = _at(module, part_of(module, layer), batch)
    elif pooling != "default" and hasattr(module, "forward_features"):
        values = _first_tensor(module.forward_features(batch))
    else:
        values = _first_tensor(module(batch))
    return _pooled(module, values, len(batch), pooling, whole=layer is None)


def part_of(module: nn.Module, layer: int | str) -> nn.Module:
    """Return a part of a network: the block of a number, or the part of a name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if isinstance(layer, str):
        parts = dict(module.named_modules())
        if layer in parts and layer:
            return parts[layer]
        raise ValueError(
            f"layer={layer!r} is no part of the network; of its {len(parts)} parts some are "
            f"{_some([name for name in parts if name])}."
        )
    for name in _BLOCKS:
        try:
            blocks = list(module.get_submodule(name).children())
        except AttributeError:
            continue
        if not -len(blocks) <= layer < len(blocks):
            raise ValueError(f"layer={layer}: the network has {len(blocks)} blocks ({name}).")
        return blocks[layer]
    raise ValueError(
        f"layer={layer}: the network has no blocks that are known; name one of its parts, such as "
        f"{_some([name for name, _ in module.named_children()])}."
    )


def _some(names: list[str]) -> str:
    step = max(1, len(names) // 6)
    return ", ".join(repr(name) for name in names[::step][:7])


def _at(module: nn.Module, part: nn.Module, batch: Tensor) -> Tensor:
    """Return what a part makes of a batch that goes through the network."""
    found: list[Tensor] = []
    thread = threading.get_ident()

    def keep(_module: nn.Module, _given: Any, output: Any) -> None:
        # Other threads may use the same network.
        if threading.get_ident() == thread:
            found.append(_first_tensor(output))
            raise _Found

    handle = part.register_forward_hook(keep)
    try:
        module(batch)
    except _Found:
        return found[0]
    finally:
        handle.remove()
    raise ValueError("the layer takes no part in what the network does")


def _first_tensor(output: Any) -> Tensor:
    while isinstance(output, list | tuple) and output:
        output = output[0]
    if not isinstance(output, torch.Tensor):
        raise ValueError(f"it returns a {type(output).__name__}: name a part as layer")
    return output


def _pooled(module: nn.Module, values: Tensor, n: int, pooling: str, *, whole: bool) -> Tensor:
    if values.ndim == 2:
        if pooling != "default":
            raise ValueError(
                f"it returns one row per image, in which pooling={pooling!r} has nothing to do; "
                "layer=-1 reads before that"
            )
        return values
    if values.ndim == 4:
        if pooling == "token":
            raise ValueError("it makes maps, which have no token: pooling='avg'")
        # timm says so; torchvision has one kind of such networks.
        own = getattr(module, "trunk", module)
        last = getattr(own, "output_fmt", "NCHW") == "NHWC" or (
            not whole and type(own).__name__ == "SwinTransformer"
        )
        return values.mean(dim=(1, 2) if last else (2, 3))
    if values.ndim != 3 or (whole and pooling == "default"):
        raise ValueError(f"it returns values of shape {tuple(values.shape)}")
    if values.shape[0] != n and values.shape[1] == n:
        values = values.transpose(0, 1)
    own = getattr(module, "trunk", module)
    has_token = any(getattr(own, name, None) is not None for name in _TOKENS)
    if pooling == "token" and not has_token:
        raise ValueError("it has no class token: pooling='avg'")
    by_own = pooling == "default" and getattr(own, "global_pool", None) != "avg"
    if has_token and (pooling == "token" or by_own):
        return values[:, 0]
    # Tokens of no place come first.
    return values[:, int(getattr(own, "num_prefix_tokens", has_token)) :].mean(dim=1)
