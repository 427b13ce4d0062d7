"""Which encoder does a word stand for?"""

from __future__ import annotations

from typing import TYPE_CHECKING

# What takes seconds to import is imported where it is used: the command names these in its help.
if TYPE_CHECKING:
    from skdcec._encoders.base import BaseEncoder

NAMES = ("auto", "autoencoder", "contrastive", "paintings")

# Fewer images are compared by an autoencoder unless asked otherwise: a contrastive encoder learns
# by telling images from each other, and was measured on thousands.
CONTRASTIVE_MIN_IMAGES = 1000

_N_COMPONENTS = 32  # as published for paintings; ten, the class's default, is for digits


def resolve_name(name: str, n_images: int, n_channels: int) -> str:
    """Return what "auto" stands for; any other name as it is.

    Parameters
    ----------
    name : str
    n_images : int
    n_channels : int
        1 for gray images, whose shapes are what counts.

    Returns
    -------
    name : str
        For "auto", "contrastive" for many images in colour, else "autoencoder".
    """
    if name != "auto":
        return name
    many = n_images >= CONTRASTIVE_MIN_IMAGES and n_channels > 1
    return "contrastive" if many else "autoencoder"


def encoder_by_name(name: str, n_images: int, n_channels: int) -> BaseEncoder:
    """Return the unfitted encoder that a word stands for.

    Parameters
    ----------
    name : {"auto", "autoencoder", "contrastive", "paintings"}
    n_images : int
    n_channels : int

    Returns
    -------
    encoder : estimator
        For "autoencoder" a :class:`ConvAutoencoder`, of 32 components for images in colour;
        for "contrastive" a :class:`ContrastiveEncoder`; for "paintings" one that takes the
        weights of that name as they are.

    Examples
    --------
    >>> from skdcec._named import encoder_by_name
    >>> encoder_by_name("auto", n_images=500, n_channels=1)
    ConvAutoencoder()
    >>> encoder_by_name("auto", n_images=5000, n_channels=3)
    ContrastiveEncoder()
    """
    from skdcec._encoders.autoencoder import ConvAutoencoder
    from skdcec._encoders.contrastive import ContrastiveEncoder

    name = resolve_name(name, n_images, n_channels)
    if name == "contrastive":
        return ContrastiveEncoder()
    if name == "paintings":
        return ContrastiveEncoder(weights="paintings", max_epochs=0)
    return ConvAutoencoder(_N_COMPONENTS) if n_channels > 1 else ConvAutoencoder()
