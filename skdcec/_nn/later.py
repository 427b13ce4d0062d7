"""What steps compute and nobody looks at before their epoch has ended.

To look at a number waits until a GPU has done all that it was told before. So losses, and whether
values are finite, stay on the device while there are steps to do, and are read together.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_BLOCK = 1024


Error = Callable[[], Exception]


@dataclass(frozen=True)
class Step:
    """What a step of training left on the device.

    Parameters
    ----------
    names : list of str
        Of the losses.
    errors : list of callable
        What makes the error of each check.
    values : tensor of shape (n_losses + n_checks,)
        Losses, and 1 for each check that was passed.
    """

    names: list[str]
    errors: list[Error]
    values: Tensor


class Checks:
    """Checks whose answers are still on the device."""

    def __init__(self) -> None:
        self._passed: list[Tensor] = []
        self._errors: list[Error] = []

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Let `check` in this block leave its answer for later."""
        token = _CHECKS.set(self)
        try:
            yield
        finally:
            _CHECKS.reset(token)

    def add(self, passed: Tensor, error: Error) -> None:
        """Note whether a check was passed, and the error if not."""
        self._passed.append(passed)
        self._errors.append(error)

    def step(self, losses: Mapping[str, Tensor]) -> Step:
        """Return what a step left: these losses, and the answers."""
        # What is only detached would hold on to all that it was computed from.
        values = torch.stack([loss.detach() for loss in losses.values()])
        answers = torch.stack(self._passed).to(values.dtype)
        return Step([*losses], self._errors, torch.cat([values, answers]))


class Notes:
    """What the steps of an epoch left, for when it has ended."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._rows: list[tuple[dict[str, Any], Step]] = []
        self._values = _Log()

    def add(self, row: dict[str, Any], step: Step) -> dict[str, Tensor]:
        """Note what belongs into a row of the history; return the losses, as they stay."""
        self._rows.append((row, step))
        kept = self._values.add(step.values)
        return dict(zip(step.names, kept.unbind(), strict=False))

    def read(self) -> None:
        """Write the losses to their rows, and raise what the first check that failed says."""
        rows, values = self._rows, self._values
        self._forget()
        failed = None
        for (row, step), numbers in zip(rows, values.read(), strict=True):
            n_losses = len(step.names)
            row.update(zip(step.names, numbers[:n_losses], strict=True))
            if failed is None and not all(numbers[n_losses:]):
                failed = step.errors[numbers.index(0, n_losses) - n_losses]
        if failed is not None:
            raise failed()


class _Log:
    """Values of many steps in few tensors.

    Many small ones would lie between the large ones of each step, and keep the memory there from
    being used again.
    """

    def __init__(self) -> None:
        self._blocks: list[Tensor] = []
        self._n = 0

    def add(self, values: Tensor) -> Tensor:
        """Copy values; return where they are."""
        if not self._blocks or self._n == _BLOCK or self._blocks[-1].shape[1:] != values.shape:
            self._begin(values)
        place = self._blocks[-1][self._n]
        place.copy_(values)
        self._n += 1
        return place

    def _begin(self, values: Tensor) -> None:
        if self._blocks:
            self._blocks[-1] = self._blocks[-1][: self._n]
        self._blocks.append(values.new_empty((_BLOCK, *values.shape)))
        self._n = 0

    def read(self) -> list[list[float]]:
        if not self._blocks:
            return []
        *full, last = self._blocks
        if all(block.shape[1:] == last.shape[1:] for block in full):
            full, last = [], torch.cat([*full, last[: self._n]])
            return last.tolist()
        return [row for block in [*full, last[: self._n]] for row in block.tolist()]


_CHECKS: contextvars.ContextVar[Checks | None] = contextvars.ContextVar("checks", default=None)


def check(passed: Tensor, error: Error) -> None:
    """Raise an error unless a tensor of one value is true; in a step of training, later.

    Parameters
    ----------
    passed : tensor of shape (), dtype bool
    error : callable
        Makes the error.
    """
    checks = _CHECKS.get()
    if checks is not None:
        checks.add(passed, error)
    elif not passed:
        raise error()
