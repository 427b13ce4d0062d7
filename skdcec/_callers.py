"""Whose line does a warning point to? That of the caller of this library."""

import sys
from types import FrameType

# What stands between a call by the user and a warning of ours.
_BETWEEN = {"skdcec", "skorch", "sklearn", "joblib", "torch", "contextlib"}


def caller_level() -> int:
    """Return the `stacklevel` of the first line that is not ours, for `warnings.warn` beside it.

    Counted, since the same check is reached by `fit` and by `fit_predict`, alone and in a search.
    """
    frame: FrameType = sys._getframe(1)
    level = 1
    while frame.f_back is not None and _package(frame) in _BETWEEN:
        frame, level = frame.f_back, level + 1
    return level


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__")).partition(".")[0]
