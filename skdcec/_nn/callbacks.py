"""What happens between the steps of joint training: targets, the stop rule, progress."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from skorch.callbacks import Callback
from torch import Tensor

from skdcec._nn.batches import ShuffledLoader
from skdcec._nn.functional import target_distribution, warm_up_targets

if TYPE_CHECKING:
    from skdcec._nn.nets import ClusteringNet, EmbeddingNet

# Below this share of its start, the learning rate is too small to change labels, so labels that
# do not change then say nothing about convergence.
_EFFECTIVE_SHARE = 0.1

# The warm-up, in which the targets leave the starting clusters, takes this share of the training,
# and so many epochs where it is a long one.
_WARM_UP_SHARE = 0.5
_WARM_UP_EPOCHS = 10

# Rows whose targets are computed at once.
_BLOCK = 2**16


class StopTraining(Exception):
    """Raised inside the loop to end training in good order."""


class TargetRefresh(Callback):
    """Recomputes the targets on the whole data set, and stops when labels have settled.

    Parameters
    ----------
    assign : callable
        Returns the soft assignment of all samples, on the CPU, by the net given.
    interval : "epoch" or int
        Batches between two refreshes.
    tol : float
        Labels have settled when a smaller share than this changed, twice in a row.
    min_steps : int
        Steps before which labels never count as settled.
    start_labels : tensor of shape (n_samples,) or None
        Clusters that the targets begin as and leave gradually, during the warm-up; see
        `warm_up_targets`.

    Attributes
    ----------
    target : tensor of shape (n_samples, n_clusters)
    changes : list of float
        Share of labels that each refresh after the first changed.
    settled : bool
    """

    # Processes that train together assign the samples together.
    together = True

    def __init__(
        self,
        assign: Callable[["ClusteringNet"], Tensor],
        *,
        interval: str | int,
        tol: float,
        min_steps: int,
        start_labels: Tensor | None = None,
    ):
        self.assign = assign
        self.interval = interval
        self.tol = tol
        self.min_steps = min_steps
        self.start_labels = start_labels

    def on_train_begin(self, net: "ClusteringNet", X: ShuffledLoader, **kwargs: Any) -> None:
        self.step = 0
        self._warm_up_steps = 0.0
        if self.start_labels is not None:
            share = _WARM_UP_SHARE * net.schedule.total_steps
            self._warm_up_steps = min(share, _WARM_UP_EPOCHS * len(X))
        self.changes: list[float] = []
        self.settled = False
        self._labels: Tensor | None = None
        self._last_epoch: int | None = None
        if not net.goes_on:
            self._refresh(net)

    def state_dict(self) -> dict[str, Any]:
        """Return what an unfinished training goes on with."""
        return {
            "step": self.step,
            "changes": self.changes,
            "settled": self.settled,
            "last_epoch": self._last_epoch,
            "labels": self._labels,
            "target": self.target,
            "start_labels": self.start_labels,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with what `state_dict` returned."""
        self.step, self.changes, self.settled = state["step"], state["changes"], state["settled"]
        self._last_epoch, self._labels = state["last_epoch"], state["labels"]
        self.target, self.start_labels = state["target"], state["start_labels"]

    def on_batch_end(self, net: "ClusteringNet", **kwargs: Any) -> None:
        self.step += 1
        if self.interval != "epoch" and self.step % int(self.interval) == 0:
            self._refresh(net)

    def on_epoch_end(self, net: "ClusteringNet", dataset_train: ShuffledLoader, **kw: Any) -> None:
        if self.interval == "epoch":
            self._refresh(net)
        net.history.record("label_change", self.changes[-1] if self.changes else math.nan)
        epoch = len(net.history)
        if self._last_epoch is not None and epoch >= self._last_epoch:
            raise StopTraining
        if self._last_epoch is None and self._labels_hold(net):
            self.settled = True
            net.schedule.finish(self.step, len(dataset_train))
            self._last_epoch = epoch + 1

    def _refresh(self, net: "ClusteringNet") -> None:
        self.target = torch.empty(0, device="cpu")  # which makes room for the next
        net.module_.eval()
        assignment = self.assign(net)
        labels = assignment.argmax(dim=1)
        if self._labels is not None:
            self.changes.append((labels != self._labels).sum().item() / len(labels))
        self._labels = labels
        self.target = self._targets(assignment)

    def _targets(self, assignment: Tensor) -> Tensor:
        """Turn assignments into targets, in the same memory."""
        size = assignment.sum(dim=0)
        warm = self.start_labels is not None and self.step < self._warm_up_steps
        with torch.inference_mode():
            for start in range(0, len(assignment), _BLOCK):
                rows = slice(start, start + _BLOCK)
                target = target_distribution(assignment[rows], size)
                if warm and self.start_labels is not None:
                    share = 1 - self.step / self._warm_up_steps
                    target = warm_up_targets(target, self.start_labels[rows], share)
                assignment[rows] = target
        return assignment

    def _labels_hold(self, net: "ClusteringNet") -> bool:
        return (
            len(self.changes) >= 2
            and max(self.changes[-2:]) < self.tol
            and self.step >= max(self.min_steps, self._warm_up_steps)
            and net.schedule(self.step) > _EFFECTIVE_SHARE
        )


class Progress(Callback):
    """Moves a progress bar on by one with every batch and shows the epoch's losses."""

    def __init__(self, bar: Any):
        self.bar = bar

    def on_batch_end(self, net: "EmbeddingNet", **kwargs: Any) -> None:
        self.bar.update()

    def on_epoch_end(self, net: "EmbeddingNet", **kwargs: Any) -> None:
        row = net.history[-1]
        epoch = f"{len(net.history)}/{net.max_epochs}"
        shown = {"epoch": epoch, "loss": f"{row['train_loss']:.4g}"}
        if "label_change" in row:
            shown["label change"] = f"{row['label_change']:.2%}"
        self.bar.set_postfix(shown, refresh=False)
