"""What may a file cost? Memory, time and bytes, and how they are held to."""

import io
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from PIL import Image

__all__ = [
    "BYTES_PER_PIXEL",
    "MAX_PIXELS",
    "SECONDS",
    "WHOLE_BYTES",
    "BoundedFile",
    "UnusableImage",
    "borrow_memory",
    "check_memory",
    "memory_of",
    "needs_worker",
]

# Where Pillow warns of a decompression bomb.
MAX_PIXELS = 178_956_970

# All files that are decoded at the same time take at most this for each of `max_pixels`.
BYTES_PER_PIXEL = 12

# Of processor time, for one file.
SECONDS = 30.0

# Of JPEG files up to this length, reading them at once is fastest.
WHOLE_BYTES = 2**22

# What comes before the pixels. The layers of a painting program can be there.
HEADER_BYTES = 2**28
HEADER_READS = 500_000

# Passes over a pixel, above which a JPEG file is decoded where it can be stopped: about 10 s.
JPEG_PASSES = 2**29
JPEG_SCANS = 100

# Bytes for each pixel that decoders take besides the picture and its converted or turned copy.
_WORKING = {"WEBP": 16, "AVIF": 16}
_PICTURE = 8


class UnusableImage(Exception):
    """A file that cannot be used; the text is the reason."""


class BoundedFile(io.BufferedReader):
    """A file that ends the decoding which reads too much before the pixels, or for too long.

    Parameters
    ----------
    path : str, bytes or path-like
        Path of the file.
    """

    def __init__(self, path: str | bytes | os.PathLike[str]):
        super().__init__(io.FileIO(path))
        self.length = os.fstat(self.fileno()).st_size
        self._end = time.thread_time() + SECONDS
        self._bytes, self._reads = HEADER_BYTES, HEADER_READS
        self._in_header = True

    def end_header(self) -> None:
        """From here on only time counts, since the pixels' size is known."""
        self._in_header = False

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
                raise UnusableImage(f"takes more than {SECONDS:g} seconds to decode")
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


def needs_worker(image: Image.Image, file: IO[bytes]) -> bool:
    """Whether the decoder may take long without reading on, or says on stderr what it meets."""
    name = image.format
    if name == "TIFF":
        # libtiff writes to stderr what it thinks of a damaged file.
        return bool(image.use_load_libtiff)  # type: ignore[attr-defined]
    if name == "JPEG":
        scans = _count(file, b"\xff\xda")
        return scans > JPEG_SCANS or scans * image.width * image.height > JPEG_PASSES
    return name == "JPEG2000" or (name == "AVIF" and image.width * image.height > 2**24)


def memory_of(name: str | None, size: tuple[int, int], file_bytes: int, image: Any = None) -> int:
    """Return the bytes that a file takes at most while it is decoded.

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
    """
    pixels = size[0] * size[1]
    if name in _WORKING:
        return pixels * (_PICTURE + _WORKING[name]) + 2 * file_bytes
    reduced = pixels if image is None else image.width * image.height
    working = min(file_bytes, WHOLE_BYTES)
    if name == "JPEG2000" and image is not None:
        reduced >>= 2 * image._reduce
        working = reduced * 8 * len(image.getbands()) + file_bytes
    elif name == "JPEG" and image is not None and "progressive" in image.info:
        # All coefficients are kept until the last scan.
        working += pixels * 2 * len(image.getbands())
    elif name == "TIFF" and image is not None:
        working = image.working_bytes
    return reduced * _PICTURE + working


# What the files that are decoded at this moment take
_taken = 0
_change = threading.Condition()


def check_memory(n_bytes: int, max_pixels: int) -> int:
    """Return how much memory there is, which is an error if it is not enough."""
    # What is no multiple of the pixels: a few blocks of the file, an interpreter's objects.
    limit = max(max_pixels * BYTES_PER_PIXEL, 2**24)
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
