"""The look that the displays share: matplotlib, tiles, frames, names and colours."""

from collections.abc import Mapping
from textwrap import shorten, wrap
from typing import Any

import numpy as np

from skdcec._analysis.images import to_pixels, value_range
from skdcec._analysis.palette import MAX_CLUSTERS, NO_CLUSTER, cluster_color
from skdcec.inspection.labels import is_none

# Of curves, which are no clusters: four of Paul Tol's "muted" scheme.
CURVES = ("#332288", "#CC6677", "#117733", "#882255")
PALE = "#BBBBBB"
MUTED = "#777777"
GAP = 0.05

Names = Mapping[Any, Any] | None


def import_pyplot(caller: str) -> Any:
    """Return pyplot, which only drawing needs, or say how to install it.

    Raises
    ------
    ImportError
        If matplotlib is not installed; it names the `caller`.
    """
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


def drawn_range(images: np.ndarray, given: tuple[float, float] | None) -> tuple[float, float]:
    """Return the values to draw as black and as white, as the user or the images say."""
    if given is None:
        return value_range(images)
    low, high = given
    if not low < high:
        raise ValueError(f"value_range={given!r} must be (low, high) with low < high.")
    return low, high


def remove_frame(ax: Any) -> None:
    """Hide the lines and ticks around `ax`; the names beside it stay."""
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def percent(value: float, position: int | None = None) -> str:
    """Return a share as text; matplotlib calls it with the `position` of a tick, too."""
    return f"{100 * value:.3g} %"


def colors_of(labels: np.ndarray) -> dict[Any, str]:
    """Return the colour of each label: that of its number, else of its position.

    Clusters have the same colour in every display, and on the page of `skdcec.report`.
    """
    values = np.unique(labels).tolist()
    clusters = [value for value in values if not is_none(value)]
    # Labels may be any numbers, such as dates.
    numbered = all(isinstance(value, int) and value < MAX_CLUSTERS for value in clusters)
    numbers = clusters if numbered else range(len(clusters))
    colors = {value: cluster_color(i) for value, i in zip(clusters, numbers, strict=True)}
    return dict.fromkeys(values, NO_CLUSTER) | colors


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
