"""Looking at clusters: displays after the manner of scikit-learn's, drawn by matplotlib."""

import itertools
import math
import os
from collections.abc import Mapping, Sequence
from textwrap import shorten, wrap
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from sklearn.decomposition import PCA
from sklearn.metrics import normalized_mutual_info_score, silhouette_samples
from sklearn.metrics.cluster import contingency_matrix
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import normalize
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import (
    _num_samples,
    check_array,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
)

from skdcec._encoders.images import natural_scale, resolve_image_shape
from skdcec.model_selection import pretrained_embedding
from skdcec.report import map_projection

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "ClusterGalleryDisplay",
    "ContingencyDisplay",
    "EmbeddingDisplay",
    "LossCurveDisplay",
    "NClustersSearchDisplay",
    "ReconstructionDisplay",
    "SilhouetteDisplay",
]

# Paul Tol's "muted" scheme: calm, and told apart by colour-blind readers. Beyond nine clusters the
# colours come again with another marker, since nobody tells thirty colours apart.
_COLORS = (
    *("#CC6677", "#332288", "#DDCC77", "#117733", "#88CCEE"),
    *("#882255", "#44AA99", "#999933", "#AA4499"),
)
_MARKERS = ("o", "s", "^", "D")
_NO_CLUSTER = "#BBBBBB"
_MUTED = "#777777"
_GAP = 0.05

_KINDS = ("typical", "borderline", "odd")
_SPACES = ("auto", "pretrained", "input", "embedding")
_SPACE_NAMES = {
    "pretrained": "pretrained embedding",
    "input": "input",
    "embedding": "embedding",
}

_Names = Mapping[Any, Any] | None


class ClusterGalleryDisplay:
    """Images that show what is in each cluster, one row per cluster.

    Clusters come by size, the largest first, images that belong to none (-1) last. Typical
    images are the nearest to the center of their cluster, odd ones the farthest from it, and
    borderline ones those for which another center is almost as near.

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
    next_distances : ndarray of shape (n_samples,), default=None
        Distance of each image to the nearest other center; needed for borderline images.
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
        next_distances: np.ndarray | None = None,
        cluster_names: _Names = None,
    ):
        self.images = images
        self.labels = labels
        self.distances = distances
        self.next_distances = next_distances
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
            Images of each kind in a row. None is shown twice, so small clusters have fewer:
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

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If borderline images are asked for and the distances to other centers are not
            known, a cluster has no images, or nothing is to be shown.
        """
        plt = _pyplot("ClusterGalleryDisplay.plot")
        counts = dict(zip(_KINDS, (n_typical, n_borderline, n_odd), strict=True))
        counts = {kind: count for kind, count in counts.items() if count}
        sizes = _sizes(self.labels)
        order = list(sizes) if clusters is None else list(clusters)
        self._check_request(counts, order, sizes)
        self.indices_ = {cluster: self._choose(cluster, counts) for cluster in order}
        low, high = _range_of(self.images) if value_range is None else value_range

        height = self.images.shape[1] / self.images.shape[2]
        pitch = height + 2 * _GAP
        columns, width = _columns(counts)
        if ax is None:
            inches = min(0.85, 0.85 / height)
            size = (inches * width + 1.4, inches * pitch * len(order) + 0.4)
            _, ax = plt.subplots(figsize=size, layout="compressed")
        self.tiles_ = {
            cluster: {
                kind: [
                    _draw_tile(ax, self.images[index], x, row * pitch, low, high, interpolation)
                    for x, index in zip(columns[kind], indices, strict=False)
                ]
                for kind, indices in self.indices_[cluster].items()
            }
            for row, cluster in enumerate(order)
        }
        styles = _styles(self.labels)
        for row, cluster in enumerate(order):
            color = styles[cluster][0]
            bar = plt.Rectangle((-0.2, row * pitch), 0.1, height, color=color, linewidth=0)
            ax.add_patch(bar)
        names = [_card_label(c, self.cluster_names, sizes[c], len(self.labels)) for c in order]
        ax.set_yticks(np.arange(len(order)) * pitch + height / 2, names, fontsize="small")
        ax.set_xticks([columns[kind].mean() + 0.5 for kind in counts], list(counts))
        ax.xaxis.tick_top()
        ax.set(xlim=(-0.25, width), ylim=(pitch * len(order), -_GAP), aspect="equal")
        _remove_frame(ax)
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
        cluster_names: _Names = None,
        ax: "Axes | None" = None,
        **plot_options: Any,
    ) -> Self:
        """Draw the gallery of a fitted clusterer.

        Parameters
        ----------
        estimator : fitted clusterer or Pipeline
            One of this library, or k-means; distances are those to its ``cluster_centers_`` in
            the space of its ``transform``.
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
        _pyplot(f"{cls.__name__}.from_estimator")
        estimator, X = _after_loading(estimator, X)
        shown = _images_of(estimator, X, images, image_shape)
        last, reached = _last_step(estimator, X)
        labels = _as_labels(last.predict(reached))
        own, following = _own_and_next(_center_distances(last, reached), labels)
        display = cls(shown, labels, own, next_distances=following, cluster_names=cluster_names)
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
        cluster_names: _Names = None,
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
            being that of cluster `j`. None: the distances between pixels and mean images.
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
        _pyplot(f"{cls.__name__}.from_predictions")
        shown = _as_images(images, image_shape, data_format)
        labels = _as_labels(labels)
        check_consistent_length(shown, labels, distances)
        if distances is None:
            clusters, codes = np.unique(labels, return_inverse=True)
            own, following = _own_and_next(_pixel_distances(shown, codes), codes)
        else:
            own, following = _own_and_next(np.asarray(distances, dtype=float), labels)
        display = cls(shown, labels, own, next_distances=following, cluster_names=cluster_names)
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
        if "borderline" in counts and self.next_distances is None:
            raise ValueError(
                f"n_borderline={counts['borderline']} needs the distances to all centers, of "
                "shape (n_samples, n_clusters); only those to the own ones are known."
            )

    def _choose(self, cluster: Any, counts: Mapping[str, int]) -> dict[str, np.ndarray]:
        """Return the row numbers of the images to show, each at most once."""
        members = np.flatnonzero(self.labels == cluster)
        own = self.distances[members]
        keys = {"typical": own, "odd": -own}
        if self.next_distances is not None:
            keys["borderline"] = self.next_distances[members] / np.maximum(own, 1e-300)
        left = np.ones(len(members), dtype=bool)
        chosen = {}
        wanted = [kind for kind in keys if kind in counts]
        for kind in wanted:
            # What is chosen later gets its share of a small cluster, too.
            allowed = left.sum() if kind == wanted[-1] else math.ceil(left.sum() / 2)
            best = np.argsort(np.where(left, keys[kind], np.inf), kind="stable")
            best = best[: min(counts[kind], int(allowed))]
            left[best] = False
            chosen[kind] = members[best]
        return {kind: chosen[kind] for kind in counts}


class EmbeddingDisplay:
    """A map of images in two dimensions, coloured by cluster.

    It is recommended to use `from_estimator` or `from_predictions`. All parameters are stored
    as attributes.

    Parameters
    ----------
    coordinates : ndarray of shape (n_samples, 2)
        Positions on the map.
    labels : ndarray of shape (n_samples,)
        What colours the points. Each label keeps its colour whatever other labels there are
        when labels are numbers; -1 is gray.
    images : ndarray of shape (n_samples, height, width, channels), default=None
        What `plot` can show as thumbnails.
    cluster_names : mapping of label to str, default=None
        Names in place of the labels.
    axis_names : pair of str, default=None
        What stands at the axes.

    Attributes
    ----------
    points_ : dict of matplotlib PathCollection
        The points of each label.
    texts_ : dict of matplotlib Text
        The text of each label on the map.
    thumbnail_indices_ : ndarray of shape (n_thumbnails,)
        Row numbers of the images shown.
    thumbnails_ : list of matplotlib AxesImage
        Those images.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    SilhouetteDisplay : How well the clusters are separated there.
    skdcec.report.map_projection : The layout by t-SNE.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdcec.inspection import EmbeddingDisplay
    >>> digits = load_digits()
    >>> display = EmbeddingDisplay.from_predictions(digits.data, digits.target, method="pca")
    >>> display.ax_.get_xlabel()
    'PCA 1 (15 %)'
    """

    def __init__(
        self,
        coordinates: np.ndarray,
        labels: np.ndarray,
        *,
        images: np.ndarray | None = None,
        cluster_names: _Names = None,
        axis_names: tuple[str, str] | None = None,
    ):
        self.coordinates = coordinates
        self.labels = labels
        self.images = images
        self.cluster_names = cluster_names
        self.axis_names = axis_names

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        naming: str | None = "map",
        thumbnails: int = 0,
        point_size: float | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> Self:
        """Draw the map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        naming : {"map", "legend", None}, default="map"
            Where clusters are named: on the map, where their points are densest; in a legend
            beside it; or nowhere.
        thumbnails : int, default=0
            Thumbnails that fit side by side into the map, 0 for none. The map is divided into
            that many cells, and each shows the image nearest its middle, in a frame of the
            colour of its cluster.
        point_size : float, default=None
            Area of a point, in points squared. None goes by their number.
        value_range : tuple (low, high), default=None
            Values drawn as black and as white in thumbnails, as for `ClusterGalleryDisplay`.

        Returns
        -------
        self : EmbeddingDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If thumbnails are asked for and there are no images, or `naming` is unknown.
        """
        plt = _pyplot("EmbeddingDisplay.plot")
        if naming not in ("map", "legend", None):
            raise ValueError(f"naming={naming!r} must be 'map', 'legend' or None.")
        if thumbnails < 0 or (thumbnails and self.images is None):
            raise ValueError(
                f"thumbnails={thumbnails!r} must be at least 0, and 0 for a map without images."
            )
        low, high = self.coordinates.min(axis=0), self.coordinates.max(axis=0)
        margin = (high - low).max() * (0.6 / thumbnails if thumbnails else 0.03) or 1.0
        low, high = low - margin, high + margin
        if ax is None:
            width, height = (9.0 if thumbnails else 6.0) * (high - low) / (high - low).max()
            size = (width + (1.8 if naming == "legend" else 0.0), height + 0.3)
            _, ax = plt.subplots(figsize=size, layout="compressed")
        self.ax_: Any = ax
        self.figure_ = ax.figure
        if point_size is None:
            point_size = float(np.clip(16_000 / len(self.coordinates), 4, 36))
        self._draw_points(point_size, 0.35 if thumbnails else 0.8)
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        self.thumbnail_indices_ = np.empty(0, dtype=np.int64)
        self.thumbnails_: list[Any] = []
        ax.set_aspect("equal", adjustable="box")
        ax.set(xticks=[], yticks=[])
        if self.axis_names is not None:
            ax.set_xlabel(self.axis_names[0], color=_MUTED, fontsize="small")
            ax.set_ylabel(self.axis_names[1], color=_MUTED, fontsize="small")
        ax.spines[:].set_color("#CCCCCC")
        self.texts_ = self._name_on_map() if naming == "map" else {}
        if naming == "legend":
            ax.legend(
                loc="center left",
                bbox_to_anchor=(1.0, 0.5),
                frameon=False,
                fontsize="small",
                ncols=math.ceil(len(self.points_) / 30),
            )
        if thumbnails:
            self._draw_thumbnails(plt, thumbnails, value_range)
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        labels: Any = None,
        space: str = "auto",
        method: Any = "tsne",
        images: Any = None,
        image_shape: tuple[int, ...] | None = None,
        cluster_names: _Names = None,
        random_state: Any = 0,
        ax: "Axes | None" = None,
        **plot_options: Any,
    ) -> Self:
        """Draw the map of a fitted clusterer or encoder.

        Parameters
        ----------
        estimator : fitted estimator or Pipeline
            What clusters or embeds `X`.
        X : array-like of shape (n_samples, ...)
            What the estimator takes.
        labels : array-like of shape (n_samples,), default=None
            What colours the points, such as classes. None: the clusters predicted.
        space : {"auto", "pretrained", "input", "embedding"}, default="auto"
            What is mapped: the embedding of the clusterer's pretrained encoder, which shows the
            images as they are, the input of the (last) estimator, or its own ``transform``,
            which for a clusterer has drawn the images to the centers. "auto" is "pretrained"
            where there is such an encoder, else "input" for clusterers and "embedding" for
            encoders.
        method : {"tsne", "pca", "umap"} or object with fit_transform, default="tsne"
            How two dimensions are made of many; "umap" needs the package umap-learn.
        images : array-like of shape (n_samples, ...), default=None
            What thumbnails show, if not `X`. 4-D in the `data_format` of the estimator.
        image_shape : tuple, default=None
            Shape of images that come as rows, where the estimator does not know it.
        cluster_names : mapping of label to str, default=None
            Names in place of the labels.
        random_state : int, RandomState instance or None, default=0
            Determines the layout.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        **plot_options
            Passed to `plot`.

        Returns
        -------
        display : EmbeddingDisplay

        Raises
        ------
        ImportError
            If matplotlib, or umap-learn for ``method="umap"``, is not installed.
        ValueError
            If a parameter is unknown or the arguments differ in length.
        """
        _pyplot(f"{cls.__name__}.from_estimator")
        _check_method(method)
        estimator, X = _after_loading(estimator, X)
        shown = None
        if images is not None or plot_options.get("thumbnails"):
            shown = _images_of(estimator, X, images, image_shape)
        if labels is None:
            if not hasattr(estimator, "predict"):
                raise ValueError(
                    f"labels=None needs an estimator that predicts; {_name(estimator)} does not."
                )
            labels = estimator.predict(X)
        points = _points_of(estimator, X, space)
        return cls._from_points(
            points, labels, method, shown, cluster_names, random_state, ax, plot_options
        )

    @classmethod
    def from_predictions(
        cls,
        embedding: Any,
        labels: Any,
        *,
        method: Any = "tsne",
        metric: str = "euclidean",
        images: Any = None,
        image_shape: tuple[int, ...] | None = None,
        data_format: str = "channels_last",
        cluster_names: _Names = None,
        random_state: Any = 0,
        ax: "Axes | None" = None,
        **plot_options: Any,
    ) -> Self:
        """Draw the map of an embedding with given clusters.

        Parameters
        ----------
        embedding : array-like of shape (n_samples, n_components)
            What is mapped.
        labels : array-like of shape (n_samples,)
            What colours the points.
        method : {"tsne", "pca", "umap"} or object with fit_transform, default="tsne"
            How two dimensions are made of many; "umap" needs the package umap-learn. For
            coordinates at hand use ``EmbeddingDisplay(coordinates, labels).plot()``.
        metric : {"euclidean", "cosine"}, default="euclidean"
            The distance that the embedding is made for.
        images : array-like of shape (n_samples, ...), default=None
            What thumbnails show.
        image_shape : tuple, default=None
            Shape of images that come as rows.
        data_format : {"channels_last", "channels_first"}, default="channels_last"
            Order of the axes of 4-D images.
        cluster_names : mapping of label to str, default=None
            Names in place of the labels.
        random_state : int, RandomState instance or None, default=0
            Determines the layout.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        **plot_options
            Passed to `plot`.

        Returns
        -------
        display : EmbeddingDisplay

        Raises
        ------
        ImportError
            If matplotlib, or umap-learn for ``method="umap"``, is not installed.
        ValueError
            If a parameter is unknown or the arguments differ in length.
        """
        _pyplot(f"{cls.__name__}.from_predictions")
        _check_method(method)
        if metric not in ("euclidean", "cosine"):
            raise ValueError(f"metric={metric!r} must be 'euclidean' or 'cosine'.")
        shown = None if images is None else _as_images(images, image_shape, data_format)
        points = _Points(embedding, metric, "embedding")
        return cls._from_points(
            points, labels, method, shown, cluster_names, random_state, ax, plot_options
        )

    @classmethod
    def _from_points(
        cls,
        points: "_Points",
        labels: Any,
        method: Any,
        images: np.ndarray | None,
        cluster_names: _Names,
        random_state: Any,
        ax: "Axes | None",
        plot_options: dict[str, Any],
    ) -> Self:
        rows = check_array(points.rows, dtype=np.float32, input_name="embedding")
        labels = _as_labels(labels)
        check_consistent_length(rows, labels, images)
        coordinates, axis_names = _project(points._replace(rows=rows), method, random_state)
        display = cls(
            coordinates,
            labels,
            images=images,
            cluster_names=cluster_names,
            axis_names=axis_names,
        )
        return display.plot(ax, **plot_options)

    def _draw_points(self, size: float, alpha: float) -> None:
        styles = _styles(self.labels)
        self.points_ = {}
        for label in _sizes(self.labels):
            color, marker = styles[label]
            self.points_[label] = self.ax_.scatter(
                *self.coordinates[self.labels == label].T,
                s=size,
                color=color,
                marker=marker,
                alpha=alpha,
                linewidths=0,
                label=_short_name(label, self.cluster_names),
                # Images of no cluster lie below the others.
                zorder=1.5 if _is_none(label) else 2,
            )

    def _draw_thumbnails(self, plt: Any, n_cells: int, value_range: Any) -> None:
        assert self.images is not None
        low, high = _range_of(self.images) if value_range is None else value_range
        indices, middles, cell = _thin(self.coordinates, n_cells)
        styles = _styles(self.labels)
        height, width = self.images.shape[1:3]
        half_width, half_height = np.array([width, height]) / max(width, height) * cell * 0.45
        for index, (x, y) in zip(indices, middles, strict=True):
            left, bottom = x - half_width, y - half_height
            self.thumbnails_.append(
                self.ax_.imshow(
                    _to_pixels(self.images[index], low, high),
                    extent=(left, x + half_width, bottom, y + half_height),
                    zorder=3,
                )
            )
            self.ax_.add_patch(
                plt.Rectangle(
                    (left, bottom),
                    2 * half_width,
                    2 * half_height,
                    facecolor="none",
                    edgecolor=styles[self.labels[index].item()][0],
                    linewidth=1.5,
                    zorder=3.5,
                )
            )
        self.thumbnail_indices_ = indices

    def _name_on_map(self) -> dict[Any, Any]:
        """Write each name where its cluster is densest and no other name stands."""
        # Positions on the screen are known once the layout is.
        self.figure_.figure.draw_without_rendering()
        to_screen = self.ax_.transData.transform
        to_data = self.ax_.transData.inverted().transform
        styles = _styles(self.labels)
        texts: dict[Any, Any] = {}
        taken: list[Any] = []
        for label in _sizes(self.labels):
            if _is_none(label):
                continue
            spots = self.coordinates[self.labels == label]
            spots = spots[_densest_first(spots)]
            text = self.ax_.text(
                *spots[0],
                _short_name(label, self.cluster_names),
                fontsize="small",
                ha="center",
                va="center",
                bbox={
                    "boxstyle": "round,pad=0.25",
                    "facecolor": self.ax_.get_facecolor(),
                    "edgecolor": styles[label][0],
                    "alpha": 0.9,
                },
                zorder=5,
            )
            box = text.get_window_extent().padded(0.5 * text.get_fontsize())
            shifts = to_screen(spots) - to_screen(spots[0])
            # Where no spot is free, just above or below the best will do.
            shifts = np.vstack([shifts, [[0, box.height], [0, -box.height]]])
            boxes = [box.translated(*shift) for shift in shifts]
            best = min(range(len(boxes)), key=lambda i: (boxes[i].count_overlaps(taken), i))
            text.set_position(to_data(to_screen(spots[0]) + shifts[best]))
            taken.append(boxes[best])
            texts[label] = text
        return texts


class ContingencyDisplay:
    """How clusters and classes fall together, as a table.

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
        What it would be if the images had been given clusters of these sizes by chance.
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
        cluster_names: _Names = None,
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

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `shade` is unknown.
        """
        plt = _pyplot("ContingencyDisplay.plot")
        self.shades_ = _shades(self.counts, shade)
        n_classes, n_clusters = self.counts.shape
        names = [_short_name(c, self.cluster_names) for c in self.clusters]
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
        _remove_frame(ax)
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
        cluster_names: _Names = None,
        ax: "Axes | None" = None,
        **plot_options: Any,
    ) -> Self:
        """Draw the table of a fitted clusterer.

        Parameters
        ----------
        estimator : fitted clusterer or Pipeline
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
        _pyplot(f"{cls.__name__}.from_estimator")
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
        cluster_names: _Names = None,
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
            are left out. None: all, those that one cluster stands out for together.
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
        _pyplot(f"{cls.__name__}.from_predictions")
        found, kept = _known_classes(labels_true, labels_pred, classes)
        names, codes = np.unique(found, return_inverse=True)
        clusters = list(_sizes(kept))
        columns = np.searchsorted(np.unique(kept), clusters)
        counts, rows = contingency_matrix(codes, kept)[:, columns], names.tolist()
        if classes is None:
            counts, rows = _arrange(counts, rows, max_classes)
        else:
            order = [rows.index(name) for name in classes if name in rows]
            counts, rows = counts[order], [rows[i] for i in order]
        random = check_random_state(0)
        chance = [normalized_mutual_info_score(codes, random.permutation(kept)) for _ in range(20)]
        display = cls(
            counts,
            rows,
            clusters,
            nmi=float(normalized_mutual_info_score(codes, kept)),
            chance=float(np.mean(chance)),
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
            format=None if shade == "residual" else _percent,
        )
        bar.set_label(meaning, fontsize="small")
        bar.ax.tick_params(labelsize="small", length=2)
        bar.outline.set_visible(False)


class LossCurveDisplay:
    """How training went: losses, changes of labels and learning rate, epoch by epoch.

    It is recommended to use `from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    history : mapping of str to sequence of float
        One value per epoch, such as ``history_`` of an estimator. What ends in "loss",
        "label_change" and "lr" are drawn.
    pretraining : mapping of str to sequence of float, default=None
        The same of the encoder, before.

    Attributes
    ----------
    lines_ : dict of dict of matplotlib Line2D
        The curves, as ``lines_[panel][curve]``.
    axes_ : ndarray of matplotlib Axes
        The panels.
    ax_ : matplotlib Axes
        The first of the panels.
    figure_ : matplotlib Figure

    See Also
    --------
    DeepConvEmbeddingClustering : What is trained.

    Examples
    --------
    >>> from skdcec.inspection import LossCurveDisplay
    >>> history = {"loss": [0.9, 0.5, 0.4], "lr": [1e-3, 1e-3, 1e-4]}
    >>> display = LossCurveDisplay(history).plot()
    >>> list(display.lines_)
    ['Training', 'Learning rate']
    """

    def __init__(
        self,
        history: Mapping[str, Sequence[float]],
        *,
        pretraining: Mapping[str, Sequence[float]] | None = None,
    ):
        self.history = history
        self.pretraining = pretraining

    def plot(self, ax: "Axes | Sequence[Axes] | None" = None) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes or sequence of them, default=None
            Where to draw: Axes that are divided into panels, or one Axes per panel; None makes
            a figure.

        Returns
        -------
        self : LossCurveDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there is nothing to draw, or another number of Axes than panels.
        """
        plt = _pyplot("LossCurveDisplay.plot")
        panels = self._panels()
        if not panels:
            raise ValueError(
                f"history has the keys {sorted(self.history)}; at least one that ends in 'loss', "
                "'label_change' or 'lr' is needed."
            )
        self.axes_ = _panel_axes(plt, ax, len(panels))
        self.lines_ = {
            title: _draw_curves(plt, panel, title, curves)
            for panel, (title, curves) in zip(self.axes_, panels.items(), strict=True)
        }
        self.ax_, self.figure_ = self.axes_[0], self.axes_[0].figure
        return self

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: "Axes | Sequence[Axes] | None" = None) -> Self:
        """Draw the curves of a fitted clusterer or encoder.

        Parameters
        ----------
        estimator : fitted estimator or Pipeline
            With ``history_``, and for a clusterer ``encoder_``. Of a Pipeline the last step.
        ax : matplotlib Axes or sequence of them, default=None
            Where to draw: Axes that are divided into panels, or one Axes per panel; None makes
            a figure.

        Returns
        -------
        display : LossCurveDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If the estimator keeps no ``history_``.
        """
        _pyplot(f"{cls.__name__}.from_estimator")
        estimator = _unwrap(estimator)
        last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
        check_is_fitted(last)
        if not hasattr(last, "history_"):
            raise TypeError(f"{_name(last)} has no history_ to draw.")
        pretraining = getattr(getattr(last, "encoder_", None), "history_", None)
        return cls(last.history_, pretraining=pretraining).plot(ax)

    def _panels(self) -> dict[str, dict[str, np.ndarray]]:
        """Return the curves of each panel."""
        before = self.pretraining or {}
        panels = {
            "Pretraining": _losses(before),
            "Joint training" if before else "Training": _losses(self.history),
            "Labels changed": {"labels changed": self.history.get("label_change", ())},
            "Learning rate": {
                "pretraining": before.get("lr", ()),
                "joint training" if before else "training": self.history.get("lr", ()),
            },
        }
        arrays = {
            title: {
                name: np.asarray(values, dtype=float)
                for name, values in curves.items()
                if len(values)
            }
            for title, curves in panels.items()
        }
        return {title: curves for title, curves in arrays.items() if curves}


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
        What is drawn of each cluster.
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
        cluster_names: _Names = None,
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

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plt = _pyplot("SilhouetteDisplay.plot")
        sizes = _sizes(self.labels)
        if ax is None:
            size = (6.4, max(3.6, 0.22 * len(sizes) + 1.2))
            _, ax = plt.subplots(figsize=size, layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        self.mean_ = float(np.mean(self.values))
        middles, bottom = self._draw_bands(sizes)
        self.mean_line_ = ax.axvline(
            self.mean_, color=ax.xaxis.label.get_color(), linestyle="--", linewidth=1
        )
        ax.axvline(0, color=_MUTED, linewidth=0.8)
        names = [_short_name(cluster, self.cluster_names) for cluster in sizes]
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
        cluster_names: _Names = None,
        random_state: Any = 0,
        ax: "Axes | None" = None,
    ) -> Self:
        """Draw the silhouettes of a fitted clusterer.

        With the defaults their mean is the ``score`` of the clusterers of this library.

        Parameters
        ----------
        estimator : fitted clusterer or Pipeline
            What clusters `X`.
        X : array-like of shape (n_samples, ...)
            What the estimator takes.
        space : {"auto", "pretrained", "input", "embedding"}, default="auto"
            Where distances are taken: in the embedding of the clusterer's pretrained encoder,
            in the input of the (last) estimator, or in its own ``transform``, in which a
            clusterer has made its clusters compact. "auto" is "pretrained" where there is such
            an encoder, else "input".
        metric : str, default=None
            A metric of `sklearn.metrics.silhouette_samples`. None is the encoder's own.
        sample_size : int, default=3000
            Samples used. None takes all; the cost grows with the square.
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
        _pyplot(f"{cls.__name__}.from_estimator")
        estimator = _unwrap(estimator)
        X = _safe_indexing(X, _sample_rows(_num_samples(X), sample_size, random_state))
        estimator, X = _after_loading(estimator, X)
        points = _points_of(estimator, X, space)
        labels = _as_labels(estimator.predict(X))
        values = _silhouettes(points.rows, labels, metric or points.metric)
        space_name = points.name
        return cls(values, labels, cluster_names=cluster_names, space=space_name).plot(ax)

    @classmethod
    def from_predictions(
        cls,
        embedding: Any,
        labels: Any,
        *,
        metric: str = "euclidean",
        sample_size: int | None = 3000,
        cluster_names: _Names = None,
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
            A metric of `sklearn.metrics.silhouette_samples`.
        sample_size : int, default=3000
            Samples used. None takes all; the cost grows with the square.
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
        _pyplot(f"{cls.__name__}.from_predictions")
        rows = np.asarray(embedding)
        labels = _as_labels(labels)
        check_consistent_length(rows, labels)
        inside = np.array([not _is_none(label) for label in labels.tolist()], dtype=bool)
        rows, labels = rows[inside], labels[inside]
        chosen = _sample_rows(len(labels), sample_size, random_state)
        values = _silhouettes(rows[chosen], labels[chosen], metric)
        return cls(values, labels[chosen], cluster_names=cluster_names).plot(ax)

    def _draw_bands(self, sizes: Mapping[Any, int]) -> tuple[list[float], float]:
        """Draw each cluster in a slot of its own; return the middles and the end of all."""
        ax, styles = self.ax_, _styles(self.labels)
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
                edges, 0, np.repeat(values, 2), color=styles[cluster][0], linewidth=0
            )
            self.means_[cluster] = float(values.mean())
            middles.append(top + slot / 2)
            top += slot + gap
        beside: dict[str, Any] = {"fontsize": "small", "color": _MUTED}
        for middle, mean in zip(middles, self.means_.values(), strict=True):
            # Adding zero turns a mean that rounds to minus zero into zero.
            text = f"{round(mean, 2) + 0.0:.2f}"
            ax.text(1.01, middle, text, transform=ax.get_yaxis_transform(), va="center", **beside)
        ax.text(1.01, 1.01, "mean", transform=ax.transAxes, va="bottom", **beside)
        return middles, top


class NClustersSearchDisplay:
    """What a search over the number of clusters found, k by k.

    The silhouettes of k-means labels in the shared space, with two standard errors of their
    differences to the best one; those of the trained labels; and what points without clusters
    reach. The plausible numbers of clusters are shaded.

    It is recommended to use `from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    results : dict of ndarray
        The ``results_`` of a `skdcec.model_selection.NClustersSearch`.
    best_n_clusters : int, default=None
        The number of clusters to be marked.
    verdict : str, default=None
        What stands above the picture.

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

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plt = _pyplot("NClustersSearchDisplay.plot")
        if ax is None:
            _, ax = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        results = self.results
        numbers = results["n_clusters"]
        self.plausible_bands_ = [
            ax.axvspan(k - 0.5, k + 0.5, color="#EEEEEE", linewidth=0, zorder=0)
            for k in numbers[results["plausible"]]
        ]
        self.screened_line_ = ax.errorbar(
            numbers,
            results["screened_silhouette"],
            yerr=2 * results["screened_standard_error"],
            color=_COLORS[1],
            marker="o",
            markersize=4,
            capsize=2,
            linewidth=1.2,
            label="k-means in the shared space",
        )
        self.null_line_ = ax.plot(
            numbers,
            results["null_silhouette"],
            color=_MUTED,
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
            color=_COLORS[0],
            zorder=3,
            label="trained",
        )
        ax.set(xlabel="number of clusters", ylabel="silhouette in the shared space")
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
        """
        _pyplot(f"{cls.__name__}.from_estimator")
        check_is_fitted(search)
        display = cls(
            search.results_, best_n_clusters=search.best_n_clusters_, verdict=search.verdict_
        )
        return display.plot(ax)


class ReconstructionDisplay:
    """Images above what an autoencoder makes of them.

    It is recommended to use `from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    images : ndarray of shape (n_images, height, width, channels)
        Originals.
    reconstructions : ndarray of shape (n_images, height, width, channels)
        The same, embedded and decoded.

    Attributes
    ----------
    errors_ : ndarray of shape (n_images,)
        Mean squared error of each image, values divided by the range that is drawn.
    tiles_ : ndarray of shape (2, n_images) of matplotlib AxesImage
        Originals and reconstructions.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    ConvAutoencoder : What reconstructs.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdcec.inspection import ReconstructionDisplay
    >>> images = load_digits().images[:6, :, :, None]
    >>> display = ReconstructionDisplay(images, images.round(-1)).plot()
    >>> display.errors_.round(2)
    array([0.02, 0.02, 0.02, 0.02, 0.02, 0.02])
    """

    def __init__(self, images: np.ndarray, reconstructions: np.ndarray):
        self.images = images
        self.reconstructions = reconstructions

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        value_range: tuple[float, float] | None = None,
        interpolation: str | None = None,
    ) -> Self:
        """Draw both rows.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        value_range : tuple (low, high), default=None
            Values drawn as black and as white in both rows, as for `ClusterGalleryDisplay`.
        interpolation : str, default=None
            That of `matplotlib.axes.Axes.imshow`.

        Returns
        -------
        self : ReconstructionDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plt = _pyplot("ReconstructionDisplay.plot")
        low, high = _range_of(self.images) if value_range is None else value_range
        difference = (self.images.astype(float) - self.reconstructions) / (high - low)
        self.errors_ = np.square(difference).mean(axis=(1, 2, 3))
        n_images = len(self.images)
        height = self.images.shape[1] / self.images.shape[2]
        if ax is None:
            inches = min(0.9, 0.9 / height)
            size = (inches * (1 + _GAP) * n_images + 1.4, inches * 2 * (height + _GAP) + 0.5)
            _, ax = plt.subplots(figsize=size, layout="compressed")
        x, y = (1 + _GAP) * np.arange(n_images), (height + _GAP) * np.arange(2)
        self.tiles_ = np.empty((2, n_images), dtype=object)
        for row, images in enumerate((self.images, self.reconstructions)):
            for column, image in enumerate(images):
                self.tiles_[row, column] = _draw_tile(
                    ax, image, x[column], y[row], low, high, interpolation
                )
        right, bottom = (1 + _GAP) * n_images, 2 * (height + _GAP)
        ax.set(xlim=(-_GAP, right), ylim=(bottom, -_GAP), aspect="equal")
        ax.set_yticks(y + height / 2, ["original", "reconstruction"], fontsize="small")
        errors = [f"{error:.3f}" for error in self.errors_]
        ax.set_xticks(x + 0.5, errors, fontsize="small", color=_MUTED)
        ax.set_xlabel("mean squared error", fontsize="small", color=_MUTED)
        _remove_frame(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        n_images: int = 10,
        indices: Sequence[int] | None = None,
        image_shape: tuple[int, ...] | None = None,
        random_state: Any = 0,
        ax: "Axes | None" = None,
        **plot_options: Any,
    ) -> Self:
        """Draw images and their reconstructions by a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator or Pipeline
            With ``transform`` and ``inverse_transform``: an autoencoder, or a clusterer that
            was trained on reconstruction. A first step that reads files may lack the latter.
        X : array-like of shape (n_samples, ...)
            What the estimator takes.
        n_images : int, default=10
            Images drawn, taken at random.
        indices : sequence of int, default=None
            Row numbers of the images to draw instead.
        image_shape : tuple, default=None
            Shape of images that come as rows, where the estimator does not know it.
        random_state : int, RandomState instance or None, default=0
            Determines the images.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        **plot_options
            Passed to `plot`.

        Returns
        -------
        display : ReconstructionDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If the estimator has no ``inverse_transform``.
        """
        _pyplot(f"{cls.__name__}.from_estimator")
        rows = (
            _sample_rows(_num_samples(X), n_images, random_state)
            if indices is None
            else np.asarray(indices)
        )
        estimator, chosen = _after_loading(estimator, _safe_indexing(X, rows))
        if not hasattr(estimator, "inverse_transform"):
            raise TypeError(
                f"{_name(estimator)} has no inverse_transform: it has no decoder, or was trained "
                "with reconstruction_weight=0. Its encoder_ may still have one."
            )
        decoded = estimator.inverse_transform(estimator.transform(chosen))
        images = _images_of(estimator, chosen, None, image_shape)
        display = cls(images, _images_of(estimator, decoded, None, image_shape))
        return display.plot(ax, **plot_options)


# What the displays share: matplotlib, and the look


def _pyplot(caller: str) -> Any:
    """Import matplotlib, which only those need who draw."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{caller} needs matplotlib, which is not installed: pip install 'skdcec[plot]'."
        ) from error
    return plt


def _draw_tile(
    ax: Any,
    image: np.ndarray,
    x: float,
    y: float,
    low: float,
    high: float,
    interpolation: str | None,
) -> Any:
    """Draw an image one unit wide with its upper left corner at (x, y), the y axis downwards."""
    return ax.imshow(
        _to_pixels(image, low, high),
        extent=(x, x + 1, y + image.shape[0] / image.shape[1], y),
        interpolation=interpolation,
    )


def _remove_frame(ax: Any) -> None:
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def _percent(value: float, position: int | None = None) -> str:
    return f"{100 * value:.3g} %"


def _styles(labels: np.ndarray) -> dict[Any, tuple[str, str]]:
    """Return colour and marker of each label; numbers keep theirs in every display."""
    styles = {}
    for position, label in enumerate(np.unique(labels).tolist()):
        if _is_none(label):
            styles[label] = (_NO_CLUSTER, "o")
            continue
        number = label if isinstance(label, int) else position
        marker = _MARKERS[number // len(_COLORS) % len(_MARKERS)]
        styles[label] = (_COLORS[number % len(_COLORS)], marker)
    return styles


def _label_name(label: Any, names: _Names) -> str:
    """Return the name of a cluster, given plainly or as by `skdcec.report.read_names`."""
    given = None if names is None else names.get(label)
    if isinstance(given, Mapping):
        given = given.get("name")
    if given:
        return str(given)
    return "no cluster" if _is_none(label) else str(label)


def _short_name(label: Any, names: _Names) -> str:
    return shorten(_label_name(label, names), 28, placeholder="…")


def _card_label(label: Any, names: _Names, size: int, n_samples: int) -> str:
    name = _label_name(label, names)
    if isinstance(label, int) and name == str(label):
        name = f"Cluster {label}"
    lines = wrap(name, 18, max_lines=2, placeholder="…")
    return "\n".join([*lines, f"{size} ({size / n_samples:.0%})".replace("%", " %")])


# Labels


def _is_none(label: Any) -> bool:
    """Whether a label says that an image belongs to no cluster."""
    return isinstance(label, int) and label < 0


def _as_labels(labels: Any) -> np.ndarray:
    """Return labels as an array of ints or strings."""
    array = column_or_1d(labels, warn=False)
    if not len(array):
        raise ValueError("labels is empty.")
    if array.dtype.kind == "f" and np.equal(array, np.round(array)).all():
        return array.astype(np.int64)
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    return array.astype(str)


def _sizes(labels: np.ndarray) -> dict[Any, int]:
    """Return the number of samples of each label, the largest first and no cluster last."""
    values, counts = np.unique(labels, return_counts=True)
    pairs = zip(values.tolist(), counts.tolist(), strict=True)
    return dict(sorted(pairs, key=lambda pair: (_is_none(pair[0]), -pair[1], pair[0])))


def _name(estimator: Any) -> str:
    return type(estimator).__name__


def _sample_rows(n_samples: int, size: int | None, random_state: Any) -> np.ndarray:
    """Return row numbers of a sample, the same as those of the scorers."""
    if size is None or size >= n_samples:
        return np.arange(n_samples)
    return np.sort(check_random_state(random_state).permutation(n_samples)[:size])


# Estimators


def _unwrap(estimator: Any) -> Any:
    """Return what a search found best."""
    return getattr(estimator, "best_estimator_", estimator)


def _after_loading(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Let the first step of a pipeline read files, once, for all that follows."""
    estimator = _unwrap(estimator)
    if isinstance(estimator, Pipeline) and len(estimator) > 1 and _are_paths(X):
        return estimator[1:], estimator[0].transform(X)
    return estimator, X


def _are_paths(X: Any) -> bool:
    if isinstance(X, (list, tuple)):
        return bool(len(X)) and isinstance(X[0], str | os.PathLike)
    return getattr(X, "ndim", None) == 1


def _last_step(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Return the last step of a pipeline, and what reaches it."""
    if not isinstance(estimator, Pipeline):
        return estimator, X
    return estimator[-1], estimator[:-1].transform(X) if len(estimator) > 1 else X


class _Points(NamedTuple):
    rows: Any
    metric: str
    name: str


def _points_of(estimator: Any, X: Any, space: str) -> _Points:
    """Return `X` in one of the spaces that an estimator knows."""
    if space not in _SPACES:
        raise ValueError(f"space={space!r} must be one of {', '.join(map(repr, _SPACES))}.")
    last, reached = _last_step(estimator, X)
    encoder = getattr(last, "encoder_", None)
    if space == "auto":
        alone = "input" if hasattr(last, "predict") else "embedding"
        space = alone if encoder is None else "pretrained"
    if space == "pretrained" and encoder is None:
        raise ValueError(
            f"space='pretrained' needs an estimator with an encoder_; {_name(last)} has none: use "
            "space='input', or 'embedding' if it has transform."
        )
    if space == "input":
        array = np.asarray(reached)
        return _Points(array.reshape(len(array), -1), "euclidean", _SPACE_NAMES[space])
    if space == "pretrained":
        rows, judge = pretrained_embedding(last, reached), encoder
    else:
        rows, judge = last.transform(reached), encoder or last
    return _Points(rows, getattr(judge, "metric_", "euclidean"), _SPACE_NAMES[space])


def _center_distances(last: Any, X: Any) -> np.ndarray:
    """Return the distance of each sample to each center."""
    if hasattr(last, "cluster_centers_") and hasattr(last, "transform"):
        embedded = last.transform(X)
        if hasattr(last, "encoder_"):
            return euclidean_distances(embedded, last.cluster_centers_)
        # The transform of scikit-learn's relatives of k-means is the distances.
        if embedded.shape[1] == len(last.cluster_centers_):
            return embedded
    raise TypeError(
        f"{_name(last)} does not say how far images are from the centers of the clusters: use "
        "ClusterGalleryDisplay.from_predictions(images, labels, distances)."
    )


def _silhouettes(rows: Any, labels: np.ndarray, metric: str) -> np.ndarray:
    n_labels = len(np.unique(labels))
    if not 1 < n_labels < len(labels):
        raise ValueError(
            f"{len(labels)} samples in {n_labels} clusters have no silhouettes: at least two "
            "clusters are needed, and fewer than samples."
        )
    return silhouette_samples(rows, labels, metric=metric)


# Images


def _images_of(
    estimator: Any, X: Any, images: Any, image_shape: tuple[int, ...] | None
) -> np.ndarray:
    """Return the images to show, in the form that `estimator` says they have."""
    steps = (
        [step for _, step in estimator.steps] if isinstance(estimator, Pipeline) else [estimator]
    )
    knowing = next((step for step in steps if hasattr(step, "image_shape_")), None)
    data_format = getattr(knowing, "data_format", "channels_last")
    if images is not None:
        shown = _as_images(images, image_shape, data_format)
        check_consistent_length(shown, X)
        return shown
    return _as_images(X, image_shape or getattr(knowing, "image_shape_", None), data_format)


def _as_images(images: Any, image_shape: tuple[int, ...] | None, data_format: str) -> np.ndarray:
    """Return images as a (n, height, width, channels) array, uncopied where possible."""
    array = np.asarray(images)
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"images must be numbers, got {array.dtype}: skdcec.datasets.load_images reads files."
        )
    if array.ndim == 2:
        return array.reshape(len(array), *resolve_image_shape(image_shape, array.shape[1]))
    if array.ndim == 3:
        return array[..., np.newaxis]
    if array.ndim != 4:
        raise ValueError(
            f"images have shape {array.shape}; (n, H, W), (n, H, W, C), (n, C, H, W) or rows of "
            "shape (n, n_features) are needed."
        )
    if data_format == "channels_first":
        return array.transpose(0, 2, 3, 1)
    if array.shape[1] in (1, 3, 4) and array.shape[3] > 4:
        raise ValueError(
            f"images of shape {array.shape} look like (n, C, H, W): pass "
            "data_format='channels_first'."
        )
    return array


def _range_of(images: np.ndarray) -> tuple[float, float]:
    """Return the values to draw as black and as white."""
    if images.dtype == np.uint8:
        return 0.0, 255.0
    if images.dtype.kind == "b":
        return 0.0, 1.0
    low = float(images.min())
    if low >= 0:
        return 0.0, natural_scale(images)
    # Centred values: zero is not black.
    high = float(images.max())
    return low, high if high > low else low + 1.0


def _to_pixels(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return one image as uint8 of shape (height, width, 3 or 4)."""
    values = np.asarray(image, dtype=np.float32)
    if values.shape[2] not in (3, 4):
        values = values.mean(axis=2, keepdims=True).repeat(3, axis=2)
    unit = np.nan_to_num((values - low) / (high - low))
    return np.round(255 * unit.clip(0, 1)).astype(np.uint8)


def _pixel_distances(images: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the distances of images to the mean image of each cluster."""
    distances = np.empty((len(images), codes.max() + 1))
    blocks = np.array_split(np.arange(len(images)), math.ceil(len(images) / 256))
    for code in range(distances.shape[1]):
        mean = images[codes == code].mean(axis=0, dtype=np.float64).astype(np.float32)
        for rows in blocks:
            difference = images[rows] - mean
            distances[rows, code] = np.sqrt(np.einsum("nhwc,nhwc->n", difference, difference))
    return distances


def _own_and_next(
    distances: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the distance to the own center and to the nearest other one, if it is known."""
    if distances.ndim == 1:
        return distances, None
    if distances.ndim != 2 or labels.dtype.kind != "i" or labels.max() >= distances.shape[1]:
        raise ValueError(
            f"distances has shape {distances.shape}; (n_samples,), or (n_samples, n_clusters) "
            f"with labels from 0 to n_clusters - 1, is needed. The labels are "
            f"{list(_sizes(labels))}."
        )
    rows = np.arange(len(labels))
    # An image of no cluster is compared with the nearest center.
    columns = np.where(labels < 0, distances.argmin(axis=1), labels)
    others = distances.astype(float)
    others[rows, columns] = np.inf
    return distances[rows, columns], others.min(axis=1)


def _columns(counts: Mapping[str, int]) -> tuple[dict[str, np.ndarray], float]:
    """Return where the tiles of each kind begin, in widths of a tile, and where they end."""
    columns, x = {}, 0.0
    for kind, count in counts.items():
        columns[kind] = x + (1 + _GAP) * np.arange(count)
        x = columns[kind][-1] + 1.4
    return columns, x - 0.4


# Maps


def _check_method(method: Any) -> None:
    """Fail before anything is embedded if the method is not to be had."""
    if method == "umap":
        _umap()
    elif method not in ("tsne", "pca") and not hasattr(method, "fit_transform"):
        raise ValueError(
            f"method={method!r} must be 'tsne', 'pca', 'umap' or an object with fit_transform."
        )


def _umap() -> Any:
    try:
        from umap import UMAP
    except ImportError as error:
        raise ImportError(
            "method='umap' needs umap-learn, which is not installed: pip install umap-learn, or "
            "use method='tsne'."
        ) from error
    return UMAP


def _project(points: _Points, method: Any, random_state: Any) -> tuple[np.ndarray, tuple[str, str]]:
    """Return coordinates in two dimensions, and what to write at the axes."""
    rows = normalize(points.rows) if points.metric == "cosine" else points.rows
    if isinstance(method, str) and method == "pca":
        return _principal_plane(rows, random_state)
    if isinstance(method, str) and method == "tsne":
        coordinates = map_projection(rows, random_state=random_state)
        name = "t-SNE"
    elif isinstance(method, str):
        seed = check_random_state(random_state).randint(2**31 - 1)
        # With a seed there is one thread whatever is asked for, and a warning about it.
        layout = _umap()(n_components=2, metric=points.metric, random_state=seed, n_jobs=1)
        coordinates = layout.fit_transform(rows)
        name = "UMAP"
    else:
        coordinates, name = np.asarray(method.fit_transform(rows)), _name(method)
        if coordinates.shape != (len(rows), 2):
            raise ValueError(
                f"method={method!r} made coordinates of shape {coordinates.shape}; "
                f"{(len(rows), 2)} is needed."
            )
    # Directions and units of such maps mean nothing: one text says all there is to say.
    return coordinates, (f"{name} of the {points.name}", "")


def _principal_plane(rows: np.ndarray, seed: Any) -> tuple[np.ndarray, tuple[str, str]]:
    coordinates, shares = np.zeros((len(rows), 2)), np.zeros(2)
    kept = min(2, len(rows) - 1, rows.shape[1])
    if kept and rows.std():
        model = PCA(kept, random_state=seed)
        coordinates[:, :kept] = model.fit_transform(rows)
        shares[:kept] = model.explained_variance_ratio_
    first, second = (f"PCA {i} ({100 * share:.0f} %)" for i, share in enumerate(shares, 1))
    return coordinates, (first, second)


def _thin(coordinates: np.ndarray, n_cells: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Choose the point nearest the middle of each cell of a grid over the map.

    Returns
    -------
    indices : ndarray of shape (n_chosen,)
        Row numbers.
    middles : ndarray of shape (n_chosen, 2)
        The middles of their cells.
    cell : float
        Side of a cell.
    """
    low, high = coordinates.min(axis=0), coordinates.max(axis=0)
    cell = float((high - low).max()) / n_cells or 1.0
    shape = np.maximum(np.ceil((high - low) / cell - 1e-9), 1)
    corner = (low + high - shape * cell) / 2
    place = np.minimum((coordinates - corner) // cell, shape - 1)
    middles = corner + (place + 0.5) * cell
    distance = np.square(coordinates - middles).sum(axis=1)
    # The first of each cell after sorting by distance is the nearest.
    order = np.argsort(distance, kind="stable")
    _, first = np.unique(place[order], axis=0, return_index=True)
    indices = order[first]
    return indices, middles[indices], cell


def _densest_first(points: np.ndarray, n_most: int = 60) -> np.ndarray:
    """Return row numbers of points in the denser half, the densest first."""
    n_points = len(points)
    if n_points < 3:
        return np.arange(n_points)
    sample = np.linspace(0, n_points - 1, min(n_points, 2000)).astype(int)
    n_neighbors = max(1, min(len(sample) - 1, math.isqrt(len(sample))))
    search = NearestNeighbors(n_neighbors=n_neighbors).fit(points[sample])
    crowding = search.kneighbors()[0][:, -1]
    order = sample[np.argsort(crowding, kind="stable")]
    # Beyond the first, some all over the cluster will do.
    return order[np.unique(np.linspace(0, len(order) // 2, n_most).astype(int))]


# Tables


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
    clusters = _as_labels(labels_pred)
    check_consistent_length(values, clusters)
    known = np.array([not _is_missing(value) for value in values], dtype=bool)
    known &= [not _is_none(cluster) for cluster in clusters.tolist()]
    if known.any():
        found = _as_labels(np.array(values[known].tolist()))
        if classes is not None:
            listed = np.isin(found, np.asarray(classes))
            found, known[known] = found[listed], listed
    if not known.any():
        wanted = "" if classes is None else f" of classes={list(classes)!r}"
        raise ValueError(f"No sample has both a class{wanted} and a cluster.")
    return found, clusters[known]


def _arrange(counts: np.ndarray, rows: list, max_classes: int) -> tuple[np.ndarray, list]:
    """Put classes together that one cluster stands out for, and count the rarest as one."""
    if max_classes < 1:
        raise ValueError(f"max_classes={max_classes!r} must be at least 1.")
    by_size = np.argsort(-counts.sum(axis=1), kind="stable")
    n_own = len(rows) if len(rows) <= max_classes else max_classes - 1
    frequent, rare = by_size[:n_own], by_size[n_own:]
    residuals = _residuals(counts)[frequent]
    order = frequent[np.lexsort((-residuals.max(axis=1), residuals.argmax(axis=1)))]
    arranged, names = counts[order], [rows[i] for i in order]
    if len(rare):
        arranged = np.vstack([arranged, counts[rare].sum(axis=0)])
        names.append(f"{len(rare)} others")
    return arranged, names


def _residuals(counts: np.ndarray) -> np.ndarray:
    """Return adjusted residuals: standard normal if rows and columns are independent."""
    total = counts.sum()
    rows, columns = counts.sum(axis=1, keepdims=True), counts.sum(axis=0, keepdims=True)
    expected = rows * columns / total
    variance = expected * (1 - rows / total) * (1 - columns / total)
    return np.where(variance > 0, (counts - expected) / np.sqrt(np.maximum(variance, 1e-300)), 0.0)


def _shades(counts: np.ndarray, shade: str) -> np.ndarray:
    if shade == "residual":
        return _residuals(counts)
    if shade not in ("cluster", "class"):
        raise ValueError(f"shade={shade!r} must be 'residual', 'cluster' or 'class'.")
    return counts / np.maximum(counts.sum(axis=0 if shade == "cluster" else 1, keepdims=True), 1)


# Curves


def _losses(history: Mapping[str, Sequence[float]]) -> dict[str, Sequence[float]]:
    """Return the losses by their name in a legend, the total after its parts."""
    keys = sorted((key for key in history if key.endswith("loss")), key=lambda key: key == "loss")
    if keys == ["loss"]:
        return {"loss": history["loss"]}
    names = {key: key.removesuffix("loss").strip("_").replace("_", " ") or "total" for key in keys}
    return {name: history[key] for key, name in names.items()}


def _panel_axes(plt: Any, ax: Any, n_panels: int) -> np.ndarray:
    """Return one Axes per panel, two side by side."""
    n_columns = min(n_panels, 2)
    n_rows = math.ceil(n_panels / n_columns)
    if ax is None:
        figure = plt.figure(figsize=(3.6 * n_columns, 2.5 * n_rows), layout="constrained")
        grid = figure.add_gridspec(n_rows, n_columns)
    elif not hasattr(ax, "get_subplotspec"):
        axes = np.asarray(ax, dtype=object).ravel()
        if len(axes) != n_panels:
            raise ValueError(f"ax holds {len(axes)} Axes, but there are {n_panels} panels.")
        return axes
    else:
        # As in scikit-learn, the Axes given are the frame that the panels share.
        ax.set_axis_off()
        figure, spec = ax.figure, ax.get_subplotspec()
        # A layout engine makes room for the texts between the panels by itself.
        free = spec is None or figure.figure.get_layout_engine() is None
        gaps = {"wspace": 0.35, "hspace": 0.6} if free else {}
        if spec is None:
            place = ax.get_position()
            sides = {"left": place.x0, "right": place.x1, "bottom": place.y0, "top": place.y1}
            grid = figure.add_gridspec(n_rows, n_columns, **sides, **gaps)
        else:
            grid = spec.subgridspec(n_rows, n_columns, **gaps)
    cells = [grid[i // n_columns, i % n_columns] for i in range(n_panels)]
    return np.array([figure.add_subplot(cell) for cell in cells], dtype=object)


def _draw_curves(plt: Any, ax: Any, title: str, curves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    lines = {}
    for (name, values), color in zip(
        curves.items(), itertools.cycle(("#332288", "#CC6677", "#117733", "#882255")), strict=False
    ):
        # A single epoch is a point, not a line.
        marker = "o" if len(values) <= 25 else None
        (lines[name],) = ax.plot(
            np.arange(1, len(values) + 1),
            values,
            label=name,
            color=_NO_CLUSTER if name == "total" else color,
            marker=marker,
            markersize=3,
            zorder=1.9 if name == "total" else 2,
        )
    everything = np.concatenate(list(curves.values()))
    everything = everything[np.isfinite(everything)]
    if title == "Labels changed":
        ax.set_ylim(bottom=0)
        ax.yaxis.set_major_formatter(_percent)
    elif title == "Learning rate":
        ax.set_ylim(bottom=0)
    elif len(everything) and everything.min() > 0 and everything.max() > 3 * everything.min():
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(plt.LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_major_formatter(lambda value, position: f"{value:g}")
        ax.yaxis.set_minor_locator(plt.NullLocator())
    ax.set_xlim(0.5, max(map(len, curves.values())) + 0.5)
    ax.xaxis.set_major_locator(plt.MaxNLocator(5, integer=True))
    ax.set_xlabel("epoch", fontsize="small")
    ax.set_title(title, fontsize="medium", loc="left")
    ax.tick_params(labelsize="small")
    ax.grid(axis="y", color="#E6E6E6", linewidth=0.8)
    ax.spines[["top", "right"]].set_visible(False)
    if len(lines) > 1:
        ax.legend(frameon=False, fontsize="small")
    return lines
