"""Fit a tiny estimator of every class that files may name, and keep it as this version saves it.

Run once for a version that is released, or whose files differ: ``python tests/kept/make.py``. What
is there already is never written again: later versions have to read it.
"""

from pathlib import Path

import numpy as np

import skdcec
from skdcec import (
    ContrastiveEncoder,
    ConvAutoencoder,
    DeepConvEmbeddingClustering,
    DeepEmbeddingClustering,
    DenseAutoencoder,
    _persistence,
)
from skdcec.augmentation import RandomAffine
from skdcec.features import ColorEdgeFeatures, SideBySide
from skdcec.features.balanced import BalancedBlocks
from skdcec.features.resized import Resized
from skdcec.novelty import NoveltyDetector

FOLDER = Path(__file__).resolve().parent


def images():
    """Sixty small colour images of three kinds, the same on every machine."""
    kinds = np.arange(60) % 3
    pixels = np.zeros((60, 8, 8, 3), dtype=np.uint8)
    pixels[kinds == 0, :3, :, 0] = 180
    pixels[kinds == 1, :, 5:, 1] = 180
    pixels[kinds == 2, 3:6, 2:5] = 150
    noise = np.arange(pixels.size).reshape(pixels.shape) * 2654435761 % 61
    return (pixels + noise).astype(np.uint8)


def estimators():
    """Return an estimator of each class, fitted, by its name."""
    pixels = images()
    rows = pixels.reshape(60, -1)
    convolutional = ConvAutoencoder(
        3, filters=(4, 8), augmentation=RandomAffine(shift=0.1), max_epochs=2, random_state=0
    )
    dense = DenseAutoencoder(3, hidden_layer_sizes=(8,), max_epochs=2, random_state=0)
    parts = [ColorEdgeFeatures(n_levels=2, n_cells=1), ContrastiveEncoder(2, filters=(4,))]
    parts[1].set_params(max_epochs=1)
    clusterer = DeepConvEmbeddingClustering(
        3, encoder=convolutional, max_epochs=2, n_init=1, random_state=0
    ).fit(pixels)
    return {
        "ConvAutoencoder": convolutional.fit(pixels),
        "DenseAutoencoder": dense.fit(rows),
        "ContrastiveEncoder": ContrastiveEncoder(
            2, filters=(4, 8), max_epochs=1, random_state=0
        ).fit(pixels),
        "ColorEdgeFeatures": ColorEdgeFeatures(n_levels=2, n_cells=2).fit(pixels),
        "SideBySide": SideBySide(parts, n_components=3, random_state=0).fit(pixels),
        "BalancedBlocks": BalancedBlocks([92, 100], n_components=3).fit(rows),
        "Resized": Resized(ColorEdgeFeatures(n_levels=2, n_cells=1), size=4).fit(pixels),
        "DeepConvEmbeddingClustering": clusterer,
        "DeepEmbeddingClustering": DeepEmbeddingClustering(
            3, encoder=dense, init="k-means", max_epochs=2, random_state=0
        ).fit(rows),
        "NoveltyDetector": NoveltyDetector(clusterer).fit(pixels),
    }


def answer(estimator):
    """Return what an estimator says of the first images."""
    pixels = images()[:6]
    on_rows = type(estimator).__name__ in (
        *("DenseAutoencoder", "BalancedBlocks", "DeepEmbeddingClustering"),
    )
    X = pixels.reshape(6, -1) if on_rows else pixels
    for method in ("score_samples", "predict_proba", "transform"):
        if hasattr(estimator, method):
            return np.asarray(getattr(estimator, method)(X), dtype=np.float64)
    raise TypeError(type(estimator))


if __name__ == "__main__":
    folder = FOLDER / skdcec.__version__
    folder.mkdir(exist_ok=True)
    found = {}
    for name, estimator in estimators().items():
        path = folder / f"{name}.safetensors"
        if path.exists():
            raise SystemExit(f"{path} exists, and is not written again.")
        _persistence.save(estimator, path)
        found[name] = answer(estimator)
    np.savez_compressed(folder / "answers.npz", **found)
