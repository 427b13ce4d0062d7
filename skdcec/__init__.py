"""Deep convolutional embedded clustering of images, as scikit-learn estimators."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skdcec._autoencoder import ConvAutoencoder, DenseAutoencoder
    from skdcec._clustering import DeepConvEmbeddingClustering, DeepEmbeddingClustering
    from skdcec._contrastive import ContrastiveEncoder

__all__ = [
    "ContrastiveEncoder",
    "ConvAutoencoder",
    "DeepConvEmbeddingClustering",
    "DeepEmbeddingClustering",
    "DenseAutoencoder",
]
__version__ = "0.1.0.dev0"

_HOME = {
    "ContrastiveEncoder": "_contrastive",
    "ConvAutoencoder": "_autoencoder",
    "DeepConvEmbeddingClustering": "_clustering",
    "DeepEmbeddingClustering": "_clustering",
    "DenseAutoencoder": "_autoencoder",
}


def __getattr__(name: str) -> Any:
    # Importing PyTorch takes seconds, which `skdcec --help` should not.
    if name not in _HOME:
        raise AttributeError(f"module 'skdcec' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"skdcec.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
