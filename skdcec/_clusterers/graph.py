"""What does the graph of nearest neighbours say of clusters?"""

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.neighbors import NearestNeighbors

from skdcec._clusterers.spectral import cut_graph
from skdcec.metrics import modularity

# Neighbours by which labels are judged. As many as this share a cluster even where clusters are
# small: of ten images each, ten neighbours cannot.
N_JUDGES = 5
# Graphs that are cut. In the sparser one, thin clusters hold together; the other does not fall
# into more pieces than there are clusters.
_N_NEIGHBORS = (5, 10)
# Clusters are rearranged by at most so many moves, each the best of the most promising few.
_MAX_MOVES = 10
_N_WAYS = 3
# Pairs of clusters that are considered for merging.
_N_MERGES = 20
# Fewer points than this are not split.
_MIN_SPLIT = 3 * max(_N_NEIGHBORS)


def neighbors_of(points: np.ndarray) -> np.ndarray:
    """Return the row numbers of the nearest neighbours of each point, the nearest first.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_components)

    Returns
    -------
    ndarray of shape (n_samples, n_neighbors), dtype int64
    """
    n_neighbors = min(max(_N_NEIGHBORS), len(points) - 1)
    return NearestNeighbors(n_neighbors=n_neighbors).fit(points).kneighbors(return_distance=False)


def cuts(neighbors: np.ndarray, n_clusters: int, seed: int) -> list[np.ndarray]:
    """Return the labels of spectral clusterings, one for each graph of so many neighbours.

    Clusters may have any shape and any covariance: they are where the fewest edges are cut.

    Parameters
    ----------
    neighbors : ndarray of shape (n_samples, n_neighbors)
        Row numbers of the nearest neighbours of each point, the nearest first.
    n_clusters : int
    seed : int

    Returns
    -------
    list of ndarray of shape (n_samples,)
        Empty where there are too few points.
    """
    n_samples = len(neighbors)
    if n_samples < 3 * n_clusters or n_samples <= max(_N_NEIGHBORS):
        return []
    found = []
    for n_neighbors in _N_NEIGHBORS:
        rows = np.repeat(np.arange(n_samples), n_neighbors)
        columns = neighbors[:, :n_neighbors].ravel()
        graph = csr_matrix((np.ones(len(rows)), (rows, columns)), (n_samples, n_samples))
        # A point belongs to itself, so that none is without an edge.
        graph.setdiag(1)
        found.append(cut_graph((graph + graph.T) / 2, n_clusters, seed).astype(np.int64))
    return found


def rearranged(
    points: np.ndarray, labels: np.ndarray, neighbors: np.ndarray, seed: int
) -> np.ndarray:
    """Merge two clusters and split a third, as long as that raises the modularity.

    Labels that merge two groups have to split another one. Each alone is a small matter; both
    at once are out of reach of what moves points one by one.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_components)
    labels : ndarray of shape (n_samples,)
        From 0, each with members.
    neighbors : ndarray of shape (n_samples, n_neighbors)
        Row numbers of the nearest neighbours of each point, the nearest first.
    seed : int

    Returns
    -------
    ndarray of shape (n_samples,)
    """
    n_clusters = labels.max() + 1
    judges = neighbors[:, :N_JUDGES]
    reached = modularity(labels, judges)
    # Of each cluster by its rows: a move changes three of them.
    halves: dict[bytes, np.ndarray] = {}

    def halve(rows: np.ndarray) -> np.ndarray:
        key = rows.tobytes()
        if key not in halves:
            halves[key] = rows[_halves(points[rows], seed)]
        return halves[key]

    for _ in range(_MAX_MOVES if n_clusters > 2 else 0):
        moves = _moves(labels, n_clusters, judges, halve)
        if not moves:
            break
        moved = max(moves, key=lambda labels: modularity(labels, judges))
        if modularity(moved, judges) <= reached:
            break
        labels, reached = moved, modularity(moved, judges)
    return labels


def _moves(
    labels: np.ndarray,
    n_clusters: int,
    neighbors: np.ndarray,
    halve: Callable[[np.ndarray], np.ndarray],
) -> list[np.ndarray]:
    """Return the labels after the most promising ways to merge two clusters and split a third.

    The two have to hold together more than the halves of the third do, by edges per pair of
    points. Modularity alone would also merge small clusters, however far apart, to have a large
    one in two.
    """
    between, shares = _flows(labels, neighbors, n_clusters)
    # What merging two clusters adds to the modularity.
    merged = between + between.T - 2 * np.outer(shares, shares)
    held = (between + between.T) / np.outer(shares, shares)
    pairs = [(first, second) for first in range(n_clusters) for second in range(first)]
    pairs = sorted(pairs, key=lambda pair: -merged[pair])[:_N_MERGES]
    ways = []
    for cluster in range(n_clusters):
        rows = np.flatnonzero(labels == cluster)
        if len(rows) < _MIN_SPLIT:
            continue
        half = halve(rows)
        split = labels.copy()
        split[half] = n_clusters
        ends = split[neighbors[rows]]
        are_cut = (ends != split[rows, None]) & ((ends == cluster) | (ends == n_clusters))
        cut = are_cut.sum() / neighbors.size
        size = len(half) * (len(rows) - len(half)) / len(labels) ** 2
        hold = cut / size
        # What splitting it adds.
        gain = 2 * size - cut
        ways += [
            (merged[pair] + gain, pair, split)
            for pair in pairs
            if cluster not in pair and held[pair] > hold
        ]
    moves = []
    for _, (first, second), split in sorted(ways, key=lambda way: -way[0])[:_N_WAYS]:
        moved = np.where(split == first, second, split)
        moved[split == n_clusters] = first
        moves.append(moved)
    return moves


def _flows(
    labels: np.ndarray, neighbors: np.ndarray, n_clusters: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of edges from each cluster to each, and the share of points in each."""
    ends = n_clusters * labels[:, None] + labels[neighbors]
    flow = np.bincount(ends.ravel(), minlength=n_clusters**2) / neighbors.size
    return flow.reshape(n_clusters, n_clusters), np.bincount(labels, minlength=n_clusters) / len(
        labels
    )


def _halves(points: np.ndarray, seed: int) -> np.ndarray:
    """Split `points` by the normalised cut of their graph of nearest neighbours."""
    graph = NearestNeighbors(n_neighbors=max(_N_NEIGHBORS)).fit(points).kneighbors_graph()
    graph = (graph + graph.T) / 2
    _, part = connected_components(graph, directed=False)
    sizes = np.bincount(part)
    whole = (sizes >= min(_MIN_SPLIT, sizes.max()))[part]
    side = part == sizes.argmax()
    if side[whole].all():
        side[whole] = cut_graph(graph[whole][:, whole], 2, seed) == 1
    # A few points without edges to the others are no side of their own.
    if not whole.all():
        nearest = NearestNeighbors(n_neighbors=1).fit(points[whole])
        side[~whole] = side[whole][nearest.kneighbors(points[~whole], return_distance=False)[:, 0]]
    return side
