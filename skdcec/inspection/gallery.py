"""Which images show what a cluster is? One row of them per cluster."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils.validation import check_consistent_length

from skdcec._analysis.exemplars import KINDS, Membership, exemplars, membership
from skdcec._analysis.images import as_images, images_of
from skdcec._analysis.spaces import as_rows, center_distances, distances_to_means, last_step
from skdcec.inspection.labels import as_labels, codes_of, sizes_of
from skdcec.inspection.loading import after_loading
from skdcec.inspection.style import (
    GAP,
    Names,
    card_label,
    colors_of,
    draw_tile,
    drawn_range,
    import_pyplot,
    remove_frame,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class ClusterGalleryDisplay:
    """Images that show what is in each cluster, one row per cluster.

    Clusters come by size, the largest first, images that belong to none (-1) last. Typical
    images are the nearest to the center of their cluster, odd ones the farthest from it, and
    borderline ones those that belong to another cluster with almost the same probability.

    It is recommended to use `from_estimator` or `from_predictions`. All parameters are stored
    as attributes.

    Parameters
    ----------
    images : ndarray of shape (n_samples, height, width, channels)
        1 channel is drawn as gray, 3 as RGB, 4 as RGBA; of any other number the mean is drawn.
    labels : ndarray of shape (n_samples,)
        Cluster of each image.
    distances : ndarray of shape (n_samples,)
        Distance of each image to the center of its cluster.
    margins : ndarray of shape (n_samples,), default=None
        Probability of each image's own cluster minus that of the next one; needed for
        borderline images. NaN for images that belong to no cluster.
    cluster_names : mapping of cluster to str, default=None
        Names in place of the numbers.

    Attributes
    ----------
    indices_ : dict of dict of ndarray
        Row numbers of the images drawn, as ``indices_[cluster][kind]``, where the kinds are
        "typical", "borderline" and "odd".
    tiles_ : dict of dict of list of matplotlib AxesImage
        The images drawn, in the same form.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    EmbeddingDisplay : Where the clusters lie.
    skdcec.report.write_report : All of it on one page.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import load_digits
    >>> from skdcec.inspection import ClusterGalleryDisplay
    >>> digits = load_digits()
    >>> labels = KMeans(10, random_state=0).fit_predict(digits.data)
    >>> display = ClusterGalleryDisplay.from_predictions(digits.images, labels, n_typical=6)
    >>> len(display.tiles_[0]["typical"])
    6
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        distances: np.ndarray,
        *,
        margins: np.ndarray | None = None,
        cluster_names: Names = None,
    ):
        self.images = images
        self.labels = labels
        self.distances = distances
        self.margins = margins
        self.cluster_names = cluster_names

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        n_typical: int = 8,
        n_borderline: int = 0,
        n_odd: int = 0,
        clusters: Sequence[Any] | None = None,
        value_range: tuple[float, float] | None = None,
        interpolation: str | None = None,
    ) -> Self:
        """Draw the gallery.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        n_typical, n_borderline, n_odd : int, default=8, 0, 0
            Images of each kind in a row. No image is shown twice, so small clusters have fewer:
            with other kinds asked for, at most half of a cluster is typical.
        clusters : sequence, default=None
            The clusters to show, in this order. None: all, by size.
        value_range : tuple (low, high), default=None
            Values drawn as black and as white. None: 0 and 255 for uint8, 0 and 1 for
            fractions, and so on; the smallest and the largest value if some are negative.
        interpolation : str, default=None
            That of `matplotlib.axes.Axes.imshow`.

        Returns
        -------
        self : ClusterGalleryDisplay
            The display itself, with what was drawn in its attributes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If borderline images are asked for and the margins are not known, a cluster has no
            images, nothing is to be shown, or `value_range` is not one.
        """
        plt = import_pyplot("ClusterGalleryDisplay.plot")
        counts = dict(zip(KINDS, (n_typical, n_borderline, n_odd), strict=True))
        counts = {kind: count for kind, count in counts.items() if count}
        sizes = sizes_of(self.labels)
        order = list(sizes) if clusters is None else list(clusters)
        self._check_request(counts, order, sizes)
        chosen = exemplars(self.labels, counts, distance=self.distances, margin=self.margins)
        self.indices_ = {cluster: chosen[cluster] for cluster in order}
        low, high = drawn_range(self.images, value_range)

        height = self.images.shape[1] / self.images.shape[2]
        pitch = height + 2 * GAP
        columns, width = _columns(counts)
        if ax is None:
            inches = min(0.85, 0.85 / height)
            size = (inches * width + 1.4, inches * pitch * len(order) + 0.4)
            _, ax = plt.subplots(figsize=size, layout="compressed")
        self.tiles_ = {
            cluster: {
                kind: [
                    draw_tile(ax, self.images[index], x, row * pitch, low, high, interpolation)
                    for x, index in zip(columns[kind], indices, strict=False)
                ]
                for kind, indices in self.indices_[cluster].items()
            }
            for row, cluster in enumerate(order)
        }
        colors = colors_of(self.labels)
        for row, cluster in enumerate(order):
            place, color = (-0.2, row * pitch), colors[cluster]
            ax.add_patch(plt.Rectangle(place, 0.1, height, color=color, linewidth=0))
        names = [card_label(c, self.cluster_names, sizes[c], len(self.labels)) for c in order]
        ax.set_yticks(np.arange(len(order)) * pitch + height / 2, names, fontsize="small")
        ax.set_xticks([columns[kind].mean() + 0.5 for kind in counts], list(counts))
        ax.xaxis.tick_top()
        ax.set(xlim=(-0.25, width), ylim=(pitch * len(order), -GAP), aspect="equal")
        remove_frame(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        images: Any = None,
        image_shape: tuple[int, ...] | None = None,
        cluster_names: Names = None,
        ax: "Axes | None" = None,
        **plot_options: Any,
    ) -> Self:
        """Draw the gallery of a fitted clusterer.

        Parameters
        ----------
        estimator : fitted clusterer, Pipeline or search
            One of this library, or k-means. Distances are those to its ``cluster_centers_`` in
            the space of its ``transform``; probabilities those of its ``predict_proba``, or if
            it has none, Student's t over the distances.
        X : array-like of shape (n_samples, ...)
            What the estimator takes.
        images : array-like of shape (n_samples, ...), default=None
            What is shown, if not `X`, such as the same images in a larger size. 4-D in the
            `data_format` of the estimator.
        image_shape : tuple, default=None
            Shape of images that come as rows, where the estimator does not know it.
        cluster_names : mapping of cluster to str, default=None
            Names in place of the numbers.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        **plot_options
            Passed to `plot`.

        Returns
        -------
        display : ClusterGalleryDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If the distances to the centers cannot be had from the estimator.
        ValueError
            If the images cannot be read as such.
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        estimator, X = after_loading(estimator, X)
        shown = images_of(estimator, X, images, image_shape)
        last, reached = last_step(estimator, X)
        labels = as_labels(last.predict(reached))
        found = _membership_by(last, reached, labels)
        display = cls(
            shown, labels, found.distance, margins=found.margin, cluster_names=cluster_names
        )
        return display.plot(ax, **plot_options)

    @classmethod
    def from_predictions(
        cls,
        images: Any,
        labels: Any,
        distances: Any = None,
        *,
        image_shape: tuple[int, ...] | None = None,
        data_format: str = "channels_last",
        cluster_names: Names = None,
        ax: "Axes | None" = None,
        **plot_options: Any,
    ) -> Self:
        """Draw the gallery of images with given clusters.

        Parameters
        ----------
        images : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, n_features)
            The images.
        labels : array-like of shape (n_samples,)
            Cluster of each image.
        distances : array-like of shape (n_samples,) or (n_samples, n_clusters), default=None
            Distance of each image to the center of its cluster, or to all centers, column `j`
            being that of cluster `j`; the latter are needed for borderline images, whose
            probabilities are Student's t over them. None: the distances of the pixels to those
            of the mean image of each cluster.
        image_shape : tuple, default=None
            Shape of images that come as rows.
        data_format : {"channels_last", "channels_first"}, default="channels_last"
            Order of the axes of 4-D images.
        cluster_names : mapping of cluster to str, default=None
            Names in place of the numbers.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        **plot_options
            Passed to `plot`.

        Returns
        -------
        display : ClusterGalleryDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the arguments differ in length, or are not of these forms.
        """
        import_pyplot(f"{cls.__name__}.from_predictions")
        shown = as_images(images, image_shape, data_format)
        labels = as_labels(labels)
        check_consistent_length(shown, labels, distances)
        if distances is None:
            codes = codes_of(labels)
            if not np.isfinite([shown.min(), shown.max()]).all():
                raise ValueError(
                    "distances=None takes those between pixels, but images hold NaN or infinity: "
                    "pass distances."
                )
            distances = distances_to_means(as_rows(shown), codes)
        else:
            codes, distances = labels, np.asarray(distances, dtype=float)
        own, margins = _own_distances_and_margins(codes, distances)
        display = cls(shown, labels, own, margins=margins, cluster_names=cluster_names)
        return display.plot(ax, **plot_options)

    def _check_request(self, counts: Mapping[str, int], order: list, sizes: Mapping) -> None:
        if not counts or min(counts.values()) < 0:
            raise ValueError(
                "n_typical, n_borderline and n_odd must be at least 0, and not all of them 0; got "
                f"{dict(counts) or 'only zeros'}."
            )
        unknown = [cluster for cluster in order if cluster not in sizes]
        if unknown or not order:
            raise ValueError(
                f"clusters={order!r} must name clusters that have images: {sorted(sizes)}."
            )
        if "borderline" in counts and self.margins is None:
            raise ValueError(
                f"n_borderline={counts['borderline']} needs the distances to all centers, of "
                "shape (n_samples, n_clusters); only those to their own centers are known."
            )


def _membership_by(estimator: Any, X: Any, labels: np.ndarray) -> Membership:
    """Return how images belong to their clusters, as a fitted clusterer says."""
    try:
        distances = center_distances(estimator, X)
    except TypeError as error:
        advice = "Use ClusterGalleryDisplay.from_predictions(images, labels, distances)."
        raise TypeError(f"{error} {advice}") from error
    known = hasattr(estimator, "predict_proba")
    probabilities = estimator.predict_proba(X) if known else None
    return membership(labels, probabilities=probabilities, distances=distances)


def _own_distances_and_margins(
    labels: np.ndarray, distances: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the distances to the own centers, and the margins if those to all are known."""
    if distances.ndim == 1:
        return distances, None
    if distances.ndim != 2 or labels.dtype.kind != "i" or labels.max() >= distances.shape[1]:
        raise ValueError(
            f"distances has shape {distances.shape}; (n_samples,), or (n_samples, n_clusters) "
            f"with labels from 0 to n_clusters - 1, is needed. The labels are "
            f"{list(sizes_of(labels))}."
        )
    found = membership(labels, distances=distances)
    return found.distance, found.margin


def _columns(counts: Mapping[str, int]) -> tuple[dict[str, np.ndarray], float]:
    """Return where the tiles of each kind begin, in widths of a tile, and where they end."""
    columns, x = {}, 0.0
    for kind, count in counts.items():
        columns[kind] = x + (1 + GAP) * np.arange(count)
        x = columns[kind][-1] + 1.4
    return columns, x - 0.4
