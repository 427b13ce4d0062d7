"""Do images show more pixel by pixel, or as the painting encoder sees them?"""

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_sample_images, make_blobs

from skdcec._analysis.views import encoder_sees_more, structure


@pytest.fixture(scope="module")
def scenes():
    """Overlapping squares of two photographs: what they show lies anywhere in them."""
    rng = np.random.default_rng(0)
    squares = []
    for photo in load_sample_images().images:
        corners = rng.integers(0, np.subtract(photo.shape[:2], 64), (60, 2))
        squares += [photo[top : top + 64, left : left + 64] for top, left in corners]
    return np.stack(squares)


@pytest.fixture(scope="module")
def shapes():
    return load_digits().images[:200, ..., None]


def test_structure_is_what_points_without_clusters_lack():
    points, _ = make_blobs(300, n_features=8, centers=6, random_state=0)
    cloud = np.random.default_rng(0).normal(size=(300, 8))
    assert structure(points) > 0.08
    assert structure(cloud) < 0.05
    assert structure(1e-150 * points) == pytest.approx(structure(points))


def test_points_that_coincide_have_no_structure():
    assert structure(np.ones((50, 4))) == 0


def test_shapes_are_told_from_scenes(shapes, scenes):
    assert encoder_sees_more(shapes) is False
    assert encoder_sees_more(scenes) is True


def test_scenes_without_colour_are_scenes(scenes):
    gray = scenes.mean(axis=3, keepdims=True)
    assert encoder_sees_more(gray) is True
    assert encoder_sees_more(gray.repeat(3, axis=3)) is True


def test_tinted_shapes_are_shapes(shapes):
    assert encoder_sees_more((shapes * [15.0, 14.0, 12.0]).astype(np.uint8)) is False


def test_neither_units_nor_size_decide(scenes):
    larger = scenes.repeat(3, axis=1).repeat(3, axis=2)
    assert encoder_sees_more(scenes / np.float32(255)) is True
    assert encoder_sees_more(larger) is True


def test_what_does_not_tell_is_not_decided(shapes):
    assert encoder_sees_more(shapes[:19]) is None
    assert encoder_sees_more(np.full((40, 16, 16, 3), 7, np.uint8)) is None
    noise = np.random.default_rng(0).integers(0, 256, (100, 16, 16, 3)).astype(np.uint8)
    assert encoder_sees_more(noise) is None


def test_images_are_only_looked_at(scenes, tmp_path):
    np.save(tmp_path / "images.npy", scenes)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert encoder_sees_more(mapped) is True
