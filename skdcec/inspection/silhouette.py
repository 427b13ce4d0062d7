"""How well are clusters separated? The silhouette of each sample."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils.validation import check_consistent_length

from skdcec._analysis.samples import sample_rows
from skdcec._analysis.silhouette import distance_matrix, silhouettes
from skdcec._analysis.spaces import best_of, data_for, space_of
from skdcec._sklearn_compat import num_samples, safe_indexing
from skdcec.inspection.labels import as_labels, codes_of, sizes_of
from skdcec.inspection.loading import after_loading
from skdcec.inspection.style import MUTED, Names, colors_of, import_pyplot, short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class SilhouetteDisplay:
    """The silhouette of each sample, cluster by cluster.

    It is recommended to use `from_estimator` or `from_predictions`. All parameters are stored
    as attributes.

    Parameters
    ----------
    values : ndarray of shape (n_samples,)
        Silhouettes, between -1 and 1: how much nearer the own cluster is than the next.
    labels : ndarray of shape (n_samples,)
        Cluster of each sample.
    cluster_names : mapping of cluster to str, default=None
        Names in place of the numbers.
    space : str, default=None
        Where distances were taken, for the label of the axis.

    Attributes
    ----------
    mean_ : float
        The mean of `values`, the score.
    means_ : dict of float
        The mean of each cluster.
    bands_ : dict of matplotlib PolyCollection
        The band of each cluster.
    mean_line_ : matplotlib Line2D
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    skdcec.model_selection.silhouette_scorer : The mean alone.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from skdcec.inspection import SilhouetteDisplay
    >>> X, labels = make_blobs(centers=3, cluster_std=0.05, random_state=0)
    >>> round(SilhouetteDisplay.from_predictions(X, labels).mean_, 1)
    1.0
    """

    def __init__(
        self,
        values: np.ndarray,
        labels: np.ndarray,
        *,
        cluster_names: Names = None,
        space: str | None = None,
    ):
        self.values = values
        self.labels = labels
        self.cluster_names = cluster_names
        self.space = space

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw the silhouettes, the largest cluster on top.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        self : SilhouetteDisplay
            The display itself, with what was drawn in its attributes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plt = import_pyplot("SilhouetteDisplay.plot")
        sizes = sizes_of(self.labels)
        if ax is None:
            size = (6.4, max(3.6, 0.22 * len(sizes) + 1.2))
            _, ax = plt.subplots(figsize=size, layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        self.mean_ = float(np.mean(self.values))
        middles, bottom = self._draw_bands(sizes)
        self.mean_line_ = ax.axvline(
            self.mean_, color=ax.xaxis.label.get_color(), linestyle="--", linewidth=1
        )
        ax.axvline(0, color=MUTED, linewidth=0.8)
        names = [short_name(cluster, self.cluster_names) for cluster in sizes]
        ax.set_yticks(middles, names, fontsize="small")
        ax.tick_params(axis="y", length=0)
        ax.spines[["left", "right", "top"]].set_visible(False)
        low, high = float(self.values.min()) - 0.02, float(self.values.max()) + 0.02
        where = "" if self.space is None else f" in the {self.space}"
        ax.set(
            xlim=(min(-0.05, low), max(0.2, high)),
            ylim=(bottom, 0),
            xlabel=f"silhouette{where}",
            ylabel="cluster",
        )
        ax.set_title(f"mean silhouette {self.mean_:.2f}", fontsize="medium")
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        space: str = "auto",
        metric: str | None = None,
        sample_size: int | None = 3000,
        cluster_names: Names = None,
        random_state: Any = 0,
        ax: "Axes | None" = None,
    ) -> Self:
        """Draw the silhouettes of a fitted clusterer.

        With the defaults their mean is the ``score`` of the clusterers of this library.

        Parameters
        ----------
        estimator : fitted clusterer, Pipeline or search
            What clusters `X`; samples that it puts into no cluster (-1) are left out.
        X : array-like of shape (n_samples, ...)
            What the estimator takes.
        space : {"auto", "pretrained", "input", "embedding"}, default="auto"
            Where distances are taken: in the embedding of the clusterer's pretrained encoder,
            in the input of the (last) estimator, or in its own ``transform``, in which
            training has made the clusters compact. "auto" is "pretrained" where there is such
            an encoder, else "input".
        metric : str, default=None
            A metric of `sklearn.metrics.pairwise_distances`. None is the encoder's own.
        sample_size : int, default=3000
            Samples used. None takes all; time and memory grow with the square.
        cluster_names : mapping of cluster to str, default=None
            Names in place of the numbers.
        random_state : int, RandomState instance or None, default=0
            Determines the sample.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : SilhouetteDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If a parameter is unknown, or there are fewer than two clusters.
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        estimator = best_of(estimator)
        X = data_for(estimator, X)
        X = safe_indexing(X, sample_rows(num_samples(X), sample_size, random_state))
        estimator, X = after_loading(estimator, X)
        judged = space_of(estimator, X, space)
        points, labels = _clustered(judged.points, as_labels(estimator.predict(X)))
        values = _values(points, labels, metric or judged.metric)
        return cls(values, labels, cluster_names=cluster_names, space=judged.name).plot(ax)

    @classmethod
    def from_predictions(
        cls,
        embedding: Any,
        labels: Any,
        *,
        metric: str = "euclidean",
        sample_size: int | None = 3000,
        cluster_names: Names = None,
        random_state: Any = 0,
        ax: "Axes | None" = None,
    ) -> Self:
        """Draw the silhouettes of given clusters.

        Parameters
        ----------
        embedding : array-like of shape (n_samples, n_components)
            Where distances are taken.
        labels : array-like of shape (n_samples,)
            Clusters; -1, for none, is left out.
        metric : str, default="euclidean"
            A metric of `sklearn.metrics.pairwise_distances`.
        sample_size : int, default=3000
            Samples used. None takes all; time and memory grow with the square.
        cluster_names : mapping of cluster to str, default=None
            Names in place of the numbers.
        random_state : int, RandomState instance or None, default=0
            Determines the sample.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : SilhouetteDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the two differ in length, or there are fewer than two clusters.
        """
        import_pyplot(f"{cls.__name__}.from_predictions")
        points, labels = _clustered(np.asarray(embedding), as_labels(labels))
        chosen = sample_rows(len(labels), sample_size, random_state)
        values = _values(points[chosen], labels[chosen], metric)
        return cls(values, labels[chosen], cluster_names=cluster_names).plot(ax)

    def _draw_bands(self, sizes: Mapping[Any, int]) -> tuple[list[float], float]:
        """Draw each cluster in a slot of its own; return the middles and the end of all."""
        ax, colors = self.ax_, colors_of(self.labels)
        # A cluster of few samples keeps the room that its name needs.
        lines = ax.get_window_extent().height / ax.figure.dpi / 0.16
        room = len(self.values) / max(lines, 1.0)
        gap = 0.01 * len(self.values)
        self.bands_, self.means_ = {}, {}
        middles, top = [], gap
        for cluster, n in sizes.items():
            values = np.sort(self.values[self.labels == cluster])[::-1]
            slot = max(n, room)
            # Steps, so that a single sample has a width, too.
            edges = np.repeat(top + (slot - n) / 2 + np.arange(n + 1), 2)[1:-1]
            self.bands_[cluster] = ax.fill_betweenx(
                edges, 0, np.repeat(values, 2), color=colors[cluster], linewidth=0
            )
            self.means_[cluster] = float(values.mean())
            middles.append(top + slot / 2)
            top += slot + gap
        beside: dict[str, Any] = {"fontsize": "small", "color": MUTED}
        for middle, mean in zip(middles, self.means_.values(), strict=True):
            # Adding zero turns a mean that rounds to minus zero into zero.
            text = f"{round(mean, 2) + 0.0:.2f}"
            ax.text(1.01, middle, text, transform=ax.get_yaxis_transform(), va="center", **beside)
        ax.text(1.01, 1.01, "mean", transform=ax.transAxes, va="bottom", **beside)
        return middles, top


def _clustered(points: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out the points that are in no cluster."""
    check_consistent_length(points, labels)
    inside = codes_of(labels) >= 0
    return points[inside], labels[inside]


def _values(points: np.ndarray, labels: np.ndarray, metric: str) -> np.ndarray:
    """Return the silhouettes of points, or say why there are none."""
    n_clusters = len(np.unique(labels))
    if not 1 < n_clusters < len(labels):
        raise ValueError(
            f"{len(labels)} samples in {n_clusters} clusters have no silhouettes: at least two "
            "clusters are needed, and fewer than samples."
        )
    return silhouettes(distance_matrix(points, metric), [labels])[0]
