"""An encoder that starts from weights."""

import numpy as np
import pytest
from sklearn.preprocessing import normalize

from skdcec import ContrastiveEncoder, ConvAutoencoder, DeepConvEmbeddingClustering


def paint(n=40, *, side=16, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, channels)).astype(np.uint8)


@pytest.fixture(scope="module")
def trained():
    return ContrastiveEncoder(6, filters=(8, 16), max_epochs=2, random_state=0).fit(paint())


@pytest.fixture(scope="module")
def weights(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "encoder.safetensors"
    trained.save(path)
    return path


def as_they_are(weights, **params):
    return ContrastiveEncoder(
        **{"n_components": 6, "filters": (8, 16), "weights": weights, "max_epochs": 0} | params
    )


def test_weights_as_they_are_embed_as_where_they_come_from(trained, weights):
    others = paint(seed=1)
    encoder = as_they_are(weights).fit(others)
    np.testing.assert_allclose(encoder.transform(others), trained.transform(others), atol=1e-6)
    assert encoder.n_iter_ == 0
    assert encoder.history_ == {"loss": [], "lr": []}


def test_one_image_is_enough(weights):
    assert as_they_are(weights).fit_transform(paint(1)).shape == (1, 6)


def test_images_may_have_another_size(weights):
    assert as_they_are(weights).fit_transform(paint(3, side=40)).shape == (3, 6)


def test_fewer_components_are_the_first_ones(trained, weights):
    images = paint(seed=1)
    full = trained.module_.encode(_tensor(images)).detach().numpy()
    fewer = as_they_are(weights, n_components=2).fit_transform(images)
    np.testing.assert_allclose(fewer, normalize(full[:, :2]), atol=1e-5)


def _tensor(images):
    import torch

    return torch.from_numpy(images / np.float32(255)).permute(0, 3, 1, 2)


def test_training_starts_at_the_weights(trained, weights):
    images = paint()
    further = as_they_are(weights, max_epochs=1, lr=1e-8, random_state=1).fit(images)
    before, after = (dict(one.module_.named_parameters()) for one in (trained, further))
    np.testing.assert_allclose(
        before["layers.0.0.weight"].detach(), after["layers.0.0.weight"].detach(), atol=1e-6
    )
    assert further.n_iter_ == 1


def test_gray_images_are_taken_as_colours_without_hue(weights):
    gray = paint(5, channels=1)
    with pytest.warns(UserWarning, match="gray images"):
        encoder = as_they_are(weights).fit(gray)
    colours = as_they_are(weights).fit(np.repeat(gray, 3, axis=3))
    np.testing.assert_allclose(
        encoder.transform(gray), colours.transform(np.repeat(gray, 3, axis=3)), atol=1e-5
    )


def test_it_clusters_and_is_saved(weights, tmp_path):
    images = paint()
    model = DeepConvEmbeddingClustering(
        2, encoder=as_they_are(weights), max_epochs=1, random_state=0
    ).fit(images)
    with pytest.warns(UserWarning, match="weights="):
        model.save(tmp_path / "model.safetensors")
    loaded = DeepConvEmbeddingClustering.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.predict(images), model.labels_)


def test_other_weights_at_the_same_place_are_another_pretraining(weights, tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(weights.read_bytes())
    model = DeepConvEmbeddingClustering(
        2, encoder=as_they_are(path), max_epochs=1, memory=tmp_path / "memory", random_state=0
    )
    images = paint()
    first = model.fit_encoder(images).transform(images)
    other = as_they_are(weights, max_epochs=1, random_state=0).fit(images)
    with pytest.warns(UserWarning, match="weights="):
        other.save(path)
    assert not np.allclose(model.fit_encoder(images).transform(images), first, atol=1e-3)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"filters": (8, 8)}, r"filters=\(8, 16\)"),
        ({"n_components": 7}, "n_components=7"),
        ({"weights": "nowhere"}, "weights='nowhere'"),
        ({"weights": None}, "max_epochs=0"),
    ],
)
def test_what_does_not_fit_is_said(weights, params, message):
    with pytest.raises(ValueError, match=message):
        as_they_are(**{"weights": weights} | params).fit(paint())


def test_images_of_other_channels_are_refused(weights):
    with pytest.raises(ValueError, match="2 channels"):
        as_they_are(weights).fit(paint(channels=2))


def test_files_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "autoencoder.safetensors"
    ConvAutoencoder(2, filters=(4,), max_epochs=1, random_state=0).fit(paint()).save(path)
    with pytest.raises(ValueError, match="ConvAutoencoder"):
        as_they_are(path).fit(paint())
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="damaged"):
        as_they_are(path).fit(paint())
