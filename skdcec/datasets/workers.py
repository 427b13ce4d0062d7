"""Who decodes what may have to be stopped? Processes, which unlike threads can be."""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, NamedTuple, cast

from PIL import Image

from skdcec.datasets.budget import BYTES_PER_PIXEL, MIN_BYTES, UnusableImage, too_long
from skdcec.datasets.within import version_of

__all__ = ["decode_in_worker", "serve"]

# How much longer a worker may take by the clock, where the system cannot count its processor time
# or has others to serve.
PATIENCE = 4

# How a process ends whose timer has run out.
_OUT_OF_TIME = -int(getattr(signal, "SIGPROF", 999))

# Pixels in one message.
_BAND = 2**18

# The packages' own modules, which import half of the library, are left out.
_START = """
import json, sys, types
path, folder = json.loads(sys.stdin.buffer.readline())
sys.path[:] = path
for name in ("skdcec", "skdcec.datasets"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [folder + name[6:].replace(".", "/")]
from skdcec.datasets.workers import serve
serve()
"""


class _Worker:
    """A process, and the pipes to it."""

    def __init__(self) -> None:
        settings = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            # Isolated: no module is taken from the folder where the pictures are.
            [sys.executable, "-I", "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | settings,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        self.requests = cast(IO[bytes], self.process.stdin)
        self.answers = cast(IO[bytes], self.process.stdout)
        folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        self.send([[entry for entry in sys.path if entry], folder])

    def send(self, message: Any) -> None:
        self.requests.write(json.dumps(message).encode() + b"\n")
        self.requests.flush()

    def read(self, n_bytes: int) -> bytes:
        data = self.answers.read(n_bytes)
        if len(data) < n_bytes:
            raise EOFError
        return data

    def stop(self) -> None:
        self.process.kill()
        self.close()
        self.process.wait()

    def close(self) -> None:
        for pipe in (self.requests, self.answers):
            with suppress(OSError):
                pipe.close()


_idle: list[_Worker] = []

# What was stopped is not tried once more for the page: by path, length and time.
_stopped: dict[tuple[Any, ...], str] = {}


def _next_worker() -> _Worker:
    # Other threads may take what was there a moment ago, and other programs may end it.
    with suppress(IndexError):
        while (worker := _idle.pop()).process.poll() is not None:
            worker.close()
        return worker
    return _Worker()


def decode_in_worker(
    path: str | bytes | os.PathLike[str], side: int, max_pixels: int, seconds: float
) -> tuple[Image.Image, tuple[int, int]]:
    """Decode a file in a process that is ended when the file costs too much.

    Parameters
    ----------
    path : str, bytes or path-like
        Path of the file.
    side, max_pixels : int
        As in :func:`skdcec.datasets.decode.read_picture`.
    seconds : float
        Of processor time.

    Returns
    -------
    image, size
        The parts of a picture.

    Raises
    ------
    UnusableImage
        If no picture can be had, which includes that the decoder crashed.
    """
    version = (os.path.abspath(os.fsdecode(path)), *version_of(path), max_pixels)
    if version in _stopped:
        raise UnusableImage(_stopped[version])
    try:
        worker = _next_worker()
    except (OSError, ValueError, TypeError) as error:
        raise UnusableImage(f"needs a process of its own, which did not start: {error}") from error
    late = threading.Event()

    def stop() -> None:
        late.set()
        worker.process.kill()

    timer = threading.Timer(PATIENCE * seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        # Absolute, since the folder that one works in may change.
        worker.send([version[0], side, max_pixels, seconds])
        result = _receive(worker)
    except UnusableImage:
        _idle.append(worker)
        raise
    except (OSError, EOFError, ValueError) as error:
        worker.stop()
        code = worker.process.returncode
        if late.is_set() or code == _OUT_OF_TIME:
            _stopped[version] = too_long(seconds)
            raise UnusableImage(_stopped[version]) from error
        reason = f"damaged or unsupported: its decoder ended with code {code}"
        raise UnusableImage(reason) from error
    except BaseException:
        worker.stop()
        raise
    finally:
        timer.cancel()
    _idle.append(worker)
    return result


def _receive(worker: _Worker) -> tuple[Image.Image, tuple[int, int]]:
    line = worker.answers.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    answer = json.loads(line)
    if "reason" in answer:
        raise UnusableImage(answer["reason"])
    mode, (width, height), size = answer["mode"], answer["shape"], answer["size"]
    image = Image.new(mode, (width, height))
    rows = _rows(width)
    for top in range(0, height, rows):
        shape = (width, min(rows, height - top))
        data = worker.read(shape[0] * shape[1] * len(mode))
        image.paste(Image.frombytes(mode, shape, data), (0, top))
    return image, (size[0], size[1])


def _rows(width: int) -> int:
    return max(1, _BAND // width)


@atexit.register
def _stop_all() -> None:
    while _idle:
        _idle.pop().stop()


def _forget() -> None:
    # The workers belong to the process that this one was forked from.
    for worker in _idle:
        worker.close()
        worker.process.returncode = 0
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


# In the worker


class _Guard(NamedTuple):
    before: Callable[[int, float], None]
    after: Callable[[], None]


def serve() -> None:
    """Decode what is asked for on stdin until it ends."""
    from skdcec.datasets.decode import read_picture

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    guard = _posix_guard() if os.name == "posix" else _Guard(lambda *_: None, lambda: None)
    while line := requests.readline():
        path, side, max_pixels, seconds = json.loads(line)
        guard.before(max_pixels, seconds)
        try:
            picture = read_picture(path, side=side, max_pixels=max_pixels, apart=False)
        except UnusableImage as reason:
            guard.after()
            answers.write(json.dumps({"reason": str(reason)}).encode() + b"\n")
        else:
            guard.after()
            _answer(answers, picture.image, picture.size)
        answers.flush()


def _answer(answers: IO[bytes], image: Image.Image, size: tuple[int, int]) -> None:
    head = {"mode": image.mode, "shape": image.size, "size": size}
    answers.write(json.dumps(head).encode() + b"\n")
    rows = _rows(image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        answers.write(image.crop((0, top, image.width, bottom)).tobytes())


def _posix_guard() -> _Guard:
    """Signals end the process also within a decoder that lets no Python code run."""
    import fcntl
    import resource
    import select

    pipe = sys.stdin.fileno()
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    waiting = fcntl.fcntl(pipe, fcntl.F_GETFL)
    ended = select.poll()
    ended.register(pipe, 0)

    def before(max_pixels: int, seconds: float) -> None:
        # While nothing is asked for, the only news on the pipe is that the other end is gone.
        fcntl.fcntl(pipe, fcntl.F_SETFL, waiting | os.O_ASYNC)
        if ended.poll(0):
            os._exit(0)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        # What is mapped from a file is not counted.
        with suppress(OSError, ValueError):
            most = _data_bytes() + max(max_pixels * BYTES_PER_PIXEL, MIN_BYTES)
            _, hard = resource.getrlimit(resource.RLIMIT_DATA)
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(resource.RLIMIT_DATA, (most, hard))

    def after() -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        fcntl.fcntl(pipe, fcntl.F_SETFL, waiting)

    return _Guard(before, after)


def _data_bytes() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")
