"""What the command prints: messages, bars, results as tables or JSON, durations.

Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from skdcec._files import Table, as_rows, table_as_csv, write_table

# Messages


def say(text: str) -> None:
    """Print one line of what the user should know, bars or not."""
    _flush()
    _print(text)


def note(text: str, *, quiet: bool) -> None:
    """Say what is going on, unless `quiet`."""
    _flush()
    if not quiet:
        from tqdm import tqdm

        tqdm.write(text, file=sys.stderr)


def _print(text: str) -> None:
    from tqdm import tqdm

    tqdm.write(f"skdcec: {text}", file=sys.stderr)


# What differs between messages of one kind: names in quotes, paths and numbers.
_PARTICULARS = re.compile(r"""'[^']*'|"[^"]*"|\S*[/\\]\S*|\d+(?:[.,]\d+)*""")
# Messages that wait, by kind: the first, and how often there was one.
_waiting: dict[str, tuple[str, int]] = {}
_told: set[str] = set()


@contextlib.contextmanager
def warnings_as_messages() -> Iterator[None]:
    """Show warnings that concern users as one line for each kind, the others not at all.

    They wait until the next message, so that equal ones can be counted; what has been told is
    not told again.
    """

    def collect(message: Warning | str, *args: Any, **kwargs: Any) -> None:
        text = in_options(str(message))
        kind = _PARTICULARS.sub("#", text)
        first, count = _waiting.get(kind, (text, 0))
        _waiting[kind] = first, count + 1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        # What is skipped is told in our own words.
        warnings.filterwarnings("ignore", r"\d+ file\(s\) cannot be used")
        warnings.showwarning = collect
        try:
            yield
        finally:
            _flush()
            _told.clear()


def was_told(part: str) -> bool:
    """Whether there was a warning with this text in it since the command began."""
    return any(part in kind for kind in (*_told, *_waiting))


def _flush() -> None:
    """Tell what has been waiting."""
    waiting = dict(_waiting)
    _waiting.clear()
    for kind, (first, count) in waiting.items():
        if kind not in _told:
            _told.add(kind)
            _print(first if count == 1 else f"{first} ({count} such warnings)")


# What is a parameter in Python is an option here, or nothing that the user has.
_IN_PYTHON = (
    (re.compile(r"(?<!['\"/\\])\b(?:source|memory)=(?:\w+Path\(('[^']*'|\"[^\"]*\")\))?"), r"\1"),
    (re.compile(r"(?<!['\"/\\])\bmodel="), "--encoder "),
    (re.compile(r"\bn_clusters="), "k="),
    (re.compile(r"\bfile_column="), "--file-column "),
    (re.compile(r"\bby file_column\b"), "by --file-column"),
    (re.compile(r"\bmax_pixels="), "--max-pixels "),
    (re.compile(r"(?<!['\"/\\])\b(device|metadata|sample|size|weights)="), r"--\1 "),
    (
        re.compile(r"lower the learning rate \(lr=[^)]*\), or look for extreme values in X"),
        "look for images of extreme values, or use another --seed",
    ),
    (
        re.compile(r", pass the path of a file with its state dict as weights"),
        ", pass the path of a file with its state dict by --weights",
    ),
    (re.compile(r" ?`skipped` lists them\."), ""),
    (re.compile(r"^texts holds"), "--text holds"),
    (
        re.compile(r" is neither a folder, nor a file, nor .*\]; looked in ('.*')\.$"),
        r" is not in \1. A folder that is dragged into the terminal types its whole path.",
    ),
    (
        re.compile(r" is neither a folder, nor a file, nor .*\](; is .* meant\?)$"),
        r" is not there\1",
    ),
)


def in_options(text: str) -> str:
    """Return a message of the library in the words of the command's users."""
    for pattern, words in _IN_PYTHON:
        text = pattern.sub(words, text)
    return text


def describe(error: Exception) -> str:
    """Return an error as one line."""
    if isinstance(error, OSError) and error.strerror:
        file = f"{printable(os.fsdecode(error.filename))}: " if error.filename else ""
        return file + error.strerror
    return in_options(str(error))


def printable(text: str) -> str:
    """Return text that cannot move the cursor, colour the terminal or break the line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


# Time


def duration(seconds: float) -> str:
    """Return a duration in the unit that suits it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def counted(n_clusters: int) -> str:
    """Return a number of clusters in words."""
    return "1 cluster" if n_clusters == 1 else f"{n_clusters} clusters"


def until(seconds: float, slowdown: float = 1.0) -> str:
    """Return how long something will take and, if one may leave, when it will be over."""
    busy = " while this computer is as busy as now" if slowdown > 1 else ""
    if seconds < 60:
        return f"about {duration(seconds)}{busy}"
    end = datetime.datetime.now() + datetime.timedelta(seconds=seconds)
    return f"about {duration(seconds)} (until {end:%H:%M}){busy}"


class Clock:
    """Keeps the seconds that each stage took."""

    def __init__(self) -> None:
        self.start = self.last = time.monotonic()
        self.laps: dict[str, float] = {}

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start

    @property
    def rounded(self) -> dict[str, float]:
        """The stages, to a tenth of a second."""
        return {name: round(value, 1) for name, value in self.laps.items()}

    def lap(self, name: str) -> None:
        """End a stage."""
        now = time.monotonic()
        self.laps[name], self.last = now - self.last, now


# Results


def open_page(page: Path) -> None:
    """Show a page in the browser, or say that there is none."""
    import webbrowser

    if not webbrowser.open(page.absolute().as_uri()):
        say(f"No browser could be started; open {printable(str(page.absolute()))} in one.")


def is_terminal() -> bool:
    """Whether somebody reads what is printed, and no other program."""
    return sys.stdout.isatty()


def print_json(value: Any) -> None:
    """Print a result for other programs."""
    print(json.dumps(value, indent=1, allow_nan=False))


def write_results(table: Table, target: Path | None, *, as_json: bool) -> None:
    """Write a table to a file, or to stdout."""
    if target is not None:
        write_table(target, table)
    if as_json:
        print_json(as_rows(table))
    elif target is not None:
        print(f"{len(next(iter(table.values())))} rows: {target}")
    else:
        sys.stdout.write(table_as_csv(table, line_end="\n"))


def result_file(path: Any, suffixes: Sequence[str], *, force: bool) -> Path | None:
    """Check a file to be written before the work that leads to it is done."""
    if path is None:
        return None
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{path} should end in {' or '.join(suffixes)}.")
    if path.exists() and not force:
        raise ValueError(f"{path} exists; --force replaces it.")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"The folder of {path} does not exist.")
    if not os.access(path.absolute().parent, os.W_OK):
        # Rather than when all is done.
        raise ValueError(f"Nothing can be written into the folder of {path}: name another file.")
    return path
