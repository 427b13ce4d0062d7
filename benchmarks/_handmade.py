"""Hand-made features of images, as a baseline: colours and the directions of edges."""

import numpy as np

N_LEVELS = 4
N_DIRECTIONS = 9
CELL = 8


def handmade_features(images):
    """Return colour histograms beside histograms of oriented gradients.

    Parameters
    ----------
    images : ndarray of shape (n, height, width, 3), dtype uint8
        With sides that are multiples of 8, and at least 16.

    Returns
    -------
    features : ndarray of shape (n, n_features), dtype float32
        Both parts vary equally over the images: each is divided by the root of its total variance.
    """
    chunks = np.array_split(images, max(1, len(images) // 256))
    parts = [np.concatenate([f(some) for some in chunks]) for f in (colours, gradients)]
    return np.concatenate([p / max(np.sqrt(p.var(axis=0).sum()), 1e-12) for p in parts], axis=1)


def colours(images):
    """Return the square roots of 4 x 4 x 4 colour histograms, so that distances are Hellinger's."""
    n, n_bins = len(images), N_LEVELS**3
    levels = images.reshape(n, -1, 3).astype(np.int64) * N_LEVELS // 256
    bins = (levels[..., 0] * N_LEVELS + levels[..., 1]) * N_LEVELS + levels[..., 2]
    bins += n_bins * np.arange(n)[:, None]
    counts = np.bincount(bins.ravel(), minlength=n * n_bins).reshape(n, n_bins)
    return np.sqrt(counts / bins.shape[1]).astype(np.float32)


def gradients(images):
    """Return histograms of oriented gradients, after Dalal and Triggs, CVPR 2005.

    Nine unsigned directions in cells of 8 x 8 pixels, each gradient shared by the two nearest
    directions; blocks of 2 x 2 cells brought to unit length, clipped at .2 and again brought to
    unit length.
    """
    gray = images.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32) / 255
    n, height, width = gray.shape
    dy, dx = np.zeros_like(gray), np.zeros_like(gray)
    dy[:, 1:-1] = gray[:, 2:] - gray[:, :-2]
    dx[:, :, 1:-1] = gray[:, :, 2:] - gray[:, :, :-2]
    strength = np.hypot(dx, dy)
    direction = np.arctan2(dy, dx) / np.pi % 1 * N_DIRECTIONS - 0.5
    lower = np.floor(direction)
    share = direction - lower
    cells = np.zeros((n, height // CELL, width // CELL, N_DIRECTIONS), dtype=np.float32)
    for i in range(N_DIRECTIONS):
        weight = strength * (
            (1 - share) * (lower % N_DIRECTIONS == i) + share * ((lower + 1) % N_DIRECTIONS == i)
        )
        by_cell = weight.reshape(n, height // CELL, CELL, width // CELL, CELL)
        cells[..., i] = by_cell.sum(axis=(2, 4))
    blocks = np.concatenate(
        [cells[:, :-1, :-1], cells[:, :-1, 1:], cells[:, 1:, :-1], cells[:, 1:, 1:]], axis=3
    )
    blocks = np.minimum(_unit_length(blocks), 0.2)
    return _unit_length(blocks).reshape(n, -1)


def _unit_length(blocks):
    return blocks / np.sqrt((blocks**2).sum(axis=3, keepdims=True) + 1e-6)
