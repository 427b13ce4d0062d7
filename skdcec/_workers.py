"""When do worker processes end? With the process that they work for."""

import functools
import inspect
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from typing import Any, Self

import joblib

_NAME = "skdcec ends with its parent"

# Needs nothing that takes long to import, since a parent may be gone by then.
_WATCH = """
import os, threading, time
def watch():
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
threading.Thread(target=watch, name=name, daemon=True).start()
"""


def ending_with_parent() -> dict[str, Any]:
    """Return options of `joblib.Parallel`: its processes watch their parent from the beginning.

    Earlier versions of joblib take none, and there `EndsWithParent` begins to watch with the first
    work. What is killed before a worker has got any leaves it waiting for minutes.
    """
    backend, _ = joblib.parallel.get_active_backend()
    options = inspect.signature(joblib.Parallel).parameters.values()
    takes_any = any(option.kind is option.VAR_KEYWORD for option in options)
    if os.name != "posix" or not takes_any or type(backend).__name__ != "LokyBackend":
        return {}
    return {"initializer": exec, "initargs": (_WATCH, {"parent": os.getpid(), "name": _NAME})}


class EndsWithParent:
    """A function which lets a worker of joblib end soon after its parent, however that ends.

    Each worker holds both ends of the pipe that its work comes through, so it is never told that
    nobody is left to send any: after a kill it would finish what it has, and wait for minutes.

    Parameters
    ----------
    function : callable
    """

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.function(*args, **kwargs)

    def __reduce__(self) -> tuple[Callable[[], Self], tuple[()], dict[str, Any]]:
        # The function comes after the watch has begun, since importing it may take long.
        return type(self)._unpickle, (), {"function": self.function}

    @classmethod
    def _unpickle(cls) -> Self:
        _watch_parent()
        return cls.__new__(cls)


def _watch_parent() -> None:
    parent = multiprocessing.parent_process()
    is_worker = "loky" in type(multiprocessing.current_process()).__module__
    if parent is None or not is_worker or os.name != "posix":
        return
    if any(thread.name == _NAME for thread in threading.enumerate()):
        return
    parent_id = parent.pid

    def watch() -> None:
        while os.getppid() == parent_id:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, name=_NAME, daemon=True).start()
