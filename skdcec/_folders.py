"""How do the files of a run come into a folder: from one process at a time, and all or none?

A run writes into a hidden folder within the one it is to fill. One rename declares that finished,
and then its files take their places. A process that ends before they all have is completed by the
next one, be it of a reader, and ``run.json`` has the digests that tell which files belong together.
"""

from __future__ import annotations

import codecs
import contextlib
import datetime
import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Collection, Iterator
from contextvars import ContextVar
from pathlib import Path
from socket import gethostname
from typing import Any, TypeVar

from skdcec._callers import caller_level
from skdcec._files import read_json, why_not_written, write_json

MODEL = "model.safetensors"
ARRAYS = "data.npz"
TEXTS = "data.json"
NAMES = "names.json"
RECORD = "run.json"
PAGE = "report.html"
CLUSTERS = "clusters.csv"
SUMMARY = "cluster_summary.csv"
SKIPPED = "skipped.csv"
DUPLICATES = "duplicates.csv"
CHOICE_PAGE = "choose_k.html"
CHOICE_TABLE = "choose_k.csv"
CHOICE_PICTURE = "choose_k.png"
RUN_FILES = (PAGE, CLUSTERS, SUMMARY, SKIPPED, DUPLICATES, RECORD, MODEL, ARRAYS, TEXTS, NAMES)
CHOICE_FILES = (CHOICE_PAGE, CHOICE_TABLE, CHOICE_PICTURE)
OWN_FILES = (*RUN_FILES, *CHOICE_FILES)
# The table of similar images, and the picture that is drawn of it under the same name.
SIMILAR_COLUMNS = {
    "image": ("image", "rank", "similar", "distance"),
    "text": ("text", "rank", "similar", "similarity"),
}
SHEETS = (".jpg", ".jpeg", ".png", ".webp")

# What a record has digests of. Names are the user's to edit, and say themselves whose they are.
_LISTED = tuple(name for name in OWN_FILES if name not in (NAMES, RECORD))
# Which no folder of anybody else holds together.
_TELLING = tuple(name for name in RUN_FILES if name not in (NAMES, RECORD))

_LOCK = ".skdcec-lock"
_STAGING = ".skdcec-unfinished"
_FINISHED = ".skdcec-finished"

T = TypeVar("T")


# One process at a time


class Refused(OSError):
    """A folder cannot be written; the message says all there is to say."""


class InUse(Refused):
    """Another process, or another thread, is writing a folder."""


_held: ContextVar[frozenset[str]] = ContextVar("held", default=frozenset())


@contextlib.contextmanager
def holding(out: Path, *, wait: float = 1.0) -> Iterator[None]:
    """Be the only one that writes a folder, for as long as the context lasts.

    Contexts may be nested. The system frees the lock of a process that is killed.

    Parameters
    ----------
    out : Path
        Has to exist.
    wait : float, default=1.0
        Seconds after which to give up.

    Raises
    ------
    InUse
        If another process, which it names, or another thread has the folder.
    Refused
        If nothing can be written there.
    """
    key = os.path.realpath(out)
    if key in _held.get():
        yield
        return
    release = _acquire(out / _LOCK, wait)
    token = _held.set(_held.get() | {key})
    try:
        yield
    finally:
        _held.reset(token)
        release()


def _acquire(path: Path, wait: float) -> Callable[[], None]:
    end = time.monotonic() + wait
    while (file := _open_lock(path)) is None:
        if time.monotonic() > end:
            raise InUse(
                f"{path.parent} is being written by {_holder(path)}: wait for its end, or choose "
                "another folder."
            )
        time.sleep(0.02)
    now = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    text = json.dumps({"pid": os.getpid(), "host": gethostname(), "since": now})
    try:
        # It only helps others to say who is at work.
        with contextlib.suppress(OSError):
            os.ftruncate(file, 0)
            os.write(file, text.encode())
    except BaseException:
        os.close(file)
        raise

    def release() -> None:
        try:
            # Whoever waits for a file that is gone will see that, and make a new one.
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        finally:
            os.close(file)
        if os.name == "nt":
            # Windows does not delete open files, so this one is only gone if nobody waits.
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    return release


def _open_lock(path: Path) -> int | None:
    try:
        # It may have been left by a killed process of another user of a shared folder.
        mode = os.O_RDWR if os.access(path, os.W_OK) or not path.exists() else os.O_RDONLY
        file = os.open(path, mode | os.O_CREAT, 0o666)
    except OSError as error:
        raise Refused(_unwritable(path.parent, error)) from None
    try:
        _lock(file)
        if os.fstat(file).st_nlink or os.name == "nt":
            return file
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK):
            warnings.warn(
                f"{path.parent} cannot be locked ({error.strerror}): no other run may write there "
                "at the same time.",
                UserWarning,
                stacklevel=caller_level(),
            )
            return file
    except BaseException:
        os.close(file)
        raise
    os.close(file)
    return None


def _unwritable(out: Path, error: OSError, remedy: str = "choose another folder") -> str:
    return f"{out} cannot be written to ({why_not_written(error)}): {remedy}."


def _lock(file: int) -> None:
    # Both end with the process: what it starts does not inherit the file.
    if sys.platform == "win32":
        import msvcrt

        # What is locked cannot be read by others there, so it is not where the text is.
        os.lseek(file, 2**20, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        os.lseek(file, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError, KeyError):
        known = read_json(path)
        return (
            f"another skdcec process ({known['pid']!s:.20} on {known['host']!s:.80}, since "
            f"{known['since']!s:.40})"
        )
    return "another skdcec process"


# Whose folder it is


class OtherFiles(ValueError):
    """A folder that skdcec did not write holds files."""


def claim(out: Path, *, needed_bytes: float = 0.0, force: bool = False) -> None:
    """Make the folder ours, or say now, and not after the training, why it cannot be.

    Parameters
    ----------
    out : Path
        Is made if it does not exist.
    needed_bytes : float, default=0.0
        What may be written.
    force : bool, default=False
        Whether a folder with other files will do. None of them is ever replaced.

    Raises
    ------
    OtherFiles
        If the folder holds other files, and not `force`.
    ValueError
        If it is a file, or holds files under names that are needed.
    OSError
        If another process is writing it, it cannot be written to, or its disk is nearly full.
    """
    _check_others(out, force)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
        with holding(out):
            settle(out)
            _clear(out)
            if not is_recorded(out):
                _mark(out)
    except Refused:
        raise
    except OSError as error:
        raise Refused(_unwritable(out, error, "name another folder by --out")) from None
    free = shutil.disk_usage(out).free
    if free < needed_bytes:
        raise OSError(
            f"{out} is on a disk with {free / 1e6:.0f} MB left; {needed_bytes / 1e6:.0f} MB may "
            "be needed."
        )


def _check_others(out: Path, force: bool) -> None:
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; a folder is needed.")
    found = {path.name for path in out.iterdir()} if out.exists() else set()
    for name in sorted(found.intersection(OWN_FILES)):
        if (out / name).is_dir():
            raise ValueError(
                f"{out} holds a folder {name}, where a file is to be written: move it away, or "
                "choose another folder."
            )
    if is_recorded(out) or found.issuperset(_TELLING):
        return
    taken = sorted(found.intersection(OWN_FILES))
    if taken:
        raise ValueError(
            f"{out} holds {', '.join(taken)}, not written by skdcec: move it away, or "
            "choose another folder."
        )
    if any(not name.startswith(".") for name in found) and not force:
        raise OtherFiles(f"{out} exists and holds other files: choose another folder.")


def is_recorded(out: Path) -> bool:
    """Whether a folder holds what a command wrote."""
    with contextlib.suppress(OSError, ValueError):
        return read_json(out / RECORD).get("program") == "skdcec"
    return False


def _mark(out: Path) -> None:
    with _staging(out) as staging:
        write_json(staging / RECORD, {"program": "skdcec", "state": "unfinished"})
        os.replace(staging / RECORD, out / RECORD)


# All or none


@contextlib.contextmanager
def staged(out: Path, *, replaces: Collection[str] = ()) -> Iterator[Path]:
    """Yield a folder whose files come to `out` together once all are written.

    So `out` never holds one half of this run and one of the last: at any instant, a reader who
    begins by :func:`settle` has all files of the one or all of the other.

    Parameters
    ----------
    out : Path
    replaces : collection of str, default=()
        Names of files of the last run that have to go even if none takes their place.

    Raises
    ------
    OSError
        If another process is writing `out`, or it cannot be written to.
    """
    with holding(out):
        settle(out)
        _clear(out)
        try:
            with _staging(out) as staging:
                yield staging
                _seal(staging, out, replaces)
                os.replace(staging, out / _FINISHED)
        except OSError as error:
            raise _explained(error, out) from error
        settle(out)


def settle(out: Path) -> None:
    """Give the files of a finished run their places, where its process ended before they had.

    Raises
    ------
    OSError
        If they cannot be moved.
    """
    finished = out / _FINISHED
    if not finished.is_dir():
        return
    try:
        with holding(out, wait=10):
            _move(finished, out)
    except Refused:
        raise
    except OSError as error:
        problem = (
            f"{out} holds a finished run, some files of which are not yet in their places and "
            f"cannot be moved ({error.strerror}): close what has files there open, see that you "
            f"may write there, and run skdcec report {out}."
        )
        raise Refused(problem) from error


def _move(finished: Path, out: Path) -> None:
    # Whoever had the lock before may have done it.
    if (finished / RECORD).exists():
        for name, digest in digests_of(finished).items():
            if digest is None:
                (out / name).unlink(missing_ok=True)
        # The record last: without it, there is nothing left to move.
        for name in (*_LISTED, NAMES, RECORD):
            if (finished / name).exists():
                os.replace(finished / name, out / name)
    shutil.rmtree(finished, ignore_errors=True)


@contextlib.contextmanager
def _staging(out: Path) -> Iterator[Path]:
    staging = out / f"{_STAGING}-{uuid.uuid4().hex}"
    staging.mkdir()
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _clear(out: Path) -> None:
    """Remove what killed runs left, which must not be taken for ours."""
    for path in out.glob(f"{_STAGING}*"):
        shutil.rmtree(path, ignore_errors=True)


def _seal(staging: Path, out: Path, replaces: Collection[str]) -> None:
    """Write the record of a run, whose digests say what belongs together; None says what goes."""
    before = digests_of(out)
    record: dict[str, Any] = {"program": "skdcec"}
    with contextlib.suppress(OSError, ValueError):
        record = read_json((staging if (staging / RECORD).exists() else out) / RECORD)
    files: dict[str, str | None] = {}
    for name in _LISTED:
        if (staging / name).exists():
            files[name] = file_digest(staging / name)
        elif before.get(name) is not None:
            files[name] = None if name in replaces else before[name]
    write_json(staging / RECORD, {**record, "files": files})


def _explained(error: OSError, out: Path) -> OSError:
    """Return the error of a run that could not be written, with what to do."""
    if error.errno == errno.ENOSPC:
        return Refused(
            f"No space left on the disk of {out}, so nothing there was changed: free some, or "
            "choose another folder. What was pretrained is kept in the cache."
        )
    # The hidden name means nothing to anybody.
    if _STAGING in str(error):
        reason = os.strerror(error.errno) if error.errno else "its files cannot be made"
        return Refused(
            f"{out} cannot be written to ({reason}), so nothing there was changed: choose another "
            "folder. What was pretrained is kept in the cache."
        )
    return error


# Reading what belongs together


class Mixed(ValueError):
    """The files of a folder are not of one run."""


class Snapshot:
    """The files of a folder as one run left them.

    Parameters
    ----------
    out : Path
        A folder written by any version; where the record has no digests, nothing is compared.
    """

    def __init__(self, out: Path):
        settle(out)
        self.out = out
        self._digests = digests_of(out)

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises
        ------
        Mixed
            If it is of another run than the record.
        """
        content = (self.out / name).read_bytes()
        self._compare(name, hashlib.sha256(content).hexdigest())
        return content

    def check(self, name: str) -> Path:
        """Return the path of a file, which is compared as :meth:`read` does."""
        path = self.out / name
        self._compare(name, file_digest(path))
        return path

    def _compare(self, name: str, digest: str) -> None:
        if self._digests.get(name, digest) != digest:
            raise Mixed(
                f"{self.out} is damaged, or holds files of different runs ({name} is not the one "
                f"that {RECORD} lists): run skdcec cluster again with --out {self.out}, or bring "
                "back a copy of the whole folder."
            )


def read_together(out: Path, read: Callable[[Snapshot], T]) -> T:
    """Return what `read` makes of a folder, all of one run even if another just takes its place.

    Raises
    ------
    Mixed
        If the folder does not hold one run.
    """
    for _ in range(3):
        with contextlib.suppress(Mixed, FileNotFoundError):
            return read(Snapshot(out))
        time.sleep(0.1)
    return read(Snapshot(out))


def no_run(out: Path, what: str = "finished result") -> str:
    """Say that a folder holds no run, and what to do about it."""
    text = f"{out} holds no {what}"
    with contextlib.suppress(ValueError, OSError):
        if (out / RECORD).exists() and read_json(out / RECORD).get("state") == "unfinished":
            return f"{text}: its run was stopped, and the same skdcec cluster command goes on."
        # Whoever names the images may mean what was found in them.
        meant = out.with_name(f"{out.name}-clusters")
        if out.is_dir() and (meant / TEXTS).exists():
            return f"{text}; is {meant} meant?"
    return f"{text}; skdcec cluster writes one."


def digests_of(folder: Path) -> dict[str, str | None]:
    """Return the digests of files that the record in a folder has, as far as it has any."""
    with contextlib.suppress(OSError, ValueError):
        files = read_json(folder / RECORD).get("files")
        if isinstance(files, dict):
            return {
                name: digest
                for name, digest in files.items()
                if name in _LISTED and (digest is None or isinstance(digest, str))
            }
    return {}


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def written_among(folder: str, names: Collection[str]) -> set[str]:
    """Return which files of a folder commands wrote: those of a run, and drawn lists of images."""
    written: set[str] = set()
    if RECORD in names and is_recorded(Path(folder)):
        written.update(name for name in names if name in OWN_FILES)
    endings: dict[str, list[str]] = {}
    for name in names:
        stem, ending = os.path.splitext(name)
        endings.setdefault(stem, []).append(ending)
    for stem, found in endings.items():
        # Any table may lie beside an image of its name: the heads tell.
        if ".csv" in found and len(found) > 1 and _lists_similar(os.path.join(folder, stem)):
            written.update(stem + ending for ending in found if ending in (".csv", *SHEETS))
    return written


def _lists_similar(stem: str) -> bool:
    with contextlib.suppress(OSError), open(f"{stem}.csv", "rb") as file:
        head = file.readline(200).removeprefix(codecs.BOM_UTF8).decode("latin-1").strip()
        return head in {",".join(columns) for columns in SIMILAR_COLUMNS.values()}
    return False
