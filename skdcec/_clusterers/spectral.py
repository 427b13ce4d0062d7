"""Where are the fewest edges of a graph cut?"""

from collections.abc import Callable

import numpy as np
from scipy.linalg import eigh
from scipy.sparse import csr_matrix, diags
from scipy.sparse.csgraph import connected_components
from scipy.sparse.csgraph import laplacian as csgraph_laplacian
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from sklearn.cluster import k_means

# A graph of more points than this is not factored: where clusters overlap, factors take memory
# with the square of their number, and time with the cube.
_MAX_FACTORED = 2_000
# Of the iteration that takes the place of it.
_MIN_KEPT = 40
_MAX_RESTARTS = 300
_TOLERANCE = 1e-6
# More parts than this are cut less exactly, as they are one candidate of several. Their vectors are
# found all at once, where one after the other would be compared with all before it, and k-means
# starts less often in them.
_MANY_PARTS = 50
_DEGREE = 10
_N_ROUNDS = 4
_N_INIT = 10
_N_INIT_OF_MANY = 3
# So that points without edges have a share, too.
_LEAST_DEGREE = 1e-12
_BELOW_ZERO = -1e-5


def cut_graph(graph: csr_matrix, n_parts: int, seed: int) -> np.ndarray:
    """Return the labels of parts of a graph between which few edges are cut.

    Parameters
    ----------
    graph : sparse matrix of shape (n_samples, n_samples)
        Symmetric weights of edges.
    n_parts : int
    seed : int

    Returns
    -------
    ndarray of shape (n_samples,)

    References
    ----------
    Ng, Jordan & Weiss, *On Spectral Clustering: Analysis and an Algorithm*, NeurIPS 2001.
    """
    rng = np.random.RandomState(seed)
    few = graph.shape[0] <= _MAX_FACTORED
    embedding = (_factored_vectors if few else _leading_vectors)(graph, n_parts, rng)
    n_init = _N_INIT_OF_MANY if n_parts > _MANY_PARTS else _N_INIT
    labels: np.ndarray = k_means(embedding, n_parts, n_init=n_init, random_state=rng)[1]
    return labels


def _factored_vectors(
    graph: csr_matrix, n_components: int, rng: np.random.RandomState
) -> np.ndarray:
    """Return the leading eigenvectors of the random walk on a graph.

    They are those of scikit-learn's `SpectralClustering`, which warns of pieces without an edge
    between them: the clearest clusters there are.
    """
    laplacian, root = csgraph_laplacian(graph, normed=True, return_diag=True)
    laplacian = laplacian.tocsr()
    laplacian.setdiag(1)
    start = rng.uniform(-1, 1, len(root))
    # Slightly below the smallest eigenvalue, which is 0 and would make factors infinite.
    _, vectors = eigsh(laplacian, n_components, sigma=_BELOW_ZERO, which="LM", v0=start)
    return np.asarray(vectors / root[:, None])


def _leading_vectors(
    graph: csr_matrix, n_components: int, rng: np.random.RandomState
) -> np.ndarray:
    """Return the leading eigenvectors of the random walk on a graph, by products with it alone."""
    edges = graph.tocsr(copy=True)
    edges.setdiag(0)
    root = np.sqrt(np.maximum(np.asarray(edges.sum(axis=1)).ravel(), _LEAST_DEGREE))
    # Those of pieces without an edge between them are known, and all have the largest eigenvalue,
    # of which the iteration below would find any number.
    n_pieces, piece = connected_components(edges, directed=False)
    largest = np.argsort(-np.bincount(piece), kind="stable")
    if n_pieces > n_components:
        # The points of the others are one part.
        largest = largest[: n_components - 1]
    known = np.where(piece[:, None] == largest, root[:, None], 0.0)
    known /= np.linalg.norm(known, axis=0)
    n_more = n_components - n_pieces
    if n_more <= 0:
        return known / root[:, None]
    find = _vectors_one_by_one if n_more <= _MANY_PARTS else _vectors_at_once
    return np.hstack([known, find(edges, root, known, n_more, rng)]) / root[:, None]


def _vectors_one_by_one(
    edges: csr_matrix,
    root: np.ndarray,
    known: np.ndarray,
    n_more: int,
    rng: np.random.RandomState,
) -> np.ndarray:
    """Return the leading vectors beside those that are known, exactly."""

    def product(vector: np.ndarray) -> np.ndarray:
        vector = vector.ravel() - known @ (known.T @ vector.ravel())
        moved = edges @ (vector / root) / root
        return np.asarray(moved - known @ (known.T @ moved))

    walk = LinearOperator(edges.shape, matvec=product, dtype=np.float64)
    options = {
        "which": "LA",
        "v0": rng.uniform(-1, 1, len(root)),
        "ncv": min(len(root), max(2 * n_more + 1, _MIN_KEPT)),
        "tol": _TOLERANCE,
        "maxiter": _MAX_RESTARTS,
    }
    try:
        _, more = eigsh(walk, n_more, **options)
    except ArpackNoConvergence as error:
        # Where there are no clusters, eigenvalues hardly differ.
        more = error.eigenvectors
    return np.asarray(more)


def _vectors_at_once(
    edges: csr_matrix,
    root: np.ndarray,
    known: np.ndarray,
    n_more: int,
    rng: np.random.RandomState,
) -> np.ndarray:
    """Return about the leading vectors beside those that are known.

    A polynomial of the walk that is small below the eigenvalues that are sought, and large at
    them, is applied to a few more vectors than these, again and again.

    References
    ----------
    Zhou, Saad, Tiago & Chelikowsky, *Self-Consistent-Field Calculations Using Chebyshev-Filtered
    Subspace Iteration*, Journal of Computational Physics 2006.
    """
    walk = (diags(1 / root) @ edges @ diags(1 / root)).tocsr()

    def product(vectors: np.ndarray) -> np.ndarray:
        moved = walk @ vectors
        moved -= known @ (known.T @ moved)
        return np.asarray(moved)

    n_tried = min(len(root) - known.shape[1], n_more + max(10, n_more // 10))
    vectors = np.linalg.qr(product(rng.standard_normal((len(root), n_tried))))[0]
    # Of a walk, eigenvalues are at least -1; those above this one are sought.
    least = 0.0
    for _ in range(_N_ROUNDS):
        vectors = np.linalg.qr(_filtered(vectors, product, least))[0]
        moved = product(vectors)
        values, turn = eigh(vectors.T @ moved)
        vectors = vectors @ turn[:, ::-1]
        least = max(float(values[0]), 0.0)
    return vectors[:, :n_more]


def _filtered(
    vectors: np.ndarray, product: Callable[[np.ndarray], np.ndarray], bound: float
) -> np.ndarray:
    """Return a Chebyshev polynomial of a product, at most 1 for eigenvalues from -1 to a bound."""
    middle, radius = (bound - 1) / 2, (bound + 1) / 2
    before, now = vectors, (product(vectors) - middle * vectors) / radius
    for _ in range(_DEGREE - 1):
        after = product(now)
        after -= middle * now
        after *= 2 / radius
        after -= before
        before, now = now, after
    return now
