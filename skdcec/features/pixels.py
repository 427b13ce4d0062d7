"""How does a network want its pixels? Size, what becomes of the rest of a picture, and units."""

import math
from numbers import Integral
from typing import Any, NamedTuple, Self

import numpy as np
from PIL import Image

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

# So close to 0 ... 255 are values that were 8 bits before they were divided.
_ROUNDING = 1e-3

# Divided and multiplied, a whole number may come out a little below itself.
_SLACK = 1e-6


class Preprocessing(NamedTuple):
    """What is done to a picture before a network sees it.

    Attributes
    ----------
    size : (height, width) or None
        What the network is given; None leaves images as they are.
    before : (height, width) or None
        Size that pictures are brought to before what is beyond `size` is cut off at the edges.
    resize : {"crop", "stretch", "pad"}
        "crop" keeps the proportions and covers `before`, "stretch" ignores them, and "pad" keeps
        them and fits into `before`, with bars of the colour `fill`.
    interpolation : str
        A filter of Pillow.
    mean, std : tuple of three floats
        What is taken out of red, green and blue from 0 to 1, and what they are divided by.
    fill : tuple of three floats
        Of bars, from 0 to 255.
    """

    size: tuple[int, int] | None
    before: tuple[int, int] | None
    resize: str
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fill: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def at(self, size: tuple[int, int] | None) -> Self:
        """Return the same for another size, of which the same share is cut off."""
        if size is None or self.size is None or self.before is None:
            return self._replace(size=size, before=size)
        shares = (before / own for before, own in zip(self.before, self.size, strict=True))
        height, width = (
            math.floor(side * share + _SLACK) for side, share in zip(size, shares, strict=True)
        )
        return self._replace(size=size, before=(height, width))

    def by(self, resize: str) -> Self:
        """Return the same with another way to bring pictures to size, where no edge is cut off."""
        fill = (255 * self.mean[0], 255 * self.mean[1], 255 * self.mean[2])
        return self._replace(resize=resize, before=self.size, fill=fill)

    def leaves(self, size: tuple[int, int]) -> bool:
        """Whether pictures of (height, width) stay as they are."""
        return self.size is None or self.size == self.before == size

    def picture(self, image: Image.Image) -> np.ndarray:
        """Bring a picture to size.

        Parameters
        ----------
        image : PIL.Image.Image
            In mode "L" or "RGB".

        Returns
        -------
        pixels : ndarray of shape (height, width, 3), dtype uint8
        """
        return np.asarray(self._fitted(image.convert("RGB"), self._rounded_fill()))

    def array(self, image: np.ndarray) -> np.ndarray:
        """Bring an image with values from 0 to 1 to size.

        What was 8 bits is resized as pictures are; other values are not rounded on the way.

        Parameters
        ----------
        image : ndarray of shape (height, width, 3), dtype float32

        Returns
        -------
        pixels : ndarray of shape (height, width, 3), dtype float32
        """
        values = image * np.float32(255)
        whole = values.round()
        if (np.abs(values - whole) <= _ROUNDING).all() and whole.min() >= 0 and whole.max() <= 255:
            picture = Image.fromarray(whole.astype(np.uint8))
            return self.picture(picture).astype(np.float32) / np.float32(255)
        bands = [
            self._fitted(Image.fromarray(np.ascontiguousarray(image[..., i])), self.fill[i] / 255)
            for i in range(3)
        ]
        # The bicubic filter goes beyond black and white, which 8 bits would not.
        low, high = min(0.0, float(image.min())), max(1.0, float(image.max()))
        return np.stack([np.asarray(band) for band in bands], axis=2).clip(low, high)

    def _rounded_fill(self) -> tuple[int, int, int]:
        return round(self.fill[0]), round(self.fill[1]), round(self.fill[2])

    def _fitted(self, image: Image.Image, fill: Any) -> Image.Image:
        if self.size is None or self.before is None:
            return image
        width, height = _resized(image.size, self.before, self.resize)
        if (width, height) != image.size:
            image = image.resize((width, height), FILTERS[self.interpolation])
        if (height, width) == self.size:
            return image
        # As torchvision and timm cut, to the pixel: what is missing is added first.
        missing = max(0, self.size[1] - width), max(0, self.size[0] - height)
        if any(missing):
            canvas = Image.new(image.mode, (width + missing[0], height + missing[1]), fill)
            canvas.paste(image, (missing[0] // 2, missing[1] // 2))
            image, (width, height) = canvas, canvas.size
        left, top = round((width - self.size[1]) / 2), round((height - self.size[0]) / 2)
        return image.crop((left, top, left + self.size[1], top + self.size[0]))


def _resized(size: tuple[int, int], before: tuple[int, int], resize: str) -> tuple[int, int]:
    """Return the (width, height) that a picture of (width, height) is resized to."""
    if resize == "stretch":
        return before[1], before[0]
    width, height = size
    if resize == "crop" and before[0] == before[1]:
        longer = int(before[0] * max(size) / min(size))
        return (before[0], longer) if width <= height else (longer, before[0])
    ratios = height / before[0], width / before[1]
    ratio = max(ratios) if resize == "pad" else min(ratios)
    return max(1, round(width / ratio)), max(1, round(height / ratio))


def of_channels(values: Any, name: str) -> tuple[float, float, float]:
    """Return one finite number for each of red, green and blue.

    Raises
    ------
    ValueError
        If `values` is anything else.
    """
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise ValueError(
            f"{name}={values!r} must be three numbers, of red, green and blue from 0 to 1."
        )
    return numbers[0], numbers[1], numbers[2]


def as_size(size: Any) -> tuple[int, int]:
    """Return (height, width), of which one number may stand for both.

    Raises
    ------
    ValueError
        If it is neither, or less than one pixel.
    """
    sides = (size, size) if isinstance(size, Integral) else tuple(size)
    if len(sides) != 2 or not all(isinstance(side, Integral) and int(side) >= 1 for side in sides):
        raise ValueError(
            f"size={size!r} must be a number of pixels or (height, width), each at least 1."
        )
    return int(sides[0]), int(sides[1])
