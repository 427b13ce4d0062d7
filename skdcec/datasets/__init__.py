"""From image files to arrays."""

from skdcec.datasets.load import ImageLoader, load_images

__all__ = ["ImageLoader", "load_images"]
