"""How is a page made, from a fitted estimator or from plain arrays?"""

import html
import inspect
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.preprocessing import normalize
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skdcec._analysis.exemplars import membership
from skdcec._analysis.images import images_of
from skdcec._analysis.projection import map_projection, unit_square
from skdcec._analysis.samples import sample_rows
from skdcec._analysis.spaces import (
    best_of,
    center_distances,
    data_for,
    distances_to_means,
    last_step,
    space_of,
    within_range,
)
from skdcec._analysis.stability import cluster_stability
from skdcec._callers import caller_level
from skdcec._encoders.recognition import recognized
from skdcec._files import Table, check_target, write_bytes
from skdcec._sklearn_compat import check_array
from skdcec.datasets.decode import MAX_PIXELS
from skdcec.report.checks import (
    are_paths,
    check_groups,
    check_labels,
    check_length,
    check_matrix,
    check_skipped,
    image_names,
)
from skdcec.report.given import columns_of, images_in, numbered
from skdcec.report.metadata import agreements_of, metadata_columns, standouts
from skdcec.report.names import check_names
from skdcec.report.page import (
    Page,
    links_to,
    payload_of,
    payload_of_files,
    payload_of_run,
    payload_of_space,
    payload_of_stability,
)
from skdcec.report.shown import MAX_IMAGES, check_max_images, chosen_of, shown_of
from skdcec.report.tables import rows_of_clusters, rows_of_images
from skdcec.report.thumbnails import CELL, Pictures, Progress, encode_sheets

MAX_DIMENSIONS = 64
# Notebooks keep what they show: a larger page would make them slow to open.
_MAX_IN_NOTEBOOK = 10_000_000
# Principal axes of more rows are hardly others.
_MAX_FITTED = 20_000
_BLOCK = 10_000


@dataclass(frozen=True)
class Report:
    """What :func:`write_report` wrote. Notebooks show the page where a cell ends in it.

    Parameters
    ----------
    path : Path
        The page.
    n_bytes : int
        Its size.
    thumbnail_size : int
        Longest side in pixels of the single thumbnails; 0 if none fitted.
    n_thumbnails : int
        Images with a single thumbnail. The others have their 32-pixel cell of the map only.
    table : dict of str to list
        One row per image, see :func:`image_table`.
    summary : dict of str to list
        One row per cluster, see :func:`cluster_summary`.
    agreement : float
        How far two runs agree that find as many clusters in random halves of `embedding`, as a
        mean adjusted Rand index; NaN where there are too few images or clusters.
    n_images : int
        Images on the page; the tables have a row for each image or cluster there is.

    See Also
    --------
    write_report : Makes it from plain arrays.
    report_from_estimator : Makes it from a fitted model.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skdcec.report import write_report
    >>> images = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = write_report(f"{folder}/page.html", images, np.arange(12) % 2)
    >>> report.path.name, report.n_images
    ('page.html', 12)
    >>> report.summary["size"]
    [6, 6]
    """

    path: Path
    n_bytes: int
    thumbnail_size: int
    n_thumbnails: int
    table: Table = field(repr=False)
    summary: Table = field(repr=False)
    agreement: float
    n_images: int

    def _repr_html_(self) -> str:
        """Return the page within a frame that reaches nothing of the notebook around it."""
        where = html.escape(os.fspath(self.path).encode("utf-8", "replace").decode())
        if not self.path.is_file():
            return f"<p>The page {where} is no longer there.</p>"
        n_bytes = self.path.stat().st_size
        if n_bytes > _MAX_IN_NOTEBOOK:
            return (
                f"<p>The page is at <code>{where}</code>; its {n_bytes / 1e6:.1f} MB are too many "
                f"for a notebook, which max_bytes={_MAX_IN_NOTEBOOK} avoids.</p>"
            )
        page = html.escape(self.path.read_text(encoding="utf-8", errors="replace"))
        return (
            '<iframe title="Clusters" sandbox="allow-scripts allow-downloads" width="100%" '
            f'height="720" style="border: 0" srcdoc="{page}"></iframe>'
        )


def report_from_estimator(
    estimator: Any,
    X: Any,
    path: Any,
    *,
    images: Any = None,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> Report:
    """Write the page of a fitted clusterer.

    The map and the similar images use the embedding of the pretrained encoder; confidence,
    margin and distance come from the refined space. In a notebook, a cell that ends in the result
    shows the page, up to 10 MB: `max_bytes` bounds it.

    Parameters
    ----------
    estimator : fitted clusterer, Pipeline that ends in one, or search over such
        Read through ``labels_``, ``predict_proba``, ``transform``, ``cluster_centers_``,
        ``encoder_``, ``history_`` and ``get_params``.
    X : array-like of shape (n_samples, ...)
        What the estimator was fitted on. What :func:`skdcec.datasets.load_images` returns brings
        names and metadata of the images along.
    path : str or path-like
        The HTML file to write.
    images : array or list of paths, default=None
        What the page shows, if not `X`, in the form that :func:`write_report` takes: files, such
        as the ``filenames`` of what :func:`skdcec.datasets.load_images` returns, give larger
        thumbnails than a small `X`, and lead to the originals.
    settings : mapping, default=None
        Added to the estimator's parameters on the page.
    **options
        Passed to :func:`write_report`.

    Returns
    -------
    report : Report
        Where the page is, and the tables behind it.

    Raises
    ------
    ValueError
        If `X` does not have one row per label, or cannot be shown as images.
    TypeError
        If the estimator has no ``labels_``, or does not say where the centers of its clusters are,
        `path` is no path, or :func:`write_report` has no such option.
    NotFittedError
        If the estimator is not fitted.

    Warns
    -----
    FutureWarning
        If the path comes first, as it did in earlier versions.

    See Also
    --------
    write_report : The same from plain arrays.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from sklearn.cluster import KMeans
    >>> from skdcec.report import report_from_estimator
    >>> X = np.random.default_rng(0).random((40, 64))
    >>> model = KMeans(2, n_init=1, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = report_from_estimator(model, X, f"{folder}/page.html")
    >>> sum(report.summary["size"])
    40
    """
    if isinstance(estimator, (str, os.PathLike)):
        warnings.warn(
            "report_from_estimator takes the path last, as in report_from_estimator(estimator, X, "
            "path); that it may come first will end in version 0.3.",
            FutureWarning,
            stacklevel=caller_level(),
        )
        estimator, X, path = X, path, estimator
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(
            f"path is of type {type(path).__name__}; the HTML file to write comes last, as in "
            "report_from_estimator(estimator, X, path)."
        )
    _check_options(options)
    estimator = best_of(estimator)
    options = columns_of(X) | options
    X = data_for(estimator, X)
    if isinstance(X, (str, os.PathLike)):
        # Says what would do.
        recognized(X)
    model, reached = last_step(estimator, X)
    if not hasattr(model, "labels_"):
        check_is_fitted(model)
        raise TypeError(f"{type(model).__name__} has no labels_, which clusterers find in fit.")
    check_length("X", X, len(model.labels_))
    if images is None:
        images = X if are_paths(X) else images_of(estimator, X)
    # The steps before the last have been taken already.
    space = space_of(model, reached)
    encoder = getattr(model, "encoder_", None)
    history = {
        "Pretraining": getattr(encoder, "history_", None) or {},
        "Joint training": getattr(model, "history_", None) or {},
    }
    parameters = {"estimator": type(model).__name__}
    if encoder is not None:
        parameters["encoder"] = type(encoder).__name__
    parameters |= {
        key: value
        for key, value in model.get_params().items()
        if not hasattr(value, "get_params") and key != "encoder"
    }
    inferred: dict[str, Any] = {
        "embedding": space.points,
        "metric": space.metric,
        "probabilities": model.predict_proba(reached) if hasattr(model, "predict_proba") else None,
        "distances": center_distances(model, reached),
        "history": history,
        "settings": parameters | dict(settings or {}),
    }
    return write_report(path, images, model.labels_, **(inferred | options))


def _check_options(options: Mapping[str, Any]) -> None:
    """Refuse before anything is computed what `write_report` would not know."""
    known = [*inspect.signature(write_report).parameters][3:]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise TypeError(
            f"report_from_estimator has no {unknown[0]!r}; beside its own parameters it takes "
            f"those of write_report: {', '.join(known)}."
        )


def write_report(
    path: str | os.PathLike,
    images: Any,
    labels: Any,
    *,
    paths: Sequence[str | os.PathLike] | None = None,
    embedding: Any = None,
    metric: str = "euclidean",
    probabilities: Any = None,
    distances: Any = None,
    metadata: Any = None,
    cluster_names: Mapping[int, Any] | None = None,
    by_hand: Sequence[int] = (),
    skipped: Sequence[tuple[str, str]] = (),
    duplicates: Sequence[Sequence[int]] = (),
    map_coordinates: Any = None,
    history: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    title: str = "Clusters of images",
    link_originals: bool | str | os.PathLike = True,
    max_images: int | None = MAX_IMAGES,
    max_bytes: int = 25_000_000,
    max_pixels: int = MAX_PIXELS,
    random_state: Any = 0,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Write one HTML file with the clusters, a map, similar images and metadata.

    The page opens from disk, loads nothing from the network and sends nothing.

    Parameters
    ----------
    path : str or path-like
        The HTML file. An existing file is replaced only once the new one is complete.
    images : array of shape (n, H, W) or (n, H, W, C), or list of n paths
        Pixels of 1, 3 or 4 channels (a memory map will do), or image files. Values that are
        not uint8 are scaled to their range. A file that cannot be read becomes a gray tile,
        and one warning names such files and the reasons. What
        :func:`skdcec.datasets.load_images` returns stands for its images, paths and metadata.
    labels : array-like of shape (n,) of int or str
        Clusters from 0; -1 stands for images in no cluster. Texts, such as the artists, are
        clusters of these names, in alphabetical order.
    paths : sequence of str or path-like, default=None
        Names of the images. None: the files in `images`, or ``image 0``, ``image 1`` and so on.
    embedding : array-like of shape (n, d), default=None
        The space of the map and of similar images, best the *pretrained* one: a refined space
        has squeezed the images onto the centroids. None: the first principal components of the
        pixels. More than 64 dimensions are reduced to 64.
    metric : {"euclidean", "cosine"}, default="euclidean"
        The distance that `embedding` is made for.
    probabilities : array-like of shape (n, k), default=None
        Soft assignment. None: Student's t with one degree of freedom over `distances`.
    distances : array-like of shape (n, k), default=None
        Distances to the centroids. None: to the means of the clusters in `embedding`.
    metadata : DataFrame or mapping of str to sequence, default=None
        Columns of n values; None, NaN and "" are missing.
    cluster_names : mapping of int to str or to {"name": str, "note": str}, default=None
        What :func:`read_names` returns, or plain names.
    by_hand : sequence of int, default=()
        Rows of images that somebody put into their cluster, which the page says of each.
    skipped : sequence of (str, str), default=()
        Files that are not among the images, and why, which the page names at its end.
    duplicates : sequence of sequences of int, default=()
        Groups of rows that are copies of one image, such as the ``duplicates`` of
        :func:`skdcec.datasets.load_images`, which the page names as well.
    map_coordinates : array-like of shape (n, 2), default=None
        Positions on the map. None: :func:`map_projection` of `embedding`.
    history : mapping, default=None
        ``{curve: [value per epoch]}``, or such mappings under the title of their section.
    settings : mapping, default=None
        Listed at the end of the page.
    title : str, default="Clusters of images"
        What the page is called.
    link_originals : bool, str or path-like, default=True
        Whether images that are files can be opened from the page, by links that are relative to
        its folder: they hold for as long as neither is moved without the other, and tell whoever
        has the page how the folders are called. A path is the folder that the page will lie in,
        where that is not the one it is written to.
    max_images : int or None, default=20_000
        How many images the page shows at most; None shows all. Of more, it shows a sample, and
        says so: up to 100 images of each cluster, its examples first, and of the rest as many as
        its share. Numbers of clusters, their agreement with metadata and both tables are of all
        images.
    max_bytes : int, default=25_000_000
        Size of the page. The largest thumbnails that fit are chosen; if not even those of the
        clusters' examples fit, there are none besides the map's, and a warning where these
        alone need more.
    max_pixels : int, default=178956970
        Files with more pixels are not read and become gray tiles, as in
        :func:`skdcec.datasets.load_images`.
    random_state : int, RandomState instance or None, default=0
        Determines the map, which images decide on the colours of a cluster, and the sample.
    n_jobs : int, default=None
        Threads that read and encode images.
    progress : callable, default=None
        Called as ``progress(stage, done, total)``, the stages being "reading", "map" and
        "encoding".

    Returns
    -------
    report : Report
        Path, size, the choice of thumbnails and both tables.

    Raises
    ------
    ValueError
        If an argument has another length than `labels`, or values out of range, or `images` are
        relative paths none of which leads anywhere.
    TypeError
        If `max_images` is not a whole number, or `metadata` no table.
    OSError
        If the file cannot be written: a directory of that name, no permission, a full disk.

    See Also
    --------
    report_from_estimator : The same from a fitted model.
    skdcec.inspection.ClusterGalleryDisplay : Pictures of clusters by matplotlib.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skdcec.report import write_report
    >>> rng = np.random.default_rng(0)
    >>> labels = np.repeat([0, 1], 20)
    >>> images = rng.integers(0, 100, (40, 16, 16, 3)) + 150 * labels[:, None, None, None]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = write_report(f"{folder}/page.html", images.astype("uint8"), labels)
    >>> report.thumbnail_size, report.summary["size"]
    (16, [20, 20])
    """
    path = check_target(path)
    max_images = check_max_images(max_images)
    known = {
        "paths": paths,
        "metadata": metadata,
        "skipped": skipped or None,
        "duplicates": duplicates or None,
    }
    known = columns_of(images) | {key: value for key, value in known.items() if value is not None}
    images = images_in(images)
    labels, cluster_names = numbered(labels, cluster_names)
    labels = check_labels(labels)
    n = len(labels)
    check_length("images", images, n)
    names, named = image_names(known.get("paths"), images, n), check_names(cluster_names, labels)
    columns = metadata_columns(known.get("metadata"), n)
    files = payload_of_files(
        check_skipped(known.get("skipped", ())),
        check_groups("duplicates", known.get("duplicates", ()), n),
        names,
    )
    probabilities, distances = _check_arrays(
        labels, embedding, metric, probabilities, distances, map_coordinates
    )
    rng = check_random_state(random_state)
    seed = rng.randint(2**31 - 1)

    pictures = Pictures(images, max_pixels=max_pixels, n_jobs=n_jobs, progress=progress)
    # Those of a sample are made once it is known.
    cells = pictures.squares(CELL) if max_images is None or n <= max_images else None
    embedding = _pixel_embedding(pictures, cells, seed) if embedding is None else embedding
    embedding = _compact_embedding(embedding, metric, seed)
    if map_coordinates is None:
        map_coordinates = _map(pictures, embedding, labels, seed)
    if distances is None and probabilities is None:
        distances = distances_to_means(embedding, labels)

    belonging = membership(labels, probabilities=probabilities, distances=distances)
    table = rows_of_images(labels, names, belonging, map_coordinates, columns, by_hand)
    standing_out = standouts(labels, columns)
    firm = cluster_stability(embedding, labels)
    shown = shown_of(table, columns, max_images, seed)
    cells = pictures.squares(CELL, shown.rows) if cells is None else cells
    summary = rows_of_clusters(table, standing_out, cells, named, firm.clusters, seed, shown.rows)
    links = _links(images, shown.rows, path, link_originals)
    content = payload_of(shown, summary, standing_out, links)
    content |= payload_of_space(embedding[shown.rows], metric)
    content |= payload_of_run(title, history, settings) | files
    content["stability"] = payload_of_stability(firm)
    content["agreement"] = agreements_of(labels, columns, seed)
    page = Page(content, encode_sheets(cells))
    flagged = np.flatnonzero([flag != "" for flag in shown.table["flag"]])
    thumbnails = pictures.thumbnails(shown.rows, flagged, max_bytes - page.n_bytes, rng)
    n_bytes = write_bytes(path, page.render(thumbnails))
    pictures.warn()
    _warn_of_size(n_bytes, max_bytes, len(shown.rows))
    n_thumbnails = sum(1 for single in thumbnails.singles if single)
    found = (table, summary, firm.agreement, len(shown.rows))
    return Report(path, n_bytes, thumbnails.size, n_thumbnails, *found)


def _check_arrays(
    labels: np.ndarray,
    embedding: Any,
    metric: str,
    probabilities: Any,
    distances: Any,
    map_coordinates: Any,
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Refuse before any image is read what would fail after all of them are."""
    if metric not in ("euclidean", "cosine"):
        raise ValueError(f"metric={metric!r}; it must be 'euclidean' or 'cosine'.")
    if embedding is not None:
        check_length("embedding", embedding, len(labels))
    if map_coordinates is not None:
        unit_square(map_coordinates, len(labels))
    return (
        check_matrix("probabilities", probabilities, labels),
        check_matrix("distances", distances, labels),
    )


def _links(
    images: Any, rows: np.ndarray, path: Path, wanted: bool | str | os.PathLike
) -> list[str] | None:
    if wanted is False or not are_paths(images):
        return None
    return links_to(chosen_of(images, rows), path.parent if wanted is True else wanted)


def _warn_of_size(n_bytes: int, max_bytes: int, n: int) -> None:
    if n_bytes > max_bytes:
        warnings.warn(
            f"The page has {n_bytes:_} bytes, more than max_bytes={max_bytes:_}: the map and the "
            f"table of {n} images alone need that much; max_images says how many it shows.",
            stacklevel=caller_level(),
        )


def _map(pictures: Pictures, embedding: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    pictures.report("map", 0, 1)
    n_jobs = pictures.n_jobs
    coordinates = map_projection(embedding, labels=labels, random_state=seed, n_jobs=n_jobs)
    pictures.report("map", 1, 1)
    return coordinates


def _pixel_embedding(pictures: Pictures, cells: np.ndarray | None, seed: int) -> np.ndarray:
    n = pictures.n
    some = pictures.squares(CELL, sample_rows(n, _MAX_FITTED, seed)) if cells is None else cells
    flat = _small_pixels(some)
    if np.ptp(flat, axis=0).max() == 0:
        # One image, or copies of one, have no direction in which they differ.
        return np.zeros((n, 1), dtype=np.float32)
    axes = PCA(min(32, *flat.shape), random_state=seed)
    if cells is not None:
        return np.asarray(axes.fit_transform(flat))
    axes.fit(flat)
    parts = pictures.squares_in_parts(CELL, range(n))
    return np.concatenate([axes.transform(_small_pixels(part)) for part in parts])


def _small_pixels(cells: np.ndarray) -> np.ndarray:
    n, half = len(cells), CELL // 2
    pixels = cells.reshape(n, half, 2, half, 2, 3).mean(axis=(2, 4), dtype=np.float32)
    return pixels.reshape(n, -1) / 255


@np.errstate(under="ignore")
def _compact_embedding(embedding: Any, metric: str, seed: int) -> np.ndarray:
    """Bring an embedding to at most 64 dimensions and to the range of float16."""
    array = check_array(embedding, dtype=[np.float64, np.float32], input_name="embedding")
    array = within_range(array, np.float32)
    n, d = array.shape
    middle = array.mean(axis=0, dtype=np.float64).astype(np.float32)

    def placed(rows: Any) -> np.ndarray:
        part = array[rows].astype(np.float32, copy=False)
        if metric == "cosine":
            # Without centring, which would change the angles.
            return np.asarray(normalize(part))
        return part - middle if n > 1 else part

    axes = None
    if d > MAX_DIMENSIONS:
        some = placed(sample_rows(n, _MAX_FITTED, seed))
        axes = TruncatedSVD(min(MAX_DIMENSIONS, n), random_state=seed)
        # It divides by the variance, for shares that nobody asks for.
        with np.errstate(divide="ignore", invalid="ignore"):
            axes.fit(some)
    compact = np.empty((n, d if axes is None else min(MAX_DIMENSIONS, n)), dtype=np.float32)
    for start in range(0, n, _BLOCK):
        rows = slice(start, start + _BLOCK)
        compact[rows] = placed(rows) if axes is None else axes.transform(placed(rows))
    largest = max(float(compact.max()), -float(compact.min()))
    compact /= largest or 1.0
    return compact
