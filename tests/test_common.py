"""scikit-learn's own checks, on every estimator and every pairing of clusterer and encoder."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_get_feature_names_out_error,
    check_global_output_transform_pandas,
    check_n_features_in_after_fitting,
    check_set_output_transform,
    check_set_output_transform_pandas,
    check_transformer_get_feature_names_out,
    check_transformer_get_feature_names_out_pandas,
    parametrize_with_checks,
)

from skdcec import (
    ContrastiveEncoder,
    ConvAutoencoder,
    DeepConvEmbeddingClustering,
    DeepEmbeddingClustering,
    DenseAutoencoder,
)
from skdcec._sklearn_compat import Interval
from skdcec.datasets import ImageLoader
from skdcec.features import (
    BalancedBlocks,
    ColorEdgeFeatures,
    PretrainedFeatures,
    Resized,
    SideBySide,
)
from skdcec.model_selection import NClustersSearch

# The checks feed constant and tiny data, on which clusters do die.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

conv = ConvAutoencoder(n_components=3, filters=(4, 8), max_epochs=2)
dense = DenseAutoencoder(n_components=3, hidden_layer_sizes=(16,), max_epochs=2)
contrastive = ContrastiveEncoder(n_components=3, filters=(4, 8), max_epochs=2)
# A network without weights: joblib, by which the checks compare parameters, has another digest for
# each copy of a tensor.
pooling = torch.nn.AvgPool2d(2)
estimators = [
    ColorEdgeFeatures(),
    PretrainedFeatures(
        pooling, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), size=4, resize="stretch"
    ),
    SideBySide([ColorEdgeFeatures(), conv], n_components=3),
    BalancedBlocks(n_components=3),
    Resized(ColorEdgeFeatures(), size=4),
    conv,
    dense,
    contrastive,
    *(
        cls(n_clusters=3, encoder=encoder, max_epochs=2)
        for cls in (DeepConvEmbeddingClustering, DeepEmbeddingClustering)
        for encoder in (conv, dense)
    ),
    DeepConvEmbeddingClustering(n_clusters=3, encoder=contrastive, max_epochs=2),
    DeepEmbeddingClustering(n_clusters=3, encoder=dense, max_epochs=2, reconstruction_weight=1.0),
]


@parametrize_with_checks(estimators)
def test_scikit_learn_compatible(estimator, check):
    check(estimator)


# These checks fit on a frame and transform the array inside it, or the other way round.
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.filterwarnings("ignore:X has feature names")
@pytest.mark.parametrize("estimator", estimators, ids=lambda estimator: type(estimator).__name__)
@pytest.mark.parametrize(
    "check",
    [
        check_n_features_in_after_fitting,
        check_dataframe_column_names_consistency,
        check_transformer_get_feature_names_out,
        check_transformer_get_feature_names_out_pandas,
        check_get_feature_names_out_error,
        check_set_output_transform,
        check_set_output_transform_pandas,
        check_global_output_transform_pandas,
    ],
    ids=lambda check: check.__name__,
)
def test_names_and_containers(estimator, check):
    check(type(estimator).__name__, clone(estimator))


# To Python, and to scikit-learn, True is the number 1.
@pytest.mark.parametrize("wrong", [True, np.True_])
@pytest.mark.parametrize(
    "estimator",
    [*estimators, NClustersSearch(estimators[-1]), ImageLoader()],
    ids=lambda estimator: type(estimator).__name__,
)
def test_true_is_no_number(estimator, wrong):
    ranges = [
        name
        for name, constraints in estimator._parameter_constraints.items()
        if any(isinstance(constraint, Interval) for constraint in constraints)
    ]
    for name in ranges:
        named = f"The '{name}' parameter of {type(estimator).__name__} must be .* Got {wrong!r} "
        with pytest.raises(ValueError, match=named):
            clone(estimator).set_params(**{name: wrong}).fit(np.zeros((20, 16)))
