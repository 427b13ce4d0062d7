"""Several processes: what each takes of a batch, and how all of them end alike.

Under a launcher every process, or rank, runs the same script on the same data. The ranks go
through the same global batches, in the order that one process would take them in; each computes
the losses of its share of the rows, and the gradients are added up, weighted by shares. So the
result is that of one process, up to rounding.

Neither skorch's `AccelerateMixin` nor PyTorch's `DistributedDataParallel` does this more simply.
Both hook into ``module.forward``, where our losses call parts of a network (``encode``,
``decode``, ``project``) and need what the networks of all ranks made (views, assignments); both
average the gradients as if all shares were of one size and none was empty; the mixin leaves
wrappers around what an estimator keeps. What remains, adding up one tensor per step, is short.

Collective calls need all ranks, in one order. Whatever may run on some ranks only, such as users'
callbacks and what is computed by the first rank for all, runs within `alone`. An error on one
rank closes its connections, which ends the waiting of the others; they find the cause in the
store that the group met by.
"""

import contextlib
import contextvars
import functools
import hashlib
import itertools
import multiprocessing
import os
import pickle
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")

_ASKED_FOR_BY = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

# Until all have come to their first fit, which reading images may delay on some.
_TIME_TO_MEET = timedelta(minutes=30)
# Steps take about equally long on all ranks. A process that ends is noticed at once, so this is for
# machines that are gone from the network.
_TIME_OF_A_STEP = timedelta(minutes=10)
# What the first rank computes for all may take long.
_TIME_OF_THE_FIRST = timedelta(days=2)
# For the others to say what happened, and to have read it.
_SECONDS_OF_GRACE = 5.0


class _Lost(Exception):
    """Another rank cannot be reached any more."""


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

    ranks: "Ranks"
    start: int
    stop: int
    n_rows: int
    whole: bool

    @property
    def weight(self) -> float:
        return (self.stop - self.start) / self.n_rows

    @property
    def rows(self) -> slice:
        return slice(self.start, self.stop) if self.stop > self.start else slice(0, 1)

    def local(self, x: Tensor) -> Tensor:
        return x[self.rows] if self.whole else x


class ShardedBatch(tuple[Tensor, ...]):
    """The tensors of a batch, and which rows of it they are."""

    shard: Shard


_RANKS: contextvars.ContextVar["Ranks | None"] = contextvars.ContextVar("ranks", default=None)
_SHARD: contextvars.ContextVar[Shard | None] = contextvars.ContextVar("shard", default=None)
_ALONE: contextvars.ContextVar[bool] = contextvars.ContextVar("alone", default=False)
_IN_A_FIT = threading.Lock()
_FITS = itertools.count()


def current() -> "Ranks | None":
    """Return the ranks that are fitting together, or None in one process."""
    return None if _ALONE.get() else _RANKS.get()


def current_shard() -> Shard | None:
    """Return the share of the step that is computed now."""
    return _SHARD.get()


def is_first() -> bool:
    """Whether this rank is to show, say and write what one of them should; also after a fit."""
    ranks = _RANKS.get()
    if ranks is not None:
        return ranks.rank == 0
    if _is_initialized():
        return dist.get_rank() == 0
    return not _asked_for() or os.environ["RANK"] == "0"


def local_device_index() -> int | None:
    """Return which GPU of its machine is this rank's, if a launcher has counted the ranks."""
    if not (_is_initialized() or _asked_for()) or torch.cuda.device_count() < 2:
        return None
    index = os.environ.get("LOCAL_RANK", "")
    return int(index) % torch.cuda.device_count() if index.isdecimal() else None


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
    if _ALONE.get() or _RANKS.get() is not None or not (_is_initialized() or _asked_for()):
        yield
        return
    if not _IN_A_FIT.acquire(blocking=False):
        raise RuntimeError(
            "Several threads fit at once, but the processes of a group can only fit one model "
            "after the other: set n_jobs=1."
        )
    try:
        ranks = _meet()
        if ranks is None:
            yield
        else:
            with ranks.together():
                yield
    finally:
        _IN_A_FIT.release()


def on_first(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Return what `function` gives on the first rank, which alone calls it, on all ranks."""
    ranks = current()
    return function(*args, **kwargs) if ranks is None else ranks.on_first(function, args, kwargs)


def shared(value: T) -> T:
    """Return the value that the first rank has."""
    return on_first(lambda: value)


def takes_shards(function: T) -> T:
    """Mark a function of a batch as one that does for some rows what it would do among all."""
    function.takes_shards = True  # type: ignore[attr-defined]
    return function


def drawn_rows(n_rows: int) -> tuple[int, slice]:
    """Return for how many rows to draw random numbers, and which of them are for those given."""
    shard = _SHARD.get()
    if shard is None or shard.whole or n_rows != shard.rows.stop - shard.rows.start:
        return n_rows, slice(None)
    return shard.n_rows, shard.rows


def value_range(least: float, greatest: float) -> tuple[float, float]:
    """Return the least and greatest value among the global batch, from those of the shares."""
    shard = _SHARD.get()
    if shard is None or shard.whole:
        return least, greatest
    ends = torch.tensor([-least, greatest], dtype=torch.float64, device="cpu")
    shard.ranks.reduce_(ends, dist.ReduceOp.MAX)
    return -float(ends[0]), float(ends[1])


def local(x: Tensor) -> Tensor:
    """Return the rows of this rank, of a batch as it was loaded."""
    shard = _SHARD.get()
    return x if shard is None else shard.local(x)


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


def summed(*tensors: Tensor) -> None:
    """Replace what each rank has added up by the sum over all, in place."""
    ranks = current()
    for tensor in tensors if ranks is not None else ():
        ranks.reduce_(tensor)


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


class Ranks:
    """The processes that fit together, as one of them sees it.

    Parameters
    ----------
    group : torch.distributed.ProcessGroup
        Of this fit alone.
    store : torch.distributed.Store
        Where a rank leaves word of what ended it.
    """

    def __init__(self, group: Any, store: Any):
        self.rank = group.rank()
        self.size = group.size()
        self._group = group
        self._store = store
        self._digests: dict[tuple[Any, ...], str] = {}
        self.has_told = False

    # --- a fit ---

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        token = _RANKS.set(self)
        try:
            with warnings.catch_warnings():
                if self.rank > 0:
                    # All would say the same.
                    warnings.simplefilter("ignore")
                yield
            self.any(False)
        except BaseException as error:
            cause = self._fail(error)
            if cause is error:
                raise
            # What was noticed here says nothing beyond it.
            raise cause from None
        finally:
            _RANKS.reset(token)
            self._close()

    def _close(self) -> None:
        # Connections close with the last reference.
        group, self._group = self._group, None
        if group is not None:
            dist.destroy_process_group(group)

    def _fail(self, error: BaseException) -> BaseException:
        """Tell the others of an error, or find out what theirs was; return what to raise."""
        lost = isinstance(error, _Lost)
        cause: BaseException = error
        with contextlib.suppress(Exception):
            self._store.set(f"lost {self.rank}", "")
            if not lost:
                interrupted = not isinstance(error, Exception)
                text = f"{type(error).__name__}: {error}".rstrip(": ")
                self._store.set("cause", f"{self.rank}\n{int(interrupted)}\n{text}")
        with contextlib.suppress(Exception):
            self._close()
        if lost:
            cause = self._cause_elsewhere()
        # The store may live in this process, which may be about to end.
        with contextlib.suppress(Exception):
            self._store.set(f"left {self.rank}", "")
            self._wait_for([f"left {rank}" for rank in range(self.size)])
        return cause

    def _cause_elsewhere(self) -> BaseException:
        ended = "a process of the group"
        with contextlib.suppress(Exception):
            if self._wait_for(["cause"]) == []:
                rank, interrupted, text = self._store.get("cause").decode().split("\n", 2)
                if interrupted == "1":
                    return KeyboardInterrupt(f"Rank {rank} was interrupted ({text}).")
                return RuntimeError(f"Rank {rank} failed, so all end here: {text}")
            silent = self._wait_for([f"lost {rank}" for rank in range(self.size)], seconds=0)
            ended = " and ".join(key.replace("lost", "rank") for key in silent) or ended
        return RuntimeError(
            f"{ended[0].upper()}{ended[1:]} ended without a word or cannot be reached any more: "
            "it may have been killed, be out of memory, or have lost its machine. All end here."
        )

    def _wait_for(self, keys: list[str], seconds: float = _SECONDS_OF_GRACE) -> list[str]:
        """Return the keys that are not in the store within a time."""
        end = time.monotonic() + seconds
        while missing := [key for key in keys if not self._store.check([key])]:
            if time.monotonic() >= end:
                break
            time.sleep(0.05)
        return missing

    # --- what all ranks call together ---

    def reduce_(self, tensor: Tensor, op: Any = None) -> Tensor:
        """Replace a tensor by the sum over all ranks, or by what else `op` says."""
        options = dist.AllreduceOptions()
        options.reduceOp = dist.ReduceOp.SUM if op is None else op
        options.timeout = _TIME_OF_A_STEP
        if tensor.device.type != "cpu" and self._group_is_for(tensor.device):
            # NCCL does not notice that a process has ended, where Gloo does.
            self.reduce_(torch.zeros(1, device="cpu"))
        elif tensor.device.type != "cpu":
            return tensor.copy_(self.reduce_(tensor.cpu(), op))
        if tensor.numel():
            self._complete(lambda: self._group.allreduce([tensor], options))
        return tensor

    def broadcast_(self, tensor: Tensor, *, patient: bool = False) -> Tensor:
        """Replace a tensor on the CPU by the one of the first rank."""
        options = dist.BroadcastOptions()
        options.rootRank = 0
        options.timeout = _TIME_OF_THE_FIRST if patient else _TIME_OF_A_STEP
        if tensor.numel():
            self._complete(lambda: self._group.broadcast([tensor], options), patient=patient)
        return tensor

    def on_first(
        self, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> T:
        """Call a function on the first rank; return its result, or raise its error, on all."""
        succeeded, result = True, None
        content = b""
        if self.rank == 0:
            try:
                with alone():
                    result = function(*args, **kwargs)
            except Exception as error:
                succeeded, result = False, error
            content = _pickled(succeeded, result)
        size = self.broadcast_(torch.tensor([len(content)], device="cpu"), patient=True)
        data = torch.empty(int(size), dtype=torch.uint8, device="cpu")
        if self.rank == 0:
            data.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        self.broadcast_(data)
        if self.rank > 0:
            succeeded, result = pickle.loads(data.numpy().tobytes())
        if not succeeded:
            raise result
        return result

    def tell(self, value: Any) -> None:
        """Give the others, who ask by `shared`, a value of the first rank, the first time."""
        if self.rank == 0 and not self.has_told:
            self.on_first(lambda: value, (), {})
        self.has_told = True

    def any(self, flag: bool) -> bool:
        """Whether a flag is set on any rank."""
        return bool(self.reduce_(torch.tensor([int(flag)], device="cpu")))

    def others_than_first(self, text: str) -> list[int]:
        """Return the ranks whose text is not that of the first."""
        digests = torch.zeros(self.size, 16, dtype=torch.uint8, device="cpu")
        own = hashlib.blake2b(text.encode(), digest_size=16).digest()
        digests[self.rank] = torch.frombuffer(bytearray(own), dtype=torch.uint8)
        self.reduce_(digests)
        return (digests != digests[0]).any(dim=1).nonzero().flatten().tolist()

    def check_data(self, array: np.ndarray, digest: Callable[[np.ndarray], str]) -> None:
        # A clusterer and its encoder usually see one array.
        place = (array.__array_interface__["data"][0], array.shape, array.dtype, array.strides)
        if place not in self._digests:
            self._digests[place] = digest(array)
        others = self.others_than_first(self._digests[place])
        form = f"shape {array.shape} and dtype {array.dtype}"
        first = self.on_first(lambda: form, (), {})
        if others:
            here = f"; here it is of {form}, there of {first}" if form != first else ""
            raise ValueError(
                f"X is not the same on all ranks: {_listed(others)} got another than rank 0{here}. "
                "Give each the whole X, in one order; every batch is shared out among the ranks."
            )

    def check_draws(self, generator: torch.Generator) -> None:
        """Raise where the ranks have drawn different random numbers.

        Raises
        ------
        ValueError
            On all ranks.
        """
        if self.others_than_first(hashlib.blake2b(generator.get_state().numpy()).hexdigest()):
            raise ValueError(
                "The ranks have drawn different random numbers: an augmentation or joint_loss must "
                "draw as many from its generator whatever the rank."
            )

    def check_plan(self, plan: str) -> None:
        """Raise where the ranks are about to train in different ways.

        Raises
        ------
        ValueError
            On all ranks; it names those that differ from the first.
        """
        others = self.others_than_first(plan)
        first = self.on_first(lambda: plan, (), {})
        if others:
            here = f"; here {plan}, there {first}" if plan != first else ""
            raise ValueError(
                f"The ranks were not given the same parameters: {_listed(others)} would train "
                f"otherwise than rank 0{here}. Run models that differ one after the other, or as "
                "programs without a launcher."
            )

    def equalize(self, module: nn.Module) -> None:
        with torch.no_grad():
            for tensor in (*module.parameters(), *module.buffers()):
                values = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
                tensor.copy_(self.broadcast_(values))

    # --- shares ---

    def share_of(self, n_rows: int, *, whole: bool = False) -> Shard:
        """Return the share of this rank, which differs from others by one row at most."""
        size, more = divmod(n_rows, self.size)
        start = self.rank * size + min(self.rank, more)
        return Shard(self, start, start + size + (self.rank < more), n_rows, whole)

    def load_share(
        self, rows: np.ndarray, load: Callable[[np.ndarray], tuple[Tensor, ...]], whole: bool
    ) -> ShardedBatch:
        """Load what this rank needs of the rows of a batch."""
        shard = self.share_of(len(rows), whole=whole)
        batch = ShardedBatch(load(rows if whole else rows[shard.rows]))
        batch.shard = shard
        return batch

    def gather(self, part: Tensor | None, n_rows: int) -> Tensor:
        """Return the rows of all ranks, on the CPU, from those of each; None where it has none."""
        if n_rows < self.size:
            form = self.on_first(lambda: (part.shape[1:], part.dtype), (), {})  # type: ignore[union-attr]
        else:
            assert part is not None
            form = part.shape[1:], part.dtype
        result = torch.zeros(n_rows, *form[0], dtype=form[1], device="cpu")
        if part is not None:
            shard = self.share_of(n_rows)
            result[shard.start : shard.stop] = part
        return self.reduce_(result)

    def average(
        self, module: nn.Module, losses: Mapping[str, Tensor], weight: float
    ) -> dict[str, Tensor]:
        """Add up gradients and losses over the ranks; the former are weighted already."""
        parameters = [p for p in module.parameters() if p.requires_grad]
        device = parameters[0].device
        has_gradient = torch.tensor([float(p.grad is not None) for p in parameters], device=device)
        flat = torch.cat(
            [
                *(
                    torch.zeros(p.numel(), device=device) if p.grad is None else p.grad.reshape(-1)
                    for p in parameters
                ),
                has_gradient,
                torch.stack([loss.detach().float() * weight for loss in losses.values()]),
            ]
        )
        self.reduce_(flat)
        sizes = [p.numel() for p in parameters]
        *sums, has_gradient, values = flat.split([*sizes, len(parameters), len(losses)])
        for parameter, total, anywhere in zip(parameters, sums, has_gradient.tolist(), strict=True):
            if anywhere:
                if parameter.grad is None:
                    parameter.grad = torch.empty_like(parameter)
                parameter.grad.copy_(total.view_as(parameter))
        return dict(zip(losses, values.unbind(), strict=True))

    def _group_is_for(self, device: torch.device) -> bool:
        return device.type == "cuda" and "nccl" in _backends()

    def _complete(self, start: Callable[[], Any], *, patient: bool = False) -> None:
        """Wait until the ranks have done something together.

        Raises
        ------
        _Lost
            If that cannot be any more.
        """
        try:
            work = start()
            pause = 1e-3
            # Python handles signals between the looks only, and not while it waits in PyTorch.
            while patient and not work.is_completed():
                time.sleep(pause)
                pause = min(2 * pause, 0.1)
            work.wait()
        except RuntimeError as error:
            raise _Lost(str(error)) from error


def train_step(net: Any, batch: ShardedBatch) -> dict[str, Tensor]:
    """Compute the losses of a share and add up the gradients of all; return the losses of all."""
    shard = batch.shard
    token = _SHARD.set(shard)
    try:
        losses = net.losses(tuple(batch))
    finally:
        _SHARD.reset(token)
    (losses["loss"] * shard.weight).backward()
    return shard.ranks.average(net.module_, losses, shard.weight)


def _is_initialized() -> bool:
    return dist.is_available() and dist.is_initialized()


def _asked_for() -> bool:
    """Whether the environment asks for a group; that of processes we start is inherited."""
    return (
        all(os.environ.get(name) for name in _ASKED_FOR_BY)
        and os.environ["WORLD_SIZE"] != "1"
        and dist.is_available()
        and multiprocessing.parent_process() is None
    )


def _meet() -> Ranks | None:
    """Make the group of one fit, of all ranks; None where there is one rank only."""
    number = next(_FITS)
    if _is_initialized():
        if dist.get_world_size() == 1:
            return None
        group = dist.new_group(backend=_backends(), timeout=_TIME_OF_A_STEP)
        store = dist.distributed_c10d._get_default_store()
        return Ranks(group, dist.PrefixStore(f"skdcec {number}", store))
    rank, size = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE"))
    try:
        store = dist.PrefixStore(f"skdcec {number}", _meeting_point())
        dist.init_process_group(
            _backends(), store=store, rank=rank, world_size=size, timeout=_TIME_TO_MEET
        )
    except RuntimeError as error:
        raise RuntimeError(
            f"RANK, WORLD_SIZE={size} and MASTER_ADDR in the environment ask for a group of "
            f"{size} processes, which did not come together ({error}): start that many, by "
            "torchrun for one, or unset these variables."
        ) from error
    return Ranks(dist.group.WORLD, store)


@functools.cache
def _meeting_point() -> Any:
    """Return the store that a launcher's environment names, one for all fits of a process."""
    store, _, _ = next(dist.rendezvous("env://", timeout=_TIME_TO_MEET))
    return store


def _backends() -> str:
    """Return what ranks speak to each other by: Gloo, and NCCL between GPUs of their own."""
    per_machine = os.environ.get("LOCAL_WORLD_SIZE", "1")
    enough = per_machine.isdecimal() and int(per_machine) <= torch.cuda.device_count()
    if torch.cuda.is_available() and dist.is_nccl_available() and enough:
        return "cpu:gloo,cuda:nccl"
    return "gloo"


def _pickled(succeeded: bool, result: Any) -> bytes:
    try:
        content = pickle.dumps((succeeded, result))
        if not succeeded:
            pickle.loads(content)
    except Exception:
        if succeeded:
            raise
        return pickle.dumps((False, RuntimeError(f"{type(result).__name__}: {result}")))
    return content


def _listed(ranks: list[int]) -> str:
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))}"
