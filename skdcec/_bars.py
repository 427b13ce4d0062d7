"""Who shows how far something is? A bar of tqdm, or whoever has asked to be told."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

_maker: ContextVar[Callable[..., Any] | None] = ContextVar("maker", default=None)


def bar(
    total: float,
    description: str,
    *,
    passes: int | None = None,
    verbose: Any = True,
    unit: str = "it",
    **options: Any,
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
    unit : str, default="it"
        Of what `total` counts.
    **options
        Of the bar, if it is one of tqdm.
    """
    make = _maker.get()
    if make is not None and verbose:
        return make(total, description, passes)
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=description, unit=unit, disable=not verbose, **options)


@contextlib.contextmanager
def told_to(make: Callable[..., Any]) -> Iterator[None]:
    """Let ``make(total, description, passes)`` make all bars within the context."""
    token = _maker.set(make)
    try:
        yield
    finally:
        _maker.reset(token)
