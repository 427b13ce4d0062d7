"""Whatever the data: a finite result, or a sentence that says what is wrong; never NaN unsaid."""

import re
import warnings

import numpy as np
import pytest
import torch
from public_calls import CALLS, Given, call

from skdcec import ContrastiveEncoder, ConvAutoencoder, DenseAutoencoder
from skdcec._analysis.exemplars import membership
from skdcec._analysis.spaces import distances_to_means, within_range

N_IMAGES = 12


def photographs():
    pixels = np.random.default_rng(0).integers(0, 60, size=(N_IMAGES, 8, 8, 3), dtype=np.uint8)
    pixels[::2, :4] += 180
    pixels[0, 0, 0] = 255
    return pixels


PIXELS = photographs()
UNITS = PIXELS / 255


def with_value(value, images=UNITS):
    images = np.array(images)
    images[3, 2, 2, 1] = value
    return images


def filled(value):
    return np.full(UNITS.shape, value)


class Fixed:
    """An encoder whose weights end as one number."""

    value = 0.0

    def fit(self, X, y=None):
        super().fit(X)
        with torch.no_grad():
            for parameter in self.module_.parameters():
                parameter.fill_(self.value)
        return self


class Unfit(Fixed):
    value = float("nan")


def encoders(kind):
    """Return the encoders of this library with such weights."""
    return {
        name: type(encoder.__name__, (kind, encoder), {})(4, **options, max_epochs=1)
        for name, encoder, options in [
            ("convolutional", ConvAutoencoder, {"filters": (4, 8)}),
            ("dense", DenseAutoencoder, {"hidden_layer_sizes": (8,)}),
            ("contrastive", ContrastiveEncoder, {"filters": (4, 8)}),
        ]
    }


DATA = {
    "zeros": {"images": filled(0.0)},
    "constant": {"images": np.full(PIXELS.shape, 200, np.uint8)},
    "constant and huge": {"images": filled(1e30)},
    "copies of one": {"images": np.repeat(PIXELS[:1], N_IMAGES, axis=0)},
    "copies of two": {"images": PIXELS[np.arange(N_IMAGES) % 2]},
    "two values": {"images": (UNITS > 0.5).astype(np.uint8)},
    "differing in the last digit": {"images": with_value(1 + 2e-16, filled(1.0))},
    "one image": {"images": PIXELS[:1]},
    "two images": {"images": PIXELS[:2]},
    "a NaN": {"images": with_value(np.nan)},
    "an infinity": {"images": with_value(-np.inf)},
    "1e30": {"images": UNITS * 1e30},
    "1e300": {"images": UNITS * 1e300},
    "subnormal": {"images": UNITS * 1e-320},
    "all of float32": {"images": (UNITS * 3.4e38).astype(np.float32)},
    "all of float64": {"images": (2 * UNITS - 1) * np.finfo(np.float64).max},
    "an outlier": {"images": with_value(1e300)},
    "huge after fit": {"images": UNITS * 1e30, "fitted_on": UNITS},
    "an outlier after fit": {"images": with_value(1e20), "fitted_on": UNITS},
    "constant after fit": {"images": filled(0.5), "fitted_on": UNITS},
    "a collapsed encoder": {"images": PIXELS, **encoders(Fixed)},
    "an encoder of NaN": {"images": PIXELS, **encoders(Unfit)},
}

# What an error is about: a parameter, or how much there is of it.
NAMED = re.compile(
    r"\b(X|Z|images|rows?|samples|n_samples|batch|embedding|encoder|distances|Input contains)\b"
)

# The `verdict_` of a search says in words what has no number.
EXPLAINED = re.compile(r"results_?\['|\.(best_score_|null_p_value_|gap_p_value_)$")


def problems_of(name, given):
    """Return what is wrong with the outcome of a call; nothing if it is as it should be."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            numbers = call(name, given)
        except (ValueError, TypeError) as error:
            own = type(error) in (ValueError, TypeError) and NAMED.search(str(error))
            return [] if own else [f"{type(error).__name__}: {error}"]
        except Exception as error:
            return [f"{type(error).__name__}: {error}"]
    numerical = [str(w.message) for w in said if w.category is RuntimeWarning]
    in_words = [w for w in said if w.category is not RuntimeWarning]
    unsaid = [
        f"{where} is not finite"
        for where, values in numbers.items()
        if not np.isfinite(values).all() and not in_words and not EXPLAINED.search(where)
    ]
    return numerical + unsaid


@pytest.mark.parametrize("data", DATA)
def test_a_finite_result_or_a_sentence(data, tmp_path):
    given = Given(**DATA[data], folder=tmp_path)
    problems = {name: problems_of(name, given) for name in CALLS}
    assert not {name: found for name, found in problems.items() if found}


def test_what_is_far_beyond_what_was_seen_in_fit_is_refused_by_its_size(tmp_path):
    given = Given(UNITS, tmp_path)
    with pytest.raises(ValueError, match=r"up to 1e\+30, more than 1e\+06 times .* same units"):
        given.model.predict(with_value(1e30))
    # What float32 can tell is told.
    assert np.isfinite(given.model.predict_proba(with_value(1e5))).all()


def test_an_encoder_that_makes_nan_is_named(tmp_path):
    given = Given(PIXELS, tmp_path, **encoders(Unfit))
    with pytest.raises(ValueError, match="encoder=ConvAutoencoder.* NaN or infinity after fit"):
        given.clusterer(given.convolutional).fit(PIXELS)
    with pytest.raises(ValueError, match="NaN or infinity of 12 of 12 rows"):
        given.autoencoder.transform(PIXELS)


def test_huge_images_give_the_labels_of_the_same_images_in_other_units(tmp_path):
    model = Given(UNITS, tmp_path).model
    # A power of two changes no digit.
    huge = Given(UNITS * 2.0**1000, tmp_path).model
    np.testing.assert_array_equal(huge.labels_, model.labels_)
    decoded = model.inverse_transform(model.cluster_centers_)
    of_huge = huge.inverse_transform(huge.cluster_centers_)
    assert of_huge.dtype == np.float64
    np.testing.assert_allclose(of_huge / huge.scale_, decoded / model.scale_, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("factor", [2.0**1000, 2.0**-1000])
def test_distances_of_extreme_points_are_those_of_others_in_other_units(factor):
    points, labels = np.random.default_rng(0).normal(size=(9, 4)), np.arange(9) % 3
    distances = distances_to_means(points, labels)
    np.testing.assert_array_equal(distances_to_means(points * factor, labels), distances * factor)
    np.testing.assert_allclose(np.abs(within_range(points * factor)).max(), 0.75, rtol=1 / 3)


def test_probabilities_of_extreme_distances_are_those_of_their_ratios():
    near, far = membership(np.zeros(2, int), distances=np.array([[1e200, 2e200], [1e-200, 1e200]]))[
        0
    ]
    np.testing.assert_allclose([near, far], [0.8, 1.0])
