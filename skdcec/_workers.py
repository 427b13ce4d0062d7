"""When do worker processes end? With the process that they work for."""

import functools
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from typing import Any, Self


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


def _watch_parent(name: str = "skdcec ends with its parent") -> None:
    parent = multiprocessing.parent_process()
    is_worker = "loky" in type(multiprocessing.current_process()).__module__
    if parent is None or not is_worker or os.name != "posix":
        return
    if any(thread.name == name for thread in threading.enumerate()):
        return
    parent_id = parent.pid

    def watch() -> None:
        while os.getppid() == parent_id:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, name=name, daemon=True).start()
