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

    def joint(self, n_jobs: int) -> None:
        """Say how many trainings there are."""
        if self._bar is not None:
            self._bar.total = PRETRAINING + SCREENING + JOINT * n_jobs
            self._bar.refresh()

    def done(self, share: float) -> None:
        """Say that a part of the search is done."""
        if self._bar is not None:
            self._bar.update(share)


@contextmanager
def progress(verbose: Any, n_jobs: int) -> Iterator[Bar]:
    """Show a bar if asked to, for about as many trainings as are expected."""
    if not verbose:
        yield Bar()
        return
    form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    total = PRETRAINING + SCREENING + JOINT * n_jobs
    with _bars.bar(total, "NClustersSearch", bar_format=form) as bar:
        yield Bar(bar)
