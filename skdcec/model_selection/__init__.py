"""Choosing the number of clusters: scorers and splits for searches, and a search of its own."""

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple, Self

import joblib
import numpy as np
import torch
from sklearn.base import BaseEstimator, ClusterMixin, MetaEstimatorMixin, _fit_context, clone
from sklearn.exceptions import FitFailedWarning, UndefinedMetricWarning
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import (
    adjusted_rand_score,
    calinski_harabasz_score,
    davies_bouldin_score,
    silhouette_score,
)
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, check_random_state, get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import (
    _num_samples,
    check_array,
    check_is_fitted,
    check_memory,
)
from tqdm import tqdm

from skdcec._encoders.cache import content_digest, plain_value
from skdcec.model_selection.ace import pooled, space_weights
from skdcec.model_selection.null import (
    cluster_by_k_means,
    distance_matrix,
    gap_p_value,
    gaussian_null,
    paired_differences,
    silhouettes,
)

__all__ = [
    "ModelComparison",
    "NClustersSearch",
    "TransductiveSplit",
    "calinski_harabasz_scorer",
    "compare_models",
    "davies_bouldin_scorer",
    "make_calinski_harabasz_scorer",
    "make_davies_bouldin_scorer",
    "make_silhouette_scorer",
    "silhouette_scorer",
]

_SPACES = ("auto", "pretrained", "input", "embedding")


class TransductiveSplit:
    """A split of one fold that fits and scores on all the data.

    Clustering describes the data at hand, so a search over `n_clusters` usually has
    nothing to hold out.

    Examples
    --------
    >>> import numpy as np
    >>> from skdcec.model_selection import TransductiveSplit
    >>> next(TransductiveSplit().split(np.zeros((3, 2))))
    (array([0, 1, 2]), array([0, 1, 2]))
    """

    def split(
        self, X: Any, y: None = None, groups: None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield all row numbers, twice.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            The data.
        y, groups : None
            Ignored.

        Yields
        ------
        train, test : ndarray of shape (n_samples,)
        """
        rows = np.arange(_num_samples(X))
        yield rows, rows.copy()

    def get_n_splits(self, X: Any = None, y: None = None, groups: None = None) -> int:
        """Return 1.

        Parameters
        ----------
        X, y, groups : object
            Ignored.
        """
        return 1

    def __repr__(self) -> str:
        return "TransductiveSplit()"


class _ClusteringScorer:
    """A score of an estimator's labels, callable as ``scorer(estimator, X, y=None)``."""

    def __init__(
        self,
        score: Callable[..., float],
        sign: int,
        *,
        space: str,
        metric: str | None,
        sample_size: int | None,
        reference: Any,
        random_state: Any,
    ):
        if space not in _SPACES:
            raise ValueError(f"space={space!r} must be one of {', '.join(map(repr, _SPACES))}.")
        if sample_size is not None and sample_size < 2:
            raise ValueError(f"sample_size={sample_size!r} must be at least 2, or None for all.")
        self._score = score
        self._sign = sign
        self.space = space
        self.metric = metric
        self.sample_size = sample_size
        self.reference = reference
        self.random_state = random_state

    def __call__(self, estimator: Any, X: Any, y: Any = None) -> float:
        X = self._sample(X)
        _, first, labels = np.unique(estimator.predict(X), return_index=True, return_inverse=True)
        n_labels = len(first)
        # Numbered as they come, so that the same groups under other numbers get the same score
        # to the last digit, and a search for the best one sees that they are equal.
        labels = np.argsort(np.argsort(first))[labels]
        if not 1 < n_labels < len(labels):
            warnings.warn(
                f"The model put {len(labels)} samples into {n_labels} clusters, which has no "
                "score: NaN.",
                UndefinedMetricWarning,
                stacklevel=2,
            )
            return float("nan")
        space, metric = self._space(estimator, X)
        # A silhouette depends on distances alone; the other two take Euclidean means, which
        # for unit-length embeddings rank as the cosine does.
        options = {"metric": metric} if self._score is silhouette_score else {}
        return self._sign * float(self._score(space, labels, **options))

    def _sample(self, X: Any) -> Any:
        n_samples = _num_samples(X)
        if self.sample_size is None or n_samples <= self.sample_size:
            return X
        return _safe_indexing(X, _sample_rows(n_samples, self.sample_size, self.random_state))

    def _space(self, estimator: Any, X: Any) -> tuple[np.ndarray, str]:
        """Return the points to be judged, and the distance between them."""
        if self.reference is not None:
            return _as_rows(self.reference.transform(X)), self.metric or _metric_of(self.reference)
        # A search stands for what it found.
        estimator = last = getattr(estimator, "best_estimator_", estimator)
        if isinstance(estimator, Pipeline):
            last = estimator[-1]
            if len(estimator) > 1:
                X = estimator[:-1].transform(X)
        encoder = getattr(last, "encoder_", None)
        space = self.space
        if space == "auto":
            space = "input" if encoder is None else "pretrained"
        if space == "input":
            return _as_rows(X), self.metric or "euclidean"
        if space == "embedding":
            return _as_rows(last.transform(X)), self.metric or _metric_of(encoder)
        if encoder is None:
            raise ValueError(
                f"space='pretrained' needs an estimator with an encoder_; {type(last).__name__} "
                "has none: use space='input', or 'embedding' if it has transform."
            )
        return pretrained_embedding(last, X), self.metric or _metric_of(encoder)

    def __repr__(self) -> str:
        return f"{self._score.__name__} of the labels, space={self.space!r}"


def pretrained_embedding(model: Any, X: Any) -> np.ndarray:
    """Embed `X` by the pretrained encoder of a fitted clusterer.

    Parameters
    ----------
    model : fitted DeepConvEmbeddingClustering or DeepEmbeddingClustering
    X : array-like
        What the model takes.

    Returns
    -------
    embedding : ndarray of shape (n_samples, n_components)
    """
    return _embed(model.encoder_, X, getattr(model, "data_format", "channels_last"))


def _embed(encoder: Any, X: Any, data_format: str) -> np.ndarray:
    """Embed `X`, whose 4-D form is as `data_format` says, by a fitted encoder."""
    X = np.asarray(X)
    if X.ndim == 4 and data_format == "channels_first":
        X = X.transpose(0, 2, 3, 1)
    # Rows are (H, W, C) for every encoder, whatever order it expects of 4-D arrays.
    takes_images = hasattr(encoder, "image_shape_")
    if takes_images and getattr(encoder, "data_format", "channels_last") == "channels_last":
        return encoder.transform(X)
    return encoder.transform(_as_rows(X))


def _sample_rows(n_samples: int, size: int | None, random_state: Any) -> np.ndarray:
    """Return the rows that are scored, in order."""
    if size is None or n_samples <= size:
        return np.arange(n_samples)
    return np.sort(check_random_state(random_state).permutation(n_samples)[:size])


def _as_rows(X: Any) -> np.ndarray:
    X = np.asarray(X)
    return X.reshape(len(X), -1)


def _metric_of(encoder: Any) -> str:
    return getattr(encoder, "metric_", "euclidean")


def make_silhouette_scorer(
    *,
    space: str = "auto",
    metric: str | None = None,
    sample_size: int | None = 3000,
    reference: Any = None,
    random_state: Any = 0,
) -> Callable[..., float]:
    """Make a silhouette scorer of predicted labels for searches over clusterers.

    Parameters
    ----------
    space : {"auto", "pretrained", "input", "embedding"}, default="auto"
        Where distances are taken: in the embedding of the clusterer's pretrained encoder
        (the only space that is the same for every `n_clusters`), in the input of the
        estimator (of its last step, for a Pipeline), or in its own ``transform``, which
        rewards each model for the separation it made itself. "auto" is "pretrained" for
        clusterers that have an encoder, and "input" for all others.
    metric : str, default=None
        A metric of `sklearn.metrics.silhouette_score`. None is the encoder's own.
    sample_size : int, default=3000
        Rows that are scored, the same ones for every candidate. None takes all; the cost
        grows with the square.
    reference : fitted transformer, default=None
        Its ``transform`` of `X` is the space, whatever the candidate: for grids over
        parameters of the encoder, whose embeddings cannot be compared.
    random_state : int, RandomState instance or None, default=0
        Determines the sample.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y=None)`` for `scoring=` of scikit-learn's searches. Fewer
        than two clusters score NaN, with an `UndefinedMetricWarning`.

    Raises
    ------
    ValueError
        If `space` or `sample_size` is not one of the above.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import make_blobs
    >>> from skdcec.model_selection import make_silhouette_scorer
    >>> X, _ = make_blobs(centers=3, random_state=0, cluster_std=0.05)
    >>> scorer = make_silhouette_scorer(space="input")
    >>> round(scorer(KMeans(3, random_state=0).fit(X), X), 1)
    1.0
    """
    return _ClusteringScorer(
        silhouette_score,
        1,
        space=space,
        metric=metric,
        sample_size=sample_size,
        reference=reference,
        random_state=random_state,
    )


def make_calinski_harabasz_scorer(
    *,
    space: str = "auto",
    sample_size: int | None = 3000,
    reference: Any = None,
    random_state: Any = 0,
) -> Callable[..., float]:
    """Make a Calinski-Harabasz scorer of predicted labels.

    Parameters
    ----------
    space, sample_size, reference, random_state
        As for `make_silhouette_scorer`.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y=None)``; greater is better.
    """
    return _ClusteringScorer(
        calinski_harabasz_score,
        1,
        space=space,
        metric=None,
        sample_size=sample_size,
        reference=reference,
        random_state=random_state,
    )


def make_davies_bouldin_scorer(
    *,
    space: str = "auto",
    sample_size: int | None = 3000,
    reference: Any = None,
    random_state: Any = 0,
) -> Callable[..., float]:
    """Make a scorer of predicted labels by the negative Davies-Bouldin index.

    Parameters
    ----------
    space, sample_size, reference, random_state
        As for `make_silhouette_scorer`.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y=None)``; greater is better.
    """
    return _ClusteringScorer(
        davies_bouldin_score,
        -1,
        space=space,
        metric=None,
        sample_size=sample_size,
        reference=reference,
        random_state=random_state,
    )


silhouette_scorer = make_silhouette_scorer()
calinski_harabasz_scorer = make_calinski_harabasz_scorer()
davies_bouldin_scorer = make_davies_bouldin_scorer()


# What a search does

# As good as the best are the k whose silhouettes, point by point, are not this many standard errors
# lower on average.
_STANDARD_ERRORS = 2
# With three, a search over nine numbers costs less than two fits.
_MAX_TRAINED = 3
_SCREEN_N_INIT = 10
_NULL_N_INIT = 3
# Below this much more than the null there are no clusters that anybody would see: deep
# embeddings of noise are not quite normal.
_MIN_EXCESS = 0.02
_NULL_LEVEL = 0.05
_GAP_LEVEL = 0.01
_GAP_SPLITS = 5
# Shares of the progress bar, about as the time goes: all joint trainings, and the rest.
_PRETRAINING, _SCREENING, _JOINT = 60, 20, 40


def _has(method: str) -> Callable[[Any], bool]:
    def check(search: Any) -> bool:
        getattr(getattr(search, "best_estimator_", search.estimator), method)
        return True

    return check


class NClustersSearch(MetaEstimatorMixin, ClusterMixin, BaseEstimator):
    """Choose the number of clusters, and say whether there are any.

    The encoder is pretrained once. Each number of clusters k is screened by k-means in its
    embedding, which takes seconds; only the plausible ones are trained jointly; and all labels
    are judged by their silhouette in that one embedding. (The embedding that a model ends with
    rewards the separation it made itself, so it cannot tell which k is right.) A model of
    points without clusters, and a test for gaps, then tell how much to believe.

    Parameters
    ----------
    estimator : clusterer, or Pipeline that ends in one
        With a parameter `n_clusters`. One with ``fit_encoder``, as the clusterers of this
        library, is pretrained once for all candidates.
    n_clusters : sequence of int, default=(2, ..., 10)
        The numbers to compare; a single one may stand by itself.
    n_runs : int, default=1
        Trainings of each k that is trained. They share the pretraining and differ in all
        else that is random; the first has the seed of `estimator`. Scores are their means.
    screen : {"plausible"} or None, default="plausible"
        "plausible" trains the best of the plausible numbers, at most three; the others keep
        their k-means labels. None trains all.
    reference : fitted transformer, default=None
        Its ``transform`` of `X` is the space in which labels are judged. None takes the
        pretrained embedding where there is one, else the input of the (last) estimator.
    memory : str, path or joblib.Memory, default=None
        Where the pretraining and each finished training are kept, so that a search that was
        interrupted goes on where it stopped. Needs an integer `random_state` in `estimator`.
        None takes the estimator's own for the pretraining, and keeps nothing else.
    n_jobs : int, default=None
        Trainings that run at once, as `joblib.Parallel` takes it: in processes, each with its
        share of the processors, or on whatever cluster `joblib.parallel_config` names.
    sample_size : int, default=3000
        Rows on which silhouettes are taken, the same ones for every k. None takes all; time
        and memory grow with the square.
    n_null_draws : int, default=19
        Samples of points without clusters to compare with; 19 are the fewest that can show
        anything at the level of 5 %.
    random_state : int, RandomState instance or None, default=0
        Determines the sample, the screening, the null model and the runs after the first.
    verbose : int or bool, default=False
        Whether to show the progress of the whole search.

    Attributes
    ----------
    results_ : dict of ndarray
        One value for each k:

        - "n_clusters";
        - "screened_silhouette": of the k-means labels; "screened_difference" and
          "screened_standard_error": to the best k, paired point by point;
        - "null_silhouette": mean over points without clusters; "excess_silhouette": how much
          more there is;
        - "plausible": whether k may be the best;
        - "trained": whether the rest of the row is of trained labels, or of k-means;
        - "silhouette", "difference", "standard_error": of these, in the shared space;
        - "n_found", "smallest_share": clusters with members, and the share of the smallest;
        - "agreement": mean adjusted Rand index between runs; a diagnostic;
        - "own_silhouette": in the model's own embedding, which is not comparable across k;
        - "fit_time": seconds of all runs;
        - "error": why a k or some of its runs failed, else an empty string.
    labels_of_ : dict of int to ndarray of shape (n_samples,)
        The labels of each k: of its best run, or of k-means.
    best_n_clusters_ : int
        The k of the highest "silhouette" among the trained ones.
    best_index_ : int
        Its position in `results_`.
    best_score_ : float
        Its silhouette.
    best_estimator_ : estimator
        Its best run, fitted. Its encoder is frozen, that is, shared by all candidates.
    labels_ : ndarray of shape (n_samples,)
        Its labels.
    verdict_ : str
        What the search shows, in words.
    evidence_ : {"separated groups", "structure", "none", "unknown"}
        The same in short.
    null_p_value_ : float
        How likely points without clusters have as large an excess.
    gap_p_value_ : float
        How likely there is as clear a gap between groups without one.

    See Also
    --------
    silhouette_scorer : The same score, for scikit-learn's searches.
    skdcec.inspection.NClustersSearchDisplay : A picture of the result.

    Notes
    -----
    The score of a candidate does not depend on which others are in the list, as long as it is
    trained. Labels are those that `estimator` with this `n_clusters` and seed would find in a
    process with as many threads.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import make_blobs
    >>> from skdcec.model_selection import NClustersSearch
    >>> X, _ = make_blobs(300, centers=4, cluster_std=0.4, random_state=0)
    >>> search = NClustersSearch(KMeans(random_state=0), range(2, 7)).fit(X)
    >>> search.best_n_clusters_, search.evidence_
    (4, 'separated groups')
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods("fit")],
        "n_clusters": ["array-like", Integral],
        "n_runs": [Interval(Integral, 1, None, closed="left")],
        "screen": [StrOptions({"plausible"}), None],
        "reference": [HasMethods("transform"), None],
        "memory": "no_validation",
        "n_jobs": [Integral, None],
        "sample_size": [Interval(Integral, 2, None, closed="left"), None],
        "n_null_draws": [Interval(Integral, 19, None, closed="left")],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimator: Any,
        n_clusters: Sequence[int] | int = tuple(range(2, 11)),
        *,
        n_runs: int = 1,
        screen: str | None = "plausible",
        reference: Any = None,
        memory: Any = None,
        n_jobs: int | None = None,
        sample_size: int | None = 3000,
        n_null_draws: int = 19,
        random_state: Any = 0,
        verbose: Any = False,
    ):
        self.estimator = estimator
        self.n_clusters = n_clusters
        self.n_runs = n_runs
        self.screen = screen
        self.reference = reference
        self.memory = memory
        self.n_jobs = n_jobs
        self.sample_size = sample_size
        self.n_null_draws = n_null_draws
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: None = None) -> Self:
        """Search.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            What `estimator` takes. Neither indexed nor copied.
        y : None
            Ignored.

        Returns
        -------
        self : object

        Raises
        ------
        TypeError
            If `estimator` has no parameter `n_clusters`.
        ValueError
            If `n_clusters` is empty or holds anything but positive integers, or if no
            training succeeded.
        """
        candidates = _check_candidates(self.n_clusters)
        clusterer, head = self._check_estimator()
        seeds = check_random_state(self.random_state)
        rows_seed = self.random_state if isinstance(self.random_state, Integral) else seeds
        seed, *run_seeds = (int(s) for s in seeds.randint(2**31 - 1, size=self.n_runs))
        memory = check_memory(str(self.memory) if isinstance(self.memory, Path) else self.memory)
        with _progress(self.verbose) as bar:
            reached = X if head is None else head.fit_transform(X)
            clusterer, space = self._shared_space(clusterer, X, reached)
            bar.done(_PRETRAINING)
            rows = _sample_rows(len(space.points), self.sample_size, rows_seed)
            table = _screen(space, rows, candidates, self.n_null_draws, seed, bar)
            chosen = _chosen(table, self.screen)
            jobs = self._jobs(clusterer, reached, chosen, run_seeds, memory, space)
            bar.joint(len(jobs))
            parallel = joblib.Parallel(n_jobs=self.n_jobs, return_as=_return_as())
            best: dict[int, _Run] = {}
            for run in parallel(jobs):
                bar.done(_JOINT)
                table.add(run)
                if run.error == "" and (
                    run.n_clusters not in best
                    or _above(table.score(run.labels), table.score(best[run.n_clusters].labels))
                ):
                    # Of all models only the best of each k is kept.
                    best[run.n_clusters] = run
        self._finish(table, best, head, seed)
        return self

    def _check_estimator(self) -> tuple[Any, Any]:
        """Return the clusterer and the steps before it, as new clones."""
        estimator, head = clone(self.estimator), None
        last = estimator
        if isinstance(estimator, Pipeline):
            last = estimator[-1]
            head = estimator[:-1] if len(estimator) > 1 else None
        if not hasattr(last, "get_params") or "n_clusters" not in last.get_params(deep=False):
            raise TypeError(
                f"estimator={self.estimator!r} has no parameter n_clusters to search over: use a "
                "clusterer that has, such as DeepConvEmbeddingClustering or KMeans, or a Pipeline "
                "that ends in one."
            )
        return last, head

    def _shared_space(self, clusterer: Any, X: Any, reached: Any) -> tuple[Any, "_Space"]:
        """Return the clusterer with its encoder frozen, and the points that are judged."""
        encoder = None
        if hasattr(clusterer, "fit_encoder"):
            if self.memory is not None:
                clusterer.set_params(memory=self.memory)
            encoder = clusterer.fit_encoder(reached)
            clusterer.set_params(encoder=FrozenEstimator(encoder), memory=None)
        if self.reference is not None:
            points, metric = _as_rows(self.reference.transform(X)), _metric_of(self.reference)
        elif encoder is not None:
            data_format = getattr(clusterer, "data_format", "channels_last")
            points, metric = _embed(encoder, reached, data_format), _metric_of(encoder)
        else:
            points, metric = check_array(reached, allow_nd=True), "euclidean"
            points = _as_rows(points)
        return clusterer, _Space(points, metric)

    def _jobs(
        self,
        clusterer: Any,
        X: Any,
        chosen: Sequence[int],
        run_seeds: list[int],
        memory: Any,
        space: "_Space",
    ) -> list:
        """Return the trainings to do, as joblib takes them."""
        prefix = _cache_prefix(clusterer, X, memory, space)
        jobs = []
        for run, seed in enumerate([None, *run_seeds]):
            for k in chosen:
                candidate = clone(clusterer).set_params(n_clusters=int(k))
                if seed is not None and "random_state" in candidate.get_params(deep=False):
                    candidate.set_params(random_state=seed)
                key = prefix and f"{prefix} {k} {candidate.get_params().get('random_state')}"
                jobs.append(joblib.delayed(_run)(candidate, X, int(k), run, memory, key))
        return jobs

    def _finish(self, table: "_Table", best: dict[int, "_Run"], head: Any, seed: int) -> None:
        failures = [f"n_clusters={k}: {error}" for k, error in table.errors.items()]
        if not best:
            raise ValueError("All trainings failed. " + " ".join(failures))
        if failures:
            warnings.warn(
                f"{len(failures)} of {len(table.candidates)} numbers of clusters failed, wholly or "
                "in some runs: " + " ".join(failures),
                FitFailedWarning,
                stacklevel=4,
            )
        self.labels_of_ = {**table.screened, **{k: run.labels for k, run in best.items()}}
        self.results_ = table.results(best)
        scores = np.where(self.results_["trained"], self.results_["silhouette"], np.nan)
        if np.isfinite(scores).any():
            self.best_index_ = int(np.nanargmax(scores))
        else:
            # Every model put all into one cluster; which was asked for more makes no difference.
            self.best_index_ = int(np.flatnonzero(self.results_["trained"])[0])
        self.best_n_clusters_ = int(self.results_["n_clusters"][self.best_index_])
        self.best_score_ = float(self.results_["silhouette"][self.best_index_])
        run = best[self.best_n_clusters_]
        self.labels_ = run.labels
        self.best_estimator_ = run.model
        if head is not None:
            name = self.estimator.steps[-1][0]
            self.best_estimator_ = Pipeline([*head.steps, (name, run.model)])
        if hasattr(self.best_estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.best_estimator_.feature_names_in_
        self.null_p_value_ = table.null_p_value
        self.gap_p_value_ = table.gap_p_value(seed)
        self.evidence_, self.verdict_ = _judge(self)

    @property
    def n_features_in_(self) -> int:
        """Number of features of the best estimator's input."""
        try:
            check_is_fitted(self)
        except ValueError as error:
            raise AttributeError(
                f"{type(self).__name__} has no n_features_in_ before fit."
            ) from error
        return self.best_estimator_.n_features_in_

    @available_if(_has("predict"))
    def predict(self, X: Any) -> np.ndarray:
        """Return the cluster of each row of `X`, by the best estimator.

        Parameters
        ----------
        X : array-like
            What `estimator` takes.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        return self.best_estimator_.predict(X)

    @available_if(_has("predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the soft assignment of each row of `X`, by the best estimator.

        Parameters
        ----------
        X : array-like
            What `estimator` takes.

        Returns
        -------
        assignment : ndarray of shape (n_samples, n_clusters)
        """
        check_is_fitted(self)
        return self.best_estimator_.predict_proba(X)

    @available_if(_has("transform"))
    def transform(self, X: Any) -> Any:
        """Transform `X` by the best estimator.

        Parameters
        ----------
        X : array-like
            What `estimator` takes.

        Returns
        -------
        X_new : ndarray
        """
        check_is_fitted(self)
        return self.best_estimator_.transform(X)

    @available_if(_has("transform"))
    def fit_transform(self, X: Any, y: None = None) -> Any:
        """Search, and transform `X` by the best estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            What `estimator` takes.
        y : None
            Ignored.

        Returns
        -------
        X_new : ndarray
        """
        return self.fit(X).transform(X)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "best_estimator_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.transformer_tags = inner.transformer_tags
        tags.input_tags.pairwise = inner.input_tags.pairwise
        tags.input_tags.allow_nan = inner.input_tags.allow_nan
        return tags


class _Space(NamedTuple):
    """The points in which all labels are judged."""

    points: np.ndarray
    metric: str


@dataclass
class _Run:
    """One training: a fitted model, or the reason why there is none."""

    n_clusters: int
    run: int
    model: Any = None
    labels: Any = None
    own: Any = None
    seconds: float = 0.0
    error: str = ""


def _check_candidates(n_clusters: Any) -> list[int]:
    candidates = [n_clusters] if isinstance(n_clusters, Integral) else list(n_clusters)
    if not candidates or not all(
        isinstance(k, (int, np.integer)) and not isinstance(k, bool) and k >= 1 for k in candidates
    ):
        raise ValueError(
            f"n_clusters={n_clusters!r} must be a list of integers from 1, such as range(2, 11)."
        )
    unique = sorted({int(k) for k in candidates})
    if len(unique) < len(candidates):
        warnings.warn(
            f"n_clusters={n_clusters!r} names some numbers twice; each is tried once.",
            UserWarning,
            stacklevel=4,
        )
    return unique


def _run(estimator: Any, X: Any, k: int, run: int, memory: Any, key: str) -> _Run:
    """Train one candidate, or take it from the cache; a failure is never kept there."""
    try:
        if not key or memory.location is None:
            return _train(key, estimator, X, k, run)
        # Threads change the order of sums, and so the labels.
        key = f"{key} {torch.get_num_threads()}"
        cached = memory.cache(_train, ignore=["estimator", "X", "k", "run"])
        return cached(key, estimator, X, k, run)
    except Exception as error:  # whatever it is, the other candidates go on
        return _Run(k, run, error=f"{type(error).__name__}: {error}")


def _train(key: str, estimator: Any, X: Any, k: int, run: int) -> _Run:
    start = time.perf_counter()
    estimator.fit(X)
    labels = estimator.labels_ if hasattr(estimator, "labels_") else estimator.predict(X)
    own = None
    if hasattr(estimator, "encoder_"):
        own = _Space(estimator.transform(X), _metric_of(estimator.encoder_))
    return _Run(k, run, estimator, np.asarray(labels), own, time.perf_counter() - start)


def _cache_prefix(clusterer: Any, X: Any, memory: Any, space: _Space) -> str:
    """Return what, with k and seed, tells trainings apart; empty where they cannot be kept."""
    params = clusterer.get_params(deep=False)
    if memory.location is None or params.get("random_state", 0) is None:
        return ""
    session = ("verbose", "callbacks", "memory", "encoder", "n_clusters", "random_state")
    try:
        plain = {k: plain_value(k, v) for k, v in params.items() if k not in session}
    except TypeError as error:
        warnings.warn(f"The trainings are not cached: {error}", UserWarning, stacklevel=5)
        return ""
    parts = [
        f"{type(clusterer).__module__}.{type(clusterer).__qualname__}",
        json.dumps(plain, sort_keys=True),
        content_digest(np.asarray(X)),
        content_digest(space.points),
    ]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=20).hexdigest()


def _return_as() -> str:
    """Return how joblib hands over results: one by one, where its backend can."""
    backend, _ = joblib.parallel.get_active_backend()
    return "generator" if getattr(backend, "supports_return_generator", False) else "list"


def _above(score: float, other: float) -> bool:
    return not np.isnan(score) and (np.isnan(other) or score > other)


@dataclass
class _Table:
    """What is known of each candidate, as the search goes on."""

    space: _Space
    rows: np.ndarray
    candidates: list[int]
    screened: dict[int, np.ndarray]
    errors: dict[int, str]
    distances: np.ndarray
    null: np.ndarray
    values: dict[int, np.ndarray] = field(default_factory=dict)
    runs: dict[int, list[_Run]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        labellings = [labels[self.rows] for labels in self.screened.values()]
        of_screened = silhouettes(self.distances, labellings)
        self.values = dict(zip(self.screened, of_screened, strict=True))

    def add(self, run: _Run) -> None:
        if run.error:
            self.errors[run.n_clusters] = run.error
            return
        if run.own is not None:
            points, metric = run.own
            own = silhouettes(distance_matrix(points[self.rows], metric), [run.labels[self.rows]])
            run.own = float(own.mean())
        self.runs.setdefault(run.n_clusters, []).append(run)

    def score(self, labels: np.ndarray) -> float:
        return float(silhouettes(self.distances, [labels[self.rows]]).mean())

    @property
    def screened_scores(self) -> np.ndarray:
        """Mean silhouettes of the k-means labels, NaN where there are none."""
        return np.array(
            [self.values[k].mean() if k in self.values else np.nan for k in self.candidates]
        )

    @property
    def null_scores(self) -> np.ndarray:
        """Those of points without clusters: draws in rows."""
        columns = np.full((len(self.null), len(self.candidates)), np.nan)
        columns[:, np.isin(self.candidates, list(self.screened))] = self.null
        return columns

    def compare_screened(self) -> tuple[np.ndarray, np.ndarray]:
        nothing = np.full(len(self.rows), np.nan)
        return _compare([self.values.get(k, nothing) for k in self.candidates])

    @property
    def plausible(self) -> np.ndarray:
        """Whether each k may be the best: not clearly worse, or next to one that is not."""
        difference, error = self.compare_screened()
        as_good = _as_good(difference, error)
        numbers = np.array(self.candidates)
        near = np.abs(numbers[:, None] - numbers[as_good]).min(axis=1, initial=2**31) <= 1
        return near & np.isfinite(self.screened_scores)

    @property
    def null_p_value(self) -> float:
        """Compare the largest excess over the null with those of the draws themselves."""
        null = self.null_scores[:, np.isfinite(self.screened_scores)]
        observed = self.screened_scores[np.isfinite(self.screened_scores)]
        if not observed.size:
            return float("nan")
        largest = (observed - null.mean(axis=0)).max()
        drawn = (null - null.mean(axis=0)).max(axis=1)
        return float((1 + (drawn >= largest).sum()) / (1 + len(drawn)))

    def gap_p_value(self, seed: int) -> float:
        if not np.isfinite(self.screened_scores).any():
            return float("nan")
        best = self.candidates[int(np.nanargmax(self.screened_scores))]
        return gap_p_value(self.space.points[self.rows], best, n_splits=_GAP_SPLITS, seed=seed)

    def results(self, best: dict[int, _Run]) -> dict[str, np.ndarray]:
        difference, error = self.compare_screened()
        null = self.null_scores.mean(axis=0)
        results = {
            "n_clusters": np.array(self.candidates),
            "screened_silhouette": self.screened_scores,
            "screened_difference": difference,
            "screened_standard_error": error,
            "null_silhouette": null,
            "excess_silhouette": self.screened_scores - null,
            "plausible": self.plausible,
            "trained": np.array([k in best for k in self.candidates]),
        }
        final = [self._final_values(k) for k in self.candidates]
        results["silhouette"] = np.array([values.mean() for values in final])
        results["difference"], results["standard_error"] = _compare(final)
        rows = [self._diagnostics(k, best.get(k)) for k in self.candidates]
        return results | {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def _final_values(self, k: int) -> np.ndarray:
        """Return the silhouette of each point: of the runs on average, or of k-means."""
        if k in self.runs:
            labellings = [run.labels[self.rows] for run in self.runs[k]]
            values = silhouettes(self.distances, labellings)
            scored = np.isfinite(values[:, 0])
            if scored.any():
                return values[scored].mean(axis=0)
        elif k in self.values:
            return self.values[k]
        return np.full(len(self.rows), np.nan)

    def _diagnostics(self, k: int, best: _Run | None) -> dict[str, Any]:
        runs = self.runs.get(k, [])
        labels = self.screened.get(k) if best is None else best.labels
        sizes = np.array([]) if labels is None else np.unique(labels, return_counts=True)[1]
        pairs = [adjusted_rand_score(a.labels, b.labels) for a, b in combinations(runs, 2)]
        return {
            "n_found": len(sizes),
            "smallest_share": sizes.min() / sizes.sum() if sizes.size else np.nan,
            "agreement": np.mean(pairs) if pairs else np.nan,
            "own_silhouette": np.nan if best is None or best.own is None else best.own,
            "fit_time": sum(run.seconds for run in runs),
            "error": self.errors.get(k, ""),
        }


def _compare(values: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return differences to the best, paired point by point, and their standard errors."""
    stacked = np.array(values)
    means = stacked.mean(axis=1)
    if not np.isfinite(means).any():
        return means, means.copy()
    return paired_differences(stacked, stacked[int(np.nanargmax(means))])


def _as_good(difference: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Whether each is the best or not clearly worse."""
    return np.nan_to_num(difference, nan=-np.inf) >= -_STANDARD_ERRORS * np.nan_to_num(error)


def _screen(
    space: _Space,
    rows: np.ndarray,
    candidates: list[int],
    n_draws: int,
    seed: int,
    bar: "_Bar",
) -> _Table:
    """Cluster the shared space by k-means, and points without clusters as well."""
    points = np.asarray(space.points, dtype=np.float64)
    screened: dict[int, np.ndarray] = {}
    errors = {}
    for k in candidates:
        try:
            with warnings.catch_warnings():
                # Fewer distinct points than clusters: what is found is counted.
                warnings.simplefilter("ignore")
                labels = cluster_by_k_means(points, k, _SCREEN_N_INIT, seed)
        except ValueError as error:
            errors[k] = f"ValueError: {error}"
        else:
            screened[k] = labels
        bar.done(_SCREENING / 2 / len(candidates))
    sample = points[rows]
    ks = [k for k in screened if 1 < k < len(rows)]
    null = np.full((n_draws, len(screened)), np.nan)
    null[:, np.isin(list(screened), ks)] = gaussian_null(
        sample,
        ks,
        metric=space.metric,
        n_draws=n_draws,
        n_init=_NULL_N_INIT,
        seed=seed,
        on_draw=lambda: bar.done(_SCREENING / 2 / n_draws),
    )
    distances = distance_matrix(sample, space.metric)
    return _Table(space, rows, candidates, screened, errors, distances, null)


def _chosen(table: _Table, screen: str | None) -> list[int]:
    """Return the numbers of clusters to train."""
    if screen is None:
        return list(table.candidates)
    scores = np.where(table.plausible, table.screened_scores, -np.inf)
    order = np.argsort(-scores, kind="stable")[:_MAX_TRAINED]
    chosen = [table.candidates[i] for i in order if np.isfinite(scores[i])]
    # Where nothing can be scored, there still is something to fit.
    return sorted(chosen) or table.candidates[:1]


def _judge(search: NClustersSearch) -> tuple[str, str]:
    """Return what the search shows, in short and in words."""
    results, best = search.results_, search.best_n_clusters_
    numbers = results["n_clusters"]
    scored = np.isfinite(results["screened_silhouette"])
    if not scored.any():
        return "unknown", (
            "Nothing to compare: no number of clusters has a silhouette, which needs at least two "
            "clusters, and fewer than there are images."
        )
    excess = np.nanmax(results["excess_silhouette"])
    good = _as_good(results["screened_difference"], results["screened_standard_error"]) & scored
    good |= results["trained"] & _as_good(results["difference"], results["standard_error"])
    others = ", ".join(f"{k}" for k in numbers[good] if k != best)
    others = f" (as good: {others})" if others else ""
    if not (excess >= _MIN_EXCESS and search.null_p_value_ <= _NULL_LEVEL):
        evidence = "none"
        text = (
            "No evidence of clusters: points without any, of the same spread, are grouped about as "
            f"well as these (silhouette at most {excess:.3f} more). k = {best} is the best of "
            "those tried, and means little."
        )
    elif search.gap_p_value_ < _GAP_LEVEL:
        evidence = "separated groups"
        text = (
            f"Separated groups: k = {best}{others}. The silhouette is {excess:.2f} above that of "
            f"points without clusters, and there are gaps (p = {search.gap_p_value_:.2g})."
        )
    else:
        evidence = "structure"
        text = (
            f"Structure, but no gap shown: the silhouette is {excess:.2f} above that of points "
            f"without clusters, and groups pass into each other (p = {search.gap_p_value_:.2g}). "
            f"k is a choice of resolution; k = {best} is the best of those tried{others}."
        )
    return evidence, text + _edge(numbers, best, len(np.unique(search.labels_)))


def _edge(numbers: np.ndarray, best: int, n_found: int) -> str:
    text = ""
    if len(numbers) == 1:
        text += " Only one k was tried."
    elif best == numbers[-1] or (best == numbers[0] and best > 2):
        more = "larger" if best == numbers[-1] else "smaller"
        text += f" The best k is at the edge of the list: try {more} ones."
    if n_found < best:
        text += f" Of {best} clusters, {n_found} have members."
    return text


class _Bar:
    """Shows how far the search is; does nothing without a bar."""

    def __init__(self, bar: Any = None):
        self._bar = bar

    def joint(self, n_jobs: int) -> None:
        """Say how many trainings there are."""
        if self._bar is not None:
            self._bar.total = _PRETRAINING + _SCREENING + _JOINT * n_jobs
            self._bar.refresh()

    def done(self, share: float) -> None:
        """Say that a part of the search is done."""
        if self._bar is not None:
            self._bar.update(share)


@contextmanager
def _progress(verbose: Any) -> Iterator[_Bar]:
    if not verbose:
        yield _Bar()
        return
    form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    total = _PRETRAINING + _SCREENING + _JOINT * _MAX_TRAINED
    with tqdm(total=total, desc="NClustersSearch", bar_format=form) as bar:
        yield _Bar(bar)


# Models without a common space


@dataclass(frozen=True)
class ModelComparison:
    """How well the labels of several models do in each other's embeddings.

    Parameters
    ----------
    scores : ndarray of shape (n_models, n_models)
        Silhouette of the labels of each model (row) in the embedding of each (column). The
        diagonal is what each model says of itself. NaN for labels without a silhouette.
    gap_p_values : ndarray of shape (n_models,)
        How likely there is as clear a gap in each embedding without groups.
    pooled : ndarray of shape (n_models,)
        Mean over all embeddings.
    ace : ndarray of shape (n_models,)
        Mean weighted by `weights`.
    weights : ndarray of shape (n_models,)
        How much adaptive clustering evaluation lets each embedding count.
    """

    scores: np.ndarray
    gap_p_values: np.ndarray
    pooled: np.ndarray
    ace: np.ndarray
    weights: np.ndarray


def compare_models(
    models: Sequence[Any], X: Any, *, sample_size: int | None = 3000, random_state: Any = 0
) -> ModelComparison:
    """Compare fitted models that have no pretrained embedding in common.

    Each model's labels are judged in the embedding of every model. The result depends on which
    models are listed: another list is another set of spaces. Where models do share their
    pretraining, `NClustersSearch` and `silhouette_scorer` are the better judges.

    Parameters
    ----------
    models : sequence of fitted clusterers
        With ``predict`` and ``transform``.
    X : array-like of shape (n_samples, ...)
        What the models take.
    sample_size : int, default=3000
        Rows that are scored. None takes all; the cost grows with the square.
    random_state : int, RandomState instance or None, default=0
        Determines the sample, and the halves that are tested for gaps.

    Returns
    -------
    comparison : ModelComparison

    Raises
    ------
    ValueError
        If there are no models.
    TypeError
        If a model has no ``predict`` or no ``transform``.

    Notes
    -----
    Adaptive clustering evaluation (ACE) [1]_ leaves out spaces without gaps, groups the others
    by how they rank the models, and weighs them within the best group. It needs more than five
    spaces; with fewer they count the same. The test for gaps is the one of `NClustersSearch`.

    References
    ----------
    .. [1] Wang & Ye, *Deep Clustering Evaluation: How to Validate Internal Clustering
       Validation Measures*, arXiv 2403.14830.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import make_blobs
    >>> from skdcec.model_selection import compare_models
    >>> X, _ = make_blobs(200, centers=3, cluster_std=0.5, random_state=0)
    >>> models = [KMeans(k, random_state=0).fit(X) for k in (2, 3, 5)]
    >>> comparison = compare_models(models, X)
    >>> comparison.scores.shape, comparison.pooled.shape
    ((3, 3), (3,))
    """
    if not len(models):
        raise ValueError("models is empty; at least one fitted model is needed.")
    for model in models:
        if not hasattr(model, "predict") or not hasattr(model, "transform"):
            raise TypeError(f"{model!r} needs both predict and transform to be compared.")
    seeds = check_random_state(random_state)
    rows_seed = random_state if isinstance(random_state, Integral) else seeds
    rows = _sample_rows(_num_samples(X), sample_size, rows_seed)
    seed = int(seeds.randint(2**31 - 1))
    labellings = [np.asarray(model.predict(X))[rows] for model in models]
    scores = np.empty((len(models), len(models)))
    p_values = np.empty(len(models))
    for space, model in enumerate(models):
        last = model[-1] if isinstance(model, Pipeline) else model
        points = _as_rows(model.transform(X))[rows]
        metric = _metric_of(getattr(last, "encoder_", None))
        scores[:, space] = silhouettes(distance_matrix(points, metric), labellings).mean(axis=1)
        n_found = len(np.unique(labellings[space]))
        p_values[space] = gap_p_value(points, n_found, n_splits=_GAP_SPLITS, seed=seed)
    weights = space_weights(scores, p_values)
    filled = np.nan_to_num(scores, nan=np.nanmin(scores) if np.isfinite(scores).any() else np.nan)
    return ModelComparison(scores, p_values, pooled(scores), filled @ weights, weights)
