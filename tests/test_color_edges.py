"""Hand-made features: colours and the directions of edges."""

import numpy as np
import pytest

from skdcec.features import ColorEdgeFeatures
from skdcec.features.color_edges import color_histograms, edge_histograms


def paint(*, height=16, width=16, channels=3):
    """Return an image of random colours."""
    return np.random.default_rng(0).integers(0, 256, (12, height, width, channels)).astype("uint8")


def test_a_histogram_counts_the_colours():
    image = np.zeros((1, 2, 2, 3), dtype=np.float32)
    image[0, 0, 0] = (1.0, 0.0, 0.0)
    image[0, 0, 1] = (0.26, 0.51, 0.76)
    histogram = color_histograms(image, 4)[0]
    expected = np.zeros((4, 4, 4))
    expected[0, 0, 0] = np.sqrt(2 / 4)
    expected[3, 0, 0] = expected[1, 2, 3] = np.sqrt(1 / 4)
    np.testing.assert_allclose(histogram, expected.ravel(), rtol=1e-6)


def test_grays_have_levels_of_their_own():
    ramp = np.linspace(0, 1, 16, dtype=np.float32).reshape(1, 4, 4, 1)
    np.testing.assert_allclose(color_histograms(ramp, 4)[0], np.full(16, 0.25), rtol=1e-6)


@pytest.mark.parametrize(("axis", "direction"), [(2, 0), (1, 4)])
def test_an_edge_is_counted_in_its_direction(axis, direction):
    # A ramp to the right has gradients at 0 degrees, shared by the first direction and the last;
    # downwards they are at 90 degrees, the middle of the fifth of nine.
    ramp = np.linspace(0, 1, 16, dtype=np.float32)
    ramp = np.expand_dims(ramp, [i for i in range(4) if i != axis])
    image = np.broadcast_to(ramp, (1, 16, 16, 1))
    cells = edge_histograms(image, 9, 2).reshape(4, 9)
    if direction == 0:
        np.testing.assert_allclose(cells[:, 0], cells[:, 8], rtol=1e-4)
        assert np.allclose(cells[:, 1:8], 0, atol=1e-6)
    else:
        assert (cells.argmax(axis=1) == direction).all()
        assert np.allclose(np.delete(cells, direction, axis=1), 0, atol=1e-5)


def test_light_beside_dark_is_dark_beside_light():
    image = paint(channels=1) / np.float32(255)
    np.testing.assert_allclose(
        edge_histograms(image, 9, 4), edge_histograms(1 - image, 9, 4), atol=1e-5
    )


def test_blocks_have_unit_length_and_no_image_changes_another():
    image = paint() / np.float32(255)
    edges = edge_histograms(image, 9, 8).reshape(len(image), 49, 36)
    np.testing.assert_allclose(np.linalg.norm(edges, axis=2), 1, atol=1e-3)
    np.testing.assert_array_equal(edge_histograms(image[3:5], 9, 8), edges[3:5].reshape(2, -1))


def test_both_parts_vary_equally():
    images = paint()
    features = ColorEdgeFeatures().fit_transform(images)
    assert features.dtype == np.float32
    assert features[:, :64].var(axis=0).sum() == pytest.approx(1, rel=1e-3)
    assert features[:, 64:].var(axis=0).sum() == pytest.approx(1, rel=1e-3)


def test_units_do_not_matter():
    images = paint()
    features = ColorEdgeFeatures().fit_transform(images)
    np.testing.assert_allclose(
        features, ColorEdgeFeatures().fit_transform(images / 255.0), atol=1e-5
    )
    first = images.transpose(0, 3, 1, 2)
    same = ColorEdgeFeatures(data_format="channels_first").fit_transform(first)
    np.testing.assert_array_equal(features, same)


@pytest.mark.parametrize("shape", [(1, 7, 1), (3, 1, 3), (5, 9, 4), (16, 16, 2), (2, 2, 3)])
def test_images_of_any_shape(shape):
    images = np.random.default_rng(0).random((5, *shape))
    model = ColorEdgeFeatures().fit(images)
    features = model.transform(images)
    assert features.shape == (5, len(model.get_feature_names_out()))
    assert np.isfinite(features).all()


def test_equal_images_are_described_equally():
    images = np.full((4, 8, 8, 3), 100, dtype=np.uint8)
    features = ColorEdgeFeatures().fit_transform(images)
    assert np.isfinite(features).all()
    assert (features == features[0]).all()


def test_evenly_spread_images_decide_how_much_many_vary(monkeypatch):
    images = np.random.default_rng(0).random((50, 8, 8, 3))
    monkeypatch.setattr("skdcec.features.color_edges.MAX_SEEN", 8)
    of_all, of_some = ColorEdgeFeatures().fit(images), ColorEdgeFeatures().fit(images[::7])
    assert of_all.color_deviation_ == of_some.color_deviation_
    assert of_all.edge_deviation_ == of_some.edge_deviation_
    assert len(of_all.transform(images)) == 50
