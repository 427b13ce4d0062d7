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

_BLOCK = 1024


class Notes:
    """Losses of steps and checks of their values, which are still on the device."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._rows: list[tuple[dict[str, Any], list[str]]] = []
        self._errors: list[Callable[[], Exception]] = []
        self._losses, self._passed = _Log(), _Log()

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
        self._rows.append((row, [*losses]))
        # What is only detached would hold on to all that it was computed from.
        self._losses.add(torch.stack([loss.detach() for loss in losses.values()]))

    def add_check(self, passed: Tensor, error: Callable[[], Exception]) -> None:
        """Note whether a check was passed, and the error if not."""
        self._errors.append(error)
        self._passed.add(passed)

    def read(self) -> None:
        """Write the losses to their rows, and raise what the first check that failed says."""
        rows, losses = self._rows, self._losses
        errors, passed = self._errors, self._passed
        self._forget()
        for (row, names), values in zip(rows, losses.read(), strict=True):
            row.update(zip(names, values, strict=True))
        answers = passed.read()
        if not all(answers):
            raise errors[answers.index(False)]()


class _Log:
    """Values of many steps in few tensors.

    Many small ones would lie between the large ones of each step, and keep the memory there from
    being used again.
    """

    def __init__(self) -> None:
        self._blocks: list[Tensor] = []
        self._n = 0

    def add(self, values: Tensor) -> None:
        place = self._n % _BLOCK
        if place == 0:
            self._blocks.append(values.new_empty((_BLOCK, *values.shape)))
        self._blocks[-1][place] = values
        self._n += 1

    def read(self) -> list[Any]:
        return torch.cat(self._blocks)[: self._n].tolist() if self._blocks else []


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
        notes.add_check(passed, error)
    elif not passed:
        raise error()
