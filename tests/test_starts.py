"""Where the clusters start."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.mixture import GaussianMixture

from skdcec._clusterers import starts
from skdcec._clusterers.starts import likeliest_mixture_labels, mixture_labels, modularity
from skdcec.metrics import clustering_accuracy


@pytest.fixture(scope="module")
def groups():
    """Return twelve groups of points in the plane, of sizes from 20 to 130."""
    angle = np.arange(12) * np.pi / 6
    circle = 10 * np.column_stack([np.cos(angle), np.sin(angle)])
    return make_blobs(
        [20 + 10 * i for i in range(12)], centers=circle, cluster_std=0.6, random_state=0
    )


def accuracies(groups, **params):
    points, kinds = groups
    return np.array(
        [
            clustering_accuracy(kinds, mixture_labels(points, 12, seed=seed, **params))
            for seed in range(10)
        ]
    )


def test_of_several_mixtures_the_one_of_greatest_modularity_is_taken(groups, monkeypatch):
    monkeypatch.setattr(starts, "_MAX_MOVES", 0)
    assert accuracies(groups, n_init=1).min() < 0.95
    assert accuracies(groups, n_init=10).min() > 0.99


def test_a_single_mixture_that_merged_groups_is_refined(groups):
    large = groups[1] >= 2
    points, kinds = groups[0][large], groups[1][large]
    for seed in range(10):
        start = likeliest_mixture_labels(points, 10, n_init=1, seed=seed)
        refined = mixture_labels(points, 10, n_init=1, seed=seed)
        assert clustering_accuracy(kinds, refined) > 0.99, clustering_accuracy(kinds, start)


def two_long_groups(gap):
    """Return 600 points; at a gap of 5 edges run between the groups, at 9 none do."""
    rng = np.random.default_rng(2)
    kinds = np.arange(600) % 2
    return np.column_stack([rng.normal(0, 3, 600), rng.normal(gap * kinds, 1)]), kinds


@pytest.mark.parametrize("gap", [5, 9])
def test_a_split_goes_where_the_fewest_edges_are(gap):
    points, kinds = two_long_groups(gap)
    assert clustering_accuracy(kinds, starts._halves(points, seed=0)) > 0.98


@pytest.mark.parametrize("gap", [5, 9])
def test_a_few_points_apart_go_with_the_nearest_side(gap):
    points, kinds = two_long_groups(gap)
    # A dozen points beyond the first group, with edges among themselves alone.
    apart = np.array([[0.0, -50.0]]) + np.random.default_rng(0).normal(size=(12, 2))
    side = starts._halves(np.vstack([points, apart]), seed=0)
    assert clustering_accuracy(kinds, side[:600]) > 0.98
    assert (side[600:] == (side[:600][kinds == 0].mean() > 0.5)).all()


def test_a_part_of_many_points_is_enough_to_judge_by(groups, monkeypatch):
    monkeypatch.setattr(starts, "_MAX_JUDGED", 600)
    assert accuracies(groups, n_init=10).min() > 0.99


def test_a_part_without_a_small_cluster_leaves_the_mixture_as_it_is(monkeypatch):
    monkeypatch.setattr(starts, "_MAX_JUDGED", 60)
    centers = [[0, 0], [10, 0], [0, 10], [50, 50]]
    points, kinds = make_blobs([400, 400, 400, 3], centers=centers, random_state=0)
    for seed in range(3):
        labels = mixture_labels(points, 4, n_init=5, seed=seed)
        assert clustering_accuracy(kinds, labels) > 0.99


@pytest.mark.parametrize("n_init", [1, 5])
def test_every_cluster_has_members_where_there_are_fewer_groups(n_init):
    points, _ = make_blobs(60, centers=3, cluster_std=0.1, random_state=0)
    for seed in range(10):
        assert np.bincount(mixture_labels(points, 4, n_init=n_init, seed=seed)).min() > 0


def test_the_judge_may_be_the_likelihood(groups):
    points, _ = groups
    mixture = GaussianMixture(12, n_init=3, max_iter=500, random_state=4)
    mixture.set_params(reg_covar=0.02 * points.var(axis=0).mean())
    labels = likeliest_mixture_labels(points, 12, n_init=3, seed=4)
    np.testing.assert_array_equal(labels, mixture.fit_predict(points))


def test_equal_seeds_give_equal_labels(groups):
    points = groups[0]
    first, again = (mixture_labels(points, 12, n_init=2, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_two_points_are_two_clusters():
    labels = mixture_labels(np.array([[0.0], [1.0]]), 2, n_init=3, seed=0)
    assert sorted(labels) == [0, 1]


def test_modularity_is_worked_out_by_hand():
    ring = np.array([[5, 1], [0, 2], [1, 3], [2, 4], [3, 5], [4, 0]])
    # Two arcs of three: 8 of the 12 edges stay within, where sizes alone would make a half.
    assert modularity(np.array([0, 0, 0, 1, 1, 1]), ring) == pytest.approx(8 / 12 - 1 / 2)
    assert modularity(np.array([0, 1, 0, 1, 0, 1]), ring) == pytest.approx(-1 / 2)
    assert modularity(np.zeros(6, dtype=int), ring) == 0
