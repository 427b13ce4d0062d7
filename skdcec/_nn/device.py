"""Where the computation runs, and the one stream of random numbers it uses."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from skdcec._nn import distributed

# Whose threads there are.
_PROCESS = os.getpid()


def resolve_device(device: str | torch.device | None) -> torch.device:
    """Return the device to run on: the one asked for, else a GPU where there is one, else the CPU.

    Of several GPUs, a process that a launcher has numbered takes its own unless one is named.

    Raises
    ------
    ValueError
        If `device` names nothing that this machine's PyTorch can use.
    """
    available = [name for name, is_there in _GPUS.items() if is_there()] + ["cpu"]
    if device is None:
        device = next(name for name in available if name == "cpu" or _error_of(name) is None)
    error = _error_of(device)
    if error is not None:
        raise ValueError(
            f"device={device!r} cannot be used here; available: "
            f"{' and '.join(map(repr, reversed(available)))}, or None to let the library choose."
        ) from error
    resolved = torch.device(device)
    own = distributed.local_device_index()
    return torch.device("cuda", own) if str(resolved) == "cuda" and own is not None else resolved


# The last one is Apple's.
_GPUS: dict[str, Callable[[], bool]] = {
    "cuda": lambda: torch.cuda.is_available(),
    "mps": lambda: torch.backends.mps.is_available(),
}


def _error_of(device: str | torch.device) -> Exception | None:
    """Return what PyTorch says where a device cannot be used."""
    try:
        torch.empty(0, device=torch.device(device)).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        return error
    return None


def resolve_precision(precision: str | None, device: torch.device) -> torch.dtype:
    """Return the dtype to train in: the one asked for, else the fastest this processor has.

    bfloat16 halves what is read and computed, but only where the processor multiplies it
    natively: elsewhere it is emulated, slower than float32.
    """
    if precision is not None:
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    elif device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        native = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    else:
        native = False
    return torch.bfloat16 if native else torch.float32


def _threads_that_exist() -> contextlib.AbstractContextManager[Any]:
    """Limit a forked process to one thread: it would wait for others that were not forked."""
    if os.getpid() == _PROCESS:
        return contextlib.nullcontext()
    return threadpool_limits(1)


def moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor of the CPU on a device, without waiting for what that has to do before."""
    return tensor.to(device, non_blocking=device.type == "cuda")


def constant(values: Any, like: torch.Tensor) -> torch.Tensor:
    """Return numbers that never change, nested in tuples, in dtype and on the device of a tensor.

    They are copied to the device once.
    """
    return _constant(values, like.dtype, like.device)


@functools.lru_cache(maxsize=64)
def _constant(values: Any, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)


# Of PyTorch 2.8 and later; before, an error of CUDA is a RuntimeError like any other.
_AcceleratorError: Any = getattr(torch, "AcceleratorError", ())


@contextlib.contextmanager
def usual_settings() -> Iterator[None]:
    """Compute as PyTorch and NumPy do by default, whatever the caller has set.

    Only what holds for one thread is changed: the device of new tensors, whether gradients are
    taken, in which precision, and whether numerical oddities are errors. What holds for all, such
    as the default dtype, is stated wherever it matters. A forked process computes in one thread.
    """
    with (
        own_precision(),
        _threads_that_exist(),
        np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.device("cpu"),
    ):
        yield


@contextlib.contextmanager
def own_precision() -> Iterator[None]:
    """Leave an autocast of the caller: what computes in less than float32 says so itself."""
    with contextlib.ExitStack() as left:
        for kind in ("cpu", *_GPUS):
            if torch.is_autocast_enabled(kind):
                left.enter_context(torch.autocast(kind, enabled=False))
        yield


def lacks_memory(error: RuntimeError) -> bool:
    """Whether an error says that a device has no memory left."""
    texts = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in texts)


@contextlib.contextmanager
def explaining(device: Any, remedy: str) -> Iterator[None]:
    """Say in a sentence what a device lacks, or that it is gone.

    Parameters
    ----------
    device : torch.device or str
    remedy : str
        What takes less memory, as a request.

    Raises
    ------
    MemoryError
        In the place of an error of PyTorch, where the device has no memory left.
    OSError
        In the place of one that says that the device failed.
    """
    try:
        yield
    except RuntimeError as error:
        if lacks_memory(error):
            raise MemoryError(f"The device {device} has too little memory: {remedy}.") from error
        if isinstance(error, _AcceleratorError) or "CUDA error" in str(error):
            reason = str(error).partition("\n")[0]
            raise OSError(
                f"The device {device} failed, or is gone ({reason}), and this process cannot use "
                "it any more: start it again. With memory, a training goes on from its last "
                "checkpoint."
            ) from error
        raise


def make_generator(seed: int) -> torch.Generator:
    """Return a CPU generator, the source of all randomness of one training."""
    return torch.Generator("cpu").manual_seed(seed)
