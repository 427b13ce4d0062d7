"""Where do images and clusters lie? A map in two dimensions."""

import math
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.validation import check_consistent_length

from skdcec._analysis.images import as_images, images_of, to_pixels
from skdcec._analysis.spaces import Space, space_of
from skdcec._sklearn_compat import check_array
from skdcec.inspection.labels import as_labels, is_none, sizes_of
from skdcec.inspection.layouts import check_method, project
from skdcec.inspection.loading import after_loading
from skdcec.inspection.style import MUTED, Names, colors_of, drawn_range, import_pyplot, short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class EmbeddingDisplay:
    """A map of images in two dimensions, coloured by cluster.

    It is recommended to use `from_estimator` or `from_predictions`. All parameters are stored
    as attributes.

    Parameters
    ----------
    coordinates : ndarray of shape (n_samples, 2)
        Positions on the map.
    labels : ndarray of shape (n_samples,)
        What colours the points. A number has the same colour in every display, whatever other
        labels there are; -1 is gray.
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
    skdcec.report.map_projection : The layout by t-SNE alone.

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
        cluster_names: Names = None,
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
            The display itself, with what was drawn in its attributes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If thumbnails are asked for and there are no images, or `naming` is unknown.
        """
        plt = import_pyplot("EmbeddingDisplay.plot")
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
            ax.set_xlabel(self.axis_names[0], color=MUTED, fontsize="small")
            ax.set_ylabel(self.axis_names[1], color=MUTED, fontsize="small")
        ax.spines[:].set_color("#CCCCCC")
        self.texts_ = self._name_on_map() if naming == "map" else {}
        if naming == "legend":
            ax.legend(
                loc="center left",
                bbox_to_anchor=(1.0, 0.5),
                frameon=False,
                fontsize="small",
                # Colours of points as small as on the map cannot be told apart.
                markerscale=2,
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
        cluster_names: Names = None,
        random_state: Any = 0,
        ax: "Axes | None" = None,
        **plot_options: Any,
    ) -> Self:
        """Draw the map of a fitted clusterer or encoder.

        Parameters
        ----------
        estimator : fitted estimator, Pipeline or search
            What clusters or embeds `X`.
        X : array-like of shape (n_samples, ...)
            What the estimator takes.
        labels : array-like of shape (n_samples,), default=None
            What colours the points, such as classes. None: the clusters predicted.
        space : {"auto", "pretrained", "input", "embedding"}, default="auto"
            What is mapped: the embedding of the clusterer's pretrained encoder, the input of
            the (last) estimator, or its own ``transform``, in which a clusterer has drawn
            the images to the centers. "auto" is "pretrained"
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
        import_pyplot(f"{cls.__name__}.from_estimator")
        check_method(method)
        estimator, X = after_loading(estimator, X)
        shown = None
        if images is not None or plot_options.get("thumbnails"):
            shown = images_of(estimator, X, images, image_shape)
        if labels is None:
            if not hasattr(estimator, "predict"):
                raise ValueError(
                    "labels=None needs an estimator that predicts; "
                    f"{type(estimator).__name__} does not."
                )
            labels = estimator.predict(X)
        mapped = space_of(estimator, X, space)
        return cls._from_space(
            mapped, labels, method, shown, cluster_names, random_state, ax, plot_options
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
        cluster_names: Names = None,
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
        import_pyplot(f"{cls.__name__}.from_predictions")
        check_method(method)
        if metric not in ("euclidean", "cosine"):
            raise ValueError(f"metric={metric!r} must be 'euclidean' or 'cosine'.")
        shown = None if images is None else as_images(images, image_shape, data_format)
        mapped = Space(embedding, metric)
        return cls._from_space(
            mapped, labels, method, shown, cluster_names, random_state, ax, plot_options
        )

    @classmethod
    def _from_space(
        cls,
        mapped: Space,
        labels: Any,
        method: Any,
        images: np.ndarray | None,
        cluster_names: Names,
        random_state: Any,
        ax: "Axes | None",
        plot_options: dict[str, Any],
    ) -> Self:
        rows = check_array(mapped.points, dtype=[np.float64, np.float32], input_name="embedding")
        labels = as_labels(labels)
        check_consistent_length(rows, labels, images)
        coordinates, axis_names = project(mapped._replace(points=rows), method, random_state)
        display = cls(
            coordinates,
            labels,
            images=images,
            cluster_names=cluster_names,
            axis_names=axis_names,
        )
        return display.plot(ax, **plot_options)

    def _draw_points(self, size: float, alpha: float) -> None:
        colors = colors_of(self.labels)
        self.points_ = {}
        for label in sizes_of(self.labels):
            self.points_[label] = self.ax_.scatter(
                *self.coordinates[self.labels == label].T,
                s=size,
                color=colors[label],
                alpha=alpha,
                linewidths=0,
                label=short_name(label, self.cluster_names),
                # Images of no cluster lie below the others.
                zorder=1.5 if is_none(label) else 2,
            )

    def _draw_thumbnails(self, plt: Any, n_cells: int, value_range: Any) -> None:
        assert self.images is not None
        low, high = drawn_range(self.images, value_range)
        indices, middles, cell = _thin(self.coordinates, n_cells)
        colors = colors_of(self.labels)
        height, width = self.images.shape[1:3]
        half_width, half_height = np.array([width, height]) / max(width, height) * cell * 0.45
        for index, (x, y) in zip(indices, middles, strict=True):
            left, bottom = x - half_width, y - half_height
            self.thumbnails_.append(
                self.ax_.imshow(
                    to_pixels(self.images[index], low, high),
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
                    edgecolor=colors[self.labels[index].item()],
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
        colors = colors_of(self.labels)
        texts: dict[Any, Any] = {}
        taken: list[Any] = []
        for label in sizes_of(self.labels):
            if is_none(label):
                continue
            spots = self.coordinates[self.labels == label]
            spots = spots[_densest_first(spots)]
            text = self.ax_.text(
                *spots[0],
                short_name(label, self.cluster_names),
                fontsize="small",
                ha="center",
                va="center",
                bbox={
                    "boxstyle": "round,pad=0.25",
                    "facecolor": self.ax_.get_facecolor(),
                    "edgecolor": colors[label],
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
    # After sorting by distance, the first point of each cell is the nearest.
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
    # Where the densest spots are taken, others spread over the cluster will do.
    return order[np.unique(np.linspace(0, len(order) // 2, n_most).astype(int))]
