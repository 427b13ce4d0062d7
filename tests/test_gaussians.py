"""Mixtures of Gaussians, as the starts take them."""

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.mixture import GaussianMixture

from skdcec._clusterers import mixtures
from skdcec._clusterers.gaussians import (
    COVARIANCES,
    expected_criterion,
    fit_gaussians,
    prepared,
)

FLOOR = 0.05


def overlapping(n_samples=600, n_components=6, n_kinds=8, offset=0.0):
    """Return points of kinds that overlap, each turned and stretched another way."""
    points, kinds = make_blobs(
        n_samples, n_components, centers=n_kinds, center_box=(-3, 3), random_state=0
    )
    rng = np.random.default_rng(0)
    turns = rng.normal(size=(n_kinds, n_components, n_components)) / 2 + np.eye(n_components)
    return np.einsum("ij,ijk->ik", points, turns[kinds]) + offset


def k_means(points, k, seed=0):
    return KMeans(k, n_init=1, random_state=seed).fit_predict(points)


def of_scikit_learn(points, k, covariance, seed=0):
    return GaussianMixture(
        k, covariance_type=covariance, max_iter=500, reg_covar=FLOOR, random_state=seed
    ).fit(points)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_a_mixture_is_that_of_scikit_learn(covariance, offset):
    points = overlapping(offset=offset)
    expected = of_scikit_learn(points, 8, covariance)
    fit = fit_gaussians(prepared(points, FLOOR), k_means(points, 8), 8, covariance)
    np.testing.assert_array_equal(fit.labels, expected.predict(points))
    assert fit.criterion == pytest.approx(expected.bic(points) / len(points), rel=1e-6)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_groups_far_apart_have_the_criterion_that_their_labels_alone_tell(covariance):
    points, kinds = make_blobs([300, 200, 100], 5, center_box=(-100, 100), random_state=0)
    seen = prepared(points, FLOOR)
    expected = expected_criterion(seen, kinds, 3, covariance)
    assert fit_gaussians(seen, kinds, 3, covariance).criterion == pytest.approx(expected)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_a_fit_gains_less_on_its_labels_than_what_a_covariance_may_be_behind(covariance):
    points = overlapping(n_components=40)
    for k in (2, 8, 20):
        seen, labels = prepared(points, FLOOR), k_means(points, k)
        behind = expected_criterion(seen, labels, k, covariance)
        gained = behind - fit_gaussians(seen, labels, k, covariance).criterion
        assert -1e-6 < gained < mixtures._GAIN_PER_COMPONENT * 40


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_components_without_points_stay_empty(covariance):
    points = overlapping()
    labels = 2 * k_means(points, 3)
    found = fit_gaussians(prepared(points, FLOOR), labels, 6, covariance).labels
    assert set(found) == {0, 2, 4}


def test_a_covariance_that_cannot_be_chosen_is_not_fitted(monkeypatch):
    points = overlapping(n_components=40)
    tried = []

    def watched(points, labels, k, covariance):
        tried.append(covariance)
        return fit_gaussians(points, labels, k, covariance)

    monkeypatch.setattr(mixtures, "fit_gaussians", watched)
    found = mixtures.mixture_labels(points, 12, n_init=3, seed=1)
    assert "full" not in tried
    monkeypatch.setattr(mixtures, "_LEAST_GAIN", np.inf)
    np.testing.assert_array_equal(found, mixtures.mixture_labels(points, 12, n_init=3, seed=1))
    assert "full" in tried


@pytest.mark.parametrize(("k", "n_samples"), [(2, 600), (8, 2000), (30, 600)])
def test_the_labels_are_those_of_the_covariance_of_least_criterion(k, n_samples):
    points = overlapping(n_samples)
    rng, floor = np.random.RandomState(5), mixtures._floor(points)
    options = {"max_iter": 500, "reg_covar": floor}
    first = [
        GaussianMixture(
            k, covariance_type=covariance, random_state=rng.randint(2**31), **options
        ).fit(points)
        for covariance in COVARIANCES
    ]
    best = min(first, key=lambda mixture: mixture.bic(points))
    seed = rng.randint(2**31)
    again = GaussianMixture(
        k, covariance_type=best.covariance_type, random_state=seed, **options
    ).fit(points)
    expected = [mixture.predict(points) for mixture in (best, again)]
    np.testing.assert_array_equal(mixtures.mixture_labels(points, k, 2, 5), expected)


def test_covariances_of_too_many_values_are_not_even_looked_at(monkeypatch):
    points = overlapping(n_components=20)
    monkeypatch.setattr(mixtures, "_MAX_VALUES", 20**2 * 8 - 1)
    looked = []
    monkeypatch.setattr(
        mixtures,
        "expected_criterion",
        lambda *args: looked.append(args[-1]) or expected_criterion(*args),
    )
    assert len(mixtures.mixture_labels(points, 8, 1, 0)[0]) == len(points)
    assert looked == ["tied", "diag", "spherical"]
