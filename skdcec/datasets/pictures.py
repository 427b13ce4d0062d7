"""What stands for pictures, one or many, and how are they decoded ahead of use?"""

import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from joblib import cpu_count
from PIL import Image

from skdcec.datasets.decode import MAX_PIXELS, Source, UnusableImage, opened_picture

__all__ = ["Pictures", "as_source", "is_picture", "pictures_in"]

# Named in an error.
_N_NAMED = 5

# Tables and folders stand for many pictures, of which nobody says the order.
_TABLES = (".csv", ".tsv", ".txt", ".xlsx", ".xlsm", ".xls", ".ods", ".numbers", ".parquet")

# What makes an array of a picture.
Prepare = Callable[[Image.Image], np.ndarray]


def pictures_in(X: Any) -> "Pictures | None":
    """Return what stands for pictures, or None where `X` is something else.

    Parameters
    ----------
    X : object
        A path, the content of a file as bytes, a binary file that is open, a PIL image, or a
        sequence of these: a list, an array, a Series, or a column of Hugging Face datasets, which
        is read item by item.
    """
    if is_picture(X):
        return Pictures([X], X)
    if isinstance(X, np.ndarray):
        if X.ndim == 2 and X.shape[1] == 1:
            X = X[:, 0]
        if X.ndim != 1 or X.dtype.kind not in "OUS":
            return None
    elif hasattr(X, "iloc"):
        if hasattr(X, "columns"):
            return None
        X = np.asarray(X, dtype=object)
    elif (
        isinstance(X, str | Mapping)
        or hasattr(X, "__array__")
        or hasattr(X, "column_names")
        or not hasattr(X, "__len__")
        or not hasattr(X, "__getitem__")
    ):
        return None
    if not len(X):
        return None
    try:
        first = X[0]
    except (LookupError, TypeError):
        return None
    return Pictures(X, first) if is_picture(first) else None


def is_picture(thing: Any) -> bool:
    """Whether a thing stands for one picture."""
    if isinstance(thing, str | os.PathLike):
        text = os.fsdecode(thing)
        return not text.lower().endswith(_TABLES) and not os.path.isdir(text)
    return isinstance(thing, bytes | bytearray | memoryview | Image.Image) or _is_file(thing)


def _is_file(thing: Any) -> bool:
    return callable(getattr(thing, "read", None)) and not hasattr(thing, "__array__")


class Pictures:
    """Things that stand for one picture each.

    Parameters
    ----------
    items : sequence
        Read item by item.
    first : object
        The first of them.
    """

    def __init__(self, items: Sequence[Any], first: Any):
        self.items = items
        self.first = first

    def __len__(self) -> int:
        return len(self.items)

    def check(self) -> None:
        """Say before the work has begun which files are not there.

        Raises
        ------
        ValueError
            If there are any; the first ones are named.
        """
        if not isinstance(self.first, str | os.PathLike):
            return
        missing = [
            (i, "does not exist")
            for i, item in enumerate(self.items)
            if isinstance(item, str | os.PathLike) and not os.path.exists(item)
        ]
        if missing:
            raise ValueError(self._unusable(missing))

    def versions(self, start: int, stop: int) -> list[tuple[str, int, int]] | None:
        """Return path, size and time of some files, or None where there are no files."""
        found = []
        for i in range(start, stop):
            item = self.items[i]
            if not isinstance(item, str | os.PathLike):
                return None
            status = os.stat(item)
            found.append((os.path.abspath(os.fsdecode(item)), status.st_size, status.st_mtime_ns))
        return found

    def decoded(
        self,
        bounds: Sequence[tuple[int, int]],
        prepare: Prepare,
        *,
        side: int,
        max_pixels: int = MAX_PIXELS,
        n_jobs: int | None = None,
    ) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
        """Yield pictures by the chunk, the next one of which is decoded meanwhile.

        Threads decode, since Pillow lets others run meanwhile; what may not end, or not in
        silence, is decoded in a process that can be stopped.

        Parameters
        ----------
        bounds : sequence of (start, stop)
            What to decode.
        prepare : callable
            Makes an array of a PIL image in mode "L" or "RGB", of one shape for all of them.
        side : int
            How many pixels are needed at least on the longer side.
        max_pixels : int
            As of :func:`skdcec.datasets.decode.read_picture`.
        n_jobs : int or None
            Threads; None takes one for each processor.

        Yields
        ------
        bounds : (start, stop)
        pixels : ndarray of shape (stop - start, ...)

        Raises
        ------
        ValueError
            If there are pictures that cannot be used in a chunk; the first ones are named.
        """

        def read(item: Any) -> np.ndarray | UnusableImage:
            try:
                return _prepared(item, prepare, side, max_pixels)
            except UnusableImage as reason:
                return reason

        if len(bounds) == 1 and bounds[0][1] - bounds[0][0] == 1:
            (start, stop) = bounds[0]
            yield bounds[0], self._stacked(start, [read(self.item(start))])
            return
        n_threads = cpu_count() if n_jobs is None or n_jobs < 1 else n_jobs
        with ThreadPoolExecutor(n_threads) as pool:

            def begin(chunk: tuple[int, int]) -> list[Future[np.ndarray | UnusableImage]]:
                return [pool.submit(read, self.item(i)) for i in range(*chunk)]

            waiting = begin(bounds[0]) if bounds else []
            try:
                for place, chunk in enumerate(bounds):
                    begun = waiting
                    waiting = begin(bounds[place + 1]) if place + 1 < len(bounds) else []
                    yield chunk, self._stacked(chunk[0], [future.result() for future in begun])
            finally:
                for future in waiting:
                    future.cancel()

    def item(self, i: int) -> Any:
        """Return one of them, or a reason why it is none."""
        item = self.items[i]
        if isinstance(item, Image.Image):
            # Not in threads: one image may stand for several pictures.
            try:
                item.load()
            except Exception as error:
                return UnusableImage(f"damaged or unsupported: {error}")
        elif not is_picture(item):
            kind = type(item).__name__
            return UnusableImage(f"is a {kind}, neither a file nor its content nor a PIL image")
        return item

    def _stacked(self, start: int, found: list[np.ndarray | UnusableImage]) -> np.ndarray:
        wrong = [(start + i, str(f)) for i, f in enumerate(found) if isinstance(f, UnusableImage)]
        if wrong:
            raise ValueError(self._unusable(wrong))
        return np.stack([pixels for pixels in found if isinstance(pixels, np.ndarray)])

    def _unusable(self, wrong: list[tuple[int, str]]) -> str:
        named = ", ".join(f"X[{i}]{self._name(i)} {reason}" for i, reason in wrong[:_N_NAMED])
        more = f" and {len(wrong) - _N_NAMED} more" if len(wrong) > _N_NAMED else ""
        fix = "leave them out" if len(self.items) > 1 else "give another"
        return f"{len(wrong)} picture(s) cannot be used: {named}{more}: {fix}."

    def _name(self, i: int) -> str:
        item = self.items[i]
        # repr keeps line breaks and undecodable bytes in names from garbling the message.
        return f" = {os.fspath(item)!r}:" if isinstance(item, str | os.PathLike) else ":"


def _prepared(item: Any, prepare: Prepare, side: int, max_pixels: int) -> np.ndarray:
    with opened_picture(as_source(item), side=side, max_pixels=max_pixels) as picture:
        return prepare(picture.image)


def as_source(item: Any) -> Source:
    """Return what stands for a picture as the decoder takes it.

    Raises
    ------
    UnusableImage
        If that is what it is.
    """
    if callable(item):
        item = item()
    if isinstance(item, UnusableImage):
        raise item
    if isinstance(item, bytes | bytearray | memoryview):
        return io.BytesIO(item)
    source: Source = item
    return source
