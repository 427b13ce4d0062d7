"""Features of networks that were trained elsewhere."""

import enum
import pickle
import sys
import types
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from torch import nn

from skdcec import DeepEmbeddingClustering, DenseAutoencoder
from skdcec.features import PretrainedFeatures

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def features_of(network, **params):
    """Return features of a network of one's own, which says nothing of its pixels."""
    return PretrainedFeatures(network, **{**IMAGENET, "resize": "stretch", **params})


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
    features = features_of(network, size=None).fit_transform(images)
    mean = (images / 255).mean(axis=(1, 2))
    wanted = (mean - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(features, wanted, atol=1e-5)
    assert features.dtype == np.float32


def test_images_are_resized_and_vectors_left_as_they_are(images):
    network = nn.Flatten()
    features = features_of(network, size=5).fit_transform(images)
    assert features.shape == (60, 3 * 5 * 5)


@pytest.mark.parametrize("unit", [1, 255])
def test_units_and_layouts_do_not_matter(images, network, unit):
    wanted = features_of(network, size=16).fit_transform(images)
    X = images / 255 * unit
    for given, params in (
        (X, {}),
        (X.transpose(0, 3, 1, 2), {"data_format": "channels_first"}),
        (X.reshape(60, -1), {"image_shape": (8, 8, 3)}),
    ):
        got = features_of(network, size=16, **params).fit_transform(given)
        np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_gray_images_are_taken_for_colour(images, network):
    gray = images[..., 0]
    colour = np.repeat(gray[..., None], 3, axis=3)
    np.testing.assert_allclose(
        features_of(network, size=8).fit_transform(gray),
        features_of(network, size=8).fit_transform(colour),
        atol=1e-6,
    )


def test_batches_have_no_influence(images, network):
    one, many = (features_of(network, size=8, batch_size=n).fit_transform(images) for n in (7, 60))
    np.testing.assert_allclose(one, many, atol=1e-6)


def test_memory_keeps_features_of_equal_images_and_networks(images, network, tmp_path):
    features = features_of(network, size=8, memory=str(tmp_path)).fit(images)
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
    other = features_of(other, size=8, memory=str(tmp_path)).fit(images)
    assert not np.allclose(other.transform(images), first)


def test_the_network_given_is_left_alone(images):
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    features_of(network, size=8).fit_transform(images)
    assert network.training
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


@pytest.mark.filterwarnings("ignore:.*damaged")
def test_damaged_features_are_found_again(images, network, tmp_path):
    features = features_of(network, size=8, memory=str(tmp_path)).fit(images)
    expected = features.transform(images)
    (path,) = tmp_path.rglob("*.npy")
    whole = path.read_bytes()
    for seed in range(20):
        random = np.random.default_rng(seed)
        content = bytearray(whole)
        content[random.integers(len(content))] ^= 1 << random.integers(8)
        path.write_bytes(content)
        for _ in range(2):
            np.testing.assert_array_equal(features.transform(images), expected)


def test_a_pickle_gives_the_same_features(images, network):
    features = features_of(network, size=8).fit(images)
    copy = pickle.loads(pickle.dumps(features))
    assert np.array_equal(copy.transform(images), features.transform(images))


@pytest.mark.filterwarnings("ignore:.*clusters have members")
def test_features_are_clustered_in_a_pipeline(images, network):
    model = make_pipeline(
        features_of(network, size=8),
        DeepEmbeddingClustering(
            3, encoder=DenseAutoencoder(2, hidden_layer_sizes=(8,), max_epochs=1), max_epochs=1
        ),
    )
    assert model.fit_predict(images).shape == (60,)


def test_images_of_two_channels_are_a_clear_error(images, network):
    with pytest.raises(ValueError, match="1 or 3 channels"):
        features_of(network, size=8).fit(images[..., :2])


def test_a_network_that_cannot_take_the_images_is_a_clear_error(images, network):
    with pytest.raises(ValueError, match=r"model='Linear'.*size=8.*size that it was trained on"):
        features_of(nn.Linear(5, 2), size=8).fit(images)
    with pytest.raises(ValueError, match=r"model='Flatten'.*values of shape"):
        features_of(nn.Flatten(2), size=8).fit(images)


# --- torchvision ---


class DenseNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 1))
        self.classifier = nn.Linear(4, 2)

    def forward(self, x):
        return self.classifier(self.features(x).relu().mean(dim=(2, 3)))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.fc = nn.Linear(4, 2)
        self.transform_input = False

    def forward(self, x):
        return self.fc(self.conv(x * 2 if self.transform_input else x).mean(dim=(2, 3)))


class VGG(nn.Module):
    """Classifies flattened maps of four pixels."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 4, 1)
        self.avgpool = nn.AdaptiveAvgPool2d(2)
        self.classifier = nn.Linear(16, 2)

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class Swin(nn.Module):
    """Has its channels last until it pools, and a norm after its features."""

    def __init__(self):
        super().__init__()
        self.features = nn.Linear(3, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.features(x.permute(0, 2, 3, 1)).mean(dim=(1, 2)))


class Preset:
    """How torchvision says what its weights were trained to see."""

    crop_size, resize_size = [224], [256]
    mean, std = IMAGENET["mean"], IMAGENET["std"]
    interpolation = types.SimpleNamespace(value="bilinear")


STANDINS = {"densenet121": DenseNet, "resnet18": ResNet, "vgg11": VGG, "swin_t": Swin}


@pytest.fixture
def torchvision(monkeypatch):
    """A stand-in, as the real one loads weights from the network."""

    def get_model(name, weights):
        if weights is not None:
            raise OSError("no route to host")
        return STANDINS[name]()

    def list_models(module):
        assert module is models
        return list(STANDINS)

    class Weights(enum.Enum):
        V1 = "https://host/network-1234.pth"
        DEFAULT = "https://host/network-5678.pth"

        @property
        def url(self):
            return self.value

        def transforms(self):
            preset = Preset()
            preset.resize_size = [256 if self is Weights.V1 else 232]
            return preset

    models = types.SimpleNamespace(
        get_model=get_model, list_models=list_models, get_model_weights=lambda name: Weights
    )
    module = types.ModuleType("torchvision")
    module.models = models
    monkeypatch.setitem(sys.modules, "torchvision", module)


def test_without_torchvision_a_name_is_a_clear_error(images, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError, match="model='densenet121'.*not installed"):
        PretrainedFeatures().fit(images)


def test_an_unknown_name_is_a_clear_error(images, torchvision):
    with pytest.raises(ValueError, match="model='densenet' is no classifier"):
        PretrainedFeatures("densenet").fit(images)


def test_without_a_network_connection_the_error_names_the_way_out(images, torchvision):
    with pytest.raises(ValueError, match=r"no route to host.*path of a file"):
        PretrainedFeatures().fit(images)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", STANDINS)
def test_weights_come_from_a_file(images, torchvision, tmp_path, name, suffix):
    path = (tmp_path / "weights").with_suffix(suffix)
    state = {k: torch.full_like(v, 0.5) for k, v in STANDINS[name]().state_dict().items()}
    (torch.save if suffix == ".pth" else save_file)(state, path)
    random = torch.get_rng_state()
    transformer = PretrainedFeatures(name, weights=path, size=8, resize="stretch")
    embedding = transformer.fit_transform(images)
    assert torch.equal(torch.get_rng_state(), random)
    assert embedding.shape == (60, 4)
    pixels = features_of(nn.Identity(), size=8).fit_transform(images)
    # What the classifier of that file expects, a ReLU and units of its own included.
    wanted = 0.5 * pixels.sum(axis=1) * (2 if name == "resnet18" else 1) + 0.5
    if name == "densenet121":
        assert (embedding >= 0).all()
        assert (embedding[:, 0] >= wanted - 1e-5).all()
    else:
        np.testing.assert_allclose(embedding[:, 0], wanted, atol=1e-5)


@pytest.mark.parametrize("kind", ["missing", "list", "code", "other"])
def test_a_file_without_its_state_dict_is_a_clear_error(images, torchvision, tmp_path, kind):
    path = tmp_path / "weights.pth"
    contents = {"list": [1], "code": DenseNet(), "other": ResNet().state_dict()}
    if kind != "missing":
        torch.save(contents[kind], path)
    said = "are not those of model='densenet121'" if kind == "other" else "state dict"
    with pytest.raises(ValueError, match=f"weights=.*{said}"):
        PretrainedFeatures(weights=path).fit(images)


@pytest.mark.parametrize(
    "name",
    [
        "alexnet",
        "convnext_tiny",
        "densenet121",
        "efficientnet_b0",
        "googlenet",
        "inception_v3",
        "mnasnet0_5",
        "mobilenet_v2",
        "mobilenet_v3_small",
        "regnet_y_400mf",
        "resnet18",
        "shufflenet_v2_x0_5",
        "squeezenet1_1",
        "swin_t",
        "vgg11",
        "vit_b_32",
    ],
)
def test_features_are_what_a_real_model_classifies(name):
    try:
        import torchvision
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"needs torchvision: {error}")
    X = np.random.default_rng(0).integers(0, 256, size=(2, 224, 224, 3)).astype(np.uint8)
    transformer = PretrainedFeatures(name, weights=None, size=None)
    features = torch.tensor(transformer.fit_transform(X))
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torchvision.models.get_model(name, weights=None).eval()
    state = transformer.module_.state_dict()
    assert not model.load_state_dict(state, strict=False).unexpected_keys
    with torch.no_grad():
        batch = transformer._prepare(torch.tensor(X).permute(0, 3, 1, 2) / 255)
        part = next(
            getattr(model, n) for n in ("fc", "head", "heads", "classifier") if hasattr(model, n)
        )
        if name.startswith(("vgg", "alexnet", "squeezenet")):
            np.testing.assert_allclose(
                features, model.features(batch).mean(dim=(2, 3)), atol=1e-4, rtol=1e-3
            )
        else:
            given = features[:, :, None, None] if name.startswith("convnext") else features
            np.testing.assert_allclose(part(given), model(batch), atol=1e-4, rtol=1e-3)
