"""Silhouettes, the null model and the dip test: against other ways to compute the same."""

import numpy as np
import pytest
from scipy.optimize import linprog
from sklearn.datasets import make_blobs
from sklearn.metrics import silhouette_samples
from sklearn.preprocessing import normalize

from skdcec._analysis.silhouette import distance_matrix, silhouettes
from skdcec.model_selection.null import (
    dip_p_value,
    dip_statistic,
    gap_p_value,
    gaussian_null,
    paired_differences,
)

RNG = np.random.default_rng


# --- silhouettes ---


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_silhouettes_of_many_labellings_are_those_of_scikit_learn(metric):
    rng = RNG(0)
    points = rng.normal(size=(80, 5)).astype(np.float32)
    labellings = [rng.integers(0, k, 80) for k in (2, 3, 7)]
    labellings.append(np.where(np.arange(80) == 5, 40, labellings[0] - 7))  # one of its own
    found = silhouettes(distance_matrix(points, metric), labellings)
    for values, labels in zip(found, labellings, strict=True):
        expected = silhouette_samples(points.astype(float), labels, metric=metric)
        np.testing.assert_allclose(values, expected, atol=1e-6)


def test_a_cluster_of_one_has_silhouette_zero():
    found = silhouettes(distance_matrix(np.array([[0.0], [1], [9]]), "euclidean"), [[0, 0, 1]])
    np.testing.assert_allclose(found, [[8 / 9, 7 / 8, 0]])


def test_labels_without_a_silhouette_are_nan_and_leave_the_others_alone():
    distances = distance_matrix(RNG(0).normal(size=(6, 2)), "euclidean")
    labels = np.array([0, 0, 0, 1, 1, 1])
    found = silhouettes(distances, [np.zeros(6, int), labels, np.arange(6)])
    assert np.isnan(found[[0, 2]]).all()
    np.testing.assert_array_equal(found[1], silhouettes(distances, [labels])[0])


def test_points_that_coincide_have_silhouette_zero():
    found = silhouettes(np.zeros((4, 4)), [np.array([0, 0, 1, 1])])
    np.testing.assert_array_equal(found, np.zeros((1, 4)))


def test_differences_are_paired_point_by_point():
    mean, error = paired_differences(np.array([[1.0, 2, 3], [0, 2, 1]]), np.array([1.0, 2, 3]))
    np.testing.assert_allclose(mean, [0, -1])
    np.testing.assert_allclose(error, [0, 1 / np.sqrt(3)])


# --- points without clusters ---


def test_the_null_has_no_more_clusters_than_a_normal_distribution():
    blobs, _ = make_blobs(150, centers=5, cluster_std=0.3, random_state=0)
    options = {"metric": "euclidean", "n_draws": 4, "n_init": 1, "seed": 0}
    null = gaussian_null(blobs, [3, 5], **options)
    assert null.shape == (4, 2)
    normal = RNG(1).multivariate_normal(blobs.mean(axis=0), np.cov(blobs.T), size=150)
    again = gaussian_null(normal, [3, 5], **options)
    np.testing.assert_allclose(null.mean(axis=0), again.mean(axis=0), atol=0.05)


def test_the_null_of_one_k_does_not_depend_on_the_others():
    points = RNG(0).normal(size=(60, 3))
    options = {"metric": "euclidean", "n_draws": 3, "n_init": 1, "seed": 5}
    both = gaussian_null(points, [2, 4], **options)
    np.testing.assert_array_equal(both[:, [1]], gaussian_null(points, [4], **options))


def test_the_null_of_unit_vectors_is_of_unit_vectors():
    points = normalize(RNG(0).normal(size=(60, 3)) + 2)
    null = gaussian_null(points, [2], metric="cosine", n_draws=3, n_init=1, seed=0)
    assert ((null > 0) & (null < 0.9)).all()


# --- the dip ---


def nearest_unimodal(values):
    """Return the distance to the nearest unimodal distribution by a linear program per mode.

    Unknown are the heights of that distribution at each value, on the convex and on the
    concave side of the mode, and the distance.
    """
    x, counts = np.unique(values, return_counts=True)
    after = np.cumsum(counts) / len(values)
    before = after - counts / len(values)
    best = 1.0
    for mode in range(len(x)):
        left = list(range(mode + 1))
        right = [i + 1 for i in range(mode, len(x))]
        n = len(x) + 2
        rows, bounds = [], []

        def at_most(terms, bound, n=n, rows=rows, bounds=bounds):
            row = np.zeros(n)
            for index, weight in terms:
                row[index] += weight
            rows.append(row)
            bounds.append(bound)

        for side, first in ((left, 0), (right, mode)):
            for i, index in enumerate(side, start=first):
                low = before[i] if side is left and i == mode else after[i]
                high = after[i] if side is right and i == mode else before[i]
                at_most([(index, 1), (n - 1, -1)], high)
                at_most([(index, -1), (n - 1, -1)], -low)
            sign = 1 if side is left else -1
            for i in range(1, len(side) - 1):
                a, b, c = x[first + i - 1 : first + i + 2]
                terms = zip(
                    side[i - 1 : i + 2],
                    (-1 / (b - a), 1 / (b - a) + 1 / (c - b), -1 / (c - b)),
                    strict=True,
                )
                at_most([(index, sign * weight) for index, weight in terms], 0)
        ordered = [*left, *right]
        for a, b in zip(ordered, ordered[1:], strict=False):
            at_most([(a, 1), (b, -1)], 0)
        found = linprog(np.eye(n)[-1], A_ub=np.array(rows), b_ub=bounds, bounds=(0, 1))
        best = min(best, found.fun)
    return best


@pytest.mark.parametrize("seed", range(8))
def test_the_dip_is_the_distance_to_the_nearest_unimodal_distribution(seed):
    rng = RNG(seed)
    n = int(rng.integers(4, 25))
    values = rng.normal(size=n) + 3 * rng.integers(0, 2, n)
    assert dip_statistic(values) == pytest.approx(nearest_unimodal(values))
    ties = rng.integers(0, 6, n).astype(float)
    assert dip_statistic(ties) == pytest.approx(nearest_unimodal(ties))


def test_dips_of_simple_samples_are_known():
    assert dip_statistic(np.ones(7)) == 0
    assert dip_statistic(np.arange(10.0)) == pytest.approx(1 / 20)
    two = np.concatenate([np.zeros(500), np.ones(500)]) + np.linspace(0, 1e-4, 1000)
    assert dip_statistic(two) == pytest.approx(0.25, abs=0.01)


def test_the_dip_does_not_depend_on_order_scale_or_direction():
    values = RNG(3).normal(size=50) ** 3
    dip = dip_statistic(values)
    assert dip_statistic(values[::-1]) == dip
    assert dip_statistic(7 * values + 3) == pytest.approx(dip)
    assert dip_statistic(-values) == pytest.approx(dip)


@pytest.mark.parametrize("n", [30, 150, 3000])
def test_uniform_values_have_uniform_p_values(n):
    rng = RNG(n)
    p_values = np.array([dip_p_value(dip_statistic(rng.uniform(size=n)), n) for _ in range(300)])
    for level in (0.05, 0.2):
        assert (p_values <= level).mean() == pytest.approx(level, abs=3.5 * (level / 300) ** 0.5)


def test_p_values_fall_with_the_dip_without_a_jump():
    p_values = np.array([dip_p_value(dip, 400) for dip in np.linspace(0.01, 0.05, 3000)])
    assert (np.diff(p_values) <= 0).all()
    below = p_values[p_values < 0.5]
    assert (below[1:] / below[:-1] > 0.8).all()
    assert p_values[-1] < 1e-5


# --- gaps ---


def test_groups_apart_have_gaps_and_one_cloud_has_none():
    blobs, _ = make_blobs(200, centers=3, cluster_std=0.5, random_state=0)
    assert gap_p_value(blobs, 3, n_splits=3, seed=0) < 0.001
    for seed in range(5):
        cloud = RNG(seed).normal(size=(200, 2)) * (3, 1)
        assert gap_p_value(cloud, 3, n_splits=3, seed=0) > 0.05


@pytest.mark.parametrize("k", [2, 3, 6])
def test_what_is_turned_or_moved_or_ends_somewhere_has_no_gap(k):
    rng = RNG(k)
    angles = rng.uniform(0, 2 * np.pi, size=(2, 600))
    noise = rng.normal(scale=0.05, size=(600, 4))
    circle = np.column_stack([np.cos(angles[0]), np.sin(angles[0]), np.zeros((600, 2))])
    swinging = np.column_stack([np.cos(angles[0]), 0.5 * np.cos(angles[1]), np.zeros((600, 2))])
    for points in (circle + noise, swinging + noise, rng.uniform(size=(600, 3))):
        assert gap_p_value(points, k, n_splits=3, seed=0) > 0.05


def test_a_gap_between_two_of_many_groups_is_seen():
    # From any side, other groups lie where the gap is.
    blobs, _ = make_blobs(1000, centers=10, n_features=4, cluster_std=0.7, random_state=0)
    assert gap_p_value(blobs, 10, n_splits=3, seed=0) < 0.001


def test_too_few_points_show_no_gap():
    assert gap_p_value(np.arange(6.0)[:, None], 2, n_splits=2, seed=0) == 1
    assert gap_p_value(RNG(0).normal(size=(50, 2)), 1, n_splits=2, seed=0) == 1
