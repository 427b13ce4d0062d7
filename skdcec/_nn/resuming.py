"""How does an unfinished training go on? From what it was before one of its steps."""

from typing import TYPE_CHECKING, Any

import torch
from skorch.callbacks import Callback, EarlyStopping
from skorch.history import History
from torch import Tensor

from skdcec._nn import distributed
from skdcec._nn.batches import ShuffledLoader
from skdcec._nn.checkpoints import Checkpoint

if TYPE_CHECKING:
    from skdcec._nn.nets import EmbeddingNet

# What early stopping counts, which it does not keep in the history.
_EARLY_STOPPING = ("misses_", "dynamic_threshold_", "best_epoch_", "best_model_weights_")


class Resumption(Callback):
    """Writes the state of a training to a checkpoint every so often, and takes it from there.

    It is written before a step rather than after: all that the steps before have caused, among it
    new targets and the end of the training, has happened by then.

    Parameters
    ----------
    checkpoint : Checkpoint or None
        None does nothing.
    loader : ShuffledLoader

    Attributes
    ----------
    n_steps : int
        Steps that were done before.
    n_epochs : int
        Epochs that were finished before.
    """

    def __init__(self, checkpoint: Checkpoint | None, loader: ShuffledLoader):
        self.checkpoint = checkpoint
        self.loader = loader
        self.n_steps = self.n_epochs = 0
        self._state: dict[str, Any] | None = None
        self._row: dict[str, Any] | None = None

    def begin(self, net: "EmbeddingNet") -> bool:
        """Take what there is into a net that has not begun; return whether there was anything."""
        # Of several processes, only the first has a checkpoint.
        state = distributed.on_first(
            lambda: None if self.checkpoint is None else self.checkpoint.read()
        )
        if state is None:
            return False
        try:
            _check(state, net, self.loader)
            for generator, kept in zip(self._generators(net), state["generators"], strict=True):
                generator.set_state(kept)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError):
            if self.checkpoint is not None:
                self.checkpoint.refuse("does not fit")
            return False
        self._state = state
        net.module_.load_state_dict(state["module"])
        net.schedule.decay = None if state["decay"] is None else tuple(state["decay"])
        history = History(state["history"])
        # skorch begins an epoch by a new row, which then becomes this one.
        self._row = history.pop()
        self.n_steps = len(history) * len(self.loader) + len(self._row["batches"])
        self.loader.begin_at(len(self._row["batches"]), state["order"])
        self.n_epochs = len(history)
        net.history = history
        for group in net.optimizer_.param_groups:
            # Where there is a history, the schedule of the learning rate expects it.
            group.setdefault("initial_lr", group["lr"])
        return True

    def complete(self, net: "EmbeddingNet") -> None:
        """Take the rest, which callbacks have set to a start when the training began."""
        if self._state is None:
            return
        _load_optimizer(net.optimizer_, self._state["optimizer"])
        scheduler = dict(net.callbacks_)["lr_schedule"].lr_scheduler_
        scheduler.load_state_dict({**self._state["scheduler"], "lr_lambdas": [None]})
        kept = self._state["callbacks"]
        for name, callback in net.callbacks_:
            if name in kept:
                _load_callback(callback, kept[name])
        self._state = None

    def on_epoch_begin(self, net: "EmbeddingNet", **kwargs: Any) -> None:
        if self._row is not None:
            net.history[-1].update(self._row)
            self._row = None

    def on_batch_begin(self, net: "EmbeddingNet", **kwargs: Any) -> None:
        if self.checkpoint is not None and self.checkpoint.is_due:
            net.read_losses()
            *rows, row = net.history
            # The last batch has begun, and has nothing recorded.
            history = [*rows, {**row, "batches": row["batches"][:-1]}]
            self.checkpoint.write(self._state_of(net, history))

    def _state_of(self, net: "EmbeddingNet", history: list[dict[str, Any]]) -> dict[str, Any]:
        scheduler = dict(net.callbacks_)["lr_schedule"].lr_scheduler_
        return {
            "module": net.module_.state_dict(),
            "optimizer": {
                "state": net.optimizer_.state_dict()["state"],
                "lr": [float(group["lr"]) for group in net.optimizer_.param_groups],
            },
            "scheduler": {
                "last_epoch": scheduler.last_epoch,
                "_step_count": scheduler._step_count,
                "_last_lr": [float(rate) for rate in scheduler.get_last_lr()],
            },
            "decay": net.schedule.decay,
            "generators": [one.get_state() for one in self._generators(net)],
            "order": self.loader.order_state,
            "history": history,
            "callbacks": {
                name: state
                for name, callback in net.callbacks_
                if (state := _callback_state(callback)) is not None
            },
        }

    def _generators(self, net: "EmbeddingNet") -> list[torch.Generator]:
        return list(dict.fromkeys([net.generator, self.loader.generator]))


def _check(state: dict[str, Any], net: "EmbeddingNet", loader: ShuffledLoader) -> None:
    """Raise if a state is not one of this net, before anything of it is used."""
    module = net.module_.state_dict()
    if {name: _form(tensor) for name, tensor in state["module"].items()} != {
        name: _form(tensor) for name, tensor in module.items()
    }:
        raise ValueError("The network is another one.")
    parameters = net.optimizer_.param_groups[0]["params"]
    for number, values in state["optimizer"]["state"].items():
        shape = parameters[int(number)].shape
        if any(value.ndim and value.shape != shape for value in values.values()):
            raise ValueError("The optimiser is another one.")
    history = state["history"]
    if not 0 < len(history) <= net.max_epochs:
        raise ValueError("The history is another one.")
    if any(len(row["batches"]) > len(loader) for row in history):
        raise ValueError("The history is that of other data.")


def _form(tensor: Tensor) -> tuple[torch.dtype, torch.Size]:
    return tensor.dtype, tensor.shape


def _load_optimizer(optimizer: torch.optim.Optimizer, kept: dict[str, Any]) -> None:
    current = optimizer.state_dict()
    parameters = optimizer.param_groups[0]["params"]
    current["state"] = {
        int(number): {
            # In the memory layout of the weights, as those that the optimiser makes.
            name: torch.empty_like(parameters[int(number)]).copy_(value) if value.ndim else value
            for name, value in values.items()
        }
        for number, values in kept["state"].items()
    }
    for group, rate in zip(current["param_groups"], kept["lr"], strict=True):
        group["lr"] = rate
    optimizer.load_state_dict(current)


def _callback_state(callback: Callback) -> dict[str, Any] | None:
    """Return what a callback keeps beside the history, if it says so or is known."""
    if hasattr(callback, "state_dict") and hasattr(callback, "load_state_dict"):
        return dict(callback.state_dict())
    if isinstance(callback, EarlyStopping):
        return {name: getattr(callback, name) for name in _EARLY_STOPPING}
    return None


def _load_callback(callback: Callback, kept: dict[str, Any]) -> None:
    if hasattr(callback, "load_state_dict"):
        callback.load_state_dict(kept)
    else:
        vars(callback).update(kept)
