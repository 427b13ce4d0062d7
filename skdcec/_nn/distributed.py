"""Several processes: what each takes of a batch, so that all end with the same model.

Under a launcher every process, or rank, runs the same script on the same data. The ranks go
through the same global batches, in the order that one process would take them in; each computes
the losses of its share of the rows, and the gradients are added up, weighted by shares. So the
result is that of one process, up to rounding. In one process none of this does anything.

Neither skorch's `AccelerateMixin` nor PyTorch's `DistributedDataParallel` does this more simply.
Both hook into ``module.forward``, where our losses call parts of a network (``encode``,
``decode``, ``project``) and need what the networks of all ranks made (views, assignments); both
average the gradients as if all shares were of one size and none was empty; the mixin leaves
wrappers around what an estimator keeps. What remains, adding up one tensor per step, is short.

Whatever may run on some ranks only, such as users' callbacks and what the first rank computes for
all, runs `alone`: it may fit and predict, and the ranks do not wait for each other.
"""

import contextlib
import contextvars
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from skdcec._nn.ranks import Ranks, has_others, meet, own_rank

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Which rows of a global batch are those of this rank.

    Attributes
    ----------
    ranks : Ranks
    start, stop : int
        Rows of the global batch. A rank that has none computes with the first one, which then
        counts nothing, so that it takes part in all that the ranks do together.
    n_rows : int
        Of the global batch.
    whole : bool
        Whether this rank has all rows at hand and not its own only: for functions that may do
        anything with a batch, and with the generator.
    """

    ranks: Ranks
    start: int
    stop: int
    n_rows: int
    whole: bool

    @property
    def weight(self) -> float:
        """What the losses of this rank's rows count."""
        return (self.stop - self.start) / self.n_rows

    @property
    def rows(self) -> slice:
        """What this rank computes with."""
        return slice(self.start, self.stop) if self.stop > self.start else slice(0, 1)


class ShardedBatch(tuple[Tensor, ...]):
    """The tensors of a batch, and which rows of it they are."""

    shard: Shard

    def __new__(cls, tensors: tuple[Tensor, ...], shard: Shard) -> "ShardedBatch":
        batch = super().__new__(cls, tensors)
        batch.shard = shard
        return batch


_RANKS: contextvars.ContextVar[Ranks | None] = contextvars.ContextVar("ranks", default=None)
_SHARD: contextvars.ContextVar[Shard | None] = contextvars.ContextVar("shard", default=None)
_ALONE: contextvars.ContextVar[bool] = contextvars.ContextVar("alone", default=False)
_IN_A_FIT = threading.Lock()


def current() -> Ranks | None:
    """Return the ranks that are fitting together, or None in one process."""
    return None if _ALONE.get() else _RANKS.get()


def is_first() -> bool:
    """Whether this rank is to show, say and write what one of them should; also after a fit."""
    ranks = _RANKS.get()
    return (own_rank() if ranks is None else ranks.rank) == 0


def n_ranks() -> int:
    """Return how many processes fit together."""
    ranks = _RANKS.get()
    return 1 if ranks is None else ranks.size


def local_device_index() -> int | None:
    """Return which GPU of its machine is this rank's, if a launcher has counted the ranks."""
    index = os.environ.get("LOCAL_RANK", "")
    if not has_others() or not index.isdecimal():
        return None
    return int(index) % max(1, torch.cuda.device_count())


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Compute what other ranks do not, or not at the same time."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Fit together with the other ranks, if there are any; within a fit, as the fit does.

    Raises
    ------
    RuntimeError
        If another rank failed or ended, and this one did not.
    KeyboardInterrupt
        On Ctrl-C, here or at another rank.
    """
    if _ALONE.get() or _RANKS.get() is not None or not has_others():
        yield
        return
    if not _IN_A_FIT.acquire(blocking=False):
        raise RuntimeError(
            "Several threads fit at once, but the processes of a group can only fit one model "
            "after the other: set n_jobs=1."
        )
    try:
        ranks = meet()
        with contextlib.nullcontext() if ranks is None else _together(ranks):
            yield
    finally:
        _IN_A_FIT.release()


@contextlib.contextmanager
def _together(ranks: Ranks) -> Iterator[None]:
    token = _RANKS.set(ranks)
    try:
        with warnings.catch_warnings():
            if ranks.rank > 0:
                # All would say the same.
                warnings.simplefilter("ignore")
            yield
        # All have succeeded, or none has.
        ranks.any(False)
    except BaseException as error:
        cause = ranks.fail(error)
        if cause is error:
            raise
        # What was noticed here says nothing beyond it.
        raise cause from None
    finally:
        _RANKS.reset(token)
        ranks.close()


def on_first(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Return what `function` gives on the first rank, which alone calls it, on all ranks."""
    ranks = current()
    if ranks is None:
        return function(*args, **kwargs)

    def call() -> T:
        with alone():
            return function(*args, **kwargs)

    result: T = ranks.on_first(call)
    return result


def shared(value: T) -> T:
    """Return the value that the first rank has."""
    return on_first(lambda: value)


def check_data(array: np.ndarray, digest: Callable[[np.ndarray], str]) -> None:
    """Raise where the ranks were given different data.

    Raises
    ------
    ValueError
        On all ranks; it names those that differ from the first.
    """
    ranks = current()
    if ranks is not None:
        ranks.check_data(array, digest)


def equalize(module: Any) -> None:
    """Give a network the first rank's weights, to the last bit."""
    ranks = current()
    if ranks is not None and isinstance(module, nn.Module):
        ranks.equalize(module)


def summed(*tensors: Tensor) -> None:
    """Replace what each rank has added up by the sum over all, in place."""
    ranks = current()
    if ranks is not None:
        for tensor in tensors:
            ranks.reduce_(tensor)


# --- the steps of training ---


def takes_shards(function: T) -> T:
    """Mark a function of a batch as one that does for some rows what it would do among all."""
    function.takes_shards = True  # type: ignore[attr-defined]
    return function


def shard_of(ranks: Ranks, n_rows: int, whole: bool) -> Shard:
    """Return which of so many rows of a batch are those of this rank."""
    return Shard(ranks, *ranks.bounds(n_rows), n_rows, whole)


def train_step(net: Any, batch: ShardedBatch) -> dict[str, Tensor]:
    """Compute the losses of a share, add up the gradients of all, and return the losses of all."""
    token = _SHARD.set(batch.shard)
    try:
        losses: dict[str, Tensor] = net.losses(tuple(batch))
    finally:
        _SHARD.reset(token)
    weight = batch.shard.weight
    (losses["loss"] * weight).backward()
    values = torch.stack([loss.detach().float() * weight for loss in losses.values()])
    parameters = [p for p in net.module_.parameters() if p.requires_grad]
    return dict(zip(losses, _add_up(batch.shard.ranks, parameters, values).unbind(), strict=True))


def _add_up(ranks: Ranks, parameters: list[nn.Parameter], values: Tensor) -> Tensor:
    """Add up gradients and values over the ranks, in one call; return the latter."""
    # What has a gradient on no rank, since nothing depends on it, shall have none.
    has_gradient = values.new_tensor([p.grad is not None for p in parameters])
    gradients = [p.new_zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in parameters]
    flat = ranks.reduce_(torch.cat([*gradients, has_gradient, values]))
    sizes = [p.numel() for p in parameters]
    *gradients, has_gradient, values = flat.split([*sizes, len(sizes), len(values)])
    for parameter, gradient, exists in zip(
        parameters, gradients, has_gradient.tolist(), strict=True
    ):
        if exists:
            if parameter.grad is None:
                parameter.grad = torch.empty_like(parameter)
            # In its own order in memory, which the optimiser relies on.
            parameter.grad.copy_(gradient.view(parameter.shape))
    return values


def local(x: Tensor) -> Tensor:
    """Return the rows of this rank, of a batch as it was loaded."""
    shard = _SHARD.get()
    return x[shard.rows] if shard is not None and shard.whole else x


def drawn_rows(n_rows: int) -> tuple[int, slice]:
    """Return for how many rows to draw random numbers, and which of them are for those given."""
    shard = _SHARD.get()
    if shard is None or shard.whole or n_rows != shard.rows.stop - shard.rows.start:
        return n_rows, slice(None)
    return shard.n_rows, shard.rows


def value_range(least: Tensor, greatest: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least and greatest value among the global batch, from those of the shares."""
    shard = _SHARD.get()
    if shard is None or shard.whole:
        return least, greatest
    ends = shard.ranks.reduce_(torch.stack([-least, greatest]), dist.ReduceOp.MAX)
    return -ends[0], ends[1]


def gathered_views(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, float]:
    """Return two views of all rows, and what to multiply the gradient of their loss by.

    Gradients are taken with respect to the own rows only; those of all ranks add up to that of
    the loss. As every loss is weighted by the share of rows, this one has to be set free of it.
    """
    shard = _SHARD.get()
    if shard is None:
        return first, second, 1.0
    if shard.stop == shard.start:
        first, second = first[:0], second[:0]
    own = torch.stack([first, second])
    others = own.new_zeros(2, shard.n_rows, own.shape[2])
    others[:, shard.start : shard.stop] = own.detach()
    shard.ranks.reduce_(others)
    views = torch.cat([others[:, : shard.start], own, others[:, shard.stop :]], dim=1)
    return views[0], views[1], 1 / shard.weight if shard.weight else 0.0
