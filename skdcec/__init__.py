"""Deep convolutional embedded clustering of images, as scikit-learn estimators."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skdcec._clusterers.dcec import DeepConvEmbeddingClustering
    from skdcec._clusterers.dec import DeepEmbeddingClustering
    from skdcec._encoders.autoencoder import ConvAutoencoder, DenseAutoencoder
    from skdcec._encoders.contrastive import ContrastiveEncoder

__all__ = [
    "ContrastiveEncoder",
    "ConvAutoencoder",
    "DeepConvEmbeddingClustering",
    "DeepEmbeddingClustering",
    "DenseAutoencoder",
]
__version__ = "0.2.0.dev0"

_HOME = {
    "ContrastiveEncoder": "_encoders.contrastive",
    "ConvAutoencoder": "_encoders.autoencoder",
    "DeepConvEmbeddingClustering": "_clusterers.dcec",
    "DeepEmbeddingClustering": "_clusterers.dec",
    "DenseAutoencoder": "_encoders.autoencoder",
}
_MODULES = (
    "augmentation",
    "datasets",
    "export",
    "features",
    "inspection",
    "metrics",
    "model_selection",
    "novelty",
    "report",
)

# Type checkers would take every name for one that is here.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        # Importing PyTorch takes seconds, which `skdcec --help` should not.
        if name in _MODULES:
            return import_module(f"skdcec.{name}")
        if name not in _HOME:
            raise AttributeError(f"module 'skdcec' has no attribute {name!r}")
        try:
            module = import_module(f"skdcec.{_HOME[name]}")
        except AttributeError as error:
            # Python would say that there is no such name. skorch reads its own docstrings.
            hint = ": python -OO takes away what skorch needs; -O works" * (sys.flags.optimize > 1)
            raise ImportError(f"skdcec.{name} cannot be imported ({error}){hint}.") from error
        value = globals()[name] = getattr(module, name)
        return value


def __dir__() -> list[str]:
    own = (name for name in globals() if name.startswith("_"))
    return sorted({*own, *__all__, *_MODULES})
