"""Mixtures of Gaussians, and which covariance they take."""

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.mixture import GaussianMixture

from skdcec._analysis import gaussians
from skdcec._analysis.gaussians import (
    COVARIANCES,
    best_fit,
    expected_criterion,
    fit_gaussians,
    least_variance,
    prepared,
)
from skdcec._clusterers.mixtures import mixture_labels


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
    floor = least_variance(points)
    return GaussianMixture(
        k, covariance_type=covariance, max_iter=500, reg_covar=floor, random_state=seed
    ).fit(points)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_a_mixture_is_that_of_scikit_learn(covariance, offset):
    points = overlapping(offset=offset)
    expected = of_scikit_learn(points, 8, covariance)
    seen = prepared(points)
    fit = fit_gaussians(seen, k_means(points, 8), 8, covariance)
    np.testing.assert_array_equal(fit.labels, expected.predict(points))
    np.testing.assert_array_equal(fit.predict(seen.part(np.arange(9))), fit.labels[:9])
    assert fit.criterion == pytest.approx(expected.bic(points) / len(points), rel=1e-6)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_groups_far_apart_have_the_criterion_that_their_labels_alone_tell(covariance):
    points, kinds = make_blobs([300, 200, 100], 5, center_box=(-100, 100), random_state=0)
    seen = prepared(points)
    expected = expected_criterion(seen, kinds, 3, covariance)
    assert fit_gaussians(seen, kinds, 3, covariance).criterion == pytest.approx(expected)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_a_fit_gains_less_on_its_labels_than_what_a_covariance_may_be_behind(covariance):
    points = overlapping(n_components=40)
    for k in (2, 8, 20):
        seen, labels = prepared(points), k_means(points, k)
        behind = expected_criterion(seen, labels, k, covariance)
        gained = behind - fit_gaussians(seen, labels, k, covariance).criterion
        assert -1e-6 < gained < gaussians._GAIN_PER_COMPONENT * 40


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_components_without_points_stay_empty(covariance):
    points = overlapping()
    labels = 2 * k_means(points, 3)
    found = fit_gaussians(prepared(points), labels, 6, covariance).labels
    assert set(found) == {0, 2, 4}


def test_a_covariance_that_cannot_be_chosen_is_not_fitted(monkeypatch):
    points = overlapping(n_components=40)
    tried = []

    def watched(points, labels, k, covariance):
        tried.append(covariance)
        return fit_gaussians(points, labels, k, covariance)

    monkeypatch.setattr(gaussians, "fit_gaussians", watched)
    found = mixture_labels(points, 12, n_init=3, seed=1)
    assert "full" not in tried
    monkeypatch.setattr(gaussians, "_LEAST_GAIN", np.inf)
    np.testing.assert_array_equal(found, mixture_labels(points, 12, n_init=3, seed=1))
    assert "full" in tried


@pytest.mark.parametrize(("k", "n_samples"), [(2, 600), (8, 2000), (30, 600)])
def test_the_labels_are_those_of_the_covariance_of_least_criterion(k, n_samples):
    points = overlapping(n_samples)
    rng = np.random.RandomState(5)
    first = [
        of_scikit_learn(points, k, covariance, rng.randint(2**31)) for covariance in COVARIANCES
    ]
    best = min(first, key=lambda mixture: mixture.bic(points))
    again = of_scikit_learn(points, k, best.covariance_type, rng.randint(2**31))
    expected = [mixture.predict(points) for mixture in (best, again)]
    np.testing.assert_array_equal(mixture_labels(points, k, 2, 5), expected)


def test_covariances_of_too_many_values_are_not_even_looked_at(monkeypatch):
    points = overlapping(n_components=20)
    monkeypatch.setattr(gaussians, "MAX_VALUES", 20**2 * 8 - 1)
    looked = []
    monkeypatch.setattr(
        gaussians,
        "expected_criterion",
        lambda *args: looked.append(args[-1]) or expected_criterion(*args),
    )
    assert len(mixture_labels(points, 8, 1, 0)[0]) == len(points)
    assert looked == ["tied", "diag", "spherical"]


def test_the_covariance_is_that_of_the_points():
    rng = np.random.default_rng(0)
    kinds = np.repeat(np.arange(3), 80)
    turn = np.array([[3.0, 0.0], [1.5, 0.3]])
    alike = 8 * np.eye(3, 2)[kinds] + rng.normal(size=(240, 2)) @ turn.T
    assert best_fit(prepared(alike), 3, lambda _: kinds).covariance == "tied"
    spread = np.array([1.0, 0.2, 0.5])[kinds, None]
    balls = 8 * np.eye(3, 2)[kinds] + spread * rng.normal(size=(240, 2))
    assert best_fit(prepared(balls), 3, lambda _: kinds).covariance == "spherical"
