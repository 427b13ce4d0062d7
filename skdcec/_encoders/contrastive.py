"""What an embedding of learned distances is: an encoder trained on views of images."""

import math
import os
import warnings
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from skdcec._callers import caller_level
from skdcec._encoders.base import BaseEncoder, check_widths
from skdcec._encoders.images import ImageInput
from skdcec._encoders.weights import NAMES, weights_file
from skdcec._nn import distributed
from skdcec._nn.batches import Batches, map_together
from skdcec._nn.functional import whitening
from skdcec._nn.modules import ContrastiveModule
from skdcec._nn.nets import ContrastiveNet, check_finite, view_loss
from skdcec._persistence import declared, load, register
from skdcec._sklearn_compat import Interval, StrOptions
from skdcec.augmentation import painting_augmentation

# Side of the views of the default augmentation, as a share of the image's: little more than half
# the pixels to train on.
_VIEW_SHARE = 0.75

# Of the embedding: directions in which images differ more keep a little of that.
_WHITENING = 0.75


@register
class ContrastiveEncoder(ImageInput, BaseEncoder):
    """Embed images by a network that learned which changes do not matter.

    Two views of each image, random parts with changed colours, are to be recognised as
    belonging together among the views of all other images of the batch. What is taken as the
    embedding is mean and standard deviation, over space, of the pixels and of every layer, and
    the correlations between channels of the pixels and of the first three layers,
    brought to `n_components` uncorrelated values of little different variance, and to
    length 1. The distance to use is the cosine distance; the Euclidean one ranks equally.

    Parameters
    ----------
    n_components : int, default=64
        Size of the embedding. Where images differ in fewer directions, the rest is 0.
    filters : sequence of int, default=(32, 64, 128, 256, 256)
        Output channels of the 3x3 convolutions. Each halves height and width.
    temperature : float, default=0.2
        What similarities of views are divided by. Smaller values look harder at the views
        that are hardest to tell apart.
    weights : {"paintings"}, str, path or None, default=None
        Where training starts: None at random, "paintings" at the weights that come with the
        package, which were trained on 6 108 paintings, a path at those of a
        ``ContrastiveEncoder`` saved there, which must have the same `filters`. With
        ``max_epochs=0`` images are embedded by these weights as they are, in seconds and
        however few there are; `n_components` may then be at most those of the weights.
    augmentation : callable, default=None
        Makes a view of a batch, a float32 tensor of shape (n, C, H, W) with values divided
        by ``scale_``; called twice, with the keyword `generator` (a torch.Generator) if it
        takes that. Views may be smaller than images. None takes
        :func:`skdcec.augmentation.painting_augmentation` with three quarters of each side.
    image_shape : tuple (height, width) or (height, width, channels), default=None
        Shape of the images that come as rows of a 2-D `X`. None takes a square number of
        features for a square gray image, and any other for an image one pixel high.
    data_format : {"channels_last", "channels_first"}, default="channels_last"
        Order of the axes of a 4-D `X`. Rows of a 2-D `X` are always (H, W, C).
    max_epochs : int, default=75
        Passes over the data; 0, with `weights`, for none. With ``batch_size="auto"``, few
        images are passed several times per epoch.
    lr : float, default=3e-3
        Learning rate of Adam at its highest.
    lr_schedule : {"onecycle", "cosine", "constant"}, default="onecycle"
        How the learning rate moves from step to step.
    batch_size : int or "auto", default="auto"
        Images per step, at least 2. "auto" is a 64th of the images, at least 16 and at
        most 256.
    device : str or torch.device, default=None
        None takes CUDA or Apple's MPS where present, else the CPU.
    callbacks : list of skorch callbacks, default=None
        Called by skorch during training, such as ``skorch.callbacks.EarlyStopping``.
    random_state : int, RandomState instance or None, default=None
        Determines initial weights, order and views.
    verbose : int or bool, default=None
        Whether to show a progress bar.

    Attributes
    ----------
    module_ : torch.nn.Module
        The trained network, with ``encode``, and ``project`` for views.
    augmentation_ : callable
        What makes the views: `augmentation`, or the default for images of this size.
    image_shape_ : tuple (height, width, channels)
    n_channels_ : int
        Channels that the network takes; gray images are given to all of them alike.
    scale_ : float
        What pixel values are divided by.
    metric_ : str
        "cosine", the distance that the embedding is made for.
    history_ : dict of list of float
        "loss" and "lr", one value per epoch.
    n_iter_ : int
        Epochs trained.
    device_ : str
        Where training ran.
    n_features_in_ : int
        Values per image.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of `X`, where it had any.

    See Also
    --------
    DeepConvEmbeddingClustering : Clusters images, with this as its `encoder`.
    ConvAutoencoder : An embedding trained to reconstruct the images.

    References
    ----------
    Chen, Kornblith, Norouzi & Hinton, *A Simple Framework for Contrastive Learning of
    Visual Representations*, ICML 2020.

    Huang & Belongie, *Arbitrary Style Transfer in Real-time with Adaptive Instance
    Normalization*, ICCV 2017, for mean and deviation of layers as style.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdcec import ContrastiveEncoder
    >>> images = load_digits().images[:100]
    >>> encoder = ContrastiveEncoder(5, filters=(8, 16), max_epochs=2, random_state=0)
    >>> encoder.fit_transform(images).shape
    (100, 5)
    """

    _parameter_constraints: dict[str, Any] = {
        **BaseEncoder._parameter_constraints,
        **ImageInput._parameter_constraints,
        "filters": ["array-like"],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "weights": [str, os.PathLike, None],
        "max_epochs": [Interval(Integral, 0, None, closed="left")],
        # A view can only be told from those of other images.
        "batch_size": [Interval(Integral, 2, None, closed="left"), StrOptions({"auto"})],
    }
    _kept_parameters = {
        **BaseEncoder._kept_parameters,
        **ImageInput._kept_parameters,
        "filters": declared.widths,
        "temperature": declared.number(1e-6, 1e6),
        # Of others it is said that they cannot be kept: a path is nothing to trust a file with.
        "weights": declared.either(declared.choice(*NAMES), declared.nothing),
        "max_epochs": declared.either(declared.epochs, declared.whole(0, 0)),
    }
    _fitted_attributes = {
        **BaseEncoder._fitted_attributes,
        **ImageInput._fitted_attributes,
        "n_channels_": declared.whole(1, declared.MAX_WIDTH),
    }
    _net_class = ContrastiveNet
    _metric = "cosine"

    def __init__(
        self,
        n_components: int = 64,
        *,
        filters: Sequence[int] = (32, 64, 128, 256, 256),
        temperature: float = 0.2,
        weights: str | os.PathLike[str] | None = None,
        augmentation: Any = None,
        image_shape: tuple[int, ...] | None = None,
        data_format: str = "channels_last",
        max_epochs: int = 75,
        lr: float = 3e-3,
        lr_schedule: str = "onecycle",
        batch_size: int | str = "auto",
        device: Any = None,
        callbacks: Sequence[Any] | None = None,
        random_state: Any = None,
        verbose: Any = None,
    ):
        self.n_components = n_components
        self.filters = filters
        self.temperature = temperature
        self.weights = weights
        self.augmentation = augmentation
        self.image_shape = image_shape
        self.data_format = data_format
        self.max_epochs = max_epochs
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.batch_size = batch_size
        self.device = device
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose

    @distributed.takes_shards
    def joint_loss(self, module: Any, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the contrastive loss of a batch, for the joint phase of a clusterer.

        Parameters
        ----------
        module : torch.nn.Module
            ``module_`` or a copy that is trained further.
        batch : tensor of shape (n_samples, channels, height, width)
            Images divided by ``scale_``.
        generator : torch.Generator
            Source of the views.

        Returns
        -------
        tensor of shape ()
            The loss, through which gradients flow.
        """
        return view_loss(module, batch, self.augmentation_, self.temperature, generator)

    @property
    def augmentation_(self) -> Any:
        """What makes the views: `augmentation`, or the default for images of this size."""
        if self.augmentation is not None:
            return self.augmentation
        height, width = (math.ceil(_VIEW_SHARE * side) for side in self.image_shape_[:2])
        return painting_augmentation((height, width))

    def _net_params(self, device: torch.device) -> dict[str, Any]:
        return {"augmentation": self.augmentation_, "temperature": self.temperature}

    def _complete(self, batches: Batches) -> None:
        """Set the last layer, which takes no part in the comparison of views."""
        if self.max_epochs == 0:
            return
        mean, covariance = _mean_and_covariance(self.module_, batches)
        check_finite(covariance, self.lr)
        weight, bias = whitening(mean, covariance, int(self.n_components), _WHITENING)
        with torch.no_grad():
            self.module_.whitening.weight.copy_(weight)
            self.module_.whitening.bias.copy_(bias)

    def _layer_widths(self) -> tuple[int, ...]:
        return check_widths("filters", self.filters)

    def _initial_module(self, generator: torch.Generator) -> ContrastiveModule:
        if self.weights is None:
            if self.max_epochs == 0:
                raise ValueError(
                    "max_epochs=0 trains nothing, and weights=None leaves the network as it was "
                    "drawn at random: pass weights='paintings' or a path, or train."
                )
            self.n_channels_ = self.image_shape_[2]
            return self._new_module(generator)
        source = load(ContrastiveEncoder, weights_file(self.weights))
        self._check_weights(source)
        self.n_channels_ = source.module_.n_channels
        module = self._new_module(generator)
        state = source.module_.state_dict()
        # Its components come by their variance, so that the first ones are those of fewer.
        for name in ("whitening.weight", "whitening.bias"):
            kept = module.state_dict()[name].clone()
            kept[: len(state[name])] = state[name][: len(kept)]
            state[name] = kept
        module.load_state_dict(state)
        return module

    def _check_weights(self, source: "ContrastiveEncoder") -> None:
        named = f"weights={os.fspath(self.weights or '')!r}"
        if source._layer_widths() != self._layer_widths():
            raise ValueError(
                f"{named} are those of filters={source._layer_widths()}, not of "
                f"filters={self._layer_widths()}: pass the former as filters."
            )
        if self.max_epochs == 0 and self.n_components > source.n_components:
            raise ValueError(
                f"n_components={self.n_components} is more than the {source.n_components} of "
                f"{named}: take fewer, or train."
            )
        n_channels, wanted = self.image_shape_[2], source.module_.n_channels
        if n_channels not in (1, wanted):
            raise ValueError(
                f"X holds images of {n_channels} channels; {named} take {wanted}, or 1 for gray "
                "images: leave others out, such as transparency by X[..., :3], or take another "
                "encoder."
            )
        if n_channels != wanted:
            warnings.warn(
                f"X holds gray images; {named} were trained on colours, so each gray is taken for "
                "a colour without hue.",
                UserWarning,
                stacklevel=caller_level(),
            )

    def _new_module(self, generator: torch.Generator | None) -> ContrastiveModule:
        return ContrastiveModule(
            # A file of the first format does not say, since it was always those of the images.
            getattr(self, "n_channels_", self.image_shape_[2]),
            self.n_components,
            self._layer_widths(),
            generator,
        )


def _mean_and_covariance(module: ContrastiveModule, batches: Batches) -> tuple[Tensor, Tensor]:
    """Return mean and covariance of the statistics of all images, in memory of one batch."""
    # Around the values of one image, so that the squares do not swallow small differences.
    with torch.inference_mode():
        origin = module.statistics(batches[:1]).cpu().double()
    size = origin.shape[1]
    total = torch.zeros(size, dtype=torch.float64)
    squares = torch.zeros(size, size, dtype=torch.float64)

    def add(batch: Tensor) -> Tensor:
        rows = module.statistics(batch).cpu().double() - origin
        total.add_(rows.sum(dim=0))
        squares.addmm_(rows.T, rows)
        return rows[:, :0]

    map_together(add, batches)
    distributed.summed(total, squares)
    mean = total / len(batches)
    return mean + origin[0], squares / len(batches) - torch.outer(mean, mean)
