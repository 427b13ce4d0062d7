"""What steps compute and nobody looks at before their epoch has ended.

To look at a number waits until a GPU has done all that it was told before. So losses, and whether
values are finite, stay on the device while there are steps to do, and are read together.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor


class Notes:
    """Losses of steps and checks of their values, which are still on the device."""

    def __init__(self) -> None:
        self._checks: list[tuple[Tensor, Callable[[], Exception]]] = []
        self._losses: list[tuple[dict[str, Any], dict[str, Tensor]]] = []

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Let `check` in this block leave its answer for later."""
        token = _NOTES.set(self)
        try:
            yield
        finally:
            _NOTES.reset(token)

    def add_losses(self, row: dict[str, Any], losses: dict[str, Tensor]) -> None:
        """Note the losses of a step, to be written to its row of the history."""
        self._losses.append((row, {name: loss.detach() for name, loss in losses.items()}))

    def read(self) -> None:
        """Write the losses to their rows, and raise what the first check that failed says."""
        checks, losses = self._checks, self._losses
        self._checks, self._losses = [], []
        if losses:
            values = torch.stack([loss for _, step in losses for loss in step.values()]).tolist()
            names = ((row, name) for row, step in losses for name in step)
            for (row, name), value in zip(names, values, strict=True):
                row[name] = value
        if checks:
            passed = torch.stack([check for check, _ in checks]).tolist()
            if not all(passed):
                raise checks[passed.index(False)][1]()


_NOTES: contextvars.ContextVar[Notes | None] = contextvars.ContextVar("notes", default=None)


def check(passed: Tensor, error: Callable[[], Exception]) -> None:
    """Raise an error unless a tensor of one value is true; in a step of training, later.

    Parameters
    ----------
    passed : tensor of shape (), dtype bool
    error : callable
        Makes the error.
    """
    notes = _NOTES.get()
    if notes is not None:
        notes._checks.append((passed, error))
    elif not passed:
        raise error()
