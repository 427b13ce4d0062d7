"""Which vectors came with the files? Embeddings of any network, from NumPy or Parquet files."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from skdcec._files import check_source, plain_heading, read_cells
from skdcec.datasets.files import File, Listing
from skdcec.datasets.tables import FILE_COLUMNS, Table, match_rows

__all__ = ["Vectors", "read_vectors"]

# Rows that are looked at together.
_CHUNK = 4096

# A file may claim more than there is room for.
MAX_BYTES = 2**36
MAX_WIDTH = 2**16
# Their squares are added up, and what is made of them has to be kept.
MAX_VALUE = 1e7

_VECTOR_COLUMNS = ("embedding", "embeddings", "features", "vector", "vectors")

_LISTS = (".csv", ".tsv", ".txt")


class Vectors(NamedTuple):
    """Rows of numbers, and the files that they are of.

    Attributes
    ----------
    path : str
        Where they were read.
    rows : ndarray of shape (n_rows, n_features)
        Of numbers up to `MAX_VALUE`; may be memory-mapped.
    names : list of str or None
        A file for each row; None where nothing says, so that the order of the files does.
    """

    path: str
    rows: np.ndarray
    names: list[str] | None

    def row_of(self, listing: Listing) -> Mapping[str, int]:
        """Find the row of each file of a source, before any of them is decoded.

        Raises
        ------
        ValueError
            If a file that is named like an image has no row, or there is no telling which.
        """
        files = listing.files
        if self.names is not None:
            table = Table(os.path.abspath(self.path), self.names, {})
            found = match_rows([file.id for file in files], table, listing.root)
        elif listing.table is not None:
            self._check_number(len(listing.table.files), f"the table {listing.table.path}")
            found = dict(listing.row_of)
        else:
            return self._by_order(files)
        self.check_complete([file.id for file in files if _is_named_like_image(file)], found)
        return found

    def check_complete(self, ids: Iterable[str], row_of: Mapping[str, int]) -> None:
        """Raise if images are without a row."""
        ids = list(ids)
        missing = [id for id in ids if id not in row_of]
        if missing:
            named = ", ".join(map(repr, missing[:3]))
            raise ValueError(
                f"{self.path} has no row for {len(missing)} of {len(ids)} images, such as {named}; "
                "every image needs one: leave these out by a table of the others."
            )

    def _by_order(self, files: list[File]) -> dict[str, int]:
        """Take the rows in the order of the files, where there is one order only."""
        pictures = [file for file in files if _is_named_like_image(file)]
        chosen = pictures if len(pictures) == len(self.rows) else files
        self._check_number(len(chosen), "the source")
        ids = [file.id for file in chosen]
        plain = sorted(ids)
        if ids != plain:
            first, other = next(pair for pair in zip(ids, plain, strict=True) if pair[0] != pair[1])
            raise ValueError(
                f"{self.path} does not say which row is of which file, and the files can be "
                f"ordered in two ways ({first!r} or {other!r} first): put a list of them, in the "
                f"order of the rows, into {_list_beside(self.path)}."
            )
        return {id: row for row, id in enumerate(ids)}

    def _check_number(self, n_files: int, of: str) -> None:
        if n_files != len(self.rows):
            raise ValueError(
                f"{self.path} has {len(self.rows)} rows, but {of} has {n_files} files: one row "
                f"for each is needed, in their order; or a list of the files in "
                f"{_list_beside(self.path)}."
            )


def _is_named_like_image(file: File) -> bool:
    return os.path.splitext(file.path)[1].lower() in Image.registered_extensions()


def _list_beside(path: str) -> str:
    return str(Path(path).with_suffix(".txt"))


def read_vectors(path: Any, file_column: str | None = None) -> Vectors:
    """Read vectors, and the names of the files that they are of.

    Parameters
    ----------
    path : str or path-like
        A ``.npy`` file of an array of two axes, with, if wanted, a list of its files beside it:
        of the same name, ending in ``.txt`` (a path on each line) or ``.csv`` (a table with a
        column of files). Or a Parquet file with a column of files and one of lists of numbers.
    file_column : str, default=None
        Name of the column of files.

    Returns
    -------
    vectors : Vectors

    Raises
    ------
    ValueError
        If it holds anything else: other kinds of numbers, NaN, text, other columns.
    ImportError
        If pyarrow is missing for a Parquet file.
    OSError
        If it cannot be read.
    """
    path = os.fspath(path)
    check_source(path, "a file of vectors")
    with open(path, "rb") as file:
        beginning = file.read(8)
    if beginning.startswith(b"PAR1"):
        rows: np.ndarray
        names: list[str] | None
        rows, names = _read_parquet(path, file_column)
    elif beginning.startswith(b"\x93NUMPY"):
        rows, names = _read_npy(path), _read_list(path, file_column)
    else:
        raise ValueError(f"{path} is neither a .npy nor a Parquet file of vectors.")
    if names is not None and len(names) != len(rows):
        raise ValueError(f"{path} has {len(rows)} rows, but {len(names)} files are listed for it.")
    _check_finite(path, rows)
    return Vectors(path, rows, names)


def _check_finite(path: str, rows: np.ndarray) -> None:
    for start in range(0, len(rows), _CHUNK):
        fine = (np.abs(rows[start : start + _CHUNK]) <= MAX_VALUE).all(axis=1)
        if not fine.all():
            row = start + int(fine.argmin())
            raise ValueError(
                f"{path} has a value in row {row} (counted from 0) that is NaN, infinite or beyond "
                f"{MAX_VALUE:g}: every row needs finite numbers."
            )


def _read_npy(path: str) -> np.ndarray:
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, MemoryError, OverflowError, SyntaxError) as error:
        reason = "it holds Python objects" if "bject" in str(error) else str(error).rstrip(".")
        raise ValueError(f"{path} cannot be read as an array of numbers: {reason}.") from error
    if rows.dtype.kind not in "fiu":
        raise ValueError(f"{path} holds {rows.dtype}; numbers are needed.")
    if rows.ndim != 2 or not rows.size:
        raise ValueError(f"{path} has shape {rows.shape}; (n_files, n_features) is needed.")
    return rows


def _read_list(path: str, file_column: str | None) -> list[str] | None:
    """Return the names in the list beside a file of vectors, if there is one."""
    beside = [Path(path).with_suffix(ending) for ending in _LISTS]
    found = next((one for one in beside if one.is_file()), None)
    if found is None:
        return None
    wanted = FILE_COLUMNS if file_column is None else (plain_heading(file_column),)
    rows = read_cells(found, wanted)
    heading = [plain_heading(cell) for cell in rows[0]] if rows else []
    column = next((i for i, name in enumerate(heading) if name in wanted), None)
    if column is not None:
        return [row[column] if column < len(row) else "" for row in rows[1:]]
    if any(len(row) > 1 for row in rows):
        raise ValueError(
            f"{found} has no column of files: looked for {', '.join(wanted)}, found {rows[0][:20]}."
        )
    return [row[0] for row in rows]


def _read_parquet(path: str, file_column: str | None) -> tuple[np.ndarray, list[str]]:
    pyarrow, parquet = import_parquet()
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            files, vectors = _columns_of(path, schema, pyarrow.types, file_column)
            _check_size(path, file.metadata, vectors)
            names: list[str] = []
            chunks: list[np.ndarray] = []
            for batch in file.iter_batches(_CHUNK, columns=[files, vectors]):
                names += [name or "" for name in batch.column(files).to_pylist()]
                chunks.append(_as_array(path, batch.column(vectors), len(names) - len(batch)))
    except pyarrow.ArrowException as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}".splitlines()[0]) from error
    widths = {chunk.shape[1] for chunk in chunks}
    if len(widths) != 1 or not names:
        raise ValueError(
            f"{path} has vectors of {sorted(widths)[:5]} numbers; one length is needed."
        )
    return np.concatenate(chunks), names


def import_parquet() -> tuple[Any, Any]:
    """Return pyarrow, and its module for Parquet files.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "Parquet files need pyarrow: pip install 'skdcec[parquet]', or use .npy and .csv."
        ) from error
    return pyarrow, pyarrow.parquet


def _columns_of(path: str, schema: Any, types: Any, file_column: str | None) -> tuple[str, str]:
    """Return the names of the columns of files and of vectors."""
    wanted = FILE_COLUMNS if file_column is None else (plain_heading(file_column),)
    texts = [f.name for f in schema if types.is_string(f.type) or types.is_large_string(f.type)]
    files = next((name for name in texts if plain_heading(name) in wanted), None)
    if files is None:
        raise ValueError(
            f"{path} has no column of files: looked for text in {', '.join(wanted)}, found "
            f"{schema.names[:20]}. Name the column by file_column."
        )
    lists = [field.name for field in schema if _is_list_of_numbers(field.type, types)]
    named = [name for name in lists if plain_heading(name) in _VECTOR_COLUMNS]
    if len(named) != 1 and len(lists) != 1:
        raise ValueError(
            f"{path} needs one column of lists of numbers, such as one named embedding; found "
            f"{lists or 'none'} among {schema.names[:20]}."
        )
    return files, (named if len(named) == 1 else lists)[0]


def _check_size(path: str, metadata: Any, vectors: str) -> None:
    """Refuse before it is read what would not fit, or has rows of no sensible length."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    parts = [group.column(i) for group in groups for i in range(group.num_columns)]
    n_values = [part.num_values for part in parts if part.path_in_schema.split(".")[0] == vectors]
    if sum(n_values) > max(1, metadata.num_rows) * MAX_WIDTH or 4 * sum(n_values) > MAX_BYTES:
        raise ValueError(
            f"{path} holds {sum(n_values)} numbers in {metadata.num_rows} rows; at most "
            f"{MAX_WIDTH} in a row, and {MAX_BYTES >> 30} GiB in all, are taken."
        )


def _is_list_of_numbers(kind: Any, types: Any) -> bool:
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return is_list and (types.is_floating(kind.value_type) or types.is_integer(kind.value_type))


def _as_array(path: str, column: Any, first: int) -> np.ndarray:
    """Return a column of lists as an array of two axes."""
    lengths = {None if value is None else len(value) for value in column}
    values = column.flatten()
    if len(lengths) != 1 or None in lengths or values.null_count or not len(values):
        raise ValueError(
            f"{path} has vectors of different lengths, or with missing values, in rows {first} to "
            f"{first + len(column) - 1} (counted from 0)."
        )
    array = np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float32)
    return array.reshape(len(column), -1)
