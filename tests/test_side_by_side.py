"""Several descriptions of images side by side."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from skdcec import ContrastiveEncoder, ConvAutoencoder
from skdcec.features import ColorEdgeFeatures, PretrainedFeatures, Resized, SideBySide
from skdcec.features.resized import shrunken
from skdcec.features.side_by_side import principal_axes


def paint(n=40, *, side=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3)).astype(np.uint8)


def pooled(side):
    """Return features of a network that only averages."""
    half = (0.5, 0.5, 0.5)
    return PretrainedFeatures(torch.nn.AvgPool2d(side), mean=half, std=half, size=None)


@pytest.fixture(scope="module")
def encoder():
    """Return an encoder that was fitted on other images."""
    return ContrastiveEncoder(5, filters=(4, 8), max_epochs=1, random_state=0).fit(paint(seed=1))


def test_each_part_has_the_same_variance_whatever_its_unit(encoder):
    images = paint()
    large = pooled(8).fit(images)
    space = SideBySide([FrozenEstimator(encoder), large], n_components=None).fit(images)
    values = space.transform(images)
    assert values.shape == (40, 8)
    assert values.dtype == np.float32
    for part in (values[:, :5], values[:, 5:]):
        np.testing.assert_allclose(part.mean(axis=0), 0, atol=1e-5)
        assert part.var(axis=0).sum() == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("n", [40, 300])
def test_components_are_the_principal_ones(n):
    images = paint(n)
    parts = [ColorEdgeFeatures(n_levels=2, n_cells=2)]
    all_values = SideBySide(parts, n_components=None).fit_transform(images)
    space = SideBySide(parts, n_components=3).fit(images)
    expected = PCA(3, svd_solver="full").fit_transform(all_values)
    np.testing.assert_allclose(
        np.abs(space.transform(images)), np.abs(expected), atol=1e-4, rtol=1e-3
    )
    assert (space.components_.max(axis=1) == np.abs(space.components_).max(axis=1)).all()


def test_directions_that_are_missing_are_zeros():
    rows = np.zeros((4, 6))
    rows[0, 2], rows[1, 2] = 1, -1
    axes = principal_axes(rows, 5)
    np.testing.assert_allclose(axes[0], [0, 0, 1, 0, 0, 0], atol=1e-12)
    assert not axes[1:].any()
    assert SideBySide([ColorEdgeFeatures()], n_components=8).fit_transform(paint(3)).shape == (3, 8)


def test_equal_images_lie_in_one_place():
    images = np.full((5, 16, 16, 3), 100, dtype=np.uint8)
    assert not SideBySide([ColorEdgeFeatures()]).fit_transform(images).any()


def test_fit_transform_is_fit_and_transform(encoder, monkeypatch):
    images = paint(50)
    space = SideBySide([FrozenEstimator(encoder), ColorEdgeFeatures()], n_components=4)
    together = space.fit_transform(images)
    np.testing.assert_array_equal(together, space.transform(images))
    np.testing.assert_allclose(together[7:9], space.transform(images[7:9]), atol=1e-6)
    # Of a large collection, some decide on the directions and all are described.
    monkeypatch.setattr("skdcec.features.side_by_side.MAX_SEEN", 20)
    space = SideBySide([FrozenEstimator(encoder)], n_components=4)
    some = space.fit_transform(images)
    rows = np.linspace(0, 49, 20).round().astype(int)
    np.testing.assert_allclose(some, clone(space).fit(images[rows]).transform(images), atol=1e-5)


def test_units_and_layouts_do_not_matter(encoder):
    images = paint()
    parts = [FrozenEstimator(encoder), ColorEdgeFeatures()]
    expected = SideBySide(parts, n_components=4).fit_transform(images)
    for given, params in (
        (images.transpose(0, 3, 1, 2), {"data_format": "channels_first"}),
        (images.reshape(40, -1), {"image_shape": (16, 16, 3)}),
    ):
        found = SideBySide(parts, n_components=4, **params).fit_transform(given)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_is_given_stays_as_it_is_and_what_is_frozen_is_used(encoder):
    images = paint()
    unfitted = ConvAutoencoder(2, filters=(4,), max_epochs=1)
    space = SideBySide([unfitted, FrozenEstimator(encoder)], random_state=0).fit(images)
    assert not hasattr(unfitted, "module_")
    assert space.parts_[1] is encoder
    again = clone(space).fit(images)
    np.testing.assert_array_equal(space.transform(images), again.transform(images))


def test_parts_may_be_pipelines_and_transformers_of_rows():
    images = paint()
    space = SideBySide([make_pipeline(ColorEdgeFeatures(), PCA(2)), PCA(3)], n_components=None)
    assert space.fit_transform(images).shape == (40, 5)


def test_a_file_gives_the_same_space(encoder, tmp_path):
    images = paint()
    space = SideBySide([ColorEdgeFeatures(), ConvAutoencoder(2, filters=(4,), max_epochs=1)])
    space.set_params(n_components=4, random_state=0).fit(images).save(tmp_path / "space")
    loaded = SideBySide.load(tmp_path / "space")
    np.testing.assert_allclose(loaded.transform(images), space.transform(images), atol=1e-6)
    assert loaded.get_params()["n_components"] == 4
    loaded.save(tmp_path / "again")
    with pytest.raises(NotFittedError):
        SideBySide().save(tmp_path / "never")


def test_a_file_without_a_part_s_parameters_says_so(encoder, tmp_path):
    space = SideBySide([FrozenEstimator(encoder)], n_components=3).fit(paint())
    with pytest.warns(UserWarning, match="parts="):
        space.save(tmp_path / "space")
    loaded = SideBySide.load(tmp_path / "space")
    np.testing.assert_allclose(loaded.transform(paint()), space.transform(paint()), atol=1e-6)


def test_parts_that_files_may_not_name_are_refused(tmp_path):
    space = SideBySide([pooled(8)]).fit(paint())
    with pytest.raises(ValueError, match="PretrainedFeatures"):
        space.save(tmp_path / "space")


def test_parts_that_take_other_units_are_refused(tmp_path):
    space = SideBySide([ColorEdgeFeatures(), Resized(ColorEdgeFeatures(), 8)]).fit(paint())
    space.parts_[1].parts_[0].scale_ = 255e-9
    with pytest.raises(ValueError, match=r"A part was fitted to values up to 2.55e-07"):
        space.save(tmp_path / "space")


class Column(PCA):
    def transform(self, X):
        return super().transform(X)[:, 0]


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ([], ValueError, "parts=.* 1 to 8"),
        ([object()], TypeError, "no fit and transform"),
        ([ColorEdgeFeatures], TypeError, "no fit and transform"),
        ([FrozenEstimator(ColorEdgeFeatures())], NotFittedError, "ColorEdgeFeatures"),
        ([Column(1)], ValueError, r"Column makes float.* of shape \(40,\)"),
        ("paintings", ValueError, "parts"),
    ],
)
def test_what_is_no_part_is_said(parts, error, message):
    space = SideBySide(parts)
    with pytest.raises(error, match=message):
        space.fit(paint())
    assert not hasattr(space, "parts_")


def test_images_of_another_shape_are_refused():
    space = SideBySide([ColorEdgeFeatures()]).fit(paint())
    with pytest.raises(ValueError, match="shape"):
        space.transform(paint(side=8))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_resized_describes_what_is_left_of_large_images(data_format):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (5, 8, 16, 3), dtype=np.uint8)
    large = small.repeat(4, axis=1).repeat(4, axis=2)
    part = ColorEdgeFeatures(data_format=data_format)
    model = Resized(part, size=16).fit(large)
    described = model.transform(large)
    expected = ColorEdgeFeatures().fit_transform(shrunken(large, 16))
    np.testing.assert_array_equal(described, expected)
    assert model.parts_[0].image_shape_ == (8, 16, 3)
    # What is small already is described as it is.
    np.testing.assert_array_equal(
        Resized(part, size=16).fit(small).transform(small),
        ColorEdgeFeatures().fit_transform(small),
    )
