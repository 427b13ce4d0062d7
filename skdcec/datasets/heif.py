"""What telephones write: HEIC, which another package than Pillow decodes."""

from collections.abc import Callable

from PIL import Image

__all__ = ["is_heic", "opener"]

# AVIF has the same container.
_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def is_heic(beginning: bytes) -> bool:
    """Whether a file begins like one, which is not AVIF."""
    return beginning[4:8] == b"ftyp" and beginning[8:12] in _BRANDS


def opener() -> Callable[..., Image.Image]:
    """Return what opens such files as Pillow's own openers do.

    Raises
    ------
    ImportError
        If the package is missing.
    """
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise ImportError(
            "HEIC needs pillow-heif (pip install 'skdcec[heif]'), or save it as JPEG"
        ) from error
    opener: Callable[..., Image.Image] = HeifImageFile
    return opener
