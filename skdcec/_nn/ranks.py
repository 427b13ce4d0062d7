"""Who fits together: how processes meet, speak to each other, and end alike.

Each process is a rank. Collective calls need all ranks, in one order. An error on one rank closes
its connections, which ends the waiting of the others; they find the cause in the store that the
group met by.
"""

import contextlib
import functools
import hashlib
import itertools
import multiprocessing
import os
import pickle
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

_ASKED_FOR_BY = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

# Until all have come to their first fit, which reading images may delay on some.
_TIME_TO_MEET = timedelta(minutes=30)
# Steps take about equally long on all ranks. A process that ends is noticed at once, so this is for
# machines that are gone from the network.
_TIME_OF_A_STEP = timedelta(minutes=10)
# What the first rank computes for all may take long.
_TIME_OF_THE_FIRST = timedelta(days=2)
# For the others to say what happened, and to have read it, which they may be at the end of a step.
_SECONDS_TO_SAY = 5.0
_SECONDS_TO_READ = 20.0

_FITS = itertools.count()


class Lost(Exception):
    """Another rank cannot be reached any more."""


class Ranks:
    """The processes that fit together, as one of them sees it.

    Parameters
    ----------
    group : torch.distributed.ProcessGroup
        Of this fit alone.
    store : torch.distributed.Store
        Where a rank leaves word of what ended it.
    within : torch.distributed.ProcessGroup or None
        The default group, where it was made for this fit as well.

    Attributes
    ----------
    rank : int
    size : int
        Number of ranks.
    has_told : bool
        Whether `tell` has given a value.
    """

    def __init__(self, group: Any, store: Any, within: Any = None):
        self.rank: int = group.rank()
        self.size: int = group.size()
        self.has_told = False
        self._group, self._within = group, within
        self._store = store
        self._digests: dict[tuple[Any, ...], str] = {}

    # --- the end ---

    def close(self) -> None:
        """Close the connections, which ends what the others may be waiting for."""
        # They live as long as there is a reference to the group, or to work that it did.
        group, within = self._group, self._within
        self._group = self._within = None
        for one in (group, within):
            if one is not None:
                dist.destroy_process_group(one)

    def fail(self, error: BaseException) -> BaseException:
        """Tell the others of an error, or find out what theirs was.

        Parameters
        ----------
        error : BaseException
            What ended the fit here.

        Returns
        -------
        error : BaseException
            What to raise.
        """
        lost = isinstance(error, Lost)
        cause: BaseException | None = None if lost else error
        present = list(range(self.size))
        # The store may be in a process that has ended.
        with contextlib.suppress(Exception):
            self._store.set(f"lost {self.rank}", "")
            if not lost:
                interrupted = not isinstance(error, Exception)
                text = f"{type(error).__name__}: {error}".rstrip(": ")
                self._store.set("cause", f"{self.rank}\n{int(interrupted)}\n{text}")
            self.close()
            if cause is None:
                cause = self._cause_elsewhere()
                present = [rank for rank in present if self._store.check([f"lost {rank}"])]
            # Or in this one, which may be about to end.
            self._store.set(f"left {self.rank}", "")
            self._wait_for([f"left {rank}" for rank in present], _SECONDS_TO_READ)
        return cause or _ended("a process of the group")

    def _cause_elsewhere(self) -> BaseException:
        if self._wait_for(["cause"], _SECONDS_TO_SAY):
            silent = self._wait_for([f"lost {rank}" for rank in range(self.size)], 0)
            return _ended(" and ".join(key.replace("lost", "rank") for key in silent))
        rank, interrupted, text = self._store.get("cause").decode().split("\n", 2)
        if interrupted == "1":
            return KeyboardInterrupt(f"Rank {rank} was interrupted ({text}).")
        return RuntimeError(f"Rank {rank} failed, so all end here: {text}")

    def _wait_for(self, keys: list[str], seconds: float) -> list[str]:
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
        how: Any = dist.ReduceOp.SUM if op is None else op
        options.reduceOp = how
        options.timeout = _TIME_OF_A_STEP
        if tensor.device.type == "cuda" and "nccl" in _backends():
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

    def _complete(self, start: Callable[[], Any], *, patient: bool = False) -> None:
        """Wait until the ranks have done something together.

        Raises
        ------
        Lost
            If that cannot be any more.
        """
        work = None
        try:
            work = start()
            pause = 1e-3
            # Python handles signals between the looks only, and not while it waits in PyTorch.
            while patient and not work.is_completed():
                time.sleep(pause)
                pause = min(2 * pause, 0.1)
            work.wait()
        except RuntimeError as error:
            raise Lost(str(error)) from error
        finally:
            work = None

    def on_first(self, function: Callable[[], Any]) -> Any:
        """Call a function on the first rank; return its result, or raise its error, on all."""
        succeeded, result, content = True, None, b""
        if self.rank == 0:
            try:
                result = function()
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
            assert isinstance(result, Exception)
            raise result
        return result

    def tell(self, value: Any) -> None:
        """Give the others, who ask by `on_first`, a value of the first rank, the first time."""
        if self.rank == 0 and not self.has_told:
            self.on_first(lambda: value)
        self.has_told = True

    def any(self, flag: bool) -> bool:
        """Whether a flag is set on any rank."""
        return bool(self.reduce_(torch.tensor([int(flag)], device="cpu")))

    def gather(self, part: Tensor | None, n_rows: int) -> Tensor:
        """Return the rows of all ranks, on the CPU, from those of each; None where it has none."""
        form: tuple[Any, ...] = () if part is None else (part.shape[1:], part.dtype)
        if n_rows < self.size:
            form = self.on_first(lambda: form)
        result = torch.zeros(n_rows, *form[0], dtype=form[1], device="cpu")
        if part is not None:
            result[slice(*self.bounds(n_rows))] = part
        return self.reduce_(result)

    def bounds(self, n_rows: int) -> tuple[int, int]:
        """Return the first row of this rank and the one after its last, of so many."""
        size, more = divmod(n_rows, self.size)
        start = self.rank * size + min(self.rank, more)
        return start, start + size + (self.rank < more)

    def equalize(self, module: nn.Module) -> None:
        """Give a network the first rank's weights, to the last bit."""
        with torch.no_grad():
            for tensor in (*module.parameters(), *module.buffers()):
                values = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
                tensor.copy_(self.broadcast_(values))

    # --- whether all do the same ---

    def others_than_first(self, text: str) -> list[int]:
        """Return the ranks whose text is not that of the first."""
        digests = torch.zeros(self.size, 16, dtype=torch.uint8, device="cpu")
        own = hashlib.blake2b(text.encode(), digest_size=16).digest()
        digests[self.rank] = torch.frombuffer(bytearray(own), dtype=torch.uint8)
        self.reduce_(digests)
        differ: list[int] = (digests != digests[0]).any(dim=1).nonzero().flatten().tolist()
        return differ

    def check_data(self, array: np.ndarray, digest: Callable[[np.ndarray], str]) -> None:
        """Raise where the ranks were given different data.

        Raises
        ------
        ValueError
            On all ranks; it names those that differ from the first.
        """
        # A clusterer and its encoder usually see one array.
        place = (array.__array_interface__["data"][0], array.shape, array.dtype, array.strides)
        if place not in self._digests:
            self._digests[place] = digest(array)
        others = self.others_than_first(self._digests[place])
        form = f"shape {array.shape} and dtype {array.dtype}"
        first = self.on_first(lambda: form)
        if others:
            here = f"; here it is of {form}, there of {first}" if form != first else ""
            raise ValueError(
                f"X is not the same on all ranks: {_listed(others)} got another than rank 0{here}. "
                "Give each the whole X, in one order; every batch is shared out among the ranks."
            )

    def check_plan(self, plan: str) -> None:
        """Raise where the ranks are about to train in different ways.

        Raises
        ------
        ValueError
            On all ranks; it names those that differ from the first.
        """
        others = self.others_than_first(plan)
        first = self.on_first(lambda: plan)
        if others:
            here = f"; here {plan}, there {first}" if plan != first else ""
            raise ValueError(
                f"The ranks were not given the same parameters: {_listed(others)} would train "
                f"otherwise than rank 0{here}. Run models that differ one after the other, or as "
                "programs without a launcher."
            )

    def check_draws(self, generator: torch.Generator) -> None:
        """Raise where the ranks have drawn different random numbers.

        Raises
        ------
        ValueError
            On all ranks.
        """
        if self.others_than_first(generator.get_state().numpy().tobytes().hex()):
            raise ValueError(
                "The ranks have drawn different random numbers: an augmentation or joint_loss must "
                "draw as many from its generator whatever the rank."
            )


def meet() -> Ranks | None:
    """Make the group of one fit, of all ranks; None where there is only one.

    Raises
    ------
    RuntimeError
        If the ranks do not come together.
    """
    number = next(_FITS)
    if is_initialized():
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
    # Modules of PyTorch that are first imported now keep the default group for good, as the default
    # of their functions' arguments; its connections would not close.
    group = dist.new_group(backend=_backends(), timeout=_TIME_OF_A_STEP)
    return Ranks(group, store, within=dist.group.WORLD)


def has_others() -> bool:
    """Whether this process belongs to a group, or its environment asks for one."""
    return is_initialized() or (
        all(os.environ.get(name) for name in _ASKED_FOR_BY)
        and os.environ["WORLD_SIZE"] != "1"
        and dist.is_available()
        # What a rank starts, such as the workers of a search, inherits its environment.
        and multiprocessing.parent_process() is None
    )


def is_initialized() -> bool:
    """Whether somebody has made a group in this process."""
    return dist.is_available() and dist.is_initialized()


def own_rank() -> int:
    """Return the number of this process among the others."""
    if is_initialized():
        return dist.get_rank()
    return int(os.environ["RANK"]) if has_others() else 0


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


def _ended(who: str) -> RuntimeError:
    return RuntimeError(
        f"{who[:1].upper()}{who[1:]} ended without a word or cannot be reached any more: it may "
        "have been killed, be out of memory, or have lost its machine. All end here."
    )


def _listed(ranks: list[int]) -> str:
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))}"
