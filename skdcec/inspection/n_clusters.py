"""How many clusters? What a search found."""

from collections.abc import Mapping
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skdcec.inspection.style import CURVES, MUTED, import_pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class NClustersSearchDisplay:
    """What a search over the number of clusters found, k by k.

    Drawn are the silhouettes of k-means labels in the shared space, with two standard errors of
    their difference from the best one; those of the trained models' labels; and those that
    points without clusters reach. The plausible numbers of clusters are shaded.

    It is recommended to use `from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    results : dict of ndarray
        The ``results_`` of a `skdcec.model_selection.NClustersSearch`.
    best_n_clusters : int, default=None
        The number of clusters to be marked.
    verdict : str, default=None
        The title of the picture.

    Attributes
    ----------
    screened_line_ : matplotlib ErrorbarContainer
    null_line_ : matplotlib Line2D
    trained_points_ : matplotlib PathCollection
    plausible_bands_ : list of matplotlib Rectangle
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    skdcec.model_selection.NClustersSearch : The search.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import make_blobs
    >>> from skdcec.inspection import NClustersSearchDisplay
    >>> from skdcec.model_selection import NClustersSearch
    >>> X, _ = make_blobs(200, centers=4, cluster_std=0.4, random_state=0)
    >>> search = NClustersSearch(KMeans(random_state=0), range(2, 7)).fit(X)
    >>> display = NClustersSearchDisplay.from_estimator(search)
    >>> display.ax_.get_xlabel()
    'number of clusters'
    """

    def __init__(
        self,
        results: Mapping[str, np.ndarray],
        *,
        best_n_clusters: int | None = None,
        verdict: str | None = None,
    ):
        self.results = results
        self.best_n_clusters = best_n_clusters
        self.verdict = verdict

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw the silhouettes.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        self : NClustersSearchDisplay
            The display itself, with what was drawn in its attributes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plt = import_pyplot("NClustersSearchDisplay.plot")
        if ax is None:
            _, ax = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        results = self.results
        numbers = results["n_clusters"]
        self.plausible_bands_ = [
            ax.axvspan(k - 0.5, k + 0.5, color="#EEEEEE", linewidth=0, zorder=0)
            for k in numbers[results["plausible"]]
        ]
        if self.plausible_bands_:
            self.plausible_bands_[0].set_label("plausible numbers")
        self.screened_line_ = ax.errorbar(
            numbers,
            results["screened_silhouette"],
            yerr=2 * results["screened_standard_error"],
            color=CURVES[0],
            marker="o",
            markersize=4,
            capsize=2,
            linewidth=1.2,
            label="k-means, a plain method",
        )
        self.null_line_ = ax.plot(
            numbers,
            results["null_silhouette"],
            color=MUTED,
            linestyle="--",
            label="points without clusters",
        )[0]
        trained = results["trained"]
        best = numbers[trained] == self.best_n_clusters
        self.trained_points_ = ax.scatter(
            numbers[trained],
            results["silhouette"][trained],
            s=np.where(best, 130, 45),
            marker="D",
            color=CURVES[1],
            zorder=3,
            label="models of that number",
        )
        ax.set(xlabel="number of clusters", ylabel="how far clusters lie apart (silhouette)")
        ax.xaxis.set_major_locator(plt.MaxNLocator(integer=True))
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, fontsize="small")
        if self.verdict is not None:
            ax.set_title("\n".join(wrap(self.verdict, 78)), fontsize="small", loc="left")
        return self

    @classmethod
    def from_estimator(cls, search: Any, *, ax: "Axes | None" = None) -> Self:
        """Draw the result of a fitted search.

        Parameters
        ----------
        search : fitted NClustersSearch
            What is to be drawn.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : NClustersSearchDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        NotFittedError
            If the search is not fitted.
        TypeError
            If it is another search.
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        check_is_fitted(search)
        if not hasattr(search, "results_"):
            raise TypeError(
                f"search is a {type(search).__name__}, and what is drawn is found by an "
                "NClustersSearch only."
            )
        display = cls(
            search.results_, best_n_clusters=search.best_n_clusters_, verdict=search.verdict_
        )
        return display.plot(ax)
