"""One self-contained HTML page to look at a clustering of images."""

import csv
import hashlib
import importlib.metadata
import importlib.resources
import io
import json
import math
import os
import platform
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.manifold import TSNE
from sklearn.metrics import (
    euclidean_distances,
    homogeneity_completeness_v_measure,
    normalized_mutual_info_score,
)
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize
from sklearn.utils import check_array, check_random_state

from skdcec.report.page import Page, packed
from skdcec.report.thumbnails import CELL, Pictures, Progress, are_paths, encode_sheets

__all__ = [
    "Report",
    "cluster_summary",
    "image_table",
    "map_projection",
    "metadata_agreement",
    "read_names",
    "read_table",
    "report_from_estimator",
    "write_report",
    "write_table",
]

Table = dict[str, list]

TABLE_COLUMNS = (
    "file",
    "cluster",
    "confidence",
    "second_cluster",
    "margin",
    "distance",
    "x",
    "y",
    "flag",
)
FLAGS = {"typical": 12, "odd": 6, "borderline": 6}

MAX_DIMENSIONS = 64
LANDMARKS = 6_000
MAX_LEVELS = 40
MAX_NAME = 200
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Report:
    """What :func:`write_report` wrote.

    Parameters
    ----------
    path : Path
        The page.
    n_bytes : int
        Its size.
    thumbnail_size, thumbnail_quality : int
        Longest side in pixels and WebP quality of the single thumbnails; 0 if none fitted.
    n_thumbnails : int
        Images with a single thumbnail. The others have their 32-pixel cell of the map only.
    table : dict of str to list
        One row per image, see :func:`image_table`.
    summary : dict of str to list
        One row per cluster, see :func:`cluster_summary`.
    """

    path: Path
    n_bytes: int
    thumbnail_size: int
    thumbnail_quality: int
    n_thumbnails: int
    table: Table
    summary: Table


# The two ways in


def report_from_estimator(
    path: str | os.PathLike,
    estimator: Any,
    X: Any,
    *,
    images: Any = None,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> Report:
    """Write the page of a fitted clusterer.

    The map and the similar images use the embedding of ``estimator.encoder_``, the
    pretrained one; confidence, margin and distance come from the refined space.

    Parameters
    ----------
    path : str or path-like
        The HTML file to write.
    estimator : fitted clusterer
        Read through ``labels_``, ``predict_proba``, ``transform``, ``cluster_centers_``,
        ``encoder_``, ``history_`` and ``get_params``.
    X : array-like of shape (n_samples, ...)
        What the estimator was fitted on.
    images : array or list of paths, default=None
        What the page shows, if not `X`: files give larger thumbnails than a small `X`.
    settings : mapping, default=None
        Added to the estimator's parameters on the page.
    **options
        Passed to :func:`write_report`.

    Returns
    -------
    report : Report

    Raises
    ------
    ValueError
        If `X` does not have one row per label.

    See Also
    --------
    write_report : The same from plain arrays.
    """
    labels = np.asarray(estimator.labels_)
    _check_length("X", X, len(labels))
    if images is None:
        images = np.asarray(X)
        if images.ndim == 2:
            images = images.reshape(len(images), *estimator.image_shape_)
        elif getattr(estimator, "data_format", None) == "channels_first" and images.ndim == 4:
            images = images.transpose(0, 2, 3, 1)
    encoder = estimator.encoder_
    history = {
        "Pretraining": getattr(encoder, "history_", None) or {},
        "Joint training": estimator.history_,
    }
    parameters = {"estimator": type(estimator).__name__, "encoder": type(encoder).__name__}
    parameters |= {
        key: value
        for key, value in estimator.get_params().items()
        if not hasattr(value, "get_params") and key != "encoder"
    }
    inferred = {
        "embedding": encoder.transform(X),
        "metric": getattr(encoder, "metric_", "euclidean"),
        "probabilities": estimator.predict_proba(X),
        "distances": euclidean_distances(estimator.transform(X), estimator.cluster_centers_),
        "history": history,
        "settings": parameters | dict(settings or {}),
    }
    return write_report(path, images, labels, **(inferred | options))


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
    map_coordinates: Any = None,
    history: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    title: str = "Clusters of images",
    max_bytes: int = 25_000_000,
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
        not uint8 are scaled to their range. A file that cannot be read becomes a gray tile
        and a warning.
    labels : array-like of shape (n,) of int
        Clusters from 0; -1 stands for images in no cluster.
    paths : sequence of str or path-like, default=None
        Names of the images. None: the files in `images`, or ``image 0``, ``image 1``, …
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
    map_coordinates : array-like of shape (n, 2), default=None
        Positions on the map. None: :func:`map_projection` of `embedding`.
    history : mapping, default=None
        ``{curve: [value per epoch]}``, or such mappings under the title of their section.
    settings : mapping, default=None
        Listed at the end of the page.
    title : str, default="Clusters of images"
    max_bytes : int, default=25_000_000
        Size of the page. The largest thumbnails that fit are chosen; if not even those of the
        clusters' examples fit, there are none besides the map's, and a warning where these
        alone need more.
    random_state : int, RandomState instance or None, default=0
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
        If an argument has another length than `labels`, or values out of range.
    OSError
        If the file cannot be written: a directory of that name, no permission, a full disk.

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
    path = _check_target(path)
    labels = _check_labels(labels)
    n = len(labels)
    _check_length("images", images, n)
    names = _image_names(paths, images, n)
    columns = _metadata_columns(metadata, n)
    _check_arrays(labels, embedding, probabilities, distances, map_coordinates)
    rng = check_random_state(random_state)
    seed = rng.randint(2**31 - 1)

    pictures = Pictures(images, n_jobs, progress)
    cells = pictures.cells()
    if embedding is None:
        embedding = _pixel_embedding(cells, seed)
    embedding = _compact_embedding(embedding, metric, seed)
    if map_coordinates is None:
        pictures.report("map", 0, 1)
        map_coordinates = map_projection(embedding, random_state=seed, n_jobs=n_jobs)
        pictures.report("map", 1, 1)
    if distances is None and probabilities is None:
        distances = _distances_to_means(embedding, labels)

    table = image_table(
        labels,
        paths=names,
        probabilities=probabilities,
        distances=distances,
        map_coordinates=map_coordinates,
        metadata=metadata,
    )
    summary = cluster_summary(table, pixels=cells, cluster_names=cluster_names, random_state=seed)
    payload = _payload(table, summary, columns) | {
        "title": str(title),
        "embedding": packed(embedding, "f2"),
        "dimensions": embedding.shape[1],
        "metric": metric,
        "history": _history_sections(history),
        "settings": [[str(key), _short(value)] for key, value in (settings or {}).items()],
        "versions": _versions(),
        "agreement": [_agreement_of(labels, column, seed) for column in columns],
    }
    page = Page(payload, encode_sheets(cells))
    flagged = np.flatnonzero(np.array(table["flag"], dtype=object) != "")
    thumbnails = pictures.thumbnails(flagged, max_bytes - page.n_bytes, rng)
    n_bytes = _replace_file(path, page.render(thumbnails))
    if n_bytes > max_bytes:
        warnings.warn(
            f"The page has {n_bytes:_} bytes, more than max_bytes={max_bytes:_}: the map and the "
            f"table of {n} images alone need that much.",
            stacklevel=2,
        )
    n_thumbnails = sum(1 for single in thumbnails.singles if single)
    return Report(path, n_bytes, thumbnails.size, thumbnails.quality, n_thumbnails, table, summary)


# Tables


def image_table(
    labels: Any,
    *,
    paths: Sequence[str | os.PathLike],
    probabilities: Any = None,
    distances: Any = None,
    map_coordinates: Any = None,
    metadata: Any = None,
) -> Table:
    """Return one row per image, the content of ``clusters.csv``.

    Parameters
    ----------
    labels : array-like of shape (n,) of int
        Clusters from 0; -1 for none.
    paths : sequence of n str or path-like
    probabilities : array-like of shape (n, k), default=None
        Soft assignment; None: Student's t over `distances`.
    distances : array-like of shape (n, k), default=None
        Distances to the centroids; None: minus the logarithm of `probabilities`, which orders
        the images in the same way.
    map_coordinates : array-like of shape (n, 2), default=None
    metadata : DataFrame or mapping of str to sequence, default=None

    Returns
    -------
    table : dict of str to list
        The columns of `TABLE_COLUMNS`, then those of the metadata (``metadata_`` before a name
        that is taken):

        - `confidence`, the probability of the image's own cluster;
        - `second_cluster`, the most probable other one, None if there is none;
        - `margin`, the difference between the two probabilities;
        - `distance` to the image's own centroid;
        - `x` and `y` on the map, within [0, 1];
        - `flag`: in each cluster "typical" for the 12 nearest the centroid, "odd" for the 6
          farthest from it, "borderline" for the 6 with the smallest margin, else "". In
          clusters of fewer than 48 images at most a half is typical, and a half of what
          remains is odd.

    Examples
    --------
    >>> from skdcec.report import image_table
    >>> table = image_table([0, 1], paths=["a.jpg", "b.jpg"], distances=[[0.0, 1.0], [3.0, 1.0]])
    >>> table["confidence"], table["second_cluster"]
    ([0.666667, 0.833333], [1, 0])
    """
    labels = _check_labels(labels)
    n = len(labels)
    names = _image_names(paths, paths, n)
    if probabilities is None and distances is None:
        raise ValueError("probabilities and distances are both None; pass at least one of them.")
    if probabilities is None:
        similarity = 1 / (1 + _check_matrix("distances", distances, labels) ** 2)
        probabilities = similarity / similarity.sum(axis=1, keepdims=True)
    probabilities = _check_matrix("probabilities", probabilities, labels)
    if distances is None:
        distances = -np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    distances = _check_matrix("distances", distances, labels)

    rows, inside = np.arange(n), labels >= 0
    confidence = np.where(inside, probabilities[rows, labels], np.nan)
    others = probabilities.astype(np.float64)
    others[rows[inside], labels[inside]] = -1.0
    second = others.argmax(axis=1)
    margin = confidence - others[rows, second]
    distance = np.where(inside, distances[rows, labels], distances.min(axis=1))
    if probabilities.shape[1] == 1:
        second, margin = np.where(inside, -1, 0), confidence
    coordinates = np.zeros((n, 2)) if map_coordinates is None else _unit_square(map_coordinates, n)
    table = {
        "file": names,
        "cluster": labels.tolist(),
        "confidence": _rounded(confidence),
        "second_cluster": [None if other < 0 else other for other in second.tolist()],
        "margin": _rounded(margin),
        "distance": _rounded(distance),
        "x": _rounded(coordinates[:, 0]),
        "y": _rounded(coordinates[:, 1]),
        "flag": _flags(labels, distance, margin),
    }
    for column in _metadata_columns(metadata, n):
        key = f"metadata_{column.name}" if column.name in TABLE_COLUMNS else column.name
        table[key] = column.texts
    return table


def cluster_summary(
    table: Table,
    *,
    pixels: np.ndarray | None = None,
    cluster_names: Mapping[int, Any] | None = None,
    random_state: Any = 0,
) -> Table:
    """Return one row per cluster, the content of ``cluster_summary.csv``.

    Parameters
    ----------
    table : dict of str to list
        What :func:`image_table` returns.
    pixels : uint8 ndarray of shape (n, h, w, 3), default=None
        Small versions of the images, for colours.
    cluster_names : mapping of int to str or to {"name": str, "note": str}, default=None
    random_state : int, RandomState instance or None, default=0

    Returns
    -------
    summary : dict of str to list
        Largest cluster first, -1 last: `cluster`, `name`, `note`, `size`, `share`, mean
        `confidence`, mean `distance`; `lightness`, the mean L* of CIELAB, and `contrast`, the
        mean of its standard deviation within an image (both 0 to 100); `palette`, six colours
        by k-means in CIELAB as "#rrggbb 31%", from dark to light; `metadata`, the values that
        stand out most, as "column=value 41/120 lift 3.2".

    Examples
    --------
    >>> from skdcec.report import cluster_summary, image_table
    >>> table = image_table([0, 0, 1], paths=["a", "b", "c"], distances=[[0, 1], [0, 1], [1, 0]])
    >>> cluster_summary(table)["size"]
    [2, 1]
    """
    labels = np.array(table["cluster"])
    names = _read_names_option(cluster_names)
    _check_named_clusters(names, labels)
    columns = [
        _read_column(key, values) for key, values in table.items() if key not in TABLE_COLUMNS
    ]
    clusters, sizes = np.unique(labels, return_counts=True)
    order = sorted(zip(clusters.tolist(), sizes.tolist(), strict=True), key=_by_size)
    confidence, distance = np.array(table["confidence"]), np.array(table["distance"])
    summary: Table = {}
    for cluster, size in order:
        members = np.flatnonzero(labels == cluster)
        row = {
            "cluster": cluster,
            "name": names.get(cluster, {}).get("name", ""),
            "note": names.get(cluster, {}).get("note", ""),
            "size": size,
            "share": round(size / len(labels), 4),
            "confidence": round(float(confidence[members].mean()), 4),
            "distance": round(float(distance[members].mean()), 4),
        }
        if pixels is not None:
            row |= _colours(pixels[members], random_state)
        row["metadata"] = "; ".join(
            f"{key}={value} {count}/{size} lift {lift:.1f}"
            for key, value, count, lift in _outstanding(labels == cluster, columns)
        )
        for key, value in row.items():
            summary.setdefault(key, []).append(value)
    return summary


def metadata_agreement(labels: Any, values: Sequence[Any], *, random_state: Any = 0) -> dict:
    """Compare clusters with one metadata column.

    Numbers with more than 12 different values are cut into up to 8 groups of about equal
    size. A column in which more than half of the values differ is text: nothing to compare.

    Parameters
    ----------
    labels : array-like of shape (n,) of int
        Images of cluster -1 are left out, and so are those without a value.
    values : sequence of n values
    random_state : int, RandomState instance or None, default=0
        Of the 20 permutations of the labels behind `chance`.

    Returns
    -------
    agreement : dict
        `kind` ("category", "number" or "text"), `n_values`, `n_missing` and, where there is
        something to compare, `nmi` (the same number as the V-measure), `chance` (its mean over
        permuted labels), `homogeneity`, `completeness`, `levels`, `clusters` and `counts`,
        nested lists of shape (levels, clusters). Beyond 40 levels the rarest are one row.

    Examples
    --------
    >>> from skdcec.report import metadata_agreement
    >>> agreement = metadata_agreement([0, 0, 1, 1], ["oil", "oil", "ink", "ink"])
    >>> agreement["nmi"], agreement["counts"]
    (1.0, [[0, 2], [2, 0]])
    """
    labels = _check_labels(labels)
    _check_length("values", values, len(labels))
    return _agreement_of(labels, _read_column("values", values), random_state)


def map_projection(
    embedding: Any, *, random_state: Any = 0, n_jobs: int | None = None
) -> np.ndarray:
    """Lay out an embedding in two dimensions.

    t-SNE from a PCA start; beyond 6 000 images for a random 6 000, and every other image goes
    to the weighted mean of its three nearest among them. Fewer than 5 images: PCA.

    Parameters
    ----------
    embedding : array-like of shape (n, d)
        Unit-length rows if cosine is the metric.
    random_state : int, RandomState instance or None, default=0
    n_jobs : int, default=None

    Returns
    -------
    coordinates : ndarray of shape (n, 2), float64
        Within [0, 1], the longer side filling it.
    """
    embedding = check_array(embedding, dtype=np.float32, input_name="embedding")
    n = len(embedding)
    if n < 5 or embedding.std() == 0:
        flat = np.zeros((n, 2))
        if n > 1 and embedding.std() > 0:
            kept = min(2, *embedding.shape)
            flat[:, :kept] = PCA(kept, random_state=0).fit_transform(embedding)
        return _unit_square(flat, n)
    rng = check_random_state(random_state)
    chosen = np.sort(rng.permutation(n)[:LANDMARKS])
    tsne = TSNE(
        perplexity=min(30, (len(chosen) - 1) / 3),
        max_iter=500,
        init="pca" if embedding.shape[1] > 1 else "random",
        random_state=rng,
        n_jobs=n_jobs,
    )
    coordinates = np.empty((n, 2))
    coordinates[chosen] = tsne.fit_transform(embedding[chosen])
    rest = np.setdiff1d(np.arange(n), chosen)
    if len(rest):
        search = NearestNeighbors(n_neighbors=3, n_jobs=n_jobs).fit(embedding[chosen])
        distance, neighbour = search.kneighbors(embedding[rest])
        weight = 1 / (distance + 1e-6 * max(1e-12, distance.mean()))
        weight /= weight.sum(axis=1, keepdims=True)
        coordinates[rest] = np.einsum("ij,ijd->id", weight, coordinates[chosen][neighbour])
    return _unit_square(coordinates, n)


# Files


def write_table(path: str | os.PathLike, table: Table) -> None:
    r"""Write a table as CSV (UTF-8 with a byte order mark, so that Excel reads it).

    Spreadsheets run cells that begin with ``=``, ``+``, ``-`` or ``@`` as formulas. Texts of
    that kind get an apostrophe in front (plain numbers do not), which :func:`read_table` takes
    away again. Names that are not valid Unicode have their stray bytes written as ``\udcXX``.

    Parameters
    ----------
    path : str or path-like
    table : dict of str to list

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    path = _check_target(path)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([_guard_formula(key) for key in table])
    writer.writerows(
        [_guard_formula("" if value is None else value) for value in row]
        for row in zip(*table.values(), strict=True)
    )
    _replace_file(path, [b"\xef\xbb\xbf", text.getvalue().encode("utf-8", "backslashreplace")])


def read_table(path: str | os.PathLike) -> dict[str, list[str]]:
    """Read back what :func:`write_table` wrote, every value as text.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    table : dict of str to list of str

    Raises
    ------
    ValueError
        If the file is not a CSV table in UTF-8.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = [[_unguard_formula(value) for value in row] for row in csv.reader(file)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{os.fspath(path)} is not a CSV table in UTF-8: {error}.") from error
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise ValueError(f"{os.fspath(path)} is not a table: its rows differ in length.")
    return {key: [row[i] for row in rows[1:]] for i, key in enumerate(rows[0])}


def read_names(path: str | os.PathLike) -> dict[int, dict[str, str]]:
    r"""Read names and notes of clusters, exported from the page or written by hand.

    Parameters
    ----------
    path : str or path-like
        The JSON file that the page exports, or a CSV table with the columns ``cluster``,
        ``name`` and, if wanted, ``note``.

    Returns
    -------
    names : dict of int to dict
        ``{cluster: {"name": str, "note": str}}``, for `cluster_names` of :func:`write_report`.

    Raises
    ------
    ValueError
        If the file is neither of the two, names a cluster twice, or has a value that is not
        text or too long.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from skdcec.report import read_names
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "names.csv")
    ...     _ = file.write_text("cluster,name\n0,Portraits\n")
    ...     read_names(file)
    {0: {'name': 'Portraits', 'note': ''}}
    """
    raw = Path(path).read_bytes()
    if raw.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")):
        try:
            content = json.loads(raw.decode("utf-8-sig"))
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)} is not valid JSON: {error}.") from error
        rows = content.get("clusters") if isinstance(content, dict) else content
    else:
        table = read_table(path)
        rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{os.fspath(path)} has no list of clusters with their names.")
    names: dict[int, dict[str, str]] = {}
    for row in rows:
        cluster = _named_cluster(row, path)
        if cluster in names:
            raise ValueError(f"{os.fspath(path)} names cluster {cluster} twice.")
        names[cluster] = _check_name(
            {"name": row.get("name") or "", "note": row.get("note") or ""},
            f"cluster {cluster} in {os.fspath(path)}",
        )
    return names


def _named_cluster(row: dict, path: str | os.PathLike) -> int:
    value = row.get("cluster")
    try:
        if isinstance(value, bool) or (cluster := int(str(value))) < -1:
            raise ValueError
    except ValueError:
        raise ValueError(
            f"{os.fspath(path)} has the cluster {value!r}; a whole number from 0 is needed."
        ) from None
    return cluster


def _check_name(entry: dict, where: str) -> dict[str, str]:
    for key, limit in (("name", MAX_NAME), ("note", 10_000)):
        text = entry.get(key, "")
        if not isinstance(text, str) or len(text) > limit:
            raise ValueError(f"The {key} of {where} must be text of at most {limit} characters.")
    return {"name": entry.get("name", "").strip(), "note": entry.get("note", "").strip()}


def _read_names_option(cluster_names: Mapping[int, Any] | None) -> dict[int, dict[str, str]]:
    return {
        int(cluster): _check_name(
            dict(entry) if isinstance(entry, Mapping) else {"name": entry},
            f"cluster {cluster} in cluster_names",
        )
        for cluster, entry in (cluster_names or {}).items()
    }


def _check_named_clusters(names: Mapping[int, Any], labels: np.ndarray) -> None:
    unknown = sorted(set(names) - set(range(-1, labels.max() + 1)))
    if unknown:
        raise ValueError(
            f"cluster_names has cluster {unknown[0]}, but the labels end at {labels.max()}."
        )


def _guard_formula(value: Any) -> Any:
    if not isinstance(value, str) or not value.lstrip("'").startswith(FORMULA):
        return value
    return value if _as_number(value) is not None else "'" + value


def _unguard_formula(value: str) -> str:
    return value[1:] if value[:1] == "'" and value.lstrip("'").startswith(FORMULA) else value


def _check_target(path: str | os.PathLike) -> Path:
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory; path must name a file.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder of {path} does not exist.")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"No permission to write into the folder of {path}.")
    return path


def _replace_file(path: Path, parts: list[bytes]) -> int:
    """Write beside the target first: a reader never sees a half-written file."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            for part in parts:
                file.write(part)
            n_bytes = file.tell()
        os.replace(partial, path)
    except OSError as error:
        raise OSError(error.errno, f"{path} was not written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    return n_bytes


# Checks of arguments


def _check_labels(labels: Any) -> np.ndarray:
    array = np.asarray(labels)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"labels has shape {array.shape}; one label per image is needed.")
    if not np.issubdtype(array.dtype, np.number) or np.any(array != np.floor(array)):
        raise ValueError(f"labels must be whole numbers, got {array.dtype}.")
    array = array.astype(np.int64)
    if array.min() < -1 or array.max() > 9_999:
        raise ValueError(f"labels run from {array.min()} to {array.max()}; -1 to 9999 is allowed.")
    return array


def _check_length(name: str, value: Any, n: int) -> None:
    length = len(value) if hasattr(value, "__len__") else None
    if length != n:
        raise ValueError(f"{name} has {length} rows, but there are {n} labels.")


def _check_arrays(
    labels: np.ndarray, embedding: Any, probabilities: Any, distances: Any, map_coordinates: Any
) -> None:
    """Refuse before any image is read what would fail after all of them are."""
    if embedding is not None:
        _check_length("embedding", embedding, len(labels))
    if probabilities is not None:
        _check_matrix("probabilities", probabilities, labels)
    if distances is not None:
        _check_matrix("distances", distances, labels)
    if map_coordinates is not None:
        _unit_square(map_coordinates, len(labels))


def _check_matrix(name: str, values: Any, labels: np.ndarray) -> np.ndarray:
    # Infinite distances belong to clusters without members.
    array = check_array(values, dtype=np.float64, ensure_all_finite=False, input_name=name)
    _check_length(name, array, len(labels))
    if np.isnan(array).any():
        raise ValueError(f"{name} contains NaN.")
    if array.shape[1] <= labels.max():
        raise ValueError(
            f"{name} has {array.shape[1]} columns, but labels has cluster {labels.max()}."
        )
    return array


def _image_names(paths: Any, images: Any, n: int) -> list[str]:
    if paths is None:
        if not are_paths(images):
            return [f"image {i}" for i in range(n)]
        paths = images
    _check_length("paths", paths, n)
    return [os.fsdecode(path).replace(os.sep, "/") for path in paths]


def _unit_square(coordinates: Any, n: int) -> np.ndarray:
    array = check_array(coordinates, dtype=np.float64, input_name="map_coordinates")
    if array.shape != (n, 2):
        raise ValueError(f"map_coordinates has shape {array.shape}; ({n}, 2) is needed.")
    low, high = array.min(axis=0), array.max(axis=0)
    span = (high - low).max() or 1.0
    return (array - (low + high) / 2) / span + 0.5


# What the tables are made of


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def _by_size(item: tuple[int, int]) -> tuple:
    cluster, size = item
    return cluster < 0, -size, cluster


def _flags(labels: np.ndarray, distance: np.ndarray, margin: np.ndarray) -> list[str]:
    flags = np.full(len(labels), "", dtype=object)
    for cluster in np.unique(labels[labels >= 0]):
        left = np.flatnonzero(labels == cluster)
        for flag, key in (("typical", distance), ("odd", -distance), ("borderline", margin)):
            count = min(FLAGS[flag], math.ceil(len(left) / 2))
            chosen = left[np.argsort(key[left], kind="stable")[:count]]
            flags[chosen] = flag
            left = np.setdiff1d(left, chosen)
    return flags.tolist()


def _distances_to_means(embedding: np.ndarray, labels: np.ndarray) -> np.ndarray:
    distances = np.full((len(labels), max(1, labels.max() + 1)), np.inf)
    for cluster in np.unique(labels[labels >= 0]):
        mean = embedding[labels == cluster].mean(axis=0, keepdims=True)
        distances[:, cluster] = euclidean_distances(embedding, mean)[:, 0]
    if not np.isfinite(distances).any():
        distances[:] = 0.0
    return distances


def _pixel_embedding(cells: np.ndarray, seed: int) -> np.ndarray:
    n, half = len(cells), CELL // 2
    pixels = cells.reshape(n, half, 2, half, 2, 3).mean(axis=(2, 4), dtype=np.float32)
    flat = pixels.reshape(n, -1) / 255
    if np.ptp(flat, axis=0).max() == 0:
        # One image, or copies of one, have no direction in which they differ.
        return np.zeros((n, 1), dtype=np.float32)
    return PCA(min(32, *flat.shape), random_state=seed).fit_transform(flat)


def _compact_embedding(embedding: Any, metric: str, seed: int) -> np.ndarray:
    """Bring an embedding to at most 64 dimensions and to the range of float16."""
    if metric not in ("euclidean", "cosine"):
        raise ValueError(f"metric={metric!r}; it must be 'euclidean' or 'cosine'.")
    array = check_array(embedding, dtype=np.float32, input_name="embedding")
    if metric == "cosine":
        array = normalize(array)
    elif len(array) > 1:
        array = array - array.mean(axis=0)
    if array.shape[1] > MAX_DIMENSIONS:
        # Without centring, which would change the angles.
        kept = min(MAX_DIMENSIONS, len(array))
        array = TruncatedSVD(kept, random_state=seed).fit_transform(array)
    return array / (np.abs(array).max() or 1.0)


def _to_lab(rgb: np.ndarray) -> np.ndarray:
    """Convert sRGB values of shape (..., 3) within [0, 255] to CIELAB under D65."""
    value = rgb.astype(np.float64) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _RGB_TO_XYZ.T / _WHITE
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


_RGB_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
_WHITE = _RGB_TO_XYZ.sum(axis=1)


def _colours(pixels: np.ndarray, random_state: Any, n_colours: int = 6) -> dict[str, Any]:
    rng = check_random_state(random_state)
    chosen = rng.permutation(len(pixels))[:400]
    lab = _to_lab(pixels[chosen].reshape(len(chosen), -1, 3))
    lightness = lab[..., 0]
    rgb = pixels[chosen].reshape(-1, 3)
    keep = rng.permutation(len(rgb))[:8_000]
    rgb, lab_sample = rgb[keep], lab.reshape(-1, 3)[keep]
    n_colours = min(n_colours, len(np.unique(rgb, axis=0)))
    groups = KMeans(n_colours, n_init=2, random_state=rng).fit_predict(lab_sample)
    palette = []
    for group in range(n_colours):
        members = groups == group
        red, green, blue = rgb[members].mean(axis=0).round().astype(int)
        entry = f"#{red:02x}{green:02x}{blue:02x} {members.mean():.0%}"
        palette.append((lab_sample[members, 0].mean(), entry))
    return {
        "lightness": round(float(lightness.mean()), 1),
        "contrast": round(float(lightness.std(axis=1).mean()), 1),
        "palette": " ".join(entry for _, entry in sorted(palette)),
    }


# Metadata


class _Column(NamedTuple):
    name: str
    kind: str
    texts: list[str]
    levels: list[str]
    codes: np.ndarray  # -1 where the value is missing
    numbers: np.ndarray | None


def _metadata_columns(metadata: Any, n: int) -> list[_Column]:
    if metadata is None:
        return []
    names = metadata.keys() if isinstance(metadata, Mapping) else getattr(metadata, "columns", None)
    if names is None:
        raise TypeError(
            f"metadata is a {type(metadata).__name__}; a DataFrame or a mapping of column names to "
            "sequences is needed."
        )
    for name in names:
        _check_length(f"metadata[{str(name)!r}]", metadata[name], n)
    return [_read_column(str(name), metadata[name]) for name in names]


def _read_column(name: str, values: Sequence[Any]) -> _Column:
    texts = [_as_text(value) for value in values]
    present = {text for text in texts if text}
    numbers = [_as_number(text) for text in texts]
    if len(present) > 12 and all(_as_number(text) is not None for text in present):
        array = np.array([math.nan if number is None else number for number in numbers])
        return _Column(name, "number", texts, *_bins(array), array)
    n_present = sum(1 for text in texts if text)
    if len(present) > max(12, n_present / 2):
        return _Column(name, "text", texts, [], np.full(len(texts), -1), None)
    levels = sorted(present)
    position = {level: i for i, level in enumerate(levels)}
    codes = np.array([position.get(text, -1) for text in texts])
    return _Column(name, "category", texts, levels, codes, None)


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    text = "" if value is None else str(value)
    if text in ("nan", "NaN", "NaT", "<NA>"):
        return ""
    # A column of whole numbers with a gap is float in pandas: 1890.0.
    return text[:-2] if isinstance(value, (float, np.floating)) and text.endswith(".0") else text


def _as_number(text: str) -> float | None:
    if not re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", text, re.ASCII):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def _bins(numbers: np.ndarray, n_bins: int = 8) -> tuple[list[str], np.ndarray]:
    present = np.isfinite(numbers)
    edges = np.unique(np.quantile(numbers[present], np.arange(1, n_bins) / n_bins))
    groups = np.searchsorted(edges, numbers[present], side="left")
    used, groups = np.unique(groups, return_inverse=True)
    codes = np.full(len(numbers), -1)
    codes[present] = groups
    spans = [numbers[codes == i] for i in range(len(used))]
    ends = [(f"{span.min():.10g}", f"{span.max():.10g}") for span in spans]
    return [low if low == high else f"{low} to {high}" for low, high in ends], codes


def _outstanding(
    inside: np.ndarray, columns: list[_Column], n_best: int = 4
) -> list[tuple[str, str, int, float]]:
    """Return (column, value, count, lift) of the values most over-represented in a cluster."""
    found = []
    for column in columns:
        known = column.codes >= 0
        n, size = known.sum(), (known & inside).sum()
        if len(column.levels) < 2 or size in (0, n):
            continue
        total = np.bincount(column.codes[known], minlength=len(column.levels))
        count = np.bincount(column.codes[known & inside], minlength=len(column.levels))
        expected = total * size / n
        residual = (count - expected) / np.sqrt(expected * (1 - total / n) * (1 - size / n))
        for i in np.flatnonzero((residual > 3) & (count >= 3)):
            lift = float(count[i] / expected[i])
            found.append((residual[i], column.name, column.levels[i], int(count[i]), lift))
    found.sort(key=lambda entry: -entry[0])
    return [entry[1:] for entry in found[:n_best]]


def _agreement_of(labels: np.ndarray, column: _Column, random_state: Any) -> dict:
    agreement = {
        "column": column.name,
        "kind": column.kind,
        "n_values": len({text for text in column.texts if text}),
        "n_missing": sum(1 for text in column.texts if not text),
    }
    known = (column.codes >= 0) & (labels >= 0)
    codes, kept = column.codes[known], labels[known]
    if len(np.unique(codes)) < 2 or len(np.unique(kept)) < 2:
        return agreement
    rng = check_random_state(random_state)
    chance = [normalized_mutual_info_score(codes, rng.permutation(kept)) for _ in range(20)]
    homogeneity, completeness, nmi = homogeneity_completeness_v_measure(codes, kept)
    clusters, position = np.unique(kept, return_inverse=True)
    counts = np.zeros((len(column.levels), len(clusters)), dtype=int)
    np.add.at(counts, (codes, position), 1)
    levels = list(column.levels)
    if len(levels) > MAX_LEVELS:
        order = np.argsort(-counts.sum(axis=1), kind="stable")
        rare = counts[order[MAX_LEVELS:]].sum(axis=0, keepdims=True)
        levels = [levels[i] for i in order[:MAX_LEVELS]] + [f"{len(order) - MAX_LEVELS} others"]
        counts = np.concatenate([counts[order[:MAX_LEVELS]], rare])
    return agreement | {
        "nmi": round(float(nmi), 4),
        "chance": round(float(np.mean(chance)), 4),
        "homogeneity": round(float(homogeneity), 4),
        "completeness": round(float(completeness), 4),
        "levels": levels,
        "clusters": clusters.tolist(),
        "counts": counts.tolist(),
    }


def _payload(table: Table, summary: Table, columns: list[_Column]) -> dict:
    labels = np.array(table["cluster"])
    second = [-1 if other is None else other for other in table["second_cluster"]]
    coordinates = np.column_stack([table["x"], table["y"]])
    # Names typed into an older page must not hide names that came back from a file.
    named = [table["cluster"], summary["name"], summary["note"]]
    identity = hashlib.sha256(json.dumps([table["file"], named]).encode()).hexdigest()[:16]
    return {
        "id": identity,
        "files": table["file"],
        "labels": packed(labels, "i2"),
        "second": packed(second, "i2"),
        "confidence": packed(table["confidence"], "f4"),
        "margin": packed(table["margin"], "f4"),
        "distance": packed(table["distance"], "f4"),
        "positions": packed((coordinates.clip(0, 1) * 65535).round(), "u2"),
        "columns": [_packed_column(column) for column in columns],
        "clusters": [
            _card(i, table, summary, labels, columns) for i in range(len(summary["cluster"]))
        ],
        "unused": sorted(set(range(max(0, labels.max() + 1))) - set(labels.tolist())),
    }


def _packed_column(column: _Column) -> dict:
    texts, codes = np.unique(np.array(column.texts, dtype=object), return_inverse=True)
    entry = {
        "name": column.name,
        "kind": column.kind,
        "texts": texts.tolist(),
        "codes": packed(codes, "u4" if len(texts) > 65_535 else "u2"),
    }
    if column.kind == "number":
        entry |= {"levels": column.levels, "groups": packed(column.codes, "i2")}
    return entry


def _card(
    i: int, table: Table, summary: Table, labels: np.ndarray, columns: list[_Column]
) -> dict[str, Any]:
    card = {key: summary[key][i] for key in summary if key not in ("metadata", "palette")}
    members = np.flatnonzero(labels == card["cluster"])
    distance, margin = np.array(table["distance"]), np.array(table["margin"])
    orders = {"typical": distance, "borderline": margin, "odd": -distance}
    for flag, key in orders.items():
        chosen = [j for j in members.tolist() if table["flag"][j] == flag]
        card[flag] = sorted(chosen, key=lambda j: key[j])
    colours = summary["palette"][i].split()
    card["palette"] = [
        [colour, int(share.rstrip("%"))]
        for colour, share in zip(colours[::2], colours[1::2], strict=True)
    ]
    card["outstanding"] = _outstanding(labels == card["cluster"], columns)
    if not math.isfinite(card["confidence"]):
        card["confidence"] = None
    return card


def _history_sections(history: Mapping[str, Any] | None) -> list[dict]:
    if not history:
        return []
    if not any(isinstance(value, Mapping) for value in history.values()):
        history = {"Training": history}
    sections = []
    for title, curves in history.items():
        lines = [
            {"name": str(name), "values": [_finite_or_none(value) for value in values]}
            for name, values in curves.items()
        ]
        if lines:
            sections.append({"title": str(title), "curves": lines})
    return sections


def _finite_or_none(value: Any) -> float | None:
    number = math.nan if value is None else float(value)
    return float(f"{number:.6g}") if math.isfinite(number) else None


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 300 else text[:299] + "…"


def _versions() -> list[list[str]]:
    versions = [["Python", platform.python_version()]]
    names = ["skdcec", "numpy", "scipy", "scikit-learn", "pillow"]
    names += ["torch"] if "torch" in sys.modules else []
    for name in names:
        try:
            versions.append([name, importlib.metadata.version(name)])
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
