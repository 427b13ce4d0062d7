"""Where are the fewest edges of a graph cut?"""

import numpy as np
from scipy.sparse import csr_matrix
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
    labels: np.ndarray = k_means(embedding, n_parts, n_init=10, random_state=rng)[1]
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
    return np.hstack([known, more]) / root[:, None]
