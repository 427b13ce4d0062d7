"""Choosing the number of clusters: scorers and splits for searches, and a search of its own."""

from skdcec.model_selection.comparison import ModelComparison, compare_models
from skdcec.model_selection.scorers import (
    calinski_harabasz_scorer,
    davies_bouldin_scorer,
    make_calinski_harabasz_scorer,
    make_davies_bouldin_scorer,
    make_modularity_scorer,
    make_silhouette_scorer,
    modularity_scorer,
    silhouette_scorer,
)
from skdcec.model_selection.search import NClustersSearch
from skdcec.model_selection.split import TransductiveSplit

__all__ = [
    "ModelComparison",
    "NClustersSearch",
    "TransductiveSplit",
    "calinski_harabasz_scorer",
    "compare_models",
    "davies_bouldin_scorer",
    "make_calinski_harabasz_scorer",
    "make_davies_bouldin_scorer",
    "make_modularity_scorer",
    "make_silhouette_scorer",
    "modularity_scorer",
    "silhouette_scorer",
]
