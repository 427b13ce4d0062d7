"""What of a mapped file is in memory? What is being read, and not all that ever was.

The system counts every page of a file that was looked at as memory of the process, until it needs
it for something else. Whoever has to keep to a limit would be ended before.
"""

import mmap
from collections.abc import Iterable, Iterator

import numpy as np

# So many bytes are read before their pages are given back.
_BLOCK = 2**24
# With a page that is looked at, the system maps its neighbours that it has already.
_AROUND = 2**16
_MAX_HELD = 2**26
_CAN_ADVISE = all(hasattr(mmap, name) for name in ("MADV_DONTNEED", "MADV_WILLNEED"))


def mapping_of(array: np.ndarray) -> mmap.mmap | None:
    """Return the mapping that holds the values of an array, if they are those of a file."""
    owner: object = array
    in_file = False
    while isinstance(owner, np.ndarray):
        if isinstance(owner, np.memmap):
            # What was changed in a mapping of mode "c" is nowhere else.
            in_file = owner.mode != "c"
        owner = owner.base
    return owner if in_file and isinstance(owner, mmap.mmap) else None


def blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows of an array in parts, of which one is in memory at a time."""
    rows = max(1, _BLOCK // max(1, array[:1].nbytes))
    return one_by_one(array[start : start + rows] for start in range(0, len(array), rows))


def one_by_one(parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield parts of an array, of which one is in memory at a time."""
    for part in parts:
        yield part
        _give_back(mapping_of(part))


class MappedRows:
    """What is looked at of an array in a mapped file; of another one, nothing is done.

    Parameters
    ----------
    array : ndarray

    Attributes
    ----------
    in_file : bool
        Whether it is in a mapped file.
    """

    def __init__(self, array: np.ndarray):
        self._mapping = mapping_of(array)
        self.in_file = self._mapping is not None
        self._held = 0
        self._row_bytes = array[:1].nbytes
        self._extent = array.itemsize + sum(
            (length - 1) * step
            for length, step in zip(array.shape[1:], array.strides[1:], strict=True)
        )
        self._step = array.strides[0]
        self._offset = 0
        if self._mapping is not None:
            begin = np.frombuffer(self._mapping, np.uint8).__array_interface__["data"][0]
            self._offset = array.__array_interface__["data"][0] - begin

    def announce(self, index: slice | np.ndarray) -> None:
        """Let the disk read rows together that are about to be looked at one by one.

        They may lie anywhere, so that it would wait for each of them.
        """
        if self._mapping is None or isinstance(index, slice) or not _CAN_ADVISE:
            return
        if self._extent != self._row_bytes or self._step < self._extent:
            return
        for row in np.sort(index).tolist():
            start = self._offset + row * self._step
            before = start % mmap.PAGESIZE
            self._mapping.madvise(mmap.MADV_WILLNEED, start - before, self._extent + before)

    def looked_at(self, index: slice | np.ndarray, n_rows: int) -> None:
        """Give pages back when there are many."""
        if self._mapping is None:
            return
        around = 0 if isinstance(index, slice) else _AROUND
        self._held += n_rows * (self._row_bytes + around)
        if self._held > _MAX_HELD:
            self._held = 0
            _give_back(self._mapping)


def _give_back(mapping: mmap.mmap | None) -> None:
    # They stay in the file, and with the system while it has room.
    if mapping is not None and _CAN_ADVISE:
        mapping.madvise(mmap.MADV_DONTNEED)
