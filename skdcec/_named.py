"""Which encoder does a word stand for?"""

from __future__ import annotations

from typing import Any

# What takes seconds to import is imported where it is used: the command names these in its help.
NAMES = ("auto", "autoencoder", "contrastive", "paintings")

# So many images of one's own teach an encoder more than paintings of others did before.
CONTRASTIVE_MIN_IMAGES = 10_000

# Fewer gray images are no great work to keep apart, and ten values, which suffice for kinds of
# digits, lose what tells forty faces apart.
_FEW_IMAGES = 1000
_N_COMPONENTS = 32  # as published for paintings


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
        For "auto", "autoencoder" for gray images; for images in colour "paintings", and
        "contrastive" where there are very many.
    """
    if name != "auto":
        return name
    if n_channels == 1:
        return "autoencoder"
    return "contrastive" if n_images >= CONTRASTIVE_MIN_IMAGES else "paintings"


def encoder_by_name(name: str, n_images: int, n_channels: int) -> Any:
    """Return the unfitted encoder that a word stands for.

    Parameters
    ----------
    name : {"auto", "autoencoder", "contrastive", "paintings"}
    n_images : int
    n_channels : int

    Returns
    -------
    encoder : estimator
        For "autoencoder" a :class:`ConvAutoencoder`, of 32 components for images in colour and
        for few gray ones; for "contrastive" a :class:`ContrastiveEncoder`; for "paintings" the
        painting encoder beside colours and edges, a :class:`skdcec.features.SideBySide`, in
        which nothing is trained.

    Examples
    --------
    >>> from skdcec._named import encoder_by_name
    >>> encoder_by_name("auto", n_images=5000, n_channels=1)
    ConvAutoencoder()
    >>> encoder_by_name("auto", n_images=500, n_channels=3)
    SideBySide()
    """
    from skdcec._encoders.autoencoder import ConvAutoencoder
    from skdcec._encoders.contrastive import ContrastiveEncoder
    from skdcec.features.side_by_side import SideBySide

    name = resolve_name(name, n_images, n_channels)
    if name == "contrastive":
        return ContrastiveEncoder()
    if name == "paintings":
        return SideBySide()
    many = n_channels == 1 and n_images >= _FEW_IMAGES
    return ConvAutoencoder() if many else ConvAutoencoder(_N_COMPONENTS)
