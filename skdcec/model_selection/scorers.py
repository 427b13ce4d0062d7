"""How good are the labels? Scorers for searches, in a space that the candidates share."""

from collections.abc import Callable
from typing import Any

from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_score

from skdcec._analysis.scores import score_labels
from skdcec._analysis.spaces import Space, as_rows, check_space, metric_of, space_of
from skdcec.metrics import neighbor_modularity


class _ClusteringScorer:
    """An index of an estimator's labels, callable as ``scorer(estimator, X, y=None)``."""

    def __init__(
        self,
        index: Callable[..., float],
        sign: int,
        *,
        space: str,
        metric: str | None,
        sample_size: int | None,
        reference: Any,
        random_state: Any,
    ):
        check_space(space)
        if sample_size is not None and sample_size < 2:
            raise ValueError(f"sample_size={sample_size!r} must be at least 2, or None for all.")
        self._index = index
        self._sign = sign
        self.space = space
        self.metric = metric
        self.sample_size = sample_size
        self.reference = reference
        self.random_state = random_state

    def __call__(self, estimator: Any, X: Any, y: Any = None) -> float:
        return self._sign * score_labels(
            estimator,
            X,
            self._space,
            index=self._index,
            sample_size=self.sample_size,
            random_state=self.random_state,
        )

    def _space(self, estimator: Any, X: Any) -> Space:
        """Return the points to be judged, and the distance between them."""
        if self.reference is None:
            space = space_of(estimator, X, self.space)
        else:
            space = Space(as_rows(self.reference.transform(X)), metric_of(self.reference))
        return space._replace(metric=self.metric or space.metric)

    def __repr__(self) -> str:
        return f"{self._index.__name__} of the labels, space={self.space!r}"


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

    See Also
    --------
    silhouette_scorer : The same with the defaults.
    make_modularity_scorer : Compares encoders rather than numbers of clusters.
    sklearn.metrics.silhouette_score : The index.

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
    space : {"auto", "pretrained", "input", "embedding"}, default="auto"
        As for `make_silhouette_scorer`.
    sample_size : int, default=3000
        Rows that are scored; None takes all.
    reference : fitted transformer, default=None
        As for `make_silhouette_scorer`.
    random_state : int, RandomState instance or None, default=0
        Determines the sample.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y=None)``; greater is better.

    See Also
    --------
    calinski_harabasz_scorer : The same with the defaults.
    sklearn.metrics.calinski_harabasz_score : The index.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import make_blobs
    >>> from skdcec.model_selection import make_calinski_harabasz_scorer
    >>> X, _ = make_blobs(centers=3, random_state=0, cluster_std=0.05)
    >>> scorer = make_calinski_harabasz_scorer(space="input")
    >>> scores = {k: scorer(KMeans(k, random_state=0).fit(X), X) for k in (2, 3)}
    >>> max(scores, key=scores.get)
    3
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
    space : {"auto", "pretrained", "input", "embedding"}, default="auto"
        As for `make_silhouette_scorer`.
    sample_size : int, default=3000
        Rows that are scored; None takes all.
    reference : fitted transformer, default=None
        As for `make_silhouette_scorer`.
    random_state : int, RandomState instance or None, default=0
        Determines the sample.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y=None)``; greater is better.

    See Also
    --------
    davies_bouldin_scorer : The same with the defaults.
    sklearn.metrics.davies_bouldin_score : The index, of which less is better.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import make_blobs
    >>> from skdcec.model_selection import make_davies_bouldin_scorer
    >>> X, _ = make_blobs(centers=3, random_state=0, cluster_std=0.05)
    >>> scorer = make_davies_bouldin_scorer(space="input")
    >>> scores = {k: scorer(KMeans(k, random_state=0).fit(X), X) for k in (2, 3)}
    >>> max(scores, key=scores.get)
    3
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


def make_modularity_scorer(
    *,
    space: str = "auto",
    sample_size: int | None = 10_000,
    reference: Any = None,
    random_state: Any = 0,
) -> Callable[..., float]:
    """Make a scorer of predicted labels by their modularity among nearest neighbours.

    It compares encoders: in the embedding of each, the clusters found there. The number of
    clusters has to be the same for all. See `skdcec.metrics.neighbor_modularity`.

    Parameters
    ----------
    space : {"auto", "pretrained", "input", "embedding"}, default="auto"
        As for `make_silhouette_scorer`. In "embedding", training made the neighbours.
    sample_size : int, default=10_000
        Rows that are scored; None takes all. In a sample, neighbours lie further apart.
    reference : fitted transformer, default=None
        As for `make_silhouette_scorer`.
    random_state : int, RandomState instance or None, default=0
        Determines the sample.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y=None)``; greater is better.

    Raises
    ------
    ValueError
        If `space` or `sample_size` is not one of the above.

    See Also
    --------
    modularity_scorer : The same with the defaults.
    skdcec.metrics.neighbor_modularity : The index.

    Examples
    --------
    Which description of digits shows its ten clusters most clearly?

    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skdcec import DeepEmbeddingClustering
    >>> from skdcec.model_selection import TransductiveSplit, modularity_scorer
    >>> search = GridSearchCV(
    ...     DeepEmbeddingClustering(10, max_epochs=0, random_state=0),
    ...     {"encoder": [PCA(2), PCA(32)]},
    ...     scoring=modularity_scorer,
    ...     cv=TransductiveSplit(),
    ... )
    >>> search.fit(load_digits().data[:500]).best_params_
    {'encoder': PCA(n_components=32)}
    """
    return _ClusteringScorer(
        neighbor_modularity,
        1,
        space=space,
        metric=None,
        sample_size=sample_size,
        reference=reference,
        random_state=random_state,
    )


silhouette_scorer = make_silhouette_scorer()
calinski_harabasz_scorer = make_calinski_harabasz_scorer()
davies_bouldin_scorer = make_davies_bouldin_scorer()
modularity_scorer = make_modularity_scorer()
