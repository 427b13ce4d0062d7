"""Scores of several spaces in one: by hand for small matrices, and what must not matter."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import silhouette_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdcec.model_selection import compare_models
from skdcec.model_selection.comparison import pooled, space_weights


def two_groups():
    """Six models in eight spaces: five rank them one way and score high, three the other."""
    up, down = np.arange(6) / 10, np.arange(6)[::-1] / 10
    columns = [up + 0.3 + 0.001 * i for i in range(5)] + [down + 0.001 * i for i in range(3)]
    return np.stack(columns, axis=1)


# --- pooled ---


def test_pooled_is_the_mean_over_spaces():
    np.testing.assert_allclose(pooled(np.array([[0.2, 0.4], [0.6, 0.0]])), [0.3, 0.3])


def test_a_cell_without_a_score_counts_as_the_lowest():
    np.testing.assert_allclose(pooled(np.array([[0.2, np.nan], [0.6, 0.1]])), [0.15, 0.35])
    assert np.isnan(pooled(np.full((2, 2), np.nan))).all()


# --- ACE ---


@pytest.mark.parametrize(
    ("p_values", "rejected"),
    [
        ([0.01, 0.04, 0.03], [True, False, False]),  # .01 <= .05/3, but .03 > .05/2
        ([0.01, 0.02, 0.05], [True, True, True]),
        ([0.02, 0.001], [True, True]),
    ],
)
def test_spaces_take_part_whose_gaps_are_significant_together(p_values, rejected):
    scores = np.random.default_rng(0).uniform(size=(4, len(p_values)))
    weights = space_weights(scores, np.array(p_values))
    np.testing.assert_array_equal(weights > 0, rejected)


def page_rank(edges, damping=0.9):
    """Walk along the edges, from nodes without any to all nodes alike, until nothing changes."""
    n = len(edges)
    share = np.full(n, 1 / n)
    for _ in range(1000):
        moved = np.zeros(n)
        for node, out in enumerate(edges):
            moved += share[node] * (out / out.sum() if out.sum() > 0 else np.full(n, 1 / n))
        share = damping * moved + (1 - damping) / n
    return share


@pytest.mark.parametrize("seed", range(4))
def test_weights_are_the_page_rank_of_significant_rank_correlations(seed):
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(12, 7)) * np.linspace(0.05, 0.5, 7)
    scores = rng.uniform(size=(12, 1)) + noise
    weights = space_weights(scores, np.zeros(7))
    edges = np.zeros((7, 7))
    pairs = sorted(
        (spearmanr(scores[:, i], scores[:, j], alternative="greater").pvalue, i, j)
        for i, j in combinations(range(7), 2)
    )
    for rank, (p_value, i, j) in enumerate(pairs):
        if p_value > 0.1 / (len(pairs) - rank):
            break
        edges[i, j] = edges[j, i] = spearmanr(scores[:, i], scores[:, j]).statistic
    assert 0 < (edges > 0).sum() < 42
    group = np.flatnonzero(weights)
    np.testing.assert_allclose(weights[group], page_rank(edges[np.ix_(group, group)]), atol=1e-9)


def test_spaces_without_a_significant_correlation_have_equal_weights():
    scores = np.random.default_rng(1).uniform(size=(12, 7))
    weights = space_weights(scores, np.zeros(7))
    group = weights[weights > 0]
    assert len(group) > 1
    np.testing.assert_allclose(group, 1 / len(group))


def test_one_space_is_returned_and_a_few_are_pooled():
    np.testing.assert_array_equal(space_weights(np.array([[0.1], [0.2]]), np.array([0.0])), [1])
    scores = np.random.default_rng(0).uniform(size=(4, 5))
    np.testing.assert_allclose(space_weights(scores, np.zeros(5)), np.full(5, 0.2))
    np.testing.assert_allclose(space_weights(scores[:, :2], np.zeros(2)), [0.5, 0.5])


def test_spaces_without_gaps_are_left_out():
    scores = np.random.default_rng(0).uniform(size=(4, 3))
    weights = space_weights(scores, np.array([0.001, 0.9, 0.001]))
    np.testing.assert_allclose(weights, [0.5, 0, 0.5])
    np.testing.assert_allclose(space_weights(scores, np.full(3, 0.9)), np.full(3, 1 / 3))


def test_a_space_that_ranks_nothing_is_left_out():
    scores = np.array([[0.1, 0.5, 0.2], [0.2, 0.5, 0.1]])
    np.testing.assert_allclose(space_weights(scores, np.zeros(3)), [0.5, 0, 0.5])
    np.testing.assert_allclose(space_weights(np.ones((2, 2)), np.zeros(2)), [0.5, 0.5])


def test_the_group_of_like_spaces_that_scores_highest_is_taken():
    weights = space_weights(two_groups(), np.zeros(8))
    # All five rank alike, so each counts the same.
    np.testing.assert_allclose(weights, [0.2] * 5 + [0] * 3, atol=1e-12)


def test_a_missing_score_is_the_lowest_and_breaks_nothing():
    scores = two_groups()
    scores[0, 2] = np.nan
    assert np.isfinite(space_weights(scores, np.zeros(8))).all()
    np.testing.assert_allclose(space_weights(np.full((3, 7), np.nan), np.zeros(7)).sum(), 1)


def test_spaces_that_are_all_outliers_are_one_group():
    scores = np.random.default_rng(3).uniform(size=(5, 7))
    assert space_weights(scores, np.zeros(7)).sum() == pytest.approx(1)


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_models_makes_no_difference(seed):
    rng = np.random.default_rng(seed)
    scores = two_groups() + rng.normal(0, 0.01, (6, 8))
    models, spaces = rng.permutation(6), rng.permutation(8)
    weights = space_weights(scores, np.zeros(8))
    shuffled = space_weights(scores[np.ix_(models, spaces)], np.zeros(8))
    np.testing.assert_allclose(shuffled, weights[spaces], atol=1e-12)


# --- comparing models ---


def test_models_are_judged_in_each_others_spaces():
    X, _ = make_blobs(120, centers=3, cluster_std=0.5, random_state=0)
    models = [
        KMeans(3, n_init=1, random_state=0).fit(X),
        make_pipeline(StandardScaler(), KMeans(5, n_init=1, random_state=0)).fit(X),
    ]
    found = compare_models(models, X)
    for row, labels in enumerate([model.predict(X) for model in models]):
        for column, space in enumerate([model.transform(X) for model in models]):
            assert found.scores[row, column] == pytest.approx(silhouette_score(space, labels))
    np.testing.assert_allclose(found.pooled, found.scores.mean(axis=1))
    np.testing.assert_allclose(found.ace, found.scores @ found.weights)
    turned = compare_models(models[::-1], X)
    np.testing.assert_allclose(turned.pooled, found.pooled[::-1])
    np.testing.assert_allclose(turned.ace, found.ace[::-1])


def test_models_share_one_sample():
    X, _ = make_blobs(200, centers=3, cluster_std=0.5, random_state=0)
    models = [KMeans(k, n_init=1, random_state=0).fit(X) for k in (2, 3)]
    some = compare_models(models, X, sample_size=50)
    assert some.scores[1, 1] == pytest.approx(compare_models(models, X).scores[1, 1], abs=0.1)
    again = compare_models(models, X, sample_size=50)
    np.testing.assert_array_equal(some.scores, again.scores)


def test_what_cannot_be_compared_is_a_clear_error():
    X = np.random.default_rng(0).normal(size=(20, 2))
    with pytest.raises(ValueError, match="models is empty"):
        compare_models([], X)
    with pytest.raises(TypeError, match="needs both predict and transform"):
        compare_models([AgglomerativeClustering().fit(X)], X)
