"""Images that are looked at again are embedded once, and anew when they have changed."""

import gc
import weakref

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA

from skdcec import DeepConvEmbeddingClustering, DeepEmbeddingClustering
from skdcec._analysis.spaces import embed
from skdcec._encoders.remembered import embeddings_remembered, recalled
from skdcec.features import ColorEdgeFeatures, SideBySide, color_edges
from skdcec.model_selection import NClustersSearch
from skdcec.novelty import NoveltyDetector


class Counting(ColorEdgeFeatures):
    """Features that note how many images they were asked for."""

    seen: list[int] = []

    def transform(self, X):
        self.seen.append(len(X))
        return super().transform(X)


@pytest.fixture
def seen():
    Counting.seen = []
    return Counting.seen


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, size=(60, 16, 16, 3), dtype=np.uint8)


@pytest.fixture
def model():
    return DeepConvEmbeddingClustering(
        3, encoder=SideBySide([Counting()], n_components=4), max_epochs=0, random_state=0
    )


def test_a_fit_embeds_once(model, images, seen):
    model.fit(images)
    assert sum(seen) == len(images)
    np.testing.assert_array_equal(model.predict(images), model.labels_)


def test_what_follows_a_fit_embeds_no_more_where_that_is_asked_for(model, images, seen):
    with embeddings_remembered():
        model.fit(images)
        model.predict_proba(images)
        points = embed(model.encoder_, images)
        detector = NoveltyDetector(model).fit(images)
    assert sum(seen) == len(images)
    np.testing.assert_allclose(points, model.transform(images), atol=1e-6)
    np.testing.assert_array_equal(
        detector.predict(images), NoveltyDetector(model).fit(images).predict(images)
    )


def test_copies_are_not_kept(model, images):
    model.fit(images)
    with embeddings_remembered():
        given = [images.copy() for _ in range(5)]
        for some in given:
            embed(model.encoder_, some)
        kept = [weakref.ref(some) for some in given]
        del given, some
        gc.collect()
        assert sum(one() is not None for one in kept) <= 2


def test_changed_images_are_embedded_anew(model, images, seen):
    model.fit(images)
    before = model.transform(images)
    images[:] = 255 - images
    assert np.abs(model.transform(images) - before).max() > 0.1


def test_who_gets_an_embedding_may_change_it(model, images, seen):
    model.fit(images)
    with embeddings_remembered():
        # The first is made, the second is remembered.
        for _ in range(2):
            model.transform(images)[:] = 0
        assert np.abs(model.transform(images)).max() > 0.1


def test_what_was_judged_is_checked_like_what_is_embedded(images):
    rows = images.reshape(len(images), -1) / 255.0
    model = DeepEmbeddingClustering(3, encoder=PCA(4), max_epochs=0, random_state=0)
    search = NClustersSearch(model, [2, 3], screen=None).fit(rows)
    best = search.best_estimator_
    alone = clone(model).set_params(n_clusters=search.best_n_clusters_).fit(rows)
    np.testing.assert_array_equal(best.labels_, alone.labels_)
    np.testing.assert_array_equal(best.means_, alone.means_)
    assert best.transform(rows).dtype == np.float32
    with embeddings_remembered():
        embed(alone.encoder_, rows)
        assert alone.transform(rows).dtype == np.float32


def test_other_rows_of_the_same_images_are_embedded_anew(model, images, seen):
    with embeddings_remembered():
        model.fit(images)
        some = model.transform(images[:20])
        np.testing.assert_allclose(some, model.transform(images)[:20], atol=1e-6)
        np.testing.assert_allclose(
            model.transform(images[::-1]), model.transform(images)[::-1], atol=1e-6
        )


def test_parts_describe_each_image_once(images, monkeypatch):
    described = []
    colors_of = color_edges.color_histograms

    def counting(some, n_levels):
        described.append(len(some))
        return colors_of(some, n_levels)

    monkeypatch.setattr(color_edges, "color_histograms", counting)
    space = SideBySide([ColorEdgeFeatures()], n_components=4)
    embedding = space.fit_transform(images)
    assert sum(described) == len(images)
    np.testing.assert_allclose(embedding, space.transform(images), atol=1e-6)


def test_rows_of_what_was_embedded_are_known(images):
    features = ColorEdgeFeatures()
    with embeddings_remembered():
        features.fit(images)
        known = recalled(features, images[10:20])
        assert recalled(features, images[10:20].copy()) is None
        assert recalled(features, images[:, :8]) is None
        assert recalled(features, images.reshape(-1)[1:-767].reshape(59, 16, 16, 3)) is None
    np.testing.assert_allclose(known, features.transform(images[10:20].copy()), atol=1e-6)
    assert recalled(features, images) is None
