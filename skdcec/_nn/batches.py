"""How data reaches the device: rows of an array become float32 tensors batch by batch."""

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from skdcec._maps import MappedRows
from skdcec._nn import distributed
from skdcec._nn.device import explaining, lacks_memory, moved, usual_settings
from skdcec._nn.ranks import Ranks

Index = TypeVar("Index")
Loaded = TypeVar("Loaded")

# Values of one inference batch: its size depends on the images' size alone, never on n, and
# memory does not grow with n. What a layer makes of so many stays in the processor's cache.
_INFERENCE_VALUES = 2**20

# A GPU is told so much at once that telling it takes no longer than doing it.
_INFERENCE_VALUES_ON_GPU = 2**25
_COPIED_BYTES = 2**26

# What "auto" means for a batch size: so many steps per epoch, within bounds: larger batches
# gain no speed, and the gradient of smaller ones is mostly noise. Where the smallest batch
# leaves few steps, an epoch passes over the data as often as comes closest to another number.
AUTO_STEPS_PER_EPOCH = 64
AUTO_STEPS_OF_FEW_IMAGES = 16
AUTO_BATCH_SIZE = 256
MIN_AUTO_BATCH_SIZE = 16


class Batches:
    """Rows of an array, divided by a scale, as float32 tensors on a device.

    The array stays as it is, also when it is read-only or memory-mapped: conversion
    happens for the rows of a batch. Images become (n, channels, height, width). Of a mapped file,
    little more is in memory than a batch.

    Parameters
    ----------
    array : ndarray of shape (n_samples, n_features) or (n_samples, height, width, channels)
    scale : float
    device : torch.device

    Attributes
    ----------
    in_file : bool
        Whether batches are read from a file, which takes time.
    """

    def __init__(self, array: np.ndarray, scale: float, device: torch.device):
        self.array = array
        self._mapped = MappedRows(array)
        self.scale = scale
        self.device = device
        # One transfer of the raw values instead of one per batch, where they fit easily.
        self._resident: Tensor | None = None
        if device.type == "cuda" and array.dtype in (np.uint8, np.float32):
            free, _ = torch.cuda.mem_get_info(device)
            if array.nbytes <= free // 4:
                self._resident = _on_device(array, device)
        self.in_file = self._mapped.in_file and self._resident is None

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: slice | np.ndarray) -> Tensor:
        if self._resident is not None:
            rows = (
                index if isinstance(index, slice) else moved(torch.from_numpy(index), self.device)
            )
            # A copy before the division in place: a slice is a view of the images themselves.
            batch = self._resident[rows].to(torch.float32, copy=True).div_(self.scale)
        else:
            self._mapped.announce(index)
            scaled = divide(np.ascontiguousarray(self.array[index]), self.scale)
            self._mapped.looked_at(index, len(scaled))
            batch = moved(torch.from_numpy(scaled), self.device)
        return batch.permute(0, 3, 1, 2) if batch.ndim == 4 else batch


def _on_device(array: np.ndarray, device: torch.device) -> Tensor:
    """Copy an array to a device, in memory of a block."""
    result = torch.empty(array.shape, dtype=torch.from_numpy(array[:0].copy()).dtype, device=device)
    step = max(1, _COPIED_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), step):
        block = np.require(array[start : start + step], requirements=["C", "W"])
        result[start : start + step] = torch.from_numpy(block)
    return result


def divide(values: np.ndarray, scale: float) -> np.ndarray:
    """Return ``values / scale`` as float32."""
    # What float32 cannot hold is divided before it is rounded, so that images in float64 and the
    # same in uint8 come out equal.
    exact = np.can_cast(values.dtype, np.float32) and fits_float32(scale)
    scaled = np.divide(values, scale, dtype=np.float32 if exact else np.float64)
    return scaled.astype(np.float32, copy=False)


def fits_float32(number: float) -> bool:
    """Whether a number is within the normal range of float32."""
    limits = np.finfo(np.float32)
    return float(limits.tiny) <= abs(number) <= float(limits.max)


def read_ahead(load: Callable[[Index], Loaded], parts: Iterable[Index]) -> Iterator[Loaded]:
    """Load parts in order, each while the one before is in use."""
    with ThreadPoolExecutor(1, thread_name_prefix="skdcec-reader") as reader:
        ahead: Future[Loaded] | None = None
        for part in parts:
            following = reader.submit(load, part)
            if ahead is not None:
                yield ahead.result()
            ahead = following
        if ahead is not None:
            yield ahead.result()


class ShuffledLoader:
    """Iterate over index batches of a shuffled data set, evenly sized.

    Parameters
    ----------
    n_samples : int
    batch_size : int
        No batch is larger; the last is not smaller than the others by more than one.
    n_passes : int
        Passes over the data in one iteration.
    generator : torch.Generator
        Source of the order.
    load : callable
        Maps an integer array of row numbers to a batch.
    target : callable, optional
        Returns a tensor whose rows belong to the batches, when they are asked for.
    ahead : bool, default=False
        Whether batches are loaded, in a thread, while those before are in use.

    Attributes
    ----------
    ranks : Ranks or None
        Where several processes train together, batches hold the rows that are this one's.
    whole : bool
        Whether they hold all rows all the same.
    order_state : tensor or None
        State of the generator before it drew the order of the current pass.
    """

    ranks: Ranks | None = None
    whole = False

    def __init__(
        self,
        n_samples: int,
        batch_size: int,
        n_passes: int,
        generator: torch.Generator,
        load: Callable[[np.ndarray], tuple[Tensor, ...]],
        target: Callable[[], Tensor] | None = None,
        ahead: bool = False,
    ):
        self.n_samples = n_samples
        self.batch_size = batch_size
        self.n_passes = n_passes
        self.generator = generator
        self.load = load
        self.target = target
        self._loaded = read_ahead if ahead else map
        self._n_batches = math.ceil(n_samples / batch_size)
        self.order_state: Tensor | None = None
        self._first: int | None = None

    def begin_at(self, n_batches: int, order_state: Tensor | None) -> None:
        """Let the next iteration pass over so many batches, the last pass in the order given."""
        self._first, self.order_state = n_batches, order_state

    def __len__(self) -> int:
        return self._n_batches * self.n_passes

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        goes_on = self._first is not None
        n_pass, n_done = divmod(self._first or 0, self._n_batches)
        self._first = None
        while n_pass < self.n_passes:
            # Not further ahead than a pass: the next order is drawn after all that this one draws.
            order = self._draw_order(again=goes_on)
            parts = [index.numpy() for index in order.tensor_split(self._n_batches)[n_done:]]
            if self.ranks is None:
                yield from self._batches(parts)
            else:
                yield from self._shares(self.ranks, parts)
            n_pass, n_done, goes_on = n_pass + 1, 0, False

    def _batches(self, parts: list[np.ndarray]) -> Iterator[tuple[Tensor, ...]]:
        for rows, batch in zip(parts, self._loaded(self.load, parts), strict=True):
            if self.target is None:
                yield batch
            else:
                target = self.target()[torch.from_numpy(rows)]
                yield *batch, moved(target, batch[0].device)

    def _shares(self, ranks: Ranks, parts: list[np.ndarray]) -> Iterator[tuple[Tensor, ...]]:
        shards = [distributed.shard_of(ranks, len(rows), self.whole) for rows in parts]
        own = [
            rows if self.whole else rows[shard.rows]
            for rows, shard in zip(parts, shards, strict=True)
        ]
        for shard, batch in zip(shards, self._batches(own), strict=True):
            yield distributed.ShardedBatch(batch, shard)

    def _draw_order(self, *, again: bool) -> Tensor:
        if not again:
            self.order_state = self.generator.get_state()
            return torch.randperm(self.n_samples, generator=self.generator)
        assert self.order_state is not None
        now = self.generator.get_state()
        self.generator.set_state(self.order_state)
        order = torch.randperm(self.n_samples, generator=self.generator)
        self.generator.set_state(now)
        return order


def plan_batches(n_samples: int, batch_size: int | str) -> tuple[int, int]:
    """Choose the batch size and the passes over the data that make one epoch.

    A number is obeyed. "auto" keeps an epoch from having so few optimisation steps that
    a usual number of epochs would leave the network untrained.

    Parameters
    ----------
    n_samples : int
    batch_size : int or "auto"

    Returns
    -------
    batch_size : int
    n_passes : int
    """
    if batch_size != "auto":
        return min(int(batch_size), n_samples), 1
    size = min(AUTO_BATCH_SIZE, max(MIN_AUTO_BATCH_SIZE, n_samples // AUTO_STEPS_PER_EPOCH))
    size = min(size, n_samples)
    return size, max(1, round(AUTO_STEPS_OF_FEW_IMAGES / math.ceil(n_samples / size)))


def map_batches(
    function: Callable[[Tensor], Tensor], batches: Batches, *, batch_size: int | None = None
) -> Tensor:
    """Apply `function` to every row in fixed batches without gradients; collect on the CPU.

    Parameters
    ----------
    function : callable
        Maps a batch to a tensor with as many rows.
    batches : Batches
    batch_size : int, optional
        By default as many rows as a fixed number of values allows, at most 1024.

    Returns
    -------
    tensor of shape (n_samples, ...)
        On the CPU.
    """
    if batch_size is None:
        batch_size = _inference_rows(batches)
    return _map_rows(function, batches, range(0, len(batches), batch_size))


def map_together(function: Callable[[Tensor], Tensor], batches: Batches) -> Tensor:
    """Do the same, in processes that fit together by a part each."""
    ranks = distributed.current()
    if ranks is None:
        return map_batches(function, batches)
    start, stop = ranks.bounds(len(batches))
    part = None
    if stop > start:
        part = _map_rows(function, batches, range(start, stop, _inference_rows(batches)))
    return ranks.gather(part, len(batches))


def _inference_rows(batches: Batches) -> int:
    on_gpu = batches.device.type == "cuda"
    values = _INFERENCE_VALUES_ON_GPU if on_gpu else _INFERENCE_VALUES
    return max(1, min(1024, values // math.prod(batches.array.shape[1:])))


def _map_rows(function: Callable[[Tensor], Tensor], batches: Batches, starts: range) -> Tensor:
    parts = [slice(start, min(start + starts.step, starts.stop)) for start in starts]
    loaded = read_ahead if batches.in_file else map
    result: Tensor | None = None
    at_most = starts.step
    remedy = 'one image needs more: take smaller images or a smaller network, or device="cpu"'
    with usual_settings(), torch.inference_mode(), explaining(batches.device, remedy):
        for part, batch in zip(parts, loaded(batches.__getitem__, parts), strict=True):
            done = 0
            while done < len(batch):
                some = batch[done : done + at_most]
                try:
                    rows = function(some)
                except RuntimeError as error:
                    if len(some) == 1 or not lacks_memory(error):
                        raise
                    at_most = len(some) // 2
                    continue
                if result is None:
                    shape = (starts.stop - starts.start, *rows.shape[1:])
                    result = torch.empty(shape, dtype=rows.dtype, device="cpu")
                place = part.start - starts.start + done
                result[place : place + len(some)] = rows
                done += len(some)
    assert result is not None
    return result


def check_output(result: Tensor, batches: Batches) -> Tensor:
    """Return what a network made of batches, if it is finite.

    Raises
    ------
    ValueError
        If there is NaN or infinity in it.
    """
    wrong = ~result.reshape(len(result), -1).isfinite().all(dim=1)
    if wrong.any():
        raise ValueError(
            f"The encoder's network makes NaN or infinity of {int(wrong.sum())} of {len(result)} "
            f"rows, the first of which is row {int(wrong.nonzero()[0])}: its weights are not "
            "finite, or their values are extreme. Fit it again, with a smaller learning rate, on "
            f"X without values far from the others; here X is divided by {batches.scale:g}."
        )
    return result


def loader_for(
    batches: Batches,
    *,
    batch_size: int,
    n_passes: int,
    generator: torch.Generator,
    target: Callable[[], Tensor] | None = None,
) -> ShuffledLoader:
    """Return a loader of batches ``(x,)``, or ``(x, target rows)`` where there are targets."""
    return ShuffledLoader(
        len(batches),
        batch_size,
        n_passes,
        generator,
        lambda index: (batches[index],),
        target,
        ahead=batches.in_file,
    )
