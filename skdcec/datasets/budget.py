"""What may a file cost? Memory, time and bytes, and how they are held to."""

import io
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from PIL import Image

__all__ = [
    "BYTES_PER_PIXEL",
    "MIN_BYTES",
    "MAX_PIXELS",
    "SECONDS",
    "WHOLE_BYTES",
    "BoundedFile",
    "UnusableImage",
    "borrow_memory",
    "check_memory",
    "memory_of",
    "needs_worker",
    "seconds_for",
    "too_long",
]

# Where Pillow warns of a decompression bomb.
MAX_PIXELS = 178_956_970

# All files that are decoded at the same time take at most this for each of `max_pixels`.
BYTES_PER_PIXEL = 16
MIN_BYTES = 2**26

# Of processor time, for one file and for each of its pixels: JPEG 2000 without loss takes most.
SECONDS = 10.0
SECONDS_PER_PIXEL = 0.5e-6

# Of JPEG files up to this length, reading them at once is fastest.
WHOLE_BYTES = 2**22

# What comes before the pixels. The layers of a painting program can be there.
HEADER_BYTES = 2**28
HEADER_READS = 500_000

# Passes over a pixel, above which a JPEG file is decoded where it can be stopped: some seconds.
JPEG_PASSES = 2**29
JPEG_SCANS = 100

# Bytes for each pixel that decoders take besides the pictures.
_WORKING = {"WEBP": 12, "AVIF": 12}
# What a picture takes for each pixel, and for each row, of which it keeps where it begins.
_PIXEL, _ROW = 4, 8


class UnusableImage(Exception):
    """A file that cannot be used; the text is the reason."""


class BoundedFile(io.BufferedReader):
    """A file that ends the decoding which reads too much before the pixels, or for too long.

    Parameters
    ----------
    source : str, bytes or path-like, or io.BytesIO
        Path of the file, or what is in it.
    """

    def __init__(self, source: str | bytes | os.PathLike[str] | io.BytesIO):
        if isinstance(source, io.BytesIO):
            # A raw file in all but its type.
            super().__init__(source)
            self.length = source.getbuffer().nbytes
        else:
            super().__init__(io.FileIO(source))
            self.length = os.fstat(self.fileno()).st_size
        self._end, self._seconds = math.inf, SECONDS
        self._bytes, self._reads = HEADER_BYTES, HEADER_READS
        self._in_header = True

    def end_header(self, seconds: float) -> None:
        """From here on only time counts, since the pixels' size is known."""
        self._in_header = False
        self._end, self._seconds = time.thread_time() + seconds, seconds

    def read(self, size: int | None = -1) -> bytes:
        """Read as any file does.

        Raises
        ------
        UnusableImage
            If what a file may cost is spent.
        """
        data = super().read(size)
        if not self._in_header:
            if time.thread_time() > self._end:
                raise UnusableImage(too_long(self._seconds))
        # Decoders that want the whole file at once are given it: its size is accounted for.
        elif size is not None and size >= 0:
            self._bytes -= len(data)
            self._reads -= 1
            if self._bytes < 0 or self._reads < 0:
                raise UnusableImage(
                    f"holds no picture within {HEADER_BYTES >> 20} MiB, or only small pieces there"
                )
        return data

    def readline(self, size: int | None = -1) -> bytes:
        """Read a line, however the file was made no longer than what a header may hold."""
        return super().readline(HEADER_BYTES if size is None or size < 0 else size)


def _count(file: IO[bytes], marker: bytes) -> int:
    """Return how often two bytes stand in the file; its position is kept."""
    position, found, last = file.tell(), 0, b""
    file.seek(0)
    while block := file.read(2**20):
        found += block.count(marker) + (last + block[:1] == marker)
        last = block[-1:]
    file.seek(position)
    return found


def seconds_for(size: tuple[int, int]) -> float:
    """Return how much processor time a picture of (width, height) may take."""
    return SECONDS + SECONDS_PER_PIXEL * size[0] * size[1]


def too_long(seconds: float) -> str:
    """Return the reason why a file is not used that took its time."""
    return f"takes more than {seconds:.3g} seconds to decode"


def needs_worker(image: Image.Image, file: IO[bytes], size: tuple[int, int]) -> bool:
    """Whether the decoder may take long without reading on, or says on stderr what it meets."""
    name = image.format
    if name == "TIFF":
        # libtiff writes to stderr what it thinks of a damaged file.
        return bool(image.use_load_libtiff)  # type: ignore[attr-defined]
    pixels = size[0] * size[1]
    if name == "JPEG":
        scans = _count(file, b"\xff\xda")
        return scans > JPEG_SCANS or scans * pixels > JPEG_PASSES
    return name == "JPEG2000" or (name == "AVIF" and pixels > 2**24)


def memory_of(
    name: str | None,
    size: tuple[int, int],
    file_bytes: int,
    image: Any = None,
    *,
    apart: bool = False,
) -> int:
    """Return the bytes that a file takes at most while it is decoded and brought to its size.

    Parameters
    ----------
    name : str
        Pillow's name of the format.
    size : (width, height)
        Of the picture in the file.
    file_bytes : int
        Length of the file.
    image : PIL.Image.Image, default=None
        The picture before its pixels are loaded, after it was told to reduce its size. Some
        decoders take memory before there is any.
    apart : bool, default=False
        Whether a worker decodes it.
    """
    pixels = size[0] * size[1]
    # The picture, its converted or turned copy, and one on the other side.
    n_pictures = 3 if apart else 2
    if name in _WORKING:
        return n_pictures * _picture(size) + pixels * _WORKING[name] + 2 * file_bytes
    working = min(file_bytes, WHOLE_BYTES)
    if image is None:
        return n_pictures * _picture(size) + working
    if name == "JPEG2000":
        working = pixels * 4 * len(image.getbands()) + file_bytes
    elif name == "JPEG" and "progressive" in image.info:
        # All coefficients are kept until the last scan.
        working += pixels * 2 * len(image.getbands())
    elif name == "TIFF":
        working = image.working_bytes
    return n_pictures * _picture(image.size) + working


def _picture(size: tuple[int, int]) -> int:
    # Turned, it has as many rows as it had columns.
    return size[0] * size[1] * _PIXEL + max(size) * _ROW


# What the files that are decoded at this moment take
_taken = 0
_change = threading.Condition()


def check_memory(n_bytes: int, max_pixels: int) -> int:
    """Return how much memory there is, which is an error if it is not enough."""
    limit = max(max_pixels * BYTES_PER_PIXEL, MIN_BYTES)
    if n_bytes > limit:
        raise UnusableImage(
            f"takes {n_bytes / 2**20:.0f} MiB to decode, more than {BYTES_PER_PIXEL} bytes for each"
            f" of max_pixels={max_pixels}"
        )
    return limit


@contextmanager
def borrow_memory(n_bytes: int, max_pixels: int) -> Iterator[None]:
    """Wait until so much memory is left.

    Parameters
    ----------
    n_bytes : int
        What is needed.
    max_pixels : int
        Gives how much there is.

    Raises
    ------
    UnusableImage
        If there never is so much.
    """
    global _taken
    limit = check_memory(n_bytes, max_pixels)
    with _change:
        while _taken and _taken + n_bytes > limit:
            _change.wait()
        _taken += n_bytes
    try:
        yield
    finally:
        with _change:
            _taken -= n_bytes
            _change.notify_all()


def _forget() -> None:
    # The threads that took it are not in a forked process.
    global _taken, _change
    _taken, _change = 0, threading.Condition()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
