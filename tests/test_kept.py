"""What skops, pickle, joblib and copies make of fitted estimators: the same, without tensors."""

import copy
import pickle

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from torch import nn

from skdcec import (
    ContrastiveEncoder,
    ConvAutoencoder,
    DeepConvEmbeddingClustering,
    DeepEmbeddingClustering,
    DenseAutoencoder,
)
from skdcec._nn.kept import state_with_tensors, state_without_tensors
from skdcec.features import ColorEdgeFeatures, PretrainedFeatures, SideBySide
from skdcec.model_selection import NClustersSearch
from skdcec.novelty import NoveltyDetector

METHODS = ("predict", "predict_proba", "transform", "score_samples")
SMALL = {"max_epochs": 1, "random_state": 0}


def by_pickle(estimator, folder):
    return pickle.loads(pickle.dumps(estimator))


def by_joblib(estimator, folder):
    joblib.dump(estimator, folder / "model")
    return joblib.load(folder / "model")


def by_joblib_mapped(estimator, folder):
    joblib.dump(estimator, folder / "model")
    return joblib.load(folder / "model", mmap_mode="r")


def by_copy(estimator, folder):
    return copy.deepcopy(estimator)


def by_skops(estimator, folder):
    io = pytest.importorskip("skops.io", reason="needs skops")
    io.dump(estimator, folder / "model.skops")
    names = io.get_untrusted_types(file=folder / "model.skops")
    assert all(name.startswith(("skdcec.", "torch.nn.modules.")) for name in names)
    return io.load(folder / "model.skops", trusted=names)


WAYS = [by_pickle, by_joblib, by_joblib_mapped, by_copy, by_skops]


def small_network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.fixture(scope="module")
def fitted_ones(images, fitted):
    rows = images.reshape(len(images), -1)
    dense = DenseAutoencoder(3, hidden_layer_sizes=(8,), activation="gelu", **SMALL)
    contrastive = ContrastiveEncoder(4, filters=(4, 8), **SMALL)
    search = NClustersSearch(
        DeepConvEmbeddingClustering(3, encoder=ConvAutoencoder(4, filters=(4,), **SMALL), **SMALL),
        [2, 3],
    )
    return {
        "convolutional": (fitted.encoder_, images),
        "dense": (dense.fit(rows), rows),
        "contrastive": (contrastive.fit(images), images),
        "DCEC": (fitted, images),
        "DCEC, contrastive": (
            DeepConvEmbeddingClustering(3, encoder=FrozenEstimator(contrastive), **SMALL).fit(
                images
            ),
            images,
        ),
        "DEC": (DeepEmbeddingClustering(3, encoder=dense, **SMALL).fit(rows), rows),
        "search": (search.fit(images), images),
        "best": (search.best_estimator_, images),
        "novelty": (NoveltyDetector(fitted).fit(images), images),
        "network": (
            PretrainedFeatures(small_network(), mean=(0.5,) * 3, std=(0.2,) * 3, size=None).fit(
                images
            ),
            images,
        ),
        "side by side": (
            SideBySide([ColorEdgeFeatures(), FrozenEstimator(contrastive)], n_components=4).fit(
                images
            ),
            images,
        ),
        "colours": (ColorEdgeFeatures().fit(images), images),
        "pipeline": (make_pipeline(ColorEdgeFeatures(), clone(dense)).fit(images), images),
    }


NAMES = [
    "convolutional",
    "dense",
    "contrastive",
    "DCEC",
    "DCEC, contrastive",
    "DEC",
    "search",
    "best",
    "novelty",
    "network",
    "side by side",
    "colours",
    "pipeline",
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_what_comes_back_gives_equal_results(way, name, fitted_ones, tmp_path):
    estimator, X = fitted_ones[name]
    returned = way(estimator, tmp_path)
    assert type(returned) is type(estimator)
    tried = [method for method in METHODS if hasattr(estimator, method)]
    assert tried
    for method in tried:
        expected = getattr(estimator, method)(X)
        np.testing.assert_array_equal(getattr(returned, method)(X), expected)


def test_a_model_that_came_back_can_be_saved_and_trained_on(fitted, images, tmp_path):
    returned = by_skops(fitted, tmp_path)
    returned.save(tmp_path / "model.safetensors")
    loaded = DeepConvEmbeddingClustering.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.predict(images), fitted.labels_)
    np.testing.assert_array_equal(returned.fit(images).labels_, fitted.labels_)


def test_parameters_that_were_set_after_a_fit_change_nothing(fitted, images):
    encoder = copy.deepcopy(fitted.encoder_).set_params(n_components=7, activation="tanh")
    returned = pickle.loads(pickle.dumps(encoder))
    assert returned.n_components == 7
    np.testing.assert_array_equal(returned.transform(images), fitted.encoder_.transform(images))


def test_pickles_from_before_load(fitted, images):
    # They held the network itself.
    old = DeepConvEmbeddingClustering.__new__(DeepConvEmbeddingClustering)
    old.__setstate__(dict(vars(fitted)))
    np.testing.assert_array_equal(old.predict(images), fitted.labels_)


class Odd(nn.Module):
    """A network with all that networks may have."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.tied = self.first
        self.also = nn.Linear(3, 3, bias=False)
        self.also.weight = self.first.weight
        self.norm = nn.BatchNorm1d(3)
        self.bits = nn.Parameter(torch.ones(2, dtype=torch.bfloat16), requires_grad=False)
        self.register_buffer("kept", torch.arange(3))
        self.register_buffer("fleeting", torch.ones(1), persistent=False)
        self.register_buffer("nothing", None)
        self.images = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)


def test_networks_of_all_sorts_come_back_as_they_were():
    network = Odd().eval()
    state = state_without_tensors({"module_": network, "device_": "cuda:0", "labels_": [1]})
    assert (state["device_"], state["labels_"]) == ("cpu", [1])
    again = state_with_tensors(pickle.loads(pickle.dumps(state)))["module_"]
    assert not again.training
    assert again.tied is again.first
    assert again.also.weight is again.first.weight
    assert again.nothing is None
    assert again.state_dict().keys() == network.state_dict().keys()
    before = [*network.named_parameters(), *network.named_buffers()]
    after = [*again.named_parameters(), *again.named_buffers()]
    for (name, tensor), (same_name, same) in zip(before, after, strict=True):
        assert name == same_name
        assert torch.equal(tensor, same)
        assert type(tensor) is type(same)
        assert (tensor.dtype, tensor.stride()) == (same.dtype, same.stride())
        assert tensor.requires_grad == same.requires_grad
    # What is taken apart stays whole, and two that are put together share nothing.
    assert isinstance(network.bits, nn.Parameter)
    first, second = (state_with_tensors(state)["module_"] for _ in range(2))
    with torch.no_grad():
        first.first.weight.zero_()
    assert not torch.equal(first.first.weight, second.first.weight)
    assert torch.equal(second.first.weight, network.first.weight)
