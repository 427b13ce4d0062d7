"""Do images show more clusters pixel by pixel, or as the painting encoder sees them?

Shapes that lie where others lie, as those of digits, faces and clothes do, hold together pixel by
pixel, and an encoder that learns from them makes more of that. Scenes do not: what two landscapes
share is nowhere in the same place.
"""

from typing import Any, NamedTuple

import numpy as np
from sklearn.cluster import KMeans
from sklearn.neighbors import NearestNeighbors

from skdcec._analysis.clouds import normal_draws
from skdcec._analysis.samples import sample_rows
from skdcec._analysis.stability import principal
from skdcec._sklearn_compat import unwarned
from skdcec.features.side_by_side import SideBySide
from skdcec.metrics import modularity

# So many images tell; in fewer than that, nothing is seen that chance does not show as well.
_N_SEEN, _LEAST = 300, 20
# Larger images are looked at in about this size, and their pixels in that.
_SIDE, _PIXEL_SIDE = 64, 32
# Of red, green and blue, in how light a colour is (ITU-R BT.601).
_LUMA = (0.299, 0.587, 0.114)
_N_COMPONENTS = 32
# Few clusters and many, with a handful of images each.
_N_CLUSTERS = (3, 6, 12, 24, 48)
_MIN_MEMBERS = 6
_N_NEIGHBORS = 5
_N_CLOUDS = 2
# As much as chance shows.
_NOTHING = 0.05
# Learning from the images themselves adds to what their pixels show; half as much again is
# what it is given credit for.
_GAIN = 1.5


class Views(NamedTuple):
    """How much clusters hold together, by :func:`structure`, in two views of the same images.

    Attributes
    ----------
    pixels, encoder : float
    """

    pixels: float
    encoder: float

    @property
    def encoder_shows_more(self) -> bool | None:
        """Whether the encoder shows more; None where neither shows any."""
        return self.encoder > _GAIN * self.pixels if max(self) > _NOTHING else None


def encoder_sees_more(images: np.ndarray, *, device: Any = None) -> bool | None:
    """Whether the painting encoder shows more clusters of images than their pixels do.

    Parameters
    ----------
    images : ndarray of shape (n_samples, height, width, 1 or 3)
        Of which at most 300 are looked at.
    device : str, torch.device or None
        For the painting encoder; None takes a GPU where there is one.

    Returns
    -------
    bool or None
        None where neither shows any, or there are too few images to tell.
    """
    views = look(images, SideBySide(device=device))
    return None if views is None else views.encoder_shows_more


def look(images: np.ndarray, space: Any) -> Views | None:
    """Return how much clusters show in pixels, and in the space of a painting encoder.

    Parameters
    ----------
    images : ndarray of shape (n_samples, height, width, 1 or 3)
    space : transformer of images in colour

    Returns
    -------
    Views or None
        None for too few images to tell.
    """
    rows = sample_rows(len(images), _N_SEEN, 0)
    if len(rows) < _LEAST:
        return None
    seen = _reduced(images[rows], _SIDE)
    embedding = space.fit_transform(seen.repeat(3 // seen.shape[3], axis=3))
    return Views(structure(_layout(seen)), structure(embedding))


def _layout(images: np.ndarray) -> np.ndarray:
    """Return where each image is lighter and darker than it is on the whole.

    Colours, and how light an image is, say nothing of shapes.
    """
    pixels = _reduced(images, _PIXEL_SIDE).astype(np.float64)
    lightness = pixels @ _LUMA if pixels.shape[3] == 3 else pixels[..., 0]
    rows = lightness.reshape(len(images), -1)
    return rows - rows.mean(axis=1, keepdims=True)


def structure(points: np.ndarray) -> float:
    """Return by how much clusters hold together beyond those of points without clusters.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_components)

    Returns
    -------
    float
        Of the modularity of k-means clusters in the graph of nearest neighbours, the mean over
        several numbers of clusters; 0 where it is less than that of points that are
        drawn from a normal distribution of the same mean and covariance.
    """
    points = principal(points, _N_COMPONENTS)
    if points.shape[1] == 0:
        return 0.0
    clouds = [_modularity(drawn) for drawn in normal_draws(points, n_draws=_N_CLOUDS, seed=0)]
    return max(0.0, _modularity(points) - float(np.mean(clouds)))


def _modularity(points: np.ndarray) -> float:
    near = NearestNeighbors(n_neighbors=_N_NEIGHBORS).fit(points).kneighbors(return_distance=False)
    numbers = [k for k in _N_CLUSTERS if k * _MIN_MEMBERS <= len(points)]
    with unwarned():
        found = [KMeans(k, n_init=3, random_state=0).fit_predict(points) for k in numbers]
    return float(np.mean([modularity(labels, near) for labels in found]))


def _reduced(images: np.ndarray, side: int) -> np.ndarray:
    """Return images at about so many pixels a side: means of squares of pixels."""
    n, height, width, channels = images.shape
    step = max(1, min(height, width) // side)
    if step == 1:
        return images
    height, width = height // step, width // step
    squares = images[:, : height * step, : width * step].reshape(
        n, height, step, width, step, channels
    )
    return squares.mean(axis=(2, 4), dtype=np.float32)
