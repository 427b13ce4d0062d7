"""Looking at clusters: displays in the manner of scikit-learn's, drawn by matplotlib."""

from skdcec.inspection.contingency import ContingencyDisplay
from skdcec.inspection.curves import LossCurveDisplay
from skdcec.inspection.embedding import EmbeddingDisplay
from skdcec.inspection.gallery import ClusterGalleryDisplay
from skdcec.inspection.n_clusters import NClustersSearchDisplay
from skdcec.inspection.reconstruction import ReconstructionDisplay
from skdcec.inspection.silhouette import SilhouetteDisplay

__all__ = [
    "ClusterGalleryDisplay",
    "ContingencyDisplay",
    "EmbeddingDisplay",
    "LossCurveDisplay",
    "NClustersSearchDisplay",
    "ReconstructionDisplay",
    "SilhouetteDisplay",
]
