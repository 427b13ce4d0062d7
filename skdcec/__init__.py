"""Deep convolutional embedded clustering of images, as scikit-learn estimators."""

from skdcec._autoencoder import ConvAutoencoder, DenseAutoencoder
from skdcec._clustering import DeepConvEmbeddingClustering, DeepEmbeddingClustering

__all__ = [
    "ConvAutoencoder",
    "DeepConvEmbeddingClustering",
    "DeepEmbeddingClustering",
    "DenseAutoencoder",
]
__version__ = "0.1.0.dev0"
