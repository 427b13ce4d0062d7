"""From image files to arrays."""

import csv
import hashlib
import io
import json
import math
import os
import re
import sys
import unicodedata
import uuid
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from itertools import product
from numbers import Integral
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock
from joblib import Parallel, delayed
from numpy.lib import format as npy_format
from PIL import Image
from PIL import __version__ as pillow_version
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Bunch, Tags
from sklearn.utils._param_validation import Interval, StrOptions, validate_params
from tqdm import tqdm

from skdcec.datasets.decode import (
    FORMATS,
    MAX_PIXELS,
    UNREADABLE,
    UnusableImage,
    fit_picture,
    read_picture,
)

__all__ = ["ImageLoader", "load_images"]

_FILE_COLUMNS = (
    *("file", "filename", "file_name", "filepath", "file_path", "path"),
    *("image", "image_file", "image_path"),
)

_JUNK = {"@eadir", "thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx"}

# One step of decoding is also one entry of the cache's journal: what a killed run can lose.
_STEP_FILES = 512
_STEP_BYTES = 2**26

# A path and a reason.
_Skipped = tuple[str, str | None]

_PARAMETERS = {
    "size": [Interval(Integral, 1, None, closed="left"), tuple, list],
    "resize": [StrOptions({"pad", "crop", "stretch"})],
    "max_pixels": [Interval(Integral, 1, None, closed="left")],
    "n_jobs": [Integral, None],
    "verbose": ["verbose"],
}


@validate_params(
    {
        "source": "no_validation",
        **_PARAMETERS,
        "metadata": [str, os.PathLike, None],
        "file_column": [str, None],
        "sample": [Interval(Integral, 1, None, closed="left"), None],
        "on_error": [StrOptions({"skip", "raise"})],
        "cache": [str, os.PathLike, None],
        "cache_above": [Interval(Integral, 0, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def load_images(
    source: str | os.PathLike | Iterable[str | os.PathLike],
    size: int | tuple[int, int] = 128,
    *,
    resize: str = "pad",
    metadata: str | os.PathLike | None = None,
    file_column: str | None = None,
    sample: int | None = None,
    on_error: str = "skip",
    max_pixels: int = MAX_PIXELS,
    cache: str | os.PathLike | None = "auto",
    cache_above: int = 2**30,
    n_jobs: int | None = None,
    verbose: int | bool = False,
) -> Bunch:
    """Load a collection of images as one array of equally sized RGB images.

    What a file is, is read from its content, not from its name. Files that cannot be used are
    left out, listed in `skipped` and summed up in one warning. See *Notes* for how each kind of
    image becomes 8-bit RGB.

    Parameters
    ----------
    source : str, path-like or iterable of these
        One of

        - a folder, searched with all its sub-folders. Links to folders are followed, each folder
          is read once. Hidden files and what operating systems leave behind (`.*`, `@eaDir`,
          `Thumbs.db`, ...) are passed over;
        - a pattern with `*`, `?`, `[...]` or `**`, as for :func:`glob.glob`;
        - a `.csv`, `.tsv` or `.txt` table with a column of file names, relative to the table;
        - an iterable of paths, or the path of one image.

        Folders and patterns give files in natural order (`2.jpg` before `10.jpg`), tables and
        iterables in their own.

    size : int or (height, width), default=128
        Size of the images returned, in pixels.

    resize : {"pad", "crop", "stretch"}, default="pad"
        How other proportions are brought to `size`. "pad" keeps the whole picture and fills the
        bars with the mean colour of the picture's own border, since bars of a fixed colour would
        be a strong edge that all pictures of one format share. "crop" keeps the largest centred
        part, "stretch" ignores the proportions.

    metadata : str or path-like, default=None
        A table with a row per file, or "folders" to use the names of the folders: column
        "folder" is the first level below the source, "folder_2" the next, and so on. A row
        belongs to the image with the same relative path, else the same name, else the same name
        without extension, where that leaves one row and one image; upper and lower case and
        Unicode normal forms are not told apart. Images without a row are kept.

    file_column : str, default=None
        Name of the column of files, in `source` or `metadata`. By default the first that is
        named like one: file, filename, path, image, ...

    sample : int, default=None
        Load only this many files, evenly spaced over all of them, for a quick look.

    on_error : {"skip", "raise"}, default="skip"
        Whether files that cannot be used are skipped with a warning or an error.

    max_pixels : int, default=178956970
        Files with more pixels than this, by their header, are not decoded. The default is
        where Pillow gives up; decoding takes about 4 bytes per pixel and thread.

    cache : "auto", str, path-like or None, default="auto"
        Folder in which decoded images are kept, so that the next call over the same source
        decodes only files that are new or changed (in size or modification time), and a run
        that was interrupted goes on where it stopped. `images` is then a read-only memory map,
        and may be larger than memory. There is one store for each source and setting, a list
        of paths going by its common folder; delete the folder to free the space. "auto" uses
        the user's cache folder (`$XDG_CACHE_HOME/skdcec`, `%LOCALAPPDATA%` on Windows, else
        `~/.cache/skdcec`) for
        collections above `cache_above`, and memory for others. None always uses memory.

    cache_above : int, default=2**30
        Size in bytes of the decoded images from which `cache="auto"` uses the disk.

    n_jobs : int, default=None
        Number of threads that decode. None means 1 unless in a
        :func:`joblib.parallel_config` context, -1 all processors.

    verbose : bool or int, default=False
        Whether to show progress.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        With the attributes

        images : ndarray or memmap of shape (n_images, height, width, 3), dtype uint8
            The pixels, read-only where they are memory-mapped.
        paths : ndarray of shape (n_images,), dtype object
            What identifies each image: its path relative to the source folder (of a pattern: the
            folder before its first wildcard; of a table: the table's; of an iterable: the common
            folder), with forward slashes and in Unicode normal form C.
        filenames : ndarray of shape (n_images,), dtype object
            Absolute paths, as the file system knows them.
        metadata : dict of str to ndarray of shape (n_images,), dtype object
            Columns as they stand in the table, as text; "" for images without a row. Fit for
            ``pandas.DataFrame(bunch.metadata, index=bunch.paths)``.
        skipped : list of (path, reason)
            Files that were found but not used.
        duplicates : list of ndarray of int
            Groups of indices of images that are equal pixel by pixel once loaded: copies of a
            file, and the same picture saved without loss in another format.

    Raises
    ------
    ValueError
        If no image can be used, a table has no column of files, or `on_error="raise"` and a file
        cannot be used.
    FileNotFoundError
        If `source` or `metadata` does not exist.
    OSError
        If the cache cannot be written and the images do not fit into memory.

    Notes
    -----
    Reads JPEG, PNG, TIFF, WebP, GIF, BMP, PPM, JPEG 2000 and AVIF, as far as the installed
    Pillow does. Pictures are turned as their EXIF orientation says; transparency is laid on
    white; of animated files and files of several pages the first is taken. 16-bit images are
    divided by 257. Single-channel float images are taken as ranging to 1, 255 or 65535,
    whichever is the first to hold them, and from their least to their greatest value otherwise.
    Colour profiles are ignored, and CMYK is converted without one. JPEG files are decoded at a
    reduced size where that is still twice what is needed, and resized by a Lanczos filter.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from skdcec.datasets import load_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name, colour in [("monet/1.png", "teal"), ("klimt/2.png", "gold")]:
    ...         path = Path(folder, name)
    ...         path.parent.mkdir()
    ...         Image.new("RGB", (40, 30), colour).save(path)
    ...     bunch = load_images(folder, size=32, metadata="folders")
    >>> bunch.images.shape
    (2, 32, 32, 3)
    >>> bunch.paths.tolist()
    ['klimt/2.png', 'monet/1.png']
    >>> bunch.metadata["folder"].tolist()
    ['klimt', 'monet']
    """
    settings = _Settings((*_check_size(size), 3), resize, int(max_pixels))
    listing = _list_files(source, file_column, exclude=None if cache == "auto" else cache)
    table = None
    if metadata is not None and os.fspath(metadata) != "folders":
        table = _read_table(metadata, file_column)
        listing = listing._replace(
            files=[f for f in listing.files if not _same_path(f.path, table.path)]
        )
    files = listing.files
    if sample is not None and sample < len(files):
        files = [files[i] for i in np.linspace(0, len(files) - 1, sample).round().astype(int)]

    if cache == "auto":
        cache = _user_cache() if len(files) * settings.row_bytes > cache_above else None
    images, rows = _load_rows(
        files, listing, settings, cache, sample=sample, n_jobs=n_jobs, verbose=verbose
    )

    good = [file for file, row in zip(files, rows, strict=True) if row.reason is None]
    skipped = listing.skipped + [
        (file.id, row.reason) for file, row in zip(files, rows, strict=True) if row.reason
    ]
    if not good:
        raise ValueError(
            f"No image found in source={source!r}: looked for {', '.join(FORMATS)} files"
            + (f"; {_summary(skipped)}" if skipped else ", and there are no files at all.")
        )
    if skipped and on_error == "raise":
        raise ValueError(f'{_summary(skipped)} Use on_error="skip" to leave such files out.')
    if skipped:
        warnings.warn(f"{_summary(skipped)} `skipped` lists them.", UserWarning, stacklevel=3)

    ids = [file.id for file in good]
    columns = {} if listing.table is None else _select(listing.table, listing.row_of, ids)
    if table is not None:
        row_of = _match([file.id for file in listing.files], table, listing.root)
        if sample is None:
            _warn_unmatched(ids, row_of, table)
        columns |= _select(table, row_of, ids)
    elif metadata is not None:
        columns |= _folder_columns(ids)
    return Bunch(
        images=images,
        paths=np.array(ids, dtype=object),
        filenames=np.array([file.path for file in good], dtype=object),
        metadata=columns,
        skipped=skipped,
        duplicates=_duplicates([row.digest for row in rows if row.reason is None]),
    )


class ImageLoader(TransformerMixin, BaseEstimator):
    """Transformer from paths of image files to an array of images.

    The first step of a pipeline that starts from files. It never drops a row, so labels and
    folds stay aligned with the paths. It learns nothing and keeps no images; to load a
    collection once for many fits, use :func:`load_images`, or give the pipeline a `memory`.

    Parameters
    ----------
    size : int or (height, width), default=128
        Size of the images returned, in pixels.

    resize : {"pad", "crop", "stretch"}, default="pad"
        How other proportions are brought to `size`, as in :func:`load_images`.

    on_error : {"raise", "blank"}, default="raise"
        What a file that cannot be used gives: an error, or a black image and a warning.

    max_pixels : int, default=178956970
        Files with more pixels than this, by their header, are not decoded.

    n_jobs : int, default=None
        Number of threads that decode. None means 1 unless in a
        :func:`joblib.parallel_config` context, -1 all processors.

    verbose : bool or int, default=False
        Whether to show progress.

    Attributes
    ----------
    errors_ : list of (index, path, reason)
        The files that could not be used in the last call of `transform`.

    See Also
    --------
    load_images : Load a folder, with metadata and a cache.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from skdcec.datasets import ImageLoader
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "gold.png")
    ...     Image.new("RGB", (40, 30), "gold").save(path)
    ...     images = ImageLoader(size=32).fit_transform([path])
    >>> images.shape, images.dtype
    ((1, 32, 32, 3), dtype('uint8'))
    """

    _parameter_constraints: dict = {**_PARAMETERS, "on_error": [StrOptions({"raise", "blank"})]}

    def __init__(
        self,
        size: int | tuple[int, int] = 128,
        *,
        resize: str = "pad",
        on_error: str = "raise",
        max_pixels: int = MAX_PIXELS,
        n_jobs: int | None = None,
        verbose: int | bool = False,
    ):
        self.size = size
        self.resize = resize
        self.on_error = on_error
        self.max_pixels = max_pixels
        self.n_jobs = n_jobs
        self.verbose = verbose

    def fit(self, X: Sequence[str | os.PathLike], y: Any = None) -> "ImageLoader":
        """Check the parameters and the form of X; no file is read.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, 1)
            Paths.
        y : Ignored
            Present by convention.

        Returns
        -------
        self : ImageLoader
        """
        self._validate_params()
        _check_size(self.size)
        _check_paths(X)
        return self

    def transform(self, X: Sequence[str | os.PathLike]) -> np.ndarray:
        """Read and resize the files.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, 1)
            Paths.

        Returns
        -------
        images : ndarray of shape (n_samples, height, width, 3), dtype uint8

        Raises
        ------
        ValueError
            If `on_error="raise"` and a file cannot be used.
        """
        self._validate_params()
        settings = _Settings((*_check_size(self.size), 3), self.resize, int(self.max_pixels))
        files = [_File(path, path, 0, 0) for path in _check_paths(X)]
        images = np.zeros((len(files), *settings.shape), dtype=np.uint8)
        errors = []
        index = 0
        for step in _decode_steps(files, settings, n_jobs=self.n_jobs, verbose=self.verbose):
            for row in step:
                if row.image is not None:
                    images[index] = row.image
                else:
                    errors.append((index, files[index].path, row.reason))
                index += 1
            if errors and self.on_error == "raise":
                # The first step with a failure decides, the rest need not be read.
                break
        self.errors_ = errors
        summary = _summary([(path, reason) for _, path, reason in errors])
        if errors and self.on_error == "raise":
            raise ValueError(
                f'{summary} Use on_error="blank" to get black images in place of such files.'
            )
        if errors:
            warnings.warn(f"{summary} Their images are black.", UserWarning, stacklevel=2)
        return images

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        return tags


def _check_size(size: Any) -> tuple[int, int]:
    height_width = (size, size) if isinstance(size, Integral) else tuple(size)
    if len(height_width) != 2 or not all(isinstance(side, Integral) for side in height_width):
        height_width = (0, 0)
    height, width = int(height_width[0]), int(height_width[1])
    if height < 1 or width < 1:
        raise ValueError(
            f"size={size!r} must be a number of pixels or (height, width), each at least 1."
        )
    return height, width


def _check_paths(X: Any) -> list[str]:
    if isinstance(X, str | bytes | os.PathLike):
        raise ValueError(f"X must be a sequence of paths, got the single path {X!r}.")
    paths = np.asarray(X, dtype=object)
    if paths.ndim == 2 and paths.shape[1] == 1:
        paths = paths[:, 0]
    if paths.ndim != 1:
        raise ValueError(
            f"X must be paths of shape (n_samples,) or (n_samples, 1), got shape {paths.shape}."
        )
    if not len(paths):
        raise ValueError("X holds no paths: found 0 sample(s), at least 1 is required.")
    for index, path in enumerate(paths):
        if not isinstance(path, str | bytes | os.PathLike):
            raise ValueError(f"X must hold paths, got {path!r} at position {index}.")
    return [os.fsdecode(path) for path in paths]


def _summary(skipped: list[_Skipped]) -> str:
    # repr keeps line breaks and undecodable bytes in names from garbling the message.
    named = ", ".join(f"{name!r} ({reason})" for name, reason in skipped[:5])
    more = f" and {len(skipped) - 5} more" if len(skipped) > 5 else ""
    return f"{len(skipped)} file(s) cannot be used: {named}{more}."


# Which files?


class _File(NamedTuple):
    id: str
    path: str
    size: int
    mtime_ns: int

    @property
    def version(self) -> tuple[str, int, int]:
        """What a decoded image is remembered by."""
        return self.id, self.size, self.mtime_ns


class _Table(NamedTuple):
    path: str
    files: list[str]
    columns: dict[str, list[str]]


class _Listing(NamedTuple):
    root: str
    files: list[_File]
    skipped: list[_Skipped]
    # What tells this source from others below the same root.
    key: str = ""
    table: _Table | None = None
    row_of: Mapping[str, int] = MappingProxyType({})


def _list_files(source: Any, file_column: str | None, exclude: Any) -> _Listing:
    if not isinstance(source, str | bytes | os.PathLike):
        return _list_paths([os.fsdecode(path) for path in source])
    path = os.path.abspath(os.fsdecode(source))
    if os.path.isdir(path):
        return _list_folder(path, exclude)
    if os.path.isfile(path):
        if os.path.splitext(path)[1].lower() not in (".csv", ".tsv", ".txt"):
            return _list_paths([path])
        return _list_table(_read_table(path, file_column))
    if re.search(r"[*?[]", path):
        return _list_pattern(path, exclude)
    raise FileNotFoundError(
        f"source={source!r} is neither a folder, nor a file, nor a pattern with *, ? or [...]."
    )


def _list_folder(root: str, exclude: Any) -> _Listing:
    found, unreadable = _walk(root, exclude)
    files, skipped = _examine(found)
    return _Listing(root, files, unreadable + skipped)


def _list_pattern(pattern: str, exclude: Any) -> _Listing:
    # glob.glob would follow a loop of links until the path is too long.
    parts = pattern.split(os.sep)
    fixed = next(i for i, part in enumerate(parts) if re.search(r"[*?[]", part))
    root, parts = os.sep.join(parts[:fixed]) + os.sep, parts[fixed:]
    found, unreadable = _walk(root, exclude, depth=None if "**" in parts else len(parts))
    files, skipped = _examine(item for item in found if _matches(item[0].split("/"), parts))
    return _Listing(os.path.abspath(root), files, unreadable + skipped, key=pattern)


def _matches(names: Sequence[str], parts: Sequence[str]) -> bool:
    if not parts:
        return not names
    if parts[0] == "**":
        return any(_matches(names[i:], parts[1:]) for i in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], parts[0]) and _matches(names[1:], parts[1:])


def _list_paths(paths: list[str]) -> _Listing:
    paths = [os.path.abspath(path) for path in paths]
    try:
        root = os.path.commonpath({os.path.dirname(path) for path in paths})
    except ValueError:
        # No paths at all, or paths on different drives.
        root = ""
    files, skipped = _examine((_relative(path, root), path, None) for path in paths)
    return _Listing(root, files, skipped, key="paths")


def _list_table(table: _Table) -> _Listing:
    root = os.path.dirname(table.path)
    paths: list[str] = []
    skipped: list[_Skipped] = []
    row_of: dict[str, int] = {}
    for index, name in enumerate(table.files):
        if name:
            path = _find(root, name)
            paths.append(path)
            row_of.setdefault(path, index)
        else:
            skipped.append((f"row {index + 1}", "has no file name"))
    files, missing = _examine((_relative(path, root), path, None) for path in paths)
    row_of = {file.id: row_of[file.path] for file in files}
    return _Listing(root, files, skipped + missing, table.path, table, row_of)


def _find(root: str, name: str) -> str:
    """Return the path a table means, which another system's spelling may hide."""
    forward = name.replace("\\", "/")
    normal = (unicodedata.normalize(form, forward) for form in ("NFC", "NFD"))
    for spelling in (name, forward, *normal):
        path = os.path.abspath(os.path.join(root, spelling))
        if os.path.lexists(path):
            return path
    return os.path.abspath(os.path.join(root, name))


def _relative(path: str, root: str) -> str:
    prefix = root.rstrip(os.sep) + os.sep
    if path.startswith(prefix):
        path = path[len(prefix) :]
    elif root:
        with suppress(ValueError):
            path = os.path.relpath(path, root)
    return path.replace(os.sep, "/")


_Found = tuple[str, str, Callable[[], os.stat_result] | None]


def _walk(root: str, exclude: Any, depth: int | None = None) -> tuple[list[_Found], list[_Skipped]]:
    """All files below root in natural order, each real folder visited once."""
    found: list[_Found] = []
    unreadable: list[_Skipped] = []
    visited = set()
    if exclude is not None:
        with suppress(OSError):
            visited.add(_identity(exclude))
    folders = [(root, "", 1)]
    links: list[tuple[str, str, int]] = []
    while folders or links:
        # Links come last, so that files are named by where they really are.
        folder, prefix, level = folders.pop() if folders else links.pop(0)
        try:
            if _identity(folder) in visited:
                continue
            visited.add(_identity(folder))
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            unreadable.append((prefix, UNREADABLE + str(error.strerror)))
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name.lower() in _JUNK:
                continue
            is_link = entry.is_symlink()
            if os.path.isdir(entry.path) if is_link else entry.is_dir():
                if depth is None or level < depth:
                    waiting = links if is_link else folders
                    waiting.append((entry.path, f"{prefix}{entry.name}/", level + 1))
            else:
                found.append((prefix + entry.name, entry.path, entry.stat))
    found.sort(key=lambda item: _natural(item[0]))
    return found, unreadable


def _identity(path: Any) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _natural(name: str) -> tuple:
    # A separator sorts before all characters, so that a folder's files stay together.
    pieces = re.split(r"([0-9]+)", name.casefold().replace("/", "\0"))
    return [int(piece) if i % 2 else piece for i, piece in enumerate(pieces)], name


def _examine(found: Iterable[_Found]) -> tuple[list[_File], list[_Skipped]]:
    files: dict[str, _File] = {}
    skipped: list[_Skipped] = []
    for name, path, status in found:
        # Names of two files may differ in normal form only.
        forms = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
        id = next(id for id in (*forms, path) if id not in files or files[id].path == path)
        if id in files:
            skipped.append((id, "listed more than once"))
            continue
        try:
            result = status() if status is not None else os.stat(path)
        except (OSError, ValueError) as error:
            skipped.append((id, UNREADABLE + (getattr(error, "strerror", None) or str(error))))
        else:
            files[id] = _File(id, path, result.st_size, result.st_mtime_ns)
    return list(files.values()), skipped


def _same_path(first: str, second: str) -> bool:
    return os.path.normcase(first) == os.path.normcase(second)


# What is known about them?


def _read_table(path: Any, file_column: str | None) -> _Table:
    path = os.path.abspath(os.fsdecode(path))
    with open(path, "rb") as file:
        text = _decode_text(file.read(), path)
    try:
        first = next(iter(text.splitlines()), "")
        delimiter = max(",;\t", key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        rows = [row for row in lines if row]
    except csv.Error as error:
        raise ValueError(f"{path!r} cannot be read as a table: {error}.") from error
    header = [name.strip() for name in rows[0]] if rows else []
    chosen = _file_column(header, file_column, path)
    columns: dict[str, list[str]] = {}
    for position, name in enumerate(header):
        if name and position != chosen:
            while name in columns:
                name += "_2"
            columns[name] = [row[position] if position < len(row) else "" for row in rows[1:]]
    files = [row[chosen].strip() if chosen < len(row) else "" for row in rows[1:]]
    return _Table(path, files, columns)


def _decode_text(data: bytes, path: str) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        warnings.warn(
            f"{path!r} is not UTF-8 and is read as Windows-1252; check names with accents.",
            UserWarning,
            stacklevel=5,
        )
        return data.decode("cp1252", errors="replace")


def _file_column(header: list[str], wanted: str | None, path: str) -> int:
    if wanted is not None and wanted in header:
        return header.index(wanted)
    if wanted is None:
        for position, name in enumerate(header):
            if name.lower().replace(" ", "_") in _FILE_COLUMNS:
                return position
    sought = "one of " + ", ".join(_FILE_COLUMNS) if wanted is None else f"file_column={wanted!r}"
    raise ValueError(
        f"{path!r} has no column of files: looked for {sought}, found {header}."
        " Name the column by file_column."
    )


def _select(table: _Table, row_of: Mapping[str, int], ids: list[str]) -> dict[str, np.ndarray]:
    return {
        name: np.array([values[row_of[id]] if id in row_of else "" for id in ids], dtype=object)
        for name, values in table.columns.items()
    }


def _folder_columns(ids: list[str]) -> dict[str, np.ndarray]:
    folders = [id.split("/")[:-1] for id in ids]
    return {
        "folder" if level == 0 else f"folder_{level + 1}": np.array(
            [names[level] if level < len(names) else "" for names in folders], dtype=object
        )
        for level in range(max(map(len, folders)))
    }


def _match(ids: list[str], table: _Table, root: str) -> dict[str, int]:
    """Find the row of each image, from the strictest reading of the names to the loosest."""
    named = _by_reading(((name, i) for i, name in enumerate(table.files) if name), _normal)
    names = {name: rows[0] for name, rows in named.items()}
    # A table beside the folder may give paths that start at the table.
    start = _relative(os.path.dirname(table.path), root)
    from_table = {_normal(f"{start}/{name}"): row for name, row in names.items()}
    readings: list[Callable[[str], str]] = [
        str,
        str.casefold,
        lambda name: _stem(name.casefold()),
        lambda name: name.casefold().rpartition("/")[2],
        lambda name: _stem(name.casefold().rpartition("/")[2]),
    ]
    row_of: dict[str, int] = {}
    for reading, rows in product(readings, (names, from_table)):
        used = set(row_of.values())
        free_rows = _by_reading(((n, i) for n, i in rows.items() if i not in used), reading)
        free_ids = _by_reading(((id, id) for id in ids if id not in row_of), reading)
        if not free_rows or not free_ids:
            break
        for key, candidates in free_ids.items():
            # Wrong metadata is worse than none: only pairs that leave no choice.
            if len(candidates) == 1 and len(free_rows.get(key, ())) == 1:
                row_of[candidates[0]] = free_rows[key][0]
    return row_of


def _normal(name: str) -> str:
    path = os.path.normpath(name.replace("\\", "/")).replace(os.sep, "/")
    return unicodedata.normalize("NFC", path)


def _by_reading(items: Iterable[tuple], reading: Callable[[str], str]) -> dict[str, list]:
    groups: dict[str, list] = defaultdict(list)
    for name, value in items:
        groups[reading(name)].append(value)
    return groups


def _stem(name: str) -> str:
    # "12.5" in a table is a name without extension, not the name "12" with extension "5".
    stem, extension = os.path.splitext(name)
    return stem if extension in Image.registered_extensions() else name


def _warn_unmatched(ids: list[str], row_of: dict[str, int], table: _Table) -> None:
    without_row = [id for id in ids if id not in row_of]
    used = set(row_of.values())
    without_image = [name for i, name in enumerate(table.files) if i not in used]
    messages = [
        f"{len(names)} of {total} {what} (such as {', '.join(map(repr, names[:3]))})"
        for names, total, what in (
            (without_row, len(ids), "images have no row"),
            (without_image, len(table.files), "rows have no image"),
        )
        if names
    ]
    if messages:
        warnings.warn(f"{table.path!r}: {'; '.join(messages)}.", UserWarning, stacklevel=4)


# How does a file become an image?


class _Settings(NamedTuple):
    shape: tuple[int, int, int]
    resize: str
    max_pixels: int

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape)


class _Row(NamedTuple):
    """An image and its digest, or a reason."""

    image: np.ndarray | None
    digest: str | None
    reason: str | None


def _decode_steps(
    files: list[_File],
    settings: _Settings,
    *,
    known: Mapping[tuple, _Row] = MappingProxyType({}),
    n_jobs: int | None,
    verbose: int | bool,
) -> Iterator[list[_Row]]:
    """Yield rows of consecutive files, some hundred at a time; `known` ones are not decoded."""
    step = max(1, min(_STEP_FILES, _STEP_BYTES // settings.row_bytes))
    # Threads: Pillow releases the interpreter lock, and nothing has to be copied between
    # processes.
    with (
        Parallel(n_jobs=n_jobs, prefer="threads") as parallel,
        tqdm(total=len(files), desc="Loading", unit=" images", disable=not verbose) as bar,
    ):
        for start in range(0, len(files), step):
            part = files[start : start + step]
            paths = [file.path for file in part if file.version not in known]
            batches = [paths[i : i + 16] for i in range(0, len(paths), 16)]
            decoded = iter(
                [
                    row
                    for rows in parallel(delayed(_decode_batch)(b, settings) for b in batches)
                    for row in rows
                ]
            )
            yield [known.get(file.version) or next(decoded) for file in part]
            bar.update(len(part))


def _decode_batch(paths: list[str], settings: _Settings) -> list[_Row]:
    rows = []
    for path in paths:
        try:
            image = _decode_file(path, settings)
        except UnusableImage as reason:
            rows.append(_Row(None, None, str(reason)))
        else:
            rows.append(_Row(image, _digest(image), None))
    return rows


def _digest(image: np.ndarray) -> str:
    return hashlib.sha256(image.data).hexdigest()[:32]


def _duplicates(digests: list[str | None]) -> list[np.ndarray]:
    groups = _by_reading(((digest, i) for i, digest in enumerate(digests)), str)
    return [np.array(group) for group in groups.values() if len(group) > 1]


def _decode_file(path: str, settings: _Settings) -> np.ndarray:
    picture = read_picture(path, side=max(settings.shape[:2]), max_pixels=settings.max_pixels)
    return fit_picture(picture.image, settings.shape[:2], settings.resize)


# Where are decoded images kept?
#
# A store is a folder with `images-*.npy`, the usable images in the order of the files, and
# `index.jsonl`: a line that says what was decoded how, then lines of entries [id, size,
# mtime_ns, digest, reason]. It is written as `building.jsonl` beside the last complete one, a
# line after its images are on the disk, so that a killed run leaves a valid beginning.

_STORE_FORMAT = 1


class _Store(NamedTuple):
    data: str
    entries: list[list]
    images: np.ndarray

    def rows(self) -> list[_Row]:
        images = iter(np.asarray(self.images))
        return [
            _Row(next(images) if reason is None else None, digest, reason)
            for _, _, _, digest, reason in self.entries
        ]

    def begins(self, files: list[_File]) -> bool:
        """Whether the entries are those of the first of the files."""
        return len(self.entries) <= len(files) and all(
            entry[:3] == [*file.version] and not _may_be_readable_now(file, entry[4])
            for entry, file in zip(self.entries, files, strict=False)
        )


def _may_be_readable_now(file: _File, reason: str | None) -> bool:
    # Granting access to a file changes neither its size nor its time.
    return reason is not None and reason.startswith(UNREADABLE) and os.access(file.path, os.R_OK)


def _load_rows(
    files: list[_File],
    listing: _Listing,
    settings: _Settings,
    cache: Any,
    *,
    sample: int | None,
    **options: Any,
) -> tuple[np.ndarray, list[_Row]]:
    """Return the usable images, and a row for each file."""
    if cache is not None:
        folder = _store_folder(cache, [settings, listing.root, listing.key, sample])
        try:
            return _load_stored(folder, files, settings, **options)
        except OSError as error:
            needed = len(files) * settings.row_bytes
            problem = f"The cache {folder!r} cannot be used ({error})"
            if needed > _physical_memory():
                raise OSError(
                    f"{problem}, and {needed / 2**30:.1f} GiB of images do not fit into memory."
                    " Give a writable folder with enough space as `cache`, or a smaller `size`."
                ) from error
            warnings.warn(
                f"{problem}; the images are kept in memory and decoded again next time.",
                UserWarning,
                stacklevel=4,
            )
    images = np.empty((len(files), *settings.shape), dtype=np.uint8)
    rows: list[_Row] = []
    n_images = 0
    for step in _decode_steps(files, settings, **options):
        for row in step:
            if row.image is not None:
                images[n_images] = row.image
                n_images += 1
            rows.append(row._replace(image=None))
    return images[:n_images], rows


def _load_stored(
    folder: str, files: list[_File], settings: _Settings, **options: Any
) -> tuple[np.ndarray, list[_Row]]:
    os.makedirs(folder, exist_ok=True)
    with _locked(folder):
        store = _read_store(folder, "index.jsonl", settings)
        if store is None or len(store.entries) != len(files) or not store.begins(files):
            _build_store(folder, files, settings, store, **options)
            store = _read_store(folder, "index.jsonl", settings)
    if store is None:
        raise OSError("what was written could not be read back")
    return store.images, store.rows()


def _build_store(
    folder: str, files: list[_File], settings: _Settings, last: _Store | None, **options: Any
) -> None:
    building = os.path.join(folder, "building.jsonl")
    partial = _read_store(folder, "building.jsonl", settings)
    known = {}
    for store in filter(None, (last, partial)):
        for entry, row in zip(store.entries, store.rows(), strict=True):
            if row.reason is None or not row.reason.startswith(UNREADABLE):
                known[tuple(entry[:3])] = row
    if partial is None or not partial.begins(files):
        partial = _Store(f"images-{uuid.uuid4().hex}.npy", [], np.empty(0))
    try:
        _write_store(folder, files, settings, partial, known, **options)
    except OSError:
        # A full disk should not stay full because of what is of no use on it.
        for path in (building, os.path.join(folder, partial.data)):
            with suppress(OSError):
                os.remove(path)
        raise
    os.replace(building, os.path.join(folder, "index.jsonl"))
    for name in os.listdir(folder):
        if name.startswith("images-") and name != partial.data:
            # Another process may still have it open, which some systems do not allow.
            with suppress(OSError):
                os.remove(os.path.join(folder, name))


def _write_store(
    folder: str, files: list[_File], settings: _Settings, begun: _Store, known: dict, **options: Any
) -> None:
    building = os.path.join(folder, "building.jsonl")
    n_images = len(begun.images)
    header = [{"format": _STORE_FORMAT, "data": begun.data, **settings._asdict()}]
    with open(building + ".new", "w", encoding="ascii") as index:
        index.writelines(json.dumps(line) + "\n" for line in [*header, begun.entries])
    os.replace(building + ".new", building)
    # Written as a file, since a full disk under a memory map kills the process.
    with (
        open(os.path.join(folder, begun.data), "r+b" if begun.entries else "wb") as data,
        open(building, "a", encoding="ascii") as index,
    ):
        data.write(_npy_header(0, settings))
        data.truncate(data.tell() + n_images * settings.row_bytes)
        data.seek(0, os.SEEK_END)
        todo = iter(files[len(begun.entries) :])
        for step in _decode_steps(files[len(begun.entries) :], settings, known=known, **options):
            for row in step:
                if row.image is not None:
                    data.write(row.image.data)
                    n_images += 1
            data.flush()
            os.fsync(data.fileno())
            entries = [[*next(todo).version, row.digest, row.reason] for row in step]
            index.write(json.dumps(entries) + "\n")
            index.flush()
        data.seek(0)
        data.write(_npy_header(n_images, settings))


def _read_store(folder: str, name: str, settings: _Settings) -> _Store | None:
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return None
    try:
        with open(path, encoding="ascii") as index:
            # What follows the last line break was cut off when its writer was killed.
            header, *lines = [json.loads(line) for line in index.read().split("\n")[:-1]]
        entries = [entry for line in lines for entry in line]
        expected = {"format": _STORE_FORMAT, "data": os.path.basename(header["data"])}
        expected |= settings._asdict()
        if header != json.loads(json.dumps(expected)):
            raise ValueError("its header does not fit")
        n_images = sum(reason is None for _, _, _, _, reason in entries)
        store = _Store(header["data"], entries, _map(folder, header["data"], n_images, settings))
        usable = [row for row in store.rows() if row.reason is None]
        for row in usable[:: max(1, len(usable) // 16)]:
            if row.image is None or _digest(row.image) != row.digest:
                raise ValueError("its images do not fit its index")
    except Exception as error:
        # There is no telling what a damaged file raises.
        warnings.warn(
            f"The cache {path!r} is damaged ({error}); its images are decoded again.",
            UserWarning,
            stacklevel=6,
        )
        return None
    return store


def _map(folder: str, name: str, n_images: int, settings: _Settings) -> np.ndarray:
    shape = (n_images, *settings.shape)
    if not n_images:
        return np.empty(shape, dtype=np.uint8)
    path = os.path.join(folder, name)
    offset = len(_npy_header(n_images, settings))
    return np.memmap(path, dtype=np.uint8, mode="r", offset=offset, shape=shape)


def _npy_header(n_images: int, settings: _Settings) -> bytes:
    # Of the same length for all n_images: NumPy leaves room for the first axis to grow.
    buffer = io.BytesIO()
    shape = (n_images, *settings.shape)
    npy_format.write_array_header_1_0(
        buffer, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


def _store_folder(cache: Any, key: list) -> str:
    text = json.dumps([_STORE_FORMAT, pillow_version, *key])
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    name = re.sub(r"[^\w-]+", "_", os.path.basename(key[1]))[:40]
    return os.path.join(os.path.abspath(os.fsdecode(cache)), f"{name}-{digest}")


def _user_cache() -> str:
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return os.path.join(base or os.path.expanduser("~/.cache"), "skdcec")


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return sys.maxsize


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Wait while another process builds the same store; the system frees a killed one's lock."""
    lock = FileLock(os.path.join(folder, "lock"))
    # A complete store can be read where nothing can be written or locked.
    with suppress(OSError, NotImplementedError):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
