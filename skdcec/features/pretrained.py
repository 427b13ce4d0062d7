"""Images as features of a network that was trained on other images."""

import copy
import re
import warnings
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors.torch
import torch
from joblib import hash as digest
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, check_memory
from torch import Tensor, nn

from skdcec._encoders.base import unchanged_on_failure
from skdcec._encoders.cache import content_digest
from skdcec._encoders.images import ImageInput, check_units
from skdcec._nn.batches import Batches, check_output, map_batches
from skdcec._nn.device import resolve_device
from skdcec._nn.kept import state_with_tensors, state_without_tensors
from skdcec._sklearn_compat import Interval, fit_context

# Mean and deviation of the channels of ImageNet, which the networks expect to be taken out.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)

_OLD_NAME = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")


class PretrainedFeatures(
    ImageInput, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Turn images into features of a network that was trained on ImageNet.

    Images are resized and normalised, and go through the network without its classifier. Where
    that leaves maps, the mean of each over space is a feature.

    Parameters
    ----------
    model : str or torch.nn.Module, default="densenet121"
        Name of a classifier of torchvision, which then has to be installed; or a network that
        maps (n, 3, size, size) images to (n, C, H, W) maps or to (n, C) vectors.
    weights : "default", str, path or None, default="default"
        For a model given by name: "default" lets torchvision load its best weights (once, from
        the network), a path is a file with a state dict, of PyTorch or ".safetensors", None
        leaves random weights. Not used for a network.
    size : int or None, default=224
        Side that images are resized to; None leaves them as they are.
    image_shape : tuple (height, width) or (height, width, channels), default=None
        Shape of the images that come as rows of a 2-D `X`. None takes a square number of
        features for a square gray image, and any other for an image one pixel high.
    data_format : {"channels_last", "channels_first"}, default="channels_last"
        Order of the axes of a 4-D `X`. Rows of a 2-D `X` are always (H, W, C).
    batch_size : int, default=32
        Images that go through the network at once.
    memory : str, path or joblib.Memory, default=None
        Where the features of images are kept, so that they are computed once.
    device : str or torch.device, default=None
        None uses CUDA where present, else the CPU.

    Attributes
    ----------
    module_ : torch.nn.Module
        The network.
    image_shape_ : tuple (height, width, channels)
    scale_ : float
        What pixel values are divided by.
    n_features_in_ : int
        Values per image.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of `X`, where it had any.

    See Also
    --------
    DeepEmbeddingClustering : Clusters such features.

    References
    ----------
    Castellano & Vessio, *A Deep Learning Approach to Clustering Visual Arts*, International
    Journal of Computer Vision 2022 (DELIUS), which clusters features of a DenseNet-121.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_digits
    >>> from skdcec.features import PretrainedFeatures
    >>> network = torch.nn.AvgPool2d(4)  # stands for one that was trained
    >>> features = PretrainedFeatures(network, size=32)
    >>> features.fit_transform(load_digits().images[:10]).shape
    (10, 3)
    """

    _parameter_constraints: dict[str, Any] = {
        **ImageInput._parameter_constraints,
        "model": [str, nn.Module],
        "weights": [str, Path, None],
        "size": [Interval(Integral, 1, None, closed="left"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "memory": "no_validation",
        "device": [str, torch.device, None],
    }

    def __init__(
        self,
        model: Any = "densenet121",
        *,
        weights: Any = "default",
        size: int | None = 224,
        image_shape: tuple[int, ...] | None = None,
        data_format: str = "channels_last",
        batch_size: int = 32,
        memory: Any = None,
        device: Any = None,
    ):
        self.model = model
        self.weights = weights
        self.size = size
        self.image_shape = image_shape
        self.data_format = data_format
        self.batch_size = batch_size
        self.memory = memory
        self.device = device

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: None = None) -> Self:
        """Load the network, and take note of the form of the images.

        Parameters
        ----------
        X : array-like
            The images, of one or three channels.
        y : None
            Ignored.

        Returns
        -------
        self : object

        Raises
        ------
        ImportError
            If the model is given by name and torchvision is not installed.
        ValueError
            If there is no such model, its weights cannot be had, it does not take images of
            this size, or images have another number of channels.
        """
        with unchanged_on_failure(self):
            images = self._validate(X, reset=True)
            if self.image_shape_[2] not in (1, 3):
                raise ValueError(
                    f"X holds images of shape {self.image_shape_} (height, width, channels); "
                    "PretrainedFeatures takes images of 1 or 3 channels."
                )
            device = resolve_device(self.device)
            module = self.model if isinstance(self.model, nn.Module) else self._named_model()
            self.module_ = copy.deepcopy(module).to(device).eval()
            self.scale_ = self._find_scale(images)
            self._n_features_out = self._count_features(Batches(images[:1], self.scale_, device))
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the features of images.

        Parameters
        ----------
        X : array-like
            Images of the shape seen in `fit`.

        Returns
        -------
        features : ndarray of shape (n_samples, n_features), dtype float32
        """
        check_is_fitted(self)
        images = self._validate(X, reset=False)
        check_units(images, self.scale_)
        device = next((p.device for p in self.module_.parameters()), resolve_device(self.device))
        memory = check_memory(str(self.memory) if isinstance(self.memory, Path) else self.memory)
        batches = Batches(images, self.scale_, device)
        if getattr(memory, "location", None) is None:
            return self._extract(batches)
        state = {name: value.cpu().numpy() for name, value in self.module_.state_dict().items()}
        key = digest([images, repr(self.module_), state, self.size, self.scale_, str(device)])
        cached = memory.cache(_features, ignore=["transformer", "batches"])
        features, written = cached(key, self, batches)
        if content_digest(features) != written:
            warnings.warn("Features in the cache are damaged and are found again.", stacklevel=2)
            cached.call_and_shelve(key, self, batches).clear()
            features, _ = cached(key, self, batches)
        return features

    def _count_features(self, batches: Batches) -> int:
        """Return how many there are, or say what is wrong before the work has begun."""
        side = "their own size" if self.size is None else f"size={self.size}"
        try:
            features = self._extract(batches)
        except (RuntimeError, AssertionError, ValueError, TypeError) as error:
            name = self.model if isinstance(self.model, str) else type(self.model).__name__
            raise ValueError(
                f"model={name!r} takes no RGB images of {side} ({error}): choose the size that it "
                "was trained on."
            ) from error
        return features.shape[1]

    def _extract(self, batches: Batches) -> np.ndarray:
        """Return one row of features per image."""

        def embed(batch: Tensor) -> Tensor:
            features = _mean_over_space(self.module_(self._prepare(batch)))
            if features.ndim != 2:
                raise ValueError(f"it returns values of shape {tuple(features.shape)}")
            return features

        features = map_batches(embed, batches, batch_size=int(self.batch_size)).float()
        return check_output(features, batches).numpy()

    def _prepare(self, batch: Tensor) -> Tensor:
        if self.size is not None:
            batch = nn.functional.interpolate(
                batch, (self.size, self.size), mode="bilinear", antialias=True
            )
        mean, deviation = (
            torch.tensor(values, device=batch.device, dtype=batch.dtype)[:, None, None]
            for values in (_MEAN, _DEVIATION)
        )
        return (batch - mean) / deviation

    def _named_model(self) -> nn.Module:
        """Return the feature layers of a model of torchvision."""
        try:
            import torchvision
        except (ImportError, RuntimeError) as error:
            # A torchvision made for another PyTorch fails with a RuntimeError.
            raise ImportError(
                f"model={self.model!r} names one of torchvision, which is not installed or does "
                f"not fit PyTorch {torch.__version__} ({error}): install one that does, or pass a "
                "network as model."
            ) from error
        if self.model not in torchvision.models.list_models(module=torchvision.models):
            raise ValueError(
                f"model={self.model!r} is no classifier of torchvision; "
                "torchvision.models.list_models(module=torchvision.models) names them."
            )
        by_torchvision = self.weights == "default"
        try:
            # Weights are drawn at random before they are loaded.
            with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The default weight initialization")
                weights = "DEFAULT" if by_torchvision else None
                model = torchvision.models.get_model(self.model, weights=weights)
        except OSError as error:
            raise ValueError(
                f"The weights of model={self.model!r} cannot be loaded ({error}): without a "
                "network connection, pass the path of a file with its state dict as weights."
            ) from error
        if not by_torchvision and self.weights is not None:
            self._load_weights(model)
        return without_classifier(model.float())

    def _load_weights(self, model: Any) -> None:
        try:
            model.load_state_dict(load_state(self.weights))
        except RuntimeError as error:
            reason = str(error).strip().splitlines()
            raise ValueError(
                f"weights={str(self.weights)!r} are not those of model={self.model!r}: "
                f"{' '.join(reason[:2])}"
            ) from error
        if hasattr(model, "transform_input"):
            # The published Inception and GoogLeNet expect images in other units than the rest.
            model.transform_input = True

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "module_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def __getstate__(self) -> dict[str, Any]:
        return state_without_tensors(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state_with_tensors(state))


def _features(
    key: str, transformer: PretrainedFeatures, batches: Batches
) -> tuple[np.ndarray, str]:
    features = transformer._extract(batches)
    return features, content_digest(features)


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


def _mean_over_space(features: Tensor) -> Tensor:
    return features.mean(dim=(2, 3)) if features.ndim == 4 else features


class _MeanOverSpace(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return _mean_over_space(features)
