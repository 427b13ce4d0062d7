"""What is an unfinished training in a file? Tensors and JSON, all of it under one digest."""

import contextlib
import hashlib
import json
import struct
import time
import warnings
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skdcec._callers import caller_level
from skdcec._files import versions, write_bytes
from skdcec._nn import distributed
from skdcec._persistence.tensors import Refused, TensorFile, dtype_name, open_regular

# Seconds between two checkpoints: what is lost by a kill. Where they cost more than this share of
# the time, as with very large networks or on slow disks, there are fewer.
INTERVAL = 30.0
MAX_SHARE = 0.02

# Raised whenever what is kept, or what is made of it, changes.
_FORMAT = 1

# Other versions of these may compute something else from the same state.
_VERSIONS = ("skdcec", "torch")

_TENSOR = "__tensor__"

# What was said in this fit, so that it is said once.
_told: ContextVar[set[str] | None] = ContextVar("_told", default=None)
# Checkpoints of trainings that have ended, but whose result is not yet where it is to be kept.
_ended: ContextVar[list["Checkpoint"] | None] = ContextVar("_ended", default=None)


class Checkpoint:
    """The file that one unfinished training goes on from.

    Trouble with it costs a warning and never the training.

    Parameters
    ----------
    folder : Path
    key : str
        Equal for trainings that are equal, and for no others.
    """

    def __init__(self, folder: Path, key: str):
        self.folder = folder
        self._digest = _hash(key.encode())
        self.path = folder / f"skdcec-unfinished-{self._digest}.safetensors"
        self._is_usable = True
        self._last = time.monotonic()
        self._interval = INTERVAL

    def read(self) -> dict[str, Any] | None:
        """Return the state that was written last, or None to begin anew."""
        self._last = time.monotonic()
        self._sweep()
        try:
            with open_regular(self.path) as file:
                header, state = _parse(TensorFile(file))
        except FileNotFoundError:
            return None
        except OSError as error:
            self._tell_trouble(error)
            return None
        except (Refused, ValueError, TypeError, KeyError, RecursionError):
            self.refuse("is damaged")
            return None
        if (header["format"], header["versions"]) != (_FORMAT, _versions()):
            found = ", ".join(f"{k} {v}" for k, v in header["versions"].items())
            self.refuse(f"was left by other versions ({found})")
            return None
        if header["key"] != self._digest:
            self.refuse("is that of something else")
            return None
        if header["threads"] != torch.get_num_threads():
            tell(
                "threads",
                f"An unfinished training in memory={str(self.folder)!r} was begun with "
                f"{header['threads']} threads and goes on with {torch.get_num_threads()}: the "
                "result may differ from that of an uninterrupted one.",
            )
        if header["ranks"] != distributed.n_ranks():
            tell(
                "ranks",
                f"An unfinished training in memory={str(self.folder)!r} was begun by "
                f"{header['ranks']} processes and goes on in {distributed.n_ranks()}: the result "
                "may differ by rounding.",
            )
        return state

    @property
    def is_due(self) -> bool:
        """Whether it is time to write."""
        return self._is_usable and time.monotonic() - self._last >= self._interval

    def write(self, state: Mapping[str, Any]) -> None:
        """Replace the file by one that holds this state, if that is possible."""
        start = time.monotonic()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_bytes(self.path, _as_parts(state, self._digest), mark=self._mark)
        except Exception as error:  # whatever it is, the training goes on
            self._is_usable = False
            self._tell_trouble(error)
        self._last = time.monotonic()
        self._interval = max(INTERVAL, (self._last - start) / MAX_SHARE)

    def refuse(self, reason: str) -> None:
        """Say why a file that is there cannot be used."""
        tell(
            "refused",
            f"An unfinished training in memory={str(self.folder)!r} {reason}, and begins anew.",
        )

    def remove(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
        self._sweep()

    def release(self) -> None:
        """Remove it, now or when the result is stored; see `kept_until_stored`."""
        ended = _ended.get()
        if ended is None:
            self.remove()
        else:
            ended.append(self)

    @property
    def _mark(self) -> str:
        return f"skdcec-unfinished-{self._digest}-"

    def _sweep(self) -> None:
        """Take away what a writer that was killed has left."""
        with contextlib.suppress(OSError):
            for path in self.folder.glob(f".{self._mark}*.partial"):
                path.unlink(missing_ok=True)

    def _tell_trouble(self, error: Exception) -> None:
        tell(
            "trouble",
            f"No unfinished training can be kept in memory={str(self.folder)!r} ({error}): if it "
            "is interrupted, it begins anew.",
        )


@contextlib.contextmanager
def kept_until_stored() -> Iterator[None]:
    """Let what is trained in this block be found again until the block has ended well.

    Its results are stored within the block, later than the training has ended; whatever ends the
    process in between must not cost the training.
    """
    ended: list[Checkpoint] = []
    token = _ended.set(ended)
    try:
        yield
    finally:
        _ended.reset(token)
    for checkpoint in ended:
        checkpoint.release()


@contextlib.contextmanager
def telling_once() -> Iterator[None]:
    """Let `tell` say one thing once in this block, and in blocks within it."""
    if _told.get() is not None:
        yield
        return
    token = _told.set(set())
    try:
        yield
    finally:
        _told.reset(token)


def tell(topic: str, message: str | None) -> None:
    """Warn whoever called the library; with None, note only that somebody did of this topic."""
    told = _told.get()
    if told is not None:
        if topic in told:
            return
        told.add(topic)
    if message is not None:
        warnings.warn(message, UserWarning, stacklevel=caller_level())


# The content of the file


def _as_parts(state: Mapping[str, Any], key: str) -> list[Any]:
    """Return the content of a file, as buffers."""
    tensors: dict[str, Tensor] = {}
    header = {
        "format": _FORMAT,
        "key": key,
        "versions": _versions(),
        "threads": torch.get_num_threads(),
        "ranks": distributed.n_ranks(),
    }
    packed = json.dumps(_pack(state, "state", tensors)).encode()
    # The history grows with the training, and the header of such a file must not.
    tensors["json"] = torch.frombuffer(bytearray(packed), dtype=torch.uint8)
    buffers = {name: _bytes_of(tensor) for name, tensor in tensors.items()}
    metadata = {"skdcec": json.dumps(header)}
    metadata["digest"] = _digest(metadata["skdcec"], tensors, buffers)
    places: dict[str, Any] = {"__metadata__": metadata}
    reached = 0
    for name, tensor in tensors.items():
        end = reached + buffers[name].nbytes
        places[name] = {
            "dtype": dtype_name(tensor.dtype),
            "shape": list(tensor.shape),
            "data_offsets": [reached, end],
        }
        reached = end
    text = json.dumps(places).encode()
    return [struct.pack("<Q", len(text)), text, *buffers.values()]


def _parse(file: TensorFile) -> tuple[dict[str, Any], Any]:
    """Return header and state of a file in which nothing was changed."""
    tensors = {name: file.take(name) for name in file.names("")}
    buffers = {name: _bytes_of(tensor) for name, tensor in tensors.items()}
    if file.metadata["digest"] != _digest(file.metadata["skdcec"], tensors, buffers):
        raise ValueError("It is not as it was written.")
    header, state = json.loads(file.metadata["skdcec"]), json.loads(buffers["json"].tobytes())
    if not isinstance(header["versions"], dict) or not isinstance(state, dict):
        raise ValueError("It is not of the form that is written.")
    return header, _unpack(state, tensors)


def _digest(header: str, tensors: Mapping[str, Tensor], buffers: Mapping[str, Any]) -> str:
    digest = hashlib.blake2b(header.encode(), digest_size=20)
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(buffers[name])
    return digest.hexdigest()


def _bytes_of(tensor: Tensor) -> Any:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()


def _pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return a value as JSON can hold it, with tensors aside.

    Raises
    ------
    TypeError
        If there is anything else in it.
    """
    if isinstance(value, Tensor):
        tensors[name] = value
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        return {str(key): _pack(item, f"{name}.{key}", tensors) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_pack(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{name} is a {type(value).__name__}")


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        return tensors[value[_TENSOR]]
    return {key: _unpack(item, tensors) for key, item in value.items()}


def _versions() -> dict[str, str]:
    found = versions()
    return {name: found.get(name, "") for name in _VERSIONS}


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
