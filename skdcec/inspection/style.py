"""The look that the displays share: matplotlib, tiles, frames, names, colours and markers."""

from collections.abc import Mapping
from textwrap import shorten, wrap
from typing import Any

import numpy as np

from skdcec.inspection.images import to_pixels
from skdcec.inspection.labels import is_none

# Paul Tol's "muted" scheme: calm, and told apart by colour-blind readers. Beyond nine clusters the
# colours come again with another marker, since nobody tells thirty colours apart.
COLORS = (
    *("#CC6677", "#332288", "#DDCC77", "#117733", "#88CCEE"),
    *("#882255", "#44AA99", "#999933", "#AA4499"),
)
_MARKERS = ("o", "s", "^", "D")
NO_CLUSTER = "#BBBBBB"
MUTED = "#777777"
GAP = 0.05

Names = Mapping[Any, Any] | None


def import_pyplot(caller: str) -> Any:
    """Import matplotlib, which only those need who draw."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{caller} needs matplotlib, which is not installed: pip install 'skdcec[plot]'."
        ) from error
    return plt


def draw_tile(
    ax: Any,
    image: np.ndarray,
    x: float,
    y: float,
    low: float,
    high: float,
    interpolation: str | None,
) -> Any:
    """Draw an image one unit wide with its upper left corner at (x, y), the y axis downwards."""
    return ax.imshow(
        to_pixels(image, low, high),
        extent=(x, x + 1, y + image.shape[0] / image.shape[1], y),
        interpolation=interpolation,
    )


def remove_frame(ax: Any) -> None:
    """Leave nothing of the axes but the names beside them."""
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def percent(value: float, position: int | None = None) -> str:
    """Return a share as text, in the form that tick formatters have."""
    return f"{100 * value:.3g} %"


def styles_of(labels: np.ndarray) -> dict[Any, tuple[str, str]]:
    """Return colour and marker of each label; numbers keep theirs in every display."""
    styles = {}
    for position, label in enumerate(np.unique(labels).tolist()):
        if is_none(label):
            styles[label] = (NO_CLUSTER, "o")
            continue
        number = label if isinstance(label, int) else position
        marker = _MARKERS[number // len(COLORS) % len(_MARKERS)]
        styles[label] = (COLORS[number % len(COLORS)], marker)
    return styles


def _label_name(label: Any, names: Names) -> str:
    """Return the name of a cluster, given plainly or as by `skdcec.report.read_names`."""
    given = None if names is None else names.get(label)
    if isinstance(given, Mapping):
        given = given.get("name")
    if given:
        return str(given)
    return "no cluster" if is_none(label) else str(label)


def short_name(label: Any, names: Names) -> str:
    """Return the name of a cluster in one line."""
    return shorten(_label_name(label, names), 28, placeholder="…")


def card_label(label: Any, names: Names, size: int, n_samples: int) -> str:
    """Return the name of a cluster, and how many images it has, below one another."""
    name = _label_name(label, names)
    if isinstance(label, int) and name == str(label):
        name = f"Cluster {label}"
    lines = wrap(name, 18, max_lines=2, placeholder="…")
    return "\n".join([*lines, f"{size} ({size / n_samples:.0%})".replace("%", " %")])
