"""From a collection of image files to one array."""

import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Bunch, Tags

from skdcec._callers import caller_level
from skdcec._sklearn_compat import Interval, StrOptions, validate_params
from skdcec.datasets.decode import FORMATS, MAX_PIXELS
from skdcec.datasets.files import File, Listing, Skipped, list_files, same_file
from skdcec.datasets.pictures import is_picture, pictures_in
from skdcec.datasets.steps import Settings, decode_steps, duplicates_of
from skdcec.datasets.store import load_rows, user_cache
from skdcec.datasets.tables import (
    Table,
    folder_columns,
    match_rows,
    read_table,
    select,
    warn_unmatched,
)

_PARAMETERS = {
    "size": [Interval(Integral, 1, None, closed="left"), tuple, list],
    "resize": [StrOptions({"pad", "crop", "stretch"})],
    "max_pixels": [Interval(Integral, 1, None, closed="left")],
    "n_jobs": [Integral, None],
    "verbose": ["verbose"],
}


class _Collection(Bunch):
    """What was loaded; shown, it says how much of what there is, and no pixels."""

    def __repr__(self) -> str:
        kinds = (f"{name}: {_kind_of(value)}" for name, value in self.items())
        return f"Bunch({', '.join(kinds)})"

    def __missing__(self, key: Any) -> Any:
        # What splits a collection asks for its rows.
        if isinstance(key, str):
            raise KeyError(key)
        raise TypeError(
            f"What load_images returns has names, such as 'images', and no row {key}: where some "
            "images are chosen, as by a search of scikit-learn, give its images."
        )


def _kind_of(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"{type(value).__name__} of shape {shape}"
    return f"{type(value).__name__} of {len(value)}" if hasattr(value, "__len__") else repr(value)


@validate_params(
    {
        "source": "no_validation",
        **_PARAMETERS,
        "metadata": [str, os.PathLike, None],
        "file_column": [str, None],
        "sample": [Interval(Integral, 1, None, closed="left"), None],
        "pages": [StrOptions({"first", "all"})],
        "on_error": [StrOptions({"skip", "raise"})],
        "cache": [str, os.PathLike, None],
        "cache_above": [Interval(Integral, 0, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def load_images(
    source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    size: int | tuple[int, int] = 128,
    *,
    resize: str = "pad",
    metadata: str | os.PathLike[str] | None = None,
    file_column: str | None = None,
    sample: int | None = None,
    pages: str = "first",
    on_error: str = "skip",
    max_pixels: int = MAX_PIXELS,
    cache: str | os.PathLike[str] | None = "auto",
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
          is read once. Hidden files, what operating systems leave behind (`.*`, `@eaDir`,
          `Thumbs.db`, ...) and what commands of skdcec wrote are passed over;
        - a pattern with `*`, `?`, `[...]` or `**`, as for :func:`glob.glob`;
        - a `.csv`, `.tsv` or `.txt` table with a column of file names, relative to the table, as
          spreadsheets write it, or one that `skdcec cluster` wrote, where it lies; see
          :ref:`tables`;
        - a ZIP archive, whose files are read where they are; nothing is unpacked onto the disk. The
          path of a file in it is that of the archive, a slash, and its name;
        - an iterable of paths, or the path of one image.

        Folders, patterns and archives give files in natural order (`2.jpg` before `10.jpg`),
        tables and iterables in their own.

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
        belongs to the image with the same path, from the source or from the table, else the same
        path without extension, else the same name, else the same name without extension, where
        that leaves one row and one image. Upper and lower case, slashes and backslashes, and
        Unicode normal forms are not told apart. Images without a row are kept.

    file_column : str, default=None
        Name of the column of files, in `source` or `metadata`. By default the first that is
        named like one: file, filename, path, image, ..., else the only one that holds names of
        pictures.

    sample : int, default=None
        Load only this many files, evenly spaced over all of them, for a quick look.

    pages : {"first", "all"}, default="first"
        What is taken of TIFF files of several pages: the first, or an image of each. The second
        page of ``scan.tif`` is ``scan.tif#2``, also where a path is asked for, and has the
        metadata of its file where it has no row of its own. Smaller copies of a picture at the
        end of a file, which say that they are, do not count.

    on_error : {"skip", "raise"}, default="skip"
        Whether files that cannot be used are skipped with a warning or an error.

    max_pixels : int, default=178956970
        Files with more pixels than this, by their header, are not decoded. The default is
        where Pillow would warn. All threads together take at most 16 bytes for each of them to
        decode, 2.9 GB by default: files wait for one another, and one that would take more by
        itself is not decoded. See :ref:`cost_of_files`.

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

    See Also
    --------
    ImageLoader : The same as a transformer, of paths, uploads and PIL images.
    skdcec.DeepConvEmbeddingClustering : Clusters such images.

    Notes
    -----
    Reads JPEG, PNG, TIFF, WebP, GIF, BMP, PPM, JPEG 2000 and AVIF, as far as the installed
    Pillow does, and HEIC where pillow-heif is installed (``pip install 'skdcec[heif]'``). Pictures
    are turned as their EXIF orientation says; transparency is laid on white; of animated files, and
    of files of several pages unless `pages` says otherwise, the first is taken. 16-bit images are
    divided by 257. Single-channel float images are taken as ranging to 1, 255 or 65535,
    whichever is the first to hold them, and from their least to their greatest value otherwise.
    TIFF files of which Pillow would make something else (separate planes of 16 bits, signed 8
    bits, missing pieces) are skipped. Colour profiles are ignored, and CMYK is converted without
    one. JPEG files are decoded at a reduced size where that is still twice what is needed, and
    resized by a Lanczos filter.

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
    settings = Settings((*_check_size(size), 3), resize, int(max_pixels))
    exclude = None if cache == "auto" else cache
    listing = list_files(source, file_column, exclude, pages=pages)
    table = None
    if metadata is not None and os.fspath(metadata) != "folders":
        table = read_table(metadata, file_column)
        listing = listing._replace(
            files=[f for f in listing.files if not same_file(f.path, table.path)]
        )
    files = listing.files
    if sample is not None and sample < len(files):
        files = [files[i] for i in np.linspace(0, len(files) - 1, sample).round().astype(int)]

    if cache == "auto":
        cache = user_cache() if len(files) * settings.row_bytes > cache_above else None
    images, rows = load_rows(
        files, listing, settings, cache, sample=sample, n_jobs=n_jobs, verbose=verbose
    )

    good = [file for file, row in zip(files, rows, strict=True) if row.reason is None]
    skipped = listing.skipped + [
        (file.id, row.reason) for file, row in zip(files, rows, strict=True) if row.reason
    ]
    if not good:
        raise ValueError(
            f"No image found in source={_few(source)}: looked for {', '.join(FORMATS)} files"
            + (f"; {_summary(skipped)}" if skipped else ", and there are no files at all.")
            + (f" Names in a table count from its folder, {listing.root!r}." * bool(listing.table))
        )
    if skipped and on_error == "raise":
        raise ValueError(f'{_summary(skipped)} Use on_error="skip" to leave such files out.')
    if skipped:
        warnings.warn(
            f"{_summary(skipped)} `skipped` lists them.", UserWarning, stacklevel=caller_level()
        )

    ids = [file.id for file in good]
    return _Collection(
        images=images,
        paths=np.array(ids, dtype=object),
        filenames=np.array([file.path for file in good], dtype=object),
        metadata=_columns(ids, listing, table, metadata is not None, warn=sample is None),
        skipped=skipped,
        duplicates=duplicates_of([row.digest for row in rows if row.reason is None]),
    )


def _columns(
    ids: list[str], listing: Listing, table: Table | None, folders: bool, *, warn: bool
) -> dict[str, np.ndarray]:
    columns = {} if listing.table is None else select(listing.table, listing.row_of, ids)
    if table is not None:
        row_of = match_rows([file.id for file in listing.files], table, listing.root)
        if warn:
            warn_unmatched(ids, row_of, table)
        columns |= select(table, row_of, ids)
    elif folders:
        columns |= folder_columns(ids)
    return columns


class ImageLoader(TransformerMixin, BaseEstimator):
    """Transformer from image files to an array of images.

    Takes paths, contents of files, files that are open, PIL images, such as a column of Hugging
    Face datasets, and what :func:`load_images` returns, whose files it reads again. The first
    step of a pipeline that starts from files. It never drops a row, so labels and folds stay
    aligned with the paths. It learns nothing and keeps no images; to load a collection once for
    many fits, use :func:`load_images`, or give the pipeline a `memory`.

    Parameters
    ----------
    size : int or (height, width), default=128
        Size of the images returned, in pixels.

    resize : {"pad", "crop", "stretch"}, default="pad"
        How other proportions are brought to `size`, as in :func:`load_images`.

    on_error : {"raise", "blank"}, default="raise"
        What a file that cannot be used gives: an error, or a black image and a warning.

    max_pixels : int, default=178956970
        Files with more pixels than this, by their header, are not decoded. It also gives the
        memory for decoding, as in :func:`load_images`.

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

    _parameter_constraints: dict[str, Any] = {
        **_PARAMETERS,
        "on_error": [StrOptions({"raise", "blank"})],
    }

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

    def fit(self, X: Sequence[str | os.PathLike[str]], y: Any = None) -> "ImageLoader":
        """Check the parameters and the form of X; no file is read.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, 1)
            Paths, contents of files (bytes), open files, or PIL images; or a single one.
        y : Ignored
            Present by convention.

        Returns
        -------
        self : ImageLoader
            The loader itself.
        """
        self._validate_params()
        _check_size(self.size)
        _check_items(X)
        return self

    def transform(self, X: Sequence[str | os.PathLike[str]]) -> np.ndarray:
        """Read and resize the files.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, 1)
            Paths, contents of files (bytes), open files, or PIL images; or a single one.

        Returns
        -------
        images : ndarray of shape (n_samples, height, width, 3), dtype uint8
            One picture for each file, in the order of `X`.

        Raises
        ------
        ValueError
            If `on_error="raise"` and a file cannot be used.
        """
        self._validate_params()
        settings = Settings((*_check_size(self.size), 3), self.resize, int(self.max_pixels))
        files = _check_items(X)
        images = np.zeros((len(files), *settings.shape), dtype=np.uint8)
        errors = []
        index = 0
        for step in decode_steps(files, settings, n_jobs=self.n_jobs, verbose=self.verbose):
            for row in step:
                if row.image is not None:
                    images[index] = row.image
                else:
                    errors.append((index, files[index].id, row.reason))
                index += 1
            if errors and self.on_error == "raise":
                # The first step with a failure decides, the rest need not be read.
                break
        self.errors_ = errors
        summary = _summary([(path, reason) for _, path, reason in errors])
        if errors and self.on_error == "raise":
            elsewhere = _elsewhere([files[index] for index, _, _ in errors])
            raise ValueError(
                f'{summary}{elsewhere} Use on_error="blank" to get black images in place of such '
                "files."
            )
        if errors:
            warnings.warn(
                f"{summary} Their images are black.", UserWarning, stacklevel=caller_level()
            )
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


def _check_items(X: Any) -> list[File]:
    """Return what stands for pictures as files, of which `path` may be something else."""
    if isinstance(X, Mapping) and "filenames" in X:
        # What `load_images` returns.
        X = X["filenames"]
    if isinstance(X, str | os.PathLike):
        X = [_one_path(X)]
    pictures = pictures_in(X)
    if pictures is not None and not _are_paths(X, pictures.first):
        return [
            File(f"X[{i}]", partial(pictures.item, i), 0, 0)  # type: ignore[arg-type]
            for i in range(len(pictures))
        ]
    paths = np.asarray(X, dtype=object)
    if paths.ndim == 2 and paths.shape[1] == 1:
        paths = paths[:, 0]
    if paths.ndim != 1:
        raise ValueError(
            f"X must be paths of shape (n_samples,) or (n_samples, 1), got shape {paths.shape}; "
            "an array of images needs no loading."
        )
    if not len(paths):
        raise ValueError("X holds no paths: found 0 sample(s), at least 1 is required.")
    for index, path in enumerate(paths):
        if not isinstance(path, str | os.PathLike):
            raise ValueError(f"X must hold paths, got {path!r} at position {index}.")
    return [File(os.fsdecode(path), os.fsdecode(path), 0, 0) for path in paths]


def _one_path(X: Any) -> str:
    """Return the path of one image, as `predict` of a model takes it."""
    path = os.fsdecode(X)
    if is_picture(path) and (os.path.exists(path) or not re.search(r"[*?[]", path)):
        return path
    raise ValueError(
        f"X={path!r} stands for several files, in an order that nobody has seen: give a list of "
        f"them, load_images({path!r}, size=...).filenames, or the path of one image."
    )


def _are_paths(X: Any, first: Any) -> bool:
    """Whether nothing in a list, whose `first` item is known, stands for a picture but paths."""
    if not isinstance(first, str | os.PathLike):
        return False
    items = X if isinstance(X, list | tuple) else ()
    return not any(is_picture(i) and not isinstance(i, str | os.PathLike) for i in items)


def _few(source: Any) -> str:
    """Return a source as code; of many files the first only."""
    one = isinstance(source, str | bytes | os.PathLike) or not hasattr(source, "__getitem__")
    if one or len(source) < 3:
        return repr(source)
    return f"[{source[0]!r}, ...], {len(source)} of them"


def _elsewhere(files: Sequence[File]) -> str:
    """Say where paths count from, where some are not there."""
    lost = [f.path for f in files if isinstance(f.path, str | os.PathLike)]
    if all(os.path.isabs(path) or os.path.lexists(path) for path in lost):
        return ""
    folder = os.path.abspath(os.curdir)
    return (
        f" Paths count from {folder!r}: of what load_images returns, `filenames` are whole, "
        "and `paths` count from its folder."
    )


def _summary(skipped: list[Skipped]) -> str:
    # repr keeps line breaks and undecodable bytes in names from garbling the message.
    named = ", ".join(f"{name!r} ({reason})" for name, reason in skipped[:5])
    more = f" and {len(skipped) - 5} more" if len(skipped) > 5 else ""
    return f"{len(skipped)} file(s) cannot be used: {named}{more}."
