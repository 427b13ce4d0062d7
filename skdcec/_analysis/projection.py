"""Where on a map of two dimensions does each image lie?"""

from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_array, check_random_state

_LANDMARKS = 6_000


def map_projection(
    embedding: Any, *, random_state: Any = 0, n_jobs: int | None = None
) -> np.ndarray:
    """Lay out an embedding in two dimensions.

    t-SNE from a PCA start; beyond 6 000 images for a random 6 000, and every other image goes
    to the weighted mean of its three nearest among them. Fewer than 5 images: PCA.

    Parameters
    ----------
    embedding : array-like of shape (n, d)
        Unit-length rows if cosine is the metric.
    random_state : int, RandomState instance or None, default=0
    n_jobs : int, default=None

    Returns
    -------
    coordinates : ndarray of shape (n, 2), float64
        Within [0, 1], the longer side filling it.
    """
    embedding = check_array(embedding, dtype=np.float32, input_name="embedding")
    n = len(embedding)
    if n < 5 or embedding.std() == 0:
        flat = np.zeros((n, 2))
        if n > 1 and embedding.std() > 0:
            kept = min(2, *embedding.shape)
            flat[:, :kept] = PCA(kept, random_state=0).fit_transform(embedding)
        return unit_square(flat, n)
    rng = check_random_state(random_state)
    chosen = np.sort(rng.permutation(n)[:_LANDMARKS])
    tsne = TSNE(
        perplexity=min(30, (len(chosen) - 1) / 3),
        max_iter=500,
        init="pca" if embedding.shape[1] > 1 else "random",
        random_state=rng,
        n_jobs=n_jobs,
    )
    coordinates = np.empty((n, 2))
    coordinates[chosen] = tsne.fit_transform(embedding[chosen])
    rest = np.setdiff1d(np.arange(n), chosen)
    if len(rest):
        search = NearestNeighbors(n_neighbors=3, n_jobs=n_jobs).fit(embedding[chosen])
        distance, neighbour = search.kneighbors(embedding[rest])
        weight = 1 / (distance + 1e-6 * max(1e-12, distance.mean()))
        weight /= weight.sum(axis=1, keepdims=True)
        coordinates[rest] = np.einsum("ij,ijd->id", weight, coordinates[chosen][neighbour])
    return unit_square(coordinates, n)


def unit_square(coordinates: Any, n: int) -> np.ndarray:
    """Return positions on a map within [0, 1], the longer side filling it.

    Raises
    ------
    ValueError
        If there are not `n` pairs of finite numbers.
    """
    array = check_array(coordinates, dtype=np.float64, input_name="map_coordinates")
    if array.shape != (n, 2):
        raise ValueError(f"map_coordinates has shape {array.shape}; ({n}, 2) is needed.")
    low, high = array.min(axis=0), array.max(axis=0)
    span = (high - low).max() or 1.0
    return (array - (low + high) / 2) / span + 0.5
