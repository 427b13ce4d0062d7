"""Which encoder does a word stand for?"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

# What takes seconds to import is imported where it is used: the command names these in its help.
NAMES = ("auto", "autoencoder", "contrastive", "paintings")

# What names of networks begin with; those of torchvision have no such beginning.
NETWORKS = ("timm/", "hf-hub:", "local-dir:", "open_clip/")
JOINT = "+"

# What those begin with that know words.
_WITH_WORDS = "open_clip/"

# The encoders that learn from images were made for this size, and the painting encoder for that.
SMALL_SIZE = 64
PAINTING_SIZE = 128

# The painting encoder makes nothing of lower or narrower images, nor of rows of values.
_LEAST_SIDE = 8

# Fewer gray images are no great work to keep apart, and ten values, which suffice for kinds of
# digits, lose what tells forty faces apart.
_FEW_IMAGES = 1000
_N_COMPONENTS = 32  # as published for paintings

# Shown images that are shifted and turned, pretraining finds their shapes better, whatever the kind
# of image; in twice the epochs of images that stay as they are.
_EPOCHS = 100


def resolve_name(name: str, images: np.ndarray, *, device: Any = None) -> str:
    """Return what "auto" stands for; any other name as it is.

    Parameters
    ----------
    name : str
    images : ndarray of shape (n_samples, height, width[, channels])
        Of which a sample is looked at. Rows are no images, and left to an autoencoder.
    device : str, torch.device or None
        What the painting encoder looks at them on; None takes a GPU where there is one.

    Returns
    -------
    name : str
        For "auto", "autoencoder" where shapes hold together pixel by pixel, about as well as the
        painting encoder sees them; where it sees more clusters, "paintings", however many images
        there are: of 60 000 photographs, the contrastive encoder learned no more in a hundred
        times the time. Where neither shows any, gray images are taken for shapes. "contrastive"
        where the weights of the painting encoder were left out.
    """
    if name != "auto":
        return name
    from skdcec._analysis.views import encoder_sees_more
    from skdcec._encoders.images import are_gray
    from skdcec._encoders.weights import comes_with_us

    images = images[..., None] if images.ndim == 3 else images
    if images.ndim < 4 or images.shape[3] not in (1, 3) or min(images.shape[1:3]) < _LEAST_SIDE:
        return "autoencoder"
    is_there = comes_with_us("paintings")
    sees_more = encoder_sees_more(images, device=device) if is_there else None
    if sees_more is None:
        sees_more = not are_gray(images)
    if not sees_more:
        return "autoencoder"
    return "paintings" if is_there else "contrastive"


def words_of(name: str) -> list[str]:
    """Return the words that are joined in a name, of which there may be one.

    Raises
    ------
    ValueError
        If one of several is empty, stands twice, or is "auto".
    """
    words = [word.strip() for word in name.split(JOINT)]
    if len(words) > 1 and ("" in words or "auto" in words or len({*words}) < len(words)):
        raise ValueError(
            f"encoder={name!r} must join different words by '+', such as 'paintings+timm/NAME'; "
            "'auto' joins nothing."
        )
    return words


def knows_words(name: str) -> bool:
    """Whether a name is, or joins, that of a network that was trained on images and texts."""
    return any(word.startswith(_WITH_WORDS) for word in words_of(name))


def is_space(name: str) -> bool:
    """Whether a name joins several words, or is that of a network with its library."""
    return JOINT in name or name.startswith(NETWORKS)


def encoder_by_name(name: str, n_images: int, n_channels: int) -> Any:
    """Return the unfitted encoder that a word, or several, stand for.

    Parameters
    ----------
    name : str
        "autoencoder", "contrastive", "paintings", which is what `resolve_name` makes of "auto";
        or the name of a network as :class:`skdcec.features.PretrainedFeatures` takes it, with its
        library; or several of these joined by "+", among which may also be networks of
        torchvision.
    n_images : int
    n_channels : int

    Returns
    -------
    encoder : estimator
        For "autoencoder" a :class:`ConvAutoencoder` that sees images shifted and turned, of 32
        components for images in colour and for few gray ones; for "contrastive" a
        :class:`ContrastiveEncoder`; for "paintings" the painting encoder beside colours and
        edges, a :class:`skdcec.features.SideBySide`, in which nothing is trained; so are all that
        are joined, and networks.

    Raises
    ------
    ValueError
        If it is none of these.

    Examples
    --------
    >>> from skdcec._named import encoder_by_name
    >>> encoder_by_name("autoencoder", n_images=5000, n_channels=1)
    ConvAutoencoder(augmentation=RandomAffine(), max_epochs=100)
    >>> encoder_by_name("paintings", n_images=500, n_channels=3)
    SideBySide()
    >>> len(encoder_by_name("paintings+timm/resnet18", n_images=500, n_channels=3).parts)
    2
    """
    from skdcec._encoders.autoencoder import ConvAutoencoder
    from skdcec._encoders.contrastive import ContrastiveEncoder
    from skdcec.augmentation import digit_augmentation
    from skdcec.features.side_by_side import SideBySide

    if is_space(name):
        return SideBySide([_part(word, n_images, n_channels) for word in words_of(name)])
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.75)
        meant = f" (is {near[0]!r} meant?)" if near else ""
        raise ValueError(
            f"The 'encoder' parameter is {name!r}{meant}, which is none of {', '.join(NAMES)}, no "
            f"network ({', '.join(f'{beginning}...' for beginning in NETWORKS)}), and does not "
            "join such names by '+'. One of torchvision is the first step of a pipeline, "
            "skdcec.features.PretrainedFeatures(NAME)."
        )
    if name == "contrastive":
        return ContrastiveEncoder()
    if name == "paintings":
        return SideBySide()
    encoder = ConvAutoencoder(augmentation=digit_augmentation(), max_epochs=_EPOCHS)
    many = n_channels == 1 and n_images >= _FEW_IMAGES
    return encoder if many else encoder.set_params(n_components=_N_COMPONENTS)


def _part(word: str, n_images: int, n_channels: int) -> Any:
    """Return what one of several words stands for, beside others."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    from skdcec.features.pretrained import PretrainedFeatures
    from skdcec.features.resized import Resized
    from skdcec.features.side_by_side import SideBySide, painting_parts

    if word == "paintings":
        return Resized(SideBySide(painting_parts(), n_components=None), PAINTING_SIZE)
    if word in NAMES:
        return Resized(encoder_by_name(word, n_images, n_channels), SMALL_SIZE)
    # Images are squares with bars, of which nothing is to be cut off.
    return make_pipeline(PretrainedFeatures(word, resize="stretch"), Normalizer())
