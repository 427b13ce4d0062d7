"""How do numbers of clusters compare, as drawings that follow the colours of the page?"""

import html
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from skdcec._analysis.contingency import cross_table
from skdcec._analysis.palette import cluster_color

# Smaller shares of a cluster that go elsewhere at the next k are not worth a line.
MIN_SHARE = 0.1
_WIDTH, _HEIGHT = 760, 300
# Two numbers fit beside each other on a phone.
_STEP = 260
_LEFT, _BOTTOM = 60, 44
_NODE, _GAP = 14, 6


def silhouettes(results: Mapping[str, np.ndarray], best: int) -> str:
    """Draw the silhouettes of k-means, of trained models and of points without clusters as SVG.

    Parameters
    ----------
    results : mapping of str to ndarray
        The ``results_`` of the search.
    best : int
        The number of clusters that was chosen.
    """
    numbers, trained = results["n_clusters"], results["trained"]
    curves = {
        "k-means": results.get("screened_silhouette", results["silhouette"]),
        "points without clusters": results.get("null_silhouette", np.full(len(numbers), np.nan)),
        "trained": np.where(trained, results["silhouette"], np.nan),
    }
    known = np.concatenate([curve[np.isfinite(curve)] for curve in curves.values()])
    if not known.size:
        return ""
    ticks = _ticks(min(0.0, known.min()), max(known.max(), known.min() + 1e-9))
    low, high = ticks[0], ticks[-1]
    first, last = numbers.min(), numbers.max()

    def place(k: float, value: float) -> tuple[str, str]:
        x = _LEFT + (k - first) / max(1, last - first) * (_WIDTH - _LEFT - 20)
        y = 16 + (1 - (value - low) / (high - low)) * (_HEIGHT - _BOTTOM - 16)
        return f"{x:.1f}", f"{y:.1f}"

    parts = []
    for value in ticks:
        x, y = place(first, value)
        parts.append(f'<line class="rule" x1="{x}" x2="{_WIDTH - 20}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{_LEFT - 10}" y="{y}" dy=".3em" class="end">{value:.4g}</text>')
    for k in numbers:
        x, _ = place(k, low)
        mark = ' class="chosen"' if k == best else ""
        parts.append(f'<text x="{x}" y="{_HEIGHT - 22}" text-anchor="middle"{mark}>{k}</text>')
    for (name, curve), style in zip(curves.items(), ("screened", "chance", "trained"), strict=True):
        parts += _curve(name, curve, numbers, style, place, best)
    axis = f'<text x="{_WIDTH // 2}" y="{_HEIGHT - 4}" text-anchor="middle">clusters</text>'
    axis += f'<text x="{_LEFT}" y="8">how far apart they lie</text>'
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="How far '
        f'apart clusters lie, by their number; the table has the numbers">{"".join(parts)}{axis}'
        "</svg>"
    )


def _ticks(low: float, high: float) -> list[float]:
    """Return three to seven round values, of which the first and the last hold what is between."""
    power = 10.0 ** math.floor(math.log10((high - low) / 2))
    step = next(f * power for f in (1, 2, 5, 10) if (high - low) / (f * power) <= 5)
    return [k * step for k in range(math.floor(low / step), math.ceil(high / step) + 1)]


def _curve(
    name: str,
    curve: np.ndarray,
    numbers: np.ndarray,
    style: str,
    place: Callable[[float, float], tuple[str, str]],
    best: int,
) -> list[str]:
    points = [(k, v, *place(k, v)) for k, v in zip(numbers, curve, strict=True) if math.isfinite(v)]
    parts = []
    if style != "trained" and points:
        path = "M" + "L".join(f"{x},{y}" for _, _, x, y in points)
        parts.append(f'<path class="{style}" d="{path}"/>')
    for k, value, x, y in points if style != "chance" else []:
        title = f"<title>{html.escape(name)}, {k} clusters: {value:.3f}</title>"
        radius = 7 if style == "trained" and k == best else 4.5
        parts.append(f'<circle class="{style}" cx="{x}" cy="{y}" r="{radius}">{title}</circle>')
    return parts


def splits(labels_of: Mapping[int, np.ndarray]) -> str:
    """Draw how the clusters of each number go on in those of the next, as SVG.

    Parameters
    ----------
    labels_of : mapping of int to ndarray of shape (n_samples,)
    """
    numbers = sorted(labels_of)
    if len(numbers) < 2:
        return ""
    n = len(labels_of[numbers[0]])
    most = max(int(labels.max()) + 1 for labels in labels_of.values())
    height = max(260, 26 * most)
    step = min(_STEP, max(120, (_WIDTH - 2 * _NODE - 40) / (len(numbers) - 1)))
    scale = (height - _GAP * (most - 1)) / n
    tops: list[dict[int, float]] = []
    bands: list[Any] = []
    nodes: list[Any] = []
    before: np.ndarray | None = None
    for column, k in enumerate(numbers):
        labels = labels_of[k]
        sizes = np.bincount(labels)
        order = _order(before, labels, tops[-1] if tops else None)
        x, top = 20 + column * step, 26.0
        places = {}
        for cluster in order:
            places[cluster] = top
            nodes.append(_node(cluster, int(sizes[cluster]), k, x, top, scale))
            top += sizes[cluster] * scale + _GAP
        if before is not None:
            bands += _bands(before, labels, tops[-1], places, x - step + _NODE, x, scale)
        nodes.append(f'<text x="{x + _NODE / 2:.1f}" y="14" text-anchor="middle">{k}</text>')
        tops.append(places)
        before = labels
    width = 20 + (len(numbers) - 1) * step + _NODE + 40
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="How clusters split">'
        f'<svg class="splits" viewBox="0 0 {width:.0f} {height + 40:.0f}" width="{width:.0f}" '
        f'height="{height + 40:.0f}" role="img" aria-label="How clusters split; the list below '
        f'says it in words">{"".join(bands + nodes)}</svg></div>'
    )


def _order(
    before: np.ndarray | None, labels: np.ndarray, tops: Mapping[int, float] | None
) -> list[int]:
    """Return clusters from top to bottom, so that few bands cross."""
    clusters = np.unique(labels).tolist()
    if before is None or tops is None:
        return clusters
    heights = np.array([tops[cluster] for cluster in before.tolist()])
    return sorted(clusters, key=lambda cluster: heights[labels == cluster].mean())


def _node(cluster: int, size: int, k: int, x: float, top: float, scale: float) -> str:
    height = max(1.0, size * scale)
    return (
        f'<rect x="{x:.1f}" y="{top:.1f}" width="{_NODE}" height="{height:.1f}" '
        f'fill="{cluster_color(cluster)}"><title>Cluster {cluster} of {k}: {size} images</title>'
        f'</rect><text x="{x + _NODE + 4:.1f}" y="{top + height / 2:.1f}" dy=".32em">{cluster}'
        "</text>"
    )


def _bands(
    before: np.ndarray,
    labels: np.ndarray,
    tops: Mapping[int, float],
    places: Mapping[int, float],
    x0: float,
    x1: float,
    scale: float,
) -> Iterator[str]:
    counts = cross_table(before, labels, (before.max() + 1, labels.max() + 1))
    used_left, used_right = dict(tops), dict(places)
    for source in sorted(tops, key=tops.__getitem__):
        for target in sorted(places, key=places.__getitem__):
            size = int(counts[source, target])
            if not size:
                continue
            thick, middle = size * scale, (x0 + x1) / 2
            a, b = used_left[source], used_right[target]
            used_left[source] += thick
            used_right[target] += thick
            yield (
                f'<path class="band" fill="{cluster_color(source)}" d="M{x0:.1f},{a:.1f}'
                f"C{middle:.1f},{a:.1f} {middle:.1f},{b:.1f} {x1:.1f},{b:.1f}v{thick:.1f}"
                f"C{middle:.1f},{b + thick:.1f} {middle:.1f},{a + thick:.1f} {x0:.1f},"
                f'{a + thick:.1f}Z"><title>{size} images of {source} go to {target}</title></path>'
            )
