"""Whether images unlike the training images are flagged, and others are not."""

import math
import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils._param_validation import InvalidParameterError

from skdcec import (
    ContrastiveEncoder,
    ConvAutoencoder,
    DeepConvEmbeddingClustering,
    DeepEmbeddingClustering,
    DenseAutoencoder,
    novelty,
)
from skdcec.novelty import NoveltyDetector, pixel_statistics

SIDE = 24


def paintings(n, seed, side=SIDE):
    """Return images with soft shapes of few related colours and a grain, as paint has it."""
    rng = np.random.default_rng(seed)
    ys, xs = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j]
    images = np.empty((n, side, side, 3))
    for image in images:
        image[:] = rng.uniform(60, 180, size=3)
        for _ in range(12):
            x, y, size, edge = rng.uniform((0, 0, 0.05, 0.01), (1, 1, 0.4, 0.06))
            distance = np.hypot(xs - x, (ys - y) * rng.uniform(0.5, 2))
            cover = 1 / (1 + np.exp(((distance - size) / edge).clip(-30, 30)))[..., None]
            image += cover * (rng.uniform(20, 235) * rng.uniform(0.6, 1, size=3) - image)
        image += rng.normal(0, 4, size=(side, side, 1)) * rng.uniform(0.5, 1.5)
    return images.clip(0, 255).astype(np.uint8)


def screens(n, seed, side=SIDE):
    """Return windows: flat areas, bars, and lines of something small."""
    rng = np.random.default_rng(seed)
    images = np.full((n, side, side, 3), 250, dtype=np.uint8)
    for image in images:
        image[: rng.integers(2, 5)] = rng.integers(0, 256, size=3)
        image[4:, : rng.integers(3, 8)] = 225
        for row in range(6, side - 1, 2):
            end = rng.integers(12, side)
            image[row, 9:end] = rng.integers(90, 220, size=(end - 9, 1))
    return images


def noise(n, seed, side=SIDE):
    return np.random.default_rng(seed).integers(0, 256, size=(n, side, side, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def known():
    return paintings(200, 0)


@pytest.fixture(scope="module")
def unseen():
    return paintings(300, 1)


def clusterer(**settings):
    settings = {
        "encoder": ConvAutoencoder(8, filters=(8, 16), max_epochs=3),
        "max_epochs": 1,
        "n_init": 1,
        "init": "k-means",
        "random_state": 0,
    } | settings
    return DeepConvEmbeddingClustering(3, **settings)


@pytest.fixture(scope="module")
def model(known):
    return clusterer().fit(known)


@pytest.fixture(scope="module")
def detector(model, known):
    return NoveltyDetector(model, contamination=0.02).fit(known)


@pytest.fixture(scope="module")
def models(model, known):
    contrastive = ContrastiveEncoder(8, filters=(8, 16), max_epochs=1, random_state=0)
    return {
        "clusterer": model,
        "clusterer on a contrastive encoder": clusterer(encoder=contrastive).fit(known),
        "autoencoder": model.encoder_,
        "contrastive encoder": contrastive.fit(known),
    }


KINDS_OF_MODELS = [
    "clusterer",
    "clusterer on a contrastive encoder",
    "autoencoder",
    "contrastive encoder",
]


# What is flagged


@pytest.mark.parametrize("kind", KINDS_OF_MODELS)
def test_screens_and_noise_are_flagged_among_paintings(models, kind, known, unseen):
    detector = NoveltyDetector(models[kind], contamination=0.02).fit(known)
    assert (detector.predict(screens(30, 0)) == -1).all()
    assert (detector.predict(noise(30, 0)) == -1).all()
    assert np.mean(detector.predict(unseen) == -1) < 0.06


def test_the_share_that_is_flagged_follows_contamination(model, known, unseen):
    shares = [
        np.mean(NoveltyDetector(model, contamination=share).fit(known).predict(unseen) == -1)
        for share in (0.01, 0.1, 0.3)
    ]
    assert shares[0] < shares[1] < shares[2]
    assert shares == pytest.approx([0.01, 0.1, 0.3], abs=0.08)


def test_few_images_behind_the_painting_encoder_are_usual_themselves(unseen):
    # It keeps more components than there are images, so all lie nearer than those held out.
    few = paintings(70, 2)
    detector = NoveltyDetector(clusterer(encoder="paintings", max_epochs=0).fit(few)).fit(few)
    assert np.mean(detector.predict(few) == -1) < 0.05
    assert np.mean(detector.predict(unseen) == -1) < 0.05
    assert np.all(detector.predict(noise(20, 0)) == -1)


def test_the_limit_is_not_one_of_images_that_set_what_is_usual(known):
    # Sixty images of many features: by their own statistics they all are near.
    rows = known[:60].reshape(60, -1)[:, ::7] / 255.0
    encoder = DenseAutoencoder(4, hidden_layer_sizes=(16,), max_epochs=2, random_state=0).fit(rows)
    detector = NoveltyDetector(encoder, contamination=0.1).fit(rows)
    others = paintings(200, 3).reshape(200, -1)[:, ::7] / 255.0
    assert np.mean(detector.predict(others) == -1) < 0.25


@pytest.mark.parametrize("value", [0, 255])
def test_constant_images_are_novel(detector, unseen, value):
    constant = np.full((1, SIDE, SIDE, 3), value, dtype=np.uint8)
    assert detector.predict(np.concatenate([constant, unseen[:1]])).tolist() == [-1, 1]


def test_rows_of_features():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(4, 12))
    rows = rng.normal(size=(300, 4)) @ mixing + 0.1 * rng.normal(size=(300, 12))
    encoder = DenseAutoencoder(3, hidden_layer_sizes=(16,), max_epochs=2)
    model = DeepEmbeddingClustering(
        2, encoder=encoder, init="k-means", n_init=1, max_epochs=1, random_state=0
    ).fit(rows)
    detector = NoveltyDetector(model, contamination=0.02).fit(rows)
    # As far out as the others, but in directions in which they do not vary.
    assert (detector.predict(rng.normal(size=(20, 12)) * rows.std()) == -1).all()
    more = rng.normal(size=(300, 4)) @ mixing + 0.1 * rng.normal(size=(300, 12))
    assert np.mean(detector.predict(more) == -1) < 0.06


def test_a_small_cluster_of_many_images_is_known(monkeypatch):
    monkeypatch.setattr(novelty, "_MAX_IMAGES", 100)
    rng = np.random.default_rng(0)
    centers = np.repeat([[0.0, 0, 0, 0], [9, 0, 0, 0]], 150, axis=0)
    rare = [1, 2, 4]
    # None of these is among every third image.
    centers[rare] = [0, 40, 0, 0]
    rows = centers + rng.normal(size=centers.shape)
    model = KMeans(3, n_init=3, random_state=0).fit(rows)
    assert len(set(model.labels_[rare])) == 1
    detector = NoveltyDetector(model).fit(rows)
    assert (detector.predict(rows[rare]) == 1).all()
    assert (detector.predict(rows[rare] * [1, -1, 1, 1]) == -1).all()


# The estimator's conventions


def test_decision_is_the_score_beyond_the_limit(detector, unseen):
    images = np.concatenate([unseen[:20], noise(5, 0)])
    scores = detector.score_samples(images)
    assert scores.shape == (25,)
    assert (scores[20:].max() < scores[:20]).all()
    decision = detector.decision_function(images)
    np.testing.assert_allclose(decision, scores - detector.offset_)
    np.testing.assert_array_equal(detector.predict(images), np.where(decision < 0, -1, 1))


def test_scores_do_not_depend_on_what_else_is_scored(detector, unseen):
    together = detector.score_samples(unseen)
    np.testing.assert_allclose(detector.score_samples(unseen[7:8]), together[7:8], rtol=1e-4)


def test_fit_predict_flags_the_share(model, known):
    flagged = NoveltyDetector(model, contamination=0.1).fit_predict(known) == -1
    assert 0 < flagged.mean() < 0.2


def test_the_estimator_is_left_as_it_is(model, known, detector):
    before = pickle.dumps(model)
    NoveltyDetector(model).fit(known).predict(known[:5])
    assert pickle.dumps(model) == before
    assert detector.estimator is model


def test_results_repeat_and_no_generator_is_touched(model, known, unseen, untouched_global_rng):
    first, second = (NoveltyDetector(model).fit(known) for _ in range(2))
    assert first.offset_ == second.offset_
    np.testing.assert_array_equal(first.score_samples(unseen), second.score_samples(unseen))


def test_a_frozen_model_survives_a_clone(model, known, unseen, detector):
    frozen = clone(NoveltyDetector(FrozenEstimator(model), contamination=0.02)).fit(known)
    np.testing.assert_allclose(frozen.score_samples(unseen), detector.score_samples(unseen))


def test_what_is_not_fitted_is_refused(known):
    with pytest.raises(NotFittedError):
        NoveltyDetector(clusterer()).fit(known)
    with pytest.raises(NotFittedError):
        NoveltyDetector(clusterer()).predict(known)


@pytest.mark.parametrize("contamination", [0, 0.6, "auto"])
def test_contamination_out_of_range_is_refused(model, known, contamination):
    with pytest.raises(InvalidParameterError, match="contamination"):
        NoveltyDetector(model, contamination=contamination).fit(known)


def test_images_of_another_shape_are_refused(detector):
    with pytest.raises(ValueError, match="shape"):
        detector.predict(noise(2, 0, side=SIDE + 1))


def test_one_image_is_refused(model, known):
    with pytest.raises(ValueError, match="2 images"):
        NoveltyDetector(model).fit(known[:1])


@pytest.mark.parametrize("n", [2, 3, 49])
def test_few_images_set_no_limit_and_it_is_said(model, known, n):
    with pytest.warns(UserWarning, match=f"{n} images are too few"):
        detector = NoveltyDetector(model).fit(known[:n])
    assert detector.offset_ == -math.inf
    assert (detector.predict(noise(3, 0)) == 1).all()
    assert np.isfinite(detector.score_samples(noise(3, 0))).all()


def test_fifty_images_set_one(model, known):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector = NoveltyDetector(model, contamination=0.1).fit(known[:50])
    assert (detector.predict(noise(3, 0)) == -1).all()


# Files


@pytest.mark.parametrize("kind", KINDS_OF_MODELS)
def test_a_file_gives_back_the_same_scores(models, kind, known, unseen, tmp_path):
    detector = NoveltyDetector(models[kind]).fit(known)
    detector.save(tmp_path / "detector.safetensors")
    loaded = NoveltyDetector.load(tmp_path / "detector.safetensors")
    assert type(loaded.estimator) is type(models[kind])
    assert loaded.offset_ == detector.offset_
    np.testing.assert_array_equal(loaded.score_samples(unseen), detector.score_samples(unseen))


def test_a_file_without_a_limit(model, known, tmp_path):
    with pytest.warns(UserWarning, match="too few"):
        NoveltyDetector(model).fit(known[:10]).save(tmp_path / "detector.safetensors")
    loaded = NoveltyDetector.load(tmp_path / "detector.safetensors")
    assert loaded.predict(known[:2]).tolist() == [1, 1]


def test_a_pickle_gives_back_the_same_scores(detector, unseen):
    again = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(again.score_samples(unseen), detector.score_samples(unseen))


def test_only_a_fitted_detector_is_saved(model, tmp_path):
    with pytest.raises(NotFittedError):
        NoveltyDetector(model).save(tmp_path / "detector.safetensors")


# The forms of images


def test_all_forms_of_images_give_the_same_scores(known, unseen):
    settings = {"image_shape": (SIDE, SIDE, 3)}
    forms = {
        "rows": (lambda images: images.reshape(len(images), -1), settings),
        "channels first": (
            lambda images: images.transpose(0, 3, 1, 2),
            {"data_format": "channels_first"},
        ),
        "fractions": (lambda images: images / 255.0, {}),
    }
    wanted = NoveltyDetector(clusterer().fit(known)).fit(known).score_samples(unseen)
    for form, params in forms.values():
        images = form(known)
        detector = NoveltyDetector(clusterer(**params).fit(images)).fit(images)
        np.testing.assert_allclose(detector.score_samples(form(unseen)), wanted, rtol=0.02)


def test_an_encoder_of_channels_first_images(known, unseen):
    def scores(form, **params):
        encoder = ConvAutoencoder(8, filters=(8,), max_epochs=1, random_state=0, **params)
        images = form(known)
        return NoveltyDetector(encoder.fit(images)).fit(images).score_samples(form(unseen))

    np.testing.assert_allclose(
        scores(lambda images: images.transpose(0, 3, 1, 2), data_format="channels_first"),
        scores(lambda images: images),
        rtol=1e-3,
    )


def test_a_dense_autoencoder_of_images(known):
    encoder = DenseAutoencoder(8, hidden_layer_sizes=(16,), max_epochs=1)
    detector = NoveltyDetector(clusterer(encoder=encoder).fit(known), contamination=0.02)
    detector.fit(known)
    assert (detector.predict(noise(5, 0)) == -1).all()


def test_gray_images():
    gray = paintings(200, 0).mean(axis=3).astype(np.uint8)
    detector = NoveltyDetector(clusterer().fit(gray), contamination=0.02).fit(gray)
    assert (detector.predict(noise(5, 0).mean(axis=3).astype(np.uint8)) == -1).all()
    assert (detector.predict(screens(5, 0)[..., 0]) == -1).all()


def test_models_of_constant_images(known):
    constant = np.full((60, 8, 8, 3), 100, dtype=np.uint8)
    encoder = ConvAutoencoder(2, filters=(4,), max_epochs=1, random_state=0).fit(constant)
    detector = NoveltyDetector(encoder).fit(constant)
    assert (detector.predict(constant[:3]) == 1).all()
    assert (detector.predict(noise(3, 0, side=8)) == -1).all()


# What is counted in pixels


@pytest.mark.parametrize(
    "shape", [(8, 8, 1), (1, 30, 1), (30, 1, 3), (2, 2, 3), (5, 9, 4), (64, 48, 2), (300, 200, 3)]
)
def test_pixels_of_any_shape_can_be_counted(shape):
    images = np.random.default_rng(0).integers(0, 256, size=(3, *shape))
    images[2] = 7
    statistics = pixel_statistics(images, 255.0)
    assert statistics.shape[0] == 3
    assert np.isfinite(statistics).all()
    np.testing.assert_allclose(pixel_statistics(images[1:2], 255.0), statistics[1:2], rtol=1e-4)


def test_values_below_zero_can_be_counted():
    images = np.random.default_rng(0).normal(size=(4, 16, 16, 3))
    assert np.isfinite(pixel_statistics(images, 5.0)).all()


def test_to_detectors_of_earlier_versions_too_near_is_novel_as_it_was(model, known, tmp_path):
    detector = NoveltyDetector(model).fit(known)
    detector.save(tmp_path / "detector.safetensors")
    loaded = NoveltyDetector.load(tmp_path / "detector.safetensors")
    earlier = pickle.loads(pickle.dumps(loaded))
    del earlier._one_sided
    np.testing.assert_array_equal(loaded.score_samples(known), detector.score_samples(known))
    assert not np.allclose(earlier.score_samples(known), detector.score_samples(known))
