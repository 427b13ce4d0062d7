"""Many files decoded by threads, some hundred at a time: an image each, or the reason why not."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from skdcec.datasets.decode import UnusableImage, fit_picture, opened_picture
from skdcec.datasets.files import File
from skdcec.datasets.pictures import as_source

# One step of decoding is also one entry of the cache's journal: what a killed run can lose.
STEP_FILES = 512
STEP_BYTES = 2**26


class Settings(NamedTuple):
    """What the pixels of a file depend on."""

    shape: tuple[int, int, int]
    resize: str
    max_pixels: int

    @property
    def row_bytes(self) -> int:
        """Return the size of an image in memory."""
        return math.prod(self.shape)


class Row(NamedTuple):
    """An image and its digest, or a reason."""

    image: np.ndarray | None
    digest: str | None
    reason: str | None


def decode_steps(
    files: list[File],
    settings: Settings,
    *,
    known: Mapping[tuple[str, int, int], Row] = MappingProxyType({}),
    n_jobs: int | None,
    verbose: int | bool,
) -> Iterator[list[Row]]:
    """Yield rows of consecutive files, some hundred at a time; `known` ones are not decoded."""
    step = max(1, min(STEP_FILES, STEP_BYTES // settings.row_bytes))
    # Threads: Pillow releases the interpreter lock, and nothing has to be copied between
    # processes.
    with (
        Parallel(n_jobs=n_jobs, prefer="threads") as parallel,
        tqdm(total=len(files), desc="Loading", unit=" images", disable=not verbose) as bar,
    ):
        for start in range(0, len(files), step):
            part = files[start : start + step]
            paths = [file.path for file in part if file.version not in known]
            batches = [paths[i : i + 16] for i in range(0, len(paths), 16)]
            decoded = iter(
                [
                    row
                    for rows in parallel(delayed(_decode_batch)(b, settings) for b in batches)
                    for row in rows
                ]
            )
            yield [known.get(file.version) or next(decoded) for file in part]
            bar.update(len(part))


def _decode_batch(paths: list[str], settings: Settings) -> list[Row]:
    rows = []
    for path in paths:
        try:
            with opened_picture(
                as_source(path), side=max(settings.shape[:2]), max_pixels=settings.max_pixels
            ) as picture:
                image = fit_picture(picture.image, settings.shape[:2], settings.resize)
                # Before its memory is lent to another.
                del picture
        except UnusableImage as reason:
            rows.append(Row(None, None, str(reason)))
        else:
            rows.append(Row(image, digest_of(image), None))
    return rows


def digest_of(image: np.ndarray) -> str:
    """Return what equal images have in common."""
    return hashlib.sha256(image.data).hexdigest()[:32]


def duplicates_of(digests: list[str | None]) -> list[np.ndarray]:
    """Return groups of the indices at which the same digest stands."""
    groups = defaultdict(list)
    for i, digest in enumerate(digests):
        groups[digest].append(i)
    return [np.array(group) for group in groups.values() if len(group) > 1]
