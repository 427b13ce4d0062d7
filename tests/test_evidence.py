"""What several views of one space say of the number of clusters, and what they come to."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.metrics import silhouette_score

from skdcec._analysis.gaussians import COVARIANCES
from skdcec.model_selection.evidence import collect, supported, weigh

NUMBERS = np.arange(2, 9)


@pytest.fixture(scope="module")
def blobs():
    return make_blobs(150, 3, centers=5, cluster_std=0.5, random_state=0)


def test_all_views_see_separated_groups(blobs):
    columns = collect(blobs[0], NUMBERS, seed=0).columns
    assert {len(column) for column in columns.values()} == {len(NUMBERS)}
    for name in ("excess_modularity", "found_silhouette", "excess_found_silhouette", "eigengap"):
        assert NUMBERS[np.argmax(columns[name])] == 5
    assert columns["found_silhouette"][3] == pytest.approx(silhouette_score(*blobs))
    assert columns["resampled"][3] == pytest.approx(1)
    assert columns["concordance"][3] == pytest.approx(1)
    assert (np.delete(columns["concordance"], [0, 1, 2, 3]) < 1).all()
    assert set(columns["covariance"]) <= set(COVARIANCES)
    again = collect(blobs[0], NUMBERS, seed=0).columns
    for name, column in columns.items():
        np.testing.assert_array_equal(column, again[name])


def test_what_is_seen_is_of_the_clusters_that_hold_together():
    """Two rings, one in the other: k-means cuts both, the graph of neighbours tells them apart."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 400)
    radius = np.repeat([1.0, 4.0], 200)
    rings = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    rings += rng.normal(scale=0.05, size=rings.shape)
    columns = collect(rings, [2, 3], seed=0).columns
    assert columns["modularity"][0] == pytest.approx(0.5)
    of_rings = silhouette_score(rings, radius)
    assert columns["found_silhouette"][0] == pytest.approx(of_rings)


def test_numbers_without_a_meaning_are_not_known():
    points = np.random.default_rng(0).normal(size=(12, 2))
    columns = collect(points, [1, 2, 40], seed=0).columns
    np.testing.assert_array_equal(np.isnan(columns["modularity"]), [True, False, True])
    assert columns["covariance"][0] == ""
    for same in (np.ones((12, 2)), np.zeros((12, 2))):
        assert np.isnan(collect(same, [2, 3], seed=0).columns["modularity"]).all()


def test_copies_and_extreme_values_are_no_obstacle():
    copies = np.repeat(np.random.default_rng(0).normal(size=(4, 2)), 10, axis=0)
    assert np.isfinite(collect(copies, [2, 6], seed=0).columns["modularity"]).all()
    points = make_blobs(60, centers=3, cluster_std=0.3, random_state=0)[0]
    large = collect(points * 2.0**400, [2, 3, 4], seed=0).columns
    np.testing.assert_allclose(
        large["modularity"], collect(points, [2, 3, 4], seed=0).columns["modularity"], atol=1e-6
    )


def test_support_is_what_all_views_share():
    numbers = np.array([2, 4, 8, 16])
    few, many = np.array([0.8, 1.0, 0.7, 0.2]), np.array([0.1, 0.9, 1.0, 1.0])
    same = np.ones(4)
    support = weigh(numbers, [few, many], same)
    assert support.max() == 1
    assert support.argmax() == 1
    # Units do not matter, and what is nowhere positive says nothing.
    np.testing.assert_allclose(weigh(numbers, [7 * few, many, -many], 2 * same), support)
    assert np.isnan(weigh(numbers, [-few], same)).all()
    unknown = weigh(numbers, [few, np.array([np.nan, 0.9, 1.0, 1.0])], same)
    np.testing.assert_array_equal(np.isnan(unknown), [True, False, False, False])
    # Where two clusterings find the same, there is more to it.
    assert weigh(numbers, [few, many], np.array([0.5, 0.5, 1.0, 0.5])).argmax() == 2


def test_of_numbers_that_are_as_good_the_smallest_is_chosen():
    index, as_good = supported(np.array([0.5, 0.995, 0.9, 1.0, 0.96, 0.9]))
    assert index == 1
    np.testing.assert_array_equal(as_good, [False, True, True, True, True, False])
    index, as_good = supported(np.full(3, np.nan))
    assert index is None
    assert not as_good.any()
