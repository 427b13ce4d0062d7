"""What is written is written whole: atomic files, JSON and tables; and by which versions."""

import csv
import hashlib
import importlib.metadata
import io
import json
import math
import os
import platform
import re
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Table = dict[str, list[Any]]

# Spreadsheets take cells that begin like this for formulas.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


# Whole files


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a file beside `path` that takes its place when all went well.

    A reader never sees a half-written file, and a failed writer leaves the old one.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        # The temporary name means nothing to anybody.
        if error.filename is not None and Path(os.fsdecode(error.filename)) == partial:
            error.filename = os.fspath(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], parts: Iterable[bytes]) -> int:
    """Write a file as a whole, or not at all, and return its size.

    Raises
    ------
    OSError
        If it cannot be written; it says that nothing was.
    """
    try:
        with replacing(path) as partial, open(partial, "wb") as file:
            for part in parts:
                file.write(part)
            return file.tell()
    except OSError as error:
        raise OSError(error.errno, f"{path} was not written: {error.strerror}") from error


def check_target(path: str | os.PathLike[str]) -> Path:
    """Return `path`, or say before the work has begun why nothing can be written there.

    Raises
    ------
    OSError
        If it is a directory, its folder does not exist, or may not be written to.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory; path must name a file.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder of {path} does not exist.")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"No permission to write into the folder of {path}.")
    return path


# JSON


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write a JSON file as a whole, or not at all."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, indent=1) + "\n", encoding="ascii")


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a JSON file that holds one object.

    Raises
    ------
    ValueError
        If it holds anything else.
    """
    return parse_json(Path(path).read_bytes(), path)


def parse_json(content: bytes, path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the one object that the content of a JSON file holds.

    Raises
    ------
    ValueError
        If it holds anything else; the file is named by its `path`.
    """
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except RecursionError as error:
        raise ValueError(f"{os.fspath(path)} is nested too deep.") from error
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)} is not valid JSON: {error}.") from error
    if not isinstance(value, dict):
        raise ValueError(f"{os.fspath(path)} is not of the form that skdcec writes.")
    return value


def write_sealed(path: str | os.PathLike[str], values: Mapping[str, Any]) -> None:
    """Write a JSON file of which :func:`read_sealed` sees that nothing in it was changed."""
    write_json(path, {**values, "seal": _seal(values)})


def read_sealed(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read back what :func:`write_sealed` wrote.

    Raises
    ------
    ValueError
        If the file holds anything else.
    """
    values = read_json(path)
    if values.pop("seal", None) != _seal(values):
        raise ValueError(f"{os.fspath(path)} is not as it was written.")
    return values


def _seal(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


# Tables


def as_table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """Return rows as a mapping of columns."""
    rows = list(rows)
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def as_rows(table: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return a mapping of columns as one mapping per row."""
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]


def table_as_csv(table: Mapping[str, Sequence[Any]], line_end: str = "\r\n") -> str:
    """Return a table as CSV text, in which no cell is a formula."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=line_end)
    writer.writerow([_guard_formula(key) for key in table])
    writer.writerows(
        [_guard_formula("" if value is None else value) for value in row]
        for row in zip(*table.values(), strict=True)
    )
    return text.getvalue()


def write_table(path: str | os.PathLike[str], table: Table) -> None:
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
    path = check_target(path)
    write_bytes(path, [b"\xef\xbb\xbf", table_as_csv(table).encode("utf-8", "backslashreplace")])


def read_table(path: str | os.PathLike[str]) -> dict[str, list[str]]:
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


def as_number(text: str) -> float | None:
    """Return the finite number that a text says, or None."""
    if not re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", text, re.ASCII):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def _guard_formula(value: Any) -> Any:
    if not isinstance(value, str) or not value.lstrip("'").startswith(_FORMULA):
        return value
    return value if as_number(value) is not None else "'" + value


def _unguard_formula(value: str) -> str:
    return value[1:] if value[:1] == "'" and value.lstrip("'").startswith(_FORMULA) else value


# Versions


def versions() -> dict[str, str]:
    """Return what a result depends on: the versions of Python and of the libraries in use."""
    found = {"python": platform.python_version()}
    names = ["skdcec", "numpy", "scipy", "scikit-learn", "pillow"]
    names += [name for name in ("torch", "skorch") if name in sys.modules]
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
