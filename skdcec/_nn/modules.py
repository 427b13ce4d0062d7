"""The networks that are trained: autoencoders for images of any shape and for vectors."""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from skdcec._nn.functional import cosine_assignment, student_t_assignment
from skdcec._nn.upsampling import Upsampling

# In place where the gradient can be taken from the result: the pass over memory that this saves is
# a twenty-fifth of a training step.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": partial(nn.ReLU, inplace=True),
    "elu": partial(nn.ELU, inplace=True),
    "leaky_relu": partial(nn.LeakyReLU, inplace=True),
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}

# Channels that are normalised together, in layers whose number of channels it divides.
_GROUP_SIZE = 8

# Size of the vectors that the contrastive loss compares.
_VIEW_COMPONENTS = 128

# How channels go together is read off the pixels and the first layers, where it costs little and
# tells most: of so many channels each.
_N_CORRELATED_LAYERS = 3
_MAX_CORRELATED = 32

_ALIGNMENT = 8

_TINY_VARIANCE = 1e-6

# Layers come without values, and in single precision whatever PyTorch's default is.
_EMPTY: dict[str, Any] = {"device": "meta", "dtype": torch.float32}


class AutoencoderModule(nn.Module):
    """An encoder and its mirror image: ``encode`` to the embedding, ``decode`` back."""

    encoder: nn.Sequential
    decoder: nn.Sequential

    def encode(self, x: Tensor) -> Tensor:
        """Map a batch to embeddings of shape (n_samples, n_components)."""
        code: Tensor = self.encoder(x)
        return code

    def decode(self, z: Tensor) -> Tensor:
        """Map embeddings to a batch of the shape that ``encode`` takes."""
        batch: Tensor = self.decoder(z)
        return batch


class ConvAutoencoderModule(AutoencoderModule):
    """Strided convolutions down to a linear embedding, and transposed ones back.

    Every convolution halves the axes that are longer than 1, rounding up; the decoder
    returns to the recorded sizes, so that an image of any shape comes back as it went in.

    Parameters
    ----------
    image_shape : tuple (height, width, channels)
    n_components : int
    filters : sequence of int
        Output channels of each convolution. Kernels are 5x5, the last one 3x3.
    activation : str
        A key of ``ACTIVATIONS``.
    generator : torch.Generator
        Source of the initial weights; None leaves the module without values, for weights
        to be loaded.

    References
    ----------
    Guo, Liu, Zhu & Yin, *Deep Clustering with Convolutional Autoencoders*, ICONIP 2017,
    section 3.1.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        n_components: int,
        filters: Sequence[int],
        activation: str,
        generator: torch.Generator | None,
    ):
        super().__init__()
        height, width, channels = image_shape
        act = ACTIVATIONS[activation]
        size = (height, width)
        convolutions: list[nn.Module] = []
        mirrors: list[tuple[nn.Module, nn.Module]] = []
        for i, (n_in, n_out) in enumerate(itertools.pairwise([channels, *filters])):
            geometry = _halving(size, kernel=3 if i == len(filters) - 1 else 5)
            convolutions += [nn.Conv2d(n_in, n_out, **geometry, **_EMPTY), act()]
            mirror = Upsampling(n_out, n_in, size, geometry)
            mirrors.append((act(), mirror))
            size = (math.ceil(size[0] / 2), math.ceil(size[1] / 2))
        code_shape = (filters[-1], *size)
        n_code = math.prod(code_shape)
        self.encoder = nn.Sequential(
            *convolutions, nn.Flatten(), nn.Linear(n_code, n_components, **_EMPTY)
        )
        self.decoder = nn.Sequential(
            nn.Linear(n_components, n_code, **_EMPTY),
            nn.Unflatten(1, code_shape),
            *itertools.chain.from_iterable(reversed(mirrors)),
        )
        if generator is not None:
            initialize_weights(self, generator)
            use_channels_last(self)


class DenseAutoencoderModule(AutoencoderModule):
    """Fully connected layers down to a linear embedding, and their mirror image.

    Parameters
    ----------
    n_features : int
    n_components : int
    hidden_layer_sizes : sequence of int
        Widths between the input and the embedding.
    activation : str
        A key of ``ACTIVATIONS``.
    generator : torch.Generator
        Source of the initial weights; None leaves the module without values, for weights
        to be loaded.

    References
    ----------
    Xie, Girshick & Farhadi, *Unsupervised Deep Embedding for Clustering Analysis*,
    ICML 2016, section 4.
    """

    def __init__(
        self,
        n_features: int,
        n_components: int,
        hidden_layer_sizes: Sequence[int],
        activation: str,
        generator: torch.Generator | None,
    ):
        super().__init__()
        widths = [n_features, *hidden_layer_sizes, n_components]
        self.encoder = _dense_stack(widths, activation)
        self.decoder = _dense_stack(widths[::-1], activation)
        if generator is not None:
            initialize_weights(self, generator)


class ContrastiveModule(nn.Module):
    """Convolutions whose statistics at every depth are the embedding of an image.

    Strided 3x3 convolutions with group normalisation run over the image. What is read off is
    mean and standard deviation, over space, of the pixels and of each layer, and how channels
    of the first layers are correlated: how a painting is made shows at several depths.
    ``project`` leads on to where views are compared,
    ``encode`` to the embedding, by a linear layer that `whiten` sets. As statistics do not
    depend on the size of a map, neither do the weights, and views may be smaller than images.
    Gray images are taken by a network of more channels, too: each channel is given the same.

    Parameters
    ----------
    n_channels : int
    n_components : int
    filters : sequence of int
        Output channels of each convolution.
    generator : torch.Generator
        Source of the initial weights; None leaves the module without values, for weights
        to be loaded.
    """

    def __init__(
        self,
        n_channels: int,
        n_components: int,
        filters: Sequence[int],
        generator: torch.Generator | None,
    ):
        super().__init__()
        self.n_channels = n_channels
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(n_in, n_out, 3, stride=2, padding=1, bias=False, **_EMPTY),
                _GroupNorm(_n_groups(n_out), n_out, **_EMPTY),
                nn.ReLU(inplace=True),
            )
            for n_in, n_out in itertools.pairwise([n_channels, *filters])
        )
        n_statistics = 2 * (n_channels + sum(filters)) + sum(
            math.comb(min(n, _MAX_CORRELATED), 2)
            for n in [n_channels, *filters[:_N_CORRELATED_LAYERS]]
        )
        # Rows that are aligned in memory are multiplied in one order, wherever they stand.
        self.n_padding = -n_statistics % _ALIGNMENT
        width = filters[-1]
        self.head = nn.Sequential(
            nn.Linear(width, width, **_EMPTY),
            nn.ReLU(),
            nn.Linear(width, min(width, _VIEW_COMPONENTS), **_EMPTY),
        )
        self.whitening = nn.Linear(n_statistics + self.n_padding, n_components, **_EMPTY)
        if generator is not None:
            initialize_weights(self, generator)
            use_channels_last(self)

    def project(self, x: Tensor) -> Tensor:
        """Map views to the vectors that the contrastive loss compares."""
        x = self._in_all_channels(x)
        for layer in self.layers:
            x = layer(x)
        projected: Tensor = self.head(x.mean(dim=(2, 3)))
        return projected

    def statistics(self, x: Tensor) -> Tensor:
        """Return mean, standard deviation and correlations of the pixels' and layers' channels.

        The rows end in zeros, up to a multiple of 8 values.
        """
        moments, correlations = [], []
        x = self._in_all_channels(x)
        for depth, layer in enumerate([nn.Identity(), *self.layers]):
            x = layer(x)
            # Along memory, sums are added up in one order, wherever in the batch an image stands.
            values = x.flatten(2).contiguous()
            mean = values.mean(dim=2, keepdim=True)
            centered = values - mean
            # The root has no slope at 0, where a map is constant. (`torch.std_mean` is far slower.)
            variance = torch.linalg.vector_norm(centered, dim=2).square() / values.shape[2]
            deviation = (variance + _TINY_VARIANCE).sqrt()
            moments += [mean[:, :, 0], deviation]
            if depth <= _N_CORRELATED_LAYERS:
                correlations.append(_correlations(centered[:, :_MAX_CORRELATED]))
        return nn.functional.pad(torch.cat(moments + correlations, dim=1), (0, self.n_padding))

    def encode(self, x: Tensor) -> Tensor:
        """Map a batch to embeddings of shape (n_samples, n_components)."""
        code: Tensor = self.whitening(self.statistics(x))
        return code

    def _in_all_channels(self, x: Tensor) -> Tensor:
        """Return gray images in the channels of a network of colour images."""
        return x.expand(-1, self.n_channels, -1, -1) if x.shape[1] == 1 else x


class ClusteringModule(nn.Module):
    """An encoder together with the cluster centers in its embedding.

    Parameters
    ----------
    encoder : nn.Module
        Has ``encode``, and ``decode`` if it can.
    centers : tensor of shape (n_clusters, n_components)
    alpha : float
        Degrees of freedom of the Student's t soft assignment.
    metric : {"euclidean", "cosine"}
        With "cosine", embeddings are scaled to unit length and assigned by their direction.
    """

    encoder: Any

    def __init__(self, encoder: nn.Module, centers: Tensor, alpha: float, metric: str):
        super().__init__()
        self.encoder = encoder
        self.centers = nn.Parameter(centers)
        self.alpha = alpha
        self.metric = metric

    def normalize(self, code: Tensor) -> Tensor:
        """Return the encoder's output as the embedding that distances are taken in."""
        return normalize_embedding(code, self.metric)

    def assign(self, embedding: Tensor) -> Tensor:
        """Return the soft assignment of embedded points."""
        if self.metric == "cosine":
            return cosine_assignment(embedding, self.centers)
        return student_t_assignment(embedding, self.centers, self.alpha)


def normalize_embedding(code: Tensor, metric: str) -> Tensor:
    """Scale embeddings to unit length where the metric is "cosine"."""
    return nn.functional.normalize(code) if metric == "cosine" else code


class _GroupNorm(nn.GroupNorm):
    """Group normalisation that takes a group of one value, which it maps to the bias."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


def _n_groups(n_channels: int) -> int:
    return n_channels // _GROUP_SIZE if n_channels % _GROUP_SIZE == 0 else 1


def _correlations(centered: Tensor) -> Tensor:
    """Return the correlation of each pair of channels, from (n, C, n_pixels) to (n, n_pairs)."""
    covariances = centered @ centered.transpose(1, 2) / centered.shape[2]
    deviations = (covariances.diagonal(dim1=1, dim2=2) + _TINY_VARIANCE).sqrt()
    correlations = covariances / (deviations[:, :, None] * deviations[:, None, :])
    n = centered.shape[1]
    first, second = torch.triu_indices(n, n, offset=1, device=centered.device)
    return correlations[:, first, second]


def _halving(size: tuple[int, int], kernel: int) -> dict[str, Any]:
    """Convolution arguments that halve each axis, and leave an axis of length 1 alone."""
    kernels = tuple(kernel if length > 1 else 1 for length in size)
    return {
        "kernel_size": kernels,
        "stride": tuple(2 if length > 1 else 1 for length in size),
        "padding": tuple(k // 2 for k in kernels),
    }


def _dense_stack(widths: Sequence[int], activation: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(widths):
        layers += [nn.Linear(n_in, n_out, **_EMPTY), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


def initialize_weights(module: nn.Module, generator: torch.Generator) -> None:
    """Fill a module built on the meta device with initial weights, in place.

    The layers are created without values because their own initialisation would draw
    from PyTorch's global generator.

    Parameters
    ----------
    module : nn.Module
    generator : torch.Generator
    """
    for layer in module.modules():
        # `Module.to_empty` does the same, and imports PyTorch's compiler for it: half a second.
        for name, parameter in layer.named_parameters(recurse=False):
            empty = torch.empty(parameter.shape, dtype=parameter.dtype, device="cpu")
            setattr(layer, name, nn.Parameter(empty))
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.GroupNorm):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)


def use_channels_last(module: nn.Module) -> nn.Module:
    """Order the weights of convolutions so that images stay as arrays hold them."""
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return module
