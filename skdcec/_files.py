"""What is written is written whole: atomic files, JSON and tables; and by which versions."""

import codecs
import errno
import hashlib
import importlib.metadata
import itertools
import json
import math
import os
import platform
import re
import sys
import uuid
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from skdcec._callers import caller_level

Table = dict[str, list[Any]]


# Whole files


@contextmanager
def replacing(path: str | os.PathLike[str], *, mark: str = "") -> Iterator[Path]:
    """Yield a file beside `path` that takes its place when all went well.

    A reader never sees a half-written file, and a failed writer leaves the old one. What a killed
    writer leaves can be told by its `mark`.
    """
    path = Path(path)
    # Its name is no longer than a system allows, whatever the other one is.
    partial = path.with_name(f".{mark}{uuid.uuid4().hex}.partial")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise told_of(path, error, partial) from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def told_of(path: Path, error: OSError, hidden: Path) -> OSError:
    """Return the same error about `path` where it names what is `hidden` from users."""
    if error.errno is None:
        return error
    shown = [str(error.strerror).replace(str(hidden), str(path))]
    if isinstance(error.filename, str | bytes):
        shown.append(os.fsdecode(error.filename).replace(str(hidden), str(path)))
    return OSError(error.errno, *shown)


_REASONS = {
    errno.EACCES: "you may not write there",
    errno.EPERM: "you may not write there",
    errno.EROFS: "it is on a disk that is read-only",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk is full",
    errno.ENOTDIR: "there is a file where a folder is needed",
    errno.EEXIST: "there is a file where a folder is needed",
}


def why_not_written(error: OSError) -> str:
    """Say in plain words why something could not be written."""
    return _REASONS.get(error.errno or 0) or (error.strerror or str(error) or type(error).__name__)


def write_bytes(path: str | os.PathLike[str], parts: Iterable[bytes], *, mark: str = "") -> int:
    """Write a file as a whole, or not at all, and return its size; see `replacing` for `mark`.

    Raises
    ------
    OSError
        If it cannot be written; it says that nothing was.
    """
    try:
        with replacing(path, mark=mark) as partial, open(partial, "wb") as file:
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
    TypeError
        If it is no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path is a {type(path).__name__}: give the path of the file to write.")
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory; path must name a file.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder of {path} does not exist.")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"No permission to write into the folder of {path}.")
    return path


def check_source(path: str | os.PathLike[str], kind: str = "a file") -> None:
    """Say of a folder, or of what does not exist, that `kind` is needed.

    Raises
    ------
    OSError
        If `path` is either.
    """
    if os.path.isdir(path):
        raise IsADirectoryError(f"{os.fspath(path)!r} is a folder; {kind} is needed.")
    if not os.path.exists(path):
        raise FileNotFoundError(f"{os.fspath(path)!r} does not exist; {kind} is needed.")


def identity(path: str | os.PathLike[str]) -> tuple[int, int | str]:
    """Return what tells a file or folder from all others, by whatever name it is reached.

    Raises
    ------
    OSError
        If it cannot be reached.
    """
    status = os.stat(path)
    # Network shares may have no numbers to tell, so that all would be one.
    return status.st_dev, status.st_ino or os.path.normcase(os.path.realpath(path))


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
    """Return a table as CSV text, in which no cell is a formula, whatever it is split on."""
    return "".join(_csv_parts(table, line_end))


def _csv_parts(table: Mapping[str, Sequence[Any]], line_end: str) -> Iterator[str]:
    rows = itertools.chain([list(table)], zip(*table.values(), strict=True))
    while part := list(itertools.islice(rows, 10_000)):
        yield "".join(_as_line(row) + line_end for row in part)


def write_table(path: str | os.PathLike[str], table: Table) -> None:
    r"""Write a table as CSV (UTF-8 with a byte order mark, so that Excel reads it).

    Spreadsheets run cells that begin with ``=``, ``+``, ``-`` or ``@`` as formulas, and what a
    cell is depends on whether they split lines on commas, semicolons, tabs or bars. Wherever a
    text of that kind begins, it gets an apostrophe in front (plain numbers do not), which
    :func:`read_table` and :func:`skdcec.datasets.load_images` take away again. Names that are
    not valid Unicode have their stray bytes written as ``\udcXX``.

    Parameters
    ----------
    path : str or path-like
        The file, which is replaced as a whole.
    table : dict of str to list
        Columns of equal length.

    Raises
    ------
    OSError
        If the file cannot be written.

    See Also
    --------
    read_table : Reads it.
    export_table : The table of a run for other tools.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from skdcec.report import write_table
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "table.csv")
    ...     write_table(path, {"file": ["=1.png", "b.png"], "cluster": [0, 1]})
    ...     print(path.read_text(encoding="utf-8-sig"))
    file,cluster
    '=1.png,0
    b.png,1
    <BLANKLINE>
    """
    path = check_target(path)
    parts = (part.encode() for part in _csv_parts(table, "\r\n"))
    write_bytes(path, itertools.chain([b"\xef\xbb\xbf"], parts))


def read_table(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Read what :func:`write_table` wrote, or a spreadsheet saved as text; all values as text.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    table : dict of str to list of str
        Columns of equal names are told apart by numbers.

    Raises
    ------
    ValueError
        If the file is not a table in text.
    OSError
        If it cannot be read.

    See Also
    --------
    write_table : Writes it.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from skdcec.report import read_table, write_table
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "table.csv")
    ...     write_table(path, {"file": ["=1.png", "b.png"], "cluster": [0, 1]})
    ...     read_table(path)
    {'file': ['=1.png', 'b.png'], 'cluster': ['0', '1']}
    """
    header, *rows = read_cells(path) or [[]]
    for row in rows:
        if len(row) != len(header):
            raise ValueError(
                f"{os.fspath(path)} is not a table: its rows differ in length ({len(header)} "
                f"headings, but {len(row)} cells in the row that begins with {row[0][:50]!r})."
            )
    if not header:
        raise ValueError(f"{os.fspath(path)} is not a table: it is empty.")
    return {name: [row[i] for row in rows] for i, name in enumerate(distinct(header))}


def read_cells(path: str | os.PathLike[str], headings: Collection[str] = ()) -> list[list[str]]:
    """Read the rows of a table that anyone may have written, headings first.

    Encoding and separator are found; a separator that gives one of the `headings` is preferred.
    Lines that are empty but for separators are left out.

    Raises
    ------
    ValueError
        If the file is a workbook or another kind of file, or a quotation mark is not closed.
    OSError
        If it cannot be read.
    """
    check_source(path)
    text = _decode(Path(path).read_bytes(), path)
    stated = _SEPARATOR_LINE.match(text)
    separator = stated["mark"] if stated else _separator(text, headings)
    start = stated.end() if stated else 0
    return [
        [_from_cell(cell) for cell in record.cells]
        for record in _records(text, separator, start, path)
    ]


def distinct(names: Iterable[str]) -> list[str]:
    """Return names of which none is like another: "a", "a" become "a", "a_2"."""
    names = list(names)
    taken, used = set(names), set()
    last: dict[str, int] = {}
    found = []
    for name in names:
        unique = name
        while unique in used or (unique != name and unique in taken):
            last[name] = last.get(name, 1) + 1
            unique = f"{name}_{last[name]}"
        used.add(unique)
        found.append(unique)
    return found


def as_number(text: str) -> float | None:
    """Return the finite number that a text says, or None."""
    if not re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", text, re.ASCII):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


# From values to lines, and back

# What spreadsheets may split on, what they or their users may pass over, and what they run.
_SPLITS = r",;|\t\r\n\v\f\x85\u2028\u2029"
_PASSED = r"[ '\"\xa0\u2000-\u200b\u3000\ufeff]*+"
_RUN = r"[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]"
_MAY_RUN = re.compile(_RUN)
_UNGUARDED = re.compile(rf"(?<![^{_SPLITS}])(?={_PASSED}{_RUN})")
_GUARDED = re.compile(rf"(?<![^{_SPLITS}])'(?={_PASSED}{_RUN})")
_QUOTED = re.compile(rf"[\"{_SPLITS}]|\Asep=", re.IGNORECASE)
_SURROGATE = re.compile(r"(?<!\\)(\\*+)([\ud800-\udfff]|(?<=\\)ud[89a-f][0-9a-f]{2})")
_ESCAPED = re.compile(r"(?<!\\)(\\++)(ud[89a-f][0-9a-f]{2})")


def _as_line(row: Sequence[Any]) -> str:
    texts = ["" if value is None else str(value) for value in row]
    numbers = [not text or as_number(text) is not None for text in texts]
    # Split on another mark, the line may be one cell, begun by its first number.
    numbers[:1] = [all(numbers)] * len(texts[:1])
    cells = [
        text if number else _to_cell(text) for text, number in zip(texts, numbers, strict=True)
    ]
    # What looks like an empty line would be passed over, unless it is quoted.
    is_blank = not "".join(cells).strip()
    return ",".join(
        '"' + cell.replace('"', '""') + '"' if is_blank or _QUOTED.search(cell) else cell
        for cell in cells
    )


def _to_cell(text: str) -> str:
    if "\\ud" in text or not text.isprintable():
        text = _SURROGATE.sub(_escape, text)
    return _UNGUARDED.sub("'", text) if _MAY_RUN.search(text) else text


def _from_cell(cell: str) -> str:
    if "'" in cell:
        cell = _GUARDED.sub("", cell)
    return _ESCAPED.sub(_unescape, cell) if "\\ud" in cell else cell


def _escape(match: re.Match[str]) -> str:
    slashes, what = match.groups()
    return 2 * slashes + (what if len(what) > 1 else f"\\u{ord(what):04x}")


def _unescape(match: re.Match[str]) -> str:
    slashes, code = match.groups()
    n, is_surrogate = divmod(len(slashes), 2)
    return "\\" * n + (chr(int(code[1:], 16)) if is_surrogate else code)


# From bytes to records

_BLANK_LINES = re.compile(r"(?:[,;\t| ]*+(?:\r\n|\r|\n))*+")
_SEPARATOR_LINE = re.compile(rf"{_BLANK_LINES.pattern}sep=(?P<mark>[^\"\r\n])(?:\r\n|\r|\n)", re.I)

# Beginnings of files that people take for tables.
_OTHER_KINDS = {
    b"PK\x03\x04": "a ZIP archive",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an Excel workbook of before 2007",
    b"PAR1\x15": "a Parquet file",
    b"SQLite format 3": "a database",
    b"\x1f\x8b": "a compressed file",
    b"%PDF-": "a PDF document",
    b"{\\rtf": "a text document",
    b"<?xml": "an XML document",
    b"<html": "a web page",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
}
_WORKBOOKS = {
    b"xl/": "an Excel workbook",
    b"opendocument.spreadsheet": "an OpenDocument spreadsheet",
    b".iwa": "a Numbers spreadsheet",
}


def other_kind(data: bytes) -> str | None:
    """Return what a file is that people take for a table in text, or None if it may be one."""
    kind = next((kind for mark, kind in _OTHER_KINDS.items() if data.startswith(mark)), None)
    if kind == "a ZIP archive":
        return next((kind for mark, kind in _WORKBOOKS.items() if mark in data), kind)
    return kind


def _decode(data: bytes, path: str | os.PathLike[str]) -> str:
    kind = other_kind(data)
    if kind is not None:
        raise ValueError(
            f"{os.fspath(path)!r} is {kind}; a table in text is needed: save it as CSV (UTF-8)."
        )
    marks = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}
    marks |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
    encoding = next((name for mark, name in marks.items() if data.startswith(mark)), "utf-8")
    if encoding == "utf-8" and len(data) > 1 and (data[0] == 0) != (data[1] == 0):
        encoding = "utf-16-be" if data[0] == 0 else "utf-16-le"
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise ValueError(
                f"{os.fspath(path)!r} cannot be read as a table: it begins as {encoding.upper()}, "
                f"but is damaged ({error.reason} at byte {error.start})."
            ) from error
        warnings.warn(
            f"{os.fspath(path)!r} is not UTF-8 and is read as Windows-1252; check names with "
            "accents.",
            UserWarning,
            stacklevel=caller_level(),
        )
        return data.decode("cp1252", errors="replace")


class _Record(NamedTuple):
    """A line of a table, or several where a quoted cell has line breaks."""

    cells: list[str]
    # The first quotation mark that is not closed where it should be.
    open_mark: int | None
    # Whether it has quotation marks where this separator leaves no reason for them.
    is_odd: bool


def _separator(text: str, headings: Collection[str]) -> str | None:
    """Return what splits the headings, or None if nothing does."""

    def rank(mark: str) -> tuple[bool, bool, int]:
        first = next(_split(text, mark, 0), _Record([], None, False))
        known = {plain_heading(_from_cell(cell)) for cell in first.cells}
        return not first.is_odd, not known.isdisjoint(headings), len(first.cells)

    ranks = {mark: rank(mark) for mark in ",;\t|"}
    best = max(ranks, key=lambda mark: ranks[mark])
    return best if ranks[best][2] > 1 else None


def plain_heading(name: str) -> str:
    """Return a heading as it is compared: without line breaks and capitals."""
    return "_".join(name.replace("\ufeff", "").casefold().split())


def _records(
    text: str, separator: str | None, start: int, path: str | os.PathLike[str]
) -> Iterator[_Record]:
    for record in _split(text, separator, start):
        if record.open_mark is not None:
            line = 1 + len(re.findall(r"\r\n|\r|\n", text[: record.open_mark]))
            begins = text[record.open_mark : record.open_mark + 40].splitlines()[0]
            raise ValueError(
                f"{os.fspath(path)!r} cannot be read as a table: the quotation mark of {begins} "
                f"in row {line} (line {line} of the file) is not closed where its cell ends."
            )
        yield record


def _split(text: str, separator: str | None, start: int) -> Iterator[_Record]:
    """Split text into records; the csv module has a limit on cells that holds for all threads."""
    mark = re.escape(separator or "")
    cell = re.compile(
        rf'(?:"(?P<quoted>(?:[^"]++|"")*+)(?P<close>"?))?(?P<plain>[^{mark}\r\n]*+)'
        + (rf"(?P<next>{mark})?" if separator else "(?P<next>(?!))?")
        + r"(?(next)|(?:\r\n|\r|\n|\Z))"
    )
    blank = f" \t\r\n{separator or ''}"
    found = _BLANK_LINES.match(text, start)
    assert found is not None
    begin = position = found.end()
    cells: list[str] = []
    open_mark, is_odd = None, False
    while position < len(text) or cells:
        match = cell.match(text, position)
        assert match is not None
        quoted, plain = match["quoted"], match["plain"]
        if quoted is None:
            is_odd |= '"' in plain
            cells.append(plain)
        else:
            is_odd |= bool(plain.strip()) or not match["close"]
            spans = "\n" in quoted or "\r" in quoted
            if open_mark is None and (not match["close"] or (spans and plain.strip())):
                open_mark = position
            cells.append(quoted.replace('""', '"') + plain)
        position = match.end()
        if match["next"] is None:
            if text[begin:position].strip(blank):
                yield _Record(cells, open_mark, is_odd)
            cells, open_mark, is_odd, begin = [], None, False, position


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
