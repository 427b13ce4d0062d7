"""Image arrays: every layout, every error about input, and the range of values."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering, DenseAutoencoder
from skdcec._encoders.images import (
    natural_scale,
    resolve_image_shape,
    restore_layout,
    root_mean_square,
    validate_images,
    validate_rows,
)


def numbered(*shape, dtype=np.float64):
    return np.arange(math.prod(shape), dtype=dtype).reshape(shape)


def validate(X, *, data_format="channels_last", image_shape=None, fitted_on=None):
    estimator = ConvAutoencoder(data_format=data_format, image_shape=image_shape)
    if fitted_on is not None:
        _, estimator.image_shape_, _ = validate_images(
            estimator, fitted_on, reset=True, image_shape=image_shape
        )
    return validate_images(estimator, X, reset=fitted_on is None, image_shape=image_shape)


# --- layouts ---


@pytest.mark.parametrize(
    ("shape", "params", "expected"),
    [
        ((2, 5, 6), {}, ((5, 6, 1), "gray")),
        ((2, 5, 6, 3), {}, ((5, 6, 3), "channels_last")),
        ((2, 5, 6, 17), {}, ((5, 6, 17), "channels_last")),
        ((2, 1, 1, 1), {}, ((1, 1, 1), "channels_last")),
        ((2, 3, 4, 4), {}, ((3, 4, 4), "channels_last")),
        ((2, 3, 5, 6), {"data_format": "channels_first"}, ((5, 6, 3), "channels_first")),
        ((2, 5, 6), {"data_format": "channels_first"}, ((5, 6, 1), "gray")),
        ((2, 3, 5, 6), {"image_shape": (3, 5, 6)}, ((3, 5, 6), "channels_last")),
        (
            (2, 9, 5, 3),
            {"data_format": "channels_first", "image_shape": (5, 3, 9)},
            ((5, 3, 9), "channels_first"),
        ),
        ((2, 64), {}, ((8, 8, 1), "rows")),
        ((2, 5), {}, ((1, 5, 1), "rows")),
        ((2, 1), {}, ((1, 1, 1), "rows")),
        ((2, 60), {"image_shape": (4, 5, 3)}, ((4, 5, 3), "rows")),
        ((2, 20), {"image_shape": (4, 5)}, ((4, 5, 1), "rows")),
        ((2, 20), {"image_shape": [4, 5]}, ((4, 5, 1), "rows")),
        ((2, 20), {"image_shape": np.array([4, 5, 1])}, ((4, 5, 1), "rows")),
    ],
)
def test_the_shape_of_images_is_read_from_X(shape, params, expected):
    images, image_shape, layout = validate(numbered(*shape), **params)
    assert (image_shape, layout) == expected
    assert images.shape == (shape[0], *image_shape)


@pytest.mark.parametrize(
    ("layout", "data_format"),
    [
        ("rows", "channels_last"),
        ("channels_last", "channels_last"),
        ("channels_first", "channels_first"),
    ],
)
def test_a_pixel_stays_in_its_place_whatever_the_layout(layout, data_format):
    canonical = numbered(2, 4, 5, 3)
    given = {
        "rows": canonical.reshape(2, -1),
        "channels_last": canonical,
        "channels_first": canonical.transpose(0, 3, 1, 2),
    }[layout]
    images, _, found = validate(given, data_format=data_format, image_shape=(4, 5, 3))
    assert found == layout
    np.testing.assert_array_equal(images, canonical)
    np.testing.assert_array_equal(restore_layout(images, found), given)


def test_gray_images_come_back_as_they_went_in():
    gray = numbered(2, 4, 5)
    images, _, layout = validate(gray)
    np.testing.assert_array_equal(images[..., 0], gray)
    np.testing.assert_array_equal(restore_layout(images, layout), gray)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 16), (3, 4, 4), (3, 4, 4, 2)], ids=str)
def test_arrays_are_neither_copied_nor_converted(shape, dtype):
    X = numbered(*shape).astype(dtype)
    X.setflags(write=False)
    images, _, _ = validate(X)
    assert images.dtype == dtype
    assert np.shares_memory(images, X)


@pytest.mark.parametrize("fitted_on", [(2, 16), (2, 4, 4), (2, 4, 4, 1)], ids=str)
@pytest.mark.parametrize("later", [(3, 16), (3, 4, 4), (3, 4, 4, 1)], ids=str)
def test_after_fit_every_layout_of_the_same_images_is_taken(fitted_on, later):
    images, _, _ = validate(numbered(*later), fitted_on=numbered(*fitted_on))
    np.testing.assert_array_equal(images, numbered(3, 4, 4, 1))


def test_after_fit_rows_and_channels_first_are_the_same_images():
    canonical = numbered(2, 4, 5, 3)
    first = canonical.transpose(0, 3, 1, 2)
    options = {"data_format": "channels_first", "fitted_on": first}
    np.testing.assert_array_equal(validate(first, **options)[0], canonical)
    np.testing.assert_array_equal(validate(canonical.reshape(2, -1), **options)[0], canonical)


def test_a_list_of_images_is_a_stack():
    X = numbered(3, 4, 5, 3)
    np.testing.assert_array_equal(validate(list(X))[0], X)
    np.testing.assert_array_equal(validate(tuple(image.tolist() for image in X))[0], X)


def test_names_and_number_of_features_are_kept():
    estimator = ConvAutoencoder()
    frame = pd.DataFrame(numbered(3, 4), columns=list("abcd"))
    validate_images(estimator, frame, reset=True, image_shape=None)
    assert list(estimator.feature_names_in_) == list("abcd")
    assert estimator.n_features_in_ == 4
    validate_images(estimator, numbered(3, 4, 5, 3), reset=True, image_shape=None)
    assert estimator.n_features_in_ == 60
    assert not hasattr(estimator, "feature_names_in_")


# --- errors ---

BAD_INPUT = {
    "1-D": (np.zeros(5), r"one axis, shape \(5,\).*X\[None\]"),
    "scalar": (np.float64(3), "X is 3.0: give an array of images"),
    "5-D": (np.zeros((2, 3, 3, 3, 3)), r"5 dimensions.*\(n, H, W, C\)"),
    "sparse": (sparse.csr_array(np.eye(4)), "Sparse data was passed"),
    "text rows": (np.full((3, 4), "a"), "holds texts or paths, such as 'a'"),
    "text images": (np.full((3, 4, 4), "a"), "holds texts or paths, such as 'a'"),
    "objects": (np.full((3, 4, 4), {}), "(?i)float|number|must be"),
    "complex": (np.full((3, 4, 4), 1j), "Complex data not supported"),
    "no rows": (np.zeros((0, 16)), "0 sample"),
    "no images": (np.zeros((0, 4, 4, 3)), "0 sample"),
    "no columns": (np.zeros((3, 0)), "0 feature"),
    "no height": (np.zeros((3, 0, 4)), "0 feature"),
    "no channels": (np.zeros((3, 4, 4, 0)), "0 feature"),
    "empty list": ([], "X is empty: give an array of images"),
    "NaN rows": (np.full((3, 16), np.nan), r"NaN: 3 of 3 samples.*X\[0\]"),
    "NaN images": (np.full((3, 4, 4), np.nan), "NaN"),
    "infinite images": (np.full((3, 4, 4, 3), np.inf, np.float32), "infinity"),
    "sizes that differ": (
        [np.zeros((4, 4)), np.zeros((5, 4))],
        r"different shapes, \[\(4, 4\), \(5, 4\)\].*load_images",
    ),
    "channels first": (np.zeros((2, 3, 9, 8)), "data_format='channels_first'"),
    "gray channels first": (np.zeros((2, 1, 9, 8)), "data_format='channels_first'"),
    "colour rows": (np.zeros((2, 192)), r"image_shape=\(8, 8, 3\)"),
    "large colour rows": (np.zeros((2, 3 * 64 * 64)), r"image_shape=\(64, 64, 3\)"),
}


@pytest.mark.parametrize(("X", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_unusable_input_is_a_clear_error(X, message):
    with pytest.raises((ValueError, TypeError), match=message):
        validate(X)


@pytest.mark.parametrize("cls", [ConvAutoencoder, DeepConvEmbeddingClustering])
@pytest.mark.parametrize("name", ["5-D", "objects", "no images", "NaN images", "channels first"])
def test_fit_refuses_unusable_images_and_stays_unfitted(cls, name):
    estimator = cls()
    X, message = BAD_INPUT[name]
    with pytest.raises((ValueError, TypeError), match=message):
        estimator.fit(X)
    assert not any(attribute.endswith("_") for attribute in vars(estimator))


@pytest.mark.parametrize(
    ("shape", "params", "message"),
    [
        ((2, 9, 8, 3), {"data_format": "channels_first"}, "data_format='channels_last'"),
        ((2, 60), {"image_shape": (4, 5)}, r"image_shape=\(4, 5\) has 20 values.* 60 features"),
        ((2, 4, 5, 3), {"image_shape": (5, 4, 3)}, r"image_shape=\(5, 4, 3\).*\(4, 5, 3\)"),
        ((2, 4, 5), {"image_shape": (4, 5, 3)}, r"image_shape=\(4, 5, 3\).*\(4, 5, 1\)"),
        ((2, 60), {"image_shape": (60,)}, r"image_shape=\(60,\) must be \(height, width\)"),
        ((2, 60), {"image_shape": (3, 4, 5, 1)}, "must be .height, width"),
        ((2, 60), {"image_shape": (0, 60)}, "each at least 1"),
        ((2, 60), {"image_shape": (-4, -15)}, "each at least 1"),
    ],
)
def test_an_image_shape_that_does_not_fit_is_a_clear_error(shape, params, message):
    with pytest.raises(ValueError, match=message):
        validate(numbered(*shape), **params)


@pytest.mark.parametrize(
    ("later", "message"),
    [
        ((2, 5, 4, 3), r"\(5, 4, 3\).*fitted with images of shape \(4, 5, 3\)"),
        ((2, 4, 5), r"\(4, 5, 1\).*fitted with images of shape \(4, 5, 3\)"),
        ((2, 3, 4, 5), r"\(3, 4, 5\).*fitted with images of shape \(4, 5, 3\)"),
        ((2, 61), "X has 61 features, but ConvAutoencoder is expecting 60"),
    ],
)
def test_images_of_another_size_than_in_fit_are_a_clear_error(later, message):
    with pytest.raises(ValueError, match=message):
        validate(numbered(*later), fitted_on=numbered(2, 4, 5, 3))


# --- what rows are ---


@pytest.mark.parametrize(
    ("n_features", "expected"),
    [
        (1, (1, 1, 1)),
        (2, (1, 2, 1)),
        (4, (2, 2, 1)),
        (12, (1, 12, 1)),
        (75, (1, 75, 1)),
        (147, (1, 147, 1)),
        (784, (28, 28, 1)),
        (785, (1, 785, 1)),
    ],
)
def test_rows_are_square_gray_images_or_one_pixel_high(n_features, expected):
    assert resolve_image_shape(None, n_features) == expected


@pytest.mark.parametrize("side", [8, 9, 28, 128])
def test_rows_that_could_be_square_colour_images_ask(side):
    with pytest.raises(ValueError, match=rf"image_shape=\({side}, {side}, 3\)"):
        resolve_image_shape(None, 3 * side * side)


def test_vectors_stay_as_they_are():
    X = numbered(3, 4, dtype=np.float32)
    X.setflags(write=False)
    assert np.shares_memory(validate_rows(ConvAutoencoder(), X, reset=True), X)


# --- the range of values ---


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 255, 255),
        (0, 200, 255),
        (0, 128, 255),
        (0, 127, 127),
        (0, 1, 1),
        (0, 0.6, 1),
        (0, 0.5, 0.5),
        (-1, 1, 1),
        (-3, 2, 3),
        (-0.9, 0, 1),
        (0, 65535, 65535),
        (0, 40000, 65535),
        (0, 1000, 1000),
        (0, 0, 1),
        (0, 1e-300, 1e-300),
        (0, 1e300, 1e300),
    ],
)
def test_images_are_divided_by_their_natural_range(low, high, expected):
    assert natural_scale(np.array([low, high], dtype=np.float64)) == expected


@pytest.mark.parametrize("largest", [1, 10, 100, 127, 128, 254, 255])
def test_the_range_of_bytes_does_not_depend_on_how_they_are_written(largest):
    pixels = np.arange(largest + 1, dtype=np.uint8)
    expected = natural_scale(pixels)
    assert natural_scale(pixels.astype(float)) == expected
    assert natural_scale(pixels / 255) == pytest.approx(expected / 255)
    assert natural_scale(pixels.astype(np.float32)) == expected


def test_the_smallest_signed_integer_has_a_range():
    assert natural_scale(np.array([-128, 0], dtype=np.int8)) == 255


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
def test_the_root_mean_square_is_exact_for_any_dtype(dtype):
    assert root_mean_square(np.array([[100, 200], [200, 0]], dtype=dtype)) == 150


def test_vectors_of_zeros_are_divided_by_1():
    assert root_mean_square(np.zeros((3, 2))) == 1


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_the_root_mean_square_neither_overflows_nor_vanishes(size):
    assert root_mean_square(np.full((3, 2), size)) == pytest.approx(size, abs=0)


def few_epochs(**parameters):
    encoder = ConvAutoencoder(n_components=3, filters=(4,), max_epochs=1)
    return DeepConvEmbeddingClustering(
        3, **({"encoder": encoder, "max_epochs": 1, "random_state": 0} | parameters)
    )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("n_features", "taken_for"), [(4, "2 x 2"), (13, "1 x 13")])
def test_a_table_is_told_where_it_belongs(n_features, taken_for):
    table = np.random.default_rng(0).random((40, n_features))
    said = f"{taken_for} pixels: DeepEmbeddingClustering is made for tables"
    with pytest.warns(UserWarning, match=said) as warned:
        few_epochs().fit(table)
    assert [warning.filename for warning in warned] == [__file__]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("error:X has")
def test_rows_that_are_images_or_meant_for_an_encoder_of_rows_are_no_tables():
    rows = np.random.default_rng(0).random((40, 64))
    few_epochs().fit(rows)
    few_epochs(image_shape=(2, 2)).fit(rows[:, :4])
    few_epochs(encoder=DenseAutoencoder(n_components=3, max_epochs=1)).fit(rows[:, :4])
    few_epochs().fit(rows[:, :16].reshape(-1, 4, 4))
