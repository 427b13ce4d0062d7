"""The search over the number of clusters: what it finds, promises and survives."""

import os
import pickle
import re
import subprocess
import sys
import time
import warnings
import weakref
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClusterMixin, clone, is_clusterer
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import skdcec
from skdcec import ConvAutoencoder, DeepConvEmbeddingClustering, DeepEmbeddingClustering
from skdcec.model_selection import NClustersSearch, TransductiveSplit, silhouette_scorer
from skdcec.model_selection.verdict import explained, judge

# Three kinds do not fill four clusters.
pytestmark = pytest.mark.filterwarnings("ignore:.*clusters have members")


@pytest.fixture(scope="module")
def blobs():
    X, _ = make_blobs(160, centers=4, cluster_std=0.4, random_state=0)
    return X


@pytest.fixture(scope="module")
def searched(images):
    """A search over the small clusterer; only to be read."""
    return NClustersSearch(small_model(), [2, 3, 4, 5], n_runs=2).fit(images)


def small_model(**params):
    return DeepConvEmbeddingClustering(
        encoder=ConvAutoencoder(4, filters=(4, 8), max_epochs=3),
        max_epochs=2,
        n_init=2,
        random_state=0,
    ).set_params(**params)


def k_means():
    return KMeans(n_init=1, random_state=0)


class Failing(ClusterMixin, BaseEstimator):
    """Divides by the first number; fails for the given numbers of clusters."""

    def __init__(self, n_clusters=2, fails=(), random_state=None):
        self.n_clusters = n_clusters
        self.fails = fails
        self.random_state = random_state

    def fit(self, X, y=None):
        if self.n_clusters in self.fails:
            raise RuntimeError(f"{self.n_clusters} is too much")
        self.labels_ = KMeans(self.n_clusters, n_init=1, random_state=0).fit_predict(X)
        return self


class Collapsed(ClusterMixin, BaseEstimator):
    """Puts everything into one cluster."""

    def __init__(self, n_clusters=2):
        self.n_clusters = n_clusters

    def fit(self, X, y=None):
        self.labels_ = np.zeros(len(X), int)
        return self


# --- what it finds ---


def test_separated_groups_are_found_and_said_to_be_so(blobs):
    search = NClustersSearch(k_means(), range(2, 8)).fit(blobs)
    assert search.best_n_clusters_ == 4
    assert search.evidence_ == "separated groups"
    assert search.verdict_.startswith("Separated groups: k = 4")
    assert "does not say between all of them" in search.verdict_
    assert search.best_estimator_.n_clusters == 4
    np.testing.assert_array_equal(search.labels_, search.best_estimator_.labels_)
    assert search.best_score_ == pytest.approx(silhouette_score(blobs, search.labels_))


def test_one_cloud_is_no_evidence_of_clusters():
    cloud = np.random.default_rng(0).normal(size=(200, 4)) * (4, 1, 1, 1)
    search = NClustersSearch(k_means(), range(2, 6)).fit(cloud)
    assert search.evidence_ == "none"
    assert "No evidence of clusters" in search.verdict_
    # The plain silhouette would have said otherwise.
    assert np.nanmax(search.results_["silhouette"]) > 0.2


def test_structure_without_a_gap_is_a_choice_of_resolution():
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 300)
    radius = np.random.default_rng(1).normal(5, 0.3, 300)
    ring = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    # Seen from any side a ring is denser at its rims, so it is folded into a bent band.
    band = np.stack([4 * angle, 6 * np.cos(angle / 2) ** 2 + ring[:, 0] / 10], axis=1)
    search = NClustersSearch(k_means(), range(2, 7)).fit(band)
    assert search.evidence_ == "structure"
    assert "k is a choice of resolution" in search.verdict_


def test_kinds_of_images_are_found(searched, images, kinds):
    assert searched.best_n_clusters_ == 3
    assert adjusted_rand_score(kinds, searched.labels_) == 1
    results = searched.results_
    assert {len(column) for column in results.values()} == {4}
    np.testing.assert_array_equal(results["n_clusters"], [2, 3, 4, 5])
    assert results["plausible"][1]
    assert results["trained"].sum() <= 3
    encoder = searched.best_estimator_.encoder_
    expected = silhouette_score(encoder.transform(images).astype(float), searched.labels_)
    assert searched.best_score_ == pytest.approx(expected, abs=1e-6)
    assert searched.best_score_ == pytest.approx(silhouette_scorer(searched, images), abs=1e-6)


def test_what_was_not_trained_keeps_the_labels_of_k_means(blobs):
    search = NClustersSearch(k_means(), range(2, 9)).fit(blobs)
    results = search.results_
    assert set(results["n_clusters"][results["trained"]]) <= set(
        results["n_clusters"][results["plausible"]]
    )
    untrained = ~results["trained"]
    assert untrained.any()
    np.testing.assert_array_equal(
        results["silhouette"][untrained], results["screened_silhouette"][untrained]
    )
    assert (results["fit_time"][untrained] == 0).all()
    for k in results["n_clusters"]:
        assert len(np.unique(search.labels_of_[k])) == k
    everything = NClustersSearch(k_means(), range(2, 9), screen=None).fit(blobs)
    assert everything.results_["trained"].all()


def test_labels_that_were_judged_are_kept_for_every_number(monkeypatch):
    X, kinds = make_blobs(150, centers=4, cluster_std=0.3, random_state=0)
    small = NClustersSearch(k_means(), [3, 4, 5]).fit(X)
    assert [len(np.unique(small.found_labels_of_[k])) for k in (3, 4, 5)] == [3, 4, 5]
    assert adjusted_rand_score(kinds, small.found_labels_of_[4]) == 1
    # Of many, those that nobody looked at are where their nearest is.
    monkeypatch.setattr("skdcec.model_selection.table.MAX_POINTS", 60)
    large = NClustersSearch(k_means(), [3, 4, 5]).fit(X)
    assert len(large.found_labels_of_[4]) == 150
    assert adjusted_rand_score(kinds, large.found_labels_of_[4]) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"null_silhouette": [0.3, 0.1, 0.1]}, "so have points without clusters there (0.300 and"),
        ({}, "the choice goes by clusters that are sought with more care"),
        ({"screened_silhouette": [0.1, 0.2, 0.3], "support": [0.5, 0.99, 1]}, "the smallest is"),
        ({"screened_silhouette": [0.1, 0.2, 0.1]}, "k = 2 has a higher silhouette as trained (0.3"),
        ({"screened_silhouette": [0.1, 0.3, 0.1], "trained": [0, 1, 0]}, None),
        ({"trained": [0, 1, 0], "error": ["no", "", ""]}, None),
    ],
)
def test_why_a_higher_silhouette_is_not_chosen_is_said(changes, reason):
    results = {
        "n_clusters": [2, 3, 4],
        "screened_silhouette": [0.3, 0.2, 0.1],
        "silhouette": [0.3, 0.2, 0.1],
        "null_silhouette": [0.1, 0.1, 0.1],
        "excess_silhouette": [0.1, 0.1, 0.1],
        "support": [0.5, 1, 0.5],
        "plausible": [False, True, False],
        "trained": [1, 1, 0],
        "error": ["", "", ""],
    }
    results = {name: np.array(values) for name, values in (results | changes).items()}
    results["trained"] = results["trained"].astype(bool)
    shown = {"best_n_clusters": 3, "n_found": 3, "null_p_value": 0.05, "gap_p_value": 1.0}
    evidence, verdict = judge(results, **shown)
    assert ("has a higher silhouette" in verdict) == (reason is not None)
    assert (reason or "") in verdict
    plain = explained(results, best_n_clusters=3, n_found=3, evidence=evidence)
    found = re.search(r" \d clusters (by k-means|as trained) lie farther apart[^.]*\.", plain)
    assert (found is not None) == (reason is not None)
    # Short enough to be read, since the numbers stand in the table.
    assert found is None or len(found.group()) < 110


@pytest.mark.parametrize(
    ("excess", "gap_p_value", "evidence", "words"),
    [
        (0.1, 0.001, "separated groups", "Separated groups: 3 clusters fit best, and no other"),
        (0.1, 1.0, "structure", "the number is a choice, of how finely to look; 3 clusters fit"),
        (-0.1, 1.0, "none", "3 is the best number of those tried, and means little."),
    ],
)
def test_what_is_found_is_also_said_without_p_and_k(excess, gap_p_value, evidence, words):
    results = {
        "n_clusters": np.array([2, 3]),
        "screened_silhouette": np.array([0.2, 0.3]),
        "silhouette": np.array([0.2, 0.3]),
        "excess_silhouette": np.array([0.0, excess]),
        "null_silhouette": np.array([0.1, 0.1]),
        "support": np.array([0.5, 1.0]),
        "plausible": np.array([False, True]),
        "trained": np.array([False, True]),
        "error": np.array(["", ""]),
    }
    found = {"best_n_clusters": 3, "n_found": 2}
    said, verdict = judge(results, null_p_value=0.05, gap_p_value=gap_p_value, **found)
    assert said == evidence
    plain = explained(results, evidence=evidence, **found)
    assert words in plain
    assert "The best number is at the edge of those tried: try larger ones." in plain
    assert "Of 3 clusters, 2 have members." in plain
    assert "k = 3" in verdict
    assert ("p = " in verdict) == (evidence != "none")
    assert not re.search(r"\b[kp] =|silhouette", plain)


def test_paired_differences_are_those_of_the_points(blobs):
    results = NClustersSearch(k_means(), [3, 4, 5], screen=None).fit(blobs).results_
    best = np.argmax(results["silhouette"])
    assert results["difference"][best] == results["standard_error"][best] == 0
    np.testing.assert_allclose(
        results["difference"], results["silhouette"] - results["silhouette"][best], atol=1e-12
    )
    assert (np.delete(results["standard_error"], best) > 0).all()


def test_the_best_k_at_the_edge_of_the_list_is_said_to_be_there(blobs):
    for numbers in ([2, 3, 4], [4, 5, 6]):
        verdict = NClustersSearch(k_means(), numbers).fit(blobs).verdict_
        assert "at the edge of the list" in verdict
    assert "at the edge" not in NClustersSearch(k_means(), [3, 4, 5]).fit(blobs).verdict_


def test_all_kinds_of_evidence_are_columns():
    X, _ = make_blobs(200, centers=[[0, 0], [6, 0], [0, 6], [6, 6], [3, 3]], random_state=3)
    search = NClustersSearch(k_means(), range(2, 12)).fit(X)
    results = search.results_
    for name in ("bic", "modularity", "eigengap", "found_silhouette", "resampled", "support"):
        assert np.isfinite(results[name]).all()
    assert set(results["covariance"]) <= {"full", "tied", "diag", "spherical"}
    assert np.nanmax(results["support"]) == 1
    plausible = results["n_clusters"][results["plausible"]]
    assert search.best_n_clusters_ in plausible
    assert results["support"][search.best_index_] > 0.97
    assert 5 in plausible


@pytest.mark.parametrize(
    ("plausible", "words"),
    [
        ([4], "k = 4 fits best, and no other of those tried as well."),
        ([4, 5], "k = 4 fits best, and 5 about as well."),
        ([3, 4, 6], "k = 4 fits best, and any of 3 to 6 about as well."),
    ],
)
def test_the_range_is_called_in_words(plausible, words):
    numbers = np.arange(2, 8)
    results = {
        "n_clusters": numbers,
        "screened_silhouette": np.full(6, 0.3),
        "silhouette": np.full(6, 0.3),
        "trained": np.full(6, True),
        "error": np.full(6, ""),
        "excess_silhouette": np.full(6, 0.1),
        "plausible": np.isin(numbers, plausible),
    }
    options = {"best_n_clusters": 4, "n_found": 4, "null_p_value": 0.05}
    for p_value in (0.001, 0.5):
        assert words in judge(results, gap_p_value=p_value, **options)[1]


def test_how_firm_the_clusters_are_is_told(blobs):
    stability = NClustersSearch(k_means(), [4]).fit(blobs).stability_
    assert [*stability.clusters] == [0, 1, 2, 3]
    assert min(stability.clusters.values()) > 0.9
    assert stability.agreement > 0.9


# --- promises ---


def test_a_score_does_not_depend_on_the_other_candidates(images):
    def scores(numbers, **options):
        results = (
            NClustersSearch(small_model(), numbers, screen=None, **options).fit(images).results_
        )
        columns = ("screened_silhouette", "null_silhouette", "silhouette", "own_silhouette")
        return {name: dict(zip(numbers, results[name], strict=True)) for name in columns}

    many, few = scores([2, 3, 4]), scores([3, 4])
    for name, values in few.items():
        assert values == {k: many[name][k] for k in (3, 4)}


def test_where_nothing_is_trained_images_are_embedded_once(images):
    embedded = []

    def embed(rows):
        embedded.append(len(rows))
        return rows.reshape(len(rows), -1)[:, ::7]

    encoder = FunctionTransformer(embed)
    model = DeepEmbeddingClustering(encoder=encoder, max_epochs=0, random_state=0)
    rows = images.reshape(len(images), -1)
    search = NClustersSearch(model, [2, 3, 4], screen=None).fit(rows)
    assert embedded == [len(rows)]
    np.testing.assert_array_equal(search.embedding_, rows[:, ::7])
    alone = clone(model).set_params(n_clusters=search.best_n_clusters_).fit(rows)
    np.testing.assert_array_equal(search.labels_, alone.labels_)
    np.testing.assert_array_equal(search.predict(rows), search.labels_)
    np.testing.assert_allclose(
        search.results_["own_silhouette"], search.results_["silhouette"], rtol=1e-6
    )


def test_labels_are_those_of_the_clusterer_itself_and_of_a_grid_search(searched, images):
    alone = small_model(n_clusters=3).fit(images)
    grid = GridSearchCV(
        small_model(), {"n_clusters": [3]}, scoring=silhouette_scorer, cv=TransductiveSplit()
    ).fit(images)
    one_run = NClustersSearch(small_model(), [2, 3, 4]).fit(images)
    np.testing.assert_array_equal(one_run.labels_of_[3], alone.labels_)
    np.testing.assert_array_equal(one_run.labels_of_[3], grid.best_estimator_.labels_)
    np.testing.assert_array_equal(
        one_run.best_estimator_.transform(images), grid.best_estimator_.transform(images)
    )


def test_runs_share_the_pretraining_and_differ_after_it(images, monkeypatch):
    pretrainings, seeds = [], []
    fit_encoder, fit = (
        DeepConvEmbeddingClustering.fit_encoder,
        DeepConvEmbeddingClustering.fit,
    )

    def counted(self, X):
        pretrainings.append(1)
        return fit_encoder(self, X)

    def seen(self, X, y=None):
        seeds.append((self.random_state, id(self.encoder.estimator)))
        return fit(self, X)

    monkeypatch.setattr(DeepConvEmbeddingClustering, "fit_encoder", counted)
    monkeypatch.setattr(DeepConvEmbeddingClustering, "fit", seen)
    search = NClustersSearch(small_model(), [3, 4], n_runs=3, screen=None).fit(images)
    assert len(pretrainings) == 1
    assert len({encoder for _, encoder in seeds}) == 1
    assert len(seeds) == 6
    assert len({seed for seed, _ in seeds}) == 3
    assert 0 in {seed for seed, _ in seeds}
    agreement = search.results_["agreement"]
    assert ((agreement > 0) & (agreement <= 1)).all()


def test_of_all_models_only_the_best_of_each_k_is_kept(blobs):
    alive, counts = weakref.WeakSet(), []

    class Counted(KMeans):
        def fit(self, X, y=None):
            alive.add(self)
            counts.append(len(alive))
            return super().fit(X)

    NClustersSearch(Counted(n_init=1, random_state=0), [4], n_runs=8).fit(blobs)
    assert len(counts) == 8
    # The best, the last one, and the one that is fitted.
    assert max(counts) <= 3


def test_one_run_has_no_agreement(blobs):
    assert np.isnan(NClustersSearch(k_means(), [3, 4]).fit(blobs).results_["agreement"]).all()


def test_X_is_neither_indexed_nor_copied_nor_changed(images):
    seen = []

    class Spy(KMeans):
        def fit(self, X, y=None):
            seen.append(X)
            return super().fit(X)

    X = images.reshape(60, -1).astype(float)
    X.setflags(write=False)
    NClustersSearch(Spy(n_init=1, random_state=0), [2, 3], sample_size=30).fit(X)
    assert all(given is X for given in seen)
    assert seen


def test_processes_and_threads_find_what_one_process_finds(images):
    expected = NClustersSearch(small_model(), [2, 3, 4]).fit(images)
    for backend in ("loky", "threading"):
        with joblib.parallel_config(backend=backend):
            found = NClustersSearch(small_model(), [2, 3, 4], n_jobs=2).fit(images)
        for k, labels in expected.labels_of_.items():
            np.testing.assert_array_equal(found.labels_of_[k], labels)


def test_processes_share_the_processors(images):
    threads = torch.get_num_threads()
    NClustersSearch(ThreadCount(), [2, 3], n_jobs=2).fit(images.reshape(60, -1))
    assert torch.get_num_threads() == threads


_SEARCH = """
import os, time
import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin
from skdcec.model_selection import NClustersSearch

class Slow(ClusterMixin, BaseEstimator):
    def __init__(self, n_clusters=2, folder=None):
        self.n_clusters = n_clusters
        self.folder = folder

    def fit(self, X, y=None):
        open(os.path.join(self.folder, str(os.getpid())), "w").close()
        time.sleep(120)

NClustersSearch(Slow(folder={folder!r}), [2, 3], n_jobs=4, screen=None).fit(np.eye(30))
"""


@pytest.mark.skipif(os.name != "posix", reason="other systems do not tell the parent's end")
def test_processes_end_with_their_parent(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(skdcec.__file__).parents[1])}
    code = _SEARCH.format(folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as parent:
        while len(workers := [int(path.name) for path in tmp_path.iterdir()]) < 2:
            assert parent.poll() is None
            time.sleep(0.1)
        parent.kill()
    end = time.monotonic() + 10
    while any(map(is_alive, workers)):
        assert time.monotonic() < end
        time.sleep(0.1)


def is_alive(pid):
    # What ended, but nobody waits for, is in state Z.
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True).stdout
    return bool(state) and not state.startswith(b"Z")


class ThreadCount(ClusterMixin, BaseEstimator):
    """Fails where its process takes more than its share of the processors."""

    def __init__(self, n_clusters=2):
        self.n_clusters = n_clusters

    def fit(self, X, y=None):
        share = max(1, joblib.cpu_count() // 2)
        if torch.get_num_threads() > share:
            raise RuntimeError(f"{torch.get_num_threads()} threads")
        self.labels_ = KMeans(self.n_clusters, n_init=1, random_state=0).fit_predict(X)
        return self


def test_a_dask_cluster_trains_the_candidates(images):
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")
    expected = NClustersSearch(small_model(), [2, 3, 4]).fit(images)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, dashboard_address=None
            ) as cluster,
            distributed.Client(cluster),
            joblib.parallel_config(backend="dask"),
        ):
            found = NClustersSearch(small_model(), [2, 3, 4], n_jobs=2).fit(images)
    np.testing.assert_array_equal(found.labels_, expected.labels_)


def test_an_interrupted_search_goes_on_from_its_cache(images, tmp_path, monkeypatch):
    trained = []
    fit = DeepConvEmbeddingClustering.fit

    def interrupted(self, X, y=None):
        if self.n_clusters == 4 and len(trained) < 3:
            raise KeyboardInterrupt
        trained.append(self.n_clusters)
        return fit(self, X)

    monkeypatch.setattr(DeepConvEmbeddingClustering, "fit", interrupted)
    search = NClustersSearch(small_model(), [2, 3, 4], screen=None, memory=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        search.fit(images)
    assert trained == [2, 3]
    assert not hasattr(search, "best_estimator_")
    trained.append(None)
    search.fit(images)
    assert trained == [2, 3, None, 4]
    clone(search).fit(images)
    assert trained == [2, 3, None, 4]
    clone(search).set_params(estimator__gamma=0.5).fit(images)
    assert trained[4:] == [2, 3, 4]
    clone(search).fit(images[:50])
    assert trained[7:] == [2, 3, 4]


def test_trainings_that_cannot_be_kept_are_a_warning_where_the_search_is_fitted(blobs, tmp_path):
    search = NClustersSearch(Failing(fails=object(), random_state=0), [4], memory=tmp_path)
    with (
        pytest.warns(UserWarning, match="The trainings are not cached: .*fails=<object") as record,
        pytest.raises(ValueError, match="All trainings failed"),
    ):
        search.fit(blobs)
    assert record[0].filename == __file__


def test_a_training_that_failed_is_tried_again(blobs, tmp_path):
    def search(reason):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return NClustersSearch(Flaky(str(reason)), [4, 5], screen=None, memory=tmp_path).fit(
                blobs
            )

    reason = tmp_path / "reason"
    reason.touch()
    assert search(reason).results_["error"][0].startswith("OSError")
    reason.unlink()
    assert search(reason).results_["error"][0] == ""


class Flaky(ClusterMixin, BaseEstimator):
    """Fails at four clusters while a file is there."""

    def __init__(self, path, n_clusters=2, random_state=0):
        self.path = path
        self.n_clusters = n_clusters
        self.random_state = random_state

    def fit(self, X, y=None):
        if self.n_clusters == 4 and Path(self.path).exists():
            raise OSError("busy")
        self.labels_ = KMeans(self.n_clusters, n_init=1, random_state=0).fit_predict(X)
        return self


@pytest.mark.filterwarnings("ignore:.*(damaged|loading results)")
def test_damaged_trainings_are_done_again(images, tmp_path):
    search = NClustersSearch(small_model(), [2, 3], screen=None, memory=tmp_path)
    expected = clone(search).fit(images).labels_of_
    random = np.random.default_rng(0)
    for _ in range(4):
        for path in tmp_path.rglob("output.pkl"):
            content = bytearray(path.read_bytes())
            content[random.integers(len(content))] ^= 1 << random.integers(8)
            path.write_bytes(content)
        for _ in range(2):
            found = clone(search).fit(images).labels_of_
            assert [*found] == [2, 3]
            for k, labels in found.items():
                np.testing.assert_array_equal(labels, expected[k])


def test_the_pretraining_is_kept_in_memory(images, tmp_path, monkeypatch):
    NClustersSearch(small_model(), [2, 3], memory=str(tmp_path)).fit(images)

    def fit(self, X, y=None):
        raise AssertionError("pretrained again")

    monkeypatch.setattr(ConvAutoencoder, "fit", fit)
    small_model(n_clusters=5, memory=str(tmp_path)).fit(images)
    NClustersSearch(small_model(memory=tmp_path), [2, 3]).fit(images)


def test_no_global_random_state_is_touched(images, untouched_global_rng):
    NClustersSearch(small_model(), [2, 3], n_runs=2).fit(images)


def test_progress_is_shown_only_when_asked_for(blobs, capsys):
    NClustersSearch(k_means(), [2, 3]).fit(blobs)
    assert capsys.readouterr() == ("", "")
    NClustersSearch(k_means(), [2, 3], verbose=1).fit(blobs)
    out, err = capsys.readouterr()
    assert out == ""
    assert "NClustersSearch: 100%" in err


# --- other estimators, other spaces ---


def test_clusterers_without_predict_have_no_predict_after_the_search(blobs):
    search = NClustersSearch(AgglomerativeClustering(), [3, 4, 5]).fit(blobs)
    assert search.best_n_clusters_ == 4
    for method in ("predict", "transform", "predict_proba"):
        assert not hasattr(search, method)
    assert not hasattr(NClustersSearch(AgglomerativeClustering()), "predict")


def test_the_best_estimator_predicts_and_transforms(searched, images):
    best = searched.best_estimator_
    for method in ("predict", "transform", "predict_proba"):
        np.testing.assert_array_equal(
            getattr(searched, method)(images), getattr(best, method)(images)
        )
    np.testing.assert_array_equal(searched.predict(images), searched.labels_)
    assert searched.predict_proba(images).shape == (60, 3)


def test_a_pipeline_is_judged_in_the_input_of_its_last_step(blobs):
    X = blobs * (1, 1000)
    pipeline = make_pipeline(StandardScaler(), k_means())
    search = NClustersSearch(pipeline, range(2, 7)).fit(X)
    assert search.best_n_clusters_ == 4
    assert isinstance(search.best_estimator_, Pipeline)
    assert list(search.best_estimator_.named_steps) == list(pipeline.named_steps)
    np.testing.assert_array_equal(search.predict(X), search.labels_)
    scaled = StandardScaler().fit_transform(X)
    assert search.best_score_ == pytest.approx(silhouette_score(scaled, search.labels_))
    with pytest.raises(NotFittedError):
        pipeline.predict(X)


def test_a_pipeline_that_ends_in_ours_pretrains_once(searched, images):
    pipeline = make_pipeline(FunctionTransformer(), small_model())
    search = NClustersSearch(pipeline, [2, 3, 4, 5], n_runs=2).fit(images)
    np.testing.assert_array_equal(search.labels_, searched.labels_)
    assert search.best_score_ == searched.best_score_


def test_a_reference_is_the_space_that_judges(images):
    X = images.reshape(60, -1)
    reference = PCA(3, random_state=0).fit(X)
    search = NClustersSearch(k_means(), [2, 3, 4], reference=reference).fit(X)
    expected = silhouette_score(reference.transform(X), search.labels_)
    assert search.best_score_ == pytest.approx(expected)


@pytest.mark.parametrize("layout", ["rows", "channels_first"])
def test_the_layout_of_images_makes_no_difference(searched, images, layout):
    X, params = {
        "rows": (images.reshape(60, -1), {"image_shape": (8, 8, 3)}),
        "channels_first": (images.transpose(0, 3, 1, 2), {"data_format": "channels_first"}),
    }[layout]
    search = NClustersSearch(small_model(**params), [2, 3, 4, 5], n_runs=2).fit(X)
    np.testing.assert_array_equal(search.labels_, searched.labels_)


# --- bad input ---


def test_an_estimator_without_n_clusters_is_a_clear_error(blobs):
    for estimator in (GaussianMixture(), make_pipeline(StandardScaler(), PCA())):
        with pytest.raises(TypeError, match="has no parameter n_clusters"):
            NClustersSearch(estimator, [2, 3]).fit(blobs)


@pytest.mark.parametrize("numbers", [[], [0, 2], [2.5], ["3"], [True], True, 0, "2-10", None, 2.5])
def test_numbers_that_are_none_are_a_clear_error(blobs, numbers):
    with pytest.raises(ValueError, match="must be a list of integers from 1"):
        NClustersSearch(k_means(), numbers).fit(blobs)


def test_numbers_named_twice_are_tried_once(blobs):
    with pytest.warns(UserWarning, match="names some numbers twice"):
        search = NClustersSearch(k_means(), [4, 3, 4]).fit(blobs)
    np.testing.assert_array_equal(search.results_["n_clusters"], [3, 4])


def test_one_cluster_has_no_silhouette_and_is_never_best(blobs):
    search = NClustersSearch(k_means(), [1, 4]).fit(blobs)
    assert search.best_n_clusters_ == 4
    assert np.isnan(search.results_["screened_silhouette"][0])
    assert not search.results_["plausible"][0]
    alone = NClustersSearch(k_means(), [1]).fit(blobs)
    assert alone.best_n_clusters_ == 1
    assert alone.evidence_ == "unknown"
    assert "Nothing to compare" in alone.verdict_


def test_a_single_k_is_fitted_and_judged(blobs):
    search = NClustersSearch(k_means(), [4]).fit(blobs)
    assert search.best_n_clusters_ == 4
    assert search.evidence_ == "separated groups"
    assert "Only one k was tried" in search.verdict_


def test_more_clusters_than_images_fail_and_the_search_goes_on(blobs):
    with pytest.warns(FitFailedWarning, match="n_clusters=500: ValueError: n_samples=160"):
        search = NClustersSearch(k_means(), [4, 500]).fit(blobs)
    assert search.best_n_clusters_ == 4
    assert "n_samples=160" in search.results_["error"][1]
    assert search.results_["error"][0] == ""


def test_runs_that_fail_are_recorded_and_the_search_goes_on(blobs):
    with pytest.warns(FitFailedWarning, match="n_clusters=4: RuntimeError: 4 is too much"):
        search = NClustersSearch(Failing(fails=(4,)), [3, 4, 5], screen=None).fit(blobs)
    assert search.best_n_clusters_ in (3, 5)
    assert search.results_["error"][1] == "RuntimeError: 4 is too much"
    np.testing.assert_array_equal(search.results_["trained"], [True, False, True])


def test_that_all_runs_failed_is_an_error(blobs):
    search = NClustersSearch(Failing(fails=(3, 4)), [3, 4], screen=None)
    with pytest.raises(ValueError, match="All trainings failed. n_clusters=3: RuntimeError: 3 is"):
        search.fit(blobs)
    assert not hasattr(search, "best_estimator_")


def test_of_many_failures_the_first_are_named(blobs):
    search = NClustersSearch(Failing(fails=range(3, 8)), range(2, 8), screen=None)
    with pytest.warns(
        FitFailedWarning, match="5 of 6 .*; n_clusters=5: .*; and 2 more, in results_"
    ):
        search.fit(blobs)
    assert search.results_["error"][-1] == "RuntimeError: 7 is too much"


def test_a_model_that_collapsed_is_reported_and_never_best(blobs):
    search = NClustersSearch(Collapsed(), [3, 4], screen=None).fit(blobs)
    assert (search.results_["n_found"] == 1).all()
    assert np.isnan(search.results_["silhouette"]).all()
    assert "1 have members" in search.verdict_


def test_images_that_are_all_the_same_give_no_evidence():
    search = NClustersSearch(k_means(), [2, 3])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search.fit(np.ones((30, 4)))
    assert search.evidence_ in ("none", "unknown")


def test_clusters_of_one_member_are_counted():
    X = np.concatenate([np.zeros((20, 2)), [[50.0, 50.0]]])
    X += np.random.default_rng(0).normal(size=X.shape)
    search = NClustersSearch(k_means(), [2, 3]).fit(X)
    assert search.results_["smallest_share"][0] == pytest.approx(1 / 21)


@pytest.mark.parametrize("sample_size", [160, 1000, None])
def test_a_sample_larger_than_the_data_is_all_of_it(blobs, sample_size):
    search = NClustersSearch(k_means(), [3, 4], sample_size=sample_size).fit(blobs)
    assert search.best_score_ == pytest.approx(silhouette_score(blobs, search.labels_))


def test_a_sample_is_that_of_the_scorer(blobs):
    search = NClustersSearch(k_means(), [3, 4], sample_size=50).fit(blobs)
    from skdcec.model_selection import make_silhouette_scorer

    scorer = make_silhouette_scorer(sample_size=50)
    assert search.best_score_ == pytest.approx(scorer(search.best_estimator_, blobs))


@pytest.mark.parametrize(
    "params",
    [
        {"n_runs": 0},
        {"screen": "all"},
        {"sample_size": 1},
        {"n_null_draws": 18},
        {"reference": 3},
        {"n_jobs": "two"},
    ],
)
def test_parameters_out_of_range_are_a_clear_error(blobs, params):
    (name,) = params
    with pytest.raises(ValueError, match=f"The '{name}' parameter of NClustersSearch must be"):
        NClustersSearch(k_means(), [3], **params).fit(blobs)


# --- scikit-learn's conventions ---


def test_a_search_clones_pickles_and_knows_its_kind(searched, images):
    again = clone(searched)
    assert again.get_params()["estimator__gamma"] == searched.estimator.gamma
    assert not hasattr(again, "best_estimator_")
    copy = pickle.loads(pickle.dumps(searched))
    np.testing.assert_array_equal(copy.predict(images), searched.labels_)
    assert copy.verdict_ == searched.verdict_
    assert is_clusterer(searched)
    assert searched.n_features_in_ == 192
    with pytest.raises(NotFittedError):
        again.predict(images)
    assert not hasattr(again, "n_features_in_")


def test_the_estimator_given_is_not_changed(images):
    model = small_model()
    before = model.get_params()
    NClustersSearch(model, [2, 3]).fit(images)
    assert model.get_params() == before
    assert not hasattr(model, "labels_")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
@parametrize_with_checks([NClustersSearch(KMeans(n_init=1, random_state=0), (2, 3))])
def test_scikit_learn_compatible(estimator, check):
    check(estimator)
