"""How firm is a cluster?"""

import numpy as np
import pytest
from sklearn.datasets import make_blobs

from skdcec._analysis.stability import FIRM, cluster_stability


def test_groups_come_back_and_arbitrary_parts_of_a_cloud_do_not():
    points, kinds = make_blobs(300, centers=3, cluster_std=0.4, random_state=0)
    firm = cluster_stability(points, kinds)
    assert min(firm.clusters.values()) > 0.95
    assert firm.agreement > 0.95
    cloud = np.random.default_rng(0).normal(size=(300, 5))
    parts = np.random.default_rng(1).integers(6, size=300)
    loose = cluster_stability(cloud, parts)
    assert max(loose.clusters.values()) < FIRM
    assert loose.agreement < 0.6


def test_only_the_cluster_that_is_cut_at_random_is_not_firm():
    points, kinds = make_blobs(300, centers=[[0, 0], [9, 0], [0, 9]], random_state=0)
    labels = kinds.copy()
    labels[kinds == 2] += np.random.default_rng(0).integers(2, size=100)
    clusters = cluster_stability(points, labels).clusters
    assert {cluster for cluster, share in clusters.items() if share < FIRM} <= {2, 3}
    assert clusters[0] > clusters[3]


def test_names_of_clusters_are_kept_and_those_without_one_are_left_out():
    points, kinds = make_blobs(90, centers=3, cluster_std=0.3, random_state=0)
    labels = np.array([7, 2, 4])[kinds]
    labels[:10] = -1
    stability = cluster_stability(points, labels)
    assert [*stability.clusters] == [2, 4, 7]
    assert min(stability.clusters.values()) > 0.9


@pytest.mark.parametrize(
    ("points", "labels"),
    [
        (np.eye(5), np.zeros(5, int)),
        (np.ones((20, 2)), np.arange(20) % 2),
        (np.eye(6), np.arange(6)),
        (np.eye(4), np.full(4, -1)),
    ],
)
def test_where_nothing_can_be_said_it_is_not_known(points, labels):
    stability = cluster_stability(points, labels)
    assert np.isnan(stability.agreement)
    assert all(np.isnan(share) for share in stability.clusters.values())


def test_equal_seeds_give_equal_results_and_nothing_is_changed():
    points, kinds = make_blobs(80, centers=2, random_state=0)
    before = points.copy()
    assert cluster_stability(points, kinds) == cluster_stability(points, kinds)
    np.testing.assert_array_equal(points, before)
