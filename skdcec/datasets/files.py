"""Which files does a source mean? Folders, patterns, tables and lists of paths."""

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, NamedTuple

from skdcec._files import identity, read_json
from skdcec._folders import TEXTS, written_among
from skdcec.datasets.decode import UNREADABLE
from skdcec.datasets.tables import Table, read_table, relative
from skdcec.datasets.within import is_archive, members_of, n_pages, place_of, version_of

_JUNK = {"@eadir", "thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx"}

# Read as tables, or refused with the advice to save them as one.
_TABLES = {".csv", ".tsv", ".tab", ".txt", ".xlsx", ".xlsm", ".xls", ".ods", ".numbers"}

# A path and a reason.
Skipped = tuple[str, str | None]


class File(NamedTuple):
    """A file that was found; `id` is what the user knows it by.

    Of a file in an archive, `mtime_ns` is its checksum, which changes with its content.
    """

    id: str
    path: str
    size: int
    mtime_ns: int

    @property
    def version(self) -> tuple[str, int, int]:
        """What a decoded image is remembered by."""
        return self.id, self.size, self.mtime_ns


class Listing(NamedTuple):
    """The files of a source, those that are none, and the table that named them."""

    root: str
    files: list[File]
    skipped: list[Skipped]
    # What tells this source from others below the same root.
    key: str = ""
    table: Table | None = None
    row_of: Mapping[str, int] = MappingProxyType({})


def list_files(
    source: Any, file_column: str | None, exclude: Any, *, pages: str = "first"
) -> Listing:
    """Find the files that a source means; the folder `exclude` is not searched."""
    listing = _list_source(source, file_column, exclude)
    return listing if pages == "first" else _with_pages(listing)


def _with_pages(listing: Listing) -> Listing:
    """Count each page of a TIFF file as a file, the first by the name of the file itself."""
    files: list[File] = []
    row_of = dict(listing.row_of)
    for file in listing.files:
        files.append(file)
        for page in range(2, n_pages(file.path) + 1):
            id = f"{file.id}#{page}"
            files.append(file._replace(id=id, path=f"{file.path}#{page}"))
            if file.id in row_of:
                row_of[id] = row_of[file.id]
    return listing._replace(files=files, key=f"{listing.key}#pages", row_of=row_of)


def _list_source(source: Any, file_column: str | None, exclude: Any) -> Listing:
    if not isinstance(source, str | bytes | os.PathLike):
        return _list_paths(_paths(source))
    path = os.path.abspath(os.fsdecode(source))
    if os.path.isdir(path):
        return _list_folder(path, exclude)
    if os.path.isfile(path):
        if os.path.splitext(path)[1].lower() in _TABLES:
            return _list_table(read_table(path, file_column))
        return _list_archive(path) if is_archive(path) else _list_paths([path])
    if re.search(r"[*?[]", path):
        return _list_pattern(path, exclude)
    if place_of(path).file != path:
        return _list_paths([path])
    raise FileNotFoundError(
        f"source={source!r} is neither a folder, nor a file, nor a pattern with *, ? or [...]"
        f"{_what_is_there(path, os.fsdecode(source))}"
    )


def _what_is_there(path: str, source: str) -> str:
    """Say where a name was looked for, or which one beside it is much like it."""
    if re.match(r"https?:/", source):
        return (
            "; from an address nothing is fetched: save its images as files first, which "
            "`skdcec fetch` does of a IIIF manifest."
        )
    folder, name = os.path.split(path)
    with suppress(OSError):
        if meant := get_close_matches(name, os.listdir(folder), n=1, cutoff=0.75):
            return f"; is {meant[0]!r} meant?"
    return f"; looked in {folder!r}." if os.path.isdir(folder) else "."


def _paths(source: Any) -> list[str]:
    if hasattr(source, "columns"):
        columns = ", ".join(repr(column) for column in list(source.columns)[:5])
        raise TypeError(
            f"source is a {type(source).__name__}: give its column of files, source[...] with one "
            f"of {columns}."
        )
    try:
        return [os.fsdecode(path) for path in source]
    except TypeError as error:
        shape = getattr(source, "shape", None)
        raise TypeError(
            f"source is a {type(source).__name__}{f' of shape {shape}' * bool(shape)}; a folder, "
            "a pattern, a table or paths of files are needed. An array of images needs no loading; "
            "skdcec.datasets.ImageLoader().transform(source) reads PIL images and open files."
        ) from error


def _list_folder(root: str, exclude: Any) -> Listing:
    found, unreadable = _walk(root, exclude)
    files, skipped = _examine(found)
    return Listing(root, files, unreadable + skipped)


def _list_pattern(pattern: str, exclude: Any) -> Listing:
    # glob.glob would follow a loop of links until the path is too long.
    parts = pattern.split(os.sep)
    fixed = next(i for i, part in enumerate(parts) if re.search(r"[*?[]", part))
    root, parts = os.sep.join(parts[:fixed]) + os.sep, parts[fixed:]
    found, unreadable = _walk(root, exclude, depth=None if "**" in parts else len(parts))
    files, skipped = _examine(item for item in found if _matches(item[0].split("/"), parts))
    return Listing(os.path.abspath(root), files, unreadable + skipped, key=pattern)


def _matches(names: Sequence[str], parts: Sequence[str]) -> bool:
    if not parts:
        return not names
    if parts[0] == "**":
        return any(_matches(names[i:], parts[1:]) for i in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], parts[0]) and _matches(names[1:], parts[1:])


def _list_archive(path: str) -> Listing:
    """List the members of a ZIP archive, which is left packed."""
    found: list[_Found] = []
    refused: list[Skipped] = []
    for name, reason in members_of(path):
        parts = name.split("/")
        if any(part.startswith(".") or part.lower() in _JUNK for part in parts if part != ".."):
            continue
        if reason:
            refused.append((name, reason))
        else:
            found.append((name, os.path.join(path, *parts), None))
    found.sort(key=lambda item: _natural(item[0]))
    files, skipped = _examine(found)
    return Listing(path, files, refused + skipped, key="archive")


def _list_paths(paths: list[str]) -> Listing:
    paths = [os.path.abspath(path) for path in paths]
    try:
        root = os.path.commonpath({os.path.dirname(path) for path in paths})
    except ValueError:
        # No paths at all, or paths on different drives.
        root = ""
    files, skipped = _examine((relative(path, root), path, None) for path in paths)
    return Listing(root, files, skipped, key="paths")


def _list_table(table: Table) -> Listing:
    root = os.path.dirname(table.path)
    recorded = _recorded_files(root)
    paths: list[str] = []
    names: dict[str, str] = {}
    skipped: list[Skipped] = []
    row_of: dict[str, int] = {}
    for index, name in enumerate(table.files):
        if name.strip():
            path = _find(root, name)
            if name in recorded and not _exists(path):
                path = recorded[name]
                names[path] = name
            paths.append(path)
            row_of.setdefault(path, index)
        else:
            skipped.append((f"row {index + 1}", "has no file name"))
    files, missing = _examine(
        (names.get(path) or relative(path, root), path, None) for path in paths
    )
    row_of = {file.id: row_of[file.path] for file in files}
    return Listing(root, files, skipped + missing, table.path, table, row_of)


def _recorded_files(folder: str) -> dict[str, str]:
    """Return where the images of a run were, by their names in the tables of its folder.

    Those are paths within the collection, which is elsewhere.
    """
    try:
        texts = read_json(os.path.join(folder, TEXTS))
        pairs = list(zip(texts["paths"], texts["filenames"], strict=True))
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return {
        name: os.path.abspath(path)
        for name, path in pairs
        if isinstance(name, str) and isinstance(path, str)
    }


def _exists(path: str) -> bool:
    return os.path.lexists(path) or place_of(path).file != path


def _find(root: str, name: str) -> str:
    """Return the path a table means, which spaces or another system's spelling may hide."""
    forward = name.strip().replace("\\", "/")
    normal = (unicodedata.normalize(form, forward) for form in ("NFC", "NFD"))
    for spelling in (name, name.strip(), name.replace("\\", "/"), forward, *normal):
        path = os.path.abspath(os.path.join(root, spelling))
        if _exists(path):
            return path
    return os.path.abspath(os.path.join(root, name.strip()))


_Found = tuple[str, str, Callable[[], os.stat_result] | None]


def _walk(root: str, exclude: Any, depth: int | None = None) -> tuple[list[_Found], list[Skipped]]:
    """All files below root in natural order, each real folder visited once."""
    found: list[_Found] = []
    unreadable: list[Skipped] = []
    visited = set()
    if exclude is not None:
        with suppress(OSError):
            visited.add(identity(exclude))
    folders = [(root, "", 1)]
    links: list[tuple[str, str, int]] = []
    while folders or links:
        # Links come last, so that files are named by where they really are.
        folder, prefix, level = folders.pop() if folders else links.pop(0)
        try:
            found_before = len(visited)
            visited.add(identity(folder))
            if len(visited) == found_before:
                continue
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            unreadable.append((prefix or os.path.basename(root), UNREADABLE + str(error.strerror)))
            continue
        results = written_among(folder, {entry.name for entry in entries})
        for entry in entries:
            name = entry.name
            if name.startswith(".") or name.lower() in _JUNK or name in results:
                continue
            is_folder = False
            with suppress(OSError):
                # Else it is told when the file is examined.
                is_folder = entry.is_dir()
            if is_folder:
                if depth is None or level < depth:
                    waiting = links if os.path.islink(entry.path) else folders
                    waiting.append((entry.path, f"{prefix}{entry.name}/", level + 1))
            else:
                found.append((prefix + entry.name, entry.path, entry.stat))
    found.sort(key=lambda item: _natural(item[0]))
    return found, unreadable


def _natural(name: str) -> tuple[list[int | str], str]:
    # A separator sorts before all characters, so that a folder's files stay together.
    pieces = re.split(r"([0-9]+)", name.casefold().replace("/", "\0"))
    return [int(piece) if i % 2 else piece for i, piece in enumerate(pieces)], name


def _examine(found: Iterable[_Found]) -> tuple[list[File], list[Skipped]]:
    files: dict[str, File] = {}
    skipped: list[Skipped] = []
    for name, path, status in found:
        # Names of two files may differ in normal form only.
        forms = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
        id = next(id for id in (*forms, path) if id not in files or files[id].path == path)
        if id in files:
            skipped.append((id, "listed more than once"))
            continue
        try:
            if status is None:
                size, version = version_of(path)
            else:
                size, version = (result := status()).st_size, result.st_mtime_ns
        except (OSError, ValueError) as error:
            skipped.append((id, UNREADABLE + (getattr(error, "strerror", None) or str(error))))
        else:
            files[id] = File(id, path, size, version)
    return list(files.values()), skipped


def same_file(first: str, second: str) -> bool:
    """Whether two absolute paths lead to one file, whose name has no second spelling."""
    if os.path.basename(first).casefold() != os.path.basename(second).casefold():
        return False
    try:
        return identity(first) == identity(second)
    except OSError:
        return os.path.normcase(first) == os.path.normcase(second)
