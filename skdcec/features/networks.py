"""Which network does a name stand for, and how does it want its pixels?"""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn

from skdcec.features.pixels import FILTERS, Preprocessing, as_size, of_channels

# Names that begin so are not those of torchvision.
TIMM, HUB, FOLDER, CLIP = "timm/", "hf-hub:", "local-dir:", "open_clip/"
PREFIXES = (TIMM, HUB, FOLDER, CLIP)

# The crops and squashes of timm and open_clip in our words.
_TIMM_MODES = {"center": "crop", "squash": "stretch", "border": "pad"}
_CLIP_MODES = {"shortest": "crop", "squash": "stretch", "longest": "pad"}

_OLD_NAME = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")

# Errors that mean that nothing can be fetched, by the names of their classes.
_OFFLINE = {
    "LocalEntryNotFoundError",
    "OfflineModeIsEnabled",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionError",
    "URLError",
    "MaxRetryError",
}
_GATED = {"GatedRepoError"}
# How much of another package's words an error repeats.
_MAX_REASON = 200


class Network(NamedTuple):
    """A network, and what is known of the pixels it wants.

    Attributes
    ----------
    module : torch.nn.Module
        Maps (n, 3, height, width) images to features, maps or tokens.
    wants : Preprocessing or None
        None where nothing is known.
    """

    module: nn.Module
    wants: Preprocessing | None


def network_of(model: str | nn.Module, weights: Any) -> Network:
    """Return the network that a name stands for, or the one given.

    Parameters
    ----------
    model : str or torch.nn.Module
        As of :class:`PretrainedFeatures`.
    weights : "default", str, path or None

    Raises
    ------
    ImportError
        If a package is missing; it names the extra.
    ValueError
        If there is no such network, or its weights cannot be had or are not its own.
    """
    if isinstance(model, nn.Module):
        return Network(model, known_preprocessing(model))
    # Weights are drawn at random before they are loaded.
    with torch.random.fork_rng(devices=[]):
        if model.startswith((TIMM, HUB, FOLDER)):
            module = _of_timm(model, weights)
            return Network(module, known_preprocessing(module))
        if model.startswith(CLIP):
            module = _of_open_clip(model, weights)
            return Network(module, known_preprocessing(module))
        return _of_torchvision(model, weights)


def known_preprocessing(module: nn.Module) -> Preprocessing | None:
    """Return what a network of timm or open_clip says of the pixels it wants, if it does."""
    clip = getattr(module, "preprocess_cfg", None)
    if isinstance(clip, dict) and {"size", "mean", "std", "resize_mode"} <= {*clip}:
        size = as_size(clip["size"])
        fill = float(clip.get("fill_color") or 0)
        return Preprocessing(
            size,
            size,
            _said(_CLIP_MODES, clip["resize_mode"] or "shortest"),
            _said(FILTERS, clip.get("interpolation") or "bicubic", keep=True),
            of_channels(_thrice(clip["mean"]), "mean"),
            of_channels(_thrice(clip["std"]), "std"),
            (fill, fill, fill),
        )
    own = getattr(module, "pretrained_cfg", None)
    # timm would fill in what is missing by what networks usually want.
    if not isinstance(own, dict) or not all(own.get(key) for key in ("input_size", "mean", "std")):
        return None
    config = import_timm().data.resolve_model_data_config(module)
    height, width = config["input_size"][1:]
    mean = of_channels(_thrice(config["mean"]), "mean")
    share = float(config["crop_pct"])
    resize = _said(_TIMM_MODES, config["crop_mode"])
    fill = 255.0 if resize == "pad" else 0.0
    return Preprocessing(
        (height, width),
        (int(height / share), int(width / share)),
        resize,
        _said(FILTERS, config["interpolation"], keep=True),
        mean,
        of_channels(_thrice(config["std"]), "std"),
        (fill * mean[0], fill * mean[1], fill * mean[2]),
    )


def set_input_size(module: nn.Module, size: tuple[int, int]) -> None:
    """Let a network whose positions are counted take images of another size, if it can."""
    own: Any = getattr(module, "trunk", module)
    if hasattr(own, "set_input_size"):
        own.set_input_size(img_size=size)


def _said(known: dict[str, Any], word: str, *, keep: bool = False) -> str:
    if word not in known:
        raise ValueError(
            f"The network wants its images by {word!r}, which is none of {', '.join(known)}: pass "
            "what comes closest as resize or interpolation."
        )
    return word if keep else known[word]


def _thrice(values: Any) -> Any:
    values = (values,) if isinstance(values, int | float) else tuple(values)
    return values * 3 if len(values) == 1 else values


# timm


def import_timm() -> ModuleType:
    """Return timm, or say how to get it."""
    return _imported("timm", "timm")


def _of_timm(name: str, weights: Any) -> nn.Module:
    timm = import_timm()
    # The library refuses this prefix, which is ours, and knows the others.
    own = name.removeprefix(TIMM)
    if name.startswith(FOLDER) and not Path(name.removeprefix(FOLDER)).is_dir():
        raise ValueError(f"model={name!r}: there is no such folder.")
    if name.startswith((HUB, FOLDER)) and weights not in ("default", None):
        raise ValueError(
            f"model={name!r} brings its weights: leave weights out, or name the architecture, "
            "'timm/NAME'."
        )
    with _telling(name, "timm.list_models() names them"):
        module: nn.Module = timm.create_model(own, pretrained=weights == "default", num_classes=0)
    if weights not in ("default", None):
        config = getattr(module, "pretrained_cfg", None) or {}
        classifier = config.get("classifier") or ()
        parts = (classifier,) if isinstance(classifier, str) else tuple(classifier)
        load_weights(module, name, weights, without=parts)
    return module.float()


# open_clip


def _of_open_clip(name: str, weights: Any) -> nn.Module:
    """Return the image side, which says how it wants its pixels."""
    visual: Any = both_sides_of(name, weights).visual
    module: nn.Module = visual.float()
    return module


def both_sides_of(name: str, weights: Any) -> nn.Module:
    """Return a network of open_clip as its library makes it, with the side that reads texts."""
    open_clip = import_open_clip()
    own, tag = own_name(name)
    if tag == "":
        raise ValueError(
            f"model={name!r} names no weights, which decide how the network wants its "
            "pixels: 'open_clip/NAME/TAG'; open_clip.list_pretrained() names both."
        )
    load = weights == "default"
    with _telling(name, "open_clip.list_pretrained() names them"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "QuickGELU mismatch")
        wants: dict[str, Any] = open_clip.get_pretrained_cfg(own, tag) if tag is not None else {}
        if tag is not None and not wants:
            raise ValueError(f"{own} has no weights {tag!r}")
        quick = {"force_quick_gelu": True} if wants.get("quick_gelu") else {}
        model: nn.Module = open_clip.create_model(
            own,
            pretrained=tag if load else None,
            load_weights=load,
            pretrained_text=False,
            pretrained_image=False,
            **quick,
        )
        if tag is not None and not load:
            # What the weights of this name were trained with, wherever they come from.
            said = {key: wants[key] for key in _CLIP_KEYS if wants.get(key) is not None}
            visual: Any = model.visual
            visual.preprocess_cfg = {**visual.preprocess_cfg, **said}
    if not load and weights is not None:
        load_weights(model, name, weights)
    return model


def own_name(name: str) -> tuple[str, str | None]:
    """Return what open_clip calls a network, and its weights; None where it is in a folder."""
    own = name.removeprefix(CLIP)
    if own.startswith((HUB, FOLDER)):
        return own, None
    own, _, tag = own.partition("/")
    return own, tag


def import_open_clip() -> ModuleType:
    """Return open_clip, or say how to get it."""
    return _imported("open_clip", "clip", "open_clip_torch")


_CLIP_KEYS = ("mean", "std", "interpolation", "resize_mode")


# torchvision


def _of_torchvision(name: str, weights: Any) -> Network:
    """Return a classifier of torchvision without what classifies."""
    try:
        import torchvision
    except (ImportError, RuntimeError) as error:
        # A torchvision made for another PyTorch fails with a RuntimeError.
        raise ImportError(
            f"model={name!r} names one of torchvision, which is not installed or does "
            f"not fit PyTorch {torch.__version__} ({error}): install one that does, or pass a "
            "network as model."
        ) from error
    models = torchvision.models
    if name not in models.list_models(module=models):
        raise ValueError(
            f"model={name!r} is no classifier of torchvision; "
            "torchvision.models.list_models(module=torchvision.models) names them. Those of timm "
            f"and open_clip begin with {', '.join(PREFIXES)}."
        )
    by_torchvision = weights == "default"
    with _telling(name, "pass the path of a file with its state dict as weights"):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The default weight initialization")
            model = models.get_model(name, weights="DEFAULT" if by_torchvision else None)
        published = models.get_model_weights(name)
    entry = published.DEFAULT
    if not by_torchvision and weights is not None:
        load_weights(model, name, weights)
        # Published files bear the name that they were fetched by.
        entry = next((one for one in published if _names(one, weights)), entry)
        if hasattr(model, "transform_input"):
            # The published Inception and GoogLeNet expect images in other units than the rest.
            model.transform_input = True
    return Network(without_classifier(model.float()), _of_preset(entry.transforms()))


def _names(entry: Any, path: Any) -> bool:
    return str(getattr(entry, "url", "")).rpartition("/")[2] == Path(path).name


def _of_preset(preset: Any) -> Preprocessing:
    size, before = (as_size(_only(side)) for side in (preset.crop_size, preset.resize_size))
    return Preprocessing(
        size,
        before,
        "crop",
        _said(FILTERS, getattr(preset.interpolation, "value", preset.interpolation), keep=True),
        of_channels(preset.mean, "mean"),
        of_channels(preset.std, "std"),
    )


def _only(sides: Any) -> Any:
    return sides if isinstance(sides, int) or len(sides) > 1 else sides[0]


def without_classifier(model: Any) -> nn.Module:
    """Return a classifier of torchvision as what it computes before it classifies."""
    for name in ("fc", "head", "heads", "classifier"):
        if isinstance(getattr(model, name, None), nn.Module):
            setattr(model, name, _MeanOverSpace())
            # VGG and AlexNet classify flattened maps of several pixels; one each is their mean.
            pool = getattr(model, "avgpool", None)
            if isinstance(pool, nn.AdaptiveAvgPool2d):
                pool.output_size = 1
            return model
    raise ValueError(
        f"{type(model).__name__} has no part that is known to classify: pass the layers before "
        "it as model."
    )


class _MeanOverSpace(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features.mean(dim=(2, 3)) if features.ndim == 4 else features


# Weights


def load_weights(module: nn.Module, name: str, path: Any, *, without: tuple[str, ...] = ()) -> None:
    """Give a network the weights in a file, which may also have those of parts it is `without`.

    Raises
    ------
    ValueError
        If the file holds none, or those of another network.
    """
    state = load_state(path)
    dropped = tuple(f"{part}." for part in without)
    state = {key: value for key, value in state.items() if not key.startswith(dropped)}
    try:
        found = module.load_state_dict(state, strict=False)
        wrong = [*found.missing_keys, *found.unexpected_keys]
        if wrong:
            raise RuntimeError(
                f"{len(found.missing_keys)} of its weights are missing and "
                f"{len(found.unexpected_keys)} are of something else, such as {wrong[0]}"
            )
    except RuntimeError as error:
        reason = str(error).strip().splitlines()
        raise ValueError(
            f"weights={str(path)!r} are not those of model={name!r}: {' '.join(reason[:2])}"
        ) from error


def load_state(path: Any) -> dict[str, Tensor]:
    """Read a state dict from a file, executing nothing from it.

    Raises
    ------
    ValueError
        If the file holds anything else, or cannot be read.
    """
    try:
        if Path(path).suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"weights={str(path)!r} is no file with a state dict: {error}") from error
    if not isinstance(state, dict):
        raise ValueError(
            f"weights={str(path)!r} holds a {type(state).__name__} instead of a state dict."
        )
    # The published DenseNets were saved when their layers had other names.
    return {_OLD_NAME.sub(r"\1\2", name): value for name, value in state.items()}


# What other packages raise


def _imported(module: str, extra: str, package: str | None = None) -> ModuleType:
    from importlib import import_module

    try:
        return import_module(module)
    except (ImportError, RuntimeError) as error:
        # It imports torchvision, which fails with a RuntimeError beside another PyTorch.
        raise ImportError(
            f"Networks of {package or module} need it, and a torchvision that fits PyTorch "
            f"{torch.__version__} ({error}): pip install 'skdcec[{extra}]', or pass a network as "
            "model."
        ) from error


@contextmanager
def _telling(name: str, remedy: str) -> Iterator[None]:
    """Turn what may go wrong in another package into one sentence."""
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        kinds = {type(one).__name__ for one in _chain(error)}
        from_system = any(isinstance(one, OSError) for one in _chain(error))
        reason = reason_of(error)
        if kinds & _GATED:
            raise ValueError(
                f"The weights of model={name!r} are gated: accept their terms on the page of the "
                "model at Hugging Face, and log in with 'hf auth login'; or pass a folder that "
                "has them, 'local-dir:FOLDER'."
            ) from error
        if kinds & _OFFLINE or from_system:
            raise ValueError(
                f"The weights of model={name!r} cannot be loaded ({reason}): without a network "
                "connection, pass the path of a file with its state dict as weights, or a folder, "
                "'local-dir:FOLDER'."
            ) from error
        raise ValueError(f"model={name!r} cannot be had ({reason}): {remedy}.") from error


def reason_of(error: Exception) -> str:
    """Return the beginning of what an error of another package says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:_MAX_REASON]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
