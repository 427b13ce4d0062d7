"""Where the clusters start."""

import warnings

import numpy as np
import pytest
from sklearn.cluster import SpectralClustering
from sklearn.datasets import make_blobs
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import kneighbors_graph

from skdcec._clusterers import graph, mixtures, spectral, starts
from skdcec._clusterers.graph import neighbors_of, rearranged
from skdcec._clusterers.mixtures import fit_readout
from skdcec._clusterers.starts import find_labels
from skdcec.metrics import clustering_accuracy, modularity


@pytest.fixture(scope="module")
def groups():
    """Return twelve groups of points in the plane, of sizes from 20 to 130."""
    angle = np.arange(12) * np.pi / 6
    circle = 10 * np.column_stack([np.cos(angle), np.sin(angle)])
    return make_blobs(
        [20 + 10 * i for i in range(12)], centers=circle, cluster_std=0.6, random_state=0
    )


def accuracies(groups, init, **params):
    points, kinds = groups
    return np.array(
        [
            clustering_accuracy(kinds, find_labels(points, 12, init=init, seed=seed, **params))
            for seed in range(10)
        ]
    )


@pytest.mark.parametrize("init", ["auto", "gaussian-mixture"])
def test_groups_of_uneven_sizes_are_found_from_one_start(groups, init):
    assert accuracies(groups, init, n_init=1).min() > 0.99


def test_labels_that_merge_two_groups_and_split_a_third_are_rearranged(groups):
    points, kinds = groups
    wrong = np.where(kinds == 8, 7, kinds)
    wrong[(kinds == 11) & (points[:, 0] > points[kinds == 11, 0].mean())] = 8
    assert clustering_accuracy(kinds, wrong) < 0.9
    better = rearranged(points, wrong, neighbors_of(points), 0)
    assert clustering_accuracy(kinds, better) > 0.99


def test_small_groups_apart_are_not_merged_for_a_large_one(groups):
    points, kinds = groups
    np.testing.assert_array_equal(rearranged(points, kinds, neighbors_of(points), 0), kinds)


def test_cuts_follow_groups_of_any_shape():
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 600)
    kinds = np.arange(600) % 2
    points = np.column_stack([np.cos(angle), np.sin(angle)]) * (1 + kinds)[:, None]
    labels = find_labels(points, 2, init="auto", n_init=3, seed=0)
    assert clustering_accuracy(kinds, labels) == 1


@pytest.mark.parametrize("spread", [0.3, 3.0])
def test_small_graphs_are_cut_as_scikit_learn_does_without_a_warning(spread):
    points, _ = make_blobs(200, centers=6, n_features=4, cluster_std=spread, random_state=0)
    edges = kneighbors_graph(points, 5)
    edges = edges + edges.T
    model = SpectralClustering(4, affinity="precomputed", random_state=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        expected = model.fit_predict(edges)
    np.testing.assert_array_equal(spectral.cut_graph(edges, 4, 1), expected)


def test_small_clusters_share_a_covariance_and_large_ones_have_their_own():
    rng = np.random.default_rng(0)
    small = make_blobs([6] * 20, n_features=10, cluster_std=1.0, random_state=0)
    assert fit_readout(*small, 20, 0).covariances.shape in {(1, 10, 10), (20, 10)}
    kinds = np.repeat([0, 1], 500)
    turned = np.where(kinds[:, None], [[3.0, 0.3]], [[0.3, 3.0]]) * rng.normal(size=(1000, 2))
    turned = turned @ np.array([[0.8, -0.6], [0.6, 0.8]])
    assert fit_readout(turned, kinds, 2, 0).covariances.shape == (2, 2, 2)


def test_the_posterior_is_that_of_a_mixture_of_the_same_values(groups):
    points, kinds = groups
    for covariance, shape in (("full", (12, 2, 2)), ("tied", (1, 2, 2)), ("diag", (12, 2))):
        readout = mixtures._moments(points, kinds, 12, covariance, 0.01)
        assert readout.covariances.shape == shape
        mixture = GaussianMixture(12, covariance_type=covariance)
        mixture.weights_, mixture.means_ = readout.weights, readout.means.astype(float)
        inverse = np.linalg.inv if covariance != "diag" else np.reciprocal
        spread = readout.covariances[0] if covariance == "tied" else readout.covariances
        mixture.precisions_cholesky_ = (
            np.linalg.cholesky(inverse(spread)) if covariance != "diag" else spread**-0.5
        )
        np.testing.assert_allclose(
            readout.posterior(points), mixture.predict_proba(points), atol=1e-5
        )


def heavy_tailed(n_samples, n_clusters=6, n_components=60):
    """Return points in wide directions and narrow ones, some of them far out, and their kinds."""
    rng = np.random.default_rng(n_samples)
    kinds = np.arange(n_samples) % n_clusters
    means = 3 * np.random.default_rng(0).normal(size=(n_clusters, n_components))
    points = rng.standard_t(3, size=(n_samples, n_components)) * np.linspace(12, 1, n_components)
    return points + means[kinds], kinds


@pytest.mark.parametrize("n_samples", [150, 600])
def test_a_readout_is_as_sure_of_other_points_as_it_is_right(n_samples):
    points, kinds = heavy_tailed(n_samples)
    others, theirs = heavy_tailed(3000)
    posterior = fit_readout(points, kinds, 6, 0).posterior(others)
    right = (posterior.argmax(axis=1) == theirs).mean()
    assert right < 0.95
    assert abs(posterior.max(axis=1).mean() - right) < 0.07


@pytest.mark.parametrize("covariance", ["full", "tied", "diag"])
def test_a_tempered_mixture_finds_the_same_clusters_and_is_less_sure_of_them(groups, covariance):
    points, kinds = groups
    # Of uneven sizes and widths.
    points = points * np.where(kinds % 2, 1, 2)[:, None]
    sure = mixtures._moments(points, kinds, 12, covariance, 0.01)
    sure = sure._replace(weights=np.arange(1, 13) / 78)
    less = sure.tempered(3.0)
    np.testing.assert_allclose(less.weights.sum(), 1)
    expected = sure.posterior(points).astype(float) ** (1 / 3)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(less.posterior(points), expected, atol=1e-5)


def test_a_cluster_of_one_point_has_the_shape_that_all_share():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(41, 3)) * [4, 1, 1]
    labels = np.repeat([0, 1], [40, 1])
    own = mixtures._moments(points, labels, 2, "full", 0.01).covariances
    shared = mixtures._moments(points, labels, 2, "tied", 0.01).covariances
    np.testing.assert_allclose(own[1], shared[0])


def test_few_points_draw_a_covariance_to_a_sphere_and_many_leave_it():
    rng = np.random.default_rng(0)
    spread = np.diag(np.linspace(0.1, 2, 30))
    away = []
    for n in (20, 200, 20_000):
        points = rng.normal(size=(n, 30)) @ np.sqrt(spread)
        sample = points.T @ points / n
        found = mixtures._shrunk_covariance(points, np.trace(sample) / 30 * np.eye(30))
        assert np.square(found - spread).sum() <= np.square(sample - spread).sum()
        away.append(np.abs(found - sample).max())
    assert away[0] > away[1] > away[2]
    assert away[2] < 0.01


def test_a_cluster_without_points_is_assigned_none():
    points = np.array([[0.0], [0.1], [5.0], [5.1]])
    readout = fit_readout(points, np.array([0, 0, 2, 2]), 3, 0)
    np.testing.assert_array_equal(readout.predict(points), [0, 0, 2, 2])
    np.testing.assert_array_equal(readout.posterior(points)[:, 1], 0)


def two_long_groups(gap):
    """Return 600 points; at a gap of 5 edges run between the groups, at 9 none do."""
    rng = np.random.default_rng(2)
    kinds = np.arange(600) % 2
    return np.column_stack([rng.normal(0, 3, 600), rng.normal(gap * kinds, 1)]), kinds


@pytest.mark.parametrize("gap", [5, 9])
def test_a_split_goes_where_the_fewest_edges_are(gap):
    points, kinds = two_long_groups(gap)
    assert clustering_accuracy(kinds, graph._halves(points, seed=0)) > 0.98


@pytest.mark.parametrize("gap", [5, 9])
def test_a_few_points_apart_go_with_the_nearest_side(gap):
    points, kinds = two_long_groups(gap)
    # A dozen points beyond the first group, with edges among themselves alone.
    apart = np.array([[0.0, -50.0]]) + np.random.default_rng(0).normal(size=(12, 2))
    side = graph._halves(np.vstack([points, apart]), seed=0)
    assert clustering_accuracy(kinds, side[:600]) > 0.98
    assert (side[600:] == (side[:600][kinds == 0].mean() > 0.5)).all()


def test_a_part_of_many_points_is_enough(groups, monkeypatch):
    monkeypatch.setattr(starts, "_MAX_SHOWN", 600)
    assert accuracies(groups, "auto", n_init=10).min() > 0.98


@pytest.mark.parametrize("n_init", [1, 5])
def test_every_cluster_has_members_where_there_are_fewer_groups(n_init):
    points, _ = make_blobs(60, centers=3, cluster_std=0.1, random_state=0)
    for seed in range(10):
        labels = find_labels(points, 4, init="auto", n_init=n_init, seed=seed)
        assert np.bincount(labels).min() > 0


def test_equal_seeds_give_equal_labels(groups):
    points = groups[0]
    first, again = (find_labels(points, 12, init="auto", n_init=2, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_two_points_are_two_clusters():
    labels = find_labels(np.array([[0.0], [1.0]]), 2, init="auto", n_init=3, seed=0)
    assert sorted(labels) == [0, 1]


def test_modularity_is_worked_out_by_hand():
    ring = np.array([[5, 1], [0, 2], [1, 3], [2, 4], [3, 5], [4, 0]])
    # Two arcs of three: 8 of the 12 edges stay within, where sizes alone would make a half.
    assert modularity(np.array([0, 0, 0, 1, 1, 1]), ring) == pytest.approx(8 / 12 - 1 / 2)
    assert modularity(np.array([0, 1, 0, 1, 0, 1]), ring) == pytest.approx(-1 / 2)
    assert modularity(np.zeros(6, dtype=int), ring) == 0


def blobs_with_pieces(n_pieces):
    """Return 240 points of six groups of one size, in so many pieces of the graph."""
    points, kinds = make_blobs(240, 3, centers=6, cluster_std=0.7, random_state=0)
    points[:, 0] += 1_000 * (kinds % n_pieces)
    return points, kinds


@pytest.mark.parametrize("n_pieces", [1, 2, 6])
@pytest.mark.parametrize("n_clusters", [2, 4, 6])
def test_large_graphs_are_cut_as_well_as_small_ones(n_pieces, n_clusters, monkeypatch):
    points, _ = blobs_with_pieces(n_pieces)
    neighbors = neighbors_of(points)
    factored = graph.cuts(neighbors, n_clusters, seed=0)
    monkeypatch.setattr(spectral, "_MAX_FACTORED", 0)
    iterated = graph.cuts(neighbors, n_clusters, seed=0)
    for expected, labels in zip(factored, iterated, strict=True):
        assert len(np.unique(labels)) == n_clusters
        assert modularity(labels, neighbors) >= modularity(expected, neighbors) - 0.01


def test_large_graphs_without_clusters_are_cut_all_the_same(monkeypatch):
    points = np.random.default_rng(0).normal(size=(500, 10))
    neighbors = neighbors_of(points)
    monkeypatch.setattr(spectral, "_MAX_FACTORED", 0)
    monkeypatch.setattr(spectral, "_MAX_RESTARTS", 1)
    for labels in graph.cuts(neighbors, 5, seed=0):
        assert len(np.unique(labels)) == 5
    again = graph.cuts(neighbors, 5, seed=0)
    np.testing.assert_array_equal(again, graph.cuts(neighbors, 5, seed=0))


@pytest.mark.parametrize("n_pieces", [1, 3])
def test_many_vectors_at_once_are_about_those_found_one_by_one(n_pieces, monkeypatch):
    points, kinds = make_blobs(900, 3, centers=30, center_box=(-4, 4), random_state=0)
    points[:, 0] += 1_000 * (kinds % n_pieces)
    neighbors = neighbors_of(points)
    monkeypatch.setattr(spectral, "_MAX_FACTORED", 0)
    one_by_one = graph.cuts(neighbors, 20, seed=0)
    monkeypatch.setattr(spectral, "_MANY_PARTS", 5)
    for expected, labels in zip(one_by_one, graph.cuts(neighbors, 20, seed=0), strict=True):
        assert len(np.unique(labels)) == 20
        assert modularity(labels, neighbors) >= modularity(expected, neighbors) - 0.01


def test_seventy_groups_in_a_large_graph_are_found_from_their_cut_alone():
    corners = np.random.default_rng(0).normal(0, 4, (70, 8))
    points, kinds = make_blobs(2800, 8, centers=corners, random_state=0)
    for labels in graph.cuts(neighbors_of(points), 70, seed=0):
        assert clustering_accuracy(kinds, labels) > 0.95


def test_edges_between_clusters_are_counted_by_hand():
    ring = np.array([[5, 1], [0, 2], [1, 3], [2, 4], [3, 5], [4, 0]])
    flow, shares = graph._flows(np.array([0, 0, 0, 1, 1, 2]), ring, 3)
    np.testing.assert_allclose(12 * flow, [[4, 1, 1], [1, 2, 1], [1, 1, 0]])
    np.testing.assert_allclose(6 * shares, [3, 2, 1])
