"""How far is the whole of a command, in words: what is being done, how far, how long?"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Self

from skdcec import _bars
from skdcec._cli.console import duration

# What the library's bars, and the stages of drawing the page, are about.
_WORDS = {
    "Loading": ("loading", "Reading images"),
    "Features": ("features", "Looking at images with the network"),
    "words": ("words", "Reading words with the network"),
    "clusters": ("clusters", "Comparing images and finding clusters"),
    "NClustersSearch": ("search", "Comparing numbers of clusters"),
    "fetching": ("fetching", "Fetching images"),
    "reading": ("pictures", "Making small pictures"),
    "map": ("map", "Laying out the map"),
    "encoding": ("thumbnails", "Making thumbnails"),
}
PAGE_STAGES = ("pictures", "thumbnails")
_PAUSE = 0.25  # seconds between two lines, or two states of the bar
_NEWS = 1.25  # less than so many times as long as was said is no reason to say so


class Stage:
    """One part of the work, told like a bar of tqdm."""

    def __init__(self, progress: Progress, total: float, name: str, text: str, passes: int | None):
        self.progress, self.total, self.name, self.text = progress, total, name, text
        self.passes = passes
        self.course = progress.courses.get(name, ())
        self.n = self.initial = 0.0
        self.start = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def update(self, n: float = 1) -> None:
        """Tell that `n` more are done."""
        self.n += n
        self.progress.show()

    def set_postfix(self, *args: Any, **kwargs: Any) -> None:
        """Tell what a bar would show at its end, and words do not."""

    def refresh(self) -> None:
        """Show it now."""
        self.progress.show()

    def close(self) -> None:
        """Tell that it is over."""
        self.progress.ended(self)

    @property
    def share(self) -> float:
        """How much of it is done, of the time that it takes."""
        return self.share_at(self.n)

    def share_at(self, n: float) -> float:
        """How much of the time it takes is over when so much is done."""
        if not self.total:
            return 1.0
        of_all = self._planned_until(self.total)
        return min(1.0, self._planned_until(n) / of_all if of_all else n / self.total)

    def _planned_until(self, n: float) -> float:
        """Return the seconds that so much was planned to take, or how much it is."""
        if not self.course:
            return n
        seconds = 0.0
        for much, planned in self.course:
            seconds += planned * (min(1.0, n / much) if much else 1.0)
            n = max(0.0, n - much)
        return seconds

    @property
    def words(self) -> str:
        """What is being done, and how far it is."""
        if self.passes:
            current = min(self.passes, int(self.share * self.passes) + 1)
            return f"{self.text}, pass {current} of {self.passes}"
        if self.name == "search" or self.total <= 1:
            return self.text
        return f"{self.text}, {int(self.n)} of {int(self.total)}"


class Progress:
    """One bar for the whole of a command, or a line of JSON now and then.

    Parameters
    ----------
    form : {"bar", "json", "none"}
    """

    def __init__(self, form: str):
        self.form = form
        self.expected: dict[str, float] = {}
        self.courses: dict[str, Sequence[tuple[float, float]]] = {}
        # Whether what is shown is the share of the whole, and whether that can be told already.
        self.is_planned = self.has_plan = False
        self.current: Stage | None = None
        self._start = self._told = time.monotonic()
        self._share = 0.0
        self._left: float | None = None
        self._bar: Any = None

    def plan(
        self,
        seconds: Mapping[str, float],
        courses: Mapping[str, Sequence[tuple[float, float]]] = MappingProxyType({}),
    ) -> None:
        """Say which parts are to come, and how long they take.

        Parameters
        ----------
        seconds : mapping of str to float
        courses : mapping of str to sequence of (float, float)
            Of parts that do not go evenly: how much of their total takes how many seconds.
        """
        self.expected, self.courses = dict(seconds), dict(courses)
        self.is_planned = self.has_plan = True
        self._left = None

    def make(self, total: float, description: str, passes: int | None = None) -> Stage:
        """Begin a part; what comes before it in the plan is over."""
        name, text = _WORDS.get(description, ("pretraining", "Learning to compare images"))
        if description.startswith("Deep"):
            name, text = "joint", "Forming clusters"
        for earlier in list(self.expected):
            if name not in self.expected or earlier == name:
                break
            del self.expected[earlier]
        self.current = Stage(self, total, name, text, passes)
        self.show(now=True)
        return self.current

    def drawing(self, stage: str, done: int, total: int) -> None:
        """Take what :func:`skdcec.report.write_report` and others tell as ``progress``."""
        name, _ = _WORDS.get(stage, (stage, ""))
        if self.current is None or self.current.name != name:
            self.make(total, stage)
        assert self.current is not None
        self.current.update(done - self.current.n)
        if done >= total:
            self.current.close()

    def ended(self, stage: Stage) -> None:
        """Take a part as over."""
        self.expected.pop(stage.name, None)
        if self.current is stage:
            # It may have been over before it was all told, as where labels settle.
            stage.n = stage.total
            self.show(now=True)
            self.current = None
        if not self.expected:
            # What is printed next has the line for itself: a bar that is only cleared comes back
            # with the next message.
            self.close()

    @property
    def seconds_left(self) -> float | None:
        """What is left of all parts, or None before there is anything to tell from."""
        later, stage = sum(self.expected.values()), self.current
        if stage is None:
            return later or None
        spent, share = time.monotonic() - stage.start, stage.share
        planned = self.expected.get(stage.name)
        fresh = share - (stage.share_at(stage.initial) if stage.total else 0)
        if fresh <= 0:
            return later or None
        measured = spent * (1 - share) / fresh
        if planned is None:
            return later + measured
        # The plan counts less, the more of the part has been seen.
        trust = min(1.0, 5 * share)
        return later - planned + trust * measured + (1 - trust) * planned * (1 - share)

    def _promised(self, left: float | None) -> float | None:
        """Return what to say is left: no more than was said before, but for real news."""
        before, self._left = self._left, left
        if left is not None and before is not None and before < left < _NEWS * before + 1:
            self._left = before
        return self._left

    def show(self, *, now: bool = False) -> None:
        """Bring what is shown up to date, if that was not just done."""
        moment = time.monotonic()
        if self.form == "none" or self.current is None:
            return
        if moment - self._told < _PAUSE and not now:
            return
        self._told = moment
        left, spent = self._promised(self.seconds_left), moment - self._start
        if not self.is_planned:
            self._share = self.current.share
        elif left is not None and self.has_plan:
            self._share = max(self._share, spent / (spent + left) if spent + left else 0.0)
        text = self.current.words
        if self.form == "json":
            state = {
                "stage": self.current.name,
                "text": text,
                "done": round(self.current.n, 1),
                "of": round(self.current.total, 1),
                "share": round(self._share, 3),
                "seconds_left": None if left is None else round(left, 1),
            }
            print(json.dumps({"progress": state}), file=sys.stderr, flush=True)
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=100, bar_format="{bar:16} {desc}", leave=False)
        ending = "" if left is None else f", {duration(left)} left"
        self._bar.n = round(100 * self._share, 1)
        self._bar.set_description_str(text + ending)

    def close(self) -> None:
        """Show no more."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


_current: ContextVar[Progress | None] = ContextVar("current", default=None)


def current() -> Progress:
    """Return what tells how far this command is."""
    return _current.get() or Progress("none")


@contextlib.contextmanager
def showing(*, quiet: bool, form: str) -> Iterator[Progress]:
    """Show how far the command is, as long as the context lasts."""
    progress = Progress("none" if quiet else form)
    token = _current.set(progress)
    try:
        with _bars.told_to(progress.make):
            yield progress
    finally:
        _current.reset(token)
        progress.close()
