"""Scorers and splits: against scikit-learn's own indices, within its own searches."""

import math
import pickle

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_score
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    RandomizedSearchCV,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skdcec import ConvAutoencoder, DeepEmbeddingClustering, DenseAutoencoder
from skdcec.metrics import neighbor_modularity
from skdcec.model_selection import (
    TransductiveSplit,
    calinski_harabasz_scorer,
    davies_bouldin_scorer,
    make_calinski_harabasz_scorer,
    make_davies_bouldin_scorer,
    make_modularity_scorer,
    make_silhouette_scorer,
    modularity_scorer,
    silhouette_scorer,
)

INDICES = {
    "silhouette": (make_silhouette_scorer, silhouette_score, 1),
    "Calinski-Harabasz": (make_calinski_harabasz_scorer, calinski_harabasz_score, 1),
    "Davies-Bouldin": (make_davies_bouldin_scorer, davies_bouldin_score, -1),
    "modularity": (make_modularity_scorer, neighbor_modularity, 1),
}
READY = [silhouette_scorer, calinski_harabasz_scorer, davies_bouldin_scorer, modularity_scorer]


@pytest.fixture(params=INDICES.values(), ids=INDICES)
def index(request):
    return request.param


@pytest.fixture(scope="module")
def blobs():
    X, _ = make_blobs(120, centers=[[0, 0, 0], [9, 0, 0], [0, 9, 9]], random_state=0)
    return X


class FixedLabels(BaseEstimator):
    """Predicts and transforms, and nothing else."""

    def __init__(self, labels, embedding=None):
        self.labels = labels
        self.embedding = embedding

    def predict(self, X):
        return np.asarray(self.labels)[: len(X)]

    def transform(self, X):
        return np.asarray(self.embedding)[: len(X)]


# --- the split ---


def test_the_transductive_split_fits_and_scores_on_everything():
    cv = TransductiveSplit()
    X = np.zeros((5, 2, 2, 3))
    ((train, test),) = cv.split(X)
    np.testing.assert_array_equal(train, range(5))
    np.testing.assert_array_equal(test, range(5))
    assert cv.get_n_splits() == cv.get_n_splits(X) == 1
    assert repr(cv) == "TransductiveSplit()"


@pytest.mark.parametrize("X", [[[1], [2], [3]], np.zeros((3, 4, 4)), list(np.zeros((3, 4, 4)))])
def test_the_transductive_split_takes_whatever_has_rows(X):
    ((train, _),) = TransductiveSplit().split(X, y=None, groups=None)
    np.testing.assert_array_equal(train, range(3))


# --- the spaces ---


def test_scores_are_those_of_scikit_learn_in_the_pretrained_embedding(fitted, images, index):
    make_scorer, score, sign = index
    expected = sign * score(fitted.encoder_.transform(images), fitted.predict(images))
    for space in ("auto", "pretrained"):
        assert make_scorer(space=space)(fitted, images) == pytest.approx(expected)


def test_the_other_spaces_are_the_input_and_the_models_own_embedding(fitted, images, index):
    make_scorer, score, sign = index
    labels = fitted.predict(images)
    expected = sign * score(images.reshape(60, -1), labels)
    assert make_scorer(space="input")(fitted, images) == pytest.approx(expected)
    expected = sign * score(fitted.transform(images), labels)
    assert make_scorer(space="embedding")(fitted, images) == pytest.approx(expected)


def test_the_ready_scorers_are_those_with_default_options(fitted, images):
    made = [make_scorer for make_scorer, _, _ in INDICES.values()]
    for ready, make_scorer in zip(READY, made, strict=True):
        assert ready(fitted, images) == make_scorer()(fitted, images)


def test_clusterers_without_an_encoder_are_scored_in_their_input(blobs, index):
    make_scorer, score, sign = index
    model = KMeans(3, n_init=1, random_state=0).fit(blobs)
    expected = sign * score(blobs, model.predict(blobs))
    assert make_scorer()(model, blobs) == pytest.approx(expected)


def test_the_input_of_a_pipeline_is_that_of_its_last_step(blobs, index):
    make_scorer, score, sign = index
    pipeline = make_pipeline(StandardScaler(), KMeans(3, n_init=1, random_state=0)).fit(blobs)
    expected = sign * score(StandardScaler().fit_transform(blobs), pipeline.predict(blobs))
    assert make_scorer()(pipeline, blobs) == pytest.approx(expected)


def test_a_clusterer_at_the_end_of_a_pipeline_is_scored_in_its_pretrained_embedding(model, images):
    def flip(X):
        return X[..., ::-1]

    pipeline = make_pipeline(FunctionTransformer(flip), model).fit(images)
    last = pipeline[-1]
    expected = silhouette_score(last.encoder_.transform(flip(images)), last.labels_)
    assert silhouette_scorer(pipeline, images) == pytest.approx(expected)
    expected = silhouette_score(last.transform(flip(images)), last.labels_)
    scorer = make_silhouette_scorer(space="embedding")
    assert scorer(pipeline, images) == pytest.approx(expected)


def test_a_reference_is_the_space_whatever_the_candidate(fitted, images, index):
    make_scorer, score, sign = index
    reference = ConvAutoencoder(2, filters=(4,), max_epochs=1, random_state=1).fit(images)
    scorer = make_scorer(reference=reference)
    space = reference.transform(images)
    expected = sign * score(space, fitted.predict(images))
    assert scorer(fitted, images) == pytest.approx(expected)
    labels = np.arange(60) % 4
    assert scorer(FixedLabels(labels), images) == pytest.approx(sign * score(space, labels))


@pytest.mark.parametrize("layout", ["rows", "channels_last", "channels_first"])
@pytest.mark.parametrize("frozen", [False, True])
def test_scores_do_not_depend_on_the_layout_of_images(model, fitted, images, layout, frozen):
    X, params = {
        "rows": (images.reshape(60, -1), {"image_shape": (8, 8, 3)}),
        "channels_last": (images, {}),
        "channels_first": (images.transpose(0, 3, 1, 2), {"data_format": "channels_first"}),
    }[layout]
    if frozen:
        params["encoder"] = FrozenEstimator(fitted.encoder_)
    model.set_params(**params).fit(X)
    assert silhouette_scorer(model, X) == pytest.approx(silhouette_scorer(fitted, images))


def test_vectors_are_scored_in_the_embedding_of_their_encoder(blobs):
    encoder = DenseAutoencoder(2, hidden_layer_sizes=(8,), max_epochs=2)
    model = DeepEmbeddingClustering(3, encoder=encoder, max_epochs=1, random_state=0).fit(blobs)
    expected = silhouette_score(model.encoder_.transform(blobs), model.labels_)
    assert silhouette_scorer(model, blobs) == pytest.approx(expected)


def test_the_metric_is_the_encoders_or_the_one_asked_for(blobs):
    labels = (blobs[:, 0] > 4) + 2 * (blobs[:, 1] > 4)
    model = FixedLabels(labels, embedding=blobs)
    model.encoder_ = FixedLabels(labels, embedding=blobs)
    model.encoder_.metric_ = "cosine"
    cosine = silhouette_score(blobs, labels, metric="cosine")
    for space in ("pretrained", "embedding"):
        scorer = make_silhouette_scorer(space=space)
        assert scorer(model, blobs) == pytest.approx(cosine)
    manhattan = silhouette_score(blobs, labels, metric="manhattan")
    assert make_silhouette_scorer(metric="manhattan")(model, blobs) == pytest.approx(manhattan)


def test_modularity_takes_the_neighbours_by_the_encoders_distance(blobs):
    labels = (blobs[:, 0] > 4).astype(int)
    model = FixedLabels(labels, embedding=blobs)
    model.encoder_ = FixedLabels(labels, embedding=blobs)
    model.encoder_.metric_ = "cosine"
    expected = neighbor_modularity(blobs, labels, metric="cosine")
    assert expected != neighbor_modularity(blobs, labels)
    assert modularity_scorer(model, blobs) == pytest.approx(expected)


def test_a_scorer_needs_no_more_than_predict(blobs):
    labels = (blobs[:, 0] > 4).astype(int)
    expected = silhouette_score(blobs, labels)
    assert silhouette_scorer(FixedLabels(labels), blobs) == pytest.approx(expected)
    assert silhouette_scorer(FixedLabels(labels), blobs, None) == pytest.approx(expected)


def test_scoring_fits_and_changes_nothing(fitted, images, untouched_global_rng):
    before = {name: id(value) for name, value in vars(fitted).items()}
    copy = images.copy()
    for scorer in READY:
        scorer(fitted, images)
    assert {name: id(value) for name, value in vars(fitted).items()} == before
    np.testing.assert_array_equal(images, copy)


# --- samples ---


def test_a_sample_is_the_same_for_every_candidate_and_no_larger_than_asked_for(blobs):
    seen = []

    class Spy(FixedLabels):
        def predict(self, X):
            seen.append(X)
            return np.arange(len(X)) % 3

    scorer = make_silhouette_scorer(sample_size=50, random_state=4)
    scores = [scorer(Spy(None), blobs) for _ in range(2)]
    assert scores[0] == scores[1] == pytest.approx(silhouette_score(seen[0], np.arange(50) % 3))
    np.testing.assert_array_equal(seen[0], seen[1])
    assert len(np.unique(seen[0], axis=0)) == 50
    assert {tuple(row) for row in seen[0]} <= {tuple(row) for row in blobs}
    make_silhouette_scorer(sample_size=50, random_state=5)(Spy(None), blobs)
    assert not np.array_equal(seen[0], seen[2])


@pytest.mark.parametrize("sample_size", [120, 1000, None])
def test_what_is_not_larger_than_the_sample_is_scored_as_a_whole(blobs, sample_size):
    labels = np.arange(120) % 3
    scorer = make_silhouette_scorer(sample_size=sample_size)
    expected = silhouette_score(blobs, labels)
    assert scorer(FixedLabels(labels), blobs) == pytest.approx(expected)


def test_scores_use_3000_rows_unless_told_otherwise():
    seen = []

    class Spy(FixedLabels):
        def predict(self, X):
            seen.append(len(X))
            return np.arange(len(X)) % 3

    X = np.random.default_rng(0).normal(size=(3500, 2))
    silhouette_scorer(Spy(None), X)
    make_silhouette_scorer(sample_size=None)(Spy(None), X)
    assert seen == [3000, 3500]


def test_samples_of_images_of_lists_and_of_mapped_arrays_agree(fitted, images, tmp_path):
    scorer = make_silhouette_scorer(sample_size=30)
    np.save(tmp_path / "images.npy", images)
    expected = scorer(fitted, images)
    assert scorer(fitted, list(images)) == pytest.approx(expected)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert scorer(fitted, mapped) == pytest.approx(expected)


# --- what has no score ---


@pytest.mark.parametrize(
    "labels", [np.zeros(120, int), np.arange(120)], ids=["one cluster", "only singles"]
)
def test_labels_without_a_score_are_not_a_number_and_warn(blobs, index, labels):
    make_scorer, _, _ = index
    n_labels = len(np.unique(labels))
    message = f"120 samples into {n_labels} clusters"
    with pytest.warns(UndefinedMetricWarning, match=message) as record:
        assert math.isnan(make_scorer()(FixedLabels(labels), blobs))
    assert record[0].filename == __file__


def test_a_search_never_prefers_what_has_no_score(blobs):
    search = GridSearchCV(
        KMeans(n_init=1, random_state=0),
        {"n_clusters": [1, 2, 3]},
        scoring=silhouette_scorer,
        cv=TransductiveSplit(),
    )
    with (
        pytest.warns(UndefinedMetricWarning, match="120 samples into 1 clusters"),
        pytest.warns(UserWarning, match="test scores are non-finite"),
    ):
        search.fit(blobs)
    assert search.best_params_ == {"n_clusters": 3}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": "pixels"}, "space='pixels' must be one of 'auto', 'pretrained'"),
        ({"sample_size": 1}, "sample_size=1 must be at least 2"),
        ({"sample_size": -5}, "sample_size=-5 must be at least 2"),
    ],
)
def test_options_out_of_range_are_a_clear_error(index, options, message):
    make_scorer, _, _ = index
    with pytest.raises(ValueError, match=message):
        make_scorer(**options)


def test_a_pretrained_space_that_is_not_there_is_a_clear_error(blobs):
    model = KMeans(3, n_init=1).fit(blobs)
    with pytest.raises(ValueError, match="needs an estimator with an encoder_; KMeans has none"):
        make_silhouette_scorer(space="pretrained")(model, blobs)


# --- within scikit-learn ---


@pytest.mark.parametrize("scorer", READY, ids=repr)
def test_scorers_can_be_pickled(fitted, images, scorer):
    copy = pickle.loads(pickle.dumps(scorer))
    assert copy(fitted, images) == scorer(fitted, images)
    assert repr(copy) == repr(scorer)


@pytest.mark.parametrize("cv", [TransductiveSplit(), KFold(2)], ids=["all data", "KFold"])
# Modularity compares encoders, and says so.
@pytest.mark.parametrize("scorer", READY[:3], ids=repr)
@pytest.mark.filterwarnings("ignore:.*clusters have members")
def test_a_grid_search_over_k_finds_three_kinds(model, images, scorer, cv):
    model.set_params(encoder=FrozenEstimator(model.fit_encoder(images)), max_epochs=1)
    search = GridSearchCV(
        model, {"n_clusters": [2, 3, 4]}, scoring=scorer, cv=cv, error_score="raise"
    ).fit(images)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_["n_clusters"] in (2, 3)
    if scorer is silhouette_scorer:
        assert search.best_params_["n_clusters"] == 3


@pytest.mark.parametrize("scorer", READY, ids=repr)
def test_the_same_groups_under_other_numbers_get_the_same_score(scorer):
    X = np.random.default_rng(0).normal(size=(200, 5))

    class Labelled(KMeans):
        def predict(self, X):
            return self.numbers_[super().predict(X)]

    model = Labelled(4, n_init=1, random_state=0).fit(X)
    scores = set()
    for numbers in ([0, 1, 2, 3], [3, 1, 0, 2], [7, 5, 9, 0]):
        model.numbers_ = np.array(numbers)
        scores.add(scorer(model, X))
    assert len(scores) == 1


def test_several_scorers_can_be_used_at_once(blobs):
    scoring = {"silhouette": silhouette_scorer, "db": davies_bouldin_scorer}
    result = cross_validate(
        KMeans(3, n_init=1, random_state=0), blobs, scoring=scoring, cv=TransductiveSplit()
    )
    assert result["test_silhouette"].shape == (1,)
    assert result["test_db"][0] < 0 < result["test_silhouette"][0]


def test_a_score_does_not_depend_on_the_other_candidates(blobs):
    def scores(candidates):
        search = GridSearchCV(
            KMeans(n_init=1, random_state=0),
            {"n_clusters": candidates},
            scoring=make_silhouette_scorer(sample_size=60),
            cv=TransductiveSplit(),
        ).fit(blobs)
        means = search.cv_results_["mean_test_score"]
        return dict(zip(candidates, means, strict=True))

    assert scores([2, 3, 4])[3] == scores([3, 7])[3] == scores([3])[3]


def test_other_searches_and_cross_validation_take_them_too(blobs):
    model = KMeans(n_init=1, random_state=0)
    search = RandomizedSearchCV(
        model,
        {"n_clusters": [2, 3, 4]},
        n_iter=3,
        scoring=silhouette_scorer,
        cv=TransductiveSplit(),
        random_state=0,
    ).fit(blobs)
    assert search.best_params_ == {"n_clusters": 3}
    model.set_params(n_clusters=3)
    cv = KFold(3, shuffle=True, random_state=0)
    scores = cross_val_score(model, blobs, scoring=silhouette_scorer, cv=cv)
    assert scores.shape == (3,)
    assert (scores > 0.5).all()
