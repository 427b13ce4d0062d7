"""What is known about the files? Tables, and which of their rows belongs to which file."""

import os
import re
import unicodedata
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from skdcec._callers import caller_level
from skdcec._files import distinct, plain_heading, read_cells

FILE_COLUMNS = (
    *("file", "filename", "file_name", "filepath", "file_path", "path"),
    *("image", "image_file", "image_path"),
)


_PICTURE = re.compile(r"\.(jpe?g|png|tiff?|webp|gif|bmp|p[gp]m|jp2|avif|hei[cf])\s*$", re.I)


class Table(NamedTuple):
    """A table of files: the column that names them, and all others."""

    path: str
    files: list[str]
    columns: dict[str, list[str]]


def relative(path: str, root: str) -> str:
    """Return a path as seen from root, with forward slashes."""
    prefix = root.rstrip(os.sep) + os.sep
    if path.startswith(prefix):
        path = path[len(prefix) :]
    elif root:
        with suppress(ValueError):
            path = os.path.relpath(path, root)
    return path.replace(os.sep, "/")


def read_table(path: Any, file_column: str | None) -> Table:
    """Read a table that anyone may have written, ourselves included."""
    path = os.path.abspath(os.fsdecode(path))
    wanted = FILE_COLUMNS if file_column is None else [plain_heading(file_column)]
    header, *rows = read_cells(path, wanted) or [[]]
    header = [name.replace("\ufeff", "").strip() for name in header]
    chosen = _file_column(header, rows, file_column, path)
    named = [position for position, name in enumerate(header) if name and position != chosen]
    names = distinct(header[position] for position in named)
    columns = {
        name: [row[position] if position < len(row) else "" for row in rows]
        for name, position in zip(names, named, strict=True)
    }
    return Table(path, [row[chosen] if chosen < len(row) else "" for row in rows], columns)


def _file_column(header: list[str], rows: list[list[str]], wanted: str | None, path: str) -> int:
    if wanted is not None and wanted in header:
        return header.index(wanted)
    sought_names = FILE_COLUMNS if wanted is None else [plain_heading(wanted)]
    for position, name in enumerate(header):
        if plain_heading(name) in sought_names:
            return position
    holding = _columns_of_files(header, rows) if wanted is None else []
    if len(holding) == 1:
        return holding[0]
    sought = "one of " + ", ".join(FILE_COLUMNS) if wanted is None else f"file_column={wanted!r}"
    more = f" and {len(header) - 20} more" if len(header) > 20 else ""
    raise ValueError(
        f"{path!r} has no column of files: looked for {sought}, found {header[:20]}{more}."
        " Name the column by file_column."
    )


def _columns_of_files(header: list[str], rows: list[list[str]]) -> list[int]:
    """Return which columns have names of pictures in most of their rows, whatever their heading."""
    some = rows[:1000]
    return [
        position
        for position in range(len(header))
        if sum(position < len(row) and bool(_PICTURE.search(row[position])) for row in some)
        > len(some) / 2
    ]


def select(table: Table, row_of: Mapping[str, int], ids: list[str]) -> dict[str, np.ndarray]:
    """Return the columns in the order of the images, "" where an image has no row."""
    return {
        name: np.array([values[row_of[id]] if id in row_of else "" for id in ids], dtype=object)
        for name, values in table.columns.items()
    }


def folder_columns(ids: list[str]) -> dict[str, np.ndarray]:
    """Return the names of the folders as columns, one for each level."""
    folders = [id.split("/")[:-1] for id in ids]
    return {
        "folder" if level == 0 else f"folder_{level + 1}": np.array(
            [names[level] if level < len(names) else "" for names in folders], dtype=object
        )
        for level in range(max(map(len, folders)))
    }


def match_rows(ids: list[str], table: Table, root: str) -> dict[str, int]:
    """Find the row of each image, from the strictest reading of the names to the loosest.

    A row gives a path from `root` or from the table. Wrong metadata is worse than none, so only
    pairs that leave no choice count. Of rows with the same name, the first does.
    """
    folder = os.path.dirname(table.path)
    first: dict[str, int] = {}
    for row, name in enumerate(table.files):
        if name.strip():
            first.setdefault(_normal(name), row)
    rows = {(name.casefold(), row) for name, row in first.items()}
    for name, row in first.items():
        path = _normal(os.path.join(folder, name)).casefold()
        rows.add((relative(path, _normal(root).casefold()), row))
    names = {(_normal(id).casefold(), id) for id in ids}

    row_of: dict[str, int] = {}
    for reading in (str, str.strip, _stem, _last, lambda name: _stem(_last(name))):
        used = set(row_of.values())
        rows_of = _group((reading(name), row) for name, row in rows if row not in used)
        ids_of = _group((reading(name), id) for name, id in names if id not in row_of)
        pairs = [
            (*found, *rows_of[key])
            for key, found in ids_of.items()
            if len(found) == 1 and len(rows_of.get(key, ())) == 1
        ]
        n_images = Counter(row for _, row in pairs)
        row_of.update((id, row) for id, row in pairs if n_images[row] == 1)
    for id in ids:
        # A page without a row of its own has that of its file.
        file, mark, page = id.rpartition("#")
        if mark and page.isdecimal() and file in row_of:
            row_of.setdefault(id, row_of[file])
    return row_of


def _normal(name: str) -> str:
    path = os.path.normpath(name.replace("\\", "/")).replace(os.sep, "/")
    return unicodedata.normalize("NFC", path)


def _group(items: Iterable[tuple[str, Any]]) -> dict[str, set[Any]]:
    groups: dict[str, set[Any]] = defaultdict(set)
    for key, value in items:
        groups[key].add(value)
    return groups


def _last(name: str) -> str:
    return name.strip().rpartition("/")[2]


def _stem(name: str) -> str:
    # "12.5" in a table is a name without extension, not the name "12" with extension "5".
    stem, extension = os.path.splitext(name.strip())
    return stem if extension in Image.registered_extensions() else name.strip()


def warn_unmatched(ids: list[str], row_of: dict[str, int], table: Table) -> None:
    """Warn of images without a row and of rows without an image."""
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
        warnings.warn(
            f"{table.path!r}: {'; '.join(messages)}.", UserWarning, stacklevel=caller_level()
        )
