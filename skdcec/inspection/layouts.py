"""How are many dimensions laid out in two? The methods that a map offers."""

from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.preprocessing import normalize
from sklearn.utils import check_random_state

from skdcec._analysis.projection import map_projection
from skdcec._analysis.spaces import Space, within_range


def check_method(method: Any) -> None:
    """Raise, before anything is embedded, if the method is unknown or not installed."""
    if method == "umap":
        _umap()
    elif method not in ("tsne", "pca") and not hasattr(method, "fit_transform"):
        raise ValueError(
            f"method={method!r} must be 'tsne', 'pca', 'umap' or an object with fit_transform."
        )


def _umap() -> Any:
    try:
        from umap import UMAP
    except ImportError as error:
        raise ImportError(
            "method='umap' needs umap-learn, which is not installed: pip install umap-learn, or "
            "use method='tsne'."
        ) from error
    return UMAP


def project(mapped: Space, method: Any, random_state: Any) -> tuple[np.ndarray, tuple[str, str]]:
    """Return coordinates in two dimensions, and the names of the axes."""
    rows = within_range(mapped.points)
    rows = normalize(rows) if mapped.metric == "cosine" else rows
    if isinstance(method, str) and method == "pca":
        return _principal_plane(rows, random_state)
    if isinstance(method, str) and method == "tsne":
        coordinates = map_projection(rows, random_state=random_state)
        name = "t-SNE"
    elif isinstance(method, str):
        seed = check_random_state(random_state).randint(2**31 - 1)
        # With a seed UMAP uses one thread, and warns where more are asked for.
        layout = _umap()(n_components=2, metric=mapped.metric, random_state=seed, n_jobs=1)
        coordinates = layout.fit_transform(rows)
        name = "UMAP"
    else:
        coordinates, name = np.asarray(method.fit_transform(rows)), type(method).__name__
        if coordinates.shape != (len(rows), 2):
            raise ValueError(
                f"method={method!r} made coordinates of shape {coordinates.shape}; "
                f"{(len(rows), 2)} is needed."
            )
    if not np.isfinite(coordinates).all():
        raise ValueError(f"method={method!r} made coordinates that are not finite.")
    # Directions and units of such maps mean nothing, so that one text is enough.
    return coordinates, (f"{name} of the {mapped.name}", "")


def _principal_plane(rows: np.ndarray, seed: Any) -> tuple[np.ndarray, tuple[str, str]]:
    """Return the first two principal components, and their shares of the variance as names."""
    coordinates, shares = np.zeros((len(rows), 2)), np.zeros(2)
    kept = min(2, len(rows) - 1, rows.shape[1])
    if kept and np.ptp(rows, axis=0).any():
        model = PCA(kept, random_state=seed)
        coordinates[:, :kept] = model.fit_transform(rows)
        shares[:kept] = model.explained_variance_ratio_
    first, second = (f"PCA {i} ({100 * share:.0f} %)" for i, share in enumerate(shares, 1))
    return coordinates, (first, second)
