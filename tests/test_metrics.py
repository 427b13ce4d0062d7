"""Measures of clusterings against brute force."""

import itertools

import numpy as np
import pytest

from skdcec.metrics import clustering_accuracy, neighbor_modularity


def accuracy_by_brute_force(labels_true, labels_pred):
    classes, clusters = np.unique(labels_true), np.unique(labels_pred)
    width = max(len(classes), len(clusters))
    return max(
        np.mean([order[np.searchsorted(clusters, p)] == np.searchsorted(classes, t)
                 for t, p in zip(labels_true, labels_pred, strict=True)])
        for order in itertools.permutations(range(width))
    )  # fmt: skip


@pytest.mark.parametrize(("n_classes", "n_clusters"), [(3, 3), (4, 2), (2, 5), (1, 4), (4, 1)])
def test_accuracy_is_that_of_the_best_matching(n_classes, n_clusters):
    rng = np.random.default_rng(n_classes * 10 + n_clusters)
    labels_true = rng.integers(n_classes, size=40)
    labels_pred = rng.integers(n_clusters, size=40)
    expected = accuracy_by_brute_force(labels_true, labels_pred)
    assert clustering_accuracy(labels_true, labels_pred) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("labels_true", "labels_pred", "expected"),
    [
        ([0, 0, 1, 1], [1, 1, 0, 0], 1.0),
        ([0, 0, 1, 1], [0, 0, 0, 0], 0.5),
        ([0, 0, 0, 0], [0, 1, 2, 3], 0.25),
        (["a", "a", "b"], [7, 7, -1], 1.0),
        ([5], [9], 1.0),
        # Taking the largest overlap first would give 4/7.
        ([0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0, 0], 4 / 7),
        ([0] * 5 + [1] * 4, [0, 0, 0, 1, 1, 0, 0, 0, 0], 6 / 9),
    ],
)
def test_accuracy_worked_out_by_hand(labels_true, labels_pred, expected):
    assert clustering_accuracy(labels_true, labels_pred) == pytest.approx(expected)


def test_accuracy_does_not_depend_on_names_or_order():
    rng = np.random.default_rng(0)
    labels_true, labels_pred = rng.integers(4, size=(2, 50))
    expected = clustering_accuracy(labels_true, labels_pred)
    renamed = np.array([8, -3, 100, 5])[labels_pred]
    order = rng.permutation(50)
    assert clustering_accuracy(labels_true[order], renamed[order]) == expected
    assert clustering_accuracy(labels_pred, labels_true) == expected
    assert type(expected) is float


@pytest.mark.parametrize(
    ("labels_true", "labels_pred", "message"),
    [
        ([0, 1], [0], "inconsistent numbers of samples"),
        ([], [], "empty"),
        ([[0, 1]], [0, 1], "1d array"),
    ],
)
def test_labels_that_do_not_fit_are_an_error(labels_true, labels_pred, message):
    with pytest.raises(ValueError, match=message):
        clustering_accuracy(labels_true, labels_pred)


def test_modularity_is_that_of_the_graph_of_neighbours():
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(40, 3)), rng.integers(3, size=40)
    order = np.square(X[:, None] - X).sum(axis=2).argsort(axis=1)
    edges = np.zeros((40, 40))
    np.put_along_axis(edges, order[:, 1:5], 1, axis=1)
    # Every point has four edges; as many would end at each by chance.
    same = labels[:, None] == labels
    expected = ((edges - 4 / 40) * same).sum() / edges.sum()
    assert neighbor_modularity(X, labels, n_neighbors=4) == pytest.approx(expected)


def test_modularity_compares_embeddings_of_any_size_and_unit():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 30)
    clear = np.eye(3)[labels] * 9 + rng.normal(size=(90, 3))
    blurred = np.eye(3)[labels] * 2 + rng.normal(size=(90, 3))
    assert neighbor_modularity(clear, labels) > neighbor_modularity(blurred, labels) > 0.1
    wide = np.hstack([1000 * clear, np.zeros((90, 50))])
    assert neighbor_modularity(wide, labels) == neighbor_modularity(clear, labels)
    assert neighbor_modularity(clear, np.array(list("abc"))[labels]) == pytest.approx(2 / 3)
    assert neighbor_modularity(clear, np.zeros(90)) == 0


@pytest.mark.parametrize(
    ("X", "labels", "options"),
    [
        (np.zeros((3, 2)), [0, 1], {}),
        (np.zeros((1, 2)), [0], {}),
        (np.full((3, 2), np.nan), [0, 1, 1], {}),
        (np.zeros((3, 2)), [0, 1, 1], {"n_neighbors": 0}),
        (np.zeros((3, 2)), [0, 1, 1], {"n_neighbors": 1.5}),
    ],
)
def test_modularity_refuses_what_it_cannot_judge(X, labels, options):
    with pytest.raises(ValueError, match="inconsistent|one row|NaN|n_neighbors"):
        neighbor_modularity(X, labels, **options)
