"""Random numbers for the images of a batch: drawn on the CPU, wherever the batch is."""

import contextlib
import contextvars
from collections.abc import Iterator

import torch
from torch import Tensor

from skdcec._nn import distributed
from skdcec._nn.device import moved


class Draws:
    """The random numbers of a step that is to be recorded, and then the places they are read from.

    The places are made before the recording: what a recording itself makes may lie in memory that
    its earlier operations write to.
    """

    def __init__(self) -> None:
        self._places: list[tuple[Tensor, torch.Generator]] = []
        self._asked_for: Iterator[tuple[Tensor, torch.Generator]] | None = None

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Note what a step in this block draws."""
        self._places.clear()
        with self._used():
            yield

    @contextlib.contextmanager
    def placed(self) -> Iterator[None]:
        """Let `uniform` in this block return the places of the step that was noted."""
        self._asked_for = iter(self._places)
        try:
            with self._used():
                yield
        finally:
            self._asked_for = None

    @contextlib.contextmanager
    def _used(self) -> Iterator[None]:
        token = _DRAWS.set(self)
        try:
            yield
        finally:
            _DRAWS.reset(token)

    def uniform(self, shape: tuple[int, int], batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return numbers, or the place where they will be."""
        if self._asked_for is not None:
            return next(self._asked_for)[0]
        drawn = moved(_drawn(shape, generator).to(batch.dtype), batch.device)
        self._places.append((torch.empty_like(drawn), generator))
        return drawn

    def renew(self) -> None:
        """Draw the numbers of a step, in the order in which it asks for them."""
        for place, generator in self._places:
            place.copy_(_drawn(tuple(place.shape), generator), non_blocking=True)


_DRAWS: contextvars.ContextVar[Draws | None] = contextvars.ContextVar("draws", default=None)


def uniform(n_draws: int, batch: Tensor, generator: torch.Generator) -> Tensor:
    """Draw numbers in [0, 1) for each image of a batch, and bring them to its device.

    Parameters
    ----------
    n_draws : int
    batch : tensor of shape (n_samples, ...)
    generator : torch.Generator

    Returns
    -------
    tensor of shape (n_draws, n_samples)
        Of the batch's dtype.
    """
    n_rows, rows = distributed.drawn_rows(len(batch))
    draws = _DRAWS.get()
    if draws is not None:
        return draws.uniform((n_draws, n_rows), batch, generator)[:, rows]
    drawn = _drawn((n_draws, n_rows), generator)
    return moved(drawn[:, rows].to(batch.dtype), batch.device)


def _drawn(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float32)
