"""Where on a map of two dimensions does each image lie?"""

from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_consistent_length, check_random_state

from skdcec._analysis.samples import stratified_rows
from skdcec._analysis.spaces import within_range
from skdcec._sklearn_compat import check_array

_LANDMARKS = 6_000
_BLOCK = 50_000


@np.errstate(under="ignore")
def map_projection(
    embedding: Any, *, labels: Any = None, random_state: Any = 0, n_jobs: int | None = None
) -> np.ndarray:
    """Lay out an embedding in two dimensions.

    t-SNE from a PCA start; beyond 6 000 images only a random 6 000 are laid out, and every other
    image goes to the weighted mean of its three nearest neighbours among them. Where t-SNE has
    nothing to work with (fewer than 5 images, or images that do not differ), PCA.

    Parameters
    ----------
    embedding : array-like of shape (n, d)
        Unit-length rows if cosine is the metric.
    labels : array-like of shape (n,), default=None
        Clusters of which each shall have images among the 6 000, however small it is.
    random_state : int, RandomState instance or None, default=0
        Determines the layout.
    n_jobs : int, default=None
        Threads of the search for neighbours.

    Returns
    -------
    coordinates : ndarray of shape (n, 2), float64
        Within [0, 1], the longer side filling it; all in the middle where images do not differ.

    Raises
    ------
    ValueError
        If the embedding has values that are not finite, or there is not a label for each row.

    See Also
    --------
    skdcec.inspection.EmbeddingDisplay : The picture of it.
    sklearn.manifold.TSNE : What lays out the images.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdcec.report import map_projection
    >>> map_projection(load_digits().data[:50]).shape
    (50, 2)
    """
    embedding = check_array(embedding, dtype=[np.float64, np.float32], input_name="embedding")
    embedding = within_range(embedding, np.float32).astype(np.float32, copy=False)
    n = len(embedding)
    rng = check_random_state(random_state)
    chosen = np.sort(rng.permutation(n)[:_LANDMARKS])
    if labels is not None:
        check_consistent_length(embedding, labels)
        chosen = stratified_rows(np.asarray(labels), _LANDMARKS, rng)
    if n < 5 or not _differ(embedding[chosen]):
        return unit_square(_plane(embedding), n)
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
        found = [
            search.kneighbors(embedding[rest[start : start + _BLOCK]])
            for start in range(0, len(rest), _BLOCK)
        ]
        distance, neighbour = map(np.concatenate, zip(*found, strict=True))
        weight = 1 / (distance + 1e-6 * max(1e-12, distance.mean()))
        weight /= weight.sum(axis=1, keepdims=True)
        coordinates[rest] = np.einsum("ij,ijd->id", weight, coordinates[chosen][neighbour])
    return unit_square(coordinates, n)


def _differ(embedding: np.ndarray) -> bool:
    """Whether rows differ by more than rounding; if not, t-SNE ends the process."""
    return bool(np.ptp(embedding, axis=0).max() > 1e-6 * np.abs(embedding).max())


def _plane(embedding: np.ndarray) -> np.ndarray:
    """Return the first two principal components, as far as there are any."""
    plane = np.zeros((len(embedding), 2))
    if _differ(embedding):
        kept = min(2, *embedding.shape)
        plane[:, :kept] = PCA(kept, random_state=0).fit_transform(embedding)
    return plane


def unit_square(coordinates: Any, n: int) -> np.ndarray:
    """Return positions on a map within [0, 1], the longer side filling it.

    Parameters
    ----------
    coordinates : array-like of shape (n, 2)
    n : int
        How many images there are.

    Returns
    -------
    coordinates : ndarray of shape (n, 2), float64
        The same up to scale and place; all 0.5 where they do not differ.

    Raises
    ------
    ValueError
        If there are not `n` pairs of finite numbers.
    """
    array = check_array(coordinates, dtype=np.float64, input_name="map_coordinates")
    if array.shape != (n, 2):
        raise ValueError(f"map_coordinates has shape {array.shape}; ({n}, 2) is needed.")
    # Halves, since the span of finite numbers need not be finite.
    half = array / 2
    low, high = half.min(axis=0), half.max(axis=0)
    span = (high - low).max() or 1.0
    return ((half - (low + high) / 2) / span + 0.5).clip(0, 1)
