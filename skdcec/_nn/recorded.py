"""How a GPU does a step of training that it was told once: from a recording.

Telling a GPU what to do, one operation after the other, takes the processor longer than the step
of a small network takes the GPU. A recording (a CUDA graph) does the same operations on the same
memory, at one word. What changes from step to step is copied there before: the batch, the random
numbers of the augmentations, the learning rate.
"""

import contextlib
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from skorch.callbacks import Callback, EarlyStopping, EpochTimer, LRScheduler, PassthroughScoring
from torch import Tensor

from skdcec._callers import caller_level
from skdcec._nn.draws import Draws
from skdcec._nn.later import Step
from skdcec._nn.modules import AutoencoderModule, ClusteringModule, ContrastiveModule

if TYPE_CHECKING:
    from skdcec._nn.nets import EmbeddingNet

# Steps of a kind before one is recorded: what libraries prepare for the first ones is no part of
# it. In fewer steps than the other, a recording would not pay.
_WARM_UP = 3
_LEAST_STEPS = 60

# A recording keeps the memory of a step for itself. Where that is a large part of all, the step is
# so large that nothing is gained.
_FREE_SHARE = 0.5

# What may change how the next step is computed, and the callbacks of skorch that do not.
_HOOKS = ("on_epoch_begin", "on_batch_begin", "on_grad_computed")
_HARMLESS = (EarlyStopping, EpochTimer, LRScheduler, PassthroughScoring)


def recorder_of(net: "EmbeddingNet", n_steps: int) -> "Recorder | None":
    """Return what records the steps of a training, where that gains time and changes nothing.

    Parameters
    ----------
    net : EmbeddingNet
        Ready to train.
    n_steps : int
        Steps that it has before it.
    """
    device = torch.device(net.device)
    if device.type != "cuda" or n_steps < _LEAST_STEPS or net.ranks is not None:
        return None
    module = net.module_
    if isinstance(module, ClusteringModule):
        module = module.encoder
    # Of a network or a function of others nobody knows what it does from step to step.
    functions = (net.augmentation, getattr(net, "joint_loss", None))
    if not isinstance(module, (AutoencoderModule, ContrastiveModule)) or not all(
        function is None or getattr(function, "takes_shards", False) for function in functions
    ):
        return None
    if any(_may_interfere(callback) for _, callback in net.callbacks_):
        return None
    return Recorder(net)


def _may_interfere(callback: Any) -> bool:
    if type(callback).__module__.startswith("skdcec.") or isinstance(callback, _HARMLESS):
        return False
    return any(getattr(type(callback), hook) is not getattr(Callback, hook) for hook in _HOOKS)


class Recorder:
    """Records a step of each kind of batch, and repeats it.

    Parameters
    ----------
    net : EmbeddingNet
    """

    def __init__(self, net: "EmbeddingNet"):
        self._net = net
        self._seen: Counter[Any] = Counter()
        self._recordings: dict[Any, Recording] = {}
        self._draws: dict[Any, Draws] = {}
        self._stream = torch.cuda.Stream(net.device)
        self._gave_up = False

    def step(self, batch: tuple[Tensor, ...]) -> Step | None:
        """Do a step from a recording; return None where it has to be done without, `beside`."""
        form = _form(batch)
        recording = self._recordings.get(form)
        if recording is None:
            self._seen[form] += 1
            if self._seen[form] > _WARM_UP and not self._gave_up:
                recording = self._record(batch, self._draws[form])
            if recording is None:
                self._draws[form] = Draws()
                return None
            self._recordings[form] = recording
        return recording.repeat(batch, self._net.optimizer_)

    @contextlib.contextmanager
    def beside(self, batch: tuple[Tensor, ...]) -> Iterator[None]:
        """Do a step as PyTorch wants those before a recording: beside all else on the device."""
        current = torch.cuda.current_stream(self._net.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream), self._draws[_form(batch)].noted():
            yield
        current.wait_stream(self._stream)

    def _record(self, batch: tuple[Tensor, ...], draws: Draws) -> "Recording | None":
        free, total = torch.cuda.mem_get_info(self._net.device)
        if free < _FREE_SHARE * total:
            self._gave_up = True
            return None
        current = torch.cuda.current_stream(self._net.device)
        try:
            return Recording(self._net, batch, draws, self._stream)
        except RuntimeError as error:
            self._gave_up = True
            # PyTorch does not come back from a recording that failed.
            with torch.cuda.device(current.device):
                torch.cuda.set_stream(current)
            self._net.optimizer_.zero_grad(set_to_none=True)
            reason = str(error).partition("\n")[0]
            warnings.warn(
                f"The device {self._net.device} could not record a step of training ({reason}): "
                "training takes longer, and gives the same.",
                UserWarning,
                stacklevel=caller_level(),
            )
            return None


def _form(batch: tuple[Tensor, ...]) -> Any:
    return tuple((part.shape, part.stride(), part.dtype) for part in batch)


class Recording:
    """One step of training, for batches of one shape.

    Parameters
    ----------
    net : EmbeddingNet
    batch : tuple of tensors
        For the shape of it.
    draws : Draws
        What an earlier step drew, for a batch of this shape.
    stream : torch.cuda.Stream
        On the device of the net, which need not be the current one.
    """

    def __init__(
        self,
        net: "EmbeddingNet",
        batch: tuple[Tensor, ...],
        draws: Draws,
        stream: torch.cuda.Stream,
    ):
        self._batch = tuple(torch.empty_like(part).copy_(part) for part in batch)
        self._draws = draws
        optimizer = net.optimizer_
        self._rates = [
            torch.full((), float(group["lr"]), device=net.device)
            for group in optimizer.param_groups
        ]
        self._graph = torch.cuda.CUDAGraph()
        optimizer.zero_grad(set_to_none=True)
        with (
            self._reading_rates(optimizer),
            self._draws.placed(),
            torch.cuda.device(stream.device),
            torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"),
        ):
            self._step = net.computed(self._batch)
            optimizer.step()

    @contextlib.contextmanager
    def _reading_rates(self, optimizer: torch.optim.Optimizer) -> Iterator[None]:
        """Let the optimizer look up its learning rates on the device."""
        groups = optimizer.param_groups
        kept = [{name: group[name] for name in ("lr", "capturable")} for group in groups]
        try:
            for group, rate in zip(groups, self._rates, strict=True):
                group.update(lr=rate, capturable=True)
            yield
        finally:
            for group, values in zip(groups, kept, strict=True):
                group.update(values)

    def repeat(self, batch: tuple[Tensor, ...], optimizer: torch.optim.Optimizer) -> Step:
        """Do the step with another batch; the values of the result hold until the next one."""
        for place, part in zip(self._batch, batch, strict=True):
            place.copy_(part)
        for rate, group in zip(self._rates, optimizer.param_groups, strict=True):
            rate.fill_(group["lr"])
        self._draws.renew()
        self._graph.replay()
        return self._step
