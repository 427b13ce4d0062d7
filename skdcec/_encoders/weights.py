"""Where are the weights that training starts from?"""

import os
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parents[1] / "_weights"

# Weights that come with the package; a packager may leave the files out.
NAMES = ("paintings",)


def weights_file(weights: str | os.PathLike[str]) -> Path:
    """Return the file of weights.

    Parameters
    ----------
    weights : str or path
        One of `NAMES`, or a file that an encoder was saved to.

    Returns
    -------
    path : Path

    Raises
    ------
    ValueError
        If there are no such weights.
    """
    if weights in NAMES:
        path = _own_file(weights)
        if not path.is_file():
            raise ValueError(
                f"weights={weights!r} are not part of this installation of skdcec, since whoever "
                "packaged it may leave them out: pass the path of a file with weights."
            )
        return path
    path = Path(weights)
    if not path.is_file():
        raise ValueError(
            f"weights={os.fspath(weights)!r} is neither a file nor one of "
            f"{', '.join(map(repr, NAMES))}."
        )
    return path


def comes_with_us(name: str) -> bool:
    """Whether the weights of this name are part of this installation."""
    return _own_file(name).is_file()


def _own_file(name: Any) -> Path:
    return _FOLDER / f"{name}.safetensors"
