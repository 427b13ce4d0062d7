"""Which colours do pictures have?"""

from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.utils import check_random_state

from skdcec._sklearn_compat import unwarned

_RGB_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)

_WHITE = _RGB_TO_XYZ.sum(axis=1)


def to_lab(rgb: np.ndarray) -> np.ndarray:
    """Convert sRGB values of shape (..., 3) within [0, 255] to CIELAB under D65."""
    value = rgb.astype(np.float64) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _RGB_TO_XYZ.T / _WHITE
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def colours(pixels: np.ndarray, random_state: Any, n_colours: int = 6) -> dict[str, Any]:
    """Return lightness, contrast and the palette of some pictures."""
    rng = check_random_state(random_state)
    chosen = rng.permutation(len(pixels))[:400]
    lab = to_lab(pixels[chosen].reshape(len(chosen), -1, 3))
    lightness = lab[..., 0]
    rgb = pixels[chosen].reshape(-1, 3)
    keep = rng.permutation(len(rgb))[:8_000]
    rgb, lab_sample = rgb[keep], lab.reshape(-1, 3)[keep]
    n_colours = min(n_colours, len(np.unique(rgb, axis=0)))
    with unwarned():
        groups = KMeans(n_colours, n_init=2, random_state=rng).fit_predict(lab_sample)
    palette = []
    for group in range(n_colours):
        members = groups == group
        red, green, blue = rgb[members].mean(axis=0).round().astype(int)
        entry = f"#{red:02x}{green:02x}{blue:02x} {members.mean():.0%}"
        palette.append((lab_sample[members, 0].mean(), entry))
    return {
        "lightness": round(float(lightness.mean()), 1),
        "contrast": round(float(lightness.std(axis=1).mean()), 1),
        "palette": " ".join(entry for _, entry in sorted(palette)),
    }
