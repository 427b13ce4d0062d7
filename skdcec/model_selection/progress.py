"""How far is a search? One bar for the whole of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from skdcec import _bars

# Shares of the progress bar, about as the time goes: all joint trainings, and the rest.
PRETRAINING, SCREENING, JOINT = 60, 20, 40


class Bar:
    """Shows how far the search is; does nothing without a bar."""

    def __init__(self, bar: Any = None):
        self._bar = bar
        # What the current training counts for, and what of that is shown already.
        self._share = PRETRAINING
        self._shown = 0.0

    def joint(self, n_jobs: int) -> None:
        """Say how many trainings there are."""
        self._share, self._shown = JOINT, 0.0
        if self._bar is not None:
            self._bar.total = PRETRAINING + SCREENING + JOINT * n_jobs
            self._bar.refresh()

    def done(self, share: float) -> None:
        """Say that a part of the search is done."""
        self._move(share - self._shown)
        self._shown = 0.0

    def within(self, total: float, description: str, passes: int | None = None) -> "Within":
        """Return the bar of a training, which moves this one."""
        return Within(self, total, self._shown, self._share)

    def move_to(self, share: float) -> None:
        """Say how far the current training is, of all that it counts for."""
        if share > self._shown:
            self._move(share - self._shown)
            self._shown = share

    def _move(self, n: float) -> None:
        if self._bar is not None:
            # Shares add up to a little more than the whole, of which tqdm would warn.
            self._bar.update(min(n, self._bar.total - self._bar.n))


class Within(_bars.SilentBar):
    """The bar of a training within a search: the bar of the search moves instead."""

    def __init__(self, bar: Bar, total: float, start: float, end: float):
        self._whole, self.total = bar, total
        self._start, self._end = start, end

    def update(self, n: float = 1) -> None:
        """Tell that `n` more are done."""
        self.n += n
        share = min(1.0, self.n / self.total) if self.total else 1.0
        self._whole.move_to(self._start + share * (self._end - self._start))


@contextmanager
def progress(verbose: Any, n_jobs: int) -> Iterator[Bar]:
    """Show a bar if asked to, for about as many trainings as are expected.

    The bars of these give way to it.
    """
    if not verbose:
        yield Bar()
        return
    total = PRETRAINING + SCREENING + JOINT * n_jobs
    with _bars.bar(total, "NClustersSearch") as shown:
        bar = Bar(shown)
        with _bars.told_to(bar.within):
            yield bar
