"""Who shows how far something is? A bar of tqdm, or whoever has asked to be told."""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Self

# How much is done and how long it takes: steps in a second are nobody's concern.
FORM = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
# Seconds between two states of a bar that nobody sees move, as in the log of a job.
_IN_LOGS = 10.0

_maker: ContextVar[Callable[..., Any] | None] = ContextVar("maker", default=None)


class SilentBar:
    """What has the methods of a bar of tqdm, and shows nothing."""

    n = initial = total = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def update(self, n: float = 1) -> None:
        """Be told that `n` more are done."""

    def set_postfix(self, *args: Any, **kwargs: Any) -> None:
        """Be told what a bar would show at its end."""

    def refresh(self) -> None:
        """Be asked to show it now."""

    def close(self) -> None:
        """Be told that it is over."""


def bar(
    total: float,
    description: str,
    *,
    passes: int | None = None,
    verbose: Any = True,
    unit: str | None = None,
) -> Any:
    """Return what has the methods of a bar of tqdm.

    Parameters
    ----------
    total : float
        Of what `update` is told.
    description : str
        What is being done.
    passes : int, default=None
        How often all data are gone through until `total` is reached.
    verbose : bool or int, default=True
        Whether anything is to be shown.
    unit : str, default=None
        Of what `total` counts. None shows the share alone.
    """
    if not verbose:
        # One of tqdm that shows nothing would still start its monitoring thread.
        return SilentBar()
    make = _maker.get()
    if make is not None:
        return make(total, description, passes)
    from tqdm.auto import tqdm

    form = {"bar_format": FORM} if unit is None else {"unit": unit}
    return tqdm(total=total, desc=description, mininterval=_pause(), **form)


@contextlib.contextmanager
def told_to(make: Callable[..., Any]) -> Iterator[None]:
    """Let ``make(total, description, passes)`` make all bars within the context."""
    token = _maker.set(make)
    try:
        yield
    finally:
        _maker.reset(token)


def without_bars(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function all of whose bars show nothing, since somebody else tells of the whole."""
    with told_to(lambda *_: SilentBar()):
        return function(*arguments)


def _pause() -> float:
    """Return how many seconds there are between two states of a bar."""
    seen = sys.stderr is not None and sys.stderr.isatty()
    # Several processes would write over each other's line.
    alone = multiprocessing.parent_process() is None
    return 0.1 if alone and (seen or "ipykernel" in sys.modules) else _IN_LOGS
