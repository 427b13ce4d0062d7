"""Which pictures does the page hold? Small ones of all images, in as many bytes as it may have."""

import io
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from PIL import Image, ImageOps

from skdcec._analysis.images import to_pixels, value_range
from skdcec._callers import caller_level
from skdcec._maps import MappedRows
from skdcec.datasets.decode import (
    MAX_PIXELS,
    Picture,
    UnusableImage,
    opened_picture,
    shrink,
    to_rgb,
)
from skdcec.report.checks import are_paths

Progress = Callable[[str, int, int], None]

CELL = 32
CELLS_PER_SIDE = 64  # 2048 pixels: every browser decodes sheets of this size
SIZES = (256, 192, 160, 128, 112, 96, 80, 64, 56, 48)
# Of the same number of bytes, more go into pixels than into quality: paintings of 128 pixels at 60
# have 32.3 dB in 2.7 kB, of 112 pixels at 80 32.1 dB in 3.0 kB.
QUALITY = 60
WEBP_METHOD = 5  # 6 takes twice the time for 4 % fewer bytes
SAMPLE = 200
_PART = 4096
GRAY = (128, 128, 128)


class Thumbnails(NamedTuple):
    """Single thumbnails, and the longest side they have."""

    size: int
    singles: list[bytes]  # WebP files, empty where an image has its cell of the map only


class Pictures:
    """The images as small pictures, whether they are pixels or files.

    Parameters
    ----------
    images : array of shape (n, H, W) or (n, H, W, C), or list of n paths
    max_pixels : int, default=178956970
        Files with more pixels are not read.
    n_jobs : int, default=None
        Threads.
    progress : callable, default=None
        Called as ``progress(stage, done, total)``.
    """

    def __init__(
        self,
        images: Any,
        *,
        max_pixels: int = MAX_PIXELS,
        n_jobs: int | None = None,
        progress: Progress | None = None,
    ):
        self.n = len(images)
        self.images = images
        self.max_pixels = max_pixels
        self.n_jobs = n_jobs
        self.progress = progress
        self.largest = 8
        self.undrawn: dict[int, str] = {}
        self._mapped: MappedRows | None = None
        self.from_files = are_paths(images)
        if self.from_files:
            return
        self.images = images = images if hasattr(images, "ndim") else np.asarray(images)
        if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3, 4)):
            raise ValueError(
                f"images has shape {images.shape}; (n, H, W), (n, H, W, C) with C of 1, 3 or 4, or "
                "a list of paths is needed."
            )
        self.range = value_range(images)
        self._mapped = MappedRows(images) if isinstance(images, np.ndarray) else None

    def squares(self, side: int, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the centre square of every image.

        Notes the longest side of all, and why images cannot be drawn: these are gray.

        Parameters
        ----------
        side : int
        rows : ndarray of int, default=None
            Which images; None is all.

        Returns
        -------
        pixels : ndarray of shape (n_rows, side, side, 3), dtype uint8
        """
        chosen = range(self.n) if rows is None else rows.tolist()
        squares = np.empty((len(chosen), side, side, 3), dtype=np.uint8)
        start = 0
        for part in self.squares_in_parts(side, chosen):
            squares[start : start + len(part)] = part
            start += len(part)
        return squares

    def squares_in_parts(self, side: int, chosen: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield what `squares` returns, of some thousand images at a time."""
        squares: list[Any] = []
        found = self._each("reading", chosen, lambda i: self._square(i, side))
        for done, (i, one) in enumerate(found, start=1):
            if isinstance(one, str):
                self.undrawn[i] = one
                squares.append(np.full((side, side, 3), GRAY, dtype=np.uint8))
            else:
                square, longest = one
                squares.append(square)
                self.largest = max(self.largest, longest)
            if len(squares) == _PART or done == len(chosen):
                yield np.stack(squares)
                squares = []

    def thumbnails(
        self, rows: np.ndarray, flagged: np.ndarray, budget: int, rng: Any
    ) -> Thumbnails:
        """Encode the largest thumbnails that fit.

        Parameters
        ----------
        rows : ndarray of int
            The images on the page.
        flagged : ndarray of int
            The places among them of those that have a thumbnail where not all can have one.
        budget : int
            How many bytes all of them may have.
        rng : RandomState

        Returns
        -------
        thumbnails : Thumbnails
        """
        n = len(rows)
        sizes = sorted({min(size, self.largest) for size in SIZES}, reverse=True)
        for chosen in (np.arange(n), flagged):
            if not len(chosen):
                continue
            sample = rows[rng.permutation(chosen)[:SAMPLE]].tolist()
            for size in sizes:
                lengths = [_encoded_length(data) for data in self._encoded(None, sample, size)]
                margin = 3 * np.std(lengths) / math.sqrt(len(lengths)) if len(lengths) > 1 else 0
                if (np.mean(lengths) + margin) * len(chosen) + n - len(chosen) > budget:
                    continue
                singles = [b""] * n
                encoded = self._encoded("encoding", rows[chosen].tolist(), size)
                for i, data in zip(chosen.tolist(), encoded, strict=True):
                    singles[i] = data
                if sum(map(_encoded_length, singles)) <= budget:
                    return Thumbnails(size, singles)
        return Thumbnails(0, [b""] * n)

    def report(self, stage: str, done: int, total: int) -> None:
        """Tell whoever shows progress how far a stage is."""
        if self.progress:
            self.progress(stage, done, total)

    def warn(self) -> None:
        """Say which images are gray, and why.

        Best after the page is written, which pictures shall not prevent.
        """
        if not self.undrawn:
            return
        first = [f"{os.fsdecode(self.images[i])!r} ({self.undrawn[i]})" for i in self.undrawn][:5]
        more = f" and {len(self.undrawn) - len(first)} more" if len(self.undrawn) > 5 else ""
        warnings.warn(
            f"{len(self.undrawn)} of {self.n} images cannot be drawn and are shown as gray tiles: "
            f"{', '.join(first)}{more}.",
            stacklevel=caller_level(),
        )

    def _each(
        self, stage: str | None, indices: Sequence[int], work: Callable[[int], Any]
    ) -> Iterator[tuple[int, Any]]:
        """Yield (i, work(i)) in order; in threads, since Pillow releases the GIL."""
        results = Parallel(
            n_jobs=self.n_jobs, prefer="threads", batch_size=32, return_as="generator"
        )(delayed(work)(i) for i in indices)
        for done, (i, result) in enumerate(zip(indices, results, strict=True), start=1):
            if stage and (done % 64 == 0 or done == len(indices)):
                self.report(stage, done, len(indices))
            if self._mapped is not None:
                self._mapped.looked_at(np.array([i]), 1)
            yield i, result

    def _encoded(self, stage: str | None, indices: Sequence[int], size: int) -> Iterator[bytes]:
        return (data for _, data in self._each(stage, indices, lambda i: self._single(i, size)))

    def _square(self, i: int, side: int) -> tuple[np.ndarray, int] | str:
        try:
            with self._opened(i, side) as (picture, size):
                square = ImageOps.fit(picture, (side, side), Image.Resampling.BOX)
                return np.asarray(square.convert("RGB")), max(size)
        except UnusableImage as reason:
            return str(reason)

    def _single(self, i: int, size: int) -> bytes:
        try:
            with self._opened(i, size) as (picture, _):
                small = shrink(picture, size)
                # Before its memory is lent to another.
                del picture
        except UnusableImage:
            small = Image.new("RGB", (8, 8), GRAY)
        return encode_webp(small)

    def _opened(self, i: int, side: int) -> AbstractContextManager[Picture]:
        """Return what lends a picture, with the size of the original."""
        if self.from_files:
            return opened_picture(self.images[i], side=side, max_pixels=self.max_pixels)
        pixels = np.asarray(self.images[i])
        picture = Image.fromarray(to_pixels(np.atleast_3d(pixels), *self.range))
        return nullcontext(Picture(to_rgb(picture), picture.size))


def encode_webp(picture: Image.Image) -> bytes:
    """Return a picture as a WebP file."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "WEBP", quality=QUALITY, method=WEBP_METHOD)
    return buffer.getvalue()


def _encoded_length(data: bytes) -> int:
    return 4 * math.ceil(len(data) / 3) + 1


def encode_sheets(cells: np.ndarray) -> list[bytes]:
    """Put 64 by 64 cells into each sheet, row by row: image i is cell i % 4096 of its sheet."""
    sheets = []
    per_sheet = CELLS_PER_SIDE**2
    for start in range(0, len(cells), per_sheet):
        part = cells[start : start + per_sheet]
        n_rows = math.ceil(len(part) / CELLS_PER_SIDE)
        grid = np.zeros((n_rows * CELLS_PER_SIDE, CELL, CELL, 3), dtype=np.uint8)
        grid[: len(part)] = part
        grid = grid.reshape(n_rows, CELLS_PER_SIDE, CELL, CELL, 3).swapaxes(1, 2)
        sheet = Image.fromarray(grid.reshape(n_rows * CELL, CELLS_PER_SIDE * CELL, 3))
        sheets.append(encode_webp(sheet))
    return sheets
