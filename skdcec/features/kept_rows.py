"""Which features are known from before? Files of rows under digests, without code in them."""

import hashlib
import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from skdcec._callers import caller_level
from skdcec._files import why_not_written, write_bytes

# Raised whenever equal images and networks would give other features than they did.
_FORMAT = 1

_DIGEST_BYTES = 20
_HEADER = np.lib.format.magic(1, 0)


class KeptRows:
    """Features of chunks of images in a folder; trouble with it costs a warning and the work.

    Parameters
    ----------
    folder : Path or None
        None keeps nothing.
    known : sequence
        What features depend on besides the images: plain values and arrays.
    """

    def __init__(self, folder: Path | None, known: Sequence[Any]):
        self.folder = folder
        self._known = "" if folder is None else joblib.hash([_FORMAT, known])
        self._path: Path | None = None

    def get(self, *images: Any) -> np.ndarray | None:
        """Return the features of a chunk of images, or of files by their versions, if known."""
        if self.folder is None:
            return None
        name = joblib.hash([self._known, images])
        self._path = self.folder / f"skdcec-features-{name}.npy"
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn(error)
            return None
        rows, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
        if not rows.startswith(_HEADER) or _digest(rows) != digest:
            warnings.warn(
                "Features in the cache are damaged and are found again.",
                UserWarning,
                stacklevel=caller_level(),
            )
            return None
        found: np.ndarray = np.load(io.BytesIO(rows), allow_pickle=False)
        return found

    def put(self, rows: np.ndarray) -> None:
        """Keep the features that `get` was asked for last."""
        if self.folder is None or self._path is None:
            return
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, rows, version=(1, 0), allow_pickle=False)
        content = buffer.getvalue()
        try:
            os.makedirs(self.folder, exist_ok=True)
            write_bytes(self._path, [content, _digest(content)])
        except OSError as error:
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        warnings.warn(
            f"The cache memory={str(self.folder)!r} cannot be used ({why_not_written(error)}); "
            "nothing is kept there.",
            UserWarning,
            stacklevel=caller_level(),
        )
        # Once is enough.
        self.folder = None


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()
