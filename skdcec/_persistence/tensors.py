"""What is in a file of tensors? Every claim is counted before anything is built.

The files are those of safetensors: a length, a header in JSON, and the tensors' bytes without a
gap. They are read here rather than by that library, which maps them into memory, where a file that
is cut short later ends the process.
"""

import errno
import io
import json
import math
import os
import re
import stat
import struct
from typing import Any, BinaryIO

import torch

from skdcec._persistence.declared import MAX_WEIGHT

# A model of a hundred tensors has a header of some kilobytes.
MAX_HEADER = 2**22
_MAX_BRACKETS = 40_000
_MAX_DEPTH = 64
_MAX_COMMAS = 200_000
_MAX_QUOTES = 300_000
_MAX_AXES = 8

# Files with so many bytes that were never written, and more of these than others, are refused.
_MAX_HOLES = 2**26

_TEXT = re.compile(rb'"[^"]*"')
_NO_STRUCTURE = bytes(set(range(256)) - set(b"[]{},"))

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
} | {
    name: getattr(torch, dtype)
    for name, dtype in {"U16": "uint16", "U32": "uint32", "U64": "uint64"}.items()
    if hasattr(torch, dtype)
}


def dtype_name(dtype: torch.dtype) -> str:
    """Return what a dtype is called in such a file.

    Raises
    ------
    TypeError
        If it has no name there.
    """
    for name, known in _DTYPES.items():
        if known == dtype:
            return name
    raise TypeError(f"{dtype} has no place in a file")


class Refused(Exception):
    """A file says what no file of ours would; the text says what."""


def parse_json(text: str) -> Any:
    """Return what JSON says, after a look at how much it is.

    Raises
    ------
    Refused
        If it is nested deep, holds more values than a model's header, or a key twice.
    ValueError
        If it is no JSON.
    """
    count_json(text)
    return json.loads(text, object_pairs_hook=_without_repetition)


def count_json(text: str) -> None:
    """Raise `Refused` about JSON that is longer or deeper than the header of any model."""
    content = text.encode("utf-8", "surrogatepass")
    if len(content) > MAX_HEADER:
        raise Refused(f"its header has {len(content)} bytes, more than {MAX_HEADER}")
    # Without what may stand before a quote within a text, all quotes are those around texts.
    content = content.replace(rb"\\", b"").replace(rb"\"", b"")
    if content.count(b'"') > _MAX_QUOTES:
        raise Refused("its header holds more texts than that of any model")
    structure = _TEXT.sub(b"", content).translate(None, _NO_STRUCTURE)
    n_commas = structure.count(b",")
    brackets = structure.replace(b",", b"")
    if n_commas > _MAX_COMMAS or len(brackets) > _MAX_BRACKETS:
        raise Refused("its header holds more values than that of any model")
    depth = 0
    for bracket in brackets:
        depth += 1 if bracket in b"[{" else -1
        if depth > _MAX_DEPTH:
            raise Refused(f"its header is nested deeper than {_MAX_DEPTH}")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refused("its header holds a name twice")
    return found


class TensorFile:
    """A file of tensors, which are read one by one, each at most once.

    Parameters
    ----------
    file : binary file
        Of a regular file on the disk, or in memory.

    Attributes
    ----------
    metadata : dict of str to str
    n_bytes : int
        Of the whole file.

    Raises
    ------
    Refused
        If it is no such file.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self.n_bytes = file.seek(0, os.SEEK_END)
        file.seek(0)
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= self.n_bytes - 8:
            raise Refused("it is no safetensors file")
        if length > MAX_HEADER:
            raise Refused(f"its header has {length} bytes, more than {MAX_HEADER}")
        self._first = 8 + length
        try:
            header = parse_json(file.read(length).decode())
        except (ValueError, RecursionError) as error:
            raise Refused("it is no safetensors file") from error
        if not isinstance(header, dict):
            raise Refused("it is no safetensors file")
        self.metadata = header.pop("__metadata__", None) or {}
        if not isinstance(self.metadata, dict) or not all(
            isinstance(value, str) for value in self.metadata.values()
        ):
            raise Refused("its metadata are no texts")
        self._places = {name: _place(name, entry) for name, entry in header.items()}
        self._check_places()
        self._check_holes()

    def __len__(self) -> int:
        return len(self._places)

    def names(self, prefix: str) -> list[str]:
        """Return the names of the tensors not yet taken that begin with `prefix`."""
        return [name for name in self._places if name.startswith(prefix)]

    def claim(self, name: str) -> tuple[torch.dtype, tuple[int, ...]]:
        """Return what dtype and shape a tensor is said to have."""
        return self._places[name][:2]

    def take(self, name: str) -> torch.Tensor:
        """Return a tensor, in memory of its own; it cannot be taken again.

        Raises
        ------
        Refused
            If there is none, or it was taken before.
        """
        if name not in self._places:
            raise Refused(f"it has no tensor {name!r}, or uses it twice")
        dtype, shape, begin, end = self._places.pop(name)
        content = torch.empty(end - begin, dtype=torch.uint8, device="cpu")
        self._file.seek(self._first + begin)
        read: Any = self._file
        if end > begin and read.readinto(content.numpy()) != end - begin:
            raise Refused("it was cut short")
        return content.view(dtype).reshape(shape)

    def _check_places(self) -> None:
        reached = 0
        for _, _, begin, end in sorted(self._places.values(), key=lambda place: place[2:]):
            if begin != reached:
                raise Refused("its tensors overlap, or leave gaps")
            reached = end
        if self._first + reached != self.n_bytes:
            raise Refused(f"it has {self.n_bytes} bytes, and claims {self._first + reached}")

    def _check_holes(self) -> None:
        """Refuse a file that is nothing but claims: it has a size, but no content."""
        if self.n_bytes <= _MAX_HOLES or isinstance(self._file, io.BytesIO):
            return
        if not hasattr(os, "SEEK_DATA"):
            return
        n_written, place = 0, 0
        try:
            while place < self.n_bytes and 2 * n_written < self.n_bytes:
                start = os.lseek(self._file.fileno(), place, os.SEEK_DATA)
                place = os.lseek(self._file.fileno(), start, os.SEEK_HOLE)
                n_written += place - start
        except OSError as error:
            # Nothing but a hole is left; otherwise the file system cannot tell.
            if error.errno != errno.ENXIO:
                return
        if 2 * n_written < self.n_bytes:
            raise Refused(f"of its {self.n_bytes} bytes only {n_written} were ever written")


Place = tuple[torch.dtype, tuple[int, ...], int, int]


def _place(name: str, entry: Any) -> Place:
    """Return dtype, shape, begin and end of a tensor, after a look whether they agree."""
    try:
        dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
        begin, end = entry["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise Refused(f"it does not say what its tensor {name!r} is") from error
    numbers = (*shape, begin, end)
    if len(shape) > _MAX_AXES or not all(type(n) is int and 0 <= n < 2**48 for n in numbers):
        raise Refused(f"its tensor {name!r} has no shape or place")
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise Refused(f"its tensor {name!r} has {end - begin} bytes, and claims the shape {shape}")
    return dtype, shape, begin, end


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading, and nothing that waits, such as a named pipe.

    Raises
    ------
    OSError
        If it cannot be opened, or is no regular file.
    """
    # Looked at once before, since opening a pipe waits for who writes, and once for certain.
    _check_regular(os.stat(path), path)
    file = open(path, "rb")  # noqa: SIM115
    try:
        _check_regular(os.fstat(file.fileno()), path)
    except OSError:
        file.close()
        raise
    return file


def _check_regular(found: os.stat_result, path: Any) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(f"{os.fspath(path)!r} is a folder; a file is expected.")
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"{os.fspath(path)!r} is no regular file.")


def is_moderate(tensor: torch.Tensor) -> bool:
    """Whether no weight is NaN, or so large that what is computed from it may be infinite."""
    if not tensor.numel():
        return True
    least, greatest = tensor.aminmax()
    # NaN is within no bounds.
    return bool(least >= -MAX_WEIGHT and greatest <= MAX_WEIGHT)
