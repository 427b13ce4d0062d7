"""Encoders by words."""

import pickle

import numpy as np
import pytest

from skdcec import ContrastiveEncoder, ConvAutoencoder, DeepConvEmbeddingClustering
from skdcec._encoders.weights import weights_file
from skdcec._named import encoder_by_name, resolve_name
from skdcec.features import SideBySide


@pytest.mark.parametrize(
    ("name", "n_images", "n_channels", "cls"),
    [
        ("autoencoder", 10**6, 3, ConvAutoencoder),
        ("contrastive", 10, 1, ContrastiveEncoder),
        ("paintings", 10, 3, SideBySide),
    ],
)
def test_words_stand_for_encoders(name, n_images, n_channels, cls):
    assert type(encoder_by_name(name, n_images, n_channels)) is cls


@pytest.fixture
def seen(monkeypatch):
    """Say what the painting encoder sees, and remember what it was asked about."""
    asked = []

    def say(answer):
        def sees_more(images, device=None):
            asked.append(images.shape)
            return answer

        monkeypatch.setattr("skdcec._analysis.views.encoder_sees_more", sees_more)
        return asked

    return say


@pytest.mark.parametrize(
    ("sees_more", "n_images", "n_channels", "name"),
    [
        (False, 30, 3, "autoencoder"),
        (False, 10_000, 1, "autoencoder"),
        (True, 30, 1, "paintings"),
        (True, 30_000, 3, "paintings"),
        (None, 30, 3, "paintings"),
        (None, 30, 1, "autoencoder"),
    ],
)
def test_auto_is_what_images_show_more_in(seen, sees_more, n_images, n_channels, name):
    seen(sees_more)
    images = np.zeros((n_images, 8, 8, n_channels), np.uint8)
    images[..., -1] = 1
    assert resolve_name("auto", images) == name


@pytest.mark.parametrize("shape", [(1, 64, 1), (7, 30, 3), (16, 16, 2), (16, 16, 5)])
def test_what_the_painting_encoder_cannot_see_is_left_to_an_autoencoder(seen, shape):
    asked = seen(True)
    assert resolve_name("auto", np.zeros((30, *shape), np.uint8)) == "autoencoder"
    assert not asked


def test_images_without_an_axis_of_channels_are_gray(seen):
    asked = seen(True)
    assert resolve_name("auto", np.zeros((30, 8, 8), np.uint8)) == "paintings"
    assert asked == [(30, 8, 8, 1)]
    assert resolve_name("auto", np.zeros((30, 64), np.uint8)) == "autoencoder"


def test_auto_does_without_the_weights_that_a_packager_left_out(seen, monkeypatch, tmp_path):
    monkeypatch.setattr("skdcec._encoders.weights._FOLDER", tmp_path)
    asked = seen(True)
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3)).astype(np.uint8)
    assert resolve_name("auto", images) == "contrastive"
    assert resolve_name("auto", images[..., :1]) == "autoencoder"
    assert not asked


def test_what_is_named_is_not_looked_at(seen):
    asked = seen(True)
    assert resolve_name("autoencoder", np.zeros((30, 8, 8, 3), np.uint8)) == "autoencoder"
    assert not asked


def test_auto_sees_whether_files_were_gray(seen):
    """They have three equal channels once they were read, and few values of them are kept."""
    seen(None)
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3)).astype(np.uint8)
    model = DeepConvEmbeddingClustering(2, encoder="auto", random_state=0)
    for given in (images[..., :1], images[..., :1].repeat(3, axis=3)):
        gray = model._given_encoder(given)
        assert type(gray) is ConvAutoencoder
        assert gray.augmentation is not None
    assert type(model._given_encoder(images)) is SideBySide


def test_auto_says_nothing_of_gray_scenes(seen, recwarn):
    """Who names the painting encoder hears that it was made for colours."""
    seen(True)
    images = np.random.default_rng(0).integers(0, 256, (30, 16, 16)).astype(np.uint8)
    model = DeepConvEmbeddingClustering(2, encoder="auto", random_state=0).fit(images)
    assert type(model.encoder_) is SideBySide
    assert [str(warning.message) for warning in recwarn] == []
    with pytest.warns(UserWarning, match="a colour without hue"):
        DeepConvEmbeddingClustering(2, encoder="paintings", random_state=0).fit(images)


def test_the_encoder_made_is_kept(monkeypatch):
    monkeypatch.setattr(
        "skdcec._clusterers.dcec.encoder_by_name",
        lambda name, n, channels: ConvAutoencoder(3, filters=(4,), max_epochs=1),
    )
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3)).astype(np.uint8)
    model = DeepConvEmbeddingClustering(2, encoder="auto", max_epochs=1, random_state=0).fit(images)
    assert type(model.encoder_) is ConvAutoencoder
    assert model.encoder == "auto"


def test_other_words_are_refused():
    with pytest.raises(ValueError, match="'encoder' parameter"):
        DeepConvEmbeddingClustering(2, encoder="resnet").fit(np.zeros((5, 8, 8)))
    with pytest.raises(ValueError, match="One of torchvision is the first step of a pipeline"):
        DeepConvEmbeddingClustering(2, encoder="resnet50").fit(np.zeros((5, 8, 8)))


def test_paintings_are_clustered_without_training():
    images = np.random.default_rng(0).integers(0, 256, (30, 48, 40, 3)).astype(np.uint8)
    model = DeepConvEmbeddingClustering(3, encoder="paintings", random_state=0)
    labels = model.fit_predict(images)
    np.testing.assert_array_equal(labels, model.predict(images))
    assert model.module_ is None
    assert model.n_iter_ == 0
    assert model.transform(images).shape == (30, 96)


def test_what_has_no_network_is_kept_in_a_file(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3)).astype(np.uint8)
    model = DeepConvEmbeddingClustering(3, encoder="paintings", random_state=0).fit(images)
    model.save(tmp_path / "model.safetensors")
    loaded = DeepConvEmbeddingClustering.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.predict_proba(images), model.predict_proba(images))
    assert pickle.loads(pickle.dumps(model)).predict(images).tolist() == model.labels_.tolist()


def test_the_weights_that_come_along_are_small():
    assert weights_file("paintings").stat().st_size < 6_000_000


def test_a_name_that_is_nearly_one_is_asked_about():
    with pytest.raises(ValueError, match=r"'paintigs' \(is 'paintings' meant\?\), which is none"):
        encoder_by_name("paintigs", 500, 3)
    with pytest.raises(ValueError, match="'nothing', which is none of auto"):
        encoder_by_name("nothing", 500, 3)
