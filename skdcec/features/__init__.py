"""Images as features that are not learned from them: hand-made, or of a trained network."""

from skdcec.features.color_edges import ColorEdgeFeatures
from skdcec.features.pretrained import PretrainedFeatures

__all__ = ["ColorEdgeFeatures", "PretrainedFeatures"]
