"""Images as features that are not learned from them: hand-made, or of a trained network."""

from skdcec.features.balanced import BalancedBlocks
from skdcec.features.color_edges import ColorEdgeFeatures
from skdcec.features.pretrained import PretrainedFeatures
from skdcec.features.resized import Resized
from skdcec.features.side_by_side import SideBySide

__all__ = [
    "BalancedBlocks",
    "ColorEdgeFeatures",
    "PretrainedFeatures",
    "Resized",
    "SideBySide",
]
