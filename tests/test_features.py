"""Features of networks that were trained elsewhere."""

import pickle
import sys
import types

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from torch import nn

from skdcec import DeepEmbeddingClustering, DenseAutoencoder
from skdcec.features import PretrainedFeatures


class Network(nn.Module):
    """Counts the images that it has seen."""

    n_seen = 0

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, x):
        type(self).n_seen += len(x)
        return x * self.scale


@pytest.fixture
def network(monkeypatch):
    monkeypatch.setattr(Network, "n_seen", 0)
    return Network()


def test_features_are_means_of_maps_of_normalised_images(images, network):
    features = PretrainedFeatures(network, size=None).fit_transform(images)
    mean = (images / 255).mean(axis=(1, 2))
    wanted = (mean - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(features, wanted, atol=1e-5)
    assert features.dtype == np.float32


def test_images_are_resized_and_vectors_left_as_they_are(images):
    network = nn.Flatten()
    features = PretrainedFeatures(network, size=5).fit_transform(images)
    assert features.shape == (60, 3 * 5 * 5)


@pytest.mark.parametrize("unit", [1, 255])
def test_units_and_layouts_do_not_matter(images, network, unit):
    wanted = PretrainedFeatures(network, size=16).fit_transform(images)
    X = images / 255 * unit
    for given, params in (
        (X, {}),
        (X.transpose(0, 3, 1, 2), {"data_format": "channels_first"}),
        (X.reshape(60, -1), {"image_shape": (8, 8, 3)}),
    ):
        got = PretrainedFeatures(network, size=16, **params).fit_transform(given)
        np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_gray_images_are_taken_for_colour(images, network):
    gray = images[..., 0]
    colour = np.repeat(gray[..., None], 3, axis=3)
    np.testing.assert_allclose(
        PretrainedFeatures(network, size=8).fit_transform(gray),
        PretrainedFeatures(network, size=8).fit_transform(colour),
        atol=1e-6,
    )


def test_batches_have_no_influence(images, network):
    one, many = (
        PretrainedFeatures(network, size=8, batch_size=n).fit_transform(images) for n in (7, 60)
    )
    np.testing.assert_allclose(one, many, atol=1e-6)


def test_memory_keeps_features_of_equal_images_and_networks(images, network, tmp_path):
    features = PretrainedFeatures(network, size=8, memory=str(tmp_path)).fit(images)
    Network.n_seen = 0
    first = features.transform(images)
    assert Network.n_seen == 60
    again = clone(features).fit(images)
    Network.n_seen = 0
    assert np.array_equal(again.transform(images), first)
    assert Network.n_seen == 0
    again.transform(images[:30])
    assert Network.n_seen == 30
    other = Network()
    nn.init.constant_(other.scale, 2.0)
    other = PretrainedFeatures(other, size=8, memory=str(tmp_path)).fit(images)
    assert not np.allclose(other.transform(images), first)


def test_the_network_given_is_left_alone(images):
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    PretrainedFeatures(network, size=8).fit_transform(images)
    assert network.training
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_a_pickle_gives_the_same_features(images, network):
    features = PretrainedFeatures(network, size=8).fit(images)
    copy = pickle.loads(pickle.dumps(features))
    assert np.array_equal(copy.transform(images), features.transform(images))


@pytest.mark.filterwarnings("ignore:.*clusters have members")
def test_features_are_clustered_in_a_pipeline(images, network):
    model = make_pipeline(
        PretrainedFeatures(network, size=8),
        DeepEmbeddingClustering(
            3, encoder=DenseAutoencoder(2, hidden_layer_sizes=(8,), max_epochs=1), max_epochs=1
        ),
    )
    assert model.fit_predict(images).shape == (60,)


def test_images_of_two_channels_are_a_clear_error(images, network):
    with pytest.raises(ValueError, match="1 or 3 channels"):
        PretrainedFeatures(network).fit(images[..., :2])


# --- torchvision ---


class DenseNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 1))
        self.classifier = nn.Linear(4, 2)


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.conv(x).mean(dim=(2, 3)))


@pytest.fixture
def torchvision(monkeypatch):
    """A stand-in, as the real one loads weights from the network."""

    def get_model(name, weights):
        if weights is not None:
            raise OSError("no route to host")
        torch_state = torch.get_rng_state()
        model = {"densenet121": DenseNet, "resnet18": ResNet}[name]()
        torch.set_rng_state(torch_state)
        return model

    models = types.SimpleNamespace(
        get_model=get_model, list_models=lambda: ["densenet121", "resnet18"]
    )
    module = types.ModuleType("torchvision")
    module.models = models
    monkeypatch.setitem(sys.modules, "torchvision", module)


def test_without_torchvision_a_name_is_a_clear_error(images, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError, match="model='densenet121'.*not installed"):
        PretrainedFeatures().fit(images)


def test_an_unknown_name_is_a_clear_error(images, torchvision):
    with pytest.raises(ValueError, match="model='densenet' is no model"):
        PretrainedFeatures("densenet").fit(images)


def test_without_a_network_connection_the_error_names_the_way_out(images, torchvision):
    with pytest.raises(ValueError, match=r"no route to host.*path of a file"):
        PretrainedFeatures().fit(images)


@pytest.mark.parametrize(("name", "cls"), [("densenet121", DenseNet), ("resnet18", ResNet)])
def test_weights_come_from_a_file(images, torchvision, tmp_path, name, cls):
    state = {k: torch.full_like(v, 0.5) for k, v in cls().state_dict().items()}
    torch.save(state, tmp_path / "weights.pth")
    features = PretrainedFeatures(name, weights=tmp_path / "weights.pth", size=8)
    embedding = features.fit_transform(images)
    assert embedding.shape == (60, 4)
    pixels = PretrainedFeatures(nn.Identity(), size=8).fit_transform(images)
    wanted = 0.5 * pixels.sum(axis=1) + 0.5
    if name == "resnet18":
        np.testing.assert_allclose(embedding[:, 0], wanted, atol=1e-5)
    else:
        # DenseNet ends in a ReLU, before the mean.
        assert (embedding >= 0).all()
        assert (embedding[:, 0] >= wanted - 1e-5).all()


@pytest.mark.parametrize("kind", ["missing", "list", "code"])
def test_a_file_without_a_state_dict_is_a_clear_error(images, torchvision, tmp_path, kind):
    path = tmp_path / "weights.pth"
    if kind != "missing":
        torch.save([1] if kind == "list" else DenseNet(), path)
    with pytest.raises(ValueError, match="weights=.*state dict"):
        PretrainedFeatures(weights=path).fit(images)
