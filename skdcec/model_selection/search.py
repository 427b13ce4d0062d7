"""A search over the number of clusters, that says whether there are any."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import joblib
import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin, MetaEstimatorMixin, clone
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.validation import check_is_fitted, check_memory

from skdcec._analysis.samples import sample_rows
from skdcec._analysis.spaces import Space, as_rows, embed, images_in, metric_of
from skdcec._bars import without_bars
from skdcec._callers import caller_level
from skdcec._encoders.remembered import embeddings_remembered
from skdcec._sklearn_compat import (
    HasMethods,
    Interval,
    StrOptions,
    available_if,
    check_array,
    fit_context,
)
from skdcec._workers import EndsWithParent, ending_with_parent
from skdcec.model_selection.progress import JOINT, PRETRAINING, progress
from skdcec.model_selection.table import MAX_TRAINED, Table, choose, screen
from skdcec.model_selection.trainings import Cache, cache_of, run_candidate
from skdcec.model_selection.verdict import judge


def _has(method: str) -> Callable[[Any], bool]:
    def check(search: Any) -> bool:
        getattr(getattr(search, "best_estimator_", search.estimator), method)
        return True

    return check


class NClustersSearch(MetaEstimatorMixin, ClusterMixin, BaseEstimator):
    """Choose the number of clusters, and say whether there are any.

    The encoder is pretrained once, and each number of clusters k is screened in its embedding,
    which takes seconds. Three kinds of evidence, which err on different sets, are joined: whether
    the clusters cut few edges between nearest neighbours, and their silhouette, each compared
    with points drawn without clusters; and whether two ways of finding clusters agree. The k
    that they support best is chosen, and those they support about as well are plausible; only
    the best of these are trained jointly. (In its own refined embedding, each model is rewarded
    for the separation that it made itself, whatever its k.) A test for gaps then says how strong
    the evidence is.

    Parameters
    ----------
    estimator : clusterer, or Pipeline that ends in one
        With a parameter `n_clusters`. One with ``fit_encoder``, as the clusterers of this
        library, is pretrained once for all candidates.
    n_clusters : sequence of int, default=(2, ..., 10)
        The numbers to compare, or a single one.
    n_runs : int, default=1
        Trainings of each k that is trained. They share the pretraining and differ in the
        seed of what follows; the first has the seed of `estimator`. Scores are means over them.
    screen : {"plausible"} or None, default="plausible"
        "plausible" trains the best of the plausible numbers, at most three; the others keep
        their k-means labels. None trains all, and chooses the same.
    reference : fitted transformer, default=None
        Its ``transform`` of `X` is the space in which labels are scored. None takes the
        pretrained embedding where there is one, else the input of the (last) estimator.
    memory : str, path or joblib.Memory, default=None
        Where the pretraining and each finished training are cached, so that an interrupted
        search goes on where it stopped, within a training, too. Needs an integer `random_state`
        in `estimator`. None takes the estimator's own for the pretraining and for trainings
        that are interrupted, and keeps nothing else.
    n_jobs : int, default=None
        Trainings that run at once, as `joblib.Parallel` takes it: in processes, each with its
        share of the processors, or on whatever cluster `joblib.parallel_config` names.
    sample_size : int, default=3000
        Rows on which silhouettes are taken, the same ones for every k. None takes all; time
        and memory grow with the square.
    n_null_draws : int, default=19
        Samples of points without clusters to compare with; with fewer than 19, no p-value
        could be as low as 5 %.
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
        - "null_silhouette": mean over samples without clusters; "excess_silhouette": how much
          higher the screened one is;
        - "modularity": in the graph of nearest neighbours, of clusters found in two ways, as
          those that a training starts from, and by the best of k-means, Ward's linkage, a
          mixture and that graph; "excess_modularity": how much higher than for points without
          clusters;
        - "found_silhouette": of the same; "excess_found_silhouette", likewise;
        - "concordance": how much of its cluster a sample has in common in the two ways: the mean
          Jaccard similarity to the most similar cluster found in the other one;
        - "support": of these two excesses and that together, the best with 1;
        - "bic": Bayesian information criterion of a Gaussian mixture, for each point, less is
          better, and its "covariance": "full", "tied", "diag" or "spherical";
        - "eigengap": of that graph; "resampled": adjusted Rand index of k-means on two halves;
          like "bic", to be looked at, but without a say in what is chosen;
        - "plausible": whether k is about as good as the best;
        - "trained": whether the rest of the row is of trained labels, or of k-means;
        - "silhouette", "difference", "standard_error": of these, in the shared space;
        - "n_found", "smallest_share": clusters with members, and the share of the smallest;
        - "agreement": mean adjusted Rand index between runs; a diagnostic;
        - "own_silhouette": in the model's own embedding, which is not comparable across k;
        - "fit_time": seconds of all runs;
        - "error": why a k or some of its runs failed, else an empty string.
    labels_of_ : dict of int to ndarray of shape (n_samples,)
        The labels of each k: of its best run, or of k-means.
    found_labels_of_ : dict of int to ndarray of shape (n_samples,)
        The labels of each k as a training would start from, by which it was judged: of at most
        1000 samples, and of the nearest of these for the others.
    best_n_clusters_ : int
        The smallest k whose "support" is within noise of the best.
    best_index_ : int
        Its position in `results_`.
    best_score_ : float
        Its silhouette.
    best_estimator_ : estimator
        Its best run, fitted. Its encoder is frozen, that is, shared by all candidates.
    labels_ : ndarray of shape (n_samples,)
        Its labels.
    embedding_ : ndarray of shape (n_samples, n_components)
        Where each sample lies in the shared space, in which all numbers are judged.
    stability_ : Stability
        How firm the clusters of `labels_` are, found anew in random halves of the shared space:
        ``stability_.clusters`` has, for each, how much of it comes back on average (below 0.5 it
        would not), and ``stability_.agreement`` how far two such runs agree (adjusted Rand index).
    verdict_ : str
        What the search shows, in words.
    evidence_ : {"separated groups", "structure", "none", "unknown"}
        The same in a word or two.
    null_p_value_ : float
        P-value of the largest excess, by the samples without clusters.
    gap_p_value_ : float
        P-value of the test for gaps between the groups of the best screened k.

    See Also
    --------
    silhouette_scorer : The same score, for scikit-learn's searches.
    skdcec.inspection.NClustersSearchDisplay : A picture of the result.

    Notes
    -----
    The score of a candidate does not depend on which others are in the list, as long as it is
    trained; its support does, since that is relative to the best. Labels are those that
    `estimator` with this `n_clusters` and seed would find in a process with as many threads.

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
        "n_clusters": "no_validation",
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

    @fit_context(prefer_skip_nested_validation=False)
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
            The estimator itself, fitted.

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
        with progress(self.verbose, MAX_TRAINED) as bar, embeddings_remembered():
            if head is None:
                X = images_in(X)
            reached = X if head is None else head.fit_transform(X)
            _check_rows(clusterer, reached)
            clusterer, space = self._shared_space(clusterer, X, reached)
            bar.done(PRETRAINING)
            rows = sample_rows(len(space.points), self.sample_size, rows_seed)
            table = screen(space, rows, candidates, self.n_null_draws, seed, bar)
            chosen = choose(table, self.screen)
            cache = cache_of(clusterer, reached, memory, space)
            bar.joint(self.n_runs * len(chosen))
            # No more processes than trainings: one without work would share processors in vain.
            n_jobs = min(joblib.effective_n_jobs(self.n_jobs), self.n_runs * len(chosen))
            parallel = joblib.Parallel(
                n_jobs=n_jobs, return_as=_return_as(), **ending_with_parent()
            )
            found = {}
            jobs = self._jobs(clusterer, reached, space, chosen, run_seeds, cache, n_jobs)
            for run in parallel(jobs):
                bar.done(JOINT)
                table.add(run)
                k = run.n_clusters
                found[k, run.run] = k if run.error else len(np.unique(run.labels))
        _warn_of_empty_clusters(found)
        self.embedding_ = space.points
        self._finish(table, head, seed)
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

    def _shared_space(self, clusterer: Any, X: Any, reached: Any) -> tuple[Any, Space]:
        """Return the clusterer with its encoder frozen, and the points that are judged."""
        encoder = None
        if hasattr(clusterer, "fit_encoder"):
            if self.memory is not None:
                clusterer.set_params(memory=self.memory)
            encoder = clusterer.fit_encoder(reached)
            # Its memory stays, for what is left of an interrupted training.
            clusterer.set_params(encoder=FrozenEstimator(encoder))
        if self.reference is not None:
            points, metric = as_rows(self.reference.transform(X)), metric_of(self.reference)
        elif encoder is not None:
            data_format = getattr(clusterer, "data_format", "channels_last")
            points, metric = embed(encoder, reached, data_format), metric_of(encoder)
        else:
            points, metric = check_array(reached, allow_nd=True, input_name="X"), "euclidean"
            points = as_rows(points)
        return clusterer, Space(points, metric)

    def _jobs(
        self,
        clusterer: Any,
        X: Any,
        space: Space,
        chosen: Sequence[int],
        run_seeds: list[int],
        cache: Cache,
        n_jobs: int,
    ) -> Iterator:
        """Yield the trainings to do, as joblib takes them: made when their turn comes."""
        aside = self.verbose and n_jobs > 1
        train = partial(without_bars, run_candidate) if aside else run_candidate
        starts_there = self.reference is None and hasattr(clusterer, "fit_encoder")
        embedding = space.points if starts_there else None
        for run, seed in enumerate([None, *run_seeds]):
            for k in chosen:
                candidate = clone(clusterer).set_params(n_clusters=int(k))
                if seed is not None and "random_state" in candidate.get_params(deep=False):
                    candidate.set_params(random_state=seed)
                arguments = candidate, X, int(k), run, cache, embedding
                yield joblib.delayed(EndsWithParent(train))(*arguments)

    def _finish(self, table: Table, head: Any, seed: int) -> None:
        """Store what was found."""
        best = table.best
        failures = [f"n_clusters={k}: {error}" for k, error in table.errors.items()]
        if not best:
            raise ValueError(f"All trainings failed. {_few(failures)}")
        if failures:
            warnings.warn(
                f"{len(failures)} of {len(table.candidates)} numbers of clusters failed, wholly or "
                f"in some runs: {_few(failures)}",
                FitFailedWarning,
                stacklevel=caller_level(),
            )
        self.labels_of_ = {**table.screened, **{k: run.labels for k, run in best.items()}}
        self.found_labels_of_ = table.found
        self.results_ = table.results()
        self.best_index_ = table.best_index
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
        self.stability_ = table.stability(self.labels_, seed)
        self.null_p_value_ = table.null_p_value
        self.gap_p_value_ = table.gap_p_value(seed)
        self.evidence_, self.verdict_ = judge(
            self.results_,
            best_n_clusters=self.best_n_clusters_,
            n_found=len(np.unique(self.labels_)),
            null_p_value=self.null_p_value_,
            gap_p_value=self.gap_p_value_,
        )

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
            Cluster of each sample.
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
            How strongly each sample belongs to each cluster; rows sum to 1.
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
            What the best estimator makes of `X`.
        """
        check_is_fitted(self)
        return self.best_estimator_.transform(X)

    @available_if(_has("inverse_transform"))
    def inverse_transform(self, Z: Any) -> Any:
        """Decode embeddings by the best estimator, where it can.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components)
            What its ``transform`` returns, or its ``cluster_centers_``.

        Returns
        -------
        X : ndarray
            In the form of what `estimator` takes.
        """
        check_is_fitted(self)
        return self.best_estimator_.inverse_transform(Z)

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
            What the best estimator makes of `X`.
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


def _warn_of_empty_clusters(found: dict[tuple[int, int], int]) -> None:
    """Say once which trainings left clusters without members."""
    fewer = [(n, k) for (k, _), n in found.items() if n < k]
    if fewer:
        few = ", ".join(f"{n} of {k}" for n, k in fewer[:5]) + ", ..." * (len(fewer) > 5)
        warnings.warn(
            f"In {len(fewer)} of {len(found)} trainings not all clusters have members ({few}): "
            "there may be fewer groups, or copies; where there are not, longer pretraining, more "
            "samples or another seed usually help.",
            ConvergenceWarning,
            stacklevel=caller_level(),
        )


def _check_candidates(n_clusters: Any) -> list[int]:
    candidates: list[Any] = []
    # What cannot be listed is told below.
    with suppress(TypeError):
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
            stacklevel=caller_level(),
        )
    return unique


def _check_rows(clusterer: Any, X: Any) -> None:
    """Raise where images are given to a clusterer of rows, before all else is done with them."""
    shape = getattr(X, "shape", ())
    if type(clusterer).__module__.startswith("sklearn.") and len(shape) > 2:
        raise ValueError(
            f"X has shape {shape}, and {type(clusterer).__name__} takes rows: give "
            "X.reshape(len(X), -1), or search over a DeepConvEmbeddingClustering, which takes "
            "images."
        )


def _few(failures: list[str]) -> str:
    more = f"; and {len(failures) - 3} more, in results_['error']" * (len(failures) > 3)
    return "; ".join(failure.rstrip(".") for failure in failures[:3]) + more + "."


def _return_as() -> str:
    """Return how joblib hands over results: one by one, where its backend can."""
    backend, _ = joblib.parallel.get_active_backend()
    return "generator" if getattr(backend, "supports_return_generator", False) else "list"
