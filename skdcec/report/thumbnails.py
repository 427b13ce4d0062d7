"""Which pictures does the page hold? Small ones of all images, in as many bytes as it may have."""

import io
import math
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from PIL import Image, ImageOps

from skdcec._encoders.images import natural_scale
from skdcec.datasets.decode import FORMATS, to_rgb

Progress = Callable[[str, int, int], None]

CELL = 32
CELLS_PER_SIDE = 64  # 2048 pixels: every browser decodes sheets of this size
SIZES = (256, 192, 160, 128, 112, 96, 80, 64, 56, 48)
QUALITIES = (50, 65, 80)
WEBP_METHOD = 5  # 6 takes twice the time for 4 % fewer bytes
SAMPLE = 200


class Thumbnails(NamedTuple):
    """Single thumbnails, and how they are encoded."""

    size: int
    quality: int
    singles: list[bytes]  # WebP files, empty where an image has its cell of the map only


class Pictures:
    """The images as PIL pictures, whether they are pixels or files."""

    def __init__(self, images: Any, n_jobs: int | None, progress: Progress | None):
        self.n = len(images)
        self.n_jobs = n_jobs
        self.progress = progress
        self.largest = 8
        self.images = images
        self.factor = None
        self.from_files = are_paths(images)
        if self.from_files:
            return
        if not hasattr(images, "ndim"):
            self.images = images = np.asarray(images)
        if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3, 4)):
            raise ValueError(
                f"images has shape {images.shape}; (n, H, W), (n, H, W, C) with C of 1, 3 or 4, or "
                "a list of paths is needed."
            )
        if images.dtype != np.uint8:
            self.factor = 255 / natural_scale(images)

    def cells(self) -> np.ndarray:
        """Return the centre square of every image at 32 pixels, and note the largest side."""
        cells = np.full((self.n, CELL, CELL, 3), 128, dtype=np.uint8)
        broken = []
        for i, found in self._each("reading", range(self.n), self._cell):
            if found is None:
                broken.append(str(self.images[i]))
            else:
                cells[i], side = found
                self.largest = max(self.largest, side)
        if broken:
            warnings.warn(
                f"{len(broken)} of {self.n} images cannot be read and are shown as gray tiles, "
                f"for example {broken[:3]}.",
                stacklevel=3,
            )
        return cells

    def thumbnails(self, flagged: np.ndarray, budget: int, rng: Any) -> Thumbnails:
        """Encode the largest thumbnails that fit, of all images or else of the flagged ones."""
        for chosen in (np.arange(self.n), flagged):
            for size, quality in self._settings(chosen, budget, rng):
                singles = [b""] * self.n
                for i, data in self._each(
                    "encoding",
                    chosen.tolist(),
                    lambda i: self._single(i, size, quality),  # noqa: B023
                ):
                    singles[i] = data
                if sum(_encoded_length(len(single)) for single in singles) <= budget:
                    return Thumbnails(size, quality, singles)
        return Thumbnails(0, 0, [b""] * self.n)

    def _settings(self, chosen: np.ndarray, budget: int, rng: Any):
        """Yield the settings expected to fit, the best first, judged by a random sample."""
        sample = rng.permutation(chosen)[:SAMPLE].tolist()
        sizes = sorted({min(size, self.largest) for size in SIZES}, reverse=True)
        for size in sizes:
            fitting = []
            for quality in QUALITIES:
                lengths = [
                    _encoded_length(len(data))
                    for _, data in self._each(
                        None,
                        sample,
                        lambda i: self._single(i, size, quality),  # noqa: B023
                    )
                ]
                margin = 3 * np.std(lengths) / math.sqrt(len(lengths)) if len(lengths) > 1 else 0
                if (np.mean(lengths) + margin) * len(chosen) + (self.n - len(chosen)) > budget:
                    break
                fitting.append((size, quality))
            yield from reversed(fitting)

    def _each(self, stage: str | None, indices: Sequence[int], work: Callable):
        """Yield (i, work(i)) in order; in threads, since Pillow releases the GIL."""
        results = Parallel(
            n_jobs=self.n_jobs, prefer="threads", batch_size=32, return_as="generator"
        )(delayed(work)(i) for i in indices)
        for done, (i, result) in enumerate(zip(indices, results, strict=True), start=1):
            if stage and (done % 64 == 0 or done == len(indices)):
                self.report(stage, done, len(indices))
            yield i, result

    def report(self, stage: str, done: int, total: int) -> None:
        """Tell whoever shows progress how far a stage is."""
        if self.progress:
            self.progress(stage, done, total)

    def _cell(self, i: int) -> tuple[np.ndarray, int] | None:
        try:
            picture, side = self._open(i, CELL)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return None
        return np.asarray(ImageOps.fit(picture, (CELL, CELL), Image.Resampling.BOX)), side

    def _single(self, i: int, size: int, quality: int) -> bytes:
        try:
            picture, _ = self._open(i, size)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            picture = Image.new("RGB", (8, 8), (128, 128, 128))
        if max(picture.size) > size:
            picture = ImageOps.contain(picture, (size, size), Image.Resampling.LANCZOS)
        return encode_webp(picture, quality)

    def _open(self, i: int, size: int) -> tuple[Image.Image, int]:
        if not self.from_files:
            pixels = np.asarray(self.images[i])
            if self.factor is not None:
                pixels = (pixels * self.factor).clip(0, 255).round().astype(np.uint8)
            picture = Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)
            return to_rgb(picture).convert("RGB"), max(picture.size)
        # Of these formats only: PostScript, for one, would start another program.
        with Image.open(self.images[i], formats=FORMATS) as picture:
            side = max(picture.size)
            picture.draft("RGB", (2 * size, 2 * size))
            return to_rgb(ImageOps.exif_transpose(picture)).convert("RGB"), side


def encode_webp(picture: Image.Image, quality: int) -> bytes:
    """Return a picture as a WebP file."""
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=quality, method=WEBP_METHOD)
    return buffer.getvalue()


def _encoded_length(n_bytes: int) -> int:
    return 4 * math.ceil(n_bytes / 3) + 1


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
        sheets.append(encode_webp(sheet, QUALITIES[0]))
    return sheets


def are_paths(images: Any) -> bool:
    """Whether `images` are names of files rather than pixels."""
    return (not hasattr(images, "ndim") or images.ndim == 1) and isinstance(
        images[0], (str, bytes, os.PathLike)
    )
