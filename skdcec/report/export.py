"""What do other tools need? All that is known of each image, in one table."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from skdcec._files import Table, as_number, check_target, distinct, replacing, write_table
from skdcec._sklearn_compat import check_array
from skdcec.datasets.vectors import import_parquet
from skdcec.report.checks import check_length

# What other tools call the columns of an image table.
_NAMES = {"file": "path", "confidence": "probability"}


def export_table(
    path: str | os.PathLike,
    table: Table,
    *,
    embedding: Any = None,
    cluster_names: Mapping[int, Any] | None = None,
) -> Path:
    """Write a table of images for other tools, such as embedding-atlas, DuckDB and pandas.

    Parameters
    ----------
    path : str or path-like
        The file: ``.parquet``, or ``.csv`` in UTF-8.
    table : dict of str to list
        What :func:`image_table` returns, or the ``table`` of a :class:`Report`.
    embedding : array-like of shape (n, d), default=None
        Vectors of the images.
    cluster_names : mapping of int to str or to {"name": str, "note": str}, default=None
        What :func:`read_names` returns, or plain names.

    Returns
    -------
    path : Path
        The file that was written, as a whole or not at all. A row per image: ``path``,
        ``cluster``, ``cluster_name`` (where there are names), ``probability`` of the cluster,
        ``second_cluster``, ``margin``, ``distance``, ``x`` and ``y`` on the map, ``flag``, the
        metadata, and ``embedding``: a list of d numbers, or in CSV the columns ``embedding_0``,
        ``embedding_1``, … Columns of metadata that hold numbers throughout are numbers in
        Parquet, unless they begin with zeros as codes do.

    Raises
    ------
    ValueError
        If `path` has another ending, or `embedding` another length or values that are not finite.
    ImportError
        If pyarrow is missing for a Parquet file.
    OSError
        If the file cannot be written.

    See Also
    --------
    image_table : The table.
    write_table : The same as CSV for spreadsheets.

    Examples
    --------
    >>> import tempfile
    >>> from skdcec.report import export_table, image_table, read_table
    >>> table = image_table([0, 1], paths=["a.jpg", "b.jpg"], distances=[[0.0, 1.0], [3.0, 1.0]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = export_table(f"{folder}/images.csv", table, embedding=[[0.5, 1], [0, 2]])
    ...     read_table(file)["embedding_1"]
    ['1', '2']
    """
    path = check_export(path)
    n = len(table["file"])
    rows = None
    if embedding is not None:
        rows = check_array(embedding, dtype=np.float32, input_name="embedding")
        check_length("embedding", rows, n)
    columns = _columns(table, cluster_names)
    if path.suffix.lower() == ".csv":
        if rows is not None:
            texts = [[f"{value:.7g}" for value in column] for column in rows.T.tolist()]
            columns += [(f"embedding_{i}", column) for i, column in enumerate(texts)]
        write_table(path, _named(columns))
        return path
    _write_parquet(path, columns, rows)
    return path


def check_export(path: str | os.PathLike) -> Path:
    """Say before the work has begun why a file cannot be exported."""
    path = Path(path)
    if path.suffix.lower() not in (".parquet", ".csv"):
        raise ValueError(f"{path} should end in .parquet or .csv.")
    if path.suffix.lower() == ".parquet":
        import_parquet()
    return check_target(path)


def _columns(table: Table, cluster_names: Mapping[int, Any] | None) -> list[tuple[str, list[Any]]]:
    columns = []
    for name, values in table.items():
        columns.append((_NAMES.get(name, name), values))
        if name == "cluster" and cluster_names:
            names = {
                cluster: entry.get("name", "") if isinstance(entry, Mapping) else entry
                for cluster, entry in cluster_names.items()
            }
            columns.append(("cluster_name", [names.get(cluster, "") for cluster in values]))
    return columns


def _named(columns: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return columns by names of which none is like another, as metadata may have any."""
    names = distinct(name for name, _ in columns)
    return {name: values for name, (_, values) in zip(names, columns, strict=True)}


def _write_parquet(
    path: Path, columns: list[tuple[str, list[Any]]], rows: np.ndarray | None
) -> None:
    pyarrow, parquet = import_parquet()
    arrays = [(_valid(name), pyarrow.array(_as_values(values))) for name, values in columns]
    if rows is not None:
        vectors = pyarrow.FixedSizeListArray.from_arrays(rows.reshape(-1), rows.shape[1])
        arrays.append(("embedding", vectors))
    with replacing(path) as partial:
        parquet.write_table(pyarrow.table(_named(arrays)), partial, compression="zstd")


def _as_values(values: list[Any]) -> list[Any]:
    """Return numbers where all texts are numbers, and "" as missing among them."""
    if not any(isinstance(value, str) for value in values):
        return values
    given = [value for value in values if value != ""]
    if given and all(_is_number(value) for value in given):
        numbers = [None if value == "" else as_number(value) for value in values]
        whole = all(number is None or number == int(number) < 2**53 for number in numbers)
        return [None if x is None else int(x) for x in numbers] if whole else numbers
    return [_valid(value) for value in values]


def _is_number(value: Any) -> bool:
    text = str(value).lstrip("+-")
    is_code = len(text) > 1 and text[0] == "0" and text[1].isdigit()
    return as_number(str(value)) is not None and not is_code


def _valid(text: Any) -> str:
    """Return text without the stray bytes of a name that is not Unicode, which are spelled out."""
    return str(text).encode("utf-8", "backslashreplace").decode()
