"""Images as features of a network that was trained on other images."""

import copy
import math
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from joblib import hash as digest
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skdcec._encoders.base import unchanged_on_failure
from skdcec._encoders.cache import folder_of
from skdcec._encoders.images import ImageInput, check_units
from skdcec._nn.batches import Batches, check_output, map_batches
from skdcec._nn.device import resolve_device
from skdcec._nn.kept import state_with_tensors, state_without_tensors
from skdcec._sklearn_compat import Interval, StrOptions, fit_context
from skdcec.datasets.decode import fit_picture
from skdcec.datasets.pictures import Pictures, pictures_in
from skdcec.features.kept_rows import KeptRows
from skdcec.features.networks import network_of, set_input_size
from skdcec.features.pixels import FILTERS, Preprocessing, as_size, of_channels
from skdcec.features.readout import POOLINGS, read
from skdcec.features.texts import TextSide, checked_texts, text_side_of

# Images whose features are found, and kept, together; of large ones, fewer.
_CHUNK = 256
_CHUNK_BYTES = 2**25

# Decoders may reduce a picture to twice of this, which changes what networks see of it.
_WHOLE = 2**24


class PretrainedFeatures(
    ImageInput, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Turn images into features of a network that was trained on other images.

    Pictures are brought to size and normalised as the network was trained to see them, which is
    read from the network, and go through it without its classifier. Where that leaves maps, the
    mean of each over space is a feature.

    Parameters
    ----------
    model : str or torch.nn.Module, default="densenet121"
        The network:

        - ``"timm/NAME"``, such as ``"timm/vit_small_patch14_dinov2.lvd142m"``, one of timm;
        - ``"hf-hub:OWNER/NAME"`` or ``"local-dir:FOLDER"``, a model in timm's format at Hugging
          Face or in a folder;
        - ``"open_clip/NAME/TAG"``, such as ``"open_clip/ViT-B-32/laion2b_s34b_b79k"``, the image
          tower of one of open_clip; also ``"open_clip/local-dir:FOLDER"``;
        - any other name is that of a classifier of torchvision;
        - a network that maps (n, 3, height, width) images to (n, C, H, W) maps or to (n, C)
          vectors. Unless it comes from timm or open_clip, `mean`, `std`, `size` and `resize` have
          to be given, since nobody else knows them.
    weights : "default", str, path or None, default="default"
        For a model given by name: "default" lets its library load its weights (once, from the
        network), a path is a file with a state dict, of PyTorch or ".safetensors", None leaves
        random weights. Not used for a network.
    pooling : {"default", "token", "avg"}, default="default"
        What stands for all places of an image: what the network itself takes, the token of the
        class, or the mean over places.
    layer : int, str or None, default=None
        What is read: the output of the block of this number (-1 is the last), or of the part of
        this name, before what the network does with its last block; None reads its result.
    size : "default", int, (height, width) or None, default="default"
        What images are brought to: "default" is what the network was trained on, None leaves them
        as they are.
    resize : {"default", "crop", "stretch", "pad"}, default="default"
        How other proportions are brought to `size`: "default" is as the network was trained;
        "crop" keeps the centre, "stretch" ignores the proportions, "pad" adds bars.
    interpolation : {"default", "nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"}, \
            default="default"
        The filter of Pillow; "default" is that of the network's training, and "bilinear" for a
        network that says nothing of it.
    mean, std : sequence of three floats, default=None
        What is taken out of red, green and blue from 0 to 1, and what they are divided by. None
        takes what the network was trained with.
    precision : {"float32", "bfloat16", "float16"}, default="float32"
        What the network computes in; features are float32. Half the time on devices made for it.
    image_shape : tuple (height, width) or (height, width, channels), default=None
        Shape of the images that come as rows of a 2-D `X`. None takes a square number of
        features for a square gray image, and any other for an image one pixel high.
    data_format : {"channels_last", "channels_first"}, default="channels_last"
        Order of the axes of a 4-D `X`. Rows of a 2-D `X` are always (H, W, C).
    batch_size : int, default=32
        Images that go through the network at once.
    memory : str, path or joblib.Memory, default=None
        The folder where the features of images are kept, so that they are computed once. They are
        kept some hundred at a time, as soon as they are there: what was killed goes on.
    device : str or torch.device, default=None
        None takes CUDA or Apple's MPS where present, else the CPU.

    Attributes
    ----------
    module_ : torch.nn.Module
        The network.
    preprocessing_ : tuple
        What is done to images: ``size``, ``before`` (what they are brought to before edges are cut
        off), ``resize``, ``interpolation``, ``mean``, ``std`` and ``fill``.
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
    SideBySide : Several descriptions of images together.

    Notes
    -----
    `X` may be paths, contents of files (bytes), open binary files or PIL images, one or a sequence
    of them, in the place of an array: then each picture is brought to size by itself, from all of
    its pixels. Of a million, only some hundred are in memory at once. Transparency is laid on
    white, and pictures are turned as their EXIF data say.

    Images of 8 bits are resized by Pillow, as the networks' own pipelines do; other values are
    not rounded on the way.

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
    >>> features = PretrainedFeatures(
    ...     network, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), size=32, resize="stretch"
    ... )
    >>> features.fit_transform(load_digits().images[:10]).shape
    (10, 3)
    """

    _parameter_constraints: dict[str, Any] = {
        **ImageInput._parameter_constraints,
        "model": [str, nn.Module],
        "weights": [str, Path, None],
        "pooling": [StrOptions({*POOLINGS})],
        "layer": [Integral, str, None],
        "size": [
            Interval(Integral, 1, None, closed="left"),
            list,
            tuple,
            StrOptions({"default"}),
            None,
        ],
        "resize": [StrOptions({"default", "crop", "stretch", "pad"})],
        "interpolation": [StrOptions({"default", *FILTERS})],
        "mean": ["array-like", None],
        "std": ["array-like", None],
        "precision": [StrOptions({"float32", "bfloat16", "float16"})],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "memory": "no_validation",
        "device": [str, torch.device, None],
    }

    def __init__(
        self,
        model: Any = "densenet121",
        *,
        weights: Any = "default",
        pooling: str = "default",
        layer: int | str | None = None,
        size: int | Sequence[int] | str | None = "default",
        resize: str = "default",
        interpolation: str = "default",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        precision: str = "float32",
        image_shape: tuple[int, ...] | None = None,
        data_format: str = "channels_last",
        batch_size: int = 32,
        memory: Any = None,
        device: Any = None,
    ):
        self.model = model
        self.weights = weights
        self.pooling = pooling
        self.layer = layer
        self.size = size
        self.resize = resize
        self.interpolation = interpolation
        self.mean = mean
        self.std = std
        self.precision = precision
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
        X : array-like, or pictures
            The images, of one or three channels; or what stands for pictures, none of which is
            decoded yet.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The estimator itself, fitted.

        Raises
        ------
        ImportError
            If the package that the name is of is not installed; it names what to install.
        ValueError
            If there is no such model, its weights cannot be had, are gated or are not its own, how
            it wants its images is not known, it does not take images of this size, or images have
            another number of channels.
        """
        with unchanged_on_failure(self):
            self.__dict__.pop("_text_side", None)
            pictures = pictures_in(X)
            if pictures is None:
                images = self._validate(X, reset=True)
            if pictures is None and self.image_shape_[2] not in (1, 3):
                raise ValueError(
                    f"X holds images of shape {self.image_shape_} (height, width, channels); "
                    "PretrainedFeatures takes images of 1 or 3 channels."
                )
            device = resolve_device(self.device)
            network = network_of(self.model, self.weights)
            module = (
                copy.deepcopy(network.module) if network.module is self.model else network.module
            )
            self.preprocessing_ = self._preprocessing(network.wants)
            if network.wants is not None and self.preprocessing_.size not in (
                None,
                network.wants.size,
            ):
                set_input_size(module, self.preprocessing_.size)
            self.module_ = module.to(device).eval()
            # Looking through all weights takes its time.
            self._digest = None if folder_of(self.memory) is None else self._found_digest()
            if pictures is not None:
                pictures.check()
                images = self._note_pictures()
            self.scale_ = self._find_scale(images)
            self._n_features_out = self._count_features(images[:1], device)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the features of images.

        Parameters
        ----------
        X : array-like, or pictures
            Images of the shape seen in `fit`; or paths, contents of files, open files, or PIL
            images of any size.

        Returns
        -------
        features : ndarray of shape (n_samples, n_features), dtype float32
            What the network makes of each image.

        Raises
        ------
        ValueError
            If a picture cannot be used; it is named, and with `memory` nothing is lost.
        """
        check_is_fitted(self)
        pictures = pictures_in(X)
        if pictures is not None:
            return self._of_pictures(pictures)
        images = self._validate(X, reset=False)
        check_units(images, self.scale_)
        kept = self._kept()
        found = np.empty((len(images), self._n_features_out), np.float32)
        for start, stop in self._bounds(len(images), images[:1].nbytes):
            some = images[start:stop]
            rows = kept.get(some, self.scale_)
            found[start:stop] = self._extract(some) if rows is None else rows
            if rows is None:
                kept.put(found[start:stop])
        return found

    def transform_text(self, texts: str | Sequence[str]) -> np.ndarray:
        """Return the features of texts, to compare with those of images by their cosine.

        For networks of open_clip, which were trained on images with their captions. The side that
        reads texts is loaded when it is first asked for, and is not kept by pickle.

        Parameters
        ----------
        texts : str or sequence of str
            One or several, such as "a ship in a storm". What a text has beyond the length that the
            network reads, often 77 tokens, is not seen.

        Returns
        -------
        features : ndarray of shape (n_texts, n_features), dtype float32
            What the network makes of each text, to be compared with images by the cosine.

        Raises
        ------
        ImportError
            If a package is missing; it names what to install.
        TypeError
            If `texts` holds anything else.
        ValueError
            If the network knows no words, its `layer` or `pooling` is not what texts are compared
            with, its weights cannot be had or have changed since `fit`, or a text is empty, longer
            than 2000 characters or no valid Unicode.
        """
        check_is_fitted(self)
        known = checked_texts(texts)
        if self.layer is not None or self.pooling != "default":
            raise ValueError(
                f"layer={self.layer!r}, pooling={self.pooling!r}: texts are compared with what the "
                "network itself makes of an image, layer=None and pooling='default'."
            )
        device = self._device()
        side = self.__dict__.get("_text_side")
        if side is None:
            side = text_side_of(self.model, self.weights, self.module_)
            side.module.to(device)
            self._text_side: TextSide = side
        step, rows = int(self.batch_size), []
        with torch.inference_mode(), self._computing(device):
            for start in range(0, len(known), step):
                rows.append(side.features(known[start : start + step], device))
        features: np.ndarray = torch.cat(rows).numpy()
        if features.shape[1:] != (self._n_features_out,) or not np.isfinite(features).all():
            raise ValueError(
                f"model={self.model!r} makes rows of shape {features.shape[1:]} of texts and "
                f"({self._n_features_out},) of images, or values that are not finite: they cannot "
                "be compared."
            )
        return features

    def _of_pictures(self, pictures: Pictures) -> np.ndarray:
        """Return the features of pictures, which are decoded while others go through."""
        pictures.check()
        kept = self._kept()
        found = np.empty((len(pictures), self._n_features_out), np.float32)
        unknown = []
        for start, stop in self._bounds(len(pictures), math.prod(self._picture_shape())):
            versions = pictures.versions(start, stop) if kept.folder is not None else None
            rows = None if versions is None else kept.get(versions)
            if rows is None:
                unknown.append((start, stop))
            else:
                found[start:stop] = rows
        for (start, stop), pixels in pictures.decoded(unknown, self._fit_picture, side=_WHOLE):
            # What is in no file is known by its pixels.
            versions = pictures.versions(start, stop) if kept.folder is not None else None
            rows = kept.get(pixels if versions is None else versions)
            found[start:stop] = self._extract(pixels, fitted=True) if rows is None else rows
            if rows is None:
                kept.put(found[start:stop])
        return found

    def _preprocessing(self, wants: Preprocessing | None) -> Preprocessing:
        """Return what is done to images: as the network wants it, but for what the user says."""
        size = None if self.size is None or self.size == "default" else as_size(self.size)
        given = {
            name: of_channels(value, name)
            for name, value in (("mean", self.mean), ("std", self.std))
            if value is not None
        }
        if min(given.get("std", (1.0,))) <= 0:
            raise ValueError(f"std={self.std!r} must be positive numbers.")
        if wants is None:
            self._refuse_unknown(given)
            wants = Preprocessing(size, size, self.resize, "bilinear", **given)
        wants = wants._replace(mean=given.get("mean", wants.mean), std=given.get("std", wants.std))
        if self.size != "default":
            wants = wants.at(size)
        if self.resize != "default":
            wants = wants.by(self.resize)
        if self.interpolation != "default":
            wants = wants._replace(interpolation=self.interpolation)
        return wants

    def _refuse_unknown(self, given: dict[str, Any]) -> None:
        """Raise where neither the network nor the user says how it wants its images."""
        missing = [name for name in ("mean", "std") if name not in given]
        missing += ["size"] * (self.size == "default")
        missing += ["resize"] * (self.resize == "default" and self.size is not None)
        if missing:
            name = self.model if isinstance(self.model, str) else type(self.model).__name__
            raise ValueError(
                f"model={name!r} does not say how it wants its images: pass {', '.join(missing)}. "
                "What was trained on ImageNet by torchvision's recipes takes mean=(0.485, 0.456, "
                "0.406), std=(0.229, 0.224, 0.225), size=224, resize='crop'; another network's "
                "are in its documentation."
            )

    def _note_pictures(self) -> np.ndarray:
        """Set what follows from being fitted on pictures, and return one in their form."""
        if self.preprocessing_.size is None:
            raise ValueError(
                "size=None leaves images as they are, and pictures may have any size: pass size, "
                "or an array of images."
            )
        self.image_shape_ = (*self.preprocessing_.size, 3)
        self._layout = "channels_last"
        self.n_features_in_ = math.prod(self.image_shape_)
        return np.full((1, *self.image_shape_), 255, np.uint8)

    def _count_features(self, images: np.ndarray, device: torch.device) -> int:
        """Return how many there are, or say what is wrong before the work has begun."""
        size = self.preprocessing_.size
        side = (
            "their own size" if size is None else f"size={size[0] if size[0] == size[1] else size}"
        )
        try:
            features = self._extract(images)
        except (RuntimeError, AssertionError, ValueError, TypeError) as error:
            name = self.model if isinstance(self.model, str) else type(self.model).__name__
            if str(error).startswith("layer="):
                raise
            raise ValueError(
                f"model={name!r} takes no RGB images of {side} ({error}): choose the size that it "
                "was trained on."
            ) from error
        return features.shape[1]

    def _kept(self) -> KeptRows:
        """Return what was found before, under all that features depend on but the images."""
        folder = folder_of(self.memory)
        if folder is None:
            return KeptRows(None, [])
        known = [self._digest or self._found_digest(), self.preprocessing_, self._picture_shape()]
        how = [self.layer, self.pooling, self.precision, str(self._device())]
        return KeptRows(folder, [known, how])

    def _found_digest(self) -> str:
        """Return what equal networks have in common."""
        state = {name: value.cpu().numpy() for name, value in self.module_.state_dict().items()}
        return str(digest([repr(self.module_), state]))

    def _bounds(self, n: int, n_bytes: int) -> list[tuple[int, int]]:
        """Return where chunks of images begin and end."""
        step = max(1, min(_CHUNK, _CHUNK_BYTES // max(1, n_bytes)))
        return [(start, min(start + step, n)) for start in range(0, n, step)]

    def _picture_shape(self) -> tuple[int, ...]:
        size = self.preprocessing_.size
        return (*(self.image_shape_[:2] if size is None else size), 3)

    def _fit_picture(self, image: Any) -> np.ndarray:
        if self.preprocessing_.size is None:
            # Where images were taken as they came, pictures are as `load_images` makes them.
            return fit_picture(image, self.image_shape_[:2], "pad")
        return self.preprocessing_.picture(image)

    def _device(self) -> torch.device:
        return next((p.device for p in self.module_.parameters()), resolve_device(self.device))

    def _extract(self, images: np.ndarray, *, fitted: bool = False) -> np.ndarray:
        """Return one row of features per image; `fitted` ones are pixels of the right size."""
        device = self._device()
        batches = Batches(images, 255.0 if fitted else self.scale_, device)
        layer = self.layer if self.layer is None or isinstance(self.layer, str) else int(self.layer)

        def embed(batch: Tensor) -> Tensor:
            batch = self._normalised(batch if fitted else self._resized(batch))
            with self._computing(device):
                return read(self.module_, batch, layer=layer, pooling=self.pooling).float()

        features = map_batches(embed, batches, batch_size=int(self.batch_size))
        return check_output(features, batches).numpy()

    def _computing(self, device: torch.device) -> Any:
        if self.precision == "float32":
            return torch.autocast(device.type, enabled=False)
        return torch.autocast(device.type, dtype=getattr(torch, self.precision))

    def _resized(self, batch: Tensor) -> Tensor:
        """Return a batch of images from 0 to 1 in the size that the network wants."""
        height, width = batch.shape[2:]
        batch = batch.expand(-1, 3, -1, -1)
        if self.preprocessing_.leaves((height, width)):
            return batch
        images = batch.permute(0, 2, 3, 1).cpu().numpy()
        pixels = np.stack([self.preprocessing_.array(image) for image in images])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).to(batch.device)

    def _normalised(self, batch: Tensor) -> Tensor:
        mean, deviation = (
            torch.tensor(values, device=batch.device, dtype=batch.dtype)[:, None, None]
            for values in (self.preprocessing_.mean, self.preprocessing_.std)
        )
        return (batch - mean) / deviation

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "module_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = {k: v for k, v in super().__getstate__().items() if k != "_text_side"}
        return state_without_tensors(state)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state_with_tensors(state))
