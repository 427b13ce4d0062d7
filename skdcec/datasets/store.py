"""Where are decoded images kept?"""

import hashlib
import io
import json
import os
import re
import sys
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock
from numpy.lib import format as npy_format
from PIL import __version__ as pillow_version

from skdcec._callers import caller_level
from skdcec._files import replacing, why_not_written
from skdcec.datasets.decode import UNREADABLE
from skdcec.datasets.files import File, Listing
from skdcec.datasets.steps import Row, Settings, decode_steps, digest_of

# A store is a folder with `images-*.npy`, the usable images in the order of the files, and
# `index.jsonl`: a line that says what was decoded how, then lines of entries [id, size,
# mtime_ns, digest, reason]. It is written as `building.jsonl` beside the last complete one, a
# line after its images are on the disk, so that a killed run leaves a valid beginning.

_STORE_FORMAT = 1


class _Store(NamedTuple):
    data: str
    entries: list[list[Any]]
    images: np.ndarray

    def rows(self) -> list[Row]:
        images = iter(np.asarray(self.images))
        return [
            Row(next(images) if reason is None else None, digest, reason)
            for _, _, _, digest, reason in self.entries
        ]

    def begins(self, files: list[File]) -> bool:
        """Whether the entries are those of the first of the files."""
        return len(self.entries) <= len(files) and all(
            entry[:3] == [*file.version] and not _may_be_readable_now(file, entry[4])
            for entry, file in zip(self.entries, files, strict=False)
        )


def _may_be_readable_now(file: File, reason: str | None) -> bool:
    # Granting access to a file changes neither its size nor its time.
    return reason is not None and reason.startswith(UNREADABLE) and os.access(file.path, os.R_OK)


def load_rows(
    files: list[File],
    listing: Listing,
    settings: Settings,
    cache: Any,
    *,
    sample: int | None,
    **options: Any,
) -> tuple[np.ndarray, list[Row]]:
    """Return the usable images, and a row for each file."""
    if cache is not None:
        folder = _store_folder(cache, [settings, listing.root, listing.key, sample])
        try:
            return _load_stored(folder, files, settings, **options)
        except OSError as error:
            needed = len(files) * settings.row_bytes
            problem = f"The cache {folder!r} cannot be used ({why_not_written(error)})"
            if needed > physical_memory():
                raise OSError(
                    f"{problem}, and {needed / 2**30:.1f} GiB of images do not fit into memory."
                    " Give a writable folder with enough space as `cache`, or a smaller `size`."
                ) from error
            warnings.warn(
                f"{problem}; the images are kept in memory and decoded again next time.",
                UserWarning,
                stacklevel=caller_level(),
            )
    images = np.empty((len(files), *settings.shape), dtype=np.uint8)
    rows: list[Row] = []
    n_images = 0
    for step in decode_steps(files, settings, **options):
        for row in step:
            if row.image is not None:
                images[n_images] = row.image
                n_images += 1
            rows.append(row._replace(image=None))
    return images[:n_images], rows


def _load_stored(
    folder: str, files: list[File], settings: Settings, **options: Any
) -> tuple[np.ndarray, list[Row]]:
    os.makedirs(folder, exist_ok=True)
    with _locked(folder):
        store = _read_store(folder, "index.jsonl", settings)
        if store is None or len(store.entries) != len(files) or not store.begins(files):
            _build_store(folder, files, settings, store, **options)
            store = _read_store(folder, "index.jsonl", settings)
    if store is None:
        raise OSError("what was written could not be read back")
    return store.images, store.rows()


def _build_store(
    folder: str, files: list[File], settings: Settings, last: _Store | None, **options: Any
) -> None:
    building = os.path.join(folder, "building.jsonl")
    partial = _read_store(folder, "building.jsonl", settings)
    known = {}
    for store in filter(None, (last, partial)):
        for entry, row in zip(store.entries, store.rows(), strict=True):
            if row.reason is None or not row.reason.startswith(UNREADABLE):
                known[tuple(entry[:3])] = row
    if partial is None or not partial.begins(files):
        partial = _Store(f"images-{uuid.uuid4().hex}.npy", [], np.empty(0))
    try:
        _write_store(folder, files, settings, partial, known, **options)
    except OSError:
        # A full disk should not stay full because of what is of no use on it.
        for path in (building, os.path.join(folder, partial.data)):
            with suppress(OSError):
                os.remove(path)
        raise
    os.replace(building, os.path.join(folder, "index.jsonl"))
    for name in os.listdir(folder):
        if name.startswith("images-") and name != partial.data:
            # Another process may still have it open, which some systems do not allow.
            with suppress(OSError):
                os.remove(os.path.join(folder, name))


def _write_store(
    folder: str,
    files: list[File],
    settings: Settings,
    begun: _Store,
    known: dict[Any, Row],
    **options: Any,
) -> None:
    building = os.path.join(folder, "building.jsonl")
    n_images = len(begun.images)
    header = [{"format": _STORE_FORMAT, "data": begun.data, **settings._asdict()}]
    with replacing(building) as partial, open(partial, "w", encoding="ascii") as index:
        index.writelines(json.dumps(line) + "\n" for line in [*header, begun.entries])
    # Written as a file, since a full disk under a memory map kills the process.
    with (
        open(os.path.join(folder, begun.data), "r+b" if begun.entries else "wb") as data,
        open(building, "a", encoding="ascii") as index,
    ):
        data.write(_npy_header(0, settings))
        data.truncate(data.tell() + n_images * settings.row_bytes)
        data.seek(0, os.SEEK_END)
        todo = iter(files[len(begun.entries) :])
        for step in decode_steps(files[len(begun.entries) :], settings, known=known, **options):
            for row in step:
                if row.image is not None:
                    data.write(row.image.data)
                    n_images += 1
            data.flush()
            os.fsync(data.fileno())
            entries = [[*next(todo).version, row.digest, row.reason] for row in step]
            index.write(json.dumps(entries) + "\n")
            index.flush()
        data.seek(0)
        data.write(_npy_header(n_images, settings))


def _read_store(folder: str, name: str, settings: Settings) -> _Store | None:
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return None
    try:
        with open(path, encoding="ascii") as index:
            # What follows the last line break was cut off when its writer was killed.
            header, *lines = [json.loads(line) for line in index.read().split("\n")[:-1]]
        entries = [entry for line in lines for entry in line]
        expected = {"format": _STORE_FORMAT, "data": os.path.basename(header["data"])}
        expected |= settings._asdict()
        if header != json.loads(json.dumps(expected)):
            raise ValueError("its header does not fit")
        n_images = sum(reason is None for _, _, _, _, reason in entries)
        store = _Store(header["data"], entries, _map(folder, header["data"], n_images, settings))
        usable = [row for row in store.rows() if row.reason is None]
        for row in usable[:: max(1, len(usable) // 16)]:
            if row.image is None or digest_of(row.image) != row.digest:
                raise ValueError("its images do not fit its index")
    except Exception as error:
        # There is no telling what a damaged file raises.
        warnings.warn(
            f"The cache {path!r} is damaged ({error}); its images are decoded again.",
            UserWarning,
            stacklevel=caller_level(),
        )
        return None
    return store


def _map(folder: str, name: str, n_images: int, settings: Settings) -> np.ndarray:
    shape = (n_images, *settings.shape)
    if not n_images:
        return np.empty(shape, dtype=np.uint8)
    path = os.path.join(folder, name)
    offset = len(_npy_header(n_images, settings))
    return np.memmap(path, dtype=np.uint8, mode="r", offset=offset, shape=shape)


def _npy_header(n_images: int, settings: Settings) -> bytes:
    # Of the same length for all n_images: NumPy leaves room for the first axis to grow.
    buffer = io.BytesIO()
    shape = (n_images, *settings.shape)
    npy_format.write_array_header_1_0(
        buffer, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


def _store_folder(cache: Any, key: list[Any]) -> str:
    text = json.dumps([_STORE_FORMAT, pillow_version, *key])
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    name = re.sub(r"[^\w-]+", "_", os.path.basename(key[1]))[:40]
    return os.path.join(os.path.abspath(os.fsdecode(cache)), f"{name}-{digest}")


def user_cache() -> str:
    """Return the folder for stores where none is given."""
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return os.path.join(base or os.path.expanduser("~/.cache"), "skdcec")


def physical_memory() -> int:
    """Return the bytes of memory of this machine."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return sys.maxsize


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Wait while another process builds the same store; the system frees a killed one's lock."""
    lock = FileLock(os.path.join(folder, "lock"))
    # A complete store can be read where nothing can be written or locked.
    with suppress(OSError, NotImplementedError):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
