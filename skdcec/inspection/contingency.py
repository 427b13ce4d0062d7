"""Do clusters agree with classes? A table of counts."""

import math
from collections.abc import Sequence
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils.validation import check_consistent_length, column_or_1d

from skdcec._analysis.contingency import adjusted_residuals, agreement, cross_table
from skdcec.inspection.labels import as_labels, codes_of, is_none, sizes_of
from skdcec.inspection.style import Names, import_pyplot, percent, remove_frame, short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class ContingencyDisplay:
    """How many images of each class are in each cluster, as a table.

    Classes are rows, so that long names can be read, and clusters are columns, the largest
    first. It is recommended to use `from_estimator` or `from_predictions`. All parameters are
    stored as attributes.

    Parameters
    ----------
    counts : ndarray of shape (n_classes, n_clusters)
        Images of each class in each cluster.
    classes : sequence of n_classes values
        What the rows stand for.
    clusters : sequence of n_clusters values
        What the columns stand for.
    nmi : float, default=None
        The normalized mutual information of classes and clusters.
    chance : float, default=None
        Its mean over random permutations of the clusters.
    cluster_names : mapping of cluster to str, default=None
        Names in place of the numbers.

    Attributes
    ----------
    shades_ : ndarray of shape (n_classes, n_clusters)
        What the cells are shaded by.
    mesh_ : matplotlib QuadMesh
        The cells.
    text_ : ndarray of shape (n_classes, n_clusters) of matplotlib Text, or None
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    sklearn.metrics.cluster.contingency_matrix : The counts.
    skdcec.metrics.clustering_accuracy : The agreement as one number.

    Examples
    --------
    >>> from skdcec.inspection import ContingencyDisplay
    >>> periods = ["Baroque", "Baroque", "Baroque", "Cubism", "Cubism"]
    >>> display = ContingencyDisplay.from_predictions(periods, [1, 1, 0, 0, 0])
    >>> display.classes, display.clusters
    (['Cubism', 'Baroque'], [0, 1])
    >>> display.counts
    array([[2, 0],
           [1, 2]])
    """

    def __init__(
        self,
        counts: np.ndarray,
        classes: Sequence[Any],
        clusters: Sequence[Any],
        *,
        nmi: float | None = None,
        chance: float | None = None,
        cluster_names: Names = None,
    ):
        self.counts = counts
        self.classes = classes
        self.clusters = clusters
        self.nmi = nmi
        self.chance = chance
        self.cluster_names = cluster_names

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        shade: str = "residual",
        include_values: bool = True,
        colorbar: bool = True,
        show_nmi: bool = True,
        cmap: Any = None,
    ) -> Self:
        """Draw the table.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        shade : {"residual", "cluster", "class"}, default="residual"
            What the colours show: by how many standard deviations the count differs from what
            the totals of row and column alone would give (the adjusted residual; beyond 3 is
            hardly chance), the class's share of the cluster, or the cluster's share of the
            class.
        include_values : bool, default=True
            Whether to write the counts, or for shares the percentages, into the cells.
        colorbar : bool, default=True
            Whether to explain the colours beside the table.
        show_nmi : bool, default=True
            Whether the title says the normalized mutual information, if it is known.
        cmap : str or matplotlib Colormap, default=None
            None: blue over white to orange for residuals, white to blue for shares.

        Returns
        -------
        self : ContingencyDisplay
            The display itself, with what was drawn in its attributes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `shade` is unknown.
        """
        plt = import_pyplot("ContingencyDisplay.plot")
        self.shades_ = _shades(self.counts, shade)
        n_classes, n_clusters = self.counts.shape
        names = [short_name(c, self.cluster_names) for c in self.clusters]
        longest = max(map(len, names))
        if ax is None:
            size = (0.45 * n_clusters + 3.4, 0.3 * n_classes + 1.0 + (longest > 4) * 0.06 * longest)
            _, ax = plt.subplots(figsize=size, layout="constrained")
        if shade == "residual":
            # A few very large residuals would leave the rest pale.
            limit = max(4.0, float(np.quantile(np.abs(self.shades_), 0.95)))
            low, high, cmap = -limit, limit, cmap or "PuOr_r"
        else:
            low, high, cmap = 0.0, 1.0, cmap or "Blues"
        self.mesh_: Any = ax.pcolormesh(
            self.shades_,
            cmap=cmap,
            vmin=low,
            vmax=high,
            edgecolors=[ax.get_facecolor()],
            linewidth=1.0,
        )
        self.text_ = self._write_values(ax, shade) if include_values else None
        ax.set(ylim=(n_classes, 0), xlabel="cluster")
        ax.set_xticks(
            np.arange(n_clusters) + 0.5, names, rotation=90 if longest > 4 else 0, fontsize="small"
        )
        ax.set_yticks(
            np.arange(n_classes) + 0.5,
            [shorten(str(name), 36, placeholder="…") for name in self.classes],
            fontsize="small",
        )
        remove_frame(ax)
        if colorbar:
            self._explain_colors(ax, shade)
        if show_nmi and self.nmi is not None:
            by_chance = "" if self.chance is None else f", by chance {self.chance:.2f}"
            ax.set_title(f"NMI {self.nmi:.2f}{by_chance}", fontsize="medium")
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        classes: Sequence[Any] | None = None,
        max_classes: int = 30,
        cluster_names: Names = None,
        ax: "Axes | None" = None,
        **plot_options: Any,
    ) -> Self:
        """Draw the table of a fitted clusterer.

        Parameters
        ----------
        estimator : fitted clusterer, Pipeline or search
            What clusters `X`.
        X : array-like of shape (n_samples, ...)
            What the estimator takes.
        y : array-like of shape (n_samples,)
            Classes; None, NaN and "" are missing, and left out.
        classes : sequence, default=None
            The rows and their order, see `from_predictions`.
        max_classes : int, default=30
            Rows at most, see `from_predictions`.
        cluster_names : mapping of cluster to str, default=None
            Names in place of the numbers.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        **plot_options
            Passed to `plot`.

        Returns
        -------
        display : ContingencyDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `X` and `y` differ in length, or no class is known.
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        return cls.from_predictions(
            y,
            estimator.predict(X),
            classes=classes,
            max_classes=max_classes,
            cluster_names=cluster_names,
            ax=ax,
            **plot_options,
        )

    @classmethod
    def from_predictions(
        cls,
        labels_true: Any,
        labels_pred: Any,
        *,
        classes: Sequence[Any] | None = None,
        max_classes: int = 30,
        cluster_names: Names = None,
        ax: "Axes | None" = None,
        **plot_options: Any,
    ) -> Self:
        """Draw the table of given classes and clusters.

        Parameters
        ----------
        labels_true : array-like of shape (n_samples,)
            Classes; None, NaN and "" are missing, and left out.
        labels_pred : array-like of shape (n_samples,)
            Clusters; -1, for none, is left out.
        classes : sequence, default=None
            The rows and their order, for classes that have one, such as periods; other classes
            are left out. None: all, one after the other those of which the same cluster has
            more than by chance.
        max_classes : int, default=30
            Rows at most; the rarest classes are counted together as "n others".
        cluster_names : mapping of cluster to str, default=None
            Names in place of the numbers.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        **plot_options
            Passed to `plot`.

        Returns
        -------
        display : ContingencyDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the two differ in length, or no class is known.
        """
        import_pyplot(f"{cls.__name__}.from_predictions")
        found, kept = _known_classes(labels_true, labels_pred, classes)
        names, codes = np.unique(found, return_inverse=True)
        clusters = list(sizes_of(kept))
        counts = cross_table(codes, codes_of(kept), (len(names), len(clusters)))
        counts = counts[:, np.searchsorted(np.unique(kept), clusters)]
        rows = names.tolist()
        if classes is None:
            counts, rows = _arrange(counts, rows, max_classes)
        else:
            order = [rows.index(name) for name in classes if name in rows]
            counts, rows = counts[order], [rows[i] for i in order]
        agreed = agreement(codes, kept)
        display = cls(
            counts,
            rows,
            clusters,
            nmi=agreed.nmi,
            chance=agreed.chance,
            cluster_names=cluster_names,
        )
        return display.plot(ax, **plot_options)

    def _write_values(self, ax: Any, shade: str) -> np.ndarray:
        texts = np.empty(self.counts.shape, dtype=object)
        colors = self.mesh_.cmap(self.mesh_.norm(self.shades_))
        # Perceived lightness decides between dark and light text.
        light = colors[..., :3] @ (0.299, 0.587, 0.114) > 0.55
        for row, column in np.ndindex(self.counts.shape):
            count, share = self.counts[row, column], self.shades_[row, column]
            value = f"{count:d}" if shade == "residual" else f"{100 * share:.0f}"
            texts[row, column] = ax.text(
                column + 0.5,
                row + 0.5,
                value if count else "",
                ha="center",
                va="center",
                fontsize="x-small",
                color="#222222" if light[row, column] else "white",
            )
        return texts

    def _explain_colors(self, ax: Any, shade: str) -> None:
        meaning = {
            "residual": "fewer or more than by chance (residual)",
            "cluster": "share of the cluster",
            "class": "share of the class",
        }[shade]
        bar = ax.figure.colorbar(
            self.mesh_,
            ax=ax,
            shrink=0.8,
            aspect=25,
            extend="both" if shade == "residual" else "neither",
            format=None if shade == "residual" else percent,
        )
        bar.set_label(meaning, fontsize="small")
        bar.ax.tick_params(labelsize="small", length=2)
        bar.outline.set_visible(False)


def _is_missing(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, float | np.floating):
        return math.isnan(value)
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _known_classes(
    labels_true: Any, labels_pred: Any, classes: Sequence[Any] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return classes and clusters of the samples for which both are known."""
    values = column_or_1d(labels_true)
    clusters = as_labels(labels_pred)
    check_consistent_length(values, clusters)
    known = np.array([not _is_missing(value) for value in values], dtype=bool)
    known &= [not is_none(cluster) for cluster in clusters.tolist()]
    if known.any():
        found = as_labels(np.array(values[known].tolist()))
        if classes is not None:
            listed = np.isin(found, np.asarray(classes))
            found, known[known] = found[listed], listed
    if not known.any():
        wanted = "" if classes is None else f" of classes={list(classes)!r}"
        raise ValueError(f"No sample has both a class{wanted} and a cluster.")
    return found, clusters[known]


def _arrange(counts: np.ndarray, rows: list, max_classes: int) -> tuple[np.ndarray, list]:
    """Order classes by the cluster they are over-represented in most; add up the rarest."""
    if max_classes < 1:
        raise ValueError(f"max_classes={max_classes!r} must be at least 1.")
    by_size = np.argsort(-counts.sum(axis=1), kind="stable")
    n_own = len(rows) if len(rows) <= max_classes else max_classes - 1
    frequent, rare = by_size[:n_own], by_size[n_own:]
    residuals = adjusted_residuals(counts)[frequent]
    order = frequent[np.lexsort((-residuals.max(axis=1), residuals.argmax(axis=1)))]
    arranged, names = counts[order], [rows[i] for i in order]
    if len(rare):
        arranged = np.vstack([arranged, counts[rare].sum(axis=0)])
        names.append(f"{len(rare)} others")
    return arranged, names


def _shades(counts: np.ndarray, shade: str) -> np.ndarray:
    if shade == "residual":
        return adjusted_residuals(counts)
    if shade not in ("cluster", "class"):
        raise ValueError(f"shade={shade!r} must be 'residual', 'cluster' or 'class'.")
    return counts / np.maximum(counts.sum(axis=0 if shade == "cluster" else 1, keepdims=True), 1)
