"""What the command prints: messages, bars, results, durations."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skdcec._files import as_rows

if TYPE_CHECKING:
    from skdcec import (
        DeepConvEmbeddingClustering,
        DeepEmbeddingClustering,
    )

    Model = DeepConvEmbeddingClustering | DeepEmbeddingClustering


def write_results(args: argparse.Namespace, table: dict[str, list], target: Path | None) -> None:
    """Write a table to a file, or to stdout."""
    from skdcec.report import write_table

    if target is not None:
        write_table(target, table)
    if args.json:
        print_json(as_rows(table))
    elif target is not None:
        print(f"{len(next(iter(table.values())))} rows: {target}")
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "table.csv")
            write_table(path, table)
            with open(path, encoding="utf-8-sig", newline="") as file:
                sys.stdout.write(file.read().replace("\r\n", "\n"))


def result_file(path: Any, force: bool, suffixes: Sequence[str]) -> Path | None:
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
    return path


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, allow_nan=False))


class Clock:
    """Keeps the seconds that each stage took."""

    def __init__(self) -> None:
        self.start = self.last = time.monotonic()
        self.laps: dict[str, float] = {}

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.start

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name], self.last = now - self.last, now


@contextlib.contextmanager
def bars(args: argparse.Namespace) -> Iterator[Callable[[str, int, int], None] | None]:
    """Yield what shows the stages of drawing the page, one bar for each."""
    from tqdm import tqdm

    if args.quiet:
        yield None
        return
    bars: list[tqdm] = []

    def progress(stage: str, done: int, total: int) -> None:
        if not bars or stage.capitalize() != bars[-1].desc or done < bars[-1].n:
            for bar in bars:
                bar.close()
            bars.append(tqdm(total=total, desc=stage.capitalize(), unit=" images"))
        bars[-1].update(done - bars[-1].n)

    try:
        yield progress
    finally:
        for bar in bars:
            bar.close()


@contextlib.contextmanager
def warnings_as_messages() -> Iterator[None]:
    """Show warnings that concern users as one line each, the others not at all."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        # What is skipped is told in our own words.
        warnings.filterwarnings("ignore", r"\d+ file\(s\) cannot be used")
        warnings.showwarning = lambda message, *args, **kwargs: say(str(message))
        yield


def say(text: str) -> None:
    from tqdm import tqdm

    tqdm.write(f"skdcec: {text}", file=sys.stderr)


def note(args: argparse.Namespace, text: str) -> None:
    """Say what is going on, unless --quiet."""
    if not args.quiet:
        print(text, file=sys.stderr)


def describe(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        file = f"{printable(os.fsdecode(error.filename))}: " if error.filename else ""
        return file + error.strerror
    return str(error)


def printable(text: str) -> str:
    """Return text that cannot move the cursor, colour the terminal or break the line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def title_of(source: str) -> str:
    return printable(os.path.basename(os.path.abspath(source)))
