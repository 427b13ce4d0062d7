"""In which colour is a cluster drawn? The same on the page, in figures and in comparisons."""

from functools import cache, lru_cache

import numpy as np

NO_CLUSTER = "#8f8b83"

MAX_CLUSTERS = 10_000

# Paul Tol's bright scheme and six more, told apart with the common kinds of colour blindness.
_FIRST = (
    *("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377"),
    *("#ee8833", "#0d8f8f", "#9a7fd1", "#a06b3c", "#e58ac0", "#7f8c2f"),
)

# What is neither too pale on white nor too dark on black, in OKLab.
_LIGHTNESS = (0.42, 0.84)
_CHROMA = (0.06, 0.17)
# Beyond so many clusters the distance between colours is too small to be worth a search.
_MAX_SEARCHED = 400


def cluster_color(cluster: int) -> str:
    """Return the colour of a cluster as "#rrggbb"; no two clusters share one.

    Parameters
    ----------
    cluster : int
        From 0; a negative number stands for no cluster, which is gray.

    Returns
    -------
    color : str

    Raises
    ------
    ValueError
        If `cluster` is not below `MAX_CLUSTERS`.
    """
    return NO_CLUSTER if cluster < 0 else cluster_colors(cluster + 1)[cluster]


def cluster_colors(n_clusters: int) -> tuple[str, ...]:
    """Return the colours of clusters 0 to `n_clusters` - 1, at most `MAX_CLUSTERS` of them."""
    if n_clusters > MAX_CLUSTERS:
        raise ValueError(f"n_clusters={n_clusters} is more than the {MAX_CLUSTERS} colours.")
    # In steps, so that the cache serves most numbers by a few entries.
    size = len(_FIRST)
    while size < n_clusters:
        size *= 2
    return _colors(size)[:n_clusters]


@cache
def _colors(size: int) -> tuple[str, ...]:
    """Add to the first colours, one by one, the colour farthest from all others and from gray."""
    if size == len(_FIRST):
        return _FIRST
    candidates, labs = _candidates()
    chosen = list(_FIRST)
    distance = np.full(len(labs), np.inf)
    for color in (NO_CLUSTER, *chosen):
        distance = np.minimum(distance, np.linalg.norm(labs - _to_oklab(_channels(color)), axis=1))
    while len(chosen) < min(size, _MAX_SEARCHED):
        best = int(distance.argmax())
        chosen.append(_hexadecimal(candidates[best]))
        distance = np.minimum(distance, np.linalg.norm(labs - labs[best], axis=1))
    rest = np.random.default_rng(0).permutation(np.flatnonzero(distance > 0))
    return tuple(chosen + [_hexadecimal(candidates[i]) for i in rest[: size - len(chosen)]])


@lru_cache(maxsize=1)
def _candidates() -> tuple[np.ndarray, np.ndarray]:
    """Return colours to choose from, as 8-bit values and in OKLab."""
    levels = np.arange(2, 256, 7)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    labs = _to_oklab(grid)
    (low, high), (few, much) = _LIGHTNESS, _CHROMA
    chroma = np.hypot(labs[:, 1], labs[:, 2])
    kept = (labs[:, 0] >= low) & (labs[:, 0] <= high) & (chroma >= few) & (chroma <= much)
    return grid[kept], labs[kept]


def _hexadecimal(rgb: np.ndarray) -> str:
    red, green, blue = rgb
    return f"#{red:02x}{green:02x}{blue:02x}"


def _channels(color: str) -> np.ndarray:
    return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])


def _to_oklab(rgb: np.ndarray) -> np.ndarray:
    """Convert 8-bit sRGB to OKLab, in which equal distances look about equal.

    Source: Ottosson, *A perceptual color space for image processing*, 2020.
    """
    value = np.asarray(rgb, dtype=np.float64) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _TO_CONES.T) @ _TO_LAB.T


_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
