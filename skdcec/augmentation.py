"""Random changes of a batch of images, which an embedding should not depend on."""

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from sklearn.base import BaseEstimator
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from skdcec._nn import distributed, later
from skdcec._nn.device import constant, own_precision
from skdcec._nn.draws import uniform
from skdcec._persistence import declared, register
from skdcec._persistence.declared import Kind

__all__ = [
    "ColorJitter",
    "Compose",
    "RandomAffine",
    "RandomFlip",
    "RandomGrayscale",
    "RandomResizedCrop",
    "digit_augmentation",
    "painting_augmentation",
]

# What a gray image takes from red, green and blue (ITU-R BT.601).
_LUMA = (0.299, 0.587, 0.114)

# Red, green and blue to luma and two axes of colour, in which a turn changes the hue alone.
_TO_YIQ = (
    _LUMA,
    (0.595716, -0.274453, -0.321263),
    (0.211456, -0.522591, 0.311135),
)

_FROM_YIQ = tuple(map(tuple, torch.linalg.inv(torch.tensor(_TO_YIQ, dtype=torch.float64)).tolist()))

_PADDINGS = ("background", "border", "zeros", "reflection")

# What a file may say of shares, and of the sides of what is cut out.
_SHARE = declared.number(0, 1)
_SIDE = declared.whole(1, 2**11)


@dataclass(repr=False)
class Augmentation(BaseEstimator):
    """What the augmentations share: plain parameters, and a call on a batch.

    As with estimators, parameters can be read, set and searched over, so an encoder with an
    augmentation can be cloned, cached and saved.
    """

    _role = "augmentation"
    _kept_parameters: ClassVar[Mapping[str, Kind]] = {}

    @property
    def takes_shards(self) -> bool:
        """Whether a part of a batch is changed as it would be among the whole."""
        # Subclasses may draw in other ways than by `uniform`.
        return type(self).__module__ == __name__

    def __call__(self, batch: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return a changed copy of `batch`.

        Parameters
        ----------
        batch : tensor of shape (n_samples, channels, height, width)
            Floating point, on any device.
        generator : torch.Generator
            What is drawn at random comes from here.

        Returns
        -------
        tensor
            Of the same dtype, on the same device.

        Raises
        ------
        ValueError
            If `batch` has not four axes or values that are not finite, or a parameter is out
            of its range.
        """
        if batch.ndim != 4:
            raise ValueError(
                f"{type(self).__name__} takes images, a batch of shape (n_samples, channels, "
                f"height, width); got shape {tuple(batch.shape)}."
            )
        with torch.device("cpu"), own_precision():
            result = self._apply(batch, generator)
        later.check(
            result.isfinite().all(),
            lambda: ValueError(
                f"{type(self).__name__} makes NaN or infinity of this batch: it takes finite "
                "values, by convention between 0 and 1 or between -1 and 1."
            ),
        )
        return result

    def _apply(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        raise NotImplementedError


@register
@dataclass(repr=False)
class Compose(Augmentation):
    """Apply several augmentations one after the other.

    Parameters
    ----------
    augmentations : sequence of callables
        Each takes a batch and the keyword `generator`, and returns a batch.

    Raises
    ------
    ValueError
        When called, if one of them cannot be called.

    See Also
    --------
    painting_augmentation : Several of them, as they suit paintings.

    Examples
    --------
    >>> import torch
    >>> from skdcec.augmentation import Compose, RandomAffine, RandomFlip
    >>> augment = Compose([RandomFlip(), RandomAffine(shift=0.05, rotation=0)])
    >>> augment(torch.zeros(2, 3, 8, 8), generator=torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 8, 8])
    """

    augmentations: Sequence[Any]

    _kept_parameters = {"augmentations": declared.items(declared.part("augmentation"), 0, 100)}

    @property
    def takes_shards(self) -> bool:
        """Whether all of the augmentations do."""
        parts = self.augmentations
        return super().takes_shards and all(getattr(a, "takes_shards", False) for a in parts)

    def _apply(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        for augmentation in self.augmentations:
            if not callable(augmentation):
                raise ValueError(
                    f"augmentations={self.augmentations!r} must hold callables; "
                    f"{augmentation!r} is none."
                )
            batch = augmentation(batch, generator=generator)
        return batch


@register
@dataclass(repr=False)
class RandomAffine(Augmentation):
    """Shift, turn and zoom each image by its own random amounts.

    Parameters
    ----------
    shift : float, default=0.1
        Furthest shift along each axis, as a share of the image's side.
    rotation : float, default=10.0
        Largest angle in degrees, to either side.
    zoom : float, default=0.0
        Largest change of size: between 1 / (1 + zoom) and 1 + zoom times.
    padding : {"background", "border", "zeros", "reflection"}, default="background"
        What comes in from outside: the colour of the image's edge (for each channel the
        median of the outermost pixels), the nearest pixel, 0, or the mirrored image.

    Raises
    ------
    ValueError
        When called, if a parameter is out of its range.

    See Also
    --------
    digit_augmentation : The same with what suits digits.
    RandomResizedCrop : Parts of an image.

    Examples
    --------
    >>> import torch
    >>> from skdcec.augmentation import RandomAffine
    >>> batch = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    >>> RandomAffine(rotation=15)(batch, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([4, 1, 28, 28])
    """

    shift: float = 0.1
    rotation: float = 10.0
    zoom: float = 0.0
    padding: str = "background"

    _kept_parameters = {
        "shift": _SHARE,
        "rotation": declared.number(0, 180),
        "zoom": declared.number(0, 1e3),
        "padding": declared.choice(*_PADDINGS),
    }

    def _apply(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        _check_range(self, "shift", 0, 1)
        _check_range(self, "rotation", 0, 180)
        _check_range(self, "zoom", 0, math.inf)
        if self.padding not in _PADDINGS:
            raise ValueError(f"padding={self.padding!r} must be one of {_PADDINGS}.")
        draws = uniform(4, batch, generator) * 2 - 1
        turn = draws[0] * math.radians(self.rotation)
        # From places in the result to places in the image, so a zoom divides.
        size = torch.exp(-draws[1] * math.log1p(self.zoom))
        # In the units of affine_grid an image is 2 wide and 2 high, whatever its pixels.
        shift_x, shift_y = draws[2] * 2 * self.shift, draws[3] * 2 * self.shift
        height, width = batch.shape[2:]
        cos, sin = turn.cos() * size, turn.sin() * size
        theta = torch.stack(
            [cos, -sin * height / width, shift_x, sin * width / height, cos, shift_y], dim=1
        )
        if self.padding != "background":
            return _resample(batch, theta, (height, width), self.padding)
        background = _background(batch)
        moved = _resample(batch - background, theta, (height, width), "zeros").add_(background)
        # The sum may miss the range of the images by a rounding error.
        return moved.clamp_(*batch.aminmax()) if batch.numel() else moved


@register
@dataclass(repr=False)
class RandomFlip(Augmentation):
    """Mirror some of the images.

    Parameters
    ----------
    horizontal : float, default=0.5
        Probability that left and right are exchanged.
    vertical : float, default=0.0
        Probability that top and bottom are exchanged.

    Raises
    ------
    ValueError
        When called, if a parameter is no probability.

    See Also
    --------
    Compose : Several augmentations together.

    Examples
    --------
    >>> import torch
    >>> from skdcec.augmentation import RandomFlip
    >>> image = torch.tensor([[[[1, 2], [3, 4]]]])
    >>> RandomFlip(horizontal=1)(image, generator=torch.Generator().manual_seed(0)).tolist()
    [[[[2, 1], [4, 3]]]]
    """

    horizontal: float = 0.5
    vertical: float = 0.0

    _kept_parameters = {"horizontal": _SHARE, "vertical": _SHARE}

    def _apply(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        for axis, name in ((3, "horizontal"), (2, "vertical")):
            _check_range(self, name, 0, 1)
            chosen = uniform(1, batch, generator)[0] < getattr(self, name)
            batch = torch.where(chosen[:, None, None, None], batch.flip(axis), batch)
        return batch


@register
@dataclass(repr=False)
class RandomResizedCrop(Augmentation):
    """Cut a random part out of each image and bring it to one size.

    Parameters
    ----------
    size : int or tuple (height, width), default=None
        Size of the result; None for that of the images.
    scale : tuple of float, default=(0.3, 1.0)
        Least and greatest area of the part, as a share of the image's.
    ratio : tuple of float, default=(0.75, 1.33)
        Least and greatest factor by which the part is wider than the image, for its height.

    Raises
    ------
    ValueError
        When called, if a parameter is out of its range.

    See Also
    --------
    RandomAffine : The whole image, moved.

    Examples
    --------
    >>> import torch
    >>> from skdcec.augmentation import RandomResizedCrop
    >>> batch = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    >>> RandomResizedCrop(size=48)(batch, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 48, 48])
    """

    size: int | tuple[int, int] | None = None
    scale: tuple[float, float] = (0.3, 1.0)
    ratio: tuple[float, float] = (0.75, 1.33)

    _kept_parameters = {
        "size": declared.either(_SIDE, declared.items(_SIDE, 2, 2), declared.nothing),
        "scale": declared.items(declared.number(1e-6, 1), 2, 2),
        "ratio": declared.items(declared.number(1e-3, 1e3), 2, 2),
    }

    def _apply(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        least, greatest = _check_pair(self, "scale", 1.0)
        narrow, wide = _check_pair(self, "ratio", math.inf)
        draws = uniform(4, batch, generator)
        area = least + draws[0] * (greatest - least)
        # Drawn in logarithms, so that wide is as likely as narrow.
        ratio = torch.exp(draws[1] * math.log(wide / narrow) + math.log(narrow))
        width = (area * ratio).sqrt().clamp_(max=1)
        height = (area / ratio).sqrt().clamp_(max=1)
        # The part's middle lies where the part stays within the image.
        x = (2 * draws[2] - 1) * (1 - width)
        y = (2 * draws[3] - 1) * (1 - height)
        zero = torch.zeros_like(x)
        theta = torch.stack([width, zero, x, zero, height, y], dim=1)
        return _resample(batch, theta, self._result_size(batch), "border")

    def _result_size(self, batch: Tensor) -> tuple[int, int]:
        if self.size is None:
            return batch.shape[2], batch.shape[3]
        sides: Any = self.size
        if not isinstance(sides, (tuple, list)):
            sides = (sides, sides)
        if len(sides) != 2 or not all(isinstance(n, Integral) and int(n) >= 1 for n in sides):
            raise ValueError(f"size={self.size!r} must be a positive int, (height, width) or None.")
        return int(sides[0]), int(sides[1])


@register
@dataclass(repr=False)
class ColorJitter(Augmentation):
    """Change brightness, contrast, saturation and hue of each image by random amounts.

    Images have values between 0 and 1, or between -1 and 1 if some are negative, and so has
    the result. Saturation and hue change only in images of three channels.

    Parameters
    ----------
    brightness, contrast, saturation : float, default=0.2
        Largest relative change: values, their distances from the image's mean, and their
        distances from gray are multiplied by a number between 1 - x and 1 + x.
    hue : float, default=0.02
        Largest turn of the colour circle, as a share of it.

    Raises
    ------
    ValueError
        When called, if a parameter is out of its range.

    See Also
    --------
    RandomGrayscale : No colour at all.

    Examples
    --------
    >>> import torch
    >>> from skdcec.augmentation import ColorJitter
    >>> gray = torch.full((1, 3, 2, 2), 0.5)
    >>> jitter = ColorJitter(brightness=0, contrast=0.5, saturation=0.5, hue=0.5)
    >>> jitter(gray, generator=torch.Generator().manual_seed(0)).mean().round(decimals=3)
    tensor(0.5000)
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.02

    _kept_parameters = {
        "brightness": _SHARE,
        "contrast": _SHARE,
        "saturation": _SHARE,
        "hue": declared.number(0, 0.5),
    }

    def _apply(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        for name in ("brightness", "contrast", "saturation"):
            _check_range(self, name, 0, 1)
        _check_range(self, "hue", 0, 0.5)
        n, channels = batch.shape[:2]
        draws = uniform(4, batch, generator) * 2 - 1
        brightness = 1 + draws[0] * self.brightness
        contrast = 1 + draws[1] * self.contrast
        # All four are linear in the colours of a pixel, so one matrix per image does them.
        matrix = torch.eye(channels, dtype=batch.dtype, device=batch.device).expand(n, -1, -1)
        if channels == 3:
            saturation = 1 + draws[2] * self.saturation
            matrix = _colour_matrix(saturation, draws[3] * self.hue * 2 * math.pi)
        matrix = matrix * (brightness * contrast)[:, None, None]
        pixels = batch.flatten(2)
        mean = pixels.mean(dim=(1, 2)) if channels != 3 else _luma(pixels.mean(dim=2))
        offset = (mean * brightness * (1 - contrast))[:, None, None]
        changed = torch.baddbmm(offset.expand(n, channels, 1), matrix, pixels)
        low, high = _value_range(batch)
        return changed.clamp_(low, high).view(n, channels, *batch.shape[2:])


@register
@dataclass(repr=False)
class RandomGrayscale(Augmentation):
    """Take the colour out of some of the images. Only those of three channels have any.

    Parameters
    ----------
    probability : float, default=0.2
        Share of the images that become gray.

    Raises
    ------
    ValueError
        When called, if `probability` is none.

    See Also
    --------
    ColorJitter : Other colours.

    Examples
    --------
    >>> import torch
    >>> from skdcec.augmentation import RandomGrayscale
    >>> images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> gray = RandomGrayscale(1)(images, generator=torch.Generator().manual_seed(0))
    >>> bool((gray[:, 0] == gray[:, 2]).all())
    True
    """

    probability: float = 0.2

    _kept_parameters = {"probability": _SHARE}

    def _apply(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        _check_range(self, "probability", 0, 1)
        chosen = uniform(1, batch, generator)[0] < self.probability
        if batch.shape[1] != 3:
            return batch
        return torch.where(chosen[:, None, None, None], _luma(batch).unsqueeze(1), batch)


def digit_augmentation() -> RandomAffine:
    """Return small shifts and turns, which leave a digit what it is.

    Up to a tenth of the side and 10 degrees, as in ConvDEC-DA.

    Returns
    -------
    augmentation : RandomAffine
        For `augmentation` of an encoder.

    See Also
    --------
    painting_augmentation : What suits pictures in colour.

    References
    ----------
    Guo, Zhu, Liu & Yin, *Deep Embedded Clustering with Data Augmentation*, ACML 2018.

    Examples
    --------
    >>> from skdcec import ConvAutoencoder
    >>> from skdcec.augmentation import digit_augmentation
    >>> encoder = ConvAutoencoder(augmentation=digit_augmentation())
    """
    return RandomAffine(shift=0.1, rotation=10.0)


def painting_augmentation(size: int | tuple[int, int] | None = None) -> Compose:
    """Return random parts, mirrored, with colours hardly changed.

    Parameters
    ----------
    size : int or tuple (height, width), default=None
        Size of the parts; None for that of the images.

    Returns
    -------
    augmentation : Compose
        Of `RandomResizedCrop`, `RandomFlip` and `ColorJitter`. Nothing is turned gray:
        colour is part of what makes paintings alike.

    See Also
    --------
    digit_augmentation : What suits digits.
    skdcec.ContrastiveEncoder : Learns to take no notice of these changes.

    Examples
    --------
    >>> from skdcec.augmentation import painting_augmentation
    >>> [type(step).__name__ for step in painting_augmentation(48).augmentations]
    ['RandomResizedCrop', 'RandomFlip', 'ColorJitter']
    """
    return Compose([RandomResizedCrop(size), RandomFlip(), ColorJitter()])


def check_called(augmentation: Any) -> None:
    """Raise for what makes an augmentation, where an augmentation is wanted.

    Raises
    ------
    TypeError
        If it is a class, one of the functions above, or takes something else than a batch.
    """
    makers = (digit_augmentation, painting_augmentation)
    if isinstance(augmentation, type) or any(augmentation is maker for maker in makers):
        name = augmentation.__name__
        raise TypeError(f"augmentation={name} makes one when it is called: augmentation={name}().")
    try:
        signature = inspect.signature(augmentation)
    except (TypeError, ValueError):
        return
    named = {"generator": None} if "generator" in signature.parameters else {}
    try:
        signature.bind(None, **named)
    except TypeError as error:
        raise TypeError(
            f"augmentation={augmentation!r} takes {signature} ({error}): it is called with a "
            "batch, and with the keyword generator if it has a parameter of that name."
        ) from None


def _resample(batch: Tensor, theta: Tensor, size: tuple[int, int], padding: str) -> Tensor:
    """Read each image at the places that its own affine map leads to."""
    shape = [len(batch), batch.shape[1], *size]
    grid = affine_grid(theta.view(-1, 2, 3), shape, align_corners=False)
    return grid_sample(batch, grid, padding_mode=padding, align_corners=False)


def _background(batch: Tensor) -> Tensor:
    """Return the median of the outermost pixels, for each image and channel."""
    edges = (batch[:, :, :1], batch[:, :, -1:], batch[..., :1], batch[..., -1:])
    pixels = torch.cat([edge.flatten(2) for edge in edges], dim=2)
    return pixels.median(dim=2).values[:, :, None, None]


def _colour_matrix(saturation: Tensor, turn: Tensor) -> Tensor:
    """Return one matrix per image that scales its colours and turns their hue."""
    to_yiq, from_yiq = (constant(matrix, saturation) for matrix in (_TO_YIQ, _FROM_YIQ))
    cos, sin = turn.cos() * saturation, turn.sin() * saturation
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    rows = [one, zero, zero, zero, cos, -sin, zero, sin, cos]
    return from_yiq @ torch.stack(rows, dim=1).view(-1, 3, 3) @ to_yiq


def _luma(colours: Tensor) -> Tensor:
    """Return the gray value of (n, 3, ...) colours."""
    return torch.einsum("c,nc...->n...", constant(_LUMA, colours), colours)


def _value_range(batch: Tensor) -> tuple[Tensor, Tensor]:
    """Return the range that the values of images have by convention."""
    least, greatest = (
        batch.aminmax() if batch.numel() else (batch.new_zeros(()), batch.new_ones(()))
    )
    least, greatest = distributed.value_range(least, greatest)
    high = torch.maximum(greatest, -least).clamp_min(1)
    return torch.where(least < 0, -high, 0), high


def _check_range(augmentation: Augmentation, name: str, least: float, greatest: float) -> None:
    value: Any = getattr(augmentation, name)
    if not (isinstance(value, Real) and least <= float(value) <= greatest):
        bounds = f"at least {least}" if greatest == math.inf else f"from {least} to {greatest}"
        raise ValueError(f"{name}={value!r} of {type(augmentation).__name__} must be {bounds}.")


def _check_pair(augmentation: Augmentation, name: str, greatest: float) -> tuple[float, float]:
    value = getattr(augmentation, name)
    if not (isinstance(value, (tuple, list)) and len(value) == 2):
        raise ValueError(f"{name}={value!r} must be a pair (least, greatest).")
    low, high = float(value[0]), float(value[1])
    if not 0 < low <= high <= greatest:
        bound = "" if greatest == math.inf else f", both at most {greatest:g}"
        raise ValueError(f"{name}={value!r} must be (least, greatest), both above 0{bound}.")
    return low, high
